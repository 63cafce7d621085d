"""Rows of requests and answers: what they say, where they lie, and that they are never in the way."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_modelreg import monitoring
from jupyter_modelreg.entities import DataCollector
from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.records import from_dict
from jupyter_modelreg.serving import collection
from jupyter_modelreg.serving.collection import Collector, append, compare_answers, to_records
from jupyter_modelreg.serving.http import Request, Response

SIGNATURE = Signature(inputs=[ColumnSpec(name="age"), ColumnSpec(name="income")])
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _settings(*names: str, **others: Any) -> DataCollector:
    return from_dict(DataCollector, {"collections": {name: {"enabled": "True"} for name in names}, **others})


def _request(body: bytes = b'{"input_data": [[1, 2]]}', **headers: str) -> Request:
    return Request("POST", "/score", "", {name.replace("_", "-"): text for name, text in headers.items()}, body)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a collector which writes below ``tmp_path``."""
    started: list[Collector] = []

    def begin(settings: DataCollector, instance: str = "run-1-0", **about: Any) -> Collector:
        collector = Collector.from_settings(settings, str(tmp_path), "churn", "blue", instance, **about)
        assert collector
        started.append(collector)
        return collector

    yield begin
    collection.set_running(None)
    for collector in started:
        collector.close()


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    root = folder / "modelDataCollector" / "churn" / "blue" / name
    return [json.loads(line) for path in sorted(root.rglob("*.jsonl")) for line in path.read_text().splitlines()]


def test_inputs_and_outputs_of_a_request_are_rows_of_azures_form(start: Any, tmp_path: Path) -> None:
    collector = start(_settings("model_inputs", "model_outputs"), signature=SIGNATURE, version="3")
    collector.offer("request-7", np.array([[31.0, 1.5], [32.0, float("nan")]]), np.array([0, 1]), _request(), Response(body=b"[0, 1]"))
    collector.close()
    (inputs,), (outputs,) = _rows(tmp_path, "model_inputs"), _rows(tmp_path, "model_outputs")
    assert inputs.pop("id") != outputs.pop("id")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", inputs["time"])
    common = {
        "specversion": "1.0",
        "source": "/onlineEndpoints/churn/deployments/blue",
        "datacontenttype": "application/json",
        "time": inputs["time"],
        "correlationid": "request-7",
        "xrequestid": "request-7",
        "modelversion": "3",
        "collectdatatype": "numpy.ndarray",
        "agent": "jupyter-modelreg/0.1.0",
    }
    data = [{"age": 31.0, "income": 1.5}, {"age": 32.0, "income": None}]
    assert inputs == {**common, "type": "azureml.inference.model_inputs", "data": data}
    assert outputs == {**common, "type": "azureml.inference.model_outputs", "data": [{"0": 0}, {"0": 1}]}


@pytest.mark.parametrize(
    ("rate", "pattern"),
    [("year", "%Y"), ("month", "%Y/%m"), ("day", "%Y/%m/%d"), ("hour", "%Y/%m/%d/%H"), ("minute", "%Y/%m/%d/%H/%M")],
)
def test_rows_lie_below_the_default_datastore_by_time_and_are_their_owners_alone(
    start: Any, tmp_path: Path, rate: str, pattern: str
) -> None:
    before = time.time()
    collector = start(_settings("request", rolling_rate=rate))
    collector.offer("a", None, None, _request(), Response())
    collector.close()
    root = tmp_path / "modelDataCollector" / "churn" / "blue" / "request"
    places = {root / time.strftime(pattern, time.gmtime(moment)) / "run-1-0.jsonl" for moment in (before, time.time())}
    (path,) = root.rglob("*.jsonl")
    assert path in places
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, root, tmp_path / "modelDataCollector")] == [0o700] * 3


def test_a_collection_lies_where_its_data_says(start: Any, tmp_path: Path) -> None:
    where = "azureml://datastores/workspaceblobstore/paths/elsewhere/in"
    settings = from_dict(DataCollector, {"collections": {"request": {"enabled": True, "data": {"path": where}}}})
    collector = start(settings)
    collector.offer("a", None, None, _request(), Response())
    collector.close()
    assert [path.name for path in (tmp_path / "elsewhere" / "in").rglob("*.jsonl")] == ["run-1-0.jsonl"]
    assert not (tmp_path / "modelDataCollector").exists()


def test_nothing_enabled_starts_nothing(tmp_path: Path) -> None:
    off = from_dict(DataCollector, {"collections": {"model_inputs": {"enabled": "False"}}})
    for settings in (None, off, _settings()):
        assert Collector.from_settings(settings, str(tmp_path), "churn", "blue", "0") is None
    assert not list(tmp_path.iterdir())


def test_bodies_are_written_with_the_headers_that_were_asked_for_and_never_with_a_secret(start: Any, tmp_path: Path) -> None:
    settings = _settings("request", "response", request_logging={"capture_headers": ["X-Tenant", "x-other"]})
    # A catalog edited by hand gets no further than a person.
    settings.request_logging.capture_headers.append("Authorization")
    collector = start(settings)
    collector.offer(
        "a", None, None, _request(x_tenant="north", authorization="Bearer KEY"), Response(status=500, body=b'{"message": "no"}')
    )
    collector.offer("b", None, None, _request(b"a,b\n1,2"), Response(body=b"\xff\x00"))
    collector.close()
    first, second = _rows(tmp_path, "request")
    assert (first["data"], first["headers"]) == ({"input_data": [[1, 2]]}, {"x-tenant": "north"})
    assert (second["data"], "headers" in second) == ("a,b\n1,2", False)
    answers = _rows(tmp_path, "response")
    assert [(row["data"], row["status"]) for row in answers] == [({"message": "no"}, 500), ({"size_bytes": 2}, 200)]
    assert "KEY" not in "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_a_failed_request_has_no_rows_of_the_model(start: Any, tmp_path: Path) -> None:
    collector = start(_settings("model_inputs", "response"))
    collector.offer("a", np.zeros((1, 2)), None, _request(), Response(status=400))
    collector.close()
    assert (_rows(tmp_path, "model_inputs"), len(_rows(tmp_path, "response"))) == ([], 1)


def test_a_sample_is_of_requests_whose_rows_go_together(start: Any, tmp_path: Path) -> None:
    for instance in ("run-1-0", "run-1-1"):  # two processes decide alike
        collector = start(_settings("model_inputs", "model_outputs", "mirror", sampling_rate=0.25), instance)
        for number in range(2000):
            collector.offer(f"request-{number}", np.zeros((1, 1)), np.zeros(1), _request(), Response())
            collector.offer_mirror(f"request-{number}", ("blue", Response(body=b"[1]")), ("green", Response(body=b"[1]")))
        collector.close()
    ids = {name: sorted(row["correlationid"] for row in _rows(tmp_path, name)) for name in ("model_inputs", "model_outputs", "mirror")}
    assert ids["model_inputs"] == ids["model_outputs"] == ids["mirror"]
    assert 850 < len(ids["mirror"]) < 1150  # a quarter of 4,000, by a hash that draws well
    assert all(ids["mirror"].count(name) == 2 for name in ids["mirror"])


def test_a_rate_of_nothing_writes_nothing(start: Any, tmp_path: Path) -> None:
    collector = start(_settings("request", sampling_rate=0))
    collector.offer("a", None, None, _request(), Response())
    collector.close()
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_disk_that_hangs_costs_rows_and_no_time(start: Any, tmp_path: Path) -> None:
    hanging = threading.Event()
    collector = start(_settings("request"))
    collector._put(0, lambda: hanging.wait(60) and [])  # the thread is in a system call that does not come back
    begin = time.perf_counter()
    for number in range(collection.MAX_WAITING + 500):
        collector.offer(str(number), None, None, _request(), Response())
    seconds = time.perf_counter() - begin
    assert collector.dropped in (500, 501)  # the first may be with the thread already, and still counts
    assert seconds < 5
    hanging.set()
    collector.close(30)
    assert len(_rows(tmp_path, "request")) == collector.collected == collection.MAX_WAITING + 500 - collector.dropped


def test_what_waits_is_bounded_in_bytes_too(start: Any) -> None:
    hanging = threading.Event()
    collector = start(_settings("request"))
    collector._put(0, lambda: hanging.wait(60) and [])
    large = _request(bytes(16 << 20))
    for _ in range(10):
        collector.offer("a", None, None, large, Response())
    assert collector.dropped == 6
    hanging.set()


def test_a_row_of_ten_megabytes_is_counted_and_its_neighbours_are_written(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector = start(_settings("request"))
    for body in (b"1", b'"' + b"x" * (10 << 20) + b'"', b"2"):
        collector.offer("a", None, None, _request(body), Response())
    collector.close()
    assert [row["data"] for row in _rows(tmp_path, "request")] == [1, 2]
    assert (collector.collected, collector.dropped) == (2, 1)
    counts = [line for line in collector.metrics_text("blue").splitlines() if not line.startswith("#")]
    assert counts == ['modelreg_collected_rows_total{deployment="blue"} 2', 'modelreg_collection_lost_total{deployment="blue"} 1']
    assert "it takes 10 MB, and a row at most 4" in caplog.text


class _Odd:
    """A value of somebody's own class."""

    def tolist(self) -> list[Any]:
        raise RuntimeError("I raise what I like")


def test_values_that_raise_are_counted_and_said_once(start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collector = start(_settings("model_inputs"))
    for number in range(20):
        collector.offer(str(number), _Odd() if number % 2 else [[number]], [0], _request(), Response())
    collector.close()
    assert (len(_rows(tmp_path, "model_inputs")), collector.dropped) == (10, 10)
    assert [record.getMessage() for record in caplog.records if record.name == collection.__name__] == [
        "Rows of the data collection are lost, requests are answered as before: "
        "a request cannot be written as JSON: RuntimeError: I raise what I like"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk of 64 KB")
def test_a_full_disk_is_said_once_and_leaves_whole_lines(start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = tmp_path / "modelDataCollector"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", small], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        collector = start(_settings("request"))
        for number in range(5):
            collector.offer(str(number), None, None, _request(b'"' + b"x" * 20_000 + b'"'), Response())
            time.sleep(1.5 * collection.GATHER_SECONDS)
        lost = collector.dropped
        assert 0 < lost < 5
        (path,) = small.rglob("*.jsonl")
        assert all(json.loads(line)["data"] for line in path.read_text().splitlines())
        path.unlink()
        collector.offer("after", None, None, _request(), Response())
        collector.close()
        assert [row["correlationid"] for row in _rows(tmp_path, "request")] == ["after"]
        assert collector.dropped == lost
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert errors[0].endswith("No space left on device")
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_line_torn_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a" / "0.jsonl"
    append(str(path), b'{"n": 1}\n')
    with path.open("ab") as stream:
        stream.write(b'{"n": 2, "da')
    append(str(path), b'{"n": 3}\n')
    assert path.read_text().splitlines() == ['{"n": 1}', '{"n": 2, "da', '{"n": 3}']


# --- scoring scripts --------------------------------------------------------------------------------------------------

AZURES_SCRIPT = """
import pandas as pd
from azureml.ai.monitoring import Collector

def init():
    global inputs_collector, outputs_collector
    inputs_collector = Collector(name='model_inputs')
    outputs_collector = Collector(name='model_outputs', on_error=lambda e: print(e))

def run(data):
    input_df = pd.DataFrame(data)
    context = inputs_collector.collect(input_df)
    input_df['a'] = 0  # a script may go on with its own frame
    output_df = pd.DataFrame({'y': [7.5]})
    outputs_collector.collect(output_df, context)
    return output_df.to_dict()
"""


def test_a_script_collects_frames_under_one_context_with_only_its_import_swapped(start: Any, tmp_path: Path) -> None:
    """Azure's own example. Source: "Collect production data from models", custom logging."""
    collection.set_running(start(_settings("model_inputs", "model_outputs"), is_script=True))
    names: dict[str, Any] = {}
    exec(AZURES_SCRIPT.replace("azureml.ai.monitoring", "jupyter_modelreg.monitoring"), names)
    names["init"]()
    assert names["run"]({"a": [1], "b": ["x"]}) == {"y": {0: 7.5}}
    collector = collection.running()
    assert collector
    collector.offer("request", "the body", {"y": 7.5}, _request(), Response())  # the script collects, nobody else
    collector.close()
    (inputs,), (outputs,) = _rows(tmp_path, "model_inputs"), _rows(tmp_path, "model_outputs")
    assert (inputs["data"], outputs["data"]) == ([{"a": 1, "b": "x"}], [{"y": 7.5}])
    assert inputs["correlationid"] == outputs["correlationid"] == inputs["xrequestid"]
    assert UUID.fullmatch(inputs["correlationid"])
    assert inputs["collectdatatype"] == "pandas.core.frame.DataFrame"


def test_what_cannot_be_collected_is_said_and_the_context_comes_back(start: Any) -> None:
    context = monitoring.BasicCorrelationContext(id="mine")
    with pytest.raises(InvalidInput, match=r"has no data_collector\.collections\.model_inputs\."):
        monitoring.Collector(name="model_inputs")
    collection.set_running(start(_settings("model_inputs"), is_script=True))
    with pytest.raises(InvalidInput, match=r"collections\.other\.enabled is not true"):
        monitoring.Collector(name="other")
    with pytest.raises(InvalidInput, match="A collection has a name"):
        monitoring.Collector(name="")
    collector = monitoring.Collector(name="Model_Inputs")
    for value in ({"a": [1]}, np.zeros(2), pd.Series([1]), "text", None):
        with pytest.raises(InvalidInput, match=f"takes a pandas DataFrame, not {type(value).__name__}"):
            collector.collect(value, context)
    said: list[Exception] = []
    assert monitoring.Collector(name="model_inputs", on_error=said.append).collect([1], context) is context
    assert [str(error) for error in said] == ['The collection "model_inputs" takes a pandas DataFrame, not list.']
    assert str(context) == context.get_id() == "mine"


def test_asking_for_a_collection_imports_no_pandas() -> None:
    script = (
        "import sys; from jupyter_modelreg.monitoring import Collector; said = []\n"
        "Collector(name='a', on_error=said.append).collect(3)\n"
        "print(len(said), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"], done.stderr


# --- values -----------------------------------------------------------------------------------------------------------

NAMED = [ColumnSpec(name="a"), ColumnSpec(name="b")]


@pytest.mark.parametrize(
    ("values", "columns", "records"),
    [
        (pd.DataFrame({"a": [1, 2], 3: ["x", None]}), NAMED, [{"a": 1, "3": "x"}, {"a": 2, "3": None}]),
        (np.array([[1, 2], [3, 4]]), NAMED, [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        (np.array([[1, 2, 3]]), NAMED, [{"0": 1, "1": 2, "2": 3}]),
        (np.array([1.5, np.inf]), [], [{"0": 1.5}, {"0": None}]),
        (["yes", "no"], [ColumnSpec(name="label")], [{"label": "yes"}, {"label": "no"}]),
        (np.zeros((1, 2, 2)), [ColumnSpec(name="image")], [{"0": [[0.0, 0.0], [0.0, 0.0]]}]),
        ({"x": np.array([[1], [2]]), "y": np.array([5, 6])}, [], [{"x": [1], "y": 5}, {"x": [2], "y": 6}]),
        ({"x": np.array([1, 2]), "y": np.array([5])}, [], [{"x": [1, 2], "y": [5]}]),
        ([{"a": 1}, {"b": 2}], [], [{"a": 1}, {"b": 2}]),
        (7, [], [{"0": 7}]),
        ([], NAMED, []),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-02", None])}), [], [{"t": "2026-01-02T00:00:00"}, {"t": None}]),
    ],
)
def test_values_become_records(values: Any, columns: list[ColumnSpec], records: list[Any]) -> None:
    assert to_records(values, columns) == records


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2.5], [1, 2.5], (True, 0.0)),
        ([1, 2.5], [1.5, 2], (False, 0.5)),
        ({"a": [1, "x"]}, {"a": [3, "x"]}, (False, 2)),
        ({"a": [1, "x"]}, {"a": [3, "y"]}, (False, 2)),
        ([1, 2], [1], (False, None)),
        ({"a": 1}, {"b": 1}, (False, None)),
        ("yes", "yes", (True, None)),
        (True, 1, (True, None)),
        ([1], {"message": "no"}, (False, None)),
    ],
)
def test_answers_are_compared_place_by_place(first: Any, second: Any, expected: tuple[bool, float | None]) -> None:
    assert compare_answers(first, second) == expected


def test_a_mirrors_answer_is_written_beside_the_live_one(start: Any, tmp_path: Path) -> None:
    collector = start(_settings("mirror"))
    collector.offer_mirror("a", ("blue", Response(body=b"[1.0, 2.0]")), ("green", Response(body=b"[1.0, 2.5]")))
    collector.offer_mirror("b", ("blue", Response(body=b"[1.0]")), ("green", Response(status=500, body=b'{"message": "no"}')))
    collector.close()
    first, second = _rows(tmp_path, "mirror")
    assert first["data"] == {
        "live": {"deployment": "blue", "status": 200, "body": [1.0, 2.0]},
        "mirror": {"deployment": "green", "status": 200, "body": [1.0, 2.5]},
        "is_same": False,
        "largest_difference": 0.5,
    }
    assert (second["data"]["mirror"]["status"], second["data"]["is_same"]) == (500, False)
