"""Operations on environments, and the Python that a deployment runs in.

An environment is recorded at once and made when a deployment asks for it, below HOME/environments. Its definition is kept whole:
the content of a conda file, and a build context in the store.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from .assets import check_datastore, check_only, chosen_version, imported, names_a_version, refuse_registry, stored_path, with_values
from .entities.environment import BuildContext, Environment
from .errors import InvalidInput, ModelRegistryError, NotFound, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .commands.environment import (
        ArchiveEnvironment,
        BuildEnvironment,
        CleanEnvironments,
        CreateEnvironment,
        DeleteEnvironment,
        ListBuiltEnvironments,
        ListEnvironments,
        RestoreEnvironment,
        ShareEnvironment,
        ShowEnvironment,
        UpdateEnvironment,
    )
    from .entities.answers import Deleted
    from .entities.environment import PythonBuild, Removed
    from .pythons import Build, PythonEnvironment
    from .pythons.conda import Recipe
    from .pythons.containers import BuiltImage, ContainerPlan, Engine
    from .workspace import Workspace

    Notice = Callable[[str], None]

MUTABLE = ("description", "tags")  # Source: Azure ML, how-to-manage-environments-v2
# What two environments must have in common to be the same.
DEFINITION = ("image", "build", "conda_file", "os_type", "inference_config")
CURATED = "azureml"  # the registry of Azure's own environments


# --- create -----------------------------------------------------------------------------------------------------


def create_environment(workspace: Workspace, command: CreateEnvironment) -> Environment:
    """Record an environment: a new version, or the latest if nothing differs from it.

    Raises
    ------
    InvalidInput
        If it has neither an image nor a build context nor a conda file, or one of them is wrong.
    Conflict
        If the version exists with another definition; versions never change.
    """
    from .entities.loading import load_entity

    refuse_registry(command.registry_name)
    described = load_entity(Environment, command.file or {}, overrides=command.set)
    names = ("name", "version", "image", "conda_file", "os_type", "description", "datastore")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(command, name))}
    if command.build_context or command.dockerfile_path:
        build = described.build or BuildContext()
        given["build"] = build.replace(
            path=command.build_context or build.path, dockerfile_path=command.dockerfile_path or build.dockerfile_path
        )
    environment = described.replace(**given, tags={**described.tags, **command.tags})
    if not environment.name:
        raise InvalidInput("Please provide either --file/-f or --name/-n.", key="name")
    return register_environment(workspace, environment)


def register_environment(workspace: Workspace, environment: Environment) -> Environment:
    """Record what an entity describes; see :func:`create_environment`. One without a name gets one made of its content."""
    from .catalog.names import check_environment
    from .references import parse_reference

    check_datastore(environment.datastore)
    if environment.name:
        check_environment(environment)
    complete = read_definition(environment)
    if not complete.build:
        named = _named(complete, complete.digest or _digest_of(complete))
        return workspace.catalog.create_environment(named, user=workspace.settings.user)
    tree = workspace.open_tree(parse_reference(complete.build.path or ""))
    _check_dockerfile(tree, complete.build)
    with imported(workspace, tree) as (manifest, pin):
        kept = complete.replace(build=complete.build.replace(path=stored_path(manifest)))
        named = _named(kept, _digest_of(kept))
        return workspace.catalog.create_environment(named, manifest=manifest, pin=pin, user=workspace.settings.user)


def read_definition(environment: Environment) -> Environment:
    """Return an environment with the content of its conda file instead of its path.

    Raises
    ------
    InvalidInput
        If it defines nothing, or the conda file is missing or wrong.
    """
    from .entities.loading import load_mapping
    from .pythons import choose_python
    from .pythons.conda import read_conda

    if environment.image and environment.build:
        raise InvalidInput("An environment has an image or a build context, not both.", key="build")
    if not (environment.image or environment.build or environment.conda_file):
        raise InvalidInput("An environment needs an image, a build context or a conda file.", key="image")
    if environment.build and not environment.build.path:
        raise InvalidInput("A build context needs a path: the folder with the Dockerfile.", key="build.path")
    conda, place = environment.conda_file, ""
    if isinstance(conda, str):
        conda, place = load_mapping(os.path.expanduser(conda)), f"{conda}: "
    if conda is not None:
        try:
            choose_python(read_conda(conda))
        except InvalidInput as error:
            raise InvalidInput(f"{place}{error.message}", key=error.key) from None
    return environment.replace(conda_file=conda)


def _check_dockerfile(tree: Any, build: BuildContext) -> None:
    paths = [item.path for item in tree.files()]
    wanted = os.path.normpath(build.dockerfile_path)
    if tree.is_file or wanted not in paths:
        raise InvalidInput(
            f'The build context {build.path} has no "{build.dockerfile_path}".{nearest(wanted, paths)}', key="build.dockerfile_path"
        )


def _named(environment: Environment, digest: str) -> Environment:
    name = environment.name or f"anonymous-{digest[:16]}"
    return environment.replace(name=name, version=environment.version if environment.name else "1", digest=digest)


def _digest_of(environment: Environment) -> str:
    """Return the hash of a definition; the names that a conda file gives itself and its folder are no part of it."""
    import json

    from blake3 import blake3

    values = environment.to_dict()
    definition = {key: values[key] for key in DEFINITION if key in values}
    if isinstance(definition.get("conda_file"), dict):
        definition["conda_file"] = {key: value for key, value in definition["conda_file"].items() if key not in ("name", "prefix")}
    return blake3(json.dumps(definition, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


# --- look and change ----------------------------------------------------------------------------------------------


def list_environments(workspace: Workspace, command: ListEnvironments) -> list[Environment]:
    """Return the latest version of each environment, or every version of one, the newest first.

    Raises
    ------
    InvalidInput
        If archived ones are asked for in two ways.
    """
    refuse_registry(command.registry_name)
    if command.include_archived and command.archived_only:
        raise InvalidInput("Cannot provide both archived-only and include-archived.")
    archived = "only" if command.archived_only else "all" if command.include_archived else "active"
    return workspace.catalog.list_environments(command.name, archived=archived, max_results=command.max_results)


def show_environment(workspace: Workspace, command: ShowEnvironment) -> Environment:
    """Return one version; the latest when none is named."""
    return find_environment(workspace, command)


def update_environment(workspace: Workspace, command: UpdateEnvironment) -> Environment:
    """Change description and tags of a version.

    Raises
    ------
    InvalidInput
        If anything else would change; versions are immutable.
    """
    from .entities.loading import apply_update

    found = find_environment(workspace, command)

    def change(current: Environment) -> Environment:
        before = {"description": None, "tags": {}, **current.to_dict()}
        after = apply_update(before, set=command.set, add=command.add, remove=command.remove, force_string=command.force_string)
        check_only(MUTABLE, Environment, before, after, what="An environment", never="", and_=" and ")
        return with_values(current, MUTABLE, after)

    return workspace.catalog.update_environment(str(found.name), str(found.version), change, user=workspace.settings.user)


def archive_environment(workspace: Workspace, command: ArchiveEnvironment) -> Environment:
    """Hide a version, or the whole environment when no version is named."""
    return _set_archived(workspace, command, is_archived=True)


def restore_environment(workspace: Workspace, command: RestoreEnvironment) -> Environment:
    """Show a version, or the whole environment, in lists again.

    Raises
    ------
    Conflict
        If a version is named while the whole environment is archived.
    """
    return _set_archived(workspace, command, is_archived=False)


def _set_archived(workspace: Workspace, command: ShowEnvironment, *, is_archived: bool) -> Environment:
    found = find_environment(workspace, command)
    version = found.version if _names_a_version(command) else None
    workspace.catalog.set_environment_archived(str(found.name), version, is_archived)
    return workspace.catalog.get_environment(str(found.name), found.version)


def delete_environment(workspace: Workspace, command: DeleteEnvironment) -> Deleted:
    """Delete a version, or an environment with all its versions; what was made of it stays until environment clean.

    Raises
    ------
    Conflict
        If a deployment uses it; the message names the deployment.
    """
    from .entities.answers import Deleted

    found = find_environment(workspace, command)
    version = found.version if _names_a_version(command) else None
    gone = workspace.catalog.delete_environment(str(found.name), version)
    return Deleted(names=[f"{found.name}:{item}" for item in gone], noun="environment")


def share_environment(workspace: Workspace, command: ShareEnvironment) -> Environment:
    """Copy a version into a registry.

    Raises
    ------
    NotFound
        Always in this version: it has no registries yet.
    """
    if not command.registry_name:
        raise InvalidInput("environment share needs --registry-name.", key="registry_name")
    return find_environment(workspace, command)


def find_environment(workspace: Workspace, command: Any) -> Environment:
    """Return the version that a command names by name, ``name:version``, ``name@label``, version or label."""
    from .references import parse_environment_name

    refuse_registry(getattr(command, "registry_name", None))
    named = parse_environment_name(command.name)
    refuse_registry(named.registry)
    return workspace.catalog.get_environment(named.name, *chosen_version(command, named.version, named.label))


def _names_a_version(command: ShowEnvironment) -> bool:
    from .references import parse_environment_name

    named = parse_environment_name(command.name)
    return names_a_version(command, named.version, named.label)


# --- the Python of a deployment -----------------------------------------------------------------------------------


def resolve_environment(workspace: Workspace, given: str | Environment | None) -> str | Environment | None:
    """Return what a deployment records of its environment: a reference with a version, a curated name, or the whole definition.

    Source: Azure ML: an inline environment with a name is registered under it, one without stays a part of the deployment.

    Raises
    ------
    NotFound
        If there is no such environment.
    """
    if given is None:
        return None
    if isinstance(given, Environment):
        if not given.name:
            return read_definition(given)
        made = register_environment(workspace, given)
        return f"azureml:{made.name}:{made.version}"
    if _curated(given):
        return given
    found = _registered(workspace, given)
    return f"azureml:{found.name}:{found.version}"


def ready_environment(
    workspace: Workspace, environment: str | Environment | None, notice: Notice, *, has_script: bool = True, has_tables: bool = True
) -> PythonEnvironment:
    """Return the Python of an environment, made if it was not yet; without one, this kernel's.

    Parameters
    ----------
    environment
        What :func:`resolve_environment` returned.
    notice
        Called with a line for each thing that is otherwise than in the cloud.
    has_script
        Whether a scoring script loads the model, else our own code does and needs more.
    has_tables
        Whether the model is asked by tables, which need pandas.

    Raises
    ------
    Unavailable
        If its packages cannot be installed; the resolver's last lines are in ``detail``. What is curated never fails:
        then this kernel's Python is taken, with a notice.
    """
    from .pythons import PythonEnvironment, make_python
    from .pythons.support import support_path

    kernel = PythonEnvironment(python=sys.executable)
    if environment is None:
        return kernel
    what = environment if isinstance(environment, str) else "The inline environment"
    if workspace.settings.environments == "kernel":
        notice(f"{what} is not made, since the setting environments is kernel; this kernel's Python is used.")
        return kernel
    recipe, conda, is_curated = _recipe_of(workspace, environment)
    minor = _announce(recipe, what, notice)
    if not (recipe.requirements or recipe.foreign or recipe.python):
        notice(f"{what} says nothing of packages; this kernel's Python is used.")
        return kernel
    folder = os.path.join(workspace.home, "environments")
    try:
        python = make_python(folder, recipe, conda)
        return PythonEnvironment(python=python, path=[support_path(folder, python, minor, has_script=has_script, has_tables=has_tables)])
    except ModelRegistryError as error:
        if not is_curated:
            raise
        notice(f"{what} cannot be made; this kernel's Python is used. {error.message}")
        return kernel


def ready_container(
    workspace: Workspace, environment: str | Environment | None, notice: Notice, *, has_script: bool, mount: str | None = None
) -> ContainerPlan | None:
    """Return the container that an environment asks for, its image fetched or built; None where a Python of ours is to be used.

    Parameters
    ----------
    mount
        Where the model shall be seen.

    Raises
    ------
    InvalidInput
        If the image has no name that may be one, or no Python for the scoring script.
    Unavailable
        If the image can be neither found nor fetched nor built, or the engine that is asked for does not answer.
    """
    from .pythons.containers import ContainerPlan, check_image, check_python, find_engine, find_image

    definition = _definition_of(workspace, environment)
    if definition is None or workspace.settings.environments == "kernel":
        return None
    if definition.image:
        check_image(definition.image)
    routes = definition.inference_config
    if definition.conda_file or not (routes or has_script):  # the packages are all that is asked for
        return None
    _check_mount(mount)
    engine = find_engine(workspace.settings.container_engine, notice)
    if engine is None:
        return None
    name = definition.image or f"build context {str(definition.build and definition.build.path).rpartition('/')[2][:20]}"
    image = find_image(engine, definition.image) if definition.image else _built_image(workspace, engine, definition)
    if not routes:
        check_python(engine, image, name)
    notice(f"It runs in a container of {name} by {engine.name}.")
    return ContainerPlan(engine=engine, image=image, name=name, routes=routes, mount=mount)


def _check_mount(mount: str | None) -> None:
    if mount and (not mount.startswith("/") or "," in mount or mount == "/"):
        raise InvalidInput(f'model_mount_path is "{mount[:100]}"; it must be an absolute path without a comma.', key="model_mount_path")


def _definition_of(workspace: Workspace, environment: str | Environment | None) -> Environment | None:
    """Return the definition of what is no curated environment."""
    if isinstance(environment, str):
        return None if _curated(environment) else _registered(workspace, environment)
    return environment


def _built_image(workspace: Workspace, engine: Engine, definition: Environment) -> str:
    from .pythons.containers import build_image
    from .references import parse_reference

    assert definition.build
    tree = workspace.open_tree(parse_reference(str(definition.build.path)))
    _check_dockerfile(tree, definition.build)
    return build_image(engine, tree, os.path.normpath(definition.build.dockerfile_path), _folder(workspace))


def _announce(recipe: Recipe, what: str, notice: Notice) -> str:
    """Say what is otherwise, and return the Python's minor version."""
    from .pythons import choose_python, fits

    for line in recipe.notices:
        notice(line)
    minor = choose_python(recipe)
    if recipe.python and not fits(minor, recipe.python):
        notice(f"{what} asks for Python {recipe.python}, which is too old for the server; Python {minor} is used.")
    return minor


def _recipe_of(workspace: Workspace, environment: str | Environment) -> tuple[Recipe, dict[str, Any] | None, bool]:
    """Return what to install, the conda file it came from, and whether it is one of Azure's."""
    if isinstance(environment, str):
        curated = _curated(environment)
        if curated:
            return curated, None, True
        environment = _registered(workspace, environment)
    return (*_recipe_of_definition(workspace, environment), False)


def _registered(workspace: Workspace, text: str) -> Environment:
    from .references import parse_environment_name

    named = parse_environment_name(text)
    refuse_registry(named.registry)
    return workspace.catalog.get_environment(named.name, named.version, named.label)


def _curated(text: str) -> Recipe | None:
    """Return what one of Azure's environments holds; None for any other name.

    One that the catalogue has not is Azure's all the same: its recipe has only a notice.
    """
    from .pythons.conda import Recipe
    from .pythons.curated import curated_recipe
    from .references import parse_environment_name

    named = parse_environment_name(text)
    if named.registry != CURATED and (named.registry or not named.name.lower().startswith("azureml-")):
        return None
    recipe = curated_recipe(named.name)
    return recipe or Recipe(notices=[f'The catalogue of curated environments has no "{named.name}".'])


def _recipe_of_definition(workspace: Workspace, environment: Environment) -> tuple[Recipe, dict[str, Any] | None]:
    from .pythons.conda import read_conda
    from .pythons.images import image_recipe

    complete = read_definition(environment)
    conda = complete.conda_file
    if isinstance(conda, dict):
        recipe = read_conda(conda)
        if complete.image:
            recipe.notices.append(f"The image {complete.image} is not used; the conda file says which packages there are.")
        return recipe, conda
    if complete.build:
        return _recipe_of_context(workspace, complete.build)
    return image_recipe(str(complete.image)), None


def _recipe_of_context(workspace: Workspace, build: BuildContext) -> tuple[Recipe, dict[str, Any] | None]:
    """Read a build context as far as it names packages: a conda file or requirements beside its Dockerfile, else its image."""
    from .pythons.images import context_recipe
    from .references import parse_reference

    tree = workspace.open_tree(parse_reference(str(build.path)))
    _check_dockerfile(tree, build)

    def read(path: str) -> str:
        with tree.open(path) as stream:
            return str(stream.read(_MAX_TEXT).decode(errors="replace"))

    return context_recipe([item.path for item in tree.files()], read, os.path.normpath(build.dockerfile_path))


_MAX_TEXT = 1 << 20


# --- what was made ----------------------------------------------------------------------------------------------------


def build_environment(workspace: Workspace, command: BuildEnvironment) -> PythonBuild:
    """Make an environment now.

    Raises
    ------
    Unavailable
        If its packages cannot be installed; the resolver's last lines are in ``detail``.
    NotFound
        If there is no such environment, or nothing is to be made of it.
    """
    from .pythons import digest_of, make_python

    given = command.name if _curated(command.name) else f"azureml:{(found := find_environment(workspace, command)).name}:{found.version}"
    container = ready_container(workspace, given, lambda _: None, has_script=True)
    if container:
        return _image_build(workspace, given, container)
    recipe, conda, _ = _recipe_of(workspace, given)
    if not (recipe.requirements or recipe.foreign or recipe.python):
        raise NotFound(f"{given} says nothing of packages, so there is nothing to make; a deployment runs in this kernel's Python.")
    make_python(_folder(workspace), recipe, conda)
    digest = digest_of(recipe, conda)
    return next(item for item in _builds(workspace) if item.digest == digest)


def _image_build(workspace: Workspace, given: str, container: ContainerPlan) -> PythonBuild:
    """Return the image that was built, or one that others made."""
    from .entities.environment import PythonBuild

    found = next((item for item in _builds(workspace) if item.path == container.image), None)
    return found or PythonBuild(
        digest=container.image, environments=[given.removeprefix("azureml:")], python="of the image", path=container.image
    )


def list_built(workspace: Workspace, command: ListBuiltEnvironments) -> list[PythonBuild]:
    """Return what was made on this machine, the last used first."""
    return _builds(workspace)


def ask_to_clean(workspace: Workspace, command: CleanEnvironments) -> str:
    """Word the question before a clean-up; empty when nothing would be removed."""
    from .settings import size_text

    if command.dry_run:
        return ""
    items = _unused(workspace, command.older_than)
    what = f"{len(items)} environment{'' if len(items) == 1 else 's'}"
    return f"Remove {what} and free {size_text(sum(item.size_bytes for item in items))}?" if items else ""


def clean_environments(workspace: Workspace, command: CleanEnvironments) -> Removed:
    """Remove what was not used for a while and no deployment runs in.

    Raises
    ------
    InvalidInput
        If the time is none.
    """
    from .entities.environment import Removed
    from .pythons import remove_build
    from .pythons.containers import remove_image

    items = _unused(workspace, command.older_than)
    for item in items if not command.dry_run else []:
        if item.digest.startswith("image-"):
            remove_image(_folder(workspace), item.digest)
        else:
            remove_build(_folder(workspace), item.digest)
    return Removed(environments=len(items), size_bytes=sum(item.size_bytes for item in items), is_dry_run=command.dry_run)


def _unused(workspace: Workspace, older_than: str) -> list[PythonBuild]:
    from time import gmtime, strftime, time

    from .stores import parse_duration

    try:
        since = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(time() - parse_duration(older_than)))
    except InvalidInput as error:
        raise InvalidInput(error.message, key="older_than") from None
    return [item for item in _builds(workspace) if str(item.used_at) <= since and not item.deployments]


def _builds(workspace: Workspace) -> list[PythonBuild]:
    from .pythons import list_builds
    from .pythons.containers import list_images

    folder = _folder(workspace)
    found, images = list_builds(folder), list_images(folder)
    names, users = _names_by_digest(workspace) if found else {}, _users(workspace) if found or images else {}
    made = [_described(folder, build, used, names, users) for build, used in found]
    made += [_described_image(digest, image, used, users) for digest, image, used in images]
    return sorted(made, key=lambda item: str(item.used_at), reverse=True) if images else made


def _described_image(digest: str, image: BuiltImage, used: float, users: dict[str, list[str]]) -> PythonBuild:
    from time import gmtime, strftime

    from .entities.environment import PythonBuild

    return PythonBuild(
        digest=digest,
        python="of the image",
        size_bytes=image.size_bytes,
        made_at=image.made_at,
        used_at=strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(used)),
        deployments=users.get(image.image, []),
        path=image.image,
    )


def _described(folder: str, build: Build, used: float, names: dict[str, list[str]], users: dict[str, list[str]]) -> PythonBuild:
    from time import gmtime, strftime

    from .entities.environment import PythonBuild

    path = os.path.join(folder, build.digest)
    return PythonBuild(
        digest=build.digest,
        environments=names.get(build.digest, []),
        python=build.python,
        requirements=build.requirements,
        packages=len(build.packages),
        size_bytes=build.size_bytes,
        made_at=build.made_at,
        used_at=strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(used)),
        deployments=users.get(path, []),
        path=path,
    )


def _names_by_digest(workspace: Workspace) -> dict[str, list[str]]:
    """Return the registered versions that each environment was made of, or would be."""
    from .pythons import digest_of

    names: dict[str, list[str]] = {}
    for latest in workspace.catalog.list_environments(archived="all"):
        for item in workspace.catalog.list_environments(latest.name, archived="all"):
            with suppress(ModelRegistryError):  # a build context that is damaged; store verify says so
                names.setdefault(digest_of(*_recipe_of_definition(workspace, item)), []).append(f"{item.name}:{item.version}")
    return names


def _users(workspace: Workspace) -> dict[str, list[str]]:
    """Return the deployments whose worker was told to run in each environment, read from the workers' own plans."""
    import glob
    import json

    users: dict[str, list[str]] = {}
    for plan in sorted(glob.glob(os.path.join(glob.escape(workspace.home), "endpoints", "*", "*", "run-*", "worker.json"))):
        try:
            with open(plan, encoding="utf-8") as stream:
                values = json.load(stream)
        except (OSError, ValueError):  # it was deleted just now
            continue
        python, container = values.get("python"), values.get("container")
        if python or container:
            place = container["image"] if container else os.path.dirname(os.path.dirname(python))
            users.setdefault(place, []).append(f"{values['endpoint']}/{values['deployment']}")
    return users


def _folder(workspace: Workspace) -> str:
    return os.path.join(workspace.home, "environments")
