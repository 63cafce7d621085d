"""A store on any file system that fsspec knows, with a local store as its cache on this machine.

Files are hashed and kept in the cache first, then put under their digest where all can see them. What is read comes
through the cache and is checked on its way in. A name is given only to a whole file: object stores do that by
themselves, elsewhere a private name is moved. Source: this project's storage studies; fsspec's ``put_file`` writes onto
the final name, and a crash would leave half a file there.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress

from ..errors import Corrupted, InvalidInput, ModelRegistryError, NotFound, Unavailable
from . import Garbage
from .blobs import digest_path
from .local import GRACE_SECONDS, LocalStore, StoredTree, counter
from .parts import blobs_of, count_parts, parse_parts, slices_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

    from ..trees import Manifest, ManifestFile, Tree
    from . import Hold, Progress
    from .parts import Parts
    from .pieces import Piece

# Object stores: nobody sees half of what is being put.
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"}


def open_remote(url: str, cache: LocalStore, *, cache_bytes: int | None = None) -> RemoteStore:
    """Open a store at an fsspec URL, such as ``s3://bucket/prefix``.

    Raises
    ------
    InvalidInput
        If fsspec knows no such kind of URL.
    Unavailable
        If the package that reaches it is not installed, or it cannot be used.
    """
    from fsspec.core import url_to_fs

    with _asking(url):
        try:
            # What others put meanwhile must be seen, so no listing is remembered.
            file_system, root = url_to_fs(url, use_listings_cache=False)
        except ValueError as error:
            raise InvalidInput(f'The store "{url}" is of a kind that fsspec does not know: {error}.', key="store") from None
    return RemoteStore(url, file_system, str(root).rstrip("/"), cache)


class RemoteStore:
    """Blobs and manifests at a URL; see `Store` for what each method promises. It is as durable as what lies there."""

    def __init__(self, url: str, file_system: Any, root: str, cache: LocalStore) -> None:
        self._url, self._files, self._root, self.cache = url, file_system, root, cache
        self._unsound: set[str] = set()
        protocol = file_system.protocol
        self._puts_whole = not _WHOLE_PUTS.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None, *, hold: Hold | None = None, is_linked: bool = False) -> Manifest:
        """Keep the files of a tree; when this returns others can read them."""
        manifest = self.cache.import_tree(tree, progress, hold=hold, is_linked=is_linked)
        needed = blobs_of(manifest, self.cache.load_parts(manifest))
        advance = counter(sum(needed.values()), progress)
        with _asking(self._url):
            for blob, size in needed.items():
                self._put(self.cache.blob_path(blob), "blobs", blob)
                advance(size)
            if os.path.exists(self.cache.parts_path(manifest.digest)):
                self._put(self.cache.parts_path(manifest.digest), "parts", manifest.digest)
            # The manifest comes last: whoever sees it finds all that it names.
            self._put(self.cache.manifest_path(manifest.digest), "manifests", manifest.digest)
        return manifest

    def _put(self, local: str, kind: str, digest: str) -> None:
        target = self._path(kind, digest)
        if self._size(target) == os.path.getsize(local) and digest not in self._unsound:
            return
        self._unsound.discard(digest)
        if self._puts_whole:
            self._files.put_file(local, target)
            return
        name = f"{self._root}/staging/{secrets.token_hex(8)}"
        for path in (name, target):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.put_file(local, name)
        self._files.mv(name, target)

    def scratch(self) -> AbstractContextManager[str]:
        """Give a private folder on this machine that goes with the context."""
        return self.cache.scratch()

    # --- read -----------------------------------------------------------------------------------------------------

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash."""
        with suppress(NotFound, Corrupted):  # the cache's copy is one of two
            return self.cache.load_manifest(digest)
        with _asking(self._url), suppress(FileNotFoundError), self._files.open(self._path("manifests", digest), "rb") as stream:
            self.cache.admit("manifests", digest, stream, f"Manifest {digest[:12]}…")
        return self.cache.load_manifest(digest)  # says so when there is none

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest."""
        return StoredTree(self, manifest)

    def load_parts(self, manifest: Manifest) -> Parts:
        """Return how a tree's files lie in blobs, where they are none of their own; the same everywhere the manifest is."""
        kept = self.cache.kept_parts(manifest)
        if kept or all(self.local_blob(item) for item in manifest.files):
            return kept
        with _asking(self._url):
            try:
                text = self._files.cat_file(self._path("parts", manifest.digest))
            except FileNotFoundError:
                return {}
        try:
            parts = parse_parts(text, manifest)
        except ValueError as error:
            raise Corrupted(f"The parts of {manifest.root} are damaged where they come from: {error}.") from None
        self.cache.admit_text("parts", manifest.digest, text)
        return parts

    def open_file(self, item: ManifestFile, parts: Parts) -> BinaryIO:
        """Open a file from the cache, else where it lies; nothing is checked."""
        slices = slices_of(parts, item.digest, item.size_bytes)
        if item.digest in parts:
            self._fetch_blobs({blob: offset + size for blob, offset, size in slices}, None)
        if all(os.path.exists(self.cache.blob_path(blob)) for blob, _, _ in slices):
            return self.cache.open_file(item, parts)
        return self._open_far(item.digest, item.path)

    def _open_far(self, blob: str, what: str) -> BinaryIO:
        with _asking(self._url):
            try:
                stream: BinaryIO = self._files.open(self._path("blobs", blob), "rb")
            except FileNotFoundError:
                raise Corrupted(f"{what} is missing from the store {self._url}.") from None
        return stream

    def local_blob(self, item: ManifestFile) -> str | None:
        """Return where this machine has a file already."""
        path = self.cache.blob_path(item.digest)
        return path if os.path.isfile(path) and os.path.getsize(path) == item.size_bytes else None

    def pieces(self, item: ManifestFile) -> list[Piece] | None:
        """Return the pieces of a file, where the cache knows them."""
        return self.cache.pieces(item)

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder on this machine that holds the tree; what the cache lacks is fetched and checked."""
        self._fetch(manifest, None)
        return self.cache.view(manifest)

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it."""
        self._fetch(manifest, progress)
        return self.cache.checkout(manifest, folder)

    def _fetch(self, manifest: Manifest, progress: Progress | None) -> None:
        self._fetch_blobs(blobs_of(manifest, self.load_parts(manifest)), progress, {item.digest: item.path for item in manifest.files})

    def _fetch_blobs(self, needed: dict[str, int], progress: Progress | None, paths: dict[str, str] | None = None) -> None:
        missing = {blob: size for blob, size in needed.items() if not os.path.exists(self.cache.blob_path(blob))}
        advance = counter(sum(missing.values()), progress)
        for blob, size in missing.items():
            what = (paths or {}).get(blob, f"Blob {blob[:12]}…")
            with _asking(self._url), self._open_far(blob, what) as stream:
                self.cache.admit("blobs", blob, stream, what)
            advance(size)

    # --- check ----------------------------------------------------------------------------------------------------

    def holds(self, manifest: Manifest) -> bool:
        """Say whether a tree's manifest and all that its files lie in is there."""
        needed = blobs_of(manifest, self.load_parts(manifest))
        with _asking(self._url):
            return self._size(self._path("manifests", manifest.digest)) is not None and all(
                (self._size(self._path("blobs", blob)) or 0) >= size for blob, size in needed.items()
            )

    def verify(self, manifest: Manifest, progress: Progress | None = None) -> list[str]:
        """Read every byte of a tree where it lies and return the paths that are missing or damaged."""
        parts, advance = self.load_parts(manifest), counter(manifest.size_bytes, progress)
        sound, bad = {}, []
        for item in manifest.files:
            for blob, _, _ in slices_of(parts, item.digest, item.size_bytes):
                if blob not in sound:
                    sound[blob] = self.is_sound(blob)
            if not all(sound[blob] for blob, _, _ in slices_of(parts, item.digest, item.size_bytes)):
                bad.append(item.path)
            advance(item.size_bytes)
        return bad

    def damaged(self, manifest: Manifest) -> list[str]:
        """Return the paths that are missing or damaged in the view on this machine."""
        self._fetch(manifest, None)
        return self.cache.damaged(manifest)

    def is_sound(self, name: str) -> bool:
        """Read a blob where it lies and say whether it is what its name says."""
        from blake3 import blake3

        hasher = blake3()
        try:
            with _asking(self._url), self._open_far(name, name) as stream:
                while data := stream.read(8 << 20):
                    hasher.update(data)
        except Corrupted:
            return False
        if hasher.hexdigest() != name:
            self._unsound.add(name)  # what is kept next takes its place, though its length is right
        return bool(hasher.hexdigest() == name)

    def sha256(self, manifest: Manifest, progress: Progress | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file in hex, by path."""
        self._fetch(manifest, progress)
        return self.cache.sha256(manifest)

    def names_of(self, manifest: Manifest) -> set[str]:
        """Return the blobs that a kept tree lies in, and its own digest."""
        return {manifest.digest, *blobs_of(manifest, self.load_parts(manifest))}

    def blobs(self) -> dict[str, int]:
        """Return every blob that is there and its length in bytes."""
        with _asking(self._url):
            return {path.rpartition("/")[2]: int(about["size"]) for path, about in self._listed("blobs")}

    def count_parts(self, manifests: Iterable[Manifest]) -> tuple[int, int]:
        """Return in how many packs of small files, and in how many pieces of large ones, trees lie."""
        return count_parts(self.load_parts(manifest) for manifest in manifests)

    # --- clean ----------------------------------------------------------------------------------------------------

    def garbage(self, live: set[str], *, grace_seconds: float = GRACE_SECONDS) -> list[Garbage]:
        """Return what no live manifest needs and is older than the grace time."""
        needed = set(live)
        for digest in live:
            with suppress(NotFound):
                needed |= self.names_of(self.load_manifest(digest))
        horizon, found = time.time() - grace_seconds, []
        with _asking(self._url):
            for kind, folder in (("manifest", "manifests"), ("blob", "blobs"), ("scratch", "staging")):
                for path, about in self._listed(folder):
                    name = path.rpartition("/")[2]
                    if name not in needed and self._files.modified(path).timestamp() < horizon:
                        found.append(Garbage(kind=kind, name=name, size_bytes=int(about["size"])))
        return found

    def _listed(self, folder: str) -> list[tuple[str, Any]]:
        return list(self._files.find(f"{self._root}/{folder}", detail=True).items())

    def remove(self, items: Iterable[Garbage]) -> int:
        """Remove garbage and return the bytes freed there."""
        freed, gone = 0, list(items)
        with _asking(self._url):
            for item in gone:
                place = {"manifest": "manifests", "blob": "blobs"}.get(item.kind)
                paths = [self._path(place, item.name)] if place else [f"{self._root}/staging/{item.name}"]
                for path in [*paths, *([self._path("parts", item.name)] if item.kind == "manifest" else [])]:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(path)
                freed += item.size_bytes
        self.cache.remove([item for item in gone if item.kind in ("manifest", "blob")])
        return freed

    def _path(self, kind: str, digest: str) -> str:
        return digest_path(f"{self._root}/{kind}", digest)

    def _size(self, path: str) -> int | None:
        """Return a file's length; None when it is not there."""
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Say in one line why a store elsewhere cannot be used."""
    try:
        yield
    except ModelRegistryError:
        raise
    except ImportError as error:
        raise Unavailable(f'The store "{url}" needs a package that is not installed: {error}.') from None
    except Exception as error:  # what the libraries of the world's stores raise has no common root
        said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise Unavailable(f'The store "{url}" cannot be used: {said}.') from None
