"""Callers that ask an endpoint again and again, know each question's right answer, and remember when what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from typing import NamedTuple

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.002  # between two questions of one caller, so that the machine has time for what is tried on it


class Failure(NamedTuple):
    """What was not answered with 200, and when: on the clock of `time.monotonic`."""

    what: str
    asked: float
    told: float


class Load:
    """Asks from a thread while the ``with`` block lasts: a scoring script answers ``[its word, what was asked]``.

    Parameters
    ----------
    address
        Host and port of the endpoint.
    callers
        Connections at a time; every second one makes a new connection for each question.
    """

    def __init__(self, address: str, key: str, callers: int = 8, headers: dict[str, str] | None = None) -> None:
        self._host, _, port = address.partition(":")
        self._port, self._callers = int(port), callers
        lines = {"host": address, "authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
        self._head = "POST /score HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.words: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.wrong: list[tuple[int, object]] = []
        self._is_over, self._number = False, 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()))

    def __enter__(self) -> Load:
        self._thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(PATIENCE_SECONDS * 2)

    @property
    def total(self) -> int:
        """How many questions have had an end."""
        return self.words.total() + len(self.failures) + len(self.wrong)

    def go_on(self, count: int = 50) -> None:
        """Wait until so many more questions have had an end."""
        wanted, deadline = self.total + count, time.monotonic() + PATIENCE_SECONDS
        while self.total < wanted:
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.005)

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask_on(is_kept=number % 2 == 0) for number in range(self._callers)))

    async def _ask_on(self, *, is_kept: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._is_over:
            self._number += 1
            number, asked = self._number, time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if connection and connection[0].at_eof():
                        connection[1].close()
                        connection = None
                    if connection is None:
                        connection = await asyncio.open_connection(self._host, self._port)
                        asked = time.monotonic()
                    what, is_open = await self._ask(*connection, number)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                what, is_open = f"{type(error).__name__}: {error}", False
            if what:
                self.failures.append(Failure(what, asked, time.monotonic()))
            if connection and not (is_open and is_kept):
                connection[1].close()
                with contextlib.suppress(OSError):
                    await connection[1].wait_closed()
                connection = None
            await asyncio.sleep(PAUSE_SECONDS)
        if connection:
            connection[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> tuple[str, bool]:
        """Ask one question; return what went wrong, if anything, and whether the connection stays."""
        body = json.dumps({"number": number})
        writer.write(f"{self._head}content-length: {len(body)}\r\n\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        text = await reader.readexactly(length)
        status, is_open = int(head.split()[1]), "connection: close" not in head
        if status != 200:
            return f"{status} {text[:200].decode()}", is_open
        word, told = json.loads(text)
        if told == number:
            self.words[word] += 1
        else:
            self.wrong.append((number, told))
        return "", is_open
