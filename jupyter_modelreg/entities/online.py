"""Online endpoints and their deployments.

Source of keys and defaults: Azure ML CLI v2, ``managedOnlineEndpoint.schema.json`` and ``managedOnlineDeployment.schema.json``.
"""

from __future__ import annotations

from ..records import Record, field
from .collection import DataCollector
from .environment import Environment
from .model import CreationContext, Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AUTH_MODES = ("key", "aml_token", "aad_token")
PROVISIONING_STATES = ("Creating", "Deleting", "Scaling", "Updating", "Succeeded", "Failed", "Canceled")


class OnlineEndpoint(Record):
    """A stable URL with keys; its deployments do the work."""

    name: str | None = field(default=None, help="Name: 3 to 32 letters, digits and dashes, a letter first.")
    description: str | None = None
    tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    auth_mode: str = field(default="key", choices=AUTH_MODES)
    traffic: dict[str, int] = field(default={}, help="Percentage of the requests for each deployment.")
    mirror_traffic: dict[str, int] = field(default={}, help="Percentage copied to a deployment whose answers are dropped.")
    identity: dict[str, Any] | None = None
    public_network_access: str | None = None
    location: str | None = None
    compute: str | None = None

    id: str | None = field(default=None, is_read_only=True)
    kind: str | None = field(default=None, is_read_only=True)
    provisioning_state: str | None = field(default=None, is_read_only=True)
    scoring_uri: str | None = field(default=None, is_read_only=True)
    openapi_uri: str | None = field(default=None, is_read_only=True)
    creation_context: CreationContext | None = field(default=None, is_read_only=True)
    deployments: list[str] | None = field(default=None, is_read_only=True, help="Names of its deployments.")
    state: str | None = field(default=None, is_read_only=True, help="Observed now: starting, healthy, unhealthy, failed, stopped, empty.")
    error: str | None = field(default=None, is_read_only=True, help="Why it failed, in one line.")


class CodeConfiguration(Record):
    """A folder of code and the script in it that has ``init()`` and ``run()``."""

    code: str | None = field(default=None, help="Folder, relative to the YAML file.")
    scoring_script: str | None = field(default=None, help="Python file in that folder.")


class OnlineRequestSettings(Record):
    """Limits of one instance."""

    request_timeout_ms: int = 5000
    max_concurrent_requests_per_instance: int = 1
    max_queue_wait_ms: int = 500


class ProbeSettings(Record):
    """When a worker counts as ready or alive, in seconds and tries."""

    initial_delay: int = 10
    period: int = 10
    timeout: int = 2
    success_threshold: int = 1
    failure_threshold: int = 30


class OnlineDeployment(Record):
    """One model behind an endpoint. ``model`` is a reference or an inline model."""

    name: str | None = field(default=None, help="Name: 3 to 32 letters, digits and dashes, a letter first.")
    endpoint_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    type: str = field(default="managed", choices=("managed", "kubernetes"))
    model: str | Model | None = None
    code_configuration: CodeConfiguration | None = None
    environment: str | Environment | None = None
    environment_variables: dict[str, str] = {}
    instance_type: str | None = None
    instance_count: int = 1
    app_insights_enabled: bool = False
    scale_settings: dict[str, Any] | None = None
    request_settings: OnlineRequestSettings | None = None
    liveness_probe: ProbeSettings | None = None
    readiness_probe: ProbeSettings | None = None
    model_mount_path: str | None = None
    egress_public_network_access: str | None = None
    data_collector: DataCollector | None = None
    resources: dict[str, Any] | None = None

    id: str | None = field(default=None, is_read_only=True)
    provisioning_state: str | None = field(default=None, is_read_only=True)
    creation_context: CreationContext | None = field(default=None, is_read_only=True)
    state: str | None = field(default=None, is_read_only=True, help="Observed now: starting, healthy, unhealthy, failed, stopped.")
    error: str | None = field(default=None, is_read_only=True, help="Why it failed, in one line.")
    pid: int | None = field(default=None, is_read_only=True)
    port: int | None = field(default=None, is_read_only=True)


class EndpointKeys(Record):
    """The two keys of an endpoint; both are valid until regenerated."""

    primary_key: str = field(key="primaryKey")
    secondary_key: str = field(key="secondaryKey")


# Azure's public names for the same records.
ManagedOnlineEndpoint = KubernetesOnlineEndpoint = OnlineEndpoint
ManagedOnlineDeployment = KubernetesOnlineDeployment = OnlineDeployment
