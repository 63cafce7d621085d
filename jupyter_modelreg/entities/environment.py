"""Environments: the packages and the Python that a deployment or job runs in, under a name.

Source: Azure ML CLI v2, ``environment.schema.json``.
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Record, field
from .model import CreationContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OS_TYPES = ("linux", "windows")


class BuildContext(Record):
    """A folder with a Dockerfile."""

    path: str | None = None
    dockerfile_path: str = "Dockerfile"


class Route(Record):
    """Where an inference server answers."""

    port: int
    path: str


class InferenceConfig(Record):
    """The routes of an image that brings its own server; all three or none."""

    liveness_route: Route
    readiness_route: Route
    scoring_route: Route


class Environment(Record):
    """A conda file, an image or a build context under a name; description and tags may change, nothing else.

    Raises
    ------
    InvalidInput
        If ``version`` is not text or given without a name, or there are both an image and a build context.
    """

    _misplaced = dict.fromkeys(
        ("channels", "dependencies"),
        '"{key}" belongs into a conda file, and this describes an environment. Name the conda file in conda_file: conda.yaml, '
        "or give it by --conda-file.",
    )

    name: str | None = field(default=None, help="Name of the environment.")
    version: str | None = field(default=None, help="Version; the latest if nothing differs from it, else the next number.")
    description: str | None = field(default=None, help="What it is for.")
    tags: dict[str, str] = field(default={}, help="Labels to find it by.")
    properties: dict[str, str] = {}
    image: str | None = field(default=None, help="Image of a container.")
    build: BuildContext | None = None
    conda_file: str | dict[str, Any] | None = field(default=None, help="Path of a conda file, or its content.")
    os_type: str = field(default="linux", choices=OS_TYPES, help="System that it is for.")
    inference_config: InferenceConfig | None = None
    datastore: str | None = field(default=None, help="Datastore that receives a build context.")

    id: str | None = field(default=None, is_read_only=True)
    creation_context: CreationContext | None = field(default=None, is_read_only=True)
    latest_version: str | None = field(default=None, is_read_only=True)
    is_archived: bool = field(default=False, is_read_only=True)
    digest: str | None = field(default=None, is_read_only=True, help="Digest of the definition: environments of one digest are the same.")

    def _check(self) -> None:
        if self.version is not None and not isinstance(self.version, str):
            raise InvalidInput(f"Asset version must be a string, not type {type(self.version)}", key="version")
        if self.version is not None and self.name is None:
            raise InvalidInput("If version is specified, name must be specified also.", key="version")
        if self.image and self.build:
            raise InvalidInput("An environment has an image or a build context, not both.", key="build")
        if self.build and self.conda_file:
            raise InvalidInput("A build context installs what its Dockerfile says; leave conda_file out.", key="conda_file")


class PythonBuild(Record):
    """An environment that was made on this machine: the Python in it, what that takes and when it was used last."""

    digest: str = field(help="Digest of what was asked for, the Python and the platform: the name of its folder.")
    environments: list[str] = field(default=[], help="Registered environments that it is, as env:3.")
    python: str = field(help="Version of its Python.")
    requirements: list[str] = field(default=[], help="What was asked for, in pip's words.")
    packages: int = field(default=0, help="How many packages it has.")
    size_bytes: int = 0
    made_at: str | None = None
    used_at: str | None = field(default=None, help="When it was asked for last.")
    deployments: list[str] = field(default=[], help="Deployments that run in it.")
    path: str = ""


class Removed(Record):
    """Environments that a clean-up removed from this machine, or would. They are made again when they are asked for."""

    environments: int = 0
    size_bytes: int = 0
    is_dry_run: bool = False
