"""Let equal stretches of files share their disk space, where the file system can: XFS and btrfs on Linux.

A file is written anew: what another file holds already is cloned from there, the rest copied. To let the kernel merge
what was written before would be simpler, but takes longer, and btrfs keeps an extent as long as any part of it is in use.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Stretch = tuple[int, str, int, int]  # where it begins, another file that holds it too, where it begins there, its length


# Source: ioctl_ficlonerange(2), linux/fs.h
_FICLONERANGE = 0x4020940D
_REQUEST = struct.Struct("=qQQQ")
_BLOCK_BYTES = 4096
_CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.ETXTBSY, errno.EPERM)


def can_clone(folder: str) -> bool:
    """Say whether files in a folder can share their disk space."""
    import secrets

    name = os.path.join(folder, secrets.token_hex(8))
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(handle, 2 * _BLOCK_BYTES)
        return _clone(handle, 0, handle, _BLOCK_BYTES, _BLOCK_BYTES)
    finally:
        os.close(handle)
        os.unlink(name)


def copy_sharing(source: int, target: int, stretches: Iterable[Stretch]) -> int:
    """Copy an open file into an empty one, whole blocks cloned from other files; return how many bytes were.

    Nothing is compared: who asks must check what the target holds then. What lies in a file that is gone is copied.
    """
    import mmap

    cloned = at = 0
    os.ftruncate(target, os.fstat(source).st_size)  # else XFS makes room for more to come
    with mmap.mmap(source, 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as view:
        for begin, path, offset, size in stretches:
            _write(target, view, at, begin)
            is_cloned = _clone_from(path, offset, target, begin, size)
            cloned += size if is_cloned else 0
            at = begin + size if is_cloned else begin
        _write(target, view, at, len(view))
    return cloned


def whole_blocks(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Yield the whole blocks of stretches, which come in the order of the file; only they can be shared, and only if they are blocks in both."""
    for begin, path, offset, size in _joined(stretches):
        skipped = -begin % _BLOCK_BYTES
        size = (size - skipped) // _BLOCK_BYTES * _BLOCK_BYTES
        if (begin - offset) % _BLOCK_BYTES == 0 and size > 0:
            yield begin + skipped, path, offset + skipped, size


def _joined(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Join stretches that follow one another in both files."""
    last: Stretch | None = None
    for begin, path, offset, size in stretches:
        if last and last[1] == path and last[0] + last[3] == begin and last[2] + last[3] == offset:
            last = (*last[:3], last[3] + size)
            continue
        if last:
            yield last
        last = begin, path, offset, size
    if last:
        yield last


def _write(target: int, view: memoryview, at: int, end: int) -> None:
    while at < end:
        with view[at:end] as part:
            at += os.pwrite(target, part, at)


def _clone_from(path: str, offset: int, target: int, begin: int, size: int) -> bool:
    try:
        other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # removed meanwhile
        return False
    try:
        return _clone(other, offset, target, begin, size)
    finally:
        os.close(other)


def _clone(other: int, offset: int, target: int, begin: int, size: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONERANGE, _REQUEST.pack(other, offset, size, begin))
    except ImportError:  # no Unix
        return False
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


__all__ = ["can_clone", "copy_sharing", "whole_blocks"]
