"""Kill a migration at any moment, and look at what is left (F14)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path

from jupyter_modelreg.catalog import open_catalog
from jupyter_modelreg.catalog.sqlite import LAYOUT

from ..archives import unpack

RELEASE = Path(__file__).parent / "registries" / "0.1.0.tar.gz"
VERSIONS = [("churn", "1"), ("churn", "2"), ("churn", "3"), ("folder", "final"), ("gone", "1"), ("gone", "2"), ("old", "1")]
_OPENS = """
import sys
from jupyter_modelreg.catalog import open_catalog, schema, sqlite
print("ready", flush=True)
sys.stdin.readline()
open_catalog(sys.argv[1])
print("done", flush=True)
"""


class Outcome:
    """What was found after the kills: how many met the old catalog, and how many the new one."""

    def __init__(self) -> None:
        self.old = self.new = 0


def kill_migrations(folder: Path, kills: int, *, seed: int = 0) -> Outcome:
    """Migrate a release's catalog again and again, kill it anywhere between its first step and its last, and check it.

    Raises
    ------
    AssertionError
        If a catalog is neither the old one nor the new one, a new one has no whole copy of the old beside it, or the next
        who opens it does not find everything.
    """
    chance, outcome = random.Random(seed), Outcome()
    longest = max(_migrate(_fresh(folder), None) for _ in range(3))
    for number in range(1, kills + 1):
        path = _fresh(folder)
        _migrate(path, chance.random() * longest)
        if number % 5 == 0 and not outcome.new:
            longest *= 1.5  # a machine that has more to do than when it was measured
        if _check(path):
            outcome.new += 1
        else:
            outcome.old += 1
        open_catalog(str(path))
        assert _check(path), "the next who opens it brings it up"
        assert open_catalog(str(path)).broken_audit() is None
    return outcome


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(RELEASE) as archive:
        unpack(archive, folder)
    return folder / "catalog.sqlite"


def _migrate(path: Path, kill_after: float | None) -> float:
    """Open a catalog in a process of its own and return the seconds that took; kill it after so many."""
    process = subprocess.Popen([sys.executable, "-c", _OPENS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"ready\n"
        started = time.perf_counter()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(process.pid, signal.SIGKILL)
        process.stdout.readline()
        return time.perf_counter() - started


def _check(path: Path) -> bool:
    """Check a catalog as any program may read it and return whether it is the new one."""
    layout = _read(path)
    if layout == LAYOUT:
        assert _read(Path(f"{path}.layout-1")) == 1, "a whole copy of the old catalog lies beside the new one"
        return True
    assert layout == 1
    return False


def _read(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = "SELECT name, version FROM version JOIN model ON model.id = model_id ORDER BY name, version"
        assert connection.execute(query).fetchall() == VERSIONS
        layout = int(connection.execute("PRAGMA user_version").fetchone()[0])
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert ("metric" in tables, "model_2" in tables) == (layout > 1, False)
        if layout > 1:
            assert connection.execute("SELECT count(*) FROM metric").fetchone() == (6,)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return layout
