"""Tables of the catalog and the way from each older layout to this one.

Tags are rows keyed by (key, value, version) so that any tag is indexed and the newest come first; ``version.id`` grows
with every creation. What only ``show`` reads stands in one JSON column.
"""

from __future__ import annotations

import os
import sqlite3

from ..errors import Unavailable
from ..folders import flush_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[sqlite3.Connection], None]

_LAYOUT_1 = """
    CREATE TABLE model (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        next_version INTEGER NOT NULL DEFAULT 1,
        is_archived INTEGER NOT NULL DEFAULT 0,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE version (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        model_id INTEGER NOT NULL REFERENCES model (id),
        version TEXT NOT NULL,
        type TEXT,
        flavor TEXT,
        description TEXT,
        stage TEXT,
        path TEXT,
        job_name TEXT,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        metrics TEXT NOT NULL DEFAULT '{}',
        properties TEXT NOT NULL DEFAULT '{}',
        details TEXT NOT NULL DEFAULT '{}',
        is_archived INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL,
        created_by TEXT,
        modified_at TEXT NOT NULL,
        modified_by TEXT,
        deleted_at TEXT,
        UNIQUE (model_id, version)
    );
    CREATE INDEX version_of_model ON version (model_id, id);
    CREATE TABLE tag (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        version_id INTEGER NOT NULL REFERENCES version (id),
        PRIMARY KEY (key, value, version_id)
    ) WITHOUT ROWID;
    CREATE INDEX tag_of_version ON tag (version_id);
    CREATE TABLE endpoint (
        name TEXT PRIMARY KEY,
        entity TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deployment (
        endpoint TEXT NOT NULL REFERENCES endpoint (name),
        name TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        entity TEXT NOT NULL,
        process TEXT,
        PRIMARY KEY (endpoint, name)
    ) WITHOUT ROWID;
    CREATE INDEX deployment_of_version ON deployment (model, version);
    CREATE TABLE change (number INTEGER NOT NULL);
    INSERT INTO change VALUES (0);
"""
_LAYOUT_2 = """
    CREATE TABLE model_2 (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        folded TEXT NOT NULL UNIQUE, -- the name in lower case: two names that differ only by case are one
        next_version INTEGER NOT NULL DEFAULT 1,
        is_archived INTEGER NOT NULL DEFAULT 0,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    INSERT INTO model_2 SELECT id, name, lower(name), next_version, is_archived, is_deleted FROM model;
    DROP TABLE model;
    ALTER TABLE model_2 RENAME TO model;
    CREATE INDEX version_of_stage ON version (stage, id);
    CREATE INDEX version_of_time ON version (created_at, id);
    CREATE INDEX version_of_digest ON version (digest);
    CREATE TABLE metric (
        key TEXT NOT NULL,
        value REAL NOT NULL,
        version_id INTEGER NOT NULL REFERENCES version (id),
        PRIMARY KEY (key, value, version_id)
    ) WITHOUT ROWID;
    CREATE INDEX metric_of_version ON metric (version_id, key);
    CREATE TABLE pin (
        id TEXT PRIMARY KEY,
        names TEXT NOT NULL,
        owner TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE doomed (
        id TEXT PRIMARY KEY,
        names TEXT NOT NULL,
        owner TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        digest TEXT NOT NULL,
        model TEXT NOT NULL,
        chain TEXT NOT NULL
    );
    CREATE INDEX audit_of_model ON audit (model, number);
    ALTER TABLE change ADD COLUMN chain TEXT NOT NULL DEFAULT '';
"""
_LAYOUT_3 = """
    CREATE TABLE environment (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        folded TEXT NOT NULL UNIQUE,
        next_version INTEGER NOT NULL DEFAULT 1,
        is_archived INTEGER NOT NULL DEFAULT 0,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE environment_version (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        environment_id INTEGER NOT NULL REFERENCES environment (id),
        version TEXT NOT NULL,
        digest TEXT NOT NULL, -- of the definition
        manifest TEXT, -- of the build context in the store
        size_bytes INTEGER NOT NULL DEFAULT 0, -- of the build context
        entity TEXT NOT NULL,
        is_archived INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL,
        created_by TEXT,
        modified_at TEXT NOT NULL,
        modified_by TEXT,
        deleted_at TEXT,
        UNIQUE (environment_id, version)
    );
    CREATE INDEX version_of_size ON version (size_bytes, id);
    CREATE INDEX version_of_change ON version (modified_at, id);
"""


def _run(script: str) -> Step:
    def step(connection: sqlite3.Connection) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(statement)

    return step


def _fill_metrics(connection: sqlite3.Connection) -> None:
    """Make rows of what stood only in JSON, which may hold the Infinity that SQLite's own reader refuses."""
    import json

    for version_id, text in connection.execute("SELECT id, metrics FROM version WHERE metrics <> '{}' AND deleted_at IS NULL"):
        rows = [(key, value, version_id) for key, value in json.loads(text).items() if value == value]  # NaN is in no order
        connection.executemany("INSERT INTO metric (key, value, version_id) VALUES (?, ?, ?)", rows)


# Step n brings a catalog of layout n to n + 1; never edit one that was released.
MIGRATIONS: tuple[tuple[Step, ...], ...] = ((_run(_LAYOUT_1),), (_run(_LAYOUT_2), _fill_metrics), (_run(_LAYOUT_3),))

# PostgreSQL begins with layout 2; what SQLite's tables have, these have. COLLATE "C" compares byte by byte, as SQLite does.
POSTGRES_LAYOUT = 3
POSTGRES = {
    2: """
    CREATE TABLE layout (number INTEGER NOT NULL);
    INSERT INTO layout VALUES (0);
    CREATE TABLE model (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL UNIQUE,
        folded TEXT COLLATE "C" NOT NULL UNIQUE,
        next_version BIGINT NOT NULL DEFAULT 1,
        is_archived INTEGER NOT NULL DEFAULT 0,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE version (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        model_id BIGINT NOT NULL REFERENCES model (id),
        version TEXT COLLATE "C" NOT NULL,
        type TEXT COLLATE "C",
        flavor TEXT COLLATE "C",
        description TEXT COLLATE "C",
        stage TEXT COLLATE "C",
        path TEXT COLLATE "C",
        job_name TEXT COLLATE "C",
        digest TEXT COLLATE "C" NOT NULL,
        size_bytes BIGINT NOT NULL,
        metrics TEXT COLLATE "C" NOT NULL DEFAULT '{}',
        properties TEXT COLLATE "C" NOT NULL DEFAULT '{}',
        details TEXT COLLATE "C" NOT NULL DEFAULT '{}',
        is_archived INTEGER NOT NULL DEFAULT 0,
        created_at TEXT COLLATE "C" NOT NULL,
        created_by TEXT COLLATE "C",
        modified_at TEXT COLLATE "C" NOT NULL,
        modified_by TEXT COLLATE "C",
        deleted_at TEXT COLLATE "C",
        UNIQUE (model_id, version)
    );
    CREATE INDEX version_of_model ON version (model_id, id);
    CREATE INDEX version_of_stage ON version (stage, id);
    CREATE INDEX version_of_time ON version (created_at, id);
    CREATE INDEX version_of_digest ON version (digest);
    CREATE TABLE tag (
        key TEXT COLLATE "C" NOT NULL,
        value TEXT COLLATE "C" NOT NULL,
        version_id BIGINT NOT NULL REFERENCES version (id),
        PRIMARY KEY (version_id, key)
    );
    CREATE INDEX tag_by_value ON tag (key, substr(value, 1, 256), version_id); -- an index takes no longer text
    CREATE TABLE metric (
        key TEXT COLLATE "C" NOT NULL,
        value DOUBLE PRECISION NOT NULL,
        version_id BIGINT NOT NULL REFERENCES version (id),
        PRIMARY KEY (key, value, version_id)
    );
    CREATE INDEX metric_of_version ON metric (version_id, key);
    CREATE TABLE endpoint (
        name TEXT COLLATE "C" PRIMARY KEY,
        entity TEXT NOT NULL,
        created_at TEXT NOT NULL
    );
    CREATE TABLE deployment (
        endpoint TEXT COLLATE "C" NOT NULL REFERENCES endpoint (name),
        name TEXT COLLATE "C" NOT NULL,
        model TEXT COLLATE "C" NOT NULL,
        version TEXT COLLATE "C" NOT NULL,
        entity TEXT NOT NULL,
        process TEXT,
        PRIMARY KEY (endpoint, name)
    );
    CREATE INDEX deployment_of_version ON deployment (model, version);
    CREATE TABLE change (number BIGINT NOT NULL, chain TEXT NOT NULL);
    INSERT INTO change VALUES (0, '');
    CREATE TABLE pin (id TEXT PRIMARY KEY, names TEXT NOT NULL, owner TEXT NOT NULL, created_at TEXT COLLATE "C" NOT NULL);
    CREATE TABLE doomed (id TEXT PRIMARY KEY, names TEXT NOT NULL, owner TEXT NOT NULL, created_at TEXT COLLATE "C" NOT NULL);
    CREATE TABLE audit (
        number BIGINT PRIMARY KEY,
        at TEXT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        digest TEXT NOT NULL,
        model TEXT COLLATE "C" NOT NULL,
        chain TEXT NOT NULL
    );
    CREATE INDEX audit_of_model ON audit (model, number);
    """,
    3: """
    CREATE TABLE environment (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL UNIQUE,
        folded TEXT COLLATE "C" NOT NULL UNIQUE,
        next_version BIGINT NOT NULL DEFAULT 1,
        is_archived INTEGER NOT NULL DEFAULT 0,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE environment_version (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        environment_id BIGINT NOT NULL REFERENCES environment (id),
        version TEXT COLLATE "C" NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        manifest TEXT COLLATE "C",
        size_bytes BIGINT NOT NULL DEFAULT 0,
        entity TEXT NOT NULL,
        is_archived INTEGER NOT NULL DEFAULT 0,
        created_at TEXT COLLATE "C" NOT NULL,
        created_by TEXT COLLATE "C",
        modified_at TEXT COLLATE "C" NOT NULL,
        modified_by TEXT COLLATE "C",
        deleted_at TEXT COLLATE "C",
        UNIQUE (environment_id, version)
    );
    CREATE INDEX version_of_size ON version (size_bytes, id);
    CREATE INDEX version_of_change ON version (modified_at, id);
    """,
}


def migrate(connection: sqlite3.Connection, path: str, *, wait_seconds: float, log: str = "WAL") -> None:
    """Bring a catalog of an older layout to the newest, with a copy of the old one beside it.

    Two processes may ask at once: the second waits and finds the work done.

    Raises
    ------
    Unavailable
        If the copy or the change cannot be written; the catalog is as it was.
    """
    layout = 0
    try:
        _set_log(connection, log, wait_seconds)
        connection.execute("BEGIN IMMEDIATE")
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if 0 < layout < len(MIGRATIONS):
            _back_up(path, f"{path}.layout-{layout}")
        for steps in MIGRATIONS[layout:]:
            for step in steps:
                step(connection)
        connection.execute(f"PRAGMA user_version={max(layout, len(MIGRATIONS))}")
        connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        what = f"cannot be brought to its new layout: {error}. It is as it was." if layout else f"cannot be made: {error}."
        raise Unavailable(f"The catalog {path} {what}") from None


def _set_log(connection: sqlite3.Connection, log: str, wait_seconds: float) -> None:
    """Choose how a transaction is undone; SQLite does not wait for the lock that this takes, so we do."""
    import time

    last_try = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={log}")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > last_try:
                raise
        time.sleep(0.01)


def _back_up(path: str, target: str) -> None:
    """Copy a catalog whose writers are held back. A second connection does it: no copy is made inside a transaction."""
    scratch = f"{target}.part"
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        if os.path.exists(scratch):  # of a process that was killed here; the writers' lock says it is not at work
            os.unlink(scratch)
        reader.execute("VACUUM INTO ?", (scratch,))
        handle = os.open(scratch, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(scratch, target)
        flush_folder(os.path.dirname(os.path.abspath(target)))
    finally:
        reader.close()
