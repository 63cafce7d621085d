"""The catalog: where names, versions and their metadata lie. One transaction a method, whatever the database.

Numbers come from one ``UPDATE … RETURNING``; files are hashed and copied before, never inside, a transaction.
"""

from __future__ import annotations

from ..entities.model import Model
from ..errors import Conflict, InvalidInput, NotFound, nearest
from .database import at_one_moment, read_json, utc_now
from .environments import Environments
from .search import LIST_COLUMNS, NOT_DELETED, Search, model_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..trees import Manifest
    from .database import Database, Transaction


def open_catalog(url: str, *, user: str = "", network: str = "refuse") -> Catalog:
    """Open a catalog, made when it is new and migrated when it is old.

    Parameters
    ----------
    url
        A path, or ``postgresql://USER@HOST/DATABASE``.
    user
        Who is written beside a change that names nobody.
    network
        Whether SQLite may write on a network file system: "refuse" or "allow".

    Raises
    ------
    Unavailable
        If its folder cannot be written, or the server cannot be reached.
    Corrupted
        If the file is no catalog.
    """
    if "://" not in url:
        from .sqlite import SqliteDatabase

        return Catalog(SqliteDatabase(url, network=network), user)
    if url.split(":")[0].split("+")[0] not in ("postgresql", "postgres"):
        raise InvalidInput(
            f'"{url.split("://")[0]}://" is no kind of catalog; write a path or postgresql://USER@HOST/DATABASE.', key="catalog"
        )
    from .postgres import open_database

    return Catalog(open_database(url), user)


class Catalog(Environments, Search):
    """Names, versions, tags, endpoints. Any number of threads and processes may use one catalog at a time."""

    def __init__(self, database: Database, user: str = "") -> None:
        self._database = database
        self.user = user

    # --- versions -------------------------------------------------------------------------------------------------

    def create_version(
        self,
        model: Model,
        manifest: Manifest,
        *,
        user: str | None = None,
        pin: str | None = None,
    ) -> Model:
        """Record a version; its number is the next one unless the model has one.

        The same version with the same content is returned as it stands. `pin` held its files against a clean-up since
        before they were written; it ends in the same transaction.

        Raises
        ------
        InvalidInput
            If the name, the version or a tag is not allowed.
        Conflict
            If the version exists with other content, was deleted, or the name differs only by case from another.
        Unavailable
            If the files were collected meanwhile.
        """
        from .names import check_model

        check_model(model)
        name, wanted, now = str(model.name), model.version, utc_now()
        with self._database.writing() as transaction:
            if pin:
                self._use_pin(transaction, pin, name)
            model_id = self._model_for(transaction, name)
            existing = self._existing(transaction, model_id, wanted) if wanted else None
            if existing is not None:
                self._check_same(existing, name, str(wanted), manifest)
                version = str(wanted)
            else:
                version = self._insert(transaction, model_id, model, manifest, wanted, now, user)
            return self.get_version(name, version)

    def _model_for(self, transaction: Transaction, name: str) -> int:
        transaction.execute("INSERT INTO model (name, folded) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, name.lower()))
        row = transaction.execute("SELECT id, name, is_deleted FROM model WHERE folded = ?", (name.lower(),)).fetchone()
        if row[1] != name and not row[2]:
            raise Conflict(f'There is a model "{row[1]}"; names that differ only by case are one name on some file systems.')
        transaction.execute("UPDATE model SET is_deleted = 0, name = ? WHERE id = ?", (name, row[0]))
        return int(row[0])

    def _existing(self, transaction: Transaction, model_id: int, version: str) -> tuple[str, str | None] | None:
        query = "SELECT digest, deleted_at FROM version WHERE model_id = ? AND version = ?"
        row: tuple[str, str | None] | None = transaction.execute(query, (model_id, version)).fetchone()
        return row

    def _check_same(self, existing: tuple[str, str | None], name: str, version: str, manifest: Manifest) -> None:
        digest, deleted_at = existing
        if deleted_at:
            raise Conflict(
                f"{name}:{version} was deleted at {deleted_at}, it cannot be recreated. Please try again with a different version."
            )
        if digest != manifest.digest:
            raise Conflict(f"{name}:{version} exists with other content; versions never change. Leave the version out for the next one.")

    def _insert(
        self,
        transaction: Transaction,
        model_id: int,
        model: Model,
        manifest: Manifest,
        wanted: str | None,
        now: str,
        user: str | None,
    ) -> str:
        import json

        version = wanted or self._next_version(transaction, model_id)
        if version.isdigit():
            behind = int(version) + 1
            transaction.execute("UPDATE model SET next_version = ? WHERE id = ? AND next_version < ?", (behind, model_id, behind))
        values = model.to_dict()
        row = {
            **{key: values.get(key) for key in ("type", "flavor", "description", "stage", "path", "job_name")},
            "model_id": model_id,
            "version": version,
            "digest": manifest.digest,
            "size_bytes": manifest.size_bytes,
            "metrics": json.dumps(model.metrics, ensure_ascii=False),
            "properties": json.dumps(model.properties, ensure_ascii=False),
            "details": json.dumps({key: values[key] for key in _DETAILS if values.get(key)}, ensure_ascii=False),
            "created_at": now,
            "created_by": user,
            "modified_at": now,
            "modified_by": user,
        }
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        query = f"INSERT INTO version ({columns}) VALUES ({marks}) RETURNING id"  # noqa: S608 - our own names
        version_id = transaction.execute(query, tuple(row.values())).fetchone()[0]
        self._write_tags(transaction, version_id, model.tags)
        numbers = [(key, float(value), version_id) for key, value in model.metrics.items() if value == value]  # no NaN: it is in no order
        transaction.executemany("INSERT INTO metric (key, value, version_id) VALUES (?, ?, ?)", numbers)
        self._record(transaction, "create", str(model.name), f"{model.name}:{version}", digest=manifest.digest, user=user)
        return version

    def _next_version(self, transaction: Transaction, model_id: int) -> str:
        """Take the next free number; a text version such as "7" may stand in its way."""
        while True:
            query = "UPDATE model SET next_version = next_version + 1 WHERE id = ? RETURNING next_version - 1"
            number = str(transaction.execute(query, (model_id,)).fetchone()[0])
            if self._existing(transaction, model_id, number) is None:
                return number

    @at_one_moment
    def get_version(self, name: str, version: str | None = None, label: str | None = None) -> Model:
        """Return one version in full; the one created last when neither version nor label is given.

        Raises
        ------
        InvalidInput
            If both are given.
        NotFound
            If there is no such model, version or label. The only label is ``latest``.
        """
        if version is not None and label is not None:
            raise InvalidInput("Cannot specify both version and label.")
        if label not in (None, "latest"):
            self._model_row(name)
            raise NotFound(f'Asset {name} with version label {label} does not exist in the workspace; the only label is "latest".')
        model_id, stored_name = self._model_row(name)
        where = "1 = 1" if version is None else "version.version = ?"
        query = f"""
            SELECT {LIST_COLUMNS}, version.properties, version.details FROM version JOIN model ON model.id = version.model_id
            WHERE version.model_id = ? AND {where} AND {NOT_DELETED} ORDER BY version.id DESC LIMIT 1
        """  # noqa: S608 - the parts are ours
        row = self._row(query, (model_id,) if version is None else (model_id, version))
        if row is None:
            raise self._no_version(model_id, stored_name, version)
        return self._full(row, model_id)

    def _full(self, row: tuple[Any, ...], model_id: int) -> Model:
        from ..records import from_dict

        what = f"{row[1]}:{row[2]}"
        tags = dict(self.rows("SELECT key, value FROM tag WHERE version_id = ? ORDER BY key", (row[0],)))
        light = model_of(row[:17], tags)
        details = from_dict(Model, read_json(row[18], what), drop_read_only=False)
        kept = {name: getattr(details, name) for name in _DETAILS if getattr(details, name) is not None}
        return light.replace(**kept, properties=read_json(row[17], what), latest_version=self._latest(model_id))

    def _latest(self, model_id: int) -> str | None:
        query = f"SELECT version FROM version WHERE model_id = ? AND {NOT_DELETED} ORDER BY id DESC LIMIT 1"  # noqa: S608
        row = self._row(query, (model_id,))
        return row[0] if row else None

    def _model_row(self, name: str) -> tuple[int, str]:
        row = self._row("SELECT id, name FROM model WHERE folded = ? AND is_deleted = 0", (name.lower(),))
        if row is None or row[1] != name:
            known = [item[0] for item in self.rows("SELECT name FROM model WHERE is_deleted = 0")]
            raise NotFound(f'There is no model "{name}".{nearest(name, known)}')
        return int(row[0]), str(row[1])

    def _no_version(self, model_id: int, name: str, version: str | None) -> NotFound:
        query = f"SELECT version FROM version WHERE model_id = ? AND {NOT_DELETED} ORDER BY id DESC LIMIT 6"  # noqa: S608
        known = [item[0] for item in self.rows(query, (model_id,))]
        listed = ", ".join(known[:5]) + (" …" if len(known) > 5 else "")
        return NotFound(f'{name} has no version "{version}"; it has {listed}.' if known else f"{name} has no versions left.")

    def kept_versions(self) -> list[tuple[str, str, int]]:
        """Return every version, archived ones too: its name as ``churn:3``, its digest, its size in bytes."""
        query = f"""
            SELECT model.name, version.version, version.digest, version.size_bytes FROM version JOIN model ON model.id = version.model_id
            WHERE {NOT_DELETED} ORDER BY version.id
        """  # noqa: S608
        return [(f"{name}:{version}", digest, size or 0) for name, version, digest, size in self.rows(query)]

    def update_version(self, name: str, version: str, change: Callable[[Model], Model], *, user: str | None = None) -> Model:
        """Change description, tags, stage and properties of a version; properties may be added, not changed.

        `change` is given the version as it stands and returns it as it shall be. It runs inside the transaction, so that
        of two changes at once none is lost.

        Raises
        ------
        NotFound
            If there is no such version.
        InvalidInput
            If a property would change or go.
        """
        import json

        from .names import check_stage

        with self._database.writing() as transaction:
            before = self.get_version(name, version)
            after = change(before)
            for key, value in before.properties.items():
                if after.properties.get(key) != value:
                    message = f'Value of property "{key}" cannot be replaced without increasing the version.'
                    raise InvalidInput(message, key=f"properties.{key}")
            query = "SELECT version.id FROM version JOIN model ON model.id = model_id WHERE name = ? AND version = ?"
            version_id = transaction.execute(query, (name, version)).fetchone()[0]
            check_stage(after.stage)
            transaction.execute(
                "UPDATE version SET description = ?, stage = ?, properties = ?, modified_at = ?, modified_by = ? WHERE id = ?",
                (after.description, after.stage, json.dumps(after.properties, ensure_ascii=False), utc_now(), user, version_id),
            )
            transaction.execute("DELETE FROM tag WHERE version_id = ?", (version_id,))
            self._write_tags(transaction, version_id, after.tags)
            self._record(transaction, "update", name, f"{name}:{version}", digest=str(before.digest), user=user)
            return self.get_version(name, version)

    def _write_tags(self, transaction: Transaction, version_id: int, tags: dict[str, str]) -> None:
        from .names import check_tag

        rows = [(*check_tag(key, value), version_id) for key, value in tags.items()]
        transaction.executemany("INSERT INTO tag (key, value, version_id) VALUES (?, ?, ?)", rows)

    def set_archived(self, name: str, version: str | None, is_archived: bool) -> None:
        """Hide a version, or the whole model, from lists, or show it again.

        Source: Azure ML: while a model is archived its new versions are too, and none is restored alone.

        Raises
        ------
        Conflict
            If a version shall be restored while its model is archived.
        """
        with self._database.writing() as transaction:
            model_id, _ = self._model_row(name)
            if version:
                self.get_version(name, version)
            is_model_archived = transaction.execute("SELECT is_archived FROM model WHERE id = ?", (model_id,)).fetchone()[0]
            if version is None:
                transaction.execute("UPDATE model SET is_archived = ? WHERE id = ?", (int(is_archived), model_id))
            elif is_model_archived and not is_archived:
                raise Conflict(f"The whole model {name} is archived; restore it first: modelreg model restore --name {name}")
            else:
                transaction.execute(
                    "UPDATE version SET is_archived = ? WHERE model_id = ? AND version = ?", (int(is_archived), model_id, version)
                )
            self._record(transaction, "archive" if is_archived else "restore", name, f"{name}:{version}" if version else name)

    def delete_version(self, name: str, version: str) -> None:
        """Delete one version; its number is never used again.

        Raises
        ------
        NotFound
            If there is no such version.
        Conflict
            If a deployment uses it.
        """
        self._delete(name, version)

    def delete_model(self, name: str) -> list[str]:
        """Delete all versions of a model and return them, the newest first; its counter stays.

        Raises
        ------
        NotFound
            If there is no such model.
        Conflict
            If a deployment uses one.
        """
        return self._delete(name, None)

    def _delete(self, name: str, version: str | None) -> list[str]:
        with self._database.writing() as transaction:
            model_id, _ = self._model_row(name)
            if version:
                self.get_version(name, version)
            where, values = ("model_id = ? AND version = ?", [model_id, version]) if version else ("model_id = ?", [model_id])
            users = self.deployments_of(name, version)
            if users:
                what = f"{name}:{version}" if version else name
                raise Conflict(f"{what} is deployed at {', '.join(users)}; delete the deployment first.")
            query = f"SELECT version FROM version WHERE {where} AND {NOT_DELETED} ORDER BY id DESC"  # noqa: S608
            gone = [row[0] for row in transaction.execute(query, values)]
            for table in ("tag", "metric"):
                transaction.execute(f"DELETE FROM {table} WHERE version_id IN (SELECT id FROM version WHERE {where})", values)  # noqa: S608
            transaction.execute(
                f"UPDATE version SET deleted_at = ?, details = '{{}}' WHERE {where} AND deleted_at IS NULL",  # noqa: S608
                [utc_now(), *values],
            )
            query = f"SELECT 1 FROM version WHERE model_id = ? AND {NOT_DELETED}"  # noqa: S608
            if transaction.execute(query, (model_id,)).fetchone() is None:
                transaction.execute("UPDATE model SET is_deleted = 1, is_archived = 0 WHERE id = ?", (model_id,))
            self._record(transaction, "delete", name, f"{name}:{version}" if version else name)
        return gone


_DETAILS = (
    "flavors",
    "signature",
    "input_example",
    "scan",
    "lineage",
    "datastore",
    "system_metadata",
    "default_deployment_template",
    "allowed_deployment_templates",
)


__all__ = ["Catalog", "open_catalog"]
