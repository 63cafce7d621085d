"""The promises of a store, held by each kind of ours: a folder, object memory, a file system that moves names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from jupyter_modelreg.errors import Corrupted, Unavailable
from jupyter_modelreg.storage import LocalStore, open_store
from jupyter_modelreg.testing import StoreSuite
from jupyter_modelreg.testing.stores import FILES, GivenTree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_modelreg.storage import Store


def write(path: str, content: bytes | None) -> None:
    if os.path.exists(path):
        os.unlink(path)  # a new inode, as damage below a file system leaves it
    if content is not None:
        Path(path).write_bytes(content)


class TestLocalStore(StoreSuite):
    def make_store(self, folder: Path) -> Store:
        return LocalStore(str(folder / "store"))

    def damage(self, store: LocalStore, digest: str, content: bytes | None) -> None:
        write(store.blob_path(digest), content)


class RemoteSuite(StoreSuite):
    url = ""

    def make_store(self, folder: Path) -> Store:
        return open_store(self.url.format(folder=folder), str(folder / "caches"))

    def damage(self, store: Any, digest: str, content: bytes | None) -> None:
        store.far.remove("blobs", digest)
        if content is not None:
            store.far.put("blobs", digest, content)
        write(store.cache.blob_path(digest), content)

    def test_another_machine_reads_it_without_this_ones_cache(self, tmp_path: Path) -> None:
        url = self.url.format(folder=tmp_path)
        digest = open_store(url, str(tmp_path / "ours")).import_tree(GivenTree(FILES)).digest
        there = open_store(url, str(tmp_path / "theirs"))
        told: list[tuple[int, int]] = []
        manifest = there.load_manifest(digest)
        there.checkout(manifest, str(tmp_path / "out"), lambda done, total: told.append((done, total)))
        assert (tmp_path / "out" / "model" / "data" / "weights.bin").read_bytes() == FILES["data/weights.bin"]
        assert told[-1] == (manifest.size_bytes, manifest.size_bytes)

    def test_damage_on_the_way_does_not_enter_the_cache(self, tmp_path: Path) -> None:
        url = self.url.format(folder=tmp_path)
        store: Any = open_store(url, str(tmp_path / "ours"))
        manifest = store.import_tree(GivenTree({"a": b"right"}))
        self.damage(store, manifest.files[0].digest, b"wrong")
        there: Any = open_store(url, str(tmp_path / "theirs"))
        for _ in range(2):
            with pytest.raises(Corrupted, match="damaged where it comes from"):
                there.view(there.load_manifest(manifest.digest))
        assert there.local_blob(manifest.files[0]) is None


class TestMemory(RemoteSuite):
    url = "memory://{folder}/store"


class TestMovedNames(RemoteSuite):
    url = "local://{folder}/store"

    def test_a_name_is_given_only_to_a_whole_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store: Any = self.make_store(tmp_path)

        def fail_halfway(_: object, name: str, content: bytes) -> None:
            Path(name).write_bytes(b"half")
            raise OSError("the line is cut")

        monkeypatch.setattr(LocalFileSystem, "pipe_file", fail_halfway)
        with pytest.raises(Unavailable, match="the line is cut"):
            store.import_tree(GivenTree({"a": b"one"}))
        assert not [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
        monkeypatch.undo()
        store.import_tree(GivenTree({"a": b"one"}))
        store.remove(store.garbage(set(), grace_seconds=-1))
        assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
