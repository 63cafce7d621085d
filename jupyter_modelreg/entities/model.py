"""The model entity: a name, and one immutable numbered state of it.

Source of keys and defaults: Azure ML CLI v2, ``model.schema.json``.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Record, field
from ..trees import ManifestFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")


class CreationContext(Record):
    """Who made and last changed something, and when (UTC, ISO 8601 with ``Z``)."""

    created_at: str | None = None
    created_by: str | None = None
    last_modified_at: str | None = None
    last_modified_by: str | None = None


class ColumnSpec(Record):
    """One column or tensor of a signature. ``type`` is MLflow's word: long, double, string, boolean, tensor …"""

    name: str | None = None
    type: str = "double"
    shape: list[int] | None = field(default=None, help="Tensor shape, -1 for any length; None for a column.")
    required: bool | None = field(default=None, help="False for a column that may be left out; MLflow's word.")


class Signature(Record):
    """What a model takes and gives."""

    inputs: list[ColumnSpec] = []
    outputs: list[ColumnSpec] = []


class Scan(Record):
    """What the scanner found in a version's files.

    ``verdict`` is one of data-only, known-pickle, unknown-names, blocked, not-inspected; the worst file decides.
    """

    verdict: str = "not-inspected"
    findings: list[str] = field(default=[], help="One line a finding, such as model.pkl: os.system")


class Lineage(Record):
    """Where a version came from."""

    code: str | None = field(default=None, help="Source text of the cell that made it.")
    notebook: str | None = field(default=None, help="Path of the notebook.")
    git_commit: str | None = None
    git_is_dirty: bool | None = None
    python: str | None = field(default=None, help="Version of Python.")
    packages: dict[str, str] = field(default={}, help="Name and version of what the cell had imported.")
    inputs: list[str] = field(default=[], help="References of the models and data it read.")


class Model(Record):
    """A registered model, or one about to be registered.

    Raises
    ------
    InvalidInput
        If ``version`` is not text, or given without a name.
    """

    name: str | None = field(default=None, help="Name of the model.")
    version: str | None = field(default=None, help="Version; the next number when left out.")
    type: str | None = field(default=None, choices=MODEL_TYPES, help="Layout of the files; found out when left out.")
    path: str | None = field(default=None, help="Local file or folder, or a reference.")
    description: str | None = field(default=None, help="What it is, in words.")
    tags: dict[str, str] = field(default={}, help="Labels to find it by.")
    properties: dict[str, str] = field(default={}, help="Facts that are added once and never change.")
    stage: str | None = field(default=None, help="Stage of its life, such as Development or Production.")
    flavors: dict[str, dict[str, Any]] = field(default={}, help="MLflow flavors.")
    datastore: str | None = field(default=None, help="Datastore that receives local files.")
    default_deployment_template: dict[str, Any] | None = None
    allowed_deployment_templates: list[Any] | None = None
    system_metadata: dict[str, Any] | None = None

    id: str | None = field(default=None, is_read_only=True)
    creation_context: CreationContext | None = field(default=None, is_read_only=True)
    utc_time_created: str | None = field(default=None, is_read_only=True)
    job_name: str | None = field(default=None, is_read_only=True)
    latest_version: str | None = field(default=None, is_read_only=True)
    intellectual_property: dict[str, Any] | None = field(default=None, is_read_only=True)
    is_archived: bool = field(default=False, is_read_only=True)
    digest: str | None = field(default=None, is_read_only=True, help="Digest of the manifest: the identity of the content.")
    size_bytes: int | None = field(default=None, is_read_only=True)
    flavor: str | None = field(default=None, is_read_only=True, help="How it loads: sklearn, torch, mlflow …")
    signature: Signature | None = field(default=None, is_read_only=True)
    input_example: Any = field(default=None, is_read_only=True, help="Sample input as JSON: split frame or nested list.")
    metrics: dict[str, float] = field(default={}, is_read_only=True)
    scan: Scan | None = field(default=None, is_read_only=True)
    lineage: Lineage | None = field(default=None, is_read_only=True)
    files: list[ManifestFile] | None = field(default=None, is_read_only=True)
    endpoints: list[str] | None = field(default=None, is_read_only=True, help='Deployments that serve it, as "endpoint/deployment".')

    def _check(self) -> None:
        if self.version is not None and not isinstance(self.version, str):
            raise InvalidInput(f"Asset version must be a string, not type {type(self.version)}", key="version")
        if self.version is not None and self.name is None:
            raise InvalidInput("If version is specified, name must be specified also.", key="version")
        self.type = _REST_SPELLINGS.get(str(self.type).lower(), self.type)


# ``constants.ModelType`` of older code holds these spellings.
_REST_SPELLINGS = {"custommodel": "custom_model", "mlflowmodel": "mlflow_model", "tritonmodel": "triton_model"}

__all__ = ["MODEL_TYPES", "ColumnSpec", "CreationContext", "Lineage", "Model", "Scan", "Signature"]
