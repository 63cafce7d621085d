"""Datastores: named places of files."""

from __future__ import annotations

from ..records import Record, field

DEFAULT_DATASTORE = "workspaceblobstore"


class Datastore(Record):
    """A named place of files. This version has one, a local folder called workspaceblobstore."""

    name: str = DEFAULT_DATASTORE
    type: str = "local_folder"
    description: str | None = None
    tags: dict[str, str] = {}
    is_default: bool = field(default=True, is_read_only=True)
    path: str | None = field(default=None, is_read_only=True, help="Where its files lie on this machine.")
