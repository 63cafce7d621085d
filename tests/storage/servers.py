"""Servers for the tests of stores elsewhere: a real S3, a line that is cut, servers that do wrong."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


class Request(NamedTuple):
    """What a server was asked for; the path has the query."""

    method: str
    path: str
    headers: dict[str, str]


def point_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let every process a test starts find S3 on a port of this machine, and nobody's own credentials."""
    values = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "none",
        "AWS_SHARED_CREDENTIALS_FILE": "none",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


class Bucket:
    """A bucket of its own on the S3 server."""

    def __init__(self, server: Any, name: str) -> None:
        self._server, self.name = server, name
        self.port = server.get_host_and_port()[1]
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        urllib.request.urlopen(request).close()

    @property
    def url(self) -> str:
        return f"s3://{self.name}/store"

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Take the server away for a while; what it holds stays."""
        self._server.stop()
        self._server._server.server_close()
        try:
            yield
        finally:
            self._server._port = self.port
            self._server.start()


class Line:
    """A line to a server, which the test cuts: a connection that passes the budget dies, and all later ones until it is mended."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._budget: int | None = None
        self._times_left, self._size = 0, 0
        self.cuts = self.sent_bytes = self.received_bytes = 0
        self._lock, self._is_over, self._is_stalling = threading.Lock(), threading.Event(), False
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut_after(self, size_bytes: int, *, times: int = 0) -> None:
        """Let so many bytes pass, then nothing; with `times`, cut one connection each time so many have passed, so often."""
        self._budget = self._size = size_bytes
        self._times_left = times

    def mend(self) -> None:
        """Let all pass, and count anew."""
        self._budget, self._is_stalling, self.sent_bytes, self.received_bytes = None, False, 0, 0

    def stall_after(self, size_bytes: int) -> None:
        """Let so many bytes pass; what comes then is neither read nor refused on the connections that there are."""
        self._budget, self._is_stalling = size_bytes, True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [client, server]
            for source, target, name in ((client, server, "sent_bytes"), (server, client, "received_bytes")):
                self._threads.append(threading.Thread(target=self._pump, args=(source, target, name)))
                self._threads[-1].start()

    def _pump(self, source: socket.socket, target: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if not self._may_pass(len(content), name):
                    if self._is_stalling:
                        self._is_over.wait()
                    for end in (source, target):  # no goodbye, as when a machine goes down
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                target.sendall(content)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _may_pass(self, count: int, name: str) -> bool:
        with self._lock:
            if self._budget is not None and self._budget < count:
                self.cuts += 1
                if self._times_left:
                    self._times_left -= 1
                    self._budget = self._size if self._times_left else None
                return False
            if self._budget is not None:
                self._budget -= count
            setattr(self, name, getattr(self, name) + count)
        return True

    def close(self) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()


@contextlib.contextmanager
def between(port: int, change: Callable[[Request, Answer], Answer]) -> Iterator[int]:
    """Run a server that hands every request on to another one and changes the answers; give its port.

    `change` gets the request and the answer; a ConnectionError of it closes the connection.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _hand_on(self) -> None:
            self.close_connection = True
            body = self._body()
            onward = http.client.HTTPConnection("127.0.0.1", port)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("connection", "transfer-encoding", "expect")
            }
            onward.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            response = onward.getresponse()
            given = dict(response.headers.items())
            answer = (response.status, given, response.read())
            onward.close()
            try:
                status, headers, content = change(Request(self.command, self.path, dict(self.headers.items())), answer)
            except ConnectionError:
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _hand_on

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
