"""What is asked of a version: a tree of comparisons, and what it means to either database.

A condition is a question to one version and is kept from choosing an index (``coalesce`` sees to it); a candidate is the
set of versions that one comparison names, read from an index. Every value is bound. A comparison with what is not there
is false, so that ``not`` turns it round.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias, TypeGuard

    Node: TypeAlias = "Term | Junction | Negation"
    Sql: TypeAlias = tuple[str, list[Any]]

KEYED = {"tags": "text", "metrics": "number", "properties": "text"}
COLUMNS = {
    "name": "model.name",
    "version": "{0}.version",
    "type": "{0}.type",
    "flavor": "{0}.flavor",
    "stage": "{0}.stage",
    "description": "{0}.description",
    "job_name": "{0}.job_name",
    "digest": "{0}.digest",
    "size": "{0}.size_bytes",
    "created": "{0}.created_at",
    "modified": "{0}.modified_at",
    "created_by": "{0}.created_by",
    "modified_by": "{0}.modified_by",
}
# Sorts 2 before 10 and both before text. No version has as many digits as there are zeros.
VERSION_KEY = (
    "CASE WHEN ltrim({0}.version, '0123456789') = '' THEN substr('00000000000000000000', 1, 20 - length({0}.version)) || {0}.version "
    "ELSE ':' || {0}.version END"
)
_TABLES = {"tags": "tag", "metrics": "metric"}
_PROPERTIES = {True: "json_each({0}.properties)", False: "json_each_text(CAST({0}.properties AS json))"}  # SQLite, PostgreSQL
# Not a sum, of which PostgreSQL would think that it is rarely 0.
_ARCHIVED = {False: "({0}.is_archived = 0 AND model.is_archived = 0)", True: "({0}.is_archived > 0 OR model.is_archived > 0)"}
_INDEXED = ("stage", "digest", "created")
_SEARCH = """(
    lower(model.name) LIKE ? ESCAPE '\\' OR lower({0}.description) LIKE ? ESCAPE '\\' OR lower({0}.stage) LIKE ? ESCAPE '\\'
    OR EXISTS (SELECT 1 FROM tag WHERE version_id = {0}.id AND lower(key || '=' || value) LIKE ? ESCAPE '\\')
)"""


class Term:
    """One comparison of a field: =, !=, <, <=, >, >=, like, ilike, in or null.

    ``key`` is that of a tag, a metric or a property. A time's value is a pair: its first moment and the first one after it.
    Two fields that only flags have: ``model_id``, and ``search`` for text anywhere.
    """

    __slots__ = ("field", "is_negative", "key", "operator", "values")

    def __init__(self, field: str, operator: str, values: Sequence[Any] = (), *, key: str = "", is_negative: bool = False) -> None:
        self.field, self.operator, self.values, self.key, self.is_negative = field, operator, values, key, is_negative


class Junction:
    """Parts that all hold ("and"), or of which one does ("or")."""

    __slots__ = ("parts", "word")

    def __init__(self, word: str, parts: Sequence[Node]) -> None:
        self.word, self.parts = word, parts


class Negation:
    """What does not hold."""

    __slots__ = ("part",)

    def __init__(self, part: Node) -> None:
        self.part = part


class Order:
    """What a list is sorted by; where the field is empty, by when it was registered."""

    __slots__ = ("field", "is_descending", "key")

    def __init__(self, field: str = "", key: str = "", *, is_descending: bool = True) -> None:
        self.field, self.key, self.is_descending = field, key, is_descending


class Candidate:
    """The versions that one comparison names: a query for their ``id``, and whether its index gives the newest first."""

    __slots__ = ("is_newest_first", "query", "values")

    def __init__(self, query: str, values: list[Any], *, is_newest_first: bool = False) -> None:
        self.query, self.values, self.is_newest_first = query, values, is_newest_first


class Conditions:
    """Makes SQL of terms for one engine; what a list is ordered by may use its index."""

    def __init__(self, engine: str, order: Order) -> None:
        self._is_sqlite = engine == "sqlite"
        self._order = order

    def all_of(self, parts: Sequence[Node], version: str = "version", *, is_sorted: bool = False) -> Sql:
        """Return that all parts hold, of the row that `version` names, and that it was not deleted.

        With `is_sorted` the table ``sorted`` has the tag or metric that the list is ordered by.
        """
        made = [
            self._compared("sorted.value", part, version) if is_sorted and self.needs_sorted(part) else self._of(part, version)
            for part in parts
        ]
        return " AND ".join([f"{version}.deleted_at IS NULL", *(text for text, _ in made)]), [value for _, given in made for value in given]

    def needs_sorted(self, part: Node) -> TypeGuard[Term]:
        """Say whether a part compares the tag or metric that the list is ordered by, so that none without it fits."""
        if not isinstance(part, Term) or part.operator == "null":
            return False
        return part.field in _TABLES and (part.field, part.key) == (self._order.field, self._order.key)

    def _of(self, node: Node, version: str) -> Sql:
        if isinstance(node, Term):
            return self._term(node, version)
        if isinstance(node, Negation):
            text, values = self._of(node.part, version)
            return f"NOT {text}", values  # it binds looser than any comparison
        made = [self._of(part, version) for part in node.parts]
        return f"({f' {node.word.upper()} '.join(text for text, _ in made)})", [value for _, given in made for value in given]

    def _term(self, term: Term, version: str) -> Sql:
        if term.field == "model_id":
            return f"{version}.model_id = ?", list(term.values)
        if term.field == "search":
            return _SEARCH.format(version), [f"%{_escaped(_folded(term.values[0]))}%"] * 4
        if term.field in KEYED:
            return self._keyed(term, version)
        if term.field == "archived":
            return _ARCHIVED[term.values[0] is (term.operator == "=")].format(version), []
        column = COLUMNS[term.field].format(version)
        if term.operator == "null":
            return f"{column} IS {'NOT ' * term.is_negative}NULL", []
        text, values = self._compared(column, term, version)
        return (text if term.field == self._order.field else f"coalesce({text}, FALSE)"), values

    def _keyed(self, term: Term, version: str) -> Sql:
        if term.field == "properties":
            found = f"SELECT 1 FROM {_PROPERTIES[self._is_sqlite].format(version)} AS property WHERE property.key = ?"  # noqa: S608 - ours
            value = "property.value" if self._is_sqlite else 'property.value COLLATE "C"'
        else:
            found, value = f"SELECT 1 FROM {_TABLES[term.field]} WHERE version_id = {version}.id AND key = ?", "value"  # noqa: S608 - ours
        if term.operator == "null":
            return f"{'' if term.is_negative else 'NOT '}EXISTS ({found})", [term.key]
        text, values = self._compared(value, term, version)
        return f"coalesce(EXISTS ({found} AND {text}), FALSE)", [term.key, *values]  # else PostgreSQL makes a join of it and sorts

    def _compared(self, column: str, term: Term, version: str) -> Sql:
        text, values = self._plain(column, term, version)
        return (f"NOT ({text})" if term.is_negative else f"({text})"), values

    def _plain(self, column: str, term: Term, version: str) -> Sql:
        if term.field in ("created", "modified"):
            made = [_time(column, "=" if term.operator == "in" else term.operator, *value) for value in term.values]
            return " OR ".join(text for text, _ in made), [value for _, given in made for value in given]
        if term.operator == "in":
            return f"{column} IN ({', '.join('?' * len(term.values))})", list(term.values)
        if term.operator in ("like", "ilike"):
            return self._like(column, term.values[0], is_folded=term.operator == "ilike")
        if term.field == "version" and term.operator in ("<", "<=", ">", ">="):
            return f"{VERSION_KEY.format(version)} {term.operator} ?", [version_key(term.values[0])]
        return f"{column} {term.operator} ?", list(term.values)

    def _like(self, column: str, pattern: str, *, is_folded: bool) -> Sql:
        parts = _pattern(pattern)
        if is_folded:
            return f"lower({column}) LIKE ? ESCAPE '\\'", [_folded(_as_like(parts))]
        if parts[-1:] == [_ANY] and not {_ANY, _ONE} & set(parts[:-1]):
            prefix = "".join(parts[:-1])
            behind = _behind(prefix)
            return (f"{column} >= ? AND {column} < ?", [prefix, behind]) if behind else (f"{column} >= ?", [prefix])
        if self._is_sqlite:  # its LIKE takes A for a
            return f"{column} GLOB ?", [_as_glob(parts)]
        return f"{column} LIKE ? ESCAPE '\\'", [_as_like(parts)]

    def candidate(self, term: Node) -> Candidate | None:
        """Return the versions that a comparison names, if an index has them and it says what is there, not what is not."""
        if not isinstance(term, Term) or term.operator == "!=" or term.is_negative is not (term.operator == "null"):
            return None
        return self._candidate(term)

    def _candidate(self, term: Term) -> Candidate | None:
        is_equal = term.operator == "="
        if term.field == "model_id":
            return Candidate("SELECT id FROM version WHERE model_id = ?", list(term.values), is_newest_first=True)
        if term.field in _TABLES:
            text, values = self._compared("value", term, "") if term.operator != "null" else ("", [])
            if is_equal and term.field == "tags" and not self._is_sqlite:
                text, values = "substr(value, 1, 256) = ?", [values[0][:256]]  # as that index has it; the condition compares the rest
            query = f"SELECT version_id AS id FROM {_TABLES[term.field]} WHERE key = ?{' AND ' * bool(text)}{text}"  # noqa: S608
            return Candidate(query, [term.key, *values], is_newest_first=is_equal)
        if term.operator == "null" or term.field not in (*_INDEXED, "name"):
            return None
        text, values = self._compared(COLUMNS[term.field].format("version"), term, "version")
        source = "model CROSS JOIN version" if term.field == "name" else "version"
        joined = "version.model_id = model.id AND " if term.field == "name" else ""
        is_newest_first = is_equal and term.field in ("stage", "digest")
        return Candidate(f"SELECT version.id AS id FROM {source} WHERE {joined}{text}", values, is_newest_first=is_newest_first)  # noqa: S608


def version_key(version: str) -> str:
    """Return what a version is sorted by; see `VERSION_KEY`."""
    return version.rjust(20, "0") if version.isascii() and version.isdigit() else f":{version}"


def _time(column: str, operator: str, start: str, end: str) -> Sql:
    if operator in ("=", "!="):
        return (f"{column} >= ? AND {column} < ?" if operator == "=" else f"{column} < ? OR {column} >= ?"), [start, end]
    sign, moment = {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}[operator]
    return f"{column} {sign} ?", [moment]


# --- patterns -------------------------------------------------------------------------------------------------------

# No text of a filter holds a zero byte.
_ANY, _ONE = "\0%", "\0_"


def _pattern(text: str) -> list[str]:
    """Split a pattern into signs; those that stand for others are `_ANY` and `_ONE`, and a backslash takes that from them."""
    parts, is_escaped = [], False
    for char in text:
        if is_escaped or char not in "%_\\":
            parts.append(char)
            is_escaped = False
        elif char == "\\":
            is_escaped = True
        elif char == "_" or parts[-1:] != [_ANY]:  # two % are one
            parts.append(_ONE if char == "_" else _ANY)
    return [*parts, *["\\"] * is_escaped]


def _as_like(parts: list[str]) -> str:
    return "".join("%" if part == _ANY else "_" if part == _ONE else _escaped(part) for part in parts)


def _as_glob(parts: list[str]) -> str:
    return "".join("*" if part == _ANY else "?" if part == _ONE else f"[{part}]" if part in "*?[" else part for part in parts)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _folded(text: str) -> str:
    """Return a text in lower case as both databases know it: A to Z."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def _behind(prefix: str) -> str:
    """Return the least text that is greater than all that begin so; empty where there is none."""
    for number in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[number]) + 1
        if code <= 0x10FFFF:
            return prefix[:number] + chr(0xE000 if code == 0xD800 else code)  # halves of characters are none
    return ""
