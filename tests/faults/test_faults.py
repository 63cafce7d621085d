"""The fault programme at a size for continuous integration; ``scripts/faults`` runs it at its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from jupyter_modelreg.storage.blobs import hash_file

from . import downloads, failing_steps, full_disk, io_errors, kills, power, rot, steps, writers
from .__main__ import SCRATCH, main
from .processes import Child
from .registry import Counts


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: what these faults leave does not depend on a disk, and its flushes would take most of the time."""
    place = Path(tempfile.mkdtemp(prefix="faults-", dir=SCRATCH))
    yield place
    shutil.rmtree(place)


def run(fault: ModuleType, folder: Path, rounds: int, at_least: int) -> Counts:
    """Run a fault; one beside which nothing was acknowledged proves nothing."""
    reason = fault.why_not() if hasattr(fault, "why_not") else ""
    if reason:
        pytest.skip(reason)
    counts: Counts = fault.run(folder, rounds, 7)
    assert (counts.lost, counts.corrupt) == (0, 0), counts
    assert counts.acknowledged >= at_least
    assert counts.others["litter"] == 0
    return counts


def test_kills_at_random_lose_nothing(folder: Path) -> None:
    assert run(kills, folder, 100, 50).others["reads"] > 50


def test_a_kill_at_any_step_leaves_the_old_state_or_the_new(folder: Path) -> None:
    assert run(steps, folder, 100, 10).others["kills"] == 100


def test_power_cuts_lose_nothing(folder: Path) -> None:
    assert run(power, folder, 15, 15).others["cuts"] == 15


@pytest.mark.skipif(bool(power.why_not()), reason=power.why_not())
def test_power_cuts_are_seen_to_lose_what_is_not_flushed(folder: Path) -> None:
    """The same with a store that does not flush: a harness that passes this would pass anything."""
    counts = power.run(folder, 20, 7, spoil=lambda: setattr(os, "fsync", lambda handle: None))
    assert counts.lost + counts.corrupt > 0


def test_calls_that_fail_damage_nothing(folder: Path) -> None:
    assert run(io_errors, folder, 60, 60).others["faults met"] > 10


def test_a_step_that_fails_leaves_the_old_state_and_the_next_try_works(folder: Path) -> None:
    counts = run(failing_steps, folder, 60, 10)
    assert counts.others["clean errors"] > 20
    # What fails in the harness's own preparations is nobody's to translate.
    assert not [what for what in counts.others if what.startswith("raw") and not what.endswith("in the harness")]


def test_a_full_disk_damages_nothing(folder: Path) -> None:
    assert run(full_disk, folder, 200, 50).others["clean errors"] > 10


def test_eight_writers_leave_no_gap_and_clean_ups_take_nothing_that_is_used(folder: Path) -> None:
    assert run(writers, folder, 40, 300).others["tag moves"] == 320


def test_downloads_exports_and_imports_that_are_killed_leave_nothing_half(folder: Path) -> None:
    assert run(downloads, folder, 60, 4).others["kills"] > 20


def test_a_flipped_bit_is_never_served(folder: Path) -> None:
    assert run(rot, folder, 100, 8).others["blobs found"] > 5


def test_a_forked_process_hashes_large_files_too(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    digest = hash_file(str(tmp_path / "large"))  # starts the threads that a fork does not have
    assert Child(lambda say: say(hash_file(str(tmp_path / "large")))).end() == (0, [[digest]])


def test_the_table_says_what_was_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["F8", "--rounds", "3"]) == 0
    heading, row, _, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["fault", "rounds", "acknowledged", "lost", "corrupt", "seconds", "also", "counted"]
    assert row.split()[:6] == ["F8", "downloads", "3", "4", "0", "0"]
    assert last == "Nothing lost, nothing corrupt."
