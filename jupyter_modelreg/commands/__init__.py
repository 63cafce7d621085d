"""What can be asked: one record for each operation, its fields the same through every door.

A field's flags are those of ``az ml``; Source: Azure CLI reference, ``az ml model``, ``online-endpoint``,
``online-deployment``. A command is plain words: nothing here touches a disk. One module a noun, so that a shell that
lists models reads one of them.
"""

from __future__ import annotations

from ..records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Command(Record):
    """Base of all commands."""


def label_field() -> Any:
    """Return the field of a label."""
    return field("-l", default=None, help='Label of the version; "latest" is the one created last.')


def registry_field() -> Any:
    """Return the field that names a registry."""
    return field(default=None, help="Registry instead of the workspace.")


def set_field() -> Any:
    """Return the field that changes what a YAML file says."""
    return field(default=[], metavar="KEY=VALUE", help="Change a value by its dotted path, for example tags.stage=prod.")
