"""F3: power cuts while processes register, delete and clean up, on a file system that keeps only what was flushed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from .actions import Say, rest_models
from .kills import clean_for_ever, work_and_die, write_for_ever
from .lossy import Mount, why_not
from .registry import Counts, Registry, settled


def run(folder: Path, rounds: int, seed: int, *, spoil: Callable[[], None] = lambda: None) -> Counts:
    """Cut the power `rounds` times, strictly and leniently in turn. Every process that writes calls `spoil` before it begins."""
    chance, registry = random.Random(seed), Registry(folder)
    registry.home = folder / "disk" / "home"
    rest_models(registry)

    def write(registry: Registry, seed: int, say: Say) -> None:
        spoil()
        write_for_ever(registry, seed, say)

    with Mount(folder / "disk", lambda number: random.Random(seed + number) if number % 2 else None) as mount:
        for number in range(rounds):
            work_and_die(registry, [write] * chance.randrange(1, 4) + [clean_for_ever], chance, chance.uniform(0.1, 0.5))
            mount.cut()
            registry.others["cuts"] += 1
            if number % 5 == 4 and not (found := registry.check()).is_clean:
                return found  # what is lost once is lost ever after
        return settled(registry)


__all__ = ["run", "why_not"]
