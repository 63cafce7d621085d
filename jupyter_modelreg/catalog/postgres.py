"""A catalog on a PostgreSQL server, which a team shares. SQLAlchemy's engine and psycopg, no mapping of objects.

A writer first locks the one row of ``change``, as ``BEGIN IMMEDIATE`` locks a file: writers follow one another, readers
never wait, and what stands for SQLite stands here. A connection that is lost while reading is made anew. A commit
whose outcome nobody heard is looked up by its row in the record of changes, never done twice.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress

from ..errors import InvalidInput, Refused, Unavailable
from ..settings import hide_password
from .database import BUSY, BUSY_SECONDS, check_text, no_unicode
from .schema import POSTGRES, POSTGRES_LAYOUT

try:
    import psycopg
    import sqlalchemy
except ImportError:
    raise Unavailable('A catalog on PostgreSQL needs two more packages: pip install "jupyter-modelreg[postgres]"') from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from sqlalchemy import Connection, CursorResult, Engine

    Answer = TypeVar("Answer")

PAUSES = (0.1, 0.5, 1.5, 4.0)  # seconds between tries of a server that went away
FIRST_PAUSES = 2  # so many of them for one that was never there: its name may be wrong
CONNECT_SECONDS = 10
_MIGRATION_LOCK = 7_205_759_403  # any number, the same in every release
_LOCK = "SELECT number, chain, (SELECT number FROM layout) FROM change FOR UPDATE OF change"
_DURABLE = "SELECT set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true)"
_CHEAP = "SELECT set_config('synchronous_commit', 'off', true)"


@functools.lru_cache(maxsize=8)
def open_database(url: str) -> PostgresDatabase:
    """Return the database at a URL; whoever asks again in this process shares its connections.

    Raises
    ------
    InvalidInput
        If it is no URL of a database.
    Unavailable
        If the server cannot be reached, or lets nobody in.
    """
    return PostgresDatabase(url)


class PostgresDatabase:
    """The database at a URL; connections are kept, and shared by threads."""

    is_local = False
    engine = "postgresql"

    def __init__(self, url: str) -> None:
        self.place = hide_password(url)
        self._url = _parsed(url)
        self._local = threading.local()
        self._pool: tuple[int, Engine] | None = None
        self._is_too_new = self._was_there = False
        self._retried(self._prepare)
        self._was_there = True

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Answer a query; see :class:`Database`."""
        open_now: Connection | None = getattr(self._local, "connection", None)
        return self._retried(lambda: self._read(query, values)) if open_now is None else list(_run(open_now, query, values).fetchall())

    def damage(self) -> str | None:
        """Say nothing: the server's own checksums and tools watch over its files."""

    def at_one_moment(self, read: Callable[[], Answer]) -> Answer:
        """Call what asks several queries; see :class:`Database`."""
        is_open = getattr(self._local, "connection", None) is not None
        return read() if is_open else self._retried(lambda: self._read_at_one_moment(read))

    def _read_at_one_moment(self, read: Callable[[], Answer]) -> Answer:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
            self._local.connection = connection
            try:
                return read()
            finally:
                self._local.connection = None

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Iterator[_Transaction]:
        """Give one write transaction; see :class:`Database`."""
        connection, before = self._retried(lambda: self._begin(is_durable=is_durable))
        self._local.connection = connection
        try:
            yield _Transaction(connection)
            self._commit(connection, before)
        except BaseException as error:
            with suppress(sqlalchemy.exc.DBAPIError):
                connection.rollback()
            if isinstance(error, (sqlalchemy.exc.DBAPIError, UnicodeEncodeError)):
                raise self._translated(error) from None
            raise
        finally:
            self._local.connection = None
            connection.close()

    def _read(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return list(_run(connection, query, values).fetchall())

    def _begin(self, *, is_durable: bool) -> tuple[Connection, tuple[int, str]]:
        connection = self._engine.connect()
        try:
            _run(connection, _DURABLE if is_durable else _CHEAP)
            number, chain, layout = _one(connection, _LOCK)
            if layout > POSTGRES_LAYOUT:  # made newer at any time since it was opened
                raise self._too_new()
        except BaseException:
            connection.close()
            raise
        return connection, (number, chain)

    def _commit(self, connection: Connection, before: tuple[int, str]) -> None:
        number, chain = _one(connection, "SELECT number, chain FROM change")
        try:
            connection.commit()
        except sqlalchemy.exc.DBAPIError as error:
            if not _is_lost(error):
                raise
            if (number, chain) == before or not self._is_recorded(number, chain):
                raise Unavailable(
                    f"The catalog {self.place} went away before the change was recorded; nothing was changed. Try again."
                ) from None

    def _is_recorded(self, number: int, chain: str) -> bool:
        """Say whether a change stands; waits until the server has done with the connection that was lost."""
        try:
            connection, _ = self._retried(lambda: self._begin(is_durable=False))
        except Unavailable as error:
            text = f"{error.message} It went away while a change was recorded; whether change {number} stands, modelreg audit list says."
            raise Unavailable(text) from None
        with connection:
            return bool(_one(connection, "SELECT count(*) FROM audit WHERE number = ? AND chain = ?", (number, chain))[0])

    def _retried(self, act: Callable[[], Answer]) -> Answer:
        """Do what changes nothing, anew when the server is gone for a moment."""
        for pause in (*PAUSES[: None if self._was_there else FIRST_PAUSES], None):
            try:
                return act()
            except (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, UnicodeEncodeError) as error:
                if pause is None or not _is_lost(error):
                    raise self._translated(error) from None
            time.sleep(pause)
        raise AssertionError

    @property
    def _engine(self) -> Engine:
        """The pool of this process; one that was inherited by a fork is left alone."""
        if self._pool is None or self._pool[0] != os.getpid():
            if self._pool:
                self._pool[1].dispose(close=False)
            arguments = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 30, "tcp_user_timeout": 30_000, **self._url.query}
            made = sqlalchemy.create_engine(self._url.set(query={}), connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
            sqlalchemy.event.listen(made, "connect", _set_limits)
            weakref.finalize(self, _dispose, made, os.getpid())
            self._pool = (os.getpid(), made)
        return self._pool[1]

    def _prepare(self) -> None:
        """Make the tables, or bring them to this layout; of many who come at once one does it."""
        layout = self._layout()
        self._is_too_new = layout > POSTGRES_LAYOUT
        if layout >= POSTGRES_LAYOUT:
            return
        with self._engine.begin() as connection:
            _run(connection, "SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
            for number, script in POSTGRES.items():
                if number > self._layout_of(connection):
                    for statement in script.split(";\n"):
                        if statement.strip():
                            _run(connection, statement)
                    _run(connection, "UPDATE layout SET number = ?", (number,))

    def _layout(self) -> int:
        with self._engine.connect() as connection:
            return self._layout_of(connection)

    def _layout_of(self, connection: Connection) -> int:
        # A scan, since to_regclass may answer from before the lock was had.
        query = "SELECT count(*) FROM pg_catalog.pg_tables WHERE tablename = 'layout' AND schemaname = ANY (current_schemas(false))"
        if not _one(connection, query)[0]:
            return 0
        return int(_one(connection, "SELECT number FROM layout")[0])

    def _too_new(self) -> Refused:
        return Refused(f"The catalog {self.place} was made by a newer version of jupyter-modelreg; this one only reads it. Please upgrade.")

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, UnicodeEncodeError):
            return no_unicode(error)
        state, text = _cause(error)
        if self._is_too_new and state[:2] == "42":
            return self._too_new()
        reason = _BY_STATE.get(state) or next((reason for sign, reason in _BY_TEXT.items() if sign in text), None)
        if reason is None and not _is_lost(error):
            return error
        words = (reason or _NO_ANSWER).format(
            user=self._url.username or "?", database=self._url.database or "?", host=self._url.host or "?"
        )
        return Unavailable(f"The catalog {self.place} is not available: {words}")


class _Transaction:
    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, query: str, values: Sequence[Any] = (), /) -> CursorResult[Any]:
        """Run one statement."""
        return _run(self._connection, query, values)

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each row."""
        all_rows = [tuple(row) for row in rows]
        for row in all_rows:
            check_text(row)
        if all_rows:
            self._connection.exec_driver_sql(_marked(query), all_rows)


def _run(connection: Connection, query: str, values: Sequence[Any] = ()) -> CursorResult[Any]:
    check_text(values)
    return connection.exec_driver_sql(_marked(query), tuple(values))


def _one(connection: Connection, query: str, values: Sequence[Any] = ()) -> Any:
    return _run(connection, query, values).one()


@functools.lru_cache(maxsize=512)
def _marked(query: str) -> str:
    return query.replace("%", "%%").replace("?", "%s")


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        parsed = sqlalchemy.make_url(url)
        if "@" in (parsed.host or ""):  # the rest of a password; it must not be shown as the name of a host
            raise ValueError
    except (ValueError, sqlalchemy.exc.ArgumentError):  # its text may hold the password
        raise InvalidInput(
            f'"{hide_password(url)}" is no URL of a database; write postgresql://USER@HOST/DATABASE, signs such as @ in a password as %40.',
            key="catalog",
        ) from None
    return parsed.set(drivername="postgresql+psycopg")


def _set_limits(connection: Any, record: object) -> None:
    """Let no writer wait for ever, neither for another nor for one whose machine sleeps."""
    milliseconds = int(BUSY_SECONDS * 1000)
    was = connection.autocommit
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = {milliseconds}; SET idle_in_transaction_session_timeout = {2 * milliseconds}")
    connection.autocommit = was


def _dispose(engine: Engine, process: int) -> None:
    engine.dispose(close=os.getpid() == process)


def _cause(error: Exception) -> tuple[str, str]:
    cause = getattr(error, "orig", error)
    return getattr(cause, "sqlstate", None) or "", str(cause)


def _is_lost(error: Exception) -> bool:
    """Say whether the server or the way to it is gone, perhaps for a moment."""
    state, text = _cause(error)
    if state in _COMES_BACK or state[:2] == "08" or getattr(error, "connection_invalidated", False):
        return True
    is_connection = isinstance(getattr(error, "orig", None), psycopg.OperationalError) and not state
    return is_connection and not any(sign in text for sign in _BY_TEXT)


_COMES_BACK = ("57P01", "57P02", "57P03", "53300", "25P03")
_NO_ANSWER = "no server answers at {host}. Is it running, and may this machine reach it?"
_BY_STATE = {
    "55P03": BUSY,
    "25006": "the server only reads; is it a copy of another?",
    "42501": 'user "{user}" may not write it.',
    "53100": "the disk of the server is full.",
    "53300": "the server has no connection left.",
}
_BY_TEXT = {
    "password authentication failed": 'the server does not accept this password of user "{user}". PGPASSWORD and ~/.pgpass are read, too.',
    "no password supplied": 'user "{user}" needs a password: PGPASSWORD or ~/.pgpass.',
    "no pg_hba.conf entry": 'the server does not let user "{user}" come from this machine.',
    'role "': 'the server has no user "{user}".',
    'database "': 'the server has no database "{database}"; make it: createdb {database}',
    "could not translate host name": 'there is no host "{host}".',
    "failed to resolve host": 'there is no host "{host}".',
    "permission denied": 'user "{user}" may not use database "{database}".',
}
