"""Whatever a stranger sends is answered with a status below 500, or with silence, and soon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.serving.app import App
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.http import Limits
from jupyter_modelreg.serving.payloads import ENVELOPES, parse_rows, to_input

from .live import Answer, Live, answers_in

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TABLE = Signature(inputs=[ColumnSpec(name="a", type="double"), ColumnSpec(name="b", type="long"), ColumnSpec(name="c", type="string")])


class Counter:
    """A model that counts rows."""

    wants = "frame"

    def __call__(self, rows: Any) -> Any:
        return [len(rows)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A deployment with short patience."""
    folder: Path = tmp_path_factory.mktemp("strangers")
    (folder / "keys.json").write_text('{"primary": "k"}')
    listener, thread = bind_port(None), ThreadPoolExecutor(1)
    app = App(
        "blue",
        models=[ServedModel("m", predictor=Counter(), signature=TABLE)],
        port=listener.getsockname()[1],
        keys_path=str(folder / "keys.json"),
        model_thread=thread,
    )
    with Live(
        app.handle, app.refuse, Limits(header_bytes=4000, body_bytes=100_000, read_seconds=0.05, idle_seconds=0.05), listener
    ) as running:
        yield running
    thread.shutdown()


def statuses(live: Live, sent: bytes) -> list[int]:
    return [answer.status for answer in answers_in(live.exchange(sent))]


@FUZZ
@given(st.binary(max_size=300))
def test_random_bytes(live: Live, sent: bytes) -> None:
    assert all(status < 500 for status in statuses(live, sent))


WORDS = st.sampled_from(
    [
        *(
            b"GET ",
            b"POST ",
            b"HEAD ",
            b"OPTIONS ",
            b"/score",
            b"/invocations",
            b"/",
            b"*",
            b"http://a/",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"\r\n",
            b"\n",
        ),
        *(
            b"Host: 127.0.0.1\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
        ),
        *(
            b"Connection: Upgrade\r\n",
            b"Upgrade: h2c\r\n",
            b"Expect: 100-continue\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Authorization: Bearer k\r\n",
        ),
        *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"hello", b"\x1f\x8b", b":", b" ", b"\x00", b"\xff"),
    ]
)


@FUZZ
@given(st.lists(WORDS, max_size=25))
def test_words_of_http_in_any_order(live: Live, words: list[bytes]) -> None:
    assert all(status < 500 for status in statuses(live, b"".join(words)))


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a", "b", "c", "nan", "2026-01-01"])
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd") | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
SPLITS = st.fixed_dictionaries(
    {"columns": st.lists(st.sampled_from("abcd"), max_size=4) | NESTED, "data": st.lists(st.lists(LEAVES, max_size=4), max_size=3) | NESTED}
)
BODIES = NESTED | st.dictionaries(st.sampled_from([*ENVELOPES, "params", "x"]), NESTED | SPLITS, max_size=2)
SIGNATURES = st.sampled_from(
    [
        None,
        TABLE,
        Signature(inputs=[ColumnSpec(name=kind, type=kind) for kind in ("boolean", "integer", "float", "datetime")]),
        Signature(inputs=[ColumnSpec(type="double")]),
        Signature(inputs=[ColumnSpec(type="float", shape=[-1, 2])]),
        Signature(inputs=[ColumnSpec(type="string", shape=[-1])]),
        Signature(inputs=[ColumnSpec(name="a", type="long", shape=[-1]), ColumnSpec(name="b", type="boolean", shape=[-1, 1])]),
        Signature(inputs=[ColumnSpec(name="a", type="array"), ColumnSpec(name="b", type="object")]),
    ]
)


@FUZZ
@given(BODIES, st.sampled_from(["/score", "/invocations", "/v1/models/m:predict", "/v2/models/m/infer"]))
def test_any_json_over_the_wire(live: Live, body: object, path: str) -> None:
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\nAuthorization: Bearer k\r\nConnection: close\r\n"
    answer = Answer(live.exchange(head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text))
    assert answer.status in (200, 400)
    assert answer.json()


@settings(max_examples=600, deadline=None)
@given(BODIES, st.sampled_from(["frame", "array", "tensors"]), SIGNATURES)
def test_any_json_for_any_signature_is_read_or_refused(body: object, wants: str, signature: Signature | None) -> None:
    try:
        rows = to_input(parse_rows(json.dumps(body).encode(), "application/json"), wants, signature)
    except InvalidInput as error:
        message = error.message
    else:
        message = "read"
        assert len(rows) or wants == "tensors"
    assert message
    assert "\n" not in message


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='abc,"\n\r 1.e-', max_size=40), SIGNATURES)
def test_any_csv_for_any_signature_is_read_or_refused(text: str, signature: Signature | None) -> None:
    try:
        rows = to_input(parse_rows(text.encode(), "text/csv"), "frame", signature)
    except InvalidInput as error:
        message = error.message
    else:
        message = "read"
        assert len(rows)
    assert message
