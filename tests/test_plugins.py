"""Plugins by entry point, and our own sources held to the suite that strangers inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import flavors
from jupyter_modelreg.errors import NotFound, Unavailable
from jupyter_modelreg.plugins import load_plugin, plugin_names
from jupyter_modelreg.references import parse_reference
from jupyter_modelreg.sources.datastore import DatastoreSource
from jupyter_modelreg.sources.local import LocalSource, open_local
from jupyter_modelreg.testing import FlavorSuite, SourceSuite

STRANGER = '''
import json, os
from jupyter_modelreg.flavors import Detection, layout

class Words(list):
    """A model that is a list of words."""

class WordsFlavor:
    name = "words"

    def detect(self, tree):
        return layout.detect_by_ending(tree, self.name, ".words")

    def accepts(self, value):
        return isinstance(value, Words)

    def save(self, value, folder):
        if not all(isinstance(word, str) for word in value):
            raise layout.CannotSave("not all are words")
        with open(os.path.join(folder, "model.words"), "w") as stream:
            json.dump(value, stream)
        return {"file": "model.words", "format": "words"}

    def load(self, path, *, is_trusted):
        with open(layout.find_on_disk(path, ".words")) as stream:
            return Words(json.load(stream))

    def predictor(self, path, signature, *, is_trusted):
        return self.load(path, is_trusted=is_trusted).index

class Broken:
    def __init__(self):
        raise RuntimeError("no licence")
'''


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A distribution that declares plugins, installed in a folder of its own; its module."""
    site = tmp_path / "site"
    (site / "wordy-1.dist-info").mkdir(parents=True)
    (site / "wordy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: wordy\nVersion: 1\n")
    (site / "wordy-1.dist-info" / "entry_points.txt").write_text(
        "[jupyter_modelreg.flavors]\nwords = wordy:WordsFlavor\nbroken = wordy:Broken\ngone = wordy:Gone\n"
    )
    (site / "wordy.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(str(site))
    import wordy  # type: ignore[import-not-found]

    return wordy


class TestStranger(FlavorSuite):
    """A flavor that a stranger wrote passes the suite."""

    @pytest.fixture(autouse=True)
    def _installed(self, stranger: Any) -> None:
        self.wordy = stranger

    def make_flavor(self) -> Any:
        return load_plugin("jupyter_modelreg.flavors", "words")

    def make_value(self) -> Any:
        return self.wordy.Words(["cat", "dog"])

    def make_value_it_cannot_hold(self) -> Any:
        return self.wordy.Words([3])


class TestLocalSource(SourceSuite):
    def make_source(self) -> LocalSource:
        return LocalSource()

    def make_reference(self, folder: Path, files: dict[str, bytes]) -> Any:
        for path, content in files.items():
            (folder / "model" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "model" / path).write_bytes(content)
        return parse_reference(str(folder / "model"))

    def make_reference_to_nothing(self, folder: Path) -> Any:
        return parse_reference(str(folder / "nothing"))


class TestDatastoreSource(SourceSuite):
    def make_source(self) -> DatastoreSource:
        return DatastoreSource()

    def make_reference(self, folder: Path, files: dict[str, bytes]) -> Any:
        TestLocalSource().make_reference(folder / "workspaceblobstore", files)
        return parse_reference("azureml://datastores/workspaceblobstore/paths/model")

    def make_reference_to_nothing(self, folder: Path) -> Any:
        return parse_reference("azureml://datastores/workspaceblobstore/paths/nothing")


def test_our_own_parts_are_declared_like_anyones() -> None:
    assert {"sklearn", "mlflow", "triton", "onnx", "torch", "numpy", "pickle"} <= set(plugin_names("jupyter_modelreg.flavors"))
    for group in ("flavors", "sources"):
        for name in plugin_names(f"jupyter_modelreg.{group}"):
            assert load_plugin(f"jupyter_modelreg.{group}", name)
    for name in plugin_names("jupyter_modelreg.flavors"):
        assert type(flavors.get_flavor(name)) is type(load_plugin("jupyter_modelreg.flavors", name))


@pytest.mark.usefixtures("stranger")
def test_an_unknown_plugin_is_not_found_and_the_nearest_is_named() -> None:
    with pytest.raises(NotFound, match=r'no flavors plugin "wrods"\. Did you mean "words"\? Known: broken, '):
        load_plugin("jupyter_modelreg.flavors", "wrods")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(("name", "reason"), [("broken", "RuntimeError: no licence"), ("gone", "has no attribute 'Gone'")])
def test_a_plugin_that_cannot_be_made_says_why(name: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        load_plugin("jupyter_modelreg.flavors", name)


def test_a_strangers_flavor_saves_and_loads_through_the_registry(stranger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = tmp_path / "site" / "wordy-1.dist-info" / "entry_points.txt"
    points.write_text("[jupyter_modelreg.flavors]\nwords = wordy:WordsFlavor\n")
    folder = tmp_path / "model"
    folder.mkdir()
    assert flavors.save_object(stranger.Words(["cat"]), str(folder)).flavor == "words"
    assert flavors.detect(open_local(str(folder))).flavor == "words"
    assert flavors.load_object(str(folder), "words") == ["cat"]


def test_what_is_installed_or_removed_meanwhile_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "other"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = plugin_names("jupyter_modelreg.flavors")
    about = site / "later-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[jupyter_modelreg.flavors]\nlater = later:Flavor\n")
    assert set(plugin_names("jupyter_modelreg.flavors")) - set(before) == {"later"}
    about.rename(tmp_path / "gone")
    assert plugin_names("jupyter_modelreg.flavors") == before


def test_distributions_are_read_once_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = plugin_names("jupyter_modelreg.sources")
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    assert plugin_names("jupyter_modelreg.sources") == names
