"""What every test gets: a registry of its own in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """Show with a test that failed what its endpoints' processes said, before they are removed."""
    report = yield
    if report.failed and isinstance(home := getattr(item, "funcargs", {}).get("home"), Path):
        for log in [*home.glob("endpoints/*/supervisor.log"), *home.glob("endpoints/*/*/run-*/log.txt")]:
            report.sections.append((str(log.relative_to(home)), log.read_text(errors="replace")[-4000:]))
    return report
