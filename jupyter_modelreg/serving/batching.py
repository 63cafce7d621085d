"""One model's queue: what waits when the model is free is its next call, joined into one where the inputs allow.

Alone, a request goes to the model at once; in a crowd, what arrived during the last call makes the next batch, and those
who were answered together, and are about to ask again, are waited for, a tenth of a call at most. A batch that fails is
run again one by one, so that a request fails only by its own fault. Whose client has gone or whose time has passed never
reaches the model.

A model whose calls take less than two milliseconds, as measured, is called in the loop's thread, which saves two changes of
thread; others, and every script, in the model's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic, perf_counter
from types import GeneratorType

from ..errors import InvalidInput
from .calls import Call, Unacceptable, Unwritable
from .http import Pending, Request, Response
from .payloads import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
    from concurrent.futures import Executor
    from typing import Any

    from .calls import ServedModel, Wire
    from .metrics import Metrics

LOG = logging.getLogger("modelreg.endpoint")
MAX_BATCH_ROWS = 512
MAX_BATCH_BYTES = 1 << 20  # of bodies; larger inputs gain nothing by being joined, and joining copies them
MAX_READ_IN_LOOP = 64 << 10  # larger bodies are read in the model's thread, so that the others are answered meanwhile
QUICK_SECONDS = 0.002
LINGER_SHARE = 0.1  # of what a call takes, the time that a smaller batch than the last one waits for the rest
MIN_LINGER_SECONDS, MAX_LINGER_SECONDS = 0.0001, 0.002
LEARNED = 0.2  # how much of the last call is in the average
FAILED = {"x-ms-run-function-failed": "True"}


class Job(Pending):
    """One request on its way through the model. ``call`` is None until it was read; ``outputs`` is what the model returned."""

    __slots__ = ("batcher", "began", "call", "outputs", "request", "seconds", "wire")

    def __init__(self, request: Request, wire: Wire, call: Call | None, began: float) -> None:
        super().__init__()
        self.request, self.wire, self.call, self.began = request, wire, call, began
        self.outputs: Any = None
        self.seconds = 0.0
        self.batcher: Batcher | None = None

    def drop(self) -> None:
        """Leave the queue, since the client has gone."""
        self.is_dropped = True
        if self.batcher:
            self.batcher.remove(self)


class Batcher:
    """Calls one model for all who ask.

    Parameters
    ----------
    thread
        The one thread that loaded the model, since some libraries keep state by thread.
    finish
        Called in the loop's thread with a job and its answer, before the answer goes out.
    timeout_seconds
        Time from a request's arrival until it is answered with 408.
    """

    def __init__(
        self, model: ServedModel, thread: Executor, metrics: Metrics, finish: Callable[[Job, Response], None], *, timeout_seconds: float
    ) -> None:
        self.model, self.timeout_seconds = model, timeout_seconds
        self._thread, self._metrics, self._finish = thread, metrics, finish
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._running_since = 0.0
        self._streams = 0
        self._closing: set[asyncio.Task[None]] = set()  # the loop itself keeps no hold of its tasks
        self._is_due = False
        self._linger: asyncio.TimerHandle | None = None
        self._last_jobs, self._seconds = 1, 0.0  # of the last call, and what one takes on average
        self._timer: asyncio.TimerHandle | None = None
        self._quick_rows = 0  # so many were answered, or may be, within a quick call
        asked = model.script if model.predictor is None else model.predictor
        self._may_join = bool(getattr(asked, "is_batchable", False))

    @property
    def waiting(self) -> int:
        """Requests that are with the model or wait for it; a running one counts until the model is free again."""
        return len(self._queue) + len(self._running) + self._streams

    @property
    def running(self) -> int:
        """Requests that are with the model."""
        return len(self._running) + self._streams

    @property
    def running_seconds(self) -> float:
        """Time the current call has taken so far."""
        return monotonic() - self._running_since if self._running else 0.0

    def submit(self, job: Job) -> None:
        """Take a job; it is settled in its time."""
        job.batcher = self
        self._queue.append(job)
        is_wanted = not self._running if self._linger is None else len(self._queue) >= self._last_jobs
        if is_wanted and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._timer is None:  # what runs has had its time and runs on
            self._watch()

    def remove(self, job: Job) -> None:
        """Forget a job that was not begun."""
        if job in self._queue:
            self._queue.remove(job)

    # --- in the loop's thread

    def _turn(self) -> None:
        has_lingered, self._linger = self._linger, None
        if has_lingered:
            has_lingered.cancel()
        self._is_due = False
        if self._running or not self._queue or not (has_lingered or self._has_all()):
            return
        batch, rows = self._gather()
        if self._is_quick(batch, rows):
            self._settle(batch, *self._run(batch))
        else:
            self._running, self._running_since = batch, monotonic()
            self._thread.submit(self._run_there, asyncio.get_running_loop(), batch)
            self._watch()
        if self._queue and not self._is_due and not self._running:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _has_all(self) -> bool:
        """Say whether as many wait as were answered together; else linger for the others, who are about to ask again."""
        seconds = min(LINGER_SHARE * self._seconds, MAX_LINGER_SECONDS)
        if len(self._queue) >= self._last_jobs or seconds < MIN_LINGER_SECONDS:
            return True
        self._linger = asyncio.get_running_loop().call_later(seconds, self._turn)
        return False

    def _gather(self) -> tuple[list[Job], int]:
        """Take the oldest job and those that may be joined with it; return them and how many rows they have."""
        batch, left = [self._queue.popleft()], deque[Job]()
        key, rows, size = self._key(batch[0]), _rows(batch), len(batch[0].request.body)
        if key is None or not self._queue:
            return batch, rows
        for job in self._queue:
            if rows < MAX_BATCH_ROWS and size < MAX_BATCH_BYTES and self._key(job) == key:
                batch.append(job)
                rows += job.call.rows or 1 if job.call else 0
                size += len(job.request.body)
            else:
                left.append(job)
        self._queue = left
        return batch, rows

    def _key(self, job: Job) -> Hashable:
        """Return what must be equal in jobs to join them; None for one that shall be alone."""
        if not self._may_join or job.call is None:
            return None
        if self.model.script is not None:
            return id(job.wire)
        return (job.call.key,) if job.call.rows else None

    def _is_quick(self, batch: list[Job], rows: int) -> bool:
        return self.model.script is None and batch[0].call is not None and rows <= self._quick_rows

    def _settle(self, batch: list[Job], responses: list[Response], seconds: float) -> None:
        self._metrics.ran(len(batch), seconds)
        self._last_jobs = len(batch)
        self._seconds += LEARNED * (seconds - self._seconds)
        rows = _rows(batch)
        self._quick_rows = max(self._quick_rows, 2 * rows) if seconds < QUICK_SECONDS else min(self._quick_rows, rows // 2)
        for job, response in zip(batch, responses, strict=True):
            if job.response is not None or job.is_dropped:
                if response.stream:
                    closing = asyncio.ensure_future(response.stream.aclose())
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
                continue
            job.seconds = seconds
            self._finish(job, response)
            job.settle(response)

    def _settle_there(self, batch: list[Job], responses: list[Response], seconds: float) -> None:
        self._running = []
        self._settle(batch, responses, seconds)
        if self._queue and not self._is_due:
            self._turn()

    def _watch(self) -> None:
        """Look again when the oldest job's time is up."""
        if self._timer is not None:
            return
        pending = [job.began for jobs in (self._running, self._queue) for job in jobs if job.response is None and not job.is_dropped]
        if pending:
            left = min(pending) + self.timeout_seconds - perf_counter()
            self._timer = asyncio.get_running_loop().call_later(max(left, 0.0), self._expire)

    def _expire(self) -> None:
        self._timer, oldest = None, perf_counter() - self.timeout_seconds
        message = f"Scoring timeout after {self.timeout_seconds * 1000:.0f} ms; request_settings.request_timeout_ms sets the limit."
        for job in [*self._running, *self._queue]:
            if job.began <= oldest and job.response is None and not job.is_dropped:
                self.remove(job)  # a running one keeps its place: the model cannot be interrupted
                response = job.wire.fail(message, 408)
                self._finish(job, response)
                job.settle(response)
        self._watch()

    # --- where the model is called

    def _run_there(self, loop: asyncio.AbstractEventLoop, batch: list[Job]) -> None:
        try:
            responses, seconds = self._run(batch)
        except BaseException:  # even the log failed, which a script may have taken apart; whoever waits is told all the same
            responses, seconds = [job.wire.fail("An unexpected error occurred.", 500) for job in batch], 0.0
        loop.call_soon_threadsafe(self._settle_there, batch, responses, seconds)

    def _run(self, batch: list[Job]) -> tuple[list[Response], float]:
        began = perf_counter()
        return self._answer(batch), perf_counter() - began

    def _answer(self, batch: list[Job]) -> list[Response]:
        """Ask the model, and write each one's answer. A stranger sees no traceback, the log has all of it."""
        if len(batch) > 1:
            try:
                values = self._ask_for_all(batch)
            except BaseException as error:
                LOG.debug("A batch is run again one by one: %r", error)
                return [response for job in batch for response in self._answer([job])]
            return [self._write(job, value) for job, value in zip(batch, values, strict=True)]
        job = batch[0]
        try:
            job.call = job.call or job.wire.read(job.request, self.model)
            value = self._ask(job.call)
        except BaseException as error:  # the model's and the script's own code may raise anything, even SystemExit
            return [self._failure(job, error)]
        return [self._write(job, value)]

    def _ask(self, call: Call) -> Any:
        if self.model.script is not None:
            if self._may_join:
                return self._ask_script([call])[0]
            return self.model.script.score(call.inputs, dict(call.headers or {}))
        try:
            return self.model.predict(call)
        except ValueError as error:
            # What libraries raise for the wrong number of features, or for gaps where they take none.
            LOG.exception("The model refused the input")
            raise InvalidInput(f"The model refused the input: {str(error).splitlines()[0] if str(error) else 'ValueError'}") from None

    def _ask_for_all(self, batch: list[Job]) -> list[Any]:
        calls = [job.call for job in batch if job.call is not None]
        if self.model.script is not None:
            return self._ask_script(calls)
        value = self.model.predictor(join([call.inputs for call in calls]))
        values = split(value, [call.rows for call in calls])
        if values is None:
            self._may_join = False
            LOG.warning("The model answers several rows with something else than one row each; requests are no longer joined.")
            raise Unwritable("not one row per row")
        return values

    def _ask_script(self, calls: list[Call]) -> list[Any]:
        """Give a script that says ``batch = True`` a list of bodies; it returns one answer for each."""
        assert self.model.script
        values = self.model.script.score([call.inputs for call in calls], [dict(call.headers or {}) for call in calls])
        if not isinstance(values, list) or len(values) != len(calls):
            raise Unwritable(
                f"The scoring script says batch = True, so run() must return a list of {len(calls)} answers, one for each body."
            )
        return values

    def _write(self, job: Job, value: Any) -> Response:
        assert job.call
        try:
            if isinstance(value, GeneratorType):
                return self._stream(job, value)
            job.outputs = value
            if self.model.script is not None and (own := _own_response(value)):
                return own
            return job.wire.write(value, job.call, self.model)
        except BaseException as error:
            return self._failure(job, error)

    def _failure(self, job: Job, error: BaseException) -> Response:
        if isinstance(error, InvalidInput):
            return job.wire.fail(error.message, 400)
        if isinstance(error, Unacceptable):
            return job.wire.fail(error.message, error.status)
        if isinstance(error, Unwritable):
            LOG.error("%s", error)
            message = str(error)
        else:
            LOG.error("The request failed in the model", exc_info=error)
            message = "An unexpected error occurred in the model or its scoring script. Check the logs for more info."
        response = job.wire.fail(message, 500)
        response.headers |= FAILED
        return response

    # --- streams

    def _stream(self, job: Job, generator: GeneratorType[Any, None, None]) -> Response:
        """Answer by what a script's ``run`` yields: server-sent events for who accepts them, else text or JSON lines as they come.

        The first item is taken before the head goes out, so that a script that fails at once fails with a status.
        """
        first = next(generator, _END)
        is_events = "text/event-stream" in job.request.headers.get("accept", "")
        is_text = isinstance(first, (str, bytes)) or first is _END
        kind = "text/event-stream" if is_events else "text/plain; charset=utf-8" if is_text else "application/x-ndjson"
        frame = _event if is_events else _line
        return Response(content_type=kind, stream=self._pieces(frame, b"" if first is _END else frame(first), generator))

    async def _pieces(
        self, frame: Callable[[Any], bytes], first: bytes, generator: GeneratorType[Any, None, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield pieces; each is asked for in the model's thread, when the one before it has been taken."""
        self._streams += 1
        try:
            yield first
            while (piece := await self._in_thread(lambda: _framed(frame, next(generator, _END)))) is not None:
                yield piece
        except Exception:
            if frame is not _event:
                raise
            LOG.exception("The scoring script failed while it streamed")
            yield b'event: error\ndata: {"message": "An unexpected error occurred in the scoring script."}\n\n'
        finally:
            self._streams -= 1
            self._thread.submit(generator.close)

    async def _in_thread(self, step: Callable[[], Any]) -> Any:
        """Run a step between the model's other calls; one that ends the process's way fails like any other."""
        began = perf_counter()
        found = asyncio.wrap_future(self._thread.submit(_safely, step))
        value = await found
        self._metrics.ran_step(perf_counter() - began)
        return value


class _End:
    """What a generator that has ended yields."""


_END = _End()


def _safely(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception:
        raise
    except BaseException as error:  # SystemExit and the like would end more than this stream
        raise RuntimeError(f"the scoring script raised {error!r}") from error


def _framed(frame: Callable[[Any], bytes], item: Any) -> bytes | None:
    return None if item is _END else frame(item)


def _line(item: Any) -> bytes:
    if isinstance(item, (bytes, bytearray)):
        return bytes(item)
    return item.encode() if isinstance(item, str) else write_json(item) + b"\n"


def _event(item: Any) -> bytes:
    """Write an item as one server-sent event."""
    text = item if isinstance(item, str) else bytes(item).decode() if isinstance(item, (bytes, bytearray)) else write_json(item).decode()
    return "".join(f"data: {line}\n" for line in text.splitlines() or [""]).encode() + b"\n"


def _own_response(value: Any) -> Response | None:
    """Return the answer that a script made itself: Flask's, which AMLResponse is one of, carry status, headers and body."""
    if not (hasattr(value, "status_code") and hasattr(value, "get_data")):
        return None
    headers = {name.lower(): text for name, text in value.headers.items() if name.lower() not in _OWN_HEADERS}
    kind = value.content_type or "application/json"
    return Response(status=int(value.status_code), body=value.get_data(), content_type=kind, headers=headers)


_OWN_HEADERS = {"content-type", "content-length", "connection", "transfer-encoding"}


# --- rows together and apart ------------------------------------------------------------------------------------------


def join(inputs: list[Any]) -> Any:
    """Concatenate inputs of one kind along their first axis."""
    import numpy as np

    first = inputs[0]
    if isinstance(first, dict):
        return {name: np.concatenate([item[name] for item in inputs]) for name in first}
    if isinstance(first, np.ndarray):
        return np.concatenate(inputs)
    import pandas as pd

    return pd.concat(inputs, ignore_index=True)


def split(value: Any, rows: list[int]) -> list[Any] | None:
    """Give the rows of an answer back to who asked for so many each; None when it has not one row for each."""
    if isinstance(value, dict):
        parts = {name: split(item, rows) for name, item in value.items()}
        if any(part is None for part in parts.values()):
            return None
        return [{name: part[place] for name, part in parts.items() if part is not None} for place in range(len(rows))]
    if not hasattr(value, "__len__") or isinstance(value, (str, bytes)) or len(value) != sum(rows):
        return None
    held = value.iloc if hasattr(value, "iloc") else value
    return [held[start:stop] for start, stop in _ranges(rows)]


def _ranges(rows: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for count in rows:
        yield start, start + count
        start += count


def _rows(batch: list[Job]) -> int:
    return sum(job.call.rows or 1 for job in batch if job.call is not None)
