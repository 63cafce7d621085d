"""The way from each older layout to this one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tarfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.catalog import Catalog, open_catalog, schema
from jupyter_modelreg.catalog import sqlite as module
from jupyter_modelreg.catalog.sqlite import LAYOUT
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Corrupted, Refused, Unavailable

from ..archives import unpack
from .conftest import create

ADDS_A_COLUMN = "ALTER TABLE version ADD COLUMN colour TEXT;\nUPDATE version SET colour = 'blue'"


@pytest.fixture
def next_layout(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pretend that the next layout is there; a function, since the old one must be written first."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (schema._run(ADDS_A_COLUMN),)))
    monkeypatch.setattr(module, "LAYOUT", LAYOUT + 1)
    return LAYOUT + 1


def layout_of(path: Path | str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def colours(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT colour FROM version")]


@pytest.fixture
def old(path: Path) -> Path:
    """A catalog of this layout with a version in it, written by a process that is gone."""
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.catalog.conftest import create; from jupyter_modelreg.catalog import open_catalog;"
        "create(open_catalog(sys.argv[1]), 'churn', tags={'stage': 'dev'})"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])
    return path


def test_there_is_a_step_for_every_layout() -> None:
    assert len(schema.MIGRATIONS) == LAYOUT


def test_a_new_catalog_has_this_layout_and_a_log(catalog: Catalog, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert layout_of(path) == LAYOUT
    assert [item.name for item in path.parent.iterdir() if "layout" in item.name] == []
    assert catalog.list_models() == []


def test_a_commit_waits_for_the_disk(catalog: Catalog) -> None:
    assert catalog._database.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_an_old_catalog_is_brought_up_with_a_copy_beside_it(old: Path, next_layout: int) -> None:
    catalog = open_catalog(str(old))
    assert [(item.name, item.tags) for item in catalog.list_models()] == [("churn", {"stage": "dev"})]
    assert layout_of(old) == next_layout
    assert colours(old) == ["blue"]
    copy = Path(f"{old}.layout-{LAYOUT}")
    assert layout_of(copy) == LAYOUT
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM version").fetchone() == (1,)
    assert not os.path.exists(f"{copy}.part")


def test_a_copy_of_an_earlier_attempt_is_made_anew(old: Path, next_layout: int) -> None:
    Path(f"{old}.layout-{LAYOUT}").write_text("half a copy")
    Path(f"{old}.layout-{LAYOUT}.part").write_text("left by a kill")
    open_catalog(str(old))
    assert layout_of(f"{old}.layout-{LAYOUT}") == LAYOUT


def test_a_migration_that_fails_leaves_the_old_catalog(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (schema._run(f"{ADDS_A_COLUMN};\nCREATE TABLE version (x)"),)))
    monkeypatch.setattr(module, "LAYOUT", LAYOUT + 1)
    with pytest.raises(Unavailable, match=r"cannot be brought to its new layout: table version already exists. It is as it was"):
        open_catalog(str(old))
    assert layout_of(old) == LAYOUT
    monkeypatch.undo()
    assert [item.name for item in open_catalog(str(old)).list_models()] == ["churn"]


def test_two_processes_may_bring_it_up_at_once(old: Path) -> None:
    code = (
        "import sys; from jupyter_modelreg import catalog; from jupyter_modelreg.catalog import schema, sqlite;"
        f"schema.MIGRATIONS += ((schema._run({ADDS_A_COLUMN!r}),),); sqlite.LAYOUT += 1;"
        "print([item.name for item in catalog.open_catalog(sys.argv[1]).list_models()])"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(old)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [run.communicate() for run in runs] == [("['churn']\n", "")] * 4
    assert layout_of(f"{old}.layout-{LAYOUT}") == LAYOUT


def test_a_newer_catalog_is_read_and_never_written(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute(f"PRAGMA user_version={LAYOUT + 1}")
    catalog = open_catalog(str(old))
    assert [item.name for item in catalog.list_models()] == ["churn"]
    with pytest.raises(Refused, match=r"newer version of jupyter-modelreg; this one only reads it. Please upgrade"):
        create(catalog, "other")
    assert layout_of(old) == LAYOUT + 1


def test_a_newer_catalog_that_cannot_be_understood_says_so(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("ALTER TABLE version RENAME COLUMN stage TO phase")
        connection.execute(f"PRAGMA user_version={LAYOUT + 1}")
    with pytest.raises(Refused, match="Please upgrade"):
        open_catalog(str(old)).list_models()


def test_a_file_that_is_no_catalog_is_said_so(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Corrupted, match=r"is damaged: file is not a database. Restore it from a copy"):
        open_catalog(str(path))


def test_damage_that_is_met_while_reading_is_said_so(old: Path) -> None:
    catalog = open_catalog(str(old))
    for number in range(500):
        create(catalog, f"model-{number}")
    del catalog
    content = bytearray(old.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    old.write_bytes(content)
    with pytest.raises(Corrupted, match="is damaged"):
        open_catalog(str(old)).list_models()


def test_processes_that_start_on_a_new_home_at_once_all_succeed(path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.catalog.conftest import create; from jupyter_modelreg.catalog import open_catalog;"
        "print(create(open_catalog(sys.argv[1]), 'churn').version)"
    )
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
        for _ in range(8)
    ]
    answers = [run.communicate() for run in runs]
    assert [error for _, error in answers] == [""] * 8
    assert sorted(int(answer) for answer, _ in answers) == list(range(1, 9))


def test_the_model_table_keeps_its_promise_of_one_name(catalog: Catalog) -> None:
    create(catalog, "churn")
    with pytest.raises(sqlite3.IntegrityError):
        catalog._database.connection.execute("INSERT INTO model (name, folded) VALUES ('CHURN', 'churn')")
    assert catalog.get_version("churn").name == Model(name="churn").name


def test_opening_waits_for_who_looks_at_a_new_catalog(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE scratch (x)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM scratch").fetchall()
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        assert open_catalog(str(path)).list_models() == []
        timer.join()


def test_reading_goes_on_where_nothing_can_be_written(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(place: str, **options: Any) -> sqlite3.Connection:
        if not options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return real(place, **options)

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    catalog = open_catalog(str(old))
    assert [(item.name, item.tags) for item in catalog.list_models()] == [("churn", {"stage": "dev"})]
    with pytest.raises(Unavailable, match="it cannot be opened; is its folder there, and may you write it"):
        create(catalog, "other")
    Path(f"{old}-wal").write_bytes(b"what a killed process had not written yet")
    with pytest.raises(Unavailable):
        catalog.list_models()


@pytest.fixture
def on_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder lie on a server of files."""
    monkeypatch.setattr(module, "file_system_of", lambda folder: "nfs4")


def test_a_network_file_system_is_refused_before_anything_is_made(path: Path, on_a_network: None) -> None:
    with pytest.raises(Unavailable, match=r"lies on nfs4, where SQLite can lose data; it is read there and not written. Set catalog to"):
        open_catalog(str(path))
    assert not path.parent.exists()


def test_a_catalog_on_a_network_is_read_and_not_written(old: Path, on_a_network: None) -> None:
    before = old.read_bytes()
    catalog = open_catalog(str(old))
    assert [(item.name, item.tags) for item in catalog.list_models()] == [("churn", {"stage": "dev"})]
    for write in (lambda: create(catalog, "other"), lambda: catalog.pin({"a"}), lambda: catalog.delete_model("churn")):
        with pytest.raises(Unavailable, match='network_catalog = "allow" insists on this one'):
            write()
    assert old.read_bytes() == before
    assert [item.name for item in old.parent.iterdir() if item.name.startswith("catalog.sqlite-") and "reserve" not in item.name] == []
    Path(f"{old}-wal").write_bytes(b"of somebody who writes on that machine")
    with pytest.raises(Unavailable, match="where SQLite can lose data"):
        catalog.list_models()


def test_who_insists_writes_on_a_network_without_a_log(path: Path, on_a_network: None) -> None:
    catalog = open_catalog(str(path), network="allow")
    assert create(catalog, "churn").version == "1"
    assert create(open_catalog(str(path), network="allow"), "churn", "two").version == "2"
    assert catalog._database.connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert catalog._database.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert not Path(f"{path}-wal").exists()


def test_an_older_catalog_that_may_not_be_written_says_what_to_do(path: Path, on_a_network: None) -> None:
    with tarfile.open(Path(__file__).parent / "registries" / "0.1.0.tar.gz") as archive:
        unpack(archive, path.parent)
    with pytest.raises(Unavailable, match="is of an older version of jupyter-modelreg; open it once where it may be written"):
        open_catalog(str(path)).get_version("churn")


def test_the_kind_of_a_file_system_is_the_kernels_word(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mounts"):
        pytest.skip("only Linux says so")
    assert module.file_system_of("/proc/self") == "proc"
    assert module.file_system_of(str(tmp_path)) not in ("", "proc")
