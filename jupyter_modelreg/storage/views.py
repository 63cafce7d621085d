"""Views: read-only folders that hold a tree under its name, made of links into blobs; nothing that is a blob is copied."""

from __future__ import annotations

import os
from contextlib import closing

from ..errors import Corrupted
from ..folders import flush_folder
from .blobs import OpenedFiles, Staging, copy_slices, flush_tree, storing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..trees import Manifest, ManifestFile

    Places = dict[str, list[tuple[str, int, int]]]  # digest -> path, offset and length of each slice

_HERE, _EXCHANGE = -100, 2  # Source: renameat2(2): AT_FDCWD, RENAME_EXCHANGE


def view_folder(root: str, digest: str) -> str:
    """Return where the view of a manifest lies below a store's root."""
    return os.path.join(root, "views", digest)


def make_view(root: str, manifest: Manifest, paths: dict[str, str], places: Places) -> str:
    """Return the view of a manifest, made where it is not there or not whole.

    Parameters
    ----------
    paths
        Where each file lies in the view, by its path in the manifest.
    places
        Where the content of each file lies, by its digest.

    Raises
    ------
    Corrupted
        If a blob is missing or has the wrong length, or a file that is put together is not what its hash says.
    """
    target = view_folder(root, manifest.digest)
    if not _is_whole(manifest, paths, places, target):
        with Staging(root) as staging, storing("A view of the files", root, "nothing was opened"):
            scratch = os.path.join(staging.folder, "view")
            with closing(OpenedFiles()) as opened:
                written = [_place(opened, item, os.path.join(scratch, paths[item.path]), places[item.digest]) for item in manifest.files]
            if any(written):
                flush_tree(scratch)
            for folder, _, _ in os.walk(scratch):
                if folder != scratch:  # one that is to be moved must be writable
                    os.chmod(folder, 0o555)
            _publish(scratch, target, lambda: _is_whole(manifest, paths, places, target))
    return target


def _is_whole(manifest: Manifest, paths: dict[str, str], places: Places, target: str) -> bool:
    """Say whether each file of a view is its blob: a power cut may take a link, healing a blob gives it a new inode."""
    try:
        for item in manifest.files:
            seen = os.stat(os.path.join(target, paths[item.path]))
            if seen.st_size != item.size_bytes:
                return False
            blob = _whole_blob(places[item.digest], item)
            if blob and not os.path.samestat(seen, os.stat(blob)):
                return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _whole_blob(slices: list[tuple[str, int, int]], item: ManifestFile) -> str:
    """Return the path of the blob that is the file; empty where it must be put together."""
    path = slices[0][0]
    return path if os.path.basename(path) == item.digest else ""


def _place(opened: OpenedFiles, item: ManifestFile, target: str, slices: list[tuple[str, int, int]]) -> bool:
    """Put one file where it belongs; return True when it was written, not linked."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    blob = _whole_blob(slices, item)
    if not blob:
        _write(opened, item, target, slices)
        return True
    if not os.path.isfile(blob) or os.path.getsize(blob) != item.size_bytes:
        raise Corrupted(f"{item.path} is missing or damaged in the store ({item.digest[:12]}…). Register its content again to mend it.")
    try:
        os.link(blob, target)
    except OSError:  # no hard links here, too many of one blob, or another disk
        os.symlink(blob, target)
    return False


def _write(opened: OpenedFiles, item: ManifestFile, target: str, slices: list[tuple[str, int, int]]) -> None:
    handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        found = copy_slices(opened, slices, handle, item.path)
    finally:
        os.close(handle)
    if found != item.digest:
        raise Corrupted(f"{item.path} is damaged in the store ({item.digest[:12]}…). Register its content again to mend it.")


def _publish(scratch: str, target: str, is_whole: Callable[[], bool]) -> None:
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        os.rename(scratch, target)
    except OSError:
        if not os.path.lexists(target):
            raise
        if is_whole():
            return  # another process was quicker; its view is the same
        os.chmod(target, 0o755)
        _swap(scratch, target)
    os.chmod(target, 0o555)
    flush_folder(os.path.dirname(target))


def _swap(scratch: str, target: str) -> None:
    """Put a folder in the place of a damaged one; in one step where the system can, so that nobody finds nothing there."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call and call(_HERE, os.fsencode(scratch), _HERE, os.fsencode(target), _EXCHANGE) == 0:
        return
    os.rename(target, f"{scratch}.damaged")
    os.rename(scratch, target)


__all__ = ["make_view", "view_folder"]
