"""The catalog: where names, versions and their metadata lie. SQLite, one transaction a method.

Rules that keep it whole (Source: sqlite.org; measured in this project's studies): write-ahead log; ``synchronous=FULL``
so that a commit survives a power cut; every writer begins with ``BEGIN IMMEDIATE``, since a read that turns into a write
fails at once instead of waiting; numbers come from one ``UPDATE … RETURNING``; files are hashed and copied before, never
inside, a transaction.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager

from ..entities.model import CreationContext, Model
from ..errors import Conflict, Corrupted, InvalidInput, NotFound, Refused, Unavailable, nearest
from ..folders import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..entities.online import OnlineDeployment, OnlineEndpoint
    from ..trees import Manifest

BUSY_SECONDS = 30.0
MAX_TERMS = 100
MAX_SEARCH = 1000
_MAX_INTEGER = (1 << 63) - 1
_inherited: list[sqlite3.Connection] = []
LAYOUT = 1  # of the tables; schema.MIGRATIONS has as many steps
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "gpfs", "fuse.sshfs", "afs", "9p")
_LIST_COLUMNS = """
    version.id, model.name, version.version, version.type, version.flavor, version.description, version.stage, version.path,
    version.job_name, version.digest, version.size_bytes, version.metrics, version.is_archived OR model.is_archived,
    version.created_at, version.created_by, version.modified_at, version.modified_by
"""
_NOT_DELETED = "version.deleted_at IS NULL"


def open_catalog(path: str) -> Catalog:
    """Open a catalog, made when it is new and migrated when it is old.

    Raises
    ------
    Unavailable
        If its folder cannot be written, or lies on a network file system, where the log of SQLite is not safe.
    Corrupted
        If the file is no catalog.
    """
    return Catalog(path)


class Catalog:
    """Names, versions, tags, endpoints. Any number of threads and processes may use one catalog at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connections = threading.local()
        self.is_read_only = False
        self._is_stuck = False
        try:
            self._connection  # noqa: B018 - opens it, so that errors are met here
        except Unavailable:
            if not self._is_at_rest():
                raise

    # --- versions -------------------------------------------------------------------------------------------------

    def create_version(
        self, model: Model, manifest: Manifest, *, user: str | None = None, is_kept: Callable[[], bool] = lambda: True
    ) -> Model:
        """Record a version; its number is the next one unless the model has one.

        The same version with the same content is returned as it stands. `is_kept` says whether the files are in the
        store; it is asked inside the transaction, since a collection may have run since they were written.

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
        name, wanted, now = str(model.name), model.version, _now()
        with self._writing() as connection:
            if not is_kept():
                raise Unavailable(f"The files of {name} were removed from the store meanwhile; nothing was registered. Try again.")
            model_id = self._model_for(connection, name)
            existing = self._existing(connection, model_id, wanted) if wanted else None
            if existing is not None:
                self._check_same(existing, name, str(wanted), manifest)
                version = str(wanted)
            else:
                version = self._insert(connection, model_id, model, manifest, wanted, now, user)
            return self.get_version(name, version)

    def _model_for(self, connection: sqlite3.Connection, name: str) -> int:
        connection.execute("INSERT INTO model (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        row = connection.execute("SELECT id, name, is_deleted FROM model WHERE name = ?", (name,)).fetchone()
        if row[1] != name and not row[2]:
            raise Conflict(f'There is a model "{row[1]}"; names that differ only by case are one name on some file systems.')
        connection.execute("UPDATE model SET is_deleted = 0, name = ? WHERE id = ?", (name, row[0]))
        return int(row[0])

    def _existing(self, connection: sqlite3.Connection, model_id: int, version: str) -> tuple[str, str | None] | None:
        query = "SELECT digest, deleted_at FROM version WHERE model_id = ? AND version = ?"
        row: tuple[str, str | None] | None = connection.execute(query, (model_id, version)).fetchone()
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
        connection: sqlite3.Connection,
        model_id: int,
        model: Model,
        manifest: Manifest,
        wanted: str | None,
        now: str,
        user: str | None,
    ) -> str:
        import json

        version = wanted or self._next_version(connection, model_id)
        if version.isdigit():
            connection.execute("UPDATE model SET next_version = max(next_version, ?) WHERE id = ?", (int(version) + 1, model_id))
        values = model.to_dict()
        row = {
            **{key: values.get(key) for key in ("type", "flavor", "description", "stage", "path", "job_name")},
            "model_id": model_id,
            "version": version,
            "digest": manifest.digest,
            "size_bytes": manifest.size_bytes,
            "metrics": json.dumps(model.metrics),
            "properties": json.dumps(model.properties),
            "details": json.dumps({key: values[key] for key in _DETAILS if values.get(key)}),
            "created_at": now,
            "created_by": user,
            "modified_at": now,
            "modified_by": user,
        }
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        cursor = connection.execute(f"INSERT INTO version ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - our own names
        self._write_tags(connection, int(cursor.lastrowid or 0), model.tags)
        return version

    def _next_version(self, connection: sqlite3.Connection, model_id: int) -> str:
        """Take the next free number; a text version such as "7" may stand in its way."""
        while True:
            query = "UPDATE model SET next_version = next_version + 1 WHERE id = ? RETURNING next_version - 1"
            number = str(connection.execute(query, (model_id,)).fetchone()[0])
            if self._existing(connection, model_id, number) is None:
                return number

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
        where = "1" if version is None else "version.version = ?"
        query = f"""
            SELECT {_LIST_COLUMNS}, version.properties, version.details FROM version JOIN model ON model.id = version.model_id
            WHERE version.model_id = ? AND {where} AND {_NOT_DELETED} ORDER BY version.id DESC LIMIT 1
        """  # noqa: S608 - the parts are ours
        row = self._row(query, (model_id,) if version is None else (model_id, version))
        if row is None:
            raise self._no_version(model_id, stored_name, version)
        return self._full(row, model_id)

    def _full(self, row: tuple[Any, ...], model_id: int) -> Model:
        import json

        from ..records import from_dict

        tags = dict(self._rows("SELECT key, value FROM tag WHERE version_id = ? ORDER BY key", (row[0],)))
        light = _model_of(row[:17], tags)
        details = from_dict(Model, json.loads(row[18]), drop_read_only=False)
        kept = {name: getattr(details, name) for name in _DETAILS if getattr(details, name) is not None}
        return light.replace(**kept, properties=json.loads(row[17]), latest_version=self._latest(model_id))

    def _latest(self, model_id: int) -> str | None:
        query = f"SELECT version FROM version WHERE model_id = ? AND {_NOT_DELETED} ORDER BY id DESC LIMIT 1"  # noqa: S608
        row = self._row(query, (model_id,))
        return row[0] if row else None

    def _model_row(self, name: str) -> tuple[int, str]:
        row = self._row("SELECT id, name FROM model WHERE name = ? AND NOT is_deleted", (name,))
        if row is None or row[1] != name:
            known = [item[0] for item in self._rows("SELECT name FROM model WHERE NOT is_deleted")]
            raise NotFound(f'There is no model "{name}".{nearest(name, known)}')
        return int(row[0]), str(row[1])

    def _no_version(self, model_id: int, name: str, version: str | None) -> NotFound:
        query = f"SELECT version FROM version WHERE model_id = ? AND {_NOT_DELETED} ORDER BY id DESC LIMIT 6"  # noqa: S608
        known = [item[0] for item in self._rows(query, (model_id,))]
        listed = ", ".join(known[:5]) + (" …" if len(known) > 5 else "")
        return NotFound(f'{name} has no version "{version}"; it has {listed}.' if known else f"{name} has no versions left.")

    def list_models(
        self,
        *,
        name: str | None = None,
        tags: dict[str, str] | None = None,
        stage: str | None = None,
        search: str | None = None,
        max_results: int | None = None,
        archived: str = "active",
    ) -> list[Model]:
        """Return the latest version of each model, or all versions of one, the newest first.

        ``archived`` is "active", "only" or "all". A tag with an empty value matches any value. The models have no files,
        signature or lineage; `get_version` does.

        Raises
        ------
        NotFound
            If ``name`` is given and there is no such model.
        InvalidInput
            If ``max_results`` is below 1, or more is searched for than SQLite can.
        """
        if max_results is not None and max_results < 1:
            raise InvalidInput(f"max_results must be at least 1, not {max_results}.", key="max_results")
        if len(tags or {}) > MAX_TERMS or len(search or "") > MAX_SEARCH:
            raise InvalidInput(f"At most {MAX_TERMS} tags and {MAX_SEARCH} characters of text can be searched for at once.", key="search")
        conditions = [_NOT_DELETED, _ARCHIVED[archived]]
        values: list[Any] = []
        if name:
            conditions.append("version.model_id = ?")
            values.append(self._model_row(name)[0])
        for key, value in (tags or {}).items():
            conditions.append(_HAS_TAG if value else _HAS_TAG_KEY)
            values += [key, value] if value else [key]
        if stage:
            conditions.append("version.stage = ?")
            values.append(stage)
        if search:
            conditions.append(_SEARCH)
            values += [f"%{_escape(search)}%"] * 4
        return self._listed(" AND ".join(conditions), values, max_results, is_latest_only=not name)

    def _listed(self, where: str, values: list[Any], limit: int | None, *, is_latest_only: bool) -> list[Model]:
        source = f"SELECT {_LIST_COLUMNS} FROM version JOIN model ON model.id = version.model_id WHERE {where}"  # noqa: S608
        if is_latest_only:
            # The latest version that fits, so that archiving version 3 shows version 2 and not nothing.
            source += f" AND version.id IN (SELECT max(version.id) FROM version JOIN model ON model.id = version.model_id WHERE {where} GROUP BY version.model_id)"  # noqa: S608
            values = values * 2
        query = f"{source} ORDER BY version.id DESC LIMIT ?"
        with _no_garbage_collection():
            rows = self._rows(query, (*values, -1 if limit is None else min(limit, _MAX_INTEGER)))
            tags = self._tags_of([row[0] for row in rows])
            latest = self._latest_of({row[1] for row in rows}) if is_latest_only else {}
            return [_model_of(row, tags.get(row[0], {}), latest.get(row[1])) for row in rows]

    def _tags_of(self, ids: list[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for start in range(0, len(ids), 900):
            page = ids[start : start + 900]
            query = f"SELECT version_id, key, value FROM tag WHERE version_id IN ({','.join('?' * len(page))}) ORDER BY version_id, key"  # noqa: S608
            for version_id, key, value in self._rows(query, tuple(page)):
                found.setdefault(version_id, {})[key] = value
        return found

    def _latest_of(self, names: set[str]) -> dict[str, str]:
        if not names:
            return {}
        query = f"""
            SELECT model.name, version.version FROM version JOIN model ON model.id = version.model_id
            WHERE version.id IN (SELECT max(id) FROM version WHERE {_NOT_DELETED} GROUP BY model_id)
        """  # noqa: S608
        return dict(self._rows(query))

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

        with self._writing() as connection:
            before = self.get_version(name, version)
            after = change(before)
            for key, value in before.properties.items():
                if after.properties.get(key) != value:
                    message = f'Value of property "{key}" cannot be replaced without increasing the version.'
                    raise InvalidInput(message, key=f"properties.{key}")
            query = "SELECT version.id FROM version JOIN model ON model.id = model_id WHERE name = ? AND version = ?"
            version_id = connection.execute(query, (name, version)).fetchone()[0]
            connection.execute(
                "UPDATE version SET description = ?, stage = ?, properties = ?, modified_at = ?, modified_by = ? WHERE id = ?",
                (after.description, after.stage, json.dumps(after.properties), _now(), user, version_id),
            )
            connection.execute("DELETE FROM tag WHERE version_id = ?", (version_id,))
            self._write_tags(connection, version_id, after.tags)
            return self.get_version(name, version)

    def _write_tags(self, connection: sqlite3.Connection, version_id: int, tags: dict[str, str]) -> None:
        from .names import check_tag

        rows = [(*check_tag(key, value), version_id) for key, value in tags.items()]
        connection.executemany("INSERT INTO tag (key, value, version_id) VALUES (?, ?, ?)", rows)

    def set_archived(self, name: str, version: str | None, is_archived: bool) -> None:
        """Hide a version, or the whole model, from lists, or show it again.

        Source: Azure ML: while a model is archived its new versions are too, and none is restored alone.

        Raises
        ------
        Conflict
            If a version shall be restored while its model is archived.
        """
        with self._writing() as connection:
            model_id, _ = self._model_row(name)
            if version:
                self.get_version(name, version)
            is_model_archived = connection.execute("SELECT is_archived FROM model WHERE id = ?", (model_id,)).fetchone()[0]
            if version is None:
                connection.execute("UPDATE model SET is_archived = ? WHERE id = ?", (is_archived, model_id))
            elif is_model_archived and not is_archived:
                raise Conflict(f"The whole model {name} is archived; restore it first: modelreg model restore --name {name}")
            else:
                connection.execute(
                    "UPDATE version SET is_archived = ? WHERE model_id = ? AND version = ?", (is_archived, model_id, version)
                )

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
        with self._writing() as connection:
            model_id, _ = self._model_row(name)
            if version:
                self.get_version(name, version)
            where, values = ("model_id = ? AND version = ?", [model_id, version]) if version else ("model_id = ?", [model_id])
            users = self._deployments(name, version)
            if users:
                what = f"{name}:{version}" if version else name
                raise Conflict(f"{what} is deployed at {', '.join(users)}; delete the deployment first.")
            query = f"SELECT version FROM version WHERE {where} AND {_NOT_DELETED} ORDER BY id DESC"  # noqa: S608
            gone = [row[0] for row in connection.execute(query, values)]
            connection.execute(f"DELETE FROM tag WHERE version_id IN (SELECT id FROM version WHERE {where})", values)  # noqa: S608
            connection.execute(
                f"UPDATE version SET deleted_at = ?, details = '{{}}' WHERE {where} AND deleted_at IS NULL",  # noqa: S608
                [_now(), *values],
            )
            query = f"SELECT 1 FROM version WHERE model_id = ? AND {_NOT_DELETED}"  # noqa: S608
            if connection.execute(query, (model_id,)).fetchone() is None:
                connection.execute("UPDATE model SET is_deleted = 1, is_archived = 0 WHERE id = ?", (model_id,))
        return gone

    def live_digests(self) -> set[str]:
        """Return the digests of all manifests that a version names; everything else in the store may go."""
        return {row[0] for row in self._rows(f"SELECT DISTINCT digest FROM version WHERE {_NOT_DELETED}")}  # noqa: S608

    @contextmanager
    def frozen(self) -> Iterator[set[str]]:
        """Hold every writer back and give the digests in use: while this lasts, no version is recorded."""
        with self._writing():
            yield self.live_digests()

    # --- endpoints ------------------------------------------------------------------------------------------------

    def create_endpoint(self, endpoint: OnlineEndpoint, *, user: str | None = None) -> OnlineEndpoint:
        """Record a new endpoint.

        Raises
        ------
        Conflict
            If the name is taken.
        """
        import json

        now = _now()
        context = CreationContext(created_at=now, created_by=user, last_modified_at=now, last_modified_by=user)
        created = endpoint.replace(creation_context=context)
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM endpoint WHERE name = ?", (endpoint.name,)).fetchone():
                raise Conflict(
                    f'An endpoint with this name already exists: "{endpoint.name}". '
                    "To change it use `modelreg online-endpoint update`, to serve another model `modelreg model deploy`."
                )
            connection.execute("INSERT INTO endpoint VALUES (?, ?, ?)", (endpoint.name, json.dumps(created.to_dict()), now))
        return created

    def update_endpoint(self, endpoint: OnlineEndpoint, *, user: str | None = None) -> OnlineEndpoint:
        """Write an endpoint's fields.

        Raises
        ------
        NotFound
            If there is no such endpoint.
        """
        import json

        with self._writing() as connection:
            before = self.get_endpoint(str(endpoint.name)).creation_context or CreationContext()
            changed = endpoint.replace(creation_context=before.replace(last_modified_at=_now(), last_modified_by=user))
            connection.execute("UPDATE endpoint SET entity = ? WHERE name = ?", (json.dumps(changed.to_dict()), endpoint.name))
        return changed

    def get_endpoint(self, name: str) -> OnlineEndpoint:
        """Return an endpoint as it was recorded.

        Raises
        ------
        NotFound
            If there is none of this name.
        """
        row = self._row("SELECT entity FROM endpoint WHERE name = ?", (name,))
        if row is None:
            known = [item[0] for item in self._rows("SELECT name FROM endpoint")]
            raise NotFound(f'There is no endpoint "{name}".{nearest(name, known)}')
        return _endpoint_of(row[0])

    def list_endpoints(self) -> list[OnlineEndpoint]:
        """Return all endpoints by name."""
        return [_endpoint_of(row[0]) for row in self._rows("SELECT entity FROM endpoint ORDER BY name")]

    def delete_endpoint(self, name: str) -> None:
        """Forget an endpoint and its deployments."""
        with self._writing() as connection:
            connection.execute("DELETE FROM deployment WHERE endpoint = ?", (name,))
            connection.execute("DELETE FROM endpoint WHERE name = ?", (name,))

    def put_deployment(self, deployment: OnlineDeployment, process: dict[str, Any] | None) -> None:
        """Record a deployment and its process; `deployment.model` is ``azureml:NAME:VERSION``.

        Raises
        ------
        NotFound
            If the version was deleted meanwhile, or the endpoint is gone.
        """
        import json

        name, _, version = str(deployment.model).removeprefix("azureml:").rpartition(":")
        entity = json.dumps(deployment.to_dict())
        with self._writing() as connection:
            query = f"SELECT 1 FROM version JOIN model ON model.id = model_id WHERE name = ? AND version = ? AND {_NOT_DELETED}"  # noqa: S608
            if connection.execute(query, (name, version)).fetchone() is None:
                raise NotFound(f"{name}:{version} was deleted meanwhile.")
            if connection.execute("SELECT 1 FROM endpoint WHERE name = ?", (deployment.endpoint_name,)).fetchone() is None:
                raise NotFound(f'Endpoint "{deployment.endpoint_name}" was deleted meanwhile.')
            connection.execute(
                "INSERT OR REPLACE INTO deployment VALUES (?, ?, ?, ?, ?, ?)",
                (deployment.endpoint_name, deployment.name, name, version, entity, json.dumps(process) if process else None),
            )

    def get_deployment(self, endpoint_name: str, name: str) -> OnlineDeployment:
        """Return a deployment as it was recorded.

        Raises
        ------
        NotFound
            If the endpoint or the deployment does not exist.
        """
        self.get_endpoint(endpoint_name)
        for deployment in self.list_deployments(endpoint_name):
            if deployment.name == name:
                return deployment
        known = [str(item.name) for item in self.list_deployments(endpoint_name)]
        listed = f"it has {', '.join(known)}" if known else "it has none"
        raise NotFound(f'Endpoint "{endpoint_name}" has no deployment "{name}"; {listed}.')

    def get_process(self, endpoint_name: str, name: str) -> dict[str, Any] | None:
        """Return the identity of a deployment's process as `put_deployment` was given it; None if there is none."""
        import json

        row = self._row("SELECT process FROM deployment WHERE endpoint = ? AND name = ?", (endpoint_name, name))
        process: dict[str, Any] | None = json.loads(row[0]) if row and row[0] else None
        return process

    def list_deployments(self, endpoint_name: str | None = None) -> list[OnlineDeployment]:
        """Return the deployments of one endpoint, or of all, by name."""
        where, values = ("WHERE endpoint = ?", (endpoint_name,)) if endpoint_name else ("", ())
        query = f"SELECT entity FROM deployment {where} ORDER BY endpoint, name"  # noqa: S608
        return [_deployment_of(row[0]) for row in self._rows(query, values)]

    def delete_deployment(self, endpoint_name: str, name: str) -> None:
        """Forget a deployment."""
        with self._writing() as connection:
            connection.execute("DELETE FROM deployment WHERE endpoint = ? AND name = ?", (endpoint_name, name))

    def deployments_of(self, name: str, version: str | None = None) -> list[str]:
        """Return the deployments that serve a model or one version of it, as ``endpoint/deployment``."""
        return self._deployments(name, version)

    def _deployments(self, name: str, version: str | None) -> list[str]:
        where, values = ("AND version = ?", (name, version)) if version else ("", (name,))
        query = f"SELECT endpoint || '/' || name FROM deployment WHERE model = ? {where} ORDER BY endpoint, name"  # noqa: S608
        return [row[0] for row in self._rows(query, values)]

    def change_number(self) -> int:
        """Return a number that grows with every committed change."""
        return int(self._rows("SELECT number FROM change")[0][0])

    # --- transactions -----------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except Unavailable:
            if not self._is_at_rest():
                raise
            return self._rows_at_rest(query, values)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            if self.is_read_only and "no such" in str(error):
                raise self._too_new() from None
            raise _translated(error, self._path) from None

    def _is_at_rest(self) -> bool:
        """Say whether a catalog that cannot be opened, since its disk is full or read-only, is whole without its log."""
        log = f"{self._path}-wal"
        return self._is_stuck and os.path.isfile(self._path) and not (os.path.exists(log) and os.path.getsize(log))

    def _rows_at_rest(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        from contextlib import closing
        from urllib.parse import quote

        # Opened for this query only, since such a connection sees no later change.
        url = f"file:{quote(os.path.abspath(self._path))}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(url, uri=True)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self._path) from None

    def _row(self, query: str, values: tuple[Any, ...]) -> Any:
        return next(iter(self._rows(query, values)), None)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it or nothing, on disk when it ends."""
        connection = self._connection
        if self.is_read_only:
            raise self._too_new()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("UPDATE change SET number = number + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _translated(error, self._path) from None

    def _too_new(self) -> Refused:
        return Refused(f"The catalog {self._path} was made by a newer version of jupyter-modelreg; this one only reads it. Please upgrade.")

    @property
    def _connection(self) -> sqlite3.Connection:
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
        if not os.path.exists(self._path):
            _prepare_folder(self._path)
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            layout = connection.execute("PRAGMA user_version").fetchone()[0]
            if layout < LAYOUT:
                from .schema import migrate

                migrate(connection, self._path, wait_seconds=BUSY_SECONDS)
            self.is_read_only = layout > LAYOUT
        except sqlite3.Error as error:
            self._is_stuck = any(sign in str(error) for sign in ("unable to open", "disk I/O"))
            raise _translated(error, self._path) from None
        return connection


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
_ARCHIVED = {
    "active": "NOT (version.is_archived OR model.is_archived)",
    "only": "(version.is_archived OR model.is_archived)",
    "all": "1",
}
_HAS_TAG = "version.id IN (SELECT version_id FROM tag WHERE key = ? AND value = ?)"
_HAS_TAG_KEY = "version.id IN (SELECT version_id FROM tag WHERE key = ?)"
_SEARCH = """(
    model.name LIKE ? ESCAPE '\\' OR version.description LIKE ? ESCAPE '\\' OR version.stage LIKE ? ESCAPE '\\'
    OR version.id IN (SELECT version_id FROM tag WHERE key || '=' || value LIKE ? ESCAPE '\\')
)"""


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Put off the search for garbage: a long list is none, and in a large process searching takes longer than listing."""
    import gc

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _model_of(row: tuple[Any, ...], tags: dict[str, str], latest: str | None = None) -> Model:
    (_, name, version, kind, flavor, description, stage, path, job, digest, size, metrics, is_archived, made, by, changed, changer) = row
    numbers: dict[str, float] = {}
    if metrics != "{}":
        import json

        numbers = json.loads(metrics)
    context = {"created_at": made, "created_by": by, "last_modified_at": changed, "last_modified_by": changer}
    return Model.trusted(
        {
            "name": name,
            "version": version,
            "type": kind,
            "flavor": flavor,
            "description": description,
            "stage": stage,
            "path": path,
            "job_name": job,
            "digest": digest,
            "size_bytes": size,
            "metrics": numbers,
            "tags": tags,
            "properties": {},
            "flavors": {},
            "is_archived": bool(is_archived),
            "latest_version": latest,
            "id": f"azureml://models/{name}/versions/{version}",
            "creation_context": CreationContext.trusted(context),
        }
    )


def _endpoint_of(text: str) -> OnlineEndpoint:
    import json

    from ..entities.online import OnlineEndpoint
    from ..records import from_dict

    return from_dict(OnlineEndpoint, json.loads(text), drop_read_only=False)


def _deployment_of(text: str) -> OnlineDeployment:
    import json

    from ..entities.online import OnlineDeployment
    from ..records import from_dict

    return from_dict(OnlineDeployment, json.loads(text), drop_read_only=False)


def _now() -> str:
    import time

    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"


def _prepare_folder(path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        make_folder(folder)
    except OSError as error:
        raise Unavailable(f"Cannot create {folder}: {error.strerror}. Set MODELREG_HOME to a folder you may write.") from None
    kind = _file_system_of(folder)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise Unavailable(f"{folder} lies on {kind}, where SQLite can lose data. Set MODELREG_CATALOG to a file on a local disk.")


def _file_system_of(folder: str) -> str:
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


def _translated(error: sqlite3.Error | UnicodeEncodeError, path: str) -> Exception:
    text = str(error)
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput(f"{error.object[:60]!r} is no Unicode text; nothing was changed.")
    if "malformed" in text or "not a database" in text:
        return Corrupted(f"The catalog {path} is damaged: {text}. Restore it from a copy.")
    for sign, reason in _REASONS.items():
        if sign in text:
            return Unavailable(f"The catalog {path} is not available: {reason}")
    return error


_REASONS = {
    "unable to open": "it cannot be opened; is its folder there, and may you write it?",
    "readonly": "it is read-only; may you write its folder?",
    "disk is full": "the disk is full.",
    "disk I/O": "the disk failed to read or write it; is it full?",
    "locked": f"another process has been writing for {BUSY_SECONDS:.0f} seconds.",
}

__all__ = ["Catalog", "open_catalog"]
