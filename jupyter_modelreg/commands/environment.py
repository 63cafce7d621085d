"""Commands about environments."""

from __future__ import annotations

from ..entities.environment import OS_TYPES
from ..records import field
from . import Command, label_field, registry_field, set_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _name() -> Any:
    return field("-n", is_positional=True, values="environment", help="Name of the environment; NAME:VERSION and NAME@LABEL work too.")


def _version() -> Any:
    return field("-v", default=None, values="environment-version", help="Version of the environment.")


class CreateEnvironment(Command):
    """Record an environment: a new version, or the latest if nothing differs from it. Nothing is installed yet."""

    name: str | None = field("-n", default=None, is_positional=True, values="environment", help="Name of the environment.")
    version: str | None = field("-v", default=None, help="Version; the latest if nothing differs from it, else the next number.")
    file: str | None = field("-f", default=None, values="path", help="YAML file that describes the environment.")
    image: str | None = field("-i", default=None, help="Image of a container.")
    conda_file: str | None = field("-c", default=None, values="path", help="Conda file with the packages.")
    build_context: str | None = field("-b", default=None, values="path", help="Folder with a Dockerfile.")
    dockerfile_path: str | None = field("-d", default=None, help="Dockerfile in that folder, by default Dockerfile.")
    os_type: str | None = field(default=None, choices=OS_TYPES, help="System that it is for.")
    description: str | None = field(default=None, help="What it is for.")
    tags: dict[str, str] = field("--tag", default={}, metavar="KEY=VALUE", help="Labels to find it by.")
    datastore: str | None = field(default=None, help="Datastore that receives the build context.")
    set: list[str] = set_field()
    no_wait: bool = field(default=False, help="Accepted; recording an environment never waits for a server.")
    registry_name: str | None = registry_field()


class ListEnvironments(Command):
    """List environments with their latest version, or the versions of one environment."""

    name: str | None = field("-n", default=None, is_positional=True, values="environment", help="List the versions of this environment.")
    max_results: int | None = field("-r", default=None, help="At most this many, the newest first.")
    include_archived: bool = field(default=False, help="Archived ones too.")
    archived_only: bool = field(default=False, help="Only archived ones.")
    registry_name: str | None = registry_field()


class ShowEnvironment(Command):
    """Show one version of an environment; the latest when none is named."""

    name: str = _name()
    version: str | None = _version()
    label: str | None = label_field()
    registry_name: str | None = registry_field()


class UpdateEnvironment(Command):
    """Change the description or tags of a version; nothing else ever changes."""

    name: str = _name()
    version: str | None = _version()
    label: str | None = label_field()
    set: list[str] = set_field()
    add: list[str] = field(default=[], metavar="PATH VALUE", help="Add to a mapping: PATH KEY=VALUE.")
    remove: list[str] = field(default=[], metavar="PATH", help="Remove a value by its dotted path, for example tags.stage.")
    force_string: bool = field(default=False, help="Take values as text, never as JSON.")
    registry_name: str | None = registry_field()


class ArchiveEnvironment(ShowEnvironment):
    """Hide a version, or a whole environment, from lists. It can still be used."""


class RestoreEnvironment(ShowEnvironment):
    """Bring an archived version or environment back into lists."""


class DeleteEnvironment(ShowEnvironment):
    """Delete a version for good, or an environment with all its versions. Refused while deployed; numbers are never reused."""

    yes: bool = field("-y", default=False, help="Do not ask.")


class ShareEnvironment(Command):
    """Copy a version into a registry."""

    name: str = _name()
    version: str | None = _version()
    share_with_name: str | None = field(default=None, help="Name in the registry.")
    share_with_version: str | None = field(default=None, help="Version in the registry.")
    registry_name: str | None = field(default=None, help="The registry.")


class BuildEnvironment(Command):
    """Make the Python of an environment now, so that a deployment need not wait for it and needs no network."""

    name: str = field(
        "-n",
        is_positional=True,
        values="environment",
        help="NAME, NAME:VERSION, NAME@LABEL or a curated reference such as azureml://registries/azureml/environments/sklearn-1.5/labels/latest.",
    )
    version: str | None = _version()
    label: str | None = label_field()


class ListBuiltEnvironments(Command):
    """List the environments that were made on this machine, with what they take and when they were used last."""


class CleanEnvironments(Command):
    """Remove environments from this machine that were not used for a while. They are made again when they are asked for."""

    older_than: str = field(default="30d", help="Leave alone what was used since, such as 24h or 30d. What a deployment runs in stays.")
    dry_run: bool = field(default=False, help="Say what would go and remove nothing.")
    yes: bool = field("-y", default=False, help="Do not ask.")
