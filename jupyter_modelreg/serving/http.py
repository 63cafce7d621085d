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
from . import BACKLOG

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
PARTING_SECONDS = 1.0  # so long a server that stops still takes the next request of a kept-alive connection
# What is acted upon; two of one could be read in two ways.
ONCE_ONLY = {
    *("host", "origin", "authorization", "expect", "azureml-model-deployment"),
    *("content-length", "transfer-encoding", "content-type", "content-encoding"),
}
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
        self.is_stopping = False

    async def start(self, listener: socket.socket) -> None:
        """Accept from a listening socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, backlog=BACKLOG)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, answer what was asked and the next request of each kept-alive connection, close."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        self.is_stopping = True
        for listener in self._server.sockets:
            loop.remove_reader(listener.fileno())
        # What was accepted a moment ago is no connection yet, and asyncio drops it when its server is closed first.
        await asyncio.sleep(0.05)
        self._server.close()
        for connection in list(self.connections):
            connection.finish()
        while self.connections and loop.time() < deadline:
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
        self._is_paused = self._is_deaf = self._owes_continue = False
        self._number = self._head_bytes = self._raw_head_bytes = self._raw_body_bytes = 0

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._wait(self._limits.idle_seconds)
        if self._server.is_stopping:
            self.finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection and the answer under way, which has nobody to go to."""
        self._server.connections.discard(self)
        self._may_write.set()
        self._stop_waiting()
        if self._answering:
            self._answering.cancel()

    def pause_writing(self) -> None:
        """Hold the next answer back; the client does not read."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on with the next answer."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a broken request is answered once and ends the connection."""
        if self._is_deaf:
            return
        try:
            if self._raw_body_bytes:
                self._receive_raw(data)
            else:
                self._feed(data)
        except BadRequest as error:
            self._end_with(error.response)
        except httptools.HttpParserUpgrade as stop:
            self.data_received(data[stop.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._end_with(self._response_to(error.__context__))
        except httptools.HttpParserError:
            self._end_with(_message("This is no HTTP request.", 400))

    def _feed(self, data: bytes) -> None:
        number = self._number
        self._parser.feed_data(data)
        if self._is_receiving and not self._is_head_complete and number == self._number:
            # The parser keeps an unfinished header to itself, so whole chunks of it are counted too.
            self._raw_head_bytes += len(data)
            self._count_head(0)

    def _receive_raw(self, data: bytes) -> None:
        """Collect a body that the parser left alone, because its request offers to go on in another protocol."""
        self._body += data[: self._raw_body_bytes]
        self._raw_body_bytes -= len(data[: self._raw_body_bytes])
        if not self._raw_body_bytes:
            self._complete()

    def _response_to(self, error: BaseException | None) -> Response:
        if isinstance(error, BadRequest):
            return error.response
        LOG.error("A request could not be read", exc_info=error)
        return _message("An unexpected error occurred. Check the logs for more info.", 500)

    # --- from the parser

    def on_message_begin(self) -> None:
        """Start a request; slow ones are cut off."""
        self._url, self._body, self._head_bytes, self._raw_head_bytes = b"", bytearray(), 0, 0
        self._headers: dict[str, str] = {}
        self._number += 1
        self._is_receiving, self._is_head_complete = True, False
        self._wait(self._limits.read_seconds)

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; what trails a chunked body was not there when the request was judged, and is dropped."""
        self._count_head(len(name) + len(value) + 4)
        if self._is_head_complete:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers and key in ONCE_ONLY:
            raise BadRequest(_message(f"The header {key} stands twice.", 400))
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Refuse a request by its head, before its body arrives."""
        self._is_head_complete = True
        path, query, host = _split_url(self._url)
        if host is not None:  # Source: RFC 9112, 3.2.2: then the header Host does not count
            self._headers["host"] = host
        self._request = Request(self._parser.get_method().decode("ascii"), path, query, self._headers)
        length = int(self._headers.get("content-length", "0"))
        if length > self._limits.body_bytes:
            raise BadRequest(self._too_large())
        is_chunked = "transfer-encoding" in self._headers
        self._refusal = self._server.refuse(self._request)
        if self._refusal and (length or is_chunked):
            raise BadRequest(self._refusal)
        if self._parser.should_upgrade():
            if is_chunked:
                raise BadRequest(_message("Send a body in chunks without offering another protocol.", 400))
            self._raw_body_bytes = length
        self._owes_continue = self._headers.get("expect", "").lower() == "100-continue" and self._parser.get_http_version() == "1.1"
        self._continue()

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self._body += data
        if len(self._body) > self._limits.body_bytes:
            raise BadRequest(self._too_large())

    def on_message_complete(self) -> None:
        """Queue the request for its answer, once its body is there."""
        if not self._raw_body_bytes:
            self._complete()

    # --- turns

    def finish(self) -> None:
        """Close after what is being received or answered; one that is idle may just be sending its next request."""
        if not self._is_receiving and self._answering is None:
            self._wait(PARTING_SECONDS)

    def _complete(self) -> None:
        self._is_receiving = self._owes_continue = False
        self._stop_waiting()
        request = self._request
        request.body = _decoded(bytes(self._body), self._headers.get("content-encoding", ""), self._limits.body_bytes)
        if self._parser.should_upgrade():  # answered in HTTP/1.1, and nothing more is taken
            self._is_deaf, request.is_kept_alive = True, False
        else:
            request.is_kept_alive = self._parser.should_keep_alive()
        self._queue(request, self._refusal)

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

    async def _answer_all(self) -> None:
        while self._turns and not self._transport.is_closing():
            request, response = self._turns.popleft()
            if not self._turns:
                self._read_on()
            if response is None:
                assert request
                response = await self._respond(request)
            is_kept = request is not None and request.is_kept_alive and not (self._server.is_stopping and not self._turns)
            self._write(response, is_kept_alive=is_kept, is_head=request is not None and request.method == "HEAD")
            await self._until_written()
        self._answering = None
        if self._transport.is_closing():
            return
        if not self._is_receiving and not self._is_deaf:
            self._wait(PARTING_SECONDS if self._server.is_stopping else self._limits.idle_seconds)
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
        if max(self._head_bytes, self._raw_head_bytes) > self._limits.header_bytes:
            raise BadRequest(_message(f"The headers are larger than {self._limits.header_bytes:,} bytes.", 431))

    def _too_large(self) -> Response:
        return _message(f"The body is larger than {self._limits.body_bytes:,} bytes.", 413)


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _message(text: str, status: int) -> Response:
    return json_response({"message": text}, status)


def _split_url(url: bytes) -> tuple[str, str, str | None]:
    """Return path, query and, where a whole URL was given, its host and port as the header Host has them."""
    try:
        parts = httptools.parse_url(url)
        path, query = (parts.path or b"/").decode("ascii"), (parts.query or b"").decode("ascii")
        if parts.host is None:
            return path, query, None
        host = parts.host.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise BadRequest(_message("This is no path.", 400)) from None
    return path, query, (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")


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
