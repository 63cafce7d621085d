"""A catalog in a file.

Rules that keep it whole (Source: sqlite.org; measured in this project's studies): write-ahead log; ``synchronous=FULL``
so that a commit survives a power cut; every writer begins with ``BEGIN IMMEDIATE``, since a read that turns into a write
fails at once instead of waiting. On a network file system the log is not safe: there a catalog is read, and written only
by who insists, without one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager, suppress

from ..errors import Corrupted, Refused, Unavailable
from ..folders import make_folder
from .database import BUSY, BUSY_SECONDS, check_text, no_unicode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    Answer = TypeVar("Answer")

LAYOUT = 3  # of the tables; schema.MIGRATIONS has as many steps
RESERVE_BYTES = 256 << 10
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "gpfs", "fuse.sshfs", "afs", "9p")
_inherited: list[sqlite3.Connection] = []


class SqliteDatabase:
    """The file at a path; each thread has a connection of its own.

    Parameters
    ----------
    network
        "refuse" only reads on a network file system; "allow" writes there, too.
    """

    is_local = True
    engine = "sqlite"

    def __init__(self, path: str, *, network: str = "refuse") -> None:
        self.place = path
        self._connections = threading.local()
        self._is_too_new = self._is_stuck = False
        self._network = file_system_of(os.path.dirname(os.path.abspath(path)))
        if not self._network.startswith(_NETWORK_FILE_SYSTEMS):
            self._network = ""
        self._is_far = bool(self._network) and network != "allow"
        if self._is_far:
            self._check_readable()
            return
        try:
            self.connection  # noqa: B018 - opens it, so that errors are met here
        except Unavailable:
            if not self._is_at_rest():
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Answer a query; see :class:`Database`."""
        connection = self._to_read
        if connection is None:
            return self._rows_at_rest(query, values)
        try:
            check_text(values)
            return connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            if self._is_too_new and "no such" in str(error):
                raise self._too_new() from None
            raise _translated(error, self.place) from None

    def damage(self) -> str | None:
        """Say what does not fit together; see :class:`Database`. A flipped bit of an index leads to the wrong rows and is met nowhere else."""
        found = str(self.rows("PRAGMA integrity_check(1)")[0][0])
        return None if found == "ok" else found.strip().splitlines()[-1]

    def at_one_moment(self, read: Callable[[], Answer]) -> Answer:
        """Call what asks several queries; see :class:`Database`."""
        connection = self._to_read
        if connection is None or connection.in_transaction:
            return read()
        try:
            connection.execute("BEGIN")
            try:
                return read()
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")  # nothing was written
        except sqlite3.Error as error:
            raise _translated(error, self.place) from None

    @property
    def _to_read(self) -> sqlite3.Connection | None:
        """This thread's connection; None where only a catalog at rest can be read, in which nothing changes."""
        if self._is_far:
            self._check_readable()
            return None
        try:
            return self.connection
        except Unavailable:
            if not self._is_at_rest():
                raise
            return None

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Iterator[_Transaction]:
        """Give one write transaction; see :class:`Database`."""
        if self._is_far:
            raise self._too_far()
        connection = self.connection
        try:
            if not is_durable:
                connection.execute("PRAGMA synchronous=NORMAL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                if connection.execute("PRAGMA user_version").fetchone()[0] > LAYOUT:  # made newer at any time since it was opened
                    raise self._too_new()
                yield _Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                if not is_durable:
                    connection.execute("PRAGMA synchronous=FULL")
        except (sqlite3.Error, UnicodeError) as error:
            raise _translated(error, self.place) from None

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection; one that was inherited by a fork is not used."""
        kept: tuple[int, sqlite3.Connection] | None = getattr(self._connections, "kept", None)
        if kept is None or kept[0] != os.getpid():
            if kept:
                _inherited.append(kept[1])  # SQLite forbids even to close it here
            kept = (os.getpid(), self._open())
            self._connections.kept = kept
        return kept[1]

    def _open(self) -> sqlite3.Connection:
        self._is_stuck = False
        if not os.path.exists(self.place):
            _prepare_folder(self.place)
        try:
            connection = sqlite3.connect(self.place, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA synchronous=FULL")
            layout = connection.execute("PRAGMA user_version").fetchone()[0]
            if self._network:
                connection.execute("PRAGMA journal_mode=DELETE")
            if layout < LAYOUT:
                from .schema import migrate

                migrate(connection, self.place, wait_seconds=BUSY_SECONDS, log="DELETE" if self._network else "WAL")
                keep_reserve(self.place)
            connection.execute("PRAGMA foreign_keys=ON")  # last, since a migration replaces tables that others refer to
            self._is_too_new = layout > LAYOUT
        except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's own words may quote bytes that are none
            self._is_stuck = any(sign in str(error) for sign in ("unable to open", "disk I/O"))
            raise _translated(error, self.place) from None
        return connection

    def _is_at_rest(self) -> bool:
        """Say whether a catalog that cannot be opened, since its disk is full or read-only, is whole without its log."""
        return self._is_stuck and os.path.isfile(self.place) and not self._has_log()

    def _has_log(self) -> bool:
        log = f"{self.place}-wal"
        return os.path.exists(log) and os.path.getsize(log) > 0

    def _rows_at_rest(self, query: str, values: Sequence[Any]) -> list[Any]:
        from contextlib import closing
        from urllib.parse import quote

        # Opened for this query only, since such a connection sees no later change.
        url = f"file:{quote(os.path.abspath(self.place))}?mode=ro&immutable=1"
        try:
            check_text(values)
            with closing(sqlite3.connect(url, uri=True)) as connection:
                layout = connection.execute("PRAGMA user_version").fetchone()[0]
                if layout < LAYOUT:
                    raise self._too_old() if layout else self._unfinished()
                return connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise _translated(error, self.place) from None

    def _check_readable(self) -> None:
        """Let a catalog on a network be read while nobody writes it; its log means that somebody does."""
        if not os.path.isfile(self.place) or self._has_log():
            raise self._too_far()

    def _too_far(self) -> Unavailable:
        return Unavailable(
            f"{self.place} lies on {self._network}, where SQLite can lose data; it is read there and not written. "
            "Set catalog to a file on a local disk or to postgresql://USER@HOST/DATABASE; "
            'network_catalog = "allow" insists on this one.'
        )

    def _too_old(self) -> Unavailable:
        return Unavailable(
            f"The catalog {self.place} is of an older version of jupyter-modelreg; open it once where it may be written, so that it is brought up."
        )

    def _unfinished(self) -> Unavailable:
        return Unavailable(f"The catalog {self.place} is not available: there was no room to make it. Make some, then try again.")

    def _too_new(self) -> Refused:
        return Refused(f"The catalog {self.place} was made by a newer version of jupyter-modelreg; this one only reads it. Please upgrade.")


class _Transaction:
    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, query: str, values: Sequence[Any] = (), /) -> sqlite3.Cursor:
        """Run one statement."""
        check_text(values)
        return self._connection.execute(query, values)

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each row."""
        for row in rows:
            self.execute(query, row)


def _prepare_folder(path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        make_folder(folder)
    except OSError as error:
        raise Unavailable(f"Cannot create {folder}: {error.strerror}. Set MODELREG_HOME to a folder you may write.") from None


def file_system_of(folder: str) -> str:
    """Return the type of the file system that holds a folder, such as ext4; empty where the system does not say."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
            mounts = [line.split()[1:3] for line in stream]
    except OSError:
        return ""
    real = os.path.realpath(folder) + "/"
    # A space is written \040; of two mounts on one point the later one is seen.
    points = [(point.encode("latin-1", "replace").decode("unicode_escape"), kind) for point, kind in mounts]
    holding = [(len(point), number, kind) for number, (point, kind) in enumerate(points) if real.startswith(point.rstrip("/") + "/")]
    return max(holding)[2] if holding else ""


def _translated(error: sqlite3.Error | UnicodeError, path: str) -> Exception:
    text = str(error)
    if isinstance(error, UnicodeEncodeError):
        return no_unicode(error)
    if any(sign in text for sign in _DAMAGE):
        return Corrupted(f"The catalog {path} is damaged: {text}. Restore it from a copy.")
    for sign, reason in _REASONS.items():
        if sign in text:
            return Unavailable(f"The catalog {path} is not available: {reason}")
    return error


_DAMAGE = ("malformed", "not a database", "unsupported file format", "no such", "decode")  # our own queries name what every layout has
_REASONS = {
    "unable to open": "it cannot be opened; is its folder there, and may you write it?",
    "readonly": "it is read-only; may you write its folder?",
    "disk is full": "the disk is full.",
    "disk I/O": "the disk failed to read or write it; is it full?",
    "locked": BUSY,
}


def keep_reserve(path: str) -> None:
    """Take a little room beside a catalog, if nobody has: on a full disk SQLite cannot even begin, and a clean-up must."""
    with suppress(OSError), open(f"{path}-reserve", "xb") as stream:
        stream.write(bytes(RESERVE_BYTES))


def give_reserve(path: str) -> bool:
    """Give that room back; False where there is none."""
    try:
        os.unlink(f"{path}-reserve")
    except OSError:
        return False
    return True
