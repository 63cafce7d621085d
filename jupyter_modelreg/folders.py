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
