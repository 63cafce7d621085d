"""What the processes of a fault do to a registry, and say that they did: each one thing that a person does."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

from jupyter_modelreg.commands.model import DeleteModel, DownloadModel, ExportModel, ImportModel
from jupyter_modelreg.errors import ModelRegistryError, NotFound
from jupyter_modelreg.exports import export_model, import_model
from jupyter_modelreg.models import delete_model, download_model
from jupyter_modelreg.workspace import Workspace

from .registry import IMPORTED, KINDS, NAMES, OFTEN, Registry, clean, files_of, is_right, register, versions, write_model

Say = Callable[..., None]
Action = Callable[[Registry, Workspace, random.Random, Say], None]


def attempt(action: Action, registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    """Do one thing, whether or not it can be done."""
    told(lambda: action(registry, workspace, chance, say), say)


def told(work: Callable[[], object], say: Say) -> None:
    """Do something; an error that a person is shown in one clear line is one, another of the system is counted where it came from."""
    try:
        work()
    except ModelRegistryError as error:
        say("clean errors" if "\n" not in error.message else "errors of many lines")
    except OSError as error:
        ours = [frame.name for frame in traceback.extract_tb(error.__traceback__) if f"jupyter_modelreg{os.sep}" in frame.filename]
        say(f"raw {type(error).__name__} in {ours[-1] if ours else 'the harness'}")


def register_new(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    content, name = f"{chance.choice(OFTEN)}-{secrets.token_hex(6)}", chance.choice(NAMES)
    place = write_model(_private(registry, "source"), content)
    say("kept", name, register(workspace, place, name, content), content)


def register_again(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    """Register files that lay untouched for long, so that their digests are remembered."""
    kind, name = chance.choice(OFTEN), chance.choice(NAMES)
    say("kept", name, register(workspace, registry.folder / f"rested-{kind}", name, f"{kind}-rested"), f"{kind}-rested")


def rest_models(registry: Registry) -> None:
    """Make what `register_again` registers."""
    for kind in KINDS:
        write_model(registry.folder / f"rested-{kind}", f"{kind}-rested")


def delete(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    name, version, _ = _any_version(workspace, chance, (*NAMES, *IMPORTED))
    say("deleting", name, version)
    delete_model(workspace, DeleteModel(name=name, version=version))
    say("deleted", name, version)


def download(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    name, version, content = _any_version(workspace, chance)
    target = _private(registry, "target")
    try:
        done = download_model(workspace, DownloadModel(name=name, version=version, download_path=str(target)))
        say("downloads" if folder_holds(Path(done.path), content) else "wrong reads")
    finally:
        shutil.rmtree(target, ignore_errors=True)


def carry(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    """Export a version and import it under another name."""
    name, version, content = _any_version(workspace, chance)
    target = _private(registry, "carried")
    target.mkdir(exist_ok=True)
    try:
        exported = export_model(workspace, ExportModel(name=name, version=version, path=str(target)))
        say("exports")
        import_model(workspace, ImportModel(file=exported.path, name=f"imported-{name}"))
        say("imported", f"imported-{name}", version, content)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def clean_up(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    clean(workspace)
    say("clean-ups")


def read(registry: Registry, workspace: Workspace, chance: random.Random, say: Say) -> None:
    """Read a version; to be refused is right only where it was deleted meanwhile, or the disk fails."""
    name = chance.choice(NAMES)
    listed = versions(workspace, name)[:20]
    if not listed:
        return
    model = chance.choice(listed)
    try:
        say("reads" if is_right(workspace, model) else "wrong reads")
    except ModelRegistryError:
        if model.version in {item.version for item in versions(workspace, name)}:
            say("refused reads")


WRITING = (*[register_new] * 8, *[register_again] * 3, *[delete] * 3, carry)
EVERYTHING = (*[register_new] * 4, register_again, delete, download, carry, clean_up, read)


def folder_holds(folder: Path, content: str) -> bool:
    """Say whether a downloaded folder has the files that a word stands for, and nothing else under a final name."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"}
    return {"/".join(path.relative_to(folder).parts[1:]): data for path, data in found.items()} == files_of(content)


def _private(registry: Registry, what: str) -> Path:
    return registry.folder / f"{what}-{os.getpid()}"


def _any_version(workspace: Workspace, chance: random.Random, names: tuple[str, ...] = NAMES) -> tuple[str, str, str]:
    listed = [model for name in chance.sample(names, 2) for model in versions(workspace, name)[:20]]
    if not listed:
        raise NotFound("There is nothing yet.")
    model = chance.choice(listed)
    return str(model.name), str(model.version), model.tags["content"]
