"""Runs that MLflow itself recorded, in SQLite and in files."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.model import CreateModel, ListModels
from jupyter_modelreg.errors import InvalidInput, NotFound, Unavailable
from jupyter_modelreg.models import create_model, list_models
from jupyter_modelreg.references import parse_reference
from jupyter_modelreg.trees import paths, read_bytes
from jupyter_modelreg.workspace import Workspace

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

MLMODEL = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
PLACES = {"sqlite": "sqlite:///{folder}/tracking.db", "files": "{folder}/runs"}


@pytest.fixture(params=PLACES, scope="module")
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tracking store and the id of a run that MLflow wrote into it in a process of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    place = PLACES[request.param].format(folder=folder)
    (folder / "saved").mkdir()
    (folder / "saved" / "MLmodel").write_text(MLMODEL)
    (folder / "saved" / "model.skops").write_bytes(b"weights")
    code = (
        "import sys; from mlflow import MlflowClient; c = MlflowClient(sys.argv[1]);"
        "run = c.create_run(c.create_experiment('e', artifact_location=sys.argv[2])).info.run_id;"
        "c.log_artifacts(run, sys.argv[3], 'deep/model'); print(run)"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, place, f"file:{folder}/artifacts", str(folder / "saved")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"})
    return place, done.stdout.split()[-1]


@pytest.fixture
def run(recorded: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", recorded[0])
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    return recorded[1]


def scratches() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("modelreg-run-")}


def test_a_model_of_a_run_is_registered_with_its_flavor_and_its_run(workspace: Workspace, run: str) -> None:
    created = create_model(workspace, CreateModel(name="churn", path=f"runs:/{run}/deep/model"))
    assert (created.type, created.flavor, created.job_name) == ("mlflow_model", "mlflow", run)
    assert created.path == f"runs:/{run}/deep/model"
    assert list(created.flavors) == ["python_function"]
    tree = workspace.open_version("churn", "1", None)
    assert (tree.root, list(paths(tree))) == ("model", ["MLmodel", "model.skops"])
    assert read_bytes(tree, "model.skops") == b"weights"


def test_one_file_of_a_run_is_a_file(workspace: Workspace, run: str) -> None:
    tree = workspace.open_tree(parse_reference(f"runs:/{run}/deep/model/model.skops"))
    assert (tree.root, tree.is_file) == ("model.skops", True)


def test_nothing_is_left_behind(workspace: Workspace, run: str) -> None:
    before, variables = scratches(), dict(os.environ)
    tree: Any = workspace.open_tree(parse_reference(f"runs:/{run}/deep/model"))
    assert len(scratches() - before) == 1
    del tree
    gc.collect()
    with pytest.raises(NotFound):
        workspace.open_tree(parse_reference(f"runs:/{run}/nope"))
    assert scratches() == before
    assert dict(os.environ) == variables


@pytest.mark.parametrize("path", ["nope", "deep/nope"])
def test_an_artifact_it_does_not_have_is_not_found(workspace: Workspace, run: str, path: str) -> None:
    with pytest.raises(NotFound, match=f"has no runs:/{run}/{path}: ") as caught:
        create_model(workspace, CreateModel(name="churn", path=f"runs:/{run}/{path}"))
    assert "\n" not in caught.value.message
    assert list_models(workspace, ListModels()) == []


@pytest.mark.parametrize("other", ["0" * 32, "no-such-run"])
def test_a_run_it_does_not_have_is_not_found(workspace: Workspace, run: str, other: str) -> None:
    with pytest.raises(NotFound, match=f"has no runs:/{other}/model: "):
        create_model(workspace, CreateModel(name="churn", path=f"runs:/{other}/model"))


def test_a_whole_run_is_no_model(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="names a whole run; name the model in it, for example runs:/abc/model"):
        workspace.open_tree(parse_reference("runs:/abc"))


@pytest.mark.parametrize("place", ["sqlite:///{folder}/none.db", "file:{folder}/none", "{folder}/none"])
def test_a_tracking_store_that_is_not_there_is_not_made(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.format(folder=tmp_path))
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match=r"there is no tracking store at .*none.*\. Set MLFLOW_TRACKING_URI"):
        workspace.open_tree(parse_reference("runs:/abc/model"))
    assert list(tmp_path.glob("none*")) == []


def test_a_tracking_server_that_does_not_answer_is_unavailable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"MLflow at http://127.0.0.1:9 cannot give runs:/abc/model: ") as caught:
        workspace.open_tree(parse_reference("runs:/abc/model"))
    assert "\n" not in caught.value.message
