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
from . import GRACE_SECONDS, LocalStore, StoredTree, counter
from .blobs import digest_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

    from ..trees import Manifest, ManifestFile, Tree
    from . import Progress
    from .pieces import Piece

# Object stores: nobody sees half of what is being put.
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"}


def open_remote(url: str, cache: LocalStore) -> RemoteStore:
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
        self._url, self._files, self._root, self._cache = url, file_system, root, cache
        protocol = file_system.protocol
        self._puts_whole = not _WHOLE_PUTS.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None) -> Manifest:
        """Keep the files of a tree; when this returns others can read them."""
        manifest = self._cache.import_tree(tree, progress)
        advance = counter(manifest.size_bytes, progress)
        with _asking(self._url):
            for item in manifest.files:
                self._put(self._cache.blob_path(item.digest), "blobs", item.digest)
                advance(item.size_bytes)
            # The manifest comes last: whoever sees it finds all that it names.
            self._put(self._cache.manifest_path(manifest.digest), "manifests", manifest.digest)
        return manifest

    def _put(self, local: str, kind: str, digest: str) -> None:
        target = self._path(kind, digest)
        if self._size(target) == os.path.getsize(local):
            return
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
        return self._cache.scratch()

    # --- read -----------------------------------------------------------------------------------------------------

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash."""
        with suppress(NotFound, Corrupted):  # the cache's copy is one of two
            return self._cache.load_manifest(digest)
        with _asking(self._url), suppress(FileNotFoundError), self._files.open(self._path("manifests", digest), "rb") as stream:
            self._cache.admit("manifests", digest, stream, f"Manifest {digest[:12]}…")
        return self._cache.load_manifest(digest)  # says so when there is none

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest."""
        return StoredTree(self, manifest)

    def open_blob(self, item: ManifestFile) -> BinaryIO:
        """Open a file from the cache, else where it lies; nothing is checked."""
        local = self.local_blob(item)
        if local:
            return open(local, "rb")
        return self._open_far(item)

    def _open_far(self, item: ManifestFile) -> BinaryIO:
        with _asking(self._url):
            try:
                stream: BinaryIO = self._files.open(self._path("blobs", item.digest), "rb")
            except FileNotFoundError:
                raise Corrupted(f"{item.path} is missing from the store {self._url}.") from None
        return stream

    def local_blob(self, item: ManifestFile) -> str | None:
        """Return where this machine has a file already."""
        path = self._cache.blob_path(item.digest)
        return path if os.path.isfile(path) and os.path.getsize(path) == item.size_bytes else None

    def pieces(self, item: ManifestFile) -> list[Piece] | None:
        """Return the pieces of a file, where the cache knows them."""
        return self._cache.pieces(item)

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder on this machine that holds the tree; what the cache lacks is fetched and checked."""
        self._fetch(manifest, None)
        return self._cache.view(manifest)

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it."""
        self._fetch(manifest, progress)
        return self._cache.checkout(manifest, folder)

    def _fetch(self, manifest: Manifest, progress: Progress | None) -> None:
        missing = [item for item in manifest.files if self.local_blob(item) is None]
        advance = counter(sum(item.size_bytes for item in missing), progress)
        for item in missing:
            with _asking(self._url), self._open_far(item) as stream:
                self._cache.admit("blobs", item.digest, stream, item.path)
            advance(item.size_bytes)

    def holds(self, manifest: Manifest) -> bool:
        """Say whether a tree's manifest and all its blobs are there."""
        with _asking(self._url):
            return self._size(self._path("manifests", manifest.digest)) is not None and all(
                self._size(self._path("blobs", item.digest)) == item.size_bytes for item in manifest.files
            )

    def verify(self, manifest: Manifest) -> list[str]:
        """Read every byte of a tree where it lies and return the paths that are missing or damaged."""
        return [item.path for item in manifest.files if not self._is_whole(item)]

    def _is_whole(self, item: ManifestFile) -> bool:
        from blake3 import blake3

        hasher = blake3()
        try:
            with _asking(self._url), self._open_far(item) as stream:
                while data := stream.read(8 << 20):
                    hasher.update(data)
        except Corrupted:
            return False
        return hasher.hexdigest() == item.digest

    # --- clean ----------------------------------------------------------------------------------------------------

    def collect(self, live_digests: set[str], *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove what no version names and is older than the grace time, here and in the cache; return the bytes freed there."""
        horizon = time.time() - grace_seconds
        blobs = {item.digest for digest in live_digests for item in self.load_manifest(digest).files}
        freed = 0
        with _asking(self._url):
            for kind, live in (("manifests", live_digests), ("blobs", blobs), ("staging", set())):
                for path, about in self._files.find(f"{self._root}/{kind}", detail=True).items():
                    if path.rpartition("/")[2] not in live and self._files.modified(path).timestamp() < horizon:
                        self._files.rm_file(path)
                        freed += int(about["size"])
        self._cache.collect(live_digests, grace_seconds=grace_seconds)
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
