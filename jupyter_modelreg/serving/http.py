"""HTTP/1.1 on asyncio: bytes to requests and back, with limits. It knows no route.

One task a connection answers pipelined requests in order. Whatever a stranger sends ends in a status, never in a
traceback on the wire.
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from http import HTTPStatus

import httptools

from ..records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from typing import Any

MAX_HEADER_BYTES = 16 << 10
MAX_BODY_BYTES = 16 << 20
MAX_WAITING = 64  # pipelined requests of one connection
READ_SECONDS = 20.0  # from a request's first byte to its last
IDLE_SECONDS = 75.0
LOG = logging.getLogger(__name__)


class Request:
    """One request; header names are in lower case."""

    __slots__ = ("body", "headers", "is_kept_alive", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, is_kept_alive: bool) -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.is_kept_alive = is_kept_alive


class Response(Record):
    """One answer. ``body`` is JSON unless ``content_type`` says otherwise."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default={})


def json_response(value: Any, status: int = 200, **headers: str) -> Response:
    """Answer with a value that JSON can hold."""
    return Response(status=status, body=json.dumps(value, allow_nan=False).encode(), headers=headers)


class BadRequest(Exception):
    """What arrived is no request this server takes; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Server:
    """Accepts on a bound socket and hands each request to ``handle``."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]], *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.handle, self.max_body_bytes = handle, max_body_bytes
        self.connections: set[Connection] = set()

    async def start(self, listener: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, backlog=1024)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new connection, let the running requests end, close."""
        self._server.close()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        for connection in list(self.connections):
            connection.finish()
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._requests: list[Request | BadRequest] = []
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_finishing = False
        self._begin()

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._wait(IDLE_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; the answer under way has nobody to go to."""
        self._server.connections.discard(self)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a broken request is answered once and ends the connection."""
        try:
            self._parser.feed_data(data)
            self._check_head_size(len(data))
        except BadRequest as error:
            self._refuse(error)
        except httptools.HttpParserUpgrade:
            self._refuse(BadRequest(400, "This server speaks HTTP/1.1 only."))
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, BadRequest) else BadRequest(400, "Bad request."))
        except httptools.HttpParserError:
            self._refuse(BadRequest(400, "This is no HTTP request."))

    # --- from the parser

    def on_message_begin(self) -> None:
        """Start a request; slow ones are cut off."""
        self._begin()
        self._wait(READ_SECONDS)

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._url += url
        self._head_bytes += len(url)
        self._check_head_size(0)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._head_bytes += len(name) + len(value) + 4
        self._check_head_size(0)
        key = name.decode("latin-1").lower()
        if key in self._headers and key in ("host", "content-length", "authorization"):
            raise BadRequest(400, f"The header {key} stands twice.")
        self._headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced too large before it arrives."""
        self._is_head_complete = True
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._server.max_body_bytes:
            raise self._too_large()
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self._body += data
        if len(self._body) > self._server.max_body_bytes:
            raise self._too_large()

    def on_message_complete(self) -> None:
        """Queue the request for its answer."""
        if self._timer:
            self._timer.cancel()
        try:
            url = httptools.parse_url(self._url)
            path, query = url.path.decode("ascii"), (url.query or b"").decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError):
            raise BadRequest(400, "This is no path.") from None
        body = _decoded(bytes(self._body), self._headers.get("content-encoding", ""), self._server.max_body_bytes)
        method = self._parser.get_method().decode("ascii")
        self._requests.append(Request(method, path, query, self._headers, body, self._parser.should_keep_alive()))
        if len(self._requests) > MAX_WAITING:
            raise BadRequest(429, "Too many requests wait on this connection.")
        self._answer()

    # --- answers

    def finish(self) -> None:
        """Close once nothing is being answered."""
        self._is_finishing = True
        if not self._requests and self._answering is None:
            self._transport.close()

    def _begin(self) -> None:
        self._url, self._body, self._head_bytes = b"", bytearray(), 0
        self._headers: dict[str, str] = {}
        self._is_head_complete = False

    def _answer(self) -> None:
        if self._answering is None:
            self._answering = asyncio.ensure_future(self._answer_all())

    async def _answer_all(self) -> None:
        try:
            while self._requests and not self._transport.is_closing():
                request = self._requests.pop(0)
                if isinstance(request, BadRequest):
                    self._write(json_response({"message": request.message}, request.status), is_kept_alive=False)
                    return
                response = await self._server.handle(request)
                is_kept = request.is_kept_alive and not (self._is_finishing and not self._requests)
                self._write(response, is_kept_alive=is_kept, is_head=request.method == "HEAD")
        except Exception:
            LOG.exception("A request could not be answered")
            self._transport.close()
        finally:
            self._answering = None
        if self._is_finishing:
            self._transport.close()
        elif not self._transport.is_closing():
            self._wait(IDLE_SECONDS)

    def _write(self, response: Response, *, is_kept_alive: bool, is_head: bool = False) -> None:
        if self._transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            f"connection: {'keep-alive' if is_kept_alive else 'close'}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        self._transport.write(head if is_head else head + response.body)
        if not is_kept_alive:
            self._transport.close()

    def _refuse(self, error: BadRequest) -> None:
        self._transport.pause_reading()
        self._requests.append(error)
        self._answer()

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self._answering is not None:
            return
        if self._url or self._headers:
            self._refuse(BadRequest(408, "The request did not arrive in time."))
        else:
            self._transport.close()

    def _check_head_size(self, received: int) -> None:
        if not self._is_head_complete and max(self._head_bytes, 0) > MAX_HEADER_BYTES:
            raise BadRequest(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.")

    def _too_large(self) -> BadRequest:
        return BadRequest(413, f"The body is larger than {self._server.max_body_bytes:,} bytes.")


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip or deflate, up to the limit of a body."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise BadRequest(415, f'The encoding "{encoding[:40]}" is not known; send gzip, deflate or none.')
    decoder = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(400, f"The body is no {encoding}.") from None
    if len(plain) > limit or not decoder.eof:
        raise BadRequest(413 if len(plain) > limit else 400, "The decoded body is too large or incomplete.")
    return plain
