"""The HTTP/1.1 parser and its limits, by raw sockets."""

from __future__ import annotations

import asyncio
import gzip
import random
import select
import socket
import threading
import time
import zlib
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jupyter_modelreg.serving import bind_port, new_event_loop
from jupyter_modelreg.serving.http import MAX_ROOM_BYTES, Limits, Request, Response, json_response

from .live import PATIENCE_SECONDS, Answer, Live, answers_in, echo, read_all, read_answer

LIMITS = Limits(header_bytes=2000, body_bytes=5000, read_seconds=0.4, idle_seconds=5.0)
HOST = b"Host: 127.0.0.1\r\n"
CLOSE = HOST + b"Connection: close\r\n"


@pytest.fixture(scope="module", params=[new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"], autouse=True)
def new_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs in each kind of loop that a server may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Live, "new_loop", staticmethod(request.param))
        yield


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A server that echoes requests and has small limits."""
    with Live(echo, limits=LIMITS) as running:
        yield running


def post(body: bytes, headers: bytes = b"", path: bytes = b"/score") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + CLOSE + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_a_body_arrives_as_it_was_sent(live: Live) -> None:
    answer = Answer(live.exchange(post(b'{"a": 1}')))
    assert (answer.status, answer.json()["body"]) == (200, '{"a": 1}')
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_large_bodies_arrive_whole_however_they_are_cut_and_whatever_follows_them() -> None:
    bodies = [bytes(random.Random(size).choices(b"abcdef", k=size)) for size in (70_000, 3_000_000, 5, 1_200_000)]
    sent = [b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    sent[3] = post(gzip.compress(bodies[3], 0), b"Content-Encoding: gzip\r\n")
    for size in (10_000_000, 65_537, 4_099):
        with Live(echo) as live, live.connect() as client:
            reading = ThreadPoolExecutor(1).submit(read_all, client)
            text = b"".join(sent)
            for place in range(0, len(text), size):
                client.sendall(text[place : place + size])
            answers = answers_in(reading.result())
        assert [answer.json()["body"].encode() for answer in answers] == bodies


def test_a_large_body_that_is_not_what_it_says_is_refused() -> None:
    with Live(echo) as live:
        answer = Answer(live.exchange(post(b"x" * 1_000_000, b"Content-Encoding: gzip\r\n")))
        assert (answer.status, answer.json()) == (400, {"message": "The body is no gzip."})


def test_a_large_body_that_stops_is_refused_and_what_still_comes_of_it_is_dropped() -> None:
    with Live(echo, limits=Limits(read_seconds=0.3)) as live, live.connect() as client:
        client.sendall(b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 1_500_000)
        answer = read_answer(client)
        client.sendall(b"x" * 8_000_000)
        assert (answer.status, read_all(client)) == (408, b"")


def test_a_body_that_is_announced_and_not_sent_takes_no_room() -> None:
    with Live(echo) as live, live.connect() as client:
        client.sendall(b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 16000000\r\n\r\n" + b"x" * 100_000)
        time.sleep(0.2)
        (connection,) = live.server.connections
        assert 100_000 <= len(connection._body) <= 100_000 + MAX_ROOM_BYTES


def test_a_body_in_chunks_arrives_whole_and_what_trails_it_changes_nothing(live: Live) -> None:
    head = b"POST /x HTTP/1.1\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = Answer(live.exchange(head + b"3;note=1\r\nabc\r\n2\r\nde\r\n0\r\nhost: evil\r\nx-late: 1\r\n\r\n"))
    assert answer.json()["body"] == "abcde"
    assert answer.json()["host"] == "127.0.0.1"
    assert "x-late" not in answer.json()


def test_a_request_sent_byte_by_byte_is_one_request(live: Live) -> None:
    with live.connect() as client:
        for byte in post(b"slow"):
            client.sendall(bytes([byte]))
        assert Answer(read_all(client)).json()["body"] == "slow"


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: 0x5\r\n\r\nhello",
        b"Content-Length: 5 5\r\n\r\nhello",
        b"Content-Length:\r\n\r\nhello",
        b"Content-Length : 5\r\n\r\nhello",
        b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nhello",
        b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n10000000000000000000\r\nhello\r\n0\r\n\r\n",
        b"Host: other\r\n\r\n",
        b"Authorization: a\r\nAuthorization: b\r\n\r\n",
        b"X: a\r\n folded\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X: a\rb\r\n\r\n",
        b"X\x01: a\r\n\r\n",
        b"no colon\r\n\r\n",
        b"X: a\n\n",
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_refused(live: Live, sent: bytes) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = answers_in(live.exchange(b"POST /score HTTP/1.1\r\n" + HOST + sent + smuggled))
    assert [answer.status for answer in answers] == [400]
    assert answers[0].headers["connection"] == "close"
    assert set(answers[0].json()) == {"message"}


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"BREW /score HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /score HTTP/3.7\r\n" + HOST + b"\r\n",
        b"GET score HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /score HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
    ],
)
def test_what_is_no_request_is_answered_once(live: Live, sent: bytes) -> None:
    assert [answer.status for answer in answers_in(live.exchange(sent))] == [400]


def test_an_absolute_target_brings_its_own_host(live: Live) -> None:
    answer = Answer(live.exchange(b"GET http://evil.example:80/score?a=1 HTTP/1.1\r\n" + CLOSE + b"\r\n"))
    assert (answer.json()["path"], answer.json()["query"], answer.json()["host"]) == ("/score", "a=1", "evil.example:80")
    assert Answer(live.exchange(b"GET http://[::1]:8/ HTTP/1.1\r\n" + CLOSE + b"\r\n")).json()["host"] == "[::1]:8"
    assert Answer(live.exchange(b"GET http://localhost HTTP/1.1\r\n" + CLOSE + b"\r\n")).json()["path"] == "/"


def test_equal_headers_are_joined(live: Live) -> None:
    assert Answer(live.exchange(b"GET / HTTP/1.1\r\n" + CLOSE + b"Cookie: a\r\nCookie: b\r\n\r\n")).json()["cookie"] == "a, b"


def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(request: Request) -> Response:
        await asyncio.sleep(0.2 if request.path == "/0" else 0)
        return json_response(request.path)

    with Live(slow_first) as live:
        many = b"".join(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(50))
        answers = answers_in(live.exchange(many + b"GET /last HTTP/1.1\r\n" + CLOSE + b"\r\n"))
        assert [answer.json() for answer in answers] == [*(f"/{number}" for number in range(50)), "/last"]


def test_a_broken_request_behind_good_ones_takes_none_of_their_answers(live: Live) -> None:
    good = b"GET /good HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = answers_in(live.exchange(good + good + b"nonsense\r\n\r\n"))
    assert [answer.status for answer in answers] == [200, 200, 400]


def test_a_connection_is_kept_and_says_so(live: Live) -> None:
    with live.connect() as client:
        for number in range(3):
            client.sendall(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
            answer = read_answer(client)
            assert (answer.json()["path"], answer.headers["connection"]) == (f"/{number}", "keep-alive")


def test_http_1_0_gets_one_answer_unless_it_asks_for_more(live: Live) -> None:
    assert Answer(live.exchange(b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")).headers["connection"] == "close"
    with live.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n")
        assert read_answer(client).headers["connection"] == "keep-alive"


def test_head_has_the_headers_of_get_and_no_body(live: Live) -> None:
    answer = Answer(live.exchange(b"HEAD /x HTTP/1.1\r\n" + CLOSE + b"\r\n"))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.length > 0


def test_a_stream_that_head_does_not_want_is_closed_where_it_is_made() -> None:
    closed = threading.Event()

    class Stream(AsyncGenerator[bytes, None]):
        async def asend(self, value: None) -> bytes:
            return b"piece"

        async def athrow(self, *_: Any) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            closed.set()

    with Live(lambda request: Response(stream=Stream())) as live:
        assert Answer(live.exchange(b"HEAD /x HTTP/1.1\r\n" + CLOSE + b"\r\n")).body == b""
        assert closed.wait(PATIENCE_SECONDS)


def test_a_client_that_waits_for_100_continue_gets_it(live: Live) -> None:
    with live.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + CLOSE + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert Answer(read_all(client)).json()["body"] == "body"


def test_a_refused_client_is_not_told_to_continue() -> None:
    with Live(echo, refuse=lambda request: json_response({"message": "no"}, 401)) as live:
        sent = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        assert [answer.status for answer in answers_in(live.exchange(sent))] == [401]


def test_a_refused_request_without_body_leaves_the_connection_open() -> None:
    with Live(echo, refuse=lambda request: json_response({"message": "no"}, 401)) as live, live.connect() as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert read_answer(client).status == 401


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_an_offer_of_another_protocol_is_answered_in_this_one(live: Live, body: bytes) -> None:
    # Java's HttpClient and `curl --http2` offer h2c on every first request, also with a body.
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    head = b"POST /up HTTP/1.1\r\n" + HOST + offer + b"Content-Length: %d\r\n\r\n" % len(body)
    with live.connect() as client:
        client.sendall(head + body[:2])
        client.sendall(body[2:] + b"GET /more HTTP/1.1\r\n\r\n")
        answers = answers_in(read_all(client))
    assert [(answer.status, answer.json()["body"]) for answer in answers] == [(200, body.decode())]
    assert answers[0].headers["connection"] == "close"


def test_an_offer_with_a_body_in_chunks_is_refused(live: Live) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert Answer(live.exchange(head + b"5\r\nhello\r\n0\r\n\r\n")).status == 400


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_body_announced_too_large_is_refused_before_it_is_sent(live: Live) -> None:
    with live.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5001\r\n\r\n")
        answer = Answer(read_all(client))
    assert answer.status == 413
    assert "5,000 bytes" in answer.json()["message"]


def test_a_body_in_endless_chunks_is_stopped_and_the_client_learns_why(live: Live) -> None:
    with live.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            client.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
        assert Answer(read_all(client)).status == 413


def test_a_body_of_the_largest_size_is_taken(live: Live) -> None:
    assert len(Answer(live.exchange(post(b"x" * 5000))).json()["body"]) == 5000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_body_is_unpacked_within_the_limit(live: Live, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    header = b"Content-Encoding: %s\r\n" % encoding.encode()
    assert Answer(live.exchange(post(pack(b"hello"), header))).json()["body"] == "hello"
    bomb = Answer(live.exchange(post(pack(b"\0" * 1_000_000), header)))
    assert (bomb.status, "once decoded" in bomb.json()["message"]) == (413, True)
    assert Answer(live.exchange(post(pack(b"hello")[:-3], header))).status == 400
    assert Answer(live.exchange(post(b"no archive", header))).status == 400


def test_an_unknown_packing_is_named(live: Live) -> None:
    answer = Answer(live.exchange(post(b"x", b"Content-Encoding: br\r\n")))
    assert (answer.status, '"br"' in answer.json()["message"]) == (415, True)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X" * 3000 + b": x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: x\r\n" % number for number in range(400)) + b"\r\n",
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 700])
def test_headers_too_large_are_refused_in_one_piece_or_many(live: Live, head: bytes, size: int) -> None:
    with live.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(head), size):
            client.sendall(head[start : start + size])
            time.sleep(0.002)  # so that pieces arrive as pieces
        assert Answer(read_all(client)).status == 431


def test_a_header_that_never_ends_is_stopped(live: Live) -> None:
    with live.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(60):
            client.sendall(b"x" * 100)
        assert Answer(read_all(client)).status == 431


def test_headers_below_the_limit_are_taken_in_any_pieces(live: Live) -> None:
    head = b"GET / HTTP/1.1\r\n" + CLOSE + b"X: " + b"x" * 1500 + b"\r\n\r\n"
    for size in (10_000, 500, 130):
        with live.connect() as client:
            for start in range(0, len(head), size):
                client.sendall(head[start : start + size])
                time.sleep(0.002)
            assert Answer(read_all(client)).status == 200


@pytest.mark.parametrize("sent", [b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"])
def test_a_request_that_does_not_arrive_in_time_is_given_up_while_others_are_answered(live: Live, sent: bytes) -> None:
    with live.connect() as slow:
        slow.sendall(sent)
        assert Answer(live.exchange(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")).status == 200
        assert Answer(read_all(slow)).status == 408


def test_a_drip_of_bytes_buys_no_time(live: Live) -> None:
    with live.connect() as slow:
        start = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        while not select.select([slow], [], [], 0.02)[0] and time.monotonic() < start + 10:
            slow.sendall(b"x")
        assert 0.3 < time.monotonic() - start < 5
        assert Answer(slow.recv(65536)).status == 408


def test_a_silent_connection_is_closed() -> None:
    with Live(echo, limits=Limits(idle_seconds=0.1)) as live, live.connect() as client:
        assert read_all(client) == b""


def test_who_does_not_read_is_dropped_and_holds_nobody_up() -> None:
    async def large(request: Request) -> Response:
        return Response(body=b"x" * 30_000_000 if request.path == "/large" else b"small", content_type="text/plain")

    with Live(large, limits=Limits(read_seconds=0.3)) as live, live.connect() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall((b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n") * 3)
        deadline = time.monotonic() + 10
        while not live.server.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Answer(live.exchange(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")).body == b"small"
        while live.server.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not live.server.connections


# --- failures and the end ---------------------------------------------------------------------------------------------


def test_a_stranger_sees_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    async def broken(request: Request) -> Response:
        raise RuntimeError("a secret of the house")

    def broken_too(request: Request) -> Response | None:
        raise OSError("a secret of the house")

    for live in (Live(broken), Live(echo, refuse=broken_too)):
        with live:
            answer = live.exchange(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
            assert Answer(answer).status == 500
            assert b"secret" not in answer


@pytest.mark.parametrize("linger", [b"\0\0\0\0\0\0\0\0", b"\1\0\0\0\0\0\0\0"], ids=["closed", "reset"])
def test_an_answer_nobody_waits_for_is_given_up(linger: bytes) -> None:
    began, ended = threading.Event(), threading.Event()

    async def slow(request: Request) -> Response:
        began.set()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ended.set()
            raise
        return json_response("late")

    with Live(slow) as live:
        with live.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert began.wait(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert ended.wait(10)


def test_stopping_answers_what_was_asked_and_the_next_request_of_a_kept_connection() -> None:
    release = threading.Event()

    async def waits(request: Request) -> Response:
        while request.path == "/slow" and not release.is_set():
            await asyncio.sleep(0.01)
        return json_response(request.path)

    with Live(waits) as live, live.connect() as busy, live.connect() as kept:
        kept.sendall(b"GET /before HTTP/1.1\r\n" + HOST + b"\r\n")
        assert read_answer(kept).headers["connection"] == "keep-alive"
        busy.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        stopping = asyncio.run_coroutine_threadsafe(live.server.stop(10), live.loop)
        deadline = time.monotonic() + 10
        while not live.server.is_stopping and time.monotonic() < deadline:
            time.sleep(0.01)
        kept.sendall(b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n")
        last = read_answer(kept)
        assert (last.json(), last.headers["connection"]) == ("/after", "close")
        release.set()
        last = read_answer(busy)
        assert (last.json(), last.headers["connection"]) == ("/slow", "close")
        stopping.result(10)
        assert read_all(kept) == b""


# --- ports ------------------------------------------------------------------------------------------------------------


def test_a_bound_port_is_nobody_elses_before_it_is_served() -> None:
    from jupyter_modelreg.errors import Unavailable

    with bind_port(None) as first:
        port = first.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} is in use"):
            bind_port(port)


def test_a_port_is_free_again_at_once() -> None:
    with Live(echo) as live:
        port = live.port
        assert Answer(live.exchange(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")).status == 200
    with bind_port(port) as again:
        assert again.getsockname()[1] == port


def test_who_connects_before_the_model_is_loaded_is_answered_after() -> None:
    listener = bind_port(None)
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=10) as early:
        early.sendall(b"GET /early HTTP/1.1\r\n" + CLOSE + b"\r\n")
        with Live(echo, listener=listener):
            assert Answer(read_all(early)).json()["path"] == "/early"


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    from jupyter_modelreg.errors import InvalidInput

    with pytest.raises(InvalidInput, match=f"{port} is no port"):
        bind_port(port)


def test_a_listening_socket_that_goes_from_server_to_server_loses_no_connection() -> None:
    listener = bind_port(None)
    address, stop = listener.getsockname(), threading.Event()
    statuses: list[int] = []
    failures: list[BaseException] = []

    def keep_calling() -> None:
        try:
            while not stop.is_set():
                with socket.create_connection(address, timeout=20) as client:
                    client.sendall(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
                    statuses.append(Answer(read_all(client)).status)
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=keep_calling) for _ in range(8)]
    for caller in callers:
        caller.start()
    for _ in range(15):
        with Live(echo, listener=listener) as live:
            listener = listener.dup()
            count, deadline = len(statuses), time.monotonic() + 10
            while len(statuses) < count + 20 and time.monotonic() < deadline:
                time.sleep(0.002)
            live.call(live.server.stop(5))
    with Live(echo, listener=listener):
        stop.set()
        for caller in callers:
            caller.join(20)
    assert failures == []
    assert set(statuses) == {200}
    assert len(statuses) >= 300


def test_a_move_to_another_socket_takes_along_who_waits_at_the_old_one() -> None:
    waiting: list[socket.socket] = []

    async def move(live: Live, listener: socket.socket) -> None:
        waiting.extend(live.connect() for _ in range(60))  # the loop stands still, so that nobody is taken
        live.server.move(listener)

    with bind_port(None) as listener, Live(echo) as live, live.connect() as kept:
        kept.sendall(b"GET /before HTTP/1.1\r\n" + HOST + b"\r\n")
        assert read_answer(kept).status == 200
        live.call(move(live, listener))
        with pytest.raises(ConnectionRefusedError):
            live.connect()
        live.port = listener.getsockname()[1]
        for client in (kept, *waiting, live.connect()):
            with client:
                client.sendall(b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n")
                assert read_answer(client).json()["path"] == "/after"
