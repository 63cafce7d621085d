"""A store of its own for every test, and trees of small files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_modelreg.sources.local import LocalTree, open_local
from jupyter_modelreg.storage import LocalStore

MakeTree = Callable[[dict[str, bytes]], LocalTree]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root))


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Write files into a folder called ``model`` and open it."""

    def make(files: dict[str, bytes]) -> LocalTree:
        for path, content in files.items():
            (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "model" / path).write_bytes(content)
        return open_local(str(tmp_path / "model"))

    return make
