"""A store in a folder of this machine; see `storage` for what lies where and `storage.Store` for what each method promises."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from functools import cached_property

from ..errors import Corrupted, InvalidInput, NotFound, Refused, Unavailable
from ..records import from_dict
from ..trees import Manifest, ManifestFile, TreeFile, no_such_file
from .blobs import Staging, digest_path, hash_file, is_at_work, remove_folder, storing
from .index import Index, mark
from .parts import blobs_of, count_parts, open_slices, parse_parts, slices_of
from .views import make_view, view_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import BufferedReader
    from typing import BinaryIO

    from ..trees import Tree
    from . import Garbage, Hold, Progress
    from .parts import Parts, Slice
    from .pieces import Piece
    from .remote import RemoteStore

GRACE_SECONDS = 24 * 3600.0
_READ_BYTES = 4 << 20
_NO_PARTS, _NO_CHARACTERS = {"", ".", ".."}, {"\\", "\x7f", *map(chr, range(32))}


class StoredTree:
    """The files of a manifest, read from the store that holds them."""

    def __init__(self, store: LocalStore | RemoteStore, manifest: Manifest) -> None:
        self._items = {item.path: item for item in manifest.files}
        self._store, self._manifest = store, manifest
        self.root, self.is_file = manifest.root, manifest.is_file

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return list(self._items.values())

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading.

        Raises
        ------
        Corrupted
            If what it lies in is missing.
        """
        return self._store.open_file(self._item(path), self._parts)

    def local_path(self, path: str) -> str | None:
        """Return where one file lies on this machine; None where it must be fetched or put together."""
        item = self._item(path)
        return None if item.digest in self._parts else self._store.local_blob(item)

    @cached_property
    def _parts(self) -> Parts:
        return self._store.load_parts(self._manifest)

    def _item(self, path: str) -> ManifestFile:
        if path not in self._items:
            raise no_such_file(self, path)
        return self._items[path]


class LocalStore:
    """Blobs, manifests and views in one folder.

    Parameters
    ----------
    caches
        Where views lie when the folder cannot be written.
    flushes
        Whether what is kept survives a power cut when `import_tree` returns.
    dedup
        "file", or "tensor": safetensors files are kept as their pieces.
    quota_bytes
        What the blobs may take; None is no limit.
    """

    def __init__(
        self, root: str, *, caches: str | None = None, flushes: bool = True, dedup: str = "file", quota_bytes: int | None = None
    ) -> None:
        self._root = os.path.abspath(root)
        self._caches, self._flushes, self._quota_bytes = caches, flushes, quota_bytes
        self.dedup = dedup
        self.index = Index(os.path.join(self._root, "index.sqlite"))

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None, *, hold: Hold | None = None, is_linked: bool = False) -> Manifest:
        """Keep the files of a tree; when this returns they survive a power cut."""
        from .keeping import Keeping

        items = sorted(tree.files(), key=lambda item: item.path.encode())
        _check_paths(tree.root, [item.path for item in items])
        advance = counter(sum(item.size_bytes for item in items), progress)
        with Staging(self._root, flushes=self._flushes) as staging, storing(f"The files of {tree.root}", self._root):
            keeping = Keeping(self, staging, tree, advance, is_linked=is_linked)
            manifest = keeping.stage(items)
            while True:  # others who register the same content may be quicker; each time that they are, one of them is done
                names = keeping.names()
                if hold:
                    hold(names)
                if keeping.settle(items, names):
                    staging.publish(keeping.is_kept)
                    if keeping.is_laid_out():
                        break
            keeping.remember()
        return manifest

    def storing(self, what: str) -> storing:
        """Return a context that turns errors of the file system into one line about `what`."""
        return storing(what, self._root)

    def check_room(self, what: str, size_bytes: int) -> None:
        """Refuse what cannot fit before a byte of it is copied.

        Raises
        ------
        Refused
            If the quota would be passed.
        Unavailable
            If the disk has not that much room.
        """
        from ..settings import size_text

        if self._quota_bytes is not None:
            used = sum(self.blobs().values())
            if used + size_bytes > self._quota_bytes:
                raise Refused(
                    f"{what} needs {size_text(size_bytes)}; the store has {size_text(used)} of its quota of {size_text(self._quota_bytes)}. "
                    "Delete versions and run modelreg store clean, or raise the setting quota; nothing was registered."
                )
        disk = os.statvfs(self._root)
        if size_bytes > disk.f_bavail * disk.f_frsize:
            raise Unavailable(
                f"{what} needs {size_text(size_bytes)}, and the disk of {self._root} has {size_text(disk.f_bavail * disk.f_frsize)} left; "
                "nothing was registered. Set MODELREG_STORE to a folder with room."
            )

    def is_kept(self, target: str) -> bool:
        """Say whether a final name holds what it says; parts are written anew."""
        kind, name = os.path.relpath(target, self._root).split(os.sep)[0], os.path.basename(target)
        if kind == "blobs":
            return self.is_sound(name, is_remembered_enough=True)
        return kind != "parts" and os.path.isfile(target) and (kind == "pieces" or hash_file(target) == name)

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
        with Staging(self._root, flushes=self._flushes) as staging, storing(what, self._root, "nothing was fetched"):
            name, found, _ = staging.write_stream(stream, lambda _: None)
            if found != digest:
                raise Corrupted(f"{what} is damaged where it comes from: its bytes are {found[:12]}…, not {digest[:12]}….")
            staging.keep(name, digest_path(os.path.join(self._root, kind), digest))
            staging.publish(self.is_kept)
            if kind == "blobs":
                self.index.remember_sound([(digest, os.stat(self.blob_path(digest)))])

    def admit_text(self, kind: str, digest: str, text: bytes) -> None:
        """Keep what stands beside a manifest or a blob: its parts or its pieces."""
        import io

        with (
            Staging(self._root, flushes=self._flushes) as staging,
            storing("What belongs to a manifest", self._root, "nothing was fetched"),
        ):
            name, _, _ = staging.write_stream(io.BytesIO(text), lambda _: None)
            staging.keep(name, digest_path(os.path.join(self._root, kind), digest))
            staging.publish(self.is_kept)

    # --- read -----------------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> str:
        """Return where a blob lies, whether or not it is there."""
        return digest_path(os.path.join(self._root, "blobs"), digest)

    def manifest_path(self, digest: str) -> str:
        """Return where a manifest lies, whether or not it is there."""
        return digest_path(os.path.join(self._root, "manifests"), digest)

    def parts_path(self, digest: str) -> str:
        """Return where the parts of a manifest's files lie, where there are any."""
        return digest_path(os.path.join(self._root, "parts"), digest)

    def pieces_path(self, digest: str) -> str:
        """Return where the pieces of a blob lie, where there are any."""
        return digest_path(os.path.join(self._root, "pieces"), digest)

    def has_blob(self, digest: str, size_bytes: int) -> bool:
        """Say whether a blob of that length is there; it is not read."""
        return self.blob_size(digest) == size_bytes

    def blob_size(self, digest: str) -> int:
        """Return the length of a blob in bytes; -1 where there is none."""
        try:
            return os.stat(self.blob_path(digest)).st_size
        except OSError:
            return -1

    def local_blob(self, item: ManifestFile) -> str:
        """Return where the blob of a file lies."""
        return self.blob_path(item.digest)

    def open_file(self, item: ManifestFile, parts: Parts) -> BinaryIO:
        """Open a file for reading, whether it is a blob of its own or lies in others.

        Raises
        ------
        Corrupted
            If what it lies in is missing.
        """
        places = self._places(slices_of(parts, item.digest, item.size_bytes))
        try:
            if item.digest not in parts:
                return open(places[0][0], "rb")
            for path, _, _ in places:
                os.stat(path)
        except FileNotFoundError:
            raise Corrupted(f"{item.path} is missing from the store {self._root}.") from None
        return open_slices(places)

    def _places(self, slices: list[Slice]) -> list[tuple[str, int, int]]:
        return [(self.blob_path(blob), offset, size) for blob, offset, size in slices]

    def is_content(self, slices: list[Slice], digest: str) -> bool:
        """Read slices and say whether together they are what a digest says."""
        from blake3 import blake3

        hasher = blake3()
        try:
            with open_slices(self._places(slices)) as stream:
                while data := stream.read(_READ_BYTES):
                    hasher.update(data)
        except FileNotFoundError:
            return False
        return bool(hasher.hexdigest() == digest)

    def cut_of(self, digest: str) -> list[Slice]:
        """Return the pieces in which a file was kept before, as far as this machine remembers; none elsewhere."""
        with suppress(NotFound, Corrupted):
            return self.index.cut(digest, lambda manifest: self.load_parts(self.load_manifest(manifest)).get(digest, []))
        return []

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash."""
        from blake3 import blake3

        if not is_digest(digest):
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

    def load_parts(self, manifest: Manifest) -> Parts:
        """Return how a tree's files lie in blobs, where they are none of their own.

        Raises
        ------
        Corrupted
            If the record of it is damaged.
        """
        try:
            with open(self.parts_path(manifest.digest), "rb") as stream:
                return parse_parts(stream.read(), manifest)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unavailable(f"The parts of {manifest.root} cannot be read from the store {self._root}: {error.strerror}.") from None
        except ValueError as error:
            raise Corrupted(
                f"The parts of {manifest.root} are damaged in the store {self._root} ({error}). Register its files again to mend them."
            ) from None

    def kept_parts(self, manifest: Manifest) -> Parts:
        """Return a tree's parts as they are kept; none where they are damaged."""
        with suppress(Corrupted):
            return self.load_parts(manifest)
        return {}

    def pieces(self, item: ManifestFile) -> list[Piece] | None:
        """Return the pieces of a file, where it is safetensors and they were kept and are not damaged."""
        from .pieces import parse_pieces

        with suppress(FileNotFoundError, ValueError), open(self.pieces_path(item.digest), "rb") as stream:
            return parse_pieces(stream.read(), item.size_bytes)
        return None

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest, read in place."""
        return StoredTree(self, manifest)

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder that holds the tree under its root's name: links, nothing that is a blob is copied."""
        parts = self.load_parts(manifest)
        paths = {item.path: _path_below_root(manifest, item) for item in manifest.files}
        places = {item.digest: self._places(slices_of(parts, item.digest, item.size_bytes)) for item in manifest.files}
        return make_view(self._view_root(), manifest, paths, places)

    def _view_root(self) -> str:
        """Return where views can be made: beside the blobs, else among the caches."""
        is_writable = self._caches is None or not os.path.isdir(self._root) or os.access(self._root, os.W_OK)
        return self._root if is_writable else str(self._caches)

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None, *, is_verified: bool = True) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it."""
        from .checkout import Checkout

        targets = [(item, _path_below_root(manifest, item)) for item in manifest.files]
        parts = self.load_parts(manifest)
        with Checkout(folder) as target:
            missing = [(item, path) for item, path in targets if not target.has(path, item)]
            advance = counter(sum(item.size_bytes for item, _ in missing), progress)
            for item, path in missing:
                is_trusted = not is_verified and self.is_sound(item.digest, is_remembered_enough=True)
                target.write(self._places(slices_of(parts, item.digest, item.size_bytes)), path, item, is_trusted=is_trusted)
                advance(item.size_bytes)
        return [path for _, path in targets]

    # --- check ----------------------------------------------------------------------------------------------------

    def holds(self, manifest: Manifest) -> bool:
        """Say whether a tree's manifest and all that its files lie in is there; nothing is read."""
        try:
            os.stat(self.manifest_path(manifest.digest))
            needed = blobs_of(manifest, self.load_parts(manifest))
            return all(os.stat(self.blob_path(blob)).st_size >= size for blob, size in needed.items())
        except (FileNotFoundError, Corrupted):
            return False

    def verify(self, manifest: Manifest, progress: Progress | None = None) -> list[str]:
        """Read every byte of a tree and return the paths that are missing or damaged."""
        advance, parts, bad = counter(manifest.size_bytes, progress), self.kept_parts(manifest), []
        for item in manifest.files:
            slices = parts.get(item.digest)
            if not (self.is_content(slices, item.digest) if slices else self.is_sound(item.digest)):
                bad.append(item.path)
            advance(item.size_bytes)
        return bad

    def damaged(self, manifest: Manifest) -> list[str]:
        """Return the paths that are missing or damaged in the view; what was found sound is read again only if it changed."""
        view, bad = self.view(manifest), []
        known = self.index.sound(item.digest for item in manifest.files)
        read: list[tuple[str, os.stat_result]] = []
        for item in manifest.files:
            place = os.path.join(view, _path_below_root(manifest, item))
            with suppress(OSError):
                status = os.stat(place)
                if known.get(item.digest) == mark(status):
                    continue
                if hash_file(place) == item.digest:
                    read.append((item.digest, status))
                    continue
            bad.append(item.path)
        self.index.remember_sound(read)
        return bad

    def is_sound(self, name: str, *, is_remembered_enough: bool = False) -> bool:
        """Read a blob and say whether it is what its name says; on request only if it was written to since it was last read."""
        try:
            status = os.stat(self.blob_path(name))
            if is_remembered_enough and self.index.sound([name]).get(name) == mark(status):
                return True
            is_sound = hash_file(self.blob_path(name)) == name
        except OSError:
            return False
        if is_sound:
            self.index.remember_sound([(name, status)])
        else:
            self.index.forget([name])  # bytes rot without a trace in what a listing shows
        return is_sound

    def sha256(self, manifest: Manifest, progress: Progress | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file in hex, by path. It is computed when first asked for, then remembered."""
        import hashlib
        from typing import cast

        known = self.index.checksums(item.digest for item in manifest.files)
        missing = {item.digest: item for item in manifest.files if item.digest not in known}
        advance, tree, found = counter(sum(item.size_bytes for item in missing.values()), progress), self.open_tree(manifest), {}
        for digest, item in missing.items():
            with tree.open(item.path) as stream:
                found[digest] = hashlib.file_digest(cast("BufferedReader", stream), "sha256").hexdigest()
            advance(item.size_bytes)
        self.index.remember_checksums(found)
        return {item.path: (known | found)[item.digest] for item in manifest.files}

    def names_of(self, manifest: Manifest) -> set[str]:
        """Return the blobs that a kept tree lies in, and its own digest."""
        return {manifest.digest, *blobs_of(manifest, self.load_parts(manifest))}

    def blobs(self) -> dict[str, int]:
        """Return every blob that is there and its length in bytes."""
        found = {}
        for entry in self._entries("blobs"):
            with suppress(FileNotFoundError):
                found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def count_parts(self, manifests: Iterable[Manifest]) -> tuple[int, int]:
        """Return in how many packs of small files, and in how many pieces of large ones, trees lie."""
        return count_parts(self.load_parts(manifest) for manifest in manifests)

    # --- clean ----------------------------------------------------------------------------------------------------

    def garbage(self, live: set[str], *, grace_seconds: float = GRACE_SECONDS) -> list[Garbage]:
        """Return what no live manifest needs and nobody touched for a while."""
        needed, files = set(live), set[str]()
        for digest in live:
            with suppress(NotFound):  # the name of a blob, or what `verify` complains of
                manifest = self.load_manifest(digest)
                needed |= self.names_of(manifest)
                files.update(item.digest for item in manifest.files)
        return list(self._garbage(needed, files, time.time() - grace_seconds))

    def _garbage(self, needed: set[str], files: set[str], horizon: float) -> Iterator[Garbage]:
        from . import Garbage

        for kind, folder, beside in (("manifest", "manifests", "parts"), ("blob", "blobs", "pieces")):
            for entry in self._entries(folder):
                if entry.name not in needed and _touched(entry.path) < horizon:
                    size = _size(entry.path) + _size(digest_path(os.path.join(self._root, beside), entry.name))
                    yield Garbage(kind=kind, name=entry.name, size_bytes=size)
        for name in _names(os.path.join(self._root, "views")):
            if name not in needed and _last_touched(view_folder(self._root, name)) < horizon:
                yield Garbage(kind="view", name=name, size_bytes=_own_bytes(view_folder(self._root, name)))
        for kind, path in self._strays(files):
            if _touched(path) < horizon:
                yield Garbage(kind=kind, name=os.path.basename(path), size_bytes=_size(path))
        for name in _names(os.path.join(self._root, "tmp")):
            path = os.path.join(self._root, "tmp", name)
            if not is_at_work(name) and _last_touched(path) < horizon:
                yield Garbage(kind="scratch", name=os.path.join("tmp", name), size_bytes=_own_bytes(path))

    def _strays(self, files: set[str]) -> Iterator[tuple[str, str]]:
        """Yield parts without a manifest, as a kill may leave them, and pieces of files that are no blobs and that nobody needs.

        They go as what they lie beside would: a registration that has just written them has pinned that name.
        """
        for entry in self._entries("pieces"):
            if entry.name not in files and not os.path.exists(self.blob_path(entry.name)):
                yield "blob", entry.path
        for entry in self._entries("parts"):
            if not os.path.exists(self.manifest_path(entry.name)):
                yield "manifest", entry.path

    def remove(self, items: Iterable[Garbage]) -> int:
        """Remove garbage and return the bytes freed; parts go with their manifest, pieces with their blob."""
        freed, blobs = 0, []
        for item in items:
            if item.kind in ("view", "scratch"):
                path = view_folder(self._root, item.name) if item.kind == "view" else os.path.join(self._root, item.name)
                with suppress(OSError):
                    os.unlink(path)  # a file, or nothing
                remove_folder(path)
            else:
                paths = (self.manifest_path, self.parts_path) if item.kind == "manifest" else (self.blob_path, self.pieces_path)
                with storing(f"{item.kind.capitalize()} {item.name[:12]}…", self._root, "it was not removed"):
                    for path_of in paths:
                        with suppress(FileNotFoundError):
                            os.unlink(path_of(item.name))
                blobs += [item.name] if item.kind == "blob" else []
            freed += item.size_bytes
        self.index.forget(blobs)
        return freed

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield the files of one of the store's folders; what goes meanwhile is passed over."""
        for name in _names(os.path.join(self._root, folder)):
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(os.path.join(self._root, folder, name)) as entries:
                yield from entries


def check_relative_path(path: str) -> str:
    """Return a path that stays below where it is joined, on every system.

    Raises
    ------
    InvalidInput
        If it is absolute, climbs, or has parts that some file system would understand in its own way.
    """
    parts = path.split("/")
    if not _NO_PARTS.isdisjoint(parts) or not _NO_CHARACTERS.isdisjoint(path):
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


def is_digest(text: str) -> bool:
    """Say whether a text is a digest in hex."""
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def canonical(manifest: Manifest) -> bytes:
    """Return a manifest as a store keeps it; the hash of this is its digest."""
    values = manifest.to_dict()
    del values["digest"]
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest of a manifest's canonical form: the identity of a version's content."""
    from blake3 import blake3

    return str(blake3(canonical(manifest)).hexdigest())


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


def _touched(path: str) -> float:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return float("inf")
    return max(status.st_mtime, status.st_ctime)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _own_bytes(path: str) -> int:
    """Return the length of the files in a folder that have no other name, or of a file."""
    if not os.path.isdir(path):
        return _size(path)
    files = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names]
    size = 0
    for file in files:
        with suppress(FileNotFoundError):  # its registration is at work, or another clean-up
            status = os.lstat(file)
            size += status.st_size if status.st_nlink == 1 else 0
    return size


def _last_touched(folder: str) -> float:
    """Return when anything in a folder changed last; a large file may be written into it for long."""
    if not os.path.isdir(folder):
        return _touched(folder)
    newest = 0.0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                newest = max(newest, status.st_mtime, status.st_ctime)
    return newest


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


__all__ = ["GRACE_SECONDS", "LocalStore", "StoredTree", "canonical", "check_relative_path", "counter", "manifest_digest"]
