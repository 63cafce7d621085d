"""The routes of one deployment, over a real socket."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.serving.app import OPEN_PATHS, App
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.routing import Router
from jupyter_modelreg.serving.scripts import Script

from .live import Answer, Live

KEY = "the-first-key-0123456789"
SECOND = "the-second-key-0123456789"


class Doubler:
    """A model of arrays."""

    wants = "array"

    def __call__(self, rows: Any) -> Any:
        return rows.sum(axis=1) * 2


class Service:
    """An app in a server, with its files."""

    def __init__(self, folder: Path, **about: Any) -> None:
        self.keys = folder / "keys.json"
        self.keys.write_text(json.dumps({"primary": KEY, "secondary": SECOND}))
        self.thread = ThreadPoolExecutor(1)
        listener = bind_port(None)
        known = {name: about.pop(name) for name in ("predictor", "script", "signature", "input_example") if name in about}
        model = ServedModel("m", **({"predictor": Doubler()} if "script" not in known else {}) | known)
        self.app = App(
            "blue",
            models=[model],
            port=listener.getsockname()[1],
            keys_path=str(self.keys),
            model_thread=self.thread,
            router=self.give_traffic(folder / "routes.json", blue=100),
            **about,
        )
        self.live = Live(self.app.handle, self.app.refuse, listener=listener)

    @staticmethod
    def give_traffic(path: Path, **traffic: int) -> Router:
        """Write the routes as a supervisor does; return a router that reads them."""
        routes = {"front": "blue", "traffic": traffic, "mirror_traffic": {}, "deployments": {"blue": []}}
        path.with_suffix(".new").write_text(json.dumps(routes))
        path.with_suffix(".new").replace(path)
        return Router(str(path), "blue")

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, key: str = KEY, kind: str = "application/json", **headers: str
    ) -> Answer:
        """Send one request on a connection of its own; a header whose value is empty is left out."""
        values = {
            "Host": f"127.0.0.1:{self.live.port}",
            "Authorization": f"Bearer {key}" if key else "",
            "Content-Type": kind,
            "Connection": "close",
        }
        values |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in values.items() if value)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return Answer(self.live.exchange("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")))

    def score(self, value: object, **about: Any) -> Answer:
        """Post a value to ``/score``."""
        return self.ask("POST", "/score", json.dumps(value).encode(), **about)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that serves an app for a ``with`` block."""

    @contextmanager
    def start(**about: Any) -> Iterator[Service]:
        service = Service(tmp_path, **about)
        with service.live:
            yield service
        service.thread.shutdown()

    return start


@pytest.fixture
def service(serve: Callable[..., Any]) -> Iterator[Service]:
    """A service of a model that doubles sums."""
    with serve() as running:
        yield running


PATHS = [
    *("/", "/ping", "/health", "/version", "/metrics", "/swagger.json", "/openapi.json", "/docs", "/score", "/invocations"),
    *("/endpoints/m/invocations", "/v1/models", "/v1/models/m", "/v1/models/m:predict", "/v2", "/v2/models", "/v2/models/m"),
    *("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/infer", "/v2/repository/index", "/v2/nothing"),
]


def script(run: Callable[..., Any]) -> dict[str, Any]:
    return {"script": Script(run)}


ROWS = {"input_data": [[1, 2], [3, 4]]}


# --- who may call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/score/", "//score", "/../score", "/%73core"])
def test_no_route_and_no_method_answers_without_a_key(service: Service, method: str, path: str) -> None:
    answer = service.ask(method, path, key="")
    if path in OPEN_PATHS:
        assert answer.status == (200 if method in ("GET", "HEAD") else 405)
    else:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Bearer {KEY.upper()}",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY},{KEY}",
        "Bearer \xff",
    ],
)
def test_a_wrong_key_is_refused(service: Service, header: str) -> None:
    answer = service.ask("POST", "/score", b"{}", Authorization=header)
    assert answer.status == 401
    assert KEY not in answer.body.decode()


def test_both_keys_are_good_and_the_scheme_may_be_written_in_any_case(service: Service) -> None:
    for header in (f"Bearer {KEY}", f"Bearer {SECOND}", f"bearer {KEY}", f"BEARER  {KEY}"):
        assert service.ask("GET", "/version", Authorization=header).status == 200


def test_a_key_in_the_address_is_ignored(service: Service) -> None:
    assert service.ask("GET", f"/version?token={KEY}&key={KEY}", key="").status == 401


def test_a_replaced_key_is_refused_from_the_next_request_on(service: Service) -> None:
    fresh = service.keys.with_suffix(".new")
    fresh.write_text(json.dumps({"primary": "another", "secondary": SECOND}))
    fresh.replace(service.keys)
    assert service.score(ROWS).status == 401
    assert service.score(ROWS, key="another").status == 200
    assert service.score(ROWS, key=SECOND).status == 200
    service.keys.unlink()
    assert service.score(ROWS, key=SECOND).status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:{port}", "127.0.0.1.nip.example:{port}", "127.0.0.1:1", "127.0.0.1", "0.0.0.0:{port}"]
)
def test_another_host_is_refused_before_anything_else(service: Service, host: str) -> None:
    assert service.score(ROWS, Host=host.format(port=service.live.port)).status == 421
    assert service.ask("GET", "/", Host=host.format(port=service.live.port)).status == 421


def test_a_host_in_the_target_counts_and_one_is_needed(service: Service) -> None:
    assert service.ask("GET", "http://evil.example/version").status == 421
    assert service.ask("GET", f"http://localhost:{service.live.port}/version", Host="evil.example").status == 200
    assert service.ask("GET", "/version", Host="").status == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://localhost.evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://"]
)
def test_another_web_page_is_refused(service: Service, origin: str) -> None:
    assert service.score(ROWS, Origin=origin).status == 403


def test_its_own_origin_may_call(service: Service) -> None:
    assert service.score(ROWS, Origin=f"http://127.0.0.1:{service.live.port}").status == 200


def test_a_preflight_learns_nothing(service: Service) -> None:
    answer = service.ask("OPTIONS", "/score", Access_Control_Request_Method="POST")
    assert (answer.status, answer.headers["allow"]) == (200, "GET, POST, OPTIONS")
    for other in (answer, service.score(ROWS), service.ask("OPTIONS", "/score", Origin="https://evil.example")):
        assert not [name for name in other.headers if name.startswith("access-control")]


# --- the contract -----------------------------------------------------------------------------------------------------


def test_health_and_version_answer_as_azure_and_mlflow_do(service: Service) -> None:
    from jupyter_modelreg import __version__

    assert (service.ask("GET", "/", key="").body, service.ask("GET", "/ping", key="").body) == (b"Healthy", b"\n")
    assert service.ask("GET", "/version").body.decode() == __version__


def test_score_answers_with_a_bare_list(service: Service) -> None:
    answer = service.score(ROWS)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"[6,14]", "application/json")
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert answer.headers["x-ms-server-version"].startswith("jupyter-modelreg/")
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) > 0


def test_invocations_answers_as_mlflow_does(service: Service) -> None:
    assert service.ask("POST", "/invocations", b'{"instances": [[1, 2]]}').json() == {"predictions": [6.0]}
    assert service.ask("POST", "/invocations", b"a,b\n1,2\n", kind="text/csv").json() == {"predictions": [6.0]}
    bad = service.ask("POST", "/invocations", b"nonsense")
    assert (bad.status, bad.json()["error_code"]) == (400, "BAD_REQUEST")
    assert service.ask("POST", "/invocations", b"{}", kind="application/xml").status == 415
    assert service.ask("POST", "/invocations", b"{}", kind="").status == 415


def test_request_ids_come_back_or_are_made(service: Service) -> None:
    answer = service.score(ROWS, x_request_id="mine", x_ms_client_request_id="a" * 100)
    assert (answer.headers["x-request-id"], answer.headers["x-ms-client-request-id"]) == ("mine", "a" * 100)
    made = [service.score(ROWS).headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    assert all(len(name) == 36 for name in made)
    assert service.score(ROWS, x_request_id="a" * 101).status == 431


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/score", "POST, GET, OPTIONS"), ("GET", "/invocations", "POST"), ("POST", "/swagger.json", "GET")],
)
def test_a_wrong_method_is_told_the_right_ones(service: Service, method: str, path: str, allowed: str) -> None:
    answer = service.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_an_unknown_path_is_named(service: Service) -> None:
    answer = service.ask("GET", "/scoer?x=<script>")
    assert (answer.status, answer.json()["message"]) == (404, "There is no /scoer here.")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/x-pickle", "application/octet-stream"]
)
def test_only_json_is_scored(service: Service, kind: str) -> None:
    answer = service.score(ROWS, kind=kind)
    assert (answer.status, kind in answer.json()["message"]) == (415, True)


def test_the_type_may_have_parameters_or_be_left_out(service: Service) -> None:
    assert service.score(ROWS, kind="Application/JSON; charset=utf-8").status == 200
    assert service.score(ROWS, kind="").status == 200


@pytest.mark.parametrize(
    ("version", "key"), [("", "swagger"), ("2", "swagger"), ("2.0", "swagger"), ("3", "openapi"), ("3.0", "openapi"), ("3.1", "openapi")]
)
def test_swagger_comes_in_every_version_azure_has(serve: Callable[..., Any], version: str, key: str) -> None:
    signature = Signature(inputs=[ColumnSpec(name="width", type="double"), ColumnSpec(name="kind", type="string")])
    with serve(signature=signature, input_example={"columns": ["width", "kind"], "data": [[1.0, "a"]]}) as service:
        described = service.ask("GET", "/swagger.json" + (f"?version={version}" if version else "")).json()
    assert described[key].startswith(version or "2")
    assert "/score" in described["paths"]
    text = json.dumps(described)
    assert '"width"' in text
    assert '"data": [[1.0, "a"]]' in text


def test_an_unknown_swagger_version_is_named(service: Service) -> None:
    answer = service.ask("GET", "/swagger.json?version=4")
    assert (answer.status, "[4]" in answer.json()["message"]) == (404, True)


def test_a_swagger_file_beside_the_script_wins(serve: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "swagger2.json").write_text('{"swagger": "mine"}')
    with serve(code_folder=str(tmp_path), **script(lambda raw_data: 1)) as service:
        assert service.ask("GET", "/swagger.json").json() == {"swagger": "mine"}
        assert service.ask("GET", "/swagger.json?version=3").json()["openapi"] == "3.0.3"


# --- traffic ----------------------------------------------------------------------------------------------------------


def test_a_pinned_deployment_must_be_this_one(service: Service) -> None:
    assert service.score(ROWS, azureml_model_deployment="blue").status == 200
    answer = service.score(ROWS, azureml_model_deployment="green")
    assert (answer.status, answer.json()["message"]) == (404, 'Deployment "green" not found; this endpoint has "blue".')


def test_without_traffic_only_a_pinned_request_is_answered(service: Service, tmp_path: Path) -> None:
    service.give_traffic(tmp_path / "routes.json")
    until(lambda: service.score(ROWS).status == 404)
    assert "no deployment with positive weight" in service.score(ROWS).json()["message"]
    assert service.score(ROWS, azureml_model_deployment="blue").status == 200
    service.give_traffic(tmp_path / "routes.json", blue=100)
    until(lambda: service.score(ROWS).status == 200)


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_gets_the_bodys_text_whatever_its_type_says(serve: Callable[..., Any]) -> None:
    with serve(**script(lambda raw_data: raw_data)) as service:
        assert service.ask("POST", "/score", "grüß".encode(), kind="text/plain").json() == "grüß"
        assert service.ask("POST", "/score", b"").json() == ""
        assert service.ask("POST", "/score", b"\xff").json() == {
            "message": "The body is not UTF-8 text, which is what this deployment's scoring script takes."
        }
        assert service.ask("POST", "/score", b"x", kind="application/x-pickle").status == 415
        assert json.loads(service.ask("GET", "/score?a=1&b=two").json()) == {"a": "1", "b": "two"}


def test_a_script_may_look_at_the_headers(serve: Callable[..., Any]) -> None:
    with serve(**script(lambda data, request_headers: request_headers["x-tenant"])) as service:
        assert service.score({}, x_tenant="me").json() == "me"


def test_a_scripts_own_response_goes_out_as_it_is(serve: Callable[..., Any]) -> None:
    class FlaskLike:
        """What flask.Response and AMLResponse have."""

        status_code = 202
        content_type = "text/plain"
        headers = {"X-Mine": "yes", "Content-Length": "999", "Content-Type": "text/plain"}

        def get_data(self) -> bytes:
            return b"as it is"

    with serve(**script(lambda raw_data: FlaskLike())) as service:
        answer = service.score({})
    assert (answer.status, answer.body, answer.headers["content-type"], answer.headers["x-mine"]) == (202, b"as it is", "text/plain", "yes")


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "é"]}, [], "text", 7, None, {"nested": [{"b": []}]}])
def test_a_scripts_json_comes_back(serve: Callable[..., Any], value: object) -> None:
    with serve(**script(lambda raw_data: value)) as service:
        assert service.score({}).json() == value


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RuntimeError("a secret"), KeyError("a secret"), SystemExit("a secret"), KeyboardInterrupt(), RecursionError()]
)
def test_a_failing_model_tells_strangers_nothing_and_the_log_everything(
    serve: Callable[..., Any], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def run(raw_data: str) -> None:
        raise error

    with serve(**script(run)) as service:
        answer = service.score({})
        assert (answer.status, answer.headers["x-ms-run-function-failed"]) == (424, "True")
        assert answer.json() == {
            "message": "An unexpected error occurred in the model or its scoring script. Check the logs for more info."
        }
        assert service.ask("GET", "/").status == 200
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize(("value", "named"), [(b"x", "bytes"), ({"a": object()}, "object"), ([1, {2: 3j}], "complex")])
def test_what_json_cannot_hold_is_named(serve: Callable[..., Any], value: object, named: str) -> None:
    with serve(**script(lambda raw_data: value)) as service:
        answer = service.score({})
    message = f"The model or its scoring script returned a value of type {named}, which cannot be written as JSON."
    assert (answer.status, answer.json()["message"]) == (424, message)


def test_an_answer_that_holds_itself_fails_alone(serve: Callable[..., Any]) -> None:
    endless: list[object] = []
    endless.append(endless)
    with serve(**script(lambda raw_data: endless)) as service:
        assert service.score({}).status == 424
        assert service.ask("GET", "/").status == 200


def test_numbers_that_json_has_not_become_null(serve: Callable[..., Any]) -> None:
    import pandas as pd

    values = [float("nan"), float("inf"), np.float32("nan"), np.array([1.0, np.nan]), pd.NaT, pd.NA, np.int64(3), np.bool_(True)]
    with serve(**script(lambda raw_data: values)) as service:
        assert service.score({}).json() == [None, None, None, [1.0, None], None, None, 3, True]


def test_a_refusal_of_the_model_is_the_callers_fault(serve: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    class Picky:
        wants = "array"

        def __call__(self, rows: Any) -> Any:
            raise ValueError("X has 2 features, but Picky is expecting 3 features as input.\nand a second line")

    with serve(predictor=Picky()) as service:
        answer = service.score(ROWS)
    assert (answer.status, answer.json()["message"]) == (
        400,
        "The model refused the input: X has 2 features, but Picky is expecting 3 features as input.",
    )


# --- one model thread, many callers -----------------------------------------------------------------------------------


class Gate:
    """A script whose runs wait until told."""

    def __init__(self) -> None:
        self.open, self.runs = threading.Event(), 0

    def run(self, raw_data: str) -> str:
        self.runs += 1
        assert self.open.wait(20)
        return raw_data


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert happened()


def test_a_request_that_takes_too_long_is_given_up_and_the_next_ones_are_answered(serve: Callable[..., Any]) -> None:
    gate = Gate()
    with serve(timeout_seconds=0.2, **script(gate.run)) as service:
        answer = service.score({})
        assert (answer.status, answer.json()["message"].startswith("Scoring timeout after 200 ms")) == (408, True)
        assert service.score({}).status == 408  # it waited behind the first and was never begun
        gate.open.set()
        until(lambda: service.app.waiting == 0)
        assert service.score({}).status == 200
        assert gate.runs == 2


def test_more_callers_than_may_wait_are_told_to_come_again(serve: Callable[..., Any]) -> None:
    gate = Gate()
    with serve(max_waiting=2, **script(gate.run)) as service, ThreadPoolExecutor(2) as callers:
        waiting = [callers.submit(service.score, number) for number in range(2)]
        until(lambda: service.app.waiting == 2)
        answer = service.score(3)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert service.ask("GET", "/").status == 200  # health does not wait for the model
        gate.open.set()
        assert sorted(item.result().body for item in waiting) == [b'"0"', b'"1"']


def test_a_request_whose_client_has_gone_never_reaches_the_model(serve: Callable[..., Any]) -> None:
    gate = Gate()
    with serve(**script(gate.run)) as service, ThreadPoolExecutor(1) as callers:
        first = callers.submit(service.score, 1)
        until(lambda: gate.runs == 1)
        with service.live.connect() as impatient:
            head = (
                f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{service.live.port}\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1\r\n\r\n2"
            )
            impatient.sendall(head.encode())
            until(lambda: service.app.waiting == 2)
        until(lambda: service.app.waiting == 1)
        gate.open.set()
        assert first.result().status == 200
        assert gate.runs == 1


def test_metrics_count_answers_and_the_models_time(service: Service) -> None:
    service.score(ROWS)
    service.score(ROWS)
    service.score("nonsense")
    service.ask("GET", "/version", key="")
    lines = service.ask("GET", "/metrics").body.decode().splitlines()
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
    assert values['modelreg_answers_total{deployment="blue",status="200"}'] == 2
    assert values['modelreg_answers_total{deployment="blue",status="400"}'] == 1
    assert values['modelreg_answers_total{deployment="blue",status="401"}'] == 1
    assert values['modelreg_model_seconds_total{deployment="blue"}'] > 0
    assert values['modelreg_waiting{deployment="blue"}'] == 0


def test_keys_never_stand_in_the_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        service.score(ROWS)
        service.score(ROWS, key="a-wrong-key")
        service.ask("POST", "/score", b"\xff")
    assert KEY not in caplog.text
    assert "a-wrong-key" not in caplog.text
