"""The files, the run and the job that the article supposes."""

from __future__ import annotations

import json
import shlex
import shutil
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


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that mlflow itself saved, with ``model.pkl`` in it."""
    folder = tmp_path_factory.mktemp("saved") / "mlflow-model"
    with _quiet_mlflow() as mlflow:
        mlflow.sklearn.save_model(_trained(), folder, serialization_format="pickle")
    return folder


@pytest.fixture
def mlflow_model(saved: Path, tmp_path: Path) -> Path:
    """The same as ``mlflow-model`` in the working directory."""
    return Path(shutil.copytree(saved, tmp_path / "mlflow-model"))


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tracking store, which takes MLflow seconds to make, and a finished run in it with a model under ``model``."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # artifacts go below the working directory
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        with _quiet_mlflow() as mlflow, mlflow.start_run() as run:
            mlflow.sklearn.log_model(_trained(), name="model", serialization_format="pickle")
    return f"sqlite:///{folder / 'mlflow.db'}", str(run.info.run_id)


@pytest.fixture
def run_id(tracked: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The run, in the store that MLflow asks."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked[0])
    return tracked[1]


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
