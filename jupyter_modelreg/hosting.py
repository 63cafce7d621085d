"""What an endpoint is on this machine: a folder, two keys, and the worker process of its deployment.

::

    HOME/endpoints/<endpoint>/keys.json         0600
    HOME/endpoints/<endpoint>/endpoint.json     traffic, read by the worker
    HOME/endpoints/<endpoint>/<deployment>/<run>/worker.json process.json status.json log.txt code/

A replaced deployment gets a new run beside the old one. The new worker is handed the listening socket of the old one,
answers once its model is loaded, and only then the old one is stopped. The catalog names the run that counts; every
other is stopped and removed whenever a deployment was started, however that ended.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from .entities.online import OnlineDeployment, OnlineEndpoint, ProbeSettings
from .errors import Conflict, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket
    from typing import Any

    from .compute import ProcessIdentity
    from .entities.model import Model
    from .worker import WorkerPlan
    from .workspace import Workspace

HOST = "127.0.0.1"
DELETE_SECONDS = 2.0  # for the answers under way at an endpoint that nobody wants any more
# What a deployment may say and one process on this machine does not do; its log tells.
UNUSED = (
    *("type", "environment", "instance_type", "instance_count", "scale_settings", "resources", "app_insights_enabled"),
    *("liveness_probe", "model_mount_path", "egress_public_network_access", "data_collector"),
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
    """Start a worker and record it; once it is ready, stop the worker it replaces.

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
        If the port is in use, or the worker does not become ready. The worker that was to be replaced goes on.
    """
    import tempfile

    folder = _deployment_folder(workspace, deployment)
    with _only_starter(folder):
        run = tempfile.mkdtemp(dir=folder, prefix="run-")
        try:
            plan = _plan(workspace, deployment, model, run, trust=trust, is_script_checked=is_script_checked, code_folder=code_folder)
            _start(workspace, deployment, plan, run, port=port, no_wait=no_wait)
        finally:
            process = _process_of(workspace, deployment)
            _remove_runs(folder, but=os.path.basename(process["folder"]) if process else None)


def _start(workspace: Workspace, deployment: OnlineDeployment, plan: WorkerPlan, run: str, *, port: int | None, no_wait: bool) -> None:
    from .worker import start_worker

    old = _process_of(workspace, deployment)
    is_replacing = old is not None and _state_of(old)[0] == "healthy"
    with _listener(old, port, is_replacing=is_replacing) as listener:
        identity = start_worker(run, plan, listener, deployment.environment_variables)
        process = {**identity.to_dict(), "port": listener.getsockname()[1], "folder": run}
    if is_replacing:
        _wait(workspace, deployment, identity, run)
    else:
        _record_and_wait(workspace, deployment, process, old, no_wait=no_wait)
        if no_wait:
            return
    workspace.catalog.put_deployment(deployment.replace(provisioning_state="Succeeded"), process)
    if old:
        _end(old)


def _record_and_wait(
    workspace: Workspace, deployment: OnlineDeployment, process: dict[str, Any], old: dict[str, Any] | None, *, no_wait: bool
) -> None:
    """Let others see the worker, and delete it, while it loads; one that fails stays on record with its log."""
    before = workspace.catalog.get_deployment(str(deployment.endpoint_name), str(deployment.name)) if old else None
    workspace.catalog.put_deployment(deployment.replace(provisioning_state="Creating"), process)
    if no_wait:
        return
    try:
        _wait(workspace, deployment, identity_of(process), process["folder"])
    except Unavailable:
        workspace.catalog.put_deployment(deployment.replace(provisioning_state="Failed"), process)
        raise
    except KeyboardInterrupt:
        if before:
            workspace.catalog.put_deployment(before, old)
        else:
            workspace.catalog.delete_deployment(str(deployment.endpoint_name), str(deployment.name))
        raise


def _wait(workspace: Workspace, deployment: OnlineDeployment, identity: ProcessIdentity, run: str) -> None:
    """Wait until a worker is ready; stop one that is not."""
    from .compute import stop_process
    from .worker import wait_until_ready

    probe = deployment.readiness_probe or ProbeSettings()
    status = wait_until_ready(run, identity, probe.initial_delay + probe.period * probe.failure_threshold)
    if _process_of(workspace, deployment) is None:
        raise Conflict(f'Deployment "{deployment.name}" was deleted while it was starting.')
    if status.state != "healthy":
        stop_process(identity)
        raise Unavailable(f'Deployment "{deployment.name}" did not start: {status.error}', detail=status.traceback or "")


def _listener(old: dict[str, Any] | None, port: int | None, *, is_replacing: bool) -> socket:
    """Return the socket of the worker to be replaced, or one bound to its port, the wanted one or a free one."""
    from .serving import bind_port
    from .serving.handover import take

    if old is None or port not in (None, old["port"]):
        return bind_port(port, host=HOST)
    taken = take(old["folder"]) if is_replacing else None
    if taken:
        return taken
    _end(old)
    try:
        return bind_port(old["port"], host=HOST)
    except Unavailable:
        raise Unavailable(f"Port {old['port']}, which this deployment had, is in use now; create it again with --port.") from None


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


def _remove_runs(folder: str, *, but: str | None) -> None:
    """Stop and remove every run of a deployment but one; the folder too when none remains."""
    from .compute import stop_process
    from .worker import read_identity

    for name in _listed(folder):
        run = os.path.join(folder, name)
        if name.startswith("run-") and name != but:
            identity = read_identity(run)
            if identity:
                stop_process(identity, grace_seconds=DELETE_SECONDS)
            _remove_folder(run)
    if not but:
        _remove_folder(folder)


def remove_deployment(workspace: Workspace, endpoint_name: str, name: str) -> None:
    """Forget a deployment, so that who is starting it gives up; stop its processes and remove its files."""
    from .compute import stop_process

    deployment = OnlineDeployment(name=name, endpoint_name=endpoint_name)
    process = _process_of(workspace, deployment)
    workspace.catalog.delete_deployment(endpoint_name, name)
    if process:
        stop_process(identity_of(process), grace_seconds=DELETE_SECONDS)
    _remove_runs(_deployment_folder(workspace, deployment), but=None)


def remove_endpoint(workspace: Workspace, name: str) -> None:
    """Stop an endpoint's processes, then forget it, its keys and its logs."""
    folder = endpoint_folder(workspace, name)
    recorded = {str(item.name) for item in workspace.catalog.list_deployments(name)}
    # A folder without a record is what a killed deletion left.
    for deployment in recorded | {item for item in _listed(folder) if os.path.isdir(os.path.join(folder, item))}:
        remove_deployment(workspace, name, deployment)
    workspace.catalog.delete_endpoint(name)
    _remove_folder(folder)


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
    from .models import audited_path
    from .worker import WorkerPlan

    code = _copy_code(deployment, run, code_folder, is_checked=is_script_checked)
    # A scoring script loads the model in its own way; then its author answers for what loading runs.
    path = audited_path(workspace, model, trust=trust or code is not None)
    endpoint = str(deployment.endpoint_name)
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
        scoring_script=deployment.code_configuration.scoring_script if deployment.code_configuration else None,
        keys_path=_keys_path(workspace, endpoint),
        endpoint_path=_traffic_path(workspace, endpoint),
        request_settings=deployment.request_settings,
        is_trusted=trust,
        unused=[key for key in UNUSED if getattr(deployment, key) != getattr(OnlineDeployment, key)],
    )


def _copy_code(deployment: OnlineDeployment, run: str, folder: str | None, *, is_checked: bool) -> str | None:
    """Copy the scoring code into the run, so that later edits do not reach a running endpoint."""
    import shutil

    from .errors import InvalidInput
    from .serving import check_script

    code = deployment.code_configuration
    if code is None:
        return None
    source = folder or code.code
    if not source or not os.path.isdir(source):
        raise NotFound(f'No such folder of code: "{source}".')
    if not code.scoring_script:
        raise InvalidInput("code_configuration needs scoring_script.", key="code_configuration.scoring_script")
    if is_checked:
        check_script(os.path.join(source, code.scoring_script))
    target = os.path.join(run, "code")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".git", ".venv", "node_modules"))
    return target


def deployed_code(workspace: Workspace, deployment: OnlineDeployment) -> str | None:
    """Return the copy of the scoring code that a deployment runs; None when it has none."""
    process = _process_of(workspace, deployment)
    folder = os.path.join(process["folder"], "code") if process else ""
    return folder if os.path.isdir(folder) else None


def _end(process: dict[str, Any]) -> None:
    from .compute import stop_process

    stop_process(identity_of(process))


def _process_of(workspace: Workspace, deployment: OnlineDeployment) -> dict[str, Any] | None:
    return workspace.catalog.get_process(str(deployment.endpoint_name), str(deployment.name))


def identity_of(process: dict[str, Any]) -> ProcessIdentity:
    """Return which process the catalog's row of a deployment means."""
    from .compute import ProcessIdentity
    from .records import fields

    return ProcessIdentity(**{item.name: process[item.name] for item in fields(ProcessIdentity)})


# --- observe ------------------------------------------------------------------------------------------------------


def observe_endpoint(workspace: Workspace, name: str) -> OnlineEndpoint:
    """Return an endpoint with its URL and the state of its deployment right now."""
    endpoint = workspace.catalog.get_endpoint(name)
    deployments = [observe_deployment(workspace, name, str(item.name)) for item in workspace.catalog.list_deployments(name)]
    port = next((item.port for item in deployments if item.port), None)
    url = f"http://{HOST}:{port}" if port else None
    return endpoint.replace(
        provisioning_state=deployments[0].provisioning_state if deployments else "Succeeded",
        scoring_uri=f"{url}/score" if url else None,
        openapi_uri=f"{url}/swagger.json" if url else None,
        kind="Managed",
        deployments=[str(item.name) for item in deployments],
        state=deployments[0].state if deployments else "empty",
        error=deployments[0].error if deployments else None,
    )


def observe_deployment(workspace: Workspace, endpoint_name: str, name: str) -> OnlineDeployment:
    """Return a deployment with its process and what that process says of itself right now."""
    deployment = workspace.catalog.get_deployment(endpoint_name, name)
    process = workspace.catalog.get_process(endpoint_name, name)
    if process is None:
        return deployment.replace(state="stopped", error="It was never started.")
    state, error = _state_of(process)
    return deployment.replace(
        state=state,
        error=error,
        provisioning_state=_PROVISIONING_STATES[state],
        pid=process["pid"] if state in ("healthy", "starting") else None,
        port=process["port"],
    )


_PROVISIONING_STATES = {"healthy": "Succeeded", "stopped": "Succeeded", "starting": "Creating", "failed": "Failed"}


def _state_of(process: dict[str, Any]) -> tuple[str, str | None]:
    from .compute import is_alive
    from .worker import read_status

    is_running = is_alive(identity_of(process))  # asked before the status, which a dying worker writes last
    status = read_status(process["folder"])
    if status.state == "failed":
        return "failed", status.error
    if is_running:
        return status.state, None
    if status.state == "starting":
        return "failed", "Its process ended while it was starting; its log may say why."
    return "stopped", "Its process has ended; deploy it again. Its log may say why."


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
    """Return ``{"primary": …, "secondary": …}``.

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


def write_keys(workspace: Workspace, name: str, keys: dict[str, str]) -> None:
    """Write the keys for their owner only, all at once."""
    _write_json(_keys_path(workspace, name), keys)


def write_traffic(workspace: Workspace, endpoint: OnlineEndpoint) -> None:
    """Tell the worker how much of the traffic is its own."""
    _write_json(_traffic_path(workspace, str(endpoint.name)), {"traffic": endpoint.traffic})


def _keys_path(workspace: Workspace, name: str) -> str:
    return os.path.join(endpoint_folder(workspace, name), "keys.json")


def _traffic_path(workspace: Workspace, name: str) -> str:
    return os.path.join(endpoint_folder(workspace, name), "endpoint.json")


def _write_json(path: str, values: dict[str, Any]) -> None:
    import json
    import tempfile

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")  # mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(values, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, path)


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _remove_folder(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
