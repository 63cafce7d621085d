"""F2: a kill before and after every call by which an operation changes the disk or the catalog."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import os
import random
import shutil
import signal
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

from jupyter_modelreg.commands.model import DeleteModel, DownloadModel, ExportModel, ImportModel
from jupyter_modelreg.errors import Conflict, NotFound
from jupyter_modelreg.exports import export_model, import_model
from jupyter_modelreg.models import delete_model, download_model

from ..archives import unpack
from .processes import Child, ask
from .registry import IMPORTED, NAMES, Counts, Registry, clean, files_of, register, write_model

# What is not there on every system is left out.
CALLS = {
    os: (
        *("open", "write", "pwrite", "truncate", "ftruncate", "copy_file_range", "sendfile", "fsync", "fdatasync"),
        *("mkdir", "chmod", "fchmod", "utime", "link", "symlink", "rename", "replace", "unlink", "remove", "rmdir"),
    ),
    fcntl: ("ioctl",),
    builtins: ("open",),
}
FIXTURE = Path(__file__).parents[1] / "catalog" / "registries" / "0.1.0.tar.gz"
Step = Callable[[str, int | None], int]  # told of a call before it is made; it gives a number, and is told that afterwards


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Kill at `rounds` points, or at all where there are fewer."""
    cases = prepare(folder)
    points = [
        (registry, operation, number, is_done)
        for registry, operation, steps in cases
        for number in range(len(steps))
        for is_done in (False, True)
    ]
    counts = Counts(sum(registry.acknowledged for registry, _, _ in cases), others=Counter(points=len(points)))
    for point in random.Random(seed).sample(points, min(rounds, len(points))):
        counts.add(_kill_at(*point))
    return counts


def prepare(folder: Path) -> list[tuple[Registry, Operation, list[str]]]:
    """Return each operation with a registry that is ready for it, to be restored each time, and the steps that it takes."""
    cases = []
    for name, operation in OPERATIONS.items():
        registry = Registry(folder / name)
        registry.folder.mkdir()
        operation.prepare(registry)
        if not registry.home.exists():
            registry.home.mkdir()
        registry.home.rename(registry.folder / "template")
        restore(registry)
        cases.append((registry, operation, _steps_of(registry, operation)))
    return cases


@dataclass(frozen=True)
class Operation:
    """What is done before, what is killed, and how one sees that the old state or the new is there."""

    prepare: Callable[[Registry], None]
    act: Callable[[Registry], object]
    check: Callable[[Registry], Counts] = Registry.check_here
    is_clean_after: bool = True


def restore(registry: Registry) -> None:
    """Be as before the operation."""
    shutil.rmtree(registry.home, ignore_errors=True)
    shutil.copytree(registry.folder / "template", registry.home, symlinks=True)
    shutil.rmtree(registry.folder / "target", ignore_errors=True)


def _steps_of(registry: Registry, operation: Operation) -> list[str]:
    def count(say: Callable[..., None]) -> None:
        watch(lambda name, number: say(name) or 0 if number is None else number)
        operation.act(registry)

    code, lines = Child(count).end()
    assert code == 0
    assert lines, "the operation changes nothing"
    return [name for (name,) in lines]


def _kill_at(registry: Registry, operation: Operation, number: int, is_done: bool) -> Counts:
    restore(registry)

    def work(say: Callable[..., None]) -> None:
        _die_at(number, is_done)
        operation.act(registry)

    code, _ = Child(work).end()
    assert code == -signal.SIGKILL, "what is done once is not done again; it cannot be killed step by step"
    counts: Counts = ask(lambda: afterwards(registry, operation))
    counts.others["kills"] += 1
    return counts


def afterwards(registry: Registry, operation: Operation) -> Counts:
    """Check what the kill left, do it again undisturbed, clean up, check again."""
    first = operation.check(registry)
    with contextlib.suppress(NotFound):  # what is deleted is deleted
        operation.act(registry)
    litter = registry.clean_here() if operation.is_clean_after else 0
    again = operation.check(registry)
    return Counts(0, first.lost + again.lost, first.corrupt + again.corrupt, Counter(litter=litter))


def _die_at(wanted: int, is_done: bool) -> None:
    numbers = iter(range(1 << 30))

    def step(_: str, done: int | None) -> int:
        number = next(numbers) if done is None else done
        if number == wanted and is_done == (done is not None):
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    watch(step)


def watch(step: Step) -> None:
    """Call `step` before and after every change that this process tries to make from now on."""
    for module, names in CALLS.items():
        for name in names:
            if hasattr(module, name):
                setattr(module, name, _watched(getattr(module, name), name, step))

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            word = sql.split(maxsplit=1)[0].upper()
            return self._do(word, super().execute, sql, *values) if word != "SELECT" else super().execute(sql, *values)

        def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return self._do("MANY", super().executemany, sql, *values)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            return self._do("SCRIPT", super().executescript, sql)

        def _do(self, name: str, call: Callable[..., Any], *values: Any) -> Any:
            return _watched(call, name, step)(*values)

    sqlite3.connect = partial(sqlite3.connect, factory=Connection)


def _watched(call: Callable[..., Any], name: str, step: Step) -> Callable[..., Any]:
    @wraps(call)
    def watched(*args: Any, **options: Any) -> Any:
        if name == "open" and not _is_for_writing(*args[1:], **options):
            return call(*args, **options)
        number = step(name, None)
        try:
            return call(*args, **options)
        finally:
            step(name, number)

    return watched


def _is_for_writing(flags: int | str = "r", *_: Any, mode: Any = "r", **options: Any) -> bool:
    if isinstance(flags, int):
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return any(sign in f"{flags}{mode}" for sign in "wax+")


# --- the operations -------------------------------------------------------------------------------------------------


def _registers(content: str) -> Operation:
    def prepare(registry: Registry) -> None:
        registry.register("large-first")
        write_model(registry.folder / "model", content)

    def act(registry: Registry) -> None:
        register(registry.open(dedup="tensor"), registry.folder / "model", NAMES[0], content)

    return Operation(prepare, act)


def _has_one_to_delete(registry: Registry) -> None:
    for content in ("packed-1", "large-2", "plain-3"):
        registry.register(content)


def _has_one_deleted(registry: Registry) -> None:
    _has_one_to_delete(registry)
    registry.delete(NAMES[0], "1")
    registry.delete(NAMES[0], "2")


def _prepare_to_delete(registry: Registry) -> None:
    _has_one_to_delete(registry)
    registry.doubtful.add((NAMES[0], "1"))


def _check_download(registry: Registry) -> Counts:
    """Every file of a download is whole or not there."""
    counts = registry.check_here()
    target = registry.folder / "target" / NAMES[0] / "source"
    wanted = files_of(registry.kept[NAMES[0], "1"])
    for path, content in wanted.items():
        counts.corrupt += (target / path).exists() and (target / path).read_bytes() != content
    return counts


def _has_a_file(registry: Registry) -> None:
    _has_one_to_delete(registry)
    ask(lambda: _export(registry))
    (registry.folder / "target").rename(registry.folder / "carried")


def _export(registry: Registry) -> object:
    (registry.folder / "target").mkdir(exist_ok=True)
    with contextlib.suppress(Conflict):  # it is there, from before the kill
        return export_model(registry.open(), ExportModel(name=NAMES[0], version="1", path=str(registry.folder / "target")))


def _import(registry: Registry, folder: str = "carried", name: str = IMPORTED[0]) -> object:
    return import_model(registry.open(), ImportModel(file=str(registry.folder / folder / f"{NAMES[0]}-1.modelreg"), name=name))


def _check_export(registry: Registry) -> Counts:
    """A file that has its final name can be imported; under another name, which is then checked as well."""
    if (registry.folder / "target" / f"{NAMES[0]}-1.modelreg").exists():
        _import(registry, "target")
    return registry.check_here()


def _has_a_release(registry: Registry) -> None:
    with tarfile.open(FIXTURE) as archive:
        unpack(archive, registry.home)
    shutil.copytree(registry.home, registry.folder / "other")


def _check_release(registry: Registry) -> Counts:
    """What an old release wrote reads as it does where its catalog was migrated undisturbed."""
    other = Registry(registry.folder)
    other.home = registry.folder / "other"
    return Counts(corrupt=_listed(registry) != _listed(other))


def _listed(registry: Registry) -> list[dict[str, Any]]:
    workspace = registry.open()
    names = [str(item.name) for item in workspace.catalog.list_models(archived="all")]
    return [item.to_dict() for name in names for item in workspace.catalog.list_models(name=name, archived="all")]


OPERATIONS = {
    "first": Operation(
        lambda registry: write_model(registry.folder / "model", "plain-1") and None,
        lambda registry: register(registry.open(), registry.folder / "model", NAMES[0], "plain-1"),
    ),
    "packed": _registers("packed-new"),
    "large": _registers("large-new"),
    "tensors": _registers("tensors-new"),
    "again": _registers("large-first"),
    "delete": Operation(_prepare_to_delete, lambda registry: delete_model(registry.open(), DeleteModel(name=NAMES[0], version="1"))),
    "clean": Operation(_has_one_deleted, lambda registry: clean(registry.open())),
    "download": Operation(
        _has_one_to_delete,
        lambda registry: download_model(
            registry.open(), DownloadModel(name=NAMES[0], version="1", download_path=str(registry.folder / "target"))
        ),
        _check_download,
    ),
    "export": Operation(_has_one_to_delete, _export, _check_export),
    "import": Operation(_has_a_file, _import),
    "migration": Operation(_has_a_release, lambda registry: registry.open().catalog.list_models(), _check_release, is_clean_after=False),
}
