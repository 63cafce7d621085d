"""Arrays as they come over the wire to what a predictor wants, and what it answers back to arrays by name.

What brings arrays is V2's tensors and ``.npy`` bodies. Nothing is copied that has the model's type already: a tensor that
lies in the request's body is read from there by the model itself.

What a signature means to a client of tensors, decided so that the clients people have need no change:

- *A signature of tensors*: one input each, under its name. A single one without name is called ``input-0`` and may come
  under any name, as MLServer has it.
- *A signature of columns*: one input each, of shape ``[n]`` or ``[n, 1]``, as MLServer's and MLflow's clients send tables.
  One tensor ``[n, columns]`` under any name is taken too, column by place, as scikit-learn's users send theirs.
- *No signature*: what comes is handed on, several inputs as the columns of a table where the model takes one.

Numbers are converted where nothing is lost but precision: whole numbers to fractions, wide ones to narrow ones that hold them.
Fractions are no whole numbers, numbers no booleans, and text is never a number.
"""

from __future__ import annotations

import math

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput, first_of
from .calls import Call, Unwritable
from .payloads import check_names, stack, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from .http import Request

OUTPUT = "predict"  # name of a lone output without one. Source: MLServer's scikit-learn runtime.
MAX_DIMENSIONS = 32  # numpy has 64, the protocols no limit
MAX_VALUES = 1 << 48  # beyond numpy's own limit lie errors of its own, even where a dimension is zero
MAX_SHOWN = 60

# MLflow's words for types -> numpy's. Tensors of an MLflow signature have numpy's words already.
_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "datetime": "datetime64[us]",
    "binary": "object",
    "str": "object",
    "bytes": "object",
}


# --- to the model -----------------------------------------------------------------------------------------------------


def input_name(spec: ColumnSpec, place: int) -> str:
    """Return the name under which a client sends an input."""
    return spec.name or f"input-{place}"  # Source: MLServer's NumpyCodec


def output_name(signature: Signature, place: int) -> str:
    """Return the name under which a client gets an output."""
    return signature.outputs[place].name or (OUTPUT if len(signature.outputs) == 1 else f"output-{place}")


def dtype_of(word: str) -> str:
    """Return numpy's name for a type of a signature; ``object`` for text and for what no array of numbers can hold."""
    import numpy as np

    try:
        return str(np.dtype(_DTYPES.get(word, word)))
    except TypeError:
        return "object"


def to_input(named: dict[str, Any], wants: str, signature: Signature | None) -> Any:
    """Make what a predictor wants of arrays by name: ``frame`` a DataFrame, ``array`` an ndarray, ``tensors`` a dict of arrays.

    Raises
    ------
    InvalidInput
        If an input is missing or nobody asked for it, or its shape or type is not the model's.
    """
    specs = signature.inputs if signature else []
    if specs and all(spec.shape is None for spec in specs):
        return _to_table(named, wants, specs)
    named = _to_tensors(named, specs) if specs else {name: _texts_or_bytes(array) for name, array in named.items()}
    for name, array in named.items():
        if array.ndim == 0 and not specs:
            raise InvalidInput(f'Input "{name[:MAX_SHOWN]}" has no rows; its shape must begin with their number.')
        if 0 in array.shape[:1]:
            raise InvalidInput("There are no rows to predict.")
    if wants == "tensors":
        return named
    if len(named) == 1:
        return next(iter(named.values()))
    columns = {name: _column(array, name) for name, array in named.items()}
    _check_lengths(columns)
    return _join(columns, wants, {})


def read_text(request: Request, meta: Any = None) -> Call:
    """Return a call that hands a scoring script the body as it is, but for a mark before it that no JSON parser of text takes.

    Raises
    ------
    InvalidInput
        If it is no text.
    """
    try:
        return Call(request.body.decode("utf-8-sig"), meta=meta, headers=request.headers)
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8 text, which is what this deployment's scoring script takes.") from None


def is_shape(value: Any) -> bool:
    """Say whether a value is a list or tuple of whole numbers that an array may have as its shape."""
    return (
        isinstance(value, (list, tuple))
        and len(value) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < MAX_VALUES for size in value)
        and math.prod(size or 1 for size in value) < MAX_VALUES
    )


def rows_and_key(inputs: Any, signature: Signature | None) -> tuple[int, Hashable]:
    """Return how many rows inputs have, 0 where they cannot be joined with others', and what must be equal to join them.

    A first axis of fixed length cannot grow.
    """
    specs = signature.inputs if signature else []
    if any(spec.shape is not None and spec.shape[:1] != [-1] for spec in specs):
        return 0, None
    if isinstance(inputs, dict):
        lengths = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        return (lengths.pop() if len(lengths) == 1 else 0), tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
    if hasattr(inputs, "columns"):
        return len(inputs), ("frame", tuple(inputs.columns), tuple(inputs.dtypes))
    return (len(inputs) if inputs.ndim else 0), (inputs.dtype, inputs.shape[1:])


def _to_tensors(named: dict[str, Any], specs: list[ColumnSpec]) -> dict[str, Any]:
    """Check arrays against a signature of tensors; a lone one without name takes what comes under any."""
    if len(specs) == 1 and not specs[0].name and len(named) == 1:
        return {input_name(specs[0], 0): conform(next(iter(named.values())), specs[0], "The input")}
    wanted = {input_name(spec, place): spec for place, spec in enumerate(specs)}
    check_names(list(named), list(wanted), list(wanted), "input")
    return {name: conform(named[name], spec, f'Input "{name}"') for name, spec in wanted.items()}


def _to_table(named: dict[str, Any], wants: str, specs: list[ColumnSpec]) -> Any:
    """Make a table of columns by name, or of one tensor with all of them."""
    wanted = {input_name(spec, place): spec for place, spec in enumerate(specs)}
    lone = next(iter(named.values())) if len(named) == 1 else None
    if lone is not None and lone.ndim == 2 and (len(specs) > 1 or next(iter(named)) not in wanted):
        return _to_matrix(lone, wants, wanted)
    check_names(list(named), list(wanted), [name for name, spec in wanted.items() if spec.required is not False], "column")
    columns = {name: conform(_column(named[name], name), spec, f'Column "{name}"') for name, spec in wanted.items() if name in named}
    _check_lengths(columns)
    return _join(columns, wants, wanted)


def _to_matrix(array: Any, wants: str, wanted: dict[str, ColumnSpec]) -> Any:
    """Read one tensor as a table, its columns by place."""
    if array.shape[1] != len(wanted):
        raise InvalidInput(
            f"The input has {array.shape[1]} columns; the model takes {len(wanted)}: {first_of([name[:MAX_SHOWN] for name in wanted])}."
        )
    if not len(array):
        raise InvalidInput("There are no rows to predict.")
    types = {spec.type for spec in wanted.values()}
    if wants == "array" and len(types) == 1 and array.dtype != object:
        return conform(array, ColumnSpec(type=types.pop(), shape=list(array.shape)), "The input")
    columns = {name: conform(array[:, place], spec, f'Column "{name}"') for place, (name, spec) in enumerate(wanted.items())}
    return _join(columns, wants, wanted)


def _join(columns: dict[str, Any], wants: str, wanted: dict[str, ColumnSpec]) -> Any:
    """Put columns side by side; for a model of bare arrays a column that was left out is NaN."""
    import numpy as np

    if not columns or not len(next(iter(columns.values()))):
        raise InvalidInput("There are no rows to predict.")
    if wants == "frame":
        import pandas as pd

        labels = {name: spec.name or place for place, (name, spec) in enumerate(wanted.items())}
        return pd.DataFrame({labels.get(name, name): column for name, column in columns.items()})
    if wants == "tensors":
        return {name: column.reshape(-1, 1) for name, column in columns.items()}
    gaps = np.full(len(next(iter(columns.values()))), np.nan)
    listed = [columns.get(name, gaps) for name in wanted or columns]
    # Who takes one text a row, such as a vectorizer, takes it bare.
    return listed[0] if len(listed) == 1 and listed[0].dtype == object else stack(listed)


def _column(array: Any, name: str) -> Any:
    if array.ndim == 1:
        return array
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    raise InvalidInput(f'Input "{name[:MAX_SHOWN]}" has the shape {array.shape}; a column has (n) or (n, 1).')


def _check_lengths(columns: dict[str, Any]) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        raise InvalidInput(
            f"The columns have different lengths: {first_of([f'{name[:MAX_SHOWN]} {len(column)}' for name, column in columns.items()])}."
        )


def conform(array: Any, spec: ColumnSpec, what: str) -> Any:
    """Return an array in the type and of the shape that a signature has; the very same one where it is so already.

    Raises
    ------
    InvalidInput
        If it does not fit; the message begins with ``what``.
    """
    import numpy as np

    shape = array.shape if spec.shape is None else tuple(spec.shape)
    if array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)):
        raise InvalidInput(f"{what} has the shape {array.shape}; the model takes {shape} (-1: any length).")
    dtype = np.dtype(dtype_of(spec.type))
    if array.dtype == dtype and dtype.kind != "O":
        return array
    is_text = array.dtype.kind == "O"
    if is_text != (dtype.kind in "OM") or "b" in (dtype.kind, array.dtype.kind):
        raise InvalidInput(f"{what} is of type {'text' if is_text else array.dtype}; the model takes {spec.type}.")
    if dtype.kind == "O":
        return _texts(array, what) if spec.type in ("string", "str") else _bytes(array, spec, what)
    if dtype.kind == "M":
        return _moments(array, what)
    return narrow(array, dtype, what)


def narrow(array: Any, dtype: Any, what: str) -> Any:
    """Convert numbers to another type that holds them.

    Raises
    ------
    InvalidInput
        If it does not: a fraction for a whole number, or a number out of range.
    """
    import numpy as np

    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            made = array.astype(dtype)
        if array.dtype.itemsize > dtype.itemsize and np.any(np.isinf(made) & np.isfinite(array)):
            raise InvalidInput(f"{what} holds a number that is too large for {dtype}.")
        return made
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        array = array.astype("float64")  # half precision has no number for the limits
        if not np.all(np.isfinite(array) & (array == np.floor(array))):
            raise InvalidInput(f"{what} holds a fraction or NaN; whole numbers are wanted.")
    # The upper limit of 64 bits has no float of its own; the next one above it is too large.
    fits = (array >= limits.min) & (array < limits.max + 1.0 if array.dtype.kind == "f" else array <= limits.max)
    if not np.all(fits):
        raise InvalidInput(f"{what} holds a number that does not fit {dtype}.")
    return array.astype(dtype)


def _texts(array: Any, what: str) -> Any:
    """Decode UTF-8 where bytes came."""
    try:
        return _objects([item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]).reshape(array.shape)
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} holds bytes that are not UTF-8 text.") from None


def _texts_or_bytes(array: Any) -> Any:
    """Decode where every element is text, for a model that does not say what it takes."""
    try:
        return _texts(array, "The input") if array.dtype == object else array
    except InvalidInput:
        return array


def _bytes(array: Any, spec: ColumnSpec, what: str) -> Any:
    if spec.type not in _DTYPES:
        raise InvalidInput(f"{what} is of type {spec.type}, which no tensor holds; ask /invocations instead.")
    return _objects([item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]).reshape(array.shape)


def _moments(array: Any, what: str) -> Any:
    """Read ISO 8601 as UTC without a zone, as numpy keeps it."""
    from datetime import UTC, datetime

    import numpy as np

    try:
        moments = [datetime.fromisoformat(text) for text in _texts(array, what).ravel().tolist()]
        plain = [moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None) for moment in moments]
    except (ValueError, OverflowError):
        raise InvalidInput(f"{what} holds a value that is not a datetime.") from None
    return np.array(plain, dtype="datetime64[us]").reshape(array.shape)


# --- from the model ---------------------------------------------------------------------------------------------------


def to_arrays(value: Any, signature: Signature | None) -> dict[str, Any]:
    """Make arrays by name of what a model returned: of numbers, or of ``object`` with text and bytes.

    A frame gives one a column, a mapping one a key; anything else is one, under the name that the signature has for it.

    Raises
    ------
    Unwritable
        If an array cannot hold it.
    """
    if hasattr(value, "to_numpy") and hasattr(value, "columns"):
        return {str(name): _as_array(value.iloc[:, place]) for place, name in enumerate(value.columns)}
    if isinstance(value, dict) and value:
        return {str(name): _as_array(item) for name, item in value.items()}
    return {output_name(signature, 0) if signature and len(signature.outputs) == 1 else OUTPUT: _as_array(value)}


def _as_array(value: Any) -> Any:
    import numpy as np

    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu().numpy()
    if hasattr(value, "toarray"):  # a scipy matrix
        value = value.toarray()
    if hasattr(value, "to_numpy"):
        # pandas' own types of numbers keep a gap apart; NaN is what an array has for it
        is_own = value.dtype.kind in "iufb" and not isinstance(value.dtype, np.dtype)
        value = value.to_numpy(dtype="float64", na_value=np.nan) if is_own and value.isna().any() else value.to_numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = _objects(list(value))
    if array.dtype.kind in "biuf":
        return array.astype("float64") if array.dtype.itemsize > 8 else array
    if array.dtype.kind == "M":
        array = np.where(np.isnat(array), "", np.datetime_as_string(array))
    if array.dtype.kind not in "OUS":
        raise Unwritable(f"The model returned an array of {array.dtype}, for which there is no tensor.")
    return _objects([_as_text(item) for item in array.ravel().tolist()]).reshape(array.shape)


def _as_text(item: Any) -> str | bytes:
    """Return text and bytes as they are, anything else as JSON."""
    import json

    return item if isinstance(item, (str, bytes)) else json.dumps(to_json(item), allow_nan=False)


def _objects(values: list[Any]) -> Any:
    import numpy as np

    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
