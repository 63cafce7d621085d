"""Folders and small files that belong to their owner alone."""

from __future__ import annotations

import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def make_folder(path: str) -> None:
    """Make a folder and its parents, each readable by its owner only, their names safe from a power cut.

    Raises
    ------
    OSError
        If the system refuses; the caller says for what the folder was.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_folder(parent)
    # os.makedirs would give the parents whatever the umask allows.
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    flush_folder(parent)


def flush_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def listed(folder: str) -> list[str]:
    """Return the names in a folder; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def write_json(path: str, values: Mapping[str, Any], *, is_durable: bool = False) -> None:
    """Write a small file, readable by its owner only, all at once: a reader finds the old content or the new."""
    import json
    import tempfile

    handle, scratch = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(values, stream)
            if is_durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch)
        raise


def read_json(path: str) -> Any:
    """Return what `write_json` wrote; None where there is no such file."""
    import json

    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None


def used_bytes(folder: str) -> int:
    """Return what a folder takes on disk, as `du` counts: links once, holes not at all."""
    seen: dict[tuple[int, int], int] = {}
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except (FileNotFoundError, NotADirectoryError):  # gone meanwhile
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return sum(seen.values())
