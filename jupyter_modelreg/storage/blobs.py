"""Bytes under their hash on a local disk.

A blob is written under a private name, hashed from the pages that were written, flushed, and only then linked to its
final name, so that a final name never holds half a file and the hash names what was kept, not what was read.
Source of the order: this project's fault studies; leaving out any flush lost every blob in a simulated power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time

from blake3 import blake3

from ..errors import Conflict, Corrupted, Unavailable
from ..folders import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Written = tuple[str, str, int]  # private name, digest, length

STEP_BYTES = 8 << 20  # what is hashed is still in the processor's cache from being copied
SMALL_BYTES = 4 << 20
SETTLED_SECONDS = 600.0  # after which every kernel has written a changed folder by itself
_FUSE = 0x65735546  # Source: statfs(2), FUSE_SUPER_MAGIC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def digest_path(folder: str, digest: str) -> str:
    """Return where the blob of a digest lies."""
    return os.path.join(folder, digest[:2], digest)


class Staging:
    """Files on their way into a store: written under private names now, given their final names together.

    Used as a context: whatever was not published is removed when it ends. Flushing together makes a thousand small
    files cost one flush of the disk instead of a thousand.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.folder = os.path.join(root, "tmp", secrets.token_hex(8))
        self._waiting: list[tuple[str, str]] = []

    def __enter__(self) -> Staging:
        with storing("The model's files", self._root):
            make_folder(os.path.dirname(self.folder))
            os.mkdir(self.folder, 0o700)  # not flushed: it need not survive anything
        return self

    def __exit__(self, *_: object) -> None:
        remove_folder(self.folder)

    def copy_file(self, source: int, what: str, advance: Callable[[int], None]) -> Written:
        """Copy an open regular file; return its private name, digest and length. Messages call it `what`.

        Raises
        ------
        Conflict
            If it changes while it is copied.
        """
        before, name = os.fstat(source), self._new_name()
        target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            digest, size = copy_and_hash(source, target, before.st_size, advance)
        finally:
            os.close(target)
        after = os.fstat(source)
        if size != before.st_size or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
            raise Conflict(f"{what} changed while it was read; nothing was registered. Try again when it rests.")
        return name, digest, size

    def write_stream(self, stream: BinaryIO, advance: Callable[[int], None]) -> Written:
        """Write what a stream gives; return the private name, digest and length."""
        name, hasher, size = self._new_name(), blake3(), 0
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            while data := stream.read(SMALL_BYTES):
                _write_all(target, data)
                hasher.update(data)
                size += len(data)
                advance(len(data))
        finally:
            os.close(target)
        return name, hasher.hexdigest(), size

    def keep(self, name: str, target: str) -> None:
        """Plan to give a private file its final name."""
        self._waiting.append((name, target))

    def publish(self) -> None:
        """Flush everything that waits, then give it its final names, then flush the folders.

        What a final name holds already is checked, not written again; a damaged file is replaced.
        """
        fresh = [(name, target) for name, target in self._waiting if not _is_kept(target)]
        folders = {folder for _, target in self._waiting for folder in self._way_to(target)}
        for name, target in fresh:
            make_folder(os.path.dirname(target))
            os.chmod(name, 0o444)
        _flush([name for name, _ in fresh])
        for name, target in fresh:
            _give_name(name, target)
        # Also where nothing is new: another process may have made a name a moment ago and not flushed it yet.
        _flush(sorted(folder for folder in folders if os.stat(folder).st_mtime > time.time() - SETTLED_SECONDS))

    def _way_to(self, target: str) -> list[str]:
        folder = os.path.dirname(target)
        return [folder, os.path.dirname(folder), self._root, os.path.dirname(self._root)]

    def _new_name(self) -> str:
        return os.path.join(self.folder, secrets.token_hex(8))


class storing:
    """Turn an error of the file system into one clear line: what, where, why, and what would be right."""

    def __init__(self, what: str, root: str, then: str = "nothing was registered") -> None:
        self._what, self._root, self._then = what, root, then

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        number = _error_number(error)
        if number is not None:
            reason = _REASONS.get(number, os.strerror(number))
            advice = "Set MODELREG_STORE to a folder with room that you may write."
            raise Unavailable(f"{self._what} cannot be kept in {self._root}: {reason}; {self._then}. {advice}") from None


def _error_number(error: BaseException | None) -> int | None:
    """Return the system's number of an error; libraries in Rust, such as safetensors, have it in their text only."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    digits = str(error).rpartition("(os error ")[2].rstrip(")") if isinstance(error, Exception) and "(os error " in str(error) else ""
    return int(digits) if digits.isdigit() else None


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "it is larger than this process may write",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
}


def hash_file(path: str) -> str:
    """Return the BLAKE3 of a file, mapped, not copied."""
    if os.path.getsize(path) == 0:
        return str(blake3(b"").hexdigest())
    return str(blake3(max_threads=_threads).update_mmap(path).hexdigest())


_threads = blake3.AUTO


def _use_own_threads() -> None:
    """Hash with new threads in a forked process: those of blake3's shared pool stayed behind, and waiting for them never ends."""
    global _threads
    _threads = os.cpu_count() or 1


os.register_at_fork(after_in_child=_use_own_threads)


def copy_verified(blob: str, folder: int, name: str, digest: str, what: str) -> None:
    """Copy a blob to `name` in an open folder; it gets that name only when the bytes match the digest.

    Raises
    ------
    Corrupted
        If they do not; the message names the file.
    FileExistsError
        If something has the name.
    """
    scratch = f".{secrets.token_hex(8)}.part"
    try:
        source = os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Corrupted(f"{what} is missing from the store ({digest[:12]}…).") from None
    try:
        copy = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            found, _ = copy_and_hash(source, copy, os.fstat(source).st_size, lambda _: None)
        finally:
            os.close(copy)
        if found != digest:
            raise Corrupted(f"{what} is damaged in the store: its bytes are {found[:12]}…, not {digest[:12]}….")
        _name_in(folder, scratch, name)
    finally:
        os.close(source)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch, dir_fd=folder)


def copy_and_hash(source: int, target: int, size: int, advance: Callable[[int], None]) -> tuple[str, int]:
    """Copy from one open file to another; return the digest of what was written and its length.

    `size` is what is expected; a source that goes on behind it is not read to its end.
    """
    if size > SMALL_BYTES:
        return _copy_and_hash_large(source, target, size, advance)
    hasher, done = blake3(), 0
    while done <= size and (data := os.read(source, size - done + 1)):
        _write_all(target, data)
        hasher.update(data)
        done += len(data)
        advance(len(data))
    return hasher.hexdigest(), done


def _copy_and_hash_large(source: int, target: int, size: int, advance: Callable[[int], None]) -> tuple[str, int]:
    """Copy in steps while a thread hashes the pages that were written."""
    from concurrent.futures import ThreadPoolExecutor

    hasher, done = blake3(), 0
    with ThreadPoolExecutor(1) as thread:
        hashing = None
        while done <= size and (copied := _copy_step(source, target, done)):
            if hashing:
                hashing.result()
            hashing = thread.submit(_hash_range, hasher, target, done, copied)
            done += copied
            advance(copied)
        if hashing:
            hashing.result()
    return hasher.hexdigest(), done


def _copy_step(source: int, target: int, offset: int) -> int:
    """Copy one step, in the kernel where it can; return the bytes copied, 0 at the end of the file."""
    done = 0
    while done < STEP_BYTES:
        try:
            count = _copy_in_kernel(source, target, STEP_BYTES - done, offset + done)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            data = os.pread(source, SMALL_BYTES, offset + done)
            count = os.pwrite(target, data, offset + done) if data else 0
        if count == 0:
            break
        done += count
    return done


def _copy_in_kernel(source: int, target: int, count: int, offset: int) -> int:
    if not hasattr(os, "copy_file_range"):
        raise OSError(errno.ENOSYS, "no copy_file_range here")
    return os.copy_file_range(source, target, count, offset, offset)


def _hash_range(hasher: blake3, handle: int, offset: int, size: int) -> None:
    import mmap

    _start_writing(handle, offset, size)
    # blake3 releases the interpreter's lock, so the next step is copied meanwhile.
    with mmap.mmap(handle, size, access=mmap.ACCESS_READ, offset=offset) as view:
        hasher.update(view)


def _start_writing(handle: int, offset: int, size: int) -> None:
    """Ask the kernel to write pages while we hash, so that the flush at the end has less to wait for."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call:  # Linux only; what it answers is of no matter, since the flush is what counts
        call(handle, ctypes.c_int64(offset), ctypes.c_int64(size), 2)  # SYNC_FILE_RANGE_WRITE


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _flush(names: list[str]) -> None:
    """Flush files or folders; from a handful on, one flush of the whole file system is cheaper than one for each."""
    if len(names) > 8 and _sync_file_system(names[0]):
        return
    for name in names:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_file_system(name: str) -> bool:
    """Call syncfs(2); False where the system has none, or the file system is FUSE, whose server is not told of it."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    call, status = getattr(library, "syncfs", None), (ctypes.c_long * 32)()  # of which statfs(2) fills 15
    if call is None or library.statfs(os.fsencode(name), status) or status[0] == _FUSE:
        return False
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if call(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
        return True
    finally:
        os.close(handle)


def _is_kept(target: str) -> bool:
    """Say whether a final name holds what it says; its age begins anew, so that no collection takes it meanwhile."""
    try:
        is_whole = hash_file(target) == os.path.basename(target)
        if is_whole:
            with contextlib.suppress(PermissionError):  # another user's blob, in a shared store
                os.utime(target)
    except FileNotFoundError:
        return False
    return is_whole


def _give_name(name: str, target: str) -> None:
    """Give a flushed file its final name."""
    if os.path.lexists(target) and not _is_kept(target):
        os.replace(name, target)  # a damaged blob is healed by registering its content again
        return
    try:
        os.link(name, target)
    except FileExistsError:  # another process was quicker with the same content
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.replace(name, target)  # no hard links here; a rename is atomic too


def _name_in(folder: int, scratch: str, name: str) -> None:
    """Give a file of an open folder its name, unless something has it."""
    try:
        os.link(scratch, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)


def remove_folder(folder: str) -> None:
    """Remove a folder and all in it, read-only folders too; what is gone already is no error."""
    import shutil

    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    with contextlib.suppress(OSError):  # rmtree lets the error of a close through
        shutil.rmtree(folder, ignore_errors=True)


__all__ = ["Staging", "copy_verified", "digest_path", "hash_file", "remove_folder", "storing"]
