"""Distributions built once from a copy of what git knows, so that the working tree stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def copy_checkout(target: Path) -> Path:
    """Copy the files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # a file removed but not yet committed is still listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def run(*words: str | Path, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed; `path` replaces PATH. Its exit code must be 0."""
    environment = {**os.environ, "UV_NO_PROGRESS": "1", **({"PATH": path} if path else {})}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it, as a release would have them."""
    if not shutil.which("node"):
        pytest.skip("Node.js builds the panel that a release carries")
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
    modules = ROOT / "labextension" / "node_modules"
    if modules.is_dir():  # what the lock file asks for is here already; links cost a second, a fetch a minute
        shutil.copytree(modules, checkout / "labextension" / "node_modules", symlinks=True, copy_function=os.link)
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--out-dir", folder, cwd=checkout)
    return folder
