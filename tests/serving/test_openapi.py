"""The documents say what is there, their samples are answered, and a machine that follows them finds no hole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.swagger import OPENAPI_VERSIONS, describe

from .service import KEY, Service
from .wires import Model, columns, scripted, tensors

EXAMPLES = int(os.environ.get("MODELREG_FUZZ", "8"))  # of each route; CONTRIBUTING.md says how to ask 10,000 times
TABLE = columns("width:double", "size:long?", "kind:string", "seen:datetime", "good:boolean")
OUTPUT = [ColumnSpec(name="score", type="double", shape=[-1])]


def models() -> list[ServedModel]:
    """Return a table's model and tensors' models: one of a lone nameless input, one of two."""
    return [
        ServedModel(
            "table",
            "3",
            predictor=Model("frame", lambda rows: np.zeros(len(rows))),
            signature=Signature(inputs=TABLE.inputs, outputs=OUTPUT),
        ),
        ServedModel("matrix", "1", predictor=Model("array", lambda rows: rows.sum(axis=1)), signature=tensors((None, "float", [-1, 2]))),
        ServedModel(
            "pair",
            "12",
            predictor=Model("tensors", lambda given: {"sum": given["a"] + given["b"]}),
            signature=tensors(("a", "long", [-1, 2]), ("b", "long", [-1, 2])),
        ),
        ServedModel("unknown", predictor=Model("array", lambda rows: np.zeros(len(rows)))),
    ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with models of every kind."""
    with Service(tmp_path_factory.mktemp("openapi"), models()) as running:
        yield running


def documents() -> Iterator[tuple[str, str, str, Any]]:
    """Yield path, method, content type and sample of every route of every model that has one."""
    described = describe("3.1", "blue", models())
    for path, methods in described["paths"].items():
        for method, about in methods.items():
            for kind, media in about.get("requestBody", {}).get("content", {}).items():
                if "example" in media:
                    yield path, method.upper(), kind, media["example"]


def test_every_route_is_described_and_every_description_is_a_route(service: Service) -> None:
    described = describe("3.1", "blue", service.app.models)["paths"]
    routes = {
        path: {method.lower() for method in methods} - {"options"}
        for path, methods in service.app.routes.items()
        if not path.endswith("*") and "/versions/" not in path
    }
    routes["/score"].discard("get")  # of scripts only
    assert {path: set(methods) for path, methods in described.items() if "/versions/" not in path} == routes
    assert all(set(methods) <= {name.lower() for name in service.app.routes[path]} for path, methods in described.items())


@pytest.mark.parametrize(("path", "method", "kind", "sample"), list(documents()))
def test_every_sample_is_answered(path: str, method: str, kind: str, sample: Any, service: Service) -> None:
    body = sample if isinstance(sample, str) else json.dumps(sample)
    answer = service.ask(method, path, body.encode(), content_type=kind)
    assert (answer.status, path) == (200, path), answer.body


def test_there_are_samples_for_all_but_what_nothing_is_known_of() -> None:
    sampled = {(path, kind) for path, _, kind, _ in documents()}
    for name in ("table", "matrix", "pair"):
        assert {(f"/v2/models/{name}/infer", "application/json"), (f"/endpoints/{name}/invocations", "application/json")} <= sampled
    assert ("/invocations", "text/csv") in sampled


@pytest.mark.parametrize("version", OPENAPI_VERSIONS)
def test_every_version_is_served_and_names_the_columns(version: str, service: Service) -> None:
    described = service.ask("GET", f"/swagger.json?version={version}").json()
    assert str(described.get("openapi", described.get("swagger"))).startswith(version)
    assert "/score" in described["paths"]
    assert '"width"' in json.dumps(described["paths"]["/score"])
    older = json.dumps(described)
    assert ("prefixItems" in older) == (version == "3.1")
    if version != "3.1":
        assert '"null"' not in older


def test_a_script_is_described_as_what_takes_anything() -> None:
    described = describe("3.1", "blue", [scripted(lambda raw_data: raw_data)])
    assert set(described["paths"]["/score"]) == {"get", "post"}
    assert described["paths"]["/score"]["post"]["requestBody"]["content"] == {"application/json": {"schema": {}}}


def test_the_page_names_no_model_without_a_key_and_allows_itself_only(service: Service) -> None:
    page = service.ask("GET", "/docs", Authorization="")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not any(word in page.body for word in (b"matrix", b"blue", b"http:", b"https:"))
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert (page.headers["x-content-type-options"], page.headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert service.ask("GET", "/openapi.json", Authorization="").status == 401


def test_a_refusal_is_worded_as_the_protocol_words_it(service: Service) -> None:
    for path, key in (("/score", "message"), ("/invocations", "message"), ("/v2/models/table/infer", "error"), ("/v1/models", "error")):
        answer = service.ask("POST", path, b"{}", Authorization="")
        assert (answer.status, key in answer.json(), answer.headers["www-authenticate"]) == (401, True, "Bearer")
    wrong = service.ask("DELETE", "/v2/models/table/infer")
    assert (wrong.status, wrong.headers["allow"], list(wrong.json())) == (405, "POST", ["error"])


@pytest.mark.timeout(300 + 3 * EXAMPLES)
def test_a_machine_that_follows_the_document_finds_no_hole(service: Service) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; it comes with the test extra")
    schema = schemathesis.openapi.from_dict(service.ask("GET", "/openapi.json").json())
    schema.config.update(base_url=f"http://127.0.0.1:{service.port}", headers={"Authorization": f"Bearer {KEY}"})
    asked = sum(asks_of(result.ok()) for result in schema.get_all_operations())
    print(f"{asked} requests")
    assert asked > 15 * EXAMPLES  # what takes no parameters can be asked in few ways


def asks_of(operation: Any) -> int:
    """Ask a route what its description allows and what it forbids; return how many times it was asked."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode, checks

    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    allowed, forbidden = (operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    asked = 0

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    @given(allowed | forbidden if operation.body or operation.query else allowed)
    def ask(case: Any) -> None:
        nonlocal asked
        case.call_and_validate(checks=wanted)
        asked += 1

    ask()
    return asked
