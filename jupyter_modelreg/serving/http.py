"""HTTP/1.1 on asyncio: bytes to requests and back, with limits. It knows no route.

A connection answers pipelined requests in order. Whatever a stranger sends ends in a status, never in a traceback on the
wire, and never in memory without bounds.

Between a request's last byte and its answer stand plain calls: a handler returns a `Response`, or a `Pending` that is
settled later, and only for what takes its time a coroutine, which gets a task. A client that is kept alive sends the same
head again and again, so heads that the parser has taken once are found again by their bytes, and only bodies are new.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import zlib
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from time import monotonic

import httptools

from ..records import Record
from .compression import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from typing import Any

MAX_HEADER_BYTES = 16 << 10
MAX_BODY_BYTES = 16 << 20
READ_SECONDS = 20.0  # from a request's first byte to its last
IDLE_SECONDS = 75.0
LINGER_SECONDS = 2.0  # a refused body is read and dropped so long, else the client never sees why
PARTING_SECONDS = 1.0  # so long a server that stops still takes the next request of a kept-alive connection
SWEEP_SECONDS = 0.25  # how often connections are asked whether their time is up; one timer for all of them
CROWD = 0.5  # of the file descriptors a process may have, the share that connections take; the rest is for who answers them
CROWDED_SECONDS = 0.5  # until a process without a free file descriptor accepts again
READ_BYTES = 64 << 10  # at a time
MAX_ACCEPTED_AT_ONCE = 16  # so that instances that share a listening socket share its clients
MAX_HEADS = 512
MAX_KNOWN_HEAD_BYTES = 2048
MAX_JOINED_BYTES = 64 << 10  # a larger body is written beside its head, not copied behind it
MIN_DIRECT_BYTES = 64 << 10  # when more than so much of a body is still to come, it is received where it stays
MAX_ROOM_BYTES = 1 << 20  # that is made for it at once, or as much as is there
# What is acted upon; two of one could be read in two ways.
ONCE_ONLY = {
    *("host", "origin", "authorization", "expect", "azureml-model-deployment"),
    *("content-length", "transfer-encoding", "content-type", "content-encoding"),
}
LOG = logging.getLogger(__name__)


class Request:
    """One request; header names are in lower case, and the mapping is shared with later requests of an equal head.

    ``is_forwarded`` is True for one that another instance has checked and sent on, ``takes_chunks`` for HTTP/1.1;
    ``mirror`` names the deployment that gets a copy once it is answered; ``peer`` is the address that asks.
    """

    __slots__ = ("body", "head", "headers", "is_forwarded", "is_kept_alive", "method", "mirror", "path", "peer", "query", "takes_chunks")

    def __init__(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes | bytearray = b"") -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.is_kept_alive = self.takes_chunks = True
        self.is_forwarded = False
        self.head: Head | None = None
        self.mirror: str | None = None
        self.peer = ""


class Head:
    """A request's head that was parsed before, under its bytes. ``passed`` is for who refuses by heads: under what it passed."""

    __slots__ = ("headers", "length", "method", "passed", "path", "query")

    def __init__(self, request: Request, length: int) -> None:
        self.method, self.path, self.query, self.headers = request.method, request.path, request.query, request.headers
        self.length = length
        self.passed: object = None


class Response:
    """One answer. ``body`` is JSON unless ``content_type`` says otherwise.

    Parameters
    ----------
    stream
        Pieces that follow as they come, instead of ``body``; closed when the client goes.
    lines
        Header lines that stand already as bytes, each with its line end.
    """

    __slots__ = ("body", "content_type", "headers", "lines", "status", "stream")

    def __init__(
        self,
        *,
        status: int = 200,
        body: bytes = b"",
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        stream: AsyncGenerator[bytes, None] | None = None,
        lines: bytes = b"",
    ) -> None:
        self.status, self.body, self.content_type, self.stream, self.lines = status, body, content_type, stream, lines
        self.headers: dict[str, str] = headers or {}


def json_response(value: Any, status: int = 200, **headers: str) -> Response:
    """Answer with a value that JSON can hold."""
    return Response(status=status, body=json.dumps(value, allow_nan=False).encode(), headers=headers)


class Pending:
    """An answer that is still to come. All of it happens in the loop's thread."""

    __slots__ = ("_then", "is_dropped", "response")

    def __init__(self) -> None:
        self.response: Response | None = None
        self.is_dropped = False
        self._then: Callable[[Response], None] | None = None

    def then(self, call: Callable[[Response], None]) -> None:
        """Call with the answer once it is there, or now."""
        if self.response is not None:
            call(self.response)
        else:
            self._then = call

    def settle(self, response: Response) -> None:
        """Give the answer; a second one, or one for a client that has gone, goes nowhere."""
        if self.response is None:
            self.response = response
            if self._then is not None and not self.is_dropped:
                self._then(response)

    def drop(self) -> None:
        """Say that nobody waits for it any more."""
        self.is_dropped = True

    def __await__(self) -> Generator[Any, None, Response]:
        arrived: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.then(lambda response: None if arrived.done() else arrived.set_result(response))
        try:
            return (yield from arrived)
        except asyncio.CancelledError:
            self.drop()
            raise


async def awaited(answer: Response | Awaitable[Response]) -> Response:
    """Return what a handler's answer comes to, for who is in a coroutine anyway."""
    return answer if isinstance(answer, Response) else await answer


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
        Answers a whole request: at once, by a `Pending`, or by a coroutine.
    refuse
        Looks at a request's head before its body is read; returns an answer to refuse it, or None.
    """

    def __init__(
        self,
        handle: Callable[[Request], Response | Awaitable[Response]],
        refuse: Callable[[Request], Response | None] = lambda request: None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.handle, self.refuse, self.limits = handle, refuse, limits or Limits()
        self.connections: set[Connection] = set()
        self.heads: dict[bytes, Head] = {}
        self.is_stopping = self.is_accepting = False
        self._listener: socket.socket | None = None
        self._arriving: set[asyncio.Task[Any]] = set()
        self._dropped: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._crowd = int(_max_descriptors() * CROWD)

    async def start(self, listener: socket.socket) -> None:
        """Accept from a listening socket."""
        listener.setblocking(False)
        self._listener = listener
        self.accept()

    def accept(self) -> None:
        """Take new connections, again after `pause`."""
        if self._listener and not self.is_stopping and not self.is_accepting:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._take_connections)
            self.is_accepting = True

    def pause(self) -> None:
        """Leave new connections to others that listen on the same socket; those that are here stay."""
        if self._listener and self.is_accepting:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self.is_accepting = False

    def move(self, listener: socket.socket) -> None:
        """Accept from another socket, if from any; who waits at the old one is taken first, and connections that are here stay."""
        assert self._listener
        is_accepting = self.is_accepting
        while is_accepting and self._take_connections():
            pass
        self.pause()
        self._listener.close()
        listener.setblocking(False)
        self._listener = listener
        if is_accepting:
            self.accept()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, answer what was asked and the next request of each kept-alive connection, close."""
        deadline = monotonic() + grace_seconds
        self.pause()
        self.is_stopping = True
        if self._listener:
            self._listener.close()
        if self._arriving:
            await asyncio.wait(self._arriving)
        for connection in list(self.connections):
            connection.finish()
        while self.connections and monotonic() < deadline:
            await asyncio.sleep(0.01)

    def drop(self, stream: AsyncGenerator[bytes, None]) -> None:
        """Close a stream of which nobody takes a piece, since whoever makes it waits for that."""
        closing = asyncio.get_running_loop().create_task(stream.aclose())
        self._dropped.add(closing)
        closing.add_done_callback(self._dropped.discard)

    def remember(self, text: bytes, head: Head) -> None:
        """Know a head again by its bytes."""
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[text] = head

    def watch(self) -> None:
        """See that connections whose time is up are given up; called when there is a first one."""
        if self._sweeper is None:
            seconds = min(SWEEP_SECONDS, self.limits.read_seconds / 8, self.limits.idle_seconds / 8)
            self._sweeper = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeper, now = None, monotonic()
        for connection in [item for item in self.connections if item.deadline < now]:
            connection.give_up()
        if self.connections:
            self.watch()

    def _take_connections(self) -> bool:
        """Take those who wait, so many at a time; say whether more may."""
        assert self._listener
        loop = asyncio.get_running_loop()
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:  # no file descriptor is left; those who wait do so in the kernel's queue
                LOG.error("No connection can be accepted: %s", error)
                self.pause()
                loop.call_later(CROWDED_SECONDS, self.accept)
                return False
            if len(self.connections) + len(self._arriving) >= self._crowd and not self._make_room():
                client.close()
                continue
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            arriving = loop.create_task(loop.connect_accepted_socket(lambda: Connection(self), client))
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arrived)
        return True

    def _make_room(self) -> bool:
        """End the connection that has let us wait the longest; False if all of them wait for us."""
        idle = min(self.connections, key=lambda connection: connection.deadline, default=None)
        if idle is None or idle.deadline == float("inf"):
            return False
        self.connections.discard(idle)
        idle.abort()
        return True

    def _arrived(self, arriving: asyncio.Task[Any]) -> None:
        self._arriving.discard(arriving)
        if not arriving.cancelled() and arriving.exception():  # it was reset before it began
            LOG.debug("A connection was not made", exc_info=arriving.exception())


class Connection(asyncio.Protocol):
    """One client's connection.

    ``_turns`` holds what is to be answered after ``_answering``, in order: a request with the refusal it met, if any; a
    refusal without request is the last word of the connection.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._limits = server, server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._turns: deque[tuple[Request | None, Response | None]] = deque()
        self._asked: Request | None = None  # whose answer is awaited
        self._answering: Pending | asyncio.Task[None] | None = None
        self._is_taking = False
        self._is_receiving = self._is_head_complete = False
        self._is_paused = self._is_deaf = self._owes_continue = self._is_clogged = False
        self._unclogged: asyncio.Future[None] | None = None
        self._number = self._head_bytes = self._raw_head_bytes = self._raw_body_bytes = self._body_bytes = 0
        self._whole: bytes | None = None
        self.deadline = float("inf")

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's descends from none
        if hasattr(transport, "max_size"):  # asyncio's own asks for 256 KiB, for which malloc may go to the kernel each time
            transport.max_size = READ_BYTES
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._server.connections.add(self)
        self._server.watch()
        self._wait(self._limits.idle_seconds)
        if self._server.is_stopping:
            self.finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection and the answer under way, which has nobody to go to."""
        self._server.connections.discard(self)
        self._turns.clear()
        if self._unclogged and not self._unclogged.done():
            self._unclogged.cancel()
        if isinstance(self._answering, Pending):
            self._answering.drop()
        elif self._answering:
            self._answering.cancel()

    def pause_writing(self) -> None:
        """Hold the next answer back; the client does not read."""
        self._wait(self._limits.read_seconds)
        self._is_clogged = True

    def resume_writing(self) -> None:
        """Go on with the next answer."""
        self._is_clogged = False
        self._stop_waiting()
        if self._unclogged and not self._unclogged.done():
            self._unclogged.set_result(None)
        if self._answering is None:
            self._take_turns()
            self._rest()

    def data_received(self, data: bytes) -> None:
        """Take a request whose head is known, else feed the parser; a broken request is answered once and ends the connection."""
        if self._is_deaf:
            return
        if self._answering is None and not self._is_receiving and not self._is_clogged and not self._raw_body_bytes:
            end = data.find(b"\r\n\r\n", 0, MAX_KNOWN_HEAD_BYTES) + 4
            head = self._server.heads.get(data[:end])
            if head is not None and len(data) - end == head.length:
                self._take_known(head, data[end:])
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

    def _take_known(self, head: Head, body: bytes) -> None:
        request = Request(head.method, head.path, head.query, head.headers, body)
        request.peer = self._peer
        request.head = head
        try:
            refusal = self._server.refuse(request)
        except Exception as error:
            refusal = self._response_to(error)
        if refusal is None and not self._turns and not self._transport.is_closing():
            self._asked = request
            self._ask(request)
        else:
            self._turns.append((request, refusal))
            self._take_turns()

    def _feed(self, data: bytes) -> None:
        number = self._number
        self._whole = None if self._is_receiving else data
        self._parser.feed_data(data)
        if self._is_receiving and not self._is_head_complete and number == self._number:
            # The parser keeps an unfinished header to itself, so whole chunks of it are counted too.
            self._raw_head_bytes += len(data)
            self._count_head(0)
        elif self._is_receiving and self._body_bytes - len(self._body) > MIN_DIRECT_BYTES:
            self._transport.set_protocol(_Body(self, self._body, self._body_bytes))

    def take_body(self) -> None:
        """Go on with a body that arrived whole where it stays, which the parser has not seen."""
        self._transport.set_protocol(self)
        try:
            self._complete()
        except BadRequest as error:
            self._end_with(error.response)
        self._parser = httptools.HttpRequestParser(self)

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
        self._is_receiving, self._is_head_complete, self._body_bytes = True, False, 0
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
        self._request.peer = self._peer
        is_new = self._parser.get_http_version() == "1.1"
        self._request.takes_chunks = is_new
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
        elif not is_chunked:
            self._body_bytes = length
        self._owes_continue = is_new and self._headers.get("expect", "").lower() == "100-continue"
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
        body, self._body = self._body, bytearray()  # who waits for the next request keeps nothing of this one
        request.body = _decoded(body, self._headers.get("content-encoding", ""), self._limits.body_bytes)
        if self._parser.should_upgrade():  # answered in HTTP/1.1, and nothing more is taken
            self._is_deaf, request.is_kept_alive = True, False
        else:
            request.is_kept_alive = self._parser.should_keep_alive()
            self._remember(request)
        self._queue(request, self._refusal)

    def _remember(self, request: Request) -> None:
        """Know the head again if all that arrived was one plain request, kept alive, that nobody refused."""
        is_plain = request.is_kept_alive and request.takes_chunks and _UNKNOWABLE.isdisjoint(request.headers)
        if self._whole is None or self._refusal or not is_plain:
            return
        end = self._whole.find(b"\r\n\r\n", 0, MAX_KNOWN_HEAD_BYTES) + 4
        if end > 3 and len(self._whole) - end == len(request.body):
            self._server.remember(self._whole[:end], Head(request, len(request.body)))

    def _queue(self, request: Request | None, response: Response | None) -> None:
        self._turns.append((request, response))
        self._take_turns()
        if self._turns and not self._is_paused and not self._is_deaf:
            # Who pipelines is read on only when the answers keep up.
            self._is_paused = True
            self._transport.pause_reading()
            self._stop_waiting()

    def _end_with(self, response: Response) -> None:
        self._is_deaf, self._is_receiving = True, False
        self._transport.set_protocol(self)
        self._stop_waiting()
        self._queue(None, response)

    def _take_turns(self) -> None:
        """Answer what waits, one after the other, until an answer is still to come."""
        if self._is_taking:  # called from an answer that was there at once
            return
        self._is_taking = True
        while self._turns and self._answering is None and not self._is_clogged and not self._transport.is_closing():
            request, response = self._turns.popleft()
            if not self._turns:
                self._read_on()
            self._asked = request
            if response is None:
                assert request
                self._ask(request)
            else:
                self._answer(response)
        self._is_taking = False

    def _ask(self, request: Request) -> None:
        self._stop_waiting()
        try:
            answer = self._server.handle(request)
        except Exception:
            self._answer(self._unexpected())
            return
        if isinstance(answer, Response):
            self._answer(answer)
        elif isinstance(answer, Pending):
            self._answering = answer
            answer.then(self._settled)
        else:
            self._answering = asyncio.ensure_future(self._await(answer))

    async def _await(self, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except Exception:
            response = self._unexpected()
        self._settled(response)

    def _unexpected(self) -> Response:
        """Tell a stranger a status, and the log all of it: the last line of defence."""
        LOG.exception("A request could not be answered")
        return _message("An unexpected error occurred. Check the logs for more info.", 500)

    def _settled(self, response: Response) -> None:
        self._answering = None
        self._answer(response)
        if self._turns:
            self._take_turns()

    def _answer(self, response: Response) -> None:
        request = self._asked
        is_kept = request is not None and request.is_kept_alive and not (self._server.is_stopping and not self._turns)
        is_head = request is not None and request.method == "HEAD"
        if response.stream is not None and not is_head and not self._transport.is_closing():
            is_chunked = request is not None and request.takes_chunks
            self._answering = asyncio.ensure_future(
                self._write_stream(response, is_chunked=is_chunked, is_kept_alive=is_kept and is_chunked)
            )
            return
        if response.stream is not None:
            self._server.drop(response.stream)
        self._write(response, is_kept_alive=is_kept, is_head=is_head)
        self._rest()

    def _rest(self) -> None:
        """Wait for the next request."""
        if self._transport.is_closing() or self._answering is not None or self._turns:
            return
        if not self._is_receiving and not self._is_deaf:
            self._wait(PARTING_SECONDS if self._server.is_stopping else self._limits.idle_seconds)
        if self._owes_continue:
            self._continue()

    # --- answers

    def _write(self, response: Response, *, is_kept_alive: bool, is_head: bool) -> None:
        if self._transport.is_closing():
            return
        body = response.body
        lines = response.lines + header_lines(response.headers) if response.headers else response.lines
        accepted = self._asked.headers.get("accept-encoding") if self._asked else None
        if accepted and b"content-encoding:" not in lines:  # else a script has encoded it itself
            body, coding = encode(body, response.content_type, accepted)
            lines += coding
        head = b"%b%bcontent-length: %d\r\n\r\n" % (_first_lines(response.status, response.content_type, is_kept_alive), lines, len(body))
        if is_head:
            self._transport.write(head)
        elif len(body) > MAX_JOINED_BYTES:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head + body)
        if not is_kept_alive:
            self._part()

    async def _write_stream(self, response: Response, *, is_chunked: bool, is_kept_alive: bool) -> None:
        """Write pieces as they come, no faster than the client reads, in chunks where it knows them."""
        assert response.stream is not None
        framing = b"transfer-encoding: chunked\r\n\r\n" if is_chunked else b"\r\n"
        first = _first_lines(response.status, response.content_type, is_kept_alive)
        self._transport.write(first + response.lines + header_lines(response.headers) + framing)
        try:
            async for piece in response.stream:
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                await self._until_written()
        except Exception:  # the head is out, so all that tells the client is an end without its last chunk
            self._transport.abort()
            LOG.exception("A stream broke off")
            return
        finally:
            await response.stream.aclose()
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")
        self._answering = None
        if is_kept_alive:
            self._rest()
            self._take_turns()
        else:
            self._part()

    def _part(self) -> None:
        if self._is_deaf and self._transport.can_write_eof():
            # Closing on unread bytes resets the connection, and the client would lose the answer with it.
            self._transport.write_eof()
            self._wait(LINGER_SECONDS)
        else:
            self._transport.close()

    async def _until_written(self) -> None:
        if self._is_clogged:
            self._unclogged = asyncio.get_running_loop().create_future()
            await self._unclogged

    def _read_on(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
            if self._is_receiving:
                self._wait(self._limits.read_seconds)

    def _continue(self) -> None:
        """Ask for an announced body, once earlier answers are out."""
        if self._owes_continue and self._answering is None and not self._turns:
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- limits

    def _wait(self, seconds: float) -> None:
        if not self._is_clogged:  # who does not read has that deadline, whatever it sends meanwhile
            self.deadline = monotonic() + seconds

    def _stop_waiting(self) -> None:
        if not self._is_clogged:
            self.deadline = float("inf")

    def give_up(self) -> None:
        """End what took too long: a request to arrive, an answer to be read, or silence."""
        if self._is_clogged:
            self._transport.abort()
        elif self._is_receiving:
            self._end_with(_message("The request did not arrive in time.", 408))
        elif self._answering is None:
            self._transport.abort()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if max(self._head_bytes, self._raw_head_bytes) > self._limits.header_bytes:
            raise BadRequest(_message(f"The headers are larger than {self._limits.header_bytes:,} bytes.", 431))

    def _too_large(self) -> Response:
        return _message(f"The body is larger than {self._limits.body_bytes:,} bytes.", 413)


class _Body(asyncio.BufferedProtocol):
    """Receives the rest of a body behind what is there of it, without a copy between; all else is the connection's.

    Room is made as it fills, since who announces a body may never send it.
    """

    def __init__(self, connection: Connection, body: bytearray, length: int) -> None:
        self._connection, self._body, self._length = connection, body, length
        self._received = len(body)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: no further than to the body's end, so that what follows it is left to the parser."""
        if self._received == len(self._body):
            self._body.extend(bytes(min(self._length - self._received, max(self._received, MAX_ROOM_BYTES))))
        return memoryview(self._body)[self._received :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what arrived."""
        self._received += nbytes
        if self._received == self._length:
            self._connection.take_body()

    def connection_lost(self, error: Exception | None) -> None:
        """Say so."""
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        """Say so."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Say so."""
        self._connection.resume_writing()


# Heads with these mean more than their bytes and the length of the body.
_UNKNOWABLE = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade", "x-request-id", "x-ms-client-request-id"})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@lru_cache(maxsize=256)
def _first_lines(status: int, content_type: str, is_kept_alive: bool) -> bytes:
    return (
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n"
        f"content-type: {_one_line(content_type)}\r\n"
        "x-content-type-options: nosniff\r\n"
        "cache-control: no-store\r\n"
        f"connection: {'keep-alive' if is_kept_alive else 'close'}\r\n"
    ).encode("latin-1", "replace")


def header_lines(headers: dict[str, str]) -> bytes:
    """Write headers as they stand on the wire; a line end within one becomes a space."""
    return "".join(f"{_one_line(name)}: {_one_line(value)}\r\n" for name, value in headers.items()).encode("latin-1", "replace")


def _max_descriptors() -> int:
    try:
        import resource
    except ImportError:
        return 1024
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft > 0 else 1 << 20


def _one_line(text: str) -> str:
    """Keep a script's header from becoming two."""
    return text.replace("\r", " ").replace("\n", " ")


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


def _decoded(body: bytearray, encoding: str, limit: int) -> bytes | bytearray:
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
