"""Typed records: what commands, entities and answers are made of.

A stdlib dataclass costs 6 ms to import and 0.5 ms a class; a registry that answers a shell in 20 ms cannot pay
that, so a record reads its annotations only when somebody asks for its types. It leaves YAML, argparse and JSON
Schema to the doors, which loop over :func:`fields`.
"""

from __future__ import annotations

from .errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object):
        return lambda item: item


class _Missing:
    def __repr__(self) -> str:
        return "<required>"


_MISSING: Any = _Missing()
REQUIRED: Any = _MISSING


class Field:
    """One field of a record, with what the doors need to show it.

    Parameters
    ----------
    flags
        Option strings beside ``--field-name``, such as ``-n``.
    is_positional
        Whether the value may also stand bare on a command line.
    key
        The name in YAML and JSON where it differs from the attribute.
    """

    __slots__ = ("annotation", "choices", "default", "flags", "help", "is_positional", "is_read_only", "key", "metavar", "name", "values")

    def __init__(
        self,
        *flags: str,
        default: Any = _MISSING,
        help: str = "",
        choices: tuple[str, ...] = (),
        is_positional: bool = False,
        is_read_only: bool = False,
        key: str = "",
        metavar: str = "",
        values: str = "",
    ) -> None:
        self.default = default
        self.flags = flags
        self.help = help
        self.choices = choices
        self.is_positional = is_positional
        self.is_read_only = is_read_only
        self.key = key
        self.metavar = metavar
        self.values = values  # what completes it: "model", "version", "endpoint", "path", "tag"
        self.name = ""
        self.annotation = ""


def field(*flags: str, default: Any = _MISSING, **about: Any) -> Any:
    """Declare a field of a record; see :class:`Field`. Without a default the field is required."""
    if flags and not str(flags[0]).startswith("-"):
        raise TypeError(f"field(default={flags[0]!r}): a default is given by keyword")
    return Field(*flags, default=default, **about)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class Record:
    """A keyword-only record whose annotations are its fields.

    Defaults that are dicts or lists are copied for each record. Names that start with an underscore are no fields.

    Raises
    ------
    TypeError
        If a keyword is no field, or a field without default is missing.
    """

    _fields: dict[str, Field] = {}
    _misplaced: dict[str, str] = {}  # keys that belong elsewhere, and what to say of them
    _shared: dict[str, object] = {}
    _copied: dict[str, Field] = {}
    _required: set[str] = set()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        found = dict(cls._fields)
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():
            if name.startswith("_"):
                continue
            given = cls.__dict__.get(name, _MISSING)
            item = given if isinstance(given, Field) else Field(default=given)
            item.name, item.annotation = name, annotation
            item.key = item.key or name
            if item.default is not _MISSING:
                setattr(cls, name, item.default)
            found[name] = item
        cls._fields = found
        # A list of ten thousand models makes twenty thousand records: what is the same in all of them is looked up once.
        cls._required = {name for name, item in found.items() if item.default is _MISSING}
        cls._shared = {name: item.default for name, item in found.items() if not isinstance(item.default, (dict, list, _Missing))}
        cls._copied = {name: item for name, item in found.items() if isinstance(item.default, (dict, list))}

    def __init__(self, **values: Any) -> None:
        held = {**self._shared, **values}
        for name, item in self._copied.items():
            if name not in values:
                held[name] = item.default.copy()
        if len(held) != len(self._fields) or not values.keys() >= self._required:
            raise TypeError(self._say_misfit(values))
        self.__dict__ = held
        self._check()

    @classmethod
    def trusted(cls, values: dict[str, Any]) -> Self:
        """Make a record of values that are known to fit, such as a row of the catalog: nothing is checked.

        They must hold each field whose default is a dict or a list; others may be left out.
        """
        made = cls.__new__(cls)
        made.__dict__ = {**cls._shared, **values}
        return made

    def _check(self) -> None:
        """Reject values that contradict one another; subclasses say which."""

    def _say_misfit(self, values: dict[str, Any]) -> str:
        for name in values:
            if name not in self._fields:
                return f'{type(self).__name__} has no "{name}".{nearest(name, self._fields)}'
        missing = next(name for name in self._fields if name in self._required and name not in values)
        return f'{type(self).__name__} needs "{missing}"'

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = (f"{name}={self.__dict__[name]!r}" for name in self._fields if self.__dict__[name] != self._fields[name].default)
        return f"{type(self).__name__}({', '.join(said)})"

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**{name: self.__dict__[name] for name in self._fields}, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values under their YAML keys; fields that are None are left out."""
        return {item.key: _plain(value) for name, item in self._fields.items() if (value := self.__dict__[name]) is not None}


def fields(record: type[Record] | Record) -> list[Field]:
    """Return the fields in the order they were declared, those of base classes first."""
    return list(record._fields.values())


def field_type(record: type[Record], name: str) -> Any:
    """Return the evaluated annotation of a field, for example ``str | None`` or ``dict[str, str]``."""
    if (record, name) not in _types:  # a manifest has a hundred thousand records of one kind
        _types[record, name] = _evaluated(record, name)
    return _types[record, name]


def _evaluated(record: type[Record], name: str) -> Any:
    import sys

    annotation = record._fields[name].annotation
    known: dict[str, Any] = {}
    if "Any" in annotation:  # `typing` takes 3 ms to import, and few annotations need it
        from typing import Any

        known["Any"] = Any
    for base in record.__mro__:
        if name in base.__dict__.get("__annotations__", {}):
            return eval(annotation, {**vars(sys.modules[base.__module__]), **known})  # noqa: S307 - our own source text
    raise KeyError(name)


def from_dict(record: type[T], values: Mapping[str, Any], *, where: str = "", drop_read_only: bool = True) -> T:
    """Build a record from plain values, as YAML and JSON give them.

    Text becomes a number or a boolean where one is wanted and the text is one, since command lines have only text;
    numbers and booleans become text where text is wanted (YAML's ``3`` for a version); records nest. Read-only keys are
    dropped, so that the output of ``show`` loads again.

    Raises
    ------
    InvalidInput
        With ``key`` set to the dotted path of the first key that is unknown, missing or of the wrong type.
    """
    assert issubclass(record, Record)
    if not hasattr(values, "items"):
        raise InvalidInput(f"{where or record.__name__} must be a mapping, not {_say(values)}.", key=where)
    by_key = {item.key: item for item in record._fields.values()}
    built: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key == "$schema":
            continue
        if key in record._misplaced:
            raise InvalidInput(record._misplaced[key].format(key=key), key=path)
        if key not in by_key:
            known = [item.key for item in by_key.values() if not item.is_read_only]
            raise InvalidInput(f'Unknown key "{key}".{nearest(str(key), known)} Known: {", ".join(known)}.', key=path)
        item = by_key[key]
        if item.is_read_only and drop_read_only:
            continue
        built[item.name] = convert(value, field_type(record, item.name), path)
        if item.choices and value is not None and str(value).lower() not in {choice.lower() for choice in item.choices}:
            words = ", ".join(item.choices)
            raise InvalidInput(f'{path} is "{value}"; it must be one of {words}.{nearest(str(value), item.choices)}', key=path)
        if item.choices and isinstance(value, str):
            built[item.name] = next(choice for choice in item.choices if choice.lower() == value.lower())
    for item in by_key.values():
        if item.default is _MISSING and item.name not in built:
            raise InvalidInput(f'"{item.key}" is missing.', key=f"{where}.{item.key}" if where else item.key)
    try:
        return record(**built)
    except InvalidInput as error:
        error.key = f"{where}.{error.key}" if where and error.key else error.key or where
        raise


def convert(value: Any, wanted: Any, path: str) -> Any:
    """Convert one plain value to an annotated type; see :func:`from_dict` for the rules."""
    import types

    options = wanted.__args__ if isinstance(wanted, types.UnionType) else (wanted,)
    if value is None:
        if type(None) in options or getattr(wanted, "__name__", "") == "Any":
            return None
        if any(getattr(option, "__origin__", option) in (dict, list, tuple) for option in options):
            return (getattr(options[0], "__origin__", options[0]))()
        raise InvalidInput(f"{path} must not be empty.", key=path)
    errors: list[InvalidInput] = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert_one(value, option, path)
        except InvalidInput as error:
            errors.append(error)
    # The error that went deepest is about the alternative that was meant.
    raise max(errors, key=lambda error: error.key.count("."))


def _convert_one(value: Any, wanted: Any, path: str) -> Any:
    origin = getattr(wanted, "__origin__", wanted)
    arguments = getattr(wanted, "__args__", ())
    if getattr(wanted, "__name__", "") == "Any" or wanted is object:
        return _unwrapped(value)
    if isinstance(origin, type) and issubclass(origin, Record):
        return value if isinstance(value, origin) else from_dict(origin, value, where=path)
    if origin is dict:
        if not hasattr(value, "items"):
            raise InvalidInput(f"{path} must be a mapping, not {_say(value)}.", key=path)
        inner = arguments[1] if arguments else object
        return {str(key): convert(item, inner, f"{path}.{key}") for key, item in value.items()}
    if origin in (list, tuple):
        if isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "items"):
            raise InvalidInput(f"{path} must be a list, not {_say(value)}.", key=path)
        inner = arguments[0] if arguments else object
        return origin(convert(item, inner, f"{path}[{index}]") for index, item in enumerate(value))
    return _convert_scalar(value, origin, path)


def _convert_scalar(value: Any, wanted: type, path: str) -> Any:
    value = value if wanted is str else _unwrapped(value)  # "yes" is text, and true where a boolean is wanted
    if wanted is str and isinstance(value, (str, int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if wanted is bool and isinstance(value, (bool, str)) and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    is_broken = wanted is int and isinstance(value, float) and not value.is_integer()
    if wanted in (int, float) and isinstance(value, (int, float, str)) and not isinstance(value, bool) and not is_broken:
        try:
            return wanted(value)
        except (ValueError, OverflowError):  # no number, or too large a one
            pass
    elif isinstance(value, wanted) and wanted not in (int, float):
        return value
    raise InvalidInput(f"{path} must be {_KINDS.get(wanted, wanted.__name__)}, not {_say(value)}.", key=path)


def _unwrapped(value: Any) -> Any:
    """Return what anything-goes fields keep: text that remembers its YAML type gives that."""
    if isinstance(value, dict):
        return {str(key): _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    return getattr(value, "plain", value)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'


_types: dict[tuple[type[Record], str], Any] = {}
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
