"""The process of one deployment: ``python -m jupyter_modelreg.worker FOLDER FD``.

It reads ``worker.json``, loads the model or the scoring script, says in ``status.json`` how that went, and only then
accepts from the listening socket it was given. Who starts it has audited the files that it loads. Operations import
this module to start one; what a worker needs is imported in it.
"""

from __future__ import annotations

import json
import os
import sys
import time

from .entities.model import Signature
from .entities.online import OnlineRequestSettings
from .errors import ModelRegistryError
from .records import Record, field, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Executor
    from socket import socket
    from typing import Any

    from .compute import ProcessIdentity

DRAIN_SECONDS = 8.0  # less than the grace that who stops it allows
FAILED_EXIT = 3  # Source: azureml-inference-server-http exits so when init() fails.
SHOWN_LINES = 30
MAX_TAIL_BYTES = 8 << 20


class WorkerPlan(Record):
    """What a worker shall do."""

    endpoint: str
    deployment: str
    model: str = field(help="NAME:VERSION, for the log.")
    model_dir: str = field(help="Folder that holds the model's root: AZUREML_MODEL_DIR.")
    model_path: str = field(help="The model's root itself.")
    keys_path: str
    endpoint_path: str
    flavor: str | None = None
    signature: Signature | None = None
    input_example: Any = None
    code_folder: str | None = None
    scoring_script: str | None = None
    request_settings: OnlineRequestSettings | None = None
    is_trusted: bool = False
    unused: list[str] = field(default=[], help="Keys of the deployment that mean nothing on this machine, for the log.")


class WorkerStatus(Record):
    """What a worker says of itself: ``state`` is starting, healthy or failed."""

    state: str = "starting"
    error: str | None = None
    traceback: str | None = None
    ready_seconds: float | None = None


# --- for operations -------------------------------------------------------------------------------------------------


def start_worker(folder: str, plan: WorkerPlan, listener: socket, environment_variables: dict[str, str]) -> ProcessIdentity:
    """Start the process for a plan; the bound socket is passed on and may be closed here."""
    from .compute import start_process

    _write_json(os.path.join(folder, "worker.json"), plan.to_dict())
    _write_json(os.path.join(folder, "status.json"), WorkerStatus().to_dict())
    identity = start_process(
        [sys.executable, "-P", "-m", "jupyter_modelreg.worker", folder, str(listener.fileno())],
        folder=folder,
        log_path=os.path.join(folder, "log.txt"),
        env={**_own_environment(), **_contract(plan), **environment_variables},
        pass_fds=[listener.fileno()],
    )
    # Beside the record in the catalog, for a starter that is killed before it writes one.
    _write_json(os.path.join(folder, "process.json"), identity.to_dict())
    return identity


def read_identity(folder: str) -> ProcessIdentity | None:
    """Return the process that was started for a folder; None when there was none."""
    from .compute import ProcessIdentity

    try:
        with open(os.path.join(folder, "process.json"), encoding="utf-8") as stream:
            return from_dict(ProcessIdentity, json.load(stream))
    except FileNotFoundError:
        return None


def wait_until_ready(folder: str, identity: ProcessIdentity, timeout_seconds: float) -> WorkerStatus:
    """Wait until a worker is healthy or has failed; one that vanished or takes too long has failed."""
    from .compute import is_alive

    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        lives = is_alive(identity)  # asked before the status, which a dying worker writes last
        status = read_status(folder)
        if status.state != "starting":
            return status
        if not lives:
            return _give_up(folder, "its process ended without a word; the log's end follows")
        time.sleep(0.02)
    return _give_up(folder, f"it was not ready after {timeout_seconds:.0f} seconds; the log's end follows")


def read_status(folder: str) -> WorkerStatus:
    """Return what a worker last said; starting when it said nothing yet."""
    try:
        with open(os.path.join(folder, "status.json"), encoding="utf-8") as stream:
            return from_dict(WorkerStatus, json.load(stream))
    except FileNotFoundError:
        return WorkerStatus()


def read_log(folder: str, lines: int = SHOWN_LINES) -> str:
    """Return the last lines of what a worker printed, 8 MB of them at most; empty when it printed nothing."""
    found = b""
    try:
        with open(os.path.join(folder, "log.txt"), "rb") as stream:
            place = stream.seek(0, os.SEEK_END)
            while place and found.count(b"\n") <= lines and len(found) < MAX_TAIL_BYTES:
                size = min(place, 64 << 10)
                place = stream.seek(place - size)
                found = stream.read(size) + found
    except FileNotFoundError:
        return ""
    return b"".join(found.splitlines(keepends=True)[-lines:]).decode(errors="replace")


def _give_up(folder: str, error: str) -> WorkerStatus:
    status = WorkerStatus(state="failed", error=error, traceback=read_log(folder))
    if os.path.isdir(folder):  # else it was deleted while it was starting
        _write_json(os.path.join(folder, "status.json"), status.to_dict())
    return status


def _own_environment() -> dict[str, str]:
    """Return the starter's environment without what belongs to its kernel or Jupyter server, their tokens above all."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("JPY_", "JUPYTER", "KERNEL_", "MPLBACKEND"))}


def _contract(plan: WorkerPlan) -> dict[str, str]:
    """Environment that a scoring script may rely on. Source: azureml-inference-server-http; Azure ML, AZUREML_MODEL_DIR."""
    threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return {
        "AZUREML_MODEL_DIR": plan.model_dir,
        "MLFLOW_MODEL_FOLDER": os.path.basename(plan.model_path),
        "PYTHONUNBUFFERED": "1",
        **({"AML_APP_ROOT": plan.code_folder} if plan.code_folder else {}),
        **({"AZUREML_ENTRY_SCRIPT": plan.scoring_script} if plan.scoring_script else {}),
        **{name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
    }


def _write_json(path: str, values: dict[str, Any]) -> None:
    scratch = f"{path}.{os.getpid()}"
    with open(scratch, "w", encoding="utf-8") as stream:
        json.dump(values, stream)
    os.replace(scratch, path)


# --- the process ----------------------------------------------------------------------------------------------------


def main(folder: str, fd: int) -> int:
    """Load, listen, serve until asked to end; return the exit code."""
    import asyncio
    import logging
    from concurrent.futures import ThreadPoolExecutor

    from .serving import app, handover, http  # noqa: F401 - before the script's folder, which may hide their imports

    os.set_inheritable(fd, False)  # what a script starts shall not hold the port
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    start = time.perf_counter()
    with open(os.path.join(folder, "worker.json"), encoding="utf-8") as stream:
        plan = from_dict(WorkerPlan, json.load(stream))
    print(f"Deployment {plan.endpoint}/{plan.deployment} loads {plan.model}", flush=True)
    if plan.unused:
        print(f"Of no effect on this machine: {', '.join(plan.unused)}", flush=True)
    model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
    try:
        loaded = model_thread.submit(_load, plan).result()
    except BaseException as error:  # a script may raise anything, even SystemExit
        return _fail(folder, plan, error)
    asyncio.run(_serve(folder, plan, fd, model_thread, loaded, start))
    print("Ended as asked.", flush=True)
    return 0


def _load(plan: WorkerPlan) -> dict[str, Any]:
    if plan.code_folder and plan.scoring_script:
        from .serving.scripts import load_script

        return {"script": load_script(plan.code_folder, plan.scoring_script)}
    from . import flavors

    return {"predictor": flavors.load_predictor(plan.model_path, plan.flavor or "", plan.signature, is_trusted=plan.is_trusted)}


async def _serve(folder: str, plan: WorkerPlan, fd: int, model_thread: Executor, loaded: dict[str, Any], start: float) -> None:
    import asyncio
    import signal
    import socket

    from .serving import handover
    from .serving.app import DEFAULT_MAX_WAITING, DEFAULT_TIMEOUT_SECONDS, App
    from .serving.http import Server

    listener = socket.socket(fileno=fd)
    limits = plan.request_settings
    app = App(
        plan.deployment,
        port=listener.getsockname()[1],
        keys_path=plan.keys_path,
        endpoint_path=plan.endpoint_path,
        model_thread=model_thread,
        signature=plan.signature,
        input_example=plan.input_example,
        code_folder=plan.code_folder,
        timeout_seconds=limits.request_timeout_ms / 1000 if limits else DEFAULT_TIMEOUT_SECONDS,
        # Source: Azure ML answers 429 above twice the concurrency of all instances; this version has one instance.
        max_waiting=2 * limits.max_concurrent_requests_per_instance if limits else DEFAULT_MAX_WAITING,
        **loaded,
    )
    server, ended = Server(app.handle, app.refuse), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await server.start(listener)
    door = handover.offer(folder)
    door.setblocking(False)
    asyncio.get_running_loop().add_reader(door, handover.give, door, listener)
    seconds = time.perf_counter() - start
    print(f"Ready after {seconds:.2f} seconds on port {listener.getsockname()[1]}", flush=True)
    _write_json(os.path.join(folder, "status.json"), WorkerStatus(state="healthy", ready_seconds=round(seconds, 3)).to_dict())
    await ended.wait()
    await server.stop(DRAIN_SECONDS)


def _fail(folder: str, plan: WorkerPlan, error: BaseException) -> int:
    """Log the script's own traceback and what the model's folder holds, the two things people look for."""
    import traceback

    held = "\n  ".join([f"AZUREML_MODEL_DIR={plan.model_dir} holds:", *_tree(plan.model_dir)])
    if isinstance(error, ModelRegistryError):  # our own words need no traceback
        text, status = error.message, WorkerStatus(state="failed", error=error.message, traceback=error.detail)
    else:
        text = "".join(traceback.format_exception(type(error), error, _own_frames(error, plan)))
        shown = f"{text}\n{held}" if isinstance(error, OSError) else text
        status = WorkerStatus(state="failed", error=_reason(error), traceback=shown)
    print(f"{text}\n{held}", file=sys.stderr, flush=True)
    _write_json(os.path.join(folder, "status.json"), status.to_dict())
    return FAILED_EXIT


def _reason(error: BaseException) -> str:
    import traceback

    if isinstance(error, SystemExit):
        return f"it called exit({'' if error.code is None else repr(error.code)})"
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _own_frames(error: BaseException, plan: WorkerPlan) -> Any:
    """Return the traceback from the first frame of the user's code on; all of it when there is none."""
    frame = error.__traceback__
    while frame and plan.code_folder and not frame.tb_frame.f_code.co_filename.startswith(plan.code_folder):
        frame = frame.tb_next
    return frame or error.__traceback__


def _tree(folder: str, limit: int = 30) -> list[str]:
    paths = [os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names]
    return [*sorted(paths)[:limit], *([f"… {len(paths) - limit} more"] if len(paths) > limit else [])]


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(code)  # a model thread that hangs does not keep the process
