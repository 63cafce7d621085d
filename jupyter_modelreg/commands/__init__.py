"""What can be asked: one record for each operation, its fields the same through every door.

A field's flags are those of ``az ml``; Source: Azure CLI reference, ``az ml model``, ``online-endpoint``,
``online-deployment``. A command is plain words: nothing here touches a disk. One module a noun, so that a shell that
lists models reads one of them.
"""

from __future__ import annotations

from ..records import Record


class Command(Record):
    """Base of all commands."""
