"""Registered files through fsspec: what pandas and its kind see, and what no path shows."""

from __future__ import annotations

import io
import json
import mmap
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from jupyter_modelreg import MLClient
from jupyter_modelreg.entities import Model
from jupyter_modelreg.filesystem import ModelregFileSystem
from jupyter_modelreg.settings import load_settings

WEIGHTS = np.arange(300_000, dtype="f4")


@pytest.fixture
def models() -> Any:
    return MLClient().models


@pytest.fixture
def churn(models: Any, tmp_path: Path) -> Path:
    """The folder that version 1 of a model was made from."""
    folder = tmp_path / "src"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "data" / "näh [1]#.txt").write_text("umlaut")
    WEIGHTS.tofile(folder / "weights.bin")
    models.create_or_update(Model(name="churn", path=str(folder)))
    return folder


@pytest.fixture
def files(churn: Path) -> ModelregFileSystem:
    return ModelregFileSystem(skip_instance_cache=True)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_models_versions_folders_and_files_are_listed(files: ModelregFileSystem, models: Any, churn: Path) -> None:
    assert files.ls("modelreg://", detail=False) == ["churn"]
    assert files.ls("modelreg://churn", detail=False) == ["churn/1"]
    for version in ("churn/1", "churn:1", "churn@latest", "churn/latest"):
        assert sorted(files.ls(version, detail=False)) == [f"{version}/data", f"{version}/weights.bin"]
        assert files.glob(f"{version}/**/*.csv") == [f"{version}/data/train.csv"]
    assert files.find("churn/1") == ["churn/1/data/näh [1]#.txt", "churn/1/data/train.csv", "churn/1/weights.bin"]
    assert [(path, sorted(folders)) for path, folders, _ in files.walk("churn")] == [
        ("churn", ["1"]),
        ("churn/1", ["data"]),
        ("churn/1/data", []),
    ]
    assert files.du("churn") == sum(path.stat().st_size for path in churn.rglob("*") if path.is_file())


def test_a_file_says_its_size_digest_and_date(files: ModelregFileSystem, models: Any) -> None:
    model = models.get("churn", "1")
    about = files.info("churn/1/weights.bin")
    assert (about["name"], about["type"], about["size"]) == ("churn/1/weights.bin", "file", WEIGHTS.nbytes)
    assert files.checksum("churn/1/weights.bin") == next(item.digest for item in model.files if item.path == "weights.bin")
    assert files.checksum("churn:1") == model.digest
    assert files.created("churn").isoformat().replace("+00:00", "Z") == model.creation_context.created_at
    assert files.modified("churn/1/weights.bin") == files.created("churn")


def test_a_single_file_lies_under_its_own_name(models: Any, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("hello")
    models.create_or_update(Model(name="one", path="one.txt"))
    assert fsspec.filesystem("modelreg").ls("one/1", detail=False) == ["one/1/one.txt"]
    with fsspec.open("modelreg://one/latest/one.txt", "r") as stream:
        assert stream.read() == "hello"


def test_archived_models_are_not_listed_and_still_read(files: ModelregFileSystem, models: Any) -> None:
    models.archive("churn")
    assert files.ls("") == []
    assert files.exists("churn/1/data/train.csv")


def test_what_is_registered_later_is_seen_at_once(files: ModelregFileSystem, models: Any, churn: Path) -> None:
    files.find("churn@latest")
    (churn / "weights.bin").write_bytes(b"new")
    models.create_or_update(Model(name="churn", path=str(churn)))
    assert sorted(files.ls("churn", detail=False)) == ["churn/1", "churn/2"]
    assert files.cat("churn@latest/weights.bin") == b"new"
    models.delete("churn", "2")
    assert not files.exists("churn/2/weights.bin")
    assert files.info("churn@latest/weights.bin")["size"] == WEIGHTS.nbytes


def test_only_a_few_listings_are_kept(files: ModelregFileSystem, models: Any, churn: Path) -> None:
    for number in range(12):
        (churn / "data" / "train.csv").write_text(str(number))
        models.create_or_update(Model(name="churn", path=str(churn)))
    assert [files.cat(f"churn/{number + 2}/data/train.csv") for number in range(12)] == [str(number).encode() for number in range(12)]
    assert len(files._kept) == 8


# --- what is read -----------------------------------------------------------------------------------------------------


def test_pandas_reads_a_path(churn: Path) -> None:
    assert pd.read_csv("modelreg://churn/1/data/train.csv")["b"].tolist() == [2, 4]
    assert pd.read_csv("modelreg://churn@latest/data/train.csv").shape == (2, 2)


@pytest.mark.filterwarnings("ignore")  # pyarrow leaves files to the garbage collection
def test_pandas_and_pyarrow_read_parquet(models: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.dataset

    frame = pd.DataFrame({"a": range(1000), "b": list("xy") * 500})
    (tmp_path / "table").mkdir()
    frame[:500].to_parquet(tmp_path / "table" / "0.parquet")
    frame[500:].to_parquet(tmp_path / "table" / "1.parquet")
    models.create_or_update(Model(name="table", path="table"))
    pd.testing.assert_frame_equal(pd.read_parquet("modelreg://table/1/0.parquet"), frame[:500])
    read = pyarrow.dataset.dataset("table/latest", filesystem=fsspec.filesystem("modelreg"), format="parquet")
    assert read.count_rows() == 1000


def test_dask_reads_in_other_processes(models: Any, tmp_path: Path) -> None:
    pytest.importorskip("dask.dataframe", reason="dask is not installed")
    import dask.dataframe

    (tmp_path / "parts").mkdir()
    for number in range(4):
        pd.DataFrame({"a": [number] * 10}).to_csv(tmp_path / "parts" / f"{number}.csv", index=False)
    models.create_or_update(Model(name="parts", path="parts"))
    assert int(dask.dataframe.read_csv("modelreg://parts/1/*.csv")["a"].sum().compute(scheduler="processes", num_workers=2)) == 60


def test_a_stored_file_opens_as_itself_and_can_be_mapped(files: ModelregFileSystem) -> None:
    with files.open("churn/1/weights.bin") as stream:
        np.testing.assert_array_equal(np.memmap(stream, dtype="f4", mode="r"), WEIGHTS)
    with files.open("churn/1/weights.bin") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert view[-4:] == WEIGHTS[-1:].tobytes()
        assert stream.size == WEIGHTS.nbytes


def test_safetensors_open_by_their_local_path(models: Any, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    save_file({"w": WEIGHTS}, tmp_path / "m.safetensors")
    models.create_or_update(Model(name="net", path="m.safetensors"))
    path = fsspec.filesystem("modelreg").local_path("modelreg://net/latest/m.safetensors")
    assert path.endswith("/m.safetensors")
    assert os.stat(path).st_mode & 0o222 == 0
    with safe_open(path, "np") as tensors:
        np.testing.assert_array_equal(tensors.get_tensor("w"), WEIGHTS)


def test_a_folder_has_a_local_path_too(files: ModelregFileSystem) -> None:
    assert sorted(os.listdir(files.local_path("churn/1"))) == ["data", "weights.bin"]
    assert sorted(os.listdir(files.local_path("churn/1/data"))) == ["näh [1]#.txt", "train.csv"]


def test_a_zip_is_read_in_place(models: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("inner.txt", "inside")
    models.create_or_update(Model(name="packed", path="m.zip"))
    with fsspec.open("modelreg://packed/1/m.zip") as stream, zipfile.ZipFile(stream) as archive:
        assert archive.read("inner.txt") == b"inside"
    with fsspec.open("zip://inner.txt::modelreg://packed/1/m.zip", "r") as stream:
        assert stream.read() == "inside"


def test_ranges_count_as_slices_do(files: ModelregFileSystem) -> None:
    whole = WEIGHTS.tobytes()
    for start, end in ((None, None), (0, 10), (-10, None), (5, -5), (10, 5), (len(whole), None), (-10, 1 << 40)):
        assert files.cat_file("churn/1/weights.bin", start, end) == whole[start:end]
    assert files.cat_ranges(["churn/1/weights.bin"] * 2, [0, 8], [4, 12]) == [whole[:4], whole[8:12]]
    assert files.read_block("churn/1/data/train.csv", 2, 4, delimiter=b"\n") == b"1,2\n"


def test_a_folder_is_copied_out(files: ModelregFileSystem, tmp_path: Path, churn: Path) -> None:
    files.get("churn/1", str(tmp_path / "out"), recursive=True)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == sorted(path.name for path in churn.rglob("*"))
    assert (tmp_path / "out" / "weights.bin").read_bytes() == WEIGHTS.tobytes()


def test_small_files_that_lie_packed_are_read_like_others(models: Any, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(40):
        pd.DataFrame({"a": [number] * 100}).to_csv(tmp_path / "many" / f"{number}.csv", index=False)
    models.create_or_update(Model(name="many", path="many"))
    files = fsspec.filesystem("modelreg")
    assert pd.read_csv("modelreg://many/1/7.csv")["a"].tolist() == [7] * 100
    with files.open("many/1/8.csv") as stream:
        assert stream.size == (tmp_path / "many" / "8.csv").stat().st_size
        assert (stream.seek(-2, 2), stream.read(), stream.seek(0), stream.readline()) == (stream.size - 2, b"8\n", 0, b"a\n")
    assert files.cat_file("many/1/9.csv", -4) == b"9\n9\n"
    assert Path(files.local_path("many/1/39.csv")).read_bytes() == (tmp_path / "many" / "39.csv").read_bytes()
    assert {path.rpartition("/")[2]: text for path, text in files.cat("many/1/*.csv").items()} == {
        path.name: path.read_bytes() for path in (tmp_path / "many").iterdir()
    }


def test_a_registry_may_be_named_in_the_options(churn: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_HOME", str(home / "another"))
    assert fsspec.filesystem("modelreg").ls("") == []
    assert fsspec.filesystem("modelreg", home=home).ls("", detail=False) == ["churn"]
    assert pd.read_csv("modelreg://churn/1/data/train.csv", storage_options={"home": str(home)}).shape == (2, 2)
    with pytest.raises(Exception, match=r'unknown setting "hone"\. Did you mean "home"'):
        fsspec.filesystem("modelreg", hone="x")


def test_files_of_a_store_elsewhere_are_read(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_STORE", f"local://{tmp_path / 'far'}")
    (tmp_path / "m.csv").write_text("a\n1\n")
    MLClient().models.create_or_update(Model(name="far", path="m.csv"))
    for folder in (tmp_path / "home" / "caches").iterdir():
        subprocess.run(["rm", "-rf", str(folder)], check=True)  # another machine
    assert pd.read_csv("modelreg://far/1/m.csv")["a"].tolist() == [1]
    assert Path(fsspec.filesystem("modelreg").local_path("far/1/m.csv")).read_text() == "a\n1\n"


# --- at once and elsewhere --------------------------------------------------------------------------------------------


def test_many_threads_share_one_instance(files: ModelregFileSystem, churn: Path) -> None:
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert files.cat("churn/1/weights.bin") == WEIGHTS.tobytes()
                assert len(files.find("churn@latest")) == 3
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def _read_in_child(files: ModelregFileSystem, queue: Any) -> None:
    queue.put(files.cat("churn/1/data/train.csv"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_reading(files: ModelregFileSystem) -> None:
    expected = files.cat("churn/1/data/train.csv")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(files, queue))
    child.start()
    assert queue.get(timeout=30) == expected
    child.join()


def test_a_copy_in_another_process_reads_the_same_registry(files: ModelregFileSystem, tmp_path: Path) -> None:
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(files))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).cat('churn/1/data/train.csv').decode())"
    environment = {**os.environ, "MODELREG_HOME": str(tmp_path / "elsewhere")}
    read = subprocess.run([sys.executable, "-c", code, "files.pickle"], env=environment, capture_output=True, text=True, check=True)
    assert read.stdout.strip() == "a,b\n1,2\n3,4"


# --- what no path shows -----------------------------------------------------------------------------------------------

OUTSIDE = [
    *("../secret.txt", "../../../secret.txt", "data/../../../secret.txt", "..", ".", "./data/train.csv", "data//train.csv"),
    *("%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "..%252fsecret.txt", "..\\secret.txt", "..\\..\\secret.txt"),
    *("/etc/passwd", "C:\\x", "file:///etc/passwd", "a?/../b", "a#/../b", "data/train.csv?", "data/train.csv#", "data/train.csv\0", "\0"),
    *("data/train.csv/x", "weights.bin/", "home-secret/x"),
]


@pytest.mark.parametrize("path", [*(f"churn/1/{path}" for path in OUTSIDE if path != "weights.bin/"), *OUTSIDE[:-2], "churn/latest/../1/x"])
def test_a_path_that_is_not_in_the_manifest_is_not_found(files: ModelregFileSystem, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    for look in (files.open, files.cat, files.info, files.ls, files.local_path):
        with pytest.raises(FileNotFoundError):
            look(path)
    assert not files.exists(path)


@pytest.mark.parametrize(
    "path", ["churn/0", "churn/-1", "churn/01", "churn/1e3", "churn/" + "9" * 20, "churn/١", "churn@champion", "churn:1:2", "churn@"]
)
def test_a_version_that_is_none_is_not_found(files: ModelregFileSystem, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.ls(path)


def test_errors_are_those_of_every_file_system_with_one_clear_line(files: ModelregFileSystem) -> None:
    with pytest.raises(FileNotFoundError, match=r'^There is no "x.csv" in "src"; it holds data, weights.bin.$') as missing:
        pd.read_csv("modelreg://churn/1/x.csv")
    assert missing.value.errno == 2
    with pytest.raises(FileNotFoundError, match=r'^churn has no version "9"; it has 1.$'):
        files.open("churn/9/x")
    with pytest.raises(IsADirectoryError, match=r"^churn/1/data is a folder; name a file in it.$"):
        files.open("churn/1/data")
    with pytest.raises(IsADirectoryError):
        files.checksum("churn/1/data")
    with pytest.raises(IsADirectoryError):
        files.created("")


def test_a_damaged_store_is_an_error_of_the_disk(files: ModelregFileSystem, home: Path) -> None:
    blob = files.checksum("churn/1/weights.bin")
    (home / "store" / "blobs" / blob[:2] / blob).unlink()
    with pytest.raises(OSError, match=r"weights.bin is missing from the store") as damaged:
        files.open("churn/1/weights.bin")
    assert damaged.value.errno == 5


WRITES: list[tuple[str, tuple[Any, ...]]] = [
    *[("open", ("churn/1/new", mode)) for mode in ("wb", "w", "ab", "xb", "r+b")],
    ("pipe", ("churn/1/new", b"x")),
    ("pipe_file", ("churn/1/new", b"x")),
    ("write_text", ("churn/1/new", "x")),
    ("put", ("secret", "churn/1/new")),
    ("put_file", ("secret", "churn/1/new")),
    ("touch", ("churn/1/new",)),
    ("rm", ("churn/1/weights.bin",)),
    ("rm_file", ("churn/1/weights.bin",)),
    ("rmdir", ("churn",)),
    ("mkdir", ("fresh",)),
    ("makedirs", ("fresh/2",)),
    ("cp_file", ("churn/1/weights.bin", "churn/1/new")),
    ("copy", ("churn/1/weights.bin", "churn/1/new")),
    ("mv", ("churn/1/weights.bin", "churn/1/new")),
    ("rename", ("churn/1/weights.bin", "churn/1/new")),
]


@pytest.mark.parametrize(("name", "arguments"), WRITES)
def test_writing_is_refused_and_says_how_files_are_registered(files: ModelregFileSystem, name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(PermissionError, match=r"^Versions never change: this is read-only\. Register files with: modelreg model create"):
        getattr(files, name)(*arguments)
    assert len(files.find("churn")) == 3
    assert files.cat("churn/1/weights.bin") == WEIGHTS.tobytes()


# --- azureml:// -------------------------------------------------------------------------------------------------------


@pytest.fixture
def datastore(home: Path) -> Path:
    folder = home / "datastores" / "workspaceblobstore"
    (folder / "sets").mkdir(parents=True)
    (folder / "sets" / "x.csv").write_text("c\n5\n")
    return folder


def test_azures_addresses_of_models_and_of_the_datastore_are_read(churn: Path, datastore: Path, models: Any) -> None:
    for address in ("models/churn/versions/1", "models/churn/labels/latest"):
        assert pd.read_csv(f"azureml://{address}/data/train.csv").shape == (2, 2)
    assert pd.read_csv(f"{models.get('churn', '1').path}/data/train.csv").shape == (2, 2)  # what `show` prints
    long = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/sets/x.csv"
    for address in ("azureml://datastores/workspaceblobstore/paths/sets/x.csv", long):
        assert pd.read_csv(address)["c"].tolist() == [5]
    files = fsspec.filesystem("azureml")
    assert files.glob("azureml://datastores/workspaceblobstore/paths/*/*.csv") == ["datastores/workspaceblobstore/paths/sets/x.csv"]
    assert files.isdir("datastores/workspaceblobstore/paths")
    with pytest.raises(PermissionError):
        files.open("datastores/workspaceblobstore/paths/sets/y.csv", "wb")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "..%2fx",
        "sets/../../../x",
        "link/x",
        "link",
        "sibling/x",
        "../workspaceblobstore-secret/x",
        "\0",
        "a\\b",
        "/etc/passwd",
        "absent",
        "sets//x.csv",
    ],
)
def test_no_address_leads_out_of_the_datastore(datastore: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("secret")
    (datastore.parent / "x").write_text("secret")
    (datastore.parent / "workspaceblobstore-secret").mkdir()
    (datastore.parent / "workspaceblobstore-secret" / "x").write_text("secret")
    (datastore / "link").symlink_to(tmp_path / "outside")
    (datastore / "sibling").symlink_to(datastore.parent / "workspaceblobstore-secret")
    files = fsspec.filesystem("azureml")
    for look in (files.cat, files.info, files.ls):
        with pytest.raises(FileNotFoundError):
            look(f"datastores/workspaceblobstore/paths/{path}")
    assert files.ls("datastores/workspaceblobstore/paths", detail=False) == ["datastores/workspaceblobstore/paths/sets"]


def test_other_addresses_are_told_what_can_be_read(home: Path) -> None:
    for address in ("azureml://", "azureml://jobs/j/outputs/o/paths/p", "azureml://registries/r/models/m/versions/1"):
        with pytest.raises(FileNotFoundError, match="Readable are azureml://models/"):
            fsspec.filesystem("azureml").ls(address)
    with pytest.raises(FileNotFoundError, match='There is no datastore "other"'):
        fsspec.filesystem("azureml").ls("azureml://datastores/other/paths/x")


def test_azures_own_package_keeps_its_addresses(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "azureml").mkdir(parents=True)
    (site / "azureml" / "fsspec.py").write_text(
        "from fsspec.implementations.memory import MemoryFileSystem\nclass AzureMachineLearningFileSystem(MemoryFileSystem):\n    protocol = 'azureml'\n"
    )
    about = site / "azureml_fsspec-1.3.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: azureml-fsspec\nVersion: 1.3.1\n")
    (about / "entry_points.txt").write_text("[fsspec.specs]\nazureml = azureml.fsspec.AzureMachineLearningFileSystem\n")
    code = "import fsspec, json; import jupyter_modelreg.filesystem as ours; print(json.dumps([fsspec.get_filesystem_class('azureml').__name__, ours.AzuremlFileSystem.__name__]))"

    def classes(*paths: str) -> list[str]:
        read = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[{paths[0]}:{paths[0]}] = {list(paths[1:])}; {code}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return list(json.loads(read.stdout))

    assert classes("0") == ["LocalAzuremlFileSystem"] * 2
    assert classes("0", str(site)) == ["AzureMachineLearningFileSystem"] * 2
    assert classes("len(sys.path)", str(site)) == ["AzureMachineLearningFileSystem"] * 2


def test_the_settings_of_a_copy_are_whole(files: ModelregFileSystem) -> None:
    copy = pickle.loads(pickle.dumps(files))
    settings, _ = load_settings()
    assert {name: copy.storage_options[name] for name in ("home", "catalog", "store")} == {
        "home": settings.home,
        "catalog": settings.catalog,
        "store": settings.store,
    }
    assert io.BytesIO(copy.cat("churn/1/weights.bin")).read(4) == WEIGHTS[:1].tobytes()


# --- a catalog on a server --------------------------------------------------------------------------------------------


def test_a_catalog_on_a_server_is_asked_over_few_connections(
    postgres_url: str, models: Any, churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELREG_CATALOG", postgres_url)
    MLClient().models.create_or_update(Model(name="served", path=str(churn)))
    files = ModelregFileSystem(skip_instance_cache=True)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert files.cat("served/1/data/train.csv") == b"a,b\n1,2\n3,4\n"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).find('served/1'))"
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(files))
    environment = {**os.environ, "MODELREG_CATALOG": ""}
    read_there = subprocess.run([sys.executable, "-c", code, "files.pickle"], env=environment, capture_output=True, text=True, check=True)
    assert "served/1/weights.bin" in read_there.stdout
    with pytest.raises(FileNotFoundError):
        files.open("served\0/1/x")
