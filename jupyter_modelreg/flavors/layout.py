"""``modelreg.json``: what our own folders say of themselves, and small steps the flavors share."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import import_module
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput, NotFound, Unavailable
from ..records import from_dict
from ..trees import paths, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from ..trees import Tree
    from . import Detection

NAME = "modelreg.json"
MAX_BYTES = 4 << 20


class CannotSave(Exception):
    """A flavor takes objects of this kind but not this one; the text says why."""


def read(tree: Tree) -> dict[str, Any]:
    """Return what a folder says of itself; empty when it says nothing or no JSON."""
    if tree.is_file or NAME not in set(paths(tree)):
        return {}
    return _parse(read_bytes(tree, NAME, limit_bytes=MAX_BYTES))


def read_folder(path: str) -> dict[str, Any]:
    """Return what a folder on disk says of itself."""
    try:
        with open(os.path.join(path, NAME), "rb") as stream:
            return _parse(stream.read(MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def write(folder: str, flavor: str, facts: dict[str, Any], signature: Signature | None, example: Any) -> None:
    """Write what a folder says of itself."""
    values = {"flavor": flavor, **facts, "python": ".".join(map(str, sys.version_info[:3]))}
    if signature:
        values["signature"] = signature.to_dict()
    if example is not None:
        values["input_example"] = example
    with open(os.path.join(folder, NAME), "w", encoding="utf-8") as stream:
        json.dump(values, stream, indent=1, sort_keys=True)


def detection(tree: Tree, flavor: str) -> Detection | None:
    """Return what our own layout says when it is of this flavor.

    Raises
    ------
    InvalidInput
        If it says something that is no signature.
    """
    from . import Detection
    from .signatures import bound_example

    said = read(tree)
    if said.get("flavor") != flavor:
        return None
    try:
        signature = from_dict(Signature, said["signature"]) if said.get("signature") else None
    except InvalidInput as error:
        raise InvalidInput(f"{NAME}: signature: {error.message}", key="path") from None
    return Detection(flavor=flavor, signature=signature, input_example=bound_example(said.get("input_example")))


def detect_by_ending(tree: Tree, flavor: str, *endings: str) -> Detection | None:
    """Recognise our own folders of this flavor, and any tree that holds one file with such an ending."""
    from . import Detection

    return detection(tree, flavor) or (Detection(flavor=flavor) if only_file(tree, *endings) else None)


def only_file(tree: Tree, *endings: str) -> str | None:
    """Return the path of the one file with such an ending; None when there is none or several."""
    found = [path for path in paths(tree) if path.lower().endswith(endings)]
    return found[0] if len(found) == 1 else None


def shards(names: Iterable[str]) -> list[str]:
    """Return the files of a checkpoint that was cut into several safetensors files, when they are all there; else nothing.

    Source: Hugging Face, ``model-00001-of-00003.safetensors``.
    """
    found: dict[tuple[str, int], list[str]] = {}
    for name in sorted(names):
        if match := re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.safetensors", name):
            found.setdefault((match[1], int(match[3])), []).append(name)
    whole = [files for (_, count), files in found.items() if len(files) == count]
    return whole[0] if len(whole) == 1 else []


def find_safetensors(path: str) -> list[str]:
    """Return the files to load for a checkpoint: its shards, or the one file.

    Raises
    ------
    NotFound
        If there are several that do not belong together, or none.
    """
    return shards(files_on_disk(path)) or [find_on_disk(path, ".safetensors")]


def files_on_disk(folder: str) -> list[str]:
    """Return the paths of all files below a folder; none for a file."""
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]


def find_on_disk(path: str, *endings: str) -> str:
    """Return the file to load: the path itself, the one its ``modelreg.json`` names, or the only one that fits.

    Raises
    ------
    NotFound
        If there is none, or several.
    """
    if os.path.isfile(path):
        return path
    named = os.path.basename(str(read_folder(path).get("file") or ""))
    if named.lower().endswith(endings) and os.path.isfile(os.path.join(path, named)):
        return os.path.join(path, named)
    found = [file for file in files_on_disk(path) if file.lower().endswith(endings)]
    if len(found) != 1:
        name = os.path.basename(path)
        raise NotFound(f"{name} holds {len(found) or 'no'} files ending in {', '.join(endings)}; one is needed.")
    return found[0]


def need(module: str, extra: str) -> ModuleType:
    """Import a library that is an extra.

    Raises
    ------
    Unavailable
        If it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise Unavailable(f'This needs {error.name}: pip install "jupyter-modelreg[{extra}]"') from None


def is_instance_of(value: object, *names: str) -> bool:
    """Say whether a value's class descends from one of the dotted names; nothing is imported for the question."""
    return any(f"{base.__module__}.{base.__qualname__}" in names for base in type(value).__mro__)


def kind_of(value: object) -> str:
    """Return the full name of a value's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def in_a_line(error: Exception) -> str:
    """Return what an error of somebody else's says, short enough to stand in a message."""
    said = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {said[:160]}" if said else type(error).__name__


def empty(folder: str) -> None:
    """Remove what a save that failed has written."""
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of distributions."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _parse(text: bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
