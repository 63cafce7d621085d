"""Lists of versions: which index is walked, and pages.

No planner that knows no numbers is asked which index to walk: the shortest of the sets that a comparison names, if it is
short, or else the order that was asked for, from its end. Pages go on behind the last row that was seen, so that the
thousandth costs what the first does.
"""

from __future__ import annotations

from contextlib import contextmanager

from ..entities.model import CreationContext, Model
from ..errors import InvalidInput
from .conditions import COLUMNS, VERSION_KEY, Conditions, Order, Term
from .database import Part, at_one_moment, read_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .conditions import Candidate, Node, Sql

MAX_TERMS = 100
MAX_SEARCH = 1000
FEW = 5000  # so many are sorted in less time than it takes to find them among a million
_MAX_INTEGER = (1 << 63) - 1
LIST_COLUMNS = """
    version.id, model.name, version.version, version.type, version.flavor, version.description, version.stage, version.path,
    version.job_name, version.digest, version.size_bytes, version.metrics, version.is_archived + model.is_archived,
    version.created_at, version.created_by, version.modified_at, version.modified_by
"""
NOT_DELETED = "version.deleted_at IS NULL"


class Page(list[Model]):
    """Models, and what asks for those that come next; None behind the last."""

    next_page: str | None = None


class Search(Part):
    """The catalog's lists of versions."""

    @at_one_moment
    def list_models(
        self,
        *,
        name: str | None = None,
        tags: dict[str, str] | None = None,
        stage: str | None = None,
        search: str | None = None,
        filter: str | None = None,
        max_results: int | None = None,
        page: str | None = None,
        archived: str = "active",
    ) -> Page:
        """Return the latest version of each model, or all versions that fit, the newest first.

        All are searched where ``name`` or ``filter`` is given; :mod:`.filters` has its language. ``archived`` is "active",
        "only" or "all"; a filter that speaks of it wins over "active". A tag with an empty value matches any value.
        ``page`` is the ``next_page`` of an answer to the same question. The models have no files, signature or lineage;
        `get_version` does.

        Raises
        ------
        NotFound
            If ``name`` is given and there is no such model.
        InvalidInput
            If ``max_results`` is below 1, the filter is none, the page is another list's, or more is asked for than a
            database can answer.
        """
        if max_results is not None and max_results < 1:
            raise InvalidInput(f"max_results must be at least 1, not {max_results}.", key="max_results")
        if len(tags or {}) > MAX_TERMS or len(search or "") > MAX_SEARCH:
            raise InvalidInput(f"At most {MAX_TERMS} tags and {MAX_SEARCH} characters of text can be searched for at once.", key="search")
        terms = _terms(self._model_row(name)[0] if name else None, tags or {}, stage, search)
        question = _Question(self._database.engine, terms, filter, archived, is_latest_only=not name and filter is None)
        place = question.place(page) if page is not None else None
        limit = min(max_results or _MAX_INTEGER, _MAX_INTEGER - 1)
        with _no_garbage_collection():
            rows = self._found(question, place, limit)
            page_rows = rows[:limit]
            found = Page(self._models_of(page_rows, is_latest_only=question.is_latest_only))
        found.next_page = question.token(page_rows[-1]) if len(rows) > limit else None
        return found

    def _model_row(self, name: str) -> tuple[int, str]:
        raise NotImplementedError

    def _found(self, question: _Question, place: _Place | None, limit: int) -> list[Any]:
        """Return the rows of a page, and one more if there is one. Ordered by a tag or metric, those without it come last."""
        driver = question.driver(self._counted(question.uncertain))
        if question.is_latest_only and driver is None and self._is_each_asked(limit):
            return self.rows(*question.latest_of_each(place, limit + 1))
        is_behind = question.is_keyed and place is not None and place.value is None
        rows = [] if is_behind else self.rows(*question.query(driver, place, limit + 1))
        if question.has_rest and len(rows) <= limit:
            rows += self.rows(*question.query(driver, place if is_behind else None, limit + 1 - len(rows), is_without=True))
        return rows

    def _counted(self, candidates: list[Candidate]) -> list[int]:
        """Count what each comparison names, no further than `FEW`."""
        if not candidates:
            return []
        counts = [f"(SELECT count(*) FROM ({item.query} LIMIT {FEW}) AS part{number})" for number, item in enumerate(candidates)]  # noqa: S608
        values = [value for item in candidates for value in item.values]
        return list(self._row(f"SELECT {', '.join(counts)}", values))

    def _is_each_asked(self, limit: int) -> bool:
        """Say whether to ask each model for its latest version: all are wanted, or there are few, one perhaps with most versions."""
        return limit > FEW or self._row(f"SELECT count(*) FROM (SELECT 1 FROM model LIMIT {FEW}) AS few")[0] < FEW  # noqa: S608

    def _models_of(self, rows: Sequence[Any], *, is_latest_only: bool) -> list[Model]:
        ids = [row[0] for row in rows]
        tags, latest = self._tags_of(ids), self._latest_of(ids) if is_latest_only else {}
        return [model_of(row[:17], tags.get(row[0], {}), latest.get(row[1])) for row in rows]

    def _tags_of(self, ids: list[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for some in _in_parts(ids):
            marks = ",".join("?" * len(some))
            query = f"SELECT version_id, key, value FROM tag WHERE version_id IN ({marks}) ORDER BY version_id, key"  # noqa: S608
            for version_id, key, value in self.rows(query, some):
                found.setdefault(version_id, {})[key] = value
        return found

    def _latest_of(self, ids: list[int]) -> dict[str, str]:
        """Return the latest version of the models of these versions, archived or not."""
        found: dict[str, str] = {}
        for some in _in_parts(ids):
            query = f"""
                SELECT model.name, (
                    SELECT later.version FROM version AS later WHERE later.model_id = model.id AND later.deleted_at IS NULL
                    ORDER BY later.id DESC LIMIT 1
                ) FROM version JOIN model ON model.id = version.model_id WHERE version.id IN ({",".join("?" * len(some))})
            """  # noqa: S608
            found.update((name, version) for name, version in self.rows(query, some))
        return found


def _terms(model_id: int | None, tags: dict[str, str], stage: str | None, search: str | None) -> list[Node]:
    """Return what the flags ask."""
    terms: list[Node] = [Term("model_id", "=", [model_id])] if model_id is not None else []
    for key, value in tags.items():
        terms.append(Term("tags", "=", [value], key=key) if value else Term("tags", "null", key=key, is_negative=True))
    terms += [Term("stage", "=", [stage])] if stage else []
    return [*terms, *([Term("search", "=", [search])] if search else [])]


class _Place:
    """The last row that was seen: what it is sorted by and its id."""

    __slots__ = ("id", "value")

    def __init__(self, value: Any, version_id: int) -> None:
        self.value, self.id = value, version_id


class _Question:
    """What is asked, as SQL."""

    def __init__(self, engine: str, terms: list[Node], text: str | None, archived: str, *, is_latest_only: bool) -> None:
        from zlib import crc32

        asked = ([(term.field, term.key, term.values) for term in terms if isinstance(term, Term)], text, archived)
        self._check = crc32(repr(asked).encode())  # against a mistake, not against anyone
        self.is_latest_only = is_latest_only
        self._parts, self._order = list(terms), Order()
        if text is not None:
            archived = self._read(text, archived)
        if archived != "all":
            self._parts.append(Term("archived", "=", [archived == "only"]))
        self._conditions = Conditions(engine, self._order)
        self.is_keyed = self._order.field in _TABLES
        self.has_rest = self.is_keyed and not any(map(self._conditions.needs_sorted, self._parts))
        self._candidates = [item for item in map(self._conditions.candidate, self._parts) if item]

    def _read(self, text: str, archived: str) -> str:
        """Read a filter; it may be what says whether archived versions are meant."""
        from .filters import parse_filter

        read = parse_filter(text)
        self._parts += read.parts
        self._order = read.order
        return "all" if archived == "active" and any(term.field == "archived" for term in read.terms) else archived

    # --- which index ----------------------------------------------------------------------------------------------

    @property
    def uncertain(self) -> list[Candidate]:
        """The sets of which to know how many they are; none where one set is walked from its newest in any case."""
        only = len(self._candidates) == 1 and self._candidates[0].is_newest_first and not self._order.field
        return [] if only else self._candidates

    def driver(self, counts: list[int]) -> Candidate | None:
        """Return the set to start from; None to walk the order that was asked for."""
        least = min(counts, default=FEW)
        if least < FEW:
            return self._candidates[counts.index(least)]
        if self._order.field:
            return None
        return next((item for item in self._candidates if item.is_newest_first), None)

    # --- queries --------------------------------------------------------------------------------------------------

    def query(self, driver: Candidate | None, place: _Place | None, limit: int, *, is_without: bool = False) -> Sql:
        """Return the query of a page; `is_without` asks for those that lack the tag or metric that sorts."""
        is_sorted = self.is_keyed and not is_without
        source, joined, row_id = self._source(driver, is_sorted=is_sorted)
        where, values = self._conditions.all_of(self._parts, is_sorted=is_sorted)
        before = [*(driver.values if driver else []), *([self._order.key] if is_sorted else [])]
        if is_without:
            where += f" AND NOT EXISTS (SELECT 1 FROM {_TABLES[self._order.field]} WHERE version_id = version.id AND key = ?)"  # noqa: S608
            values.append(self._order.key)
        if self.is_latest_only:
            later, more = self._conditions.all_of(self._parts, "later")
            where += f" AND NOT EXISTS (SELECT 1 FROM version AS later WHERE later.model_id = version.model_id AND later.id > version.id AND {later})"  # noqa: S608
            values += more
        sort = self._sort if self._order.field and not is_without else ""
        onward, seen = self._onward(sort, row_id, place)
        down = " DESC" * self._order.is_descending
        by = f"{sort}{down}, {row_id}{down}" if sort else f"{row_id}{down}"
        text = f"SELECT {LIST_COLUMNS}, {sort or 'NULL'} FROM {source} WHERE {joined} AND {where}{onward} ORDER BY {by} LIMIT ?"  # noqa: S608
        return text, [*before, *values, *seen, limit]

    def latest_of_each(self, place: _Place | None, limit: int) -> Sql:
        """Return the query that asks each model for the latest version that fits.

        So that archiving version 3 shows version 2 and not nothing.
        """
        later, values = self._conditions.all_of(self._parts, "later")
        onward, seen = self._onward("", "version.id", place)
        text = f"""
            SELECT {LIST_COLUMNS}, NULL FROM model CROSS JOIN version WHERE version.id = (
                SELECT later.id FROM version AS later WHERE later.model_id = model.id AND {later} ORDER BY later.id DESC LIMIT 1
            ){onward} ORDER BY version.id DESC LIMIT ?
        """  # noqa: S608
        return text, [*values, *seen, limit]

    def _source(self, driver: Candidate | None, *, is_sorted: bool) -> tuple[str, str, str]:
        """Return the tables in the order in which they are read (SQLite keeps to that of CROSS JOIN), what joins them, and whose id sorts."""
        tables, joined = ["version", "model"], ["model.id = version.model_id"]
        row_id = "version.id"
        if is_sorted:
            joined = ["sorted.key = ?", "sorted.version_id = version.id", *joined]
            tables = (
                [*tables, f"{_TABLES[self._order.field]} AS sorted"] if driver else [f"{_TABLES[self._order.field]} AS sorted", *tables]
            )
            row_id = "sorted.version_id"
        if driver:
            tables, joined = [f"({driver.query}) AS found", *tables], [*joined, "version.id = found.id"]
            row_id = row_id if is_sorted else "found.id"
        elif self._order.field == "name":
            tables = ["model", "version"]
        return " CROSS JOIN ".join(tables), " AND ".join(joined), row_id

    @property
    def _sort(self) -> str:
        if self.is_keyed:
            return "sorted.value"
        return (VERSION_KEY if self._order.field == "version" else COLUMNS[self._order.field]).format("version")

    def _onward(self, sort: str, row_id: str, place: _Place | None) -> Sql:
        """Return that a row comes behind the last one that was seen."""
        sign = "<" if self._order.is_descending else ">"
        if place is None:
            return "", []
        if not sort:
            return f" AND {row_id} {sign} ?", [place.id]
        if self._order.field == "name":  # two tables: SQLite finds the place in an index by the first alone
            return f" AND {sort} {sign}= ? AND ({sort}, {row_id}) {sign} (?, ?)", [place.value, place.value, place.id]
        return f" AND ({sort}, {row_id}) {sign} (?, ?)", [place.value, place.id]

    # --- pages ----------------------------------------------------------------------------------------------------

    def token(self, row: Any) -> str:
        """Return the text that asks for what comes behind a row."""
        import json
        from binascii import b2a_base64

        packed = json.dumps([self._check, row[17], row[0]], separators=(",", ":")).encode()
        return b2a_base64(packed, newline=False).decode().rstrip("=").translate(_TO_URL)

    def place(self, token: str) -> _Place:
        """Read a token.

        Raises
        ------
        InvalidInput
            If it is none, or of another question.
        """
        import json
        from binascii import a2b_base64

        try:
            check, value, version_id = json.loads(a2b_base64(f"{token.translate(_FROM_URL)}==".encode("ascii")))
        except (ValueError, TypeError, RecursionError):
            raise self._foreign(token) from None
        kinds = _KINDS.get(self._order.field, (type(None),))
        if (
            check != self._check
            or type(version_id) is not int
            or abs(version_id) > _MAX_INTEGER
            or type(value) not in kinds
            or not _is_bindable(value)
        ):
            raise self._foreign(token)
        return _Place(value, version_id)

    def _foreign(self, token: str) -> InvalidInput:
        shown = "".join(char if char.isprintable() else "?" for char in token[:40])
        return InvalidInput(
            f'"{shown}{"…" if len(token) > 40 else ""}" is no page of this list. Ask with the same options as before and the page that was named then.',
            key="page",
        )


_TABLES = {"tags": "tag", "metrics": "metric"}
# What a page's token holds of the row it stands behind.
_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "version": (str,),
    "created": (str,),
    "modified": (str,),
    "size": (int,),
    "tags": (str, type(None)),
    "metrics": (int, float, type(None)),
}
_TO_URL = str.maketrans("+/", "-_")
_FROM_URL = str.maketrans("-_", "+/")


def _is_bindable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    return not isinstance(value, int) or abs(value) <= _MAX_INTEGER


def _in_parts(ids: list[int]) -> Iterator[list[int]]:
    """Give ids in parts that a query can name."""
    for start in range(0, len(ids), 900):
        yield ids[start : start + 900]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Put off the search for garbage: a long list is none, and in a large process searching takes longer than listing."""
    import gc

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def model_of(row: tuple[Any, ...], tags: dict[str, str], latest: str | None = None) -> Model:
    """Return the model of a row of `LIST_COLUMNS`."""
    (_, name, version, kind, flavor, description, stage, path, job, digest, size, metrics, is_archived, made, by, changed, changer) = row
    numbers: dict[str, float] = {}
    if metrics != "{}":
        numbers = read_json(metrics, f"{name}:{version}")
    context = {"created_at": made, "created_by": by, "last_modified_at": changed, "last_modified_by": changer}
    return Model.trusted(
        {
            "name": name,
            "version": version,
            "type": kind,
            "flavor": flavor,
            "description": description,
            "stage": stage,
            "path": path,
            "job_name": job,
            "digest": digest,
            "size_bytes": size,
            "metrics": numbers,
            "tags": tags,
            "properties": {},
            "flavors": {},
            "is_archived": bool(is_archived),
            "latest_version": latest,
            "id": f"azureml://models/{name}/versions/{version}",
            "creation_context": CreationContext.trusted(context),
        }
    )
