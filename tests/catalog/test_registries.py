"""A registry that any released version wrote opens, is brought up with a copy beside it, and its models load."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from jupyter_modelreg import models
from jupyter_modelreg.catalog.sqlite import LAYOUT
from jupyter_modelreg.commands.model import CompareModels, CreateModel, DownloadModel, ShowModel
from jupyter_modelreg.entities import Environment
from jupyter_modelreg.workspace import Workspace

from ..archives import unpack
from .migrations import kill_migrations

RELEASES = sorted((Path(__file__).parent / "registries").glob("*.tar.gz"), key=lambda path: path.name)


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def old(request: pytest.FixtureRequest, home: Path) -> Path:
    """Put a released version's registry where this test's home is."""
    with tarfile.open(request.param) as archive:
        unpack(archive, home)
    return home


def test_there_is_a_registry_of_every_release_and_of_every_layout_before_this_one() -> None:
    assert [path.name.removesuffix(".tar.gz") for path in RELEASES] == ["0.1.0", "layout-2"]
    assert LAYOUT == 3


def test_it_is_brought_up_with_a_copy_beside_it(old: Path, workspace: Workspace) -> None:
    listed = workspace.catalog.list_models(name="churn", archived="all")
    assert [(item.version, item.tags["stage"], item.is_archived) for item in listed] == [
        ("3", "prod", False),
        ("2", "tested", False),
        ("1", "dev", True),
    ]
    assert [item.metrics for item in listed] == [{"auc": 0.7, "loss": 0.5}, {"auc": 0.6, "loss": 0.75}, {"auc": 0.5, "loss": float("inf")}]
    assert workspace.catalog.get_version("churn", "2").properties == {"seen": "yes"}
    assert [item.name for item in workspace.catalog.list_models(archived="only")] == ["old", "churn"]
    assert [item.name for item in workspace.catalog.list_endpoints()] == ["live"]
    assert workspace.catalog.deployments_of("churn", "3") == ["live/blue"]
    assert workspace.catalog.list_environments(archived="all") == []
    (before,) = old.glob("catalog.sqlite.layout-*")
    with closing(sqlite3.connect(before)) as copy:
        assert copy.execute("SELECT count(*) FROM version").fetchone() == (7,)


def test_its_metrics_are_rows_now(old: Path, workspace: Workspace) -> None:
    query = "SELECT version.version FROM metric JOIN version ON version.id = version_id WHERE key = ? AND value > ? ORDER BY value"
    assert workspace.catalog.rows(query, ("auc", 0.55)) == [("2",), ("3",)]
    assert workspace.catalog.rows(query, ("loss", 1e300)) == [("1",)]


def test_its_models_load_and_it_goes_on(old: Path, workspace: Workspace, tmp_path: Path) -> None:
    assert np.array_equal(models.load_model(workspace, ShowModel(name="churn")), np.arange(4.0) * 3)
    models.download_model(workspace, DownloadModel(name="folder", download_path=str(tmp_path / "got")))
    assert (tmp_path / "got" / "folder" / "folder" / "sub" / "a.txt").read_text() == "a"
    assert models.compare_models(workspace, CompareModels(name="churn")).metrics["auc"] == [0.6, 0.7]
    (tmp_path / "w.bin").write_bytes(b"weights")
    assert models.create_model(workspace, CreateModel(name="gone", path="w.bin")).version == "3"
    assert models.create_model(workspace, CreateModel(name="churn", path="w.bin")).version == "4"
    assert workspace.catalog.create_environment(Environment(name="tools", image="python:3.11", digest="d")).version == "1"
    assert workspace.catalog.broken_audit() is None


def test_a_record_of_changes_stays_whole_from_layout_2_on(home: Path, workspace: Workspace) -> None:
    with tarfile.open(RELEASES[-1]) as archive:
        unpack(archive, home)
    assert [(row.number, row.action, row.subject) for row in workspace.catalog.audit()] == [
        (16, "restore", "churn:2"),
        (15, "archive", "churn:2"),
        (14, "update", "churn:3"),
    ]
    assert workspace.catalog.broken_audit() is None
    assert workspace.catalog.get_version("churn").description == "Checked"


def test_a_migration_that_is_killed_leaves_the_old_catalog_or_the_new_one(tmp_path: Path) -> None:
    outcome = kill_migrations(tmp_path / "killed", 30)
    assert outcome.old + outcome.new == 30
    assert outcome.old > 0
    assert outcome.new > 0
