"""What the header of a safetensors file says of its bytes: pure text, whoever wrote it.

Stores cut files at their tensors, flavors map them, the scanner judges them. All read the header here, so that nobody
takes for sound what another refuses.
"""

from __future__ import annotations

import json
import math
import re

MAX_HEADER_BYTES = 100 << 20  # Source: safetensors format
MAX_SIGNS = 2_000_000  # of JSON's structure, about 200,000 tensors; what a hostile header makes of memory stays near its own size
MAX_AXES = 256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Tensor:
    """One tensor: its type by the format's name, its shape, and where it begins and ends behind the header."""

    __slots__ = ("begin", "dtype", "end", "name", "shape")

    def __init__(self, name: str, dtype: str, shape: list[int], begin: int, end: int) -> None:
        self.name, self.dtype, self.shape, self.begin, self.end = name, dtype, shape, begin, end


def header_end(head: bytes, size_bytes: int) -> int:
    """Return where the header of a file ends, by its first 8 bytes and its length; 0 when that cannot be."""
    length = int.from_bytes(head[:8], "little")
    return 8 + length if len(head) >= 8 and 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8) else 0


def parse_header(text: bytes, size_bytes: int | None) -> tuple[list[Tensor], dict[str, str]]:
    """Return the tensors in the order of their bytes, and the metadata.

    Parameters
    ----------
    text
        The header without the 8 bytes before it.
    size_bytes
        How many bytes follow it, where that is known. The tensors must cover them, each byte once.

    Raises
    ------
    ValueError
        If that is not so; the text says why.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_SIGNS:
        raise ValueError("its header describes too many tensors")
    try:
        header = json.loads(str(text, "utf-8"), object_pairs_hook=_unique)
        metadata = header.pop("__metadata__", None) or {}
        tensors = [_tensor(name, entry) for name, entry in header.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("its header is broken") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its header is broken")
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    ends = [0, *(tensor.end for tensor in tensors)]
    if not all(map(_fits, tensors)) or any(tensor.begin != end for tensor, end in zip(tensors, ends, strict=False)):
        raise ValueError("its tensors overlap, leave gaps or have a size that is not theirs")
    if size_bytes not in (None, ends[-1]):
        raise ValueError("its length does not fit its header")
    return tensors, metadata


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > MAX_AXES:
        raise TypeError
    if not all(type(count) is int and 0 <= count < 1 << 64 for count in (*shape, begin, end)):
        raise ValueError
    return Tensor(name, dtype, shape, begin, end)


def _fits(tensor: Tensor) -> bool:
    """Say whether a tensor's bytes are as many as its type and shape need."""
    digits = "8" if tensor.dtype == "BOOL" else re.sub(r"^\D+", "", tensor.dtype.partition("_")[0])
    return digits.isdecimal() and len(digits) < 4 and (tensor.end - tensor.begin) * 8 == math.prod(tensor.shape) * int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


__all__ = ["Tensor", "header_end", "parse_header"]
