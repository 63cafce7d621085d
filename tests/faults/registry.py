"""A registry that a fault is done to: what goes in, what was acknowledged, and whether that is there and whole afterwards."""

from __future__ import annotations

import json
import os
import pkgutil
import random
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from jupyter_modelreg import catalog, flavors, sources, storage, trust
from jupyter_modelreg.commands.model import CreateModel, DeleteModel
from jupyter_modelreg.commands.store import CleanStore
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import ModelRegistryError, NotFound
from jupyter_modelreg.models import create_model, delete_model
from jupyter_modelreg.stores import clean_store
from jupyter_modelreg.workspace import Workspace, open_workspace

from .processes import ask

for package in (catalog, flavors, sources, storage, trust):  # so that a forked process has all that it needs and starts at once
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not found.name.endswith((".postgres", ".remote", ".cutting", ".far")):  # what lies elsewhere
            import_module(found.name)

NAMES = ("churn", "fraud", "iris")
IMPORTED = tuple(f"imported-{name}" for name in NAMES)
KINDS = ("plain", "packed", "large", "tensors")  # how the store keeps them differs
OFTEN = (*KINDS, *KINDS[:3])  # a file of tensors is inspected in a process of its own, which takes most of the time


@dataclass
class Counts:
    """What a fault did. ``lost``: acknowledged but gone, or a gap in the numbers; ``corrupt``: there but not what was registered."""

    acknowledged: int = 0
    lost: int = 0
    corrupt: int = 0
    others: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.corrupt

    def add(self, other: Counts) -> None:
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.corrupt += other.corrupt
        self.others.update(other.others)


# --- what goes in ---------------------------------------------------------------------------------------------------


def files_of(content: str) -> dict[str, bytes]:
    """Return the files that a word stands for; its part before ``-`` is the kind. ``same.bin`` is in all of them."""
    chance, kind = random.Random(content), content.partition("-")[0]
    files = {"same.bin": b"\0same" * 100, "config/a.json": json.dumps({"content": content}).encode()}
    if kind == "packed":
        files |= {f"part/{number}.txt": _bytes(chance, 1 + chance.randrange(1500)) for number in range(24)}
    elif kind == "large":
        files |= {"weights.bin": _bytes(chance, 300_000), "shared.bin": b"\0shared" * 40_000}
    elif kind == "tensors":
        files |= {
            "model.safetensors": _safetensors({"base": b"base" * 280_000, "head": chance.randbytes(80_000), "bias": chance.randbytes(64)})
        }
    else:
        files |= {"weights.bin": _bytes(chance, 400)}
    return files


def _bytes(chance: random.Random, size: int) -> bytes:
    return bytes(1) + chance.randbytes(size - 1)  # a first byte that no pickle has, so that no process is started to inspect it


def _safetensors(tensors: dict[str, bytes]) -> bytes:
    header, offset = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def write_model(folder: Path, content: str) -> Path:
    """Put the files that a word stands for into a folder, and nothing else."""
    if folder.exists():
        shutil.rmtree(folder)
    for path, data in files_of(content).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def register(workspace: Workspace, folder: Path, name: str, content: str) -> str:
    """Register a folder that holds what a word stands for; return the version. This is what acknowledges."""
    return str(create_model(workspace, CreateModel(name=name, path=str(folder), tags={"content": content})).version)


class Registry:
    """A home, and what was acknowledged about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.kept: dict[tuple[str, str], str] = {}  # name and version -> content
        self.gone: set[tuple[str, str]] = set()
        self.doubtful: set[tuple[str, str]] = set()  # being deleted when the process died
        self.acknowledged = self.repeated = 0  # repeated: numbers that were given twice
        self.others: Counter[str] = Counter()

    def open(self, **settings: str) -> Workspace:
        return open_workspace({"home": str(self.home), **settings})

    def register(self, content: str, name: str = NAMES[0]) -> None:
        """Register in a process of its own, undisturbed."""
        folder = write_model(self.folder / "source", content)
        self.hear([["kept", name, ask(lambda: register(self.open(), folder, name, content)), content]])

    def delete(self, name: str, version: str) -> None:
        ask(lambda: delete_model(self.open(), DeleteModel(name=name, version=version)).names)
        self.hear([["deleted", name, version]])

    def hear(self, lines: Iterable[list[str]]) -> None:
        """Take in what processes said: ``kept NAME VERSION CONTENT``, ``deleting`` and ``deleted NAME VERSION``; else it is counted."""
        for what, *words in lines:
            if what == "kept":
                self.acknowledged += 1
                self.repeated += (words[0], words[1]) in self.kept
                self.kept[words[0], words[1]] = words[2]
            elif what == "imported":  # perhaps once more
                self.acknowledged += (words[0], words[1]) not in self.kept
                self.kept[words[0], words[1]] = words[2]
            elif what == "deleting":
                self.doubtful.add((words[0], words[1]))
            elif what == "deleted":
                self.acknowledged += 1
                self.gone.add((words[0], words[1]))
            else:
                self.others[what] += 1

    # --- what is there afterwards -------------------------------------------------------------------------------------

    def check(self) -> Counts:
        """Read everything and compare it with what was acknowledged."""
        counts: Counts = ask(self.check_here)
        return counts

    def check_here(self) -> Counts:
        """Do the same in this process, which is to have forked none and to end soon."""
        workspace, counts = self.open(), Counts(self.acknowledged, others=Counter(self.others))
        listed = {(str(item.name), str(item.version)): item for name in (*NAMES, *IMPORTED) for item in versions(workspace, name)}
        for key, content in self.kept.items():
            if key not in self.gone | self.doubtful:
                counts.lost += key not in listed or listed[key].tags["content"] != content
        counts.lost += self.repeated + len(self._gaps(set(listed)))
        counts.corrupt += len(self.gone & set(listed))
        counts.corrupt += sum(not is_whole(workspace, item) for item in listed.values())
        return counts

    def _gaps(self, listed: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the numbers that nothing stands for; a version that was not acknowledged may be there, none may be skipped."""
        known = listed | self.gone | self.doubtful
        last = {name: max((int(version) for other, version in known if other == name), default=0) for name in NAMES}
        return {(name, str(number)) for name in NAMES for number in range(1, last[name] + 1)} - known

    def clean(self) -> int:
        """Clean the store up, once, with no grace; return the bytes that are in it and belong to nothing afterwards."""
        return int(ask(self.clean_here))

    def clean_here(self) -> int:
        workspace = self.open()
        clean(workspace)
        return litter(workspace, self.home / "store")


def versions(workspace: Workspace, name: str) -> list[Model]:
    try:
        return workspace.catalog.list_models(name=name)
    except NotFound:
        return []


def is_whole(workspace: Workspace, model: Model) -> bool:
    """Say whether a version's files are what its tag says that was registered, and verifying finds no fault."""
    try:
        found: object = (
            workspace.store.verify(workspace.store.load_manifest(str(model.digest))) if is_right(workspace, model) else "wrong files"
        )
    except ModelRegistryError as error:
        found = error
    if found != []:
        print(f"{model.name}:{model.version} is not whole: {found!r}", file=sys.stderr, flush=True)  # else nobody would know why
    return found == []


def is_right(workspace: Workspace, model: Model) -> bool:
    """Say whether a version's files, read through the store, are what its tag says that was registered."""
    tree, found = workspace.store.open_tree(workspace.store.load_manifest(str(model.digest))), {}
    for item in tree.files():
        with tree.open(item.path) as stream:
            found[item.path] = stream.read()
    return found == files_of(model.tags["content"])


def clean(workspace: Workspace) -> None:
    """Remove from the store what no version names, however young it is."""
    clean_store(workspace, CleanStore(grace="0s"))


def litter(workspace: Workspace, store: Path) -> int:
    """Return how many files in a store belong to no version."""
    live = workspace.catalog.live_digests()
    manifests = [workspace.store.load_manifest(digest) for digest in live]
    named = live.union(*(workspace.store.names_of(item) for item in manifests), (file.digest for item in manifests for file in item.files))
    kept = [name for kind in ("blobs", "manifests", "parts", "pieces") for _, _, names in os.walk(store / kind) for name in names]
    views = os.listdir(store / "views") if (store / "views").exists() else []
    return len(os.listdir(store / "tmp")) + sum(name not in named for name in kept) + sum(name not in live for name in views)


def settled(registry: Registry) -> Counts:
    """Check, clean up once, check again; the counts of both."""
    before = registry.check()
    litter = registry.clean()
    after = registry.check()
    after.lost, after.corrupt = max(before.lost, after.lost), max(before.corrupt, after.corrupt) + after.others.pop("wrong reads", 0)
    after.others["litter"] = litter
    return after
