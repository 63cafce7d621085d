"""The store: where the files of versions lie, each content once.

::

    blobs/ab/abcd…      a file under the BLAKE3 of its bytes, mode 0444
    manifests/ab/abcd…  canonical JSON of a tree; its own hash is a version's identity
    views/abcd…/<root>  links into blobs: what loads and endpoints read in place
    tmp/                private names while being written

This version keeps files on a local disk; object stores come later behind the same class.
"""

from __future__ import annotations

import json
import os
import time

from ..errors import Conflict, Corrupted, InvalidInput, NotFound, NotYet
from ..records import from_dict
from ..trees import Manifest, ManifestFile, TreeFile, find_file
from .blobs import Staging, copy_verified, digest_path, flush_folder, hash_file, translated_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from ..trees import Tree

    Progress = Callable[[int, int], None]

GRACE_SECONDS = 24 * 3600.0


def open_store(url: str) -> Store:
    """Open a store; nothing is created before something is kept.

    Raises
    ------
    NotYet
        If the URL names something else than a local folder.
    """
    if "://" in url and not url.startswith("file://"):
        raise NotYet(f'The store "{url}" is not a local folder; object stores come in a later version.')
    return Store(url.removeprefix("file://"))


def check_relative_path(path: str) -> str:
    """Return a path that stays below where it is joined.

    Raises
    ------
    InvalidInput
        If it is absolute, climbs, or has parts that some file system would understand in its own way.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f'"{path}" is no path of a file inside a model.')
    return path


class StoredTree:
    """The files of a manifest, read in place."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self._manifest = store, manifest
        self.root, self.is_file = manifest.root, manifest.is_file

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return list(self._manifest.files)

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading."""
        local = self.local_path(path)
        try:
            return open(local, "rb")
        except FileNotFoundError:
            raise Corrupted(f"{self.root}: {path} is missing from the store.") from None

    def local_path(self, path: str) -> str:
        """Return where the blob of one file lies."""
        item = find_file(self, path)
        assert isinstance(item, ManifestFile)
        return self._store.blob_path(item.digest)


class Store:
    """Blobs, manifests and views in one folder. Any number of processes may use it at a time."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None) -> Manifest:
        """Keep the files of a tree; when this returns they survive a power cut.

        Raises
        ------
        Conflict
            If a file changes while it is copied.
        Unavailable
            If the disk is full or may not be written. Nothing is left behind.
        """
        items = sorted(tree.files(), key=lambda item: item.path.encode())
        advance = _counter(sum(item.size_bytes for item in items), progress)
        with Staging(self._root) as staging:
            files = tuple(self._stage_file(staging, tree, item, advance) for item in items)
            manifest = _with_digest(Manifest(root=tree.root, is_file=tree.is_file, files=files))
            self._stage_manifest(staging, manifest)
            staging.publish()
        return manifest

    def _stage_file(self, staging: Staging, tree: Tree, item: TreeFile, advance: Callable[[int], None]) -> ManifestFile:
        path = check_relative_path(item.path)
        local = tree.local_path(path)
        if local is None:
            with tree.open(path) as stream:
                name, digest, size = staging.write_stream(stream, advance)
        else:
            name, digest, size = staging.copy_file(local, advance)
        if size != item.size_bytes:
            raise Conflict(f"{path} changed while it was read; nothing was registered. Try again when it rests.")
        staging.keep(name, self.blob_path(digest))
        return ManifestFile(path=path, size_bytes=size, digest=digest)

    def _stage_manifest(self, staging: Staging, manifest: Manifest) -> None:
        import io

        name, _, _ = staging.write_stream(io.BytesIO(_canonical(manifest)), lambda _: None)
        staging.keep(name, self._manifest_path(manifest.digest))

    # --- read -----------------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> str:
        """Return where a blob lies, whether or not it is there."""
        return digest_path(os.path.join(self._root, "blobs"), digest)

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash.

        Raises
        ------
        NotFound
            If there is none.
        Corrupted
            If its bytes do not match its name.
        """
        from blake3 import blake3

        try:
            with open(self._manifest_path(digest), "rb") as stream:
                text = stream.read()
        except FileNotFoundError:
            raise NotFound(f"The store has no manifest {digest[:12]}….") from None
        if blake3(text).hexdigest() != digest:
            raise Corrupted(f"Manifest {digest[:12]}… is damaged in the store.")
        return from_dict(Manifest, json.loads(text)).replace(digest=digest)

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest, read in place."""
        return StoredTree(self, manifest)

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder that holds the tree under its root's name: links, nothing is copied.

        Processes may ask at once; a half-made view is never seen.

        Raises
        ------
        Corrupted
            If a blob is missing or has the wrong length.
        """
        target = os.path.join(self._root, "views", manifest.digest)
        if os.path.isdir(target):
            self._check_lengths(manifest)
            return target
        with Staging(self._root) as staging, translated_errors(target):
            scratch = os.path.join(staging._folder, "view")
            for item in manifest.files:
                self._link(item, os.path.join(scratch, _path_below_root(manifest, item)))
            _make_read_only(scratch)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            _publish_folder(scratch, target)
        return target

    def _check_lengths(self, manifest: Manifest) -> None:
        for item in manifest.files:
            path = self.blob_path(item.digest)
            if not os.path.isfile(path) or os.path.getsize(path) != item.size_bytes:
                raise Corrupted(f"{item.path} is missing or damaged in the store ({item.digest[:12]}…).")

    def _link(self, item: ManifestFile, target: str) -> None:
        blob = self.blob_path(item.digest)
        if not os.path.isfile(blob) or os.path.getsize(blob) != item.size_bytes:
            raise Corrupted(f"{item.path} is missing or damaged in the store ({item.digest[:12]}…).")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(blob, target)
        except OSError:  # no hard links here, or too many of one blob
            os.symlink(blob, target)

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return what was written, relative to it.

        A file that is there already with the same content is left alone.

        Raises
        ------
        Conflict
            If something else is in the way, or the way leads through a link.
        Corrupted
            If a blob does not match its hash; it gets no final name.
        """
        targets = [(item, _path_below_root(manifest, item)) for item in manifest.files]
        missing = [(item, path) for item, path in targets if not _is_there(folder, path, item)]
        advance = _counter(sum(item.size_bytes for item, _ in missing), progress)
        for item, path in missing:
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            copy_verified(self.blob_path(item.digest), target, item.digest, item.path)
            advance(item.size_bytes)
        return [path for _, path in targets]

    def verify(self, manifest: Manifest) -> list[str]:
        """Read every byte of a tree and return the paths that are missing or damaged."""
        return [item.path for item in manifest.files if not self._is_whole(item)]

    def _is_whole(self, item: ManifestFile) -> bool:
        path = self.blob_path(item.digest)
        return os.path.isfile(path) and hash_file(path) == item.digest

    # --- clean ----------------------------------------------------------------------------------------------------

    def collect(self, live_digests: set[str], *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove what no version names and nobody touched for a while; return the bytes freed.

        The grace time protects registrations that run meanwhile: their files are younger.
        """
        horizon = time.time() - grace_seconds
        blobs = {item.digest for digest in live_digests for item in self.load_manifest(digest).files}
        freed = 0
        for kind, live in (("manifests", live_digests), ("blobs", blobs)):
            for path in self._paths(kind):
                if os.path.basename(path) not in live and _last_touched(path) < horizon:
                    freed += os.path.getsize(path)
                    os.unlink(path)
        for kind, live in (("views", live_digests), ("tmp", set())):
            for name in _names(os.path.join(self._root, kind)):
                path = os.path.join(self._root, kind, name)
                if name not in live and _last_touched(path) < horizon:
                    _remove_view(path)
        return freed

    def _paths(self, kind: str) -> Iterator[str]:
        for folder, _, names in os.walk(os.path.join(self._root, kind)):
            yield from (os.path.join(folder, name) for name in names)

    def _manifest_path(self, digest: str) -> str:
        return digest_path(os.path.join(self._root, "manifests"), digest)


def _canonical(manifest: Manifest) -> bytes:
    values = manifest.to_dict()
    del values["digest"]
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _with_digest(manifest: Manifest) -> Manifest:
    from blake3 import blake3

    return manifest.replace(digest=blake3(_canonical(manifest)).hexdigest())


def _path_below_root(manifest: Manifest, item: ManifestFile) -> str:
    root, path = check_relative_path(manifest.root), check_relative_path(item.path)
    return root if manifest.is_file else f"{root}/{path}"


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return advance


def _is_there(folder: str, path: str, item: ManifestFile) -> bool:
    """Say whether the same file is there; refuse links on the way and other content."""
    way = folder
    for part in path.split("/"):
        way = os.path.join(way, part)
        if os.path.islink(way):
            raise Conflict(f"{way} is a link; nothing is written through links. Remove it or choose another folder.")
    if not os.path.lexists(way):
        return False
    if not os.path.isfile(way) or os.path.getsize(way) != item.size_bytes or hash_file(way) != item.digest:
        raise Conflict(f"{way} exists with other content; nothing was overwritten. Remove it or choose another folder.")
    return True


def _make_read_only(folder: str) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        os.chmod(path, 0o555)


def _publish_folder(scratch: str, target: str) -> None:
    os.chmod(scratch, 0o755)  # a folder must be writable to be moved
    try:
        os.rename(scratch, target)
    except OSError:
        if not os.path.isdir(target):
            raise
        _remove_view(scratch)  # another process was quicker; its view is the same
        return
    os.chmod(target, 0o555)
    flush_folder(os.path.dirname(target))


def _remove_view(folder: str) -> None:
    import shutil

    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _last_touched(path: str) -> float:
    status = os.lstat(path)
    return max(status.st_mtime, status.st_ctime)


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


__all__ = ["Store", "StoredTree", "check_relative_path", "open_store"]
