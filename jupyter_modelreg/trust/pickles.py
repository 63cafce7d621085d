"""Read a pickle with inert stand-ins: the real parser, but every name it calls on becomes an empty class.

The interpreter's own unpickler is used, so there is no second reading of the opcodes that could differ from the
loader's. Nothing named in the stream is imported or called. Up to the first name the stand-ins change nothing at all:
a stream that breaks before it names anything breaks there in every loader.
"""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

from ..safe_names import NUMPY_FUNCTIONS, full_name

MAX_STACKED = 64
_PIECE = 1 << 20
_ARRAY_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"


class Found:
    """What a stream was found to be.

    ``names`` it calls on, whether it ``is_whole``: read to its end, whether anything named ``is_called`` or changed, and
    why reading ``stopped`` where a loader might go on; ``is_exhausted`` when that was a limit.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lookups = 0
        self.is_whole = False
        self.is_called = False
        self.has_arrays = False
        self.is_exhausted = False
        self.stopped = ""


class Reader:
    """A stream without ``peek``: the unpickler then reads no byte ahead, so raw arrays between opcodes can be skipped.

    What it does for each opcode is the stream's own, since a pickle may have a hundred million.

    Parameters
    ----------
    size
        Length of the stream in bytes where it is known: then a lie about a length costs nothing.
    """

    def __init__(self, stream: Any, size: int | None = None) -> None:
        self.read, self.readline = stream.read, stream.readline
        self._stream, self._size = stream, size

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what follows; what a large one holds is of no interest and is left out."""
        if len(buffer) <= _PIECE:
            return int(self._stream.readinto(buffer))
        self.skip(len(buffer))
        return len(buffer)

    def skip(self, count: int) -> None:
        """Skip raw bytes: by seeking where the length is known, else by reading in pieces."""
        if self._size is not None and count > self._size - self._stream.tell():
            raise EOFError("it ends early")
        if self._size is not None:
            self._stream.seek(count, 1)
            return
        while count > 0:
            found = self.read(min(count, _PIECE))
            if not found:
                raise EOFError("it ends early")
            count -= len(found)

    def has_more(self) -> bool:
        """Say whether another byte follows."""
        return bool(self._stream.peek(1))

    def is_beyond_end(self) -> bool:
        """Say whether the length that was read last is more than is left: a loader would fail there as well."""
        if self._size is None:
            return False
        at = self._stream.tell()
        self._stream.seek(max(at - 8, 0))
        last = self._stream.read(min(at, 8))
        return all(int.from_bytes(last[-width:], "little") > self._size - at for width in (4, 8))


def scan_pickles(stream: Any, size: int | None = None) -> Found:
    """Read all pickles that follow one another from where a stream stands.

    Bytes behind a whole pickle that break before they name anything are none and are left alone.
    """
    found, reader = Found(), Reader(stream, size)
    for number in range(MAX_STACKED):
        _scan_one(StubUnpickler(reader, found), reader, found)
        if found.stopped or (number and not found.is_whole):
            break
        if not found.is_whole or not reader.has_more():
            return found
        found.is_whole = False
    else:
        found.stopped = "too many pickles in one file"
    found.is_whole = not found.stopped
    return found


def scan_plainly(stream: Any, size: int | None, found: Found) -> None:
    """Read on as a loader does that knows nothing of joblib's arrays, and add what it would meet.

    joblib's own files stop such a loader at the first array, whose padding is no opcode, or in a pickle within the
    pickle. The second stop is the same for every loader unless something in the file can make a text or a tuple.
    """
    plain, reader = Found(), Reader(stream, size)
    try:
        StubUnpickler(reader, plain, knows_arrays=False).load()
    except Exception as error:  # a hostile stream may make the parser raise anything
        is_sure = str(error).startswith("invalid load key, '\\x") or not any(map(_makes_values, found.names | plain.names))
        found.stopped = found.stopped or ("" if is_sure else f"{type(error).__name__}: {error}")
    found.names |= plain.names


_MAKERS = re.compile(r"(builtins|__builtin__)[.:](str|unicode|tuple|list|dict|bytes|bytearray)|(_codecs|collections)[.:].*")


def _makes_values(name: str) -> bool:
    """Say whether a name stands for something that gives a text, tuple or mapping, which opcodes may take."""
    return _MAKERS.fullmatch(name) is not None or name.removeprefix("numpy.") in NUMPY_FUNCTIONS


def looks_like_pickle(head: bytes) -> bool:
    """Say whether a file begins as a pickle of protocol 2 or newer does."""
    return len(head) > 1 and head[0] == 0x80 and head[1] <= 5


class StubUnpickler(pickle.Unpickler):
    """Collects in ``found`` what a pickle calls on."""

    def __init__(self, reader: Reader, found: Found, *, knows_arrays: bool = True) -> None:
        super().__init__(reader)
        self._reader, self._found, self._knows_arrays = reader, found, knows_arrays
        self._stubs: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for a name."""
        full = full_name(module, name)
        self._found.names.add(full)
        self._found.lookups += 1
        if full not in self._stubs:
            is_array = full == _ARRAY_WRAPPER and self._knows_arrays
            shared = {"full_name": full, "found": self._found, "reader": self._reader}
            self._stubs[full] = type("Stub", (_ArrayWrapper if is_array else _Stub,), shared)
        return self._stubs[full]

    def persistent_load(self, identifier: Any) -> Any:
        """Return a stand-in for what lies outside the stream: a tensor's storage, or a class in torch's old format."""
        is_class = isinstance(identifier, tuple) and len(identifier) > 1 and identifier[0] == "module" and isinstance(identifier[1], type)
        return identifier[1] if is_class else _Stub()


# What gives a class, which opcodes may make objects of.
_CLASS_MAKERS = frozenset(["builtins.type", *(f"cloudpickle.cloudpickle.{name}" for name in ["_make_skeleton_class", "_builtin_type"])])


class _Stub:
    """Takes whatever a pickle does to an object and remembers nothing but its arguments and state."""

    full_name = ""
    found = Found()
    reader: Reader

    def __new__(cls, *arguments: Any, **_: Any) -> Any:
        cls.found.is_called = True
        if cls.full_name in _CLASS_MAKERS:
            return type("Stub", (_Stub,), {"found": cls.found})
        made = object.__new__(cls)
        made.__dict__["arguments"] = arguments
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state  # made by a call, or BUILD would have failed on the class

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
    """joblib writes an array's raw bytes, or a pickle of its objects, right behind this object's state.

    Whatever is not as joblib writes it ends the reading: how a loader would go on is not known then.
    """

    def __setstate__(self, state: Any) -> None:
        if "state" in self.__dict__ or self.__dict__["arguments"]:
            raise ValueError("an array that is described twice")
        self.__dict__["state"] = state
        self.found.has_arrays = True
        item_bytes = _item_bytes(state["dtype"])
        if item_bytes is None:
            StubUnpickler(self.reader, self.found, knows_arrays=False).load()
            return
        if state.get("numpy_array_alignment_bytes") is None:
            raise ValueError("an array without padding, as joblib before 1.2 wrote it; save it again")
        padding = self.reader.read(1)[0]
        if not 1 <= padding <= 16:
            raise ValueError(f"an array with {padding} bytes of padding")
        self.reader.skip(padding)
        self.reader.skip(math.prod(state["shape"]) * item_bytes)


_DTYPE = re.compile(r"[<>=|]?([biufcSUVMmO])(\d+)(\[\w+\])?")


def _item_bytes(dtype: Any) -> int | None:
    """Return the size of an array's items, or None where they are objects, as numpy would take it from the stub."""
    kind, size = _kind(dtype)
    state = dtype.__dict__.get("state")
    if kind == "O" or _holds_objects(state):
        return None
    if kind in "SUV" and state is not None and state[5] not in (-1, size):
        raise ValueError("an array whose type contradicts itself")
    return size


def _kind(dtype: Any) -> tuple[str, int]:
    match = _DTYPE.fullmatch(str(dtype.arguments[0])) if getattr(dtype, "full_name", "") == "numpy.dtype" else None
    if not match:
        raise ValueError("an array of unknown type")
    return match[1], int(match[2]) * (4 if match[1] == "U" else 1)


def _holds_objects(state: Any) -> bool:
    """Say whether a structured type has an object among its fields."""
    waiting, seen = [state], 0
    while waiting:
        item, seen = waiting.pop(), seen + 1
        if seen > 10_000:
            raise ValueError("an array of too many fields")
        if isinstance(item, _Stub):
            if _kind(item)[0] == "O":
                return True
            waiting.append(item.__dict__.get("state"))
        elif isinstance(item, (tuple, list)):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
    return False


def _scan_one(unpickler: StubUnpickler, reader: Reader, found: Found) -> None:
    lookups = found.lookups
    try:
        unpickler.load()
        found.is_whole = True
    except MemoryError:
        found.is_exhausted = not reader.is_beyond_end()
        found.stopped = "it holds something too large" if found.is_exhausted else ""
    except Exception as error:  # a hostile stream may make the parser raise anything
        found.is_called |= isinstance(error, (TypeError, AttributeError))  # what a stand-in cannot do, the real thing may
        if found.lookups > lookups:
            found.stopped = f"{type(error).__name__}: {error}"
