"""Who gets a compressed answer, and that it is the same one."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from jupyter_modelreg.serving.compression import MIN_BYTES, encode
from jupyter_modelreg.serving.http import Request, Response

from .live import Answer, Live

LARGE = b'{"a": 1}' * MIN_BYTES
JSON, BINARY = "application/json", "application/octet-stream"


@pytest.mark.parametrize(
    ("body", "kind", "accepted", "coding"),
    [
        (LARGE, JSON, "gzip, deflate, br", "gzip"),
        (LARGE, "text/csv", "deflate", "deflate"),
        (LARGE, JSON, "GZIP;q=0.5, deflate;q=0.8", "deflate"),
        (LARGE, JSON, "*", "gzip"),
        (LARGE, BINARY, "gzip", "gzip"),
        (b"x", BINARY, "deflate", "deflate"),
        (b"x", JSON, "gzip", "gzip"),
        (b"x", JSON, "gzip, deflate", ""),
        (LARGE, BINARY, "gzip, deflate", ""),
        (LARGE, JSON, "br, zstd", ""),
        (LARGE, JSON, "identity", ""),
        (LARGE, JSON, "gzip;q=0", ""),
        (LARGE, JSON, "gzip;q=x", ""),
        (LARGE, JSON, "*;q=0, identity", ""),
        (b"", JSON, "gzip", ""),
    ],
)
def test_who_gets_what(body: bytes, kind: str, accepted: str, coding: str) -> None:
    made, lines = encode(body, kind, accepted)
    assert lines == (f"content-encoding: {coding}\r\nvary: accept-encoding\r\n".encode() if coding else b"")
    assert {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}[coding](made) == body


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("HEAD", {}), ("GET", {"content-encoding": "br"})])
def test_over_the_wire_the_length_is_that_of_what_is_sent(method: str, headers: dict[str, str]) -> None:
    async def handle(request: Request) -> Any:
        return Response(body=LARGE, headers=dict(headers))

    with Live(handle) as live:
        answer = Answer(live.exchange(f"{method} / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()))
    if headers:  # a script has encoded it itself
        assert (answer.headers["content-encoding"], answer.body) == ("br", LARGE)
    else:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.length == len(gzip.compress(LARGE, 1)) < len(LARGE)
        assert answer.body == b"" if method == "HEAD" else gzip.decompress(answer.body) == LARGE
