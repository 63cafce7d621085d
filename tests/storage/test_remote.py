"""A store elsewhere, told apart from a local one: how files lie there, what this machine keeps, what happens beside a clean-up."""

from __future__ import annotations

import json
import mmap
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import Corrupted, InvalidInput, Unavailable
from jupyter_modelreg.storage import LocalStore, open_store
from jupyter_modelreg.storage.cache import Cache
from jupyter_modelreg.storage.remote import RemoteStore, open_remote
from jupyter_modelreg.storage.slices import SLICE_BYTES
from jupyter_modelreg.testing.stores import NOW, GivenTree

MIB = 1 << 20


def content_of(size_mib: int) -> bytes:
    """Return bytes of which no two slices are the same."""
    return b"".join(secrets.token_bytes(1024) * 1024 for _ in range(size_mib))


@pytest.fixture
def open_here(tmp_path: Path) -> Any:
    """Open the one store with a cache of a name, as another machine does."""

    def open_here(name: str = "ours", **options: Any) -> RemoteStore:
        return open_remote(f"local://{tmp_path}/far", Cache(str(tmp_path / name), flushes=False), **options)

    return open_here


# --- how files lie there ------------------------------------------------------------------------------------------------


def test_a_large_file_lies_in_slices_there_and_whole_here(open_here: Any) -> None:
    content = content_of(70)
    manifest = open_here().import_tree(GivenTree({"weights.bin": content, "readme": b"small"}))
    there = open_here("theirs")
    assert sorted(there.blobs().values()) == [5, 6 * MIB, SLICE_BYTES, SLICE_BYTES]
    tree = there.open_tree(there.load_manifest(manifest.digest))
    assert tree.local_path("weights.bin") is None
    view = Path(there.view(manifest)) / "model" / "weights.bin"
    assert view.read_bytes() == content
    assert there.local_blob(manifest.files[1])
    assert os.path.samefile(str(there.local_blob(manifest.files[1])), view)
    assert there.open_tree(manifest).local_path("weights.bin") is not None
    assert there.verify(manifest) == [] == there.damaged(manifest)


def test_a_large_file_that_was_put_whole_is_read(open_here: Any, tmp_path: Path) -> None:
    content = content_of(70)
    local = LocalStore(str(tmp_path / "old"), flushes=False)
    manifest = local.import_tree(GivenTree({"weights.bin": content}))
    for kind, digest, path in (
        ("blobs", manifest.files[0].digest, local.blob_path(manifest.files[0].digest)),
        ("manifests", manifest.digest, local.manifest_path(manifest.digest)),
    ):
        open_here().far.put(kind, digest, Path(path).read_bytes())
    store = open_here("theirs")
    assert store.verify(store.load_manifest(manifest.digest)) == []
    store.checkout(manifest, str(tmp_path / "out"))
    assert (tmp_path / "out" / "model" / "weights.bin").read_bytes() == content


def test_damage_of_a_slice_is_named_enters_no_cache_and_is_mended_by_the_content(open_here: Any, tmp_path: Path) -> None:
    tree = GivenTree({"sub/weights.bin": content_of(70)})
    ours = open_here()
    manifest = ours.import_tree(tree)
    slices = ours._far_parts(manifest)[manifest.files[0].digest]
    ours.far.put("blobs", slices[1].blob, b"\x00" * SLICE_BYTES)
    theirs = open_here("theirs")
    with pytest.raises(Corrupted, match=r"sub/weights\.bin is damaged where it comes from"):
        theirs.view(theirs.load_manifest(manifest.digest))
    assert not theirs.is_sound(slices[1].blob)
    assert theirs.verify(manifest) == ["sub/weights.bin"]
    assert theirs.local_blob(manifest.files[0]) is None
    theirs.import_tree(tree)  # of the right length, but known to be damaged
    assert ours.verify(manifest) == []


def test_sound_slices_in_a_wrong_order_are_no_file(open_here: Any) -> None:
    tree = GivenTree({"weights.bin": content_of(96)})
    ours = open_here()
    manifest = ours.import_tree(tree)
    digest, slices = next(iter(ours._far_parts(manifest).items()))
    ours.far.put("parts", manifest.digest, json.dumps({digest: slices[::-1]}).encode())
    theirs = open_here("theirs")
    assert theirs.verify(theirs.load_manifest(manifest.digest)) == ["weights.bin"]
    with pytest.raises(Corrupted, match=r"weights\.bin is damaged where it comes from"):
        theirs.view(manifest)
    theirs.import_tree(tree)
    assert ours.verify(manifest) == []


@pytest.mark.parametrize("text", [b"{", b'{"x": []}', b"[]"])
def test_a_record_of_parts_that_is_damaged_is_named_and_mended_by_the_content(text: bytes, open_here: Any) -> None:
    tree = GivenTree({f"{number}": b"%d" % number for number in range(40)})
    ours = open_here()
    manifest = ours.import_tree(tree)
    ours.far.put("parts", manifest.digest, text)
    theirs = open_here("theirs")
    with pytest.raises(Corrupted, match="parts of model are damaged"):
        theirs.view(theirs.load_manifest(manifest.digest))
    assert not theirs.holds(manifest)
    theirs.import_tree(tree)
    assert ours.verify(manifest) == []


def test_a_file_of_each_size_comes_back(open_here: Any, tmp_path: Path) -> None:
    files = {f"{size}": secrets.token_bytes(size) for size in (0, 1, 4 * MIB, 4 * MIB + 1, 8 * MIB, 8 * MIB + 1)}
    files |= {"cut": content_of(64) + b"x", **{f"small/{number}": b"%d" % number for number in range(30)}}
    manifest = open_here().import_tree(GivenTree(files))
    there = open_here("theirs")
    tree = there.open_tree(there.load_manifest(manifest.digest))
    for path, content in files.items():
        with tree.open(path) as stream:
            assert stream.read() == content
    there.checkout(manifest, str(tmp_path / "out"))
    assert {path: (tmp_path / "out" / "model" / path).read_bytes() for path in files} == files


def test_checkpoints_in_pieces_go_there_and_come_back(tmp_path: Path) -> None:
    header = json.dumps(
        {
            f"t{number}": {"dtype": "U8", "shape": [3 * MIB], "data_offsets": [number * 3 * MIB, (number + 1) * 3 * MIB]}
            for number in range(4)
        }
    ).encode()
    tensors = [secrets.token_bytes(3 * MIB) for _ in range(5)]
    first = len(header).to_bytes(8, "little") + header + b"".join(tensors[:4])
    second = len(header).to_bytes(8, "little") + header + b"".join([*tensors[:3], tensors[4]])
    url = f"local://{tmp_path}/far"
    ours = open_store(url, str(tmp_path / "ours"), dedup="tensor", durability="relaxed")
    one = ours.import_tree(GivenTree({"m.safetensors": first}))
    before = sum(ours.blobs().values())
    two = ours.import_tree(GivenTree({"m.safetensors": second}))
    assert sum(ours.blobs().values()) - before < 4 * MIB
    there = open_store(url, str(tmp_path / "theirs"), durability="relaxed")
    for manifest, content in ((one, first), (two, second)):
        view = there.view(there.load_manifest(manifest.digest))
        assert (Path(view) / "model" / "m.safetensors").read_bytes() == content
        assert there.verify(manifest) == []


def test_who_laid_a_tree_out_first_has_done_it_for_all(open_here: Any) -> None:
    files = {f"{number}": b"%d" % number for number in range(40)}
    ours, theirs = open_here(), open_here("theirs")
    for number in range(40):
        theirs.cache.import_tree(GivenTree({f"{number}": b"%d" % number}))  # known there as blobs, so they are not packed
    manifest = ours.import_tree(GivenTree(files))
    there = ours.blobs()
    theirs.import_tree(GivenTree(files))
    assert ours.blobs() == there
    ours.far.remove("blobs", next(iter(ours.names_of(manifest) - {manifest.digest})))
    theirs.import_tree(GivenTree(files))
    assert ours.verify(manifest) == []
    assert open_here("third").checkout(manifest, str(Path(ours.cache.blob_path("x")).parents[3] / "out"))


def test_reading_where_it_lies_seeks(open_here: Any) -> None:
    content = content_of(70)
    manifest = open_here().import_tree(GivenTree({"weights.bin": content}))
    there = open_here("theirs")
    with there.open_tree(there.load_manifest(manifest.digest)).open("weights.bin") as stream:
        for at in (0, 5, SLICE_BYTES - 3, SLICE_BYTES, 2 * SLICE_BYTES - 1, len(content) - 4, len(content), len(content) + 9):
            stream.seek(at)
            assert stream.read(10) == content[at : at + 10]
            assert stream.tell() == at + len(content[at : at + 10])
        stream.seek(-7, os.SEEK_END)
        assert stream.read() == content[-7:]
        with pytest.raises(ValueError, match="negative"):
            stream.seek(-1)
    assert there.local_blob(manifest.files[0]) is None


def test_damage_of_the_cache_is_mended_from_there(open_here: Any, tmp_path: Path) -> None:
    ours = open_here()
    manifest = ours.import_tree(GivenTree({"a": b"right"}))
    path = ours.cache.blob_path(manifest.files[0].digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"wrong")
    assert ours.damaged(manifest) == []
    assert (Path(ours.view(manifest)) / "model" / "a").read_bytes() == b"right"
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"wrong")
    ours.checkout(manifest, str(tmp_path / "out"))
    assert (tmp_path / "out" / "model" / "a").read_bytes() == b"right"


def test_a_store_is_used_on_in_a_forked_process(open_here: Any) -> None:
    ours = open_here()
    manifest = ours.import_tree(GivenTree({"a": b"one"}))
    child = os.fork()
    if child == 0:
        os._exit(0 if ours.verify(manifest) == [] else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- what is wrong before anything is asked -----------------------------------------------------------------------------


def test_a_kind_of_url_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="fsspec does not know"):
        open_store("no-such://place", str(tmp_path))


def test_a_package_that_is_missing_is_named_with_what_installs_it(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["s3fs"] = None
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.storage import open_store
try:
    open_store("s3://bucket/prefix", sys.argv[1])
except Unavailable as error:
    print(error.message)
"""
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "needs a package that is not installed: " in told.stdout
    assert "s3fs" in told.stdout
    assert "pip install 'jupyter-modelreg[s3]'" in told.stdout


def test_a_password_in_a_url_is_never_said(tmp_path: Path) -> None:
    store = open_store("ftp://me:s3cret@127.0.0.1:1/x", str(tmp_path))
    store.far._patience = store.far._patience._replace(tries=1)  # type: ignore[attr-defined]
    with pytest.raises(Unavailable) as raised:
        store.import_tree(GivenTree({"a": b"one"}))
    assert "s3cret" not in raised.value.message
    assert "cannot be reached" in raised.value.message


def test_a_disk_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "far").write_bytes(b"a file in the way")
    with pytest.raises(Unavailable, match=r"cannot be used: .*(Not a directory|exists)"):
        open_store(f"local://{tmp_path}/far", str(tmp_path / "caches")).import_tree(GivenTree({"a": b"one"}))


# --- what this machine keeps --------------------------------------------------------------------------------------------


def test_what_was_used_least_recently_goes_first(open_here: Any) -> None:
    ours = open_here(cache_bytes=10 * MIB)
    manifests = [ours.import_tree(GivenTree({"m": secrets.token_bytes(3 * MIB)})) for _ in range(3)]
    ours.view(manifests[0])
    ours.import_tree(GivenTree({"m": secrets.token_bytes(3 * MIB)}))
    assert [ours.cache.holds(manifest) for manifest in manifests] == [True, False, True]
    ours.view(manifests[1])
    assert [ours.cache.holds(manifest) for manifest in manifests] == [True, True, False]
    assert all(ours.holds(manifest) for manifest in manifests)
    assert sum(ours.cache.blobs().values()) <= 10 * MIB


def test_views_go_before_the_limit_is_passed_and_come_back(open_here: Any) -> None:
    ours = open_here(cache_bytes=10 * MIB)
    packed = {f"{number}": secrets.token_bytes(100_000) for number in range(30)}
    first = ours.import_tree(GivenTree(packed))
    view = ours.view(first)
    second = ours.import_tree(GivenTree({"m": secrets.token_bytes(6 * MIB)}))
    ours.view(second)
    assert not os.path.exists(view)
    assert (Path(ours.view(first)) / "model" / "7").read_bytes() == packed["7"]


def test_what_a_process_has_mapped_stays_and_does_not_count(open_here: Any) -> None:
    if not os.path.isdir("/proc/self"):
        pytest.skip("this system does not show what is mapped")
    ours = open_here(cache_bytes=5 * MIB)
    first = ours.import_tree(GivenTree({"m": b"m" * 4 * MIB}))
    view = Path(ours.view(first)) / "model" / "m"
    with open(view, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ):
        stream.close()
        second = ours.import_tree(GivenTree({"m": b"2" * 4 * MIB}))
        assert view.exists()
        assert ours.cache.holds(second)
    third = ours.import_tree(GivenTree({"m": b"3" * 4 * MIB}))
    assert not view.exists()
    assert not ours.cache.holds(first)
    assert ours.cache.holds(third)


def test_links_of_a_person_are_left_alone(open_here: Any, tmp_path: Path) -> None:
    ours = open_here(cache_bytes=5 * MIB)
    first = ours.import_tree(GivenTree({"m": b"m" * 4 * MIB}))
    os.link(Path(ours.view(first)) / "model" / "m", tmp_path / "mine")
    ours.import_tree(GivenTree({"m": b"2" * 4 * MIB}))
    assert ours.cache.holds(first)


def test_what_is_not_sent_yet_stays(open_here: Any) -> None:
    ours = open_here(cache_bytes=5 * MIB)
    before = ours.cache.import_tree(GivenTree({"m": b"1" * 4 * MIB}))
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    with ours.cache.busy():
        sending = ours.cache.import_tree(GivenTree({"m": b"2" * 4 * MIB}))
        ours.cache.import_tree(GivenTree({"m": b"3" * 4 * MIB}))
        ours.cache.trim(room_bytes=5 * MIB)
        assert ours.cache.holds(sending)
        assert not ours.cache.holds(before)
    ours.cache.trim(room_bytes=5 * MIB)
    assert not ours.cache.holds(sending)


def test_a_model_larger_than_the_limit_is_kept_and_read(open_here: Any) -> None:
    ours = open_here(cache_bytes=MIB)
    content = secrets.token_bytes(5 * MIB)
    manifest = ours.import_tree(GivenTree({"m": content}))
    assert not ours.cache.holds(manifest)
    assert (Path(ours.view(manifest)) / "model" / "m").read_bytes() == content
    assert ours.damaged(manifest) == []


def test_what_a_killed_download_left_goes_by_its_age(open_here: Any) -> None:
    ours = open_here()
    manifest = ours.import_tree(GivenTree({"m": b"x" * 1000}))
    left = Path(ours.cache.blob_path("x")).parents[2] / "tmp" / f"{'a' * 64}-0123456789abcdef-left"
    left.write_bytes(b"x" * 100)
    assert ours.garbage({manifest.digest}) == []
    garbage = ours.garbage({manifest.digest}, grace_seconds=NOW)
    assert [item.kind for item in garbage] == ["scratch"]
    ours.remove(garbage)
    assert not left.exists()


# --- beside a clean-up --------------------------------------------------------------------------------------------------


def test_a_clean_up_takes_slices_parts_and_packs_of_what_is_gone_and_nothing_else(open_here: Any) -> None:
    ours = open_here()
    shared = content_of(32)
    kept = ours.import_tree(GivenTree({"m": shared + content_of(40), **{f"{number}": b"%d" % number for number in range(30)}}))
    gone = ours.import_tree(GivenTree({"m": shared + content_of(40), **{f"{number}": b"-%d" % number for number in range(30)}}))
    ours.far.put("parts", "b" * 64, b"{}")  # a registration was killed between parts and manifest
    assert ours.garbage({kept.digest}) == []
    garbage = ours.garbage({kept.digest}, grace_seconds=NOW)
    assert sorted(item.kind for item in garbage) == ["blob", "blob", "blob", "manifest", "manifest"]
    assert ours.remove(garbage) > 40 * MIB
    assert ours.verify(kept) == []
    assert not ours.holds(gone)
    assert not ours.far.listed("parts").keys() - {kept.digest}
    assert open_here("theirs").verify(kept) == []


def test_a_registration_holds_every_name_before_it_trusts_one(open_here: Any) -> None:
    tree = GivenTree({"m": content_of(70), **{f"{number}": b"%d" % number for number in range(30)}})
    other = open_here("theirs").import_tree(tree)
    ours = open_here()
    held: set[str] = set()

    def hold(names: set[str]) -> None:
        assert not held
        held.update(names)
        ours.remove(ours.garbage(set(), grace_seconds=NOW))  # a clean-up that was quicker: all is gone

    manifest = ours.import_tree(tree, hold=hold)
    assert manifest == other
    assert ours.names_of(manifest) <= held
    assert ours.verify(manifest) == []
    assert open_here("third").verify(manifest) == []


def test_who_lays_a_tree_out_while_another_sends_it_says_where_it_lies(open_here: Any) -> None:
    tree, held, theirs = GivenTree({f"{number}": b"%d" % number for number in range(30)}), [], []

    def hold(names: set[str]) -> None:
        held.append(names)
        if not theirs:
            other = open_here("theirs")
            other.import_tree(GivenTree({"0": b"0"}))  # which then lies by itself, not in the pack
            theirs.append(other.names_of(other.import_tree(tree)))

    ours = open_here()
    manifest = ours.import_tree(tree, hold=hold)
    assert open_here("third").names_of(manifest) == theirs[0]
    assert theirs[0] <= held[-1]
    assert not theirs[0] <= held[0]
    assert open_here("fourth").verify(manifest) == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_a_clean_up_takes_while_it_is_put_is_put_again(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    store, left, move = open_remote(f"local://{tmp_path}/far", Cache(str(tmp_path / "here"))), [*range(times)], LocalFileSystem.mv

    def mv(files: LocalFileSystem, name: str, target: str) -> None:
        if left:
            left.pop()
            store.remove([item for item in store.garbage(set(), grace_seconds=0) if item.kind == "scratch"])
        move(files, name, target)

    monkeypatch.setattr(LocalFileSystem, "mv", mv)
    if times < 3:
        assert store.verify(store.import_tree(GivenTree({"m": b"x"}))) == []
    else:
        with pytest.raises(Unavailable, match=rf'"local://{tmp_path}/far" is not there: .*Create "{tmp_path}/far"'):
            store.import_tree(GivenTree({"m": b"x"}))


_REGISTER = """
import sys
from jupyter_modelreg.commands.model import DeleteModel
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.models import register_model
from jupyter_modelreg.testing.stores import GivenTree
from jupyter_modelreg.workspace import open_workspace
workspace = open_workspace({})
for number in range(15):
    files = {f"{name}": b"%d" % name for name in range(4)}
    model = register_model(workspace, Model(name="shared", path="."), tree=GivenTree({**files, "own": sys.argv[1].encode() * number}))
    if number < 14:
        workspace.catalog.delete_version(model.name, model.version)
    elif sys.argv[2:]:
        open(sys.argv[2], "x").close()
"""
_CLEAN = """
import os
import sys
from jupyter_modelreg.commands.store import CleanStore
from jupyter_modelreg.stores import clean_store
from jupyter_modelreg.workspace import open_workspace
while not os.path.exists(sys.argv[1]):
    print(clean_store(open_workspace({}), CleanStore(grace="0s", yes=True)).size_bytes)
"""


def test_registrations_and_clean_ups_of_several_machines_lose_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELREG_STORE": f"local://{tmp_path}/far", "MODELREG_CATALOG": str(tmp_path / "catalog.sqlite")}
    done = str(tmp_path / "done")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env={**environment, "MODELREG_HOME": str(tmp_path / f"machine{number}")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, (program, *words) in enumerate([(_REGISTER, "one"), (_REGISTER, "two", done), (_CLEAN, done)])
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    from jupyter_modelreg.workspace import open_workspace

    workspace = open_workspace({"store": environment["MODELREG_STORE"], "catalog": environment["MODELREG_CATALOG"]})
    digests = workspace.catalog.live_digests()
    assert digests
    assert [digest for digest in digests if workspace.store.verify(workspace.store.load_manifest(digest))] == []


def test_a_file_that_was_touched_is_not_taken_for_changed(open_here: Any) -> None:
    ours = open_here()
    manifest = ours.import_tree(GivenTree({"m": b"x" * MIB}))
    path = ours.cache.blob_path(manifest.files[0].digest)
    before = os.stat(path)
    time.sleep(0.01)
    ours.view(manifest)
    assert os.stat(path).st_atime_ns > before.st_atime_ns
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
