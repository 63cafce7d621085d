"""Real processes that do one thing, are killed at any moment, and say what they did over a pipe that no fault touches."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
import zlib
from collections.abc import Callable
from typing import Any

_write = os.write  # the real one, also where a fault takes its place


class Child:
    """A forked process that runs `work`; what it gives to its argument, ``say(*words)``, is heard here when it has ended."""

    def __init__(self, work: Callable[[Callable[..., None]], None]) -> None:
        sys.stdout.flush()
        self._pipe, pipe = os.pipe()
        self._id = os.fork()
        if self._id == 0:
            os.close(self._pipe)
            _work(work, lambda *words: say(pipe, *words))
        os.close(pipe)

    def kill(self) -> None:
        os.kill(self._id, signal.SIGKILL)

    def end(self) -> tuple[int, list[list[str]]]:
        """Wait; return the exit code, or minus the signal, and every line that was said as its words."""
        with os.fdopen(self._pipe, "rb") as stream:
            lines = stream.readlines()
        code = os.waitstatus_to_exitcode(os.waitpid(self._id, 0)[1])
        return code, [_checked(line) for line in lines]


def say(pipe: int, *words: object) -> None:
    """Write one line with a check field; one write, so that a killed process says all of it or nothing."""
    text = "\t".join(str(word) for word in words)
    _write(pipe, f"{text}\t{zlib.crc32(text.encode()):08x}\n".encode())


def _checked(line: bytes) -> list[str]:
    text, _, check = line.decode().rstrip("\n").rpartition("\t")
    assert check == f"{zlib.crc32(text.encode()):08x}", f"the harness lost a part of {line!r}"
    return text.split("\t")


def _work(work: Callable[[Callable[..., None]], None], tell: Callable[..., None]) -> None:
    code = 1
    try:
        work(tell)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ask(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a process of its own, so that this one keeps nothing open."""

    def answer(tell: Callable[..., None]) -> None:
        tell(pickle.dumps(work(), 0).hex())

    code, lines = Child(answer).end()
    assert code == 0, "a process that was not to fail did; see its traceback"
    return pickle.loads(bytes.fromhex(lines[0][0]))
