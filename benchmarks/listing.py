"""Listing ten thousand versions beside MLflow's registry in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .measure import Row, at_least_faster, medians

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_modelreg.workspace import Workspace

VERSIONS = 10_000
ROUNDS = 3


def rows(scratch: Path) -> Iterator[Row]:
    """List every version of one model that has ten thousand, each with two tags, in this process."""
    ours, theirs = medians(ROUNDS, _list_ours(scratch / "home"), _list_mlflow(scratch / "mlflow.db"))
    yield at_least_faster("model list of 10,000 versions", ours, "MLflow search_model_versions, SQLite", theirs, 10)


def _list_ours(home: Path) -> Callable[[], None]:
    from jupyter_modelreg.commands.model import ListModels
    from jupyter_modelreg.models import list_models
    from jupyter_modelreg.workspace import open_workspace

    workspace = open_workspace({"home": str(home)})
    _fill_ours(workspace)

    def step() -> None:
        assert len(list_models(workspace, ListModels(name="hot"))) == VERSIONS

    return step


def _fill_ours(workspace: Workspace) -> None:
    """Record versions of one file, as registering does once the file is in the store, without waiting for the disk each time."""
    from jupyter_modelreg.entities import Model
    from jupyter_modelreg.sources.local import open_local

    weights = Path(workspace.home).parent / "weights.bin"
    weights.write_bytes(b"weights")
    manifest = workspace.store.import_tree(open_local(str(weights)))
    workspace.catalog._database.connection.execute("PRAGMA synchronous=OFF")
    for number in range(VERSIONS):
        described = Model(name="hot", type="custom_model", path=f"file:///models/{number}", tags={"stage": "dev", "number": str(number)})
        workspace.catalog.create_version(described, manifest)


def _list_mlflow(database: Path) -> Callable[[], None]:
    import logging

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    from mlflow.store.model_registry import sqlalchemy_store

    make_store: Any = sqlalchemy_store.SqlAlchemyStore  # untyped
    store = make_store(f"sqlite:///{database}")
    _fill_mlflow(store)

    def step() -> None:
        found: list[Any] = []
        token = None
        while True:  # MLflow gives them in pages
            page = store.search_model_versions("name = 'hot'", max_results=VERSIONS, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                break
        assert len(found) == VERSIONS

    return step


def _fill_mlflow(store: Any) -> None:
    """Insert through MLflow's own tables; its public call for one version takes tens of milliseconds."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag

    store.create_registered_model("hot")
    with store.ManagedSessionMaker() as session:
        for number in range(1, VERSIONS + 1):
            session.add(SqlModelVersion(name="hot", version=number, source=f"file:///models/{number}", status="READY"))
        session.flush()
        for number in range(1, VERSIONS + 1):
            for key, value in (("stage", "dev"), ("number", str(number))):
                session.add(SqlModelVersionTag(name="hot", version=number, key=key, value=value))
