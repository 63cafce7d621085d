"""A file or folder on this machine as a tree."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from ..errors import InvalidInput, NotFound, nearest
from ..references import LocalPath
from ..trees import TreeFile, find_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pathspec import PathSpec

    from . import Places

_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
IGNORE_FILES = (".amlignore", ".gitignore")  # Source: Azure ML: the first one found, in the root of the path only.


class LocalTree:
    """Files below a path, listed once. Links that stay inside are followed."""

    def __init__(self, path: str, files: dict[str, tuple[str, int]], *, is_file: bool) -> None:
        self.root = os.path.basename(os.path.abspath(path))
        self.is_file = is_file
        self._files = files

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return [TreeFile(path=path, size_bytes=size) for path, (_, size) in sorted(self._files.items())]

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading."""
        return open(self.local_path(path), "rb")

    def local_path(self, path: str) -> str:
        """Return where one file lies."""
        find_file(self, path)
        return self._files[path][0]


class LocalSource:
    """Opens paths."""

    def open(self, places: Places, reference: LocalPath) -> LocalTree:
        """Open a file or folder.

        Raises
        ------
        NotFound
            If it is not there; the message names what is.
        InvalidInput
            If it is empty, or holds something else than files, or links that are broken or lead out.
        """
        return open_local(os.path.expanduser(reference.path))


def open_local(path: str) -> LocalTree:
    """Open a file or folder; see :meth:`LocalSource.open`."""
    if not os.path.exists(path):
        if os.path.islink(path):
            raise InvalidInput(f"{path} is a link to {os.readlink(path)}, which is not there.", key="path")
        raise NotFound(f"No such file or directory: {path}.{_neighbour(path)}")
    if not os.path.isdir(path):
        real = os.path.realpath(path)
        _check_kind(path, os.stat(real))
        return LocalTree(path, {os.path.basename(os.path.abspath(path)): (real, os.path.getsize(real))}, is_file=True)
    files = _walk(path)
    if not files:
        raise InvalidInput(f"{path} is empty; a model needs at least one file.", key="path")
    return LocalTree(path, files, is_file=False)


def _walk(root: str) -> dict[str, tuple[str, int]]:
    ignored = _ignored(root)
    real_root = os.path.realpath(root)
    found: dict[str, tuple[str, int]] = {}
    waiting: list[tuple[str, str, tuple[str, ...]]] = [("", root, (real_root,))]
    while waiting:
        prefix, folder, way = waiting.pop()
        for entry in _entries(folder):
            path = f"{prefix}{_text(entry.name, folder)}"
            if ignored and ignored.match_file(path + ("/" if entry.is_dir() else "")):
                continue
            real = _resolved(entry, real_root)
            status = os.stat(real)
            if not stat.S_ISDIR(status.st_mode):
                _check_kind(entry.path, status)
                found[path] = (real, status.st_size)
            elif real in way:
                raise InvalidInput(f"{entry.path} is a link to a folder that holds it; a model cannot contain itself.", key="path")
            else:
                waiting.append((f"{path}/", entry.path, (*way, real)))
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}.", key="path") from None


def _resolved(entry: os.DirEntry[str], real_root: str) -> str:
    if not entry.is_symlink():
        return entry.path
    real = os.path.realpath(entry.path)
    if not os.path.exists(real):
        raise InvalidInput(f"{entry.path} is a link to {os.readlink(entry.path)}, which is not there.", key="path")
    if os.path.commonpath([real, real_root]) != real_root:
        raise InvalidInput(f"{entry.path} is a link that leads out of the folder, to {real}; copy the file instead.", key="path")
    return real


def _check_kind(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise InvalidInput(f"{path} is {kind}; a model holds files only.", key="path")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{path} cannot be read: you may not.", key="path")


def _text(name: str, folder: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(f"{folder} holds a file whose name is not UTF-8: {shown}. Rename it.", key="path") from None
    return name


def _ignored(root: str) -> PathSpec[Any] | None:
    for name in IGNORE_FILES:
        path = os.path.join(root, name)
        if os.path.isfile(path):
            from pathspec import PathSpec

            with open(path, encoding="utf-8") as stream:
                return PathSpec.from_lines("gitignore", stream)
    return None


def _neighbour(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    return nearest(os.path.basename(os.path.abspath(path)), os.listdir(folder)) if os.path.isdir(folder) else ""
