"""Whole requests and answers between the instances of an endpoint, many at a time over one Unix socket.

A frame is a length, a kind, a number, and that many bytes. The asking side sends `ASK`, `CANCEL` when nobody waits any
more, and `MORE` when it has taken pieces of a stream; the answering side `BEGUN` before it looks at what arrived,
`ANSWER`, or `STREAM` with `PIECE`s up to `END` or `BROKE`, and `LEAVE` when it takes nothing new. A request that was not
begun when its connection ended was begun nowhere, so it may go to another instance; one that was begun may not.

Whoever is on the other side is of the same package and user, and may still hang, die or be of another version: then its
connection ends, and nothing else does. Sockets are driven by hand because asyncio's transports forget what has arrived
when they cannot write, and whether a request was begun stands just there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator
from time import monotonic

from .handover import short
from .http import MAX_BODY_BYTES, Pending, Request, Response, header_lines, json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    Fail = Callable[[str, int], Response]

ASK, CANCEL, MORE = 0x11, 0x12, 0x13  # the first digit is the version of the protocol
BEGUN, ANSWER, STREAM, PIECE, END, BROKE, LEAVE = 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E
MAX_REQUEST_BYTES = MAX_BODY_BYTES + (1 << 20)
MAX_ANSWER_BYTES = 1 << 30  # a model's answer may be larger than what a stranger may send
MAX_UNSENT_BYTES = 1 << 20  # above it a side holds back
MAX_BEGUN = 1024  # a connection's requests under way; further ones wait in the socket
WINDOW_BYTES = 256 << 10  # of a stream that its reader has not taken
PIECE_BYTES = 64 << 10
READ_BYTES = 64 << 10
MAX_READS = 64  # one after the other: more than a socket holds, and others have their turn where one never stops
MAX_JOINED = 256  # buffers of one call to the kernel
MAX_HEADS = 512
PLACE_SECONDS = 5.0  # so long a request waits for a first instance that is ready
PLACE_EVERY_SECONDS = 0.05
MAX_UNPLACED = 1024
SWEEP_SECONDS = 0.25
BACKLOG = 128
LOG = logging.getLogger(__name__)

_FRAME = struct.Struct(">IBI")  # bytes that follow, kind, number
_TAKEN = struct.Struct(">I")
_ASKED = struct.Struct(">I")  # bytes of the head
_ANSWERED = struct.Struct(">HHI")  # status, bytes of the content type, bytes of the header lines


class BrokenPeer(Exception):
    """What arrives is no frame of ours."""


class Link:
    """One end of a connection: frames in, frames out, in order.

    Parameters
    ----------
    take
        Called with kind, number and a view of the bytes of each frame.
    lost
        Called once when the connection has ended, whatever the reason.
    max_bytes
        What one frame may hold.
    """

    def __init__(self, sock: socket.socket, take: Callable[[int, int, memoryview], None], lost: Callable[[], None], max_bytes: int) -> None:
        self._socket, self._take, self._lost, self._max_bytes = sock, take, lost, max_bytes
        self._loop = asyncio.get_running_loop()
        self._arrived: list[bytes] = []
        self._arrived_bytes, self._needed = 0, _FRAME.size
        self._out: deque[bytes | bytearray | memoryview] = deque()
        self._out_bytes = 0
        self._is_flushing = self._is_mute = self._is_paused = False
        self._unclogged: list[Callable[[], None]] = []
        self.is_open = True
        self.before_frames: Callable[[list[tuple[int, int, memoryview]]], None] | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    @property
    def is_clogged(self) -> bool:
        """Whether the other side reads more slowly than this one writes."""
        return self._out_bytes > MAX_UNSENT_BYTES

    def send(self, kind: int, number: int, *parts: bytes | bytearray) -> None:
        """Send a frame together with others of this turn of the loop; to a side that has gone nothing goes."""
        if not self.is_open or self._is_mute:
            return
        length = sum(map(len, parts))
        self._out.append(_FRAME.pack(length, kind, number))
        self._out.extend(part for part in parts if part)
        self._out_bytes += _FRAME.size + length
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits, as much as the socket takes."""
        self._is_flushing = False
        while self._out and self.is_open:
            try:
                sent = self._socket.sendmsg([self._out[place] for place in range(min(len(self._out), MAX_JOINED))])
            except (BlockingIOError, InterruptedError):
                self._is_flushing = True
                self._loop.add_writer(self._socket, self._writable)
                break
            except OSError:  # what it sent before it went is still to be read
                self._is_mute = True
                self._out.clear()
                self._out_bytes = 0
                break
            self._drop_sent(sent)
        if not self.is_clogged and self._unclogged:
            calls, self._unclogged = self._unclogged, []
            for call in calls:
                call()

    def when_unclogged(self, call: Callable[[], None]) -> None:
        """Call once the other side has caught up, or has gone."""
        self._unclogged.append(call)

    def pause(self) -> None:
        """Read no more for now."""
        if self.is_open and not self._is_paused:
            self._is_paused = True
            self._loop.remove_reader(self._socket)

    def go_on(self) -> None:
        """Read again."""
        if self.is_open and self._is_paused:
            self._is_paused = False
            self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """End the connection."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._out.clear()
        self._out_bytes = 0
        self._lost()
        for call in self._unclogged:
            call()

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self.flush()

    def _drop_sent(self, sent: int) -> None:
        self._out_bytes -= sent
        while sent:
            first = self._out.popleft()
            if len(first) > sent:
                self._out.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)

    def _read(self) -> None:
        """Read all that is there: of a side that has gone uvloop tells once only, even where it left something before.

        Source: libuv's uv_poll ends on POLLERR, which a socket has whose other side closed before it read everything.
        """
        for _ in range(MAX_READS):
            if not self.is_open or self._is_paused:
                return
            try:
                found = self._socket.recv(min(max(self._needed - self._arrived_bytes, READ_BYTES), MAX_UNSENT_BYTES))
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                found = b""
            if not found:
                self.close()
                return
            self._arrived.append(found)
            self._arrived_bytes += len(found)
            if self._arrived_bytes < self._needed:
                continue
            try:
                self._hand_on()
            except BrokenPeer as error:
                LOG.warning("A connection between instances ends: %s", error)
                self.close()

    def _hand_on(self) -> None:
        """Take whole frames out of what arrived."""
        whole = self._arrived[0] if len(self._arrived) == 1 else b"".join(self._arrived)
        view, at, frames, fault = memoryview(whole), 0, [], ""
        self._needed = _FRAME.size
        while len(whole) - at >= _FRAME.size:
            length, kind, number = _FRAME.unpack_from(whole, at)
            if length > self._max_bytes:
                fault = f"a frame of {length:,} bytes is larger than {self._max_bytes:,}"
                break
            end = at + _FRAME.size + length
            if end > len(whole):
                self._needed = _FRAME.size + length
                break
            frames.append((kind, number, view[at + _FRAME.size : end]))
            at = end
        self._arrived = [whole[at:]] if at < len(whole) else []
        self._arrived_bytes = len(whole) - at
        if self.before_frames:
            self.before_frames(frames)
        for frame in frames:
            if self.is_open:
                self._take_one(*frame)
        if fault:
            raise BrokenPeer(fault)

    def _take_one(self, kind: int, number: int, content: memoryview) -> None:
        try:
            self._take(kind, number, content)
        except BrokenPeer:
            raise
        except Exception:  # whoever waited for this frame failed; the other frames are still to be taken
            LOG.exception("What a frame was for failed")


# --- the answering side ---------------------------------------------------------------------------------------------


class FrameServer:
    """Answers requests of other instances.

    Parameters
    ----------
    path
        Of the Unix socket, in a folder of mode 0700; one that a dead instance left there is replaced.
    handle
        What answers: at once, by a `Pending`, or by a coroutine. Requests come with ``is_forwarded`` set.
    """

    def __init__(self, path: str, handle: Callable[[Request], Response | Awaitable[Response]]) -> None:
        self.path, self.handle = path, handle
        self.heads: dict[bytes, tuple[str, str, str, dict[str, str]]] = {}
        self._door: socket.socket | None = None
        self._callers: set[_Caller] = set()

    async def start(self) -> None:
        """Accept from the socket."""
        folder, name = os.path.split(self.path)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.lexists(self.path):
            os.unlink(self.path)
        with short(folder, name) as path:
            door.bind(path)
            os.chmod(path, 0o600)
        door.listen(BACKLOG)
        door.setblocking(False)
        asyncio.get_running_loop().add_reader(door, self._accept)
        self._door = door

    async def stop(self, grace_seconds: float) -> None:
        """Send callers away, answer what they asked before they heard of it, close."""
        if self._door:
            asyncio.get_running_loop().remove_reader(self._door)
            self._door.close()
            self._door = None
        deadline = monotonic() + grace_seconds
        for caller in self._callers:
            caller.link.send(LEAVE, 0)
        while self._callers and monotonic() < deadline:
            await asyncio.sleep(0.01)
        for caller in list(self._callers):
            caller.link.close()

    def _accept(self) -> None:
        assert self._door
        try:
            client, _ = self._door.accept()
        except OSError as error:
            LOG.debug("No connection of an instance was made: %s", error)
            return
        caller = _Caller(self, client)
        self._callers.add(caller)

    def forget(self, caller: _Caller) -> None:
        """Know of a caller no more."""
        self._callers.discard(caller)


class _Caller:
    """One instance that asks."""

    def __init__(self, server: FrameServer, client: socket.socket) -> None:
        self._server = server
        self._begun: dict[int, Pending | asyncio.Task[None]] = {}
        self._windows: dict[int, _Window] = {}
        self._is_held_back = False
        self.link = Link(client, self._take, self._lost, MAX_REQUEST_BYTES)
        self.link.before_frames = self._say_begun

    def _say_begun(self, frames: list[tuple[int, int, memoryview]]) -> None:
        last = max((number for kind, number, _ in frames if kind == ASK), default=None)
        if last is not None:
            self.link.send(BEGUN, last)
            self.link.flush()  # now, since a model that is asked in this thread may end the process

    def _take(self, kind: int, number: int, content: memoryview) -> None:
        if kind == ASK:
            self._ask(number, content)
        elif kind == CANCEL:
            self._cancel(number)
        elif kind == MORE:
            if number in self._windows:
                self._windows[number].add(_unpack(_TAKEN, content)[0])
        else:
            raise BrokenPeer(f"there is no request of kind {kind}")

    def _ask(self, number: int, content: memoryview) -> None:
        try:
            answer = self._server.handle(self._request(content))
        except BrokenPeer:
            raise
        except Exception:
            LOG.exception("A forwarded request could not be answered")
            self._answer(number, _unexpected())
            return
        if isinstance(answer, Response):
            self._answer(number, answer)
        elif isinstance(answer, Pending):
            self._begun[number] = answer
            answer.then(lambda response: self._answer(number, response))
        else:
            self._begun[number] = asyncio.ensure_future(self._await(number, answer))
        if len(self._begun) >= MAX_BEGUN:
            self.link.pause()

    def _request(self, content: memoryview) -> Request:
        (size,) = _unpack(_ASKED, content)
        if size > len(content) - _ASKED.size:
            raise BrokenPeer("a request's head is longer than its frame")
        text = bytes(content[_ASKED.size : _ASKED.size + size])
        head = self._server.heads.get(text)
        if head is None:
            head = _parsed(text)
            if len(self._server.heads) >= MAX_HEADS:
                self._server.heads.clear()
            self._server.heads[text] = head
        request = Request(*head, bytes(content[_ASKED.size + size :]))
        request.is_forwarded = True
        return request

    async def _await(self, number: int, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except Exception:
            LOG.exception("A forwarded request could not be answered")
            response = _unexpected()
        self._answer(number, response)

    def _answer(self, number: int, response: Response) -> None:
        self._forget(number)
        try:
            head = _head_of_answer(response)
        except Exception:  # a scoring script may set any status and headers
            LOG.exception("An answer's head cannot be written")
            response = _unexpected()
            head = _head_of_answer(response)
        if response.stream is None:
            self._send_whole(number, head, response.body)
        else:
            self._windows[number] = _Window()
            self._begun[number] = asyncio.ensure_future(self._send_stream(number, head, response.stream))

    def _send_whole(self, number: int, head: bytes, body: bytes) -> None:
        if len(head) + len(body) > MAX_ANSWER_BYTES:
            LOG.error("An answer of %s bytes is larger than %s", len(body), MAX_ANSWER_BYTES)
            self._answer(number, _unexpected())
            return
        self.link.send(ANSWER, number, head, body)
        if self.link.is_clogged and not self._is_held_back:
            self._is_held_back = True
            self.link.pause()
            self.link.when_unclogged(self._let_go)

    async def _send_stream(self, number: int, head: bytes, stream: AsyncGenerator[bytes, None]) -> None:
        """Send pieces no faster than their reader takes them, so that a slow one holds up no other answer."""
        window = self._windows[number]
        self.link.send(STREAM, number, head)
        try:
            async for piece in stream:
                for start in range(0, len(piece), PIECE_BYTES):
                    part = piece[start : start + PIECE_BYTES]
                    await window.take(len(part))
                    self.link.send(PIECE, number, part)
            self.link.send(END, number)
        except Exception:
            LOG.exception("A forwarded stream broke off")
            self.link.send(BROKE, number)
        finally:
            self._windows.pop(number, None)
            self._forget(number)
            await stream.aclose()

    def _cancel(self, number: int) -> None:
        answering = self._begun.get(number)
        self._windows.pop(number, None)
        self._forget(number)
        _stop(answering)

    def _forget(self, number: int) -> None:
        self._begun.pop(number, None)
        self._go_on()

    def _let_go(self) -> None:
        self._is_held_back = False
        self._go_on()

    def _go_on(self) -> None:
        if len(self._begun) < MAX_BEGUN and not self.link.is_clogged:
            self.link.go_on()

    def _lost(self) -> None:
        for answering in self._begun.values():
            _stop(answering)
        self._begun.clear()
        self._server.forget(self)


class _Window:
    """How much of a stream may still be sent."""

    def __init__(self) -> None:
        self._left, self._wider = WINDOW_BYTES, asyncio.Event()

    def add(self, size: int) -> None:
        self._left += size
        self._wider.set()

    async def take(self, size: int) -> None:
        while self._left < size:
            self._wider.clear()
            await self._wider.wait()
        self._left -= size


def _stop(answering: Pending | asyncio.Task[None] | None) -> None:
    if isinstance(answering, Pending):
        answering.drop()
    elif answering:
        answering.cancel()


def _parsed(text: bytes) -> tuple[str, str, str, dict[str, str]]:
    try:
        method, path, query, *pairs = text.decode("latin-1").split("\n")
        return method, path, query, dict(zip(pairs[::2], pairs[1::2], strict=True))
    except ValueError:
        raise BrokenPeer("a request's head cannot be read") from None


def _head_of_answer(response: Response) -> bytes:
    lines = response.lines + header_lines(response.headers) if response.headers else response.lines
    kind = response.content_type.encode("latin-1", "replace")
    return _ANSWERED.pack(response.status, len(kind), len(lines)) + kind + lines


def _unexpected() -> Response:
    return json_response({"message": "An unexpected error occurred. Check the logs for more info."}, 500)


# --- the asking side ------------------------------------------------------------------------------------------------


class Asked(Pending):
    """A request that is with another instance, or on its way there. ``after`` is called with its answer when that is on its way."""

    __slots__ = ("after", "deadline", "fail", "find", "number", "peer", "place_before", "request")

    def __init__(self, request: Request, find: Callable[[], Sequence[str]], fail: Fail, timeout_seconds: float) -> None:
        super().__init__()
        self.request, self.find, self.fail = request, find, fail
        self.deadline = monotonic() + timeout_seconds
        self.place_before = monotonic() + min(PLACE_SECONDS, timeout_seconds)
        self.peer: _Peer | None = None
        self.number = 0
        self.after: Callable[[Response], None] | None = None

    def settle(self, response: Response) -> None:
        """Give the answer to who waits for it, then to who wants to know."""
        super().settle(response)
        if self.after is not None:
            self.after(response)

    def drop(self) -> None:
        """Tell the other side that nobody waits any more."""
        super().drop()
        if self.peer:
            self.peer.cancel(self)


class FramePool:
    """Asks instances, over one connection to each that is kept."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._unplaced: deque[Asked] = deque()
        self._turns = 0
        self._placer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def ask(self, find: Callable[[], Sequence[str]], request: Request, timeout_seconds: float, fail: Fail) -> Asked:
        """Have a request answered by the instance that has the fewest of ours.

        Parameters
        ----------
        find
            Returns the sockets' paths of the instances that are ready now. It is called again for a request that
            certainly was not begun: no instance was ready, or the one that was to get it refused or left.
        fail
            Words what goes wrong: 408 when there was no answer in time, 413, 502 when the instance ended, 503.
        """
        asked = Asked(request, find, fail, timeout_seconds)
        if len(request.body) > MAX_BODY_BYTES:
            asked.settle(fail(f"The body is larger than {MAX_BODY_BYTES:,} bytes.", 413))
        else:
            self.place(asked)
        return asked

    def place(self, asked: Asked) -> None:
        """Give a request to an instance, or have it wait for one."""
        ready = [peer for path in asked.find() if (peer := self._peer(path)).is_taking]
        if ready:
            best = min(ready, key=_Peer.load)
            self._turns = best.turn = self._turns + 1
            best.ask(asked)
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        elif len(self._unplaced) < MAX_UNPLACED and monotonic() < asked.place_before:
            self._unplaced.append(asked)
            if self._placer is None:
                self._placer = asyncio.get_running_loop().call_later(PLACE_EVERY_SECONDS, self._place_again)
        else:
            response = asked.fail("No instance is ready; try again in a moment.", 503)
            response.headers = {**response.headers, "retry-after": "1"}
            asked.settle(response)

    def close(self) -> None:
        """End all connections; what is under way fails."""
        for peer in list(self._peers.values()):
            peer.close()
        for timer in (self._placer, self._sweeper):
            if timer:
                timer.cancel()

    def forget(self, peer: _Peer) -> None:
        """Know of an instance no more."""
        if self._peers.get(peer.path) is peer:
            del self._peers[peer.path]

    def _peer(self, path: str) -> _Peer:
        peer = self._peers.get(path)
        if peer is None:
            for gone in [item for item in self._peers.values() if item.is_gone]:
                self.forget(gone)
            peer = self._peers[path] = _Peer(self, path)
        return peer

    def _place_again(self) -> None:
        self._placer, waiting = None, self._unplaced
        self._unplaced = deque()
        for asked in waiting:
            if not asked.is_dropped:
                self.place(asked)

    def _sweep(self) -> None:
        self._sweeper, now = None, monotonic()
        for peer in list(self._peers.values()):
            peer.give_up(now)
        if any(self._peers.values()):
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)


class _Peer:
    """One instance that is asked. Its length is how many requests it has of ours."""

    def __init__(self, pool: FramePool, path: str) -> None:
        self._pool, self.path = pool, path
        self._link: Link | None = None
        self._number = self._begun = 0
        self._asked: dict[int, Asked] = {}
        self._streams: dict[int, _Pieces] = {}
        self._held: deque[Asked] = deque()  # until it reads again
        self._refused_until = 0.0
        self._is_leaving = False
        self.turn = 0  # when it was asked last

    def load(self) -> tuple[int, int]:
        """Return what makes another instance the better one to ask: more requests, or asked more lately."""
        return len(self), self.turn

    def __len__(self) -> int:
        return len(self._asked) + len(self._streams) + len(self._held)

    @property
    def is_taking(self) -> bool:
        """Whether it may be asked now; connects to it if need be."""
        if self._is_leaving or monotonic() < self._refused_until:
            return False
        return self._link is not None or self._connect()

    @property
    def is_gone(self) -> bool:
        """Whether nobody was there at the last try, some time ago."""
        return self._link is None and self._refused_until < monotonic()

    def ask(self, asked: Asked) -> None:
        asked.peer = self
        assert self._link
        if self._link.is_clogged or self._held:
            self._hold(asked)
            return
        self._number = asked.number = self._number + 1
        self._asked[asked.number] = asked
        head = _head_of(asked.request)
        self._link.send(ASK, asked.number, _ASKED.pack(len(head)), head, asked.request.body)

    def cancel(self, asked: Asked) -> None:
        if self._asked.pop(asked.number, None) and self._link:
            self._link.send(CANCEL, asked.number)
        elif asked in self._held:
            self._held.remove(asked)
        self._part()

    def give_up(self, now: float) -> None:
        """Settle what took too long."""
        for asked in [item for item in (*self._asked.values(), *self._held) if item.deadline < now]:
            self.cancel(asked)
            asked.peer = None
            asked.settle(asked.fail("The deployment did not answer in time.", 408))

    def more(self, number: int, size: int) -> None:
        """Say that pieces of a stream were taken."""
        if self._link:
            self._link.send(MORE, number, _TAKEN.pack(size))

    def end(self, number: int) -> None:
        """Say that nobody reads a stream any more."""
        if self._streams.pop(number, None) and self._link:
            self._link.send(CANCEL, number)
        self._part()

    def close(self) -> None:
        if self._link:
            self._link.close()

    def _connect(self) -> bool:
        folder, name = os.path.split(self.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            with short(folder, name) as path:
                sock.connect(path)  # at once or not at all, on this kind of socket
        except OSError as error:
            LOG.debug("An instance cannot be reached at %s: %s", self.path, error)
            sock.close()
            self._refused_until = monotonic() + PLACE_EVERY_SECONDS
            return False
        self._link = Link(sock, self._take, self._lost, MAX_ANSWER_BYTES)
        return True

    def _hold(self, asked: Asked) -> None:
        if not self._held:
            assert self._link
            self._link.when_unclogged(self._let_go)
        asked.number = 0
        self._held.append(asked)

    def _let_go(self) -> None:
        held, self._held = self._held, deque()
        for asked in held:
            asked.peer = None
            self._pool.place(asked)

    def _take(self, kind: int, number: int, content: memoryview) -> None:
        if kind in (ANSWER, STREAM):
            self._settle(number, _answer_of(content), is_stream=kind == STREAM)
        elif kind == BEGUN:
            self._begun = number
        elif kind == PIECE:
            if number in self._streams:
                self._streams[number].add(bytes(content))
        elif kind in (END, BROKE):
            pieces_ended = self._streams.pop(number, None)
            if pieces_ended:
                pieces_ended.finish(is_whole=kind == END)
        elif kind == LEAVE:
            self._is_leaving = True
            self._let_go()
        else:
            raise BrokenPeer(f"there is no answer of kind {kind}")
        self._part()

    def _settle(self, number: int, response: Response, *, is_stream: bool) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:  # nobody waits any more
            return
        asked.peer = None
        if is_stream:
            response.stream = self._streams[number] = _Pieces(self, number)
        asked.settle(response)

    def _part(self) -> None:
        """Leave an instance that asked for it, once it has answered."""
        if self._is_leaving and not self and self._link:
            self._link.close()

    def _lost(self) -> None:
        self._pool.forget(self)
        self._link = None
        asked, self._asked = self._asked, {}
        held, self._held = self._held, deque()
        streams, self._streams = self._streams, {}
        for pieces in streams.values():
            pieces.finish(is_whole=False)
        for number, item in asked.items():
            item.peer = None
            if number <= self._begun:
                item.settle(item.fail("The instance that had the request ended before it answered.", 502))
            else:
                self._pool.place(item)
        for item in held:
            item.peer = None
            self._pool.place(item)


class _Pieces(AsyncGenerator[bytes, None]):
    """A stream's pieces as they arrive."""

    def __init__(self, peer: _Peer, number: int) -> None:
        self._peer, self._number = peer, number
        self._pieces: deque[bytes] = deque()
        self._is_over, self._is_whole = False, False
        self._arrived = asyncio.Event()
        self._taken = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._arrived.set()

    def finish(self, *, is_whole: bool) -> None:
        self._is_over, self._is_whole = True, is_whole
        self._arrived.set()

    async def asend(self, value: None) -> bytes:
        while not self._pieces and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        if self._pieces:
            piece = self._pieces.popleft()
            self._taken += len(piece)
            if self._taken >= WINDOW_BYTES // 4:
                self._peer.more(self._number, self._taken)
                self._taken = 0
            return piece
        if not self._is_whole:
            raise ConnectionError("The instance ended its stream early.")
        raise StopAsyncIteration

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> bytes:
        await self.aclose()
        raise typ if val is None else val

    async def aclose(self) -> None:
        if not self._is_over:
            self.finish(is_whole=False)
            self._peer.end(self._number)


def _head_of(request: Request) -> bytes:
    """Return method, path, query, names and values, each on a line: the parser lets no line end into any of them."""
    headers = "\n".join([f"{name}\n{value}" for name, value in request.headers.items()])
    return f"{request.method}\n{request.path}\n{request.query}{chr(10) if headers else ''}{headers}".encode("latin-1", "replace")


def _answer_of(content: memoryview) -> Response:
    status, kind, lines = _unpack(_ANSWERED, content)
    start = _ANSWERED.size + kind
    return Response(
        status=status,
        content_type=str(content[_ANSWERED.size : start], "latin-1"),
        lines=bytes(content[start : start + lines]),
        body=bytes(content[start + lines :]),
    )


def _unpack(layout: struct.Struct, content: memoryview) -> tuple[Any, ...]:
    if len(content) < layout.size:
        raise BrokenPeer("a frame is too short")
    return layout.unpack_from(content)
