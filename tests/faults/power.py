"""F3: power cuts while processes register, delete and clean up, on a file system that keeps only what was flushed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from .kills import Say, clean_for_ever, write_for_ever
from .lossy import Mount
from .processes import Child
from .registry import KINDS, Counts, Registry, settled, write_model


def run(folder: Path, rounds: int, seed: int, *, spoil: Callable[[], None] = lambda: None) -> Counts:
    """Cut the power `rounds` times, strictly and leniently in turn. Every process calls `spoil` before it begins."""
    chance, registry = random.Random(seed), Registry(folder)
    registry.home = folder / "disk" / "home"
    for kind in KINDS:
        write_model(folder / f"rested-{kind}", f"{kind}-rested")
    counts = Counts()
    with Mount(folder / "disk", lambda number: random.Random(seed + number) if number % 2 else None) as mount:
        for number in range(rounds):
            _round(registry, mount, chance, spoil)
            registry.others["cuts"] += 1
            if number % 10 == 9:
                found = registry.check()
                counts.lost, counts.corrupt = max(counts.lost, found.lost), max(counts.corrupt, found.corrupt)
            if counts.lost or counts.corrupt:
                break  # what is lost once is lost ever after
        counts.add(settled(registry))
    return counts


def _round(registry: Registry, mount: Mount, chance: random.Random, spoil: Callable[[], None]) -> None:
    works = [write_for_ever] * chance.randrange(1, 4) + [clean_for_ever]
    seeds = [chance.randrange(1 << 30) for _ in works]

    def start(work: Callable[[Registry, int, Say], None], seed: int) -> Child:
        def spoilt(say: Say) -> None:
            spoil()
            work(registry, seed, say)

        return Child(spoilt)

    children = [start(work, seed) for work, seed in zip(works, seeds, strict=True)]
    time.sleep(chance.uniform(0.1, 0.5))
    for child in children:
        child.kill()
    for child in children:
        code, lines = child.end()
        assert code == -9, "a process ended before the cut; see its traceback"
        registry.hear(lines)
    mount.cut()
