"""The files of a registered version as a tree."""

from __future__ import annotations

from ..references import RegisteredModel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Places


class RegisteredSource:
    """Opens ``azureml:<name>:<version>`` and its other spellings."""

    def open(self, places: Places, reference: RegisteredModel) -> Tree:
        """Open a version's files.

        Raises
        ------
        NotFound
            If there is no such version.
        """
        return places.open_version(reference.name, reference.version, reference.label)
