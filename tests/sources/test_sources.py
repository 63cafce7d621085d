"""From a reference to a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.commands.model import CreateModel, DeleteModel
from jupyter_modelreg.commands.workspace import ListDatastores, ShowDatastore
from jupyter_modelreg.datastores import list_datastores, show_datastore
from jupyter_modelreg.errors import Corrupted, InvalidInput, NotFound
from jupyter_modelreg.models import create_model, delete_model
from jupyter_modelreg.references import parse_reference
from jupyter_modelreg.sources import _SOURCES, open_tree
from jupyter_modelreg.trees import paths, read_bytes
from jupyter_modelreg.workspace import Workspace

STORE = "azureml://datastores/workspaceblobstore/paths/"


@pytest.fixture
def datastore(workspace: Workspace) -> Path:
    folder = Path(workspace.datastore_path("workspaceblobstore"))
    (folder / "models" / "m").mkdir(parents=True)
    (folder / "models" / "m" / "w.bin").write_text("one")
    return folder


def open_text(workspace: Workspace, text: str) -> tuple[str, list[str]]:
    tree = workspace.open_tree(parse_reference(text))
    return tree.root, list(paths(tree))


LATER = {
    "azureml://jobs/j1/outputs/artifacts/paths/model": 'There is no job "j1"; jobs come in a later version.',
    "azureml://registries/r/models/m/versions/1": 'There is no registry "r"; registries come in a later version.',
    "https://example.org/m.onnx": "https://example.org/m.onnx is not on this machine; download it and register the file.",
    "abfss://c@account.dfs.core.windows.net/m": "is not on this machine",
    "azureml://feeds/f/x": "is not on this machine",
}


@pytest.mark.parametrize(("text", "said"), LATER.items())
def test_what_comes_later_is_not_found_in_clear_words(workspace: Workspace, text: str, said: str) -> None:
    with pytest.raises(NotFound) as caught:
        workspace.open_tree(parse_reference(text))
    assert said in caught.value.message


def test_every_kind_of_reference_has_its_row() -> None:
    from jupyter_modelreg import references

    kinds = {kind for kind in vars(references).values() if isinstance(kind, type) and issubclass(kind, references.Reference)}
    assert set(_SOURCES) == kinds - {references.Reference}


# --- the default datastore --------------------------------------------------------------------------------------------


def test_the_default_datastore_is_a_folder(workspace: Workspace, datastore: Path) -> None:
    assert open_text(workspace, f"{STORE}models/m") == ("m", ["w.bin"])
    assert open_text(workspace, f"{STORE}models/m/w.bin/") == ("w.bin", ["w.bin"])
    long = "azureml://subscriptions/s/resourceGroups/g/workspaces/w/datastores/workspaceblobstore/paths/models/m"
    assert open_text(workspace, long) == ("m", ["w.bin"])


def test_the_default_datastore_is_listed_and_shown(workspace: Workspace) -> None:
    (listed,) = list_datastores(workspace, ListDatastores())
    assert listed == show_datastore(workspace, ShowDatastore(name="workspaceblobstore"))
    assert (listed.name, listed.is_default) == ("workspaceblobstore", True)
    assert listed.path == workspace.datastore_path("workspaceblobstore")
    with pytest.raises(NotFound, match='There is no datastore "mine"'):
        show_datastore(workspace, ShowDatastore(name="mine"))


def test_another_datastore_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match='There is no datastore "mine"; this version has one, "workspaceblobstore"'):
        open_text(workspace, "azureml://datastores/mine/paths/x")


def test_a_path_it_does_not_have_says_where_its_files_lie(workspace: Workspace, datastore: Path) -> None:
    with pytest.raises(NotFound, match=f'has no "nope"; its files lie in {datastore}'):
        open_text(workspace, f"{STORE}nope")


def test_a_link_that_leads_out_of_the_datastore_is_refused(workspace: Workspace, datastore: Path) -> None:
    (datastore / "out").symlink_to("/etc")
    (datastore / "beside").symlink_to(datastore.parent)
    for path in ("out", "out/hostname", "beside"):
        with pytest.raises(InvalidInput, match="leads out of the datastore"):
            open_text(workspace, f"{STORE}{path}")


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def churn(workspace: Workspace, datastore: Path) -> str:
    created = create_model(workspace, CreateModel(name="churn", path=f"{STORE}models/m"))
    copied = create_model(workspace, CreateModel(name="churn", path=str(datastore / "models" / "m")))
    assert copied.digest == created.digest
    return str(copied.path)


@pytest.mark.parametrize(
    "text",
    [
        "azureml:churn:1",
        "azureml:churn@latest",
        "azureml:churn:latest",
        "azureml:churn",
        "azureml://models/churn/versions/1",
        "azureml://locations/l/workspaces/w/models/churn/versions/1",
        "azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/models/churn/versions/1",
        "models:/churn/1",
        "models:/churn@latest",
    ],
)
def test_every_spelling_of_a_version_opens_it(workspace: Workspace, churn: str, text: str) -> None:
    assert open_text(workspace, text) == ("m", ["w.bin"])


def test_the_path_that_show_prints_leads_back(workspace: Workspace, churn: str) -> None:
    assert open_text(workspace, churn) == ("m", ["w.bin"])
    assert open_text(workspace, churn.rpartition("/")[0]) == ("m", ["w.bin"])
    with pytest.raises(NotFound, match=r'has no "m/w.bin"; it holds "m", as a whole'):
        open_text(workspace, f"{churn}/w.bin")
    for digest in ("x", "0" * 64, "f" * 300):
        with pytest.raises(NotFound, match="no manifest"):
            open_text(workspace, f"{STORE}LocalUpload/{digest}/m")


def test_a_version_that_is_not_there_is_not_found(workspace: Workspace, churn: str) -> None:
    for text in ("azureml:churn:9", "azureml:churn@prod", "azureml:chrun:1"):
        with pytest.raises(NotFound):
            open_text(workspace, text)


def test_a_deleted_version_is_not_found(workspace: Workspace, churn: str) -> None:
    delete_model(workspace, DeleteModel(name="churn", version="1", yes=True))
    with pytest.raises(NotFound):
        open_text(workspace, "azureml:churn:1")


def test_a_copy_of_a_damaged_version_is_refused(workspace: Workspace, churn: str) -> None:
    version = workspace.catalog.get_version("churn", "1")
    blob = workspace.store.open_tree(workspace.store.load_manifest(str(version.digest))).local_path("w.bin")
    Path(str(blob)).unlink()
    with pytest.raises(Corrupted, match=r"w\.bin is missing from the store /"):
        create_model(workspace, CreateModel(name="copy", path="azureml:churn:1"))


def test_a_source_opens_by_itself(workspace: Workspace, datastore: Path) -> None:
    assert read_bytes(open_tree(workspace, parse_reference(f"{STORE}models/m/w.bin")), "w.bin") == b"one"
