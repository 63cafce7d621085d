"""Requests and answers of a deployment as JSON lines, written beside the answers and never in their way.

A row is Azure's, which is a CloudEvent: ``specversion, id, source, type, datacontenttype, time, data, correlationid, xrequestid``
and its extensions. A collection's rows lie below the default datastore in
``modelDataCollector/<endpoint>/<deployment>/<collection>/yyyy/MM/dd/HH/<instance>.jsonl``.

Who answers a request leaves what it had in a bounded queue; a thread makes rows of it and writes them. A full queue drops and
counts; a full disk is said once and forgotten when there is room again. Headers are written only by name, and none that
carries a secret.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from queue import Empty, SimpleQueue

from .. import __version__
from ..entities.collection import ROLLING_RATES, DataCollector, is_secret
from ..folders import make_folder
from .payloads import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..entities.model import ColumnSpec, Signature
    from .http import Request, Response

    Row = tuple[str, float, dict[str, Any]]  # collection, when, what it says

ROOT = "modelDataCollector"  # Source: Azure ML, "Collect production data from models"
INPUTS, OUTPUTS, REQUEST, RESPONSE, MIRROR = "model_inputs", "model_outputs", "request", "response", "mirror"
MAX_WAITING = 10_000  # requests; at 20,000 a second half a second's worth
MAX_WAITING_BYTES = 64 << 20
MAX_ROW_BYTES = 4 << 20
GATHER_SECONDS = 0.2  # between two writes, so that a thousand rows are one
FRAME = "pandas.core.frame.DataFrame"  # what Azure's rows say, whatever this pandas calls it
_FOLDERS = dict(zip(ROLLING_RATES, ("%Y", "%Y/%m", "%Y/%m/%d", "%Y/%m/%d/%H", "%Y/%m/%d/%H/%M"), strict=True))
LOG = logging.getLogger(__name__)


class Collector:
    """Writes the rows of one instance of a deployment. Its methods may be called in any thread and return at once.

    Parameters
    ----------
    folders
        Where the rows of each enabled collection lie.
    source
        Who says so, as in a row.
    instance
        Name of the files; no other process that lives writes to files of this name.
    is_script
        Whether a scoring script answers; it collects model_inputs and model_outputs itself.
    """

    def __init__(
        self,
        settings: DataCollector,
        folders: Mapping[str, str],
        *,
        source: str,
        instance: str,
        version: str = "",
        signature: Signature | None = None,
        is_script: bool = False,
    ) -> None:
        self._folders, self._source, self._instance, self._version = dict(folders), source, instance, version
        self._pattern, self._share = _FOLDERS[settings.rolling_rate], settings.sampling_rate
        asked = settings.request_logging.capture_headers if settings.request_logging else []
        self._headers = [name.strip().lower() for name in asked if not is_secret(name)]
        self._inputs = signature.inputs if signature else []
        self._outputs = signature.outputs if signature else []
        self._models = [] if is_script else [name for name in (INPUTS, OUTPUTS) if name in self._folders]
        self._bodies = [name for name in (REQUEST, RESPONSE) if name in self._folders]
        self._queue: SimpleQueue[tuple[int, Callable[[], list[Row]]] | None] = SimpleQueue()
        self._lock, self._waiting, self._waiting_bytes = threading.Lock(), 0, 0
        self._ended = threading.Event()
        self._said: dict[str, str] = {}  # what is lost and why, as long as it stays
        self.collected, self.dropped = 0, 0  # rows written; rows and requests that were lost
        self._thread = threading.Thread(target=self._run, name="collection", daemon=True)  # a disk that hangs keeps no process
        self._thread.start()

    @classmethod
    def from_settings(
        cls, settings: DataCollector | None, datastore: str, endpoint: str, deployment: str, instance: str, **about: Any
    ) -> Collector | None:
        """Start what a deployment asks for; None when no collection is enabled. `datastore` is the default one's folder."""
        usual = os.path.join(ROOT, endpoint, deployment)
        folders = {
            name.lower(): os.path.join(datastore, item.folder or os.path.join(usual, name.lower()))
            for name, item in (settings.collections if settings else {}).items()
            if item.enabled
        }
        source = f"/onlineEndpoints/{endpoint}/deployments/{deployment}"
        return cls(settings, folders, source=source, instance=instance, **about) if settings and folders else None

    def collects(self, name: str) -> bool:
        """Say whether a collection is enabled."""
        return name.lower() in self._folders

    def offer(self, request_id: str, inputs: Any, outputs: Any, request: Request, response: Response) -> None:
        """Note one answered call: what the model was given and what it returned, of that call only."""
        if not (self._models or self._bodies) or not self._samples(request_id):
            return
        size = len(request.body) + len(response.body)
        self._put(size, partial(self._answered, time.time(), request_id, inputs, outputs, request, response))

    def offer_frame(self, name: str, frame: Any, correlation_id: str, request_id: str) -> None:
        """Note what a scoring script hands over: a DataFrame that nobody changes any more."""
        if self._samples(correlation_id):
            make = partial(self._row, name.lower(), time.time(), correlation_id, request_id)
            self._put(int(frame.memory_usage().sum()), lambda: [make(to_records(frame), kind=FRAME)])

    def offer_mirror(self, request_id: str, live: tuple[str, Response], mirrored: tuple[str, Response]) -> None:
        """Note the answers of the deployment that answered and of the one that got a copy, each with its name."""
        if self.collects(MIRROR) and self._samples(request_id):
            size = len(live[1].body) + len(mirrored[1].body)
            self._put(size, partial(self._mirrored, time.time(), request_id, live, mirrored))

    def metrics_text(self, deployment: str) -> str:
        """Return the counts in Prometheus' text format."""
        counts = (
            ("modelreg_collected_rows_total", "Rows of requests and answers that were written.", self.collected),
            ("modelreg_collection_lost_total", "Rows, or requests, that were dropped: queue or disk full, or no JSON.", self.dropped),
        )
        lines = [
            f'# HELP {name} {about}\n# TYPE {name} counter\n{name}{{deployment="{deployment}"}} {count}' for name, about, count in counts
        ]
        return "\n".join([*lines, ""])

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Write what waits; what cannot be written in this time is lost."""
        self._ended.set()
        self._queue.put(None)
        self._thread.join(timeout_seconds)

    # --- before the queue ---------------------------------------------------------------------------------------------

    def _samples(self, correlation_id: str) -> bool:
        """Decide by the id alone, so that all rows of one request are written, or none."""
        if self._share >= 1.0:
            return True
        digest = blake2b(correlation_id.encode(errors="replace"), digest_size=8).digest()
        return int.from_bytes(digest) < self._share * 2**64

    def _put(self, size: int, entry: Callable[[], list[Row]]) -> None:
        with self._lock:
            if self._waiting >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
                self.dropped += 1
                return
            self._waiting, self._waiting_bytes = self._waiting + 1, self._waiting_bytes + size
        self._queue.put((size, entry))

    # --- rows; in the thread ------------------------------------------------------------------------------------------

    def _answered(self, when: float, request_id: str, inputs: Any, outputs: Any, request: Request, response: Response) -> list[Row]:
        make = partial(self._row, when=when, correlation_id=request_id, request_id=request_id)
        values = {INPUTS: (inputs, self._inputs), OUTPUTS: (outputs, self._outputs)} if response.status < 400 else {}
        rows = [make(name, data=to_records(*values[name]), kind=_kind(values[name][0])) for name in self._models if name in values]
        for name, side in ((REQUEST, request), (RESPONSE, response)):
            if name in self._bodies:
                headers = {key: side.headers[key] for key in self._headers if key in side.headers}
                more: dict[str, Any] = {"headers": headers} if headers else {}
                more |= {"status": response.status} if name == RESPONSE else {}
                rows.append(make(name, data=_parsed(side.body), **more))
        return rows

    def _mirrored(self, when: float, request_id: str, live: tuple[str, Response], mirrored: tuple[str, Response]) -> list[Row]:
        sides = [{"deployment": name, "status": answer.status, "body": _parsed(answer.body)} for name, answer in (live, mirrored)]
        is_same, difference = compare_answers(sides[0]["body"], sides[1]["body"])
        said = {"is_same": is_same and live[1].status == mirrored[1].status, "largest_difference": difference}
        return [self._row(MIRROR, when, request_id, request_id, {"live": sides[0], "mirror": sides[1], **said})]

    def _row(self, name: str, when: float, correlation_id: str, request_id: str, data: Any, kind: str = "", **more: Any) -> Row:
        moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        row = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": self._source,
            "type": f"azureml.inference.{name}",
            "datacontenttype": "application/json",
            "time": moment,
            "data": data,
            "correlationid": correlation_id,
            "xrequestid": request_id,
            "modelversion": self._version,
            "collectdatatype": kind,
            "agent": f"jupyter-modelreg/{__version__}",
            **more,
        }
        return name, when, {key: value for key, value in row.items() if value != ""}

    # --- files; in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            self._ended.wait(GATHER_SECONDS)
            gathered = [entry]
            with contextlib.suppress(Empty):
                while (more := self._queue.get_nowait()) is not None:
                    gathered.append(more)
                self._queue.put(None)  # the end comes after what was gathered
            self._write(gathered)

    def _write(self, gathered: list[tuple[int, Callable[[], list[Row]]]]) -> None:
        lines: dict[str, list[bytes]] = {}
        for size, make in gathered:
            for path, line in self._lines(make):
                lines.setdefault(path, []).append(line)
            time.sleep(0)  # lets those that answer go first, who else wait for Python's lock up to 5 ms
            with self._lock:
                self._waiting, self._waiting_bytes = self._waiting - 1, self._waiting_bytes - size
        for path, held in lines.items():
            try:
                append(path, b"".join(held))
                self.collected += len(held)
                self._said.pop("file", None)
            except OSError as error:
                self._lose(len(held), "file", f"{os.path.dirname(path)}: {error.strerror}")

    def _lines(self, make: Callable[[], list[Row]]) -> list[tuple[str, bytes]]:
        try:
            return [(self._path(name, when), self._line(row)) for name, when, row in make()]
        except Exception as error:  # values are of the model's and the script's own classes, which may do anything
            self._lose(1, "row", f"a request cannot be written as JSON: {type(error).__name__}: {error}")
            return []

    def _line(self, row: dict[str, Any]) -> bytes:
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace") + b"\n"
        if len(line) > MAX_ROW_BYTES:
            raise ValueError(f"it takes {len(line) >> 20} MB, and a row at most {MAX_ROW_BYTES >> 20}")
        return line

    def _path(self, name: str, when: float) -> str:
        return os.path.join(self._folders[name], time.strftime(self._pattern, time.gmtime(when)), f"{self._instance}.jsonl")

    def _lose(self, count: int, what: str, reason: str) -> None:
        """Count what is lost and say why, once as long as the reason stays."""
        with self._lock:
            self.dropped += count
        if self._said.get(what) != reason:
            self._said[what] = reason
            LOG.error("Rows of the data collection are lost, requests are answered as before: %s", reason)


# --- the one of this process ------------------------------------------------------------------------------------------

_running: list[Collector] = []


def set_running(collector: Collector | None) -> None:
    """Say which collector writes for this process; before a scoring script is loaded, which asks for it."""
    _running[:] = [collector] if collector else []


def running() -> Collector | None:
    """Return the collector of this process; None where nothing is collected."""
    return _running[0] if _running else None


# --- values -----------------------------------------------------------------------------------------------------------


def to_records(values: Any, columns: list[ColumnSpec] | None = None) -> list[Any]:
    """Return rows as JSON mappings of names to values, as Azure has them of a DataFrame.

    Columns without names are called by the signature where it fits, else 0, 1 … as pandas calls them. What has more than two
    axes is one value a row.
    """
    if _is_frame(values):
        return [{str(key): to_json(item) for key, item in row.items()} for row in values.to_dict(orient="records")]
    if isinstance(values, dict):
        held = {str(name): _as_list(item) for name, item in values.items()}
        if len({len(item) for item in held.values()}) > 1:
            return [held]  # tensors that have no rows in common
        return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)]
    rows = _as_list(values)
    width = max((len(row) if isinstance(row, list) else 1 for row in rows), default=0)
    given = [spec.name for spec in columns or [] if spec.name]
    names = given if len(given) == width else [str(index) for index in range(width)]
    return [row if isinstance(row, dict) else _record(row, names) for row in rows]


def _record(row: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(row, list) and any(isinstance(item, list) for item in row):
        return {names[0] if len(names) == 1 else "0": row}
    return dict(zip(names, row if isinstance(row, list) else [row], strict=False))


def _is_frame(values: Any) -> bool:
    return hasattr(values, "to_dict") and hasattr(values, "columns")


def _as_list(values: Any) -> list[Any]:
    plain = to_json(values)
    return plain if isinstance(plain, list) else [plain]


def _kind(values: Any) -> str:
    """Return the full name of a class, as Azure's rows say it."""
    kind = type(values)
    return FRAME if _is_frame(values) else f"{'python' if kind.__module__ == 'builtins' else kind.__module__}.{kind.__qualname__}"


def _parsed(body: bytes | bytearray) -> Any:
    """Return a body's JSON value, else its text, else how much it was."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"size_bytes": len(body)}
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # NaN is Python's alone
        return value
    except (ValueError, RecursionError):
        return text


def compare_answers(first: Any, second: Any) -> tuple[bool, float | None]:
    """Return whether two JSON values are the same, and the largest difference of numbers at the same place.

    The difference is None where the values are shaped differently or hold no numbers.
    """
    differences: list[float] = []
    has_one_shape = _compare(first, second, differences)
    return first == second, max(differences, default=None) if has_one_shape else None


def _compare(first: Any, second: Any, differences: list[float]) -> bool:
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return all(_compare(*pair, differences) for pair in zip(first, second, strict=True))
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return all(_compare(first[key], second[key], differences) for key in first)
    if _is_number(first) and _is_number(second):
        differences.append(abs(first - second))
        return True
    return bool(type(first) is type(second) and not isinstance(first, (list, dict)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def append(path: str, lines: bytes) -> None:
    """Add whole lines to a file that only this process writes to, or nothing.

    Raises
    ------
    OSError
        If they cannot be written; what was there stays as it was.
    """
    make_folder(os.path.dirname(path))
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # an earlier process was killed while it wrote
            lines = b"\n" + lines
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
