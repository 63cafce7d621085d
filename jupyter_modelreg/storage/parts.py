"""How files lie in a store that are no blob of their own: each is some slices of blobs, one after another.

Small files lie together in a pack, a checkpoint may lie in its pieces. What a file is, its name and its hash, stands in
the manifest and does not change with where it lies; beside each manifest stand the parts of such files.
"""

from __future__ import annotations

import io
import json
import os
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

    from ..trees import Manifest


class Slice(NamedTuple):
    """A stretch of a blob."""

    blob: str
    offset: int
    size_bytes: int


_DIGITS = frozenset("0123456789abcdef")
Parts = dict[str, list[Slice]]  # the digest of a file -> its slices, in order


def format_parts(parts: Parts) -> bytes:
    """Return parts as a store keeps them."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


def parse_parts(text: bytes, manifest: Manifest) -> Parts:
    """Return kept parts.

    Raises
    ------
    ValueError
        If they are no parts of this manifest's files.
    """
    sizes = {item.digest: item.size_bytes for item in manifest.files}
    try:
        parts = {digest: [Slice(*entry) for entry in entries] for digest, entries in json.loads(text).items()}
        for digest, slices in parts.items():
            if sizes[digest] != sum(item.size_bytes for item in slices) or not all(map(_is_sound, slices)):
                raise ValueError(f"{digest[:12]}… has the wrong length")
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return parts


def _is_sound(item: Slice) -> bool:
    is_name = len(item.blob) == 64 and _DIGITS.issuperset(item.blob)
    return is_name and item.offset >= 0 and item.size_bytes > 0


def slices_of(parts: Parts, digest: str, size_bytes: int) -> list[Slice]:
    """Return where a file lies: its slices, else the blob of its own."""
    return parts.get(digest) or [Slice(digest, 0, size_bytes)]


def blobs_of(manifest: Manifest, parts: Parts) -> dict[str, int]:
    """Return the blobs that a manifest's files lie in, and the length that each must have at least."""
    needed: dict[str, int] = {}
    for item in manifest.files:
        for blob, offset, size in slices_of(parts, item.digest, item.size_bytes):
            needed[blob] = max(needed.get(blob, 0), offset + size)
    return needed


def count_parts(all_parts: Iterable[Parts]) -> tuple[int, int]:
    """Return in how many packs of small files, and in how many pieces of large ones, files lie."""
    packs, pieces = set[str](), set[str]()
    for slices in (slices for parts in all_parts for slices in parts.values()):
        (packs if len(slices) == 1 else pieces).update(item.blob for item in slices)
    return len(packs - pieces), len(pieces)


class SliceReader(io.RawIOBase):
    """Slices of files on this machine as one file, for reading; it seeks, and reads no more than it is asked for.

    Parameters
    ----------
    places
        Path, offset and length of each slice.
    """

    def __init__(self, places: Iterable[tuple[str, int, int]], open_file: Callable[[str], int] | None = None) -> None:
        self._places = list(places)
        self._starts = [0]
        for _, _, size in self._places:
            self._starts.append(self._starts[-1] + size)
        self._open = open_file or (lambda path: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._at = 0
        self._handles: dict[str, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        from bisect import bisect_right

        if self._at >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        path, offset, size = self._places[number]
        inside = self._at - self._starts[number]
        view = memoryview(buffer).cast("B")[: size - inside]
        count = os.preadv(self._handle(path), [view], offset + inside)
        self._at += count
        return count

    def _handle(self, path: str) -> int:
        if path not in self._handles:
            self._close_handles()  # slices come in order; one open file is enough
            self._handles[path] = self._open(path)
        return self._handles[path]

    def _close_handles(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def close(self) -> None:
        self._close_handles()
        super().close()


def open_slices(places: Iterable[tuple[str, int, int]]) -> BinaryIO:
    """Open slices of files on this machine as one file for reading.

    Raises
    ------
    FileNotFoundError
        When what is read lies in a file that is not there.
    """
    return io.BufferedReader(SliceReader(places))


__all__ = ["Parts", "Slice", "SliceReader", "blobs_of", "count_parts", "format_parts", "open_slices", "parse_parts", "slices_of"]
