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
import stat
import threading

from blake3 import blake3

from ..errors import Conflict, Corrupted, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

STEP_BYTES = 64 << 20
SMALL_BYTES = 4 << 20


def digest_path(folder: str, digest: str) -> str:
    """Return where the blob of a digest lies."""
    return os.path.join(folder, digest[:2], digest)


class Staging:
    """Files on their way into a store: written under private names now, given their final names together.

    Used as a context: whatever was not published is removed when it ends. Flushing together makes a thousand small
    files cost one flush of the disk instead of a thousand.
    """

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, "tmp", secrets.token_hex(8))
        self._waiting: list[tuple[str, str]] = []

    def __enter__(self) -> Staging:
        with translated_errors(self._folder):
            os.makedirs(self._folder, mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        for name, _target in self._waiting:
            _remove(name)
        _remove_folder(self._folder)

    def copy_file(self, source: str, advance: Callable[[int], None]) -> tuple[str, str, int]:
        """Copy a local file; return its private name, digest and length.

        Raises
        ------
        Conflict
            If it changes while it is copied.
        """
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise Conflict(f"{source} became something else than a file while it was read; nothing was registered.")
            name, digest, size = self._copy_handle(handle, before.st_size, advance)
            after = os.fstat(handle)
            if size != before.st_size or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
                _remove(name)
                raise Conflict(f"{source} changed while it was read; nothing was registered. Try again when it rests.")
            return name, digest, size
        finally:
            os.close(handle)

    def _copy_handle(self, source: int, size: int, advance: Callable[[int], None]) -> tuple[str, str, int]:
        name = self._new_name()
        with translated_errors(name):
            target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                if size <= SMALL_BYTES:
                    data = _read_all(source, size)
                    _write_all(target, data)
                    advance(len(data))
                    return name, blake3(data).hexdigest(), len(data)
                return name, *_copy_and_hash(source, target, size, name, advance)
            except BaseException:
                _remove(name)
                raise
            finally:
                os.close(target)

    def write_stream(self, stream: BinaryIO, advance: Callable[[int], None]) -> tuple[str, str, int]:
        """Write what a stream gives; return the private name, digest and length."""
        name, hasher, size = self._new_name(), blake3(), 0
        with translated_errors(name):
            target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                while data := stream.read(SMALL_BYTES):
                    _write_all(target, data)
                    hasher.update(data)
                    size += len(data)
                    advance(len(data))
            except BaseException:
                _remove(name)
                raise
            finally:
                os.close(target)
        return name, hasher.hexdigest(), size

    def keep(self, name: str, target: str) -> None:
        """Plan to give a private file its final name."""
        self._waiting.append((name, target))

    def publish(self) -> None:
        """Flush everything that waits, then give it its final names, then flush the folders."""
        with translated_errors(self._folder):
            _flush([name for name, _ in self._waiting])
            folders = set()
            for name, target in self._waiting:
                folders.update(_make_folders(os.path.dirname(target)))
                os.chmod(name, 0o444)
                _link(name, target)
            for folder in sorted(folders):
                flush_folder(folder)

    def _new_name(self) -> str:
        return os.path.join(self._folder, secrets.token_hex(8))


class translated_errors:
    """Turn an error of the file system into one clear line that names the path."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            reasons = {
                errno.ENOSPC: "the disk is full; nothing was registered",
                errno.EDQUOT: "your disk quota is used up; nothing was registered",
                errno.EFBIG: "a file is larger than this process may write; nothing was registered",
                errno.EROFS: "the file system is read-only",
                errno.EACCES: "you may not write there",
                errno.EPERM: "you may not write there",
            }
            reason = reasons.get(error.errno or 0, error.strerror or str(error))
            raise Unavailable(f"The store cannot keep {error.filename or self._path}: {reason}.") from None


def hash_file(path: str) -> str:
    """Return the BLAKE3 of a file, mapped, not copied."""
    if os.path.getsize(path) == 0:
        return str(blake3(b"").hexdigest())
    return str(blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest())


def copy_verified(source: str, target: str, digest: str, what: str) -> None:
    """Copy a blob to a user's folder under its final name only when the bytes match its digest.

    Raises
    ------
    Corrupted
        If they do not; the message names the file.
    """
    scratch = f"{target}.{secrets.token_hex(4)}.part"
    try:
        handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Corrupted(f"{what} is missing from the store ({digest[:12]}…).") from None
    try:
        copy = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            found, _ = _copy_and_hash(handle, copy, os.fstat(handle).st_size, scratch, lambda _: None)
        finally:
            os.close(copy)
        if found != digest:
            raise Corrupted(f"{what} is damaged in the store: its bytes are {found[:12]}…, not {digest[:12]}…. Nothing was written for it.")
        os.replace(scratch, target)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        os.close(handle)
        _remove(scratch)


def flush_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy_and_hash(source: int, target: int, size: int, name: str, advance: Callable[[int], None]) -> tuple[str, int]:
    """Copy in steps while a thread hashes the pages that were written."""
    hasher = blake3()
    done = 0
    worker: threading.Thread | None = None
    while True:
        copied = _copy_step(source, target, done)
        if worker:
            worker.join()
        if not copied:
            break
        worker = threading.Thread(target=_hash_range, args=(hasher, target, done, copied))
        worker.start()
        done += copied
        advance(copied)
    return str(hasher.hexdigest()), done


def _copy_step(source: int, target: int, offset: int) -> int:
    """Copy one step in the kernel; return the bytes copied, 0 at the end of the file."""
    done = 0
    while done < STEP_BYTES:
        try:
            count = os.copy_file_range(source, target, STEP_BYTES - done, offset + done, offset + done)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # Two file systems that cannot copy between them in the kernel.
            data = os.pread(source, SMALL_BYTES, offset + done)
            count = os.pwrite(target, data, offset + done) if data else 0
        if count == 0:
            break
        done += count
    return done


def _hash_range(hasher: blake3, handle: int, offset: int, size: int) -> None:
    import mmap

    # blake3 releases the interpreter's lock, so the next step is copied meanwhile.
    with mmap.mmap(handle, size, access=mmap.ACCESS_READ, offset=offset) as view:
        hasher.update(view)


def _read_all(handle: int, size: int) -> bytes:
    parts = []
    while data := os.read(handle, size + 1):
        parts.append(data)
    return b"".join(parts)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _flush(names: list[str]) -> None:
    """Flush files; from a handful on, one flush of the whole file system is cheaper than one for each."""
    if len(names) > 8 and _sync_file_system(names[0]):
        return
    for name in names:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_file_system(name: str) -> bool:
    """Call syncfs(2); False where the system has none."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if call(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
        return True
    finally:
        os.close(handle)


def _make_folders(folder: str) -> list[str]:
    """Make a folder and its parents; return those whose names must be flushed."""
    touched = [folder]
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
        touched.append(folder)
    os.makedirs(touched[0], mode=0o700, exist_ok=True)
    return touched


def _link(name: str, target: str) -> None:
    """Give a file its final name; a blob that is there already is the same content and is kept."""
    try:
        os.link(name, target)
    except FileExistsError:
        if os.path.getsize(target) != os.path.getsize(name):
            os.replace(name, target)  # a damaged blob is healed by registering its content again
            return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        os.replace(name, target)  # no hard links here; a rename is atomic too
        return
    os.unlink(name)


def _remove(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)


def _remove_folder(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
