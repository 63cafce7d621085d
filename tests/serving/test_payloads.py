"""Bodies to what a predictor wants, and answers to JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.serving.azure import Reader
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.payloads import parse_rows, to_input, to_json

TABLE = Signature(inputs=[ColumnSpec(name="width", type="double"), ColumnSpec(name="kind", type="string")])
NUMBERS = Signature(inputs=[ColumnSpec(name="width", type="double"), ColumnSpec(name="count", type="long")])
TENSOR = Signature(inputs=[ColumnSpec(type="float", shape=[-1, 2])])
TENSORS = Signature(inputs=[ColumnSpec(name="left", type="float", shape=[-1, 2]), ColumnSpec(name="right", type="long", shape=[-1])])
JSON = "application/json"

FRAME = pd.DataFrame({"width": [1.5, 2.0], "kind": ["a", "7"]})
SPLIT = {"columns": ["width", "kind"], "data": [[1.5, "a"], [2, "7"]]}
RECORDS = [{"width": 1.5, "kind": "a"}, {"kind": "7", "width": 2}]
COLUMNS = {"width": [1.5, 2], "kind": ["a", "7"]}
LISTS = [[1.5, "a"], [2, "7"]]


def read(body: object, wants: str, signature: Signature | None = None, kind: str = JSON) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return to_input(parse_rows(text, kind), wants, signature)


class Takes:
    """A model of arrays with a parameter."""

    wants, params = "array", ("power",)


@pytest.mark.parametrize("specs", [[ColumnSpec(shape=[-1, 2])], [ColumnSpec(name="a"), ColumnSpec(name="b")], [ColumnSpec(), ColumnSpec()]])
def test_rows_of_numbers_are_read_at_once_and_mean_the_same(specs: list[ColumnSpec]) -> None:
    signature = Signature(inputs=specs)
    reader = Reader(ServedModel("m", predictor=Takes(), signature=signature))
    for rows in ([[1, 2.5]], [[1, 2], [3, 4]]):
        body = json.dumps({"input_data": rows}).encode()
        call, slow = reader.read(body, "application/json"), to_input(parse_rows(body, "application/json"), "array", signature)
        assert (call.key, call.rows, call.inputs.dtype, call.inputs.tolist()) == ("numbers", len(rows), slow.dtype, slow.tolist())
    asked = reader.read(json.dumps({"input_data": [[1, 2]], "params": {"power": 3}}).encode(), "application/json")
    assert (asked.params, asked.rows) == ({"power": 3}, 0)
    for wrong in (
        [[1]],
        [[1, 2, 3]],
        [[1, "x"]],
        [[1, [2]]],
        [1, 2],
        [[1, 2], 3],
        [[1, 2], ""],
        [[1, 2], {}],
        ["", ""],
        [[]],
        [10**400, 1],
        [],
        {},
    ):
        with pytest.raises(InvalidInput):
            reader.read(json.dumps({"input_data": wrong}).encode(), "application/json")


@pytest.mark.parametrize(
    "types", [("double", "long"), ("long", "long"), ("integer", "integer"), ("long", "integer"), ("integer", "double")]
)
@pytest.mark.parametrize("value", [0, -7, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 3.0, 3.5, True, None, "3"])
def test_whole_numbers_read_at_once_are_those_read_by_column(types: tuple[str, str], value: Any) -> None:
    signature = Signature(inputs=[ColumnSpec(name=name, type=kind) for name, kind in zip("ab", types, strict=True)])
    reader = Reader(ServedModel("m", predictor=Takes(), signature=signature))
    body = json.dumps({"input_data": {"columns": ["a", "b"], "data": [[1, value], [2, 3]]}}).encode()
    said = []
    for ask in (lambda: to_input(parse_rows(body, JSON), "array", signature), lambda: reader.read(body, JSON).inputs):
        try:
            said.append([(array := ask()).dtype, repr(array.tolist())])
        except InvalidInput as error:
            said.append([error.message])
    assert said[0] == said[1]
    if len(said[0]) > 1:
        assert (reader.read(body, JSON).key == "numbers") == (type(value) is int or (type(value), types[1]) == (float, "double"))
    other = reader.read(json.dumps({"input_data": {"columns": ["b", "a"], "data": [[3, 2]]}}).encode(), JSON)
    assert other.inputs.tolist() == [[2, 3]]


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": SPLIT},
        {"input_data": {**SPLIT, "index": [0, 1]}},
        {"input_data": {"columns": ["kind", "width"], "data": [["a", 1.5], ["7", 2]]}},
        {"input_data": LISTS},
        {"input_data": RECORDS},
        {"input_data": COLUMNS},
        {"input_data": SPLIT, "params": {}},
        {"data": LISTS},
        {"data": RECORDS},
        {"dataframe_split": SPLIT},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": LISTS},
        {"inputs": COLUMNS},
        {"inputs": LISTS},
        LISTS,
        RECORDS,
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_every_form_of_a_table_is_read(body: object) -> None:
    pd.testing.assert_frame_equal(read(body, "frame", TABLE), FRAME)


@pytest.mark.parametrize(
    "text", [b"width,kind\n1.5,a\n2,7\n", b"kind,width\r\na,1.5\r\n7,2\r\n", b'\xef\xbb\xbf"width","kind"\n1.5,"a"\n\n2,"7"\n']
)
def test_csv_is_read_and_the_signature_tells_text_from_numbers(text: bytes) -> None:
    pd.testing.assert_frame_equal(read(text, "frame", TABLE, "text/csv"), FRAME)


@pytest.mark.parametrize(
    "body", [{"input_data": {"columns": ["count", "width"], "data": [[1, 0.5], [2, 1]]}}, {"data": [[0.5, 1], [1, 2.0]]}]
)
def test_a_table_becomes_an_array_in_the_order_of_the_signature(body: object) -> None:
    np.testing.assert_array_equal(read(body, "array", NUMBERS), [[0.5, 1], [1, 2]])


def test_columns_have_the_types_of_the_signature() -> None:
    kinds = {"boolean": True, "integer": 1, "long": 2, "float": 0.5, "double": 1, "string": "x", "datetime": "2026-01-02T03:04:05+01:00"}
    signature = Signature(inputs=[ColumnSpec(name=name, type=name) for name in kinds])
    frame = read({"input_data": [list(kinds.values())]}, "frame", signature)
    text = str(pd.Series(["x"]).dtype)  # pandas 3 has a type for it
    assert [str(kind) for kind in frame.dtypes] == ["bool", "int32", "int64", "float32", "float64", text, "datetime64[us]"]
    assert frame["datetime"][0] == pd.Timestamp("2026-01-02T02:04:05")


def test_gaps_are_taken_where_a_type_has_them() -> None:
    signature = Signature(inputs=[ColumnSpec(name=name, type=name) for name in ("double", "string", "datetime")])
    frame = read({"input_data": [[None, None, None], [1.0, "a", "2026-01-01"]]}, "frame", signature)
    assert frame.isna().to_numpy().tolist() == [[True] * 3, [False] * 3]
    csv = read(b"double,string,datetime\n,a,2026-01-01\nnan,,2026-01-01\n", "frame", signature, "text/csv")
    assert csv["double"].isna().tolist() == [True, True]


def test_one_column_of_text_is_what_a_vectorizer_takes() -> None:
    signature = Signature(inputs=[ColumnSpec(name="text", type="string")])
    for body in ({"input_data": ["good", "bad"]}, {"input_data": [["good"], ["bad"]]}, {"inputs": {"text": ["good", "bad"]}}):
        assert read(body, "array", signature).tolist() == ["good", "bad"]


def test_a_series_without_a_name_is_taken_by_place() -> None:
    signature = Signature(inputs=[ColumnSpec(type="double")])
    assert read({"input_data": [[1], [2]]}, "array", signature).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "body", [[[1, 2]], {"data": [[1, 2]]}, {"inputs": [[1, 2]]}, {"input_data": {"columns": ["a", "b"], "data": [[1, 2]]}}]
)
def test_without_a_signature_numbers_are_taken_as_they_come(body: object) -> None:
    assert read(body, "array").tolist() == [[1, 2]]
    if isinstance(body, dict) and "input_data" in body:
        assert list(read(body, "frame").columns) == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [{"input_data": [[1, 2], [3, 4]]}, {"inputs": [[1, 2], [3, 4]]}, {"instances": [[1, 2], [3, 4]]}, {"inputs": {"x": [[1, 2], [3, 4]]}}],
)
def test_a_tensor_has_the_type_of_the_signature(body: object) -> None:
    array = read(body, "array", TENSOR)
    assert (array.dtype, array.tolist()) == (np.float32, [[1.0, 2.0], [3.0, 4.0]])


def test_named_tensors_come_by_name() -> None:
    tensors = read({"input_data": {"right": [5], "left": [[1, 2]]}}, "tensors", TENSORS)
    assert {name: (str(item.dtype), item.tolist()) for name, item in tensors.items()} == {
        "left": ("float32", [[1.0, 2.0]]),
        "right": ("int64", [5]),
    }


BAD: list[tuple[object, str, Signature | None, str]] = [
    (b"nonsense", "frame", TABLE, "The body is not JSON: Expecting value: line 1 column 1 (char 0)."),
    (b"", "frame", TABLE, "The body is not JSON"),
    (b"\xff", "frame", TABLE, "The body is not UTF-8 text."),
    (b'{"a": 1, "a": 2}', "frame", TABLE, 'The body is not JSON: the key "a" stands twice.'),
    (b'{"data": [[NaN]]}', "frame", TABLE, "The body is not JSON: NaN is no JSON number; use null."),
    (b'{"data": [[Infinity]]}', "frame", TABLE, "Infinity is no JSON number"),
    (b'{"data": [[1e999]]}', "frame", TABLE, "1e999 is too large for a number"),
    (b'{"data": [["\\ud800"]]}', "frame", TABLE, "The body is not UTF-8 text."),
    (b"[" * 100_000, "frame", TABLE, "The body is nested too deeply."),
    (b'{"data": [[' + b"9" * 4301 + b"]]}", "frame", TABLE, "The body is not JSON"),
    (
        {},
        "frame",
        TABLE,
        'A body has one of the keys input_data, dataframe_split, dataframe_records, instances, inputs, data; for example {"input_data": [[1.0, 2.0]]}.',
    ),
    ({"rows": []}, "frame", TABLE, "A body has one of the keys"),
    ({"data": LISTS, "inputs": LISTS}, "frame", TABLE, "A body has one of the keys"),
    ("text", "frame", TABLE, "A body has one of the keys"),
    ({"data": LISTS, "params": {"a": 1}}, "frame", TABLE, 'This model takes no "params"; leave them out.'),
    ({"data": 3}, "frame", TABLE, '"data" must be a list or a mapping.'),
    ({"data": []}, "frame", TABLE, "There are no rows to predict."),
    ({"dataframe_split": {"data": LISTS}}, "frame", TABLE, '"dataframe_split" needs "columns" and "data".'),
    ({"dataframe_split": {"columns": "ab", "data": LISTS}}, "frame", TABLE, '"dataframe_split.columns" must be a list of names.'),
    ({"dataframe_split": {"columns": ["a"], "data": 3}}, "frame", TABLE, '"dataframe_split.data" must be a list of rows, each a list.'),
    ({"dataframe_records": LISTS}, "frame", TABLE, '"dataframe_records" must be a list of records.'),
    ({"inputs": {"width": [1], "kind": "a"}}, "frame", TABLE, 'Column "kind" must be a list of values, one for each row.'),
    ({"inputs": {"width": [1, 2], "kind": ["a"]}}, "frame", TABLE, "The columns have different lengths: width 2, kind 1."),
    (
        {"input_data": {"columns": ["widht", "kind"], "data": LISTS}},
        "frame",
        TABLE,
        'The column "width" is missing. Is it "widht"? The model takes width, kind.',
    ),
    (
        {"input_data": {"columns": ["width", "kind", "x"], "data": [[1, "a", 2]]}},
        "frame",
        TABLE,
        'The model takes no column "x"; it takes width, kind.',
    ),
    ({"input_data": {"columns": ["width", "width"], "data": LISTS}}, "frame", TABLE, 'The column "width" stands twice.'),
    ({"data": [[1.5]]}, "frame", TABLE, "Row 0 has 1 values; 2 are wanted: width, kind."),
    ({"data": [[1.5, "a"], "x"]}, "frame", TABLE, "Row 1 has 1 values; 2 are wanted: width, kind."),
    ({"data": [["x", "a"]]}, "frame", TABLE, 'Column "width", row 0: "x" is not a double.'),
    ({"data": [[True, "a"]]}, "frame", TABLE, 'Column "width", row 0: true is not a double.'),
    ({"data": [[1.5, "a"], [1.5, 3]]}, "frame", TABLE, 'Column "kind", row 1: 3 is not a string.'),
    ({"data": [[[1], "a"]]}, "frame", TABLE, 'Column "width", row 0: a list is not a double.'),
    ({"data": [[1, 2.5]]}, "array", NUMBERS, 'Column "count", row 0: 2.5 is not a long.'),
    ({"data": [[1, None]]}, "array", NUMBERS, 'Column "count", row 0: null is not a long.'),
    ({"data": [[1, 2**70]]}, "array", NUMBERS, 'Column "count" holds a value that is not a long.'),
    (
        {"data": [["soon"]]},
        "frame",
        Signature(inputs=[ColumnSpec(name="day", type="datetime")]),
        'Column "day" holds a value that is not a datetime.',
    ),
    ({"input_data": [[1, 2, 3]]}, "array", TENSOR, "The input has the shape (1, 3); the model takes (-1, 2) (-1: any length)."),
    ({"input_data": [[1, 2], [3]]}, "array", TENSOR, "The input has rows of different lengths, or is nested too deeply."),
    ({"input_data": [[1, "x"]]}, "array", TENSOR, "The input holds"),
    ({"input_data": {"left": [[1, 2]]}}, "tensors", TENSORS, 'The input "right" is missing; it takes left, right.'),
    ({"input_data": {"left": [[1, 2]], "right": [1], "x": [1]}}, "tensors", TENSORS, 'The model takes no input "x"; it takes left, right.'),
    ({"input_data": {"left": [[1, 2]], "right": [1.5]}}, "tensors", TENSORS, 'Input "right" holds a value that is not a long.'),
    ({"input_data": [[1, 2]]}, "tensors", TENSORS, "The model takes left, right; give each by its name."),
    ({"data": [[1, 2], [3]]}, "array", None, "The input has rows of different lengths"),
    ([{}], "frame", Signature(inputs=[ColumnSpec()]), "The rows have 0 columns; the model takes 1, by place."),
    ({"inputs": {"a": None}}, "array", None, 'Input "a" must be a list.'),
    ({"inputs": {"left": 1, "right": [1]}}, "tensors", TENSORS, 'Input "left" must be a list.'),
]


@pytest.mark.parametrize(("body", "wants", "signature", "message"), BAD, ids=[message[:50] for *_, message in BAD])
def test_a_bad_body_is_told_what_is_wrong(body: object, wants: str, signature: Signature | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(body, wants, signature)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The CSV is empty."),
        (b"\xff\xfe", "The body is not CSV"),
        (b"width,kind\n", "no rows"),
        (b"width,kind\n1\n", "Row 0 has 1 values"),
    ],
)
def test_bad_csv_is_told_what_is_wrong(text: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(text, "frame", TABLE, "text/csv")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([True, False]), [True, False]),
        (np.float32(0.5), 0.5),
        (np.array(["a", None], dtype=object), ["a", None]),
        (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (pd.Series([1.0, None]), [1.0, None]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        ({1: (1, 2), "s": {3}}, {"1": [1, 2], "s": [3]}),
        ([None, True, 1, 1.5, "é", float("inf")], [None, True, 1, 1.5, "é", None]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_models_return_becomes_json(value: object, written: object) -> None:
    assert to_json(value) == written
    json.dumps(written, allow_nan=False)
