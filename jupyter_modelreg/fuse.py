"""``python -m jupyter_modelreg.fuse FOLDER``: the process that answers what is read from a FUSE mount.

FOLDER is the mount's record (see `mounts`). The kernel asks from many threads at once, and a file that is sought and read
by two of them gives wrong bytes; Source: measured with ``fsspec.fuse`` by this project's storage studies. So each read names
its offset: a file on this machine is read with ``pread``, any other in blocks, each fetched once by one thread with a reader
of its own. The kernel keeps what it read: content never changes.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future

from .errors import ModelRegistryError
from .mounts import Listing, MountRecord, read_record
from .workspace import open_workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from .trees import Tree

BLOCK_BYTES = 4 << 20
MAX_BLOCKS = 32
MAX_IDLE = 16  # readers
KEPT_SECONDS = 24 * 3600  # by the kernel


class Blocks:
    """The files of a tree, read at any offset by any number of threads."""

    def __init__(self, tree: Tree, sizes: dict[str, int]) -> None:
        self._tree, self._sizes = tree, sizes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()
        self._idle: list[tuple[str, BinaryIO]] = []

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Return the bytes from an offset on, fewer than asked for only at the end of the file.

        Raises
        ------
        OSError
            If the store does not give them.
        """
        end = min(offset + size, self._sizes[path])
        parts = []
        while offset < end:
            index, skip = divmod(offset, BLOCK_BYTES)
            part = self._block(path, index)[skip : skip + end - offset]
            if not part:
                raise OSError(errno.EIO, f"{path} ends too early")  # else the kernel fills it up with zeros
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the readers that nobody uses."""
        with self._lock:
            while self._idle:
                self._idle.pop()[1].close()

    def _block(self, path: str, index: int) -> bytes:
        with self._lock:
            waiting = self._kept.get((path, index))
            if waiting:
                self._kept.move_to_end((path, index))
            else:
                fetched = self._kept[path, index] = Future()
                while len(self._kept) > MAX_BLOCKS:
                    self._kept.popitem(last=False)  # whoever waits for it has it all the same
        if waiting:
            return waiting.result()
        try:
            fetched.set_result(self._fetch(path, index * BLOCK_BYTES))
        except BaseException as error:
            with self._lock:
                self._kept.pop((path, index), None)
            fetched.set_exception(error)
        return fetched.result()

    def _fetch(self, path: str, offset: int) -> bytes:
        reader = self._reader(path)
        reader.seek(offset)
        block, wanted = b"", min(BLOCK_BYTES, self._sizes[path] - offset)
        while len(block) < wanted and (part := reader.read(wanted - len(block))):
            block += part
        with self._lock:
            self._idle.append((path, reader))
            oldest = self._idle.pop(0)[1] if len(self._idle) > MAX_IDLE else None
        if oldest:
            oldest.close()
        return block

    def _reader(self, path: str) -> BinaryIO:
        """Take a reader that no other thread uses."""
        with self._lock:
            for place, (name, reader) in enumerate(self._idle):
                if name == path:
                    del self._idle[place]
                    return reader
        return self._tree.open(path)


class Files:
    """What the kernel may ask of the mount. What is not here, such as writing, the kernel refuses."""

    use_ns = True

    def __init__(self, tree: Tree, record: MountRecord) -> None:
        self._listing = Listing(record.manifest)
        self._tree = tree
        self._blocks = Blocks(tree, {item.path: item.size_bytes for item in record.manifest.files})
        self._shared = {
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            **dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), record.stamp_ns),
        }

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Return what a file or folder is."""
        item = self._listing.files.get(path[1:])
        if item:
            return {**self._shared, "st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": item.size_bytes, "st_blksize": 1 << 20}
        if path[1:] not in self._listing.folders:
            raise OSError(errno.ENOENT, "There is no such file")
        return {**self._shared, "st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}

    def readdir(self, path: str, fh: int) -> list[str]:
        """Return the names in a folder."""
        return [".", "..", *self._listing.folders[path[1:]]]

    def open(self, path: str, flags: int) -> int:
        """Open a file on this machine; 0 stands for one that is read in blocks."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND):
            raise OSError(errno.EROFS, "Versions never change")
        local = self._tree.local_path(path[1:])
        return os.open(local, os.O_RDONLY | os.O_CLOEXEC) if local else 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Return bytes from an offset on."""
        if not fh:
            try:
                return self._blocks.read(path[1:], offset, size)
            except ModelRegistryError as error:
                print(error.message, file=sys.stderr, flush=True)
                raise OSError(errno.EIO, error.message) from None
        found = os.pread(fh, size, offset)
        if len(found) < min(size, self._listing.files[path[1:]].size_bytes - offset):
            raise OSError(errno.EIO, f"{path} ends too early")
        return found

    def release(self, path: str, fh: int) -> None:
        """Close what `open` opened."""
        if fh:
            os.close(fh)


def main(folder: str) -> None:
    """Serve a mount until it is taken down."""
    from mfusepy import FUSE

    record = read_record(folder)
    if record is None:
        sys.exit(f"{folder} holds no mount.")
    workspace = open_workspace(record.settings)
    tree = workspace.store.open_tree(record.manifest)
    kept = dict.fromkeys(("attr_timeout", "entry_timeout", "negative_timeout"), KEPT_SECONDS)
    options = {"foreground": True, "ro": True, "kernel_cache": True, "default_permissions": True, "fsname": "modelreg", **kept}
    FUSE(Files(tree, record), record.mount.path, **options)  # until it is unmounted


if __name__ == "__main__":
    main(sys.argv[1])
