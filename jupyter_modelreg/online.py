"""Operations on online endpoints and deployments.

An endpoint is a folder with keys and a URL; a deployment is processes that outlive whoever started them.
"""

from __future__ import annotations

import os

from . import hosting
from .entities.online import MAX_DEPLOYMENTS, CodeConfiguration, EndpointKeys, OnlineDeployment, OnlineEndpoint
from .environments import resolve_environment
from .errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from .records import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .commands.online import (
        CreateOnlineDeployment,
        CreateOnlineEndpoint,
        DeleteOnlineDeployment,
        DeleteOnlineEndpoint,
        DeployModel,
        GetOnlineDeploymentLogs,
        GetOnlineEndpointCredentials,
        InvokeOnlineEndpoint,
        ListOnlineDeployments,
        ListOnlineEndpoints,
        RegenerateOnlineEndpointKeys,
        ShowOnlineDeployment,
        ShowOnlineEndpoint,
        StartOnlineEndpoint,
        UpdateOnlineDeployment,
        UpdateOnlineEndpoint,
    )
    from .entities.answers import Deleted, Invocation, LogText
    from .entities.model import Model
    from .workspace import Workspace

DEFAULT_DEPLOYMENT = "default"
UNSEEN = {"instance_count", "scale_settings", "description", "tags", "properties"}  # what a deployment may change without a restart
MAX_MIRROR = 50  # percent
MUTABLE = ("description", "tags", "traffic", "mirror_traffic", "properties")


# --- endpoints ----------------------------------------------------------------------------------------------------


def create_endpoint(workspace: Workspace, command: CreateOnlineEndpoint) -> OnlineEndpoint:
    """Create an endpoint; with a model also a deployment that has all the traffic.

    Raises
    ------
    Conflict
        If the name is taken.
    InvalidInput
        If the name is no endpoint's name, or there is no such port.
    Unavailable
        If the port is in use, or the model's process does not start; its own words are in ``detail`` and in the log. Nothing remains.
    """
    _check_exclusive(no_wait=command.no_wait, local=command.local)
    created = put_new_endpoint(workspace, _endpoint_described_by(command), port=None if command.model else command.port)
    if not command.model:
        return created
    deployment = OnlineDeployment(name=DEFAULT_DEPLOYMENT, endpoint_name=created.name, model=command.model)
    try:
        put_deployment(workspace, deployment, port=command.port, share=100, trust=command.trust, no_wait=command.no_wait)
    except BaseException:  # Ctrl-C too
        hosting.remove_endpoint(workspace, str(created.name))
        raise
    return hosting.observe_endpoint(workspace, str(created.name))


def deploy_model(workspace: Workspace, command: DeployModel) -> OnlineEndpoint:
    """Serve a model at an endpoint, which is made when it is new.

    A deployment that is there keeps what is not said anew: instances, environment, settings, its share of the traffic and,
    where the model is only another version, its script.

    Raises
    ------
    InvalidInput
        If the share is not one of 0 to 100.
    Unavailable
        If the model's process does not start. What was served before goes on being served.
    """
    from .references import RegisteredModel, parse_model_name

    name, version, label = parse_model_name(command.name)
    wanted = RegisteredModel(name=name, version=command.version or version, label=label)
    endpoint_name = command.endpoint_name or _endpoint_name_for(name)
    is_new = endpoint_name not in [str(item.name) for item in workspace.catalog.list_endpoints()]
    if is_new:
        deployment, code_folder = OnlineDeployment(name=command.deployment_name or DEFAULT_DEPLOYMENT, endpoint_name=endpoint_name), None
    else:
        deployment, code_folder = _replaced_by(workspace, command, endpoint_name, name)
    code = _code_of(command.code, command.scoring_script, command.model_class)
    if code:
        deployment, code_folder = deployment.replace(code_configuration=code), None
    if command.traffic is not None and not 0 <= command.traffic <= 100:
        raise InvalidInput(f"{command.traffic}: a share is a whole number from 0 to 100.", key="traffic")
    if is_new:
        put_new_endpoint(workspace, OnlineEndpoint(name=endpoint_name))
    try:
        put_deployment(
            workspace,
            deployment.replace(model=str(wanted), accelerator=command.accelerator or deployment.accelerator),
            port=command.port,
            share=100 if command.traffic is None and not _has_traffic(workspace, endpoint_name) else command.traffic,
            trust=command.trust,
            no_wait=command.no_wait,
            code_folder=code_folder,
        )
    except BaseException:  # Ctrl-C too
        if is_new:
            hosting.remove_endpoint(workspace, endpoint_name)
        raise
    return hosting.observe_endpoint(workspace, endpoint_name)


def _replaced_by(workspace: Workspace, command: DeployModel, endpoint_name: str, model: str) -> tuple[OnlineDeployment, str | None]:
    """Return what the deployment is that a model goes to, and where its script lies if that stays."""
    from .entities.loading import load_entity

    name = command.deployment_name or main_deployment(workspace, endpoint_name) or DEFAULT_DEPLOYMENT
    current = next((item for item in workspace.catalog.list_deployments(endpoint_name) if item.name == name), None)
    if current is None:
        return OnlineDeployment(name=name, endpoint_name=endpoint_name), None
    deployment = load_entity(OnlineDeployment, current.to_dict())
    if not str(current.model).startswith(f"azureml:{model}:"):
        return deployment.replace(code_configuration=None, accelerator=None), None
    return deployment, hosting.deployed_code(workspace, current)


def _has_traffic(workspace: Workspace, endpoint_name: str) -> bool:
    return any(workspace.catalog.get_endpoint(endpoint_name).traffic.values())


def put_new_endpoint(workspace: Workspace, endpoint: OnlineEndpoint, *, port: int | None = None) -> OnlineEndpoint:
    """Record a new endpoint and make its keys; its first deployment will answer at the port, or at a free one.

    Raises
    ------
    Unavailable
        If the port is in use.
    """
    name = check_name(endpoint.name, "endpoint")
    _check_traffic(endpoint, [])
    hosting.check_port(port)
    created = workspace.catalog.create_endpoint(endpoint.replace(name=name), user=workspace.settings.user)
    names = ("primary", "secondary") if endpoint.auth_mode == "key" else ("secret",)
    hosting.write_keys(workspace, name, {key: hosting.new_key() for key in names})
    hosting.write_new_endpoint(workspace, created, port=port)
    return hosting.observe_endpoint(workspace, name)


def list_endpoints(workspace: Workspace, command: ListOnlineEndpoints) -> list[OnlineEndpoint]:
    """Return every endpoint as it is observed now; one whose files cannot be read says so and hides no other."""
    return [_observed(workspace, item) for item in workspace.catalog.list_endpoints()]


def _observed(workspace: Workspace, endpoint: OnlineEndpoint) -> OnlineEndpoint:
    try:
        return hosting.observe_endpoint(workspace, str(endpoint.name))
    except Unavailable as error:
        return endpoint.replace(state="failed", error=error.message)


def show_endpoint(workspace: Workspace, command: ShowOnlineEndpoint) -> OnlineEndpoint:
    """Return one endpoint as it is observed now, and how each of its deployments does."""
    endpoint = hosting.observe_endpoint(workspace, command.name)
    return endpoint.replace(numbers={name: hosting.count(workspace, command.name, name) for name in endpoint.deployments or []} or None)


def update_endpoint(workspace: Workspace, command: UpdateOnlineEndpoint) -> OnlineEndpoint:
    """Change description, tags, properties or traffic.

    Raises
    ------
    InvalidInput
        If shares sum to more than 100, name a deployment that is not there, or another key would change.
    """
    from .entities.loading import apply_update
    from .records import from_dict

    endpoint = workspace.catalog.get_endpoint(command.name)
    before = endpoint.to_dict()
    after = apply_update(before, set=command.set, add=command.add, remove=command.remove, force_string=command.force_string)
    if command.traffic is not None:
        after["traffic"] = parse_traffic(command.traffic)
    if command.mirror_traffic is not None:
        after["mirror_traffic"] = parse_traffic(command.mirror_traffic)
    for key in before.keys() | after.keys():
        if key not in MUTABLE and before.get(key) != after.get(key):
            raise InvalidInput(f'"{key}" of an endpoint never changes; only {", ".join(MUTABLE)} do.', key=key)
    return change_endpoint(workspace, endpoint, from_dict(OnlineEndpoint, after))


def change_endpoint(workspace: Workspace, endpoint: OnlineEndpoint, wanted: OnlineEndpoint) -> OnlineEndpoint:
    """Write the mutable fields of an endpoint and tell its worker about the traffic."""
    name = str(endpoint.name)
    deployments = [str(item.name) for item in workspace.catalog.list_deployments(name)]
    _check_traffic(wanted, deployments)
    changed = endpoint.replace(**{key: getattr(wanted, key) for key in MUTABLE})
    workspace.catalog.update_endpoint(changed, user=workspace.settings.user)
    hosting.write_traffic(workspace, changed)
    return hosting.observe_endpoint(workspace, name)


def delete_endpoint(workspace: Workspace, command: DeleteOnlineEndpoint) -> Deleted:
    """Stop an endpoint's processes and delete it with its deployments, keys and logs."""
    from .entities.answers import Deleted

    workspace.catalog.get_endpoint(command.name)
    hosting.remove_endpoint(workspace, command.name)
    return Deleted(names=[command.name])


def start_endpoint(workspace: Workspace, command: StartOnlineEndpoint) -> OnlineEndpoint:
    """Bring a stopped endpoint back at its port, and try again what failed in it.

    Raises
    ------
    Unavailable
        If its port is in use.
    """
    workspace.catalog.get_endpoint(command.name)
    hosting.start_endpoint(workspace, command.name)
    return hosting.observe_endpoint(workspace, command.name)


def get_keys(workspace: Workspace, command: GetOnlineEndpointCredentials) -> EndpointKeys:
    """Return an endpoint's keys; a token that ends in an hour where its auth_mode is aml_token or aad_token."""
    endpoint = workspace.catalog.get_endpoint(command.name)
    keys = hosting.read_keys(workspace, command.name)
    if endpoint.auth_mode != "key":
        return hosting.make_token(keys["secret"], command.name)
    return EndpointKeys(primary_key=keys["primary"], secondary_key=keys["secondary"])


def regenerate_keys(workspace: Workspace, command: RegenerateOnlineEndpointKeys) -> EndpointKeys:
    """Replace one key; the old one is refused within a second.

    Raises
    ------
    InvalidInput
        If the endpoint has no keys.
    """
    endpoint = workspace.catalog.get_endpoint(command.name)
    if endpoint.auth_mode != "key":
        raise InvalidInput(
            f'Endpoint "{endpoint.name}" has no keys: its auth_mode is {endpoint.auth_mode}, whose tokens end by themselves.'
        )
    keys = {**hosting.read_keys(workspace, command.name), command.key_type: hosting.new_key()}
    hosting.write_keys(workspace, command.name, keys)
    return EndpointKeys(primary_key=keys["primary"], secondary_key=keys["secondary"])


def invoke_endpoint(workspace: Workspace, command: InvokeOnlineEndpoint) -> Invocation:
    """Send a JSON body to an endpoint's ``/score`` and return the answer; a stopped endpoint is started first.

    Raises
    ------
    InvalidInput
        If there is no body, or the endpoint calls it bad.
    NotFound
        If no deployment has traffic, or the one asked for does not exist.
    Unavailable
        If nobody answers, or the model fails; its log says why.
    """
    from .serving.client import call

    body = _request_body(command)
    endpoint = hosting.observe_endpoint(workspace, command.name)
    _check_deployment(endpoint, command.deployment_name)
    # An endpoint called with --local shares no traffic out. Source: azure-ai-ml, local endpoints.
    deployment = command.deployment_name or (next(iter(endpoint.deployments or []), None) if command.local else None)
    # Who sits at the port is known before the key is sent there.
    hosting.ready_to_call(workspace, endpoint, deployment)
    headers = {"azureml-model-deployment": deployment} if deployment else {}
    return call(str(endpoint.scoring_uri), body, hosting.caller_key(workspace, endpoint), headers)


# --- deployments --------------------------------------------------------------------------------------------------


def create_deployment(workspace: Workspace, command: CreateOnlineDeployment) -> OnlineDeployment:
    """Start a process that serves a model behind an endpoint. One of the same name is replaced without a gap.

    Raises
    ------
    NotFound
        If the endpoint or the model does not exist.
    InvalidInput
        If the scoring script lacks ``run()``.
    Conflict
        If the endpoint has 20 others, or the deployment is being started already.
    Unavailable
        If the process does not start; its own words are in ``detail`` and in the log.
    """
    from .entities.loading import load_entity

    _check_exclusive(no_wait=command.no_wait, local=command.local)
    entity = load_entity(OnlineDeployment, command.file or {}, overrides=command.set)
    flags = {"name": command.name, "endpoint_name": command.endpoint_name, "model": command.model, "accelerator": command.accelerator}
    deployment = entity.replace(
        **{key: value for key, value in flags.items() if value},
        code_configuration=_code_of(command.code, command.scoring_script, command.model_class) or entity.code_configuration,
    )
    # Source: Azure ML's local endpoints have one deployment and no shares, so its scripts give it none.
    is_alone = command.local and _is_only(workspace, deployment)
    return put_deployment(
        workspace,
        deployment,
        port=command.port,
        share=100 if command.all_traffic or is_alone else None,
        trust=command.trust,
        no_wait=command.no_wait,
        is_script_checked=not command.skip_script_validation,
    )


def update_deployment(workspace: Workspace, command: UpdateOnlineDeployment) -> OnlineDeployment:
    """Replace a deployment by a changed one; see :func:`create_deployment`. One that only grows or shrinks is not replaced."""
    from .entities.loading import apply_update, load_entity

    _check_exclusive(no_wait=command.no_wait, local=command.local)
    if command.file:
        entity = load_entity(OnlineDeployment, command.file, overrides=command.set)
        entity = entity.replace(name=command.name or entity.name, endpoint_name=command.endpoint_name or entity.endpoint_name)
        code_folder = None
    else:
        current = workspace.catalog.get_deployment(_needed(command.endpoint_name, "--endpoint-name/-e"), _needed(command.name, "--name/-n"))
        values = apply_update(current.to_dict(), set=command.set, add=command.add, remove=command.remove, force_string=command.force_string)
        entity = load_entity(OnlineDeployment, values)
        if _is_rescaled(workspace, current, entity):
            hosting.rescale(workspace, entity)
            return hosting.observe_deployment(workspace, str(entity.endpoint_name), str(entity.name))
        # Code that is not named anew stays what it is, whatever became of the folder it came from.
        code_folder = hosting.deployed_code(workspace, current) if entity.code_configuration == current.code_configuration else None
    return put_deployment(
        workspace,
        entity,
        trust=command.trust,
        no_wait=command.no_wait,
        is_script_checked=not command.skip_script_validation,
        code_folder=code_folder,
    )


def _is_rescaled(workspace: Workspace, before: OnlineDeployment, after: OnlineDeployment) -> bool:
    """Say whether a deployment that runs changes only in what its instances do not see."""
    changed = {item.name for item in fields(after) if not item.is_read_only and getattr(before, item.name) != getattr(after, item.name)}
    state = hosting.observe_deployment(workspace, str(before.endpoint_name), str(before.name)).state
    return bool(changed) and changed <= UNSEEN and state == "healthy"


def put_deployment(
    workspace: Workspace,
    deployment: OnlineDeployment,
    *,
    port: int | None = None,
    share: int | None = None,
    trust: bool = False,
    no_wait: bool = False,
    is_script_checked: bool = True,
    code_folder: str | None = None,
) -> OnlineDeployment:
    """Start a worker for a deployment and, once it is ready, stop the one it replaces; `share` is its part of the traffic from then on."""
    from .records import from_dict

    deployment = from_dict(OnlineDeployment, deployment.to_dict())  # what Python code made was not looked at yet
    name = check_name(deployment.name, "deployment")
    endpoint = workspace.catalog.get_endpoint(_needed(deployment.endpoint_name, "--endpoint-name/-e"))
    others = [str(item.name) for item in workspace.catalog.list_deployments(str(endpoint.name)) if item.name != name]
    if len(others) >= MAX_DEPLOYMENTS:
        raise Conflict(f'Endpoint "{endpoint.name}" has {len(others)} deployments already; delete one first.')
    model = _resolve_model(workspace, deployment.model)
    _check_archived(model)
    resolved = {"model": f"azureml:{model.name}:{model.version}", "environment": resolve_environment(workspace, deployment.environment)}
    hosting.start(
        workspace,
        deployment.replace(name=name, endpoint_name=endpoint.name, **resolved),
        model,
        port=port,
        trust=trust,
        no_wait=no_wait,
        is_script_checked=is_script_checked,
        code_folder=code_folder,
    )
    if share is not None:
        endpoint = workspace.catalog.get_endpoint(str(endpoint.name))  # it may have changed while the model loaded
        mirrored = {key: part for key, part in endpoint.mirror_traffic.items() if key != name or not share}
        change_endpoint(workspace, endpoint, endpoint.replace(traffic=shared_out(endpoint.traffic, name, share), mirror_traffic=mirrored))
    return hosting.observe_deployment(workspace, str(endpoint.name), name)


def list_deployments(workspace: Workspace, command: ListOnlineDeployments) -> list[OnlineDeployment]:
    """Return an endpoint's deployments as they are observed now, and how each does."""
    workspace.catalog.get_endpoint(command.endpoint_name)
    deployments = workspace.catalog.list_deployments(command.endpoint_name)
    return [_shown(workspace, command.endpoint_name, str(item.name)) for item in deployments]


def show_deployment(workspace: Workspace, command: ShowOnlineDeployment) -> OnlineDeployment:
    """Return one deployment as it is observed now, and how it does."""
    return _shown(workspace, command.endpoint_name, command.name)


def _shown(workspace: Workspace, endpoint_name: str, name: str) -> OnlineDeployment:
    deployment = hosting.observe_deployment(workspace, endpoint_name, name)
    return deployment.replace(numbers=hosting.count(workspace, endpoint_name, name))


def get_logs(workspace: Workspace, command: GetOnlineDeploymentLogs) -> LogText:
    """Return the last lines of what a deployment's process printed."""
    from .entities.answers import LogText

    workspace.catalog.get_deployment(command.endpoint_name, command.name)
    if command.lines < 1:
        raise InvalidInput(f"--lines is {command.lines}; it must be 1 or more.", key="lines")
    return LogText(text=hosting.read_log(workspace, command.endpoint_name, command.name, command.lines))


def delete_deployment(workspace: Workspace, command: DeleteOnlineDeployment) -> Deleted:
    """Stop a deployment's process and delete it.

    Raises
    ------
    Conflict
        If it still has traffic. Source: Azure ML refuses this too.
    """
    from .entities.answers import Deleted

    endpoint = workspace.catalog.get_endpoint(command.endpoint_name)
    workspace.catalog.get_deployment(command.endpoint_name, command.name)
    if endpoint.traffic.get(command.name):
        share = endpoint.traffic[command.name]
        raise Conflict(
            f'Deployment "{command.name}" has {share} % of the traffic; '
            f"set it to 0 first: modelreg online-endpoint update -n {command.endpoint_name} --traffic {command.name}=0"
        )
    hosting.remove_deployment(workspace, command.endpoint_name, command.name)
    _forget_shares(workspace, command.endpoint_name, command.name)
    return Deleted(names=[f"{command.endpoint_name}/{command.name}"])


def _is_only(workspace: Workspace, deployment: OnlineDeployment) -> bool:
    return all(item.name == deployment.name for item in workspace.catalog.list_deployments(str(deployment.endpoint_name)))


def _check_exclusive(*, no_wait: bool, local: bool) -> None:
    if no_wait and local:
        raise InvalidInput("no_wait and local are mutually exclusive.", key="no_wait")


def _forget_shares(workspace: Workspace, endpoint_name: str, name: str) -> None:
    endpoint = workspace.catalog.get_endpoint(endpoint_name)
    if name in endpoint.traffic or name in endpoint.mirror_traffic:
        shares = {key: {k: v for k, v in getattr(endpoint, key).items() if k != name} for key in ("traffic", "mirror_traffic")}
        change_endpoint(workspace, endpoint, endpoint.replace(**shares))


# --- steps --------------------------------------------------------------------------------------------------------


def check_name(name: str | None, kind: str) -> str:
    """Return a valid name of an endpoint or deployment, in lower case for endpoints as Azure ML stores it.

    Raises
    ------
    InvalidInput
        If it is not 3 to 32 letters, digits and dashes that begin with a letter and end with no dash.
    """
    text = _needed(name, "--name/-n")
    is_plain = text.isascii() and text.replace("-", "a").isalnum()
    if not (is_plain and 3 <= len(text) <= 32 and text[0].isalpha() and text[-1] != "-"):
        raise InvalidInput(f'"{text}" is no name of {"an endpoint" if kind == "endpoint" else "a deployment"}: {_NAME_RULE}', key="name")
    return text.lower() if kind == "endpoint" else text


_NAME_RULE = "3 to 32 letters, digits and dashes, a letter first, no dash at the end."


def parse_traffic(text: str) -> dict[str, int]:
    """Parse ``blue=90 green=10``.

    Raises
    ------
    InvalidInput
        If a share is no whole number or the parts are separated by commas.
    """
    shares = {}
    for part in text.split():
        name, sign, share = part.partition("=")
        if "," in part:
            raise InvalidInput(f'Do not add a delimiter between traffic variables: "{text}".', key="traffic")
        if not sign or not share.isdigit():
            raise InvalidInput(f'"{part}" is no share of traffic; write NAME=PERCENT, for example blue=100.', key="traffic")
        shares[name] = int(share)
    return shares


def main_deployment(workspace: Workspace, endpoint_name: str) -> str | None:
    """Return the name of the deployment with the most traffic; the first where none has any, None where there is none."""
    traffic = workspace.catalog.get_endpoint(endpoint_name).traffic
    names = [str(item.name) for item in workspace.catalog.list_deployments(endpoint_name)]
    return max(names, key=lambda name: traffic.get(name, 0), default=None)


def shared_out(traffic: dict[str, int], name: str, share: int) -> dict[str, int]:
    """Return the traffic with `share` percent for one deployment; the others keep their proportions in the rest.

    Parts of a percent go to those with the largest. Source: the method of largest remainders.
    """
    others = {key: part for key, part in traffic.items() if part and key != name}
    total, rest = sum(others.values()), 100 - share
    if not total:
        return {name: share} if share else {}
    exact = {key: part * rest / total for key, part in others.items()}
    shares = {key: int(part) for key, part in exact.items()}
    for key in sorted(exact, key=lambda key: shares[key] - exact[key])[: rest - sum(shares.values())]:
        shares[key] += 1
    return {key: part for key, part in {**shares, name: share}.items() if part}


def _check_traffic(endpoint: OnlineEndpoint, deployments: list[str]) -> None:
    """Check shares of the traffic and of the copies. Source: Azure ML, "Safe rollout for online endpoints"."""
    if sum(endpoint.traffic.values()) > 100:
        total = sum(endpoint.traffic.values())
        raise InvalidInput(f"Traffic rule percentages must sum to less than or equal to 100%, not {total}.", key="traffic")
    for key, shares in (("traffic", endpoint.traffic), ("mirror_traffic", endpoint.mirror_traffic)):
        for name, share in shares.items():
            if name not in deployments:
                raise NotFound(f'There is no deployment "{name}"; the endpoint has {", ".join(deployments) or "none"}.')
            if not 0 <= share <= 100:
                raise InvalidInput(f"{name}={share}: a share is a whole number from 0 to 100.", key=key)
    _check_mirror({name: share for name, share in endpoint.mirror_traffic.items() if share}, endpoint.traffic)


def _check_mirror(mirror: dict[str, int], traffic: dict[str, int]) -> None:
    if len(mirror) > 1:
        raise InvalidInput(f"Traffic is mirrored to one deployment at most, not to {', '.join(mirror)}.", key="mirror_traffic")
    for name, share in mirror.items():
        if share > MAX_MIRROR:
            raise InvalidInput(f"{name}={share}: at most {MAX_MIRROR} % of the traffic is mirrored.", key="mirror_traffic")
        if traffic.get(name):
            raise InvalidInput(
                f'"{name}" answers {traffic[name]} % of the traffic; only a deployment that answers none is mirrored to.',
                key="mirror_traffic",
            )


def _endpoint_described_by(command: CreateOnlineEndpoint) -> OnlineEndpoint:
    from .entities.loading import load_entity

    entity = load_entity(OnlineEndpoint, command.file or {}, overrides=command.set)
    flags = {"name": command.name, "auth_mode": command.auth_mode, "description": command.description}
    return entity.replace(**{key: value for key, value in flags.items() if value}, tags={**entity.tags, **command.tags})


def _endpoint_name_for(model_name: str) -> str:
    """Make an endpoint's name of a model's: other characters become dashes; one too short, or without a first letter, is led by a word."""
    text = "".join(char if char.isalnum() else "-" for char in model_name).strip("-")
    text = text if len(text) >= 3 and text[0].isalpha() else f"model-{text}"
    return check_name(text[:32].strip("-"), "endpoint")


def _code_of(code: str | None, script: str | None, model_class: str | None) -> CodeConfiguration | None:
    if not (code or script or model_class):
        return None
    if not (script or model_class):
        raise InvalidInput(
            "--code needs --scoring-script, the Python file in it with init() and run(), or --model-class.", key="scoring_script"
        )
    folder = code or (os.path.dirname(os.path.abspath(script)) if script else None)
    return CodeConfiguration(
        code=folder, scoring_script=os.path.basename(script) if script and not code else script, model_class=model_class
    )


def _resolve_model(workspace: Workspace, model: str | Model | None) -> Model:
    """Return the registered version that a deployment names; an inline model or a path is registered first."""
    from .entities.model import Model as ModelEntity
    from .models import register_model
    from .references import RegisteredModel, parse_reference

    if isinstance(model, ModelEntity):
        return register_model(workspace, model)
    text = _needed(model, "--model/-m")
    # Where a model is wanted a bare word names one, unless a file of that name is there.
    reference = parse_reference(text if os.path.exists(text) or "/" in text or text.startswith("azureml:") else f"azureml:{text}")
    if isinstance(reference, RegisteredModel):
        return workspace.catalog.get_version(reference.name, reference.version, reference.label)
    return register_model(workspace, ModelEntity(path=str(reference)))


def _check_archived(model: Model) -> None:
    if model.is_archived:
        raise Refused(
            f"{model.name}:{model.version} is archived, so it is not deployed; "
            f"take it back first: modelreg model restore -n {model.name} -v {model.version}"
        )


def _check_deployment(endpoint: OnlineEndpoint, name: str | None) -> None:
    names = endpoint.deployments or []
    if not names:
        raise NotFound(f'No deployment exists for this endpoint: "{endpoint.name}".')
    if name and name not in names:
        raise NotFound(f"Deployment name {name} not found for this endpoint; it has {', '.join(names)}.")


def _request_body(command: InvokeOnlineEndpoint) -> bytes:
    if command.data is not None:
        return command.data.encode()
    path = _needed(command.request_file, "--request-file/-r or --data")
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.", key="request_file") from None


def _needed(value: Any, what: str) -> str:
    if not value:
        raise InvalidInput(f"{what} is missing.")
    return str(value)
