"""F6: eight processes register versions of one name and count in a tag; then clean-ups race registrations of the same content."""

from __future__ import annotations

import time
from pathlib import Path

from jupyter_modelreg.commands.model import DeleteModel
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.models import delete_model

from .actions import Say
from .processes import Child, ask
from .registry import KINDS, NAMES, Counts, Registry, clean, is_whole, register, settled, write_model

WRITERS = 8
NAME = NAMES[0]


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Let each of eight processes register `rounds` versions, then clean up against as many registrations and deletions."""
    counts = _count(Registry(folder), rounds)
    (folder / "race").mkdir()
    counts.add(_race(Registry(folder / "race"), rounds))
    return counts


# --- numbers --------------------------------------------------------------------------------------------------------


def _count(registry: Registry, rounds: int) -> Counts:
    """Every version once, none left out; a number that all of them raise in one tag misses no step."""
    registry.register("plain-first")
    _all_end([Child(lambda say, number=number: _write(registry, number, rounds, say)) for number in range(WRITERS)], registry)
    counts = settled(registry)
    known, moved = ask(lambda: _found(registry))
    counts.lost += abs(known - (WRITERS * rounds + 1)) + abs(moved - WRITERS * rounds)
    counts.others["tag moves"] = moved
    return counts


def _write(registry: Registry, number: int, rounds: int, say: Say) -> None:
    workspace, place = registry.open(), registry.folder / f"source-{number}"
    for count in range(rounds):
        content = f"plain-{number}-{count}"
        say("kept", NAME, register(workspace, write_model(place, content), NAME, content), content)
        workspace.catalog.update_version(NAME, "1", _raised)


def _raised(model: Model) -> Model:
    return model.replace(tags={**model.tags, "moves": str(int(model.tags.get("moves", 0)) + 1)})


def _found(registry: Registry) -> tuple[int, int]:
    catalog = registry.open().catalog
    return len(catalog.list_models(name=NAME)), int(catalog.get_version(NAME, "1").tags["moves"])


# --- clean-ups against registrations ----------------------------------------------------------------------------------


def _race(registry: Registry, rounds: int) -> Counts:
    """Register, look and delete the same few contents again and again while others clean up without any grace."""
    for kind in KINDS:
        write_model(registry.folder / kind, f"{kind}-same")
    time.sleep(2)  # the files have rested, so that their digests are remembered
    cleaners = [Child(lambda say: _clean_for_ever(registry, say)) for _ in range(2)]
    _all_end([Child(lambda say, name=name: _churn(registry, name, rounds, say)) for name in NAMES], registry)
    for cleaner in cleaners:
        cleaner.kill()
        code, lines = cleaner.end()
        assert code == -9, "a clean-up failed; see its traceback"
        registry.hear(lines)
    counts = settled(registry)
    counts.corrupt += counts.others.pop("dangling", 0)
    return counts


def _churn(registry: Registry, name: str, rounds: int, say: Say) -> None:
    workspace = registry.open(dedup="tensor")
    for number in range(rounds):
        kind = KINDS[number % 3]
        try:
            version = register(workspace, registry.folder / kind, name, f"{kind}-same")
        except Unavailable:
            say("clean errors")
            continue
        say("kept", name, version, f"{kind}-same")
        if not is_whole(workspace, workspace.catalog.get_version(name, version)):
            say("dangling")
        say("deleting", name, version)
        delete_model(workspace, DeleteModel(name=name, version=version))
        say("deleted", name, version)


def _clean_for_ever(registry: Registry, say: Say) -> None:
    workspace = registry.open()
    while True:
        clean(workspace)
        say("clean-ups")
        time.sleep(0.002)


def _all_end(children: list[Child], registry: Registry) -> None:
    for child in children:
        code, lines = child.end()
        registry.hear(lines)
        assert code == 0, "a process failed; see its traceback"
