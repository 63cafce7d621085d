"""Signature and input example from live data: DataFrames, Series, arrays, tensors, dicts of arrays, lists, records.

The words for types are MLflow's (``mlflow.types.DataType``), so that a signature means the same there.
"""

from __future__ import annotations

import json
from typing import Any

from ..entities.model import ColumnSpec, Signature

EXAMPLE_ROWS = 3
MAX_EXAMPLE_VALUES = 10_000
MAX_EXAMPLE_BYTES = 256 << 10

# numpy's kind and item size -> MLflow's word. Source: mlflow.types.utils, _infer_numpy_dtype.
_WORDS = {
    ("i", 8): "long",
    ("u", 4): "long",
    ("u", 8): "long",
    ("f", 8): "double",
    ("f", 16): "double",
}
_WORDS_BY_KIND = {"b": "boolean", "i": "integer", "u": "integer", "f": "float", "M": "datetime", "S": "binary"}

# The word for the values of a column of objects, by their class; anything else is text.
_WORDS_BY_CLASS = {"bool": "boolean", "int": "long", "float": "double", "bytes": "binary", "datetime": "datetime", "Timestamp": "datetime"}


def infer_signature(inputs: Any, outputs: Any = None) -> Signature:
    """Return the signature of what a model takes and gives; `outputs` may be None."""
    return Signature(inputs=_specs(inputs), outputs=[] if outputs is None else _specs(outputs))


def make_input_example(inputs: Any) -> Any:
    """Return the first rows as JSON values: a split frame, a nested list, or a mapping of names to lists.

    None when they are too large to be an example.
    """
    if _count(inputs) > MAX_EXAMPLE_VALUES:
        return None
    return bound_example(_example(inputs))


def bound_example(example: Any) -> Any:
    """Return the first rows of an example in JSON's own values; None when they are too large to be one."""
    if isinstance(example, dict) and isinstance(example.get("data"), list):
        example = {**example, **{key: example[key][:EXAMPLE_ROWS] for key in ("data", "index") if key in example}}
    elif isinstance(example, dict):
        example = {name: item[:EXAMPLE_ROWS] if isinstance(item, list) else item for name, item in example.items()}
    elif isinstance(example, list):
        example = example[:EXAMPLE_ROWS]
    example = _plain(example)
    return example if len(json.dumps(example, allow_nan=False)) <= MAX_EXAMPLE_BYTES else None


# --- what data looks like -------------------------------------------------------------------------------------------


def _is_frame(values: Any) -> bool:
    return hasattr(values, "iloc") and hasattr(values, "columns")


def _is_series(values: Any) -> bool:
    return hasattr(values, "iloc") and hasattr(values, "dtype")


def _is_records(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(item, dict) for item in values)


def _head(values: Any) -> Any:
    """Return the first rows of what has rows; a matrix or tensor is not made whole for it."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__getitem__"):
        return values
    return values if getattr(values, "ndim", 1) == 0 else values[:EXAMPLE_ROWS]


def _count(inputs: Any) -> int:
    """Return how many values the first rows hold."""
    if _is_frame(inputs):
        return int(inputs.iloc[:EXAMPLE_ROWS].size)
    if isinstance(inputs, dict):
        return sum(_count(item) for item in inputs.values())
    if _is_records(inputs):
        return sum(len(item) for item in inputs[:EXAMPLE_ROWS])
    return int(_array(_head(inputs)).size)


def _array(values: Any) -> Any:
    import numpy as np

    if hasattr(values, "detach"):  # a torch tensor
        held = values.detach().cpu()
        return (held.float() if str(held.dtype) == "torch.bfloat16" else held).numpy()
    if hasattr(values, "toarray"):  # a scipy matrix
        return values.toarray()
    return np.asarray(values)


# --- signature ------------------------------------------------------------------------------------------------------


def _specs(values: Any) -> list[ColumnSpec]:
    if _is_frame(values):
        return [ColumnSpec(name=str(name), type=_word(values.iloc[:, at])) for at, name in enumerate(values.columns)]
    if _is_series(values):
        return [ColumnSpec(name=None if values.name is None else str(values.name), type=_word(values))]
    if isinstance(values, dict):
        return [_tensor(str(name), item) for name, item in values.items()]
    if _is_records(values):
        names = dict.fromkeys(str(name) for item in values for name in item)
        return [ColumnSpec(name=name, type=_word_of([item.get(name) for item in values])) for name in names]
    return [_tensor(None, values)]


def _tensor(name: str | None, values: Any) -> ColumnSpec:
    head = _array(_head(values))
    shape = tuple(getattr(values, "shape", head.shape))
    word = _word_of(head.ravel().tolist()) if head.dtype.kind == "O" else _word_of_dtype(head.dtype)
    return ColumnSpec(name=name, type=word, shape=[-1, *(int(size) for size in shape[1:])])


def _word(column: Any) -> str:
    """Return the word for a column; one of objects is looked into, one of categories is what its categories are."""
    dtype = getattr(getattr(column.dtype, "categories", None), "dtype", column.dtype)
    if str(dtype) == "object":
        return _word_of(column.dropna().tolist())
    return _word_of_dtype(dtype)


def _word_of_dtype(dtype: Any) -> str:
    kind = getattr(dtype, "kind", "O")
    return _WORDS.get((kind, getattr(dtype, "itemsize", 0))) or _WORDS_BY_KIND.get(kind, "string")


def _word_of(values: list[Any]) -> str:
    words = {_WORDS_BY_CLASS.get(type(_bare(item)).__name__, "string") for item in values if not _is_missing(item)}
    if words == {"long", "double"}:
        return "double"
    return words.pop() if len(words) == 1 else "string"


# --- example --------------------------------------------------------------------------------------------------------


def _example(inputs: Any) -> Any:
    if _is_frame(inputs):
        head = inputs.iloc[:EXAMPLE_ROWS]
        columns = [[_plain(item) for item in head.iloc[:, at].tolist()] for at in range(head.shape[1])]
        rows = [list(row) for row in zip(*columns, strict=True)] if columns else []
        return {"columns": [str(name) for name in head.columns], "data": rows}
    if isinstance(inputs, dict):
        return {str(name): _example(item) for name, item in inputs.items()}
    if _is_records(inputs):
        names = [spec.name for spec in _specs(inputs)]
        return {"columns": names, "data": [[_plain(item.get(name)) for name in names] for item in inputs[:EXAMPLE_ROWS]]}
    return _plain(_array(_head(inputs)).tolist())


def _plain(value: Any) -> Any:
    """Return a JSON value: what is missing is None, what JSON has not is text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = _bare(value)
    if _is_missing(value) or (isinstance(value, float) and value - value != 0.0):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _bare(value: Any) -> Any:
    """Return Python's own value of a numpy scalar."""
    is_scalar = hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and not hasattr(value, "detach")
    return value.item() if is_scalar else value


def _is_missing(value: Any) -> bool:
    """Say whether a value is None, NaN, NaT or pandas' NA."""
    return value is None or type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value)
