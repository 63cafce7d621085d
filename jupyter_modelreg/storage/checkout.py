"""Writing into a person's folder: never through a link, never over a file, and all or nothing."""

from __future__ import annotations

import contextlib
import errno
import os

from ..errors import Conflict, Unavailable
from .blobs import OpenedFiles, copy_verified, hash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..trees import ManifestFile

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Checkout:
    """A folder that receives files. Used as a context: after an error it is as it was before.

    Folders are opened one by one, each from the one above it, so that a link which somebody puts in the way meanwhile
    is met and not followed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.abspath(folder)
        self._made: list[str] = []  # folders above and including the target
        self._written: list[str] = []  # paths below it; a folder's ends with /
        self._sources, self._parent = OpenedFiles(), ("", -1)  # the folder of the last file stays open

    def __enter__(self) -> Checkout:
        try:
            with self._translated(self._folder):
                self._make_above(self._folder)
                self._handle = os.open(self._folder, _FOLDER)
        except BaseException:
            self._undo()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._undo()
        finally:
            self._sources.close()
            self._close_parent()
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(self._handle)

    def has(self, path: str, item: ManifestFile) -> bool:
        """Say whether a file is there with the same content.

        Raises
        ------
        Conflict
            If anything else is in its way.
        """
        return not self._made and self._is_there(path, item)  # in a folder that was not there, nothing is

    def _is_there(self, path: str, item: ManifestFile) -> bool:
        place = self._folder
        for part in path.split("/"):
            if place != self._folder and os.path.lexists(place) and not os.path.isdir(place):
                raise self._in_the_way(place)
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise self._is_link(place)
        if not os.path.lexists(place):
            return False
        with self._translated(place):
            if not os.path.isfile(place) or os.path.getsize(place) != item.size_bytes or hash_file(place) != item.digest:
                raise self._in_the_way(place)
        return True

    def write(self, slices: list[tuple[str, int, int]], path: str, item: ManifestFile, *, is_trusted: bool = False) -> None:
        """Copy slices of files on this machine to a path that `has` said is free; with `is_trusted` a large file's length is enough.

        Raises
        ------
        Corrupted
            If together they do not match the file's digest.
        Conflict
            If something came into the way meanwhile.
        Unavailable
            If the disk is full or may not be written.
        """
        place = os.path.join(self._folder, path)
        with self._translated(place):
            above, _, name = path.rpartition("/")
            try:
                copy_verified(self._sources, slices, self._open_parent(above), name, item.digest, item.path, is_trusted=is_trusted)
                self._written.append(path)
            except FileExistsError:
                self._check_twin(path)
                if not self._is_there(path, item):  # else another download of the same was quicker
                    raise

    def _check_twin(self, path: str) -> None:
        """Refuse what this file system takes for a file that was written a moment ago."""
        twin = next((other for other in self._written if _folded(other) == _folded(path)), None)
        if twin:
            raise Conflict(
                f'"{twin}" and "{path}" are one name on the file system of {self._folder}; nothing was downloaded. '
                "Choose a folder on a file system that tells them apart."
            )

    def _open_parent(self, path: str) -> int:
        """Return a descriptor of a folder below this one, made where it is missing."""
        if not path:
            return self._handle
        if path != self._parent[0]:
            self._close_parent()
            self._parent = (path, self._make_way(path))
        return self._parent[1]

    def _make_way(self, path: str) -> int:
        done, handle = "", os.dup(self._handle)
        try:
            for part in path.split("/"):
                done += f"{part}/"
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
                    self._written.append(done)
                inner = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _close_parent(self) -> None:
        if self._parent[0]:
            os.close(self._parent[1])
        self._parent = ("", -1)

    def _make_above(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        self._make_above(os.path.dirname(folder))
        os.mkdir(folder)
        self._made.append(folder)

    def _undo(self) -> None:
        """Remove what was written, as far as that can be done."""
        for path in reversed(self._written):
            above, _, name = path.rstrip("/").rpartition("/")
            with contextlib.suppress(OSError):
                (os.rmdir if path.endswith("/") else os.unlink)(name, dir_fd=self._open_parent(above))
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    @contextlib.contextmanager
    def _translated(self, place: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and os.path.islink(place)):
                raise self._is_link(place) from None
            if error.errno in (errno.EEXIST, errno.ENOTDIR):
                raise self._in_the_way(place) from None
            raise Unavailable(f"{place} cannot be written: {error.strerror}; nothing was downloaded.") from None

    def _in_the_way(self, place: str) -> Conflict:
        return Conflict(f"{place} exists with other content; nothing was overwritten. Remove it or choose another folder.")

    def _is_link(self, place: str) -> Conflict:
        return Conflict(f"{place} is a link; nothing is written through links. Remove it or choose another folder.")


def _folded(path: str) -> str:
    """Return a path as file systems compare it that do not tell cases, or spellings of an accent, apart."""
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
