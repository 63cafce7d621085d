"""What this machine keeps of a store elsewhere: a local store with a limit, and large files on their way into it.

What was used last stays. Nothing goes that a running registration has not sent yet, and nothing that a process has
open or mapped, or that a person's own links hold: removing that would free nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import time
from collections import Counter

from blake3 import blake3

from ..errors import Corrupted
from ..folders import listed, make_folder
from .blobs import Staging, digest_path, hash_file, is_at_work, remove_folder, storing
from .local import LocalStore
from .parts import format_parts
from .views import view_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from ..trees import Manifest
    from .parts import Parts, Slice

_LEFT = "left"  # in the place of a process id: nobody works on it


class Cache(LocalStore):
    """A local store for what lies elsewhere."""

    limit_bytes: int | None = None

    def slices_path(self, digest: str) -> str:
        """Return where the digests of a large blob's slices are remembered."""
        return digest_path(os.path.join(self._root, "slices"), digest)

    # --- what arrives -------------------------------------------------------------------------------------------------

    def admit_blobs(self, contents: dict[str, bytes]) -> None:
        """Keep blobs that were checked, flushed together."""
        with Staging(self._root, flushes=self._flushes) as staging, storing("What was fetched", self._root, "nothing was fetched"):
            for digest, content in contents.items():
                name, found, _ = staging.write_stream(io.BytesIO(content), lambda _: None)
                if found != digest:
                    raise Corrupted(f"{digest[:12]}… is not what was fetched; the memory or the disk of this machine is at fault.")
                staging.keep(name, self.blob_path(digest))
            staging.publish(self.is_kept)
        self.index.remember_sound((digest, os.stat(self.blob_path(digest))) for digest in contents)

    @contextlib.contextmanager
    def arriving(self, digest: str, size_bytes: int, what: str) -> Iterator[Arrival]:
        """Give a file of the right length to which stretches are written; it becomes the blob when its bytes are right.

        After an error, or a kill, it lies among the private files, and the next that fetches the blob goes on with it.

        Raises
        ------
        Corrupted
            If all arrived and the bytes do not match the digest.
        """
        with storing(what, self._root, "what has arrived stays for the next try"):
            arrival = Arrival(self._adopt(digest), size_bytes)
            try:
                yield arrival
            except BaseException:
                arrival.close()
                with contextlib.suppress(OSError):
                    os.rename(arrival.path, f"{arrival.path.rpartition('-')[0]}-{_LEFT}")
                raise
            arrival.close()
            try:
                self._publish(digest, arrival.path, what)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(arrival.path)

    def _adopt(self, digest: str) -> str:
        """Return a private file for a blob: one that a dead process left, else none yet."""
        folder = os.path.join(self._root, "tmp")
        make_folder(folder)
        path = os.path.join(folder, f"{digest}-{secrets.token_hex(8)}-{os.getpid()}")
        for name in sorted(os.listdir(folder)):
            if name.startswith(f"{digest}-") and not is_at_work(name):
                with contextlib.suppress(FileNotFoundError):  # another was quicker
                    os.rename(os.path.join(folder, name), path)
                    return path
        return path

    def _publish(self, digest: str, path: str, what: str) -> None:
        found = hash_file(path)
        if found != digest:
            raise Corrupted(f"{what} is damaged where it comes from: its bytes are {found[:12]}…, not {digest[:12]}….")
        with Staging(self._root, flushes=self._flushes) as staging:
            staging.keep(path, self.blob_path(digest))
            staging.publish(self.is_kept)
        self.index.remember_sound([(digest, os.stat(self.blob_path(digest)))])

    def keep_parts(self, manifest: Manifest, parts: Parts) -> None:
        """Note how a tree's files will lie here."""
        if parts != self.kept_parts(manifest):
            if parts:
                self.admit_text("parts", manifest.digest, format_parts(parts))
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.parts_path(manifest.digest))

    def has_least(self, digest: str, size_bytes: int) -> bool:
        """Say whether a blob of at least that length is here; it is not read."""
        status = _status(self.blob_path(digest))
        return status is not None and status.st_size >= size_bytes

    # --- what is known of the far end ---------------------------------------------------------------------------------

    def mark_unsound(self, digest: str) -> None:
        """Remember that a blob is damaged at the far end, so that who keeps the content next puts it there again."""
        path = digest_path(os.path.join(self._root, "unsound"), digest)
        with contextlib.suppress(OSError):
            make_folder(os.path.dirname(path))
            with open(path, "wb"):
                pass

    def is_unsound(self, digest: str) -> bool:
        """Say whether a blob was found damaged at the far end."""
        return os.path.exists(digest_path(os.path.join(self._root, "unsound"), digest))

    def forget_unsound(self, digest: str) -> None:
        """Note that a blob was put there again, or found sound."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(digest_path(os.path.join(self._root, "unsound"), digest))

    # --- what stays ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keep what is touched from now on, until it was sent or linked."""
        folder = os.path.join(self._root, "tmp")
        path = os.path.join(folder, f"busy-{secrets.token_hex(8)}-{os.getpid()}")
        with storing("What comes from elsewhere", self._root, "nothing was done"):
            make_folder(folder)
            with open(path, "xb"):
                pass
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def touch(self, digests: Iterable[str], view: str = "") -> None:
        """Note that blobs, and a view, were used now. The time of reading serves for it: no check looks at that."""
        for path in (*map(self.blob_path, digests), *([view] if view else [])):
            with contextlib.suppress(OSError):
                os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))

    def trim(self, *, room_bytes: int = 0, but: AbstractSet[str] = frozenset()) -> int:
        """Remove what was used least recently until the cache, and `room_bytes` more, keep the limit; return the bytes freed.

        Blobs that `but` names stay.
        """
        if self.limit_bytes is None:
            return 0
        taken = sum(self.blobs().values()) + self._copied_in_views()
        return self._remove_oldest(taken + room_bytes - self.limit_bytes, but)

    def make_room(self, size_bytes: int) -> None:
        """Remove what was used least recently where the disk has not as much left."""
        with contextlib.suppress(OSError):  # nothing is here yet, or what is tried next says what is wrong
            disk = os.statvfs(self._root)
            self._remove_oldest(size_bytes - disk.f_bavail * disk.f_frsize, frozenset())

    def _remove_oldest(self, excess: int, but: AbstractSet[str]) -> int:
        if excess <= 0:
            return 0
        blobs = [(entry.name, entry.path, status) for entry in self._entries("blobs") if (status := _status(entry.path))]
        return _Trimming(self._root, blobs, but, self._busy_since()).run(excess)

    def _copied_in_views(self) -> int:
        """Return what views take that is no link."""
        return sum(_copied_bytes(view_folder(self._root, name)) for name in listed(os.path.join(self._root, "views")))

    def _busy_since(self) -> float:
        folder, since = os.path.join(self._root, "tmp"), float("inf")
        for name in listed(folder):
            if name.startswith("busy-") and is_at_work(name):
                status = _status(os.path.join(folder, name))
                since = min(since, status.st_mtime if status else since)
        return since


class Arrival:
    """A large file that is written in any order, by any number of threads."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_new = os.fstat(self._handle).st_size != size_bytes
        os.ftruncate(self._handle, size_bytes)

    def has(self, at: int, part: Slice) -> bool:
        """Say whether a slice lies there already; what a killed process left is read for it, no record of it is trusted."""
        if self._is_new or part.offset:
            return False
        hasher, done = blake3(), 0
        while done < part.size_bytes and (content := os.pread(self._handle, min(4 << 20, part.size_bytes - done), at + done)):
            hasher.update(content)
            done += len(content)
        return hasher.hexdigest() == part.blob

    def write(self, at: int, content: bytes) -> None:
        """Write a stretch."""
        view = memoryview(content)
        while view:
            count = os.pwrite(self._handle, view, at)
            view, at = view[count:], at + count

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


class _Trimming:
    """One look for what may go, the least recently used first."""

    def __init__(self, root: str, blobs: list[tuple[str, str, os.stat_result]], but: AbstractSet[str], busy_since: float) -> None:
        self._root, self._but, self._since = root, but, busy_since
        self._blobs = sorted(blobs, key=lambda blob: blob[2].st_atime_ns)
        self._views = {name: Counter(_keys(view_folder(root, name))) for name in listed(os.path.join(root, "views"))}
        self._used = _open_files(root)

    def run(self, excess: int) -> int:
        """Remove until as much is free; what would free nothing does not count."""
        bound = {name for name, _, status in self._blobs if self._is_bound(status)}
        excess -= sum(status.st_size for name, _, status in self._blobs if name in bound)
        freed = self._drop_copies(excess)
        for name, path, status in self._blobs:
            if freed >= excess:
                break
            if name not in self._but and name not in bound:
                for view in [view for view, held in self._views.items() if _key(status) in held]:
                    freed += self._drop(view)
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    freed += status.st_size
        return freed

    def _is_bound(self, status: os.stat_result) -> bool:
        """Say whether somebody still needs a blob: it is being sent, open, mapped, or has links that are not ours."""
        users = [held for held in self._views.values() if _key(status) in held]
        ours = 1 + sum(held[_key(status)] for held in users)
        is_open = _key(status) in self._used or any(not self._used.isdisjoint(held) for held in users)
        return is_open or status.st_ctime >= self._since or status.st_nlink > ours

    def _drop_copies(self, excess: int) -> int:
        """Remove old views that hold copies: what lies packed is put together again when it is asked for."""
        freed = 0
        for _, name in sorted((_last_used(view_folder(self._root, name)), name) for name in self._views):
            is_free = name not in self._but and self._used.isdisjoint(self._views[name])
            if freed < excess and is_free and _copied_bytes(view_folder(self._root, name)):
                freed += self._drop(name)
        return freed

    def _drop(self, view: str) -> int:
        path = view_folder(self._root, view)
        freed = _copied_bytes(path)
        remove_folder(path)
        del self._views[view]
        return freed


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _keys(folder: str) -> list[tuple[int, int]]:
    return [_key(status) for path in _paths(folder) if (status := _status(path))]


def _copied_bytes(folder: str) -> int:
    return sum(status.st_size for path in _paths(folder) if not os.path.islink(path) and (status := _status(path)) and status.st_nlink == 1)


def _paths(folder: str) -> Iterator[str]:
    return (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def _last_used(path: str) -> float:
    status = _status(path)
    return status.st_atime if status else 0.0


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:  # gone meanwhile
        return None


def _open_files(root: str) -> set[tuple[int, int]]:
    """Return the files below a folder that processes have mapped or open, as far as the system shows it."""
    paths, real = set[str](), os.path.realpath(root)
    for process in listed("/proc"):
        if process.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{process}/maps", encoding="utf-8", errors="surrogateescape") as stream:
                paths.update(line.split(maxsplit=5)[5].rstrip("\n") for line in stream if real in line)
            with contextlib.suppress(OSError):
                paths.update(_targets(f"/proc/{process}/fd", real))
    return {_key(status) for path in paths if (status := _status(path))}


def _targets(folder: str, root: str) -> Iterator[str]:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            path = os.readlink(os.path.join(folder, name))
            if path.startswith(root):
                yield path


__all__ = ["Arrival", "Cache"]
