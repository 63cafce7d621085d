"""What every store promises, on the one that keeps files on this machine."""

from __future__ import annotations

import gc
import os
import stat
import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from blake3 import blake3

from jupyter_modelreg.errors import Conflict, Corrupted, InvalidInput, NotFound, Refused, Unavailable
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import LocalStore, open_store
from jupyter_modelreg.storage.blobs import data_bytes, hash_file
from jupyter_modelreg.testing.stores import GivenTree
from jupyter_modelreg.trees import Manifest, ManifestFile, TreeFile, read_bytes

from .conftest import MakeTree

FILES = {"MLmodel": b"flavors: {}", "data/weights.bin": b"\x00\x01" * 1000, "data/empty": b""}


def below(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in (root / kind).rglob("*") if path.is_file())


def test_files_come_back_as_they_were(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(FILES))
    tree = store.open_tree(manifest)
    assert {item.path: read_bytes(tree, item.path) for item in tree.files()} == FILES
    assert (manifest.root, manifest.is_file, manifest.size_bytes) == ("model", False, 2011)
    assert store.verify(manifest) == []


def test_a_tree_that_lies_elsewhere_is_kept_the_same(store: LocalStore, make_tree: MakeTree) -> None:
    far = store.import_tree(GivenTree(FILES))
    assert [item.digest for item in far.files] == [item.digest for item in store.import_tree(make_tree(FILES)).files]


def test_a_stored_tree_can_be_kept_again(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(FILES))
    assert store.import_tree(store.open_tree(manifest)) == manifest


def test_a_blob_has_the_name_that_b3sum_says(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"a": b"hello"}))
    assert manifest.files[0].digest == blake3(b"hello").hexdigest()
    assert Path(store.blob_path(manifest.files[0].digest)).read_bytes() == b"hello"


def test_a_file_larger_than_one_step_is_whole(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_modelreg.storage.blobs.STEP_BYTES", 1 << 20)
    content = os.urandom(5 << 20) + b"tail"
    (tmp_path / "large.bin").write_bytes(content)
    seen: list[tuple[int, int]] = []
    manifest = store.import_tree(open_local(str(tmp_path / "large.bin")), lambda done, total: seen.append((done, total)))
    assert manifest.files[0].digest == blake3(content).hexdigest()
    assert store.verify(manifest) == []
    assert seen[-1] == (len(content), len(content))
    assert len(seen) == 6


def test_without_copying_in_the_kernel_it_is_the_same(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range")
    content = os.urandom(9 << 20)
    (tmp_path / "large.bin").write_bytes(content)
    manifest = store.import_tree(open_local(str(tmp_path / "large.bin")))
    assert manifest.files[0].digest == blake3(content).hexdigest()
    assert store.verify(manifest) == []


def test_the_same_content_is_kept_once(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree({"a": b"same", "b": b"same"}))
    store.import_tree(make_tree({"c": b"same"}))
    assert len(below(root, "blobs")) == 1
    assert below(root, "tmp") == []


def test_the_digest_depends_on_content_and_names_and_nothing_else(tmp_path: Path) -> None:
    digests = set()
    for number, order in enumerate((["a", "b"], ["b", "a"])):
        folder = tmp_path / str(number) / "model"
        folder.mkdir(parents=True)
        for name in order:
            (folder / name).write_text(name)
            os.utime(folder / name, (number * 1000, number * 1000))
        digests.add(LocalStore(str(tmp_path / f"store-{number}")).import_tree(open_local(str(folder))).digest)
    assert len(digests) == 1


def test_both_spellings_of_an_accent_stay_two_files(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "é.bin") for form in ("NFC", "NFD")]
    manifest = store.import_tree(make_tree({name: name.encode() for name in names}))
    store.checkout(manifest, str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path / "out" / "model")) == sorted(names)


def test_names_that_differ_by_case_only_stay_two_files(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"A": b"1", "a": b"2"}))
    assert [read_bytes(store.open_tree(manifest), name) for name in "Aa"] == [b"1", b"2"]


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/./b", "a/../b", "", "a\\b", "line\nbreak", "\x1b[31m", "nul\0"])
def test_a_path_that_is_none_on_every_machine_is_refused(store: LocalStore, root: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a path"):
        store.import_tree(GivenTree({path: b"x"}))
    assert not root.exists()


def test_a_file_that_is_a_folder_too_is_refused(store: LocalStore) -> None:
    with pytest.raises(InvalidInput, match='"a" is a file and a folder at once'):
        store.import_tree(GivenTree({"a": b"x", "a/b/c": b"y"}))


def test_a_tree_that_gives_less_than_it_said_is_refused(store: LocalStore, root: Path) -> None:
    tree = GivenTree({"a": b"whole"})
    tree.files = lambda: [TreeFile(path="a", size_bytes=99)]  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="a changed while it was read; nothing was registered"):
        store.import_tree(tree)
    assert below(root, "blobs") == below(root, "tmp") == []


def test_ten_thousand_files_are_looked_up_not_searched(store: LocalStore) -> None:
    files = tuple(ManifestFile(path=f"{number:05}", size_bytes=1, digest=f"{number:064x}") for number in range(10_000))
    tree = store.open_tree(Manifest(root="model", files=files))
    assert [tree.local_path(item.path) for item in tree.files()] == [store.blob_path(item.digest) for item in files]


# --- who may read, what is durable ------------------------------------------------------------------------------------


def test_everything_that_is_made_belongs_to_its_owner_alone(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    before = os.umask(0)
    try:
        manifest = store.import_tree(make_tree(FILES))
    finally:
        os.umask(before)
    folders = [root.parent, root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert stat.S_IMODE(os.stat(store.blob_path(manifest.files[0].digest)).st_mode) == 0o444


def test_files_are_flushed_before_they_are_named_and_folders_after(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(handle: int) -> None:
        done.append(("flush", os.readlink(f"/proc/self/fd/{handle}")))
        real_fsync(handle)

    def link(source: str, target: str, **options: object) -> None:
        done.append(("name", target))
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    manifest = store.import_tree(make_tree({"a": b"one"}))
    names = [path for what, path in done if what == "name"]
    first, last = done.index(("name", names[0])), done.index(("name", names[-1]))
    assert set(names) == {store.blob_path(manifest.files[0].digest), str(below(root, "manifests")[0])}
    assert len([path for what, path in done[:first] if what == "flush" and Path(path).parent.parent == root / "tmp"]) == 2
    flushed_after = {path for what, path in done[last:] if what == "flush"}
    for name in names:
        folder = Path(name).parent
        assert {str(folder), str(folder.parent), str(root), str(root.parent)} <= flushed_after


def test_a_name_that_another_process_made_a_moment_ago_is_flushed_and_no_old_one(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    for folder in (root.parent, root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (1, 1))
    fresh = Path(store.blob_path(manifest.files[0].digest)).parent
    os.utime(fresh)
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    assert store.import_tree(make_tree({"a": b"one"})) == manifest
    assert flushed == [str(fresh)]


def test_a_flush_that_fails_leaves_nothing_named(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(FILES)
    store.import_tree(GivenTree({"other": b"makes the folders"}))
    before = below(root, "blobs")

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Exception, match=r"cannot be kept in .*store: the disk failed to read or write; nothing was registered"):
        store.import_tree(tree)
    assert (below(root, "blobs"), below(root, "tmp")) == (before, [])


def test_an_error_while_hashing_is_not_lost_in_its_thread(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("jupyter_modelreg.storage.blobs._hash_range", broken)
    (tmp_path / "large.bin").write_bytes(bytes(5 << 20))
    with pytest.raises(Exception, match="Cannot allocate memory"):
        store.import_tree(open_local(str(tmp_path / "large.bin")))
    assert below(root, "blobs") == below(root, "tmp") == []


def test_no_descriptor_is_left_open(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(FILES)
    manifest = store.import_tree(tree)
    gc.collect()  # what other tests left open goes now, not in between
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(3):
        store.import_tree(tree)
        store.checkout(manifest, str(tmp_path / f"out-{number}"))
        store.view(manifest)
        with pytest.raises(NotFound):
            store.load_manifest("0" * 64)
    assert sorted(os.listdir("/proc/self/fd")) == before


# --- room, holes, links -----------------------------------------------------------------------------------------------


def test_a_quota_is_looked_at_before_a_byte_is_copied(root: Path, make_tree: MakeTree) -> None:
    store = LocalStore(str(root), quota_bytes=1000)
    first = store.import_tree(make_tree({"a": bytes(600)}))
    held: list[set[str]] = []
    with pytest.raises(Refused, match=r"^model needs 600 B; the store has 600 B of its quota of 1.0 kB\. .*; nothing was registered\.$"):
        store.import_tree(GivenTree({"b": b"x" * 600}), hold=held.append)
    assert held == below(root, "tmp") == []
    assert len(below(root, "blobs")) == 1
    assert store.import_tree(GivenTree({"c": b"x" * 400})).size_bytes == 400
    assert store.verify(first) == []


def test_what_is_there_already_counts_for_no_quota(root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_modelreg.storage.index.RESTED_NS", 0)
    manifest = LocalStore(str(root)).import_tree(make_tree({"a": bytes(600)}))
    assert LocalStore(str(root), quota_bytes=700).import_tree(make_tree({})) == manifest


def test_a_file_larger_than_the_disk_is_said_so_before_a_byte_is_copied(store: LocalStore, root: Path) -> None:
    class Endless(GivenTree):
        def files(self) -> list[TreeFile]:
            return [TreeFile(path="a", size_bytes=1 << 60)]

        def open(self, path: str) -> BinaryIO:
            raise AssertionError("it was read")

    with pytest.raises(Unavailable, match=r"^model needs 1152921\.5 TB, and the disk of .*/store has .* left; nothing was registered"):
        store.import_tree(Endless({}))
    assert below(root, "tmp") == []


def test_only_what_is_no_hole_needs_room(tmp_path: Path) -> None:
    (tmp_path / "young.bin").write_bytes(bytes(3 << 20))  # whose place on disk may not be decided yet
    with open(tmp_path / "sparse.bin", "wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(32 << 20)
        stream.write(os.urandom(1 << 20))
    if os.stat(tmp_path / "sparse.bin").st_blocks > 10_000:
        pytest.skip("this file system keeps no holes")
    assert data_bytes(str(tmp_path / "young.bin"), 3 << 20) == 3 << 20
    assert data_bytes(str(tmp_path / "sparse.bin"), 64 << 20) == 1 << 20


def test_relaxed_durability_flushes_nothing_and_keeps_everything(root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    LocalStore(str(root)).import_tree(GivenTree({"makes": b"the folders"}))
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    monkeypatch.setattr("jupyter_modelreg.storage.blobs._sync_file_system", lambda name: flushed.append(1))
    store = LocalStore(str(root), flushes=False)
    for files in (FILES, {f"{number}": os.urandom(2000) for number in range(40)}, {"large": bytes(9 << 20)}):
        assert store.verify(store.import_tree(make_tree(files))) == []
    assert flushed == []


def test_holes_stay_holes(store: LocalStore, tmp_path: Path) -> None:
    with open(tmp_path / "sparse.bin", "wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(700 << 20)
        stream.write(os.urandom(1 << 20))
    if os.stat(tmp_path / "sparse.bin").st_blocks > 10_000:
        pytest.skip("this file system keeps no holes")
    manifest = store.import_tree(open_local(str(tmp_path / "sparse.bin")))
    blob = store.blob_path(manifest.files[0].digest)
    assert manifest.files[0].digest == hash_file(str(tmp_path / "sparse.bin"))
    assert os.stat(blob).st_size == 1 << 30
    store.checkout(manifest, str(tmp_path / "out"))
    for path in (blob, str(tmp_path / "out" / "sparse.bin")):
        assert os.stat(path).st_blocks * 512 < 4 << 20


def test_a_linked_file_is_the_blob(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    manifest = store.import_tree(make_tree({"a": b"one", "w.bin": bytes(5 << 20)}), is_linked=True)
    for item in manifest.files:
        local = tmp_path / "model" / item.path
        assert os.path.samefile(local, store.blob_path(item.digest))
        assert stat.S_IMODE(local.stat().st_mode) == 0o444
    assert store.verify(manifest) == []
    assert store.import_tree(make_tree({}), is_linked=True) == manifest


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no other disk here")
def test_a_file_on_another_disk_cannot_be_linked_and_says_so(store: LocalStore, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder, "m.bin").write_bytes(b"x")
        with pytest.raises(
            InvalidInput, match=r"m\.bin cannot be linked into .*: Invalid cross-device link\. Copy it: leave out --transfer\."
        ):
            store.import_tree(open_local(f"{folder}/m.bin"), is_linked=True)
    assert below(root, "blobs") == below(root, "tmp") == []


def test_a_name_that_somebody_else_has_just_given_is_flushed_too(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another process that has not come to flushing it."""
    monkeypatch.setattr("jupyter_modelreg.storage.index.RESTED_NS", 0)
    manifest = store.import_tree(make_tree({"a": b"one"}))
    for folder in (root.parent, root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (1, 1))
    fresh = Path(store.blob_path(manifest.files[0].digest)).parent
    os.utime(fresh)
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    assert store.import_tree(make_tree({})) == manifest
    assert flushed == [str(fresh)]


def test_names_in_any_script_are_kept_byte_for_byte(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    files = {
        f"{name}/{name}.bin": name.encode() for name in ("模型", "модель", "نموذج", "मॉडल", "🙂", "a b'c\"d", " ", "n\u0303", "\u00f1")
    }
    manifest = store.import_tree(make_tree(files))
    store.checkout(manifest, str(tmp_path / "out"))
    for folder in (Path(store.view(manifest)) / "model", tmp_path / "out" / "model"):
        assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(path: str | Path, content: bytes) -> None:
    os.chmod(path, 0o644)
    Path(path).write_bytes(content)


def test_a_flipped_bit_is_found(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"a": b"one", "b": b"two"}))
    damage(store.blob_path(manifest.files[0].digest), b"onf")
    assert store.verify(manifest) == ["a"]
    os.unlink(store.blob_path(manifest.files[1].digest))
    assert store.verify(manifest) == ["a", "b"]


@pytest.mark.parametrize("content", [b"onf", b"on", b""])
def test_registering_the_content_again_heals_it(store: LocalStore, make_tree: MakeTree, content: bytes) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    view = store.view(manifest)
    damage(store.blob_path(manifest.files[0].digest), content)
    assert store.import_tree(make_tree({"a": b"one"})) == manifest
    assert store.verify(manifest) == []
    assert (Path(store.view(manifest)) / "model" / "a").read_bytes() == b"one"
    assert store.view(manifest) == view


def test_a_damaged_manifest_is_no_manifest(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    path = below(root, "manifests")[0]
    damage(path, path.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(Corrupted, match="Register its files again to mend it"):
        store.load_manifest(manifest.digest)
    store.import_tree(make_tree({"a": b"one"}))
    assert store.load_manifest(manifest.digest) == manifest


@pytest.mark.parametrize("digest", ["", "..", "ab", "0" * 64, "Z" * 64, "a" * 5000])
def test_a_digest_that_is_none_is_not_found(store: LocalStore, digest: str) -> None:
    with pytest.raises(NotFound, match="no manifest"):
        store.load_manifest(digest)


def test_a_missing_blob_is_said_so(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    assert store.holds(manifest)
    os.unlink(store.blob_path(manifest.files[0].digest))
    assert not store.holds(manifest)
    with pytest.raises(Corrupted, match=r"^a is missing from the store /"):
        store.open_tree(manifest).open("a")
    with pytest.raises(Corrupted, match="a is missing"):
        store.checkout(manifest, str(tmp_path / "out"))
    with pytest.raises(Corrupted, match="a is missing or damaged"):
        store.view(manifest)


def test_a_file_that_is_not_in_the_tree_is_not_found(store: LocalStore, make_tree: MakeTree) -> None:
    with pytest.raises(NotFound, match='There is no "b" in "model"; it holds a'):
        store.open_tree(store.import_tree(make_tree({"a": b"one"}))).open("b")


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_view_shows_the_tree_and_copies_nothing(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(FILES))
    view = Path(store.view(manifest)) / "model"
    assert {str(path.relative_to(view)): path.read_bytes() for path in view.rglob("*") if path.is_file()} == FILES
    assert os.path.samefile(view / "MLmodel", store.blob_path(manifest.files[0].digest))
    assert stat.S_IMODE((view / "data").stat().st_mode) == 0o555


def test_a_view_of_a_single_file_is_that_file(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"onnx")
    manifest = store.import_tree(open_local(str(tmp_path / "m.onnx")))
    assert (Path(store.view(manifest)) / "m.onnx").read_bytes() == b"onnx"


def test_a_view_that_lost_a_file_is_made_anew(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(FILES))
    lost = Path(store.view(manifest)) / "model" / "data" / "weights.bin"
    os.chmod(lost.parent, 0o755)
    lost.unlink()
    store.view(manifest)
    assert lost.read_bytes() == FILES["data/weights.bin"]


def test_without_hard_links_everything_works_by_other_means(
    store: LocalStore, make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    manifest = store.import_tree(make_tree(FILES))
    assert store.verify(manifest) == []
    view = Path(store.view(manifest)) / "model" / "MLmodel"
    assert view.is_symlink()
    assert view.read_bytes() == FILES["MLmodel"]
    assert store.view(manifest) == store.view(manifest)
    store.checkout(manifest, str(tmp_path / "out"))
    assert (tmp_path / "out" / "model" / "MLmodel").read_bytes() == FILES["MLmodel"]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_threads_that_ask_for_a_view_at_once_all_get_it(is_damaged: bool, store: LocalStore, make_tree: MakeTree) -> None:
    for attempt in range(8):
        manifest = store.import_tree(make_tree({f"{attempt}-{number}": b"x" for number in range(8)}))
        if is_damaged:
            place = os.path.join(store.view(manifest), "model")
            os.chmod(place, 0o755)
            os.unlink(os.path.join(place, f"{attempt}-7"))
        with ThreadPoolExecutor(8) as threads:
            seen = list(threads.map(lambda _, wanted=manifest: os.listdir(os.path.join(store.view(wanted), "model")), range(8)))
        assert [len(names) for names in seen] == [len(manifest.files)] * 8


def test_a_damaged_view_is_mended_where_folders_cannot_be_swapped(
    store: LocalStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.import_tree(make_tree({"a": b"one", "b": b"two"}))
    place = os.path.join(store.view(manifest), "model")
    os.chmod(place, 0o755)
    os.unlink(os.path.join(place, "a"))
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert sorted(os.listdir(os.path.join(store.view(manifest), "model"))) == ["a", "b"]


# --- clean ------------------------------------------------------------------------------------------------------------


def test_collecting_keeps_what_is_used_and_frees_the_rest(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    first = store.import_tree(make_tree({"a": b"one", "shared": b"both"}))
    second = store.import_tree(GivenTree({"b": b"three", "shared": b"both"}))
    store.view(second)
    manifest_bytes = sum(path.stat().st_size for path in below(root, "manifests") if path.name == second.digest)
    assert store.remove(store.garbage({first.digest}, grace_seconds=-1)) == len(b"three") + manifest_bytes
    assert store.verify(first) == []
    assert not os.path.exists(store.blob_path(second.files[0].digest))
    assert list((root / "views").iterdir()) == []
    with pytest.raises(NotFound):
        store.load_manifest(second.digest)


def test_what_is_young_may_belong_to_a_registration_that_runs(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    assert store.remove(store.garbage(set())) == 0
    assert store.holds(manifest)


def test_collecting_stops_at_a_manifest_it_cannot_read(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({"a": b"one"}))
    damage(below(root, "manifests")[0], b"{}")
    with pytest.raises(Corrupted):
        store.remove(store.garbage({manifest.digest}, grace_seconds=-1))
    assert os.path.exists(store.blob_path(manifest.files[0].digest))


def test_what_a_killed_process_left_is_removed(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree({"a": b"one"}))
    left = root / "tmp" / "0123" / "view" / "inner"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"x")
    left.chmod(0o555)
    store.remove(store.garbage(set(), grace_seconds=-1))
    assert list((root / "tmp").iterdir()) == []


def test_a_scratch_folder_goes_with_its_context(store: LocalStore, root: Path) -> None:
    with store.scratch() as folder:
        Path(folder, "model.bin").write_bytes(b"x")
    assert list((root / "tmp").iterdir()) == []


def test_a_file_url_is_a_folder(tmp_path: Path, make_tree: MakeTree) -> None:
    open_store(f"file://{tmp_path / 'elsewhere'}", str(tmp_path / "caches")).import_tree(make_tree({"a": b"1"}))
    assert (tmp_path / "elsewhere" / "blobs").is_dir()


def test_the_order_of_a_manifest_is_the_bytes_order(store: LocalStore) -> None:
    manifest: Manifest = store.import_tree(GivenTree({"b": b"", "a/z": b"", "a.txt": b"", "é": b"", "\U0001f600": b""}))
    assert [item.path for item in manifest.files] == ["a.txt", "a/z", "b", "é", "\U0001f600"]
