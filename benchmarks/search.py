"""The newest twenty with a tag among a million versions: through the Python API, in bare SQL, and through MLflow's registry."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .measure import Row, at_least_faster, medians, within_seconds

VERSIONS = 1_000_000
MODELS = 50_000
MLFLOW_VERSIONS = 100_000
ROUNDS = 20
NEWEST = 20


def rows(scratch: Path) -> Iterator[Row]:
    """Ask for the newest twenty versions that one of twenty teams has, in this process, every cache warm."""
    ours, sql = medians(ROUNDS, *_ours(scratch / "home"))
    yield within_seconds("newest 20 by a tag of 1,000,000 versions", ours, "the same in bare SQL", sql, 0.005)
    (theirs,) = medians(3, _mlflow(scratch / "mlflow.db"))
    yield at_least_faster("newest 20 by a tag of 1,000,000 versions", ours, "MLflow, 100,000 versions, SQLite", theirs, 10)


def _ours(home: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    from jupyter_modelreg import MLClient

    client = MLClient(home=home)
    path = home / "catalog.sqlite"
    assert not client.models.list()  # makes the tables
    fill(path)
    connection = sqlite3.connect(path)
    query = "SELECT version_id FROM tag WHERE key = 'team' AND value = 'team-7' ORDER BY version_id DESC LIMIT ?"

    def api() -> None:
        assert len(list(client.models.list(filter="tags.team = 'team-7'", max_results=NEWEST))) == NEWEST

    def sql() -> None:
        assert len(connection.execute(query, (NEWEST,)).fetchall()) == NEWEST

    return api, sql


def fill(path: Path, versions: int = VERSIONS, models: int = MODELS) -> None:
    """Write a catalog of many versions, each with four tags and a metric or two, as one bulk load."""
    connection = sqlite3.connect(path, isolation_level=None)
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOTNULL AND tbl_name IN ('tag', 'metric', 'version')"
    )
    dropped = indexes.fetchall()
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-400000")
    connection.execute("BEGIN")
    for name, _ in dropped:
        connection.execute(f"DROP INDEX {name}")
    for statement in _FILL:
        connection.execute(statement, {"versions": versions, "models": models})
    for _, statement in dropped:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


_NUMBERS = "WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < {})"
# A multiplier that has no factor in common with the counts spreads values over the versions without a random number.
_SPREAD = "(i * 7919 % 1000003)"
_FILL = (
    f"""{_NUMBERS.format(":models")} INSERT INTO model (id, name, folded, next_version)
    SELECT i, name, name, :versions / :models + 1 FROM (
        SELECT i, CASE i % 10 WHEN 0 THEN 'churn' WHEN 1 THEN 'fraud' WHEN 2 THEN 'iris' ELSE 'model' END || '-' || i AS name FROM number
    )""",
    f"""{_NUMBERS.format(":versions")}
    INSERT INTO version (id, model_id, version, type, stage, digest, size_bytes, metrics, created_at, modified_at)
    SELECT i, i % :models + 1, i / :models + 1, 'custom_model', CASE WHEN i % 20 = 0 THEN 'Production' END, printf('%064x', i), {_SPREAD} * 1000,
        '{{"auc": ' || ({_SPREAD} / 1000003.0) || '}}', strftime('%Y-%m-%dT%H:%M:%f000Z', 1700000000 + i * 60, 'unixepoch'), '2026-11-25T00:00:00.000000Z'
    FROM number""",
    f"""{_NUMBERS.format(":versions")}
    INSERT INTO tag SELECT 'commit', printf('%08x', {_SPREAD} * 4099), i FROM number
    UNION ALL SELECT 'dataset', 'd' || ({_SPREAD} % 1000), i FROM number
    UNION ALL SELECT 'stage', CASE WHEN i % 97 < 5 THEN 'prod' WHEN i % 97 < 20 THEN 'test' ELSE 'dev' END, i FROM number
    UNION ALL SELECT 'team', 'team-' || ({_SPREAD} % 20), i FROM number ORDER BY 1, 2, 3""",
    f"""{_NUMBERS.format(":versions")}
    INSERT INTO metric SELECT 'auc', {_SPREAD} / 1000003.0, i FROM number
    UNION ALL SELECT 'loss', {_SPREAD} % 1009 / 1009.0, i FROM number WHERE i % 2 = 0 ORDER BY 1, 2, 3""",
)


def _mlflow(database: Path) -> Callable[[], None]:
    import logging

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    from mlflow.store.model_registry import sqlalchemy_store

    make_store: Any = sqlalchemy_store.SqlAlchemyStore  # untyped
    store = make_store(f"sqlite:///{database}")
    _fill_mlflow(database)

    def step() -> None:
        assert len(store.search_model_versions("tags.team = 'team-7'", max_results=NEWEST)) == NEWEST

    return step


def _fill_mlflow(database: Path) -> None:
    """Insert into MLflow's own tables; its public call for one version takes tens of milliseconds."""
    connection = sqlite3.connect(database, isolation_level=None)
    values = {"versions": MLFLOW_VERSIONS, "models": MLFLOW_VERSIONS // 20}
    numbers = _NUMBERS.format(":versions")
    connection.execute("BEGIN")
    connection.execute(
        f"{_NUMBERS.format(':models')} INSERT INTO registered_models (name, creation_time) SELECT 'model-' || (i - 1), 0 FROM number",
        values,
    )
    connection.execute(
        f"""{numbers} INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, status)
        SELECT 'model-' || (i % :models), i / :models + 1, i, i, 'None', 'file:///models/' || i, 'READY' FROM number""",
        values,
    )
    for key, value in (
        ("commit", "i"),
        ("dataset", f"{_SPREAD} % 1000"),
        ("stage", f"{_SPREAD} % 20"),
        ("team", f"'team-' || ({_SPREAD} % 20)"),
    ):
        connection.execute(
            f"{numbers} INSERT INTO model_version_tags (name, version, key, value) SELECT 'model-' || (i % :models), i / :models + 1, '{key}', {value} FROM number",
            values,
        )
    connection.execute("COMMIT")
    connection.close()
