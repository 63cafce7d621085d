"""Read a pickle with inert stand-ins: the real parser, but every name it calls on becomes an empty class.

The interpreter's own unpickler is used, so there is no second reading of the opcodes that could differ from the
loader's. Nothing named in the stream is imported or called.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
from typing import Any

MAX_STACKED = 64


class Reader:
    """A stream without ``peek``: the unpickler then reads no byte ahead, so raw arrays between opcodes can be skipped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        """Read exactly like a file."""
        if not self._pending:
            return bytes(self._stream.read(size))
        if size < 0:
            size = len(self._pending) + (1 << 62)
        head, self._pending = self._pending[:size], self._pending[size:]
        return head if len(head) == size else head + bytes(self._stream.read(size - len(head)))

    def readline(self) -> bytes:
        """Read up to the next line end."""
        if not self._pending:
            return bytes(self._stream.readline())
        head, end, rest = self._pending.partition(b"\n")
        self._pending = rest
        return head + end if end else head + bytes(self._stream.readline())

    def skip(self, count: int) -> None:
        """Skip raw bytes, read in pieces so that a lie about their number costs no memory."""
        while count > 0:
            data = self.read(min(count, 1 << 20))
            if not data:
                raise EOFError("an array ends early")
            count -= len(data)

    def has_more(self) -> bool:
        """Say whether another byte follows."""
        if not self._pending:
            self._pending = bytes(self._stream.read(1))
        return bool(self._pending)


class StubUnpickler(pickle.Unpickler):
    """Collects the names a pickle calls on in ``names``."""

    def __init__(self, reader: Reader, names: set[str]) -> None:
        super().__init__(reader)
        self._reader, self._names = reader, names

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for a name."""
        full = f"{module}.{name}"
        self._names.add(full)
        if full == "joblib.numpy_pickle.NumpyArrayWrapper":
            return type("Wrapper", (_ArrayWrapper,), {"reader": self._reader, "names": self._names})
        return type("Stub", (_Stub,), {"full_name": full})

    def persistent_load(self, identifier: Any) -> Any:
        """Return a stand-in for what lies outside the stream, such as a tensor's storage."""
        return _Stub()


class _Stub:
    """Takes whatever a pickle does to an object and remembers nothing but its arguments."""

    full_name = ""

    def __new__(cls, *arguments: Any, **_: Any) -> Any:
        made = object.__new__(cls)
        made.__dict__["arguments"] = arguments
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        return None

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        return _Stub(*arguments)

    def __hash__(self) -> int:
        return id(self)

    def append(self, item: Any) -> None:
        """Take an item of a list."""

    def extend(self, items: Any) -> None:
        """Take items of a list."""

    def add(self, item: Any) -> None:
        """Take an item of a set."""


class _ArrayWrapper(_Stub):
    """joblib writes an array's raw bytes, or a pickle of its objects, right behind this object's state."""

    reader: Reader
    names: set[str]

    def __setstate__(self, state: Any) -> None:
        padding = state.get("numpy_array_alignment_bytes")
        dtype = state["dtype"]
        kind = str(dtype.arguments[0])
        if kind.startswith(("O", "|O")):
            scan_pickle(self.reader, self.names)
            return
        if padding is not None:
            self.reader.skip(self.reader.read(1)[0])
        self.reader.skip(math.prod(state["shape"]) * _item_bytes(kind, dtype))


def _item_bytes(kind: str, dtype: _Stub) -> int:
    digits = "".join(char for char in kind if char.isdigit())
    if not digits:
        raise ValueError(f"an array of unknown type {kind}")
    return int(digits) * (4 if kind.lstrip("<>=|").startswith("U") else 1)


def scan_pickle(reader: Reader, names: set[str]) -> None:
    """Collect the names of one pickle.

    Raises
    ------
    Exception
        Whatever the parser meets in a broken stream; the names found so far are kept.
    """
    StubUnpickler(reader, names).load()


def scan_pickles(stream: Any) -> tuple[set[str], str]:
    """Read all pickles that follow one another; return their names and why reading stopped, empty at the end.

    Bytes behind a whole pickle that are none are left alone: loaders that read on stop at the same byte.
    """
    reader, names = Reader(stream), set[str]()
    for number in range(MAX_STACKED):
        try:
            scan_pickle(reader, names)
        except Exception as error:  # a hostile stream may make the parser raise anything
            return names, "" if number else f"{type(error).__name__}: {error}"
        if not reader.has_more():
            return names, ""
    return names, "too many pickles in one file"


def looks_like_pickle(head: bytes) -> bool:
    """Say whether a file begins as a pickle of protocol 2 or newer does."""
    return len(head) > 1 and head[0] == 0x80 and head[1] <= 5


def names_in_text_pickle(head: bytes) -> set[str]:
    """Return the names in a pickle of protocol 0 or 1, which begins like text; empty when it is none.

    Prose may begin like one too; what it "names" is no identifier then.
    """
    names: set[str] = set()
    with contextlib.suppress(Exception):  # most files are no pickle; the names found decide
        scan_pickle(Reader(io.BytesIO(head)), names)
    return {name for name in names if all(part.isidentifier() for part in name.split("."))}
