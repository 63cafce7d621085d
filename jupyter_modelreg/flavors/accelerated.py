"""scikit-learn models answered by onnxruntime: converted when they are deployed, held against the original, kept only when equal.

The conversion is a process of its own, in the deployment's Python; what serves needs neither scikit-learn nor skl2onnx.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput, ModelRegistryError, Unavailable, first_of
from ..records import Record, field, from_dict
from . import layout
from .onnx import FILE, open_session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = "report.json"
TOLERANCE = 1e-5  # of probabilities, and of numbers beside the largest
MAX_THRESHOLDS = 150
RANDOM_ROWS = 500
MAX_EDGES = 50
HALVINGS = 64  # of the way between two rows, until they are neighbours
UNKNOWN = "a text nobody knows"
NUMBERS = ("double", "float", "long", "integer", "boolean")
SECONDS = 600
# Of these each call is a walk through many trees in Python; the others gain less.
FORESTS = ("RandomForest", "ExtraTrees", "GradientBoosting", "Bagging", "AdaBoost")


class Wanted(Record):
    """What shall be converted, and where to."""

    path: str
    flavor: str
    folder: str
    is_trusted: bool = False
    example: Any = None
    signature: Signature | None = None


class Report(Record):
    """How a conversion went."""

    error: str | None = field(default=None, help="Why there is none, in one line.")
    rows: int = field(default=0, help="How many rows both have answered.")
    ties: int = field(default=0, help="Of these, where the original is undecided between two labels and the other took the other.")
    apart: int = field(default=0, help="Of these, where a probability differs by more than 1e-5 and the label does not.")
    columns: list[str] = field(default=[], help="Names the original was fitted on.")
    by_column: bool = field(default=False, help="Whether the graph takes each column by its name, not all in one array.")
    known: dict[str, list[str]] = field(default={}, help="Texts of a column whose others the original refuses.")
    holes: list[int] = field(default=[], help="Places of columns in which a missing value is answered as by the original.")
    missing: bool = field(default=False, help="Whether the original takes missing values that are refused here.")
    limit: str = field(default="float64", help="What each number must fit into.")
    dtype: str = field(default="object", help="Of the original's answers; object for text.")

    def told(self) -> str:
        """Return the report as a notice."""
        ties = f"; {self.ties} are ties" if self.ties else ""
        apart = f"; {self.apart} have another probability" if self.apart else ""
        missing = "; missing values are refused, since they were answered otherwise" if self.missing else ""
        return f"Accelerated by ONNX: {self.rows} rows were answered with the original's labels or numbers{ties}{apart}{missing}."


def convert(command: list[str], variables: dict[str, str], wanted: Wanted) -> Report:
    """Convert a model in a process of its own and hold it against the original.

    Parameters
    ----------
    command, variables
        What runs this module in the deployment's Python, and its environment.

    Raises
    ------
    InvalidInput
        If it is no scikit-learn model, cannot be converted, or answers otherwise than the original; the message says which.
    Unavailable
        If the process cannot be started, takes too long, or ends without a word; then its last lines are in ``detail``.
    """
    import subprocess

    os.makedirs(wanted.folder, mode=0o700)
    try:
        ended = subprocess.run(
            command, input=json.dumps(wanted.to_dict()), env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"The conversion to ONNX took longer than {SECONDS} seconds; deploy without --accelerator.") from None
    except OSError as error:
        raise Unavailable(f"The conversion to ONNX cannot be started: {error}; deploy without --accelerator.") from None
    try:
        return read_report(wanted.folder)
    except FileNotFoundError:
        detail = ended.stderr[-4000:]
        raise Unavailable("The conversion to ONNX ended without a word; deploy without --accelerator.", detail=detail) from None


def read_report(folder: str) -> Report:
    """Return what `write_report` left in a folder.

    Raises
    ------
    InvalidInput
        If there is no graph that answers as the original does; the message says why.
    FileNotFoundError
        If it left nothing.
    """
    with open(os.path.join(folder, REPORT), encoding="utf-8") as stream:
        report = from_dict(Report, json.load(stream))
    if report.error:
        raise InvalidInput(f"It cannot be accelerated by ONNX: {report.error} Deploy without --accelerator.", key="accelerator")
    return report


class AcceleratedPredictor:
    """Answers as the original's ``predict``: its labels or numbers, in its shape and type.

    Rows come as an array, shape (n, features), or, where some hold text, as columns by name, each (n, 1).
    """

    is_batchable = True

    def __init__(self, folder: str) -> None:
        import numpy as np

        self._report = report = read_report(folder)
        self._session = open_session(os.path.join(folder, FILE), threads=1)  # a call takes microseconds; a second thread costs more
        self._inputs = [(item.name, _DTYPES[item.type]) for item in self._session.get_inputs()]
        self._largest = np.finfo(report.limit).max  # numpy's own number, beside which float32 is widened
        self._dtype = None if report.dtype == "object" else np.dtype(report.dtype)  # its name costs as much as a call
        self._output = [self._session.get_outputs()[0].name]
        self.wants = "tensors" if report.by_column else "array"
        named = report.columns and not report.by_column  # by column there is always the model's own
        self.signature = Signature(inputs=[ColumnSpec(name=name, type="double") for name in report.columns]) if named else None

    def __call__(self, rows: Any) -> Any:
        """Predict rows.

        Raises
        ------
        InvalidInput
            If a value is none that the original takes, or a missing one that it would answer otherwise.
        """
        feeds = self._columns(rows) if self._report.by_column else self._array(rows)
        (answer,) = self._session.run(self._output, feeds)
        if self._dtype is not None and self._dtype != answer.dtype:  # numpy takes None for float64
            answer = answer.astype(self._dtype)
        return answer if answer.ndim == 1 or answer.shape[1] > 1 else answer.reshape(-1)

    def _array(self, rows: Any) -> dict[str, Any]:
        import numpy as np

        given = np.asarray(rows, dtype="float64")
        if not self._is_finite(given):
            for place in range(given.shape[-1]):
                self._check(given[..., place], place)
        ((name, dtype),) = self._inputs
        return {name: given.astype(dtype, copy=False)}

    def _columns(self, rows: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        feeds = {}
        for place, (name, (key, dtype)) in enumerate(zip(self._report.columns, self._inputs, strict=True)):
            if name not in rows:
                raise InvalidInput(f'The column "{name}" is missing; this model takes no row without it.')
            column = np.asarray(rows[name]).reshape(-1, 1)
            if dtype == "object":
                column = column.astype(object, copy=False)
                self._check_texts(column, name)
            elif column.dtype.kind == "f" and not self._is_finite(column):
                self._check(column, place)
            feeds[key] = column.astype(dtype, copy=False)
        return feeds

    def _is_finite(self, values: Any) -> bool:
        import numpy as np

        return bool(np.abs(values).max(initial=0.0) <= self._largest)

    def _check(self, column: Any, place: int) -> None:
        import numpy as np

        missing = np.isnan(column)
        if missing.any() and place not in self._report.holes:
            raise InvalidInput("Input X contains NaN.")
        if not self._is_finite(column[~missing]):
            raise InvalidInput(f"Input X contains infinity or a value too large for dtype('{self._report.limit}').")

    def _check_texts(self, column: Any, name: str) -> None:
        texts = set(column.ravel().tolist())
        known = self._report.known.get(name)
        wrong = texts.difference(known) if known else {text for text in texts if not isinstance(text, str)}
        if not wrong:
            return
        if not all(isinstance(text, str) for text in wrong):
            raise InvalidInput(f'Column "{name}" holds a missing value, or one that is no text.')
        raise InvalidInput(f'Column "{name}" holds "{min(wrong)[:60]}", which the model does not know; it knows {first_of(known or [])}.')


# onnxruntime's words -> numpy's, of what a converted graph takes.
_DTYPES = {"tensor(double)": "float64", "tensor(float)": "float32", "tensor(int64)": "int64", "tensor(string)": "object"}


# --- the process ------------------------------------------------------------------------------------------------------


def write_report(wanted: Wanted) -> None:
    """Convert a model, hold it against the original, and leave the graph, if it is equal, and a report."""
    try:
        report = _converted(wanted)
    except ModelRegistryError as error:
        report = Report(error=error.message)
    with open(os.path.join(wanted.folder, REPORT), "w", encoding="utf-8") as stream:
        json.dump(report.to_dict(), stream)


def _converted(wanted: Wanted) -> Report:
    estimator = _estimator(wanted)
    table = _table(estimator, wanted.signature)
    original = _Original(estimator, table)
    rows = table.settled(_rows(estimator, table.numbered(wanted.example)))
    unknown = {name: table.with_unknown(rows[:3], name) for name in table.texts}
    refused = [name for name, asked in unknown.items() if original.ask_if_it_may(asked) is None]
    rows = _joined([rows, *_edges(estimator, original, table, rows), *(asked for name, asked in unknown.items() if name not in refused)])
    report, graph, form = _best(estimator, table, rows, original.ask(rows))
    if form is None:
        return report
    with open(os.path.join(wanted.folder, FILE), "wb") as stream:
        stream.write(graph)
    known = {name: table.texts[name] for name in refused}
    report = report.replace(by_column=form.by_column, known=known, dtype=original.dtype, limit=original.limit(rows))
    return _with_holes(report, original, graph, form, rows)


def _best(estimator: Any, table: Table, rows: Any, expected: list[Any]) -> tuple[Report, bytes, Form | None]:
    """Return the first graph that answers as expected throughout, else the one with the fewest ties; without any, why."""
    found: list[tuple[Report, bytes, Form]] = []
    failed = Report()
    for form in table.forms(estimator):
        try:
            graph = _graph(estimator, table, form)
            report = _compared(expected, _run(graph, table.feeds(rows, form)), table.columns)
        except InvalidInput as error:
            failed = failed if failed.error else Report(error=error.message)
            continue
        if report.error:
            failed = report
            continue
        found.append((report, graph, form))
        if not report.ties + report.apart:
            break
    return min(found, key=lambda item: item[0].ties + item[0].apart) if found else (failed, b"", None)


def _joined(parts: list[Any]) -> Any:
    import numpy as np

    return np.concatenate(parts)


def _with_holes(report: Report, original: _Original, graph: bytes, form: Form, rows: Any) -> Report:
    """Find the columns in which both answer a missing value, and the same; the others' are refused, which is told."""
    table = original.table
    places = [place for place in range(rows.shape[1]) if table.may_miss(place)]
    holes: list[int] = []
    missing = False
    # Only what treats each column in its own way may take a gap in one and not in another.
    for group in [[place] for place in places] if form.by_column else [places] if places else []:
        holed = _holed(rows, group)
        expected = original.ask_if_it_may(holed)
        if expected is None:
            continue
        if any(table.is_text(place) for place in group) or not _is_answered(expected, graph, table.feeds(holed, form)):
            missing = True
        else:
            holes += group
    return report.replace(holes=holes, missing=missing)


def _is_answered(expected: list[Any], graph: bytes, feeds: dict[str, Any]) -> bool:
    try:
        return not _compared(expected, _run(graph, feeds), []).error
    except InvalidInput:
        return False


def _estimator(wanted: Wanted) -> Any:
    from . import load_object

    value = load_object(wanted.path, wanted.flavor, is_trusted=wanted.is_trusted)
    if wanted.flavor == "mlflow" and hasattr(value, "get_raw_model"):
        value = value.get_raw_model()
    if not (layout.is_instance_of(value, "sklearn.base.BaseEstimator") and hasattr(value, "predict")):
        raise InvalidInput(f"it is a {layout.kind_of(value)}, no estimator of scikit-learn.")
    if not hasattr(value, "n_features_in_"):
        raise InvalidInput(f"{type(value).__name__} does not say how many numbers it takes.")
    return value


class Form(NamedTuple):
    """One way to ask a graph: all in one array or by column, numbers as this type, whole ones as int64 or as it too."""

    by_column: bool
    dtype: str
    keeps_integers: bool = False


class Table:
    """The columns of a model. Rows to ask are numbers throughout, a text being its place among those that its column knows."""

    def __init__(self, columns: list[str], specs: list[ColumnSpec], texts: dict[str, list[str]], width: int) -> None:
        self.columns, self.specs, self.texts, self.width = columns, specs, texts, width

    def is_text(self, place: int) -> bool:
        """Say whether a column holds text."""
        return bool(self.specs) and self.specs[place].type == "string"

    def may_miss(self, place: int) -> bool:
        """Say whether a request may leave a value of the column open."""
        return not self.specs or self.specs[place].type in ("double", "float", "string")

    def forms(self, estimator: Any) -> list[Form]:
        """Return the ways to ask a graph in the order they are tried; trees look at float32, the others at float64."""
        first = ["float32", "float64"] if any(True for _ in _splits(estimator)) else ["float64", "float32"]
        by_array = [] if self.texts else [Form(by_column=False, dtype=dtype) for dtype in first]
        if not self.specs:
            return by_array
        integers = (
            [Form(by_column=True, dtype="float64", keeps_integers=True)] if {"long", "integer"} & {spec.type for spec in self.specs} else []
        )
        return [*by_array, Form(by_column=True, dtype="float64"), *integers, Form(by_column=True, dtype="float32")]

    def numbered(self, example: Any) -> Any:
        """Return the registered sample's rows as numbers, shape (n, width); one of ones without a sample."""
        import numpy as np

        rows: Any = example.get("data") if isinstance(example, dict) else example
        try:
            if self.texts:
                rows = [[self._number(place, value) for place, value in enumerate(row)] for row in rows]
            array = np.asarray(rows, dtype="float64").reshape(-1, self.width)
        except (TypeError, ValueError):
            return np.ones((1, self.width))
        return array if len(array) and np.isfinite(array).all() else np.ones((1, self.width))

    def _number(self, place: int, value: Any) -> Any:
        if not self.is_text(place):
            return value
        known = self.texts[self.columns[place]]
        return known.index(value) if value in known else 0

    def settled(self, rows: Any) -> Any:
        """Return rows with each number as its column's type has it."""
        import numpy as np

        rows = np.array(rows, dtype="float64")
        for place, spec in enumerate(self.specs):
            column = rows[:, place]
            if spec.type == "string":
                rows[:, place] = np.floor(column) % len(self.texts[self.columns[place]])
            elif spec.type == "boolean":
                rows[:, place] = column >= 0.5
            elif spec.type != "double":
                rows[:, place] = column.astype("float32") if spec.type == "float" else np.round(column)
        return rows

    def with_unknown(self, rows: Any, name: str) -> Any:
        """Return rows with a text in a column that it does not know."""
        rows = rows.copy()
        rows[:, self.columns.index(name)] = -1
        return rows

    def framed(self, rows: Any) -> Any:
        """Return what the original takes."""
        if not self.columns:
            return rows
        import pandas as pd

        types = {"float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}
        if not self.specs:
            return pd.DataFrame(rows, columns=self.columns)
        made = {
            name: self._texts(place, rows[:, place]) if self.is_text(place) else rows[:, place].astype(types.get(spec.type, "float64"))
            for place, (name, spec) in enumerate(zip(self.columns, self.specs, strict=True))
        }
        return pd.DataFrame({name: pd.Series(column, dtype=column.dtype) for name, column in made.items()})

    def feeds(self, rows: Any, form: Form) -> dict[str, Any]:
        """Return what a graph takes."""
        if not form.by_column:
            return {"X": rows.astype(form.dtype)}
        return {
            name: (self._texts(place, rows[:, place]) if self.is_text(place) else rows[:, place].astype(self.dtype(place, form))).reshape(
                -1, 1
            )
            for place, name in enumerate(self.columns)
        }

    def dtype(self, place: int, form: Form) -> str:
        """Return numpy's word for a column of a graph."""
        is_whole = self.specs[place].type in ("long", "integer", "boolean")
        return "object" if self.is_text(place) else "int64" if is_whole and form.keeps_integers else form.dtype

    def _texts(self, place: int, numbers: Any) -> Any:
        import numpy as np

        known = self.texts[self.columns[place]]
        held = [None if number != number else UNKNOWN if number < 0 else known[int(number)] for number in numbers.tolist()]
        made = np.empty(len(held), dtype=object)
        made[:] = held
        return made


class _Original:
    """The model as it was registered."""

    def __init__(self, estimator: Any, table: Table) -> None:
        self._estimator, self.table = estimator, table
        self.dtype = "object"

    def ask(self, rows: Any) -> list[Any]:
        """Return its labels or numbers; behind them its probabilities, where it has any."""
        import numpy as np

        framed = self.table.framed(rows)
        try:
            answers = [np.asarray(self._estimator.predict(framed))]
        except (ValueError, TypeError) as error:
            hint = "" if self.table.specs else " Register it with a sample, so that the types of its columns are known."
            raise InvalidInput(f"it takes more than plain numbers ({layout.in_a_line(error)}).{hint}") from None
        kind, has_odds = answers[0].dtype.kind, hasattr(self._estimator, "predict_proba")
        if kind not in "iufUO" or answers[0].ndim > 2:
            raise InvalidInput(f"it answers {answers[0].dtype}, which ONNX has not.")
        if has_odds and answers[0].ndim > 1:
            raise InvalidInput("it answers several labels for a row.")
        self.dtype = answers[0].dtype.name if kind in "iuf" else "object"
        if has_odds:
            answers.append(np.asarray(self._estimator.predict_proba(framed)))
        return answers

    def ask_if_it_may(self, rows: Any) -> list[Any] | None:
        """Ask what may be refused; None where it is."""
        try:
            return self.ask(rows)
        except InvalidInput:
            return None

    def limit(self, rows: Any) -> str:
        """Return what each number must fit into: float32 where trees look at it, else float64."""
        import numpy as np

        places = [place for place in range(rows.shape[1]) if self.table.may_miss(place) and not self.table.is_text(place)]
        large = rows[:1].copy()
        large[:, places] = 1e300
        with np.errstate(all="ignore"):
            return "float32" if self.ask_if_it_may(large) is None else "float64"


def _table(estimator: Any, signature: Signature | None) -> Table:
    """Return the columns of a model, as it was fitted on them and its signature types them."""
    columns = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    specs = signature.inputs if signature else []
    width = int(estimator.n_features_in_)
    if not (columns and specs and all(spec.shape is None for spec in specs)):
        return Table(columns, [], {}, width)
    if [spec.name for spec in specs] != columns:
        raise InvalidInput(f"its signature names {first_of([str(spec.name) for spec in specs])}; it was fitted on {first_of(columns)}.")
    odd = next((spec for spec in specs if spec.type not in (*NUMBERS, "string")), None)
    if odd:
        raise InvalidInput(f'its column "{odd.name}" is of type {odd.type}, which ONNX has not.')
    known, texts = dict(_categories(estimator, columns)), {}
    for name in (str(spec.name) for spec in specs if spec.type == "string"):
        texts[name] = [text for text in known.get(name, []) if isinstance(text, str)]
        if not texts[name]:
            raise InvalidInput(f'its column "{name}" holds free text, which ONNX would split into words in its own way.')
    return Table(columns, specs, texts, width)


def _categories(estimator: Any, columns: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the columns of which an encoder knows all texts, and these."""
    for _, inner in getattr(estimator, "steps", []):
        yield from _categories(inner, columns)
    for _, inner, chosen in getattr(estimator, "transformers_", []):
        named: list[str]
        named = [chosen] if isinstance(chosen, str) else [columns[item] if isinstance(item, int) else str(item) for item in chosen]
        yield from _categories(inner, named)
    if hasattr(estimator, "best_estimator_"):
        yield from _categories(estimator.best_estimator_, columns)
    held = getattr(estimator, "categories_", [])
    if len(held) == len(columns):
        yield from ((name, texts.tolist()) for name, texts in zip(columns, held, strict=True))


def _graph(estimator: Any, table: Table, form: Form) -> bytes:
    """Return an ONNX file of it that onnxruntime takes."""
    import onnxruntime

    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common import data_types
    except ModuleNotFoundError as error:
        raise InvalidInput(f'{error.name} is not in this Python: pip install "jupyter-modelreg[onnx]".') from None
    kinds = {
        "float64": data_types.DoubleTensorType,
        "float32": data_types.FloatTensorType,
        "int64": data_types.Int64TensorType,
        "object": data_types.StringTensorType,
    }
    if form.by_column:
        inputs = [(name, kinds[table.dtype(place, form)]([None, 1])) for place, name in enumerate(table.columns)]
    else:
        inputs = [("X", kinds[form.dtype]([None, table.width]))]
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    try:
        model = convert_sklearn(estimator, initial_types=inputs, options=options)
        if form.dtype == "float64":
            _mend_doubles(model.graph)
        text: bytes = model.SerializeToString()
        onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    except Exception as error:  # each converter raises its own
        raise InvalidInput(f"skl2onnx has no way for {type(estimator).__name__} ({layout.in_a_line(error)}).") from None
    return text


def _mend_doubles(graph: Any) -> None:
    """Make a graph of doubles see what scikit-learn sees.

    Its trees round what they look at to float32 and compare that with a double. An encoder answers float32, which nothing
    puts beside doubles. And the types that skl2onnx declares for outputs are not always those they have.
    """
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        if node.op_type.startswith("TreeEnsemble"):
            rounded, wide = f"{node.output[0]}_rounded", f"{node.output[0]}_wide"
            nodes.append(helper.make_node("Cast", [node.input[0]], [rounded], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Cast", [rounded], [wide], to=TensorProto.DOUBLE))
            node.input[0] = wide
        nodes.append(node)
        if node.op_type == "OneHotEncoder":
            answer = node.output[0]
            node.output[0] = f"{answer}_narrow"
            nodes.append(helper.make_node("Cast", [node.output[0]], [answer], to=TensorProto.DOUBLE))
    del graph.node[:]
    graph.node.extend(nodes)
    for output in graph.output:
        output.ClearField("type")


def _run(graph: bytes, feeds: dict[str, Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]  # in the order of the columns, but without spaces and the like
    try:
        answers: list[Any] = session.run(None, dict(zip(names, feeds.values(), strict=True)))
    except Exception as error:  # onnxruntime's own have no class in common
        raise InvalidInput(f"onnxruntime does not answer it ({layout.in_a_line(error)}).") from None
    return answers


def _compared(expected: list[Any], answer: list[Any], columns: list[str]) -> Report:
    """Hold labels against labels, probabilities against probabilities, numbers against numbers."""
    import numpy as np

    wanted = expected[0]
    found = np.asarray(answer[0]).reshape(wanted.shape)
    close: Any = np.abs(expected[1] - answer[1]).max(1) <= TOLERANCE if len(expected) > 1 else np.ones(len(wanted), bool)
    report = Report(rows=len(wanted), columns=columns, apart=int((~close).sum()))
    if wanted.dtype.kind == "f" and len(expected) == 1:
        same = np.isclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE * float(np.abs(wanted).max()))
        differ = ~(same if same.ndim == 1 else same.all(1))
    else:
        differ = found != wanted
        if len(expected) > 1 and expected[1].shape[1] > 1:
            best = np.sort(expected[1], 1)
            tied = differ & close & (best[:, -1] - best[:, -2] <= TOLERANCE)
            report, differ = report.replace(ties=int(tied.sum())), differ & ~tied
    if not differ.any():
        return report
    first = int(np.flatnonzero(differ)[0])
    return report.replace(
        error=f"{int(differ.sum())} of {len(wanted)} rows are answered otherwise, one with {found[first]} for {wanted[first]}."
    )


# --- rows to ask ------------------------------------------------------------------------------------------------------


def _rows(estimator: Any, sample: Any) -> Any:
    """Return the sample, rows around the thresholds of trees, where float32 and float64 part, and random ones as far out."""
    import numpy as np

    drawn = np.random.default_rng(0)
    pairs = [
        (int(feature), float(value)) for features, values in _splits(estimator) for feature, value in zip(features, values, strict=True)
    ]
    pairs = [pair for pair in pairs if 0 <= pair[0] < sample.shape[1] and np.isfinite(pair[1])]  # where only a gap parts, it is infinite
    low, high = sample.min(0), sample.max(0)
    for feature, value in pairs:
        low[feature], high[feature] = min(low[feature], value), max(high[feature], value)
    margin = (0.2 if pairs else 1.0) * (high - low) + 0.1 * np.abs(high) + 1e-3
    rows = [sample, drawn.uniform(low - margin, high + margin, (RANDOM_ROWS, sample.shape[1]))]
    for place in drawn.permutation(len(pairs))[:MAX_THRESHOLDS]:
        feature, value = pairs[place]
        near = np.float32(value)
        around = [
            value,
            np.nextafter(value, np.inf),
            np.nextafter(value, -np.inf),
            near,
            *(np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf)),
        ]
        base = np.repeat(rows[1][drawn.integers(RANDOM_ROWS)][None], len(around), 0)
        base[:, feature] = around
        rows.append(base)
    return np.concatenate(rows)


def _edges(estimator: Any, original: _Original, table: Table, rows: Any) -> list[Any]:
    """Return neighbours between which the answer changes, where trees stand behind something that moves their thresholds."""
    import numpy as np

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else None
    if last is None or not any(True for _ in _splits(last)):
        return []
    drawn = np.random.default_rng(2).permutation(len(rows))[: 2 * MAX_EDGES]
    near, far = rows[drawn[::2]][: len(drawn) // 2], rows[drawn[1::2]]
    for place in range(table.width):
        if table.is_text(place):
            far[:, place] = near[:, place]
    answer = original.ask(near)[-1]
    for _ in range(HALVINGS):
        middle = table.settled((near + far) / 2)
        same = original.ask(middle)[-1] == answer
        same = same if same.ndim == 1 else same.all(1)
        near, far = np.where(same[:, None], middle, near), np.where(same[:, None], far, middle)
    return [near, far]


def _holed(rows: Any, places: list[int]) -> Any:
    """Return some of the rows, each without the value of one of the columns."""
    import numpy as np

    drawn = np.random.default_rng(1)
    holed = rows[drawn.integers(len(rows), size=100)].copy()
    holed[np.arange(100), drawn.choice(places, size=100)] = np.nan
    return holed


def _splits(estimator: Any) -> Iterator[tuple[Any, Any]]:
    """Yield features and thresholds of each tree in an estimator; those behind a scaler are none of its input's, and help as well."""
    import numpy as np

    if hasattr(estimator, "tree_"):
        yield estimator.tree_.feature, estimator.tree_.threshold
        return
    held = getattr(estimator, "estimators_", [])
    for inner in np.asarray(held, dtype=object).ravel() if len(held) else []:
        yield from _splits(inner)


if __name__ == "__main__":
    write_report(from_dict(Wanted, json.load(sys.stdin)))
