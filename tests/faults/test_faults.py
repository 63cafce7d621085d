"""The fault programme at a size for continuous integration; ``scripts/faults`` runs it at its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_modelreg.storage.blobs import hash_file

from . import kills
from .__main__ import SCRATCH
from .processes import Child
from .registry import Counts


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: what these faults leave does not depend on a disk, and its flushes would take most of the time."""
    place = Path(tempfile.mkdtemp(prefix="faults-", dir=SCRATCH))
    yield place
    shutil.rmtree(place)


def check(counts: Counts, at_least: int) -> None:
    """A fault that disturbed nothing proves nothing, so enough must have been acknowledged beside it."""
    assert counts.acknowledged >= at_least
    assert (counts.lost, counts.corrupt) == (0, 0)


def test_kills_at_random_lose_nothing(folder: Path) -> None:
    counts = kills.run(folder, 100, 7)
    check(counts, 50)
    assert counts.others["litter"] == 0


def test_a_forked_process_hashes_large_files_too(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    digest = hash_file(str(tmp_path / "large"))  # starts the threads that a fork does not have
    assert Child(lambda say: say(hash_file(str(tmp_path / "large")))).end() == (0, [[digest]])
