"""F5: a disk that is full most of the time: what does not fit is refused, what is there stays readable, cleaning up makes room."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .actions import EVERYTHING, Say, attempt, clean_up, delete, register_new, rest_models
from .processes import Child, ask
from .registry import Counts, Registry, settled

DISK_BYTES = 16 << 20
STRETCH = 25  # operations of one process, most of them on a full disk


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Do `rounds` operations on a small disk that a large file fills up again and again."""
    chance, registry = random.Random(seed), Registry(folder)
    registry.home = folder / "disk" / "home"
    rest_models(registry)
    with small_disk(folder / "disk"):
        ask(lambda: registry.open().catalog.change_number())  # on a disk that was full before, nothing can begin
        for _ in range(0, rounds, STRETCH):
            one = chance.randrange(1 << 30)
            code, lines = Child(lambda say, one=one: _work(registry, one, say)).end()
            assert code == 0, "a process ended early; see its traceback"
            registry.hear(lines)
        registry.others["operations"] = rounds
        return settled(registry)


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a file system of a few megabytes."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "faults", str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # also while a process that failed has it open


def why_not() -> str:
    """Return why there can be no small disk here, or nothing."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "only root may mount a small disk"


def _work(registry: Registry, seed: int, say: Say) -> None:
    """Fill the disk, work on it, make room, and see that the next registration works."""
    chance = random.Random(seed)
    workspace = registry.open(dedup=chance.choice(("file", "tensor")))
    filler = registry.home.parent / "filler"
    if chance.random() < 0.7:
        _fill(filler, leave=chance.randrange(1 << 20))
    for _ in range(STRETCH):
        attempt(chance.choice(EVERYTHING), registry, workspace, chance, say)
    clean_up(registry, workspace, chance, say)  # on the full disk
    filler.unlink(missing_ok=True)
    for _ in range(100):
        if shutil.disk_usage(registry.home.parent).free > DISK_BYTES // 2:
            break
        attempt(delete, registry, workspace, chance, say)
        clean_up(registry, workspace, chance, say)
    register_new(registry, workspace, chance, say)


def _fill(filler: Path, *, leave: int) -> None:
    free = shutil.disk_usage(filler.parent).free
    with open(filler, "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, free - leave))
