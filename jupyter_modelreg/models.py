"""Operations on models: each tells its story in order; the parts do the work.

``model list`` must answer a shell in twenty milliseconds, so what only other operations need is imported in them.
"""

from __future__ import annotations

from contextlib import suppress

from .assets import check_datastore, check_only, chosen_version, imported, names_a_version, refuse_registry, stored_path, with_values
from .entities.model import Lineage, Model
from .errors import Corrupted, InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from .catalog.search import Page
    from .commands.audit import ListAudit
    from .commands.model import (
        ArchiveModel,
        CompareModels,
        CreateModel,
        DeleteModel,
        DownloadModel,
        ListModels,
        RestoreModel,
        ShareModel,
        ShowModel,
        UpdateModel,
    )
    from .entities.answers import AuditRow, Comparison, Deleted, Downloaded
    from .flavors import Detection
    from .references import Reference
    from .trees import Manifest, Tree
    from .workspace import Workspace

# Source: Azure ML, "Work with registered models": after registration only description and tags change. The CLI adds
# stage, and new properties.
MUTABLE = ("description", "tags", "stage", "properties")


# --- create -----------------------------------------------------------------------------------------------------


def create_model(workspace: Workspace, command: CreateModel) -> Model:
    """Copy a model's files into the store and record a new version.

    Raises
    ------
    InvalidInput
        If neither a file nor a name and a path are given, or the files do not fit the type.
    Conflict
        If the version exists with other content; versions never change.
    NotFound
        If the path leads nowhere.
    """
    model = describe_model(command)
    if not model.name or not model.path:
        raise InvalidInput("Please provide either --file/-f or --name/-n and --path/-p.", key="path")
    return register_model(workspace, model, transfer=command.transfer)


def describe_model(command: CreateModel, body: IO[str] | None = None) -> Model:
    """Return the model that a command describes: in its file, or a body read instead of it; options win over both.

    Raises
    ------
    InvalidInput
        If the description has a mistake; the message names file, line and key.
    NotFound
        If a registry is named: there are none yet.
    """
    refuse_registry(command.registry_name)
    flags, source = _from_flags(command), body or command.file
    if not source:
        return _with_sets(flags, command.set)
    from .entities.loading import load_entity

    described = load_entity(Model, source, overrides=command.set)
    names = ("name", "version", "path", "type", "description", "stage", "datastore")
    given = {name: value for name in names if (value := getattr(flags, name))}
    return described.replace(**given, tags={**described.tags, **flags.tags})


def register_model(
    workspace: Workspace, model: Model, *, tree: Tree | None = None, lineage: Lineage | None = None, transfer: str = "copy"
) -> Model:
    """Register what an entity describes; see :func:`create_model`.

    A model without a name is registered under one made from its content, as Azure ML does for inline models. `tree` holds
    the files where they are not read as the path says.
    """
    from . import flavors
    from .catalog.names import check_model
    from .references import LocalPath, parse_reference

    if model.name:
        check_model(model)  # before a gigabyte is copied in vain
    check_datastore(model.datastore)
    reference = parse_reference(model.path or "")
    if transfer != "copy" and not isinstance(reference, LocalPath):
        raise InvalidInput(f'Only files on this machine can be kept by {transfer}; leave out --transfer for "{reference}".', key="transfer")
    tree = tree or workspace.open_tree(reference)
    detection = flavors.detect(tree, model.type)
    with imported(workspace, tree, is_linked=transfer != "copy") as (manifest, pin):
        named = model if model.name else model.replace(name=f"anonymous-{manifest.digest[:16]}", version="1")
        made = _record(workspace, named.replace(**_source_of(reference, manifest)), detection, manifest, pin, lineage or Lineage(), {})
    if transfer == "move":
        _remove_moved(tree)
    return made


def _remove_moved(tree: Tree) -> None:
    """Remove the names that files had before they were moved into the store, and the folders that this leaves empty."""
    import os

    folders = set()
    for item in tree.files():
        local = str(tree.local_path(item.path))
        os.unlink(local)
        for _ in item.path.split("/")[1:]:
            local = os.path.dirname(local)
            folders.add(local)
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(OSError):  # it holds something else
            os.rmdir(folder)


def register_exported(workspace: Workspace, model: Model, tree: Tree, manifest: Manifest) -> Model:
    """Register a version of another registry with what was known of it there; only the scan is done anew.

    Raises
    ------
    Corrupted
        If the tree's files are not those of the manifest.
    """
    from .flavors import Detection

    with imported(workspace, tree) as (kept, pin):
        if kept.digest != manifest.digest:
            raise Corrupted(
                f"The files of {model.name} have the digest {kept.digest[:12]}…, not {manifest.digest[:12]}…; nothing was imported."
            )
        detection = Detection(
            type=model.type or "custom_model", flavor=model.flavor, signature=model.signature, input_example=model.input_example
        )
        return _record(workspace, model, detection, kept, pin, model.lineage or Lineage(), model.metrics)


def register_object(
    workspace: Workspace,
    command: CreateModel,
    value: object,
    *,
    sample: object = None,
    metrics: dict[str, float] | None = None,
    lineage: Lineage | None = None,
    allow_pickle: bool = False,
    training: object = None,
) -> Model:
    """Save a live object in the safest format known for it and register that as a new version.

    Parameters
    ----------
    sample
        Some rows of input, shape (n, features): gives the signature and the input example.
    metrics
        Numbers to compare versions by.
    allow_pickle
        Whether an object without a safe format may be pickled.
    training
        Rows it was trained on: up to two thousand of them, evenly taken, are kept with it for ``monitor drift``.

    Raises
    ------
    Refused
        If only a pickle could hold the object and ``allow_pickle`` is False.
    """
    import os

    from . import flavors
    from .catalog.names import check_model
    from .references import LocalPath

    refuse_registry(command.registry_name)
    if not command.name:
        raise InvalidInput("A model needs a name.", key="name")
    check_model(_from_flags(command))
    check_datastore(command.datastore)
    outputs = _predict(value, sample)
    with workspace.store.scratch() as scratch:
        folder = os.path.join(scratch, "model")
        os.mkdir(folder)
        detection = flavors.save_object(value, folder, sample=sample, outputs=outputs, allow_pickle=allow_pickle)
        if training is not None:
            from .monitors import write_sample

            write_sample(folder, training)
        with imported(workspace, workspace.open_tree(LocalPath(path=folder))) as (manifest, pin):
            model = _from_flags(command).replace(path=stored_path(manifest), type=detection.type)
            return _record(workspace, model, detection, manifest, pin, lineage or Lineage(), metrics or {})


def _with_sets(model: Model, sets: list[str]) -> Model:
    if not sets:
        return model
    from .entities.loading import load_entity

    return load_entity(Model, model.to_dict(), overrides=sets)


def _from_flags(command: CreateModel) -> Model:
    return Model(
        name=command.name,
        version=command.version,
        path=command.path,
        type=command.type,
        description=command.description,
        tags=dict(command.tags),
        stage=command.stage,
        datastore=command.datastore,
    )


def _source_of(reference: Reference, manifest: Manifest) -> dict[str, Any]:
    """Say where the files came from: a remote place under its own name, local ones under the store's."""
    from .references import JobOutput, LocalPath, MlflowRun

    return {
        "path": stored_path(manifest) if isinstance(reference, LocalPath) else str(reference),
        "job_name": reference.run if isinstance(reference, MlflowRun) else reference.job if isinstance(reference, JobOutput) else None,
    }


def _record(
    workspace: Workspace,
    model: Model,
    detection: Detection,
    manifest: Manifest,
    pin: str,
    lineage: Lineage,
    metrics: dict[str, float],
) -> Model:
    from .trust import scan_tree

    found = model.replace(
        type=detection.type,
        flavor=detection.flavor,
        flavors={**detection.flavors, **model.flavors},
        signature=detection.signature,
        input_example=detection.input_example,
        scan=scan_tree(workspace.store.open_tree(manifest), digest=manifest.digest),
        lineage=lineage,
        metrics=metrics,
    )
    return workspace.catalog.create_version(found, manifest, user=workspace.settings.user, pin=pin)


def _predict(value: object, sample: object) -> object:
    """Ask the object for its own output, so that the signature has both sides; a sample that does not fit is an error."""
    predict = getattr(value, "predict", None)
    return None if sample is None or predict is None else predict(sample)


# --- look -------------------------------------------------------------------------------------------------------


def list_models(workspace: Workspace, command: ListModels) -> Page:
    """Return the latest version of each model, or every version of one model or that a filter finds, the newest first.

    Raises
    ------
    InvalidInput
        If archived models are asked for in two ways, the filter is none, or the page is another list's.
    NotFound
        If a model is named that does not exist.
    """
    refuse_registry(command.registry_name)
    if command.include_archived and command.archived_only:
        raise InvalidInput("Cannot provide both archived-only and include-archived.")
    return workspace.catalog.list_models(
        name=command.name,
        tags=command.tags,
        stage=command.stage,
        search=command.search,
        filter=command.filter,
        max_results=command.max_results,
        page=command.page,
        archived="only" if command.archived_only else "all" if command.include_archived else "active",
    )


def show_model(workspace: Workspace, command: ShowModel) -> Model:
    """Return one version with its files and where it is deployed; the latest when none is named."""
    model = find_model(workspace, command)
    manifest = workspace.manifest_of(model)
    deployments = workspace.catalog.deployments_of(model.name or "", model.version)
    return model.replace(files=list(manifest.files), endpoints=deployments)


def load_model(workspace: Workspace, command: ShowModel, *, trust: bool = False) -> Any:
    """Return the live object of a version: parsed, audited, then constructed; arrays are mapped from the store.

    Raises
    ------
    UnsafeModel
        If loading would run code and ``trust`` is False.
    Corrupted
        If a stored file is missing or damaged.
    Unavailable
        If the library that the flavor needs is not installed.
    """
    from . import flavors

    model = find_model(workspace, command)
    path = audited_path(workspace, model, trust=trust)
    return flavors.load_object(path, model.flavor or "", is_trusted=trust)


def audited_path(workspace: Workspace, model: Model, *, trust: bool) -> str:
    """Return where a version's files can be read in place, after they were verified and the scanner has looked at them.

    Raises
    ------
    Corrupted
        If a stored file is missing or damaged.
    UnsafeModel
        If loading would run code and ``trust`` is False.
    """
    import os

    from .trust import audit, scan_tree

    manifest = workspace.manifest_of(model)
    if damaged := workspace.store.damaged(manifest):
        raise Corrupted(
            f"{model.name}:{model.version} is damaged in the store: {', '.join(damaged[:3])}. Register the same files again to mend it."
        )
    path = os.path.join(workspace.store.view(manifest), manifest.root)
    audit(scan_tree(workspace.store.open_tree(manifest), digest=manifest.digest), f"{model.name}:{model.version}", is_trusted=trust)
    return path


def list_audit(workspace: Workspace, command: ListAudit) -> list[AuditRow]:
    """Return who changed what and when, the newest first.

    Raises
    ------
    InvalidInput
        If less than one is asked for.
    """
    return workspace.catalog.audit(max_results=command.max_results, model=command.model)


def compare_models(workspace: Workspace, command: CompareModels) -> Comparison:
    """Return what differs between two versions; without versions, the latest and the one before it.

    Raises
    ------
    NotFound
        If there is only one version.
    """
    from .commands.model import ShowModel
    from .comparison import compare
    from .storage.pieces import describe_tensors

    first, second = (show_model(workspace, ShowModel(**names)) for names in _pair(workspace, command))
    store = workspace.store
    left, right = (describe_tensors(store, store.load_manifest(str(model.digest))) for model in (first, second))
    return compare(first, second, (left, right))


def _pair(workspace: Workspace, command: CompareModels) -> tuple[dict[str, str], dict[str, str]]:
    from .references import parse_model_name

    name, version, label = parse_model_name(command.name)
    first = _version_of(workspace, name, command.version or version, label)
    other_name, other = _other(workspace, name, command.other)
    versions = [str(model.version) for model in workspace.catalog.list_models(name=name, archived="all")]
    if other is None:
        other = next((item for item in versions if item != first), None)
    if first is None and other is not None:
        older = versions[versions.index(other) + 1 :] if other_name == name else []
        first = next((item for item in older + versions if (name, item) != (other_name, other)), None)
    if first is None or other is None:
        raise NotFound(f"{name} has one version; there is nothing to compare it with.")
    return {"name": name, "version": first}, {"name": other_name, "version": other}


def _other(workspace: Workspace, name: str, text: str | None) -> tuple[str, str | None]:
    """Return the second side: a bare version of the same model, or ``NAME:VERSION`` or ``NAME@LABEL``."""
    from .references import parse_model_name

    if not text or not any(sign in text for sign in ":@"):
        return name, _version_of(workspace, name, text, None)
    other_name, version, label = parse_model_name(text)
    return other_name, _version_of(workspace, other_name, version, label or (None if version else "latest"))


def _version_of(workspace: Workspace, name: str, version: str | None, label: str | None) -> str | None:
    """Return a version that is there; None when neither version nor label is given."""
    return workspace.catalog.get_version(name, version, label).version if version or label else None


# --- change -----------------------------------------------------------------------------------------------------


def update_model(workspace: Workspace, command: UpdateModel) -> Model:
    """Change description, tags, stage or add properties of a version; the latest when none is named.

    Raises
    ------
    InvalidInput
        If anything else would change; versions are immutable.
    """
    from .entities.loading import apply_update

    model = find_model(workspace, command)

    def change(current: Model) -> Model:
        before = current.to_dict()
        after = apply_update(
            {key: before.get(key, {} if key in ("tags", "properties") else None) for key in before.keys() | set(MUTABLE)},
            set=command.set,
            add=command.add,
            remove=command.remove,
            force_string=command.force_string,
        )
        if command.stage is not None:
            after["stage"] = command.stage
        check_only(MUTABLE, Model, before, after, what="A model", never=" after registration", and_=", ")
        return with_values(current, MUTABLE, after)

    return workspace.catalog.update_version(str(model.name), str(model.version), change, user=workspace.settings.user)


def change_model(workspace: Workspace, model: Model, values: dict[str, Any]) -> Model:
    """Write the mutable fields of a version; `values` holds all four."""
    return workspace.catalog.update_version(
        str(model.name), str(model.version), lambda current: with_values(current, MUTABLE, values), user=workspace.settings.user
    )


def archive_model(workspace: Workspace, command: ArchiveModel) -> Model:
    """Hide a version, or the whole model when no version is named."""
    return _set_archived(workspace, command, is_archived=True)


def restore_model(workspace: Workspace, command: RestoreModel) -> Model:
    """Show a version, or the whole model, in lists again.

    Raises
    ------
    Conflict
        If a version is named while the whole model is archived.
    """
    return _set_archived(workspace, command, is_archived=False)


def _set_archived(workspace: Workspace, command: ArchiveModel, *, is_archived: bool) -> Model:
    model = find_model(workspace, command)
    version = model.version if _names_a_version(command) else None
    workspace.catalog.set_archived(str(model.name), version, is_archived)
    return workspace.catalog.get_version(str(model.name), model.version)


def _names_a_version(command: ArchiveModel | DeleteModel) -> bool:
    from .references import parse_model_name

    return names_a_version(command, *parse_model_name(command.name)[1:])


# --- copy and delete ----------------------------------------------------------------------------------------------


def download_model(workspace: Workspace, command: DownloadModel) -> Downloaded:
    """Copy a version's files to ``<download path>/<model name>/<basename>``, each checked against its hash.

    Raises
    ------
    Corrupted
        If a stored file is damaged; nothing is written then.
    Conflict
        If another file or a link is in the way.
    Unavailable
        If the folder cannot be written.
    """
    import os

    from .entities.answers import Downloaded

    model = find_model(workspace, command)
    manifest = workspace.manifest_of(model)
    target = os.path.join(os.path.abspath(os.path.expanduser(command.download_path)), str(model.name))
    files = workspace.store.checkout(manifest, target, workspace.progress, is_verified=not command.no_verify)
    return Downloaded(path=target, files=files, size_bytes=manifest.size_bytes)


def delete_model(workspace: Workspace, command: DeleteModel) -> Deleted:
    """Delete a version, or a model with all its versions. Its numbers are never used again.

    Raises
    ------
    Conflict
        If a deployment uses it; the message names the deployment.
    """
    from .entities.answers import Deleted

    model = find_model(workspace, command)
    name = str(model.name)
    if _names_a_version(command):
        workspace.catalog.delete_version(name, str(model.version))
        return Deleted(names=[f"{name}:{model.version}"])
    return Deleted(names=[f"{name}:{version}" for version in workspace.catalog.delete_model(name)])


def share_model(workspace: Workspace, command: ShareModel) -> Model:
    """Copy a version into a registry.

    Raises
    ------
    NotFound
        Always in this version: it has no registries yet.
    """
    if not command.registry_name:
        raise InvalidInput("model share needs --registry-name.", key="registry_name")
    return find_model(workspace, command)


# --- steps --------------------------------------------------------------------------------------------------------


def find_model(workspace: Workspace, command: Any) -> Model:
    """Return the version that a command names by name, ``name:version``, ``name@label``, version or label."""
    from .references import parse_model_name

    refuse_registry(getattr(command, "registry_name", None))
    name, *named = parse_model_name(command.name)
    return workspace.catalog.get_version(name, *chosen_version(command, *named))
