"""Registrations and clean-ups at the same time, and nothing lost.

A registration pins the names it relies on before it trusts a file that is there already; a clean-up dooms names before it
removes them. Both are rows, written in transactions that exclude each other, so either the registration waits until the
names are gone and writes them anew, or the clean-up passes them over. A pin goes in the transaction that records the
version. One whose process is dead, or that is a week old, is dropped; a registration that lost its pin records nothing.
"""

from __future__ import annotations

import os
import time

from ..errors import Unavailable
from .database import Part, utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..processes import ProcessIdentity
    from .database import Transaction

WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 2.0  # for what a dead clean-up had asked of a server
PIN_DAYS = 7
_LIVE = (("version", "digest"), ("environment_version", "manifest"))  # what names a manifest in the store


class Holding:
    """Holds the names that it was last called with, against every clean-up. The catalog is opened when there is something to hold."""

    def __init__(self, catalog: Callable[[], Pins]) -> None:
        self._catalog, self.pin = catalog, ""

    def __call__(self, names: set[str]) -> None:
        """Hold these names, then let go of those before; see :meth:`Pins.pin`."""
        before, self.pin = self.pin, self._catalog().pin(names)
        if before:
            self._catalog().unpin(before)

    def let_go(self) -> None:
        """Hold nothing."""
        if self.pin:
            self._catalog().unpin(self.pin)


class Pins(Part):
    """The catalog's record of what is relied on and of what is being removed."""

    def pin(self, names: set[str], *, wait_seconds: float = WAIT_SECONDS) -> str:
        """Hold names against every clean-up and return the pin's id; waits while one of them is being removed.

        Raises
        ------
        Unavailable
            If one of them still is after `wait_seconds`.
        """
        import secrets

        started, pin = time.monotonic(), secrets.token_hex(16)
        while True:
            waited = time.monotonic() - started
            with self._database.writing(is_durable=False) as transaction:
                doomed = self._doomed(transaction, names)
                if doomed and waited > SETTLE_SECONDS and self._is_gone(doomed[1]):
                    transaction.execute("DELETE FROM doomed WHERE id = ?", (doomed[0],))
                    continue
                if not doomed:
                    row = (pin, " ".join(sorted(names)), _own(), utc_now())
                    transaction.execute("INSERT INTO pin (id, names, owner, created_at) VALUES (?, ?, ?, ?)", row)
                    return pin
            if waited > wait_seconds:
                raise self._is_being_cleaned(*doomed[1:])
            time.sleep(LOOK_SECONDS)

    def unpin(self, pin: str) -> None:
        """Let go of a pin; of a registration that failed."""
        with self._database.writing(is_durable=False) as transaction:
            transaction.execute("DELETE FROM pin WHERE id = ?", (pin,))

    def doom(
        self, candidates: Iterable[str], since: tuple[int, ...], names_of: Callable[[str], set[str]], *, takes_over: bool = False
    ) -> tuple[str, set[str]]:
        """Choose what of the candidates may be removed now, and return the id of that choice and the names.

        Call `forget_doomed` when they are gone. What a version or a pin has come to rely on since the candidates were
        found is left out.

        Parameters
        ----------
        since
            What `last_rows` gave before the candidates were looked for.
        names_of
            Gives the names that a manifest relies on, by its digest; asked for those of versions that came since. Their content may have been
            there before, and have gone and come back to lie elsewhere.
        takes_over
            Whether another machine's unfinished clean-up is known to be dead; one on this machine is seen to be.
        """
        import secrets

        identifier = secrets.token_hex(16)
        with self._database.writing() as transaction:
            self._drop_dead(transaction, takes_over=takes_over)
            kept: set[str] = set()
            for table in ("pin", "doomed"):
                for (names,) in transaction.execute(f"SELECT names FROM {table}").fetchall():  # noqa: S608 - one of two
                    kept.update(names.split())
            for (table, column), last in zip(_LIVE, since, strict=True):
                new = f"SELECT DISTINCT {column} FROM {table} WHERE id > ? AND deleted_at IS NULL AND {column} IS NOT NULL"  # noqa: S608
                for (digest,) in transaction.execute(new, (last,)).fetchall():
                    kept |= {digest, *names_of(digest)}
            chosen = set(candidates) - kept
            row = (identifier, " ".join(sorted(chosen)), _own(), utc_now())
            transaction.execute("INSERT INTO doomed (id, names, owner, created_at) VALUES (?, ?, ?, ?)", row)
        return identifier, chosen

    def forget_doomed(self, identifier: str) -> None:
        """Say that what `doom` gave is gone."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM doomed WHERE id = ?", (identifier,))

    def live_digests(self) -> set[str]:
        """Return the digests of all manifests that a version names, of a model or an environment; everything else in the store may go."""
        parts = [f"SELECT {column} FROM {table} WHERE deleted_at IS NULL AND {column} IS NOT NULL" for table, column in _LIVE]  # noqa: S608
        return {row[0] for row in self.rows(" UNION ".join(parts))}

    def last_rows(self) -> tuple[int, ...]:
        """Return numbers that every version made later, of a model or an environment, is above."""
        return tuple(int(self._row(f"SELECT coalesce(max(id), 0) FROM {table}")[0]) for table, _ in _LIVE)  # noqa: S608

    def _use_pin(self, transaction: Transaction, pin: str, name: str) -> None:
        """Let a pin go for the version that takes its place."""
        if transaction.execute("DELETE FROM pin WHERE id = ? RETURNING id", (pin,)).fetchone() is None:
            raise Unavailable(f"The files of {name} were collected meanwhile, nothing was registered; try again.")

    def _doomed(self, transaction: Transaction, names: set[str]) -> tuple[str, str, str] | None:
        for identifier, owner, since, listed in transaction.execute("SELECT id, owner, created_at, names FROM doomed").fetchall():
            if not names.isdisjoint(listed.split()):
                return identifier, owner, since
        return None

    def _drop_dead(self, transaction: Transaction, *, takes_over: bool) -> None:
        oldest = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - PIN_DAYS * 86_400))
        for identifier, owner, since in transaction.execute("SELECT id, owner, created_at FROM pin").fetchall():
            if since < oldest or self._is_gone(owner):
                transaction.execute("DELETE FROM pin WHERE id = ?", (identifier,))
        for identifier, owner in transaction.execute("SELECT id, owner FROM doomed").fetchall():
            # No clock decides here: a clean-up that lives and is taken for dead would remove what came back meanwhile.
            if self._is_gone(owner) or (takes_over and not _is_here(_parsed(owner))):
                transaction.execute("DELETE FROM doomed WHERE id = ?", (identifier,))

    def _is_gone(self, owner: str) -> bool:
        """Say whether a process surely is dead: another boot of the only machine that uses this catalog, or none of this one's."""
        from ..processes import boot_id, is_alive

        identity = _parsed(owner)
        if not _is_here(identity):
            return self._database.is_local and identity.boot_id != boot_id()
        return not is_alive(identity)

    def _is_being_cleaned(self, owner: str, since: str) -> Unavailable:
        identity = _parsed(owner)
        return Unavailable(
            f"The store is being cleaned by process {identity.pid} on {identity.host} since {since}; nothing was registered. Try again."
        )


def _own() -> str:
    import json

    from ..processes import identify

    return json.dumps(identify(os.getpid()).to_dict())


def _parsed(owner: str) -> ProcessIdentity:
    import json

    from ..processes import ProcessIdentity

    return ProcessIdentity(**{"token": "", **json.loads(owner)})


def _is_here(identity: ProcessIdentity) -> bool:
    import socket

    from ..processes import boot_id

    return identity.boot_id == boot_id() and identity.host == socket.gethostname()  # containers share a boot, not their processes
