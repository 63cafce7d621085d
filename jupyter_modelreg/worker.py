"""The process of one instance of a deployment: ``python -m jupyter_modelreg.worker FOLDER FD``.

It reads the run's ``worker.json``, loads the model or the scoring script, says in its own ``status.json`` how that went,
and takes requests: frames from other instances at once, and connections from the listening socket it was given when the
supervisor tells it to. Model and script have the main thread, since some libraries want it; all else runs in a second one.
Who starts it has audited the files that it loads. Operations import this module to start one; what a worker needs is
imported in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress

from .entities.collection import DataCollector
from .entities.model import Signature
from .entities.online import DEFAULT_TIMEOUT_SECONDS, OnlineRequestSettings, ProbeSettings
from .errors import ModelRegistryError
from .folders import read_json, write_json
from .processes import boot_id
from .pythons.containers import ContainerPlan, remove_container
from .records import Record, field, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from socket import socket
    from typing import Any

    from .compute import ProcessIdentity
    from .serving.calls import ServedModel
    from .serving.collection import Collector
    from .serving.handover import Visitor

CLOSE_SECONDS = 1.0  # so long collected rows may take to be written at the end
DRAIN_SECONDS = 8.0  # less than the grace that who stops it allows
FAILED_EXIT = 3  # Source: azureml-inference-server-http exits so when init() fails.
SHOWN_LINES = 30
MAX_TAIL_BYTES = 8 << 20
LOOK_SECONDS = 0.5
ALONE_SECONDS = 2.0  # so long an instance does without a supervisor before it starts one
STEP_SECONDS = 0.3  # later for each further instance, so that one of them is usually enough
AGAIN_SECONDS = 5.0
SUPERVISOR = "supervisor"


class WorkerPlan(Record):
    """What a worker shall do."""

    endpoint: str
    deployment: str
    model: str = field(help="NAME:VERSION, for the log.")
    model_dir: str = field(help="Folder that holds the model's root: AZUREML_MODEL_DIR.")
    model_path: str = field(help="The model's root itself.")
    keys_path: str
    routes_path: str = field(help="Written by the supervisor, read by the router.")
    endpoint_folder: str | None = field(default=None, help="Where its supervisor lives; without one it accepts at once and stays alone.")
    flavor: str | None = None
    signature: Signature | None = None
    input_example: Any = None
    code_folder: str | None = None
    scoring_script: str | None = None
    model_class: str | None = field(default=None, help="Whose parameters the files hold.")
    accelerated: str | None = field(default=None, help="Folder with what answers in the model's place.")
    request_settings: OnlineRequestSettings | None = None
    data_collector: DataCollector | None = None
    datastore: str = field(default="", help="Where the default datastore's files lie: what is collected goes there.")
    environment_variables: dict[str, str] = {}
    python: str | None = field(default=None, help="Interpreter of its environment; this one when left out.")
    python_path: list[str] = field(default=[], help="Where that interpreter finds what the worker itself needs.")
    container: ContainerPlan | None = field(default=None, help="What answers instead of this process, which passes requests on.")
    supervisor_python: str | None = field(default=None, help="Interpreter that runs a supervisor, which no environment has to hold.")
    instances: int = field(default=1, help="How many share this machine's cores.")
    start_seconds: float = field(default=310.0, help="So long it may take until it is ready.")
    liveness_probe: ProbeSettings | None = None
    is_trusted: bool = False
    notices: list[str] = field(default=[], help="What is otherwise here than in the cloud, for the log.")

    @property
    def timeout_seconds(self) -> float:
        """So long a caller waits for an answer."""
        return self.request_settings.request_timeout_ms / 1000 if self.request_settings else DEFAULT_TIMEOUT_SECONDS


class WorkerStatus(Record):
    """What a worker says of itself: ``state`` is starting, healthy or failed."""

    state: str = "starting"
    error: str | None = None
    traceback: str | None = None
    ready_seconds: float | None = None


# --- for operations -------------------------------------------------------------------------------------------------


def start_worker(folder: str, plan: WorkerPlan, listener: socket, environment: Mapping[str, str] | None = None) -> ProcessIdentity:
    """Start a process for the plan of the run in which `folder` lies; the bound socket is passed on and may be closed here.

    Raises
    ------
    Unavailable
        If the folder, the log or the interpreter cannot be used.
    """
    from .compute import new_token, start_process
    from .pythons import PythonEnvironment

    python = PythonEnvironment(python=plan.python or sys.executable, path=plan.python_path)
    token = new_token()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # Noted before it starts, so that whoever is killed in between leaves a worker that can be found.
    write_json(os.path.join(folder, "process.json"), {"host": "", "pid": 0, "start_time": "", "boot_id": boot_id(), "token": token})
    identity = start_process(
        [*python.command("jupyter_modelreg.worker"), folder, str(listener.fileno())],
        folder=folder,
        log_path=os.path.join(os.path.dirname(folder), "log.txt"),
        env={
            **python.variables({**(own_environment() if environment is None else environment), **_contract(plan)}),
            **plan.environment_variables,
        },
        pass_fds=[listener.fileno()],
        token=token,
    )
    write_json(os.path.join(folder, "process.json"), identity.to_dict())
    return identity


def write_plan(run: str, plan: WorkerPlan) -> None:
    """Write what the instances of a run shall do."""
    write_json(os.path.join(run, "worker.json"), plan.to_dict())


def read_plan(run: str) -> WorkerPlan:
    """Return what the instances of a run shall do."""
    with open(os.path.join(run, "worker.json"), encoding="utf-8") as stream:
        return from_dict(WorkerPlan, json.load(stream))


def read_identity(folder: str) -> ProcessIdentity | None:
    """Return the process that was started for a folder; None when there was none."""
    from .compute import ProcessIdentity

    values = read_json(os.path.join(folder, "process.json"))
    return from_dict(ProcessIdentity, values) if values else None


def read_status(folder: str) -> WorkerStatus:
    """Return what a worker last said; starting when it said nothing yet."""
    values = read_json(os.path.join(folder, "status.json"))
    return from_dict(WorkerStatus, values) if values else WorkerStatus()


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


def own_environment() -> dict[str, str]:
    """Return this process's environment without what belongs to its kernel or Jupyter server, their tokens above all."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("JPY_", "JUPYTER", "KERNEL_", "MPLBACKEND"))}


def keep_printing() -> None:
    """Print from now on whether it can be written or not: a full disk costs lines of a log, never a request.

    While it writes it shares a lock with other writers, which who empties the log takes alone: no line falls between.
    """
    import fcntl
    import io
    import threading

    turns: Any = threading.RLock()  # both streams have one file, whose lock the first to end would give up for the other
    os.register_at_fork(after_in_child=turns._at_fork_reinit)

    def lock(how: int) -> None:
        with suppress(OSError):  # no file, or on a disk without locks
            fcntl.flock(1, how)

    class Log(io.FileIO):
        def write(self, text: Any) -> int:
            with turns:
                lock(fcntl.LOCK_SH)
                try:
                    return super().write(text)
                except OSError:
                    return memoryview(text).nbytes
                finally:
                    lock(fcntl.LOCK_UN)

    class Output(io.TextIOWrapper):
        def close(self) -> None:
            """Stay open, since what a script closes is not its own."""

    for name, number in (("stdout", 1), ("stderr", 2)):
        log: Any = Log(number, "w", closefd=False)
        setattr(sys, name, Output(log, encoding="utf-8", errors="backslashreplace", write_through=True))


def _contract(plan: WorkerPlan) -> dict[str, str]:
    """Environment that a scoring script may rely on. Source: azureml-inference-server-http; Azure ML, AZUREML_MODEL_DIR."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(1, cores // plan.instances))
    return {
        "AZUREML_MODEL_DIR": plan.model_dir,
        "MLFLOW_MODEL_FOLDER": os.path.basename(plan.model_path),
        "PYTHONUNBUFFERED": "1",
        **({"AML_APP_ROOT": plan.code_folder} if plan.code_folder else {}),
        **({"AZUREML_ENTRY_SCRIPT": plan.scoring_script} if plan.scoring_script else {}),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
    }


# --- the process ----------------------------------------------------------------------------------------------------


def main(folder: str, fd: int) -> int:
    """Load, listen, serve until asked to end; return the exit code."""
    import logging

    from .serving import app, frames, handover, http, model_thread, routing  # noqa: F401 - before the script's folder, which may hide their imports

    keep_printing()
    os.set_inheritable(fd, False)  # what a script starts shall not hold the port
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    plan = read_plan(os.path.dirname(folder))
    print(f"Deployment {plan.endpoint}/{plan.deployment} loads {plan.model}", flush=True)
    for notice in plan.notices:
        print(notice, flush=True)
    return Worker(folder, plan, fd).run()


def _keep_logging() -> None:
    """Turn our loggers on again, which a script that sets up logging turns off unless it says otherwise."""
    import logging

    for name in logging.root.manager.loggerDict:
        if name.startswith(("modelreg", "jupyter_modelreg")):
            logging.getLogger(name).disabled = False


def _load(folder: str, plan: WorkerPlan) -> list[ServedModel]:
    from .serving.calls import ServedModel

    name, _, version = plan.model.rpartition(":")
    about = {"version": version, "signature": plan.signature, "input_example": plan.input_example}
    if plan.container:
        return [ServedModel(name, script=_run_container(folder, plan, plan.container), **about)]
    if plan.code_folder and plan.scoring_script:
        from .serving.scripts import load_script

        return [ServedModel(name, script=load_script(plan.code_folder, plan.scoring_script), **about)]
    if plan.model_class:
        from .flavors.torch import module_predictor

        predictor = module_predictor(plan.model_path, plan.model_class, plan.code_folder, plan.signature)
    elif plan.accelerated:
        from .flavors.accelerated import AcceleratedPredictor

        predictor = AcceleratedPredictor(plan.accelerated)
    else:
        predictor = _load_predictor(plan)
    return ServedModel(name, predictor=predictor, **about).members()


def _load_predictor(plan: WorkerPlan) -> Any:
    """Load without the garbage collector, which looks at all that a library is again and again while it is imported, and finds nothing."""
    import gc

    from .flavors import load_predictor

    gc.disable()
    try:
        return load_predictor(plan.model_path, plan.flavor or "", plan.signature, is_trusted=plan.is_trusted)
    finally:
        gc.freeze()
        gc.enable()


def _run_container(folder: str, plan: WorkerPlan, container: ContainerPlan) -> Any:
    """Start the container, and end this process when the container ends or answers no more."""
    import threading

    from .pythons.containers import Container

    probe = plan.liveness_probe or ProbeSettings()
    contract = {name: value for name, value in _contract(plan).items() if name not in ("AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT")}
    running = Container(
        folder,
        container,
        model=plan.model,
        model_dir=plan.model_dir,
        code=plan.code_folder,
        script=plan.scoring_script,
        variables={**contract, **plan.environment_variables},
    )

    def watch() -> None:
        error = running.watch(probe.period, probe.failure_threshold)
        write_json(
            os.path.join(folder, "status.json"),
            WorkerStatus(state="failed", error=error, traceback=read_log(os.path.dirname(folder))).to_dict(),
        )
        running.end()
        os._exit(FAILED_EXIT)

    threading.Thread(target=watch, name="container", daemon=True).start()
    return running


def _collect(folder: str, plan: WorkerPlan) -> Collector | None:
    """Start what writes the deployment's rows; before its scoring script is loaded, which asks for it."""
    from .serving import collection

    run, instance = os.path.split(folder)
    collector = collection.Collector.from_settings(
        plan.data_collector,
        plan.datastore,
        plan.endpoint,
        plan.deployment,
        f"{os.path.basename(run)}-{instance.removeprefix('instance-')}",
        version=plan.model.rpartition(":")[2],
        signature=plan.signature,
        is_script=bool(plan.scoring_script),
    )
    collection.set_running(collector)
    return collector


class Worker:
    """The threads of the process, and what the supervisor asks."""

    def __init__(self, folder: str, plan: WorkerPlan, fd: int) -> None:
        import asyncio
        import socket
        import threading

        from .serving import model_thread, new_event_loop

        self._folder, self._plan = folder, plan
        self._listener = socket.socket(fileno=fd)
        self._model_thread = model_thread.ModelThread()
        self._loop = new_event_loop()
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._is_open = threading.Event()
        self._begun = time.perf_counter()
        self._supervisors: set[Visitor] = set()
        self._environment: dict[str, str] | None = None
        self._collector: Collector | None = None
        self._app: Any = None
        self._server: Any = None
        self._frames: Any = None
        self._router: Any = None

    def run(self) -> int:
        """Load in this thread and serve in another; return when that one has ended, or loading failed."""
        import asyncio
        import threading

        asking = self._take_signals()
        serving = threading.Thread(target=lambda: self._loop.run_until_complete(self._live(asking)), name="serving", daemon=True)
        serving.start()
        self._is_open.wait()
        try:
            self._collector = _collect(self._folder, self._plan)
            models = _load(self._folder, self._plan)
            _keep_logging()
        except BaseException as error:  # a script may raise anything, even SystemExit
            remove_container(self._folder)
            return _fail(self._folder, self._plan, error)
        asyncio.run_coroutine_threadsafe(self._serve(models), self._loop).result()
        self._model_thread.run()
        return 0

    def _take_signals(self) -> socket:
        """Let the loop hear of signals at once, even while a model keeps the main thread."""
        import signal
        import socket

        heard, asking = socket.socketpair()
        for end in (heard, asking):
            end.setblocking(False)
        signal.set_wakeup_fd(asking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._asking = asking  # kept, else it closes
        return heard

    # --- in the loop's thread

    async def _live(self, heard: socket) -> None:
        import asyncio

        from .serving.handover import Door

        self._loop.add_reader(heard, self._ended.set)
        door = Door(self._folder, self._answer, self._supervisors.discard)  # kept, since uvloop closes a server that is collected
        await door.open()
        self._is_open.set()
        minding = asyncio.ensure_future(self._mind()) if self._plan.endpoint_folder else None
        await self._ended.wait()
        if minding:
            minding.cancel()
        if self._server:
            await asyncio.gather(self._frames.stop(DRAIN_SECONDS), self._server.stop(DRAIN_SECONDS))
        if self._collector:
            self._collector.close(CLOSE_SECONDS)
        remove_container(self._folder)
        print("Ended as asked.", flush=True)
        os._exit(0)  # a model that hangs does not keep the process

    async def _serve(self, models: list[ServedModel]) -> None:
        from .serving.app import DEFAULT_MAX_WAITING, App
        from .serving.frames import FrameServer
        from .serving.http import Server
        from .serving.routing import Router

        plan, limits = self._plan, self._plan.request_settings
        port = self._listener.getsockname()[1]
        self._router = Router(plan.routes_path, plan.deployment, collector=self._collector) if plan.endpoint_folder else None
        self._app = App(
            plan.deployment,
            models=models,
            port=port,
            keys_path=plan.keys_path,
            model_thread=self._model_thread,
            router=self._router,
            collector=self._collector,
            code_folder=plan.code_folder,
            endpoint=plan.endpoint,
            timeout_seconds=plan.timeout_seconds,
            # Source: Azure ML answers 429 above twice the concurrency of all instances.
            max_waiting=2 * limits.max_concurrent_requests_per_instance if limits else DEFAULT_MAX_WAITING,
        )
        self._frames = FrameServer(os.path.join(self._folder, "infer.sock"), self._app.handle)
        await self._frames.start()
        self._server = Server(self._app.handle, self._app.refuse)
        await self._server.start(self._listener)
        if plan.endpoint_folder:
            self._server.pause()
        seconds = time.perf_counter() - self._begun
        print(f"Ready after {seconds:.2f} seconds on port {port}", flush=True)
        write_json(os.path.join(self._folder, "status.json"), WorkerStatus(state="healthy", ready_seconds=round(seconds, 3)).to_dict())
        self._ready.set()

    async def _answer(self, question: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "listener": lambda: {"descriptor": self._listener.fileno()},
            "stats": lambda: self._app.stats() if self._app else {},
            "accept": lambda: self._accept(is_on=bool(question["is_on"])),
        }
        asked = question["ask"]
        if asked == "hello":
            return self._welcome(question, visitor)
        if asked == "ready":
            await self._ready.wait()
            return {"state": "healthy"}
        if asked == "move":
            return await self._move()
        return answers[asked]()

    def _welcome(self, question: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        from .compute import TOKEN

        if "environment" in question:
            self._supervisors.add(visitor)
            self._environment = question["environment"]
        return {"pid": os.getpid(), "token": os.environ.get(TOKEN, ""), "port": self._listener.getsockname()[1]}

    async def _move(self) -> dict[str, Any]:
        """Listen where the supervisor does now; say at which port that is."""
        import asyncio

        from .serving.handover import take

        assert self._plan.endpoint_folder
        listener = await asyncio.to_thread(take, self._plan.endpoint_folder)
        if listener:
            os.set_inheritable(listener.fileno(), False)
            self._app.move(listener.getsockname()[1])
            self._server.move(listener)
            self._listener = listener
        return {"port": self._listener.getsockname()[1]}

    def _accept(self, *, is_on: bool) -> dict[str, Any]:
        """Take new connections or leave them to others, by the routes as they are now."""
        if self._router:
            self._router.look()
        if is_on:
            self._server.accept()
        else:
            self._server.pause()
        return {}

    async def _mind(self) -> None:
        """End when the folder is gone; start a supervisor when there has been none for a while."""
        import asyncio

        assert self._plan.endpoint_folder
        number = int(os.path.basename(self._folder).rpartition("-")[2])
        alone_since = time.monotonic() + STEP_SECONDS * (number % 8)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not (os.path.isdir(self._folder) and os.path.exists(os.path.join(self._plan.endpoint_folder, "endpoint.json"))):
                print("This deployment's folder is gone.", flush=True)
                self._ended.set()
            elif self._supervisors:
                alone_since = time.monotonic() + STEP_SECONDS * (number % 8)
            elif time.monotonic() - alone_since > ALONE_SECONDS:
                alone_since = time.monotonic() + AGAIN_SECONDS
                await self._call_supervisor()

    async def _call_supervisor(self) -> None:
        import asyncio

        from .errors import Unavailable
        from .supervisor import start_supervisor

        assert self._plan.endpoint_folder
        print("The supervisor has gone; another one is started.", flush=True)
        try:
            python = self._plan.supervisor_python
            await asyncio.to_thread(start_supervisor, self._plan.endpoint_folder, self._listener, self._environment, python)
        except Unavailable as error:
            print(error, file=sys.stderr, flush=True)


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
    write_json(os.path.join(folder, "status.json"), status.to_dict())
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
