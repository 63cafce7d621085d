"""A file system in memory that loses power: what was not flushed is gone afterwards.

Strict: a file has the bytes, and a folder the names, of their last flush, and nothing else; harder than any real one. Lenient:
what was not flushed may be there, in part and in any order. It is served by a process of its own through FUSE, and is mounted
anew after each cut, so that nothing of the kernel's memory survives either.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mfusepy

from .processes import Child


class Node:
    """A file, folder or link, and what of it is safe."""

    def __init__(self, number: int, mode: int) -> None:
        self.number, self.mode, self.links = number, mode, 1
        self.data, self.names = bytearray(), dict[str, Node]()
        self.safe_data, self.safe_names = b"", dict[str, Node]()
        self.modified = self.changed = time.time_ns()

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def flush(self) -> None:
        self.safe_data, self.safe_names = bytes(self.data), dict(self.names)

    def touch(self) -> None:
        self.modified = self.changed = time.time_ns()

    def lose(self) -> None:
        """Be as the last flush left it."""
        self.data, self.names = bytearray(self.safe_data), dict(self.safe_names)

    def lose_some(self, chance: random.Random) -> None:
        """Keep some of what was not flushed: a part of a file's bytes, some of a folder's new and removed names."""
        cut = chance.randrange(len(self.data) + 1)
        self.data = chance.choice((self.data, bytearray(self.safe_data), self.data[:cut] + self.safe_data[cut:]))
        for name in {*self.names, *self.safe_names}:
            kept = chance.choice((self.names, self.safe_names)).get(name)
            if kept is None:
                self.names.pop(name, None)
            else:
                self.names[name] = kept


class Lossy(mfusepy.Operations):  # type: ignore[misc]
    """The tree of nodes, and what the kernel asks of it."""

    use_ns = True

    def __init__(self) -> None:
        self._made = 1
        self.root = Node(1, stat.S_IFDIR | 0o755)
        self._open: dict[int, Node] = {}
        self._handles = 0

    def cut(self, chance: random.Random | None) -> None:
        """Lose what was not flushed; with a chance given, only some of it. What no name leads to goes too."""
        self._open.clear()
        seen: dict[int, Node] = {}
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if node.number in seen:
                node.links += not node.is_folder
                continue
            seen[node.number] = node
            node.links = 1
            if chance is None:
                node.lose()
            else:
                node.lose_some(chance)
            node.flush()  # what the disk has after the cut it keeps
            waiting += node.names.values()

    # --- names ----------------------------------------------------------------------------------------------------

    def _find(self, path: str) -> Node:
        node = self.root
        for part in path.split("/")[1:]:
            if part:
                if not node.is_folder:
                    raise mfusepy.FuseOSError(errno.ENOTDIR)
                if part not in node.names:
                    raise mfusepy.FuseOSError(errno.ENOENT)
                node = node.names[part]
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder), name

    def _add(self, path: str, mode: int) -> Node:
        parent, name = self._parent(path)
        if name in parent.names:
            raise mfusepy.FuseOSError(errno.EEXIST)
        self._made += 1
        parent.names[name] = node = Node(self._made, mode)
        parent.touch()
        return node

    def _remove(self, path: str) -> Node:
        parent, name = self._parent(path)
        self._find(path).links -= 1
        parent.touch()
        return parent.names.pop(name)

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, stat.S_IFDIR | mode)
        return 0

    def rmdir(self, path: str) -> int:
        if self._find(path).names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        self._remove(path)
        return 0

    def unlink(self, path: str) -> int:
        self._remove(path).changed = time.time_ns()
        return 0

    def link(self, target: str, source: str) -> int:
        parent, name = self._parent(target)
        if name in parent.names:
            raise mfusepy.FuseOSError(errno.EEXIST)
        parent.names[name] = node = self._find(source)
        node.links += 1
        parent.touch()
        return 0

    def symlink(self, target: str, source: str) -> int:
        node = self._add(target, stat.S_IFLNK | 0o777)
        node.data[:] = source.encode()
        node.safe_data = bytes(node.data)  # a link's text is written with its name
        return 0

    def rename(self, old: str, new: str) -> int:
        parent, name = self._parent(new)
        there = parent.names.get(name)
        if there is not None and there.names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        if there is not None:
            there.links -= 1
        node = self._remove(old)
        node.links += 1
        parent.names[name] = node
        parent.touch()
        return 0

    def readlink(self, path: str) -> str:
        return self._find(path).data.decode()

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._find(path).names]

    # --- what is in them --------------------------------------------------------------------------------------------

    def _node(self, path: str | None, fh: int | None) -> Node:
        return self._open[fh] if fh in self._open else self._find(str(path))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._node(path, fh)
        return {
            "st_mode": node.mode,
            "st_ino": node.number,
            "st_nlink": node.links,
            "st_size": len(node.data),
            "st_blocks": (len(node.data) + 511) // 512,
            "st_mtime": node.modified,
            "st_ctime": node.changed,
            "st_atime": node.modified,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def _opened(self, node: Node) -> int:
        self._handles += 1
        self._open[self._handles] = node
        return self._handles

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self._opened(self._add(path, stat.S_IFREG | mode))

    def open(self, path: str, flags: int) -> int:
        return self._opened(self._find(path))

    def release(self, path: str, fh: int) -> int:
        del self._open[fh]
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._node(path, fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._node(path, fh)
        if offset > len(node.data):
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.touch()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        node = self._node(path, fh)
        del node.data[length:]
        node.data.extend(bytes(length - len(node.data)))
        node.touch()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._node(path, fh).flush()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._find(path).flush()
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0  # of a handle that is closed; it makes nothing safe

    def chmod(self, path: str, mode: int) -> int:
        node = self._find(path)
        node.mode, node.changed = stat.S_IFMT(node.mode) | stat.S_IMODE(mode), time.time_ns()
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        node = self._find(path)
        node.changed = time.time_ns()
        node.modified = times[1] if times else node.changed
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 20, "f_bfree": 1 << 19, "f_bavail": 1 << 19, "f_namemax": 255}


class Mount:
    """A lossy file system at a folder, served until the context ends."""

    def __init__(self, place: Path, chances: Callable[[int], random.Random | None]) -> None:
        self.place = place
        self._chances = chances  # of each cut, by its number; None is a strict one

    def __enter__(self) -> Mount:
        self.place.mkdir()
        self._stop = self.place.with_name("stop")
        self._server = Child(lambda say: self._serve())
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.touch()
        unmount(self.place)
        self._server.end()

    def cut(self) -> None:
        """Take the power away and give it back; no process may have a file open."""
        unmount(self.place)
        self._wait()

    def _serve(self) -> None:
        system = Lossy()
        for number in range(1 << 30):
            # No caches of names: a hard link is two files to FUSE, whose lengths and times would differ.
            mfusepy.FUSE(system, str(self.place), foreground=True, nothreads=True, hard_remove=True, use_ino=True, kernel_cache=True,
                attr_timeout=0, entry_timeout=0, default_permissions=True)  # fmt: skip
            if self._stop.exists():
                return
            system.cut(self._chances(number))

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while not os.path.ismount(self.place):
            assert time.monotonic() < deadline, "the lossy file system does not mount"
            time.sleep(0.002)


def unmount(place: Path) -> None:
    """Unmount; a process that was killed a moment ago may still be closing its files."""
    for seconds in _waits():
        done = subprocess.run(["fusermount3", "-u", str(place)], capture_output=True, text=True)
        if done.returncode == 0:
            return
        time.sleep(seconds)
    raise AssertionError(f"{place} cannot be unmounted: {done.stderr}")


def _waits() -> Iterator[float]:
    yield from (0.01 * 1.3**number for number in range(20))


def why_not() -> str:
    """Return why there can be no such file system here, or nothing."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse here that may be used"
    if subprocess.run(["fusermount3", "--version"], capture_output=True).returncode:
        return "fusermount3 is not installed"
    return ""
