"""Files and folders of this machine as trees."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from jupyter_modelreg.errors import Conflict, InvalidInput, NotFound
from jupyter_modelreg.references import LocalPath
from jupyter_modelreg.sources.local import LocalTree, open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.trees import paths, read_bytes
from jupyter_modelreg.workspace import Workspace


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "deep" / "b.txt").write_text("two")
    return folder


def listed(tree: LocalTree) -> list[str]:
    return list(paths(tree))


# --- what a tree is ---------------------------------------------------------------------------------------------------


def test_a_folder_is_its_files_by_path(model: Path) -> None:
    tree = open_local(str(model))
    assert (tree.root, tree.is_file, listed(tree)) == ("model", False, ["a.txt", "deep/b.txt"])
    assert [item.size_bytes for item in tree.files()] == [3, 3]
    assert read_bytes(tree, "deep/b.txt") == b"two"
    assert tree.local_path("a.txt") == str(model / "a.txt")


def test_a_single_file_is_a_tree_with_its_own_name(model: Path) -> None:
    tree = open_local(str(model / "a.txt"))
    assert (tree.root, tree.is_file, listed(tree)) == ("a.txt", True, ["a.txt"])


@pytest.mark.parametrize("spelling", ["model", "./model", "model/", "model/deep/..", "."])
def test_the_root_is_the_last_part_of_the_path(model: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    if spelling == ".":
        monkeypatch.chdir(model)
    assert open_local(spelling).root == "model"


def test_the_home_folder_may_be_written_short(model: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    assert workspace.open_tree(LocalPath(path="~/model")).root == "model"


def test_a_file_that_is_not_in_the_tree_is_not_found(model: Path) -> None:
    with pytest.raises(NotFound, match=r'There is no "c" in "model"; it holds a\.txt, deep/b\.txt'):
        open_local(str(model)).open("c")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_path_that_does_not_exist_names_its_neighbour(model: Path) -> None:
    with pytest.raises(NotFound, match=r'No such file or directory: modle\. Did you mean "model"\?'):
        open_local("modle")
    with pytest.raises(NotFound, match="No such file or directory: nowhere/at/all"):
        open_local("nowhere/at/all")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="empty is empty; a model needs at least one file"):
        open_local(str(tmp_path / "empty"))


def test_the_root_of_the_file_system_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="is the root of the file system"):
        open_local("/")


def test_a_socket_a_pipe_and_a_device_are_refused_by_name(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
        with pytest.raises(InvalidInput, match="sock is a socket; a model holds files only"):
            open_local(str(model))
    os.unlink("sock")
    os.mkfifo("pipe")
    with pytest.raises(InvalidInput, match="pipe is a pipe"):
        open_local(str(model))
    with pytest.raises(InvalidInput, match="pipe is a pipe"):
        open_local(str(model / "pipe"))
    with pytest.raises(InvalidInput, match="/dev/null is a device"):
        open_local("/dev/null")


def test_a_name_that_is_no_unicode_is_refused(model: Path) -> None:
    Path(os.fsdecode(bytes(model / "deep") + b"/\xff.bin")).write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"deep holds a file whose name is not UTF-8: \\udcff\.bin\. Rename it"):
        open_local(str(model))


def test_a_folder_whose_own_name_is_no_unicode_is_refused(model: Path) -> None:
    odd = os.fsdecode(bytes(model.parent) + b"/\xff")
    os.rename(model, odd)
    with pytest.raises(InvalidInput, match="not UTF-8"):
        open_local(odd)


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_that_stay_inside_are_followed(model: Path) -> None:
    (model / "link.txt").symlink_to("a.txt")
    (model / "folder").symlink_to("deep")
    tree = open_local(str(model))
    assert listed(tree) == ["a.txt", "deep/b.txt", "folder/b.txt", "link.txt"]
    assert read_bytes(tree, "folder/b.txt") == b"two"
    assert read_bytes(tree, "link.txt") == b"one"


def test_a_path_that_is_a_link_is_the_folder_it_names(model: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(model)
    (tmp_path / "one.txt").symlink_to(model / "a.txt")
    assert open_local(str(tmp_path / "current")).root == "current"
    assert read_bytes(open_local(str(tmp_path / "one.txt")), "one.txt") == b"one"


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret.txt", "/etc", "../model-secret/s.txt"])
def test_a_link_that_leads_out_is_refused(model: Path, target: str) -> None:
    (model.parent / "secret.txt").write_text("s")
    (model.parent / "model-secret").mkdir()
    (model.parent / "model-secret" / "s.txt").write_text("s")
    (model / "deep" / "out").symlink_to(Path("..") / target if target.startswith("..") else target)
    with pytest.raises(InvalidInput, match="deep/out is a link that leads out of the folder, to /"):
        open_local(str(model))


def test_a_broken_link_is_refused_with_its_target(model: Path) -> None:
    (model / "broken").symlink_to("nowhere.bin")
    with pytest.raises(InvalidInput, match=r"broken is a link to nowhere\.bin, which is not there"):
        open_local(str(model))
    with pytest.raises(InvalidInput, match=r"broken is a link to nowhere\.bin"):
        open_local(str(model / "broken"))


@pytest.mark.parametrize(("place", "target"), [("deep/up", ".."), ("self", "."), ("deep/again", "../deep"), ("ring", "ring")])
def test_a_loop_of_links_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch, place: str, target: str) -> None:
    monkeypatch.chdir(model.parent)
    (model / place).symlink_to(target)
    with pytest.raises(InvalidInput, match=r"cannot contain itself|which is not there"):
        open_local("model")


# --- what changes meanwhile -------------------------------------------------------------------------------------------


def test_a_file_that_changed_since_it_was_listed_is_not_read(model: Path) -> None:
    tree = open_local(str(model))
    (model / "a.txt").write_text("eno")
    with pytest.raises(Conflict, match=r"a\.txt changed while it was read; try again when it rests"):
        tree.open("a.txt")


def test_a_file_that_was_replaced_by_a_link_is_not_followed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("key")
    tree = open_local(str(model))
    (model / "a.txt").unlink()
    (model / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(Conflict, match="is not the file it was a moment ago"):
        tree.open("a.txt")


def test_a_folder_that_was_replaced_by_a_link_gives_no_other_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("key")
    tree = open_local(str(model))
    os.rename(model / "deep", model / "gone")
    (model / "deep").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        tree.open("deep/b.txt")


def test_a_file_that_became_a_pipe_is_not_waited_for(model: Path) -> None:
    tree = open_local(str(model))
    (model / "a.txt").unlink()
    os.mkfifo(model / "a.txt")
    with pytest.raises(Conflict):
        tree.open("a.txt")


def test_a_file_that_is_gone_is_said_so(model: Path) -> None:
    tree = open_local(str(model))
    (model / "a.txt").unlink()
    with pytest.raises(Conflict, match=r"a\.txt is not the file it was"):
        tree.open("a.txt")


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_a_file_that_changes_while_it_is_copied_is_not_kept(model: Path, tmp_path: Path, size: int) -> None:
    (model / "a.txt").write_bytes(bytes(size))
    store, changed = LocalStore(str(tmp_path / "store")), []

    def change(done: int, total: int) -> None:
        if not changed:
            with (model / "a.txt").open("r+b") as stream:
                stream.write(b"x")
            os.utime(model / "a.txt", (1, 1))
            changed.append(done)

    with pytest.raises(Conflict, match=r"a\.txt changed while it was read; nothing was registered"):
        store.import_tree(open_local(str(model)), change)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_a_file_that_grows_while_it_is_copied_is_not_read_forever(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("jupyter_modelreg.storage.blobs.STEP_BYTES", 1 << 20)
    (model / "a.txt").write_bytes(bytes(size))
    seen: list[int] = []

    def grow(done: int, total: int) -> None:
        seen.append(done)
        with (model / "a.txt").open("ab") as stream:
            stream.write(bytes(1 << 20))

    with pytest.raises(Conflict, match="changed while it was read"):
        LocalStore(str(tmp_path / "store")).import_tree(open_local(str(model)), grow)
    assert len(seen) < 10


# --- ignore files -----------------------------------------------------------------------------------------------------


def test_what_amlignore_names_is_left_out(model: Path) -> None:
    (model / ".amlignore").write_text("*.log\ndeep/\n!keep.log\n# a comment\n")
    (model / ".gitignore").write_text("a.txt\n")
    (model / "x.log").write_text("")
    (model / "keep.log").write_text("")
    assert listed(open_local(str(model))) == [".amlignore", ".gitignore", "a.txt", "keep.log"]


def test_gitignore_counts_where_there_is_no_amlignore_and_at_the_root_only(model: Path) -> None:
    (model / ".gitignore").write_text("/a.txt\n")
    (model / "deep" / ".gitignore").write_text("*\n")
    assert listed(open_local(str(model))) == [".gitignore", "deep/.gitignore", "deep/b.txt"]


def test_what_is_ignored_may_be_anything(model: Path) -> None:
    (model / ".amlignore").write_text("cache\nout\nbroken\nring\n")
    os.mkfifo(model / "cache")
    (model / "out").symlink_to("/etc")
    (model / "broken").symlink_to("nowhere")
    (model / "ring").symlink_to("ring")
    assert listed(open_local(str(model))) == [".amlignore", "a.txt", "deep/b.txt"]


def test_a_folder_of_which_nothing_is_left_says_why(model: Path) -> None:
    (model / ".amlignore").write_text("*\n")
    with pytest.raises(InvalidInput, match="is empty but for what its ignore file leaves out"):
        open_local(str(model))


def test_an_ignore_file_that_is_no_text_is_refused(model: Path) -> None:
    (model / ".amlignore").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"\.amlignore holds no patterns as git knows them"):
        open_local(str(model))


def test_in_a_thousand_races_no_link_is_followed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("key")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("key")
    is_over = threading.Event()

    def swap() -> None:
        os.rename(model / "deep", tmp_path / "deep")
        while not is_over.is_set():
            for target, link in ((tmp_path / "secret.txt", model / "a.txt"), (tmp_path / "elsewhere", model / "deep")):
                aside = tmp_path / "aside"
                aside.symlink_to(target)
                os.rename(aside, link)
            for place in (model / "a.txt", model / "deep"):
                place.unlink()
            (model / "a.txt").write_text("one")
            os.rename(tmp_path / "deep", model / "deep")
            os.rename(model / "deep", tmp_path / "deep")

    swapper = threading.Thread(target=swap)
    swapper.start()
    read, refused = set(), 0
    try:
        for _ in range(1000):
            try:
                tree = open_local(str(model))
                read |= {read_bytes(tree, path) for path in paths(tree)}
            except (Conflict, InvalidInput, NotFound):
                refused += 1
    finally:
        is_over.set()
        swapper.join()
    assert b"key" not in read
    assert refused > 0
