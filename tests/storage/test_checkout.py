"""Writing into a person's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import Conflict, Corrupted, Unavailable
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.storage.checkout import Checkout, _folded
from jupyter_modelreg.trees import Manifest, ManifestFile

from .conftest import MakeTree

FILES = {"a.txt": b"one", "deep/er/b.txt": b"two"}


@pytest.fixture
def manifest(store: LocalStore, make_tree: MakeTree) -> Manifest:
    return store.import_tree(make_tree(FILES))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def damage(store: LocalStore, manifest: Manifest, number: int) -> None:
    path = store.blob_path(manifest.files[number].digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"eno")


def write_late(store: LocalStore, out: Path, item: ManifestFile, path: str, meanwhile: Callable[[], object]) -> None:
    """Write one file after something else happened between the look and the deed."""
    with Checkout(str(out)) as target:
        assert not target.has(path, item)
        meanwhile()
        target.write([(store.blob_path(item.digest), 0, item.size_bytes)], path, item)


def test_folders_are_made_and_files_are_the_persons_own(store: LocalStore, manifest: Manifest, out: Path) -> None:
    assert store.checkout(manifest, str(out / "x" / "y")) == ["model/a.txt", "model/deep/er/b.txt"]
    copy = out / "x" / "y" / "model" / "deep" / "er" / "b.txt"
    assert copy.read_bytes() == b"two"
    assert os.access(copy, os.W_OK)
    assert copy.stat().st_nlink == 1


def test_a_single_file_has_no_folder_of_its_own(store: LocalStore, tmp_path: Path, out: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    assert store.checkout(store.import_tree(open_local(str(tmp_path / "m.pt"))), str(out)) == ["m.pt"]
    assert (out / "m.pt").read_bytes() == b"x"


def test_doing_it_again_changes_nothing(store: LocalStore, manifest: Manifest, out: Path) -> None:
    store.checkout(manifest, str(out))
    before = (out / "model" / "a.txt").stat()
    store.checkout(manifest, str(out))
    assert (out / "model" / "a.txt").stat() == before


def test_other_content_in_the_way_is_not_overwritten(store: LocalStore, manifest: Manifest, out: Path) -> None:
    (out / "model" / "deep" / "er").mkdir(parents=True)
    (out / "model" / "deep" / "er" / "b.txt").write_bytes(b"min")
    with pytest.raises(Conflict, match=r"b\.txt exists with other content; nothing was overwritten"):
        store.checkout(manifest, str(out))
    assert (out / "model" / "deep" / "er" / "b.txt").read_bytes() == b"min"
    assert not (out / "model" / "a.txt").exists()


@pytest.mark.parametrize("place", ["model", "model/deep", "model/a.txt"])
def test_a_link_in_the_way_is_not_followed(store: LocalStore, manifest: Manifest, out: Path, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(elsewhere)
    with pytest.raises(Conflict, match=f"{place} is a link"):
        store.checkout(manifest, str(out))
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_is_a_link_itself_is_not_followed(store: LocalStore, manifest: Manifest, out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="out is a link"):
        store.checkout(manifest, str(out))


def test_a_link_that_comes_after_the_look_is_not_followed(store: LocalStore, manifest: Manifest, out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    item = manifest.files[1]
    with pytest.raises(Conflict):
        write_late(store, out, item, "model/deep/b.txt", lambda: (out / "model").symlink_to(tmp_path / "elsewhere"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_comes_after_the_look_is_not_overwritten(store: LocalStore, manifest: Manifest, out: Path) -> None:
    item = manifest.files[0]
    with pytest.raises(Conflict, match="exists with other content"):
        write_late(store, out, item, "a.txt", lambda: (out / "a.txt").write_text("mine"))
    assert [path.read_text() for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize("place", ["model", "model/deep", "model/deep/er"])
def test_a_file_where_a_folder_must_be_is_said_so(store: LocalStore, manifest: Manifest, out: Path, place: str) -> None:
    (out / place).parent.mkdir(parents=True)
    (out / place).write_text("mine")
    with pytest.raises(Conflict, match=f"{place} exists with other content"):
        store.checkout(manifest, str(out))
    assert (out / place).read_text() == "mine"


@pytest.mark.parametrize("number", [0, 1])
def test_damage_leaves_the_folder_as_it_was(store: LocalStore, manifest: Manifest, out: Path, number: int) -> None:
    damage(store, manifest, number)
    with pytest.raises(Corrupted, match="is damaged in the store"):
        store.checkout(manifest, str(out / "new"))
    assert not out.exists()
    (out / "model").mkdir(parents=True)
    (out / "model" / "mine.txt").write_text("mine")
    with pytest.raises(Corrupted):
        store.checkout(manifest, str(out))
    assert sorted(out.rglob("*")) == [out / "model", out / "model" / "mine.txt"]


def test_a_name_as_long_as_names_may_be_is_written(store: LocalStore, make_tree: MakeTree, out: Path) -> None:
    name = "n" * 255
    store.checkout(store.import_tree(make_tree({name: b"x"})), str(out))
    assert os.listdir(out / "model") == [name]


def test_a_large_file_is_verified_too(store: LocalStore, tmp_path: Path, out: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(5 << 20))
    manifest = store.import_tree(open_local(str(tmp_path / "large.bin")))
    store.checkout(manifest, str(out))
    assert (out / "large.bin").read_bytes() == (tmp_path / "large.bin").read_bytes()
    path = store.blob_path(manifest.files[0].digest)
    os.chmod(path, 0o644)
    with open(path, "r+b") as stream:
        stream.seek(3 << 20)
        stream.write(b"rot")
    with pytest.raises(Corrupted):
        store.checkout(manifest, str(tmp_path / "again"))


def test_what_rests_since_it_was_found_sound_may_be_copied_unread_and_what_does_not_is_read(
    store: LocalStore, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(os.urandom(9 << 20) + bytes(3 << 20))
    manifest = store.import_tree(open_local(str(tmp_path / "big.bin")))
    store.checkout(manifest, str(out / "one"), is_verified=False)
    assert (out / "one" / "big.bin").read_bytes() == (tmp_path / "big.bin").read_bytes()
    damage(store, manifest, 0)  # its times tell
    with pytest.raises(Corrupted, match="is damaged in the store"):
        store.checkout(manifest, str(out / "two"), is_verified=False)
    assert not (out / "two").exists()


def test_a_folder_that_cannot_be_written_is_said_so(store: LocalStore, manifest: Manifest) -> None:
    with pytest.raises(Unavailable, match=r"/proc/self/nowhere cannot be written: .*; nothing was downloaded"):
        store.checkout(manifest, "/proc/self/nowhere")


def test_two_downloads_into_one_folder_both_succeed(store: LocalStore, manifest: Manifest, root: Path, out: Path) -> None:
    code = (
        "import sys; from jupyter_modelreg.storage import LocalStore as S; s = S(sys.argv[1]);"
        "print(len(s.checkout(s.load_manifest(sys.argv[2]), sys.argv[3])))"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(root), manifest.digest, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [run.communicate() for run in runs] == [(b"2\n", b"")] * 4
    assert {path.name: path.read_bytes() for path in out.rglob("*.*")} == {"a.txt": b"one", "b.txt": b"two"}


@pytest.mark.parametrize("names", [("Weights.bin", "weights.bin"), ("\u00e9.bin", "e\u0301.bin")])
def test_two_names_that_a_disk_takes_for_one_are_said_so(
    names: tuple[str, str], store: LocalStore, make_tree: MakeTree, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.import_tree(make_tree({names[0]: b"one", names[1]: b"two"}))
    real = os.link

    def link(source: str, name: str, **options: Any) -> None:
        """Name a file as a disk does that folds names."""
        if any(_folded(name) == _folded(other) for other in os.listdir(options["dst_dir_fd"])):
            raise FileExistsError(17, "File exists")
        real(source, name, **options)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(Conflict, match=r"are one name on the file system of .*out; nothing was downloaded"):
        store.checkout(manifest, str(out))
    assert not out.exists()


def test_without_hard_links_nothing_is_written_over(
    store: LocalStore, manifest: Manifest, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(Conflict, match="exists with other content"):
        write_late(store, out, manifest.files[0], "a.txt", lambda: (out / "a.txt").write_text("mine"))
    assert (out / "a.txt").read_text() == "mine"
