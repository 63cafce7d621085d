"""Drift and mirrors: what was collected held against real data, and what is said of it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression

from jupyter_modelreg import MLClient, load_online_deployment, monitors
from jupyter_modelreg.commands.monitor import MonitorDrift, MonitorMirror
from jupyter_modelreg.entities import (
    CodeConfiguration,
    ColumnDrift,
    DataCollector,
    DeploymentCollection,
    DriftReport,
    Model,
    OnlineDeployment,
    OnlineEndpoint,
)
from jupyter_modelreg.errors import InvalidInput, ModelRegistryError, NotFound, Unavailable
from jupyter_modelreg.records import from_dict
from jupyter_modelreg.workspace import Workspace

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def _write_csv(path: Path, names: list[str], rows: Any) -> str:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([names, *rows])
    return str(path)


def _collect(workspace: Workspace, records: list[Any], *, collection: str = "model_inputs", ago: float = 60.0, file: str = "0") -> Path:
    """Write rows as a deployment would have, in requests of 50."""
    moment = time.gmtime(time.time() - ago)
    place = ("modelDataCollector", "churn", "blue", collection, time.strftime("%Y/%m/%d/%H", moment))
    folder = Path(workspace.datastore_path("workspaceblobstore", *place))
    folder.mkdir(parents=True, exist_ok=True)
    row = {"specversion": "1.0", "time": time.strftime("%Y-%m-%dT%H:%M:%S.250Z", moment), "xrequestid": "r"}
    lines = [json.dumps({**row, "data": records[at : at + 50]}) + "\n" for at in range(0, len(records), 50)]
    path = folder / f"{file}.jsonl"
    with path.open("a") as stream:
        stream.writelines(lines)
    os.utime(path, (time.time() - ago, time.time() - ago))
    return path


def _find(workspace: Workspace, reference: str | None = None, **others: Any) -> DriftReport:
    return monitors.find_drift(workspace, MonitorDrift(endpoint_name="churn", deployment_name="blue", reference=reference, **others))


def _by_name(report: DriftReport) -> dict[str, ColumnDrift]:
    return {item.column: item for item in report.columns}


def _records(names: list[str], rows: Any) -> list[dict[str, Any]]:
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_iris])
def test_data_dealt_from_the_training_data_has_not_drifted(workspace: Workspace, tmp_path: Path, load: Any) -> None:
    names = [name.replace(" ", "_") for name in load().feature_names]
    reference = _write_csv(tmp_path / "training.csv", names, load().data[::2])
    _collect(workspace, _records(names, load().data[1::2]))
    report = _find(workspace, reference)
    assert {item.verdict for item in report.columns} <= {"ok", "quality"}  # of 75 flowers the largest may lie outside
    assert (report.reference_rows, report.live_rows) == (len(load().data[::2]), len(load().data[1::2]))
    assert [item.column for item in report.columns if item.kind != "numerical"] == []


def test_flowers_of_another_kind_are_drift_and_each_column_says_by_how_much(workspace: Workspace, tmp_path: Path) -> None:
    """Trained on setosa and versicolor, asked about virginica."""
    iris = load_iris().data
    reference = _write_csv(tmp_path / "training.csv", NAMES, iris[:100])
    _collect(workspace, _records(NAMES, iris[100:]))
    report = _find(workspace, reference)
    assert report.verdict == "drift"
    petals = _by_name(report)["petal_length"]
    assert petals.verdict == "drift"
    assert petals.metrics["out_of_bounds_rate"] == pytest.approx(np.mean(iris[100:, 2] > iris[:100, 2].max()))
    assert petals.metrics["two_sample_kolmogorov_smirnov_test"] < 1e-15
    assert petals.metrics["kolmogorov_smirnov_statistic"] > 0.9
    assert petals.reasons[0].startswith("out_of_bounds_rate 0.")
    assert any(text.startswith("population_stability_index") and text.endswith("> 0.2") for text in petals.reasons)
    assert petals.histogram
    assert sum(petals.histogram.reference) == pytest.approx(1)
    assert sum(petals.histogram.live) == pytest.approx(1)
    assert (petals.reference_values, petals.live_values) == (100, 50)


def test_fifty_values_that_differ_by_chance_are_no_drift(workspace: Workspace, tmp_path: Path) -> None:
    """A stability index above its limit is what small samples of one distribution have; the test tells that it is chance."""
    generator = np.random.default_rng(3)
    reference = _write_csv(tmp_path / "training.csv", ["a"], generator.normal(size=(50, 1)))
    _collect(workspace, _records(["a"], generator.normal(size=(50, 1))))
    column = _by_name(_find(workspace, reference))["a"]
    assert column.metrics["population_stability_index"] > 0.2
    assert "drift" not in column.verdict


def test_a_hundred_thousand_values_that_differ_by_nothing_that_matters_are_no_drift(workspace: Workspace, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    reference = _write_csv(tmp_path / "training.csv", ["a"], generator.normal(size=(60_000, 1)))
    _collect(workspace, _records(["a"], generator.normal(0.05, size=(60_000, 1))))
    column = _by_name(_find(workspace, reference))["a"]
    assert column.metrics["two_sample_kolmogorov_smirnov_test"] < 0.01
    assert column.verdict == "ok"


def test_categories_have_a_distance_a_test_and_what_is_new_among_them(workspace: Workspace, tmp_path: Path) -> None:
    reference = _write_csv(tmp_path / "training.csv", ["plan", "paid"], [["basic", "true"]] * 60 + [["gold", "false"]] * 40)
    _collect(
        workspace, [{"plan": "basic", "paid": True}] * 30 + [{"plan": "gold", "paid": False}] * 20 + [{"plan": "trial", "paid": False}] * 50
    )
    report = _by_name(_find(workspace, reference))
    plan, paid = report["plan"], report["paid"]
    assert (plan.kind, plan.verdict, paid.kind, paid.verdict) == ("categorical", "drift", "categorical", "drift")
    assert plan.metrics["out_of_bounds_rate"] == 0.5
    assert paid.metrics["out_of_bounds_rate"] == 0.0
    # χ² of the table 60 40 / 30 70 by hand: expected 45 and 55, so 2·(225/45) + 2·(225/55).
    assert paid.metrics["chi_squared_statistic"] == pytest.approx(2 * 225 / 45 + 2 * 225 / 55)
    assert plan.histogram
    assert plan.histogram.to_dict() == {"labels": ["basic", "gold", "trial"], "reference": [0.6, 0.4, 0.0], "live": [0.3, 0.2, 0.5]}


def test_gaps_and_wrong_types_are_quality_and_are_held_against_the_trainings_own_gaps(workspace: Workspace, tmp_path: Path) -> None:
    rows = [[number, number if number % 4 else "", number] for number in range(100)]  # b has a quarter of gaps from the start
    reference = _write_csv(tmp_path / "training.csv", ["a", "b", "c"], rows)
    live = [{"a": n if n % 5 else None, "b": n if n % 4 else None, "c": n if n % 10 else "many"} for n in range(100)]
    _collect(workspace, live)
    report = _by_name(_find(workspace, reference))
    assert {name: (item.verdict, item.reasons) for name, item in report.items()} == {
        "a": ("quality", ["null_value_rate 0.2 > 0.01"]),
        "b": ("ok", []),
        "c": ("quality", ["data_type_error_rate 0.1 > 0.01"]),
    }
    assert report["b"].metrics["null_value_rate"] == 0.25


def test_columns_of_one_side_only_too_few_values_and_tensors_are_named(workspace: Workspace, tmp_path: Path) -> None:
    reference = tmp_path / "training.jsonl"
    reference.write_text("".join(json.dumps({"a": n, "gone": n, "image": [1, 2], "id": f"id-{n}"}) + "\n" for n in range(100)))
    _collect(workspace, [{"a": 1, "image": [3], "fresh": 1, "id": f"other-{n}"} for n in range(10)])
    report = _find(workspace, str(reference))
    assert {name: item.verdict for name, item in _by_name(report).items()} == {
        **{"gone": "missing", "a": "too-few", "id": "too-few", "fresh": "new", "image": "skipped"}
    }
    assert _by_name(report)["id"].kind == "text"
    assert report.verdict == "missing"
    assert report.columns[0].column == "gone"  # the worst first


def test_the_window_takes_what_is_young_enough_and_torn_lines_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    reference = _write_csv(tmp_path / "training.csv", ["a"], [[n] for n in range(100)])
    _collect(workspace, [{"a": n} for n in range(100)], ago=3 * 86400, file="old")
    path = _collect(workspace, [{"a": n} for n in range(40)], ago=60)
    with path.open("a") as stream:
        stream.write('{"specversion": "1.0", "da\n[3]\n')
    assert _find(workspace, reference).live_rows == 140
    report = _find(workspace, reference, window="1h")
    assert (report.live_rows, report.unread_lines) == (40, 2)
    with pytest.raises(NotFound, match=r'Nothing of "model_inputs" was collected from churn/blue in the last 30s\. .*enabled: true'):
        _find(workspace, reference, window="30s")


def test_of_too_many_rows_the_latest_files_are_taken(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "MAX_LIVE_ROWS", 200)
    reference = _write_csv(tmp_path / "training.csv", ["a"], [[n] for n in range(100)])
    _collect(workspace, [{"a": 1000}] * 300, ago=7200, file="old")
    _collect(workspace, [{"a": n} for n in range(200)], ago=60)
    report = _find(workspace, reference)
    assert (report.live_rows, report.is_capped) == (200, True)
    assert _by_name(report)["a"].metrics["out_of_bounds_rate"] == 0.5


def test_another_limit_is_another_verdict(workspace: Workspace, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    reference = _write_csv(tmp_path / "training.csv", ["a"], generator.normal(size=(2000, 1)))
    _collect(workspace, _records(["a"], generator.normal(0.2, size=(2000, 1))))
    assert _find(workspace, reference).verdict == "drift"  # a fifth of a standard deviation
    limits = {"normalized_wasserstein_distance": 0.3}
    report = _find(workspace, reference, threshold=limits)
    assert (report.verdict, report.thresholds["normalized_wasserstein_distance"]) == ("ok", 0.3)
    strict = {"two_sample_kolmogorov_smirnov_test": 1e-12}
    assert _find(workspace, reference, threshold=strict).verdict == "ok"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": {"psi": 0.1}}, 'There is no metric "psi".'),
        ({"threshold": {"population_stability_indx": 0.1}}, 'Did you mean "population_stability_index"?'),
        ({"threshold": {"null_value_rate": -1.0}}, "The threshold null_value_rate is -1; it must be a number from 0."),
        ({"threshold": {"null_value_rate": float("nan")}}, "must be a number from 0"),
        ({"window": "a week"}, '"a week" is no time; write 30m, 24h or 7d.'),
    ],
)
def test_what_is_asked_wrongly_is_said(workspace: Workspace, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        _find(workspace, "x.csv", **given)
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv has no rows."),
        ("a.csv", b"x,y\n", "a.csv has no rows."),
        ("a.csv", b"x,y\n1\n", "a.csv is not CSV: the header has 2 names and a row 1 values."),
        ("a.csv", b'x\n"1\n', "a.csv is not CSV: unexpected end of data."),
        ("a.csv", b"x\n\xff\n", "a.csv is not CSV: 'utf-8' codec can't decode"),
        ("a.jsonl", b"{}\n", "a.jsonl has no rows."),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "a.jsonl is not JSONL: line 2 is no mapping"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', "a.jsonl is not JSONL: "),
        ("a.pkl", b"", 'a.pkl" must end in .csv, .parquet, .jsonl, .ndjson.'),
    ],
)
def test_a_reference_that_cannot_be_read_is_said(workspace: Workspace, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        _find(workspace, name)
    assert message in raised.value.message


def test_a_reference_that_is_not_there_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.csv cannot be read: No such file"):
        _find(workspace, "nowhere.csv")
    with pytest.raises(NotFound, match="name the training data, or some thousand rows of it, with --reference FILE"):
        _find(workspace)


@pytest.mark.parametrize("name", ["..", "a/../../..", "a\0b", ""])
def test_no_name_leads_out_of_the_datastore(workspace: Workspace, tmp_path: Path, name: str) -> None:
    reference = _write_csv(tmp_path / "training.csv", ["a"], [[1]])
    for names in ({"endpoint_name": name}, {"deployment_name": name}, {"collection": name}):
        command = MonitorDrift(**{"endpoint_name": "churn", "deployment_name": "blue", "reference": reference, **names})
        with pytest.raises(NotFound, match="There is no"):
            monitors.find_drift(workspace, command)


def test_collected_rows_and_parquet_are_references_too(workspace: Workspace, tmp_path: Path) -> None:
    collected = _collect(workspace, [{"a": n} for n in range(100)])
    assert _find(workspace, str(collected)).verdict == "ok"
    parquet.write_table(pa.table({"a": list(range(100))}), tmp_path / "a.parquet")
    assert _find(workspace, "a.parquet").verdict == "ok"
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInput, match=r"broken\.parquet is not PARQUET: "):
        _find(workspace, "broken.parquet")


def test_parquet_without_its_library_says_what_to_install(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(Unavailable, match=r'pip install "jupyter-modelreg\[parquet\]"'):
        _find(workspace, "a.parquet")


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
_COLUMN = (
    st.lists(_PLAIN, min_size=1, max_size=50)
    | st.lists(st.floats(), min_size=30, max_size=50)
    | st.lists(st.integers(), min_size=30, max_size=50)
    | st.lists(st.sampled_from("abc"), min_size=30, max_size=50)
)


@given(_COLUMN, _COLUMN)
def test_any_two_columns_have_a_verdict_and_numbers_that_json_can_hold(reference: list[Any], live: list[Any]) -> None:
    found = monitors._compare("a", reference, live, monitors.THRESHOLDS)
    assert from_dict(ColumnDrift, json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    assert found.verdict in monitors.VERDICTS
    if found.histogram:
        assert sum(found.histogram.reference) == pytest.approx(1, abs=1e-4)
        assert sum(found.histogram.live) == pytest.approx(1, abs=1e-4)


def test_whatever_lies_among_the_rows_is_counted_and_passed_over(workspace: Workspace, tmp_path: Path) -> None:
    path = _collect(workspace, [{"a": n} for n in range(40)])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for data in (None, 3, "text", [], [1, "x", None], {}, {"mirror": {}}, [{"a": {"b": 1}}]):
        with path.open("a") as stream:
            stream.write(json.dumps({"time": now, "data": data, "xrequestid": "r"}) + "\n")
    with path.open("ab") as stream:
        stream.write(b"\xff\x00\nnull\n[]\n{}\n" + b"[" * 5000 + b"\n")
    reference = _write_csv(tmp_path / "training.csv", ["a"], [[n] for n in range(100)])
    report = _find(workspace, reference)
    assert (report.live_rows, report.unread_lines) == (43, 5)  # three of the odd ones are mappings
    folder = path.parent.parent.parent.parent.parent.parent / "mirror"
    folder.mkdir()
    (folder / "0.jsonl").write_bytes(path.read_bytes())
    with pytest.raises(NotFound, match="No answers"):
        monitors.compare_mirror(workspace, MonitorMirror(endpoint_name="churn", deployment_name="green"))


# --- a real endpoint --------------------------------------------------------------------------------------------------

DEPLOYMENT = """
name: blue
endpoint_name: {endpoint}
model: azureml:{model}@latest
data_collector:
  collections:
    model_inputs:
      enabled: 'True'
    model_outputs:
      enabled: 'True'
    response:
      enabled: true
"""
SCRIPT = """
import json

import pandas as pd
from jupyter_modelreg.monitoring import Collector

def init():
    global inputs
    inputs = Collector(name="model_inputs")

def run(data):
    frame = pd.DataFrame(**json.loads(data))
    inputs.collect(frame)
    return frame["a"].tolist()
"""


@pytest.fixture
def client(home: Path) -> Iterator[MLClient]:
    """A client; its endpoints are deleted afterwards."""
    client = MLClient()
    yield client
    for endpoint in client.online_endpoints.list():
        client.online_endpoints.begin_delete(str(endpoint.name))


def _deploy(client: MLClient, text: str) -> None:
    Path("blue.yml").write_text(text)
    deployment = load_online_deployment("blue.yml")
    client.online_endpoints.begin_create_or_update(OnlineEndpoint(name=str(deployment.endpoint_name)))
    client.online_deployments.begin_create_or_update(deployment)
    client.online_endpoints.begin_create_or_update(OnlineEndpoint(name=str(deployment.endpoint_name), traffic={"blue": 100}))


def _when_written(look: Callable[[], DriftReport], rows: int) -> DriftReport:
    """Return the report when all rows are in it: they are written beside the answers, a moment later."""
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline
        with contextlib.suppress(NotFound):
            report = look()
            if report.live_rows >= rows:
                return report
        time.sleep(0.05)


def test_a_deployment_collects_and_its_model_carries_what_it_was_trained_on(client: MLClient) -> None:
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=500).fit(iris.data, iris.target)
    client.models.register("iris", model, sample=iris.data, training=iris.data)
    _deploy(client, DEPLOYMENT.format(endpoint="iris", model="iris"))
    asked = iris.data.tail(50)
    body = {"input_data": json.loads(asked.to_json(orient="split"))}
    answer = json.loads(client.online_endpoints.invoke("iris", input_data=body))
    report = _when_written(lambda: client.monitors.drift("iris", "blue"), 50)
    assert report.reference == "azureml:iris:1/training_sample.jsonl"
    assert (report.reference_rows, report.live_rows, report.verdict) == (150, 50, "drift")
    assert set(_by_name(report)) == set(iris.data.columns)
    assert [record["0"] for row in _collected(client, "iris", "model_outputs") for record in row["data"]] == answer
    with pytest.raises(ModelRegistryError, match="is missing"):
        client.online_endpoints.invoke("iris", input_data={"input_data": {"columns": ["one"], "data": [[1]]}})
    deadline = time.monotonic() + 20
    while len(rows := _collected(client, "iris", "response")) < 2:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    assert [row["status"] for row in rows] == [200, 400]  # what was refused is in it too
    assert rows[0]["data"] == answer
    assert len({row["xrequestid"] for row in rows}) == 2


def test_a_scoring_script_collects_with_only_its_import_swapped(client: MLClient, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCRIPT)
    (tmp_path / "weights.txt").write_text("none")
    client.models.create_or_update(Model(name="scripted", path="weights.txt"))
    code = "code_configuration: {code: code, scoring_script: score.py}\n"
    _deploy(client, DEPLOYMENT.format(endpoint="scripted", model="scripted") + code)
    for start in (0, 50):
        rows = [[number, "xy"[number % 2]] for number in range(start, start + 50)]
        body = {"columns": ["a", "b"], "index": list(range(50)), "data": rows}
        assert json.loads(client.online_endpoints.invoke("scripted", input_data=body)) == list(range(start, start + 50))
    reference = _write_csv(tmp_path / "training.csv", ["a", "b"], [[number, "xy"[number % 2]] for number in range(100)])
    report = _when_written(lambda: client.monitors.drift("scripted", "blue", reference), 100)
    assert {item.column: (item.kind, item.verdict) for item in report.columns} == {"a": ("numerical", "ok"), "b": ("categorical", "ok")}


def _collected(client: MLClient, endpoint: str, collection: str) -> list[dict[str, Any]]:
    """Return the rows of a deployment's collection."""
    root = Path(client._workspace.datastore_path("workspaceblobstore", "modelDataCollector", endpoint, "blue", collection))
    return [json.loads(line) for path in root.rglob("*.jsonl") for line in path.read_text().splitlines()]


def test_a_mirrors_answers_are_collected_by_the_deployment_that_answers(client: MLClient, tmp_path: Path) -> None:
    client.online_endpoints.begin_create_or_update(OnlineEndpoint(name="mirrored"))
    (tmp_path / "weights.txt").write_text("none")
    client.models.create_or_update(Model(name="scripted", path="weights.txt"))
    for name, added in (("blue", 0), ("green", 1)):
        (tmp_path / name).mkdir()
        script = f"import json\ndef init(): pass\ndef run(data):\n    n = json.loads(data)['n']\n    return [n + {added}]\n"
        (tmp_path / name / "score.py").write_text(script)
        collector = DataCollector(collections={"mirror": DeploymentCollection(enabled=True)}) if name == "blue" else None
        code = CodeConfiguration(code=name, scoring_script="score.py")
        about = {"model": "azureml:scripted:1", "code_configuration": code, "data_collector": collector}
        client.online_deployments.begin_create_or_update(OnlineDeployment(name=name, endpoint_name="mirrored", **about))
    change = OnlineEndpoint(name="mirrored", traffic={"blue": 100}, mirror_traffic={"green": 50})
    client.online_endpoints.begin_create_or_update(change)
    for number in range(40):
        assert json.loads(client.online_endpoints.invoke("mirrored", input_data={"n": number})) == [number]
    report = None
    deadline = time.monotonic() + 20
    while not report or report.requests < 5:  # 20 expected; fewer than 5 once in ten million runs
        assert time.monotonic() < deadline, report
        with contextlib.suppress(NotFound):
            report = client.monitors.mirror("mirrored", "green")
        time.sleep(0.05)
    assert (report.same, report.failed, report.largest_difference, report.mean_difference) == (0, 0, 1.0, 1.0)
    row = _collected(client, "mirrored", "mirror")[0]
    assert row["data"]["mirror"]["body"] == [row["data"]["live"]["body"][0] + 1]


@pytest.mark.parametrize("size", [1, 1999, 2000, 2001, 5000])
def test_of_much_training_data_an_even_sample_is_kept(tmp_path: Path, size: int) -> None:
    monitors.write_sample(str(tmp_path), np.arange(size * 2.0).reshape(size, 2))
    rows = [json.loads(line) for line in (tmp_path / "training_sample.jsonl").read_text().splitlines()]
    assert min(size, 1000) <= len(rows) <= 2000
    assert rows[0] == {"0": 0.0, "1": 1.0}
    assert rows[-1]["0"] >= size * 2 - 8  # the end is in it too, where data is sorted


def test_data_in_memory_is_a_reference_for_python(workspace: Workspace, home: Path) -> None:
    iris = load_iris(as_frame=True).data
    _collect(workspace, json.loads(iris.to_json(orient="records")))
    client = MLClient()
    for data, columns in ((iris, list(iris.columns)), (iris.to_numpy(), ["0", "1", "2", "3"])):
        report = client.monitors.drift("churn", "blue", data)
        assert (report.reference, report.reference_rows) == (f"the {type(data).__name__} given", 150)
        assert {item.column for item in report.columns if item.reference_values} == set(columns)


# --- mirrors ----------------------------------------------------------------------------------------------------------


def _pair(number: int, live: Any, mirrored: Any, status: int = 200, name: str = "green") -> dict[str, Any]:
    difference = abs(live - mirrored) if isinstance(mirrored, float) else None
    sides = {
        "live": {"deployment": "blue", "status": 200, "body": live},
        "mirror": {"deployment": name, "status": status, "body": mirrored},
    }
    return {**sides, "is_same": live == mirrored, "largest_difference": difference}


def test_a_mirror_is_held_against_what_callers_got(workspace: Workspace) -> None:
    for number, pair in enumerate([_pair(0, 1.0, 1.0), _pair(1, 1.0, 3.0), _pair(2, 1.0, "no", 500), _pair(3, 1.0, 9.0, name="red")]):
        path = _collect(workspace, [], collection="mirror")
        row = {"time": f"{time.strftime('%Y-%m-%dT%H:%M', time.gmtime())}:0{number}.000Z", "data": pair, "xrequestid": f"r{number}"}
        with path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
    report = monitors.compare_mirror(workspace, MonitorMirror(endpoint_name="churn", deployment_name="green"))
    said = {name: getattr(report, name) for name in ("requests", "same", "failed", "largest_difference", "mean_difference", "differing")}
    assert said == {"requests": 3, "same": 1, "failed": 1, "largest_difference": 2.0, "mean_difference": 1.0, "differing": ["r2", "r1"]}
    with pytest.raises(NotFound, match="No answers of churn/yellow as a mirror in the last 7d"):
        monitors.compare_mirror(workspace, MonitorMirror(endpoint_name="churn", deployment_name="yellow"))


def test_asking_needs_no_more_than_numpy() -> None:
    script = "import sys; import jupyter_modelreg.monitors, jupyter_modelreg.drift; print([n for n in ('scipy', 'pandas', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
