"""Commands about online endpoints and their deployments."""

from __future__ import annotations

from ..entities.online import AUTH_MODES
from ..records import field
from . import Command, set_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _endpoint_name() -> Any:
    return field("-n", is_positional=True, values="endpoint", help="Name of the endpoint.")


def _code() -> Any:
    return field(default=None, values="path", help="Folder with the scoring script.")


def _scoring_script() -> Any:
    return field(default=None, values="path", help="Python file with init() and run().")


def _model_class() -> Any:
    return field(
        default=None,
        metavar="MODULE:CLASS",
        help='For parameters that torch wrote: their class, in --code or installed; "nets:Net(4, hidden=8)".',
    )


def _accelerator() -> Any:
    return field(
        default=None, choices=("onnx",), help="onnx: convert a scikit-learn model, if it then answers the same; each call costs far less."
    )


def _trust() -> Any:
    return field(default=False, help="Load files even though they can run code. Only for files whose maker you trust.")


class CreateOnlineEndpoint(Command):
    """Create an endpoint; with --model also one deployment that has all the traffic."""

    name: str | None = field("-n", default=None, is_positional=True, help="Name of the endpoint.")
    file: str | None = field("-f", default=None, values="path", help="YAML file that describes the endpoint.")
    model: str | None = field("-m", default=None, values="model", help="Deploy this model too, for example azureml:churn@latest.")
    auth_mode: str | None = field(
        default=None,
        choices=AUTH_MODES,
        help="How callers prove who they are; tokens of either kind are signed by the endpoint itself, no directory is asked.",
    )
    description: str | None = field("-d", default=None, help="What it is for.")
    tags: dict[str, str] = field("--tag", default={}, metavar="KEY=VALUE", help="Labels to find it by.")
    port: int | None = field(default=None, help="Port on 127.0.0.1; a free one when left out.")
    set: list[str] = set_field()
    trust: bool = _trust()
    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")
    no_wait: bool = field(default=False, help="Return before the model is loaded.")


class DeployModel(Command):
    """Serve a model at an endpoint: made when it is new, one of its deployments replaced without a gap when it is not."""

    name: str = field("-n", "-m", "--model", is_positional=True, values="model", help="Model; NAME:VERSION and NAME@LABEL work too.")
    version: str | None = field("-v", default=None, values="version", help="Version; the latest when left out.")
    endpoint_name: str | None = field(
        "-e", "--endpoint", default=None, values="endpoint", help="Endpoint; by default named after the model."
    )
    deployment_name: str | None = field(
        "-d",
        "--deployment",
        default=None,
        values="deployment",
        help="Deployment that is replaced, or a new one beside the others; by default the one with most traffic.",
    )
    traffic: int | None = field(
        "-r",
        default=None,
        metavar="PERCENT",
        help="Share of the traffic it gets, the others keeping their proportions; by default what it has, or all where none has any.",
    )
    code: str | None = _code()
    scoring_script: str | None = _scoring_script()
    model_class: str | None = _model_class()
    accelerator: str | None = _accelerator()
    port: int | None = field(default=None, help="Port on 127.0.0.1; a free one when left out.")
    trust: bool = _trust()
    no_wait: bool = field(default=False, help="Return before the model is loaded.")


class ListOnlineEndpoints(Command):
    """List endpoints."""

    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")


class ShowOnlineEndpoint(Command):
    """Show one endpoint."""

    name: str = _endpoint_name()
    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")


class UpdateOnlineEndpoint(Command):
    """Change an endpoint's description, tags or traffic."""

    name: str = _endpoint_name()
    traffic: str | None = field("-r", default=None, help='Percentages, for example "blue=90 green=10".')
    mirror_traffic: str | None = field(default=None, help='Percentage copied, for example "green=10".')
    set: list[str] = set_field()
    add: list[str] = field(default=[], metavar="PATH VALUE", help="Add to a mapping or list: PATH KEY=VALUE.")
    remove: list[str] = field(default=[], metavar="PATH", help="Remove a value by its dotted path.")
    force_string: bool = field(default=False, help="Take values as text, never as JSON.")
    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")


class StartOnlineEndpoint(Command):
    """Bring a stopped endpoint back, after the machine was started anew, and try again what failed in it."""

    name: str = _endpoint_name()


class InvokeOnlineEndpoint(Command):
    """Send a request to an endpoint and show the answer."""

    name: str = _endpoint_name()
    request_file: str | None = field("-r", default=None, values="path", help="File with the JSON body.")
    data: str | None = field(default=None, help="The JSON body itself.")
    deployment_name: str | None = field("-d", default=None, values="deployment", help="Deployment that shall answer.")
    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")


class GetOnlineEndpointCredentials(Command):
    """Show an endpoint's keys, or a token where its auth_mode is aml_token or aad_token."""

    name: str = _endpoint_name()


class RegenerateOnlineEndpointKeys(Command):
    """Replace one of an endpoint's keys; the old one is refused from then on."""

    name: str = _endpoint_name()
    key_type: str = field(default="primary", choices=("primary", "secondary"), help="Which key.")


class DeleteOnlineEndpoint(Command):
    """Stop an endpoint and delete it with its deployments."""

    name: str = _endpoint_name()
    yes: bool = field("-y", default=False, help="Do not ask.")
    local: bool = field(default=False, help="Accepted; endpoints always run on this machine.")
    no_wait: bool = field(default=False, help="Accepted; deletion takes a moment.")


class CreateOnlineDeployment(Command):
    """Create a deployment: start a process that serves a model behind an endpoint."""

    name: str | None = field("-n", default=None, is_positional=True, help="Name of the deployment.")
    endpoint_name: str | None = field("-e", "--endpoint", default=None, values="endpoint", help="Endpoint that receives it.")
    file: str | None = field("-f", default=None, values="path", help="YAML file that describes the deployment.")
    model: str | None = field("-m", default=None, values="model", help="Model to serve, for example azureml:churn@latest.")
    code: str | None = _code()
    scoring_script: str | None = _scoring_script()
    model_class: str | None = _model_class()
    accelerator: str | None = _accelerator()
    all_traffic: bool = field(default=False, help="Send all requests to it.")
    port: int | None = field(default=None, help="Port on 127.0.0.1; the endpoint's own or a free one when left out.")
    set: list[str] = set_field()
    trust: bool = _trust()
    skip_script_validation: bool = field(default=False, help="Do not read the scoring script before it runs.")
    local: bool = field(
        default=False, help="Deployments always run on this machine; with this the only one of an endpoint has all its traffic."
    )
    no_wait: bool = field(default=False, help="Return before the model is loaded.")


class UpdateOnlineDeployment(Command):
    """Replace a deployment by a changed one; the old process answers until the new one is ready."""

    name: str | None = field("-n", default=None, is_positional=True, values="deployment", help="Name of the deployment.")
    endpoint_name: str | None = field("-e", "--endpoint", default=None, values="endpoint", help="Its endpoint.")
    file: str | None = field("-f", default=None, values="path", help="YAML file that describes the deployment.")
    set: list[str] = set_field()
    add: list[str] = field(default=[], metavar="PATH VALUE", help="Add to a mapping or list: PATH KEY=VALUE.")
    remove: list[str] = field(default=[], metavar="PATH", help="Remove a value by its dotted path.")
    force_string: bool = field(default=False, help="Take values as text, never as JSON.")
    trust: bool = _trust()
    skip_script_validation: bool = field(default=False, help="Do not read the scoring script before it runs.")
    local: bool = field(default=False, help="Accepted; deployments always run on this machine.")
    no_wait: bool = field(default=False, help="Return before the model is loaded, unless a running process is to be replaced.")


class ListOnlineDeployments(Command):
    """List an endpoint's deployments."""

    endpoint_name: str = field("-e", "--endpoint", is_positional=True, values="endpoint", help="The endpoint.")
    local: bool = field(default=False, help="Accepted; deployments always run on this machine.")


class ShowOnlineDeployment(Command):
    """Show one deployment."""

    name: str = field("-n", is_positional=True, values="deployment", help="Name of the deployment.")
    endpoint_name: str = field("-e", "--endpoint", values="endpoint", help="The endpoint.")
    local: bool = field(default=False, help="Accepted; deployments always run on this machine.")


class GetOnlineDeploymentLogs(ShowOnlineDeployment):
    """Show what a deployment's process printed."""

    lines: int = field("-l", default=5000, help="At most this many last lines.")
    container: str = field("-c", default="inference-server", choices=("inference-server", "storage-initializer"), help="Accepted.")


class DeleteOnlineDeployment(ShowOnlineDeployment):
    """Stop a deployment and delete it."""

    yes: bool = field("-y", default=False, help="Do not ask.")
    no_wait: bool = field(default=False, help="Accepted; deletion takes a moment.")
