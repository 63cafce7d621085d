"""Stretches that files share on file systems that can clone; each is made in a file and mounted for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.storage.extents import can_clone, copy_sharing, whole_blocks

MAKE = {"xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}


@pytest.fixture(scope="module", params=sorted(MAKE))
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that can clone."""
    if os.geteuid() != 0 or not shutil.which(MAKE[request.param][0]):
        pytest.skip(f"{request.param} needs root and {MAKE[request.param][0]}")
    folder = tmp_path_factory.mktemp(request.param)
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as stream:
        stream.truncate(400 << 20)
    subprocess.run([*MAKE[request.param], str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True).returncode:
        pytest.skip(f"{request.param} cannot be mounted here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)  # a store's index may still be open


def used(disk: Path) -> int:
    """Return the bytes in use once all is written."""
    os.sync()
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def comes_true(condition: Callable[[], bool]) -> bool:
    """Say whether something is so within some seconds: XFS frees the blocks of removed files by and by."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def copy(source: Path, target: Path, matches: list[tuple[int, str, int, int]]) -> int:
    with source.open("rb") as old, target.open("xb+") as new:
        return copy_sharing(old.fileno(), new.fileno(), whole_blocks(matches))


def test_what_another_file_holds_takes_no_space_again(disk: Path) -> None:
    assert can_clone(str(disk))
    first, second, copied = disk / "first", disk / "second", disk / "copied"
    content = os.urandom(16 << 20)
    first.write_bytes(content)
    changed = content[: 5 << 20] + os.urandom(1 << 20) + content[6 << 20 :] + b"end"
    second.write_bytes(changed)
    before = used(disk)
    matches = [(0, str(first), 0, 3 << 20), (3 << 20, str(first), 3 << 20, 2 << 20), (6 << 20, str(first), 6 << 20, 10 << 20)]
    assert copy(second, copied, matches) == 15 << 20
    assert copied.read_bytes() == changed
    assert comes_true(lambda: used(disk) - before < 3 << 20)
    second.unlink()
    first.unlink()
    assert copied.read_bytes() == changed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(data=st.data())
def test_any_stretches_that_are_equal_give_the_same_file(disk: Path, data: st.DataObject) -> None:
    blocks = data.draw(st.integers(1, 12))
    content = os.urandom(blocks * 4096 + data.draw(st.integers(0, 4095)))
    moved = data.draw(st.sampled_from([0, 0, 4096, 100]))
    cuts = sorted({0, *data.draw(st.lists(st.integers(0, len(content)), max_size=6)), len(content)})
    for name in ("source", "other", "target"):
        (disk / name).unlink(missing_ok=True)
    (disk / "source").write_bytes(content)
    (disk / "other").write_bytes(bytes(moved) + content)
    chosen = [(begin, end) for begin, end in pairwise(cuts) if data.draw(st.booleans())]
    cloned = copy(disk / "source", disk / "target", [(begin, str(disk / "other"), moved + begin, end - begin) for begin, end in chosen])
    assert (disk / "target").read_bytes() == content
    assert cloned % 4096 == 0
    assert moved != 100 or cloned == 0


def test_a_checkpoint_in_a_store_costs_what_changed_in_it(disk: Path, tmp_path: Path) -> None:
    store = LocalStore(str(disk / "store"))
    chance = np.random.default_rng(0)
    tensors = {f"layer.{number:02}": chance.integers(0, 255, (1 << 20,), "u1") for number in range(20)}
    kept = []
    for version in range(3):
        tensors[f"layer.{version * 7:02}"] = chance.integers(0, 255, (1 << 20,), "u1")
        save_file(tensors, tmp_path / "net.safetensors")
        before = used(disk)
        kept.append(store.import_tree(open_local(str(tmp_path / "net.safetensors"))))
        assert version == 0 or comes_true(lambda before=before: used(disk) - before < 2 << 20)
        assert Path(store.view(kept[-1]), "net.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()
    store.remove(store.garbage({kept[2].digest}, grace_seconds=-1))
    assert store.verify(kept[2]) == []


def test_a_damaged_blob_is_not_shared(disk: Path, tmp_path: Path) -> None:
    store = LocalStore(str(disk / "damaged"))
    tensors = {"w": np.arange(3 << 20, dtype="u1"), "b": np.ones(3, "u1")}
    save_file(tensors, tmp_path / "net.safetensors")
    blob = Path(store.blob_path(store.import_tree(open_local(str(tmp_path / "net.safetensors"))).files[0].digest))
    blob.chmod(0o644)
    with blob.open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(b"damage")
    save_file({**tensors, "b": np.zeros(3, "u1")}, tmp_path / "net.safetensors")
    assert store.verify(store.import_tree(open_local(str(tmp_path / "net.safetensors")))) == []


def test_a_file_that_is_gone_and_one_elsewhere_are_copied(disk: Path, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    (disk / "from").write_bytes(content)
    (tmp_path / "elsewhere").write_bytes(content)
    for name, other in (("one", disk / "gone"), ("two", tmp_path / "elsewhere")):
        assert copy(disk / "from", disk / name, [(0, str(other), 0, len(content))]) == 0
        assert (disk / name).read_bytes() == content


def test_where_nothing_can_be_cloned_all_is_copied(tmp_path: Path) -> None:
    if can_clone(str(tmp_path)):
        pytest.skip("this file system can clone")
    (tmp_path / "first").write_bytes(b"x" * 9000)
    assert copy(tmp_path / "first", tmp_path / "second", [(0, str(tmp_path / "first"), 0, 9000)]) == 0
    assert (tmp_path / "second").read_bytes() == b"x" * 9000
