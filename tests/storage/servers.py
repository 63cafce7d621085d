"""Servers for the tests of stores elsewhere: a real S3, a line that is cut, servers that do wrong."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


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
    """A line to a server, which the test cuts: connections die after some bytes, or are refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.bytes_left: int | None = None  # until the next cut; None is for ever
        self.cuts = 0
        self.sent_bytes = self.received_bytes = 0
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._pumps: list[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((client, server))
            for ends in ((client, server), (server, client)):
                pump = threading.Thread(target=self._pump, args=ends)
                self._pumps.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        is_up = any(source is pair[0] for pair in self._pairs)
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if self.bytes_left is not None:
                    self.bytes_left -= len(content)
                    if self.bytes_left < 0:
                        self.cuts, self.bytes_left = self.cuts + 1, self.next_cut()
                        break
                target.sendall(content)
                if is_up:
                    self.sent_bytes += len(content)
                else:
                    self.received_bytes += len(content)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    next_cut: Callable[[], int | None] = staticmethod(lambda: None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for pump in self._pumps:
            pump.join()
        for pair in self._pairs:
            for end in pair:
                end.close()


@contextlib.contextmanager
def between(port: int, change: Callable[[str, str, Answer], Answer]) -> Iterator[int]:
    """Run a server that hands every request on to another one and changes the answers; give its port.

    `change` gets method, path with query, and the answer; what it raises closes the connection.
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
                status, headers, content = change(self.command, self.path, answer)
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
