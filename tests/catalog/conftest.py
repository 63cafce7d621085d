"""A catalog of its own for every test, and manifests without files."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.catalog import Catalog, open_catalog
from jupyter_modelreg.testing.catalogs import create, manifest_of

__all__ = ["create", "manifest_of"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return open_catalog(str(path))
