"""A catalog of its own for every test, and manifests without files."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.catalog import Catalog, open_catalog
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.trees import Manifest, ManifestFile


def manifest_of(content: str) -> Manifest:
    """Make the manifest of a file that is nowhere; a catalog knows only digests."""
    digest = content.encode().hex().ljust(64, "0")
    return Manifest(root="m", files=(ManifestFile(path="m", size_bytes=len(content), digest=digest),), digest=digest)


def create(catalog: Catalog, name: str, content: str = "one", **values: object) -> Model:
    return catalog.create_version(Model(name=name, **values), manifest_of(content), user="ada")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return open_catalog(str(path))
