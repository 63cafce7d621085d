"""F1: ``kill -9`` at random, while several processes register, delete, clean up and read one registry."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_modelreg.commands.model import DeleteModel
from jupyter_modelreg.errors import ModelRegistryError
from jupyter_modelreg.models import delete_model

from .processes import Child
from .registry import KINDS, NAMES, OFTEN, Counts, Registry, clean, is_whole, register, settled, versions, write_model

Say = Callable[..., None]


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Kill `rounds` processes."""
    chance, registry = random.Random(seed), Registry(folder)
    for kind in KINDS:  # registered again and again, so long after that their files count as rested
        write_model(folder / f"rested-{kind}", f"{kind}-rested")
    killed = 0
    while killed < rounds:
        killed += _round(registry, chance, killed)
        registry.others["kills"] = killed
    return settled(registry)


def _round(registry: Registry, chance: random.Random, number: int) -> int:
    seeds = [chance.randrange(1 << 30) for _ in range(chance.randrange(2, 5))]
    children = [Child(lambda say, seed=seed: write_for_ever(registry, seed, say)) for seed in seeds]
    children += [Child(lambda say: clean_for_ever(registry, 0, say)), Child(lambda say: _read_for_ever(registry, number, say))]
    chance.shuffle(children)
    time.sleep(chance.uniform(0.05, 0.4))
    for child in children:
        child.kill()
        time.sleep(chance.uniform(0, 0.005))
    for child in children:
        code, lines = child.end()
        assert code == -9, "a process ended before it was killed; see its traceback"
        registry.hear(lines)
    return len(children)


def write_for_ever(registry: Registry, seed: int, say: Say) -> None:
    chance, mine = random.Random(seed), []
    workspace = registry.open(dedup=chance.choice(("file", "tensor")))
    source = registry.folder / f"source-{seed}"
    while True:
        name, kind = chance.choice(NAMES), chance.choice(OFTEN)
        try:
            if mine and chance.random() < 0.2:
                name, version = mine.pop()
                say("deleting", name, version)
                delete_model(workspace, DeleteModel(name=name, version=version))
                say("deleted", name, version)
                continue
            content, place = f"{kind}-rested", registry.folder / f"rested-{kind}"
            if chance.random() < 0.6:
                content = f"{kind}-{seed}-{chance.random()}"
                place = write_model(source, content)
            version = register(workspace, place, name, content)
            say("kept", name, version, content)
            mine.append((name, version))
        except ModelRegistryError:
            say("clean errors")


def clean_for_ever(registry: Registry, _: int, say: Say) -> None:
    while True:
        clean(registry.open(), grace_seconds=0.02)
        say("clean-ups")
        time.sleep(0.01)


def _read_for_ever(registry: Registry, seed: int, say: Say) -> None:
    chance, workspace = random.Random(seed), registry.open()
    while True:
        name = chance.choice(NAMES)
        listed = versions(workspace, name)[:20]
        if listed:
            model = chance.choice(listed)
            is_there = is_whole(workspace, model) or model.version not in {item.version for item in versions(workspace, name)}
            say("reads" if is_there else "wrong reads")
