"""Plugins: entry points by group, found by name, imported late.

``jupyter_modelreg.sources`` and ``jupyter_modelreg.flavors`` are the groups; our own parts are declared there like
anyone's. Each plugin is a class without arguments.
"""

from __future__ import annotations

from .errors import NotFound, Unavailable, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import Any


def plugin_names(group: str) -> list[str]:
    """Return the names of a group's plugins, sorted."""
    return sorted(_entry_points(group))


def load_plugin(group: str, name: str) -> Any:
    """Import one plugin and return an instance.

    Raises
    ------
    NotFound
        If nobody declares it.
    Unavailable
        If its import fails.
    """
    points = _entry_points(group)
    if name not in points:
        kind, known = group.removeprefix("jupyter_modelreg."), ", ".join(sorted(points))
        raise NotFound(f'There is no {kind} plugin "{name}".{nearest(name, points)} Known: {known}.')
    point = points[name]
    try:
        return point.load()()
    except Exception as error:  # a stranger's import may raise anything
        raise Unavailable(f'Plugin "{name}" ({point.value}) cannot be imported: {type(error).__name__}: {error}') from error


def _entry_points(group: str) -> dict[str, EntryPoint]:
    """Return a group's entry points; reading what all distributions declare takes long, so it is done again only after a change."""
    from importlib.metadata import entry_points

    places = _places()
    seen = _seen.get(group)
    if seen is None or seen[0] != places:
        seen = _seen[group] = places, {point.name: point for point in entry_points(group=group)}
    return seen[1]


# By group: the folders as they were, and what was found. An entry is replaced as a whole, so threads need no lock.
_seen: dict[str, tuple[list[tuple[str, int]], dict[str, EntryPoint]]] = {}


def _places() -> list[tuple[str, int]]:
    """Return where distributions lie and when each folder changed last: installing or removing one changes its folder."""
    import os
    import sys

    places = []
    for path in sys.path:
        try:
            places.append((path, os.stat(path or ".").st_mtime_ns))
        except OSError:  # it may come into being later
            places.append((path, 0))
    return places
