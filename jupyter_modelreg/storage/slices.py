"""How files lie at the far end of a store: what is large is cut into slices, so that a transfer goes on where it was cut.

A slice is a blob like any other, named by its own hash: those that arrived are known by their names, on both sides. Where
the cuts are depends on the content alone, so two machines make the same.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from ..errors import Corrupted
from .parts import Parts, Slice, format_parts, slices_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Manifest
    from .cache import Cache

WHOLE_BYTES = 64 << 20  # a blob up to here is not cut
SLICE_BYTES = 32 << 20


class Source(NamedTuple):
    """A stretch of a blob on this machine."""

    blob: str
    offset: int
    size_bytes: int


class FarLayout:
    """How a manifest's files, kept on this machine, shall lie at the far end.

    ``sources`` says where the content of each far blob is here; ``text`` is the record of parts, empty where each file is a blob.
    """

    def __init__(self, cache: Cache, manifest: Manifest) -> None:
        self._cache, self.sources = cache, dict[str, Source]()
        self._sizes: dict[str, int] = {}
        kept, parts = cache.load_parts(manifest), Parts()
        for item in manifest.files:
            slices = slices_of(kept, item.digest, item.size_bytes)
            far = [part for place in slices for part in self._far(place)]
            if [part.blob for part in far] != [item.digest]:
                parts[item.digest] = far
        self.text = format_parts(parts) if parts else b""

    def _far(self, place: Slice) -> list[Slice]:
        """Return where a stretch of a local blob lies at the far end."""
        found, start, end = [], place.offset, place.offset + place.size_bytes
        for offset, cut in self._cuts(place.blob):
            first, last = max(start, offset), min(end, offset + cut.size_bytes)
            if first < last or cut.size_bytes == 0:
                self.sources[cut.blob] = Source(place.blob, offset, cut.size_bytes)
                found.append(Slice(cut.blob, first - offset, last - first))
        return found

    def _cuts(self, blob: str) -> list[tuple[int, Slice]]:
        path = self._cache.blob_path(blob)
        if blob not in self._sizes:
            try:
                self._sizes[blob] = os.path.getsize(path)
            except FileNotFoundError:
                raise Corrupted(f"{blob[:12]}… is missing from the cache on this machine. Register the files again.") from None
        size = self._sizes[blob]
        if size <= WHOLE_BYTES:
            return [(0, Slice(blob, 0, size))]
        names = self._names(blob, size)
        return [(SLICE_BYTES * number, Slice(name, 0, _size(number, size))) for number, name in enumerate(names)]

    def _names(self, blob: str, size: int) -> list[str]:
        """Return the digests of a large blob's slices; they are remembered, since they never change."""
        record = self._cache.slices_path(blob)
        with suppress(OSError, ValueError), open(record, "rb") as stream:
            names = json.loads(stream.read())
            if len(names) == _count(size) and all(isinstance(name, str) and len(name) == 64 for name in names):
                return list(names)
        names, whole = [], blake3(max_threads=blake3.AUTO)
        with open(self._cache.blob_path(blob), "rb") as stream:
            while content := stream.read(SLICE_BYTES):
                whole.update(content)
                names.append(blake3(content, max_threads=blake3.AUTO).hexdigest())
        if whole.hexdigest() != blob:
            raise Corrupted(f"{blob[:12]}… is damaged in the cache on this machine; nothing was sent. Register the files again.")
        self._cache.admit_text("slices", blob, json.dumps(names).encode())
        return names


def is_cut(slices: list[Slice]) -> bool:
    """Say whether slices are a large file that was cut for its way, not one kept in packs or pieces."""
    *whole, last = slices
    return (
        bool(whole)
        and all(part.offset == 0 for part in slices)
        and {part.size_bytes for part in whole} == {SLICE_BYTES}
        and (last.size_bytes <= SLICE_BYTES)
    )


def stretches(blob: str, size: int) -> list[Slice]:
    """Return the stretches in which a large blob is fetched that was put whole."""
    return [Slice(blob, SLICE_BYTES * number, _size(number, size)) for number in range(_count(size))]


def _count(size: int) -> int:
    return -(-size // SLICE_BYTES)


def _size(number: int, size: int) -> int:
    return min(SLICE_BYTES, size - SLICE_BYTES * number)


__all__ = ["SLICE_BYTES", "WHOLE_BYTES", "FarLayout", "Source", "is_cut", "stretches"]
