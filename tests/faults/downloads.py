"""F8: downloads, exports and imports that are killed at any moment: what has its final name is whole."""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_modelreg.commands.model import DeleteModel, DownloadModel, ExportModel, ImportModel
from jupyter_modelreg.errors import NotFound
from jupyter_modelreg.exports import export_model, import_model
from jupyter_modelreg.models import delete_model, download_model

from .actions import folder_holds
from .processes import Child, ask
from .registry import IMPORTED, KINDS, NAMES, Counts, Registry, files_of, is_whole, settled

NAME = NAMES[0]
Work = Callable[[Registry, str, Path], str]


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Kill `rounds` of them, each after a part of the time that it takes undisturbed; then do it again, to its end."""
    chance, registry = random.Random(seed), Registry(folder)
    for kind in KINDS:
        registry.register(f"{kind}-1")
    exported = ask(lambda: [_export(registry, version, folder / version) for version in "1234"])
    works = [(work, version, _seconds_of(registry, work, version)) for work in (_download, _export, _import) for version in "1234"]
    wrong = 0
    for _ in range(rounds):
        work, version, seconds = chance.choice(works)
        target = Path(exported[int(version) - 1]) if work is _import else folder / "target"
        child = Child(lambda say, work=work, version=version, target=target: work(registry, version, target))
        time.sleep(chance.uniform(0, 1.5 * seconds))  # it takes a while to begin, and its last steps shall be met too
        child.kill()
        registry.others["kills" if child.end()[0] else "ended before"] += 1
        wrong += ask(lambda work=work, version=version, target=target: _are_wrong(registry, work, version, target))
        shutil.rmtree(folder / "target", ignore_errors=True)
    counts = settled(registry)
    counts.corrupt += wrong
    return counts


def _seconds_of(registry: Registry, work: Work, version: str) -> float:
    """Return the shorter of two tries, by the process's own clock: beginning and ending a large one takes longer than the work."""
    target = registry.folder / version / f"{NAME}-{version}.modelreg" if work is _import else registry.folder / "target"

    def timed() -> float:
        start = time.monotonic()
        work(registry, version, target)
        return time.monotonic() - start

    tries = []
    for _ in range(2):
        tries.append(ask(timed))
        shutil.rmtree(registry.folder / "target", ignore_errors=True)
    return min(tries)


def _download(registry: Registry, version: str, target: Path) -> str:
    return str(download_model(registry.open(), DownloadModel(name=NAME, version=version, download_path=str(target))).path)


def _export(registry: Registry, version: str, target: Path) -> str:
    target.mkdir(exist_ok=True)
    return str(export_model(registry.open(), ExportModel(name=NAME, version=version, path=str(target))).path)


def _import(registry: Registry, version: str, target: Path) -> str:
    workspace, name = registry.open(), IMPORTED[0]
    with contextlib.suppress(NotFound):  # of the last time
        delete_model(workspace, DeleteModel(name=name))
    return str(import_model(workspace, ImportModel(file=str(target), name=name, version=f"{version}.{secrets.token_hex(4)}")).version)


def _are_wrong(registry: Registry, work: Work, version: str, target: Path) -> int:
    """Count what has its final name and is not whole; then do it to its end and look again."""
    content = registry.kept[NAME, version]
    if work is _import:
        return not is_whole(registry.open(), registry.open().catalog.get_version(IMPORTED[0], work(registry, version, target)))
    if work is _download:
        wanted, place = files_of(content), target / NAME / "source"
        wrong = sum((place / path).exists() and (place / path).read_bytes() != data for path, data in wanted.items())
        return wrong + (not folder_holds(Path(work(registry, version, target)), content))
    found = target / f"{NAME}-{version}.modelreg"
    if not found.exists():
        found = Path(work(registry, version, target))
    return _are_wrong(registry, _import, version, found)
