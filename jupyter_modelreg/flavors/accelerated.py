"""scikit-learn models answered by onnxruntime: converted when they are deployed, held against the original, kept only when equal.

The conversion is a process of its own, in the deployment's Python; what serves needs neither scikit-learn nor skl2onnx.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput, ModelRegistryError, Unavailable
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


class Report(Record):
    """How a conversion went."""

    error: str | None = field(default=None, help="Why there is none, in one line.")
    rows: int = field(default=0, help="How many rows both have answered.")
    ties: int = field(default=0, help="Of these, where the original is undecided between two labels and the other took the other.")
    apart: int = field(default=0, help="Of these, where a probability differs by more than 1e-5 and the label does not.")
    columns: list[str] = field(default=[], help="Names the original was fitted on.")
    refuses: bool = field(default=True, help="Whether what is not finite is refused.")
    missing: bool = field(default=False, help="Whether the original takes missing values, and answers them otherwise than the graph.")

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
        If the process ends without a word; its last lines are in ``detail``.
    """
    import subprocess

    os.makedirs(wanted.folder, mode=0o700)
    try:
        ended = subprocess.run(
            command, input=json.dumps(wanted.to_dict()), env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return read_report(wanted.folder)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"The conversion to ONNX took longer than {SECONDS} seconds; deploy without --accelerator.") from None
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
    """Answers as the original's ``predict``: its labels or numbers, of its shape; rows come as an array, shape (n, features)."""

    wants = "array"
    is_batchable = True

    def __init__(self, folder: str) -> None:
        self._report = read_report(folder)
        self._session = open_session(os.path.join(folder, FILE), threads=1)  # a call takes microseconds; a second thread costs more
        (item,) = self._session.get_inputs()
        self._input, self._dtype = item.name, "float64" if item.type == "tensor(double)" else "float32"
        self._output = [self._session.get_outputs()[0].name]
        names = self._report.columns
        self.signature = Signature(inputs=[ColumnSpec(name=name, type="double") for name in names]) if names else None

    def __call__(self, rows: Any) -> Any:
        """Predict rows."""
        import numpy as np

        given = np.asarray(rows, dtype=self._dtype)
        if self._report.refuses and not np.isfinite(given).all():
            what = "NaN" if np.isnan(given).any() else f"infinity or a value too large for dtype('{self._dtype}')"
            raise InvalidInput(f"Input X contains {what}.")
        (answer,) = self._session.run(self._output, {self._input: given})
        return answer if answer.ndim == 1 or answer.shape[1] > 1 else answer.reshape(-1)


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
    columns = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    rows = _rows(estimator, _example_rows(wanted.example, int(estimator.n_features_in_)))
    original = _Original(estimator, columns)
    expected, failed = original.ask(rows), Report()
    holed = _holed(rows)
    expected_of_holed = original.ask_if_it_may(holed)
    for dtype in ("float64", "float32"):  # trees look at float32, the others at float64
        try:
            graph = _graph(estimator, rows.shape[1], dtype)
        except InvalidInput as error:
            failed = failed if failed.error else Report(error=error.message)
            continue
        report = _compared(expected, _run(graph, rows, dtype), columns)
        if not report.error:
            if expected_of_holed is not None:
                missing = _compared(expected_of_holed, _run(graph, holed, dtype), columns)
                report = report.replace(refuses=bool(missing.error), missing=bool(missing.error))
            with open(os.path.join(wanted.folder, FILE), "wb") as stream:
                stream.write(graph)
            return report
        failed = report
    return failed


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


class _Original:
    """The model as it was registered."""

    def __init__(self, estimator: Any, columns: list[str]) -> None:
        self._estimator, self._columns = estimator, columns

    def ask(self, rows: Any) -> list[Any]:
        """Return its labels or numbers; behind them its probabilities, where it has any."""
        import numpy as np

        framed = self._framed(rows)
        try:
            answers = [np.asarray(self._estimator.predict(framed))]
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"it takes more than plain numbers ({layout.in_a_line(error)}).") from None
        if answers[0].dtype.kind not in "iufUO" or answers[0].ndim > 2:
            raise InvalidInput(f"it answers {answers[0].dtype}, which ONNX has not.")
        if hasattr(self._estimator, "predict_proba"):
            answers.append(np.asarray(self._estimator.predict_proba(framed)))
        return answers

    def ask_if_it_may(self, rows: Any) -> list[Any] | None:
        """Ask with missing values; None where they are refused."""
        try:
            return self.ask(rows)
        except InvalidInput:
            return None

    def _framed(self, rows: Any) -> Any:
        if not self._columns:
            return rows
        import pandas as pd

        return pd.DataFrame(rows, columns=self._columns)


def _graph(estimator: Any, width: int, dtype: str) -> bytes:
    """Return an ONNX file of it that onnxruntime takes."""
    import onnxruntime

    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    except ModuleNotFoundError as error:
        raise InvalidInput(f'{error.name} is not in this Python: pip install "jupyter-modelreg[onnx]".') from None
    kind = DoubleTensorType if dtype == "float64" else FloatTensorType
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    try:
        text: bytes = convert_sklearn(estimator, initial_types=[("X", kind([None, width]))], options=options).SerializeToString()
        onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    except Exception as error:  # each converter raises its own
        raise InvalidInput(f"skl2onnx has no way for {type(estimator).__name__} ({layout.in_a_line(error)}).") from None
    return text


def _run(graph: bytes, rows: Any, dtype: str) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    answers: list[Any] = session.run(None, {"X": rows.astype(dtype)})
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


def _example_rows(example: Any, width: int) -> Any:
    """Return the registered sample's rows, shape (n, width); one of ones without a sample."""
    import numpy as np

    rows = example.get("data") if isinstance(example, dict) else example
    try:
        array = np.asarray(rows, dtype="float64").reshape(-1, width)
    except (TypeError, ValueError):
        return np.ones((1, width))
    return array if len(array) and np.isfinite(array).all() else np.ones((1, width))


def _rows(estimator: Any, sample: Any) -> Any:
    """Return the sample, rows around the thresholds of trees, where float32 and float64 part, and random ones as far out."""
    import numpy as np

    drawn = np.random.default_rng(0)
    pairs = [
        (int(feature), float(value)) for features, values in _splits(estimator) for feature, value in zip(features, values, strict=True)
    ]
    pairs = [pair for pair in pairs if 0 <= pair[0] < sample.shape[1]]
    low, high = sample.min(0), sample.max(0)
    for feature, value in pairs:
        low[feature], high[feature] = min(low[feature], value), max(high[feature], value)
    margin = 0.2 * (high - low) + 0.1 * np.abs(high) + 1e-3
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


def _holed(rows: Any) -> Any:
    """Return some of the rows, each without one of its values."""
    import numpy as np

    drawn = np.random.default_rng(1)
    holed = rows[drawn.integers(len(rows), size=100)].copy()
    holed[np.arange(100), drawn.integers(rows.shape[1], size=100)] = np.nan
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
