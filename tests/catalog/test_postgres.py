"""What only a server can do: refuse, go away, come back, lose the answer to a commit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import sqlalchemy

from jupyter_modelreg.catalog import Catalog, open_catalog
from jupyter_modelreg.catalog import postgres as module
from jupyter_modelreg.catalog.postgres import PostgresDatabase
from jupyter_modelreg.commands.workspace import ShowSettings
from jupyter_modelreg.doors.changes import Changes
from jupyter_modelreg.entities import Environment
from jupyter_modelreg.errors import InvalidInput, Refused, Unavailable
from jupyter_modelreg.installation import list_settings
from jupyter_modelreg.workspace import open_workspace
from tests.postgres import PASSWORD, Server

from .conftest import create


@pytest.fixture
def catalog(postgres_url: str) -> Catalog:
    return open_catalog(postgres_url)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01,))


def refusal(url: str) -> str:
    with pytest.raises(Unavailable) as caught:
        open_catalog(url)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_one_clear_line(postgres: Server) -> None:
    url = postgres.url("postgres", user="guarded", password="wrong-pass-word")
    words = refusal(url)
    assert words.endswith('the server does not accept this password of user "guarded". PGPASSWORD and ~/.pgpass are read, too.')
    assert f"postgresql://guarded:***@127.0.0.1:{postgres.port}/postgres" in words
    assert "wrong-pass-word" not in words


def test_no_password_says_where_one_is_read(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(postgres.url(user="guarded")).endswith('user "guarded" needs a password: PGPASSWORD or ~/.pgpass.')
    postgres.do("CREATE DATABASE guarded OWNER guarded")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert open_catalog(postgres.url("guarded", user="guarded")).list_models() == []


def test_a_missing_database_says_how_it_is_made(postgres: Server) -> None:
    assert refusal(postgres.url("nowhere")).endswith('the server has no database "nowhere"; make it: createdb nowhere')


def test_a_missing_user_is_named(postgres: Server) -> None:
    assert refusal(postgres.url(user="nobody-here")).endswith('the server has no user "nobody-here".')


def test_no_server_is_one_clear_line(no_pauses: None) -> None:
    assert refusal(f"postgresql://ada:{quote(PASSWORD, safe='')}@127.0.0.1:1/x").endswith(
        "no server answers at 127.0.0.1. Is it running, and may this machine reach it?"
    )
    assert "there is no host" in refusal("postgresql://no-such-host.invalid/x")


def test_a_user_who_may_not_write_reads_and_is_told_so(postgres: Server, postgres_url: str) -> None:
    create(open_catalog(postgres_url), "churn")
    database = postgres_url.rpartition("/")[2]
    postgres.do("CREATE ROLE reader LOGIN")
    schema = database.rpartition("%3D")[2]
    postgres.do(f"GRANT USAGE ON SCHEMA {schema} TO reader")
    postgres.do(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    reader = open_catalog(postgres.url(database, user="reader"))
    assert [item.name for item in reader.list_models()] == ["churn"]
    with pytest.raises(Unavailable, match='user "reader" may not write it'):
        create(reader, "other")


@pytest.mark.parametrize("url", ["postgresql://u:p@ss:word@h:port/x", "postgresql://u:p@word@h/x", "postgresql://u:p/word@h:x/x"])
def test_a_url_that_is_none_is_told_without_its_password(url: str, no_pauses: None) -> None:
    with pytest.raises(InvalidInput, match="is no URL of a database; write postgresql://USER@HOST/DATABASE, signs such as @") as caught:
        open_catalog(url)
    assert "word" not in str(caught.value).replace("password", "")
    with pytest.raises(InvalidInput, match=r'"mysql://" is no kind of catalog; write a path or postgresql://USER@HOST/DATABASE'):
        open_catalog("mysql://u:secret@h/x")


def test_packages_that_are_missing_name_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from jupyter_modelreg.catalog import open_catalog\n"
        "try: open_catalog('postgresql://h/x')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ('Unavailable A catalog on PostgreSQL needs two more packages: pip install "jupyter-modelreg[postgres]"\n')


def test_a_password_is_shown_nowhere(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_CATALOG", postgres.url("x", user="guarded", password=PASSWORD))
    shown = {item.name: item.value for item in list_settings(open_workspace(), ShowSettings())}
    assert shown["catalog"] == f"postgresql://guarded:***@127.0.0.1:{postgres.port}/x"


# --- gone and back ----------------------------------------------------------------------------------------------------


def test_a_connection_that_was_cut_is_made_anew(catalog: Catalog, postgres: Server) -> None:
    create(catalog, "churn")
    cut_all(postgres)
    assert [item.name for item in catalog.list_models()] == ["churn"]
    cut_all(postgres)
    assert create(catalog, "churn", "two").version == "2"


def test_reading_waits_for_a_server_that_starts_again(catalog: Catalog, postgres: Server) -> None:
    create(catalog, "churn")
    postgres.stop()
    timer = threading.Timer(0.5, postgres.start)
    timer.start()
    try:
        assert [item.name for item in catalog.list_models()] == ["churn"]
    finally:
        timer.join()


def test_a_write_that_is_cut_in_the_middle_changes_nothing(catalog: Catalog, postgres: Server) -> None:
    create(catalog, "churn")
    with pytest.raises(Unavailable, match="is not available"):
        catalog.update_version("churn", "1", lambda model: (cut_all(postgres), model.replace(tags={"a": "b"}))[1])
    assert catalog.get_version("churn").tags == {}
    assert len(catalog.audit()) == 1


@contextmanager
def losing_the_answer(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object], *, is_sent: bool) -> Iterator[None]:
    """Let the next commit get lost on its way there, or its answer on its way back."""

    def commit(self: Any) -> None:
        patch.undo()
        if is_sent:
            real(self)
        then()
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, module.psycopg.OperationalError("server closed the connection unexpectedly"))

    real = sqlalchemy.Connection.commit
    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy.Connection, "commit", commit)
        yield


def test_a_commit_whose_answer_was_lost_is_looked_up_and_not_done_twice(
    catalog: Catalog, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        cut_all(postgres)

    with losing_the_answer(monkeypatch, cut, is_sent=True):
        create(catalog, "churn")
    assert [item.version for item in catalog.list_models(name="churn")] == ["1"]
    with losing_the_answer(monkeypatch, cut, is_sent=False), pytest.raises(Unavailable, match=r"nothing was changed. Try again"):
        create(catalog, "churn", "two")
    assert [item.version for item in catalog.list_models(name="churn")] == ["1"]
    assert create(catalog, "churn", "two").version == "2"
    assert catalog.broken_audit() is None


def test_a_commit_whose_answer_and_server_are_gone_says_what_is_unknown(
    catalog: Catalog, postgres: Server, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    with (
        losing_the_answer(monkeypatch, postgres.stop, is_sent=True),
        pytest.raises(Unavailable, match=r"whether change 1 stands, modelreg audit list says"),
    ):
        create(catalog, "churn")
    postgres.start()
    assert catalog.get_version("churn").version == "1"


def cut_all(postgres: Server) -> None:
    postgres.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")


# --- many at once -----------------------------------------------------------------------------------------------------


def test_who_waits_too_long_for_another_writer_says_so(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.3)
    slow, other = Catalog(PostgresDatabase(postgres_url)), Catalog(PostgresDatabase(postgres_url))
    with slow._database.writing(), pytest.raises(Unavailable, match="another process has been writing"):
        create(other, "churn")
    assert create(other, "churn").version == "1"


def test_readers_never_wait_for_a_writer(catalog: Catalog, postgres_url: str) -> None:
    create(catalog, "churn")
    other = Catalog(PostgresDatabase(postgres_url))
    with catalog._database.writing():
        started = time.monotonic()
        assert [item.name for item in other.list_models()] == ["churn"]
        assert time.monotonic() - started < 1


def test_of_many_who_come_first_one_makes_the_tables(postgres_url: str) -> None:
    code = "import sys; from jupyter_modelreg.catalog import open_catalog; print(open_catalog(sys.argv[1]).list_models())"
    runs = [subprocess.Popen([sys.executable, "-c", code, postgres_url], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [run.communicate()[0] for run in runs] == ["[]\n"] * 4


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(catalog: Catalog) -> None:
    create(catalog, "churn")
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if len(catalog.list_models()) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert create(catalog, "churn", "two").version == "2"


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_a_newer_layout_is_read_and_never_written(postgres_url: str, postgres: Server) -> None:
    opened_before = Catalog(PostgresDatabase(postgres_url))
    create(opened_before, "churn")
    postgres.do("UPDATE layout SET number = 99", postgres_url.rpartition("/")[2])
    for catalog in (opened_before, Catalog(PostgresDatabase(postgres_url))):
        assert [item.name for item in catalog.list_models()] == ["churn"]
        with pytest.raises(Refused, match=r"newer version of jupyter-modelreg; this one only reads it. Please upgrade"):
            create(catalog, "other")


def test_a_catalog_of_layout_2_is_brought_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(module, "POSTGRES", {2: module.POSTGRES[2]})
        before.setattr(module, "POSTGRES_LAYOUT", 2)
        old = Catalog(PostgresDatabase(postgres_url))
        create(old, "churn", tags={"stage": "dev"})
        assert old.rows("SELECT number FROM layout") == [(2,)]
    catalog = Catalog(PostgresDatabase(postgres_url))
    assert catalog.rows("SELECT number FROM layout") == [(3,)]
    assert [(item.name, item.tags) for item in catalog.list_models()] == [("churn", {"stage": "dev"})]
    assert catalog.create_environment(Environment(name="tools", image="python:3.11", digest="d")).version == "1"
    assert catalog.broken_audit() is None


def test_both_databases_have_the_same_tables(catalog: Catalog, path: Path) -> None:
    other = open_catalog(str(path))
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name <> 'layout'"
    )
    there: dict[str, set[str]] = {}
    for table, column in catalog.rows(query):
        there.setdefault(table, set()).add(column)
    tables = [row[0] for row in other.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
    assert there == {table: {row[0] for row in other.rows("SELECT name FROM pragma_table_info(?)", (table,))} for table in tables}


def test_a_change_by_another_is_seen(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_CATALOG", postgres_url)
    changes = Changes(open_workspace)
    assert [changes.have_come(), changes.have_come()] == [False, False]
    create(Catalog(PostgresDatabase(postgres_url)), "churn")
    assert [changes.have_come(), changes.have_come()] == [True, False]
