"""Operations on datastores. This version has the default one; others come later."""

from __future__ import annotations

from .entities.datastore import DEFAULT_DATASTORE, Datastore
from .errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .commands.workspace import ListDatastores, ShowDatastore
    from .workspace import Workspace


def list_datastores(workspace: Workspace, command: ListDatastores) -> list[Datastore]:
    """Return every datastore."""
    return [_default_datastore(workspace)]


def show_datastore(workspace: Workspace, command: ShowDatastore) -> Datastore:
    """Return one datastore.

    Raises
    ------
    NotFound
        If it is not the default one.
    """
    if command.name != DEFAULT_DATASTORE:
        raise NotFound(f'There is no datastore "{command.name}"; this version has one, "{DEFAULT_DATASTORE}".')
    return _default_datastore(workspace)


def _default_datastore(workspace: Workspace) -> Datastore:
    return Datastore(name=DEFAULT_DATASTORE, path=workspace.datastore_path(DEFAULT_DATASTORE), description="A folder on this machine.")
