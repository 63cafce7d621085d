"""Commands about models."""

from __future__ import annotations

from ..entities.model import MODEL_TYPES
from ..errors import InvalidInput, nearest
from ..records import field
from . import Command, label_field, registry_field, set_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


MOUNT_MODES = ("ro_mount", "rw_mount", "download")
MOUNT_KINDS = ("auto", "view", "fuse")


def _model_name() -> Any:
    return field("-n", is_positional=True, values="model", help="Name of the model; NAME:VERSION and NAME@LABEL work too.")


def _version() -> Any:
    return field("-v", default=None, values="version", help="Version of the model.")


class CreateModel(Command):
    """Register a model: keep its files and record a new version."""

    name: str | None = field("-n", default=None, is_positional=True, values="model", help="Name of the model.")
    version: str | None = field("-v", default=None, help="Version; the next number when left out.")
    file: str | None = field("-f", default=None, values="path", help="YAML file that describes the model; - reads standard input.")
    path: str | None = field("-p", default=None, values="path", help="Local file or folder, or a reference such as runs:/ID/model.")
    type: str | None = field("-t", default=None, choices=MODEL_TYPES, help="Layout of the files; found out when left out.")
    description: str | None = field("-d", default=None, help="What it is, in words.")
    tags: dict[str, str] = field("--tag", default={}, metavar="KEY=VALUE", help="Labels to find it by.")
    stage: str | None = field("-s", default=None, help="Stage of its life, such as Development or Production.")
    datastore: str | None = field(default=None, help="Datastore that receives local files.")
    transfer: str = field(
        default="copy",
        choices=("copy", "move", "link"),
        help="How local files come into the store: copied; moved, so that they are gone where they were; or linked, which makes them read-only.",
    )
    set: list[str] = set_field()
    no_wait: bool = field(default=False, help="Accepted; registration never waits for a server.")
    registry_name: str | None = registry_field()


class ListModels(Command):
    """List models with their latest version, or the versions of one model."""

    name: str | None = field("-n", default=None, is_positional=True, values="model", help="List the versions of this model.")
    tags: dict[str, str] = field("--tag", default={}, metavar="KEY=VALUE", help="Only those with this tag; KEY alone means any value.")
    stage: str | None = field("-s", default=None, help="Only those of this stage.")
    search: str | None = field(default=None, help="Only names, descriptions or tags that contain this text.")
    filter: str | None = field(
        default=None,
        help="Search all versions: \"tags.stage = 'prod' and metrics.auc > 0.9 and name like 'churn%' order by created desc\".",
    )
    max_results: int | None = field("-r", default=None, help="At most this many, the newest first.")
    page: str | None = field(default=None, help="Go on where an earlier answer with the same options ended, by the word that it named.")
    include_archived: bool = field(default=False, help="Archived ones too.")
    archived_only: bool = field(default=False, help="Only archived ones.")
    registry_name: str | None = registry_field()


class ShowModel(Command):
    """Show one version in full; the latest when none is named."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    registry_name: str | None = registry_field()


class UpdateModel(Command):
    """Change the description, tags or stage of a version, or add properties; nothing else ever changes."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    set: list[str] = set_field()
    add: list[str] = field(default=[], metavar="PATH VALUE", help="Add to a mapping or list: PATH KEY=VALUE.")
    remove: list[str] = field(default=[], metavar="PATH", help="Remove a value by its dotted path, for example tags.stage.")
    force_string: bool = field(default=False, help="Take values as text, never as JSON.")
    stage: str | None = field("-s", default=None, help="New stage.")
    registry_name: str | None = registry_field()


class ArchiveModel(Command):
    """Hide a version, or a whole model, from lists. It can still be used."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    registry_name: str | None = registry_field()


class RestoreModel(ArchiveModel):
    """Bring an archived version or model back into lists."""


class DownloadModel(Command):
    """Copy a version's files to a folder, each checked against its hash."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    download_path: str = field("-p", default=".", values="path", help="Folder that receives a folder named after the model.")
    no_verify: bool = field(
        default=False, help="Do not read the copy of a large file that rests since it was last found sound; its length is checked."
    )
    registry_name: str | None = registry_field()


class ExportModel(Command):
    """Write a version into one file that any registry imports, each byte checked."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    path: str = field("-p", default=".", values="path", help="File to write, or folder that receives NAME-VERSION.modelreg.")


class ImportModel(Command):
    """Register the version that a file written by export holds, each byte checked."""

    file: str = field("-f", is_positional=True, values="path", help="The file.")
    name: str | None = field("-n", default=None, values="model", help="Name here; its own when left out.")
    version: str | None = field("-v", default=None, help="Version here; its own when left out.")


class DeleteModel(Command):
    """Delete a version for good, or a model with all its versions. Refused while deployed; numbers are never reused.

    The files stay in the store until store clean.
    """

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    yes: bool = field("-y", default=False, help="Do not ask.")


class ShareModel(Command):
    """Copy a version into a registry."""

    name: str = _model_name()
    version: str | None = _version()
    share_with_name: str | None = field(default=None, help="Name in the registry.")
    share_with_version: str | None = field(default=None, help="Version in the registry.")
    registry_name: str | None = field(default=None, help="The registry.")


class CompareModels(Command):
    """Compare two versions: metadata, metrics, packages, signature and files."""

    name: str = _model_name()
    version: str | None = field("-v", default=None, values="version", help="First version; the one before the other when left out.")
    other: str | None = field(default=None, values="version", help="Second version, or NAME:VERSION; the latest when left out.")


class MountModel(Command):
    """Show a version's files in a folder: links to what is stored, nothing is copied where that can be."""

    name: str = _model_name()
    mount_point: str = field(is_positional=True, values="path", help="New or empty folder that shows the files.")
    version: str | None = _version()
    label: str | None = label_field()
    mode: str = field(
        default="ro_mount",
        choices=MOUNT_MODES,
        help="ro_mount to read; rw_mount for a private copy that model commit registers; download for a copy, each file checked.",
    )
    kind: str = field(
        default="auto",
        choices=MOUNT_KINDS,
        help="How to show files for reading: view links to files on this machine, fuse reads what is asked for when it is asked for.",
    )
    registry_name: str | None = registry_field()

    def _check(self) -> None:
        for name in ("mode", "kind"):
            choices, value = self._fields[name].choices, getattr(self, name)
            if value not in choices:
                raise InvalidInput(f'{name} is "{value}"; it must be one of {", ".join(choices)}.{nearest(str(value), choices)}', key=name)


class ListMounts(Command):
    """List the folders of this machine that show a version's files."""


class UnmountModel(Command):
    """Take a version's files out of a folder again. What was put or changed there stays."""

    mount_point: str = field(is_positional=True, values="path", help="The folder.")
    discard: bool = field(default=False, help="Remove what was changed and not committed, too.")


class CommitModel(Command):
    """Register what a folder of model mount --mode rw_mount holds now as the next version."""

    mount_point: str = field(is_positional=True, values="path", help="The folder.")
    name: str | None = field("-n", default=None, values="model", help="Another model that receives the version.")
    description: str | None = field("-d", default=None, help="What it is, in words.")
    tags: dict[str, str] = field("--tag", default={}, metavar="KEY=VALUE", help="Labels to find it by.")
    stage: str | None = field("-s", default=None, help="Stage of its life, such as Development or Production.")


class ListChecksums(Command):
    """List a version's files with the BLAKE3 and SHA-256 of their bytes."""

    name: str = _model_name()
    version: str | None = _version()
    label: str | None = label_field()
    registry_name: str | None = registry_field()
