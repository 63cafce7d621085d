"""Versions in folders: what is shown, what is never copied, what is never removed."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import MLClient, mounts
from jupyter_modelreg import fuse as fuse_process
from jupyter_modelreg.commands.model import ListMounts
from jupyter_modelreg.compute import is_alive
from jupyter_modelreg.doors.display import to_text
from jupyter_modelreg.doors.html import to_html
from jupyter_modelreg.entities import Model
from jupyter_modelreg.errors import Conflict, Corrupted, InvalidInput, NotFound, Unavailable
from jupyter_modelreg.workspace import open_workspace

BIG = 9_000_000  # more than two blocks


@pytest.fixture
def models() -> Any:
    return MLClient().models


@pytest.fixture
def churn(models: Any, tmp_path: Path) -> Path:
    """The folder that version 1 of a model was made from."""
    folder = tmp_path / "src"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "train.csv").write_text("a\n1\n")
    (folder / "empty").write_bytes(b"")
    (folder / "big.bin").write_bytes(random.Random(1).randbytes(BIG))
    models.create_or_update(Model(name="churn", path=str(folder)))
    return folder


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store elsewhere: nothing of it lies on this machine."""
    folder = tmp_path / "far"
    monkeypatch.setenv("MODELREG_STORE", f"local://{folder}")
    return folder


def forget_caches(home: Path) -> None:
    """Be another machine."""
    subprocess.run(["chmod", "-R", "u+w", str(home / "caches")], check=True)
    shutil.rmtree(home / "caches")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mount(name: str, mount_point: Path | str, **values: Any) -> Any:
    return MLClient().models._run("model", "mount", name=name, mount_point=str(mount_point), **values)


def unmount(mount_point: Path | str, **values: Any) -> Any:
    return MLClient().models._run("model", "unmount", mount_point=str(mount_point), **values)


def commit(mount_point: Path | str, **values: Any) -> Any:
    return MLClient().models._run("model", "commit", mount_point=str(mount_point), **values)


# --- to read ----------------------------------------------------------------------------------------------------------


def test_a_view_shows_the_files_and_copies_none(churn: Path, tmp_path: Path, home: Path) -> None:
    shown = tmp_path / "deeper" / "shown"
    made = mount("churn@latest", shown)
    assert (made.path, made.model, made.mode, made.kind) == (str(shown), "churn:1", "ro_mount", "view")
    assert made.reason.endswith("what the store keeps on this machine")
    assert made.size_bytes == BIG + 4
    assert contents(shown) == contents(churn)
    for path in shown.rglob("*"):
        assert path.stat().st_mode & 0o222 == 0
    blobs = {path.stat().st_ino for path in (home / "store" / "blobs").rglob("*") if path.is_file()}
    if made.reason.startswith("links"):
        assert (shown / "big.bin").stat().st_ino in blobs
    assert unmount(shown).left == []
    assert not (tmp_path / "deeper").exists()


def test_a_single_file_is_shown_under_its_name(models: Any, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("hello")
    models.create_or_update(Model(name="one", path="one.txt"))
    mount("one", "shown")
    assert contents(tmp_path / "shown") == {"one.txt": b"hello"}
    unmount("shown")


def test_a_folder_that_was_there_is_as_before_afterwards(churn: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o750)
    mount("churn", tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o555
    unmount(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o750


def test_on_another_file_system_the_links_are_symbolic(churn: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == churn.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    folder = other / f"modelreg-{os.getpid()}"
    try:
        assert mount("churn", folder).reason.startswith("symbolic links to")
        assert contents(folder) == contents(churn)
        assert (folder / "big.bin").is_symlink()
        assert unmount(folder).left == []
        assert not folder.exists()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["xfs", "btrfs"])
def cloning(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that can share extents, in a file."""
    kind = request.param
    if os.geteuid() != 0 or shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"needs root and mkfs.{kind}")
    image, folder = tmp_path / "image", tmp_path / "disk"
    image.touch()
    os.truncate(image, 320 << 20)
    folder.mkdir()
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False).returncode:
        pytest.skip(f"{kind} cannot be mounted here")
    yield folder
    gc.collect()  # the store's index lies there, open
    subprocess.run(["umount", str(folder)], check=True)


def test_where_the_file_system_clones_a_view_shares_extents_only(cloning: Path, churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_STORE", str(cloning / "store"))
    MLClient().models.create_or_update(Model(name="cloned", path=str(churn)))
    shown = cloning / "shown"
    assert mount("cloned", shown).reason.startswith("clones of")
    assert contents(shown) == contents(churn)
    (shown / "big.bin").chmod(0o644)
    with (shown / "big.bin").open("r+b") as stream:
        stream.write(b"mine")  # hurts the clone only
    assert MLClient().models._workspace.store.verify(mounts.read_record(_record_folder(shown)).manifest) == []  # type: ignore[union-attr]
    assert unmount(shown).left == ["big.bin"]
    assert [path.name for path in shown.iterdir()] == ["big.bin"]


def _record_folder(path: Path) -> str:
    return mounts._folder_of(open_workspace(), str(path))


@pytest.mark.parametrize("kind", ["auto", "fuse"])
def test_small_files_that_lie_packed_are_shown_like_others(models: Any, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "fuse":
        request.getfixturevalue("fuse")
    folder = tmp_path / "many"
    (folder / "sub").mkdir(parents=True)
    for number in range(40):
        (folder / "sub" / f"{number}.txt").write_text(f"{number}\n" * number)
    models.create_or_update(Model(name="many", path="many"))
    shown = tmp_path / "shown"
    for _ in range(2):
        mount("many", shown, kind=kind)
        assert contents(shown) == contents(folder)
        assert (shown / "sub" / "7.txt").stat().st_mode & 0o222 == 0
        assert unmount(shown).left == []
    mount("many", shown, mode="rw_mount")
    assert contents(shown) == contents(folder)
    unmount(shown)


def test_mounts_are_listed(churn: Path, tmp_path: Path) -> None:
    assert MLClient().models.list_mounts() == []
    mount("churn", "b", mode="rw_mount")
    mount("churn:1", "a")
    assert [(item.path, item.model, item.mode) for item in MLClient().models.list_mounts()] == [
        (str(tmp_path / "a"), "churn:1", "ro_mount"),
        (str(tmp_path / "b"), "churn:1", "rw_mount"),
    ]
    unmount("a")
    subprocess.run(["rm", "-rf", "b"], check=True)
    assert MLClient().models.list_mounts() == []
    mount("churn", "b")
    unmount("b")


# --- what stays -------------------------------------------------------------------------------------------------------


def test_unmounting_leaves_what_the_mount_had_not_made(churn: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    mount("churn", shown, mode="download")
    (shown / "notes.txt").write_text("mine")
    (shown / "data" / "deep" / "train.csv").write_text("changed")
    (shown / "empty").unlink()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (shown / "link").symlink_to(outside)
    assert unmount(shown).left == ["data/deep/train.csv", "link", "notes.txt"]
    assert contents(shown)["data/deep/train.csv"] == b"changed"
    assert (outside / "kept").read_text() == "kept"
    with pytest.raises(NotFound, match=f"^{shown} is no mount of this registry"):
        unmount(shown)


def test_a_folder_that_became_a_link_is_not_followed(churn: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    mount("churn", shown, mode="download")
    (shown / "data").rename(tmp_path / "moved")
    (shown / "data").symlink_to(tmp_path / "moved")
    assert unmount(shown).left == ["data"]
    assert (tmp_path / "moved" / "deep" / "train.csv").read_text() == "a\n1\n"


def test_a_mount_is_taken_down_after_its_version_was_deleted(churn: Path, tmp_path: Path, models: Any) -> None:
    mount("churn", "shown")
    models.delete("churn", "1")
    shutil.rmtree(tmp_path / "home" / "store", ignore_errors=True)
    assert contents(tmp_path / "shown") == contents(churn)
    assert unmount("shown").left == []
    assert not (tmp_path / "shown").exists()


def test_a_mount_that_fails_leaves_nothing(churn: Path, tmp_path: Path, home: Path, models: Any) -> None:
    digest = next(item.digest for item in models.get("churn", "1").files if item.path == "data/deep/train.csv")
    (home / "store" / "blobs" / digest[:2] / digest).unlink()
    (tmp_path / "mine").mkdir()
    for mode in ("ro_mount", "rw_mount", "download"):
        for folder in ("new/shown", "mine"):
            with pytest.raises(Corrupted, match=r"train.csv is missing"):
                mount("churn", folder, mode=mode)
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "new").exists()
    assert list((home / "mounts").glob("*")) == []


# --- in the way -------------------------------------------------------------------------------------------------------


def test_nothing_is_mounted_over_what_is_there(churn: Path, tmp_path: Path, home: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for place, said in ((churn, "is not empty"), ("file", "is a file"), ("link", "is a link")):
        with pytest.raises(Conflict, match=f"{said}.*Name a new or empty folder"):
            mount("churn", place)
    for place in (home, home / "store" / "x", home / "store" / "blobs", tmp_path / "empty" / ".." / "home" / "x"):
        with pytest.raises((InvalidInput, Conflict), match=r"lies in the registry's own folder"):
            mount("churn", place)
    mount("churn", "shown")
    with pytest.raises(Conflict, match=r"shown shows churn:1 already. Run: modelreg model unmount .*shown$"):
        mount("churn", "shown", mode="rw_mount")
    with pytest.raises(Unavailable, match=r"^/proc/none cannot be mounted: "):
        mount("churn", "/proc/none")
    with pytest.raises(NotFound, match=r'There is no model "nobody"'):
        mount("nobody", "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("values", "said"), [({"mode": "ro"}, "one of ro_mount, rw_mount, download"), ({"kind": "fuze"}, 'Did you mean "fuse"')]
)
def test_a_mode_or_kind_that_is_none_is_refused(churn: Path, values: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        mount("churn", "shown", **values)


def test_of_many_at_once_one_mounts(churn: Path, tmp_path: Path) -> None:
    def attempt(_: int) -> str:
        try:
            return str(mount("churn", tmp_path / "shown").kind)
        except Conflict as error:
            return error.message

    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(attempt, range(16)))
    assert said.count("view") == 1, said
    assert contents(tmp_path / "shown") == contents(churn)
    assert unmount(tmp_path / "shown").left == []


def test_a_mount_under_way_is_not_taken_down(churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def look(*arguments: Any) -> None:
        with pytest.raises(Conflict) as refused:
            unmount(tmp_path / "shown")
        said.append(refused.value.message)
        real(*arguments)

    real = mounts._place
    monkeypatch.setattr(mounts, "_place", look)
    mount("churn", tmp_path / "shown")
    assert set(said) == {f"{tmp_path}/shown is being mounted; try again in a moment."}
    assert unmount(tmp_path / "shown").left == []


@pytest.mark.parametrize("then", ["mount", "unmount"])
def test_a_mount_that_was_killed_makes_room(churn: Path, tmp_path: Path, then: str) -> None:
    code = """
import os, sys
from jupyter_modelreg import MLClient, mounts
place, places = mounts._place, []
def die(*arguments):
    places.append(place(*arguments))
    if len(places) == 2:
        os.kill(os.getpid(), 9)
mounts._place = die
MLClient().models.mount("churn", "1", sys.argv[1])
"""
    shown = tmp_path / "new" / "shown"
    assert subprocess.run([sys.executable, "-c", code, str(shown)], check=False).returncode == -signal.SIGKILL
    assert len(contents(shown)) == 2
    assert MLClient().models.list_mounts() == []
    if then == "mount":
        mount("churn", shown)
        assert contents(shown) == contents(churn)
    assert unmount(shown).left == []
    assert not shown.exists()


# --- to write ---------------------------------------------------------------------------------------------------------


def test_a_writable_mount_is_a_private_copy_that_commits(churn: Path, tmp_path: Path, models: Any) -> None:
    draft = tmp_path / "draft"
    assert mount("churn", draft, mode="rw_mount").kind == "copy"
    with pytest.raises(Conflict, match=r"draft is as churn:1 was; there is nothing to commit"):
        commit(draft)
    (draft / "data" / "deep" / "train.csv").write_text("a\n2\n")
    (draft / "more").write_text("new")
    (draft / "empty").unlink()
    made = commit(draft, description="Better", tags={"from": "draft"})
    assert (made.name, made.version, made.description, made.tags) == ("churn", "2", "Better", {"from": "draft"})
    assert made.lineage.inputs == ["azureml:churn:1"]
    assert {item.path for item in models.get("churn", "2").files} == {"big.bin", "data/deep/train.csv", "more"}
    with pytest.raises(Conflict, match="nothing to commit"):
        commit(draft)
    assert commit(draft, name="other").digest == made.digest  # the root's name is kept, so the same content is the same
    assert [models._workspace.store.verify(models._workspace.store.load_manifest(item.digest)) for item in models.list("churn")] == [[], []]
    assert unmount(draft).left == []
    assert not draft.exists()


def test_a_changed_file_of_the_same_length_and_time_zone_is_seen(churn: Path, tmp_path: Path) -> None:
    mount("churn", "draft", mode="rw_mount")
    with (tmp_path / "draft" / "big.bin").open("r+b") as stream:
        stream.seek(5_000_000)
        stream.write(b"X")
    assert commit("draft").version == "2"
    os.utime(tmp_path / "draft" / "data" / "deep" / "train.csv")  # touched, not changed
    with pytest.raises(Conflict, match="nothing to commit"):
        commit("draft")


def test_unchanged_files_are_not_read_to_commit_the_others(churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = tmp_path / "draft"
    mount("churn", draft, mode="rw_mount")
    (draft / "empty").write_text("changed")
    os.utime(draft / "data" / "deep" / "train.csv", ns=(0, 0))
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)  # the files have rested
    workspace = open_workspace()
    seen = {path: os.stat(draft / path) for path in ("big.bin", "empty", "data/deep/train.csv")}
    mounts._remember_unchanged(workspace, mounts.read_record(_record_folder(draft)))  # type: ignore[arg-type]
    known = workspace.store.index.digests(seen)  # type: ignore[attr-defined]
    digests = {item.path: item.digest for item in MLClient().models.get("churn", "1").files}
    assert known == {"big.bin": digests["big.bin"]}
    assert commit(draft).version == "2"
    assert contents(draft)["empty"] == b"changed"


def test_changes_that_are_not_committed_are_not_dropped_unasked(churn: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    mount("churn", draft, mode="rw_mount")
    for number in range(5):
        (draft / f"{number}.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"not committed: 0.txt, 1.txt, 2.txt and 2 more. Run: modelreg model commit .*--discard"):
        unmount(draft)
    assert len(contents(draft)) == 8
    assert unmount(draft, discard=True).left == []
    assert not draft.exists()


def test_what_is_ignored_is_no_change(churn: Path, models: Any, tmp_path: Path) -> None:
    (churn / ".amlignore").write_text("*.pyc\n")
    models.create_or_update(Model(name="churn", path=str(churn)))
    mount("churn", "draft", mode="rw_mount")
    (tmp_path / "draft" / "a.pyc").write_text("made by running")
    with pytest.raises(Conflict, match="nothing to commit"):
        commit("draft")
    assert unmount("draft").left == ["a.pyc"]


def test_a_draft_that_no_model_may_be_is_neither_committed_nor_dropped(churn: Path, tmp_path: Path) -> None:
    mount("churn", "draft", mode="rw_mount")
    os.mkfifo(tmp_path / "draft" / "pipe")
    with pytest.raises(InvalidInput, match=r"pipe is a pipe; a model holds files only"):
        commit("draft")
    with pytest.raises(Conflict, match="not committed: pipe"):
        unmount("draft")
    assert unmount("draft", discard=True).left == []


def test_a_single_file_is_committed_as_one(models: Any, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("hello")
    models.create_or_update(Model(name="one", path="one.txt"))
    mount("one", "draft", mode="rw_mount")
    (tmp_path / "draft" / "one.txt").write_text("changed")
    commit("draft")
    assert [item.path for item in models.get("one", "2").files] == ["one.txt"]
    (tmp_path / "draft" / "two.txt").write_text("second")
    commit("draft")
    assert [item.path for item in models.get("one", "3").files] == ["one.txt", "two.txt"]


def test_what_is_shown_for_reading_cannot_be_committed(churn: Path) -> None:
    for mode in ("ro_mount", "download"):
        mount("churn", mode, mode=mode)
        with pytest.raises(InvalidInput, match=f"{mode} shows churn:1 for reading; mount it with --mode rw_mount"):
            commit(mode)


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_a_version_elsewhere_is_fetched_up_to_the_limit_and_says_so(
    far: Path, churn: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_caches(home)
    monkeypatch.setenv("MODELREG_MOUNT_LIMIT", "8 MB")
    with pytest.raises(
        Unavailable,
        match=r"^9.0 MB would have to be fetched from local://.*, more than mount_limit \(8 MB\). Choose model mount --mode download",
    ):
        mount("churn", "shown")
    assert not Path("shown").exists()
    monkeypatch.setenv("MODELREG_MOUNT_LIMIT", "10 MB")
    assert mount("churn", "shown").reason.startswith("9.0 MB fetched from local://")
    assert contents(Path("shown")) == contents(churn)
    unmount("shown")
    monkeypatch.setenv("MODELREG_MOUNT_LIMIT", "1 KB")
    assert "fetched" not in mount("churn", "shown").reason  # it lies here now
    unmount("shown")


def test_a_download_has_no_limit_since_it_was_asked_for(far: Path, churn: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_caches(home)
    monkeypatch.setenv("MODELREG_MOUNT_LIMIT", "1 KB")
    assert (
        mount("churn", "down", mode="download").reason
        == f"9.0 MB fetched from local://{far}, then a copy, each file checked against its hash"
    )
    assert contents(Path("down")) == contents(churn)
    assert mount("churn", "again", mode="rw_mount").reason.startswith("a copy, ")


# --- FUSE -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fuse(home: Path) -> Iterator[None]:
    pytest.importorskip("mfusepy", reason="mfusepy is not installed", exc_type=OSError)
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/fuse cannot be used: {error.strerror}")
    yield
    for item in mounts.list_mounts(open_workspace({"home": str(home)}), ListMounts()):
        subprocess.run(["umount", "-l", item.path], check=False, capture_output=True)


@pytest.mark.usefixtures("fuse")
def test_a_fuse_mount_of_a_store_elsewhere_reads_right_under_parallel_readers(far: Path, churn: Path, home: Path, tmp_path: Path) -> None:
    forget_caches(home)
    shown = tmp_path / "shown"
    made = mount("churn", shown, kind="fuse")
    assert (made.kind, made.reason) == ("fuse", f"read from local://{far} when asked for")
    expected = (churn / "big.bin").read_bytes()

    def read(seed: int) -> None:
        chance = random.Random(seed)
        with (shown / "big.bin").open("rb", buffering=0) as stream:
            for _ in range(100):
                start, size = chance.randrange(BIG), chance.choice((1, 4096, 200_000))
                assert os.pread(stream.fileno(), size, start) == expected[start : start + size]
            whole = hashlib.sha256((shown / "big.bin").read_bytes()).digest()
            assert whole == hashlib.sha256(expected).digest()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert contents(shown) == contents(churn)
    assert unmount(shown).left == []
    assert not shown.exists()


def test_blocks_are_right_under_parallel_readers(far: Path, churn: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_caches(home)
    monkeypatch.setattr(fuse_process, "BLOCK_BYTES", 5000)  # so that blocks come and go all the time
    monkeypatch.setattr(fuse_process, "MAX_BLOCKS", 4)
    workspace = open_workspace()
    manifest = workspace.store.load_manifest(workspace.catalog.get_version("churn").digest or "")
    blocks = fuse_process.Blocks(workspace.store.open_tree(manifest), {item.path: item.size_bytes for item in manifest.files})
    expected = (churn / "big.bin").read_bytes()

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            start, size = chance.randrange(BIG), chance.randrange(20_000)
            assert blocks.read("big.bin", start, size) == expected[start : start + size]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert blocks.read("empty", 0, 10) == b""
    blocks.close()


@pytest.mark.usefixtures("fuse")
def test_a_fuse_mount_refuses_every_change(churn: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    mount("churn", shown, kind="fuse")
    for change in (
        lambda: (shown / "new").write_text("x"),
        lambda: (shown / "empty").write_text("x"),
        lambda: (shown / "empty").unlink(),
        lambda: (shown / "folder").mkdir(),
        lambda: (shown / "empty").rename(shown / "other"),
        lambda: (shown / "empty").chmod(0o666),
    ):
        with pytest.raises(OSError, match="Read-only file system"):
            change()
    with pytest.raises(FileNotFoundError):
        (shown / "absent").read_text()
    unmount(shown)


@pytest.mark.usefixtures("fuse")
def test_a_fuse_mount_in_use_is_not_taken_away(churn: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    mount("churn", shown, kind="fuse")
    with (shown / "big.bin").open("rb"), pytest.raises(Conflict, match=r"shown cannot be unmounted: .*busy. Close what reads"):
        unmount(shown)
    process = mounts.read_record(_record_folder(shown)).process  # type: ignore[union-attr]
    assert process is not None
    unmount(shown)
    assert not is_alive(process)


@pytest.mark.usefixtures("fuse")
def test_a_fuse_mount_whose_process_died_makes_room_for_the_next(churn: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    mount("churn", shown, kind="fuse")
    process = mounts.read_record(_record_folder(shown)).process  # type: ignore[union-attr]
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    while is_alive(process):
        time.sleep(0.01)
    assert MLClient().models.list_mounts() == []
    mount("churn", shown)
    assert contents(shown) == contents(churn)
    unmount(shown)
    mount("churn", shown, kind="fuse")
    process = mounts.read_record(_record_folder(shown)).process  # type: ignore[union-attr]
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    while is_alive(process):
        time.sleep(0.01)
    assert unmount(shown).left == []
    assert not shown.exists()


@pytest.mark.usefixtures("fuse")
def test_a_store_that_goes_away_is_an_error_of_the_disk_not_zeros(far: Path, churn: Path, home: Path, tmp_path: Path) -> None:
    forget_caches(home)
    shown = tmp_path / "shown"
    mount("churn", shown, kind="fuse")
    shutil.rmtree(far / "blobs")
    with pytest.raises(OSError, match="Input/output error"):
        (shown / "big.bin").read_bytes()
    unmount(shown)


def test_a_process_that_cannot_mount_says_why(churn: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mfusepy", reason="mfusepy is not installed", exc_type=OSError)
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mfusepy.py").write_text("raise OSError('Unable to find libfuse')")  # as it says without the system's library
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(Unavailable, match=r"shown cannot be mounted: OSError: Unable to find libfuse.$"):
        mount("churn", tmp_path / "shown", kind="fuse")
    assert not (tmp_path / "shown").exists()
    assert list((home / "mounts").iterdir()) == []


# --- checksums and Python ---------------------------------------------------------------------------------------------


def test_checksums_are_those_that_other_tools_work_out(churn: Path, models: Any, tmp_path: Path) -> None:
    sums = models.checksums("churn", "1")
    assert {item.path: item.sha256 for item in sums} == {path: hashlib.sha256(text).hexdigest() for path, text in contents(churn).items()}
    assert [item.blake3 for item in sums] == [item.digest for item in models.get("churn", "1").files]
    query = ["model", "checksums", "churn:1", "--query", "[].join('  ', [sha256, path])", "--output", "tsv"]
    said = subprocess.run([sys.executable, "-m", "jupyter_modelreg", *query], capture_output=True, text=True, check=True).stdout
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "-c", "--quiet"], input=said, text=True, cwd=churn, check=False).returncode == 0
    assert said.splitlines() == [f"{item.sha256}  {item.path}" for item in sums]


def test_a_checksum_that_was_worked_out_is_not_worked_out_again(churn: Path, models: Any, home: Path) -> None:
    before = models.checksums("churn", "1")
    shutil.rmtree(home / "store" / "blobs")
    assert models.checksums("churn", "1") == before


def test_a_with_block_mounts_and_unmounts(churn: Path, models: Any, tmp_path: Path) -> None:
    with models.mount("churn", label="latest") as shown:
        assert contents(Path(shown)) == contents(churn)
        assert os.path.join(shown, "big.bin") == f"{shown}/big.bin"
        assert shown.mount.model == "churn:1"
    assert not Path(shown).exists()
    with models.mount("churn", "1", tmp_path / "draft", mode="rw_mount") as draft:
        (tmp_path / "draft" / "more").write_text("new")
        assert draft.commit(description="more").version == "2"
    assert not (tmp_path / "draft").exists()


def test_a_with_block_drops_no_changes(churn: Path, models: Any, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="not committed: more"), models.mount("churn", "1", "draft", mode="rw_mount"):
        (tmp_path / "draft" / "more").write_text("new")
    assert (tmp_path / "draft" / "more").read_text() == "new"
    unmount("draft", discard=True)
    with pytest.raises(KeyError), models.mount("churn", "1", "draft", mode="rw_mount"):
        _change_and_fail(tmp_path / "draft")
    assert (tmp_path / "draft" / "more").read_text() == "new"
    unmount("draft", discard=True)


def _change_and_fail(draft: Path) -> None:
    (draft / "more").write_text("new")
    raise KeyError


def test_a_block_may_unmount_by_itself(churn: Path, models: Any, tmp_path: Path) -> None:
    with models.mount("churn", "1", "draft", mode="rw_mount") as draft:
        (tmp_path / "draft" / "more").write_text("new")
        draft.unmount(discard=True)
    assert not (tmp_path / "draft").exists()


def test_a_temporary_folder_goes_when_nothing_was_mounted(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(NotFound):
        models.mount("nobody")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_person_reads_one_line(churn: Path, models: Any, tmp_path: Path) -> None:
    shown = models.mount("churn", "1", tmp_path / "<b>")
    assert to_text(shown.mount) == f"{tmp_path}/<b> shows churn:1, 9.0 MB: {shown.mount.reason}."
    assert f"<code>{tmp_path}/&lt;b&gt;</code> shows <b>churn:1</b>" in to_html(shown.mount)
    assert to_text(models.list_mounts()).splitlines()[2].split()[1:] == ["churn:1", "ro_mount", "view", "9.0", "MB"]
    done = shown.unmount()
    assert to_text(done) == f"{tmp_path}/<b> shows nothing any more."
    left = done.replace(left=["a\x1b[2J", "<i>"])
    assert to_text(left).splitlines()[1:] == ["  a\\x1b[2J", "  <i>"]
    assert "2 files stay that the mount had not put there:</div><div>a\x1b[2J</div><div>&lt;i&gt;</div>" in to_html(left)
