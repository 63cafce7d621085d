"""Operations on models, told through the table with real files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.model import (
    ArchiveModel,
    CompareModels,
    CreateModel,
    DeleteModel,
    DownloadModel,
    ListModels,
    RestoreModel,
    ShowModel,
    UpdateModel,
)
from jupyter_modelreg.entities import Lineage, Model
from jupyter_modelreg.errors import Conflict, Corrupted, InvalidInput, NotFound, Refused, UnsafeModel
from jupyter_modelreg.models import (
    archive_model,
    compare_models,
    create_model,
    delete_model,
    download_model,
    list_models,
    load_model,
    register_object,
    restore_model,
    show_model,
    update_model,
)
from jupyter_modelreg.workspace import Workspace


@pytest.fixture
def churn(workspace: Workspace, tmp_path: Path) -> Model:
    """Version 1 of churn, a folder of two files."""
    (tmp_path / "weights" / "deep").mkdir(parents=True)
    (tmp_path / "weights" / "a.txt").write_text("one")
    (tmp_path / "weights" / "deep" / "b.txt").write_text("two")
    return create_model(workspace, CreateModel(name="churn", path="weights", tags={"stage": "dev"}))


def classifier(**options: Any) -> tuple[Any, Any]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer(as_frame=True)
    return make_pipeline(StandardScaler(), LogisticRegression(**options)).fit(data.data, data.target), data.data


def names(models: list[Model]) -> list[str]:
    return [f"{item.name}:{item.version}" for item in models]


def test_a_version_remembers_who_when_and_what(churn: Model) -> None:
    assert (churn.name, churn.version, churn.type) == ("churn", "1", "custom_model")
    assert churn.size_bytes == 6
    assert churn.creation_context
    assert str(churn.creation_context.created_at).endswith("Z")
    assert str(churn.path).startswith("azureml://datastores/workspaceblobstore/paths/LocalUpload/")


def test_neither_file_nor_path_is_azures_own_error(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="Please provide either --file/-f or --name/-n and --path/-p"):
        create_model(workspace, CreateModel(name="churn"))


def test_a_path_that_does_not_exist_changes_nothing(workspace: Workspace, churn: Model) -> None:
    with pytest.raises(NotFound, match="wieghts"):
        create_model(workspace, CreateModel(name="churn", path="wieghts"))
    assert names(list_models(workspace, ListModels(name="churn"))) == ["churn:1"]


def test_the_path_of_a_version_leads_back_to_its_files(workspace: Workspace, churn: Model) -> None:
    again = create_model(workspace, CreateModel(name="copy", path=str(churn.path)))
    assert again.digest == churn.digest


def test_a_version_can_be_made_of_another(workspace: Workspace, churn: Model) -> None:
    copy = create_model(workspace, CreateModel(name="copy", path="azureml:churn@latest"))
    assert (copy.digest, copy.path) == (churn.digest, "azureml:churn@latest")


def test_a_model_registers_from_the_default_datastore(workspace: Workspace) -> None:
    folder = Path(workspace.datastore_path("workspaceblobstore")) / "models"
    folder.mkdir(parents=True)
    (folder / "m.txt").write_text("x")
    reference = "azureml://datastores/workspaceblobstore/paths/models/m.txt"
    assert create_model(workspace, CreateModel(name="stored", path=reference)).path == reference


def test_show_lists_files_and_takes_the_latest_by_itself(workspace: Workspace, churn: Model) -> None:
    shown = show_model(workspace, ShowModel(name="churn"))
    assert [item.path for item in shown.files or []] == ["a.txt", "deep/b.txt"]
    assert shown.endpoints == []
    assert shown.scan
    assert shown.scan.verdict == "data-only"


@pytest.mark.parametrize("name", ["churn:1", "churn@latest", "azureml:churn:1", "azureml:churn:latest"])
def test_a_name_may_carry_its_version_or_label(workspace: Workspace, churn: Model, name: str) -> None:
    assert show_model(workspace, ShowModel(name=name)).version == "1"


def test_only_the_mutable_fields_change(workspace: Workspace, churn: Model) -> None:
    changed = update_model(workspace, UpdateModel(name="churn", set=["tags.stage=prod", "description=Better"], add=["properties a=b"]))
    assert (changed.tags, changed.description, changed.properties) == ({"stage": "prod"}, "Better", {"a": "b"})
    for change in ("path=elsewhere", "type=mlflow_model", "version=7", "digest=x"):
        with pytest.raises(InvalidInput, match="never changes after registration"):
            update_model(workspace, UpdateModel(name="churn", set=[change]))
    assert update_model(workspace, UpdateModel(name="churn", remove=["tags.stage"])).tags == {}


def test_archiving_a_model_hides_every_version_and_new_ones(workspace: Workspace, churn: Model) -> None:
    archive_model(workspace, ArchiveModel(name="churn"))
    assert list_models(workspace, ListModels()) == []
    newer = create_model(workspace, CreateModel(name="churn", path="weights"))
    assert newer.is_archived
    with pytest.raises(Conflict, match="restore"):
        restore_model(workspace, RestoreModel(name="churn:1"))
    restore_model(workspace, RestoreModel(name="churn"))
    assert "churn:1" in names(list_models(workspace, ListModels(name="churn")))


def test_a_download_is_what_was_registered(workspace: Workspace, churn: Model, tmp_path: Path) -> None:
    done = download_model(workspace, DownloadModel(name="churn", download_path=str(tmp_path / "out")))
    assert (tmp_path / "out" / "churn" / "weights" / "deep" / "b.txt").read_text() == "two"
    assert sorted(done.files) == ["weights/a.txt", "weights/deep/b.txt"]


def test_a_damaged_file_is_not_handed_out(workspace: Workspace, churn: Model, tmp_path: Path) -> None:
    file = (show_model(workspace, ShowModel(name="churn")).files or [])[0]
    blob = next((Path(workspace.home) / "store" / "blobs").rglob(file.digest))
    blob.chmod(0o644)
    blob.write_text("eno")
    with pytest.raises(Corrupted, match=r"a\.txt"):
        download_model(workspace, DownloadModel(name="churn", download_path=str(tmp_path / "out")))
    assert not (tmp_path / "out" / "churn" / "weights" / "a.txt").exists()


def test_a_deleted_number_is_never_used_again(workspace: Workspace, churn: Model) -> None:
    assert delete_model(workspace, DeleteModel(name="churn", version="1")).names == ["churn:1"]
    with pytest.raises(Conflict, match="cannot be recreated"):
        create_model(workspace, CreateModel(name="churn", version="1", path="weights"))
    assert create_model(workspace, CreateModel(name="churn", path="weights")).version == "2"


def test_a_live_object_comes_back_alive(workspace: Workspace) -> None:
    model, frame = classifier()
    registered = register_object(
        workspace, CreateModel(name="cancer"), model, sample=frame, metrics={"accuracy": 0.98}, lineage=Lineage(code="fit()")
    )
    assert (registered.flavor, registered.metrics) == ("sklearn", {"accuracy": 0.98})
    assert registered.signature
    assert registered.signature.inputs[0].name == "mean radius"
    assert registered.scan
    assert registered.scan.verdict == "data-only"
    loaded = load_model(workspace, ShowModel(name="cancer"))
    assert (loaded.predict(frame) == model.predict(frame)).all()


def test_an_object_without_a_safe_format_is_refused_until_allowed(workspace: Workspace) -> None:
    with pytest.raises(Refused, match="allow"):
        register_object(workspace, CreateModel(name="odd"), lambda rows: rows)
    assert list_models(workspace, ListModels()) == []
    with pytest.warns(UserWarning, match="pickle"):
        register_object(workspace, CreateModel(name="odd"), lambda rows: rows, allow_pickle=True)
    with pytest.raises(UnsafeModel, match="trust"):
        load_model(workspace, ShowModel(name="odd"))
    assert load_model(workspace, ShowModel(name="odd"), trust=True)(3) == 3


def test_two_versions_compare_by_what_differs(workspace: Workspace) -> None:
    for strength in (0.01, 1.0):
        model, frame = classifier(C=strength)
        register_object(workspace, CreateModel(name="cancer"), model, sample=frame, metrics={"accuracy": strength})
    compared = compare_models(workspace, CompareModels(name="cancer"))
    assert (compared.first, compared.second) == ("cancer:1", "cancer:2")
    assert compared.metrics == {"accuracy": [0.01, 1.0]}
    deltas = {item.name: item.delta for item in compared.differences if item.group == "metrics"}
    assert deltas == {"accuracy": pytest.approx(0.99)}


def test_one_version_cannot_be_compared(workspace: Workspace, churn: Model) -> None:
    with pytest.raises(NotFound, match="one version"):
        compare_models(workspace, CompareModels(name="churn"))


# --- compare ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        ({"name": "m"}, ("m:2", "m:3")),
        ({"name": "m", "version": "1"}, ("m:1", "m:3")),
        ({"name": "m:3"}, ("m:3", "m:2")),
        ({"name": "m@latest"}, ("m:3", "m:2")),
        ({"name": "m", "other": "1"}, ("m:3", "m:1")),
        ({"name": "m", "other": "2"}, ("m:1", "m:2")),
        ({"name": "m", "version": "3", "other": "1"}, ("m:3", "m:1")),
        ({"name": "m", "other": "n:1"}, ("m:3", "n:1")),
        ({"name": "m:1", "other": "n@latest"}, ("m:1", "n:1")),
    ],
)
def test_a_comparison_takes_the_pair_that_is_meant(
    workspace: Workspace, tmp_path: Path, words: dict[str, str], pair: tuple[str, str]
) -> None:
    for name, content in (("m", "1"), ("n", "1"), ("m", "2"), ("m", "3")):
        (tmp_path / "w.bin").write_text(content)
        create_model(workspace, CreateModel(name=name, path="w.bin"))
    compared = compare_models(workspace, CompareModels(**words))
    assert (compared.first, compared.second) == pair


@pytest.mark.parametrize("words", [{"version": "9"}, {"other": "9"}, {"other": "nope:1"}])
def test_a_version_to_compare_that_is_not_there_is_not_found(workspace: Workspace, churn: Model, words: dict[str, str]) -> None:
    create_model(workspace, CreateModel(name="churn", path="weights"))
    with pytest.raises(NotFound):
        compare_models(workspace, CompareModels(name="churn", **words))


# --- words that are wrong ---------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_before_anything_is_copied(workspace: Workspace, home: Path, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_text("x")
    for command in (
        CreateModel(name="a/b", path="w.bin"),
        CreateModel(name="a" * 300, path="w.bin"),
        CreateModel(name="a", version="latest", path="w.bin"),
        CreateModel(name="a", tags={"": "x"}, path="w.bin"),
        CreateModel(name="a", path="w.bin", type="mlflow_model"),
        CreateModel(name="a", path="w.bin", datastore="other"),
        CreateModel(name="a", path="w.bin", registry_name="r"),
        CreateModel(name="a", path="azureml://jobs/j/outputs/artifacts/paths/m"),
    ):
        with pytest.raises((InvalidInput, NotFound)):
            create_model(workspace, command)
    assert not (home / "store").exists()


def test_an_empty_version_never_means_all(workspace: Workspace, churn: Model) -> None:
    for words in ({"version": ""}, {"label": ""}):
        with pytest.raises(InvalidInput, match="The version or label is empty"):
            delete_model(workspace, DeleteModel(name="churn", yes=True, **words))
        with pytest.raises(InvalidInput, match="The version or label is empty"):
            archive_model(workspace, ArchiveModel(name="churn", **words))
    assert names(list_models(workspace, ListModels(name="churn"))) == ["churn:1"]


def test_a_version_is_named_once(workspace: Workspace, churn: Model) -> None:
    with pytest.raises(InvalidInput, match="names a version already"):
        show_model(workspace, ShowModel(name="churn:1", version="2"))
    with pytest.raises(InvalidInput, match="Cannot specify both version and label"):
        show_model(workspace, ShowModel(name="churn", version="1", label="latest"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"set": ["path="]}, '"path" never changes after registration'),
        ({"set": ["creation_context.created_by=x"]}, '"creation_context" never changes'),
        ({"set": ["descripton=x"]}, 'A model has no "descripton"\\. Did you mean "description"\\? What changes is description, tags'),
        ({"set": ["tags=3"]}, "tags must be a mapping"),
        ({"set": ["tags.a\tb=x"]}, "is no key of a tag"),
        ({"set": ["properties.p=2"]}, 'Value of property "p" cannot be replaced'),
        ({"remove": ["properties.p"]}, 'Value of property "p" cannot be replaced'),
        ({"remove": ["digest"]}, '"digest" never changes'),
        ({"remove": ["tags.none"]}, 'there is no "tags.none"'),
    ],
)
def test_an_update_that_is_refused_changes_nothing(workspace: Workspace, churn: Model, words: dict[str, list[str]], said: str) -> None:
    before = update_model(workspace, UpdateModel(name="churn", set=["properties.p=1"]))
    with pytest.raises(InvalidInput, match=said):
        update_model(workspace, UpdateModel(name="churn", **words))
    assert workspace.catalog.get_version("churn", "1") == before


def test_values_are_text_when_told_so(workspace: Workspace, churn: Model) -> None:
    update = UpdateModel(name="churn", set=["tags.n=1", "description={}"], force_string=True, stage="Production")
    changed = update_model(workspace, update)
    assert (changed.tags["n"], changed.description, changed.stage) == ("1", "{}", "Production")


# --- two at once, damage, the path back -------------------------------------------------------------------------------


def test_of_two_writers_of_one_version_one_wins(workspace: Workspace, tmp_path: Path) -> None:
    modelreg = str(Path(sys.executable).with_name("modelreg"))
    for number in range(3):
        (tmp_path / f"{number}.bin").write_text(str(number))
    runs = [
        subprocess.Popen(
            [modelreg, "model", "create", "-n", "churn", "-v", "7", "-p", f"{number}.bin", "-o", "none"], stderr=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    said = [run.communicate()[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 4, 4]
    assert sorted("exists with other content; versions never change" in text for text in said) == [False, True, True]
    winner = [run.returncode for run in runs].index(0)
    tree = workspace.open_version("churn", "7", None)
    with tree.open(f"{winner}.bin") as stream:
        assert stream.read() == str(winner).encode()


def test_registering_the_same_twice_is_one_version_when_it_is_named(workspace: Workspace, churn: Model) -> None:
    again = create_model(workspace, CreateModel(name="churn", version="1", path="weights"))
    assert (again.version, again.digest, again.tags) == ("1", churn.digest, {"stage": "dev"})
    assert create_model(workspace, CreateModel(name="churn", path="weights")).version == "2"


def test_a_download_into_a_link_is_refused(workspace: Workspace, churn: Model, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "churn").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="out/churn is a link; nothing is written through links"):
        download_model(workspace, DownloadModel(name="churn", download_path="out"))
    assert os.listdir(tmp_path / "elsewhere") == []


def test_damage_leaves_no_trace_of_a_download(workspace: Workspace, churn: Model, tmp_path: Path) -> None:
    damage(workspace, "deep/b.txt")
    with pytest.raises(Corrupted, match=r"deep/b\.txt is damaged in the store"):
        download_model(workspace, DownloadModel(name="churn", label="latest", download_path="out"))
    assert not (tmp_path / "out").exists()


def test_what_is_damaged_is_neither_loaded_nor_served(workspace: Workspace) -> None:
    model, frame = classifier()
    register_object(workspace, CreateModel(name="churn"), model, sample=frame)
    download_model(workspace, DownloadModel(name="churn", download_path="out"))
    damage(workspace, "model.skops")
    with pytest.raises(Corrupted, match=r"churn:1 is damaged in the store: model\.skops\. Register the same files again"):
        load_model(workspace, ShowModel(name="churn"), trust=True)
    create_model(workspace, CreateModel(name="churn", path="out/churn/model"))
    assert load_model(workspace, ShowModel(name="churn", version="1")).predict(frame).shape == (len(frame),)


def damage(workspace: Workspace, path: str) -> None:
    manifest = workspace.store.load_manifest(str(workspace.catalog.get_version("churn").digest))
    blob = str(workspace.store.open_tree(manifest).local_path(path))
    os.chmod(blob, 0o644)
    with open(blob, "r+b") as stream:
        stream.write(b"\x00")


def test_the_answer_of_show_can_be_registered_again(workspace: Workspace, churn: Model, tmp_path: Path) -> None:
    import json

    shown = show_model(workspace, ShowModel(name="churn"))
    (tmp_path / "again.yml").write_text(json.dumps({**shown.to_dict(), "name": "copy", "version": None}))
    copy = create_model(workspace, CreateModel(file="again.yml"))
    assert (copy.name, copy.version, copy.digest, copy.tags) == ("copy", "1", churn.digest, churn.tags)


def test_a_model_without_a_name_is_named_by_its_content(workspace: Workspace, churn: Model) -> None:
    from jupyter_modelreg.models import register_model

    first = register_model(workspace, Model(path="weights"))
    assert str(first.name).startswith("anonymous-")
    assert register_model(workspace, Model(path="weights")) == first


def test_a_file_that_is_moved_or_linked_is_not_copied(workspace: Workspace, tmp_path: Path) -> None:
    for transfer, is_left in (("link", True), ("move", False)):
        folder = tmp_path / transfer
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "w.bin").write_bytes(transfer.encode() * 100)
        inode = (folder / "sub" / "w.bin").stat().st_ino
        model = create_model(workspace, CreateModel(name="m", path=str(folder), transfer=transfer))
        tree = workspace.store.open_tree(workspace.store.load_manifest(str(model.digest)))
        assert os.stat(str(tree.local_path("sub/w.bin"))).st_ino == inode
        assert [path.name for path in folder.rglob("*")] == (["sub", "w.bin"] if is_left else [])
        assert workspace.store.verify(workspace.store.load_manifest(str(model.digest))) == []
    assert tmp_path.joinpath("link", "sub", "w.bin").stat().st_mode & 0o222 == 0


def test_what_cannot_be_linked_or_moved_says_so_and_stays(workspace: Workspace, churn: Model) -> None:
    with pytest.raises(InvalidInput, match=r'Only files on this machine can be kept by move; leave out --transfer for "azureml:churn:1"'):
        create_model(workspace, CreateModel(name="m", path="azureml:churn:1", transfer="move"))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        Path(elsewhere, "w.bin").write_bytes(b"weights")
        with pytest.raises(InvalidInput, match=r"cannot be linked into .*: Invalid cross-device link. Copy it: leave out --transfer"):
            create_model(workspace, CreateModel(name="m", path=f"{elsewhere}/w.bin", transfer="move"))
        assert Path(elsewhere, "w.bin").read_bytes() == b"weights"


def test_nothing_of_a_saved_object_is_left_in_the_store_s_scratch(workspace: Workspace, home: Path) -> None:
    with pytest.raises(Refused):
        register_object(workspace, CreateModel(name="odd"), lambda rows: rows)
    model, _ = classifier()
    register_object(workspace, CreateModel(name="fine"), model)
    assert os.listdir(home / "store" / "tmp") == []
    assert {name for name in os.listdir(home) if not name.startswith("catalog.sqlite")} == {"store"}
