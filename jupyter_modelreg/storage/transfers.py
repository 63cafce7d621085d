"""What travels between this machine and the far end of a store: several things at a time, each checked against its hash."""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_right
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import accumulate
from queue import SimpleQueue

from blake3 import blake3

from ..errors import Corrupted
from .far import READ_BYTES
from .parts import Slice
from .slices import SLICE_BYTES, stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from _typeshed import WriteableBuffer

    from .cache import Arrival, Cache
    from .far import FarEnd
    from .pieces import Piece
    from .slices import Source

    A = TypeVar("A")
    B = TypeVar("B")
    Tell = Callable[[int], None]
    Work = Callable[[Tell], None]

WORKERS = 4
BATCH_BYTES = 32 << 20  # of small blobs that are kept, and flushed, together
FIRST_READ_BYTES = 256 << 10


def run_all(works: Iterable[Work], advance: Tell) -> None:
    """Do things several at a time; the first error ends the others and is raised.

    Each is given a function to call with the bytes done, which ends it, too, once another has failed. `advance` is called
    in this thread only: what draws a bar knows no threads.
    """
    told, is_over = SimpleQueue[int | Future[None]](), threading.Event()

    def tell(count: int) -> None:
        if is_over.is_set():
            raise CancelledError
        told.put(count)

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(work, tell) for work in works]
        try:
            for future in futures:
                future.add_done_callback(told.put)
            left = len(futures)
            while left:
                item = told.get()
                if isinstance(item, int):
                    advance(item)
                else:
                    item.result()
                    left -= 1
        finally:
            is_over.set()
            for future in futures:
                future.cancel()


def in_order(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yield what work gives for each item, in order, a few items ahead."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


# --- there --------------------------------------------------------------------------------------------------------------


def send(far: FarEnd, cache: Cache, sources: dict[str, Source], advance: Tell) -> None:
    """Put blobs that are not there yet; what was sent before a cut is there.

    Raises
    ------
    Corrupted
        If a blob on this machine is damaged or gone.
    """

    def sending(blob: str, source: Source) -> Work:
        def work(tell: Tell) -> None:
            if far.size("blobs", blob) != source.size_bytes or cache.is_unsound(blob):
                far.put("blobs", blob, _local_content(cache, blob, source))
                cache.forget_unsound(blob)
            tell(source.size_bytes)

        return work

    run_all([sending(blob, source) for blob, source in sources.items()], advance)


def _local_content(cache: Cache, blob: str, source: Source) -> bytes:
    with open(cache.blob_path(source.blob), "rb") as stream:
        stream.seek(source.offset)
        content = stream.read(source.size_bytes)
    if blake3(content).hexdigest() != blob:
        raise Corrupted(f"{blob[:12]}… is damaged in the cache on this machine; nothing was registered. Register the files again.")
    return content


# --- and back -----------------------------------------------------------------------------------------------------------


class Wanted:
    """What is to be fetched. Messages call it ``what``; ``is_least`` says that the blob may be longer."""

    def __init__(self, blob: str, size_bytes: int, what: str, *, is_least: bool = False) -> None:
        self.blob, self.size_bytes, self.what, self.is_least = blob, size_bytes, what, is_least


def fetch_blobs(far: FarEnd, cache: Cache, wanted: list[Wanted], advance: Tell) -> None:
    """Bring blobs into the cache.

    Raises
    ------
    Corrupted
        If one is missing or is not what its name says; it does not enter the cache.
    """

    def fetching(batch: list[Wanted]) -> Work:
        def work(tell: Tell) -> None:
            cache.admit_blobs({item.blob: _noted(far, cache, item, tell) for item in batch})

        return work

    run_all(map(fetching, _batches(wanted)), advance)


def fetch_large(far: FarEnd, cache: Cache, item: Wanted, cuts: list[Slice], advance: Tell) -> None:
    """Bring a large file into the cache, slice by slice; those that arrived before a cut are not fetched again.

    Without `cuts` it was put whole: then only the whole can be checked, and it is fetched anew after a cut.

    Raises
    ------
    Corrupted
        If a slice is missing or damaged, or the file is not what its hash says.
    """

    def fetching(arrival: Arrival, at: int, part: Slice) -> Work:
        def work(tell: Tell) -> None:
            if cuts and arrival.has(at, part):
                tell(part.size_bytes)
            elif cuts:
                arrival.write(at, _noted(far, cache, Wanted(part.blob, part.size_bytes, item.what), tell))
            else:
                arrival.write(at, _read(far, Wanted(part.blob, part.size_bytes, item.what), tell, part.offset))

        return work

    with cache.arriving(item.blob, item.size_bytes, item.what) as arrival:
        parts = cuts or stretches(item.blob, item.size_bytes)
        run_all([fetching(arrival, SLICE_BYTES * number, part) for number, part in enumerate(parts)], advance)


def _noted(far: FarEnd, cache: Cache, item: Wanted, tell: Tell) -> bytes:
    """Return a blob's bytes; damage is remembered, so that keeping the content again mends it."""
    try:
        return read_checked(far, item, tell)
    except Corrupted:
        cache.mark_unsound(item.blob)
        raise


def read_checked(far: FarEnd, item: Wanted, tell: Tell = lambda _: None) -> bytes:
    """Return a blob's bytes; a wrong answer is asked for once more.

    Raises
    ------
    Corrupted
        If it is missing or not what its name says.
    """
    try:
        return _read_hashed(far, item, tell)
    except Corrupted:
        return _read_hashed(far, item, lambda _: tell(0))


def _read_hashed(far: FarEnd, item: Wanted, tell: Tell) -> bytes:
    content = _read(far, item, tell)
    found = blake3(content, max_threads=blake3.AUTO).hexdigest()
    if found != item.blob:
        raise Corrupted(f"{item.what} is damaged where it comes from: its bytes are {found[:12]}…, not {item.blob[:12]}….")
    return content


def _read(far: FarEnd, item: Wanted, tell: Tell, offset: int = 0) -> bytes:
    try:
        if item.is_least:
            content = far.read_whole("blobs", item.blob)
            if content is None:
                raise FileNotFoundError
            tell(item.size_bytes)
            return content
        parts, end = [], offset + item.size_bytes
        for start in range(offset, end, READ_BYTES):
            parts.append(far.read("blobs", item.blob, start, min(start + READ_BYTES, end)))
            tell(len(parts[-1]))
        return b"".join(parts)
    except FileNotFoundError:
        raise Corrupted(f"{item.what} is missing from the store {far.url}.") from None
    except Corrupted as error:
        raise Corrupted(f"{item.what} is damaged where it comes from: {error.message}") from None


def _batches(wanted: list[Wanted]) -> Iterator[list[Wanted]]:
    batch: list[Wanted] = []
    for item in wanted:
        if batch and sum(other.size_bytes for other in batch) + item.size_bytes > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


# --- in place -----------------------------------------------------------------------------------------------------------


class RangeReader(io.RawIOBase):
    """A file at the far end, for reading; it seeks, and fetches little more than it is asked for.

    What is read one after another is fetched in growing steps, what is sought is not. With `pieces` whole pieces are
    fetched and each is checked against its hash; without, only the length of what comes is checked. One thread at a time.
    """

    def __init__(self, far: FarEnd, slices: list[Slice], what: str, pieces: list[Piece] | None = None) -> None:
        self._far, self._slices, self._what, self._pieces = far, slices, what, pieces or []
        self._starts = list(accumulate((part.size_bytes for part in slices), initial=0))
        self._offsets = [piece.offset for piece in self._pieces]
        self._at = 0
        self._held, self._held_at, self._ahead = b"", 0, FIRST_READ_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence] + offset
        if at < 0:
            raise ValueError(f"negative seek position {at}")
        self._at = at
        return at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not view or self._at >= self._starts[-1]:
            return 0
        if not self._held_at <= self._at < self._held_at + len(self._held):
            self._fetch(len(view))
        found = self._held[self._at - self._held_at :][: len(view)]
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _fetch(self, wanted: int) -> None:
        is_next = self._held and self._at == self._held_at + len(self._held)
        self._ahead = min(2 * self._ahead, READ_BYTES) if is_next else FIRST_READ_BYTES
        end = min(self._at + min(max(wanted, self._ahead), READ_BYTES), self._starts[-1])
        if self._pieces:
            self._held, self._held_at = self._checked_pieces(end)
        else:
            self._held, self._held_at = self._stretch(self._at, end), self._at

    def _checked_pieces(self, end: int) -> tuple[bytes, int]:
        """Return the bytes of the piece at the place, and of those after it that end before `end`; and where they begin."""
        first = bisect_right(self._offsets, self._at) - 1
        last = max(first + 1, bisect_right(self._offsets, end) - 1)
        chosen = self._pieces[first : len(self._pieces) if end == self._starts[-1] else last]
        start = chosen[0].offset
        content = self._stretch(start, chosen[-1].offset + chosen[-1].size_bytes)
        for piece in chosen:
            place = piece.offset - start
            if blake3(content[place : place + piece.size_bytes]).hexdigest() != piece.digest:
                raise Corrupted(
                    f"{self._what} is damaged where it comes from, in {f'tensor {piece.name}' if piece.name else 'its header'}."
                )
        return content, start

    def _stretch(self, start: int, end: int) -> bytes:
        """Read a stretch, which may lie in several slices."""
        parts = []
        while start < end:
            number = bisect_right(self._starts, start) - 1
            part, inside = self._slices[number], start - self._starts[number]
            item = Wanted(part.blob, min(end - start, part.size_bytes - inside), self._what)
            parts.append(_read(self._far, item, lambda _: None, part.offset + inside))
            start += item.size_bytes
        return b"".join(parts)


__all__ = ["RangeReader", "Wanted", "fetch_blobs", "fetch_large", "in_order", "read_checked", "run_all", "send"]
