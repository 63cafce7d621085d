"""Tests that every flavor passes::

class TestMyFlavor(FlavorSuite):
    def make_flavor(self):
        return MyFlavor()

    def make_value(self):
        return MyModel()
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ..flavors import layout
from ..sources.local import open_local
from ..trees import paths
from ..trust import LOADABLE, scan_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ..flavors import Flavor


class FlavorSuite:
    """Inherit it, say how to make the flavor and an object it saves; the tests come along."""

    needs_trust = False  # whether what it saves can run code when it loads
    takes_anything = False  # whether it accepts every object, as a last resort

    def make_flavor(self) -> Flavor:
        """Return the flavor."""
        raise NotImplementedError

    def make_value(self) -> Any:
        """Return an object that the flavor can save."""
        raise NotImplementedError

    def make_value_it_cannot_hold(self) -> Any:
        """Return an object that the flavor accepts and fails to save; None when there is none."""
        return None

    def assert_same(self, saved: Any, loaded: Any) -> None:
        """Fail unless the two objects are the same model."""
        assert loaded == saved

    def test_what_it_saves_it_finds_and_loads_again(self, tmp_path: Path) -> None:
        flavor, value = self.make_flavor(), self.make_value()
        folder = self._save(tmp_path, value)
        found = flavor.detect(open_local(folder))
        assert found is not None
        assert found.flavor == flavor.name
        self.assert_same(value, flavor.load(folder, is_trusted=self.needs_trust))

    def test_what_it_saves_is_described_in_json_by_files_that_are_there(self, tmp_path: Path) -> None:
        folder = self._save(tmp_path, self.make_value())
        with open(os.path.join(folder, layout.NAME), encoding="utf-8") as stream:
            facts = json.load(stream)
        assert facts["flavor"] == self.make_flavor().name
        assert facts["file"] in set(paths(open_local(folder)))

    def test_what_it_saves_needs_trust_only_if_it_says_so(self, tmp_path: Path) -> None:
        scan = scan_tree(open_local(self._save(tmp_path, self.make_value())))
        assert (scan.verdict not in LOADABLE) == self.needs_trust, scan

    def test_finding_out_changes_nothing(self, tmp_path: Path) -> None:
        folder = self._save(tmp_path, self.make_value())
        before = {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}
        self.make_flavor().detect(open_local(folder))
        assert {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)} == before

    def test_it_leaves_what_is_not_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("nothing of a model")
        assert self.make_flavor().detect(open_local(str(tmp_path))) is None
        assert self.make_flavor().detect(open_local(str(tmp_path / "notes.txt"))) is None
        assert self.make_flavor().accepts(object()) == self.takes_anything

    def test_an_object_it_cannot_hold_leaves_no_file_behind(self, tmp_path: Path) -> None:
        value = self.make_value_it_cannot_hold()
        if value is None:
            return
        folder = tmp_path / "saved"
        folder.mkdir()
        assert self.make_flavor().accepts(value)
        with pytest.raises(layout.CannotSave, match=r"."):
            self.make_flavor().save(value, str(folder))
        assert os.listdir(folder) == []

    def _save(self, tmp_path: Path, value: Any) -> str:
        folder = tmp_path / "saved"
        folder.mkdir()
        flavor = self.make_flavor()
        assert flavor.accepts(value)
        layout.write(str(folder), flavor.name, flavor.save(value, str(folder)), None, None)
        return str(folder)
