"""Commands about the store as a whole."""

from __future__ import annotations

from ..records import field
from . import Command


class ShowStoreStats(Command):
    """Show what the store holds, what that takes on disk and what a clean-up would free."""


class VerifyStore(Command):
    """Read everything in the store and name what is damaged or missing and which versions need it."""

    sample: float | None = field(default=None, help="Read only this share of it, chosen at random, such as 0.01.")
    repair_from: str | None = field(
        default=None,
        metavar="HOME|URL",
        values="path",
        help="Mend from another registry's home, a store's folder or URL, or cache: what this machine keeps of a store elsewhere.",
    )


class CleanStore(Command):
    """Remove files that no version uses: those of deleted versions and of registrations that were never finished."""

    grace: str = field(default="24h", help="Leave alone what is younger, such as 30m, 24h or 7d.")
    dry_run: bool = field(default=False, help="Say what would go and remove nothing.")
    takes_over: bool = field(default=False, help="Finish what a clean-up on another machine left; only when that one surely is dead.")
    yes: bool = field("-y", default=False, help="Do not ask.")
