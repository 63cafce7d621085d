"""A scoring script's server inside a container, of nothing but the standard library: the image's Python has no need of ours.

The instance outside asks it and is all that callers see. What the script returns goes out as JSON, what it yields as events, an
answer of its own (AMLResponse) as it is; what it raises is printed, which is the deployment's log.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .scripts import Script, load_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def main(folder: str, name: str, port: str, network: str) -> None:
    """Load the script and serve; on the host's own network for this machine only, else for whoever the engine lets in."""
    script, one_at_a_time = load_script(folder, name), threading.Lock()

    class Handler(_Handler):
        def do_POST(self) -> None:
            with one_at_a_time:
                self.answer(script)

    try:
        is_host = os.readlink("/proc/self/ns/net") == network
    except OSError:
        is_host = False
    ThreadingHTTPServer(("127.0.0.1" if is_host else "0.0.0.0", int(port)), Handler).serve_forever()  # noqa: S104 - the container's own


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._send(200, b"Healthy")

    def answer(self, script: Script) -> None:
        """Ask the script and send what it returns."""
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            value = script.score([body], [headers])[0] if script.is_batchable else script.score(body, headers)
            if hasattr(value, "status_code") and hasattr(value, "get_data"):
                own = {name: text for name, text in value.headers.items() if name.lower() not in ("content-type", "content-length")}
                self._send(value.status_code, value.get_data(), value.content_type or "application/json", {**own, "x-own-response": "1"})
            elif hasattr(value, "__next__"):
                self._stream(value)
            else:
                self._send(200, json.dumps(value, default=_plain).encode())
        except BaseException:  # a script may raise anything, even SystemExit
            traceback.print_exc()
            self._send(500, b"The scoring script failed.", "text/plain")

    def _stream(self, items: Iterable[Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            self._write_all(items)
        except Exception:
            traceback.print_exc()
            self.wfile.write(b"event: failed\n\n")

    def _write_all(self, items: Iterable[Any]) -> None:
        for item in items:
            is_text = isinstance(item, (str, bytes))
            text = item.decode() if isinstance(item, bytes) else str(item) if is_text else json.dumps(item, default=_plain)
            kind = "" if is_text else "event: json\n"  # told apart again outside
            lines = "".join(f"data: {line}\n" for line in text.split("\n"))
            self.wfile.write(f"{kind}{lines}\n".encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: the instance outside counts requests."""


def _plain(value: Any) -> Any:
    """Return what numpy, torch or pandas hold as plain values."""
    for name in ("tolist", "to_dict"):
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError(f"run() returned a {type(value).__name__}, which JSON cannot hold")
