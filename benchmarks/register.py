"""Registering a large file beside copying it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .measure import MODELREG, Row, at_most_times, medians, run, without_limit

ROUNDS = 3
SIZE_BYTES = 1_000_000_000


def rows(scratch: Path) -> Iterator[Row]:
    """Register 1 GB of noise with the command line; source, copy and store lie on one disk."""
    source = _noise(scratch / "weights.bin")
    registered, copied, synced = medians(ROUNDS, _register(source, scratch), _copy(source, scratch), _copy_and_sync(source, scratch))
    # What is registered is on the disk; what is only copied may be in memory still, and that takes no disk's time.
    yield at_most_times("modelreg model create, a file of 1 GB", registered, "cp && sync", synced, 1.5)
    yield without_limit("… beside a copy that may be lost", registered, "cp", copied)
    source.unlink()


def _noise(path: Path) -> Path:
    chunk = 10_000_000
    with path.open("wb") as stream:
        for _ in range(SIZE_BYTES // chunk):
            stream.write(os.urandom(chunk))
        os.fsync(stream.fileno())
    return path


def _register(source: Path, scratch: Path) -> Callable[[], None]:
    def step() -> None:
        # A fresh home each time, since a known file is not copied again.
        shutil.rmtree(scratch / "home", ignore_errors=True)
        environment = {**os.environ, "MODELREG_HOME": str(scratch / "home")}
        run(MODELREG, "model", "create", "--name", "big", "--path", source, environment=environment)

    return step


def _copy(source: Path, scratch: Path) -> Callable[[], None]:
    def step() -> None:
        run("cp", source, _fresh(scratch / "copy.bin"), environment=dict(os.environ))

    return step


def _copy_and_sync(source: Path, scratch: Path) -> Callable[[], None]:
    def step() -> None:
        target = _fresh(scratch / "synced.bin")
        run("cp", source, target, environment=dict(os.environ))
        run("sync", target, environment=dict(os.environ))

    return step


def _fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path
