"""The one light process that keeps an endpoint: ``python -m jupyter_modelreg.supervisor FOLDER FD``.

It owns the listening socket, which every instance shares, starts the instances of each deployment, replaces those that
died or hang, ends those that are wanted no more, and says in ``routes.json`` which are ready. It reads what is wanted from
``endpoint.json`` and says in each run's ``status.json`` how things are. It runs no model and takes no request while an
instance is there to take it. Killed, it is missed by nobody: instances go on and start another, which finds them.

Operations import this module to start one and to read what it says; what the process needs is imported in it.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress

from .errors import InvalidInput, Unavailable
from .folders import listed, read_json, write_json
from .pythons.containers import remove_container
from .records import Record, field, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Mapping
    from socket import socket
    from typing import Any

    from .compute import ProcessIdentity
    from .serving.handover import Link, Visitor
    from .serving.http import Request, Response
    from .worker import WorkerPlan

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 2.0  # so long who connects waits in the queue for an instance to come back
ANSWER_SECONDS = 10.0  # an instance without a liveness probe that says nothing for so long hangs
CALL_SECONDS = 30.0  # one call that takes longer than this, or the probe's patience, and three times the request's limit hangs
MAX_FAILED_STARTS = 5
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
SOUND_SECONDS = 2.0  # what answered for so long did not die of how it was started
MAX_LOG_BYTES = 10_000_000
KEPT_LOGS = 3
LOCK_TRIES = 50  # a millisecond each
UP_SECONDS = 10.0
GRACE_SECONDS = 10.0
DELETE_SECONDS = 2.0  # for the answers under way at what nobody wants any more


class Scale(Record):
    """How many instances: between two numbers, by the share of their time that they are busy."""

    minimum: int = 1
    maximum: int = 1
    target_percent: int = 70
    polling_seconds: int = 1


class Wanted(Record):
    """``endpoint.json``: what shall be, written by operations."""

    endpoint: str
    port: int | None = field(default=None, help="None until there is a first deployment.")
    auth_mode: str = "key"
    traffic: dict[str, int] = {}
    mirror_traffic: dict[str, int] = {}
    deployments: dict[str, str] = field(default={}, help="The run of each, relative to the endpoint's folder.")
    scales: dict[str, Scale] = {}
    is_deleted: bool = False


class InstanceStatus(Record):
    """One instance as its supervisor sees it."""

    name: str
    pid: int
    is_ready: bool = False


class RunStatus(Record):
    """``status.json`` of a run: ``state`` is starting, healthy, unhealthy or failed."""

    state: str = "starting"
    error: str | None = None
    traceback: str | None = None
    was_ready: bool = False
    restarts: int = 0
    wanted: int = 1
    instances: list[InstanceStatus] = []


# --- for operations -------------------------------------------------------------------------------------------------


def start_supervisor(folder: str, listener: socket, environment: Mapping[str, str] | None = None, python: str | None = None) -> None:
    """Start the supervisor of an endpoint and wait until one answers; a second one ends by itself.

    ``python`` is given by an instance whose own interpreter is that of an environment.

    Raises
    ------
    Unavailable
        If none answers in time.
    """
    from .compute import start_process
    from .serving.handover import ask
    from .worker import own_environment

    start_process(
        [python or sys.executable, "-P", "-m", "jupyter_modelreg.supervisor", folder, str(listener.fileno())],
        folder=folder,
        log_path=os.path.join(folder, "supervisor.log"),
        env=own_environment() if environment is None else environment,
        pass_fds=[listener.fileno()],
    )
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline:
        if ask(folder, {"ask": "hello"}):
            return
        time.sleep(0.02)
    raise Unavailable(f"The supervisor of {folder} does not start; {os.path.join(folder, 'supervisor.log')} may say why.")


def read_wanted(folder: str) -> Wanted | None:
    """Return what an endpoint shall be; None when there is no such endpoint.

    Raises
    ------
    Unavailable
        If the file was damaged, or written in a format that this version does not know.
    """
    path = os.path.join(folder, "endpoint.json")
    try:
        values = read_json(path)
        if isinstance(values, dict):
            values.pop("host", None)  # was written once and never read
        return from_dict(Wanted, values) if values else None
    except (InvalidInput, ValueError) as error:
        raise Unavailable(f"{path} cannot be read; the version of jupyter_modelreg that wrote it, or a newer one, may: {error}") from None


def write_wanted(folder: str, wanted: Wanted) -> None:
    """Say what an endpoint shall be; who may is who holds its lock."""
    write_json(os.path.join(folder, "endpoint.json"), wanted.to_dict())


def read_run_status(run: str) -> RunStatus | None:
    """Return what the supervisor last said of a run; None when the run is gone or was never looked at."""
    values = read_json(os.path.join(run, "status.json"))
    return from_dict(RunStatus, values) if values else None


def read_supervisor(folder: str) -> ProcessIdentity | None:
    """Return which process last was an endpoint's supervisor; whether it lives is another question."""
    from .compute import ProcessIdentity

    values = read_json(os.path.join(folder, "supervisor.json"))
    return from_dict(ProcessIdentity, values) if values else None


def instance_folders(run: str) -> list[str]:
    """Return the folders of a run's instances, those of dead ones too."""
    names = [name for name in listed(run) if name.startswith("instance-")]
    return [os.path.join(run, name) for name in sorted(names, key=_number)]


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _is_written(path: str, values: Mapping[str, Any]) -> bool:
    """Write a file, or leave the one that is there and say why: a full disk ends nobody, and the next look tries again."""
    try:
        write_json(path, values)
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}", flush=True)
        return False
    return True


# --- the process ----------------------------------------------------------------------------------------------------


def main(folder: str, fd: int) -> int:
    """Keep an endpoint until it is deleted; end at once when another process does."""
    import asyncio
    import fcntl
    import logging
    import socket

    from .worker import keep_printing

    keep_printing()
    os.set_inheritable(fd, False)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    with open(os.open(os.path.join(folder, "supervisor.lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        try:
            supervisor = Supervisor(folder, socket.socket(fileno=fd))
        except Unavailable as error:
            print(error, flush=True)
            return error.exit_code
        asyncio.run(supervisor.run())
    return 0


class Supervisor:
    """What is wanted of an endpoint, and what is there."""

    def __init__(self, folder: str, listener: socket) -> None:
        import asyncio

        from .serving.gate import Gate
        from .serving.http import Server

        self.folder, self.listener = folder, listener
        self.environment = dict(os.environ)
        self._wanted = read_wanted(folder) or Wanted(endpoint=os.path.basename(folder), is_deleted=True)
        self._gate = Gate(self.port, os.path.join(folder, "keys.json"))
        self._server = Server(self._respond, self._refuse)
        self._deployments: dict[str, Deployment] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._routes: dict[str, Any] = {}
        self._unready_since = time.monotonic()
        self._looks = 0
        self._complaint = ""
        self._is_ending = False

    @property
    def port(self) -> int:
        """Where the endpoint listens."""
        return int(self.listener.getsockname()[1])

    async def run(self) -> None:
        """Find what lives, then look after it until nothing is wanted."""
        import asyncio
        import signal

        from .compute import TOKEN, identify
        from .serving.handover import Door

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave)
        identity = identify(os.getpid()).replace(token=os.environ.get(TOKEN, ""))
        write_json(os.path.join(self.folder, "supervisor.json"), identity.to_dict())
        await self._server.start(self.listener)
        self._server.pause()
        self._adopt()
        door = Door(self.folder, self._answer)  # kept while it answers
        await door.open()
        while not self._is_ending and self._read():
            self._changed.clear()
            await self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)
        await self._end()

    def changed(self) -> None:
        """Look again now."""
        self._changed.set()

    def _leave(self) -> None:
        """End alone; instances go on."""
        os._exit(0)

    def _read(self) -> bool:
        """Read what is wanted; say whether anything is. While nobody can read it, what was wanted before is kept up."""
        try:
            wanted = read_wanted(self.folder)
        except Unavailable as error:
            if error.message != self._complaint:
                print(error, flush=True)
            self._complaint = error.message
            return True
        self._complaint = ""
        if wanted is None or wanted.is_deleted:
            return False
        self._wanted = wanted
        return True

    async def _end(self) -> None:
        """End everything; the files are for who asked to remove."""
        import asyncio

        self._is_ending = True
        for deployment in self._deployments.values():
            self._retire(deployment, deployment.runs, removes=False)
        self._deployments = {}
        await asyncio.gather(*self._retiring)

    # --- what is asked

    async def _answer(self, question: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        import asyncio

        match question["ask"]:
            case "hello":
                return {"pid": os.getpid(), "port": self.port}
            case "move":
                return await self._move(int(question["port"]))
            case "listener":
                return {"descriptor": self.listener.fileno()}
            case "look":
                looks = self._looks
                self.changed()
                while self._looks == looks and not self._is_ending:
                    await asyncio.sleep(0.01)
            case "retry":
                for deployment in self._deployments.values():
                    for run in deployment.runs:
                        run.retry()
                self.changed()
            case "end":
                self._is_ending = True
                self.changed()
        return {}

    async def _move(self, port: int) -> dict[str, Any]:
        """Listen at another port with all instances, which go on; or say why not. Those that start follow once they are ready."""
        import asyncio
        import socket

        from .serving import bind_port

        try:
            listener = bind_port(port)
        except (InvalidInput, Unavailable) as error:
            return {"error": error.message}
        old, self.listener = self.listener.dup(), listener
        self._gate.move(port)
        self._server.move(listener)
        instances = [instance for deployment in self._deployments.values() for run in deployment.runs for instance in run.ready]
        await asyncio.gather(*(instance.follow() for instance in instances))
        with old, suppress(OSError):
            old.shutdown(socket.SHUT_RDWR)  # for those too that hold a copy and accept nobody
        return {}

    # --- what is there

    def _adopt(self) -> None:
        """Find the instances that a supervisor before this one left; remove what is left of dead ones."""
        for name in listed(self.folder):
            runs = [os.path.join(name, item) for item in listed(os.path.join(self.folder, name)) if item.startswith("run-")]
            found = {path: adopted for path in runs if (adopted := _living(os.path.join(self.folder, path)))}
            target = self._wanted.deployments.get(name)
            if target is None and not found:
                continue
            deployment = self._deployments[name] = Deployment(name)
            for path, adopted in found.items():
                run = Run(self, name, path, adopted)
                if path == target:
                    deployment.target = run
                elif run.status().was_ready and deployment.active is None:
                    deployment.active = run
                else:
                    self._retire(deployment, [run])

    async def _look(self) -> None:
        """Bring what is there nearer to what is wanted."""
        leaving: list[tuple[Deployment, Run]] = []
        for name, path in self._wanted.deployments.items():
            deployment = self._deployments.setdefault(name, Deployment(name))
            leaving += [(deployment, run) for run in deployment.aim_at(path, self)]
        for name in [name for name in self._deployments if name not in self._wanted.deployments]:
            deployment = self._deployments.pop(name)
            leaving += [(deployment, run) for run in deployment.runs]
        surplus: list[Instance] = []
        for deployment in self._deployments.values():
            for run in deployment.runs:
                run.keep_up(self._wanted.scales.get(deployment.name, Scale()))
                surplus += run.surplus()
                rotate(os.path.join(run.folder, "log.txt"))
        rotate(os.path.join(self.folder, "supervisor.log"))
        await self._route()
        for instance in surplus:
            self._in_background(instance.end(GRACE_SECONDS))
        for deployment, run in leaving:
            self._retire(deployment, [run])
        self._looks += 1

    def _retire(self, deployment: Deployment, runs: list[Run], *, removes: bool = True) -> None:
        """End runs in the background, once no route leads to them."""

        async def end(run: Run) -> None:
            import asyncio
            import shutil

            await run.end(GRACE_SECONDS if deployment.name in self._wanted.deployments and not self._is_ending else DELETE_SECONDS)
            if removes:
                await asyncio.to_thread(shutil.rmtree, run.folder, ignore_errors=True)

        for run in runs:
            self._in_background(end(run))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        import asyncio

        task = asyncio.ensure_future(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # --- who takes requests

    async def _route(self) -> None:
        """Say which instances are ready and let those of one deployment accept, or answer here while there is none."""
        import asyncio

        ready = {name: found for name, item in self._deployments.items() if (found := item.ready)}
        front = max(ready, key=lambda name: (self._wanted.traffic.get(name, 0), name), default=None)
        routes = {
            "front": front,
            "auth_mode": self._wanted.auth_mode,
            "traffic": self._wanted.traffic,
            "mirror_traffic": self._wanted.mirror_traffic,
            "deployments": {
                name: [os.path.join(instance.folder, "infer.sock") for instance in ready.get(name, [])] for name in self._deployments
            },
        }
        is_new = routes != self._routes
        if is_new and os.path.isdir(self.folder) and _is_written(os.path.join(self.folder, "routes.json"), routes):
            self._routes = routes
        # Those who are to accept hear of it before the others stop.
        await asyncio.gather(*(item.accept(is_on=True, is_new=is_new) for item in ready.get(front or "", [])))
        others = [item for name, found in ready.items() if name != front for item in found]
        await asyncio.gather(*(item.accept(is_on=False, is_new=is_new) for item in others))
        self._accept(is_on=front is None)

    def _accept(self, *, is_on: bool) -> None:
        now = time.monotonic()
        if not is_on:
            self._unready_since = now
            self._server.pause()
        elif now - self._unready_since >= PATIENCE_SECONDS or not any(item.is_coming for item in self._deployments.values()):
            self._server.accept()

    def _refuse(self, request: Request) -> Response | None:
        """Answer before a body comes, which nobody here would read."""
        has_body = "transfer-encoding" in request.headers or int(request.headers.get("content-length", "0")) > 0
        return self._respond(request) if has_body else None

    def _respond(self, request: Request) -> Response:
        """Say why nobody answers, to those whom an instance would answer."""
        from .serving.gate import OPEN_PATHS
        from .serving.http import json_response
        from .serving.routing import NO_TRAFFIC, PINNED

        request.is_kept_alive = False  # so that its next request meets an instance
        refusal = self._gate.refusal(request)
        if refusal:
            return refusal.response()
        if request.path in OPEN_PATHS:
            return json_response({"message": "No instance is ready."}, 503, **{"retry-after": "1"})
        pinned = request.headers.get(PINNED)
        name = pinned or max(self._wanted.traffic, key=lambda name: self._wanted.traffic[name], default="")
        deployment = self._deployments.get(name)
        if not self._deployments:
            return json_response({"message": "No deployment exists for this endpoint."}, 404)
        if pinned and deployment is None:
            return json_response(
                {"message": f'Deployment "{pinned[:64]}" not found; this endpoint has {", ".join(self._deployments)}.'}, 404
            )
        if deployment is None or not (pinned or self._wanted.traffic.get(name)):
            return json_response({"message": NO_TRAFFIC}, 404)
        message = f'Deployment "{name}" is {deployment.state}; its log says more.'
        return json_response({"message": message}, 503, **{"retry-after": "1"})


class Deployment:
    """The run that is wanted, and the one that serves until that is ready."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.target: Run | None = None
        self.active: Run | None = None

    @property
    def runs(self) -> list[Run]:
        """Those that are to be kept up."""
        return [run for run in dict.fromkeys((self.target, self.active)) if run]

    @property
    def ready(self) -> list[Instance]:
        """The instances that take requests: of the run that serves, else of the one that comes."""
        return next((found for run in (self.active, self.target) if run and (found := run.ready)), [])

    @property
    def state(self) -> str:
        """The state in a word."""
        return (self.active or self.target).status().state if self.runs else "starting"  # type: ignore[union-attr]

    @property
    def is_coming(self) -> bool:
        """Whether an instance may be ready soon."""
        return any(run.status().state in ("starting", "unhealthy") for run in self.runs)

    def aim_at(self, path: str, supervisor: Supervisor) -> list[Run]:
        """Want a run; return those that are wanted no more."""
        before = self.runs
        if self.target is None or self.target.path != path:
            self.target = self.active if self.active and self.active.path == path else Run(supervisor, self.name, path)
        if self.target.status().state == "healthy":
            self.active = self.target
        return [run for run in before if run not in self.runs]


class Run:
    """Instances of one deployment that do the same."""

    def __init__(self, supervisor: Supervisor, deployment: str, path: str, adopted: list[Instance] | None = None) -> None:
        from .worker import read_plan

        self.supervisor, self.deployment, self.path = supervisor, deployment, path
        self.folder = os.path.join(supervisor.folder, path)
        self.plan: WorkerPlan = read_plan(self.folder)
        known = read_run_status(self.folder)
        self._said: RunStatus | None = None
        self._was_ready, self._restarts = (known.was_ready, known.restarts) if known else (False, 0)
        self._error: str | None = None
        self._traceback: str | None = None
        self._wanted = 0
        self._next = 1 + max((_number(item) for item in instance_folders(self.folder)), default=0)
        self._adopted = adopted or []
        for instance in self._adopted:
            instance.run = self
        self._slots: dict[asyncio.Task[None], Instance | None] = {}
        self._busy: list[float] = []
        self._sampled_at = 0.0

    @property
    def ready(self) -> list[Instance]:
        """Instances that take requests."""
        return [item for item in self._slots.values() if item and item.is_ready]

    def status(self) -> RunStatus:
        """How it is."""
        ready = self.ready
        self._was_ready = self._was_ready or (0 < self._wanted <= len(ready))
        if self._error:
            state = "unhealthy" if ready else "failed"
        elif self._was_ready:
            state = "healthy" if ready else "unhealthy"
        else:
            state = "starting"
        return RunStatus(
            state=state,
            error=self._error,
            traceback=self._traceback,
            was_ready=self._was_ready,
            restarts=self._restarts,
            wanted=self._wanted,
            instances=[
                InstanceStatus(name=os.path.basename(item.folder), pid=item.identity.pid, is_ready=item.is_ready)
                for item in self._slots.values()
                if item and item.identity
            ],
        )

    def keep_up(self, scale: Scale) -> None:
        """Start or end instances until there are as many as are wanted, and say how it is."""
        import asyncio

        self._wanted = self._count_for(scale)
        while self._error is None and len(self._slots) < self._wanted:
            first = self._adopted.pop(0) if self._adopted else None
            slot = asyncio.ensure_future(self._keep(first))
            self._slots[slot] = first
            slot.add_done_callback(lambda slot: self._slots.pop(slot, None))
        self.status()
        self._say()

    def surplus(self) -> list[Instance]:
        """Take out the newest instances that are too many, for who ends them once no route leads there."""
        too_many = list(self._slots.items())[self._wanted :] if self._wanted else []
        for slot, instance in too_many:
            del self._slots[slot]
            if instance:
                instance.is_ready = False
            slot.cancel()
        return [instance for _, instance in too_many if instance]

    def _count_for(self, scale: Scale) -> int:
        """Return how many instances there shall be; with a target, by how busy they were since the last polling."""
        count = min(max(self._wanted, scale.minimum, len(self._adopted) if not self._wanted else 0), scale.maximum)
        ready = self.ready
        if scale.minimum == scale.maximum or len(ready) < count:
            return count
        now = time.monotonic()
        if now - self._sampled_at >= LOOK_SECONDS:
            self._sampled_at = now
            self._busy.append(sum(item.busy_share for item in ready))
        if len(self._busy) < scale.polling_seconds:
            return count
        needed = math.ceil(100 * sum(self._busy) / len(self._busy) / scale.target_percent)
        self._busy.clear()
        # Down by one at a time, so that a pause between two bursts does not end what the second one needs.
        return min(max(needed, count - 1, scale.minimum), scale.maximum)

    def retry(self) -> None:
        """Forget that it failed."""
        self._error = self._traceback = None

    async def end(self, grace_seconds: float) -> None:
        """End all instances."""
        import asyncio

        slots = list(self._slots.items())
        for slot, instance in slots:
            if instance:
                instance.is_ready = False
            slot.cancel()
        await asyncio.gather(*(slot for slot, _ in slots), return_exceptions=True)
        ended = [*(item for _, item in slots if item), *self._adopted]
        await asyncio.gather(*(item.end(grace_seconds) for item in ended))

    def _say(self) -> None:
        status = self.status()
        if status != self._said and os.path.isdir(self.folder) and _is_written(os.path.join(self.folder, "status.json"), status.to_dict()):
            self._said = status

    async def _keep(self, instance: Instance | None) -> None:
        """Keep one instance up: one after another, with a pause that grows."""
        import asyncio

        deaths = failed_starts = 0
        slot = asyncio.current_task()
        assert slot
        while True:
            if instance is None:
                instance = Instance(self, os.path.join(self.folder, f"instance-{self._next}"))
                self._next += 1
            self._slots[slot] = instance
            fault = await instance.live()
            self.supervisor.changed()
            await instance.end(0)
            print(f"{self.path}/{os.path.basename(instance.folder)}: {fault.error}", flush=True)
            was_ready = instance.lived_seconds > 0
            failed_starts = 0 if was_ready else failed_starts + 1
            deaths = 0 if instance.lived_seconds >= SOUND_SECONDS else deaths + 1
            self._slots[slot] = instance = None
            if failed_starts >= (MAX_FAILED_STARTS if self._was_ready else 1):
                self._error, self._traceback = fault.error, fault.traceback
                self.supervisor.changed()
                return
            self._restarts += 1
            if deaths > 1:
                await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (deaths - 2), MAX_PAUSE_SECONDS))


class Fault(Record):
    """Why an instance ended."""

    error: str
    traceback: str | None = None


class Instance:
    """One worker, from its start to its end."""

    def __init__(self, run: Run | None, folder: str, identity: ProcessIdentity | None = None) -> None:
        self.run, self.folder, self.identity = run, folder, identity
        self.is_ready = False
        self.stats: dict[str, Any] = {}
        self._is_accepting: bool | None = None
        self._link: Link | None = None
        self._ready_at: float | None = None
        self._port = 0
        self.busy_share = 0.0  # of the last second
        self._measured = (time.monotonic(), 0.0)

    @property
    def lived_seconds(self) -> float:
        """Time since it was ready; 0 when it never was."""
        return time.monotonic() - self._ready_at if self._ready_at is not None else 0.0

    async def live(self) -> Fault:
        """Start it, unless it lives already, say when it is ready, and watch it until it ends or hangs."""
        import asyncio

        run = self.run
        assert run
        probe, seconds = run.plan.liveness_probe, run.plan.start_seconds
        try:
            async with asyncio.timeout(seconds):
                if self.identity is None:
                    await self._start()
                self._link = await self._connect()
                await self._link.ask({"ask": "ready"})
                while self._port != run.supervisor.port:
                    await self._follow(self._link)
        except TimeoutError:
            return self._fault(f"it was not ready after {seconds:.0f} second{'' if seconds == 1 else 's'}; the log's end follows")
        except Unavailable as error:
            return Fault(error=error.message)
        except (OSError, ValueError) as error:
            if self.identity is None:
                return Fault(error=f"it cannot be started: {error}")
            return await self._last_words()
        self.is_ready, self._ready_at = True, time.monotonic()
        run.supervisor.changed()
        try:
            patience = probe.failure_threshold * max(probe.period, probe.timeout) if probe else ANSWER_SECONDS
            return await self._watch(self._link, patience)
        finally:
            self.is_ready = False

    async def _start(self) -> None:
        import asyncio

        from .worker import read_plan, start_worker

        assert self.run
        supervisor = self.run.supervisor
        starting = asyncio.ensure_future(
            asyncio.to_thread(start_worker, self.folder, read_plan(self.run.folder), supervisor.listener, supervisor.environment)
        )
        try:
            self.identity = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self.identity = await starting  # it cannot be called back, so it is waited for and ended
            raise

    async def _connect(self) -> Link:
        import asyncio

        from .compute import is_alive
        from .serving.handover import Link

        assert self.run
        assert self.identity
        while True:
            lives = is_alive(self.identity)
            try:
                link = await Link.open(self.folder)
                said = await link.ask({"ask": "hello", "environment": self.run.supervisor.environment})
            except OSError:
                if not lives:
                    raise
                await asyncio.sleep(0.02)
                continue
            if said["token"] != self.identity.token:
                raise ConnectionRefusedError("somebody else sits there")
            self._port = said["port"]
            return link

    async def _watch(self, link: Link, patience: float) -> Fault:
        import asyncio

        assert self.run
        plan = self.run.plan
        call_seconds = max(patience if plan.liveness_probe else CALL_SECONDS, 3 * plan.timeout_seconds)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(link.closed.wait(), LOOK_SECONDS)
                return await self._last_words()
            try:
                self.stats = await asyncio.wait_for(link.ask({"ask": "stats"}), patience)
            except TimeoutError:
                return self._fault(f"it did not answer for {patience:.0f} seconds")
            except ConnectionError:
                return await self._last_words()
            self._measure()
            if self.stats.get("running_seconds", 0.0) > call_seconds:
                return self._fault(f"one call of the model took longer than {call_seconds:.0f} seconds")

    def _measure(self) -> None:
        now, seconds = time.monotonic(), self.stats["model_seconds"] + self.stats["running_seconds"]
        since, before = self._measured
        self._measured = (now, seconds)
        self.busy_share = min(max(seconds - before, 0.0) / max(now - since, 0.001), 1.0)

    async def follow(self) -> None:
        """Listen where the supervisor listens now."""
        import asyncio

        if self._link:
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._follow(self._link), ANSWER_SECONDS / 2)

    async def _follow(self, link: Link) -> None:
        self._port = (await link.ask({"ask": "move"}))["port"]

    async def accept(self, *, is_on: bool, is_new: bool) -> None:
        """Let it take new connections, or leave them to others; it reads the routes first, which may be new."""
        import asyncio

        if self._link and (is_new or self._is_accepting != is_on):
            self._is_accepting = is_on
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._link.ask({"ask": "accept", "is_on": is_on}), LOOK_SECONDS)

    async def end(self, grace_seconds: float) -> None:
        """End its process and what that started, and remove its folder."""
        import asyncio
        import shutil

        from .compute import stop_process

        self.is_ready = False
        if self.identity:
            await asyncio.to_thread(stop_process, self.identity, grace_seconds=grace_seconds)
        if self._link:
            self._link.close()
        await asyncio.to_thread(remove_container, self.folder)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def _last_words(self) -> Fault:
        """Return what it said before it went; the log's end when it said nothing."""
        import asyncio

        from .compute import is_alive
        from .worker import read_status

        for _ in range(50):  # it closes its door a moment before it ends
            if self.identity is None or not is_alive(self.identity):
                break
            await asyncio.sleep(0.02)
        status = read_status(self.folder)
        if status.state == "failed":
            return Fault(error=str(status.error), traceback=status.traceback)
        return self._fault("its process ended without a word; the log's end follows")

    def _fault(self, error: str) -> Fault:
        from .worker import read_log

        return Fault(error=error, traceback=read_log(os.path.dirname(self.folder)))


def _living(run: str) -> list[Instance]:
    """Return a run's instances that live; what dead ones left is ended and removed."""
    import shutil

    from .compute import is_alive, stop_process
    from .worker import read_identity

    found = []
    for folder in instance_folders(run):
        identity = read_identity(folder)
        if identity and is_alive(identity):
            found.append(Instance(None, folder, identity))
            continue
        if identity:
            stop_process(identity, grace_seconds=0)
        remove_container(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return found


def rotate(path: str) -> None:
    """Begin a log anew when it is large, and keep a few old ones.

    It is emptied where it is, since whatever a script started writes there too; what that prints in the very moment may be lost,
    what an instance prints itself is not. Of what grew to more than twice the size between two looks the beginning is lost.
    """
    import shutil

    try:
        if os.stat(path).st_size < MAX_LOG_BYTES:
            return
        for number in range(KEPT_LOGS - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{path}.{number}", f"{path}.{number + 1}")
        with open(path, "r+b") as held, open(os.open(f"{path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as kept:
            size = held.seek(0, os.SEEK_END)
            held.seek(max(0, size - 2 * MAX_LOG_BYTES))
            while held.tell() < size:  # most of it, while others print
                kept.write(held.read(1 << 20))
            _be_alone(held.fileno())
            shutil.copyfileobj(held, kept)
            kept.flush()
            held.truncate(0)
    except FileNotFoundError:
        return
    except OSError as error:  # a full disk keeps the newest lines only
        print(f"{path} is emptied without a copy: {error.strerror}", flush=True)
        os.truncate(path, 0)


def _be_alone(log: int) -> None:
    """Wait for the lock of a log that instances share while they print; not for long, since one may have been stopped there."""
    import fcntl

    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.001)


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(code)
