"""MLflow's protocol, KServe's first one and numpy's format, by their bytes."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg import __version__
from jupyter_modelreg.serving import kserve, mlflow, npy, v2
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.http import Response

from .wires import Model, ask, columns, scripted, served

NPY = "application/x-npy"


def invoke(model: ServedModel, body: bytes, kind: str = "application/json", **headers: str) -> Response:
    return ask(mlflow.routes([model]), "POST", "/invocations", body, content_type=kind, **headers)


def sums() -> ServedModel:
    return served("array", lambda rows: rows.sum(axis=1))


def file_of(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def headed(header: bytes) -> bytes:
    """Return the beginning of a .npy file of version 1."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


# --- MLflow -----------------------------------------------------------------------------------------------------------


def test_health_and_version_are_mlflows() -> None:
    routes = mlflow.routes([sums()])
    assert ask(routes, "GET", "/ping").body == ask(routes, "GET", "/health").body == b"\n"
    assert ask(routes, "GET", "/version").body.decode() == __version__


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"instances": [[1, 2], [3, 4]]}', "application/json"),
        (b'{"inputs": [[1, 2], [3, 4]]}', "application/json; charset=utf-8"),
        (b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}', "Application/JSON"),
        (b'{"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}', "application/json"),
        (b"a,b\n1,2\n3,4\n", "text/csv"),
        (file_of(np.array([[1, 2], [3, 4]])), NPY),
    ],
)
def test_every_format_is_invoked(body: bytes, kind: str) -> None:
    answer = invoke(sums(), body, kind)
    assert (answer.status, json.loads(answer.body)) == (200, {"predictions": [3, 7]})


def test_mistakes_are_said_in_mlflows_words() -> None:
    bad = invoke(sums(), b"nonsense")
    assert (bad.status, json.loads(bad.body)["error_code"]) == (400, "BAD_REQUEST")
    for kind in ("", "application/xml", "application/x-pickle"):
        assert invoke(sums(), b"{}", kind).status == 415
    words = {status: json.loads(mlflow.Mlflow(sums()).fail("", status).body)["error_code"] for status in (401, 415, 429, 500, 503)}
    assert list(words.values()) == ["UNAUTHENTICATED", "BAD_REQUEST", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"]
    unknown = ask(mlflow.routes([sums()]), "POST", "/endpoints/other/invocations")
    assert (unknown.status, json.loads(unknown.body)["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_the_deployments_client_asks_by_the_models_or_the_endpoints_name() -> None:
    models = [served("array", lambda rows: [1]), ServedModel("b c", predictor=Model("array", lambda rows: [2]))]
    routes = mlflow.routes(models, ["churn"])
    for name, value in (("m", 1), ("churn", 1), ("b%20c", 2)):
        answer = ask(routes, "POST", f"/endpoints/{name}/invocations", b'{"inputs": [[1]]}', content_type="application/json")
        assert json.loads(answer.body) == {"predictions": [value]}


def test_a_script_gets_the_body_as_it_is() -> None:
    assert json.loads(invoke(scripted(lambda raw_data: raw_data), b"a,b", "text/csv").body) == {"predictions": "a,b"}
    assert invoke(scripted(lambda raw_data: raw_data), b"\xff", "text/csv").status == 400


def test_what_is_no_json_is_the_callers_fault_and_never_comes_to_a_script() -> None:
    model = scripted(lambda raw_data: json.loads(raw_data))
    assert invoke(model, b"nonsense").status == 400
    assert ask(kserve.routes([model]), "POST", "/v1/models/m:predict", b"nonsense").status == 400
    assert ask(v2.routes([model]), "POST", "/v2/models/m/infer", b"nonsense").status == 400


# --- columns that may be left out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
        b'{"dataframe_records": [{"a": 1}]}',
        b'{"inputs": {"a": [1]}}',
        b"a\n1\n",
    ],
)
def test_a_column_that_may_be_left_out_is_left_out(body: bytes) -> None:
    kind = "text/csv" if body.startswith(b"a") else "application/json"
    framed, bare = (served(wants, lambda rows: [0], columns("a:double", "b:double?")) for wants in ("frame", "array"))
    assert invoke(framed, body, kind).status == 200
    assert list(framed.predictor.given.columns) == ["a"]
    assert invoke(bare, body, kind).status == 200
    np.testing.assert_array_equal(bare.predictor.given, [[1, np.nan]])


def test_moments_may_stand_beside_numbers_for_a_model_of_bare_arrays() -> None:
    model = served("array", lambda rows: [0], columns("a:datetime", "b:double", "c:string?"))
    body = b'{"dataframe_records": [{"a": "2026-01-02T03:04:05", "b": 1}]}'
    assert invoke(model, body).status == 200
    assert [str(item) for item in model.predictor.given[0]] == ["2026-01-02 03:04:05", "1.0", "nan"]
    tensors = {"a": ("BYTES", ["2026-01-02T03:04:05"]), "b": ("FP64", [1.0])}
    inputs = [{"name": name, "shape": [1], "datatype": kind, "data": data} for name, (kind, data) in tensors.items()]
    assert ask(v2.routes([model]), "POST", "/v2/models/m/infer", json.dumps({"inputs": inputs}).encode()).status == 200
    assert [str(item) for item in model.predictor.given[0]] == ["2026-01-02 03:04:05", "1.0", "nan"]


def test_a_column_that_may_be_left_out_may_be_there_and_others_may_not_be_missing() -> None:
    model = served("frame", lambda rows: [0], columns("a:double", "b:string?"))
    assert invoke(model, b'{"dataframe_split": {"columns": ["b", "a"], "data": [["x", 1]]}}').status == 200
    assert model.predictor.given.iloc[0].to_dict() == {"a": 1.0, "b": "x"}
    missing = invoke(model, b'{"dataframe_records": [{"b": "x"}]}')
    assert (missing.status, 'The column "a" is missing.' in json.loads(missing.body)["message"]) == (400, True)
    extra = invoke(model, b'{"dataframe_records": [{"a": 1, "c": 2}]}')
    assert json.loads(extra.body)["message"] == 'The model takes no column "c"; it takes a, b.'


# --- numpy's format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(3, 2), np.asfortranarray(np.arange(6.0).reshape(3, 2)), np.array([[True]])])
def test_an_array_goes_and_comes_as_it_is(array: Any) -> None:
    answer = invoke(served(), file_of(array), NPY, accept=f"{NPY}, */*")
    assert answer.content_type == NPY
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.body), allow_pickle=False), array)


def test_an_answer_that_is_no_array_of_numbers_says_so() -> None:
    for value in (["a"], {"a": [1], "b": [2]}):
        answer = invoke(served("array", lambda rows, value=value: value), b'{"inputs": [[1]]}', accept=NPY)
        assert (answer.status, "ask for JSON" in json.loads(answer.body)["message"]) == (500, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x09\x00" + file_of(np.zeros((1, 1)))[8:],
        file_of(np.zeros((2, 2)))[:-1],
        file_of(np.zeros((2, 2))) + b"x",
        file_of(np.zeros((2, 2))).replace(b"(2, 2)", b"(9**9)"),
        file_of(np.zeros((2, 2))).replace(b"(2, 2)", b"(-2,2)"),
        headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999)}"),
        headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, True)}") + b" " * 8,
        headed(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"\x80\x04N.",
        headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,)}") + b" " * 8,
        headed(b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}") + b" " * 8,
        headed(b"__import__('os').getcwd()"),
        headed(b"(" * 4000),
        file_of(np.array(["a"])),
        file_of(np.zeros(2, "c16")),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_and_never_unpickled(body: bytes) -> None:
    answer = invoke(served(), body, NPY)
    assert answer.status == 400
    assert json.loads(answer.body)["message"].startswith("The body ")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x20\x00{'descr':", b"\x93NUMPY\x02\x00"]))
def test_any_bytes_are_an_array_or_refused(body: bytes, start: bytes) -> None:
    assert invoke(served(), start + body, NPY).status in (200, 400)


def test_an_array_is_read_where_it_lies() -> None:
    body = file_of(np.zeros((8, 8), "f4"))
    array = npy.read(body)
    while array.base is not None and not isinstance(array.base, bytes):
        array = array.base
    assert array.base is body


# --- KServe's first protocol ------------------------------------------------------------------------------------------


def test_v1_lists_models_and_predicts() -> None:
    routes = kserve.routes([sums()])
    assert json.loads(ask(routes, "GET", "/v1/models").body) == {"models": ["m"]}
    assert json.loads(ask(routes, "GET", "/v1/models/m").body) == {"name": "m", "ready": True}
    for path in ("/v1/models/m:predict", "/v1/models/m/versions/3:predict"):
        assert ask(routes, "POST", path, b'{"instances": [[1, 2]]}').body == b'{"predictions":[3]}'
    for method, path in (("GET", "/v1/models/other"), ("POST", "/v1/models/other:predict"), ("POST", "/v1/models/m:explain")):
        answer = ask(routes, method, path)
        assert (answer.status, json.loads(answer.body)) == (404, {"error": "There is no such model or route here; this deployment has m."})
    bad = ask(routes, "POST", "/v1/models/m:predict", b"{")
    assert (bad.status, list(json.loads(bad.body))) == (400, ["error"])


def test_v1_lets_a_scripts_own_predictions_through() -> None:
    for run in (lambda raw_data: {"predictions": [1]}, lambda raw_data: [1]):
        answer = ask(kserve.routes([scripted(run)]), "POST", "/v1/models/m:predict", b"{}")
        assert json.loads(answer.body) == {"predictions": [1]}
