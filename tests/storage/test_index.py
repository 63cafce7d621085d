"""What a machine remembers of a store: nothing is read twice, nothing wrong is believed, and nobody misses it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.sources.local import LocalTree, open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.storage import index as index_module
from jupyter_modelreg.storage.index import Index
from jupyter_modelreg.trees import read_bytes

from .conftest import MakeTree

MANY = {f"{number:02}.bin": f"{number} of many".encode() * 5 for number in range(40)}
LARGE = {"weights.bin": bytes(range(256)) * 20_000}


@pytest.fixture
def rested(make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> MakeTree:
    """Make trees whose files count as resting as soon as the clock has moved on."""
    monkeypatch.setattr(index_module, "RESTED_NS", 20_000_000)

    def make(files: dict[str, bytes]) -> LocalTree:
        tree = make_tree(files)
        time.sleep(0.05)
        return tree

    return make


class Reads:
    """Counts the files that are opened to be read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, real = 0, LocalTree.open

        def count(tree: LocalTree, path: str) -> Any:
            self.count += 1
            return real(tree, path)

        monkeypatch.setattr(LocalTree, "open", count)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def rows(root: Path, table: str) -> list[Any]:
    with sqlite3.connect(root / "index.sqlite") as connection:
        found = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return found


# --- files of a person ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [MANY, LARGE, {"empty": b""}, {**MANY, **LARGE}])
def test_files_that_rested_are_not_read_again(
    files: dict[str, bytes], store: LocalStore, root: Path, rested: MakeTree, reads: Reads
) -> None:
    manifest = store.import_tree(rested(files))
    reads.count, told = 0, []
    again = LocalStore(str(root)).import_tree(rested({}), lambda done, total: told.append((done, total)))
    assert (again, reads.count) == (manifest, 0)
    assert told[-1] == (manifest.size_bytes, manifest.size_bytes)


@pytest.mark.parametrize("write", [lambda path: path.write_bytes(b"other"), lambda path: path.write_bytes(path.read_bytes()[::-1])])
def test_what_changed_is_read(write: Callable[[Path], object], store: LocalStore, rested: MakeTree, reads: Reads, tmp_path: Path) -> None:
    store.import_tree(rested(MANY))
    write(tmp_path / "model" / "07.bin")
    reads.count = 0
    manifest = store.import_tree(open_local(str(tmp_path / "model")))
    assert reads.count == 1
    assert read_bytes(store.open_tree(manifest), "07.bin") == (tmp_path / "model" / "07.bin").read_bytes()


def test_a_change_that_hides_its_time_is_seen(store: LocalStore, rested: MakeTree, tmp_path: Path) -> None:
    path = tmp_path / "model" / "07.bin"
    first = store.import_tree(rested(MANY))
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = store.import_tree(open_local(str(tmp_path / "model")))
    assert second.digest != first.digest
    assert read_bytes(store.open_tree(second), "07.bin") == path.read_bytes()


def test_a_file_in_the_place_of_another_is_read(store: LocalStore, rested: MakeTree, tmp_path: Path) -> None:
    path = tmp_path / "model" / "07.bin"
    store.import_tree(rested(MANY))
    before = path.stat()
    (tmp_path / "new").write_bytes(b"x" * before.st_size)
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "new", path)
    manifest = store.import_tree(open_local(str(tmp_path / "model")))
    assert read_bytes(store.open_tree(manifest), "07.bin") == b"x" * before.st_size


def test_a_file_that_was_just_written_is_not_remembered(store: LocalStore, root: Path, make_tree: MakeTree) -> None:
    store.import_tree(make_tree(LARGE))
    assert rows(root, "seen") == []


def test_a_file_must_have_rested_when_it_began_to_be_read_not_when_all_is_done(
    store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "RESTED_NS", 200_000_000)
    store.import_tree(make_tree(LARGE), hold=lambda names: time.sleep(0.3))
    assert rows(root, "seen") == []


def test_a_file_of_tomorrow_is_not_remembered(store: LocalStore, root: Path, rested: MakeTree, tmp_path: Path) -> None:
    rested(LARGE)
    os.utime(tmp_path / "model" / "weights.bin", (time.time() + 86400,) * 2)
    time.sleep(0.05)
    store.import_tree(open_local(str(tmp_path / "model")))
    assert rows(root, "seen") == []


def test_a_file_whose_blob_is_gone_or_damaged_is_read_again(store: LocalStore, rested: MakeTree, reads: Reads) -> None:
    for files in (MANY, LARGE):
        manifest = store.import_tree(rested(files))
        for harm in (os.unlink, lambda path: (os.chmod(path, 0o644), Path(path).write_bytes(b"x" * os.path.getsize(path)))):
            for blob in store.names_of(manifest) - {manifest.digest}:
                harm(store.blob_path(blob))
            reads.count = 0
            assert store.import_tree(rested({})) == manifest
            assert reads.count > 0
            assert store.verify(manifest) == []


# --- blobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are hashed from here on."""
    import jupyter_modelreg.storage.local as local

    found: list[str] = []
    real = local.hash_file
    monkeypatch.setattr(local, "hash_file", lambda path: (found.append(os.path.basename(path)), real(path))[1])
    return found


def test_what_was_written_is_known_to_be_sound_whatever_links_to_it(store: LocalStore, make_tree: MakeTree, hashed: list[str]) -> None:
    manifest = store.import_tree(make_tree(LARGE))
    hashed.clear()
    assert store.damaged(manifest) == []
    os.link(store.blob_path(manifest.files[0].digest), store.view(manifest) + "-link")
    assert store.damaged(manifest) == []
    assert hashed == []


def test_what_is_read_to_be_verified_is_read_always(store: LocalStore, make_tree: MakeTree, hashed: list[str]) -> None:
    manifest = store.import_tree(make_tree(LARGE))
    hashed.clear()
    for _ in range(2):
        assert store.verify(manifest) == []
    assert hashed == [manifest.files[0].digest] * 2


def test_a_blob_that_was_written_to_is_hashed_again(store: LocalStore, make_tree: MakeTree) -> None:
    manifest = store.import_tree(make_tree(LARGE))
    path = Path(store.blob_path(manifest.files[0].digest))
    assert store.damaged(manifest) == []
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"X")
    assert store.damaged(manifest) == ["weights.bin"]


def test_damage_that_was_found_is_not_forgotten(store: LocalStore, make_tree: MakeTree) -> None:
    """Bytes rot without a new time; once somebody has read them, loads know."""
    manifest = store.import_tree(make_tree(LARGE))
    path = Path(store.blob_path(manifest.files[0].digest))
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.verify(manifest) == store.damaged(manifest) == ["weights.bin"]


# --- sha256 -----------------------------------------------------------------------------------------------------------


def test_sha256_is_computed_once(store: LocalStore, root: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    files = {**MANY, **LARGE, "empty": b""}
    manifest = store.import_tree(make_tree(files))
    wanted = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    told: list[tuple[int, int]] = []
    assert store.sha256(manifest, lambda done, total: told.append((done, total))) == wanted
    assert told[-1] == (manifest.size_bytes, manifest.size_bytes)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert LocalStore(str(root)).sha256(manifest) == wanted


# --- a memory that is lost --------------------------------------------------------------------------------------------


def spoil(root: Path, how: str) -> None:
    path = root / "index.sqlite"
    for name in ("-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)
    if how == "removed":
        path.unlink()
    elif how == "overwritten":
        path.write_bytes(b"no database" * 1000)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        os.truncate(path, 5000)
    elif how == "older":
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE place (digest PRIMARY KEY, blob)")
        connection.close()
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["removed", "overwritten", "empty", "cut", "older", "a folder"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_lost_or_damaged_memory_is_none_and_is_made_anew(
    how: str, is_open: bool, store: LocalStore, root: Path, rested: MakeTree, reads: Reads
) -> None:
    files = {**MANY, **LARGE}
    manifest = store.import_tree(rested(files))
    if not is_open:
        store.index._close()
    spoil(root, how)
    again = store if is_open else LocalStore(str(root))
    for _ in range(2):
        assert again.import_tree(rested({})) == manifest
        assert again.damaged(manifest) == again.verify(manifest) == []
        assert len(again.sha256(manifest)) == len(files)
    reads.count = 0
    assert again.import_tree(rested({})) == manifest
    assert reads.count == (len(files) if how == "a folder" else 0)


def test_a_bit_that_flips_in_a_place_is_not_believed(store: LocalStore, root: Path, rested: MakeTree) -> None:
    store.import_tree(rested(MANY))
    with sqlite3.connect(root / "index.sqlite") as connection:
        assert connection.execute("UPDATE place SET position = position + 1").rowcount == len(MANY)
    connection.close()
    manifest = store.import_tree(rested({"another": b"x"}))
    assert store.verify(manifest) == []


def test_a_memory_that_somebody_holds_for_long_is_done_without(
    store: LocalStore, root: Path, rested: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.import_tree(rested(LARGE))
    monkeypatch.setattr(index_module, "WAIT_SECONDS", 0.01)
    holder = sqlite3.connect(root / "index.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    fresh = LocalStore(str(root))
    assert fresh.import_tree(rested({"more": b"x"})).size_bytes == manifest.size_bytes + 1
    holder.execute("ROLLBACK")
    holder.close()


def test_a_memory_does_not_grow_without_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    monkeypatch.setattr(index_module, "MAX_ROWS", 1000)
    for step in range(20):
        Index(str(root / "index.sqlite")).remember_checksums({f"{step:03}{number:061}": "x" * 64 for number in range(400)})
    assert 0 < len(rows(root, "checksum")) < 4000


def test_threads_share_a_memory(store: LocalStore, rested: MakeTree, reads: Reads) -> None:
    tree = rested({**MANY, **LARGE})
    manifest = store.import_tree(tree)
    reads.count = 0
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: store.import_tree(tree).digest, range(32))) == {manifest.digest}
    assert reads.count == 0


def test_a_forked_process_uses_a_connection_of_its_own(store: LocalStore, rested: MakeTree) -> None:
    tree = rested(MANY)
    manifest = store.import_tree(tree)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if store.import_tree(tree) == manifest and store.damaged(manifest) == [] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.import_tree(tree) == manifest
