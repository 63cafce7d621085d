"""A file or folder on this machine as a tree."""

from __future__ import annotations

import errno
import os
import stat
from functools import cached_property
from typing import BinaryIO

from ..errors import Conflict, InvalidInput, NotFound, Unavailable, nearest
from ..references import LocalPath
from ..trees import TreeFile, no_such_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pathspec import PathSpec

    from . import Places

    Found = tuple[str, os.stat_result]  # where a file lies, links resolved, and what it was when it was listed

_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
IGNORE_FILES = (".amlignore", ".gitignore")  # Source: Azure ML: the first one found, in the root of the path only.


class LocalTree:
    """Files below a path, listed once. Links that stay inside are followed."""

    def __init__(self, root: str, files: dict[str, Found], *, is_file: bool, place: str) -> None:
        self.root = root
        self.is_file = is_file
        self._files = files
        self._place = place  # the file, or the folder that nothing may lead out of; links resolved

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return list(self._listed)

    @cached_property
    def _listed(self) -> list[TreeFile]:
        return [TreeFile(path=path, size_bytes=status.st_size) for path, (_, status) in sorted(self._files.items())]

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading, if it is still the one that was listed.

        Raises
        ------
        Conflict
            If it was changed, replaced or removed since.
        Unavailable
            If the disk does not give it.
        """
        local, listed = self._find(path)
        try:
            # A link or pipe that took the file's place meanwhile is neither followed nor waited for.
            handle = os.open(local, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise _unreadable(local) from None
        except OSError as error:
            if error.errno in _REPLACED:
                raise Conflict(f"{local} is not the file it was a moment ago; try again when it rests.") from None
            raise Unavailable(f"{local} cannot be read: {error.strerror}.") from None
        if _identity(os.fstat(handle)) != _identity(listed) or not self._is_inside(handle):
            os.close(handle)
            raise Conflict(f"{local} changed while it was read; try again when it rests.")
        return os.fdopen(handle, "rb")

    def local_path(self, path: str) -> str:
        """Return where one file lies."""
        return self._find(path)[0]

    def _is_inside(self, handle: int) -> bool:
        """Say whether an open file lies in the tree: a folder on the way may have become a link before it was listed."""
        try:
            real = os.readlink(f"/proc/self/fd/{handle}")
        except OSError:  # a system without /proc; there the identity must do
            return True
        return not real.startswith("/") or is_below(real, self._place)

    def _find(self, path: str) -> Found:
        if path not in self._files:
            raise no_such_file(self, path)
        return self._files[path]


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
    """Open a file or folder; see :meth:`LocalSource.open`.

    Raises
    ------
    Conflict
        If it changes while it is listed.
    """
    if not os.path.exists(path):
        if os.path.islink(path):
            raise _broken_link(path)
        raise NotFound(f"No such file or directory: {path}.{_neighbour(path)}")
    root = _text(os.path.basename(os.path.abspath(path)), os.path.dirname(path))
    if not root:
        raise InvalidInput(f"{path} is the root of the file system; name the folder that holds the model.", key="path")
    try:
        return _open_folder(path, root) if os.path.isdir(path) else _open_file(path, root)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Conflict(f"{error.filename} went away while {path} was read; try again when it rests.") from None
    except PermissionError as error:
        raise _unreadable(str(error.filename)) from None
    except OSError as error:
        raise Unavailable(f"{error.filename} cannot be read: {error.strerror}.") from None


def _open_file(path: str, root: str) -> LocalTree:
    real = os.path.realpath(path)
    status = os.stat(real)
    _check_kind(path, status)
    return LocalTree(root, {root: (real, status)}, is_file=True, place=real)


def _open_folder(path: str, root: str) -> LocalTree:
    real = os.path.realpath(path)
    return LocalTree(root, _walk(path, real), is_file=False, place=real)


def _walk(root: str, real_root: str) -> dict[str, Found]:
    ignored = _ignored(root)
    found: dict[str, Found] = {}
    waiting: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [("", root, (_place(os.stat(root)),))]
    is_anything_ignored = False
    while waiting:
        prefix, folder, way = waiting.pop()
        for entry in _entries(folder):
            path = f"{prefix}{_text(entry.name, folder)}"
            if ignored and ignored.match_file(f"{path}/" if os.path.isdir(entry.path) else path):
                is_anything_ignored = True
                continue
            real = _resolved(entry, real_root)
            status = os.stat(real)
            if not stat.S_ISDIR(status.st_mode):
                _check_kind(entry.path, status)
                found[path] = (real, status)
            elif _place(status) in way:
                raise InvalidInput(f"{entry.path} is a link to a folder that holds it; a model cannot contain itself.", key="path")
            else:
                waiting.append((f"{path}/", entry.path, (*way, _place(status))))
    if not found:
        why = " but for what its ignore file leaves out" if is_anything_ignored else ""
        raise InvalidInput(f"{root} is empty{why}; a model needs at least one file.", key="path")
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _resolved(entry: os.DirEntry[str], real_root: str) -> str:
    if not entry.is_symlink():
        return entry.path
    real = os.path.realpath(entry.path)
    if not os.path.exists(real) and os.path.islink(entry.path):
        raise _broken_link(entry.path)
    if not is_below(real, real_root):
        raise InvalidInput(f"{entry.path} is a link that leads out of the folder, to {real}; copy the file instead.", key="path")
    return real


def is_below(real: str, real_root: str) -> bool:
    """Say whether a path is a folder or lies in it; both without links."""
    return real == real_root or real.startswith(os.path.join(real_root, ""))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _place(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _check_kind(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise InvalidInput(f"{path} is {kind}; a model holds files only.", key="path")
    if not os.access(path, os.R_OK):
        raise _unreadable(path)


def _unreadable(path: str) -> InvalidInput:
    return InvalidInput(f"{path} cannot be read: you may not. Ask its owner, or change its mode.", key="path")


def _broken_link(path: str) -> InvalidInput:
    return InvalidInput(f"{path} is a link to {os.readlink(path)}, which is not there.", key="path")


def _text(name: str, folder: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(f"{folder or '.'} holds a file whose name is not UTF-8: {shown}. Rename it.", key="path") from None
    return name


def _ignored(root: str) -> PathSpec[Any] | None:
    for name in IGNORE_FILES:
        path = os.path.join(root, name)
        if os.path.isfile(path):
            return _read_patterns(path)
    return None


def _read_patterns(path: str) -> PathSpec[Any]:
    from pathspec import GitIgnoreSpec

    try:
        with open(path, encoding="utf-8") as stream:
            return GitIgnoreSpec.from_lines(stream)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", key="path") from None
    except ValueError as error:  # no UTF-8, or no pattern
        raise InvalidInput(f"{path} holds no patterns as git knows them: {error}.", key="path") from None


def _neighbour(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        return nearest(os.path.basename(os.path.abspath(path)), os.listdir(folder))
    except OSError:
        return ""
