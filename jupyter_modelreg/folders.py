"""Folders that belong to their owner alone and whose names survive a power cut: what the store and the catalog lie in."""

from __future__ import annotations

import os


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
