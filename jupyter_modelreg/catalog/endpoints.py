"""Endpoints and their deployments, as they were recorded; whether a process lives is asked elsewhere."""

from __future__ import annotations

from ..entities.model import CreationContext
from ..errors import Conflict, NotFound, nearest
from .audit import Audit
from .database import read_json, utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..entities.online import OnlineDeployment, OnlineEndpoint


class Endpoints(Audit):
    """The catalog's record of endpoints."""

    def create_endpoint(self, endpoint: OnlineEndpoint, *, user: str | None = None) -> OnlineEndpoint:
        """Record a new endpoint.

        Raises
        ------
        Conflict
            If the name is taken.
        """
        import json

        now = utc_now()
        context = CreationContext(created_at=now, created_by=user, last_modified_at=now, last_modified_by=user)
        created = endpoint.replace(creation_context=context)
        with self._database.writing() as transaction:
            if transaction.execute("SELECT 1 FROM endpoint WHERE name = ?", (endpoint.name,)).fetchone():
                raise Conflict(
                    f'An endpoint with this name already exists: "{endpoint.name}". '
                    "To change it use `modelreg online-endpoint update`, to serve another model `modelreg model deploy`."
                )
            transaction.execute("INSERT INTO endpoint VALUES (?, ?, ?)", (endpoint.name, json.dumps(created.to_dict()), now))
            self._record(transaction, "create endpoint", "", str(endpoint.name), user=user)
        return created

    def update_endpoint(self, endpoint: OnlineEndpoint, *, user: str | None = None) -> OnlineEndpoint:
        """Write an endpoint's fields.

        Raises
        ------
        NotFound
            If there is no such endpoint.
        """
        import json

        with self._database.writing() as transaction:
            before = self.get_endpoint(str(endpoint.name)).creation_context or CreationContext()
            changed = endpoint.replace(creation_context=before.replace(last_modified_at=utc_now(), last_modified_by=user))
            transaction.execute("UPDATE endpoint SET entity = ? WHERE name = ?", (json.dumps(changed.to_dict()), endpoint.name))
            self._record(transaction, "update endpoint", "", str(endpoint.name), user=user)
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
            known = [item[0] for item in self.rows("SELECT name FROM endpoint")]
            raise NotFound(f'There is no endpoint "{name}".{nearest(name, known)}')
        return _endpoint_of(row[0])

    def list_endpoints(self) -> list[OnlineEndpoint]:
        """Return all endpoints by name."""
        return [_endpoint_of(row[0]) for row in self.rows("SELECT entity FROM endpoint ORDER BY name")]

    def delete_endpoint(self, name: str) -> None:
        """Forget an endpoint and its deployments."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM deployment WHERE endpoint = ?", (name,))
            transaction.execute("DELETE FROM endpoint WHERE name = ?", (name,))
            self._record(transaction, "delete endpoint", "", name)

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
        with self._database.writing() as transaction:
            query = "SELECT 1 FROM version JOIN model ON model.id = model_id WHERE name = ? AND version = ? AND version.deleted_at IS NULL"
            if transaction.execute(query, (name, version)).fetchone() is None:
                raise NotFound(f"{name}:{version} was deleted meanwhile.")
            if transaction.execute("SELECT 1 FROM endpoint WHERE name = ?", (deployment.endpoint_name,)).fetchone() is None:
                raise NotFound(f'Endpoint "{deployment.endpoint_name}" was deleted meanwhile.')
            row = (deployment.endpoint_name, deployment.name, name, version, entity, json.dumps(process) if process else None)
            transaction.execute("DELETE FROM deployment WHERE endpoint = ? AND name = ?", row[:2])
            transaction.execute("INSERT INTO deployment VALUES (?, ?, ?, ?, ?, ?)", row)
            subject = f"{name}:{version} at {deployment.endpoint_name}/{deployment.name}"
            state = f" ({deployment.provisioning_state})" if deployment.provisioning_state else ""
            self._record(transaction, f"deploy{state}", name, subject)

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
        row = self._row("SELECT process FROM deployment WHERE endpoint = ? AND name = ?", (endpoint_name, name))
        process: dict[str, Any] | None = read_json(row[0], f"{endpoint_name}/{name}") if row and row[0] else None
        return process

    def list_deployments(self, endpoint_name: str | None = None) -> list[OnlineDeployment]:
        """Return the deployments of one endpoint, or of all, by name."""
        where, values = ("WHERE endpoint = ?", (endpoint_name,)) if endpoint_name else ("", ())
        query = f"SELECT entity FROM deployment {where} ORDER BY endpoint, name"  # noqa: S608
        return [_deployment_of(row[0]) for row in self.rows(query, values)]

    def delete_deployment(self, endpoint_name: str, name: str) -> None:
        """Forget a deployment."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM deployment WHERE endpoint = ? AND name = ?", (endpoint_name, name))
            self._record(transaction, "delete deployment", "", f"{endpoint_name}/{name}")

    def deployments_of(self, name: str, version: str | None = None) -> list[str]:
        """Return the deployments that serve a model or one version of it, as ``endpoint/deployment``."""
        where, values = ("AND version = ?", (name, version)) if version else ("", (name,))
        query = f"SELECT endpoint || '/' || name FROM deployment WHERE model = ? {where} ORDER BY endpoint, name"  # noqa: S608
        return [row[0] for row in self.rows(query, values)]


def _endpoint_of(text: str) -> OnlineEndpoint:
    from ..entities.online import OnlineEndpoint
    from ..records import from_dict

    return from_dict(OnlineEndpoint, read_json(text, "an endpoint"), drop_read_only=False)


def _deployment_of(text: str) -> OnlineDeployment:
    from ..entities.online import OnlineDeployment
    from ..records import from_dict

    return from_dict(OnlineDeployment, read_json(text, "a deployment"), drop_read_only=False)
