"""The store: where the files of versions lie, each content once.

::

    blobs/ab/abcd…      a file under the BLAKE3 of its bytes, mode 0444
    manifests/ab/abcd…  canonical JSON of a tree; its own hash is a version's identity
    views/abcd…/<root>  links into blobs: what loads and endpoints read in place
    tmp/                private names while being written

Everyone else knows only the protocol `Store`: `LocalStore` here keeps files in a folder, `remote.RemoteStore` on any file
system that fsspec knows. Trees are read through `Tree.open`; only `view` and `checkout` promise files on this machine.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress

from ..errors import Conflict, Corrupted, InvalidInput, NotFound, Unavailable
from ..folders import flush_folder
from ..records import from_dict
from ..trees import Manifest, ManifestFile, TreeFile, no_such_file
from .blobs import Staging, digest_path, hash_file, remove_folder, storing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Protocol

    from ..trees import Tree
    from .pieces import Piece
    from .remote import RemoteStore

    Progress = Callable[[int, int], None]  # bytes done, bytes in all

    class Store(Protocol):
        """Keeps trees under their digest. Any number of threads and processes may use one store at a time."""

        def import_tree(self, tree: Tree, progress: Progress | None = None) -> Manifest:
            """Keep the files of a tree; when this returns they survive a power cut.

            Raises
            ------
            InvalidInput
                If a path could not be kept on every machine.
            Conflict
                If a file changes while it is copied.
            Unavailable
                If the disk is full or may not be written. Nothing is left behind.
            """
            ...

        def load_manifest(self, digest: str) -> Manifest:
            """Return a kept tree's manifest, checked against its hash.

            Raises
            ------
            NotFound
                If there is none.
            Corrupted
                If its bytes do not match its name.
            """
            ...

        def open_tree(self, manifest: Manifest) -> Tree:
            """Return the files of a manifest; opening one that is missing raises Corrupted."""
            ...

        def pieces(self, item: ManifestFile) -> list[Piece] | None:
            """Return the pieces of a kept file, where it is safetensors and they are known here."""
            ...

        def view(self, manifest: Manifest) -> str:
            """Return a read-only folder on this machine that holds the tree under its root's name.

            Processes may ask at once; a half-made view is never seen.

            Raises
            ------
            Corrupted
                If a blob is missing or has the wrong length.
            """
            ...

        def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None) -> list[str]:
            """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it.

            A file that is there already with the same content is left alone. After an error the folder is as before.

            Raises
            ------
            Conflict
                If something else is in the way, or the way leads through a link.
            Corrupted
                If a blob does not match its hash.
            Unavailable
                If the disk is full or may not be written.
            """
            ...

        def holds(self, manifest: Manifest) -> bool:
            """Say whether a tree's manifest and all its blobs are there; nothing is read."""
            ...

        def verify(self, manifest: Manifest) -> list[str]:
            """Read every byte of a tree and return the paths that are missing or damaged."""
            ...

        def collect(self, live_digests: set[str], *, grace_seconds: float = ...) -> int:
            """Remove what no version names and nobody touched for a while; return the bytes freed.

            The grace time protects registrations that run meanwhile: their files are younger. Call it inside
            `Catalog.frozen`, so that none is recorded between its look and its deed.
            """
            ...

        def scratch(self) -> AbstractContextManager[str]:
            """Give a private folder that goes with the context, or with a collection after a crash.

            Raises
            ------
            Unavailable
                If what is done inside meets a full or failing disk.
            """
            ...


GRACE_SECONDS = 24 * 3600.0
_HERE, _EXCHANGE = -100, 2  # Source: renameat2(2): AT_FDCWD, RENAME_EXCHANGE


def open_store(url: str, caches: str) -> Store:
    """Open a store; nothing is created before something is kept.

    `caches` is a folder on this machine for what a store elsewhere gave.

    Raises
    ------
    InvalidInput
        If the URL is of a kind that fsspec does not know.
    Unavailable
        If the package that reaches it is not installed, or it cannot be used.
    """
    if "://" not in url or url.startswith("file://"):
        return LocalStore(url.removeprefix("file://"))
    from blake3 import blake3

    from .remote import open_remote

    return open_remote(url, LocalStore(os.path.join(caches, blake3(url.encode()).hexdigest()[:16])))


def damaged_files(view: str, manifest: Manifest) -> list[str]:
    """Read every byte of a view and return the paths that are missing or damaged."""
    places = [(item, os.path.join(view, _path_below_root(manifest, item))) for item in manifest.files]
    return [item.path for item, place in places if not os.path.isfile(place) or hash_file(place) != item.digest]


class StoredTree:
    """The files of a manifest, read from the store that holds them."""

    def __init__(self, store: LocalStore | RemoteStore, manifest: Manifest) -> None:
        self._files = {item.path: item for item in manifest.files}
        self._store = store
        self.root, self.is_file = manifest.root, manifest.is_file

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return list(self._files.values())

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading."""
        return self._store.open_blob(self._item(path))

    def local_path(self, path: str) -> str | None:
        """Return where the blob of one file lies on this machine; None where it must be fetched."""
        return self._store.local_blob(self._item(path))

    def _item(self, path: str) -> ManifestFile:
        if path not in self._files:
            raise no_such_file(self, path)
        return self._files[path]


class LocalStore:
    """Blobs, manifests and views in one folder; see `Store` for what each method promises."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None) -> Manifest:
        """Keep the files of a tree; when this returns they survive a power cut."""
        items = sorted(tree.files(), key=lambda item: item.path.encode())
        _check_paths(tree.root, [item.path for item in items])
        advance = counter(sum(item.size_bytes for item in items), progress)
        with Staging(self._root) as staging, storing(f"The files of {tree.root}", self._root):
            files = tuple(self._stage_file(staging, tree, item, advance) for item in items)
            manifest = _with_digest(Manifest(root=tree.root, is_file=tree.is_file, files=files))
            self._stage_manifest(staging, manifest)
            staging.publish()
        return manifest

    def _stage_file(self, staging: Staging, tree: Tree, item: TreeFile, advance: Callable[[int], None]) -> ManifestFile:
        local = tree.local_path(item.path)
        what = item.path if tree.is_file else f"{item.path} of {tree.root}"
        with tree.open(item.path) as stream, storing(what, self._root):
            if local is None:
                name, digest, size = staging.write_stream(stream, advance)
            else:
                name, digest, size = staging.copy_file(stream.fileno(), local, advance)
        if size != item.size_bytes:
            raise Conflict(f"{local or item.path} changed while it was read; nothing was registered. Try again when it rests.")
        staging.keep(name, self.blob_path(digest))
        return ManifestFile(path=item.path, size_bytes=size, digest=digest)

    def _stage_manifest(self, staging: Staging, manifest: Manifest) -> None:
        import io

        name, _, _ = staging.write_stream(io.BytesIO(_canonical(manifest)), lambda _: None)
        staging.keep(name, self.manifest_path(manifest.digest))

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Give a private folder that goes with the context."""
        with Staging(self._root) as staging, storing("What is saved", self._root):
            yield staging.folder

    def admit(self, kind: str, digest: str, stream: BinaryIO, what: str) -> None:
        """Keep a blob or manifest that comes from elsewhere.

        Raises
        ------
        Corrupted
            If its bytes do not match the digest; nothing is kept then.
        """
        with Staging(self._root) as staging, storing(what, self._root, "nothing was fetched"):
            name, found, _ = staging.write_stream(stream, lambda _: None)
            if found != digest:
                raise Corrupted(f"{what} is damaged where it comes from: its bytes are {found[:12]}…, not {digest[:12]}….")
            staging.keep(name, digest_path(os.path.join(self._root, kind), digest))
            staging.publish()

    # --- read -----------------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> str:
        """Return where a blob lies, whether or not it is there."""
        return digest_path(os.path.join(self._root, "blobs"), digest)

    def local_blob(self, item: ManifestFile) -> str:
        """Return where the blob of a file lies."""
        return self.blob_path(item.digest)

    def open_blob(self, item: ManifestFile) -> BinaryIO:
        """Open the blob of a file for reading.

        Raises
        ------
        Corrupted
            If it is missing.
        """
        try:
            return open(self.blob_path(item.digest), "rb")
        except FileNotFoundError:
            raise Corrupted(f"{item.path} is missing from the store {self._root}.") from None

    def manifest_path(self, digest: str) -> str:
        """Return where a manifest lies, whether or not it is there."""
        return digest_path(os.path.join(self._root, "manifests"), digest)

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash."""
        from blake3 import blake3

        if not _is_digest(digest):
            raise NotFound(f'The store has no manifest "{digest[:64]}": a digest has 64 hex digits.')
        try:
            with open(self.manifest_path(digest), "rb") as stream:
                text = stream.read()
        except FileNotFoundError:
            raise NotFound(f"The store has no manifest {digest[:12]}….") from None
        except OSError as error:
            raise Unavailable(f"Manifest {digest[:12]}… cannot be read from the store {self._root}: {error.strerror}.") from None
        if blake3(text).hexdigest() != digest:
            raise Corrupted(f"Manifest {digest[:12]}… is damaged in the store {self._root}. Register its files again to mend it.")
        return from_dict(Manifest, json.loads(text)).replace(digest=digest)

    def pieces(self, item: ManifestFile) -> list[Piece] | None:
        """Return the pieces of a file, where it is safetensors; one whose pieces were not kept is read for them."""
        from .pieces import find_pieces, parse_pieces

        with suppress(FileNotFoundError, ValueError), open(digest_path(os.path.join(self._root, "pieces"), item.digest), "rb") as stream:
            return parse_pieces(stream.read())
        blob = self.blob_path(item.digest)
        return find_pieces(blob) if item.path.endswith(".safetensors") and os.path.isfile(blob) else None

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest, read in place."""
        return StoredTree(self, manifest)

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder that holds the tree under its root's name: links, nothing is copied."""
        target = os.path.join(self._root, "views", manifest.digest)
        if not self._is_view_whole(manifest, target):
            self._make_view(manifest, target)
        return target

    def _is_view_whole(self, manifest: Manifest, target: str) -> bool:
        """Say whether each file of a view is its blob: a power cut may take a link, healing a blob gives it a new inode."""
        try:
            for item in manifest.files:
                seen = os.stat(os.path.join(target, _path_below_root(manifest, item)))
                if seen.st_size != item.size_bytes or not os.path.samestat(seen, os.stat(self.blob_path(item.digest))):
                    return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _make_view(self, manifest: Manifest, target: str) -> None:
        with Staging(self._root) as staging, storing("A view of the files", self._root, "nothing was opened"):
            scratch = os.path.join(staging.folder, "view")
            for item in manifest.files:
                self._link(item, os.path.join(scratch, _path_below_root(manifest, item)))
            for folder, _, _ in os.walk(scratch):
                if folder != scratch:  # one that is to be moved must be writable
                    os.chmod(folder, 0o555)
            self._publish_view(manifest, scratch, target)

    def _publish_view(self, manifest: Manifest, scratch: str, target: str) -> None:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        try:
            os.rename(scratch, target)
        except OSError:
            if not os.path.lexists(target):
                raise
            if self._is_view_whole(manifest, target):
                return  # another process was quicker; its view is the same
            os.chmod(target, 0o755)
            _swap(scratch, target)
        os.chmod(target, 0o555)
        flush_folder(os.path.dirname(target))

    def _link(self, item: ManifestFile, target: str) -> None:
        blob = self.blob_path(item.digest)
        if not os.path.isfile(blob) or os.path.getsize(blob) != item.size_bytes:
            raise Corrupted(f"{item.path} is missing or damaged in the store ({item.digest[:12]}…). Register its content again to mend it.")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(blob, target)
        except OSError:  # no hard links here, or too many of one blob
            os.symlink(blob, target)

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it."""
        from .checkout import Checkout

        targets = [(item, _path_below_root(manifest, item)) for item in manifest.files]
        with Checkout(folder) as target:
            missing = [(item, path) for item, path in targets if not target.has(path, item)]
            advance = counter(sum(item.size_bytes for item, _ in missing), progress)
            for item, path in missing:
                target.write(self.blob_path(item.digest), path, item)
                advance(item.size_bytes)
        return [path for _, path in targets]

    def holds(self, manifest: Manifest) -> bool:
        """Say whether a tree's manifest and all its blobs are there."""
        needed = [self.manifest_path(manifest.digest), *(self.blob_path(item.digest) for item in manifest.files)]
        return all(os.path.exists(path) for path in needed)

    def verify(self, manifest: Manifest) -> list[str]:
        """Read every byte of a tree and return the paths that are missing or damaged."""
        return [item.path for item in manifest.files if not self._is_whole(item)]

    def _is_whole(self, item: ManifestFile) -> bool:
        path = self.blob_path(item.digest)
        return os.path.isfile(path) and hash_file(path) == item.digest

    # --- clean ----------------------------------------------------------------------------------------------------

    def collect(self, live_digests: set[str], *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove what no version names and nobody touched for a while; return the bytes freed."""
        horizon = time.time() - grace_seconds
        blobs = {item.digest for digest in live_digests for item in self.load_manifest(digest).files}
        freed = 0
        for kind, live in (("manifests", live_digests), ("blobs", blobs)):
            for path in self._paths(kind):
                if os.path.basename(path) not in live:
                    freed += _remove_old(path, horizon)
        for kind, live in (("views", live_digests), ("tmp", set())):
            for name in _names(os.path.join(self._root, kind)):
                path = os.path.join(self._root, kind, name)
                if name not in live and _last_touched(path) < horizon:
                    remove_folder(path)
        return freed

    def _paths(self, kind: str) -> Iterator[str]:
        for folder, _, names in os.walk(os.path.join(self._root, kind)):
            yield from (os.path.join(folder, name) for name in names)


def check_relative_path(path: str) -> str:
    """Return a path that stays below where it is joined, on every system.

    Raises
    ------
    InvalidInput
        If it is absolute, climbs, or has parts that some file system would understand in its own way.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(char == "\\" or ord(char) < 32 or ord(char) == 127 for char in path):
        raise InvalidInput(f"{path!r} cannot be a path in a model: no part may be empty, . or .., no character a backslash or a control.")
    return path


def _check_paths(root: str, paths: list[str]) -> None:
    if "/" in check_relative_path(root):
        raise InvalidInput(f'"{root}" cannot be the name of a model\'s root.')
    seen = set()
    for path in paths:
        if check_relative_path(path) in seen:
            raise InvalidInput(f'"{path}" is in the model twice.')
        seen.add(path)
    both = next((way for path in paths for way in _ancestors(path) if way in seen), None)
    if both is not None:
        raise InvalidInput(f'"{both}" is a file and a folder at once.')


def _ancestors(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _canonical(manifest: Manifest) -> bytes:
    values = manifest.to_dict()
    del values["digest"]
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest of a manifest's canonical form: the identity of a version's content."""
    from blake3 import blake3

    return str(blake3(_canonical(manifest)).hexdigest())


def _with_digest(manifest: Manifest) -> Manifest:
    from blake3 import blake3

    return manifest.replace(digest=blake3(_canonical(manifest)).hexdigest())


def _path_below_root(manifest: Manifest, item: ManifestFile) -> str:
    root, path = check_relative_path(manifest.root), check_relative_path(item.path)
    return root if manifest.is_file else f"{root}/{path}"


def counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    """Return a callback that adds up what was done and tells how far it is."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return advance


def _swap(scratch: str, target: str) -> None:
    """Put a folder in the place of a damaged one; in one step where the system can, so that nobody finds nothing there."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call and call(_HERE, os.fsencode(scratch), _HERE, os.fsencode(target), _EXCHANGE) == 0:
        return
    os.rename(target, f"{scratch}.damaged")
    os.rename(scratch, target)


def _remove_old(path: str, horizon: float) -> int:
    """Remove a file that nobody touched since; return its length. Another collection may have been quicker."""
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if max(status.st_mtime, status.st_ctime) < horizon:
            os.unlink(path)
            return status.st_size
    return 0


def _last_touched(folder: str) -> float:
    """Return when anything in a folder changed last; a large file may be written into it for long."""
    newest = 0.0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                newest = max(newest, status.st_mtime, status.st_ctime)
    return newest


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


__all__ = ["LocalStore", "StoredTree", "check_relative_path", "open_store"]
