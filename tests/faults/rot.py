"""F11: one bit flipped anywhere: content is never served wrong and is named as damaged; the catalog says so or is not harmed.

Each flip is undone before the next. Of content (blobs, packs, manifests, what says how files lie) each must be found by
verifying and must not be served; else it is counted as corrupt. (What `pieces` says of a file's tensors is no content: no file
is read by it, and nothing in it is a hash of itself.) So is a catalog that leads to other content, or to none
without a word. Two things SQLite cannot know, since its pages have no checksums, and they are counted by name: a letter that
changed in what describes a version (`changed unseen`), and a log that ends before its last commits (`cut short`).
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from jupyter_modelreg.commands.model import DownloadModel
from jupyter_modelreg.commands.store import VerifyStore
from jupyter_modelreg.errors import Corrupted, ModelRegistryError
from jupyter_modelreg.models import download_model
from jupyter_modelreg.stores import verify_store
from jupyter_modelreg.workspace import Workspace

from .actions import folder_holds
from .processes import ask
from .registry import KINDS, NAMES, Counts, Registry, versions

PER_PROCESS = 25


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Flip `rounds` bits, half of them in the store's files, half in the catalog's, a part of those in its log."""
    registry = Registry(folder)
    for number in range(2):
        for kind in KINDS:
            registry.register(f"{kind}-{number}", NAMES[number])
    counts = Counts(registry.acknowledged)
    shutil.copytree(registry.home, folder / "died", symlinks=True)  # no process that worked in it closed its catalog
    ask(lambda: sqlite3.connect(registry.home / "catalog.sqlite").execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    shutil.copytree(registry.home, folder / "rested", symlinks=True)
    sound = ask(lambda: known(registry.open()))
    for start in range(0, rounds, PER_PROCESS):
        counts.add(ask(lambda start=start: _flip_some(registry, sound, min(PER_PROCESS, rounds - start), seed + start)))
    return counts


def _flip_some(registry: Registry, sound: Any, count: int, seed: int) -> Counts:
    chance, counts = random.Random(seed), Counts()
    for _ in range(count):
        _flip_content(registry, chance, counts) if chance.random() < 0.5 else _flip_catalog(registry, sound, chance, counts)
    return counts


# --- content ----------------------------------------------------------------------------------------------------------


def _flip_content(registry: Registry, chance: random.Random, counts: Counts) -> None:
    store = registry.home / "store"
    files = [path for kind in ("blobs", "manifests", "parts", "pieces") for path in sorted((store / kind).rglob("*")) if path.is_file()]
    path = chance.choice([path for path in files if path.stat().st_size])
    place, bit = flip(path, chance)
    is_served_wrong, is_found = _look(registry.open(), registry.folder / "target")
    _flip_at(path, place, bit)  # back
    counts.corrupt += is_served_wrong
    kind = path.relative_to(store).parts[0]
    counts.others[f"{kind} found" if is_found else f"{kind} not found"] += 1
    counts.corrupt += not is_found and kind != "pieces"


def _look(workspace: Workspace, target: Path) -> tuple[bool, bool]:
    """Return whether any version's files were served other than they were registered, and whether damage was found."""
    is_wrong, is_found = False, not verify_store(workspace, VerifyStore()).is_ok
    for name in NAMES[:2]:
        for model in versions(workspace, name):
            try:
                command = DownloadModel(name=name, version=model.version, download_path=str(target))
                is_wrong |= not folder_holds(Path(download_model(workspace, command).path), model.tags["content"])
            except ModelRegistryError:
                is_wrong |= not is_found  # refused, but not named by verifying
            finally:
                shutil.rmtree(target, ignore_errors=True)
    return is_wrong, is_found


# --- the catalog ------------------------------------------------------------------------------------------------------


def _flip_catalog(registry: Registry, sound: Any, chance: random.Random, counts: Counts) -> None:
    """Flip a bit of a copy: of the database at rest, or of the log of one whose process died."""
    is_log = chance.random() < 0.3
    other = Registry(registry.folder / "other")
    shutil.rmtree(other.home, ignore_errors=True)
    shutil.copytree(registry.folder / ("died" if is_log else "rested"), other.home, symlinks=True)
    (other.home / "catalog.sqlite-shm").unlink(missing_ok=True)  # it is made anew from the log
    flip(other.home / ("catalog.sqlite-wal" if is_log else "catalog.sqlite"), chance)
    what = "log" if is_log else "database"
    try:
        found = known(other.open())
    except ModelRegistryError:
        counts.others[f"{what} found"] += 1
        return
    except Exception as error:
        counts.others[f"{what} raw {type(error).__name__}"] += 1
        return
    if found == sound:
        counts.others[f"{what} harmless"] += 1
    elif is_log and found.items() <= sound.items():
        counts.others["log cut short"] += 1
    else:
        counts.others[f"{what} changed unseen"] += 1
        counts.corrupt += {key: model["digest"] for key, model in found.items()} != {key: model["digest"] for key, model in sound.items()}


def known(workspace: Workspace) -> dict[str, Any]:
    """Return all that a catalog says of its versions.

    Raises
    ------
    ModelRegistryError
        If it finds itself damaged, or verifying does.
    """
    catalog = workspace.catalog
    listed = [(name, str(item.version), item.to_dict()) for name in NAMES for item in versions(workspace, name)]
    damages = verify_store(workspace, VerifyStore()).damages
    if damages:
        raise Corrupted(damages[0].problem)
    found = {f"{name}:{version}": light | catalog.get_version(name, version).to_dict() for name, version, light in listed}
    for model in found.values():
        del model["latest_version"]  # which follows from the others
    return found


def flip(path: Path, chance: random.Random) -> tuple[int, int]:
    """Flip one bit and return where: the byte and its bit."""
    place, bit = chance.randrange(path.stat().st_size), 1 << chance.randrange(8)
    _flip_at(path, place, bit)
    return place, bit


def _flip_at(path: Path, place: int, bit: int) -> None:
    status = path.stat()
    path.chmod(0o600)
    with open(path, "r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ bit]))
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # rot leaves no trace
