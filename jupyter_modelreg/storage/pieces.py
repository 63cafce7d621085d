"""The pieces of a safetensors file: its header, its tensors, and big tensors in blocks, each under its own hash.

They are found while the file is hashed anyway. What they are good for: which tensors of a model changed, a tensor that
is kept once although files around it differ, a part of a file that can be read and checked by itself. Source: this
project's storage studies: on checkpoints they find more in common than cuts by content, at less than half the cost.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

from blake3 import blake3

from ..errors import Corrupted, NotFound, nearest
from ..tensors import header_end, parse_header
from .blobs import hash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import ReadableBuffer

    from ..tensors import Tensor
    from ..trees import Manifest, ManifestFile, Tree
    from . import Store

BLOCK_BYTES = 4 << 20


class Piece(NamedTuple):
    """A stretch of a file; ``name`` is the tensor's, empty for the header. ``digest`` is the BLAKE3 of its bytes in hex."""

    name: str
    offset: int
    size_bytes: int
    digest: str


class PieceHasher:
    """Finds the pieces of one file that it is fed in order, in chunks of any size.

    A file that is no sound safetensors file costs a look at its first 8 bytes, or at its header where it claims one.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._head = bytearray()
        self._end = 8  # of the header, once its length is known
        self._plan: Iterator[tuple[str, int]] | None = None  # name and length of each piece to come
        self._name, self._wanted, self._hasher = "", 0, blake3()
        self._found: list[Piece] = []
        self._done = 0
        self.is_over = size_bytes < 10

    def update(self, chunk: ReadableBuffer) -> None:
        """Take the next bytes of the file."""
        if self.is_over:
            return
        with memoryview(chunk) as view:
            at = self._take_header(view) if self._plan is None else 0
            while at < len(view) and not self.is_over:
                at += self._take_piece(view, at)

    def pieces(self) -> list[Piece] | None:
        """Return the pieces, which cover the file without gaps; None when it is no sound safetensors file."""
        return self._found if self._plan is not None and self._done == self._size else None

    def _take_header(self, view: memoryview) -> int:
        """Add to the header what is missing of it; return how many bytes that took."""
        at = 0
        while at < len(view) and len(self._head) < self._end:
            count = min(self._end - len(self._head), len(view) - at)
            self._head += view[at : at + count]
            at += count
            if len(self._head) == self._end == 8:
                self._end = header_end(bytes(self._head), self._size)
        if len(self._head) == self._end:
            self._begin_tensors()
        self.is_over = self.is_over or self._end == 0
        return at

    def _begin_tensors(self) -> None:
        try:
            tensors, _ = parse_header(bytes(self._head[8:]), self._size - self._end)
        except ValueError:
            self.is_over = True
            return
        self._found.append(Piece("", 0, self._end, blake3(self._head).hexdigest()))
        self._done, self._head = self._end, bytearray()
        self._plan = ((tensor.name, size) for tensor in tensors for size in _blocks(tensor.end - tensor.begin))
        self._next_piece()

    def _next_piece(self) -> None:
        assert self._plan is not None
        self._name, self._wanted = next(self._plan, ("", 0))
        self._hasher = blake3()
        self.is_over = self._wanted == 0

    def _take_piece(self, view: memoryview, at: int) -> int:
        count = min(self._wanted, len(view) - at)
        with view[at : at + count] as part:
            self._hasher.update(part)
        self._wanted -= count
        self._done += count
        if self._wanted == 0:
            begin = self._found[-1].offset + self._found[-1].size_bytes
            self._found.append(Piece(self._name, begin, self._done - begin, self._hasher.hexdigest()))
            self._next_piece()
        return count


def find_pieces(path: str) -> list[Piece] | None:
    """Read a file and return its pieces; None when it is no sound safetensors file."""
    import mmap
    import os

    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        hasher = PieceHasher(size)
        hasher.update(stream.read(8))
        if not hasher.is_over:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as view:
                hasher.update(view[8:])
    return hasher.pieces()


def format_pieces(pieces: list[Piece]) -> bytes:
    """Return pieces as the store keeps them: JSON, a list for each."""
    return json.dumps(pieces, separators=(",", ":")).encode()


def parse_pieces(text: bytes, size_bytes: int) -> list[Piece]:
    """Return kept pieces.

    Raises
    ------
    ValueError
        If the text is damaged or they do not cover a file of that length.
    """
    try:
        pieces = [Piece(*entry) for entry in json.loads(text)]
        ends = [0, *(piece.offset + piece.size_bytes for piece in pieces)]
        is_sound = all(piece.offset == end and piece.size_bytes > 0 for piece, end in zip(pieces, ends, strict=False)) and all(
            len(piece.digest) == 64 for piece in pieces
        )
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not is_sound or ends[-1] != size_bytes:
        raise ValueError("the pieces do not cover the file")
    return pieces


def describe_tensors(store: Store, manifest: Manifest) -> dict[str, str]:
    """Return type, shape and hash of each tensor by its name, as far as the store knows a version's pieces.

    A name that stands in several files has the file's path before it.

    Raises
    ------
    Corrupted
        If a file's header is damaged in the store.
    """
    tree = store.open_tree(manifest)
    found = [(item.path, pieces) for item in manifest.files if (pieces := _pieces_of(store, tree, item))]
    counts = Counter(name for _, pieces in found for name in {piece.name for piece in pieces[1:]})
    described = {}
    for path, pieces in found:
        digests = _tensor_digests(pieces)
        for tensor in _read_header(tree, path, pieces[0].size_bytes):
            name = tensor.name if counts[tensor.name] < 2 else f"{path}: {tensor.name}"
            described[name] = f"{tensor.dtype}{tensor.shape} {digests.get(tensor.name, '')[:16]}".strip()
    return described


def _pieces_of(store: Store, tree: Tree, item: ManifestFile) -> list[Piece] | None:
    """Return the pieces of a file; one on this machine whose pieces were not kept, as before there were any, is read for them."""
    pieces = store.pieces(item)
    local = tree.local_path(item.path) if pieces is None and item.path.endswith(".safetensors") else None
    return find_pieces(local) if local and hash_file(local) == item.digest else pieces


def _read_header(tree: Tree, path: str, size_bytes: int) -> list[Tensor]:
    with tree.open(path) as stream:
        head = stream.read(size_bytes)
    try:
        return parse_header(head[8:], None)[0]
    except ValueError as error:
        raise Corrupted(f"{path} is damaged in the store ({error}). Register its content again to mend it.") from None


def _tensor_digests(pieces: list[Piece]) -> dict[str, str]:
    """Return one hash for each tensor: of its piece, or of the hashes of its blocks."""
    blocks: dict[str, list[str]] = {}
    for piece in pieces[1:]:
        blocks.setdefault(piece.name, []).append(piece.digest)
    return {name: found[0] if len(found) == 1 else blake3("".join(found).encode()).hexdigest() for name, found in blocks.items()}


def read_tensor(store: Store, manifest: Manifest, path: str, name: str) -> tuple[Tensor, bytes]:
    """Return one tensor of a kept safetensors file and its bytes, checked; nothing else of the file is read but its header.

    Raises
    ------
    NotFound
        If there is no such file, its pieces are not known here, or it holds no such tensor.
    Corrupted
        If what is read does not match its hash.
    """
    tree = store.open_tree(manifest)
    item = next((item for item in manifest.files if item.path == path), None)
    pieces = item and _pieces_of(store, tree, item)
    if not pieces:
        raise NotFound(f"{path} of {manifest.root} is no safetensors file whose tensors can be read one by one.")
    header = _read_header(tree, path, pieces[0].size_bytes)
    tensor = next((tensor for tensor in header if tensor.name == name), None)
    if tensor is None:
        raise NotFound(f'{path} holds no tensor "{name}".{nearest(name, [tensor.name for tensor in header])}')
    with tree.open(path) as stream:
        wanted = [piece for piece in pieces[1:] if piece.name == name]
        stream.seek(wanted[0].offset if wanted else 0)
        parts = [stream.read(piece.size_bytes) for piece in wanted]
    if any(blake3(part).hexdigest() != piece.digest for part, piece in zip(parts, wanted, strict=True)):
        raise Corrupted(f'"{name}" of {path} is damaged in the store. Register its content again to mend it.')
    return tensor, b"".join(parts)


def count_bytes(store: Store, manifests: Iterable[Manifest]) -> int:
    """Return how many bytes of versions are left when each file, and each tensor whose hash was kept, counts once."""
    files = {item.digest: item for manifest in manifests for item in manifest.files}
    sizes: dict[str, int] = {}
    for item in files.values():
        pieces = store.pieces(item) or [Piece("", 0, item.size_bytes, item.digest)]
        sizes.update((piece.digest, piece.size_bytes) for piece in pieces)
    return sum(sizes.values())


def _blocks(size: int) -> Iterator[int]:
    while size > 0:
        yield min(size, BLOCK_BYTES)
        size -= BLOCK_BYTES


__all__ = ["Piece", "PieceHasher", "count_bytes", "describe_tensors", "find_pieces", "format_pieces", "parse_pieces", "read_tensor"]
