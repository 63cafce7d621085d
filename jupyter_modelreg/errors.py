"""The errors a person can meet, one class for each thing the caller can do about it.

::

    ModelRegistryError          report a bug            exit 1   HTTP 500
    ├── InvalidInput            fix the words                2        400
    │   └── InvalidReference
    ├── NotFound                look elsewhere               3        404
    ├── Conflict                choose another name          4        409
    ├── Refused                 get permission               5        403
    │   └── UnsafeModel
    └── Unavailable             try later                    6        503
        ├── Corrupted           bytes differ from their hash
        └── NotYet              a later version brings it

Doors translate nothing: exit code and status are attributes of the class.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ModelRegistryError(Exception):
    """Something failed that the caller could not have foreseen.

    ``detail`` holds text that helps but does not fit one line, such as a scoring script's own traceback.
    """

    exit_code = 1
    status = 500

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook; the cell still fails."""
        lines = [f"{type(self).__name__}: {self.message}"]
        return [*lines, "", *self.detail.rstrip().splitlines()] if self.detail else lines


class InvalidInput(ModelRegistryError):
    """The words are wrong. ``key`` is the dotted path of the offending YAML or command field, if there is one."""

    exit_code = 2
    status = 400

    def __init__(self, message: str, *, key: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.key = key


class InvalidReference(InvalidInput):
    """A text names something in a form that is not documented."""


class NotFound(ModelRegistryError):
    """What was named does not exist."""

    exit_code = 3
    status = 404


class Conflict(ModelRegistryError):
    """The name is taken or the thing is in use."""

    exit_code = 4
    status = 409


class Refused(ModelRegistryError):
    """The caller may not do this."""

    exit_code = 5
    status = 403


class UnsafeModel(Refused):
    """Loading the file would run code that nobody vouched for."""


class Unavailable(ModelRegistryError):
    """It cannot be done now: a disk is full, a process is down, a package is missing."""

    exit_code = 6
    status = 503


class Corrupted(Unavailable):
    """Stored bytes differ from the hash that names them."""


class NotYet(Unavailable):
    """Azure ML has it, this version has not."""


def system_reason(number: int) -> str:
    """Say why the system refuses, by its number of an error."""
    return _SYSTEM_REASONS.get(number, os.strerror(number))


def system_refusal(error: OSError) -> Unavailable | None:
    """Return an error of the file system in one line; None where the system had no reason that a person can mend."""
    parts = error.args[0] if error.args and isinstance(error.args[0], list) else []  # what shutil.copytree raises has a list of its errors
    number = error.errno or next((key for _, _, text in parts for key in _SYSTEM_REASONS if f"[Errno {key}]" in str(text)), None)
    if number not in _SYSTEM_REASONS:
        return None
    path = error.filename2 or error.filename or next((target for _, target, _ in parts), None)
    where = f"{os.fsdecode(path)} cannot be used" if isinstance(path, str | bytes) else "A file cannot be read or written"
    return Unavailable(f"{where}: {_SYSTEM_REASONS[number]}. Mend that and try again.")


_SYSTEM_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "it is larger than this process may write",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "you may not read or write there",
    errno.EPERM: "you may not read or write there",
    errno.EIO: "the disk failed to read or write",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "this machine has too many open files",
}


def first_of(names: Sequence[str]) -> str:
    """Return the first names of many for a message, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Say the closest known word as the end of a message, or nothing when none is close.

    >>> nearest("descripton", ["name", "description"])
    ' Did you mean "description"?'
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""
