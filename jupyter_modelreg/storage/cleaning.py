"""What may go at the far end of a store. Only this lists what is there; who reads or registers never does."""

from __future__ import annotations

import time

from ..errors import NotFound
from . import Garbage
from .transfers import in_order, run_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .remote import RemoteStore

# A manifest goes before its parts: nobody finds one without them.
_PLACES = {"manifest": ("manifests", "parts"), "blob": ("blobs", "pieces")}
_KINDS = {"manifests": "manifest", "parts": "manifest", "blobs": "blob", "pieces": "blob", "staging": "scratch"}


def find_garbage(store: RemoteStore, live: set[str], grace_seconds: float) -> list[Garbage]:
    """Return what no live manifest needs and is older than the grace time, there and among private files here."""
    horizon, needed, files = time.time() - grace_seconds, set(live), set[str]()
    for names, digests in in_order(lambda digest: _names_if_there(store, digest), live):
        needed |= names
        files |= digests
    listed = {folder: store.far.listed(folder) for folder in _KINDS}
    # What lies beside something goes with it; a kill may have left it alone, and pieces of what was cut always are.
    apart = {"parts": listed["manifests"].keys(), "pieces": listed["blobs"].keys() | files}
    found = [
        Garbage(kind=kind, name=name, size_bytes=size)
        for folder, kind in _KINDS.items()
        for name, (size, changed) in listed[folder].items()
        if name not in needed and changed < horizon and name not in apart.get(folder, ())
    ]
    here = store.cache.garbage(set(), grace_seconds=grace_seconds)
    return found + [item for item in here if item.kind == "scratch"]


def _names_if_there(store: RemoteStore, digest: str) -> tuple[set[str], set[str]]:
    """Return the names that a manifest relies on, and the digests of its files."""
    try:
        manifest = store.load_manifest(digest)
    except NotFound:  # the name of a blob, or what `verify` complains of
        return set(), set()
    return store.names_of(manifest), {item.digest for item in manifest.files}


def remove_garbage(store: RemoteStore, items: list[Garbage]) -> int:
    """Remove garbage there, and what this machine has of it; return the bytes freed there."""

    def removing(item: Garbage) -> Callable[[Callable[[int], None]], None]:
        def work(tell: Callable[[int], None]) -> None:
            for kind in _PLACES.get(item.kind, ()):
                store.far.remove(kind, item.name)
            if item.kind == "scratch" and not item.name.startswith("tmp/"):
                store.far.remove_staged(item.name)
            tell(item.size_bytes)

        return work

    run_all(map(removing, items), lambda _: None)
    store.cache.remove([item for item in items if item.kind in _PLACES or item.name.startswith("tmp/")])
    return sum(item.size_bytes for item in items)


__all__ = ["find_garbage", "remove_garbage"]
