"""HTTP/1.1 on asyncio: bytes to requests and back, with limits. It knows no route.

One task a connection answers pipelined requests in order. Whatever a stranger sends ends in a status, never in a
traceback on the wire, and never in memory without bounds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections import deque
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
READ_SECONDS = 20.0  # from a request's first byte to its last
IDLE_SECONDS = 75.0
LINGER_SECONDS = 2.0  # a refused body is read and dropped so long, else the client never sees why
ONCE_ONLY = ("host", "content-length", "authorization")
LOG = logging.getLogger(__name__)


class Request:
    """One request; header names are in lower case."""

    __slots__ = ("body", "headers", "is_kept_alive", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.is_kept_alive = True


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
    """What arrives is no request this server takes; the connection ends after the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


class Limits(Record):
    """What one client may take."""

    header_bytes: int = MAX_HEADER_BYTES
    body_bytes: int = MAX_BODY_BYTES
    read_seconds: float = READ_SECONDS
    idle_seconds: float = IDLE_SECONDS


class Server:
    """Accepts on a bound socket and hands each request on.

    Parameters
    ----------
    handle
        Answers a whole request.
    refuse
        Looks at a request's head before its body is read; returns an answer to refuse it, or None.
    """

    def __init__(
        self,
        handle: Callable[[Request], Awaitable[Response]],
        refuse: Callable[[Request], Response | None] = lambda request: None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.handle, self.refuse, self.limits = handle, refuse, limits or Limits()
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
    """One client's connection.

    ``_turns`` holds what is to be answered, in order: a request with the refusal it met, if any; a refusal without
    request is the last word of the connection.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._limits = server, server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._turns: deque[tuple[Request | None, Response | None]] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_receiving = self._is_head_complete = False
        self._is_paused = self._is_deaf = self._is_finishing = self._owes_continue = False
        self._number = self._head_bytes = 0

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._wait(self._limits.idle_seconds)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; the answer under way has nobody to go to."""
        self._server.connections.discard(self)
        self._may_write.set()
        self._stop_waiting()

    def pause_writing(self) -> None:
        """Hold the next answer back; the client does not read."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on with the next answer."""
        self._may_write.set()

    def eof_received(self) -> bool:
        """Answer what was asked before the client said its last word."""
        self._is_finishing = True
        return self._answering is not None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a broken request is answered once and ends the connection."""
        if self._is_deaf:
            return
        number = self._number
        try:
            self._parser.feed_data(data)
            if self._is_receiving and not self._is_head_complete and number == self._number:
                # The parser keeps an unfinished header to itself, so whole chunks of it are counted here.
                self._count_head(len(data))
        except BadRequest as error:
            self._end_with(error.response)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._end_with(cause.response if isinstance(cause, BadRequest) else _message("Bad request.", 400))
        except httptools.HttpParserError:
            self._end_with(_message("This is no HTTP request.", 400))

    # --- from the parser

    def on_message_begin(self) -> None:
        """Start a request; slow ones are cut off."""
        self._url, self._body, self._head_bytes = b"", bytearray(), 0
        self._headers: dict[str, str] = {}
        self._number += 1
        self._is_receiving, self._is_head_complete = True, False
        self._wait(self._limits.read_seconds)

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, or what trails a chunked body."""
        self._count_head(len(name) + len(value) + 4)
        key = name.decode("latin-1").lower()
        if key in self._headers and key in ONCE_ONLY:
            raise BadRequest(_message(f"The header {key} stands twice.", 400))
        self._headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Refuse a request by its head, before its body arrives."""
        self._is_head_complete = True
        self._request = Request(self._parser.get_method().decode("ascii"), *_split_url(self._url), self._headers)
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limits.body_bytes:
            raise BadRequest(self._too_large())
        self._refusal = self._server.refuse(self._request)
        has_body = length != "0" or "transfer-encoding" in self._headers
        if self._refusal and has_body:
            raise BadRequest(self._refusal)
        self._owes_continue = self._headers.get("expect", "").lower() == "100-continue"
        self._continue()

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self._body += data
        if len(self._body) > self._limits.body_bytes:
            raise BadRequest(self._too_large())

    def on_message_complete(self) -> None:
        """Queue the request for its answer."""
        self._is_receiving = self._owes_continue = False
        self._stop_waiting()
        request = self._request
        request.body = _decoded(bytes(self._body), self._headers.get("content-encoding", ""), self._limits.body_bytes)
        request.is_kept_alive = self._parser.should_keep_alive()
        self._queue(request, self._refusal)

    # --- turns

    def finish(self) -> None:
        """Close once nothing is being received or answered."""
        self._is_finishing = True
        if not self._is_receiving and self._answering is None:
            self._transport.close()

    def _queue(self, request: Request | None, response: Response | None) -> None:
        self._turns.append((request, response))
        if self._answering is None:
            self._answering = asyncio.ensure_future(self._answer_all())
        elif not self._is_paused and not self._is_deaf:
            # Who pipelines is read on only when the answers keep up.
            self._is_paused = True
            self._transport.pause_reading()
            self._stop_waiting()

    def _end_with(self, response: Response) -> None:
        self._is_deaf, self._is_receiving = True, False
        self._stop_waiting()
        self._queue(None, response)

    def _ignore_upgrade(self) -> None:
        """Answer in HTTP/1.1 a request that offers another protocol, and end there."""
        self._is_deaf = True
        request, _ = self._turns[-1]
        assert request
        request.is_kept_alive = False

    async def _answer_all(self) -> None:
        while self._turns and not self._transport.is_closing():
            request, response = self._turns.popleft()
            if not self._turns:
                self._read_on()
            if response is None:
                assert request
                response = await self._respond(request)
            is_kept = request is not None and request.is_kept_alive and not (self._is_finishing and not self._turns)
            self._write(response, is_kept_alive=is_kept, is_head=request is not None and request.method == "HEAD")
            await self._until_written()
        self._answering = None
        if self._transport.is_closing():
            return
        if self._is_finishing and not self._is_receiving:
            self._transport.close()
        elif not self._is_receiving and not self._is_deaf:
            self._wait(self._limits.idle_seconds)
        self._continue()

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._server.handle(request)
        except Exception:  # the last line of defence: a stranger gets a status, the log all of it
            LOG.exception("A request could not be answered")
            return _message("An unexpected error occurred. Check the logs for more info.", 500)

    def _write(self, response: Response, *, is_kept_alive: bool, is_head: bool) -> None:
        if self._transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, 'Unknown')}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            f"connection: {'keep-alive' if is_kept_alive else 'close'}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        self._transport.write(head if is_head else head + response.body)
        if is_kept_alive:
            return
        if self._is_deaf and self._transport.can_write_eof():
            # Closing on unread bytes resets the connection, and the client would lose the answer with it.
            self._transport.write_eof()
            self._wait(LINGER_SECONDS)
        else:
            self._transport.close()

    async def _until_written(self) -> None:
        if self._may_write.is_set():
            return
        try:
            await asyncio.wait_for(self._may_write.wait(), self._limits.read_seconds)
        except TimeoutError:
            self._transport.abort()

    def _read_on(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
            if self._is_receiving:
                self._wait(self._limits.read_seconds)

    def _continue(self) -> None:
        """Ask for an announced body, once earlier answers are out."""
        if self._owes_continue and self._answering is None:
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- limits

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _give_up(self) -> None:
        if self._is_receiving:
            self._end_with(_message("The request did not arrive in time.", 408))
        elif self._answering is None:
            self._transport.abort()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.header_bytes:
            raise BadRequest(_message(f"The headers are larger than {self._limits.header_bytes:,} bytes.", 431))

    def _too_large(self) -> Response:
        return _message(f"The body is larger than {self._limits.body_bytes:,} bytes.", 413)


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _message(text: str, status: int) -> Response:
    return json_response({"message": text}, status)


def _split_url(url: bytes) -> tuple[str, str]:
    try:
        parts = httptools.parse_url(url)
        return parts.path.decode("ascii"), (parts.query or b"").decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError):
        raise BadRequest(_message("This is no path.", 400)) from None


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip or deflate, up to the limit of a body."""
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "deflate"):
        raise BadRequest(_message(f'The encoding "{encoding[:40]}" is not known; send gzip, deflate or none.', 415))
    decoder = zlib.decompressobj(31 if encoding.lower() == "gzip" else 15)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(_message(f"The body is no {encoding}.", 400)) from None
    if len(plain) > limit:
        raise BadRequest(_message(f"The body is larger than {limit:,} bytes once decoded.", 413))
    if not decoder.eof or decoder.unused_data:
        raise BadRequest(_message(f"The body is no complete {encoding}.", 400))
    return plain
