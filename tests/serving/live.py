"""A server of ours in a thread, and raw sockets to talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from jupyter_modelreg.serving import bind_port, new_event_loop
from jupyter_modelreg.serving.http import Limits, Request, Response, Server, json_response

PATIENCE_SECONDS = 20.0


class Live:
    """Serves until the ``with`` block ends, in one of the loops that a server may run in."""

    new_loop: ClassVar[Callable[[], asyncio.AbstractEventLoop]] = staticmethod(new_event_loop)

    def __init__(
        self,
        handle: Callable[[Request], Response | Awaitable[Response]],
        refuse: Callable[[Request], Response | None] = lambda request: None,
        limits: Limits | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.listener = listener or bind_port(None)
        self.port: int = self.listener.getsockname()[1]
        self.server = Server(handle, refuse, limits=limits)
        self.loop = self.new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        self.call(self.server.start(self.listener))
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._abort())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self.loop.close()

    async def _abort(self) -> None:
        self.server.pause()
        self.listener.close()
        for connection in list(self.server.connections):
            connection._transport.abort()
        await asyncio.sleep(0)

    def call(self, step: Any) -> Any:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(step, self.loop).result(PATIENCE_SECONDS)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes and return all that comes back until the server closes; the client's side stays open meanwhile."""
        with self.connect() as client:
            client.sendall(sent)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Read until the other side closes."""
    found = b""
    try:
        while chunk := client.recv(65536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def read_answer(client: socket.socket) -> Answer:
    """Read one answer of a kept-alive connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        chunk = client.recv(1)
        assert chunk, f"the connection ended after {found!r}"
        found += chunk
    length = Answer(found).length
    while len(found.partition(b"\r\n\r\n")[2]) < length:
        chunk = client.recv(65536)
        assert chunk, f"the connection ended after {found!r}"
        found += chunk
    return Answer(found)


class Answer:
    """One answer taken apart: ``status``, ``headers`` (names in lower case), ``body``."""

    def __init__(self, text: bytes) -> None:
        head, _, self.body = text.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.length = int(self.headers.get("content-length", "0"))

    def json(self) -> Any:
        """Return its body parsed."""
        return json.loads(self.body)


def answers_in(text: bytes) -> list[Answer]:
    """Take several answers on one connection apart."""
    found = []
    while text:
        answer = Answer(text)
        rest = answer.body[answer.length :]
        answer.body = answer.body[: answer.length]
        found.append(answer)
        text = rest
    return found


async def echo(request: Request) -> Response:
    """Answer with the request itself."""
    return json_response(
        {"method": request.method, "path": request.path, "query": request.query, "body": request.body.decode("latin-1"), **request.headers}
    )
