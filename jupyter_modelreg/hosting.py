"""What an endpoint is on this machine: a folder, two keys, and the worker process of its deployment.

::

    HOME/endpoints/<endpoint>/keys.json         0600
    HOME/endpoints/<endpoint>/endpoint.json     traffic, read by the worker
    HOME/endpoints/<endpoint>/<deployment>/<run>/worker.json status.json log.txt code/

A replaced deployment gets a new run beside the old one. The new worker is handed the listening socket of the old one,
answers once its model is loaded, and only then the old one is stopped.
"""

from __future__ import annotations

import os

from .entities.online import OnlineDeployment, OnlineEndpoint
from .errors import NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any

    from .compute import ProcessIdentity
    from .entities.model import Model
    from .worker import WorkerPlan, WorkerStatus
    from .workspace import Workspace

START_SECONDS = 310.0  # Source: Azure ML's readiness probe: 10 s, then 30 tries, 10 s apart.
HOST = "127.0.0.1"


# --- start and stop -----------------------------------------------------------------------------------------------


def start(
    workspace: Workspace,
    endpoint: OnlineEndpoint,
    deployment: OnlineDeployment,
    model: Model,
    *,
    port: int | None,
    trust: bool,
    no_wait: bool,
    is_script_checked: bool,
) -> None:
    """Start a worker and record it; once it is ready, stop the worker it replaces.

    Raises
    ------
    InvalidInput
        If the scoring script is missing or lacks ``run()``.
    UnsafeModel
        If no script loads the model, loading would run code, and ``trust`` is False.
    Unavailable
        If the port is in use, or the worker does not become ready. The worker that was to be replaced goes on.
    """
    from .worker import start_worker, wait_until_ready

    old = _process_of(workspace, str(endpoint.name), str(deployment.name))
    run = _new_run(workspace, deployment)
    try:
        plan = _plan(workspace, deployment, model, run, trust=trust, is_script_checked=is_script_checked)
        with _listener(old, port) as listener:
            identity = start_worker(run, plan, listener, deployment.environment_variables)
            process = {**identity.to_dict(), "port": listener.getsockname()[1], "folder": run}
    except BaseException:
        _remove_folder(run)
        raise
    if no_wait and not old:
        workspace.catalog.put_deployment(deployment.replace(provisioning_state="Creating"), process)
        return
    status = wait_until_ready(run, identity, START_SECONDS)
    if status.state != "healthy":
        _give_up(workspace, deployment, identity, run, status)
    workspace.catalog.put_deployment(deployment.replace(provisioning_state="Succeeded"), process)
    if old:
        _stop(old)


def _listener(old: dict[str, Any] | None, port: int | None) -> socket:
    """Return the socket of the worker to be replaced, or one bound to its port, the wanted one or a free one."""
    from .serving import bind_port
    from .serving.handover import take

    if old and port in (None, old["port"]):
        taken = take(old["folder"]) if _state_of(old)[0] == "healthy" else None
        if taken:
            return taken
        _end(old)
    return bind_port(port or (old["port"] if old else None), host=HOST)


def remove_deployment(workspace: Workspace, endpoint_name: str, name: str) -> None:
    """Stop a deployment's process, then forget it and its files."""
    process = _process_of(workspace, endpoint_name, name)
    if process:
        _stop(process)
    workspace.catalog.delete_deployment(endpoint_name, name)
    _remove_folder(os.path.join(endpoint_folder(workspace, endpoint_name), name))


def remove_endpoint(workspace: Workspace, name: str) -> None:
    """Stop an endpoint's processes, then forget it, its keys and its logs."""
    for deployment in workspace.catalog.list_deployments(name):
        remove_deployment(workspace, name, str(deployment.name))
    workspace.catalog.delete_endpoint(name)
    _remove_folder(endpoint_folder(workspace, name))


def _plan(
    workspace: Workspace, deployment: OnlineDeployment, model: Model, run: str, *, trust: bool, is_script_checked: bool
) -> WorkerPlan:
    from .models import audited_path
    from .worker import WorkerPlan

    code = _copy_code(deployment, run, is_checked=is_script_checked)
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
    )


def _copy_code(deployment: OnlineDeployment, run: str, *, is_checked: bool) -> str | None:
    """Copy the scoring code into the run, so that later edits do not reach a running endpoint."""
    import shutil

    from .errors import InvalidInput
    from .serving import check_script

    code = deployment.code_configuration
    if code is None:
        return None
    if not code.code or not os.path.isdir(code.code):
        raise NotFound(f'No such folder of code: "{code.code}".')
    if not code.scoring_script:
        raise InvalidInput("code_configuration needs scoring_script.", key="code_configuration.scoring_script")
    if is_checked:
        check_script(os.path.join(code.code, code.scoring_script))
    target = os.path.join(run, "code")
    shutil.copytree(code.code, target, ignore=shutil.ignore_patterns("__pycache__", ".git", ".venv", "node_modules"))
    return target


def _new_run(workspace: Workspace, deployment: OnlineDeployment) -> str:
    import tempfile

    folder = os.path.join(endpoint_folder(workspace, str(deployment.endpoint_name)), str(deployment.name))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return tempfile.mkdtemp(dir=folder, prefix="run-")


def _give_up(workspace: Workspace, deployment: OnlineDeployment, identity: ProcessIdentity, run: str, status: WorkerStatus) -> None:
    """Stop a worker that did not become ready; a first one stays on record with its log, to be looked at."""
    from .compute import stop_process

    stop_process(identity)
    if _process_of(workspace, str(deployment.endpoint_name), str(deployment.name)) is None:
        failed = deployment.replace(provisioning_state="Failed", error=status.error)
        workspace.catalog.put_deployment(failed, {**identity.to_dict(), "port": None, "folder": run})
    else:
        _remove_folder(run)
    raise Unavailable(f'Deployment "{deployment.name}" did not start: {status.error}', detail=status.traceback or "")


def _stop(process: dict[str, Any]) -> None:
    _end(process)
    _remove_folder(process["folder"])


def _end(process: dict[str, Any]) -> None:
    from .compute import stop_process

    stop_process(_identity(process))


def _process_of(workspace: Workspace, endpoint_name: str, name: str) -> dict[str, Any] | None:
    try:
        return workspace.catalog.get_process(endpoint_name, name)
    except NotFound:
        return None


def _identity(process: dict[str, Any]) -> ProcessIdentity:
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

    status = read_status(process["folder"])
    if status.state == "failed":
        return "failed", status.error
    if is_alive(_identity(process)):
        return status.state, None
    return "stopped", "Its process has ended; deploy it again. Its log may say why."


def read_log(workspace: Workspace, endpoint_name: str, name: str, lines: int) -> str:
    """Return the last lines of a deployment's log; empty when it printed nothing."""
    process = workspace.catalog.get_process(endpoint_name, name)
    if process is None:
        return ""
    try:
        with open(os.path.join(process["folder"], "log.txt"), encoding="utf-8", errors="replace") as stream:
            return "".join(stream.readlines()[-lines:])
    except FileNotFoundError:
        return ""


# --- files of an endpoint -----------------------------------------------------------------------------------------


def endpoint_folder(workspace: Workspace, name: str) -> str:
    """Return the folder of one endpoint."""
    return os.path.join(workspace.home, "endpoints", name)


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


def _remove_folder(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
