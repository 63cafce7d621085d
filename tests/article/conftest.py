"""The files, the run and the job that the article supposes."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.doors import cli
from jupyter_modelreg.doors.client import MLClient

Az = Callable[[str], Any]


@pytest.fixture
def az(home: Path) -> Iterator[Az]:
    """Run a line of the article: ``az ml`` becomes ``modelreg``, the answer's JSON is parsed."""

    def run(line: str) -> Any:
        words = shlex.split(line.replace("\\\n", " "))
        assert words[:2] == ["az", "ml"]
        text = cli.run([*words[2:], *([] if "-o" in words or "--output" in words else ["-o", "json"])])
        return json.loads(text) if text and "-o" not in words else text

    yield run
    for endpoint in json.loads(cli.run(["online-endpoint", "list", "-o", "json"])):
        cli.run(["online-endpoint", "delete", "--name", endpoint["name"], "--yes"])


@pytest.fixture
def ml_client(az: Az) -> MLClient:
    """The client that the article's snippets suppose."""
    return MLClient.from_config(credential=None)


@pytest.fixture
def mlflow_model(tmp_path: Path) -> Path:
    """``mlflow-model``: a folder that mlflow itself saved, with ``model.pkl`` in it."""
    folder = tmp_path / "mlflow-model"
    with _quiet_mlflow() as mlflow:
        mlflow.sklearn.save_model(_trained(), folder, serialization_format="pickle")
    return folder


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A finished MLflow run with a model under ``model``."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with _quiet_mlflow() as mlflow, mlflow.start_run() as run:
        mlflow.sklearn.log_model(_trained(), name="model", serialization_format="pickle")
    return str(run.info.run_id)


@contextmanager
def _quiet_mlflow() -> Iterator[Any]:
    """MLflow warns of its own type hints and of the format that the article uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn

        yield mlflow


def _trained() -> Any:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    samples, species = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=1000).fit(samples, species)
