"""Signature and input example from live data: DataFrames, arrays, tensors, dicts of arrays, lists.

The words for types are MLflow's (``mlflow.types.DataType``), so that a signature means the same there.
"""

from __future__ import annotations

from typing import Any

from ..entities.model import ColumnSpec, Signature

MAX_EXAMPLE_VALUES = 10_000

# numpy's kind and item size -> MLflow's word.
_WORDS = {
    ("b", 1): "boolean",
    ("i", 4): "integer",
    ("i", 8): "long",
    ("f", 4): "float",
    ("f", 8): "double",
    ("M", 8): "datetime",
}
_WORDS_BY_KIND = {"b": "boolean", "i": "long", "u": "long", "f": "double", "O": "string", "U": "string", "T": "string", "M": "datetime"}


def infer_signature(inputs: Any, outputs: Any = None) -> Signature:
    """Return the signature of what a model takes and gives; `outputs` may be None."""
    return Signature(inputs=_specs(inputs), outputs=[] if outputs is None else _specs(outputs))


def make_input_example(inputs: Any, rows: int = 3) -> Any:
    """Return the first rows as JSON values: a split frame, a nested list, or a mapping of names to lists.

    None when they are too large to be an example.
    """
    if hasattr(inputs, "iloc") and hasattr(inputs, "columns"):
        head = inputs.iloc[:rows]
        return {"columns": [str(name) for name in head.columns], "data": [[_plain(item) for item in row] for row in head.values.tolist()]}
    if isinstance(inputs, dict):
        return {str(name): make_input_example(item, rows) for name, item in inputs.items()}
    array = _array(inputs)[:rows]
    return _plain(array.tolist()) if array.size <= MAX_EXAMPLE_VALUES else None


def _specs(values: Any) -> list[ColumnSpec]:
    if hasattr(values, "columns") and hasattr(values, "dtypes"):
        return [ColumnSpec(name=str(name), type=_word(kind)) for name, kind in zip(values.columns, values.dtypes, strict=True)]
    if isinstance(values, dict):
        return [_tensor(str(name), _array(item)) for name, item in values.items()]
    if hasattr(values, "name") and hasattr(values, "dtype") and hasattr(values, "index"):  # a Series
        return [ColumnSpec(name=None if values.name is None else str(values.name), type=_word(values.dtype))]
    return [_tensor(None, _array(values))]


def _tensor(name: str | None, array: Any) -> ColumnSpec:
    return ColumnSpec(name=name, type=_word(array.dtype), shape=[-1, *array.shape[1:]])


def _array(values: Any) -> Any:
    import numpy as np

    if hasattr(values, "detach"):  # a torch tensor
        return values.detach().cpu().numpy()
    if hasattr(values, "toarray"):  # a scipy matrix
        return values.toarray()
    return np.atleast_1d(np.asarray(values))


def _word(dtype: Any) -> str:
    kind, size = getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 8)
    return _WORDS.get((kind, size)) or _WORDS_BY_KIND.get(kind, "string")


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
