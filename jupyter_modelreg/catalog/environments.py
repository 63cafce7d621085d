"""Environments and their versions. Few and small, so a version is one row of JSON; what a clean-up must spare has a column."""

from __future__ import annotations

from ..entities.environment import Environment
from ..entities.model import CreationContext
from ..errors import Conflict, InvalidInput, NotFound, nearest
from .database import at_one_moment, utc_now
from .endpoints import Endpoints
from .pins import Pins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..trees import Manifest
    from .database import Transaction

_COLUMNS = """
    environment_version.id, environment.name, environment_version.version, environment_version.entity, environment_version.digest,
    environment_version.is_archived + environment.is_archived, environment_version.created_at, environment_version.created_by,
    environment_version.modified_at, environment_version.modified_by
"""
_FROM = "FROM environment_version JOIN environment ON environment.id = environment_id WHERE environment_version.deleted_at IS NULL"
_ARCHIVED = {
    "all": "",
    "only": "AND environment_version.is_archived + environment.is_archived > 0",
    "active": "AND environment_version.is_archived + environment.is_archived = 0",
}


class Environments(Endpoints, Pins):
    """The catalog's record of environments."""

    def create_environment(
        self, environment: Environment, *, manifest: Manifest | None = None, pin: str | None = None, user: str | None = None
    ) -> Environment:
        """Record a version. `environment.digest` says what its definition is, `manifest` what its build context is made of.

        Without a version the latest is returned if its definition is the same, else the next number is taken. Of a
        version that stands, description, tags and properties that are given replace those it has.

        Raises
        ------
        InvalidInput
            If the name, the version or a tag is not allowed.
        Conflict
            If the version exists with another definition or was deleted, or the name differs only by case from another.
        """
        from .names import check_environment

        check_environment(environment)
        name, now = str(environment.name), utc_now()
        with self._database.writing() as transaction:
            if pin:
                self._use_pin(transaction, pin, name)
            identifier = self._environment_for(transaction, name)
            version = environment.version or self._same_as_latest(transaction, identifier, environment)
            row = self._environment_row(transaction, identifier, version) if version else None
            if row is None:
                version = self._insert_environment(transaction, identifier, environment, manifest, now, user)
                self._record(transaction, "create environment", "", f"{name}:{version}", digest=str(environment.digest), user=user)
            else:
                self._check_same_definition(row, f"{name}:{version}", environment)
                self._take_over(transaction, environment.replace(version=version), user)
            return self.get_environment(name, version)

    def _environment_for(self, transaction: Transaction, name: str) -> int:
        transaction.execute("INSERT INTO environment (name, folded) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, name.lower()))
        row = transaction.execute("SELECT id, name, is_deleted FROM environment WHERE folded = ?", (name.lower(),)).fetchone()
        if row[1] != name and not row[2]:
            raise Conflict(f'There is an environment "{row[1]}"; names that differ only by case are one name on some file systems.')
        transaction.execute("UPDATE environment SET is_deleted = 0, name = ? WHERE id = ?", (name, row[0]))
        return int(row[0])

    def _same_as_latest(self, transaction: Transaction, identifier: int, environment: Environment) -> str | None:
        query = "SELECT version, digest FROM environment_version WHERE environment_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT 1"
        row = transaction.execute(query, (identifier,)).fetchone()
        return str(row[0]) if row and row[1] == environment.digest else None

    def _environment_row(self, transaction: Transaction, identifier: int, version: str) -> Any:
        query = "SELECT digest, deleted_at FROM environment_version WHERE environment_id = ? AND version = ?"
        return transaction.execute(query, (identifier, version)).fetchone()

    def _check_same_definition(self, row: Any, what: str, environment: Environment) -> None:
        if row[1]:
            raise Conflict(f"{what} was deleted at {row[1]}, it cannot be recreated. Please try again with a different version.")
        if row[0] != environment.digest:
            raise Conflict(f"{what} exists with another definition; versions never change. Leave the version out for the next one.")

    def _take_over(self, transaction: Transaction, environment: Environment, user: str | None) -> None:
        """Write what of a repeated registration may change, if it says anything new."""
        name, version = str(environment.name), str(environment.version)
        before = self.get_environment(name, version)
        after = before.replace(
            description=environment.description or before.description,
            tags={**before.tags, **environment.tags},
            properties={**before.properties, **environment.properties},
        )
        if after != before:
            self._write_environment(transaction, after, user)

    def _insert_environment(
        self, transaction: Transaction, identifier: int, environment: Environment, manifest: Manifest | None, now: str, user: str | None
    ) -> str:
        version = environment.version or self._next_environment_version(transaction, identifier)
        if version.isdigit():
            query = "UPDATE environment SET next_version = ? WHERE id = ? AND next_version < ?"
            transaction.execute(query, (int(version) + 1, identifier, int(version) + 1))
        context = (manifest.digest, manifest.size_bytes) if manifest else (None, 0)
        row = (identifier, version, environment.digest, *context, _text_of(environment), now, user, now, user)
        transaction.execute(
            "INSERT INTO environment_version (environment_id, version, digest, manifest, size_bytes, entity, created_at, created_by, "
            "modified_at, modified_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        return version

    def _next_environment_version(self, transaction: Transaction, identifier: int) -> str:
        while True:
            query = "UPDATE environment SET next_version = next_version + 1 WHERE id = ? RETURNING next_version - 1"
            number = str(transaction.execute(query, (identifier,)).fetchone()[0])
            if self._environment_row(transaction, identifier, number) is None:
                return number

    @at_one_moment
    def get_environment(self, name: str, version: str | None = None, label: str | None = None) -> Environment:
        """Return one version; the one created last when neither version nor label is given.

        Raises
        ------
        InvalidInput
            If both are given.
        NotFound
            If there is no such environment, version or label. The only label is ``latest``.
        """
        if version is not None and label is not None:
            raise InvalidInput("Cannot specify both version and label.")
        versions = [str(item.version) for item in self.list_environments(name, archived="all")]
        if label not in (None, "latest"):
            raise NotFound(f'Asset {name} with version label {label} does not exist in the workspace; the only label is "latest".')
        if version is not None and version not in versions:
            listed = ", ".join(versions[:5]) + (" …" if len(versions) > 5 else "")
            raise NotFound(f'Environment {name} has no version "{version}"; it has {listed}.')
        query = f"SELECT {_COLUMNS} {_FROM} AND environment.name = ? AND environment_version.version = ?"
        return _environment_of(self._row(query, (name, version or versions[0]))).replace(latest_version=versions[0])

    def list_environments(self, name: str | None = None, *, archived: str = "active", max_results: int | None = None) -> list[Environment]:
        """Return the latest version of each environment, or every version of one, the newest first.

        Raises
        ------
        NotFound
            If an environment is named that does not exist.
        InvalidInput
            If `max_results` is below 1.
        """
        if max_results is not None and max_results < 1:
            raise InvalidInput(f"max_results must be at least 1, not {max_results}.", key="max_results")
        shown = _ARCHIVED[archived]
        if name is None:
            where = f"""
                {shown} AND environment_version.id IN (
                    SELECT max(environment_version.id) {_FROM} {shown} GROUP BY environment_id
                )
            """
        else:
            where = f"{shown} AND environment.name = ?"
        query = f"SELECT {_COLUMNS} {_FROM} {where} ORDER BY environment_version.id DESC LIMIT ?"
        rows = self.rows(query, (*([name] if name is not None else []), max_results or _ALL))
        if name is not None and not rows:
            self._check_environment_exists(name)
        return [_environment_of(row) for row in rows]

    def _check_environment_exists(self, name: str) -> None:
        known = [row[0] for row in self.rows("SELECT name FROM environment WHERE is_deleted = 0")]
        if name not in known:
            raise NotFound(f'There is no environment "{name}".{nearest(name, known)}')

    def update_environment(
        self, name: str, version: str, change: Callable[[Environment], Environment], *, user: str | None = None
    ) -> Environment:
        """Change description and tags of a version; `change` is given it as it stands and runs inside the transaction.

        Raises
        ------
        NotFound
            If there is no such version.
        """
        from .names import check_environment

        with self._database.writing() as transaction:
            after = change(self.get_environment(name, version))
            check_environment(after)
            self._write_environment(transaction, after, user)
            return self.get_environment(name, version)

    def _write_environment(self, transaction: Transaction, environment: Environment, user: str | None) -> None:
        transaction.execute(
            "UPDATE environment_version SET entity = ?, modified_at = ?, modified_by = ? "
            "WHERE version = ? AND environment_id = (SELECT id FROM environment WHERE name = ?)",
            (_text_of(environment), utc_now(), user, environment.version, environment.name),
        )
        self._record(transaction, "update environment", "", f"{environment.name}:{environment.version}", user=user)

    def set_environment_archived(self, name: str, version: str | None, is_archived: bool) -> None:
        """Hide a version, or the whole environment, from lists, or show it again.

        Raises
        ------
        Conflict
            If a version shall be restored while its environment is archived.
        """
        with self._database.writing() as transaction:
            self.get_environment(name, version)
            identifier, is_whole = transaction.execute("SELECT id, is_archived FROM environment WHERE name = ?", (name,)).fetchone()
            if version is None:
                transaction.execute("UPDATE environment SET is_archived = ? WHERE id = ?", (int(is_archived), identifier))
            elif is_whole and not is_archived:
                raise Conflict(f"The whole environment {name} is archived; restore it first: modelreg environment restore --name {name}")
            else:
                query = "UPDATE environment_version SET is_archived = ? WHERE environment_id = ? AND version = ?"
                transaction.execute(query, (int(is_archived), identifier, version))
            verb = "archive" if is_archived else "restore"
            self._record(transaction, f"{verb} environment", "", f"{name}:{version}" if version else name)

    def delete_environment(self, name: str, version: str | None = None) -> list[str]:
        """Delete one version or all, and return them, the newest first; a number is never used again.

        Raises
        ------
        NotFound
            If there is no such environment or version.
        Conflict
            If a deployment uses one.
        """
        with self._database.writing() as transaction:
            versions = [version] if version else [str(item.version) for item in self.list_environments(name, archived="all")]
            self.get_environment(name, version)
            for one in versions:
                self._check_unused(f"{name}:{one}")
            identifier = transaction.execute("SELECT id FROM environment WHERE name = ?", (name,)).fetchone()[0]
            for one in versions:
                query = "UPDATE environment_version SET deleted_at = ?, entity = '{}' WHERE environment_id = ? AND version = ?"
                transaction.execute(query, (utc_now(), identifier, one))
            query = "SELECT 1 FROM environment_version WHERE environment_id = ? AND deleted_at IS NULL"
            if transaction.execute(query, (identifier,)).fetchone() is None:
                transaction.execute("UPDATE environment SET is_deleted = 1, is_archived = 0 WHERE id = ?", (identifier,))
            self._record(transaction, "delete environment", "", f"{name}:{version}" if version else name)
        return versions

    def _check_unused(self, reference: str) -> None:
        users = self.deployments_in(reference)
        if users:
            raise Conflict(f"Environment {reference} is used at {', '.join(users)}; delete the deployment first.")

    def deployments_in(self, reference: str) -> list[str]:
        """Return the deployments of an environment's version, ``env:3``, as ``endpoint/deployment``."""
        found = [item for item in self.list_deployments() if item.environment == f"azureml:{reference}"]
        return [f"{item.endpoint_name}/{item.name}" for item in found]

    def kept_contexts(self) -> list[tuple[str, str, int]]:
        """Return every build context: whose it is as ``environment env:3``, its digest, its size in bytes."""
        query = f"""
            SELECT 'environment ' || environment.name || ':' || environment_version.version, manifest, size_bytes
            {_FROM} AND manifest IS NOT NULL ORDER BY environment_version.id
        """
        return [tuple(row) for row in self.rows(query)]


def _text_of(environment: Environment) -> str:
    """Return what the row keeps as JSON: what has no column."""
    import json

    read_only = {item.key for item in environment._fields.values() if item.is_read_only}
    kept = {key: value for key, value in environment.to_dict().items() if key not in {"name", "version", *read_only}}
    return json.dumps(kept, ensure_ascii=False)


def _environment_of(row: Any) -> Environment:
    import json

    from ..records import from_dict

    _, name, version, text, digest, is_archived, created_at, created_by, modified_at, modified_by = row
    return from_dict(Environment, {**json.loads(text), "name": name, "version": version}).replace(
        digest=digest,
        is_archived=bool(is_archived),
        creation_context=CreationContext(
            created_at=created_at, created_by=created_by, last_modified_at=modified_at, last_modified_by=modified_by
        ),
    )


_ALL = (1 << 63) - 1
