"""What an endpoint is on this machine: a folder, keys, a supervisor, and the runs of its deployments.

::

    HOME/endpoints/<endpoint>/lock               who changes what is wanted, or starts a supervisor
    HOME/endpoints/<endpoint>/keys.json          0600
    HOME/endpoints/<endpoint>/endpoint.json      what is wanted, read by the supervisor
    HOME/endpoints/<endpoint>/routes.json        what is ready, read by the instances
    HOME/endpoints/<endpoint>/supervisor.json supervisor.log supervisor.lock control.sock
    HOME/endpoints/<endpoint>/<deployment>/lock  who creates or updates it
    HOME/endpoints/<endpoint>/<deployment>/<run>/worker.json status.json log.txt code/ instance-<n>/

An operation writes a run and what is wanted, sees that there is a supervisor, and waits for what that says. A replaced
deployment gets a new run beside the old one, which goes on until all instances of the new one are ready, and for good if
they never are. The catalog names the run that counts.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress

from .entities.datastore import DEFAULT_DATASTORE
from .entities.online import CodeConfiguration, OnlineDeployment, OnlineEndpoint, ProbeSettings
from .errors import Conflict, NotFound, Unavailable
from .folders import listed, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket
    from typing import Any

    from .entities.model import Model
    from .entities.online import DeploymentNumbers, EndpointKeys
    from .pythons import PythonEnvironment
    from .supervisor import RunStatus, Scale, Wanted
    from .worker import WorkerPlan
    from .workspace import Workspace

HOST = "127.0.0.1"
END_SECONDS = 20.0  # longer than an instance may drain
ASK_SECONDS = 1.0  # so long an instance may take to say how it does
CALL_SECONDS = 60.0  # so long a call waits for a deployment that is starting
SLACK_SECONDS = 15.0  # for the supervisor's own part in a start
# What a deployment may say and this machine does not do; the log tells.
UNUSED = (
    *("type", "instance_type", "resources", "app_insights_enabled"),
    *("model_mount_path", "egress_public_network_access"),
)


# --- start and stop -----------------------------------------------------------------------------------------------


def start(
    workspace: Workspace,
    deployment: OnlineDeployment,
    model: Model,
    *,
    port: int | None,
    trust: bool,
    no_wait: bool,
    is_script_checked: bool,
    code_folder: str | None = None,
) -> None:
    """Start a run of a deployment and record it; the run it replaces serves until the new one is ready.

    ``code_folder`` is used instead of the folder that the deployment names.

    Raises
    ------
    InvalidInput
        If the scoring script is missing or lacks ``run()``.
    UnsafeModel
        If no script loads the model, loading would run code, and ``trust`` is False.
    Conflict
        If the deployment is being started by another process, or is deleted meanwhile.
    Unavailable
        If the port is in use, or an instance does not become ready. The run that was to be replaced goes on.
    """
    import tempfile

    from .worker import write_plan

    folder = _deployment_folder(workspace, deployment)
    with _only_starter(folder):
        _remove_leftovers(workspace, deployment)
        run = tempfile.mkdtemp(dir=folder, prefix="run-")
        try:
            write_plan(
                run, _plan(workspace, deployment, model, run, trust=trust, is_script_checked=is_script_checked, code_folder=code_folder)
            )
            _start(workspace, deployment, run, port=port, no_wait=no_wait)
        finally:
            _remove_leftovers(workspace, deployment)
            if not _runs(folder):
                _remove_folder(folder)


def _start(workspace: Workspace, deployment: OnlineDeployment, run: str, *, port: int | None, no_wait: bool) -> None:
    endpoint, name = str(deployment.endpoint_name), str(deployment.name)
    old = workspace.catalog.get_process(endpoint, name)
    is_replacing = old is not None and _state_of(workspace, endpoint, old)[0] in ("healthy", "unhealthy")
    before = workspace.catalog.get_deployment(endpoint, name) if old else None
    with _changing(workspace, endpoint) as wanted:
        previous = wanted.deployments.get(name)
        wanted.deployments[name] = os.path.relpath(run, endpoint_folder(workspace, endpoint))
        wanted.scales[name] = scale_of(deployment)
        port = _supervise(workspace, wanted, port)
    process = {"folder": run, "port": port}
    try:
        if not is_replacing:
            workspace.catalog.put_deployment(deployment.replace(provisioning_state="Creating"), process)
            if no_wait:
                return
        _wait_until_ready(workspace, deployment, run)
        workspace.catalog.put_deployment(deployment.replace(provisioning_state="Succeeded"), process)
    except Unavailable:
        if is_replacing:
            _want_again(workspace, endpoint, name, previous)
        else:
            workspace.catalog.put_deployment(deployment.replace(provisioning_state="Failed"), process)
        raise
    except Conflict:  # it was deleted
        raise
    except BaseException:  # Ctrl-C too
        _want_again(workspace, endpoint, name, previous)
        if before:
            workspace.catalog.put_deployment(before, old)
        elif not is_replacing:
            with suppress(NotFound):
                workspace.catalog.delete_deployment(endpoint, name)
        _wait_until_gone(run)
        raise
    for other in _runs(os.path.dirname(run)):
        if other != run:
            _wait_until_gone(other)


def rescale(workspace: Workspace, deployment: OnlineDeployment) -> None:
    """Start or end instances of a deployment that runs, and record what else changed of it that no instance sees.

    Raises
    ------
    Conflict
        If the deployment is being started by another process, or is deleted meanwhile.
    Unavailable
        If an instance does not become ready.
    """
    from .supervisor import read_run_status
    from .worker import read_plan, write_plan

    name, process = str(deployment.name), _process_of(workspace, deployment)
    assert process
    with _only_starter(_deployment_folder(workspace, deployment)):
        scale = scale_of(deployment)
        write_plan(process["folder"], read_plan(process["folder"]).replace(instances=scale.maximum))
        with _changing(workspace, str(deployment.endpoint_name)) as wanted:
            wanted.scales[name] = scale
            _supervise(workspace, wanted, None)
        workspace.catalog.put_deployment(deployment.replace(provisioning_state="Succeeded"), process)

        def is_done() -> bool:
            status = read_run_status(process["folder"])
            return status is None or bool(status.error) or scale.minimum <= sum(item.is_ready for item in status.instances) <= scale.maximum

        _wait_for(is_done, read_plan(process["folder"]).start_seconds)
        state, error, _ = _state_of(workspace, str(deployment.endpoint_name), process)
        if state == "failed" or error:
            raise Unavailable(f'Deployment "{name}" has fewer instances than it should: {error}')


def _wait_until_ready(workspace: Workspace, deployment: OnlineDeployment, run: str) -> None:
    """Wait until a run is healthy.

    Raises
    ------
    Unavailable
        If it failed.
    Conflict
        If it is wanted no more.
    """
    from .supervisor import read_run_status, read_wanted
    from .worker import read_plan

    endpoint = str(deployment.endpoint_name)
    folder = endpoint_folder(workspace, endpoint)
    deadline = time.monotonic() + read_plan(run).start_seconds + SLACK_SECONDS
    while time.monotonic() < deadline:
        wanted = read_wanted(folder)
        if wanted is None or wanted.deployments.get(str(deployment.name)) != os.path.relpath(run, folder):
            raise Conflict(f'Deployment "{deployment.name}" was deleted while it was starting.')
        status = read_run_status(run)
        if status and status.state == "failed":
            raise Unavailable(f'Deployment "{deployment.name}" did not start: {status.error}', detail=status.traceback or "")
        if status and status.state == "healthy":
            return
        time.sleep(0.02)
    raise Unavailable(f'Deployment "{deployment.name}" did not start: its supervisor says nothing; see {folder}/supervisor.log.')


def _want_again(workspace: Workspace, endpoint: str, name: str, previous: str | None) -> None:
    """Want the run that was wanted before; none if there was none."""
    with suppress(NotFound), _changing(workspace, endpoint) as wanted:
        if previous:
            wanted.deployments[name] = previous
        else:
            wanted.deployments.pop(name, None)
    _ask_to_look(workspace, endpoint)


def remove_deployment(workspace: Workspace, endpoint_name: str, name: str) -> None:
    """Want a deployment no more, so that who is starting it gives up; wait for its end and remove its files."""
    deployment = OnlineDeployment(name=name, endpoint_name=endpoint_name)
    with suppress(NotFound), _changing(workspace, endpoint_name) as wanted:
        wanted.deployments.pop(name, None)
        wanted.scales.pop(name, None)
    folder = _deployment_folder(workspace, deployment)
    _ask_to_look(workspace, endpoint_name)
    workspace.catalog.delete_deployment(endpoint_name, name)
    for run in _runs(folder):
        if _has_supervisor(endpoint_folder(workspace, endpoint_name)):
            _wait_until_gone(run)
        _end_run(run)
    _remove_folder(folder)


def remove_endpoint(workspace: Workspace, name: str) -> None:
    """Stop an endpoint's processes, then forget it, its keys and its logs."""
    folder = endpoint_folder(workspace, name)
    try:
        with suppress(NotFound, Unavailable), _changing(workspace, name) as wanted:  # what cannot be read may be deleted
            wanted.is_deleted = True
    except OSError:  # a full disk, on which all that can be done is to remove
        os.unlink(os.path.join(folder, "endpoint.json"))
    _end_supervisor(folder)
    for deployment_name in listed(folder):
        for run in _runs(os.path.join(folder, deployment_name)):
            _end_run(run)  # on a full disk the catalog has room for its change only then
    for deployment in workspace.catalog.list_deployments(name):
        workspace.catalog.delete_deployment(name, str(deployment.name))
    workspace.catalog.delete_endpoint(name)
    _remove_folder(folder)


def start_endpoint(workspace: Workspace, name: str) -> None:
    """Bring a stopped endpoint back, and what failed in it; wait until its deployments are ready or have failed.

    Raises
    ------
    Unavailable
        If its port is in use.
    """
    from .serving.handover import ask
    from .supervisor import read_run_status
    from .worker import read_plan

    folder = endpoint_folder(workspace, name)
    with _changing(workspace, name) as wanted:
        if not wanted.deployments:
            return
        _supervise(workspace, wanted, None)
    ask(folder, {"ask": "retry"})
    _ask_to_look(workspace, name)
    runs = [os.path.join(folder, path) for path in wanted.deployments.values()]
    deadline = time.monotonic() + max(read_plan(run).start_seconds for run in runs) + SLACK_SECONDS
    while time.monotonic() < deadline:
        states = [status.state for run in runs if (status := read_run_status(run))]
        if not {"starting", "unhealthy"} & set(states):
            return
        time.sleep(0.02)


def ready_to_call(workspace: Workspace, endpoint: OnlineEndpoint, deployment: str | None) -> None:
    """Start an endpoint that stopped, and wait for what is starting, until somebody of ours can answer.

    Raises
    ------
    Unavailable
        If nobody will: what would answer has failed, or the port is in use.
    """
    name = str(endpoint.name)
    if endpoint.state == "stopped":
        start_endpoint(workspace, name)
    asked = [deployment] if deployment else [key for key in endpoint.deployments or [] if endpoint.traffic.get(key)]
    if asked:
        _wait_for(lambda: any(_state_of_deployment(workspace, name, key)[0] != "starting" for key in asked), CALL_SECONDS)
    states = [_state_of_deployment(workspace, name, key) for key in asked or endpoint.deployments or []]
    if all(state in ("failed", "stopped") for state, _ in states):
        state, error = states[0]
        raise Unavailable(f'Endpoint "{name}" has {state}: {error}')


def _state_of_deployment(workspace: Workspace, endpoint: str, name: str) -> tuple[str, str | None]:
    process = workspace.catalog.get_process(endpoint, name)
    return _state_of(workspace, endpoint, process)[:2] if process else ("stopped", "It was never started.")


# --- the supervisor -----------------------------------------------------------------------------------------------


@contextmanager
def _changing(workspace: Workspace, name: str) -> Iterator[Wanted]:
    """Yield what is wanted of an endpoint, to be changed by one process at a time, and write it.

    Raises
    ------
    NotFound
        If the endpoint is gone, or going.
    """
    import fcntl

    from .supervisor import read_wanted, write_wanted

    folder = endpoint_folder(workspace, name)
    try:
        handle = os.open(os.path.join(folder, "lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFound(f'Endpoint "{name}" has no folder any more; delete it.') from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        wanted = read_wanted(folder)
        is_same = os.path.exists(os.path.join(folder, "lock")) and os.path.samestat(os.fstat(handle), os.stat(os.path.join(folder, "lock")))
        if wanted is None or wanted.is_deleted or not is_same:
            raise NotFound(f'Endpoint "{name}" was deleted meanwhile.')
        yield wanted
        write_wanted(folder, wanted)
    finally:
        os.close(handle)


def _supervise(workspace: Workspace, wanted: Wanted, port: int | None) -> int:
    """See that an endpoint has a supervisor that listens on the wanted port; return the port. Called under the lock.

    Raises
    ------
    Unavailable
        If the port is in use.
    """
    from .serving.handover import ask
    from .supervisor import start_supervisor, write_wanted

    folder = endpoint_folder(workspace, wanted.endpoint)
    said = ask(folder, {"ask": "hello"})
    if said and port not in (None, said["port"]):
        check_port(port)
        moved = ask(folder, {"ask": "move", "port": port})
        if moved is None or "error" in moved:
            raise Unavailable(moved["error"] if moved else f'Endpoint "{wanted.endpoint}" does not move to port {port}; try again.')
        said["port"] = port
    if said:
        wanted.port = int(said["port"])
        write_wanted(folder, wanted)
        ask(folder, {"ask": "look"})
        return wanted.port
    with _listener(folder, wanted, port) as listener:
        _end_supervisor(folder)  # one that hangs; its instances go on, at this port
        wanted.port = listener.getsockname()[1]
        write_wanted(folder, wanted)
        start_supervisor(folder, listener)
    return int(wanted.port)


def _listener(folder: str, wanted: Wanted, port: int | None) -> socket:
    """Return the socket that instances still hold, or one bound to the endpoint's port, the wanted one or a free one."""
    from .serving import bind_port
    from .serving.handover import take

    if wanted.port is None or port not in (None, wanted.port):
        return bind_port(port, host=HOST)
    for instance in _instances(folder):
        taken = take(instance)
        if taken:
            return taken
    _end_instances(folder)  # what holds the port and does not answer
    try:
        return bind_port(wanted.port, host=HOST)
    except Unavailable:
        raise Unavailable(
            f"Port {wanted.port}, which this endpoint had, is in use now; deploy again with --port to move it to another."
        ) from None


def _ask_to_look(workspace: Workspace, name: str) -> None:
    from .serving.handover import ask

    ask(endpoint_folder(workspace, name), {"ask": "look"})


def _has_supervisor(folder: str) -> bool:
    from .compute import is_alive
    from .supervisor import read_supervisor

    identity = read_supervisor(folder)
    return identity is not None and is_alive(identity)


def _end_supervisor(folder: str) -> None:
    """End the supervisor and its instances; one that does not answer is ended alone."""
    from .compute import is_alive, stop_process
    from .serving.handover import ask
    from .supervisor import read_supervisor

    identity = read_supervisor(folder)
    ask(folder, {"ask": "end"})
    if identity:
        _wait_for(lambda: not is_alive(identity))
        stop_process(identity, grace_seconds=0)


def _end_instances(folder: str) -> None:
    for name in listed(folder):
        for run in _runs(os.path.join(folder, name)):
            _end_run(run, removes=False)


def _end_run(run: str, *, removes: bool = True) -> None:
    """End what a supervisor left of a run, and remove it."""
    from .compute import stop_process
    from .pythons.containers import remove_container
    from .supervisor import DELETE_SECONDS, instance_folders
    from .worker import read_identity

    for instance in instance_folders(run):
        identity = read_identity(instance)
        if identity:
            stop_process(identity, grace_seconds=DELETE_SECONDS)
        remove_container(instance)
    if removes:
        _remove_folder(run)


def _instances(folder: str) -> list[str]:
    from .supervisor import instance_folders

    return [instance for name in listed(folder) for run in _runs(os.path.join(folder, name)) for instance in instance_folders(run)]


def _runs(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in listed(folder) if name.startswith("run-")]


def _remove_leftovers(workspace: Workspace, deployment: OnlineDeployment) -> None:
    """Remove runs that nobody wants and that no process is left of: a killed operation's. Called by the only starter."""
    from .supervisor import read_wanted

    folder = endpoint_folder(workspace, str(deployment.endpoint_name))
    wanted, process = read_wanted(folder), _process_of(workspace, deployment)
    named = wanted.deployments.get(str(deployment.name)) if wanted else None
    kept = {os.path.join(folder, named) if named else None, process["folder"] if process else None}
    for run in _runs(os.path.join(folder, str(deployment.name))):
        if run not in kept and not _lives(run):
            _end_run(run)


def _lives(run: str) -> bool:
    from .compute import is_alive
    from .supervisor import instance_folders
    from .worker import read_identity

    return any(is_alive(identity) for folder in instance_folders(run) if (identity := read_identity(folder)))


def _wait_until_gone(run: str) -> None:
    _wait_for(lambda: not _lives(run))


def _wait_for(happened: Callable[[], bool], seconds: float = END_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)


def _plan(
    workspace: Workspace,
    deployment: OnlineDeployment,
    model: Model,
    run: str,
    *,
    trust: bool,
    is_script_checked: bool,
    code_folder: str | None,
) -> WorkerPlan:
    from .environments import ready_container, ready_environment
    from .errors import InvalidInput
    from .models import audited_path
    from .pythons import PythonEnvironment
    from .worker import WorkerPlan

    configuration = deployment.code_configuration or CodeConfiguration()
    _check_code(deployment, configuration, model)
    code = _copy_code(configuration, run, code_folder, is_checked=is_script_checked)
    # A scoring script loads the model in its own way; then its author answers for what loading runs.
    has_script = configuration.scoring_script is not None
    path = audited_path(workspace, model, trust=trust or has_script)
    endpoint, probe = str(deployment.endpoint_name), deployment.readiness_probe or ProbeSettings()
    folder = endpoint_folder(workspace, endpoint)
    notices: list[str] = []
    container = ready_container(workspace, deployment.environment, notices.append, has_script=has_script, mount=deployment.model_mount_path)
    if container and deployment.accelerator:
        raise InvalidInput("accelerator is for a model that answers by itself, not for what a container serves.", key="accelerator")
    python = PythonEnvironment(python=sys.executable)
    if container is None:
        python = ready_environment(workspace, deployment.environment, notices.append, has_script=has_script, has_tables=_has_tables(model))
    used = ("model_mount_path",) if container else ()
    unused = [key for key in UNUSED if key not in used and getattr(deployment, key) != getattr(OnlineDeployment, key)]
    if unused:
        notices.append(f"Of no effect on this machine: {', '.join(unused)}")
    accelerated = None
    if deployment.accelerator:
        accelerated = os.path.join(run, "onnx")
        notices.append(_accelerate(model, path, accelerated, python, trust=trust))
    elif not configuration.scoring_script and deployment.environment is None:
        notices += _offers(model, path)
    return WorkerPlan(
        endpoint=endpoint,
        deployment=str(deployment.name),
        model=f"{model.name}:{model.version}",
        model_dir=os.path.dirname(path),
        model_path=path,
        flavor=model.flavor,
        signature=model.signature,
        input_example=model.input_example,
        code_folder=code,
        scoring_script=configuration.scoring_script,
        model_class=configuration.model_class,
        accelerated=accelerated,
        keys_path=_keys_path(workspace, endpoint),
        routes_path=os.path.join(folder, "routes.json"),
        endpoint_folder=folder,
        request_settings=deployment.request_settings,
        data_collector=deployment.data_collector,
        datastore=workspace.datastore_path(DEFAULT_DATASTORE),
        environment_variables=deployment.environment_variables,
        instances=scale_of(deployment).maximum,
        start_seconds=probe.initial_delay + probe.period * probe.failure_threshold,
        liveness_probe=deployment.liveness_probe,
        is_trusted=trust,
        container=container,
        python=python.python,
        python_path=python.path,
        supervisor_python=sys.executable,
        notices=notices,
    )


def _has_tables(model: Model) -> bool:
    """Say whether a model may have been fitted on a table: one whose columns have no names was not."""
    return model.flavor != "sklearn" or model.signature is None or any(spec.name is not None for spec in model.signature.inputs)


def _accelerate(model: Model, path: str, folder: str, python: PythonEnvironment, *, trust: bool) -> str:
    """Convert a model beside its run, and return what is to be said of it."""
    from .flavors import accelerated

    wanted = accelerated.Wanted(
        path=path, flavor=model.flavor or "", folder=folder, is_trusted=trust, example=model.input_example, signature=model.signature
    )
    return accelerated.convert(python.command(accelerated.__name__), python.variables(dict(os.environ)), wanted).told()


def _offers(model: Model, path: str) -> list[str]:
    """Return what would make a model answer faster, where that is sure and needs nothing to be installed."""
    from importlib.util import find_spec

    from .flavors import layout
    from .flavors.accelerated import FORESTS

    kind = str(layout.read_folder(path).get("class")).rpartition(".")[2]
    if model.flavor != "sklearn" or not kind.startswith(FORESTS) or not (find_spec("skl2onnx") and find_spec("onnxruntime")):
        return []
    return [f"{kind} answers many times faster with --accelerator onnx, which converts it and checks that it answers the same."]


def scale_of(deployment: OnlineDeployment) -> Scale:
    """Return how many instances a deployment asks for."""
    from .supervisor import Scale

    settings = deployment.scale_settings
    if settings is None or settings.type == "default":
        return Scale(minimum=deployment.instance_count, maximum=deployment.instance_count)
    return Scale(
        minimum=settings.min_instances,
        maximum=settings.max_instances,
        target_percent=settings.target_utilization_percentage,
        polling_seconds=settings.polling_interval,
    )


def _check_code(deployment: OnlineDeployment, configuration: CodeConfiguration, model: Model) -> None:
    from .errors import InvalidInput
    from .flavors.torch import parse_class

    if configuration.code and not (configuration.scoring_script or configuration.model_class):
        raise InvalidInput("code_configuration needs scoring_script, or model_class.", key="code_configuration.scoring_script")
    if deployment.accelerator and (configuration.scoring_script or configuration.model_class):
        raise InvalidInput("accelerator is for a model that answers by itself, without code.", key="accelerator")
    if not configuration.model_class:
        return
    if configuration.scoring_script:
        raise InvalidInput(
            "A scoring_script builds the model in its own way; leave it or model_class out.", key="code_configuration.model_class"
        )
    parse_class(configuration.model_class)
    if model.flavor != "torch":
        raise InvalidInput(
            f"model_class is for parameters that torch wrote; {model.name}:{model.version} is {model.flavor or 'of no known layout'}.",
            key="code_configuration.model_class",
        )


def _copy_code(configuration: CodeConfiguration, run: str, folder: str | None, *, is_checked: bool) -> str | None:
    """Copy the code into the run, so that later edits do not reach a running endpoint."""
    import shutil

    from .serving import check_script

    source = folder or configuration.code
    if not source and not configuration.scoring_script:
        return None
    if not source or not os.path.isdir(source):
        raise NotFound(f'No such folder of code: "{source}".')
    if configuration.scoring_script and is_checked:
        check_script(os.path.join(source, configuration.scoring_script))
    target = os.path.join(run, "code")
    left_out = shutil.ignore_patterns("__pycache__", ".git", ".venv", "node_modules")

    def ignore(place: str, names: list[str]) -> set[str]:
        return {*left_out(place, names), *(name for name in names if holds(os.path.join(place, name)))}

    def holds(path: str) -> bool:  # the registry itself may lie in the folder of code: then the copy would copy itself
        return os.path.realpath(target).startswith(os.path.realpath(path) + os.sep)

    shutil.copytree(source, target, ignore=ignore)
    return target


def deployed_code(workspace: Workspace, deployment: OnlineDeployment) -> str | None:
    """Return the copy of the scoring code that a deployment runs; None when it has none."""
    process = _process_of(workspace, deployment)
    folder = os.path.join(process["folder"], "code") if process else ""
    return folder if os.path.isdir(folder) else None


def _process_of(workspace: Workspace, deployment: OnlineDeployment) -> dict[str, Any] | None:
    return workspace.catalog.get_process(str(deployment.endpoint_name), str(deployment.name))


@contextmanager
def _only_starter(folder: str) -> Iterator[None]:
    """Keep two processes from starting one deployment at a time; deleting it meanwhile is allowed."""
    import fcntl

    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f'Deployment "{os.path.basename(folder)}" is being started already; try again when that is done.') from None
        yield


# --- observe ------------------------------------------------------------------------------------------------------


def observe_endpoint(workspace: Workspace, name: str) -> OnlineEndpoint:
    """Return an endpoint with its URL and the state of its deployments right now."""
    from .supervisor import read_wanted

    endpoint = workspace.catalog.get_endpoint(name)
    deployments = [observe_deployment(workspace, name, str(item.name)) for item in workspace.catalog.list_deployments(name)]
    wanted = read_wanted(endpoint_folder(workspace, name))
    port = wanted.port if wanted and deployments else None
    url = f"http://{HOST}:{port}" if port else None
    # The worst that a caller may meet: of what has traffic, or of all where nothing has.
    seen = [item for item in deployments if endpoint.traffic.get(str(item.name))] or deployments
    worst = max(seen, key=lambda item: _STATES.index(str(item.state)), default=None)
    return endpoint.replace(
        provisioning_state="Deleting" if wanted and wanted.is_deleted else worst.provisioning_state if worst else "Succeeded",
        scoring_uri=f"{url}/score" if url else None,
        openapi_uri=f"{url}/swagger.json" if url else None,
        kind="Managed",
        deployments=[str(item.name) for item in deployments],
        state=worst.state if worst else "empty",
        error=worst.error if worst else None,
    )


_STATES = ("healthy", "starting", "unhealthy", "failed", "stopped")


def observe_deployment(workspace: Workspace, endpoint_name: str, name: str) -> OnlineDeployment:
    """Return a deployment with its instances and what the supervisor says of them right now."""
    from .supervisor import read_wanted

    deployment = workspace.catalog.get_deployment(endpoint_name, name)
    process = workspace.catalog.get_process(endpoint_name, name)
    if process is None:
        return deployment.replace(state="stopped", error="It was never started.")
    state, error, status = _state_of(workspace, endpoint_name, process)
    wanted = read_wanted(endpoint_folder(workspace, endpoint_name))
    pids = [item.pid for item in status.instances if item.is_ready] if status else []
    return deployment.replace(
        state=state,
        error=error,
        provisioning_state=_provisioning_state(workspace, deployment, process, state, status),
        pid=pids[0] if pids and state in ("healthy", "starting") else None,
        port=wanted.port if wanted else process["port"],
        notices=_notices_of(process["folder"]),
    )


def _notices_of(run: str) -> list[str] | None:
    from .worker import read_plan

    with suppress(FileNotFoundError):
        return read_plan(run).notices or None
    return None


def is_running(run: str) -> bool:
    """Say whether a supervisor keeps a run, or an instance of it lives without one."""
    return _has_supervisor(os.path.dirname(os.path.dirname(run))) or _lives(run)


def _provisioning_state(
    workspace: Workspace, deployment: OnlineDeployment, process: dict[str, Any], state: str, status: RunStatus | None
) -> str:
    """Return Azure's word: what is being done to it, or how that ended."""
    from .supervisor import read_wanted

    folder = endpoint_folder(workspace, str(deployment.endpoint_name))
    wanted = read_wanted(folder)
    named = wanted.deployments.get(str(deployment.name)) if wanted else None
    if wanted is None or named is None:
        return "Deleting"
    if process["folder"] != os.path.join(folder, named):
        return "Updating"
    if state == "healthy" and status and status.was_ready and sum(item.is_ready for item in status.instances) != status.wanted:
        return "Scaling"
    return {"starting": "Creating", "failed": "Failed"}.get(state, "Succeeded")


def _state_of(workspace: Workspace, endpoint: str, process: dict[str, Any]) -> tuple[str, str | None, RunStatus | None]:
    from .supervisor import read_run_status

    # Whether anything lives is asked before the status, which is written last.
    lives = is_running(process["folder"])
    status = read_run_status(process["folder"])
    if status and status.state == "failed":
        return "failed", status.error, status
    if lives:
        return (status.state, status.error, status) if status else ("starting", None, None)
    return "stopped", f"Nothing of it runs any more; bring it back: modelreg online-endpoint start -n {endpoint}", status


def count(workspace: Workspace, endpoint_name: str, name: str) -> DeploymentNumbers:
    """Ask a deployment's instances how they do."""
    from .entities.online import DeploymentNumbers
    from .serving.handover import ask

    process = workspace.catalog.get_process(endpoint_name, name)
    if process is None:
        return DeploymentNumbers()
    state, _, status = _state_of(workspace, endpoint_name, process)
    ready = [item for item in status.instances if item.is_ready] if status and state != "stopped" else []
    folders = [os.path.join(process["folder"], item.name) for item in ready]
    said = [stats for folder in folders if (stats := ask(folder, {"ask": "stats"}, timeout_seconds=ASK_SECONDS))]
    sizes = [size for item in ready if (size := _memory_bytes(item.pid)) is not None]
    calls = [(stats["batches"], stats["batched"]) for stats in said]
    batches, batched = (sum(numbers) for numbers in zip(*calls, strict=True)) if calls else (0, 0)
    return DeploymentNumbers(
        state=state,
        instances=len(ready),
        restarts=status.restarts if status else 0,
        requests=sum(stats["requests"] for stats in said),
        errors=sum(stats["errors"] for stats in said),
        requests_per_second=round(sum(stats["requests_per_second"] for stats in said), 3),
        **{name: max((stats[name] for stats in said if stats[name] is not None), default=None) for name in ("p50_ms", "p95_ms", "p99_ms")},
        batch_size=round(batched / batches, 2) if batches else None,
        queue=sum(stats["waiting"] for stats in said),
        memory_bytes=sum(sizes) if sizes else None,
    )


def _memory_bytes(pid: int) -> int | None:
    """Return a process's proportional set size; None where the system does not tell. Source: proc_pid_smaps(5)"""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:
        return next((int(line.split()[1]) << 10 for line in stream if line.startswith("Pss:")), None)
    return None


def read_log(workspace: Workspace, endpoint_name: str, name: str, lines: int) -> str:
    """Return the last lines of a deployment's log; empty when it printed nothing."""
    from .worker import read_log

    process = workspace.catalog.get_process(endpoint_name, name)
    return read_log(process["folder"], lines) if process else ""


# --- files of an endpoint -----------------------------------------------------------------------------------------


def endpoint_folder(workspace: Workspace, name: str) -> str:
    """Return the folder of one endpoint."""
    return os.path.join(workspace.home, "endpoints", name)


def _deployment_folder(workspace: Workspace, deployment: OnlineDeployment) -> str:
    return os.path.join(endpoint_folder(workspace, str(deployment.endpoint_name)), str(deployment.name))


def new_key() -> str:
    """Make a key: 256 random bits in letters, digits, - and _."""
    import secrets

    return secrets.token_urlsafe(32)


def read_keys(workspace: Workspace, name: str) -> dict[str, str]:
    """Return ``{"primary": …, "secondary": …}``, or ``{"secret": …}`` where tokens are signed.

    Raises
    ------
    Unavailable
        If the file is gone or not ours to read.
    """
    import json

    try:
        with open(_keys_path(workspace, name), encoding="utf-8") as stream:
            keys: dict[str, str] = json.load(stream)
    except OSError as error:
        raise Unavailable(f'The keys of endpoint "{name}" cannot be read: {error.strerror} ({error.filename}).') from None
    return keys


def caller_key(workspace: Workspace, endpoint: OnlineEndpoint) -> str:
    """Return what proves to an endpoint that the caller may call."""
    keys = read_keys(workspace, str(endpoint.name))
    return keys["primary"] if endpoint.auth_mode == "key" else str(make_token(keys["secret"], str(endpoint.name)).access_token)


def make_token(secret: str, endpoint: str) -> EndpointKeys:
    """Return a new token for an endpoint. With aad_token too: no directory is asked here, the endpoint's own secret signs."""
    from .entities.online import EndpointKeys
    from .serving import keys

    token, ends = keys.make_token(secret, endpoint)
    refresh = ends - keys.TOKEN_SECONDS + keys.REFRESH_SECONDS
    return EndpointKeys(access_token=token, expiry_time_utc=ends, refresh_after_time_utc=refresh, token_type="AMLToken")  # noqa: S106 - the name of a kind


def write_keys(workspace: Workspace, name: str, keys: dict[str, str]) -> None:
    """Write the keys for their owner only, all at once."""
    os.makedirs(endpoint_folder(workspace, name), mode=0o700, exist_ok=True)
    write_json(_keys_path(workspace, name), keys, is_durable=True)


def check_port(port: int | None) -> None:
    """Refuse a port that there is not, or that is in use; None is a free one."""
    from .serving import bind_port

    if port is not None:
        bind_port(port, host=HOST).close()


def write_new_endpoint(workspace: Workspace, endpoint: OnlineEndpoint, *, port: int | None = None) -> None:
    """Make the folder of an endpoint that has no deployment yet."""
    from .supervisor import Wanted

    wanted = Wanted(endpoint=str(endpoint.name), port=port, auth_mode=endpoint.auth_mode)
    folder = endpoint_folder(workspace, str(endpoint.name))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_json(os.path.join(folder, "endpoint.json"), wanted.to_dict(), is_durable=True)


def write_traffic(workspace: Workspace, endpoint: OnlineEndpoint) -> None:
    """Tell the supervisor how the traffic is shared; instances follow as soon as it has looked."""
    with _changing(workspace, str(endpoint.name)) as wanted:
        wanted.traffic, wanted.mirror_traffic = endpoint.traffic, endpoint.mirror_traffic
    _ask_to_look(workspace, str(endpoint.name))


def _keys_path(workspace: Workspace, name: str) -> str:
    return os.path.join(endpoint_folder(workspace, name), "keys.json")


def _remove_folder(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
