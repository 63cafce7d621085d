"""Every route of an endpoint is closed to who has no key, to other names of this machine and to other web pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.keys import MAX_WRONG
from jupyter_modelreg.serving.scripts import Script

from .live import answers_in
from .service import KEY, Service


class Doubler:
    """A model of bare arrays."""

    wants = "array"

    def __call__(self, rows: Any) -> Any:
        return np.asarray(rows, "float64").sum(axis=1) * 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment that has every route there is."""
    with Service(tmp_path_factory.mktemp("routes"), [ServedModel("double", "3", predictor=Doubler())], endpoint="live") as running:
        yield running


# --- every route ------------------------------------------------------------------------------------------------------

OPEN = {"/", "/ping", "/health", "/v2/health/live", "/v2/health/ready", "/docs"}
CLOSED = {
    # Of a model "double" in its version 3 at an endpoint "live".
    *(
        "/endpoints/*",
        "/endpoints/double/invocations",
        "/endpoints/live/invocations",
        "/invocations",
        "/metrics",
        "/openapi.json",
        "/score",
        "/swagger.json",
        "/v1/models",
        "/v1/models/*",
        "/v1/models/double",
        "/v1/models/double/versions/3",
        "/v1/models/double/versions/3:predict",
        "/v1/models/double:predict",
        "/v2",
        "/v2/*",
        "/v2/models",
        "/v2/models/double",
        "/v2/models/double/infer",
        "/v2/models/double/ready",
        "/v2/models/double/versions/3",
        "/v2/models/double/versions/3/infer",
        "/v2/models/double/versions/3/ready",
        "/v2/repository/index",
        "/v2/repository/models/*",
        "/version",
    ),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
EVIL_HOSTS = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.example",
    "127.0.0.1",
    "localhost:1",
    "0.0.0.0",
    "[::]",
    "2130706433",
)
EVIL_ORIGINS = ("https://evil.example", "null", "https://localhost.evil.example", "http://localhost", "http://127.0.0.1:1", "file://", "")


def paths_of(service: Service) -> list[str]:
    return [path.replace("*", "x") for path in service.app.routes]


def test_every_route_is_known_to_these_tests(service: Service) -> None:
    assert set(service.app.routes) == OPEN | CLOSED


@pytest.mark.parametrize("method", METHODS)
def test_no_route_tells_anything_without_a_key(service: Service, method: str) -> None:
    for path in [*paths_of(service), "/nowhere", "/score/", "//score", "/../score", "/%73core", "/docs/../score"]:
        answer = service.ask(method, path, Authorization="")
        if path in OPEN:
            assert answer.status in ((200,) if method in ("GET", "HEAD") else (200, 405)), path
            assert b"double" not in answer.body
        else:
            assert answer.status in (401, 429), path  # many wrong keys are told to wait
            assert answer.status == 429 or answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("method", METHODS)
def test_no_route_answers_under_another_name_or_to_another_page(service: Service, method: str) -> None:
    for path in paths_of(service):
        for host in EVIL_HOSTS:
            assert service.ask(method, path, Host=host).status == 421, (path, host)
        for origin in EVIL_ORIGINS[:-1]:
            assert service.ask(method, path, Origin=origin).status == 403, (path, origin)


def test_no_answer_lets_other_pages_in(service: Service) -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
    for path in [*paths_of(service), "/nowhere"]:
        for origin in (*EVIL_ORIGINS, f"http://127.0.0.1:{service.port}"):
            for method in ("OPTIONS", "GET", "POST"):
                for key in ("", f"Bearer {KEY}"):
                    answer = service.ask(method, path, Origin=origin, Authorization=key, **asked)
                    assert not [name for name in answer.headers if name.startswith("access-control-")], path
                    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_key_in_the_address_counts_nowhere(service: Service) -> None:
    for path in set(paths_of(service)) - OPEN:
        for query in (f"token={KEY}", f"key={KEY}", f"code={KEY}", f"access_token={KEY}", f"Authorization=Bearer%20{KEY}"):
            assert service.ask("GET", f"{path}?{query}", Authorization="").status in (401, 429), path


def test_what_was_asked_stands_in_no_answer_as_a_page(service: Service) -> None:
    for path in ("/<script>alert(1)</script>", "/nowhere?next=//evil.example", "/docs/<b>", "/v2/models/<svg onload=x>"):
        answer = service.ask("GET", path)
        assert answer.status in (400, 404), path
        assert answer.headers["content-type"] == "application/json"
        assert "location" not in answer.headers


def test_reading_changes_nothing(service: Service) -> None:
    for path in paths_of(service):
        first, second = service.ask("GET", path), service.ask("GET", path)
        assert first.status == second.status, path
        if path != "/metrics":
            assert first.body == second.body, path


def test_a_damaged_file_of_keys_lets_nobody_in_until_it_is_mended(tmp_path: Path) -> None:
    with Service(tmp_path, [ServedModel("double", predictor=Doubler())]) as service:
        good = (tmp_path / "keys.json").read_text()
        assert service.ask("GET", "/metrics").status == 200
        for text in ("", good[:-3], "[1]", "null", '"a"', "{}"):
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").replace(tmp_path / "keys.json")
            assert service.ask("GET", "/metrics").status == 401, text
            assert service.ask("GET", "/metrics", Authorization="Bearer ").status == 401, text
        (tmp_path / "new").write_text(good)
        (tmp_path / "new").replace(tmp_path / "keys.json")
        assert service.ask("GET", "/metrics").status == 200


def test_ten_thousand_guesses_shut_nobody_out(service: Service) -> None:
    good = f"GET /metrics HTTP/1.1\r\nHost: localhost:{service.port}\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    guesses = [
        f"GET /metrics HTTP/1.1\r\nHost: localhost:{service.port}\r\nAuthorization: Bearer {number}\r\n\r\n" for number in range(100)
    ]
    told: Counter[int] = Counter()
    for _ in range(100):
        told.update(answer.status for answer in answers_in(service.live.exchange(("".join(guesses) + good).encode())))
    assert told[200] == 100
    assert told[401] + told[429] == 10_000
    assert told[401] <= MAX_WRONG


def test_who_holds_connections_and_says_nothing_shuts_nobody_out(tmp_path: Path) -> None:
    with Service(tmp_path, [ServedModel("double", predictor=Doubler())]) as service:
        service.live.server._crowd = 100
        held = [service.live.connect() for _ in range(300)]
        for silent in held[:150]:
            silent.send(b"POST /score HTTP/1.1\r\n")
        assert service.ask("GET", "/metrics").status == 200
        assert len(service.live.server.connections) <= 100
        for silent in held:
            silent.close()


# --- bodies -----------------------------------------------------------------------------------------------------------

BODIES = {
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "deep within": b'{"input_data": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "too large a number": b'{"input_data": [[1e999, 1]]}',
    "not a number": b'{"input_data": [[NaN, 1]]}',
    "infinity": b'{"input_data": [[-Infinity, 1]]}',
    "many digits": b'{"input_data": [[' + b"9" * 4301 + b", 1]]}",
    "half a letter": b'{"input_data": [["\\ud800", 1]]}',
    "not UTF-8": b'{"input_data": [["\xff", 1]]}',
    "a mark before it": b'\xef\xbb\xbf{"input_data": [["a", 1]]}',
    "UTF-16": '{"input_data": [["a"]]}'.encode("utf-16"),
    "zeros": b"\x00" * 1000,
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
    "a form": b"input_data=1",
    "cut off": b'{"input_data": [[1, 2',
    "ragged": b'{"input_data": [[1, 2], [3]]}',
    "words": b'{"input_data": [["a", "b"]]}',
    "a keyword twice": b'{"input_data": [[1, 2]], "input_data": "x"}',
    "nothing": b"",
    "null": b"null",
}
KINDS = ("application/json", "application/json; format=pandas-split", "text/csv", "application/octet-stream", "application/x-npy", "x/y")


def test_no_body_makes_any_route_fail(service: Service) -> None:
    for path in paths_of(service):
        route = service.app._methods(path).get("POST")
        if route is None or route.model is None:  # who has no use for a body looks at none
            continue
        for name, body in BODIES.items():
            for kind in KINDS:
                answer = service.ask("POST", path, body, Content_Type=kind)
                allowed = (200, 400, 404, 415) if kind == "text/csv" or name == "nothing" else (400, 404, 415)
                assert answer.status in allowed, (path, name, kind)
                assert len(answer.body) < 1000, (path, name, kind)


def test_a_body_that_a_script_stumbles_over_costs_that_request_only(tmp_path: Path) -> None:
    def run(raw_data: str) -> Any:
        return len(str(json.loads(raw_data))) if raw_data else 0

    with Service(tmp_path, [ServedModel("parse", script=Script(run))]) as service:
        for name, body in BODIES.items():
            assert service.ask("POST", "/score", body).status in (200, 400, 424), name  # Source: Azure ML hands over any text
            for path in ("/invocations", "/v1/models/parse:predict", "/v2/models/parse/infer"):
                assert service.ask("POST", path, body, Content_Type="application/json").status in (200, 400), (path, name)
        assert service.ask("POST", "/score", b"[1]").status == 200
