"""Whether the registry changed since the last look, whoever changed it: a kernel, a shell, a worker that died.

A look that finds nothing costs two ``stat`` calls and two small reads a deployment; the catalog is opened only when its
files moved, and never created. Its own number of changes decides, since readers touch the files too.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..workspace import Workspace

# Two changes within one tick of the disk's clock leave the same time; files this young are read again.
YOUNG_SECONDS = 2.0

Stamps = tuple[tuple[int, int], ...]


class Changes:
    """Remembers how the registry looked; for one thread at a time.

    Parameters
    ----------
    open_workspace
        Called for every look that needs the catalog, so that changed settings are seen.
    """

    def __init__(self, open_workspace: Callable[[], Workspace]) -> None:
        self._open = open_workspace
        self._read: tuple[str, Stamps] | None = None
        self._number = 0
        self._runs: list[str] = []
        self._seen: Any = None

    def have_come(self) -> bool:
        """Say whether anything differs from the last time this was asked; the first time nothing does.

        Raises
        ------
        ModelRegistryError
            If the settings or the catalog cannot be read.
        """
        workspace = self._open()
        path = workspace.settings.catalog
        stamps = _stamps(path)
        is_far = "://" in path  # a server, which leaves no trace here
        if is_far or self._read != (path, stamps) or _are_young(stamps):
            self._number, self._runs = _read_catalog(workspace) if is_far or os.path.exists(path) else (0, [])
            self._read = (path, stamps)
        now = (path, self._number, [_word_and_life(run) for run in self._runs])
        before, self._seen = self._seen, now
        return before is not None and before != now


def _read_catalog(workspace: Workspace) -> tuple[int, list[str]]:
    # The number comes first: what is written meanwhile is found by the next look.
    number = workspace.catalog.change_number()
    runs = []
    for deployment in workspace.catalog.list_deployments():
        process = workspace.catalog.get_process(str(deployment.endpoint_name), str(deployment.name))
        if process:
            runs.append(process["folder"])
    return number, runs


def _word_and_life(run: str) -> tuple[Any, ...]:
    from ..hosting import is_running

    return (*_stamp(os.path.join(run, "status.json")), is_running(run))


def _stamps(path: str) -> Stamps:
    return (_stamp(path), _stamp(f"{path}-wal"))


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    # A reader makes an empty log and removes it again.
    return (status.st_mtime_ns, status.st_size) if status.st_size else (0, 0)


def _are_young(stamps: Stamps) -> bool:
    return abs(time.time_ns() - max(moment for moment, _ in stamps)) < YOUNG_SECONDS * 1e9
