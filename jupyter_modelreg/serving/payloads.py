"""Request bodies to rows and answers to JSON.

Every envelope of Azure's no-code endpoints and MLflow's scoring server is read: ``input_data``, ``data``,
``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``, a bare list, and CSV. The signature, where there
is one, is enforced with an error that names the column.
"""

from __future__ import annotations

import json

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENVELOPES = ("input_data", "dataframe_split", "dataframe_records", "instances", "inputs", "data")

# MLflow's words for types -> numpy dtype, and the Python types JSON gives for them.
_DTYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "boolean": ("bool", (bool,)),
    "integer": ("int32", (int,)),
    "long": ("int64", (int,)),
    "float": ("float32", (int, float)),
    "double": ("float64", (int, float)),
    "string": ("object", (str,)),
    "datetime": ("datetime64[ns]", (str,)),
}


class Rows:
    """Parsed input: ``columns`` name each entry of a row, or are None; ``tensors`` holds named arrays instead."""

    __slots__ = ("columns", "rows", "tensors")

    def __init__(self, rows: list[Any], columns: list[str] | None = None, tensors: dict[str, Any] | None = None) -> None:
        self.rows, self.columns, self.tensors = rows, columns, tensors


def parse_json(body: bytes) -> Any:
    """Parse JSON strictly.

    Raises
    ------
    InvalidInput
        If it is none, is nested too deeply, or has NaN or Infinity, which JSON has not.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8 text.") from None
    except ValueError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from None


def parse_rows(body: bytes, content_type: str) -> Rows:
    """Parse a request's body.

    Raises
    ------
    InvalidInput
        If it fits none of the documented envelopes; the message shows one.
    """
    if content_type == "text/csv":
        return _parse_csv(body)
    value = parse_json(body)
    if isinstance(value, list):
        return _from_list(value, "body")
    known = [key for key in ENVELOPES if isinstance(value, dict) and key in value]
    if len(known) != 1:
        raise InvalidInput(f'A body has one of the keys {", ".join(ENVELOPES)}; for example {{"input_data": [[1.0, 2.0]]}}.')
    return _from_envelope(known[0], value[known[0]])


def to_input(rows: Rows, wants: str, signature: Signature | None) -> Any:
    """Make what a predictor wants: ``frame`` a DataFrame, ``array`` an ndarray (n, features), ``tensors`` a dict of arrays.

    Raises
    ------
    InvalidInput
        If a column is missing or its values have the wrong type.
    """
    specs = signature.inputs if signature else []
    if rows.tensors is not None or wants == "tensors":
        return _to_tensors(rows, specs)
    if not rows.rows:
        raise InvalidInput("There are no rows to predict.")
    columns = _columns(rows, specs)
    if wants == "frame" and columns:
        return _to_frame(rows, columns, specs)
    return _to_array(rows, columns, specs)


def to_json(value: Any) -> Any:
    """Make plain JSON values of what a model or script returned; NaN becomes null.

    Raises
    ------
    TypeError
        If it holds something that JSON cannot.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0.0 else None  # NaN and the infinities have no JSON
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [to_json(item) for item in value]
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a DataFrame
        return [to_json(row) for row in value.to_dict(orient="records")]
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return to_json(getattr(value, method)())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number; use null")


def _parse_csv(body: bytes) -> Rows:
    import csv
    import io

    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8"), newline="")) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"The body is not CSV: {error}.") from None
    if not lines:
        raise InvalidInput("The CSV is empty.")
    header, *rows = lines
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InvalidInput(f"Line {number} of the CSV has {len(row)} values, its header {len(header)}.")
    return Rows([[_number(text) for text in row] for row in rows], header)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _from_envelope(key: str, value: Any) -> Rows:
    if key == "dataframe_records":
        return _from_records(value, key)
    if isinstance(value, list):
        return _from_list(value, key)
    if not isinstance(value, dict):
        raise InvalidInput(f'"{key}" must be a list or a mapping.')
    if "data" in value and ("columns" in value or key == "dataframe_split"):
        return _from_split(value, key)
    if key == "dataframe_split":
        raise InvalidInput('"dataframe_split" needs "columns" and "data".')
    return Rows([], tensors=value)


def _from_split(value: dict[str, Any], key: str) -> Rows:
    rows, columns = value["data"], value.get("columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InvalidInput(f'"{key}.data" must be a list of rows, each a list.')
    if columns is not None:
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                raise InvalidInput(f'Row {number} of "{key}.data" has {len(row)} values, "columns" has {len(columns)}.')
    return Rows(rows, [str(name) for name in columns] if columns is not None else None)


def _from_list(value: list[Any], key: str) -> Rows:
    if value and all(isinstance(item, dict) for item in value):
        return _from_records(value, key)
    return Rows(value)


def _from_records(value: Any, key: str) -> Rows:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidInput(f'"{key}" must be a list of records.')
    columns = list(dict.fromkeys(str(name) for item in value for name in item))
    return Rows([[item.get(name) for name in columns] for item in value], columns)


def _columns(rows: Rows, specs: list[ColumnSpec]) -> list[str] | None:
    """Return the names of the row's entries, checked against the signature."""
    names = [spec.name for spec in specs if spec.name]
    if len(names) != len(specs) or not specs or specs[0].shape is not None:
        return rows.columns
    if rows.columns is None:
        width = len(rows.rows[0]) if isinstance(rows.rows[0], list) else 1
        if width != len(names):
            raise InvalidInput(f"A row has {width} values; the model takes {len(names)}: {_listed(names)}.")
        return names
    missing = [name for name in names if name not in rows.columns]
    if missing:
        unknown = [name for name in rows.columns if name not in names]
        hint = nearest(missing[0], unknown).replace("Did you mean", "Is it")
        raise InvalidInput(f'The column "{missing[0]}" is missing.{hint} The model takes {_listed(names)}.')
    return rows.columns


def _to_frame(rows: Rows, columns: list[str], specs: list[ColumnSpec]) -> Any:
    import pandas as pd

    given = {name: [row[index] for row in _wide(rows.rows)] for index, name in enumerate(columns)}
    if not specs or specs[0].shape is not None:
        return pd.DataFrame(given)
    return pd.DataFrame({str(spec.name): _typed(given[str(spec.name)], spec) for spec in specs})


def _to_array(rows: Rows, columns: list[str] | None, specs: list[ColumnSpec]) -> Any:
    import numpy as np

    table = rows.rows
    if columns and specs and specs[0].shape is None:
        order = [columns.index(str(spec.name)) for spec in specs]
        table = [[row[index] for index in order] for row in _wide(table)]
        for index, spec in enumerate(specs):
            _typed([row[index] for row in table], spec)
    try:
        array = np.asarray(table)
    except ValueError:
        raise InvalidInput("The rows have different lengths.") from None
    if array.dtype == object:
        bad = next((item for row in _wide(table) for item in row if not isinstance(item, (int, float, bool))), None)
        raise InvalidInput(f"{json.dumps(bad)} is no number.")
    shape = specs[0].shape if len(specs) == 1 and specs[0].shape else None
    if shape and (array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True))):
        raise InvalidInput(f"The input has shape {array.shape}; the model takes {tuple(shape)} (-1: any length).")
    return array


def _to_tensors(rows: Rows, specs: list[ColumnSpec]) -> dict[str, Any]:
    import numpy as np

    given: dict[Any, Any]
    if rows.tensors is None:
        if len(specs) > 1:
            raise InvalidInput(f"The model takes {_listed([str(spec.name) for spec in specs])}; give each by its name.")
        given = {specs[0].name if specs else None: rows.rows}
    else:
        given = dict(rows.tensors.items())
    missing = [str(spec.name) for spec in specs if spec.name not in given]
    if missing:
        raise InvalidInput(f'The input "{missing[0]}" is missing; the model takes {_listed([str(spec.name) for spec in specs])}.')
    kinds = {spec.name: _DTYPES.get(spec.type, (spec.type, ()))[0] for spec in specs}
    tensors = {}
    for name, value in given.items():
        try:
            tensors[str(name)] = np.asarray(value, dtype=kinds.get(name))
        except (ValueError, TypeError):
            raise InvalidInput(f'The input "{name}" is no {kinds.get(name) or ""} tensor: its rows differ or hold other values.') from None
    return tensors


def _typed(values: list[Any], spec: ColumnSpec) -> Any:
    """Make a typed array of one column's values."""
    import numpy as np

    dtype, kinds = _DTYPES.get(spec.type, ("object", (object,)))
    for row, value in enumerate(values):
        is_missing = value is None and dtype in ("float32", "float64", "object")
        is_right = isinstance(value, kinds) and (bool in kinds or object in kinds or not isinstance(value, bool))
        if not (is_missing or is_right or (int in kinds and isinstance(value, float) and value.is_integer())):
            raise InvalidInput(f'Column "{spec.name}", row {row}: {json.dumps(value)} is not {_article(spec.type)}.')
    try:
        return np.asarray([np.nan if value is None else value for value in values] if dtype.startswith("float") else values, dtype=dtype)
    except (ValueError, OverflowError):
        raise InvalidInput(f'Column "{spec.name}" holds a value that is not {_article(spec.type)}.') from None


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"


def _wide(rows: list[Any]) -> list[list[Any]]:
    return [row if isinstance(row, list) else [row] for row in rows]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
