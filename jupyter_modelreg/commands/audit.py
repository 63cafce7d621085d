"""Commands about the record of changes."""

from __future__ import annotations

from ..records import field
from . import Command


class ListAudit(Command):
    """List who changed what and when, the newest first."""

    model: str | None = field("-n", default=None, is_positional=True, values="model", help="Only changes of this model and its versions.")
    max_results: int = field("-r", default=50, help="At most this many.")
