"""Real environments, made by a real uv of small packages; skipped with a reason where uv or the package index is missing."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_modelreg.commands.online import DeleteOnlineEndpoint
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.online import delete_endpoint
from jupyter_modelreg.pythons import uv_program
from jupyter_modelreg.workspace import Workspace, open_workspace


@functools.cache
def why_not() -> str:
    """Return why no environment can be made here; empty when one can."""
    try:
        uv = uv_program()
    except Unavailable as error:
        return error.message
    words = [uv, "pip", "install", "--dry-run", "--reinstall", "--python", sys.executable, "six==1.16.0"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "the package index does not answer"
    return "" if done.returncode == 0 else f"uv has no six 1.16.0: {done.stderr.strip().splitlines()[-1]}"


@pytest.fixture
def making(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace that makes environments; its endpoints end with it."""
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setenv("MODELREG_ENVIRONMENTS", "make")
    workspace = open_workspace()
    yield workspace
    for endpoint in workspace.catalog.list_endpoints():
        delete_endpoint(workspace, DeleteOnlineEndpoint(name=str(endpoint.name)))


@pytest.fixture
def folder(making: Workspace) -> str:
    return f"{making.home}/environments"
