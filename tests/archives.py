"""Registries of released versions, as archives beside the tests."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, folder: str | Path) -> None:
    """Unpack what we packed ourselves; Python has a filter for that since 3.11.4, and later ones want one."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
    else:
        archive.extractall(folder)
