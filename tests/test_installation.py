from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_modelreg import __version__, installation
from jupyter_modelreg.commands.workspace import CheckInstallation, ShowSettings
from jupyter_modelreg.entities.answers import Check
from jupyter_modelreg.installation import check_installation, list_settings
from jupyter_modelreg.workspace import Workspace, open_workspace


@pytest.fixture(autouse=True)
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter that knows only what lies in one folder."""
    folder = tmp_path / "jupyter"
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.ENV_CONFIG_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_CONFIG_PATH", [])
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(folder))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(folder))
    return folder


def checked(workspace: Workspace) -> dict[str, Check]:
    return {check.part: check for check in check_installation(workspace, CheckInstallation())}


def test_what_is_missing_comes_with_the_way_to_get_it(workspace: Workspace) -> None:
    found = checked(workspace)
    assert not found["panel"].is_ok
    assert "Node.js" in found["panel"].advice
    assert not found["server extension"].is_ok
    assert "jupyter server extension enable jupyter_modelreg" in found["server extension"].advice


def test_a_panel_of_another_version_is_not_ok(workspace: Workspace, jupyter: Path) -> None:
    package = jupyter / "labextensions" / "jupyter-modelreg" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": __version__}))
    assert checked(workspace)["panel"] == Check(part="panel", is_ok=True, found=__version__)
    package.write_text(json.dumps({"version": "0.0.1"}))
    assert not checked(workspace)["panel"].is_ok


def test_the_server_extension_counts_when_it_is_enabled(workspace: Workspace, jupyter: Path) -> None:
    config = jupyter / "jupyter_server_config.d" / "jupyter_modelreg.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"jupyter_modelreg": True}}}))
    assert checked(workspace)["server extension"].is_ok


def test_an_extra_is_there_when_all_of_it_is(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(workspace)["sklearn"].is_ok
    monkeypatch.setitem(installation.EXTRAS, "sklearn", ("scikit-learn", "no-such-distribution"))
    assert checked(workspace)["sklearn"].advice == 'pip install "jupyter-modelreg[sklearn]"'


def test_asking_creates_no_home_and_names_one_that_cannot_be(workspace: Workspace, home: Path, tmp_path: Path) -> None:
    assert checked(workspace)["home"].is_ok
    assert not home.exists()
    (tmp_path / "file").write_text("in the way")
    check = checked(open_workspace({"home": str(tmp_path / "file" / "home")}))["home"]
    assert not check.is_ok
    assert str(tmp_path / "file") in check.advice


def test_every_setting_says_where_its_value_came_from(home: Path) -> None:
    settings = {setting.name: setting for setting in list_settings(open_workspace({"user": "ada"}), ShowSettings())}
    assert (settings["user"].value, settings["user"].source) == ("ada", "argument")
    assert (settings["home"].value, settings["home"].source) == (str(home), "MODELREG_HOME")
    assert settings["store"].source == "default"
