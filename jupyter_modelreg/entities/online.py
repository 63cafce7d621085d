"""Online endpoints and their deployments.

Source of keys and defaults: Azure ML CLI v2, ``managedOnlineEndpoint.schema.json`` and ``managedOnlineDeployment.schema.json``.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Record, field
from .collection import DataCollector
from .environment import Environment
from .model import CreationContext, Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_TIMEOUT_SECONDS = 60.0  # of a request to a deployment without request_settings
AUTH_MODES = ("key", "aml_token", "aad_token")
MAX_DEPLOYMENTS = 20  # Source: Azure ML, how-to-manage-quotas
MAX_INSTANCES = 64
MAX_TIMEOUT_MS = 180_000  # Source: Azure ML, how-to-manage-quotas
PROVISIONING_STATES = ("Creating", "Deleting", "Scaling", "Updating", "Succeeded", "Failed", "Canceled")


class DeploymentNumbers(Record):
    """How a deployment does right now: counts since its instances started, rates and latencies of the last minute or two."""

    state: str = "stopped"
    instances: int = field(default=0, help="Instances that are ready.")
    restarts: int = field(default=0, help="How often an instance had to be replaced.")
    requests: int = 0
    errors: int = field(default=0, help="Answers with a status of 400 or above.")
    requests_per_second: float = 0.0
    p50_ms: float | None = field(default=None, help="Latency that half of the requests stay below, of the slowest instance.")
    p95_ms: float | None = None
    p99_ms: float | None = None
    batch_size: float | None = field(default=None, help="Requests in one call of the model, on average.")
    queue: int = field(default=0, help="Requests that are with the model or wait for it.")
    memory_bytes: int | None = field(default=None, help="Proportional set size of all instances: shared pages are counted once.")


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
    numbers: dict[str, DeploymentNumbers] | None = field(
        default=None, is_read_only=True, help="How each deployment does, as show tells it."
    )


class CodeConfiguration(Record):
    """A folder of code and the script in it that has ``init()`` and ``run()``, or the class whose parameters the model's files hold."""

    code: str | None = field(default=None, help="Folder, relative to the YAML file.")
    scoring_script: str | None = field(default=None, help="Python file in that folder.")
    model_class: str | None = field(
        default=None, help='In place of a script, for torch: MODULE:CLASS in that folder or installed, "nets:Net(4, hidden=8)".'
    )


class OnlineRequestSettings(Record):
    """Limits of one instance."""

    request_timeout_ms: int = 5000
    max_concurrent_requests_per_instance: int = 1
    max_queue_wait_ms: int = 500

    def _check(self) -> None:
        _check_range("request_timeout_ms", self.request_timeout_ms, 1, MAX_TIMEOUT_MS)
        _check_range("max_concurrent_requests_per_instance", self.max_concurrent_requests_per_instance, 1)


class ProbeSettings(Record):
    """When an instance counts as ready or alive, in seconds and tries."""

    initial_delay: int = 10
    period: int = 10
    timeout: int = 2
    success_threshold: int = 1
    failure_threshold: int = 30

    def _check(self) -> None:
        _check_range("initial_delay", self.initial_delay, 0)
        for name in ("period", "timeout", "success_threshold", "failure_threshold"):
            _check_range(name, getattr(self, name), 1)


class ScaleSettings(Record):
    """How many instances: as many as instance_count says, or as the load asks for between two numbers."""

    type: str = field(default="default", choices=("default", "target_utilization"))
    min_instances: int = 1
    max_instances: int = 1
    target_utilization_percentage: int = field(default=70, help="Share of their time that instances shall be busy.")
    polling_interval: int = field(default=1, help="Seconds between two looks.")

    def _check(self) -> None:
        _check_range("min_instances", self.min_instances, 1, MAX_INSTANCES)
        _check_range("max_instances", self.max_instances, self.min_instances, MAX_INSTANCES)
        _check_range("target_utilization_percentage", self.target_utilization_percentage, 1, 100)
        _check_range("polling_interval", self.polling_interval, 1)


def _check_range(name: str, value: int, least: int, most: int | None = None) -> None:
    if value < least or (most is not None and value > most):
        wanted = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise InvalidInput(f"{name} is {value}; it must be {wanted}.", key=name)


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
    scale_settings: ScaleSettings | None = None
    request_settings: OnlineRequestSettings | None = None
    liveness_probe: ProbeSettings | None = None
    readiness_probe: ProbeSettings | None = None
    accelerator: str | None = field(
        default=None, choices=("onnx",), help="onnx: a scikit-learn model is converted, and refused unless it then answers the same."
    )
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
    numbers: DeploymentNumbers | None = field(default=None, is_read_only=True, help="How it does, as show tells it.")
    notices: list[str] | None = field(default=None, is_read_only=True, help="What is otherwise here than in the cloud.")

    def _check(self) -> None:
        _check_range("instance_count", self.instance_count, 1, MAX_INSTANCES)


class EndpointKeys(Record):
    """What proves to an endpoint that a caller may call: two keys, both valid until regenerated, or a token that ends."""

    primary_key: str | None = field(default=None, key="primaryKey")
    secondary_key: str | None = field(default=None, key="secondaryKey")
    access_token: str | None = field(default=None, key="accessToken")
    expiry_time_utc: int | None = field(default=None, key="expiryTimeUtc", help="Seconds since 1970 when the token ends.")
    refresh_after_time_utc: int | None = field(default=None, key="refreshAfterTimeUtc", help="When to ask for the next one.")
    token_type: str | None = field(default=None, key="tokenType")


# Azure's public names for the same records.
ManagedOnlineEndpoint = KubernetesOnlineEndpoint = OnlineEndpoint
ManagedOnlineDeployment = KubernetesOnlineDeployment = OnlineDeployment
