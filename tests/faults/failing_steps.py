"""F4 without libfiu: every call by which an operation changes the disk fails once, with a full and with a failing disk."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from .actions import Say, told
from .processes import Child, ask
from .registry import Counts, Registry
from .steps import CALLS, Operation, afterwards, prepare, restore, watch

CODES = (errno.ENOSPC, errno.EIO)


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Let `rounds` calls fail, or all where there are fewer."""
    cases = prepare(folder)
    points = [
        (registry, operation, number, code)
        for registry, operation, steps in cases
        for number, name in enumerate(steps)
        for code in CODES
        if name in CALLS[os]  # SQLite has errors of its own
    ]
    counts = Counts(sum(registry.acknowledged for registry, _, _ in cases))
    for point in random.Random(seed).sample(points, min(rounds, len(points))):
        counts.add(_fail_at(*point))
    counts.others["points"] = len(points)
    return counts


def _fail_at(registry: Registry, operation: Operation, number: int, code: int) -> Counts:
    restore(registry)
    ended, lines = Child(lambda say: _act(registry, operation, number, code, say)).end()
    assert ended == 0, "a process failed; see its traceback"
    counts: Counts = ask(lambda: afterwards(registry, operation))
    counts.others.update(word for line in lines for word in line)
    return counts


def _act(registry: Registry, operation: Operation, wanted: int, code: int, say: Say) -> None:
    numbers = iter(range(1 << 30))

    def step(name: str, done: int | None) -> int:
        number = next(numbers) if done is None else done
        if done is None and number == wanted:
            raise OSError(code, os.strerror(code))
        return number

    watch(step)
    told(lambda: operation.act(registry), say)
