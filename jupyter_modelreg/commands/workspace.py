"""Commands about datastores and this installation."""

from __future__ import annotations

from ..records import field
from . import Command


class ListDatastores(Command):
    """List datastores."""


class ShowDatastore(Command):
    """Show one datastore."""

    name: str = field("-n", is_positional=True, help="Name of the datastore.")


class ShowSettings(Command):
    """Show every setting and where its value came from."""


class CheckInstallation(Command):
    """Check this installation: parts that are missing and how to get them."""
