"""Processes that are killed, at random and at every step: the old state or the new, nothing between."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import ModelRegistryError, Unavailable
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.workspace import Workspace, open_workspace

# Every call by which registering changes the disk. Each is killed before and after its first, second … time.
HARMLESS = ("rmdir",)  # what fails to be removed is left to a collection
STEPS = ("mkdir", "open", "write", "chmod", "fsync", "link", "utime", "rmdir")


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> Path:
    """A folder of a few files, one of which is in every version."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "same.bin").write_bytes(b"same" * 100)
    (folder / "config").mkdir()
    return folder


def register(workspace: Workspace, folder: Path, content: str) -> str:
    """Keep files and record them, as `create_model` does after it has looked into them."""
    (folder / "weights.bin").write_text(content)
    (folder / "config" / "a.json").write_text(content[::-1])
    manifest = workspace.store.import_tree(open_local(str(folder)))
    described = Model(name="churn", tags={"content": content})
    return str(workspace.catalog.create_version(described, manifest, is_kept=lambda: workspace.store.holds(manifest)).version)


def in_child(work: Callable[[], None]) -> int:
    """Do something in a forked process and return its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def end(child: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_all(acknowledged: list[str]) -> None:
    """Check that what was acknowledged is there, and that what is there is whole."""
    workspace = open_workspace()
    listed = workspace.catalog.list_models(name="churn") if workspace.catalog.list_models() else []
    numbers = [str(item.version) for item in listed]
    assert numbers == [str(number) for number in range(len(numbers), 0, -1)]
    assert set(acknowledged) <= set(numbers)
    for item in listed:
        manifest = workspace.store.load_manifest(str(item.digest))
        assert workspace.store.verify(manifest) == []
        assert [file.path for file in manifest.files] == ["config/a.json", "same.bin", "weights.bin"]
        weights = Path(workspace.store.open_tree(manifest).local_path("weights.bin") or "")
        assert weights.read_text() == item.tags["content"]


def check_collection(home: Path) -> None:
    """Check that one collection removes everything that killed processes left."""
    workspace = open_workspace()
    with workspace.catalog.frozen() as live:
        workspace.store.remove(workspace.store.garbage(live, grace_seconds=-1))
    manifests = [workspace.store.load_manifest(digest) for digest in live]
    assert list((home / "store" / "tmp").iterdir()) == []
    kept = {path.name for path in (home / "store" / "blobs").rglob("*") if path.is_file()}
    assert kept == {item.digest for manifest in manifests for item in manifest.files}
    assert {path.name for path in (home / "store" / "manifests").rglob("*") if path.is_file()} == live


def test_forty_kills_at_random_lose_nothing(model: Path, home: Path) -> None:
    chance, acknowledged = random.Random(7), []
    for round_number in range(40):
        reader, writer = os.pipe()

        def work(round_number: int = round_number, writer: int = writer) -> None:
            workspace = open_workspace()
            for number in range(1000):
                version = register(workspace, model, f"{round_number}-{number}")
                os.write(writer, f"{version}\n".encode())

        child = in_child(work)
        os.close(writer)
        with os.fdopen(reader) as said:
            lines = [said.readline() for _ in range(chance.randrange(3))]
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            assert end(child) == -signal.SIGKILL
            lines += said.readlines()
        acknowledged += [line.strip() for line in lines if line.endswith("\n")]
        if round_number % 8 == 7:
            check_all(acknowledged)
    assert len(acknowledged) > 20
    check_all(acknowledged)
    assert register(open_workspace(), model, "after") == str(len(open_workspace().catalog.list_models(name="churn")))
    check_collection(home)
    check_all(acknowledged)


def die_at(name: str, number: int, *, is_done_first: bool) -> None:
    """Kill this process at the n-th call of a function of `os`, before or after it is done."""
    real, count = getattr(os, name), 0

    def call(*args: object, **options: object) -> object:
        nonlocal count
        count += 1
        answer = real(*args, **options) if is_done_first or count != number else None
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(os, name, call)


@pytest.mark.parametrize("name", STEPS)
def test_a_kill_at_any_step_leaves_the_old_state_or_the_new(name: str, model: Path, home: Path) -> None:
    acknowledged = [register(open_workspace(), model, "first")]
    for is_done_first in (False, True):
        number = 0
        while True:
            number += 1

            def work(number: int = number, is_done_first: bool = is_done_first) -> None:
                workspace = open_workspace()
                die_at(name, number, is_done_first=is_done_first)
                register(workspace, model, f"{name} {number} {is_done_first}")

            code = end(in_child(work))
            check_all(acknowledged)
            if code == 0:
                break
            assert code == -signal.SIGKILL
    assert number > 1, f"registering does not call os.{name} any more; take it off the list"
    check_collection(home)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", STEPS)
def test_a_call_that_fails_leaves_the_old_state_and_the_next_try_works(
    name: str, code: int, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace()
    acknowledged = [register(workspace, model, "first")]
    real, number, said = getattr(os, name), 0, []
    while True:
        number, count = number + 1, 0

        def call(*args: object, number: int = number, **options: object) -> object:
            nonlocal count
            count += 1
            if count == number:
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, call)
            try:
                acknowledged.append(register(workspace, model, f"try {number}"))
            except ModelRegistryError as error:
                said.append(error.message)
        check_all(acknowledged)
        if count < number:
            break
    assert said or name in HARMLESS
    assert not any("\n" in line for line in said)
    assert len(workspace.catalog.list_models(name="churn")) == len(acknowledged)
    check_collection(home)


def test_a_killed_download_leaves_whole_files_only(model: Path, tmp_path: Path) -> None:
    for number in range(12):
        (model / f"{number}.bin").write_bytes(os.urandom(1 << 20))
    workspace, chance = open_workspace(), random.Random(7)
    manifest = workspace.store.import_tree(open_local(str(model)))
    partial = 0
    for number in range(15):
        out = tmp_path / f"out-{number}"
        child = in_child(lambda out=out: open_workspace().store.checkout(manifest, str(out)))
        time.sleep(chance.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        end(child)
        written = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".part"]
        partial += 0 < len(written) < len(manifest.files)
        for path in written:
            assert path.read_bytes() == (model / path.relative_to(out / "model")).read_bytes()
        workspace.store.checkout(manifest, str(out))
        assert len([path for path in out.rglob("*") if path.is_file() and path.suffix != ".part"]) == len(manifest.files)
    assert partial > 0


def test_collecting_beside_registering_takes_nothing_that_is_used(model: Path, home: Path) -> None:
    register(open_workspace(), model, "first")
    last = time.monotonic() + 2.5

    def churn() -> None:
        workspace = open_workspace()
        while time.monotonic() < last:
            manifest = workspace.store.import_tree(open_local(str(model)))  # the same content again and again
            is_kept = partial(workspace.store.holds, manifest)
            try:
                version = workspace.catalog.create_version(Model(name="other"), manifest, is_kept=is_kept).version
            except Unavailable:
                continue
            assert workspace.store.verify(manifest) == []
            workspace.catalog.delete_version("other", str(version))

    def collect() -> None:
        workspace = open_workspace()
        workspace.catalog.delete_model("churn")
        while time.monotonic() < last:
            with workspace.catalog.frozen() as live:
                workspace.store.remove(workspace.store.garbage(live, grace_seconds=0.02))

    assert [end(child) for child in [in_child(churn), in_child(churn), in_child(collect)]] == [0, 0, 0]
    workspace = open_workspace()
    with workspace.catalog.frozen() as live:
        for digest in live:
            assert workspace.store.verify(workspace.store.load_manifest(digest)) == []
    assert len(live) <= 1
    register(workspace, model, "after")
    check_collection(home)
