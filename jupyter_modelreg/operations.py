"""The table of operations. The doors are loops over it; adding a row adds it to all of them."""

from __future__ import annotations

from importlib import import_module

from .errors import NotFound, NotYet, nearest, system_refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .commands import Command
    from .workspace import Workspace


class Operation:
    """One row: what it is called, what it takes, who does it, what it answers.

    ``answer`` names a record of :mod:`jupyter_modelreg.entities`, or ``list[...]`` of one. ``reads`` is True when the
    operation changes nothing (REST serves it by GET). ``confirms`` is the question asked before it is done, or the
    function ``module:name`` that words it from what stands then.
    """

    __slots__ = ("_command", "answer", "confirms", "function", "noun", "reads", "verb")

    def __init__(self, noun: str, verb: str, command: str, function: str, answer: str, *, reads: bool = False, confirms: str = "") -> None:
        self.noun, self.verb, self._command, self.function = noun, verb, command, function
        self.answer, self.reads, self.confirms = answer, reads, confirms

    @property
    def command(self) -> type[Command]:
        """The record of what is asked, imported on first use."""
        module, name = self._command.split(":")
        command: type[Command] = getattr(import_module(f".commands.{module}", __package__), name)
        return command

    @property
    def magic(self) -> str:
        """The name of its line magic: ``online_endpoint_get_credentials``."""
        return f"{self.noun}_{self.verb}".replace("-", "_")

    @property
    def summary(self) -> str:
        """The first line of the command's docstring."""
        return (self.command.__doc__ or "").strip().splitlines()[0]

    def question(self, workspace: Workspace, command: Command) -> str:
        """Return what a person must agree to before it is done; empty where there is nothing to ask or they did by ``yes``."""
        if not self.confirms or getattr(command, "yes", False):
            return ""
        if " " in self.confirms:
            return self.confirms.format(name=getattr(command, "name", ""))
        return str(_function(self.confirms)(workspace, command))

    def run(self, workspace: Workspace, command: Command) -> Any:
        """Do it. Raises what the function raises; see :mod:`jupyter_modelreg.errors`."""
        try:
            return _function(self.function)(workspace, command)
        except OSError as error:
            raise system_refusal(error) or error from None


def _function(place: str) -> Callable[[Workspace, Command], Any]:
    module, name = place.split(":")
    function: Callable[[Workspace, Command], Any] = getattr(import_module(f".{module}", __package__), name)
    return function


NOUNS = {
    "model": "Registered models and their versions.",
    "online-endpoint": "URLs that answer with a model's predictions.",
    "online-deployment": "The processes behind an endpoint.",
    "environment": "The packages and the Python that a deployment runs in.",
    "monitor": "What endpoints are asked and answer, held against training data and a mirror.",
    "store": "Where the files of all versions lie.",
    "audit": "Who changed what in the catalog, and when.",
    "datastore": "Named places of files.",
    "settings": "What this installation uses.",
}

OPERATIONS: tuple[Operation, ...] = (
    Operation("model", "create", "model:CreateModel", "models:create_model", "Model"),
    Operation("model", "list", "model:ListModels", "models:list_models", "list[Model]", reads=True),
    Operation("model", "show", "model:ShowModel", "models:show_model", "Model", reads=True),
    Operation("model", "update", "model:UpdateModel", "models:update_model", "Model"),
    Operation("model", "archive", "model:ArchiveModel", "models:archive_model", "Model"),
    Operation("model", "restore", "model:RestoreModel", "models:restore_model", "Model"),
    Operation("model", "download", "model:DownloadModel", "models:download_model", "Downloaded"),
    Operation("model", "export", "model:ExportModel", "exports:export_model", "Exported"),
    Operation("model", "import", "model:ImportModel", "exports:import_model", "Model"),
    Operation("model", "delete", "model:DeleteModel", "models:delete_model", "Deleted", confirms="Delete {name} for good?"),
    Operation("model", "share", "model:ShareModel", "models:share_model", "Model"),
    Operation("model", "compare", "model:CompareModels", "models:compare_models", "Comparison", reads=True),
    Operation("model", "mount", "model:MountModel", "mounts:mount_model", "Mount"),
    Operation("model", "list-mounts", "model:ListMounts", "mounts:list_mounts", "list[Mount]", reads=True),
    Operation("model", "unmount", "model:UnmountModel", "mounts:unmount_model", "Unmounted"),
    Operation("model", "commit", "model:CommitModel", "mounts:commit_model", "Model"),
    Operation("model", "checksums", "model:ListChecksums", "mounts:list_checksums", "list[Checksum]", reads=True),
    Operation("model", "deploy", "online:DeployModel", "online:deploy_model", "OnlineEndpoint"),
    Operation("online-endpoint", "create", "online:CreateOnlineEndpoint", "online:create_endpoint", "OnlineEndpoint"),
    Operation("online-endpoint", "list", "online:ListOnlineEndpoints", "online:list_endpoints", "list[OnlineEndpoint]", reads=True),
    Operation("online-endpoint", "show", "online:ShowOnlineEndpoint", "online:show_endpoint", "OnlineEndpoint", reads=True),
    Operation("online-endpoint", "update", "online:UpdateOnlineEndpoint", "online:update_endpoint", "OnlineEndpoint"),
    Operation("online-endpoint", "start", "online:StartOnlineEndpoint", "online:start_endpoint", "OnlineEndpoint"),
    Operation("online-endpoint", "invoke", "online:InvokeOnlineEndpoint", "online:invoke_endpoint", "Invocation"),
    Operation("online-endpoint", "get-credentials", "online:GetOnlineEndpointCredentials", "online:get_keys", "EndpointKeys"),
    Operation("online-endpoint", "regenerate-keys", "online:RegenerateOnlineEndpointKeys", "online:regenerate_keys", "EndpointKeys"),
    Operation("online-endpoint", "delete", "online:DeleteOnlineEndpoint", "online:delete_endpoint", "Deleted", confirms="Stop {name}?"),
    Operation("online-deployment", "create", "online:CreateOnlineDeployment", "online:create_deployment", "OnlineDeployment"),
    Operation("online-deployment", "update", "online:UpdateOnlineDeployment", "online:update_deployment", "OnlineDeployment"),
    Operation("online-deployment", "list", "online:ListOnlineDeployments", "online:list_deployments", "list[OnlineDeployment]", reads=True),
    Operation("online-deployment", "show", "online:ShowOnlineDeployment", "online:show_deployment", "OnlineDeployment", reads=True),
    Operation("online-deployment", "get-logs", "online:GetOnlineDeploymentLogs", "online:get_logs", "LogText", reads=True),
    Operation(
        "online-deployment",
        "delete",
        "online:DeleteOnlineDeployment",
        "online:delete_deployment",
        "Deleted",
        confirms="Stop {name}?",
    ),
    Operation("environment", "create", "environment:CreateEnvironment", "environments:create_environment", "Environment"),
    Operation("environment", "list", "environment:ListEnvironments", "environments:list_environments", "list[Environment]", reads=True),
    Operation("environment", "show", "environment:ShowEnvironment", "environments:show_environment", "Environment", reads=True),
    Operation("environment", "update", "environment:UpdateEnvironment", "environments:update_environment", "Environment"),
    Operation("environment", "archive", "environment:ArchiveEnvironment", "environments:archive_environment", "Environment"),
    Operation("environment", "restore", "environment:RestoreEnvironment", "environments:restore_environment", "Environment"),
    Operation(
        "environment",
        "delete",
        "environment:DeleteEnvironment",
        "environments:delete_environment",
        "Deleted",
        confirms="Delete {name} for good?",
    ),
    Operation("environment", "share", "environment:ShareEnvironment", "environments:share_environment", "Environment"),
    Operation("environment", "build", "environment:BuildEnvironment", "environments:build_environment", "PythonBuild"),
    Operation("environment", "list-built", "environment:ListBuiltEnvironments", "environments:list_built", "list[PythonBuild]", reads=True),
    Operation(
        "environment",
        "clean",
        "environment:CleanEnvironments",
        "environments:clean_environments",
        "Removed",
        confirms="environments:ask_to_clean",
    ),
    Operation("monitor", "drift", "monitor:MonitorDrift", "monitors:find_drift", "DriftReport"),  # no reading: it takes a path
    Operation("monitor", "mirror", "monitor:MonitorMirror", "monitors:compare_mirror", "MirrorReport", reads=True),
    Operation("store", "stats", "store:ShowStoreStats", "stores:show_stats", "StoreStats", reads=True),
    Operation("store", "verify", "store:VerifyStore", "stores:verify_store", "Verification"),
    Operation("store", "clean", "store:CleanStore", "stores:clean_store", "Cleaned", confirms="stores:ask_to_clean"),
    Operation("audit", "list", "audit:ListAudit", "models:list_audit", "list[AuditRow]", reads=True),
    Operation("datastore", "list", "workspace:ListDatastores", "datastores:list_datastores", "list[Datastore]", reads=True),
    Operation("datastore", "show", "workspace:ShowDatastore", "datastores:show_datastore", "Datastore", reads=True),
    Operation("settings", "list", "workspace:ShowSettings", "installation:list_settings", "list[Setting]", reads=True),
    Operation("settings", "check", "workspace:CheckInstallation", "installation:check_installation", "list[Check]", reads=True),
)

# What Azure ML has and a later version brings: noun, or noun and verb. Named so that the answer is a clear word, not a parse error.
COMING = {
    "job": "jobs",
    "data": "data assets",
    "registry": "registries",
    "batch-endpoint": "batch endpoints",
    "batch-deployment": "batch endpoints",
    "component": "components of pipelines",
    "schedule": "schedules",
    "datastore create": "datastores beyond the default one",
    "model package": "packages of models",
}


def find_operation(noun: str, verb: str) -> Operation:
    """Return one row.

    Raises
    ------
    NotYet
        If Azure ML has it and a later version brings it.
    NotFound
        If there is no such operation; the message names the nearest.
    """
    coming = COMING.get(noun) or COMING.get(f"{noun} {verb}")
    if coming:
        raise NotYet(f"{coming} come in a later version.".capitalize())
    for operation in OPERATIONS:
        if operation.noun == noun and operation.verb == verb:
            return operation
    known = [f"{operation.noun} {operation.verb}" for operation in OPERATIONS]
    raise NotFound(f'There is no operation "{noun} {verb}".{nearest(f"{noun} {verb}", known)}')
