"""What every test gets: a registry of its own in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.workspace import Workspace, open_workspace

pytest_plugins = ["tests.postgres"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every process a test starts at a fresh home, with no settings of the machine's owner."""
    for name in ("STORE", "CATALOG", "WORKSPACE", "USER"):
        monkeypatch.delenv(f"MODELREG_{name}", raising=False)
    monkeypatch.setenv("MODELREG_ENVIRONMENTS", "kernel")  # tests of environments set make; no other test may need a network
    monkeypatch.setenv("MODELREG_CONTAINER_ENGINE", "none")  # only tests of containers may need an engine
    folder = tmp_path / "home"
    monkeypatch.setenv("MODELREG_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def workspace(home: Path) -> Workspace:
    """An open workspace."""
    return open_workspace()
