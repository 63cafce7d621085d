"""Tests that every store passes::

class TestMyStore(StoreSuite):
    def make_store(self, folder):
        return MyStore(...)

    def damage(self, store, digest, content):
        ...
"""

from __future__ import annotations

import io
import os
from typing import Any

import pytest

from ..errors import Conflict, Corrupted, InvalidInput, NotFound
from ..trees import TreeFile, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from ..storage import Store

FILES = {"MLmodel": b"flavors: {}", "data/weights.bin": bytes(range(256)) * 40_000, "data/empty": b"", "ä ü.txt": b"umlaut"}
NOW = -1.0  # a grace time that protects nothing


class GivenTree:
    """A tree of given content that can only be read through ``open``."""

    def __init__(self, files: dict[str, bytes], *, root: str = "model", is_file: bool = False) -> None:
        self._files, self.root, self.is_file = files, root, is_file

    def files(self) -> list[TreeFile]:
        """Return the files."""
        return [TreeFile(path=path, size_bytes=len(content)) for path, content in self._files.items()]

    def open(self, path: str) -> BinaryIO:
        """Open one file."""
        return io.BytesIO(self._files[path])

    def local_path(self, path: str) -> None:
        """Return None: nothing lies on this machine."""


class StoreSuite:
    """Inherit it, say how to make the store and how to damage what it holds; the tests come along."""

    def make_store(self, folder: Path) -> Store:
        """Return a store in which nothing is, anew for each folder and the same for the same folder."""
        raise NotImplementedError

    def damage(self, store: Any, digest: str, content: bytes | None) -> None:
        """Replace the bytes of a blob, everywhere the store has them; None removes it."""
        raise NotImplementedError

    def test_what_is_kept_is_read_by_whoever_opens_the_store_next(self, tmp_path: Path) -> None:
        digest = self.make_store(tmp_path).import_tree(GivenTree(FILES)).digest
        store = self.make_store(tmp_path)
        manifest = store.load_manifest(digest)
        tree = store.open_tree(manifest)
        assert {item.path: read_bytes(tree, item.path, limit_bytes=1 << 24) for item in tree.files()} == FILES
        assert (manifest.root, manifest.is_file, manifest.size_bytes) == ("model", False, sum(map(len, FILES.values())))
        assert store.verify(manifest) == []
        assert store.holds(manifest)

    def test_the_same_content_has_the_same_digest_and_other_content_another(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        assert store.import_tree(GivenTree(FILES)) == store.import_tree(GivenTree(dict(reversed(FILES.items()))))
        assert store.import_tree(GivenTree(FILES)).digest != store.import_tree(GivenTree({**FILES, "MLmodel": b""})).digest
        assert store.import_tree(GivenTree(FILES)).digest != store.import_tree(GivenTree(FILES, root="other")).digest

    def test_a_view_holds_the_tree_under_its_name_and_cannot_be_written(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        folder = store.view(store.import_tree(GivenTree(FILES)))
        for path, content in FILES.items():
            place = os.path.join(folder, "model", path)
            with open(place, "rb") as stream:
                assert stream.read() == content
            assert os.stat(place).st_mode & 0o222 == 0

    def test_a_view_of_one_file_is_that_file(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        folder = store.view(store.import_tree(GivenTree({"m.bin": b"weights"}, root="m.bin", is_file=True)))
        assert os.listdir(folder) == ["m.bin"]

    def test_a_copy_is_whole_and_writes_over_nothing(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        manifest = store.import_tree(GivenTree(FILES))
        written = store.checkout(manifest, str(tmp_path / "out"))
        assert {path: (tmp_path / "out" / path).read_bytes() for path in written} == {f"model/{path}": FILES[path] for path in FILES}
        assert store.checkout(manifest, str(tmp_path / "out")) == written
        (tmp_path / "out" / "model" / "MLmodel").write_bytes(b"mine")
        with pytest.raises(Conflict, match="MLmodel"):
            store.checkout(manifest, str(tmp_path / "out"))
        assert (tmp_path / "out" / "model" / "MLmodel").read_bytes() == b"mine"

    def test_progress_ends_at_the_whole(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        store = self.make_store(tmp_path)
        manifest = store.import_tree(GivenTree(FILES), lambda done, total: told.append((done, total)))
        assert told[-1][0] == told[-1][1] == manifest.size_bytes

    def test_what_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        for digest in ("0" * 64, "latest", "", "../../etc"):
            with pytest.raises(NotFound):
                store.load_manifest(digest)
        tree = store.open_tree(store.import_tree(GivenTree(FILES)))
        with pytest.raises(NotFound, match="it holds"):
            tree.open("missing")

    @pytest.mark.parametrize("path", ["../up", "/absolute", "a//b", "a/./b", "back\\slash", "new\nline", ""])
    def test_a_path_that_is_none_on_every_machine_is_refused(self, path: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput):
            self.make_store(tmp_path).import_tree(GivenTree({path: b"x"}))

    def test_a_tree_that_gives_other_than_it_said_leaves_nothing(self, tmp_path: Path) -> None:
        class Shrinking(GivenTree):
            def open(self, path: str) -> BinaryIO:
                return io.BytesIO(b"")

        with pytest.raises(Conflict, match="changed while it was read"):
            self.make_store(tmp_path).import_tree(Shrinking({"a": b"longer"}))

    def test_damage_is_found_told_and_healed_by_the_content_itself(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        manifest = store.import_tree(GivenTree(FILES))
        item = next(item for item in manifest.files if item.path == "data/weights.bin")
        self.damage(store, item.digest, b"\x01" * item.size_bytes)
        assert store.verify(manifest) == ["data/weights.bin"]
        with pytest.raises(Corrupted, match=r"weights\.bin"):
            store.checkout(manifest, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        self.damage(store, item.digest, None)
        assert store.verify(manifest) == ["data/weights.bin"]
        assert not store.holds(manifest)
        with pytest.raises(Corrupted, match=r"weights\.bin"):
            store.view(manifest)
        store.import_tree(GivenTree(FILES))
        assert store.verify(manifest) == []
        assert store.holds(manifest)

    def test_collecting_frees_what_no_version_names_and_nothing_that_is_young(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        kept, gone = store.import_tree(GivenTree({"a": b"one", "b": b"both"})), store.import_tree(GivenTree({"a": b"two", "b": b"both"}))
        assert store.remove(store.garbage({kept.digest})) == 0
        assert store.holds(gone)
        assert store.remove(store.garbage({kept.digest}, grace_seconds=NOW)) > len(b"two")
        again = self.make_store(tmp_path)
        assert again.verify(kept) == []
        assert again.verify(gone) == ["a"]
        with pytest.raises(NotFound):
            again.load_manifest(gone.digest)

    def test_a_scratch_folder_goes_with_its_context(self, tmp_path: Path) -> None:
        with self.make_store(tmp_path).scratch() as folder, open(os.path.join(folder, "model.bin"), "wb") as stream:
            stream.write(b"x")
        assert not os.path.exists(folder)
