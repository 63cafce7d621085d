"""Bytes under their hash on a local disk.

A blob is written under a private name, hashed from the pages that were written, flushed, and only then linked to its
final name, so that a final name never holds half a file and the hash names what was kept, not what was read.
Source of the order: this project's fault studies; leaving out any flush lost every blob in a simulated power cut.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import time
from collections import deque

from blake3 import blake3

from ..errors import Conflict, Corrupted, InvalidInput, Unavailable, system_reason
from ..folders import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import BinaryIO, Protocol

    from _typeshed import ReadableBuffer

    from .extents import Stretch

    Written = tuple[str, str, int]  # private name, digest, length

    class Hasher(Protocol):
        """Something that is fed with a file's bytes, in order, until it is over."""

        is_over: bool

        def update(self, data: ReadableBuffer, /) -> object: ...


STEP_BYTES = 8 << 20
HOLE_BYTES = 2 << 20  # a smaller hole is written as zeros
ROOM_BYTES = 1 << 20
SMALL_BYTES = 4 << 20
PACK_STEP_BYTES = 2 << 20
STEPS_AHEAD = 4  # so that on a busy machine neither thread waits for each step of the other
SETTLED_SECONDS = 600.0  # after which every kernel has written a changed folder by itself
_FUSE = 0x65735546  # Source: statfs(2), FUSE_SUPER_MAGIC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def digest_path(folder: str, digest: str) -> str:
    """Return where the blob of a digest lies."""
    return f"{folder}/{digest[:2]}/{digest}"  # a thousand times in a registration; os.path.join takes thrice as long


class Staging:
    """Files on their way into a store: written under private names now, given their final names together.

    Used as a context: whatever was not published is removed when it ends. Flushing together makes a thousand small
    files cost one flush of the disk instead of a thousand.
    """

    def __init__(self, root: str, *, flushes: bool = True) -> None:
        self._root, self._flushes = root, flushes
        self.folder = os.path.join(root, "tmp", f"{secrets.token_hex(8)}-{os.getpid()}")
        self._waiting: list[tuple[str, str]] = []
        self._relied: set[str] = set()

    def __enter__(self) -> Staging:
        with storing("The model's files", self._root):
            make_folder(os.path.dirname(self.folder))
            os.mkdir(self.folder, 0o700)  # not flushed: it need not survive anything
        return self

    def __exit__(self, *_: object) -> None:
        remove_folder(self.folder)

    def copy_file(self, source: int, what: str, advance: Callable[[int], None], *, beside: Hasher | None = None) -> Written:
        """Copy an open regular file; return its private name, digest and length. Messages call it `what`.

        `beside` is fed with the same bytes.

        Raises
        ------
        Conflict
            If it changes while it is copied.
        """
        before, name = os.fstat(source), self._new_name()
        target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            digest, size = copy_and_hash(source, target, before.st_size, advance, beside=beside, is_durable=self._flushes)
        finally:
            os.close(target)
        _check_rested(before, os.fstat(source), size, what)
        return name, digest, size

    def link_file(self, source: int, local: str, advance: Callable[[int], None], *, beside: Hasher | None = None) -> Written:
        """Give an open regular file a private name; return it with the file's digest and length. Nothing is copied.

        Raises
        ------
        Conflict
            If it changes while it is hashed, or its name leads elsewhere meanwhile.
        InvalidInput
            If it lies on another disk.
        """
        before, name = os.fstat(source), self._new_name()
        try:
            os.link(local, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (*_NO_LINKS, errno.EXDEV):
                raise
            raise InvalidInput(f"{local} cannot be linked into {self._root}: {error.strerror}. Copy it: leave out --transfer.") from None
        digest = hash_file(name) if beside is None else hash_beside(source, before.st_size, beside)
        after = os.stat(name)
        _check_rested(before, after, after.st_size if os.path.samestat(before, after) else -1, local)
        advance(before.st_size)
        return name, digest, before.st_size

    def copy_ranges(self, source: int, ranges: list[tuple[int, int]]) -> tuple[str, str]:
        """Copy stretches of an open file, offset and length each, into one private file; return its name and digest."""
        name, hasher = self._new_name(), blake3()
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            for offset, size in ranges:
                data = os.pread(source, size, offset)
                _write_all(target, data)
                hasher.update(data)
        finally:
            os.close(target)
        return name, hasher.hexdigest()

    def share(self, name: str, digest: str, stretches: list[Stretch]) -> str:
        """Return a private file that holds the same as another but shares disk space with other files, or that other where it cannot."""
        from .extents import copy_sharing

        shared = self._new_name()
        with open(name, "rb") as source:
            target = os.open(shared, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                cloned = copy_sharing(source.fileno(), target, stretches)
            finally:
                os.close(target)
        # What was cloned was not read: the other file may be damaged.
        kept, dropped = (shared, name) if cloned and hash_file(shared) == digest else (name, shared)
        os.unlink(dropped)
        return kept

    @contextlib.contextmanager
    def packing(self) -> Iterator[Pack]:
        """Give a blob to which small files are added one after another; its name and digest are known when the context ends."""
        pack = Pack(self._new_name(), is_durable=self._flushes)
        try:
            yield pack
        finally:
            pack.close()

    def write_stream(self, stream: BinaryIO, advance: Callable[[int], None], *, beside: Hasher | None = None) -> Written:
        """Write what a stream gives; return the private name, digest and length. `beside` is fed with the same bytes."""
        name, hasher, size = self._new_name(), blake3(), 0
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            while data := stream.read(SMALL_BYTES):
                _write_all(target, data)
                hasher.update(data)
                if beside:
                    beside.update(data)
                size += len(data)
                advance(len(data))
        finally:
            os.close(target)
        return name, hasher.hexdigest(), size

    def keep(self, name: str, target: str) -> None:
        """Plan to give a private file its final name."""
        self._waiting.append((name, target))

    def rely(self, targets: Iterable[str]) -> None:
        """Flush the names of files that are there already, too: who made them may not have done so yet."""
        self._relied.update(targets)

    def publish(self, is_sound: Callable[[str], bool] | None = None) -> None:
        """Flush everything that waits, then give it its final names, then flush the folders.

        What a final name holds already is checked by `is_sound`, not written again; a damaged file is replaced.
        """
        is_kept = is_sound or _is_kept
        fresh = [(name, target) for name, target in dict(self._waiting).items() if not is_kept(target)]
        parents = {os.path.dirname(target) for _, target in fresh}
        made = [path for path in parents if not os.path.isdir(path)]
        for path in (*{os.path.dirname(path) for path in made}, *made):  # flushed below, all at once
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        for name, _ in fresh:
            os.chmod(name, 0o444)
        if self._flushes:
            _flush([name for name, _ in fresh])
        for name, target in fresh:
            _give_name(name, target, is_kept)
        if self._flushes:
            self._flush_folders()
        self._waiting, self._relied = [], set()

    def _flush_folders(self) -> None:
        """Flush the names, also where nothing is new: another process may have made one a moment ago and not flushed it yet."""
        parents = {os.path.dirname(target) for target in (*self._relied, *(target for _, target in self._waiting))}
        folders = {folder for parent in parents for folder in self._way_to(parent)}
        horizon = time.time() - SETTLED_SECONDS
        _flush(sorted(folder for folder in folders if os.stat(folder).st_mtime > horizon))

    def _way_to(self, folder: str) -> list[str]:
        return [folder, os.path.dirname(folder), self._root, os.path.dirname(self._root)]

    def _new_name(self) -> str:
        return os.path.join(self.folder, secrets.token_hex(8))


class Pack:
    """One blob of many small files. A thread hashes and writes while the next are read."""

    def __init__(self, name: str, *, is_durable: bool) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.name, self.digest, self.size_bytes = name, "", 0
        self._is_durable = is_durable
        self._target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        self._hasher = blake3()
        self._rooms = deque(memoryview(bytearray(PACK_STEP_BYTES)) for _ in range(STEPS_AHEAD))  # the first is read into
        self._runs: list[tuple[int, int]] = []
        self._thread = ThreadPoolExecutor(1)
        self._writing: deque[Future[None]] = deque()

    def room(self) -> memoryview:
        """Give the memory that the next files are to be read into."""
        return self._rooms[0]

    def add(self, begin: int, end: int) -> int:
        """Add what stands in the room from here to there; return where in the blob it will lie."""
        offset = self.size_bytes
        self.size_bytes += end - begin
        if self._runs and self._runs[-1][1] == begin:
            begin = self._runs.pop()[0]
        self._runs.append((begin, end))
        return offset

    def write(self) -> None:
        """Write what was added, and go on with another room."""
        self._writing.append(self._thread.submit(self._write, [self._rooms[0][begin:end] for begin, end in self._runs]))
        self._runs = []
        self._rooms.rotate(-1)
        if len(self._writing) == len(self._rooms):
            self._writing.popleft().result()

    def close(self) -> None:
        """End the blob; raises what writing raised."""
        try:
            for writing in self._writing:
                writing.result()
        finally:
            self._thread.shutdown()
            os.close(self._target)
        self.digest = self._hasher.hexdigest()

    def _write(self, runs: list[memoryview]) -> None:
        for run in runs:
            _write_all(self._target, run)
            self._hasher.update(run)
        if self._is_durable:
            _start_writing(self._target, 0, 0)


def is_at_work(name: str) -> bool:
    """Say whether the process that made a private folder may still use it. One on another machine is not known; its folder is kept by its age."""
    try:
        os.kill(int(name.rpartition("-")[2]), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


class storing:
    """Turn an error of the file system into one clear line: what, where, why, and what would be right."""

    def __init__(self, what: str, root: str, then: str = "nothing was registered") -> None:
        self._what, self._root, self._then = what, root, then

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        number = _error_number(error)
        if number is not None:
            advice = "Set MODELREG_STORE to a folder with room that you may write."
            raise Unavailable(f"{self._what} cannot be kept in {self._root}: {system_reason(number)}; {self._then}. {advice}") from None


def _error_number(error: BaseException | None) -> int | None:
    """Return the system's number of an error; libraries in Rust, such as safetensors, have it in their text only."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    digits = str(error).rpartition("(os error ")[2].rstrip(")") if isinstance(error, Exception) and "(os error " in str(error) else ""
    return int(digits) if digits.isdigit() else None


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


def hash_beside(handle: int, size: int, beside: Hasher) -> str:
    """Return the BLAKE3 of an open file, and feed another hasher with the same bytes."""
    import mmap

    hasher, done = blake3(max_threads=_threads), 0
    while done < size <= os.fstat(handle).st_size:  # one that shrinks is told by its length
        step = size - done if beside.is_over else min(STEP_BYTES, size - done)
        with mmap.mmap(handle, step, access=mmap.ACCESS_READ, offset=done) as view:
            hasher.update(view)
            beside.update(view)
        done += step
    return str(hasher.hexdigest())


def _check_rested(before: os.stat_result, after: os.stat_result, size: int, what: str) -> None:
    if size != before.st_size or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
        raise Conflict(f"{what} changed while it was read; nothing was registered. Try again when it rests.")


class OpenedFiles:
    """Files opened for reading; the last one stays open, since many slices lie in one pack."""

    def __init__(self) -> None:
        self._path, self._handle = "", -1

    def open(self, path: str) -> int:
        """Return the descriptor of a file, which is good until another is opened."""
        if path != self._path:
            self.close()
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        return self._handle

    def close(self) -> None:
        """Close what is open."""
        if self._path:
            self._path = ""
            os.close(self._handle)


def copy_verified(
    opened: OpenedFiles, slices: list[tuple[str, int, int]], folder: int, name: str, digest: str, what: str, *, is_trusted: bool = False
) -> None:
    """Copy slices of files, path, offset and length each, to `name` in an open folder; it gets that name only when the bytes match the digest.

    With `is_trusted` a large file that is one whole blob need only have the right length.

    Raises
    ------
    Corrupted
        If they do not; the message names the file.
    FileExistsError
        If something has the name.
    """
    scratch = f".{secrets.token_hex(8)}.part"
    try:
        copy = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            found = digest if is_trusted and _copy_whole(opened, slices, copy) else copy_slices(opened, slices, copy, what)
        finally:
            os.close(copy)
        if found != digest:
            raise Corrupted(f"{what} is damaged in the store: its bytes are {found[:12]}…, not {digest[:12]}….")
        _name_in(folder, scratch, name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch, dir_fd=folder)


def _copy_whole(opened: OpenedFiles, slices: list[tuple[str, int, int]], target: int) -> bool:
    """Copy a large blob without reading what was written; say whether it is one and was as long as it should be."""
    path, _, size = slices[0]
    if len(slices) > 1 or size <= SMALL_BYTES or os.path.getsize(path) != size:
        return False
    return sum(copied for _, copied, _ in _copied_steps(opened.open(path), target, size)) == size


def copy_slices(opened: OpenedFiles, slices: list[tuple[str, int, int]], target: int, what: str) -> str:
    """Copy slices of files, one after another, to an open file; return the digest of what was written.

    Raises
    ------
    Corrupted
        If one of the files is missing.
    """
    hasher, at = blake3(), 0
    for path, offset, size in slices:
        try:
            source = opened.open(path)
        except FileNotFoundError:
            raise Corrupted(f"{what} is missing from the store ({os.path.basename(path)[:12]}…).") from None
        if len(slices) == 1 and size > SMALL_BYTES and os.fstat(source).st_size == size:
            return copy_and_hash(source, target, size, lambda _: None)[0]
        at += _copy_slice(source, target, offset, at, size, hasher)
    return str(hasher.hexdigest())


def _copy_slice(source: int, target: int, offset: int, at: int, size: int, hasher: blake3) -> int:
    done = 0
    while done < size and (data := os.pread(source, min(SMALL_BYTES, size - done), offset + done)):
        _pwrite_all(target, data, at + done)
        hasher.update(data)
        done += len(data)
    return done


def _pwrite_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def copy_and_hash(
    source: int, target: int, size: int, advance: Callable[[int], None], *, beside: Hasher | None = None, is_durable: bool = False
) -> tuple[str, int]:
    """Copy from one open file to another; return the digest of what was written and its length.

    `size` is what is expected; a source that goes on behind it is not read to its end. `beside` is fed with the same bytes.
    With `is_durable` the disk begins to write at once, since a flush will wait for it.
    """
    if size > SMALL_BYTES:
        return _copy_and_hash_large(source, target, size, advance, beside, is_durable=is_durable)
    hasher, done = blake3(), 0
    while done <= size and (data := os.read(source, size - done + 1)):
        _write_all(target, data)
        hasher.update(data)
        if beside:
            beside.update(data)
        done += len(data)
        advance(len(data))
    return hasher.hexdigest(), done


def _copy_and_hash_large(
    source: int, target: int, size: int, advance: Callable[[int], None], beside: Hasher | None, *, is_durable: bool
) -> tuple[str, int]:
    """Copy in steps while a thread hashes the pages that were written."""
    from concurrent.futures import ThreadPoolExecutor

    hasher, total, room = blake3(), 0, memoryview(bytearray(ROOM_BYTES))
    hashing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for done, copied, is_hole in _copied_steps(source, target, size):
            if is_durable:
                _start_writing(target, done, copied)
            if len(hashing) == STEPS_AHEAD:
                hashing.popleft().result()
            hash_step = functools.partial(_hash_hole, copied) if is_hole else functools.partial(_hash_range, target, done, copied, room)
            hashing.append(thread.submit(hash_step, hasher, beside))
            total = done + copied
            advance(copied)
        for step in hashing:
            step.result()
    return hasher.hexdigest(), total


def _copied_steps(source: int, target: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Copy in steps; yield the offset and length of each, and whether it is a hole. A source that goes on behind `size` is not read to its end."""
    done = 0
    while done <= size:
        hole = _hole_bytes(source, done)
        is_hole = hole >= HOLE_BYTES
        copied = _leave_hole(target, done, hole) if is_hole else _copy_step(source, target, done, _until_hole(source, done + hole) - done)
        if copied == 0:
            return
        yield done, copied, is_hole
        done += copied


def _copy_step(source: int, target: int, offset: int, limit: int) -> int:
    """Copy one step, in the kernel where it can; return the bytes copied, 0 at the end of the file."""
    done, limit = 0, min(limit, STEP_BYTES)
    while done < limit:
        try:
            count = _copy_in_kernel(source, target, limit - done, offset + done)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            data = os.pread(source, min(SMALL_BYTES, limit - done), offset + done)
            count = os.pwrite(target, data, offset + done) if data else 0
        if count == 0:
            break
        done += count
    return done


def _leave_hole(target: int, offset: int, size: int) -> int:
    """Make a file longer, by a step at most, with nothing but zeros, which take no space."""
    step = min(size, STEP_BYTES)
    os.ftruncate(target, offset + step)
    return step


def _hole_bytes(source: int, offset: int) -> int:
    """Return how far from here on a file holds nothing but a hole; 0 where the system does not say."""
    if not hasattr(os, "SEEK_DATA"):
        return 0
    try:
        return os.lseek(source, offset, os.SEEK_DATA) - offset
    except OSError as error:  # ENXIO: nothing but a hole, or the end
        return max(0, os.fstat(source).st_size - offset) if error.errno == errno.ENXIO else 0


def _until_hole(source: int, offset: int) -> int:
    """Return where the next hole of a file begins; a step on at the end of it and where the system does not say."""
    try:
        return os.lseek(source, offset, os.SEEK_HOLE) if hasattr(os, "SEEK_HOLE") else offset + STEP_BYTES
    except OSError:
        return offset + STEP_BYTES


def data_bytes(path: str, size: int) -> int:
    """Return how much of a file of `size` bytes is no hole. What it takes on disk does not say: that of a young file is not yet decided."""
    handle, at, found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), 0, 0
    try:
        while (at := at + _hole_bytes(handle, at)) < size:
            end = os.lseek(handle, at, os.SEEK_HOLE) if hasattr(os, "SEEK_HOLE") else size
            found, at = found + end - at, end
    finally:
        os.close(handle)
    return found


def _copy_in_kernel(source: int, target: int, count: int, offset: int) -> int:
    if not hasattr(os, "copy_file_range"):
        raise OSError(errno.ENOSYS, "no copy_file_range here")
    return os.copy_file_range(source, target, count, offset, offset)


def _hash_range(handle: int, offset: int, size: int, room: memoryview, hasher: blake3, beside: Hasher | None) -> None:
    """Hash a part of an open file. Reading into one small room is quicker than mapping: no page is new to the process."""
    done = 0
    while done < size and (count := os.preadv(handle, [room[: size - done]], offset + done)):
        hasher.update(room[:count])  # blake3 releases the interpreter's lock, so the next step is copied meanwhile
        if beside:
            beside.update(room[:count])
        done += count


def _hash_hole(size: int, hasher: blake3, beside: Hasher | None) -> None:
    """Hash zeros from one place in memory: to read a hole would fill memory with them."""
    zeros = bytes(size)
    hasher.update(zeros)
    if beside:
        beside.update(zeros)


def _start_writing(handle: int, offset: int, size: int) -> None:
    """Ask the kernel to write pages while we hash, so that the flush at the end has less to wait for. Length 0 is up to the end."""
    import ctypes

    if call := getattr(
        ctypes.CDLL(None), "sync_file_range", None
    ):  # Linux only; what it answers is of no matter, since the flush is what counts
        call(handle, ctypes.c_int64(offset), ctypes.c_int64(size), 2)  # SYNC_FILE_RANGE_WRITE


def _write_all(handle: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _flush(names: list[str]) -> None:
    """Flush files or folders; from a handful on, one flush of the whole file system is cheaper than one for each."""
    if len(names) > 8 and _sync_file_system(names[0]):
        return
    _start_writing_all(names)
    for name in names:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _start_writing_all(names: list[str]) -> None:
    """Have all files written at once: what a flush of the first commits to the disk's journal serves the others too."""
    for name in names if len(names) > 1 else []:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _start_writing(handle, 0, 0)
        finally:
            os.close(handle)


def flush_tree(folder: str) -> None:
    """Make a folder and all in it survive a power cut."""
    _flush([os.path.join(place, name) for place, _, names in os.walk(folder) for name in ("", *names)])


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
    """Say whether a final name holds what it says."""
    try:
        return hash_file(target) == os.path.basename(target)
    except FileNotFoundError:
        return False


def _give_name(name: str, target: str, is_kept: Callable[[str], bool]) -> None:
    """Give a flushed file its final name."""
    if os.path.lexists(target) and not is_kept(target):
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
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None  # a rename would write over it
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)


def remove_folder(folder: str) -> None:
    """Remove a folder and all in it, read-only folders too; what is gone already is no error."""
    import shutil

    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    with contextlib.suppress(OSError):  # rmtree lets the error of a close through
        shutil.rmtree(folder, ignore_errors=True)


__all__ = [
    "OpenedFiles",
    "Staging",
    "copy_slices",
    "copy_verified",
    "digest_path",
    "flush_tree",
    "hash_file",
    "is_at_work",
    "remove_folder",
    "storing",
]
