"""What people install: the wheel, the sdist, a checkout, each also where there is no Node.js."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import UV, copy_checkout, run

pytestmark = pytest.mark.timeout(600)

PANEL = "share/jupyter/labextensions/jupyter-modelreg"
SERVER_CONFIG = "etc/jupyter/jupyter_server_config.d/jupyter_modelreg.json"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment."""
    folder = tmp_path / "environment"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=tmp_path)
    return folder


@pytest.fixture
def no_node(tmp_path: Path) -> str:
    """A PATH with nothing on it but an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return str(folder)


def test_the_wheel_carries_the_panel_and_the_server_configuration(distributions: Path) -> None:
    with zipfile.ZipFile(_only(distributions, "*.whl")) as wheel:
        names = wheel.namelist()
    assert any(name.endswith(f"data/{PANEL}/static/style.js") for name in names)
    assert any(name.endswith(f"data/{PANEL}/package.json") for name in names)
    assert any(name.endswith(f"data/{PANEL}/install.json") for name in names)
    assert any(name.endswith(f"data/{SERVER_CONFIG}") for name in names)


def test_the_wheel_carries_nothing_that_only_developers_need(distributions: Path) -> None:
    with zipfile.ZipFile(_only(distributions, "*.whl")) as wheel:
        tops = {name.split("/")[0].split("-")[0] for name in wheel.namelist()}
        names = wheel.namelist()
    assert tops == {"jupyter_modelreg"}
    assert not [name for name in names if name.startswith("jupyter_modelreg/labextension/")]
    assert not [name for name in names if name.endswith(".map")]


def test_the_sdist_carries_the_built_panel_and_no_modules_of_others(distributions: Path) -> None:
    with tarfile.open(_only(distributions, "*.tar.gz")) as sdist:
        names = [name.split("/", 1)[-1] for name in sdist.getnames()]
    assert "jupyter_modelreg/labextension/static/style.js" in names
    assert "labextension/yarn.lock" in names
    assert not [name for name in names if "node_modules" in name or "/.yarn/" in name]


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_a_release_installs_with_its_panel_where_there_is_no_node(kind: str, distributions: Path, environment: Path, no_node: str) -> None:
    run(UV, "pip", "install", "--quiet", "--python", environment, _only(distributions, kind), cwd=environment, path=no_node)
    assert (environment / PANEL / "static" / "style.js").is_file()
    assert (environment / SERVER_CONFIG).is_file()
    assert run(environment / "bin" / "modelreg", "--version", cwd=environment, path=no_node).stdout.startswith("modelreg ")


def test_a_checkout_installs_without_node_and_says_that_the_panel_is_missing(tmp_path: Path, environment: Path, no_node: str) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    said = run(UV, "pip", "install", "--verbose", "--python", environment, checkout, cwd=tmp_path, path=no_node).stderr
    assert "Node.js not found: installing jupyter-modelreg without its JupyterLab panel." in said
    checks = run(environment / "bin" / "modelreg", "settings", "check", "--output", "table", cwd=tmp_path, path=no_node).stdout
    assert "panel" in checks
    assert "Node" in checks


def _only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found
