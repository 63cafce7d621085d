"""The store: where the files of versions lie, each content once.

::

    blobs/ab/abcd…      a file under the BLAKE3 of its bytes, mode 0444; or a pack of small files, or a piece of a large one
    manifests/ab/abcd…  canonical JSON of a tree; its own hash is a version's identity
    parts/ab/abcd…      beside a manifest: which slices of which blobs its files are, where they are no blob of their own
    pieces/ab/abcd…     beside a safetensors blob: its header and tensors, each under its hash
    views/abcd…/<root>  links into blobs: what loads and endpoints read in place
    tmp/                private names while being written
    index.sqlite        what this machine remembers, so that nothing is read twice; may be deleted at any time

Everyone else knows only the protocol `Store`: `local.LocalStore` keeps files in a folder, `remote.RemoteStore` on any file
system that fsspec knows. Trees are read through `Tree.open`; only `view` and `checkout` promise files on this machine.
"""

from __future__ import annotations

import os

from ..records import Record
from .local import GRACE_SECONDS, LocalStore, StoredTree, check_relative_path, counter, manifest_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Protocol

    from ..trees import Manifest, ManifestFile, Tree
    from .pieces import Piece

    Progress = Callable[[int, int], None]  # bytes done, bytes in all
    Hold = Callable[[set[str]], None]

    class Store(Protocol):
        """Keeps trees under their digest. Any number of threads and processes may use one store at a time."""

        def import_tree(
            self, tree: Tree, progress: Progress | None = None, *, hold: Hold | None = None, is_linked: bool = False
        ) -> Manifest:
            """Keep the files of a tree; when this returns they survive a power cut.

            `hold` is called with the names that the tree will rely on, after they are known and before anything that is there
            already is trusted: who may remove files must leave these. It is called again, with names that take the place of the
            first, when another who keeps the same content laid it out elsewhere meanwhile. With `is_linked` local files are kept by
            hard links; they become read-only.

            Raises
            ------
            InvalidInput
                If a path could not be kept on every machine, or a file cannot be linked.
            Conflict
                If a file changes while it is copied.
            Refused
                If the quota would be passed.
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

        def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None, *, is_verified: bool = True) -> list[str]:
            """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it.

            A file that is there already with the same content is left alone. After an error the folder is as before. Where
            `is_verified` is False, of a large file that rests since it was found sound only the copy's length is checked.

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
            """Say whether a tree's manifest and all that its files lie in is there; nothing is read."""
            ...

        def verify(self, manifest: Manifest, progress: Progress | None = None) -> list[str]:
            """Read every byte of a tree and return the paths that are missing or damaged."""
            ...

        def damaged(self, manifest: Manifest) -> list[str]:
            """Return the paths that are missing or damaged on this machine; what was found sound is read again only if it changed."""
            ...

        def sha256(self, manifest: Manifest, progress: Progress | None = None) -> dict[str, str]:
            """Return the SHA-256 of each file in hex, by path. It is computed when first asked for, then remembered."""
            ...

        def names_of(self, manifest: Manifest) -> set[str]:
            """Return the blobs that a kept tree lies in, and its own digest.

            Raises
            ------
            Corrupted
                If nobody can say, since the record of its parts is damaged.
            """
            ...

        def blobs(self) -> dict[str, int]:
            """Return every blob that is there and its length in bytes."""
            ...

        def is_sound(self, name: str) -> bool:
            """Read a blob and say whether it is what its name says."""
            ...

        def count_parts(self, manifests: Iterable[Manifest]) -> tuple[int, int]:
            """Return in how many packs of small files, and in how many pieces of large ones, trees lie."""
            ...

        def garbage(self, live: set[str], *, grace_seconds: float = ...) -> list[Garbage]:
            """Return what no live manifest needs and nobody touched for a while. `live` holds digests of manifests, and names of blobs.

            Raises
            ------
            Corrupted
                If a live manifest is damaged: nobody knows what it needs.
            """
            ...

        def remove(self, items: Iterable[Garbage]) -> int:
            """Remove garbage and return the bytes freed. Who calls it makes sure that nothing relies on it by now."""
            ...

        def scratch(self) -> AbstractContextManager[str]:
            """Give a private folder that goes with the context, or with a collection after a crash.

            Raises
            ------
            Unavailable
                If what is done inside meets a full or failing disk.
            """
            ...


class Garbage(Record):
    """Something that may go. ``kind`` is blob, manifest, view or scratch; ``name`` its digest, or its path in the store."""

    kind: str
    name: str
    size_bytes: int = 0


def open_store(
    url: str,
    caches: str,
    *,
    durability: str = "full",
    dedup: str = "file",
    quota_bytes: int | None = None,
    cache_bytes: int | None = None,
) -> Store:
    """Open a store; nothing is created before something is kept.

    Parameters
    ----------
    caches
        A folder on this machine for what a store elsewhere gave, and for views of one that cannot be written.
    durability
        "full": what is kept survives a power cut; "relaxed": the system may write it later.
    dedup
        "file", or "tensor": safetensors files are kept as their pieces.
    quota_bytes, cache_bytes
        What the store may take, and what this machine keeps of a store elsewhere; None is no limit.

    Raises
    ------
    InvalidInput
        If the URL is of a kind that fsspec does not know.
    Unavailable
        If the package that reaches it is not installed, or it cannot be used.
    """
    from blake3 import blake3

    cache = os.path.join(caches, blake3(url.encode()).hexdigest()[:16])
    flushes = durability == "full"
    if "://" not in url or url.startswith("file://"):
        return LocalStore(url.removeprefix("file://"), caches=cache, flushes=flushes, dedup=dedup, quota_bytes=quota_bytes)
    from .cache import Cache
    from .remote import open_remote

    return open_remote(url, Cache(cache, flushes=flushes, dedup=dedup), cache_bytes=cache_bytes)


__all__ = [
    "GRACE_SECONDS",
    "Garbage",
    "LocalStore",
    "StoredTree",
    "check_relative_path",
    "counter",
    "manifest_digest",
    "open_store",
]
