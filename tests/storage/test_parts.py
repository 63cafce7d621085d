"""Files that are no blob of their own: small ones packed together, read back, mended, collected."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_modelreg.errors import Conflict, Corrupted
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import Garbage, LocalStore
from jupyter_modelreg.storage.parts import Slice, format_parts, open_slices, parse_parts
from jupyter_modelreg.testing.stores import GivenTree
from jupyter_modelreg.trees import Manifest, ManifestFile, read_bytes

from .conftest import MakeTree

MANY = {f"layer-{number:02}/{name}.bin": f"{number} {name}".encode() * 50 for number in range(20) for name in "ab"}


def blobs(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "blobs").rglob("*") if path.is_file())


def without_index(root: Path) -> LocalStore:
    for path in root.glob("index.sqlite*"):
        path.unlink()
    return LocalStore(str(root))


def rot(path: str) -> None:
    """Turn a byte in the middle, as a failing disk does: no time of the file changes."""
    before = os.stat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# --- packs ------------------------------------------------------------------------------------------------------------


def test_many_small_files_lie_in_one_blob_and_come_back_as_they_were(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(MANY))
    assert len(blobs(root)) == 1
    assert store.names_of(manifest) == {manifest.digest, *blobs(root)}
    tree = store.open_tree(manifest)
    assert {item.path: read_bytes(tree, item.path) for item in tree.files()} == MANY
    assert tree.local_path("layer-00/a.bin") is None
    assert store.verify(manifest) == store.damaged(manifest) == []
    assert store.holds(manifest)
    assert store.count_parts([manifest]) == (1, 0)


def test_how_files_lie_is_no_part_of_what_they_are(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    digests = {
        store.import_tree(make_tree(MANY)).digest,
        LocalStore(str(tmp_path / "far")).import_tree(GivenTree(MANY, root="model")).digest,
    }
    one_by_one = LocalStore(str(tmp_path / "single"))
    for number, (path, content) in enumerate(MANY.items()):
        one_by_one.import_tree(GivenTree({path: content}, root=f"m{number}"))
    digests.add(one_by_one.import_tree(make_tree(MANY)).digest)
    assert len(blobs(tmp_path / "single")) == len(MANY)
    assert len(digests) == 1


def test_few_small_files_are_blobs_of_their_own_which_tools_can_map(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    few = dict(list(MANY.items())[:16])
    manifest = store.import_tree(make_tree(few))
    assert blobs(root) == sorted(item.digest for item in manifest.files)


def test_large_and_empty_files_are_never_packed(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree({**MANY, "large": bytes(300 << 10), "empty": b""}))
    whole = {item.digest for item in manifest.files if item.path in ("large", "empty")}
    assert whole < set(blobs(root))
    assert len(blobs(root)) == 3
    assert store.verify(manifest) == []


def test_files_that_fill_many_steps_are_packed_whole(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    files = {f"{number:03}": os.urandom(200_000) for number in range(60)}
    manifest = store.import_tree(make_tree(files))
    assert len(blobs(root)) == 1
    assert os.path.getsize(store.blob_path(blobs(root)[0])) == 60 * 200_000
    assert store.verify(manifest) == []


def test_the_same_small_file_is_packed_once(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree({f"{number}": b"same" for number in range(30)}))
    assert os.path.getsize(store.blob_path(blobs(root)[0])) == 4


def test_what_lies_in_a_pack_is_not_written_again(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree(MANY))
    before = store.blobs()
    changed = {**MANY, **{f"new-{number}": os.urandom(100) for number in range(17)}}
    second = store.import_tree(GivenTree(changed))
    assert sum(store.blobs().values()) - sum(before.values()) == 17 * 100
    assert store.verify(second) == []


def test_without_a_memory_the_parts_that_versions_rely_on_stay(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    base = store.import_tree(GivenTree(dict(list(MANY.items())[:20]), root="base"))
    manifest = store.import_tree(make_tree(MANY))
    before, parts = blobs(root), Path(store.parts_path(manifest.digest)).read_bytes()
    assert len(before) == 2
    again = without_index(root)
    assert again.import_tree(make_tree(MANY)) == manifest
    assert (blobs(root), Path(store.parts_path(manifest.digest)).read_bytes()) == (before, parts)
    assert again.verify(base) == again.verify(manifest) == []


def test_a_small_file_that_changes_while_it_is_read_leaves_nothing(store: LocalStore, root: Path) -> None:
    class Growing(GivenTree):
        def files(self) -> list:  # type: ignore[type-arg]
            return [item.replace(size_bytes=item.size_bytes - (item.path == "layer-05/a.bin")) for item in super().files()]

    with pytest.raises(Conflict, match=r"layer-05/a\.bin changed while it was read"):
        store.import_tree(Growing(MANY))
    assert blobs(root) == list((root / "tmp").iterdir()) == []


def test_a_pack_that_cannot_be_written_is_one_clear_line(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(MANY)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Exception, match="the disk is full; nothing was registered"):
        store.import_tree(tree)
    monkeypatch.undo()
    assert blobs(root) == list((root / "tmp").iterdir()) == []


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_damaged_pack_is_found_and_mended_by_registering_again(
    is_remembered: bool, store: LocalStore, root: Path, make_tree: MakeTree
) -> None:
    manifest = store.import_tree(make_tree(MANY))
    rot(store.blob_path(blobs(root)[0]))
    assert len(store.verify(manifest)) == 1
    again = store if is_remembered else without_index(root)
    assert not again.is_sound(blobs(root)[0])
    assert again.import_tree(make_tree(MANY)) == manifest
    assert again.verify(manifest) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"x": 1}', b"[]"])
def test_damaged_parts_are_said_so_and_mended_by_registering_again(content: bytes, store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(MANY))
    path = Path(store.parts_path(manifest.digest))
    path.chmod(0o644)
    path.write_bytes(content)
    assert not store.holds(manifest)
    assert store.verify(manifest) == [item.path for item in manifest.files]
    for ask in (store.view, store.names_of):
        with pytest.raises(Corrupted, match="Register its files again to mend"):
            ask(manifest)
    assert store.import_tree(make_tree(MANY)) == manifest
    assert store.verify(manifest) == []


def test_what_goes_between_looking_and_holding_is_written_again(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree(MANY))
    held: list[set[str]] = []

    def hold(names: set[str]) -> None:
        held.append(names)
        for blob in blobs(root):
            os.unlink(store.blob_path(blob))

    manifest = store.import_tree(GivenTree({**MANY, "new": b"new"}), hold=hold)
    assert store.verify(manifest) == []
    assert len(held) == 1
    assert store.names_of(manifest) <= held[0]


def lay_out_otherwise(store: LocalStore) -> Manifest:
    """Keep `MANY` in a pack that lacks one file, which lay there by itself."""
    path, content = next(iter(MANY.items()))
    store.import_tree(GivenTree({path: content}))
    return store.import_tree(GivenTree(MANY))


def test_of_two_who_keep_the_same_at_a_time_the_first_says_where_it_lies(store: LocalStore, make_tree: MakeTree) -> None:
    held: list[set[str]] = []
    theirs: list[dict[str, list[Slice]]] = []

    def hold(names: set[str]) -> None:
        held.append(names)
        if not theirs:
            theirs.append(store.load_parts(lay_out_otherwise(store)))

    manifest = store.import_tree(make_tree(MANY), hold=hold)
    assert store.load_parts(manifest) == theirs[0]
    assert not store.names_of(manifest) <= held[0]
    assert store.names_of(manifest) <= held[-1]
    assert store.verify(manifest) == []


def test_where_the_first_laid_it_nothing_is_left_it_is_laid_out_anew(store: LocalStore, make_tree: MakeTree) -> None:
    gone: list[set[str]] = []

    def hold(names: set[str]) -> None:
        if not gone:
            manifest = lay_out_otherwise(store)
            gone.append(store.names_of(manifest) - names)
            store.remove(Garbage(kind="blob", name=name) for name in gone[0])

    manifest = store.import_tree(make_tree(MANY), hold=hold)
    assert gone[0]
    assert store.names_of(manifest).isdisjoint(gone[0])
    assert store.verify(manifest) == []


def test_everything_a_tree_relies_on_is_held(store: LocalStore, make_tree: MakeTree) -> None:
    held: list[set[str]] = []
    for files in (MANY, {**MANY, "x": b"1"}, {"large": bytes(300 << 10)}):
        manifest = store.import_tree(make_tree(files), hold=held.append)
        assert store.names_of(manifest) <= held[-1]


def test_a_pack_stays_while_one_tree_needs_it(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    first = store.import_tree(make_tree(MANY))
    second = store.import_tree(GivenTree({**MANY, "new": b"new"}))
    store.view(first)
    assert store.remove(store.garbage({second.digest}, grace_seconds=-1)) > 0
    assert store.verify(second) == []
    assert not os.path.exists(store.parts_path(first.digest))
    store.remove(store.garbage(set(), grace_seconds=-1))
    assert [path for path in root.rglob("*") if path.is_file() and not path.name.startswith("index.sqlite")] == []


def test_a_view_and_a_copy_of_packed_files_are_those_files(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    manifest = store.import_tree(make_tree(MANY))
    view = Path(store.view(manifest)) / "model"
    store.checkout(manifest, str(tmp_path / "out"))
    for folder in (view, tmp_path / "out" / "model"):
        assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == MANY
    assert {path.stat().st_mode & 0o222 for path in view.rglob("*")} == {0}
    inode = (view / "layer-00" / "a.bin").stat().st_ino
    assert (Path(store.view(manifest)) / "model" / "layer-00" / "a.bin").stat().st_ino == inode


def test_a_view_of_packed_files_is_flushed_before_it_has_its_name(
    store: LocalStore, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.import_tree(make_tree(MANY))
    done: list[str] = []
    real = os.rename
    monkeypatch.setattr("jupyter_modelreg.storage.blobs._flush", lambda names: done.append(f"flush {len(names)}"))
    monkeypatch.setattr(os, "rename", lambda *paths: (done.append("name"), real(*paths)))
    store.view(manifest)
    assert done == [f"flush {len(MANY) + 22}", "name"]  # files and folders


def test_a_damaged_pack_is_not_shown(store: LocalStore, root: Path, make_tree: MakeTree, tmp_path: Path) -> None:
    manifest = store.import_tree(make_tree(MANY))
    rot(store.blob_path(blobs(root)[0]))
    for give in (store.view, store.damaged, lambda wanted: store.checkout(wanted, str(tmp_path / "out"))):
        with pytest.raises(Corrupted, match=r"layer-\d\d/[ab]\.bin is damaged in the store"):
            give(manifest)
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_of_a_view_is_found(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(MANY))
    assert store.damaged(manifest) == []
    os.utime(Path(store.view(manifest)) / "model" / "layer-03" / "a.bin")
    rot(str(Path(store.view(manifest)) / "model" / "layer-03" / "a.bin"))
    assert store.damaged(manifest) == ["layer-03/a.bin"]


def test_by_link_small_files_are_not_packed(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(MANY), is_linked=True)
    assert blobs(root) == sorted({item.digest for item in manifest.files})


# --- the format -------------------------------------------------------------------------------------------------------


A, B = "a" * 64, "b" * 64
MANIFEST = Manifest(root="m", files=(ManifestFile(path="x", size_bytes=5, digest=B),))


def test_parts_are_read_as_they_were_written() -> None:
    parts = {B: [Slice(A, 0, 2), Slice(A, 7, 3)]}
    assert parse_parts(format_parts(parts), MANIFEST) == parts


@pytest.mark.parametrize(
    "parts",
    [
        {B: [[A, 0, 4]]},
        {B: [[A, -1, 5]]},
        {B: [[A, 0, 5], [A, 0, 0]]},
        {B: [["../../etc/passwd", 0, 5]]},
        {B: [[A.upper(), 0, 5]]},
        {A: [[A, 0, 5]]},
        {B: [[A, "0", 5]]},
        {B: [[A, 0]]},
        {B: 5},
        [B],
        None,
    ],
)
def test_parts_of_something_else_are_refused(parts: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is said by who reads the file
        parse_parts(json.dumps(parts).encode(), MANIFEST)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8), st.data())
def test_slices_read_like_the_file_that_they_are(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("slices")
    places = []
    for number, content in enumerate(contents):
        before = data.draw(st.binary(max_size=5))
        (folder / str(number)).write_bytes(before + content + b"after")
        places.append((str(folder / str(number)), len(before), len(content)))
    whole = b"".join(contents)
    with open_slices(places) as stream:
        for _ in range(5):
            at, count = data.draw(st.integers(0, len(whole) + 3)), data.draw(st.integers(0, len(whole) + 3))
            assert stream.seek(at) == at
            assert stream.read(count) == whole[at : at + count]
        assert stream.seek(0, os.SEEK_END) == len(whole)
        assert stream.read() == b""


def test_slices_of_a_file_that_went_are_missed_when_they_are_read(tmp_path: Path) -> None:
    with open_slices([(str(tmp_path / "gone"), 0, 3)]) as stream, pytest.raises(FileNotFoundError):
        stream.read()


def test_a_tree_of_slices_can_be_kept_again(store: LocalStore, make_tree: MakeTree, tmp_path: Path) -> None:
    manifest = store.import_tree(make_tree(MANY))
    other = LocalStore(str(tmp_path / "other"))
    assert other.import_tree(store.open_tree(manifest)) == manifest
    assert other.verify(manifest) == []
    assert store.import_tree(open_local(os.path.join(store.view(manifest), "model"))) == manifest
