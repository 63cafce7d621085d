"""Doors between an endpoint's processes: a Unix socket in a folder that only its owner enters, a line of JSON for each word.

Through it a supervisor asks its instances how they are, an operation asks the supervisor to look, and a listening socket
is handed from a process to the one that takes over, so that no waiting connection is lost: all accept from one queue. Two
sockets on one port (``SO_REUSEPORT``) would each have a queue of their own, and what waits in the old one's is reset when
it closes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any

    Answer = Callable[[dict[str, Any], "Visitor"], Awaitable[dict[str, Any]]]

NAME = "control.sock"
TIMEOUT_SECONDS = 10.0
LOG = logging.getLogger(__name__)
DESCRIPTOR = "descriptor"  # the key under which an answer names the socket that goes with it


def ask(folder: str, question: dict[str, Any], *, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any] | None:
    """Ask the process whose folder this is one question; None when nobody answers in time."""
    said = _ask(folder, question, timeout_seconds)
    return said[0] if said else None


def take(folder: str) -> socket.socket | None:
    """Ask a process for its listening socket; None when nobody answers."""
    said = _ask(folder, {"ask": "listener"}, TIMEOUT_SECONDS)
    return socket.socket(fileno=said[1][0]) if said and said[1] else None


def _ask(folder: str, question: dict[str, Any], timeout_seconds: float) -> tuple[dict[str, Any], list[int]] | None:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, short(folder) as path:
        asking.settimeout(timeout_seconds)
        asking.connect(path)
        asking.sendall(json.dumps(question).encode() + b"\n")
        text, descriptors = b"", []
        while not text.endswith(b"\n"):
            chunk, received, _, _ = socket.recv_fds(asking, 65536, 1)
            if not chunk:
                return None
            text += chunk
            descriptors += received
        return json.loads(text), descriptors
    return None


class Visitor:
    """Who asks at a door; ``name`` is what it said it is."""

    name = ""


class Door:
    """Answers at a folder's door, in the loop that opened it.

    Parameters
    ----------
    answer
        Called with each question and who asks. A file descriptor under ``descriptor`` goes with the answer.
    left
        Called when somebody has gone.
    """

    def __init__(self, folder: str, answer: Answer, left: Callable[[Visitor], None] = lambda visitor: None) -> None:
        self._folder, self._answer, self._left = folder, answer, left

    async def open(self) -> None:
        """Begin to answer; a socket that a dead process left is replaced."""
        import asyncio

        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short(self._folder) as path:
            with suppress(FileNotFoundError):
                os.unlink(path)
            door.bind(path)
            os.chmod(path, 0o600)
        self._server = await asyncio.start_unix_server(self._welcome, sock=door)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitor = Visitor()
        try:
            while line := await reader.readline():
                said = await self._answer(_question(line), visitor)
                descriptor = said.pop(DESCRIPTOR, None)
                text = json.dumps(said).encode() + b"\n"
                if descriptor is None:
                    writer.write(text)
                    await writer.drain()
                else:
                    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as same:
                        socket.send_fds(same, [text], [descriptor])
        except ConnectionError:
            pass
        except (ValueError, LookupError) as error:
            LOG.warning("A visitor is sent away: %r", error)
        finally:
            writer.close()
            self._left(visitor)


def _question(line: bytes) -> dict[str, Any]:
    """Read a question.

    Raises
    ------
    ValueError
        If it is none.
    """
    question = json.loads(line)
    if not isinstance(question, dict) or not isinstance(question.get("ask"), str):
        raise ValueError("this is no question")
    return question


class Link:
    """A lasting connection to a door. ``closed`` is set when the other side has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import asyncio
        from collections import deque

        self._reader, self._writer = reader, writer
        self._waiting: deque[asyncio.Future[dict[str, Any]]] = deque()
        self.closed = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, folder: str) -> Link:
        """Connect.

        Raises
        ------
        OSError
            If nobody is there.
        """
        import asyncio

        with short(folder) as path:
            return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer; answers come in the order of the questions.

        Raises
        ------
        ConnectionError
            If the other side goes first.
        """
        import asyncio

        if self.closed.is_set():
            raise ConnectionResetError("the other side has gone")
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._writer.write(json.dumps(question).encode() + b"\n")
        return await future

    def close(self) -> None:
        """Go; who waits for an answer is told."""
        self._writer.close()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(json.loads(line))
        except (OSError, ValueError):
            pass
        finally:
            self.closed.set()
            self._writer.close()
            for future in self._waiting:
                if not future.done():
                    future.set_exception(ConnectionResetError("the other side has gone"))


@contextmanager
def short(folder: str, name: str = NAME) -> Iterator[str]:
    """Yield a path of the socket that fits into the 108 bytes a Unix address has."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{name}" if os.path.isdir("/proc/self/fd") else os.path.join(folder, name)
    finally:
        os.close(handle)
