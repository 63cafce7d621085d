"""What endpoints were asked and answered, held against the training data and against a mirror.

Reads the rows that :mod:`.serving.collection` wrote; the metrics are in :mod:`.drift`.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from itertools import pairwise

from .entities.answers import ColumnDrift, DriftReport, Histogram, MirrorReport
from .entities.datastore import DEFAULT_DATASTORE
from .errors import InvalidInput, NotFound, Unavailable, nearest
from .serving.collection import MIRROR, ROOT
from .stores import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from .commands.monitor import MonitorDrift, MonitorMirror
    from .entities.online import OnlineDeployment
    from .workspace import Workspace

    Columns = dict[str, list[Any]]

PSI, JENSEN_SHANNON = "population_stability_index", "jensen_shannon_distance"
WASSERSTEIN, SMIRNOV, CHI_SQUARED = "normalized_wasserstein_distance", "two_sample_kolmogorov_smirnov_test", "pearsons_chi_squared_test"
NULLS, WRONG_TYPES, OUTSIDE = "null_value_rate", "data_type_error_rate", "out_of_bounds_rate"
# A column drifts when a distance is above its limit, which says that it matters, and the test's probability below its own, which says
# that it is no chance: of a thousand rows a test finds differences that matter to nobody, and of fifty a distance is large by chance.
# A rate is one of quality; it may exceed the reference's by the limit.
THRESHOLDS = {
    PSI: 0.2,  # Source: N. Siddiqi, Credit Risk Scorecards (2006)
    WASSERSTEIN: 0.1,  # Source: azure.ai.ml.entities, NumericalDriftMetrics.defaults()
    JENSEN_SHANNON: 0.1,  # Source: azure.ai.ml.entities, CategoricalDriftMetrics.defaults()
    SMIRNOV: 0.05,  # for all columns together, as the next
    CHI_SQUARED: 0.05,
    NULLS: 0.01,  # Azure's default is none at all; one gap in a thousand rows alarms nobody here
    WRONG_TYPES: 0.01,
    OUTSIDE: 0.05,  # of 100 values of training data and 100 others of the same kind two are outside by chance
}
VERDICTS = ("ok", "skipped", "new", "too-few", "missing", "quality", "drift")  # the later is the worse
MIN_VALUES = 30
MAX_LIVE_ROWS = 100_000
MAX_CATEGORIES = 50  # the reference's most frequent; the others are one
SHOWN_BINS, SHOWN_CATEGORIES = 20, 12
SAMPLE = "training_sample"
KEPT_ROWS = 2000
LARGEST = 1e100  # whose square is a number still
OTHERS = "others"


def find_drift(workspace: Workspace, command: MonitorDrift) -> DriftReport:
    """Compare what a deployment was asked with a reference, column by column.

    Raises
    ------
    NotFound
        If nothing was collected in the window, or there is no reference.
    InvalidInput
        If the window, a threshold or the reference cannot be read.
    """
    _check_thresholds(command.threshold)
    since, until = _window(command.window)
    name, reference = _read_reference(workspace, command)
    # Of many columns one is unlikely by chance; together they are to be so no more often than one alone (Bonferroni).
    level = {test: THRESHOLDS[test] / len(reference) for test in (SMIRNOV, CHI_SQUARED)}
    thresholds = {**THRESHOLDS, **level, **command.threshold}
    live, rows, unread, is_capped = _read_live(workspace, command, since)
    columns = [_compare(column, values, live.get(column), thresholds) for column, values in reference.items()]
    columns += [
        ColumnDrift(column=column, kind="", verdict="new", reasons=["not in the reference"], live_values=len(live[column]))
        for column in live
        if column not in reference
    ]
    return DriftReport(
        endpoint=command.endpoint_name,
        deployment=command.deployment_name,
        collection=command.collection,
        reference=name,
        window=command.window,
        since=_iso(since),
        until=_iso(until),
        verdict=max((item.verdict for item in columns), key=VERDICTS.index, default="too-few"),
        reference_rows=max(map(len, reference.values())),
        live_rows=rows,
        unread_lines=unread,
        is_capped=is_capped,
        thresholds=thresholds,
        columns=sorted(columns, key=lambda item: -VERDICTS.index(item.verdict)),
    )


def compare_mirror(workspace: Workspace, command: MonitorMirror) -> MirrorReport:
    """Compare the answers of a deployment that gets copies with those that callers got.

    Raises
    ------
    NotFound
        If none was collected in the window.
    """
    since, until = _window(command.window)
    root = workspace.datastore_path(DEFAULT_DATASTORE, ROOT, command.endpoint_name)
    folders = {_folder(workspace, command.endpoint_name, live, MIRROR) for live in _names(workspace, command.endpoint_name, root)}
    found = [row for folder in sorted(folders) for row in _rows(folder, since) if row]
    pairs = [row for row in found if isinstance(row["data"], dict) and row["data"].keys() >= _PAIR]
    pairs = [row for row in pairs if row["data"]["mirror"]["deployment"] == command.deployment_name]
    if not pairs:
        raise NotFound(
            f"No answers of {command.endpoint_name}/{command.deployment_name} as a mirror in the last {command.window}. They are written when "
            f"the deployment that answers has data_collector.collections.{MIRROR}.enabled: true and the endpoint mirror_traffic."
        )
    pairs.sort(key=lambda row: str(row["time"]))
    differences = [row["data"]["largest_difference"] for row in pairs if row["data"]["largest_difference"] is not None]
    return MirrorReport(
        endpoint=command.endpoint_name,
        deployment=command.deployment_name,
        window=command.window,
        since=_iso(since),
        until=_iso(until),
        requests=len(pairs),
        same=sum(1 for row in pairs if row["data"]["is_same"]),
        failed=sum(1 for row in pairs if row["data"]["mirror"]["status"] >= 400 > row["data"]["live"]["status"]),
        largest_difference=max(differences, default=None),
        mean_difference=sum(differences) / len(differences) if differences else None,
        differing=[str(row["xrequestid"]) for row in reversed(pairs) if not row["data"]["is_same"]][:10],
    )


_PAIR = {"live", "mirror", "is_same", "largest_difference"}


def _check_thresholds(given: dict[str, float]) -> None:
    for name, value in given.items():
        if name not in THRESHOLDS:
            raise InvalidInput(f'There is no metric "{name}".{nearest(name, THRESHOLDS)} Known: {", ".join(THRESHOLDS)}.', key="threshold")
        if not 0.0 <= value < float("inf"):
            raise InvalidInput(f"The threshold {name} is {value:g}; it must be a number from 0.", key="threshold")


def _window(text: str) -> tuple[float, float]:
    until = time.time()
    return until - parse_duration(text, "window"), until


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(max(moment, 0.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what was collected -----------------------------------------------------------------------------------------------


def _deployment(workspace: Workspace, endpoint: str, deployment: str) -> OnlineDeployment | None:
    """Return a deployment; None when it is gone, since its rows stay."""
    try:
        return workspace.catalog.get_deployment(endpoint, deployment)
    except NotFound:
        return None


def _names(workspace: Workspace, endpoint: str, root: str) -> list[str]:
    """Return the deployments that an endpoint has, and had when rows were written to the usual place."""
    try:
        now = [str(item.name) for item in workspace.catalog.list_deployments(endpoint)]
    except NotFound:
        now = []
    return sorted({*now, *(os.listdir(root) if os.path.isdir(root) else [])})


def _folder(workspace: Workspace, endpoint: str, deployment: str, collection: str) -> str:
    """Return where a collection's rows lie: where the deployment says, or the usual place."""
    for part in (endpoint, deployment, collection):
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise NotFound(f'There is no "{part}" here.')
    found = _deployment(workspace, endpoint, deployment)
    asked = {name.lower(): item.folder for name, item in found.data_collector.collections.items()} if found and found.data_collector else {}
    usual = os.path.join(ROOT, endpoint, deployment, collection.lower())
    return workspace.datastore_path(DEFAULT_DATASTORE, asked.get(collection.lower()) or usual)


def _rows(folder: str, since: float) -> Iterator[dict[str, Any] | None]:
    """Yield a collection's rows of a window, those of the latest files first; None for a line that is no row."""
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".jsonl")]
    recent = [path for path in paths if os.path.getmtime(path) >= since]
    begin = _iso(since)[:-1]  # a row's time has milliseconds
    for path in sorted(recent, key=os.path.getmtime, reverse=True):
        with open(path, "rb") as stream:
            for line in stream:
                row = _row(line)
                if row is None or str(row["time"]) >= begin:
                    yield row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        return row if isinstance(row, dict) and {"time", "data", "xrequestid"} <= row.keys() else None
    except (ValueError, RecursionError):
        return None


def _read_live(workspace: Workspace, command: MonitorDrift, since: float) -> tuple[Columns, int, int, bool]:
    """Return columns, rows, unreadable lines, and whether there were too many rows to take them all."""
    columns: Columns = {}
    count = unread = 0
    folder = _folder(workspace, command.endpoint_name, command.deployment_name, command.collection)
    for row in _rows(folder, since):
        if row is None:
            unread += 1
            continue
        count += _add(columns, row["data"] if isinstance(row["data"], list) else [row["data"]], count)
        if count >= MAX_LIVE_ROWS:
            break
    if not count:
        raise NotFound(
            f'Nothing of "{command.collection}" was collected from {command.endpoint_name}/{command.deployment_name} in the last {command.window}. '
            f"It is when the deployment's YAML has data_collector.collections.{command.collection}.enabled: true."
        )
    return columns, count, unread, count >= MAX_LIVE_ROWS


def _add(columns: Columns, records: list[Any], before: int) -> int:
    """Add records as columns; a column that comes late or is left out has gaps. Return how many were added."""
    records = [record for record in records if isinstance(record, dict)]
    for at, record in enumerate(records):
        for name, value in record.items():
            values = columns.setdefault(name, [])
            values += [None] * (before + at - len(values))
            values.append(value)
    for values in columns.values():
        values += [None] * (before + len(records) - len(values))
    return len(records)


# --- the reference ----------------------------------------------------------------------------------------------------


def _read_reference(workspace: Workspace, command: MonitorDrift) -> tuple[str, Columns]:
    if command.reference:
        path = os.path.expanduser(command.reference)
        try:
            with open(path, "rb") as stream:
                return path, read_table(stream, path)
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}.") from None
    deployment = _deployment(workspace, command.endpoint_name, command.deployment_name)
    reference = str(deployment.model or "") if deployment else ""
    if reference:
        from .references import parse_reference

        tree = workspace.open_tree(parse_reference(reference))
        for item in tree.files():
            if item.path.rpartition("/")[2].rpartition(".")[0] == SAMPLE:
                with tree.open(item.path) as stream:
                    return f"{reference}/{item.path}", read_table(stream, item.path)
    named = f"{command.endpoint_name}/{command.deployment_name}"
    where = (
        f"{reference} has no file {SAMPLE}.csv, .parquet or .jsonl" if reference else f"{named} is no deployment now, so no model is known"
    )
    raise NotFound(f"{where}: name the training data, or some thousand rows of it, with --reference FILE.")


def read_table(stream: BinaryIO, name: str) -> Columns:
    """Return the columns of a CSV, Parquet or JSON lines file, by its name's end; collected rows count as JSON lines.

    Raises
    ------
    InvalidInput
        If it is none of them, cannot be read as what it says it is, or is empty.
    Unavailable
        If it is Parquet and pyarrow is not installed.
    """
    kind = os.path.splitext(name)[1].lower()
    if kind not in _READERS:
        raise InvalidInput(f'"{name}" must end in {", ".join(_READERS)}.', key="reference")
    try:
        columns: Columns = _READERS[kind](stream)
    except (ValueError, TypeError, LookupError, RecursionError) as error:  # the readers' own
        raise InvalidInput(f"{name} is not {kind[1:].upper()}: {str(error).splitlines()[0]}.", key="reference") from None
    if not any(columns.values()):
        raise InvalidInput(f"{name} has no rows.", key="reference")
    return columns


def _read_csv(stream: BinaryIO) -> Columns:
    import csv
    import io

    lines = csv.reader(io.StringIO(stream.read().decode("utf-8-sig"), newline=""), strict=True)
    try:
        names, rows = next(lines, []), [line for line in lines if line]
    except csv.Error as error:
        raise ValueError(error) from None
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"the header has {len(names)} names and a row {len(row)} values")
    return {name: _typed(list(values)) for name, values in zip(names, zip(*rows, strict=True), strict=False)}


def _typed(texts: list[str]) -> list[Any]:
    """Return a CSV column's values: numbers or booleans where all are, gaps where there is nothing."""
    held: list[Any] = [None if text.strip() in ("", "NA", "NaN", "nan", "null") else text for text in texts]
    if all(text is None or text.lower() in ("true", "false") for text in held):
        return [None if text is None else text.lower() == "true" for text in held]
    try:
        return [None if text is None else _number(text) for text in held]
    except ValueError:
        return held


def _number(text: str) -> float:
    if "_" in text:  # Python reads 1_000 as a number; nobody else does
        raise ValueError(text)
    return float(text)


def _read_lines(stream: BinaryIO) -> Columns:
    columns: Columns = {}
    count = 0
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        value = json.loads(line)
        records = value["data"] if isinstance(value, dict) and "specversion" in value else [value]
        if not all(isinstance(record, dict) for record in records):
            raise ValueError(f"line {number} is no mapping of columns to values")
        count += _add(columns, records, count)
    return columns


def _read_parquet(stream: BinaryIO) -> Columns:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise Unavailable('Parquet needs pyarrow: pip install "jupyter-modelreg[parquet]". CSV and JSON lines need nothing.') from None
    try:
        columns: Columns = parquet.read_table(stream).to_pydict()
    except pa.ArrowException as error:
        raise ValueError(error) from None
    return columns


_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_lines, ".ndjson": _read_lines}


def write_sample(folder: str, rows: Any) -> str:
    """Write rows of training data, evenly taken of all, where :func:`find_drift` looks for them in a version; return the file."""
    from .serving.collection import to_records

    step = -(-len(rows) // KEPT_ROWS) or 1
    records = to_records(rows.iloc[::step] if hasattr(rows, "iloc") else rows[::step])
    path = os.path.join(folder, f"{SAMPLE}.jsonl")
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    return path


# --- one column -------------------------------------------------------------------------------------------------------


def _compare(column: str, reference: list[Any], live: list[Any] | None, thresholds: dict[str, float]) -> ColumnDrift:
    kind = _kind(reference)
    known, gaps = _split(reference, kind)
    if live is None:
        return ColumnDrift(column=column, kind=kind, verdict="missing", reasons=["in no request"], reference_values=len(known))
    if kind == "skipped":
        return ColumnDrift(column=column, kind="", verdict="skipped", live_values=len(live))
    seen, missing = _split(live, kind)
    rates = {NULLS: missing / len(live), WRONG_TYPES: 1 - len(seen) / max(1, len(live) - missing) if missing < len(live) else 0.0}
    metrics, histogram = _MEASURES[kind](known, seen) if len(known) and len(seen) else ({}, None)
    beyond = _excess({**rates, **metrics}, {NULLS: gaps / len(reference)}, thresholds)
    has_enough = min(len(known), len(seen)) >= MIN_VALUES
    drifts = [name for name in (PSI, WASSERSTEIN, JENSEN_SHANNON) if name in beyond]
    is_chance = any(metrics.get(test, 0.0) >= thresholds[test] for test in (SMIRNOV, CHI_SQUARED))
    unsound = [name for name in (NULLS, WRONG_TYPES, OUTSIDE) if name in beyond]
    told = unsound + ([] if is_chance or not has_enough else drifts)
    verdict = "drift" if told != unsound else "quality" if unsound and len(live) >= MIN_VALUES else "ok" if has_enough else "too-few"
    return ColumnDrift(
        column=column,
        kind=kind,
        verdict=verdict,
        reasons=[f"fewer than {MIN_VALUES} values"] if verdict == "too-few" else [beyond[name] for name in told if verdict != "ok"],
        reference_values=len(known),
        live_values=len(seen),
        metrics={**metrics, **rates},
        histogram=histogram,
    )


def _excess(metrics: dict[str, float], allowed: dict[str, float], thresholds: dict[str, float]) -> dict[str, str]:
    """Return what is above its limit, with the words for it. A test's probability is no distance and never among them."""
    limits = {
        name: allowed.get(name, 0.0) + thresholds[name] for name in metrics if name not in (SMIRNOV, CHI_SQUARED) and name in thresholds
    }
    return {name: f"{name} {metrics[name]:.3g} > {limit:.3g}" for name, limit in limits.items() if metrics[name] > limit}


def _kind(values: list[Any]) -> str:
    """Say what a reference's column holds: numbers, categories, texts that are all different, or nothing plain."""
    types = set(map(type, values)) - {type(None)}
    if types & {list, dict, bytes}:
        return "skipped"
    if types and types <= _NUMBERS:
        return "numerical"
    held = [value for value in values if not _is_gap(value)]
    distinct = len({str(value) for value in held})
    return "text" if distinct > MAX_CATEGORIES and distinct > len(held) / 2 else "categorical"


_NUMBERS = {int, float}


def _split(values: list[Any], kind: str) -> tuple[Any, int]:
    """Return the values that are of a kind, numbers as an array and others as text, and how many are gaps."""
    if kind != "numerical":
        held = [value for value in values if not _is_gap(value)]
        return [str(value) for value in held if type(value) not in (*_NUMBERS, list, dict, bytes)], len(values) - len(held)
    import numpy as np

    # Values of other types are no gaps, and None becomes one here.
    numbers = [value for value in values if value is None or type(value) in _NUMBERS]
    try:
        found = np.array(numbers, dtype=float)
    except OverflowError:  # whole numbers may be of any size
        found = np.array([value if value is None else min(max(value, -LARGEST), LARGEST) for value in numbers], dtype=float)
    finite = found[np.isfinite(found)]
    return np.clip(finite, -LARGEST, LARGEST), len(found) - len(finite)


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value - value != 0.0)  # also NaN and the infinities


def _measure_numbers(known: Any, seen: Any) -> tuple[dict[str, float], Histogram]:
    import numpy as np

    from . import drift

    edges = drift.stability_edges(known)
    counts = drift.count_bins(known, edges), drift.count_bins(seen, edges)
    statistic, probability = drift.kolmogorov_smirnov(known, seen)
    metrics = {
        PSI: drift.population_stability_index(*counts),
        JENSEN_SHANNON: drift.jensen_shannon_distance(*counts),
        WASSERSTEIN: drift.normalized_wasserstein_distance(known, seen),
        "kolmogorov_smirnov_statistic": statistic,
        SMIRNOV: probability,
        OUTSIDE: float(np.mean((seen < known.min()) | (seen > known.max()))),
    }
    return metrics, _shown_numbers(known, seen)


def _shown_numbers(known: Any, seen: Any) -> Histogram:
    """Return a histogram for the eye: bins of one width, the few values far outside in the outermost ones."""
    import numpy as np

    both = np.concatenate([known, seen])
    low, high = (float(value) for value in np.quantile(both, [0.005, 0.995]))
    if low == high:
        low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high, SHOWN_BINS + 1) if low < high else np.array([low - 0.5, low + 0.5])
    shares = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values) for values in (known, seen)]
    labels = [f"{left:.4g} to {right:.4g}" for left, right in pairwise(edges)]
    return Histogram(labels=labels, reference=_rounded(shares[0]), live=_rounded(shares[1]))


def _measure_categories(reference: list[str], live: list[str]) -> tuple[dict[str, float], Histogram]:
    from collections import Counter

    from . import drift

    known, seen = Counter(reference), Counter(live)
    names = [name for name, _ in known.most_common(MAX_CATEGORIES)]
    counts = [[side[name] for name in names] + [side.total() - sum(side[name] for name in names)] for side in (known, seen)]
    statistic, probability = drift.pearsons_chi_squared(*counts)
    used = [side if counts[0][-1] + counts[1][-1] else side[:-1] for side in counts]  # no empty bin for others
    metrics = {
        PSI: drift.population_stability_index(*used),
        JENSEN_SHANNON: drift.jensen_shannon_distance(*used),
        "chi_squared_statistic": statistic,
        CHI_SQUARED: probability,
        OUTSIDE: sum(count for name, count in seen.items() if name not in known) / seen.total(),
    }
    return metrics, _shown_categories(names, known, seen)


def _shown_categories(names: list[str], known: Any, seen: Any) -> Histogram:
    """Return shares for the eye: the frequent categories, those new to the live side among them."""
    new = [name for name, _ in seen.most_common() if name not in known]
    shown = [*names[: SHOWN_CATEGORIES - min(3, len(new))], *new[:3]]
    shares = [[side[name] / side.total() for name in shown] for side in (known, seen)]
    left = [1 - sum(side) for side in shares]
    if max(left) > 1e-9:
        shown, shares = [*shown, OTHERS], [[*side, rest] for side, rest in zip(shares, left, strict=True)]
    return Histogram(labels=shown, reference=_rounded(shares[0]), live=_rounded(shares[1]))


def _rounded(shares: Any) -> list[float]:
    return [round(float(share), 6) for share in shares]


def _measure_texts(reference: list[str], live: list[str]) -> tuple[dict[str, float], None]:
    """Texts that are all different have no distribution; only their gaps and types count."""
    return {}, None


_MEASURES: dict[str, Any] = {"numerical": _measure_numbers, "categorical": _measure_categories, "text": _measure_texts}
