"""Request bodies to rows and answers to JSON.

Every envelope of Azure's no-code endpoints and MLflow's scoring server is read: ``input_data``, ``data``,
``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``, a bare list, and CSV. The signature, where there
is one, is enforced with an error that names the column.
"""

from __future__ import annotations

import json
import re
from itertools import chain

import orjson

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput, first_of, nearest
from .calls import Unwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ENVELOPES = ("input_data", "dataframe_split", "dataframe_records", "instances", "inputs", "data")
MAX_SHOWN = 60

# MLflow's words for types -> numpy dtype, and the Python types JSON gives for them.
_DTYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "boolean": ("bool", (bool,)),
    "integer": ("int32", (int,)),
    "long": ("int64", (int,)),
    "float": ("float32", (int, float)),
    "double": ("float64", (int, float)),
    "string": ("object", (str,)),
    "datetime": ("datetime64[us]", (str,)),
}


class Rows:
    """Parsed input: rows whose entries ``columns`` names where it is given, or ``named`` values instead of rows.

    ``is_text`` is True for CSV, where only the signature knows a number from text that looks like one. ``params`` is what
    the model takes beside rows.
    """

    __slots__ = ("columns", "is_text", "named", "params", "rows")

    def __init__(self, rows: list[Any], columns: list[str] | None = None, *, named: dict[str, Any] | None = None) -> None:
        self.rows, self.columns, self.named, self.is_text = rows, columns, named, False
        self.params: dict[str, Any] | None = None


# --- bytes to rows ----------------------------------------------------------------------------------------------------


def parse_json(body: bytes | bytearray) -> Any:
    """Parse JSON strictly.

    Raises
    ------
    InvalidInput
        If it is none, is nested too deeply, names a key twice, or holds numbers or text that JSON has not.
    """
    try:
        value = orjson.loads(body)
    except ValueError:  # refused, or among what the slower parser takes: a byte order mark, deep lists
        return _parse_slowly(body)
    return value if _names_no_key_twice(value, body) else _parse_slowly(body)


def _names_no_key_twice(value: Any, body: bytes | bytearray) -> bool:
    """Say whether it is sure that no key stands twice, where the parser has kept only the last.

    Every mapping has a brace and every key a colon; where the text has more of them than the value, they may be in texts or not.
    """
    braces, colons = body.count(b"{"), body.count(b":")
    if braces == 1 and type(value) is dict:
        return colons == len(value)
    level: Any = (value,)
    while braces and level:
        held = [item for item in level if type(item) is dict]
        braces -= len(held)
        colons -= sum(map(len, held))
        if braces:
            level = list(chain.from_iterable(item.values() if type(item) is dict else item for item in level if type(item) in (dict, list)))
    return braces == colons == 0


def _parse_slowly(body: bytes | bytearray) -> Any:
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.") from None
    except UnicodeError:
        raise InvalidInput("The body is not UTF-8 text.") from None
    except ValueError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from None
    return value


def parse_rows(body: bytes | bytearray, content_type: str, params: Sequence[str] = ()) -> Rows:
    """Parse a request's body.

    Parameters
    ----------
    params
        Names of what the model takes beside rows. Source: MLflow, "params" of a model's signature.

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
    known = [key for key in value if key in ENVELOPES] if isinstance(value, dict) else []
    if len(known) != 1:
        raise InvalidInput(f'A body has one of the keys {", ".join(ENVELOPES)}; for example {{"input_data": [[1.0, 2.0]]}}.')
    rows = _from_envelope(known[0], value[known[0]])
    if value.get("params"):
        rows.params = _checked_params(value["params"], params)
    return rows


def _checked_params(given: Any, known: Sequence[str]) -> dict[str, Any]:
    if not known:
        raise InvalidInput('This model takes no "params"; leave them out.')
    if not isinstance(given, dict):
        raise InvalidInput('"params" must be a mapping of names to values.')
    check_names(list(given), list(known), [], "param")
    return given


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number; use null")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError(f"{text[:MAX_SHOWN]} is too large for a number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'the key "{next(name for name in names if names.count(name) > 1)[:MAX_SHOWN]}" stands twice')
    return held


def _parse_csv(body: bytes | bytearray) -> Rows:
    import csv
    import io

    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"The body is not CSV: {error}.") from None
    if not lines:
        raise InvalidInput("The CSV is empty.")
    rows = Rows(lines[1:], lines[0])
    rows.is_text = True
    return rows


def _from_envelope(key: str, value: Any) -> Rows:
    if key == "dataframe_records":
        return _from_records(value, key)
    if isinstance(value, list):
        return _from_list(value, key)
    if not isinstance(value, dict):
        raise InvalidInput(f'"{key}" must be a list or a mapping.')
    if key == "dataframe_split" and not ("columns" in value and "data" in value):
        raise InvalidInput('"dataframe_split" needs "columns" and "data".')
    if "columns" in value and "data" in value:
        return _from_split(value, key)
    return Rows([], named=value)


def _from_split(value: dict[str, Any], key: str) -> Rows:
    rows, columns = value["data"], value["columns"]
    if not isinstance(rows, list):
        raise InvalidInput(f'"{key}.data" must be a list of rows, each a list.')
    if not isinstance(columns, list) or not all(isinstance(name, (str, int)) for name in columns):
        raise InvalidInput(f'"{key}.columns" must be a list of names.')
    return Rows(rows, [str(name) for name in columns])


def _from_list(value: list[Any], key: str) -> Rows:
    if value and isinstance(value[0], dict) and all(isinstance(item, dict) for item in value):
        return _from_records(value, key)
    return Rows(value)


def _from_records(value: Any, key: str) -> Rows:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidInput(f'"{key}" must be a list of records.')
    columns = list(dict.fromkeys(str(name) for item in value for name in item))
    return Rows([[item.get(name) for name in columns] for item in value], columns)


# --- rows to what a predictor wants -----------------------------------------------------------------------------------


def to_input(rows: Rows, wants: str, signature: Signature | None) -> Any:
    """Make what a predictor wants: ``frame`` a DataFrame, ``array`` an ndarray (n, features), ``tensors`` a dict of arrays.

    Raises
    ------
    InvalidInput
        If a column is missing or nobody asked for it, or its values have the wrong type.
    """
    specs = signature.inputs if signature else []
    is_table = bool(specs) and all(spec.shape is None for spec in specs)
    if wants == "tensors" and not (is_table and _is_flat(rows)):
        return _to_tensors(rows, specs)
    if rows.named is not None:
        if not is_table and wants == "array" and len(rows.named) == 1:
            return next(iter(_to_tensors(rows, specs).values()))
        rows = _from_columns(rows.named)
    if not rows.rows:
        raise InvalidInput("There are no rows to predict.")
    if is_table:
        return _to_table(rows, wants, specs)
    if rows.columns is not None:
        _check_widths(rows.rows, len(rows.columns))
    if rows.is_text:
        rows.rows = [[_number(text) for text in row] for row in rows.rows]
    if wants == "frame" and rows.columns is not None:
        import pandas as pd

        return pd.DataFrame(rows.rows, columns=rows.columns)
    return _to_array(rows.rows, specs[0] if specs else None, "The input")


def _is_flat(rows: Rows) -> bool:
    """Say whether no named value is a tensor of more than one axis, as a graph with an input a column takes it."""
    values = rows.named.values() if rows.named is not None else ()
    return not any(isinstance(item, list) for column in values if isinstance(column, list) for item in column)


def _from_columns(named: dict[str, Any]) -> Rows:
    """Read MLflow's mapping of columns to their values."""
    for name, values in named.items():
        if not isinstance(values, list):
            raise InvalidInput(f'Column "{name}" must be a list of values, one for each row.')
    lengths = {len(values) for values in named.values()}
    if len(lengths) > 1:
        raise InvalidInput(f"The columns have different lengths: {first_of([f'{name} {len(values)}' for name, values in named.items()])}.")
    return Rows([list(row) for row in zip(*named.values(), strict=True)], list(named))


def _to_table(rows: Rows, wants: str, specs: list[ColumnSpec]) -> Any:
    import numpy as np

    table = [row if isinstance(row, list) else [row] for row in rows.rows]
    order = _order(rows.columns, specs)
    _check_widths(table, len(rows.columns) if rows.columns is not None else len(specs), specs)
    columns = {
        index: _typed([row[place] for row in table], spec, place, rows.is_text)
        for index, (place, spec) in enumerate(zip(order, specs, strict=True))
        if place is not None
    }
    if wants == "frame":
        import pandas as pd

        return pd.DataFrame({specs[index].name or index: column for index, column in columns.items()})
    if wants == "tensors":
        return {str(specs[index].name or index): column.reshape(-1, 1) for index, column in columns.items()}
    # Who takes one text a row, such as a vectorizer, takes it bare.
    if len(specs) == 1 and specs[0].type == "string":
        return columns[0]
    gaps = np.full(len(table), np.nan)  # what a model of bare arrays gets for a column that was left out
    return stack([columns.get(index, gaps) for index in range(len(specs))])


def stack(columns: list[Any]) -> Any:
    """Put columns side by side in one array: of objects, where moments stand beside something else, for which numpy has no type."""
    import numpy as np

    kinds = {column.dtype.kind for column in columns}
    return np.column_stack(columns if len(kinds) == 1 or "M" not in kinds else [column.astype(object) for column in columns])


def _order(columns: list[str] | None, specs: list[ColumnSpec]) -> list[int | None]:
    """Return where each column of the signature stands in a row; None for one that was left out and may be."""
    names = [str(spec.name) for spec in specs]
    if columns is None:
        return list(range(len(specs)))
    if not all(spec.name for spec in specs):
        if len(columns) != len(specs):
            raise InvalidInput(f"The rows have {len(columns)} columns; the model takes {len(specs)}, by place.")
        return list(range(len(specs)))
    if len(set(columns)) < len(columns):
        raise InvalidInput(f'The column "{next(name for name in columns if columns.count(name) > 1)[:MAX_SHOWN]}" stands twice.')
    required = [str(spec.name) for spec in specs if spec.required is not False]
    check_names(columns, names, required, "column")
    return [columns.index(name) if name in columns else None for name in names]


def check_names(given: list[str], known: list[str], required: list[str], word: str) -> None:
    """Refuse names that the model does not know, and the lack of one that it needs; `word` says what they name.

    Raises
    ------
    InvalidInput
        The message names the first, and what the model takes.
    """
    missing, extra = [name for name in required if name not in given], [name for name in given if name not in known]
    if not (missing or extra):
        return
    takes = first_of([name[:MAX_SHOWN] for name in known])
    if missing:
        hint = nearest(missing[0], extra).replace("Did you mean", "Is it")
        raise InvalidInput(f'The {word} "{missing[0]}" is missing.{hint} The model takes {takes}.')
    raise InvalidInput(f'The model takes no {word} "{extra[0][:MAX_SHOWN]}"; it takes {takes}.')


def _check_widths(rows: list[Any], width: int, specs: list[ColumnSpec] | None = None) -> None:
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidInput(f"Row {number} must be a list of values, not {_shown(row)}.")
        if len(row) != width:
            names = f": {first_of([str(spec.name) for spec in specs])}" if specs and specs[0].name else ""
            raise InvalidInput(f"Row {number} has {len(row)} values; {width} are wanted{names}.")


def _typed(values: list[Any], spec: ColumnSpec, place: int, is_text: bool) -> Any:
    """Make a typed array of one column's values."""
    import numpy as np

    column = f'Column "{spec.name}"' if spec.name else f"Column {place}"
    dtype, kinds = _DTYPES.get(spec.type, ("object", (object,)))
    if is_text and spec.type != "string":
        values = [_number(text, is_boolean=spec.type == "boolean") for text in values]
    may_miss = dtype not in ("bool", "int32", "int64")
    for row, value in enumerate(values):
        if not (may_miss if value is None else _fits(value, kinds)):
            raise InvalidInput(f"{column}, row {row}: {_shown(value)} is not {_article(spec.type)}.")
    try:
        if spec.type == "datetime":
            values = [None if value is None else _moment(value) for value in values]
        with np.errstate(all="raise"):
            if dtype == "object":
                return _objects(values)
            return np.asarray([np.nan if value is None else value for value in values] if "float" in dtype else values, dtype=dtype)
    except (ValueError, OverflowError, FloatingPointError):
        raise InvalidInput(f"{column} holds a value that is not {_article(spec.type)}.") from None


def _objects(values: list[Any]) -> Any:
    import numpy as np

    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds or object in kinds
    return isinstance(value, kinds) or (int in kinds and isinstance(value, float) and value.is_integer())


def _moment(text: str) -> Any:
    """Read ISO 8601 as UTC without a zone, as numpy keeps it."""
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _to_tensors(rows: Rows, specs: list[ColumnSpec]) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    given: dict[str | None, Any]
    if rows.named is not None:
        given = dict(rows.named.items())
    elif len(specs) > 1:
        raise InvalidInput(f"The model takes {first_of([str(name) for name in names])}; give each by its name.")
    else:
        given = {specs[0].name if specs else None: rows.rows}
    if len(given) == 1 and names == [None]:
        given = {None: next(iter(given.values()))}
    missing, extra = [name for name in names if name not in given], [name for name in given if specs and name not in names]
    if missing or extra:
        takes = first_of([str(name) for name in names])
        wrong = f'The input "{missing[0]}" is missing' if missing else f'The model takes no input "{str(extra[0])[:MAX_SHOWN]}"'
        raise InvalidInput(f"{wrong}; it takes {takes}.")
    by_name = {spec.name: spec for spec in specs}
    return {str(name): _to_array(value, by_name.get(name), f'Input "{name}"' if name else "The input") for name, value in given.items()}


def _to_array(value: Any, spec: ColumnSpec | None, what: str) -> Any:
    """Make an array of nested lists, of the signature's type and shape where there is one."""
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidInput(f"{what} has rows of different lengths, or is nested too deeply.") from None
    if array.ndim == 0 and (spec is None or spec.shape != []):
        raise InvalidInput(f"{what} must be a list.")
    if array.dtype.kind not in "biuf":
        array = _without_gaps(array, value, what)
    if spec is None:
        return array
    dtype, _ = _DTYPES.get(spec.type, (None, ()))
    is_text = array.dtype.kind == "U"
    loses = dtype in ("int32", "int64") and array.dtype.kind == "f" and not np.all(array == np.floor(array))
    if (
        (dtype is not None and is_text != (dtype == "object") and spec.type != "datetime")
        or loses
        or (dtype == "bool") > (array.dtype == bool)
    ):
        raise InvalidInput(f"{what} holds a value that is not {_article(spec.type)}.")
    shape = list(array.shape) if spec.shape is None else spec.shape
    if array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)):
        raise InvalidInput(f"{what} has the shape {array.shape}; the model takes {tuple(shape)} (-1: any length).")
    try:
        with np.errstate(all="raise"):
            return array if dtype is None or is_text else array.astype(dtype)
    except (ValueError, OverflowError, FloatingPointError):
        raise InvalidInput(f"{what} holds a value that is not {_article(spec.type)}.") from None


def _without_gaps(array: Any, value: Any, what: str) -> Any:
    """Return an array of text as it is, and numbers with gaps as NaN."""
    import numpy as np

    leaves = list(_leaves(value))
    if all(isinstance(item, str) for item in leaves):
        return array
    wrong = next((item for item in leaves if not (item is None or isinstance(item, (int, float)))), None)
    if wrong is not None:
        raise InvalidInput(f"{what} holds {_shown(wrong)}, which is no number.")
    try:
        return np.asarray(value, dtype="float64")
    except (ValueError, OverflowError):
        raise InvalidInput(f"{what} holds a number that is too large.") from None


def _leaves(value: Any) -> Any:
    if not isinstance(value, list):
        yield value
        return
    for item in value:
        yield from _leaves(item)


# --- answers ----------------------------------------------------------------------------------------------------------


# What these leave to us has another form here than in orjson, or none.
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def write_json(value: Any) -> bytes:
    """Write what a model or script returned as compact JSON; NaN becomes null.

    Raises
    ------
    Unwritable
        If it holds something that JSON cannot.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # not contiguous, not numpy's, a key that is no text, an integer above 64 bits
        return json.dumps(to_json(value), allow_nan=False, separators=(",", ":")).encode()


def to_json(value: Any) -> Any:
    """Make plain JSON values of what a model or script returned; NaN becomes null.

    Raises
    ------
    Unwritable
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
    if type(value).__name__ in ("NaTType", "NAType"):  # what pandas has for a gap
        return None
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a DataFrame
        return [to_json(row) for row in value.to_dict(orient="records")]
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return to_json(getattr(value, method)())
    raise Unwritable(f"The model or its scoring script returned a value of type {type(value).__name__}, which cannot be written as JSON.")


# --- words ------------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def _number(text: str, *, is_boolean: bool = False) -> Any:
    """Read one CSV value: a number, a gap, or text."""
    if text.strip() == "" or text.strip().lower() in ("nan", "null"):
        return None
    if is_boolean and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    if _NUMBER.fullmatch(text.strip()):
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    return text


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
