"""Tests that every source passes::

class TestMySource(SourceSuite):
    def make_source(self):
        return MySource()

    def make_reference(self, folder, files):
        ...put the files where the source finds them, below a root called "model"...
        return parse_reference("my://model")
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from ..errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ..sources import Source
    from ..trees import Tree

FILES = {"a/b/c.txt": b"deep", "a.txt": b"", "weights.bin": bytes(range(256)) * 300, "ä ü.txt": b"umlaut"}


class Places:
    """What a source may ask the workspace for, below one folder and without any registered model."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def datastore_path(self, *parts: str) -> str:
        """Return a place in the datastore."""
        return os.path.join(self._folder, *parts)

    def open_version(self, name: str, version: str | None, label: str | None) -> Tree:
        """Raise: there is no version."""
        raise NotFound(f"There is no model {name}.")


class SourceSuite:
    """Inherit it, say how to make the source and where it finds files; the tests come along."""

    def make_source(self) -> Source:
        """Return the source."""
        raise NotImplementedError

    def make_reference(self, folder: Path, files: dict[str, bytes]) -> Any:
        """Put files below a root called ``model`` in a folder and return the reference that names the root."""
        raise NotImplementedError

    def make_reference_to_nothing(self, folder: Path) -> Any:
        """Return a reference that names what is not there."""
        raise NotImplementedError

    def test_it_lists_every_file_by_path_with_its_size(self, tmp_path: Path) -> None:
        tree = self._open(tmp_path)
        assert [(item.path, item.size_bytes) for item in tree.files()] == [(path, len(FILES[path])) for path in sorted(FILES)]
        assert tree.root == "model"
        assert not tree.is_file

    def test_it_opens_every_file_as_often_as_it_is_asked(self, tmp_path: Path) -> None:
        tree = self._open(tmp_path)
        for path, content in [*FILES.items(), *FILES.items()]:
            with tree.open(path) as stream:
                assert stream.read() == content

    def test_a_place_on_this_machine_holds_the_same_bytes(self, tmp_path: Path) -> None:
        tree = self._open(tmp_path)
        for path, content in FILES.items():
            place = tree.local_path(path)
            if place is not None:
                with open(place, "rb") as stream:
                    assert stream.read() == content

    def test_a_file_that_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        tree = self._open(tmp_path)
        for path in ("missing.txt", "../a.txt", "a", ""):
            with pytest.raises(NotFound, match=r"."):
                tree.open(path)

    def test_what_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"."):
            self.make_source().open(Places(str(tmp_path)), self.make_reference_to_nothing(tmp_path))

    def _open(self, tmp_path: Path) -> Tree:
        reference = self.make_reference(tmp_path, FILES)
        return self.make_source().open(Places(str(tmp_path)), reference)
