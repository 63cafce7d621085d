"""Bodies in numpy's own file format: the shortest way for one array of numbers. Never pickles, which that format may hold.

Source: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import io
import math

from ..errors import InvalidInput
from .arrays import is_shape
from .calls import Unwritable
from .http import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .http import Request

CONTENT_TYPE = "application/x-npy"
MAGIC, VERSIONS = b"\x93NUMPY", (b"\1\0", b"\2\0", b"\3\0")
MAX_HEADER_BYTES = 4096


def is_wanted(request: Request) -> bool:
    """Say whether the client asks for an answer in this format."""
    return CONTENT_TYPE in request.headers.get("accept", "").lower()


def read(body: bytes | bytearray) -> Any:
    """Return the array in a body; its numbers stay where they are in it.

    Raises
    ------
    InvalidInput
        If it is none, or an array of something else than numbers and booleans.
    """
    import numpy as np

    dtype, shape, order, start = _read_header(body)
    if len(body) - start != math.prod(shape) * dtype.itemsize:
        raise InvalidInput(f"The body has {len(body) - start} bytes of numbers; {dtype.name} of shape {shape} has another size.")
    if dtype.kind == "b":  # any byte but 0 and 1 would be no boolean that numpy knows
        return (np.frombuffer(body, "u1", offset=start) != 0).reshape(shape, order=order)
    return np.frombuffer(body, dtype, offset=start).reshape(shape, order=order)


def _read_header(body: bytes | bytearray) -> tuple[Any, tuple[int, ...], Any, int]:
    """Return type, shape, order and where the numbers begin. numpy's own reader may raise anything, and reads pickles' headers too."""
    import ast

    import numpy as np

    size = 2 if body[6:7] == b"\1" else 4  # of the number that is the header's length
    start = 8 + size + int.from_bytes(body[8 : 8 + size], "little")
    if body[:6] != MAGIC or body[6:8] not in VERSIONS or not 8 + size < start <= min(len(body), MAX_HEADER_BYTES):
        raise InvalidInput("The body is no .npy file; send what numpy.save writes.")
    try:
        header = ast.literal_eval(body[8 + size : start].decode("latin-1").strip())
        dtype, shape = np.dtype(str(header["descr"])), tuple(header["shape"])
        order = "F" if header["fortran_order"] is True else "C"
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
        raise InvalidInput("The body is a .npy file with a broken header; send what numpy.save writes.") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InvalidInput(f"The body is an array of {dtype.name}; only numbers and booleans are taken.")
    if not is_shape(shape):
        raise InvalidInput("The body is a .npy file with a shape that is none.")
    return dtype, shape, order, start


def write(named: dict[str, Any]) -> Response:
    """Answer with a model's only array.

    Raises
    ------
    Unwritable
        If there are several, or it holds text.
    """
    import numpy as np

    if len(named) != 1:
        raise Unwritable(f"The model returned {len(named)} arrays ({', '.join(named)}), and .npy holds one; ask for JSON.")
    array = next(iter(named.values()))
    if array.dtype.kind == "O":
        raise Unwritable("The model returned text, and .npy holds numbers here; ask for JSON.")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return Response(body=stream.getvalue(), content_type=CONTENT_TYPE)
