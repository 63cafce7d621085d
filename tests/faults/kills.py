"""F1: ``kill -9`` at random, while several processes register, delete, carry, clean up and read one registry."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from .actions import WRITING, Action, Say, attempt, clean_up, read, rest_models
from .processes import Child
from .registry import Counts, Registry, settled


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Kill `rounds` processes."""
    chance, registry = random.Random(seed), Registry(folder)
    rest_models(registry)
    while registry.others["kills"] < rounds:
        works = [write_for_ever] * chance.randrange(2, 5) + [clean_for_ever, read_for_ever]
        work_and_die(registry, works, chance, chance.uniform(0.05, 0.4))
    counts = settled(registry)
    counts.corrupt += counts.others.pop("refused reads", 0)
    return counts


def work_and_die(registry: Registry, works: list[Callable[[Registry, int, Say], None]], chance: random.Random, seconds: float) -> None:
    """Start processes, kill each at a moment of its own, and hear what they had acknowledged."""
    seeds = [chance.randrange(1 << 30) for _ in works]
    children = [Child(lambda say, work=work, seed=seed: work(registry, seed, say)) for work, seed in zip(works, seeds, strict=True)]
    chance.shuffle(children)
    time.sleep(seconds)
    for child in children:
        child.kill()
        time.sleep(chance.uniform(0, 0.005))
    for child in children:
        code, lines = child.end()
        assert code == -9, "a process ended before it was killed; see its traceback"
        registry.hear(lines)
        registry.others["kills"] += 1


def write_for_ever(registry: Registry, seed: int, say: Say) -> None:
    _do_for_ever(WRITING, registry, seed, say)


def clean_for_ever(registry: Registry, seed: int, say: Say) -> None:
    _do_for_ever((clean_up,), registry, seed, say, pause_seconds=0.01)


def read_for_ever(registry: Registry, seed: int, say: Say) -> None:
    _do_for_ever((read,), registry, seed, say)


def _do_for_ever(actions: tuple[Action, ...], registry: Registry, seed: int, say: Say, pause_seconds: float = 0) -> None:
    chance = random.Random(seed)
    workspace = registry.open(dedup=chance.choice(("file", "tensor")))
    while True:
        attempt(chance.choice(actions), registry, workspace, chance, say)
        time.sleep(pause_seconds)
