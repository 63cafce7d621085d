"""Requests between instances: whole, in any number, and never begun twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.serving import frames, new_event_loop
from jupyter_modelreg.serving.frames import FramePool, FrameServer
from jupyter_modelreg.serving.http import MAX_BODY_BYTES, Pending, Request, Response, json_response

Handle = Callable[[Request], Response | Awaitable[Response]]
TIMEOUT = 20.0


@pytest.fixture(params=[new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"], autouse=True)
def loop_factory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in each kind of loop that an instance may have."""
    monkeypatch.setattr(f"{__name__}.new_event_loop", request.param)


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run one test's story in a loop of its own."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(asyncio.wait_for(story, 60))


def a_request(body: bytes = b"[1]", **headers: str) -> Request:
    """A request to score."""
    return Request("POST", "/score", "a=b", {"content-type": "application/json", **headers}, body)


def in_words(message: str, status: int) -> Response:
    """Word a failure."""
    return json_response({"error": message}, status)


async def endless(closed: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """Yield pieces until the reader goes; ``closed`` tells that he has."""
    try:
        while True:
            yield b"more"
            await asyncio.sleep(0.001)
    finally:
        closed.set()


def echo(request: Request) -> Response:
    """Answer with what arrived."""
    said = [request.method, request.path, request.query, request.headers, request.is_forwarded]
    return Response(
        status=201, body=repr(said).encode() + request.body, content_type="text/x", headers={"x-one": "a\r\nb"}, lines=b"x-two: 2\r\n"
    )


class Peers:
    """Frame servers and a pool that asks them, until the ``async with`` block ends."""

    def __init__(self, folder: Path, *handles: Handle) -> None:
        self.servers = [FrameServer(str(folder / f"{number}.sock"), handle) for number, handle in enumerate(handles)]
        self.paths = [server.path for server in self.servers]
        self.pool = FramePool()

    async def __aenter__(self) -> Peers:
        for server in self.servers:
            await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pool.close()
        for server in self.servers:
            await server.stop(0.1)

    def ask(self, request: Request | None = None, timeout_seconds: float = TIMEOUT) -> frames.Asked:
        """Ask one of them."""
        return self.pool.ask(lambda: self.paths, request or a_request(), timeout_seconds, in_words)


# --- what travels -------------------------------------------------------------------------------------------------


def test_a_request_and_its_answer_arrive_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path, echo) as peers:
            answer = await peers.ask(a_request(b"\x00\n\xff", **{"x-name": "é, b"}))
            expected = ["POST", "/score", "a=b", {"content-type": "application/json", "x-name": "é, b"}, True]
            assert answer.status == 201
            assert answer.body == repr(expected).encode() + b"\x00\n\xff"
            assert (answer.content_type, answer.lines, answer.headers) == ("text/x", b"x-two: 2\r\nx-one: a  b\r\n", {})

    run(story())


def test_a_request_without_headers_or_body_arrives(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path, lambda request: json_response([request.headers, request.body.decode()])) as peers:
            assert (await peers.ask(Request("GET", "/", "", {}))).body == b'[{}, ""]'

    run(story())


def test_the_largest_body_passes_and_a_larger_one_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path, lambda request: Response(body=request.body)) as peers:
            body = os.urandom(1 << 20) * (MAX_BODY_BYTES >> 20)
            assert (await peers.ask(a_request(body))).body == body
            assert (await peers.ask(a_request(body + b"x"))).status == 413

    run(story())


def test_many_requests_are_under_way_at_a_time_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async def answer_late(request: Request) -> Response:
        await asyncio.sleep((hash(request.body) % 7) / 1000)
        return Response(body=request.body)

    async def story() -> None:
        async with Peers(tmp_path, answer_late) as peers:
            asked = [peers.ask(a_request(b"%d" % number)) for number in range(3000)]
            for number, item in enumerate(asked):
                assert (await item).body == b"%d" % number

    run(story())


def test_a_socket_may_lie_deeper_than_an_address_is_long(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)

    async def story() -> None:
        async with Peers(folder, echo) as peers:
            assert (await peers.ask()).status == 201

    run(story())


def test_a_handler_that_raises_or_answers_what_http_cannot_hold_is_a_500_and_the_next_request_is_answered(tmp_path: Path) -> None:
    async def raise_late() -> Response:
        raise ValueError("late")

    def answer(request: Request) -> Response | Awaitable[Response]:
        if request.body == b"now":
            raise ValueError("now")
        return raise_late() if request.body == b"late" else Response(status=-1 if request.body == b"status" else 200)

    async def story() -> None:
        async with Peers(tmp_path, answer) as peers:
            statuses = [(await peers.ask(a_request(body))).status for body in (b"now", b"late", b"status", b"fine")]
            assert statuses == [500, 500, 500, 200]

    run(story())


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_arrives_piece_by_piece_and_ends(tmp_path: Path) -> None:
    async def story() -> None:
        gate = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield b"first"
            await gate.wait()
            yield b"second"

        async with Peers(tmp_path, lambda request: Response(stream=pieces(), content_type="text/event-stream")) as peers:
            answer = await peers.ask()
            assert answer.stream is not None
            assert answer.content_type == "text/event-stream"
            assert await anext(answer.stream) == b"first"
            gate.set()
            assert [piece async for piece in answer.stream] == [b"second"]

    run(story())


def test_a_stream_is_made_no_faster_than_it_is_read_and_holds_up_no_other_answer(tmp_path: Path) -> None:
    made = 0

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield bytes(10_000)

    def answer(request: Request) -> Response:
        return Response(stream=pieces()) if request.body == b"stream" else echo(request)

    async def story() -> None:
        async with Peers(tmp_path, answer) as peers:
            stream = (await peers.ask(a_request(b"stream"))).stream
            assert stream is not None
            for _ in range(50):
                assert (await peers.ask()).status == 201
            assert made <= frames.WINDOW_BYTES / 10_000 + 1
            assert sum([len(piece) async for piece in stream]) == 10_000_000

    run(story())


def test_a_stream_whose_reader_goes_is_closed_where_it_is_made(tmp_path: Path) -> None:
    async def story() -> None:
        closed = asyncio.Event()

        async with Peers(tmp_path, lambda request: Response(stream=endless(closed))) as peers:
            stream = (await peers.ask()).stream
            assert stream is not None
            await anext(stream)
            await stream.aclose()
            await asyncio.wait_for(closed.wait(), TIMEOUT)

    run(story())


def test_a_stream_that_breaks_off_is_an_error_and_no_end(tmp_path: Path) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ValueError("broken")

    async def story() -> None:
        async with Peers(tmp_path, lambda request: Response(stream=pieces())) as peers:
            stream = (await peers.ask()).stream
            assert stream is not None
            assert await anext(stream) == b"first"
            with pytest.raises(ConnectionError):
                await anext(stream)

    run(story())


# --- who goes -----------------------------------------------------------------------------------------------------


def test_a_request_whose_client_goes_is_dropped_on_the_other_side(tmp_path: Path) -> None:
    async def story() -> None:
        pending: list[Pending] = []
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait_long() -> Response:
            begun.set()
            try:
                await asyncio.sleep(TIMEOUT)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return Response()

        def answer(request: Request) -> Response | Awaitable[Response]:
            if request.body == b"wait":
                return wait_long()
            pending.append(Pending())
            return pending[-1]

        async with Peers(tmp_path, answer) as peers:
            first, second = peers.ask(a_request(b"wait")), peers.ask(a_request(b"pending"))
            await asyncio.wait_for(begun.wait(), TIMEOUT)
            first.drop()
            second.drop()
            await asyncio.wait_for(cancelled.wait(), TIMEOUT)
            while not pending[0].is_dropped:
                await asyncio.sleep(0.001)

    run(story())


def test_no_answer_in_time_is_a_408_in_the_protocols_words(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path, lambda request: Pending()) as peers:
            answer = await peers.ask(timeout_seconds=0.1)
            assert (answer.status, answer.body) == (408, b'{"error": "The deployment did not answer in time."}')

    run(story())


def test_an_instance_that_leaves_answers_what_it_was_asked_and_gets_nothing_new(tmp_path: Path) -> None:
    async def answer_late(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(body=b"leaving")

    async def story() -> None:
        async with Peers(tmp_path, answer_late, lambda request: Response(body=b"staying")) as peers:
            leaving = [peers.pool.ask(lambda: peers.paths[:1], a_request(), TIMEOUT, in_words) for _ in range(20)]
            await asyncio.sleep(0.01)
            stopping = asyncio.ensure_future(peers.servers[0].stop(TIMEOUT))
            crossing = [peers.ask() for _ in range(20)]
            answers = [(await item).body for item in [*leaving, *crossing]]
            assert answers[:20] == [b"leaving"] * 20
            assert set(answers[20:]) <= {b"leaving", b"staying"}
            await asyncio.wait_for(stopping, TIMEOUT)
            assert [(await peers.ask()).body for _ in range(5)] == [b"staying"] * 5

    run(story())


def test_nothing_is_lost_when_the_only_instance_is_replaced_by_another_again_and_again(tmp_path: Path) -> None:
    async def answer_soon(request: Request) -> Response:
        await asyncio.sleep(0.002)
        return Response(body=request.body)

    async def story() -> None:
        async with Peers(tmp_path) as peers:
            statuses: list[int] = []
            is_over = False

            async def keep_asking() -> None:
                while not is_over:
                    statuses.append((await peers.ask()).status)

            asking = [asyncio.ensure_future(keep_asking()) for _ in range(8)]
            old: FrameServer | None = None
            for number in range(30):
                new = FrameServer(str(tmp_path / f"run-{number}.sock"), answer_soon)
                await new.start()
                peers.paths = [new.path]
                await asyncio.sleep(0.01)
                if old:
                    await old.stop(TIMEOUT)
                old = new
            is_over = True
            await asyncio.gather(*asking)
            assert old is not None
            await old.stop(1)
            assert len(statuses) > 100
            assert set(statuses) == {200}

    run(story())


def test_the_instance_with_the_fewest_requests_is_asked_and_equal_ones_in_turn(tmp_path: Path) -> None:
    async def story() -> None:
        counts = [0, 0, 0]

        def counting(number: int) -> Handle:
            def answer(request: Request) -> Response | Awaitable[Response]:
                counts[number] += 1
                return Pending() if number == 0 else Response()

            return answer

        async with Peers(tmp_path, *map(counting, range(3))) as peers:
            waiting = [peers.ask() for _ in range(3)]
            await waiting[1]
            await waiting[2]
            for _ in range(40):
                await peers.ask()
            assert counts[0] == 1
            assert min(counts[1:]) >= 20
            assert waiting[0].response is None

    run(story())


# --- who breaks ---------------------------------------------------------------------------------------------------


INSTANCE = """
import asyncio, os, sys
from jupyter_modelreg.serving.frames import FrameServer
from jupyter_modelreg.serving.http import Response

async def answer(request):
    open(sys.argv[2], "a").write(request.body.decode() + " ")
    await asyncio.sleep(float(sys.argv[3]))
    return Response(body=request.body)

async def serve():
    await FrameServer(sys.argv[1], answer).start()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(serve())
"""


class Killable:
    """An instance in a process of its own; ``begun`` is what it began to answer."""

    def __init__(self, folder: Path, name: str, seconds: float) -> None:
        self.path, self._begun = str(folder / f"{name}.sock"), folder / f"{name}.txt"
        words = [sys.executable, "-c", INSTANCE, self.path, str(self._begun), str(seconds)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"ready\n"

    @property
    def begun(self) -> set[str]:
        """The bodies that it began to answer."""
        return set(self._begun.read_text().split()) if self._begun.exists() else set()

    def end(self) -> None:
        """Kill it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def test_what_a_killed_instance_had_begun_fails_and_nothing_is_begun_twice(tmp_path: Path) -> None:
    first, second = Killable(tmp_path, "first", 0.5), Killable(tmp_path, "second", 0.001)

    async def story() -> None:
        pool = FramePool()
        paths = [first.path, second.path]
        asked = []
        for number in range(400):
            asked.append(pool.ask(lambda: paths, a_request(b"%d" % number), TIMEOUT, in_words))
            await asyncio.sleep(0.001)
            if number == 200:
                held = pool.ask(lambda: [first.path], a_request(b"held"), TIMEOUT, in_words)
                while "held" not in first.begun:
                    await asyncio.sleep(0.001)
                first.end()
        answers = [await item for item in asked]
        assert (await held).status == 502
        pool.close()
        for number, answer in enumerate(answers):
            assert answer.status in (200, 502)
            if answer.status == 200:
                assert answer.body == b"%d" % number
        failed = {str(number) for number, answer in enumerate(answers) if answer.status == 502}
        assert failed <= first.begun
        assert not failed & second.begun

    try:
        run(story())
        assert not first.begun & second.begun
    finally:
        for instance in (first, second):
            instance.end() if instance.process.returncode is None else None


def test_what_a_stopped_instance_had_not_read_goes_to_another(tmp_path: Path) -> None:
    first, second = Killable(tmp_path, "first", 0), Killable(tmp_path, "second", 0)

    async def story() -> None:
        pool = FramePool()
        assert (await pool.ask(lambda: [first.path], a_request(b"warm"), TIMEOUT, in_words)).status == 200
        first.process.send_signal(signal.SIGSTOP)
        paths = [first.path]
        asked = [pool.ask(lambda: paths, a_request(b"%d" % number), TIMEOUT, in_words) for number in range(20)]
        await asyncio.sleep(0.05)
        paths = [first.path, second.path]
        first.end()
        assert [(await item).status for item in asked] == [200] * 20
        pool.close()

    try:
        run(story())
        assert first.begun == {"warm"}
        assert second.begun == {str(number) for number in range(20)}
    finally:
        for instance in (first, second):
            instance.end() if instance.process.returncode is None else None


def test_a_request_waits_for_an_instance_that_is_about_to_be_ready(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path) as peers:
            asked = peers.ask()
            await asyncio.sleep(0.1)
            server = FrameServer(str(tmp_path / "late.sock"), echo)
            peers.paths = [server.path]
            await asyncio.sleep(0.1)
            assert asked.response is None
            await server.start()
            assert (await asked).status == 201
            await server.stop(1)

    run(story())


def test_without_an_instance_it_is_a_503_with_the_time_to_try_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path) as peers:
            answer = await peers.ask(timeout_seconds=0.1)
            assert (answer.status, answer.headers) == (503, {"retry-after": "1"})

    run(story())


def test_a_socket_that_a_dead_instance_left_is_replaced(tmp_path: Path) -> None:
    instance = Killable(tmp_path, "0", 0)
    instance.end()

    async def story() -> None:
        async with Peers(tmp_path, echo) as peers:
            assert (await peers.ask()).status == 201

    run(story())


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\xff" * 100,
        struct.pack(">IBI", 4, frames.ASK, 1) + b"\xff\xff\xff\xff",
        struct.pack(">IBI", 2, frames.ASK, 1) + b"\x00\x00",
        struct.pack(">IBI", 9, frames.ASK, 1) + b"\x00\x00\x00\x05hello",
        struct.pack(">IBI", 0, frames.MAX_REQUEST_BYTES % 256, 1),
        struct.pack(">IBI", 1 << 31, frames.ASK, 1),
        struct.pack(">IBI", 5, frames.ANSWER, 1) + b"12345",
        struct.pack(">IBI", 0, 0x21, 1),
    ],
    ids=repr,
)
def test_a_caller_that_speaks_something_else_is_left_and_others_are_answered(sent: bytes, tmp_path: Path) -> None:
    async def story() -> None:
        async with Peers(tmp_path, echo) as peers:
            assert (await peers.ask()).status == 201
            reader, writer = await asyncio.open_unix_connection(peers.paths[0])
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), TIMEOUT) == b"" or sent[4:5] == bytes([frames.ASK])
            writer.close()
            assert (await peers.ask()).status == 201

    run(story())


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        struct.pack(">IBI", 3, frames.ANSWER, 1) + b"\x00\xc8\x00",
        struct.pack(">IBI", frames.MAX_ANSWER_BYTES + 1, frames.ANSWER, 1),
        struct.pack(">IBI", 0, frames.ASK, 1),
        b"",
    ],
    ids=repr,
)
def test_an_instance_that_speaks_something_else_costs_its_own_requests_only(sent: bytes, tmp_path: Path) -> None:
    async def story() -> None:
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(tmp_path / "broken.sock"))
        door.listen()
        door.setblocking(False)
        async with Peers(tmp_path, echo) as peers:
            paths = [str(tmp_path / "broken.sock")]
            asked = peers.pool.ask(lambda: paths, a_request(), 1.0, in_words)
            loop = asyncio.get_running_loop()
            broken, _ = await loop.sock_accept(door)
            paths[:] = peers.paths
            await loop.sock_sendall(broken, struct.pack(">IBI", 0, frames.BEGUN, 1) + sent)
            if not sent:
                broken.close()
            answer = await asked
            assert answer.status == 502
            assert (await peers.ask()).status == 201
            broken.close()
        door.close()

    run(story())


def test_an_instance_that_does_not_read_holds_up_no_other_and_takes_bounded_memory(tmp_path: Path) -> None:
    async def story() -> None:
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(tmp_path / "stuck.sock"))
        door.listen()
        async with Peers(tmp_path, echo) as peers:
            stuck = [str(tmp_path / "stuck.sock")]
            asked = [peers.pool.ask(lambda: stuck, a_request(bytes(100_000)), 0.5, in_words) for _ in range(50)]
            await asyncio.sleep(0.05)
            (link,) = [peer._link for peer in peers.pool._peers.values() if peer.path == stuck[0]]
            assert link is not None
            assert link._out_bytes <= frames.MAX_UNSENT_BYTES + 110_000
            assert (await peers.ask()).status == 201
            assert [(await item).status for item in asked] == [408] * 50
        door.close()

    run(story())


def test_a_caller_that_does_not_read_its_answers_is_read_from_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        answered = 0

        def answer(request: Request) -> Response:
            nonlocal answered
            answered += 1
            return Response(body=bytes(100_000))

        async with Peers(tmp_path, answer) as peers:
            head = frames._head_of(a_request())
            ask = struct.pack(">I", len(head)) + head
            client = socket.socket(socket.AF_UNIX)
            client.connect(peers.paths[0])
            client.setblocking(False)
            loop = asyncio.get_running_loop()

            async def send_all() -> None:
                for number in range(5000):
                    await loop.sock_sendall(client, struct.pack(">IBI", len(ask), frames.ASK, number + 1) + ask)

            sending = asyncio.ensure_future(send_all())
            await asyncio.sleep(0.3)
            assert not sending.done()
            first = answered
            assert first < 2500
            while not sending.done():
                try:
                    await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 0.2)
                except TimeoutError:
                    break
            await sending
            assert answered > first
            client.close()

    run(story())
