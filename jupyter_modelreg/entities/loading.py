"""YAML to entity and back, with errors that name file, line and key.

YAML is read as nodes, not as values, so that every key knows its line and a text field keeps the text as it was
written: ``version: 1.10`` stays ``1.10``. Only plain YAML is read; nothing in a file can construct an object.
"""

from __future__ import annotations

import os
import re
import sys

import yaml

from ..errors import InvalidInput, nearest
from ..records import Record, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, TypeVar

    R = TypeVar("R", bound=Record)

MAX_BYTES = 4 << 20
MAX_DEPTH = 50
MAX_NODES = 20_000  # aliases count each time they are used, so a bomb of them is refused

# Fields that name a file or folder beside the YAML file. Tags and the like may have the same keys and stay as they are.
_PATH_KEYS = (
    "path",
    "model.path",
    "code_configuration.code",
    "conda_file",
    "build.path",
    "environment.conda_file",
    "environment.build.path",
)


class _Text(str):
    """A plain scalar as it was written; ``plain`` is what YAML makes of it, for fields that take anything."""

    plain: Any


def load_entity(
    record: type[R],
    source: str | IO[str] | dict[str, Any],
    *,
    overrides: list[str] | None = None,
    params_override: list[dict[str, Any]] | None = None,
) -> R:
    """Load an entity from a YAML file, an open text stream, ``-`` for standard input, or plain values.

    Parameters
    ----------
    overrides
        ``--set a.b=v`` words, applied before anything is checked; values stay text.
    params_override
        Azure's Python form of the same: dotted path to value.

    Raises
    ------
    InvalidInput
        If the file is missing, empty or no YAML, or a key is unknown, missing or of the wrong type: ``m.yml:3: …``.
    """
    values, name, lines = _values_of(source)
    for path, value in _overrides_of(overrides, params_override):
        _set_value(values, path, value, "--set")
        lines[path] = 0
    try:
        _resolve_paths(values, name)
        return from_dict(record, values)
    except InvalidInput as error:
        raise _placed(error, name, lines) from None


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Return the plain values of a YAML mapping that somebody else wrote; only plain YAML of bearable size is read.

    Raises
    ------
    InvalidInput
        If it is no YAML, no mapping, nested too deeply, or a bomb of aliases.
    """
    values: dict[str, Any] = _bare(_parse(text, name)[0])
    return values


def load_mapping(path: str) -> dict[str, Any]:
    """Return the plain values of a YAML file that is no entity, such as a conda file.

    Raises
    ------
    InvalidInput
        If the file is missing, empty, no YAML or no mapping.
    """
    values: dict[str, Any] = _bare(_values_of(path)[0])
    return values


def dump_entity(entity: Record) -> str:
    """Write an entity as YAML that loads again."""
    values = {key: value for key, value in entity.to_dict().items() if value not in ({}, [])}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False)


def apply_update(
    values: dict[str, Any],
    *,
    set: list[str] | None = None,
    add: list[str] | None = None,
    remove: list[str] | None = None,
    force_string: bool = False,
) -> dict[str, Any]:
    """Apply ``--set``, ``--add`` and ``--remove`` to a copy of plain values.

    Values are read as JSON where they are JSON, unless ``force_string``. Source: azure-cli-core, generic update.

    Raises
    ------
    InvalidInput
        If a path leads nowhere or a word is not of the form its option takes.
    """
    import copy

    changed = copy.deepcopy(values)
    for word in set or []:
        path, text = _split_override(word)
        _set_value(changed, path, text if force_string else _as_json(text), "--set")
    for word in add or []:
        _add_value(changed, word, force_string=force_string)
    for word in remove or []:
        _remove_value(changed, word)
    return changed


# --- read -----------------------------------------------------------------------------------------------------------


def _values_of(source: str | IO[str] | dict[str, Any]) -> tuple[dict[str, Any], str, dict[str, int]]:
    """Return the values of a source, its name for messages and the line of each key."""
    import copy

    if isinstance(source, dict):
        return copy.deepcopy(source), "", {}
    text, name = _read(source)
    values, lines = _parse(text, name)
    return values, name, lines


def _overrides_of(words: list[str] | None, params: list[dict[str, Any]] | None) -> list[tuple[str, Any]]:
    given: list[tuple[str, Any]] = [_split_override(word) for word in words or []]
    return given + [item for override in params or [] for item in override.items()]


def _read(source: str | IO[str]) -> tuple[str, str]:
    """Return the text and a name for messages; a relative path in the file counts from the name's folder."""
    if not isinstance(source, (str, os.PathLike)):
        name = getattr(source, "name", "")
        return _bounded(source.read(MAX_BYTES + 1), "YAML"), name if isinstance(name, str) else ""
    path = os.fspath(source)
    if path == "-":
        return _bounded(sys.stdin.read(MAX_BYTES + 1), "standard input"), "standard input"
    if os.path.isdir(path):
        raise InvalidInput(f"{path} is a folder; name the YAML file in it.", key="file")
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))
        beside = os.listdir(folder) if os.path.isdir(folder) else []
        raise InvalidInput(f"{path}: no such file.{nearest(os.path.basename(path), beside)}", key="file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.", key="file") from None
    return _bounded(text, path), path


def _bounded(text: str, name: str) -> str:
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"{name} is larger than {MAX_BYTES >> 20} MiB; that is no description of an entity.", key="file")
    return text


def _parse(text: str, name: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return plain values and, for each dotted path, its line (from 1)."""
    lines: dict[str, int] = {}
    return _Reader(name, lines).mapping(_compose(text, name), "", 0), lines


def _compose(text: str, name: str) -> yaml.MappingNode:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name or 'YAML'}:{mark.line + 1}" if mark else name or "YAML"
        raise InvalidInput(f"{where}: this is no YAML: {getattr(error, 'problem', None) or error}.", key="file") from None
    except RecursionError:
        raise InvalidInput(f"{name or 'YAML'}: nested too deeply.", key="file") from None
    if node is None:
        raise InvalidInput(f"{name or 'YAML'} is empty.", key="file")
    if not isinstance(node, yaml.MappingNode):
        raise InvalidInput(
            f"{name or 'YAML'}:{node.start_mark.line + 1}: a mapping of keys to values is wanted, such as name: churn.", key="file"
        )
    return node


class _Reader:
    """Turns nodes into plain values, counting what it makes."""

    def __init__(self, name: str, lines: dict[str, int]) -> None:
        self._name, self._lines, self._count = name or "YAML", lines, 0
        self._constructor = yaml.constructor.SafeConstructor()

    def mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise InvalidInput(f"{self._name}:{line}: a key must be plain text.", key=path)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise InvalidInput(f'{self._name}:{line}: "<<" is not read; write out the keys that it would merge.', key=path)
            key = f"{path}.{key_node.value}" if path else key_node.value
            if key_node.value in values:
                raise InvalidInput(f'{self._name}:{line}: "{key}" stands twice.', key=key)
            self._lines.setdefault(key, line)
            values[key_node.value] = self._value(value_node, key, depth + 1)
        return values

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            raise InvalidInput(f"{self._name}:{node.start_mark.line + 1}: nested too deeply or too large.", key=path)
        if node.tag.startswith("tag:yaml.org,2002:python") or not node.tag.startswith("tag:yaml.org,2002:"):
            raise InvalidInput(f'{self._name}:{node.start_mark.line + 1}: the tag "{node.tag}" is not allowed.', key=path)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node) if node.style is None else str(node.value)

    def _scalar(self, node: yaml.ScalarNode) -> str:
        """Return a plain scalar as text that knows its value; what JSON has not, such as a date, stays text."""
        text = _Text(node.value)
        try:
            value = self._constructor.construct_object(node)
        except ValueError:  # 2026-99-99 looks like a date
            value = node.value
        is_json = isinstance(value, (str, int)) or (isinstance(value, float) and value - value == 0.0)
        text.plain = value if is_json else node.value
        return text


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return getattr(value, "plain", value)


def _resolve_paths(values: dict[str, Any], name: str) -> None:
    """Make relative paths count from the YAML file's folder; references stay as they are."""
    folder = os.path.dirname(name)
    for key in _PATH_KEYS if folder else ():
        *way, last = key.split(".")
        place: Any = values
        for step in way:
            place = place.get(step) if isinstance(place, dict) else None
        value = place.get(last) if isinstance(place, dict) else None
        if isinstance(value, str) and _is_relative(value, key):
            place[last] = os.path.join(folder, value.removeprefix("./"))


def _is_relative(text: str, key: str) -> bool:
    from ..references import LocalPath, parse_reference

    try:
        return isinstance(parse_reference(text), LocalPath) and not os.path.isabs(os.path.expanduser(text)) and ":" not in text
    except InvalidInput as error:
        raise InvalidInput(error.message, key=key) from None


def _placed(error: InvalidInput, name: str, lines: dict[str, int]) -> InvalidInput:
    """Put file and line before a message; a missing key stands at its parent, and line 0 is an option's."""
    path = next((path for path, line in lines.items() if line == 0 and path.startswith(f"{error.key}.")), error.key)
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    line = lines.get(path)
    place = f"--set {path}: " if line == 0 else f"{name or 'YAML'}:{line}: " if line else f"{name}: " if name else ""
    return type(error)(f"{place}{error.message}", key=error.key)


# --- change ---------------------------------------------------------------------------------------------------------


def _split_override(word: str) -> tuple[str, str]:
    path, sign, value = word.partition("=")
    if not sign or not path:
        raise InvalidInput(f'usage error: --set KEY=VALUE [KEY=VALUE ...]; "{word}" has no "=".', key="set")
    return path, value


def _as_json(text: str) -> Any:
    """Return the value of a JSON text; other text, and numbers that JSON has not, stay as they are."""
    import json

    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _steps(path: str) -> list[str | int]:
    """Split ``a.b[0].c`` into keys and indexes."""
    steps: list[str | int] = []
    for part in path.split("."):
        match = re.fullmatch(r"([^\[\]]+)((\[[0-9]{1,9}\])*)", part)
        if not match:
            raise InvalidInput(f'"{path}" is no path; write for example tags.stage or list[0].', key=path)
        steps += [match[1], *map(int, re.findall(r"[0-9]+", match[2]))]
    return steps


def _parent(values: Any, path: str, option: str) -> tuple[Any, str | int]:
    """Return the mapping or list that holds the last step of a path; mappings on the way are made."""
    *way, last = _steps(path)
    place = values
    for step in way:
        if isinstance(place, dict) and isinstance(step, str):
            if isinstance(place.get(step), str):
                raise InvalidInput(f"Cannot use '{option}' on properties defined by reference strings: {path}.", key=path)
            if place.get(step) is None:
                place[step] = {}
            place = place[step]
        elif isinstance(place, list) and isinstance(step, int) and step < len(place):
            place = place[step]
        else:
            raise InvalidInput(f'{option}: there is no "{path}".', key=path)
    if not isinstance(place, (dict, list)) or isinstance(place, list) != isinstance(last, int):
        raise InvalidInput(f'{option}: there is no "{path}".', key=path)
    if isinstance(place, list) and isinstance(last, int) and last >= len(place):
        raise InvalidInput(f'{option}: "{path}" lies behind the end of a list of {len(place)}.', key=path)
    return place, last


def _set_value(values: dict[str, Any], path: str, value: Any, option: str) -> None:
    place, last = _parent(values, path, option)
    place[last] = value


def _add_value(values: dict[str, Any], word: str, *, force_string: bool) -> None:
    """Add an item to a list, a mapping of ``KEY=VALUE`` words to a list, or a key to a mapping; what is not there is made."""
    path, _, text = word.strip().partition(" ")
    if not text:
        raise InvalidInput(f'usage error: --add PATH KEY=VALUE or --add PATH VALUE; "{word}" has one part.', key="add")
    place, last = _parent(values, path, "--add")
    target = place.get(last) if isinstance(place, dict) else place[last]
    read = str if force_string else _as_json
    pairs = {key: read(value) for key, sign, value in (item.partition("=") for item in text.split(" ")) if sign and key}
    is_pairs = len(pairs) == len(text.split(" ")) and isinstance(read(text), str)
    if is_pairs and isinstance(target, (dict, type(None))):
        place[last] = {**(target or {}), **pairs}
    elif isinstance(target, (list, type(None))):
        place[last] = [*(target or []), pairs if is_pairs else read(text)]
    elif isinstance(target, dict) and "=" in text:
        key, _, value = text.partition("=")
        place[last] = {**target, key: read(value)}
    else:
        raise InvalidInput(f'--add {path}: "{text}" cannot be added there; write KEY=VALUE for a mapping.', key=path)


def _remove_value(values: dict[str, Any], word: str) -> None:
    """Remove ``tags.stage`` or ``list[0]``; azure-cli also writes ``list 0`` and ``tags stage``."""
    path = word.strip()
    head, _, tail = path.partition(" ")
    if tail:
        path = f"{head}[{tail}]" if tail.isdigit() else f"{head}.{tail}"
    place, last = _parent(values, path, "--remove")
    if isinstance(place, dict) and last not in place:
        raise InvalidInput(f'--remove: there is no "{path}".{nearest(str(last), map(str, place))}', key=path)
    if isinstance(place, dict):
        del place[last]
    else:
        assert isinstance(last, int)
        del place[last]


__all__ = ["apply_update", "dump_entity", "load_entity", "load_mapping"]
