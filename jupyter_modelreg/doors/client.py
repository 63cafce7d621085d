"""The Python door: ``MLClient`` and its friends, with the names of ``azure.ai.ml``.

Code written for Azure ML runs with the import swapped: any credential is accepted and ignored, a configuration file is
not needed. Every method is one operation; see the operation for what it does and raises.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from ..entities.environment import Environment
from ..entities.model import Lineage, Model
from ..entities.online import EndpointKeys, OnlineDeployment, OnlineEndpoint
from ..errors import Conflict, InvalidInput, NotFound, NotYet
from ..operations import find_operation
from ..records import Record, field
from ..workspace import Workspace, open_workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO

    from ..catalog.search import Page
    from ..entities.answers import Checksum, Comparison, Deleted, Downloaded, DriftReport, Exported, MirrorReport, Mount, Unmounted
    from ..entities.datastore import Datastore
    from ..entities.environment import PythonBuild
    from .plots import DriftPlot

T = TypeVar("T")
R = TypeVar("R", bound=Record)

PAGE = 500
ACTIVE_ONLY, ARCHIVED_ONLY, ALL = "ActiveOnly", "ArchivedOnly", "All"


class Input(Record):
    """An input of a job or batch endpoint. Jobs come in a later version; the record is here so that code imports."""

    type: str = "uri_folder"
    path: str | None = None
    mode: str | None = None
    default: Any = None
    optional: bool | None = None
    description: str | None = None
    datastore: str | None = None


class Output(Record):
    """An output of a job. Jobs come in a later version; the record is here so that code imports."""

    type: str = "uri_folder"
    path: str | None = None
    mode: str | None = None
    name: str | None = None
    version: str | None = None
    description: str | None = field(default=None)


class _Later:
    """Stands where a later version has operations; any use says so."""

    def __init__(self, noun: str) -> None:
        self._noun = noun

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        find_operation(self._noun, name)  # says so


class MLClient:
    """One registry, as ``azure.ai.ml.MLClient`` shows it.

    Parameters
    ----------
    credential, subscription_id, resource_group_name, workspace_name
        Accepted and ignored: there is one workspace on this machine, and its files are the permission.
    registry_name
        Refused when used: registries come in a later version.
    settings
        ``home``, ``catalog``, ``store`` … as keywords; they win over environment and file.
    """

    jobs: Any = _Later("job")
    data: Any = _Later("data")
    registries: Any = _Later("registry")
    batch_endpoints: Any = _Later("batch-endpoint")
    batch_deployments: Any = _Later("batch-deployment")
    components: Any = _Later("component")
    schedules: Any = _Later("schedule")

    def __init__(
        self,
        credential: object = None,
        subscription_id: str | None = None,
        resource_group_name: str | None = None,
        workspace_name: str | None = None,
        registry_name: str | None = None,
        **settings: Any,
    ) -> None:
        if workspace_name and registry_name:
            raise InvalidInput("Both workspace_name and registry_name cannot be used together.")
        if registry_name:
            raise NotFound(f'There is no registry "{registry_name}"; registries come in a later version.')
        known = ("home", "catalog", "store", "user", "workspace")
        self._workspace = open_workspace({key: str(value) for key, value in settings.items() if key in known and value})
        self.workspace_name = workspace_name or self._workspace.settings.workspace
        self.subscription_id, self.resource_group_name = subscription_id, resource_group_name
        self.models = ModelOperations(self._workspace)
        self.environments = EnvironmentOperations(self._workspace)
        self.online_endpoints = OnlineEndpointOperations(self._workspace)
        self.online_deployments = OnlineDeploymentOperations(self._workspace)
        self.monitors = MonitorOperations(self._workspace)
        self.datastores = DatastoreOperations(self._workspace)

    @classmethod
    def from_config(cls, credential: object = None, *, path: str | None = None, file_name: str | None = None, **settings: Any) -> MLClient:
        """Make a client; a ``config.json`` is not needed, since there is one workspace."""
        return cls(credential, **settings)

    def create_or_update(self, entity: Model | Environment, **_: Any) -> Any:
        """Register a model or an environment, or change its mutable fields.

        Raises
        ------
        NotYet
            If the entity is of another kind; endpoints and deployments take ``begin_create_or_update``.
        """
        if isinstance(entity, Model):
            return self.models.create_or_update(entity)
        if isinstance(entity, Environment):
            return self.environments.create_or_update(entity)
        raise NotYet(f"create_or_update takes a Model or an Environment in this version, not {type(entity).__name__}.")

    def begin_create_or_update(self, entity: OnlineEndpoint | OnlineDeployment, **options: Any) -> LROPoller[Any]:
        """Create or change an endpoint or a deployment."""
        if isinstance(entity, OnlineEndpoint):
            return self.online_endpoints.begin_create_or_update(entity, **options)
        if isinstance(entity, OnlineDeployment):
            return self.online_deployments.begin_create_or_update(entity, **options)
        raise NotYet(f"begin_create_or_update takes endpoints and deployments in this version, not {type(entity).__name__}.")


class LROPoller(Generic[T]):
    """What ``begin_…`` methods return. The work is done already: nothing here is far away."""

    def __init__(self, result: T) -> None:
        self._result = result

    def result(self, timeout: float | None = None) -> T:
        """Return the answer."""
        return self._result

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def done(self) -> bool:
        """Return True."""
        return True

    def status(self) -> str:
        """Return Azure's word for done."""
        return "Succeeded"


class _Operations:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def _run(self, noun: str, verb: str, **values: Any) -> Any:
        """Run one row of the table with the values that are given."""
        operation = find_operation(noun, verb)
        command = operation.command(**{key: value for key, value in values.items() if value is not None})
        with _as_azure_knows_it():
            return operation.run(self._workspace, command)


class _AssetOperations(_Operations, Generic[R]):
    """What is the same for all that has versions."""

    _noun: str

    def archive(self, name: str, version: str | None = None, label: str | None = None) -> None:
        """Hide a version, or all of this name, from lists."""
        self._run(self._noun, "archive", name=name, version=version, label=label)

    def restore(self, name: str, version: str | None = None, label: str | None = None) -> None:
        """Show a version, or all of this name, in lists again."""
        self._run(self._noun, "restore", name=name, version=version, label=label)

    def delete(self, name: str, version: str | None = None) -> Deleted:
        """Delete a version, or all of this name."""
        gone: Deleted = self._run(self._noun, "delete", name=name, version=version)
        return gone

    def share(self, name: str, version: str, *, share_with_name: str, share_with_version: str, registry_name: str) -> R:
        """Copy a version into a registry."""
        shared: R = self._run(
            self._noun,
            "share",
            name=name,
            version=version,
            share_with_name=share_with_name,
            share_with_version=share_with_version,
            registry_name=registry_name,
        )
        return shared


class ModelOperations(_AssetOperations[Model]):
    """``ml_client.models``"""

    _noun = "model"

    def create_or_update(self, model: Model) -> Model:
        """Register a model; if this version exists, change its description, tags, stage and properties.

        Raises
        ------
        Conflict
            If the version exists with other content.
        """
        from ..models import change_model, register_model

        found = self._find(model.name, model.version) if model.name and model.version else None
        if not found or model.path not in (None, found.path):
            if not model.path:
                raise InvalidInput("A model needs a path.", key="path")
            made = register_model(self._workspace, model)  # which refuses other content for a version that exists
            if not found:
                return made
        return change_model(self._workspace, found, {key: getattr(model, key) for key in ("description", "tags", "stage", "properties")})

    def _find(self, name: str, version: str) -> Model | None:
        try:
            return self._workspace.catalog.get_version(name, version)
        except NotFound:
            return None

    def register(
        self,
        name: str,
        value: object,
        *,
        sample: object = None,
        metrics: Mapping[str, float] | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        stage: str | None = None,
        allow_pickle: bool = False,
        training: object = None,
    ) -> Model:
        """Save a live object in its safest known format and register it as a new version.

        Up to 2,000 rows of `training` are kept with it, for ``monitors.drift``.
        """
        from ..commands.model import CreateModel
        from ..models import register_object

        command = CreateModel(name=name, description=description, tags=dict(tags or {}), stage=stage)
        return register_object(
            self._workspace,
            command,
            value,
            sample=sample,
            metrics=dict(metrics or {}),
            lineage=Lineage(),
            allow_pickle=allow_pickle,
            training=training,
        )

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Model:
        """Return one version in full."""
        if not (version or label):
            raise InvalidInput("Must provide either version or label.")
        found: Model = self._run("model", "show", name=name, version=version, label=label)
        return found

    def list_mounts(self) -> list[Mount]:
        """Return the folders of this machine that show a version's files."""
        found: list[Mount] = self._run("model", "list-mounts")
        return found

    def checksums(self, name: str, version: str | None = None, label: str | None = None) -> list[Checksum]:
        """Return the BLAKE3 and SHA-256 of a version's files."""
        found: list[Checksum] = self._run("model", "checksums", name=name, version=version, label=label)
        return found

    def list(
        self,
        name: str | None = None,
        stage: str | None = None,
        *,
        list_view_type: str = ACTIVE_ONLY,
        filter: str | None = None,
        tags: Mapping[str, str] | None = None,
        search: str | None = None,
        max_results: int | None = None,
        page: str | None = None,
        **others: Any,
    ) -> ModelPages:
        """Return the latest version of each model, or all versions of one or that a filter finds; ``version`` is never None."""
        asked = {
            "name": name,
            "stage": stage,
            "filter": filter,
            "tags": dict(tags) if tags else None,
            "search": search,
            "include_archived": list_view_type == ALL or None,
            "archived_only": list_view_type == ARCHIVED_ONLY or None,
            **others,
        }

        def fetch(token: str | None, limit: int) -> Page:
            found: Page = self._run("model", "list", **asked, page=token, max_results=limit)
            return found

        return ModelPages(fetch, page, max_results)

    def load(self, name: str, version: str | None = None, label: str | None = None, *, trust: bool = False) -> Any:
        """Return the live object of a version; the latest when none is named."""
        from ..commands.model import ShowModel
        from ..models import load_model as load_object

        with _as_azure_knows_it():
            return load_object(self._workspace, ShowModel(name=name, version=version, label=label), trust=trust)

    def download(
        self, name: str, version: str | None = None, download_path: str = ".", *, label: str | None = None, verify: bool = True
    ) -> Downloaded:
        """Copy a version's files to ``<download_path>/<name>/``; without `verify` large ones that rest are not read once more."""
        command = {"name": name, "version": version, "label": label, "download_path": str(download_path), "no_verify": not verify}
        done: Downloaded = self._run("model", "download", **command)
        return done

    def export(self, name: str, version: str | None = None, *, label: str | None = None, path: str | os.PathLike[str] = ".") -> Exported:
        """Write a version into one file that any registry imports; `path` names it, or the folder that receives it."""
        done: Exported = self._run("model", "export", name=name, version=version, label=label, path=os.fspath(path))
        return done

    def import_file(self, file: str | os.PathLike[str], *, name: str | None = None, version: str | None = None) -> Model:
        """Register the version that an exported file holds, under its own name and number unless others are given."""
        model: Model = self._run("model", "import", file=os.fspath(file), name=name, version=version)
        return model

    def mount(
        self,
        name: str,
        version: str | None = None,
        mount_point: str | None = None,
        *,
        label: str | None = None,
        mode: str = "ro_mount",
        kind: str = "auto",
    ) -> MountedModel:
        """Show a version's files in a folder, a temporary one when none is named; ``with`` takes them out again."""
        import tempfile

        folder = str(mount_point or tempfile.mkdtemp(prefix="modelreg-"))
        try:
            done: Mount = self._run("model", "mount", name=name, version=version, label=label, mount_point=folder, mode=mode, kind=kind)
        except BaseException:
            if not mount_point:
                os.rmdir(folder)
            raise
        return MountedModel(self, done, is_temporary=not mount_point)

    def compare(self, name: str, version: str | None = None, other: str | None = None) -> Comparison:
        """Return what differs between two versions."""
        compared: Comparison = self._run("model", "compare", name=name, version=version, other=other)
        return compared

    def package(self, name: str, version: str, package_request: object, **_: Any) -> None:
        """Raise NotYet: packages come in a later version."""
        self._run("model", "package")


class ModelPages(Sequence[Model]):
    """What ``models.list`` returns: models, read page by page as they are looked at.

    Source: azure.core.paging.ItemPaged, and whatever a list can do that changes nothing. The first page is read at once,
    so that what is wrong with the question is said where it is asked.
    """

    def __init__(self, fetch: Callable[[str | None, int], Page], token: str | None, max_results: int | None) -> None:
        self._fetch, self._start, self._max_results = fetch, token, max_results
        self._pages = self.by_page()
        self._models: list[Model] = []
        self.next_page: str | None = None  # what goes on behind the models read so far, given as `page`
        self._read_page()

    def by_page(self, continuation_token: str | None = None) -> Iterator[Page]:
        """Read the pages one by one, from the first or from what an earlier page's ``next_page`` was."""
        token, left = continuation_token or self._start, self._max_results
        while True:
            page = self._fetch(token, PAGE if left is None else min(PAGE, left))
            yield page
            token, left = page.next_page, None if left is None else left - len(page)
            if token is None or left == 0:
                return

    def _read_page(self) -> bool:
        """Read one page more; False where there is none."""
        page = next(self._pages, None)
        if page is None:
            return False
        self._models += page
        self.next_page = page.next_page
        return True

    def _all(self) -> list[Model]:
        while self._read_page():
            pass
        return self._models

    def __iter__(self) -> Iterator[Model]:
        at = 0
        while at < len(self._models) or self._read_page():
            yield from self._models[at:]
            at = len(self._models)

    def __getitem__(self, key: Any) -> Any:
        is_near = isinstance(key, int) and 0 <= key < len(self._models)
        return self._models[key] if is_near else self._all()[key]

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        return bool(self._models)

    def __eq__(self, other: object) -> bool:
        return self._all() == (list(other) if isinstance(other, ModelPages) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._all())


class MountedModel:
    """A folder that shows a version's files; it may stand where a path may. Leaving a ``with`` block unmounts it.

    Raises
    ------
    Conflict
        When a block ends in which a writable mount was changed and not committed; the folder stays then.
    """

    def __init__(self, models: ModelOperations, mount: Mount, *, is_temporary: bool = False) -> None:
        self._models, self.mount, self._is_temporary, self._is_mounted = models, mount, is_temporary, True

    def __fspath__(self) -> str:
        return self.mount.path

    __str__ = __fspath__

    def __enter__(self) -> MountedModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._is_mounted:
                self.unmount()
        except Conflict:
            if kind is None:  # else the block's own error is what counts
                raise

    def commit(self, name: str | None = None, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Model:
        """Register what a writable mount holds now as the next version."""
        made: Model = self._models._run(
            "model", "commit", mount_point=self.mount.path, name=name, description=description, tags=dict(tags or {})
        )
        return made

    def unmount(self, *, discard: bool = False) -> Unmounted:
        """Take the files out of the folder again; `discard` drops changes that were not committed."""
        done: Unmounted = self._models._run("model", "unmount", mount_point=self.mount.path, discard=discard)
        self._is_mounted = False
        if self._is_temporary and not done.left:
            os.rmdir(self.mount.path)
        return done


class OnlineEndpointOperations(_Operations):
    """``ml_client.online_endpoints``"""

    def begin_create_or_update(self, endpoint: OnlineEndpoint, *, local: bool = False, **_: Any) -> LROPoller[OnlineEndpoint]:
        """Create an endpoint, or change its description, tags, properties and traffic."""
        from .. import online

        known = {item.name: item for item in self._workspace.catalog.list_endpoints()}
        if endpoint.name in known:
            return LROPoller(online.change_endpoint(self._workspace, known[endpoint.name], endpoint))
        return LROPoller(online.put_new_endpoint(self._workspace, endpoint))

    def get(self, name: str, *, local: bool = False) -> OnlineEndpoint:
        """Return one endpoint."""
        found: OnlineEndpoint = self._run("online-endpoint", "show", name=name)
        return found

    def list(self, *, local: bool = False) -> list[OnlineEndpoint]:
        """Return every endpoint."""
        found: list[OnlineEndpoint] = self._run("online-endpoint", "list")
        return found

    def get_keys(self, name: str) -> EndpointKeys:
        """Return the keys: ``primary_key`` and ``secondary_key``."""
        keys: EndpointKeys = self._run("online-endpoint", "get-credentials", name=name)
        return keys

    def begin_regenerate_keys(self, name: str, *, key_type: str = "primary") -> LROPoller[EndpointKeys]:
        """Replace one key."""
        return LROPoller(self._run("online-endpoint", "regenerate-keys", name=name, key_type=key_type))

    def invoke(
        self,
        endpoint_name: str,
        *,
        request_file: str | None = None,
        deployment_name: str | None = None,
        input_data: object = None,
        local: bool = False,
    ) -> str:
        """Send a request and return the answer's text, JSON where the model gives JSON."""
        data = None if input_data is None else input_data if isinstance(input_data, str) else json.dumps(input_data)
        path = str(request_file) if request_file else None
        body = self._run(
            "online-endpoint", "invoke", name=endpoint_name, request_file=path, data=data, deployment_name=deployment_name, local=local
        ).body
        return body if isinstance(body, str) else json.dumps(body)

    def begin_delete(self, name: str, *, local: bool = False) -> LROPoller[None]:
        """Stop an endpoint and delete it."""
        self._run("online-endpoint", "delete", name=name)
        return LROPoller(None)


class OnlineDeploymentOperations(_Operations):
    """``ml_client.online_deployments``"""

    def begin_create_or_update(
        self, deployment: OnlineDeployment, *, local: bool = False, skip_script_validation: bool = False, **_: Any
    ) -> LROPoller[OnlineDeployment]:
        """Start a deployment, or replace the one of this name without a gap."""
        from .. import online

        with _as_azure_knows_it():
            return LROPoller(online.put_deployment(self._workspace, deployment, is_script_checked=not skip_script_validation))

    def get(self, name: str, endpoint_name: str, *, local: bool = False) -> OnlineDeployment:
        """Return one deployment."""
        found: OnlineDeployment = self._run("online-deployment", "show", name=name, endpoint_name=endpoint_name)
        return found

    def list(self, endpoint_name: str, *, local: bool = False) -> list[OnlineDeployment]:
        """Return an endpoint's deployments."""
        found: list[OnlineDeployment] = self._run("online-deployment", "list", endpoint_name=endpoint_name)
        return found

    def get_logs(self, name: str, endpoint_name: str, lines: int = 5000, *, container_type: str | None = None, local: bool = False) -> str:
        """Return the last lines of a deployment's log."""
        text: str = self._run("online-deployment", "get-logs", name=name, endpoint_name=endpoint_name, lines=lines).text
        return text

    def begin_delete(self, name: str, endpoint_name: str, *, local: bool = False) -> LROPoller[None]:
        """Stop a deployment and delete it."""
        self._run("online-deployment", "delete", name=name, endpoint_name=endpoint_name)
        return LROPoller(None)


class EnvironmentOperations(_AssetOperations["Environment"]):
    """``ml_client.environments``"""

    _noun = "environment"

    def create_or_update(self, environment: Environment) -> Environment:
        """Record an environment: a new version, or the latest if nothing differs from it; description and tags may change.

        Raises
        ------
        Conflict
            If the version exists with another definition.
        """
        from ..environments import register_environment

        return register_environment(self._workspace, environment)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Environment:
        """Return one version."""
        if not (version or label):
            raise InvalidInput("Must provide either version or label.")
        found: Environment = self._run("environment", "show", name=name, version=version, label=label)
        return found

    def list(self, name: str | None = None, *, list_view_type: str = ACTIVE_ONLY) -> list[Environment]:
        """Return the latest version of each environment, or all versions of one."""
        found: list[Environment] = self._run(
            "environment",
            "list",
            name=name,
            include_archived=list_view_type == ALL or None,
            archived_only=list_view_type == ARCHIVED_ONLY or None,
        )
        return found

    def build(self, name: str, version: str | None = None, label: str | None = None) -> PythonBuild:
        """Make the Python of an environment now, so that a deployment need not wait for it."""
        made: PythonBuild = self._run("environment", "build", name=name, version=version, label=label)
        return made


class MonitorOperations(_Operations):
    """``client.monitors``; Azure's monitors are schedules, these look when they are asked."""

    def drift(
        self,
        endpoint_name: str,
        deployment_name: str,
        reference: object = None,
        *,
        collection: str | None = None,
        window: str | None = None,
        threshold: Mapping[str, float] | None = None,
    ) -> DriftReport:
        """Return how what a deployment was asked differs from the data its model was trained on.

        `reference` is a file, or a DataFrame or array, of which 2,000 rows, evenly taken, are looked at.
        """
        if hasattr(reference, "shape"):
            from tempfile import TemporaryDirectory

            from ..monitors import write_sample

            with TemporaryDirectory(prefix="modelreg-") as folder:
                path = write_sample(folder, reference)
                report = self.drift(endpoint_name, deployment_name, path, collection=collection, window=window, threshold=threshold)
            return report.replace(reference=f"the {type(reference).__name__} given")
        found: DriftReport = self._run(
            "monitor",
            "drift",
            endpoint_name=endpoint_name,
            deployment_name=deployment_name,
            reference=str(reference) if reference else None,
            collection=collection,
            window=window,
            threshold=dict(threshold) if threshold else None,
        )
        return found

    def mirror(self, endpoint_name: str, deployment_name: str, *, window: str | None = None) -> MirrorReport:
        """Return how a mirror's answers differ from those that callers got."""
        found: MirrorReport = self._run("monitor", "mirror", endpoint_name=endpoint_name, deployment_name=deployment_name, window=window)
        return found

    def plot(self, report: DriftReport, columns: Sequence[str] | None = None) -> DriftPlot:
        """Return a report's histograms, which a notebook shows; ``.save(path)`` writes them as a page."""
        from .plots import drift_plot

        return drift_plot(report, list(columns) if columns else None)


class DatastoreOperations(_Operations):
    """``ml_client.datastores``"""

    def get(self, name: str, *, include_secrets: bool = False) -> Datastore:
        """Return one datastore."""
        found: Datastore = self._run("datastore", "show", name=name)
        return found

    def get_default(self, *, include_secrets: bool = False) -> Datastore:
        """Return the default datastore."""
        return self.get("workspaceblobstore")

    def list(self, *, include_secrets: bool = False) -> list[Datastore]:
        """Return every datastore."""
        found: list[Datastore] = self._run("datastore", "list")
        return found


def load_model(source: str | IO[str], *, relative_origin: str | None = None, params_override: list[dict[str, Any]] | None = None) -> Model:
    """Load a model's YAML file; a path or an open text stream, whose relative paths start at `relative_origin`."""
    return _load(Model, source, relative_origin, params_override)


def load_online_endpoint(
    source: str | IO[str], *, relative_origin: str | None = None, params_override: list[dict[str, Any]] | None = None
) -> OnlineEndpoint:
    """Load an endpoint's YAML file."""
    return _load(OnlineEndpoint, source, relative_origin, params_override)


def load_online_deployment(
    source: str | IO[str], *, relative_origin: str | None = None, params_override: list[dict[str, Any]] | None = None
) -> OnlineDeployment:
    """Load a deployment's YAML file."""
    return _load(OnlineDeployment, source, relative_origin, params_override)


def load_environment(
    source: str | IO[str], *, relative_origin: str | None = None, params_override: list[dict[str, Any]] | None = None
) -> Environment:
    """Load an environment's YAML file."""
    return _load(Environment, source, relative_origin, params_override)


def _load(kind: type[R], source: str | IO[str], relative_origin: str | None, params_override: list[dict[str, Any]] | None) -> R:
    import io

    from ..entities.loading import load_entity

    if relative_origin and not isinstance(source, (str, os.PathLike)):
        text = io.StringIO(source.read())
        text.name = relative_origin if os.path.isfile(relative_origin) else os.path.join(relative_origin, "stream")
        source = text
    return load_entity(kind, source, params_override=params_override or [])


@contextmanager
def _as_azure_knows_it() -> Iterator[None]:
    """Let code that catches azure-core's ResourceNotFoundError catch our NotFound, where it has imported that."""
    try:
        yield
    except NotFound as error:
        azure = sys.modules.get("azure.core.exceptions")
        if azure is None:
            raise
        kind: type[NotFound] = type("NotFound", (NotFound, azure.ResourceNotFoundError), {})
        raise kind(error.message, detail=error.detail) from None
