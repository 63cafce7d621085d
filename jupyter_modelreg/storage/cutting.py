"""Keep a safetensors file as its pieces, so that a tensor which another file has too takes no space again.

Pieces from 64 KiB on are blobs of their own; the header and what is smaller lie one after another in one more blob.
"""

from __future__ import annotations

from ..errors import Corrupted
from .parts import Slice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from .blobs import Staging
    from .pieces import Piece

CUT_FROM_BYTES = 1 << 20
BLOB_FROM_BYTES = 64 << 10


def stage_pieces(
    staging: Staging, source: int, pieces: list[Piece], keep: Callable[[str, str], None], known: AbstractSet[str]
) -> list[Slice]:
    """Copy the pieces of an open file that are not known yet to private files; return which slices of which blobs make it up.

    `keep` is told each private file and its digest; what is `known` is not copied.

    Raises
    ------
    Corrupted
        If a piece is not what it was a moment ago.
    """
    small = [piece for piece in pieces if piece.size_bytes < BLOB_FROM_BYTES]
    packed, staged = "", set[str]()
    if small:
        name, packed = staging.copy_ranges(source, [(piece.offset, piece.size_bytes) for piece in small])
        keep(name, packed)
    for piece in pieces:
        if piece.size_bytes >= BLOB_FROM_BYTES and piece.digest not in known and piece.digest not in staged:
            name, digest = staging.copy_ranges(source, [(piece.offset, piece.size_bytes)])
            if digest != piece.digest:
                raise Corrupted(f'"{piece.name}" is not what was read before; the memory or the disk of this machine is at fault.')
            staged.add(digest)
            keep(name, digest)
    return list(_joined(_slices(pieces, packed)))


def _slices(pieces: list[Piece], packed: str) -> Iterator[Slice]:
    at = 0
    for piece in pieces:
        if piece.size_bytes >= BLOB_FROM_BYTES:
            yield Slice(piece.digest, 0, piece.size_bytes)
        else:
            yield Slice(packed, at, piece.size_bytes)
            at += piece.size_bytes


def _joined(slices: Iterator[Slice]) -> Iterator[Slice]:
    """Join slices that follow one another in one blob."""
    last: Slice | None = None
    for item in slices:
        if last and last.blob == item.blob and last.offset + last.size_bytes == item.offset:
            last = last._replace(size_bytes=last.size_bytes + item.size_bytes)
            continue
        if last:
            yield last
        last = item
    if last:
        yield last
