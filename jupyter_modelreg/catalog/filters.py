"""The language of ``model list --filter``: text to a tree. What it means to a database is :mod:`.search`'s matter.

::

    filter   = [condition] ["order by" FIELD ["asc" | "desc"]]
    condition= part {"or" part};  part = factor {"and" factor};  factor = ["not"] (term | "(" condition ")")
    term     = FIELD ("=" | "!=" | "<" | "<=" | ">" | ">=") VALUE
             | FIELD ["not"] ("like" | "ilike") TEXT             % any text, _ any one sign, \\% a percent sign
             | FIELD ["not"] "in" "(" VALUE {"," VALUE} ")"
             | FIELD "is" ["not"] "null"
    VALUE    = 'text' | "text" (a quote inside is doubled) | number | date | true | false

Fields: name, version, type, flavor, stage, description, job_name, digest, size, created, modified, created_by,
modified_by, archived, tags.KEY, metrics.KEY, properties.KEY; a key with blanks stands in quotes: ``tags."a b"``. Words are
read in upper and lower case; MLflow's spellings (``tag.x``, backquotes, ``version_number``) work.

A date names all of its time: ``created = '2026-11'`` is that month, ``created > '2026-11'`` what came after it, in UTC.
A comparison with what is not there is false, ``!=`` too; ``is null`` asks for it.
"""

from __future__ import annotations

import re

from ..errors import InvalidInput, nearest
from .conditions import KEYED, Junction, Negation, Order, Term

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from .conditions import Node

MAX_TERMS = 100
MAX_DEPTH = 20  # SQLite reads 100 signs deep, and a filter stands inside a query
MAX_TEXT = 1000

# Field -> what it is compared with.
FIELDS = {
    "name": "text",
    "version": "version",
    "type": "text",
    "flavor": "text",
    "stage": "text",
    "description": "text",
    "job_name": "text",
    "digest": "text",
    "size": "size",
    "created": "time",
    "modified": "time",
    "created_by": "text",
    "modified_by": "text",
    "archived": "flag",
}
ORDERED = ("name", "version", "created", "modified", "size", "tags", "metrics")
_OTHER_NAMES = {
    "tag": "tags",
    "metric": "metrics",
    "property": "properties",
    "version_number": "version",
    "run_id": "job_name",
    "size_bytes": "size",
    "created_at": "created",
    "modified_at": "modified",
    "last_modified_at": "modified",
    "last_modified_by": "modified_by",
    "is_archived": "archived",
}
_RIGHT = {
    "text": "text in quotes, such as 'prod'",
    "number": "a number",
    "version": "a version, such as 3 or 'final'",
    "size": "a number of bytes or a size such as '500 MB'",
    "time": "a date such as '2026-11-25'",
    "flag": "true or false",
}


class Filter:
    """A filter as it was read: parts that must all hold, an order, and every comparison wherever it stands."""

    __slots__ = ("order", "parts", "terms")

    def __init__(self, parts: Sequence[Node], order: Order, terms: Sequence[Term]) -> None:
        self.parts, self.order, self.terms = parts, order, terms


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises
    ------
    InvalidInput
        If it is none; the detail points at the place.
    """
    return _Parser(text).read()


class _Token:
    __slots__ = ("kind", "place", "text")

    def __init__(self, kind: str, text: str, place: int) -> None:
        self.kind, self.text, self.place = kind, text, place

    @property
    def word(self) -> str:
        """The word as keywords are compared; empty for what is no word."""
        return self.text.lower() if self.kind == "word" else ""


# No part can be read in two ways, so that the time to read is in proportion to the length.
_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t\r\n]+)
    | (?P<word>[^\W\d]\w*(?:\.(?:"(?:[^"]|"")+"|'(?:[^']|'')+'|`[^`]+`|[\w./:-]+))?)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})?)?)?(?![\w.:+-]))
    | (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<sign><=|>=|!=|<>|==|[=<>(),])
    """,
    re.VERBOSE,
)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0
        self._terms: list[Term] = []
        self._values = 0

    def read(self) -> Filter:
        if self._now.kind == "end":
            raise InvalidInput("The filter is empty; leave it out to list the latest version of each model.", key="filter")
        parts = [] if self._now.word == "order" else _parts(self._condition(0))
        order = self._order() if self._takes("order") else Order()
        if self._now.kind != "end":
            self._fail(self._now, f"{_said(self._now)} cannot stand here; and, or, order by or the end would be right.")
        return Filter(parts, order, self._terms)

    # --- tokens ---------------------------------------------------------------------------------------------------

    def _split(self) -> Iterator[_Token]:
        place = 0
        while place < len(self._text):
            found = _TOKEN.match(self._text, place)
            if found is None:
                self._fail_at_sign(place)
            if found.lastgroup != "blank":
                self._check_signs(found[0], place)
                yield _Token(str(found.lastgroup), found[0], place)
            place = found.end()
        yield _Token("end", "", len(self._text))

    def _fail_at_sign(self, place: int) -> NoReturn:
        sign = self._text[place]
        here = _Token("", sign, place)
        if sign in "'\"`":
            self._fail(here, f"The text that begins here has no closing {sign}")
        if sign in "‘’‚“”„":
            self._fail(here, f"{sign} is a typographic quote; write '")
        self._fail(here, f"{_said(here)} means nothing here; text stands in quotes.")

    def _check_signs(self, text: str, place: int) -> None:
        for number, char in enumerate(text):
            if char == "\0" or "\ud800" <= char <= "\udfff":
                self._fail(_Token("", char, place + number), "This is a sign that no text of a catalog has.")

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._now
        self._next += token.kind != "end"
        return token

    def _takes(self, *words: str) -> str:
        """Take the next token if it is one of these words or signs, and return it."""
        word = self._now.word or (self._now.text if self._now.kind == "sign" else "")
        if word not in words:
            return ""
        self._take()
        return word

    def _need(self, word: str) -> None:
        if not self._takes(word):
            self._fail(self._now, f"{word} would be right here, not {_said(self._now)}.")

    def _fail(self, token: _Token, message: str) -> NoReturn:
        raise InvalidInput(f"{message} (--filter, character {token.place + 1})", key="filter", detail=_pointed(self._text, token.place))

    # --- the grammar ----------------------------------------------------------------------------------------------

    def _condition(self, depth: int) -> Node:
        return self._joined("or", lambda: self._joined("and", lambda: self._factor(depth)))

    def _joined(self, word: str, read: Callable[[], Node]) -> Node:
        parts = [read()]
        while self._takes(word):
            parts.append(read())
        return parts[0] if len(parts) == 1 else Junction(word, parts)

    def _factor(self, depth: int) -> Node:
        is_negative = False
        while self._takes("not"):
            is_negative = not is_negative
        if self._now.text == "(":
            if depth == MAX_DEPTH:
                self._fail(self._now, f"At most {MAX_DEPTH} parentheses can stand inside one another.")
            self._take()
            part = self._condition(depth + 1)
            self._need(")")
        else:
            part = self._term()
        return Negation(part) if is_negative else part

    def _term(self) -> Term:
        field, key, kind = self._field()
        start = self._now
        is_negative = bool(self._takes("not"))
        if not is_negative and self._takes("is"):
            is_negative = bool(self._takes("not"))
            self._need("null")
            if kind == "flag":
                self._fail(start, f"{field} is true or false, never null; only = and != would be right.")
            return self._counted(Term(field, "null", key=key, is_negative=is_negative), start)
        operator = self._takes("like", "ilike", "in") if is_negative else self._takes(*_COMPARISONS, "like", "ilike", "in")
        if not operator:
            wanted = "like or in" if is_negative else "=, !=, <, <=, >, >=, like, in or is null"
            self._fail(self._now, f"{wanted} would be right here, not {_said(self._now)}.")
        self._check_operator(start, kind, operator, _named(field, key))
        values = self._list(kind, field) if operator == "in" else [self._value("text" if "like" in operator else kind, field, key)]
        return self._counted(Term(field, _COMPARISONS.get(operator, operator), values, key=key, is_negative=is_negative), start)

    def _check_operator(self, token: _Token, kind: str, operator: str, name: str) -> None:
        if "like" in operator and kind not in ("text", "version"):
            self._fail(token, f"{operator} compares text; {name} is compared with {_RIGHT[kind]}.")
        if kind == "flag" and operator not in ("=", "==", "!=", "<>"):
            self._fail(token, f"{name} is true or false; only = and != would be right.")

    def _counted(self, term: Term, token: _Token) -> Term:
        self._values += max(len(term.values), 1)
        if self._values > MAX_TERMS:
            self._fail(token, f"A filter has at most {MAX_TERMS} comparisons.")
        self._terms.append(term)
        return term

    def _field(self) -> tuple[str, str, str]:
        """Return a field, its key and what it is compared with."""
        token = self._take()
        if token.kind != "word":
            self._fail(token, f"A field would be right here, such as name or tags.stage, not {_said(token)}.")
        name, _, key = token.text.partition(".")
        if name.lower() in ("attribute", "attributes"):  # MLflow's word for what is no tag
            name, key = key, ""
        field = _OTHER_NAMES.get(name.lower(), name.lower())
        if field in KEYED:
            if not key:
                self._fail(token, f"{field} needs a key: {field}.KEY")
            return field, _unquoted(key), KEYED[field]
        if field not in FIELDS or key:
            known = [_named(name, key) for name in KEYED] if key else [*FIELDS, *KEYED]
            close = nearest(_named(field[:40], key), known) or f" There are {', '.join(FIELDS)}, tags.KEY, metrics.KEY and properties.KEY."
            self._fail(token, f"There is no field {_said(token)}.{close}")
        return field, "", FIELDS[field]

    def _list(self, kind: str, field: str) -> list[Any]:
        self._need("(")
        values = [self._value(kind, field)]
        while self._takes(","):
            values.append(self._value(kind, field))
            if len(values) > MAX_TERMS:
                self._fail(self._now, f"A filter has at most {MAX_TERMS} comparisons.")
        self._need(")")
        return values

    def _value(self, kind: str, field: str, key: str = "") -> Any:
        token = self._take()
        if token.kind == "text" and len(token.text) > MAX_TEXT + 2:  # and its quotes
            self._fail(token, f"A text is at most {MAX_TEXT} characters long.")
        if token.word not in ("", "true", "false"):
            self._fail(token, f"{_said(token)} is no value; text stands in quotes: '{_printable(token.text[:40])}'.")
        value = _READ[kind](token)
        if value is None:
            self._fail(token, f"{_named(field, key)} is compared with {_RIGHT[kind]}, not {_said(token)}.")
        return value

    def _order(self) -> Order:
        self._need("by")
        token = self._now
        field, key, _ = self._field()
        if field not in ORDERED:
            self._fail(
                token, f"A list is ordered by name, version, created, modified, size, tags.KEY or metrics.KEY, not by {_said(token)}."
            )
        is_descending = self._takes("asc", "desc") == "desc"
        if self._now.text == ",":
            self._fail(self._now, "A list is ordered by one field.")
        return Order(field, key, is_descending=is_descending)


def _parts(condition: Node) -> Sequence[Node]:
    return condition.parts if isinstance(condition, Junction) and condition.word == "and" else [condition]


_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


# --- values ---------------------------------------------------------------------------------------------------------


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote) if quote in "'\"`" else text


def _text(token: _Token) -> str | None:
    return _unquoted(token.text) if token.kind == "text" else None


def _number(token: _Token) -> float | None:
    value = float(token.text) if token.kind == "number" else None
    return value if value is not None and abs(value) < float("inf") else None


def _version(token: _Token) -> str | None:
    return token.text if token.kind == "number" and token.text.isdigit() else _text(token)


def _size(token: _Token) -> float | None:
    from ..settings import parse_size

    try:
        return float(parse_size(_unquoted(token.text))) if token.kind == "text" else _number(token)
    except (InvalidInput, OverflowError):
        return None


def _flag(token: _Token) -> bool | None:
    return {"true": True, "false": False}.get(token.word)


def _time(token: _Token) -> tuple[str, str] | None:
    """Return the first moment of a date and the first one after it, as the catalog writes them."""
    from datetime import UTC, timedelta

    found = _DATE.fullmatch(_unquoted(token.text)) if token.kind in ("text", "date") else None
    if found is None:
        return None
    try:
        start = _moment(found)
        months = start.year * 12 + start.month
        if found["day"] is None:
            end = start.replace(year=months // 12, month=months % 12 + 1) if found["month"] else start.replace(year=start.year + 1)
        else:
            end = start + timedelta(**_STEPS[next(name for name in _STEPS if found[name])])
        return tuple(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0") for moment in (start, end))  # type: ignore[return-value]
    except (ValueError, OverflowError):
        return None


def _moment(found: re.Match[str]) -> Any:
    from datetime import datetime, timedelta, timezone

    zone = found["zone"] or "Z"
    hours, minutes = (0, 0) if zone == "Z" else (int(zone[:3]), int(zone[0] + zone[4:]))
    names = ("year", "month", "day", "hour", "minute", "second")
    first = (1, 1, 1, 0, 0, 0)
    parts = [int(found[name] or usual) for name, usual in zip(names, first, strict=True)]
    fraction = int((found["fraction"] or "")[:6].ljust(6, "0"))
    return datetime(*parts, fraction, tzinfo=timezone(timedelta(hours=hours, minutes=minutes)))  # type: ignore[misc,arg-type]


_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_STEPS = {"fraction": {"microseconds": 1}, "second": {"seconds": 1}, "minute": {"minutes": 1}, "day": {"days": 1}}
_READ: dict[str, Callable[[_Token], Any]] = {
    "text": _text,
    "number": _number,
    "version": _version,
    "size": _size,
    "time": _time,
    "flag": _flag,
}


# --- what is said ---------------------------------------------------------------------------------------------------


def _said(token: _Token) -> str:
    if token.kind == "end":
        return "the end"
    text = _printable(token.text[:40]) + "…" * (len(token.text) > 40)
    return text if token.kind == "text" else f'"{text}"'


def _named(field: str, key: str) -> str:
    return f"{field}.{_printable(key[:40])}{'…' * (len(key) > 40)}" if key else field


def _printable(text: str) -> str:
    """Return a text of the same length that a terminal does not obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _pointed(text: str, place: int, width: int = 76) -> str:
    """Return the text around a place and below it a mark."""
    start = max(0, min(place - width // 2, len(text) - width))
    shown = _printable(text[start : start + width])
    before = shown[: place - start]
    cut = "…" if start else ""
    return f"  {cut}{shown}{'…' if start + width < len(text) else ''}\n  {' ' * len(cut)}{_blanks(before)}^"


def _blanks(text: str) -> str:
    from unicodedata import combining, east_asian_width

    return "".join("" if combining(char) else "\u3000" if east_asian_width(char) in "WF" else " " for char in text)
