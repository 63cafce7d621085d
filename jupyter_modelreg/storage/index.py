"""What this machine remembers of a store, so that nothing is read twice: one SQLite file that may be deleted at any time.

It only saves work. What it says is believed where the file system confirms it: a file with the same inode, length and
times as when it was hashed; a blob that was hashed and not written since. Any error of it is an empty memory.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .parts import Slice

# Source: git, "racy-git": a file that changed within the clock's tick of being read looks as if it had not.
RESTED_NS = 2_000_000_000
MAX_ROWS = 1_000_000
WAIT_SECONDS = 2.0
_DAMAGED = ("malformed", "not a database", "no such", "columns", "disk I/O error")
_inherited: list[sqlite3.Connection] = []
_TABLES = """
    CREATE TABLE IF NOT EXISTS seen (dev, inode, size, mtime, ctime, digest, PRIMARY KEY (dev, inode)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sound (digest PRIMARY KEY, inode, size, mtime) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS place (digest PRIMARY KEY, blob, position, size, seal) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cut (digest PRIMARY KEY, manifest, seal) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS checksum (digest PRIMARY KEY, sha256) WITHOUT ROWID;
"""


class Index:
    """The memory of one store. Any number of threads and processes may use it at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = threading.local()
        self._rests_until = 0.0

    # --- files of a person --------------------------------------------------------------------------------------------

    def digests(self, statuses: dict[str, os.stat_result]) -> dict[str, str]:
        """Return the digest of each file, by its name, that was hashed before and rested since."""
        found = {}
        for rows in self._asking(
            "SELECT dev, inode, size, mtime, ctime, digest FROM seen WHERE (dev, inode) IN (VALUES {})", _places(statuses)
        ):
            found.update({tuple(row[:5]): row[5] for row in rows})
        return {name: found[key] for name, status in statuses.items() if (key := _key(status)) in found}

    def remember_files(self, files: Iterable[tuple[os.stat_result, str]], read_at_ns: int) -> None:
        """Remember the digests of files that had rested when they began to be read."""
        horizon = read_at_ns - RESTED_NS
        rows = [(*_key(status), digest) for status, digest in files if max(status.st_mtime_ns, status.st_ctime_ns) < horizon]
        self._write("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", rows)

    # --- blobs --------------------------------------------------------------------------------------------------------

    def sound(self, digests: Iterable[str]) -> dict[str, tuple[int, int, int]]:
        """Return inode, length and time of change of the files that were found sound, by digest."""
        return {
            row[0]: tuple(row[1:]) for row in self._select("SELECT digest, inode, size, mtime FROM sound WHERE digest IN ({})", digests)
        }

    def remember_sound(self, blobs: Iterable[tuple[str, os.stat_result]]) -> None:
        """Remember that files hold what their digests say."""
        self._write("INSERT OR REPLACE INTO sound VALUES (?, ?, ?, ?)", [(digest, *mark(status)) for digest, status in blobs])

    def places(self, digests: Iterable[str]) -> dict[str, Slice]:
        """Return the slices in which content was kept, by digest; whether the blob is still there must be looked at."""
        from .parts import Slice

        rows = self._select("SELECT digest, blob, position, size, seal FROM place WHERE digest IN ({})", digests)
        return {row[0]: Slice(*row[1:4]) for row in rows if _seal([row[:4]]) == row[4]}

    def remember_places(self, places: Iterable[tuple[str, Slice]]) -> None:
        """Remember where content lies."""
        rows = [(digest, *item, _seal([(digest, *item)])) for digest, item in places]
        self._write("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?)", rows)

    def cut(self, digest: str, slices_in: Callable[[str], list[Slice]]) -> list[Slice]:
        """Return the pieces in which content was kept, where the parts of the manifest that had it still say the same; none elsewhere."""
        for manifest, seal in self._select("SELECT manifest, seal FROM cut WHERE digest IN ({})", [digest]):
            slices = slices_in(manifest)
            return slices if _seal(slices) == seal else []
        return []

    def remember_cuts(self, cuts: Iterable[tuple[str, str, list[Slice]]]) -> None:
        """Remember the manifest whose parts say how content was cut, and a hash of what they say."""
        rows = [(digest, manifest, _seal(slices)) for digest, manifest, slices in cuts]
        self._write("INSERT OR REPLACE INTO cut VALUES (?, ?, ?)", rows)

    def checksums(self, digests: Iterable[str]) -> dict[str, str]:
        """Return the SHA-256 of content, by digest, where it was computed before."""
        return dict(self._select("SELECT digest, sha256 FROM checksum WHERE digest IN ({})", digests))

    def remember_checksums(self, checksums: dict[str, str]) -> None:
        """Remember the SHA-256 of content."""
        self._write("INSERT OR REPLACE INTO checksum VALUES (?, ?)", list(checksums.items()))

    def forget(self, digests: Iterable[str]) -> None:
        """Forget blobs that were removed."""
        rows = [(digest,) for digest in digests]
        self._write("DELETE FROM sound WHERE digest = ?", rows)
        self._write("DELETE FROM place WHERE blob = ?", rows)

    # --- SQLite -------------------------------------------------------------------------------------------------------

    def _select(self, query: str, digests: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        for rows in self._asking(query, [(digest,) for digest in digests]):
            yield from rows

    def _asking(self, query: str, keys: list[tuple[Any, ...]]) -> Iterator[list[Any]]:
        """Ask for many keys, some hundred at a time."""
        for start in range(0, len(keys) if os.path.exists(self._path) else 0, 400):
            page = keys[start : start + 400]
            mark = "(" + ", ".join("?" * len(page[0])) + ")" if len(page[0]) > 1 else "?"
            text, values = query.format(", ".join([mark] * len(page))), [value for key in page for value in key]
            yield self._guarded(lambda connection, text=text, values=values: connection.execute(text, values).fetchall()) or []  # type: ignore[misc]

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, rows)
            connection.execute("COMMIT")

        if rows and os.path.isdir(os.path.dirname(self._path)):
            self._guarded(write)

    def _guarded(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do it, or nothing: a memory that cannot be read is no memory. A damaged one is made anew."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            return work(self._connection())
        except (sqlite3.Error, OverflowError) as error:
            self._close()
            if any(sign in str(error) for sign in _DAMAGED):
                for name in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        os.unlink(self._path + name)
            else:  # held by somebody, or on a disk that cannot be written: asking again and again would only take time
                self._rests_until = time.monotonic() + WAIT_SECONDS
            return None

    def _connection(self) -> sqlite3.Connection:
        kept: tuple[int, sqlite3.Connection, int] | None = getattr(self._kept, "connection", None)
        if kept and kept[0] == os.getpid() and kept[2] == _inode(self._path):
            return kept[1]
        connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # nothing waits for the disk, and a power cut damages nothing
            connection.executescript(_TABLES)
            self._bound(connection)
        except sqlite3.Error:
            connection.close()
            raise
        if kept and kept[0] != os.getpid():
            _inherited.append(kept[1])  # SQLite forbids even to close it here
        else:
            self._close()
        self._kept.connection = (os.getpid(), connection, _inode(self._path))
        return connection

    def _bound(self, connection: sqlite3.Connection) -> None:
        """Begin anew where the memory has grown too large; counting pages costs nothing."""
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if pages * 4096 > MAX_ROWS * 200:
            for table in ("seen", "sound", "place", "cut", "checksum"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def _close(self) -> None:
        kept = getattr(self._kept, "connection", None)
        if kept and kept[0] == os.getpid():
            kept[1].close()
        self._kept.connection = None


def mark(status: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when somebody writes to a blob. Links to it change the other times."""
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _key(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _places(statuses: dict[str, os.stat_result]) -> list[tuple[int, int]]:
    return [(status.st_dev, status.st_ino) for status in statuses.values()]


def _seal(slices: Iterable[tuple[object, ...]]) -> str:
    """Return a hash of places, which nothing else would check: content at a wrong place has no name that tells it."""
    from blake3 import blake3

    return blake3(repr([tuple(item) for item in slices]).encode()).hexdigest()[:16]


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


__all__ = ["Index", "mark"]
