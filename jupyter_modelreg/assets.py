"""What models and environments have in common: names with versions, files that are kept, fields of which few may change."""

from __future__ import annotations

from contextlib import contextmanager, suppress

from .errors import InvalidInput, ModelRegistryError, NotFound, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, TypeVar

    from .records import Record
    from .trees import Manifest, Tree
    from .workspace import Workspace

    Asset = TypeVar("Asset", bound=Record)


# --- which version is meant ---------------------------------------------------------------------------------------------


def chosen_version(command: Any, version: str | None, label: str | None) -> tuple[str | None, str | None]:
    """Return the version and the label that a command means, by its options or within the name, where they are `version` and `label`.

    Raises
    ------
    InvalidInput
        If an option is empty, or the version is named in both ways.
    """
    given = getattr(command, "label", None)
    if "" in (command.version, given):  # an unset variable of a shell; it must not mean "all"
        raise InvalidInput("The version or label is empty; leave the option out to mean the latest.", key="version")
    if (command.version or given) and (version or label):
        raise InvalidInput(f'"{command.name}" names a version already; leave out --version and --label.', key="version")
    return command.version or version, given or label


def names_a_version(command: Any, version: str | None, label: str | None) -> bool:
    """Say whether a command means one version, by its options or within the name, or the whole asset."""
    return any(item is not None for item in (command.version, getattr(command, "label", None), version, label))


def refuse_registry(name: str | None) -> None:
    """Raise NotFound for any registry: this version has none."""
    if name:
        raise NotFound(f'There is no registry "{name}"; registries come in a later version.')


def check_datastore(name: str | None) -> None:
    """Raise NotFound for any datastore but the default one."""
    from .entities.datastore import DEFAULT_DATASTORE

    if name not in (None, DEFAULT_DATASTORE):
        raise NotFound(f'There is no datastore "{name}"; this version has one, "{DEFAULT_DATASTORE}".')


# --- files --------------------------------------------------------------------------------------------------------------


@contextmanager
def imported(workspace: Workspace, tree: Tree, *, is_linked: bool = False) -> Iterator[tuple[Manifest, str]]:
    """Keep a tree's files, pinned against every clean-up until the version is recorded or the registration failed."""
    from .catalog.pins import Holding

    hold = Holding(lambda: workspace.catalog)
    try:
        manifest = workspace.store.import_tree(tree, workspace.progress, hold=hold, is_linked=is_linked)
        yield manifest, hold.pin
    except BaseException:
        with suppress(ModelRegistryError):  # the first error is the one to say; a pin that stays goes with its process
            hold.let_go()
        raise


def stored_path(manifest: Manifest) -> str:
    """Return the path under which local files that were kept are known."""
    # Source: Azure ML uploads a local path to LocalUpload/<hash>/<basename> of the default datastore.
    return f"azureml://datastores/workspaceblobstore/paths/LocalUpload/{manifest.digest}/{manifest.root}"


# --- what may change ----------------------------------------------------------------------------------------------------


def check_only(
    keys: Sequence[str], kind: type[Record], before: dict[str, Any], after: dict[str, Any], *, what: str, never: str, and_: str
) -> None:
    """Refuse a change of any other field.

    Raises
    ------
    InvalidInput
        If there is no such field, or it never changes.
    """
    listed = and_.join(keys)
    for key in sorted(after.keys() | before.keys()):
        if key not in kind._fields:
            raise InvalidInput(f'{what} has no "{key}".{nearest(key, keys)} What changes is {listed}.', key=key)
        if key not in keys and after.get(key) != before.get(key):
            raise InvalidInput(f'"{key}" never changes{never}; only {listed} do. Create a new version instead.', key=key)


def with_values(current: Asset, keys: Sequence[str], values: dict[str, Any]) -> Asset:
    """Return a record with these fields as `values` has them, checked; those that it lacks are as in a new one."""
    from .records import from_dict

    checked = from_dict(type(current), {key: values[key] for key in keys if values.get(key) is not None})
    return current.replace(**{key: getattr(checked, key) for key in keys})
