"""The Open Inference Protocol by its bytes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jupyter_modelreg import __version__
from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.serving import v2
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.http import Request, Response

from .wires import Model, ask, columns, scripted, served, tensors

XY = tensors((None, "double", [-1, 2]))


def infer(model: ServedModel, body: Any, tail: bytes | None = None, **headers: str) -> Response:
    """Ask a model, with bytes behind the JSON where they are given."""
    head = body if isinstance(body, bytes) else json.dumps(body).encode()
    if tail is not None:
        headers["inference_header_content_length"] = str(len(head))
    return ask(v2.routes([model]), "POST", "/v2/models/m/infer", head + (tail or b""), **headers)


def parsed(response: Response) -> Any:
    return json.loads(response.body)


def tensor(datatype: str, shape: list[int], data: Any = None, name: str = "x", size: int | None = None) -> dict[str, Any]:
    about: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    return about | ({"data": data} if size is None else {"parameters": {"binary_data_size": size}})


def received(model: ServedModel) -> Any:
    """Return what the predictor was given."""
    return model.predictor.given


# --- metadata and health ----------------------------------------------------------------------------------------------


def test_health_and_metadata_have_a_body_that_every_client_reads() -> None:
    signature = Signature(
        inputs=[ColumnSpec(name="a", type="long"), ColumnSpec(name="b", type="string")],
        outputs=[ColumnSpec(type="float", shape=[-1, 3])],
    )
    routes = v2.routes([served(signature=signature)])
    assert parsed(ask(routes, "GET", "/v2/health/live")) == {"live": True}
    assert parsed(ask(routes, "GET", "/v2/health/ready")) == {"live": True, "ready": True}
    assert parsed(ask(routes, "GET", "/v2/models/m/ready")) == {"name": "m", "ready": True}
    assert parsed(ask(routes, "GET", "/v2")) == {
        "name": "jupyter-modelreg",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_repository"],
    }
    described = {
        "name": "m",
        "versions": ["3"],
        "platform": "jupyter-modelreg",
        "inputs": [{"name": "a", "datatype": "INT64", "shape": [-1, 1]}, {"name": "b", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "predict", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert parsed(ask(routes, "GET", "/v2/models/m")) == described
    assert parsed(ask(routes, "GET", "/v2/models/m/versions/3")) == described
    assert parsed(ask(routes, "POST", "/v2/repository/index", b"{}")) == [{"name": "m", "version": "3", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/m/versions/2", "/v2/models/other/infer", "/v2/models/m/nothing", "/v2/x"])
def test_what_is_not_here_is_404_in_the_protocols_words(path: str) -> None:
    routes = v2.routes([served()])
    for method in ("GET", "POST"):
        answer = ask(routes, method, path)
        assert (answer.status, parsed(answer)) == (404, {"error": "There is no such model or route here; this deployment has m."})


def test_models_are_loaded_by_deployments_only() -> None:
    assert ask(v2.routes([served()]), "POST", "/v2/repository/models/m/unload").status == 400


def test_several_models_and_versions_are_asked_by_name() -> None:
    models = [
        ServedModel(name, version, predictor=Model("array", lambda rows, v=version: rows * int(v)))
        for name, version in (("a", "9"), ("a", "10"), ("b c", "1"))
    ]
    routes = v2.routes(models)
    body = json.dumps({"inputs": [tensor("FP64", [1, 1], [2])]}).encode()
    for path, value in (("a", 20), ("a/versions/9", 18), ("a/versions/10", 20), ("b%20c", 2)):
        assert parsed(ask(routes, "POST", f"/v2/models/{path}/infer", body))["outputs"][0]["data"] == [value]
    assert parsed(ask(routes, "GET", "/v2/models"))["models"] == ["a", "b c"]
    assert parsed(ask(routes, "GET", "/v2/models/a"))["versions"] == ["9", "10"]


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [1.0, 2, 3, 4.0]])
def test_data_may_be_nested_or_flat(data: Any) -> None:
    answer = infer(served(signature=XY), {"id": "42", "inputs": [tensor("FP64", [2, 2], data)]})
    assert parsed(answer) == {
        "model_name": "m",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "predict", "datatype": "FP64", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}],
    }
    assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], "bool"),
        *((f"{sign}INT{size}", [0, 100], f"{sign.lower()}int{size}") for sign in ("", "U") for size in (8, 16, 32, 64)),
        *((f"FP{size}", [0.5, 100.0], f"float{size}") for size in (16, 32, 64)),
        ("BYTES", ["a", "ü\0"], "object"),
    ],
)
def test_every_type_goes_in_and_comes_out(datatype: str, data: list[Any], dtype: str) -> None:
    model = served()
    output = parsed(infer(model, {"inputs": [tensor(datatype, [2], data)]}))["outputs"][0]
    assert (output["datatype"], output["data"]) == (datatype, data)
    assert received(model).dtype == np.dtype(dtype)


def test_null_is_a_gap_and_a_gap_is_null() -> None:
    answer = parsed(infer(served(), {"inputs": [tensor("FP32", [1, 2], [None, 1.5])]}))
    assert answer["outputs"][0]["data"] == [None, 1.5]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (tensor("FP64", [2], [1, True]), 'Input "x" holds true, which is no FP64.'),
        (tensor("FP64", [2], [1, "2"]), 'Input "x" holds "2", which is no FP64.'),
        (tensor("FP64", [2], [1, {}]), 'Input "x" holds {}, which is no FP64.'),
        (tensor("FP32", [1], [1e39]), 'Input "x" holds a number that is too large for float32.'),
        (tensor("FP64", [1], [10**400]), 'Input "x" holds a number that is too large.'),
        (tensor("INT64", [1], [1.5]), 'Input "x" holds 1.5, which is no int64.'),
        (tensor("INT8", [2], [1, 200]), 'Input "x" holds 200, which is no int8.'),
        (tensor("UINT8", [2], [1, -1]), 'Input "x" holds -1, which is no uint8.'),
        (tensor("INT64", [1], [None]), 'Input "x" holds null, which is no INT64.'),
        (tensor("BOOL", [1], [1]), 'Input "x" holds 1, which is no BOOL.'),
        (tensor("BYTES", [1], [1]), 'Input "x" holds 1, which is no BYTES.'),
        (tensor("FP64", [3], [1, 2]), 'Input "x" holds 2 values; the shape [3] has 3.'),
        (tensor("FP64", [1 << 20, 1 << 20], [1]), f'Input "x" holds 1 values; the shape {[1 << 20, 1 << 20]} has {1 << 40}.'),
        *(
            (tensor("FP64", shape, []), 'Input "x" needs a "shape", a list of whole numbers.')
            for shape in ([0, 1 << 47, 1 << 47], [1 << 48], [10**4000] * 32)
        ),
        (tensor("FP64", [-1], [1]), 'Input "x" needs a "shape", a list of whole numbers.'),
        (tensor("FP64", [True], [1]), 'Input "x" needs a "shape", a list of whole numbers.'),
        (tensor("FP64", [1] * 33, [1]), 'Input "x" needs a "shape", a list of whole numbers.'),
        ({"name": "x", "datatype": "FP64", "data": [1]}, 'Input "x" needs a "shape", a list of whole numbers.'),
        (tensor("FP65", [1], [1]), 'Input "x" needs a "datatype", one of BOOL, INT8, INT16, INT32, INT64, UINT8'),
        ({"name": "x", "shape": [1], "datatype": "FP64"}, 'Input "x" needs either "data" or the parameter binary_data_size.'),
        ({**tensor("FP64", [1], [1]), "parameters": {"binary_data_size": 8}}, 'Input "x" needs either "data" or'),
        (
            {**tensor("FP64", [1], [1]), "parameters": {"shared_memory_region": "r"}},
            'Input "x" asks for shared_memory_region, which is not',
        ),
        ({**tensor("FP64", [1], [1]), "parameters": None}, None),
        ({**tensor("FP64", [1], [1]), "parameters": []}, 'Input "x" has "parameters" that are no mapping.'),
        ({**tensor("FP64", [1], [1]), "parameters": [1]}, 'Input "x" has "parameters" that are no mapping.'),
        (tensor("FP64", [0], []), "There are no rows to predict."),
        (tensor("FP64", [], [1]), 'Input "x" has no rows; its shape must begin with their number.'),
        (tensor("FP64", [1], [1], name=7), "Each input needs a name of its own."),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(item: dict[str, Any], said: str | None) -> None:
    answer = infer(served(), {"inputs": [item]})
    assert answer.status == (400 if said else 200)
    assert parsed(answer).get("error", "").startswith(said or "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is not JSON"),
        (b"nonsense", "The body is not JSON"),
        (b"[]", 'The body must be a mapping with "inputs".'),
        (b"{}", 'The body needs "inputs", a list of tensors'),
        (b'{"inputs": []}', 'The body needs "inputs", a list of tensors'),
        (b'{"inputs": [1]}', 'The body needs "inputs", a list of tensors'),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [NaN]}]}', "The body is not JSON: NaN is no JSON number"),
        (b'{"id": 1, "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}', '"id" must be text.'),
        (b'{"outputs": 1, "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}', '"outputs" must be a list of'),
        (b'{"outputs": [{}], "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}', '"outputs" must be a list of'),
        (b'{"parameters": 1, "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}', "The request has"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body: bytes, said: str) -> None:
    answer = infer(served(), body)
    assert answer.status == 400
    assert parsed(answer)["error"].startswith(said)


# --- binary -----------------------------------------------------------------------------------------------------------


def test_binary_tensors_go_in_and_out_byte_for_byte() -> None:
    tail = b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    body = {"parameters": {"binary_data_output": True}, "inputs": [tensor("FP32", [1, 2], size=8)]}
    answer = infer(served("array", lambda rows: rows * 2), body, tail)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.body[length:] == b"\x00\x00\x00\x40\x00\x00\x80\x40"
    assert json.loads(answer.body[:length]) == {
        "model_name": "m",
        "model_version": "3",
        "outputs": [{"name": "predict", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}],
    }
    assert answer.content_type == "application/octet-stream"


def test_a_binary_tensor_is_read_where_it_lies() -> None:
    model = served(signature=tensors(("x", "float", [-1, 1024])))
    infer(model, {"inputs": [tensor("FP32", [4, 1024], size=16384)]}, bytes(16384))
    array = received(model)
    while array.base is not None and not isinstance(array.base, bytes | memoryview):
        array = array.base
    assert isinstance(array.base, bytes | memoryview)


def test_text_is_behind_its_length() -> None:
    tail = b"\x02\x00\x00\x00hi\x00\x00\x00\x00\x01\x00\x00\x00\xff"
    body = {"inputs": [tensor("BYTES", [3], size=len(tail))], "outputs": [{"name": "predict", "parameters": {"binary_data": True}}]}
    model = served()
    answer = infer(model, body, tail)
    assert list(received(model)) == [b"hi", b"", b"\xff"]
    assert answer.body.endswith(tail)
    assert infer(served(), {"inputs": body["inputs"]}, tail).status == 500  # JSON cannot hold the last


def test_one_request_may_mix_json_and_binary_and_choose_for_each_output() -> None:
    model = served("tensors", lambda given: {"sum": given["a"] + given["b"], "a": given["a"]})
    body = {
        "inputs": [tensor("INT32", [1], [5], name="a"), tensor("INT32", [1], size=4, name="b")],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "sum"}, {"name": "a", "parameters": {"binary_data": False}}],
    }
    answer = infer(model, body, b"\x07\x00\x00\x00")
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    assert [item["name"] for item in outputs] == ["sum", "a"]
    assert (answer.body[length:], outputs[1]["data"]) == (b"\x0c\x00\x00\x00", [5])


def test_a_body_without_json_is_the_only_inputs_bytes() -> None:
    model = served(signature=tensors(("x", "float", [-1, 2])))
    answer = infer(model, b"", struct.pack("<4f", 1, 2, 3, 4))
    assert received(model).tolist() == [[1, 2], [3, 4]]
    assert answer.body.endswith(struct.pack("<4f", 1, 2, 3, 4))
    assert infer(model, b"", b"\0" * 9).status == 400
    assert infer(served(), b"", b"\0" * 8).status == 400


@pytest.mark.parametrize(
    ("item", "tail", "said"),
    [
        (tensor("FP32", [2], size=4), b"1234", 'Input "x" has 4 bytes; FP32 of shape [2] has 8.'),
        (tensor("FP32", [2], size=8), b"1234", 'Input "x" has a binary_data_size of 8; 4 bytes are left in the body.'),
        (tensor("FP32", [1], size=4), b"123456", "2 bytes are left over behind the tensors; do shapes and sizes fit?"),
        (tensor("FP32", [1], size=-1), b"1234", 'Input "x" has a binary_data_size of -1; 4 bytes are left in the body.'),
        (tensor("FP32", [1], size=True), b"1234", 'Input "x" has a binary_data_size of True'),
        (tensor("BYTES", [1], size=4), b"\x05\x00\x00\x00", 'Input "x" ends within an element'),
        (tensor("BYTES", [1], size=2), b"\x05\x00", 'Input "x" ends within an element'),
        (tensor("BYTES", [2], size=4), b"\x00\x00\x00\x00", 'Input "x" holds 1 values; the shape [2] has 2.'),
    ],
)
def test_bytes_that_do_not_fit_are_refused(item: dict[str, Any], tail: bytes, said: str) -> None:
    answer = infer(served(), {"inputs": [item]}, tail)
    assert answer.status == 400
    assert parsed(answer)["error"].startswith(said)


@pytest.mark.parametrize("length", ["-1", "x", "999", "1" * 40, "²", " 1", ""])
def test_a_length_of_the_head_that_is_none_is_refused(length: str) -> None:
    answer = infer(served(), {"inputs": []}, inference_header_content_length=length)
    assert (answer.status, "Inference-Header-Content-Length" in parsed(answer)["error"]) == (400, True)


NUMBERS = arrays.arrays(
    st.sampled_from(["?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"]),
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=3),
)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, st.booleans())
def test_any_array_comes_back_as_it_went(array: Any, is_binary: bool) -> None:
    datatype = v2.datatype_of(array.dtype)
    if is_binary:
        body, tail = {"inputs": [tensor(datatype, list(array.shape), size=array.nbytes)]}, array.tobytes()
        answer = infer(served(), {**body, "parameters": {"binary_data_output": True}}, tail)
        length = int(answer.headers["inference-header-content-length"])
        assert answer.body[length:] == tail
    else:
        array = np.nan_to_num(array, posinf=0, neginf=0) if array.dtype.kind == "f" else array
        output = parsed(infer(served(), {"inputs": [tensor(datatype, list(array.shape), array.tolist())]}))["outputs"][0]
        np.testing.assert_array_equal(np.array(output["data"], array.dtype).reshape(output["shape"]), array)


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_table_comes_by_column_or_as_one_tensor() -> None:
    signature = columns("a:double", "b:double")
    by_column = [tensor("FP64", [2], [1, 3], name="a"), tensor("FP64", [2, 1], [[2], [4]], name="b")]
    for wants in ("array", "frame"):
        for inputs in (by_column, by_column[::-1], [tensor("FP64", [2, 2], [1, 2, 3, 4], name="anything")]):
            model = served(wants, lambda rows: np.zeros(len(rows)), signature)
            assert infer(model, {"inputs": inputs}).status == 200
            np.testing.assert_array_equal(np.asarray(received(model)), [[1, 2], [3, 4]])
            assert wants == "array" or list(received(model).columns) == ["a", "b"]


def test_columns_keep_their_types() -> None:
    model = served("frame", lambda rows: np.zeros(len(rows)), columns("n:long", "t:string", "d:datetime", "f:boolean"))
    inputs = [
        tensor("INT32", [1], [7], name="n"),
        tensor("BYTES", [1], ["x"], name="t"),
        tensor("BYTES", [1], ["2026-01-02T03:04:05+01:00"], name="d"),
        tensor("BOOL", [1], [True], name="f"),
    ]
    assert infer(model, {"inputs": inputs}).status == 200
    row = received(model).iloc[0]
    assert (row["n"], row["t"], str(row["d"]), row["f"]) == (7, "x", "2026-01-02 02:04:05", True)
    assert str(received(model).dtypes["n"]) == "int64"


def test_a_column_that_may_be_left_out_is_left_out() -> None:
    inputs = [tensor("FP64", [1], [1], name="a")]
    model = served("frame", len, columns("a:double", "b:double?"))
    assert infer(model, {"inputs": inputs}).status == 200
    assert list(received(model).columns) == ["a"]
    bare = served("array", len, columns("a:double", "b:double?"))
    assert infer(bare, {"inputs": inputs}).status == 200
    np.testing.assert_array_equal(received(bare), [[1, np.nan]])


@pytest.mark.parametrize(
    ("signature", "item", "said"),
    [
        (XY, tensor("FP64", [1, 3], [1, 2, 3]), "The input has the shape (1, 3); the model takes (-1, 2) (-1: any length)."),
        (XY, tensor("BYTES", [1, 2], ["1", "2"]), "The input is of type text; the model takes double."),
        (XY, tensor("BOOL", [1, 2], [True, True]), "The input is of type bool; the model takes double."),
        (tensors(("x", "long", [-1])), tensor("FP64", [1], [0.5]), 'Input "x" holds a fraction or NaN; whole numbers are wanted.'),
        (tensors(("x", "integer", [-1])), tensor("INT64", [1], [1 << 40]), 'Input "x" holds a number that does not fit int32.'),
        (tensors(("x", "long", [-1])), tensor("FP64", [1], [2.0**63]), 'Input "x" holds a number that does not fit int64.'),
        (tensors(("x", "uint64", [-1])), tensor("FP64", [1], [2.0**64]), 'Input "x" holds a number that does not fit uint64.'),
        (tensors(("x", "float", [-1])), tensor("FP64", [1], [1e300]), 'Input "x" holds a number that is too large for float32.'),
        (tensors(("x", "float16", [-1])), tensor("INT64", [1], [100000]), 'Input "x" holds a number that is too large for float16.'),
        (tensors(("y", "float", [-1])), tensor("FP64", [1], [1]), 'The input "y" is missing. The model takes y.'),
        (columns("a:double", "b:double"), tensor("FP64", [1, 3], [1, 2, 3]), "The input has 3 columns; the model takes 2: a, b."),
        (columns("a:double", "b:double"), tensor("FP64", [1], [1], name="a"), 'The column "b" is missing. The model takes a, b.'),
        (
            columns("a:double"),
            tensor("FP64", [1, 2, 1], [1, 2], name="a"),
            'Input "a" has the shape (1, 2, 1); a column has (n) or (n, 1).',
        ),
        (columns("a:datetime"), tensor("BYTES", [1], ["yesterday"], name="a"), 'Column "a" holds a value that is not a datetime.'),
        (
            columns("a:array"),
            tensor("BYTES", [1], ["[]"], name="a"),
            'Column "a" is of type array, which no tensor holds; ask /invocations',
        ),
    ],
)
def test_the_signature_is_enforced_by_name(signature: Signature, item: dict[str, Any], said: str) -> None:
    answer = infer(served("array", len, signature), {"inputs": [item]})
    assert answer.status == 400
    assert parsed(answer)["error"].startswith(said)


def test_columns_of_different_lengths_are_refused() -> None:
    inputs = [tensor("FP64", [1], [1], name="a"), tensor("FP64", [2], [1, 2], name="b")]
    for signature in (None, columns("a:double", "b:double")):
        assert "different lengths" in parsed(infer(served("frame", len, signature), {"inputs": inputs}))["error"]


def test_numbers_of_half_precision_may_be_whole() -> None:
    model = served(signature=tensors(("x", "long", [-1])))
    assert infer(model, {"inputs": [tensor("FP16", [2], size=4)]}, b"\x00\x3c\xff\xfb").status == 200
    assert received(model).tolist() == [1, -65504]


def test_tiny_numbers_are_numbers() -> None:
    model = served(signature=tensors(("x", "float", [-1])))
    assert infer(model, {"inputs": [tensor("FP64", [1], [1e-300])]}).status == 200
    assert received(model)[0] == 0


# --- what models return -----------------------------------------------------------------------------------------------


def returned(value: Any, signature: Signature | None = None) -> Any:
    return parsed(infer(served("array", lambda rows: value, signature), {"inputs": [tensor("FP64", [1], [1])]}))


def test_whatever_a_model_returns_becomes_tensors() -> None:
    import pandas as pd
    from scipy.sparse import csr_matrix

    def shown(value: Any) -> Any:
        return [(item["name"], item["datatype"], item["shape"], item["data"]) for item in returned(value)["outputs"]]

    assert shown([1, 2]) == [("predict", "INT64", [2], [1, 2])]
    assert shown(["a", "b"]) == [("predict", "BYTES", [2], ["a", "b"])]
    assert shown(np.float32(2)) == [("predict", "FP32", [], [2.0])]
    assert shown(pd.DataFrame({"p": [0.5], "label": ["x"]})) == [("p", "FP64", [1], [0.5]), ("label", "BYTES", [1], ["x"])]
    assert shown(pd.Series([1, None], dtype="Int64")) == [("predict", "FP64", [2], [1.0, None])]
    assert shown({"a": [1.5], "b": np.array([[True]])}) == [("a", "FP64", [1], [1.5]), ("b", "BOOL", [1, 1], [True])]
    assert shown(csr_matrix([[0, 1]])) == [("predict", "INT64", [1, 2], [0, 1])]
    assert shown([{"a": 1}, {"a": None}]) == [("predict", "BYTES", [2], ['{"a": 1}', '{"a": null}'])]
    assert shown([[1], [1, 2]]) == [("predict", "BYTES", [2], ["[1]", "[1, 2]"])]
    assert shown(np.array(["2026-01-02", "NaT"], "datetime64[D]")) == [("predict", "BYTES", [2], ["2026-01-02", ""])]


def test_what_no_tensor_holds_is_the_models_fault() -> None:
    model = served("array", lambda rows: np.array([1j]))
    answer = infer(model, {"inputs": [tensor("FP64", [1], [1])]})
    assert (answer.status, parsed(answer)["error"]) == (500, "The model returned an array of complex128, for which there is no tensor.")


def test_the_signature_names_the_output_and_a_nameless_one_answers_to_any_name() -> None:
    body = {"inputs": [tensor("FP64", [1], [1])], "outputs": [{"name": "mine"}]}
    named = Signature(outputs=[ColumnSpec(name="species")])
    assert returned([1], named)["outputs"][0]["name"] == "species"
    assert parsed(infer(served(), body))["outputs"][0]["name"] == "mine"
    refused = infer(served(signature=named), body)
    assert (refused.status, parsed(refused)["error"]) == (400, 'The model has no output "mine"; it has species.')


def test_a_script_gets_the_body_and_its_outputs_go_out_as_they_are() -> None:
    body = {"id": "7", "inputs": [tensor("FP64", [1], [1])]}
    answer = infer(scripted(lambda raw_data: {"outputs": [{"name": "y", "data": json.loads(raw_data)["inputs"][0]["data"]}]}), body)
    assert parsed(answer) == {"model_name": "m", "model_version": "3", "id": "7", "outputs": [{"name": "y", "data": [1]}]}
    assert parsed(infer(scripted(lambda raw_data: [2]), body))["outputs"][0]["data"] == [2]
    assert infer(scripted(lambda raw_data: 1), body, b"\xff").status == 400


def test_requests_that_may_be_joined_say_so() -> None:
    def read(body: Any, signature: Signature | None = None) -> Any:
        return v2.V2().read(Request("POST", "/", "", {}, json.dumps(body).encode()), served(signature=signature))

    two, one = read({"inputs": [tensor("FP64", [2, 2], [1, 2, 3, 4])]}), read({"inputs": [tensor("FP64", [1, 2], [1, 2])]})
    assert (two.rows, one.rows, two.key == one.key) == (2, 1, True)
    assert read({"inputs": [tensor("FP32", [1, 2], [1, 2])]}).key != one.key
    assert read({"inputs": [tensor("FP64", [1, 3], [1, 2, 3])]}).key != one.key
    assert read({"inputs": [tensor("FP64", [1, 2], [1, 2])]}, tensors(("x", "double", [1, 2]))).rows == 0


# --- strangers --------------------------------------------------------------------------------------------------------

HEADS = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.dictionaries(
                st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
                st.none()
                | st.text(max_size=2)
                | st.sampled_from([*v2.DATATYPES, {"binary_data_size": 4}, {"binary_data_size": 0}, {}])
                | st.lists(st.integers(-1, 3), max_size=3),
                max_size=5,
            ),
            max_size=2,
        )
    },
    optional={
        "outputs": st.just([{"name": "x"}]),
        "id": st.text(max_size=2) | st.integers(),
        "parameters": st.just({"binary_data_output": True}),
    },
)
SIGNATURES = st.sampled_from(
    [None, XY, columns("a:double", "b:string?"), columns("x:long"), tensors(("x", "float", [-1]), ("y", "string", [-1, 1]))]
)


@settings(max_examples=500, deadline=None)
@given(HEADS, st.binary(max_size=12), st.integers(-2, 2), st.sampled_from(["frame", "array", "tensors"]), SIGNATURES)
def test_any_head_and_any_bytes_are_answered_or_refused(
    head: Any, tail: bytes, shift: int, wants: str, signature: Signature | None
) -> None:
    text = json.dumps(head).encode()
    answer = infer(served(wants, lambda inputs: [0], signature), text + tail, inference_header_content_length=str(len(text) + shift))
    assert answer.status in (200, 400)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(v2.DATATYPES)),
    st.lists(st.integers(0, 3), max_size=3),
    st.binary(max_size=40),
    st.sampled_from(["frame", "array", "tensors"]),
    SIGNATURES,
)
def test_any_bytes_of_a_tensor_are_answered_or_refused(
    datatype: str, shape: list[int], tail: bytes, wants: str, signature: Signature | None
) -> None:
    for name in ("x", "a"):
        body = {"inputs": [tensor(datatype, shape, name=name, size=len(tail))]}
        assert infer(served(wants, lambda inputs: [0], signature), body, tail).status in (200, 400)
