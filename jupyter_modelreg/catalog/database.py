"""What a catalog asks of a database: SQLite in a file, or PostgreSQL. One text of SQL serves both.

Booleans are integers, marks are ``?``, a fresh key comes back by ``RETURNING``, text is compared byte by byte.
"""

from __future__ import annotations

import functools

from ..errors import Corrupted, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol, TypeVar

    Answer = TypeVar("Answer")
    Method = TypeVar("Method", bound=Callable[..., Any])

    class Rows(Protocol):
        """What a statement answers."""

        def fetchone(self) -> Any:
            """Return the next row, None behind the last."""
            ...

        def fetchall(self) -> Sequence[Any]:
            """Return all rows that are left."""
            ...

        def __iter__(self) -> Iterator[Any]: ...

    class Transaction(Protocol):
        """One write transaction."""

        def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
            """Run one statement."""
            ...

        def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> object:
            """Run one statement for each row."""
            ...

    class Database(Protocol):
        """Any number of threads and processes may use one at a time."""

        place: str  # what messages call it; holds no password
        is_local: bool  # every process that uses it runs on this machine
        engine: str  # "sqlite" or "postgresql"

        def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
            """Answer a query; inside `writing` it sees what was written there.

            Raises
            ------
            Unavailable
                If the database cannot be reached or read.
            Corrupted
                If it is damaged.
            """
            ...

        def damage(self) -> str | None:
            """Read all of it and say what does not fit together; None when all is well, or the database sees to that itself."""
            ...

        def at_one_moment(self, read: Callable[[], Answer]) -> Answer:
            """Call what asks several queries; none of them sees what another process changes meanwhile. It may be called again.

            Raises
            ------
            Unavailable
                If the database cannot be reached or read.
            """
            ...

        def writing(self, *, is_durable: bool = True) -> AbstractContextManager[Transaction]:
            """Give a transaction that begins when every other writer is done: all of it or nothing.

            With `is_durable` it is on disk when it ends.

            Raises
            ------
            Unavailable
                If the database cannot be written.
            Refused
                If a newer version of this package made it.
            """
            ...


BUSY_SECONDS = 30.0
BUSY = f"another process has been writing for {BUSY_SECONDS:.0f} seconds."


class Part:
    """What the parts of a catalog stand on."""

    _database: Database
    user: str

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Answer a query of another module of this package; see :class:`Database`."""
        return self._database.rows(query, values)

    def _row(self, query: str, values: Sequence[Any] = ()) -> Any:
        return next(iter(self._database.rows(query, values)), None)


def at_one_moment(method: Method) -> Method:
    """Let a method of a catalog see one state of it, however many queries it asks."""

    @functools.wraps(method)
    def whole(self: Part, *values: Any, **named: Any) -> Any:
        return self._database.at_one_moment(lambda: method(self, *values, **named))

    return whole  # type: ignore[return-value]


def read_json(text: str, what: str) -> Any:
    """Return what a row holds as JSON; ours always is, unless the disk changed it.

    Raises
    ------
    Corrupted
        If it is none.
    """
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise Corrupted(f"The catalog's record of {what} is damaged: {error}. Restore the catalog from a copy.") from None


def check_text(values: Sequence[Any]) -> None:
    """Refuse what one of the databases could not keep: a zero byte.

    Raises
    ------
    InvalidInput
        If a text holds one.
    """
    for value in values:
        if type(value) is str and "\0" in value:
            raise InvalidInput(f"{value[:60]!r} holds a zero byte; nothing was changed.")


def no_unicode(error: UnicodeEncodeError) -> InvalidInput:
    """Return what to say of text with half a character in it."""
    return InvalidInput(f"{error.object[:60]!r} is no Unicode text; nothing was changed.")


def utc_now() -> str:
    """Return the time in UTC, ISO 8601 with microseconds and ``Z``."""
    import time

    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
