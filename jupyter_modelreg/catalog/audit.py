"""Who changed what, and when: one row for every change, in its own transaction, chained so that none is edited or removed unseen."""

from __future__ import annotations

from ..errors import InvalidInput
from .database import Part, at_one_moment, utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..entities.answers import AuditRow
    from .database import Transaction

_COLUMNS = "number, at, actor, action, subject, digest, model"


class Audit(Part):
    """The catalog's record of changes."""

    def audit(self, *, max_results: int | None = None, model: str | None = None) -> list[AuditRow]:
        """Return the changes, the newest first; with a model, only those of it and its versions.

        Raises
        ------
        InvalidInput
            If `max_results` is below 1.
        """
        from ..entities.answers import AuditRow

        if max_results is not None and max_results < 1:
            raise InvalidInput(f"max_results must be at least 1, not {max_results}.", key="max_results")
        where, values = ("WHERE model = ?", [model]) if model else ("", [])
        limit = min(max_results or _ALL, _ALL)
        rows = self.rows(f"SELECT {_COLUMNS} FROM audit {where} ORDER BY number DESC LIMIT ?", [*values, limit])  # noqa: S608
        return [AuditRow(number=row[0], at=row[1], actor=row[2], action=row[3], subject=row[4], digest=row[5]) for row in rows]

    def damage(self) -> str | None:
        """Read the whole catalog and say what does not fit together in it; None when all is well."""
        return self._database.damage()

    @at_one_moment
    def broken_audit(self) -> int | None:
        """Return the number of the first row that was edited, or behind which one is missing; None when all is well."""
        before, after = "", None
        for *row, chain in self.rows(f"SELECT {_COLUMNS}, chain FROM audit ORDER BY number"):  # noqa: S608
            if after not in (None, row[0]) or chain_of(before, row) != chain:
                return int(row[0])
            before, after = chain, row[0] + 1
        number, last = self.rows("SELECT number, chain FROM change")[0]
        return None if last == before and after in (None, number + 1) else after or number

    @at_one_moment
    def edited_versions(self) -> list[str]:
        """Return the references of versions that name other content than was recorded when they were made."""
        query = """
            SELECT model.name || ':' || version.version, version.digest
            FROM version JOIN model ON model.id = version.model_id WHERE version.deleted_at IS NULL ORDER BY version.id
        """
        made = dict(self.rows("SELECT subject, digest FROM audit WHERE action = 'create'"))
        return [reference for reference, digest in self.rows(query) if made.get(reference, digest) != digest]

    def change_number(self) -> int:
        """Return a number that grows with every committed change."""
        return int(self.rows("SELECT number FROM change")[0][0])

    def _record(
        self, transaction: Transaction, action: str, model: str, subject: str, *, digest: str = "", user: str | None = None
    ) -> None:
        number, before = transaction.execute("SELECT number + 1, chain FROM change").fetchone()
        row = [number, utc_now(), user or self.user, action, subject, digest, model]
        chain = chain_of(before, row)
        transaction.execute(f"INSERT INTO audit ({_COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*row, chain])  # noqa: S608
        transaction.execute("UPDATE change SET number = ?, chain = ?", (number, chain))


def chain_of(before: str, row: list[Any]) -> str:
    """Return the hash of a row and of all before it."""
    import json

    from blake3 import blake3

    return blake3(json.dumps([before, *row], separators=(",", ":")).encode()).hexdigest()


_ALL = (1 << 63) - 1
