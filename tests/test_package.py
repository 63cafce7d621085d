"""What must agree between the package's parts."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import jupyter_modelreg

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    panel = json.loads((ROOT / "labextension" / "package.json").read_text())
    assert jupyter_modelreg.__version__ == project["version"] == panel["version"] == version("jupyter-modelreg")


def test_every_public_name_can_be_imported() -> None:
    for name in jupyter_modelreg.__all__:
        assert getattr(jupyter_modelreg, name) is not None


def test_the_changelog_begins_with_this_version() -> None:
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert f"[{jupyter_modelreg.__version__}]" in first
