"""Signatures and examples taken from live data."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jupyter_modelreg.entities.model import ColumnSpec
from jupyter_modelreg.flavors.signatures import infer_signature, make_input_example

DAY = dt.datetime(2026, 1, 2, 3, 4, 5)

COLUMNS: dict[str, tuple[Any, str, Any]] = {
    "int": ([1, 2], "long", 1),
    "small": (np.array([1, 2], "i1"), "integer", 1),
    "unsigned": (np.array([1, 2], "u4"), "long", 1),
    "single": (np.array([0.5, 2], "f4"), "float", 0.5),
    "float": ([0.5, 2.0], "double", 0.5),
    "gap": ([np.nan, 2.0], "double", None),
    "endless": ([np.inf, 2.0], "double", None),
    "text": (["a", None], "string", "a"),
    "bool": ([True, False], "boolean", True),
    "maybe": (pd.array([True, None], dtype="boolean"), "boolean", True),
    "maybe_bool": (pd.Series([None, True], dtype="object"), "boolean", None),
    "nullable": (pd.array([None, 2], dtype="Int64"), "long", None),
    "day": (pd.to_datetime([DAY, None]), "datetime", "2026-01-02T03:04:05"),
    "zoned": (pd.to_datetime([DAY, DAY]).tz_localize("UTC"), "datetime", "2026-01-02T03:04:05+00:00"),
    "no_day": (pd.to_datetime([None, DAY]), "datetime", None),
    "words": (pd.Categorical(["x", "y"]), "string", "x"),
    "numbers": (pd.Categorical([3, 4]), "long", 3),
    "mixed": (pd.Series([1, "a"], dtype="object"), "string", 1),
    "bytes": (pd.Series([b"a", b"b"], dtype="object"), "binary", "b'a'"),
    "decimal": (pd.Series([decimal.Decimal("1.5"), None], dtype="object"), "string", "1.5"),
    "scalars": (pd.Series([np.int32(3), np.int32(4)], dtype="object"), "long", 3),
    "date": (pd.Series([DAY.date(), None], dtype="object"), "string", "2026-01-02"),
    "lists": (pd.Series([[1, np.float64(2)], None], dtype="object"), "string", [1, 2.0]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_has_mlflows_word_and_a_json_value(name: str) -> None:
    values, word, first = COLUMNS[name]
    frame = pd.DataFrame({"other": [1.5, 2.5], name: values})
    assert infer_signature(frame).inputs[1] == ColumnSpec(name=name, type=word)
    example = make_input_example(frame)
    assert example["columns"] == ["other", name]
    assert (example["data"][0][1], type(example["data"][0][1])) == (first, type(first))
    json.dumps(example, allow_nan=False)
    assert infer_signature(pd.Series(values, name=name)).inputs == [ColumnSpec(name=name, type=word)]


@pytest.mark.filterwarnings("ignore:.*integer column")
@pytest.mark.parametrize("name", ["int", "float", "single", "text", "bool", "day", "small"])
def test_mlflow_itself_says_the_same(name: str) -> None:
    from mlflow.types.utils import _infer_schema

    frame = pd.DataFrame({name: COLUMNS[name][0]}).dropna()
    assert _infer_schema(frame).to_dict()[0]["type"] == infer_signature(frame).inputs[0].type


def test_a_table_keeps_whole_numbers_whole_beside_fractions() -> None:
    frame = pd.DataFrame({"whole": [1, 2], "part": [0.5, 1.5]})
    assert make_input_example(frame) == {"columns": ["whole", "part"], "data": [[1, 0.5], [2, 1.5]]}


@pytest.mark.parametrize(
    ("values", "word", "shape", "example"),
    [
        (np.zeros((5, 2)), "double", [-1, 2], [[0.0, 0.0]] * 3),
        (np.zeros((5, 2, 1), "u1"), "integer", [-1, 2, 1], [[[0], [0]]] * 3),
        (np.array(["a", "b"]), "string", [-1], ["a", "b"]),
        (np.array(["a", None], dtype=object), "string", [-1], ["a", None]),
        (np.array([1, None], dtype=object), "long", [-1], [1, None]),
        (np.array(3.0), "double", [-1], 3.0),
        ([[1, 2], [3, 4], [5, 6], [7, 8]], "long", [-1, 2], [[1, 2], [3, 4], [5, 6]]),
        (scipy.sparse.csr_matrix(np.eye(4)), "double", [-1, 4], np.eye(4)[:3].tolist()),
        (np.array([np.nan, np.inf]), "double", [-1], [None, None]),
        (np.array(["2026-01-02"], "M8[D]"), "datetime", [-1], ["2026-01-02"]),
    ],
)
def test_an_array_is_one_tensor_of_any_length(values: Any, word: str, shape: list[int], example: Any) -> None:
    assert infer_signature(values).inputs == [ColumnSpec(type=word, shape=shape)]
    assert make_input_example(values) == example


def test_named_arrays_are_named_tensors() -> None:
    values = {"a": np.zeros((4, 2), "f4"), "b": [1, 2, 3, 4]}
    assert infer_signature(values).inputs == [
        ColumnSpec(name="a", type="float", shape=[-1, 2]),
        ColumnSpec(name="b", type="long", shape=[-1]),
    ]
    assert make_input_example(values) == {"a": [[0.0, 0.0]] * 3, "b": [1, 2, 3]}


def test_records_are_columns() -> None:
    records = [{"a": 1, "b": "x"}, {"a": 2.5, "c": True}]
    assert [(spec.name, spec.type) for spec in infer_signature(records).inputs] == [("a", "double"), ("b", "string"), ("c", "boolean")]
    assert make_input_example(records) == {"columns": ["a", "b", "c"], "data": [[1, "x", None], [2.5, None, True]]}


def test_outputs_may_be_missing() -> None:
    assert infer_signature(np.zeros(2)).outputs == []
    assert infer_signature(np.zeros(2), np.zeros((2, 3), "f4")).outputs == [ColumnSpec(type="float", shape=[-1, 3])]


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 100, 100)), pd.DataFrame(np.zeros((2, 6000))), {"a": np.zeros((3, 9000))}, pd.DataFrame({"a": ["x" * 300_000]})],
)
def test_what_is_too_large_is_no_example(values: Any) -> None:
    assert make_input_example(values) is None
    assert infer_signature(values).inputs


def test_a_large_sparse_matrix_is_not_made_whole() -> None:
    huge = scipy.sparse.csr_matrix((1_000_000, 2_000_000))
    assert infer_signature(huge).inputs == [ColumnSpec(type="double", shape=[-1, 2_000_000])]
    assert make_input_example(scipy.sparse.csr_matrix((1_000_000, 1_000))) == [[0.0] * 1000] * 3


@settings(deadline=None)
@given(npst.arrays(st.sampled_from(["i1", "u8", "f2", "f8", "?", "U3", "M8[s]"]), npst.array_shapes(max_dims=3, max_side=4)))
def test_every_array_has_a_signature_and_an_example_in_json(array: Any) -> None:
    spec = infer_signature(array).inputs[0]
    assert spec.shape == [-1, *array.shape[1:]]
    assert len(json.loads(json.dumps(make_input_example(array), allow_nan=False))) == min(len(array), 3)
