"""Files of a datastore as a tree. This version has the default datastore, a folder."""

from __future__ import annotations

import os

from ..entities.datastore import DEFAULT_DATASTORE
from ..errors import InvalidInput, NotFound
from ..references import DatastorePath
from .local import LocalTree, is_below, open_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Places


class DatastoreSource:
    """Opens ``azureml://datastores/<datastore>/paths/<path>``."""

    def open(self, places: Places, reference: DatastorePath) -> LocalTree:
        """Open a path of the default datastore.

        Raises
        ------
        NotFound
            If the datastore or the path is not there.
        InvalidInput
            If the path is a link that leads out of the datastore.
        """
        if reference.datastore != DEFAULT_DATASTORE:
            raise NotFound(f'There is no datastore "{reference.datastore}"; this version has one, "{DEFAULT_DATASTORE}".')
        # The reference has no ".." (references.py).
        root = places.datastore_path(DEFAULT_DATASTORE)
        path = os.path.join(root, *reference.path.split("/"))
        if not os.path.exists(path):
            raise NotFound(f'Datastore "{DEFAULT_DATASTORE}" has no "{reference.path}"; its files lie in {root}.')
        if not is_below(os.path.realpath(path), os.path.realpath(root)):
            raise InvalidInput(f"{path} is a link that leads out of the datastore; copy the files instead.", key="path")
        return open_local(path)
