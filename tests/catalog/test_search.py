"""The language of --filter, what it finds, and pages; on both databases, against a plain reading of the same tree in Python."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_modelreg.catalog import Catalog, open_catalog
from jupyter_modelreg.catalog.conditions import Junction, Negation, Term, version_key
from jupyter_modelreg.catalog.filters import FIELDS, MAX_TERMS, parse_filter
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import InvalidInput, NotFound

from .conftest import create

DAYS = ("2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A small catalog that no test here writes, of odd names and values."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_url()
    else:
        url = str(tmp_path_factory.mktemp("search") / "catalog.sqlite")
    made = open_catalog(url)
    for number, values in enumerate(VERSIONS):
        create(made, content=f"content {number % 5}", **values)
    made.set_archived("b", "1", True)
    made.set_archived("old", None, True)
    create(made, "gone", tags={"stage": "prod"}, metrics={"auc": 0.99})
    made.delete_model("gone")
    with made._database.writing() as transaction:
        for number in range(1, len(VERSIONS) + 1):
            moment = f"{DAYS[number % 4]}T{number % 24:02d}:00:00.000001Z"
            query = "UPDATE version SET created_at = ?, modified_at = ?, size_bytes = ? WHERE id = ?"
            transaction.execute(query, (moment, moment, number % 3 * 250_000_000, number))
    return made


VERSIONS: list[dict[str, Any]] = [
    {"name": "churn", "tags": {"stage": "dev", "team": "x"}, "metrics": {"auc": 0.5}, "description": "Who leaves"},
    {"name": "churn", "tags": {"stage": "prod", "team": "x"}, "metrics": {"auc": 0.91}, "stage": "Production"},
    {"name": "churn", "tags": {"stage": "prod"}, "metrics": {"auc": 0.95, "loss": -0.25}, "properties": {"a b": "it's", '"': "quote"}},
    {"name": "churn-eu", "tags": {"stage": "dev", "a b": "1"}, "metrics": {"auc": float("nan")}, "properties": {"p": "1"}},
    {"name": "churn_us", "version": "final", "tags": {"stage": "100%", "x": "a_b", "y": "Größe"}, "metrics": {"auc": float("inf")}},
    {"name": "a", "version": "2", "tags": {"stage": "PROD", "it's": "' OR 1=1--"}, "description": "100% [sure]*?\\"},
    {"name": "a", "version": "10", "tags": {"stage": "Prod"}, "type": "mlflow_model", "flavor": "sklearn", "job_name": "run-1"},
    {"name": "a", "version": "007", "tags": {}, "metrics": {"auc": 0.91}},
    {"name": "b", "tags": {"stage": "prod", "team": "y"}, "metrics": {"auc": 0.1}},
    {"name": "b", "tags": {"stage": "prod", "team": "y"}, "metrics": {"auc": 0.2}, "stage": "Development"},
    {"name": "old", "tags": {"stage": "prod"}, "metrics": {"auc": 0.97}},
]


def found(catalog: Catalog, text: str, **values: Any) -> list[str]:
    return [f"{item.name}:{item.version}" for item in catalog.list_models(filter=text, **values)]


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tags.stage = 'prod' and metrics.auc > 0.9 and name like 'churn%' order by created desc", ["churn:3", "churn:2"]),
        ("name = 'churn'", ["churn:3", "churn:2", "churn:1"]),
        ("NAME LIKE 'churn_%' AND NOT Tags.stage IS NULL", ["churn_us:final", "churn-eu:1"]),
        (r"name like 'churn\_%'", ["churn_us:final"]),
        ("tags.stage like 'PROD'", ["a:2"]),
        ("tags.stage ilike 'prod'", ["b:2", "a:10", "a:2", "churn:3", "churn:2"]),
        ("tags.stage not like 'prod'", ["a:10", "a:2", "churn_us:final", "churn-eu:1", "churn:1"]),
        (r"tags.stage = '100%' or tags.stage like '100\%'", ["churn_us:final"]),
        ("tags.y ilike 'größe'", ["churn_us:final"]),
        ("tags.\"a b\" = '1'", ["churn-eu:1"]),
        ("tags.`a b` = '1'", ["churn-eu:1"]),
        ("tag.'it''s' = ''' OR 1=1--'", ["a:2"]),
        ("tags.team in ('x', \"y\")", ["b:2", "churn:2", "churn:1"]),
        ("tags.stage not in ('prod', 'dev')", ["a:10", "a:2", "churn_us:final"]),
        ("tags.stage is null", ["a:007"]),
        ("tags.team is not null", ["b:2", "churn:2", "churn:1"]),
        ("tags.team != 'x'", ["b:2"]),
        ("not tags.team = 'x' and name = 'churn'", ["churn:3"]),
        ("metrics.auc is null", ["a:10", "a:2", "churn-eu:1"]),
        ("metrics.loss <= -2.5e-1", ["churn:3"]),
        ("metrics.auc > 1e300", ["churn_us:final"]),
        ("metrics.auc in (.5, +0.95)", ["churn:3", "churn:1"]),
        ("properties.\"a b\" = 'it''s'", ["churn:3"]),
        ("properties.'\"' like 'q%'", ["churn:3"]),
        ("property.p is not null", ["churn-eu:1"]),
        ("stage = 'Production' or stage is null and name = 'b'", ["churn:2"]),
        ("stage != 'Production'", ["b:2"]),
        ("description like '%[sure]*?\\\\'", ["a:2"]),
        ("version >= 7 and name = 'a'", ["a:007", "a:10"]),
        ("version_number = 2", ["b:2", "a:2", "churn:2"]),
        ("version > 3", ["a:007", "a:10", "churn_us:final"]),
        ("version in ('final', 10)", ["a:10", "churn_us:final"]),
        ("type = 'mlflow_model' and flavor = 'sklearn' and job_name = 'run-1' and attribute.name = 'a'", ["a:10"]),
        ("size > '400 MB'", ["a:007", "churn_us:final", "churn:2"]),
        ("size = 250000000", ["b:2", "a:10", "churn-eu:1", "churn:1"]),
        ("created = '2026-11' and name = 'churn'", ["churn:2", "churn:1"]),
        ("created = 2026-11-30", ["b:2", "a:2", "churn:2"]),
        ("created > '2026-11'", ["a:10", "churn:3"]),
        ("created < 2026-11", ["a:007", "churn-eu:1"]),
        ("created <= '2026-11-01T01:00:00'", ["a:007", "churn-eu:1", "churn:1"]),
        ("modified = '2026-11-01T03:00:00+02:00'", ["churn:1"]),
        ("created_at in ('2026-12', '2026-10')", ["a:007", "a:10", "churn-eu:1", "churn:3"]),
        ("created_by = 'ada' and name = 'a' and modified_by = 'ada'", ["a:007", "a:10", "a:2"]),
        ("archived = true", ["old:1", "b:1"]),
        ("archived != FALSE and name = 'b'", ["b:1"]),
        ("is_archived = false and name = 'b'", ["b:2"]),
        ("name > 'churn' and name < 'd'", ["churn_us:final", "churn-eu:1"]),
        ("not not (((name = 'b')))", ["b:2"]),
        ("name = '\N{GRINNING FACE}'", []),
        ("digest like '636f6e74656e742030%' and name = 'churn'", ["churn:1"]),
    ],
)
def test_a_filter_finds_what_it_says(catalog: Catalog, text: str, names: list[str]) -> None:
    assert found(catalog, text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name = 'a' order by version", ["a:2", "a:007", "a:10"]),
        ("name = 'a' order by version desc", ["a:10", "a:007", "a:2"]),
        ("name in ('b', 'churn_us') order by name asc", ["b:2", "churn_us:final"]),
        ("name = 'churn' order by size desc", ["churn:2", "churn:1", "churn:3"]),
        ("name = 'churn' order by created", ["churn:1", "churn:2", "churn:3"]),
        ("order by metrics.auc desc", ["churn_us:final", "churn:3", "a:007", "churn:2", "churn:1", "b:2", "a:10", "a:2", "churn-eu:1"]),
        ("metrics.auc < 0.95 order by metrics.auc", ["b:2", "churn:1", "churn:2", "a:007"]),
        ("name like 'churn%' order by tags.team", ["churn:1", "churn:2", "churn:3", "churn-eu:1", "churn_us:final"]),
    ],
)
def test_a_list_is_ordered_and_what_lacks_the_value_comes_last(catalog: Catalog, text: str, names: list[str]) -> None:
    assert found(catalog, text) == names


def test_a_filter_works_together_with_flags(catalog: Catalog) -> None:
    assert found(catalog, "metrics.auc > 0.9", name="churn") == ["churn:3", "churn:2"]
    assert found(catalog, "metrics.auc > 0.9", tags={"team": "x"}) == ["churn:2"]
    assert found(catalog, "metrics.auc > 0.9", stage="Production") == ["churn:2"]
    assert found(catalog, "tags.stage = 'dev'", search="LEAVES") == ["churn:1"]
    assert found(catalog, "name = 'b'", archived="all") == ["b:2", "b:1"]
    assert found(catalog, "archived = false", archived="only") == []
    with pytest.raises(NotFound):
        found(catalog, "version = 1", name="nobody")


def test_text_is_found_in_any_case_on_both_databases(catalog: Catalog) -> None:
    assert [item.name for item in catalog.list_models(search="TEAM=Y")] == ["b"]
    assert [item.name for item in catalog.list_models(search="WHO leaves")] == ["churn"]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("stge = 'x'", 'There is no field "stge". Did you mean "stage"?', 1),
        ("name = 'x' and metrik.auc > 1", 'There is no field "metrik.auc". Did you mean "metrics.auc"?', 16),
        ("name.x = 'x'", 'There is no field "name.x".', 1),
        ("tags = 'x'", "tags needs a key: tags.KEY", 1),
        ("name = 'x", "The text that begins here has no closing '", 8),
        ('name = "x', 'The text that begins here has no closing "', 8),
        ("tags.`a = 'x'", '"." means nothing here', 5),
        ("name = prod", "\"prod\" is no value; text stands in quotes: 'prod'", 8),
        ("name = ‘prod’", "‘ is a typographic quote; write '", 8),
        ("metrics.auc = 'x'", "metrics.auc is compared with a number, not 'x'.", 15),
        ("metrics.auc > nan", '"nan" is no value', 15),
        ("metrics.auc > 1e999", 'metrics.auc is compared with a number, not "1e999".', 15),
        ("metrics.auc like 'x'", "like compares text; metrics.auc is compared with a number.", 13),
        ("tags.build = 7", "tags.build is compared with text in quotes, such as 'prod', not \"7\".", 14),
        ("version > 3.5", "version is compared with a version, such as 3 or 'final', not \"3.5\".", 11),
        ("size > '5 fish'", "size is compared with a number of bytes or a size such as '500 MB', not '5 fish'.", 8),
        (f"size > '{'9' * 400} GB'", "size is compared with a number of bytes", 8),
        ("tags.'\x1b[31m\n' = 7", "tags.\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER} is compared with text", 17),
        ("metrics.'\x07' like 'x'", "like compares text; metrics.\N{REPLACEMENT CHARACTER} is compared with a number.", 13),
        ("size > 500 MB", '"MB" cannot stand here; and, or, order by or the end would be right.', 12),
        ("created > '2026-13'", "created is compared with a date such as '2026-11-25', not '2026-13'.", 11),
        ("created > 9", "created is compared with a date", 11),
        ("archived > true", "archived is true or false; only = and != would be right.", 10),
        ("archived is null", "archived is true or false, never null; only = and != would be right.", 10),
        ("archived is not null", "archived is true or false, never null", 10),
        ("archived = 1", 'archived is compared with true or false, not "1".', 12),
        ("stage = true", "stage is compared with text in quotes, such as 'prod', not \"true\".", 9),
        ("name", "=, !=, <, <=, >, >=, like, in or is null would be right here, not the end.", 5),
        ("name ~ 'x'", '"~" means nothing here; text stands in quotes.', 6),
        ("name not = 'x'", 'like or in would be right here, not "=".', 10),
        ("name is 'x'", "null would be right here, not 'x'.", 9),
        ("name in 'x'", "( would be right here, not 'x'.", 9),
        ("name in ()", "name is compared with text in quotes, such as 'prod', not \")\".", 10),
        ("name in ('x'", ") would be right here, not the end.", 13),
        ("(name = 'x'", ") would be right here, not the end.", 12),
        ("name = 'x')", '")" cannot stand here', 11),
        ("name = 'x' name = 'y'", '"name" cannot stand here', 12),
        ("name = 'x' and", "A field would be right here, such as name or tags.stage, not the end.", 15),
        ("and name = 'x'", 'There is no field "and".', 1),
        ("' OR 1=1--", "The text that begins here has no closing '", 1),
        ("name = '' OR 1=1", 'A field would be right here, such as name or tags.stage, not "1".', 14),
        ("name = '' OR 1=1--", '"-" means nothing here', 17),
        ("name = 'x'; drop table model", '";" means nothing here', 11),
        ("order by created; drop table model", '";" means nothing here', 17),
        ("order by 1", "A field would be right here", 10),
        ("order by (select 1)", "A field would be right here", 10),
        ("order by stage", 'A list is ordered by name, version, created, modified, size, tags.KEY or metrics.KEY, not by "stage".', 10),
        ("order by name, version", "A list is ordered by one field.", 14),
        ("order name", 'by would be right here, not "name".', 7),
        ("(a+)+$", '"+" means nothing here', 3),
        ("name = 'a\0b'", "This is a sign that no text of a catalog has.", 10),
        ("name = '\ud800'", "This is a sign that no text of a catalog has.", 9),
        ("name \x1b[31m= 'x'", '"\N{REPLACEMENT CHARACTER}" means nothing here', 6),
        ("name = 'x' " + "(" * 60, "A field would be right here", None),
        (f"name = '{'x' * 1001}'", "A text is at most 1000 characters long.", 8),
    ],
)
def test_a_mistake_is_one_line_that_points_at_the_place(text: str, message: str, place: int | None) -> None:
    if "(" * 60 in text:
        message, place = '"(" cannot stand here', 12
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text)
    said, detail = caught.value.message, caught.value.detail
    assert said.startswith(message)
    assert said.endswith(f"(--filter, character {place})")
    assert "\n" not in said
    assert said.isprintable()
    shown, mark = detail.split("\n")
    assert shown.isprintable()
    assert place is not None
    if len(text) < 70:
        assert mark.index("^") == place + 1
        assert shown[2:] == "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def test_the_mark_stands_below_its_place_in_a_long_filter_and_behind_wide_signs() -> None:
    text = " and ".join(f"tags.key{number} = 'value'" for number in range(40)) + " and nmae = 'x' and " + "name = 'x'" * 20
    detail = _mistake(text).detail.split("\n")
    assert detail[0][detail[1].index("^") :].startswith("nmae")
    assert max(map(len, detail)) < 82
    shown, mark = _mistake("name = '模型' and x = 1").detail.split("\n")
    assert mark[mark.index("^") - 1] == " "
    assert mark.count("\u3000") == 2
    assert len(mark) == shown.index("x") + 1


def _mistake(text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text)
    return caught.value


@pytest.mark.parametrize("text", ["x" * 1_000_000, "x." + "y" * 1_000_000, "tags." + "k" * 1_000_000 + " = 7", "name = " + "x" * 1_000_000])
def test_a_very_long_mistake_is_a_short_message_at_once(text: str) -> None:
    start = time.perf_counter()
    error = _mistake(text)
    assert len(error.message + error.detail) < 600
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_an_empty_filter_is_refused_since_an_unset_variable_must_not_mean_all(catalog: Catalog, text: str) -> None:
    with pytest.raises(InvalidInput, match="The filter is empty; leave it out"):
        catalog.list_models(filter=text)


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["name = 'x'"] * 10_000),
        "name in (" + ", ".join(["'x'"] * 10_000) + ")",
        " and ".join(["name in (" + ", ".join(["'x'"] * 10) + ")"] * 11),
    ],
)
def test_more_terms_than_a_hundred_are_refused(text: str) -> None:
    assert f"A filter has at most {MAX_TERMS} comparisons." in _mistake(text).message


def test_a_hundred_terms_are_answered(catalog: Catalog) -> None:
    for word in ("and", "or"):
        assert found(catalog, f" {word} ".join(["(name = 'b' or not tags.stage = 'prod')"] * 50))


@pytest.mark.parametrize("depth", [21, 100_000])
def test_parentheses_inside_one_another_end_somewhere(depth: int) -> None:
    assert "At most 20 parentheses" in _mistake("(" * depth + "name = 'x'" + ")" * depth).message


def test_no_number_of_nots_is_too_much(catalog: Catalog) -> None:
    assert found(catalog, "not " * 100_000 + "name = 'b'") == found(catalog, "name = 'b'")


def test_whatever_may_stand_in_parentheses_is_within_what_a_database_reads(catalog: Catalog) -> None:
    text = "tags.stage is not null"
    for number in range(20):
        text = f"not ({text} {('and', 'or')[number % 2]} not name = 'b' and not not metrics.auc > 0.1)"
    assert isinstance(found(catalog, text, name="b"), list)
    assert found(catalog, "(not " * 20 + "name = 'b'" + ")" * 20) == ["b:2"]


@pytest.mark.parametrize("pattern", ["(a+)+$", "%a" * 400 + "b", "_" * 900, "[a-z]*" * 100, "%" * 1000])
def test_no_pattern_takes_long(catalog: Catalog, pattern: str) -> None:
    start = time.perf_counter()
    for operator in ("like", "ilike"):
        found(catalog, f"description {operator} '{pattern}' or tags.stage {operator} '{pattern}'")
    assert time.perf_counter() - start < 1


def test_the_worst_pattern_against_the_longest_text_is_answered(tmp_path: Any) -> None:
    own = open_catalog(str(tmp_path / "catalog.sqlite"))
    create(own, "a", tags={"t": "a" * 65_000}, description="a" * 28 + "!")
    start = time.perf_counter()
    assert found(own, f"tags.t like '{'%a' * 400}b'") == []
    assert found(own, "description like '(a+)+$'") == []
    assert time.perf_counter() - start < 2


# --- pages ------------------------------------------------------------------------------------------------------------

QUESTIONS: list[dict[str, Any]] = [
    {},
    {"archived": "all"},
    {"name": "churn"},
    {"tags": {"stage": "prod"}},
    *(
        {"filter": f"order by {field}{way}"}
        for field in ("name", "version", "created", "modified", "size", "tags.team", "metrics.auc")
        for way in ("", " desc")
    ),
    {"filter": "tags.stage = 'prod' or metrics.auc > 0.4"},
    {"filter": "tags.stage = 'prod' and metrics.auc > 0 order by metrics.auc"},
    {"filter": "tags.stage is not null order by tags.stage desc", "archived": "all"},
    {"filter": "name like 'c%' order by name"},
]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_are_the_whole_list_in_parts(catalog: Catalog, question: dict[str, Any], size: int) -> None:
    whole = [f"{item.name}:{item.version}" for item in catalog.list_models(**question)]
    pages = list(_pages(catalog, size, **question))
    assert [name for page in pages for name in page] == whole
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= size


def _pages(catalog: Catalog, size: int, **question: Any) -> Iterator[list[str]]:
    token = None
    while True:
        page = catalog.list_models(max_results=size, page=token, **question)
        yield [f"{item.name}:{item.version}" for item in page]
        token = page.next_page
        if token is None:
            return
        assert re.fullmatch(r"[\w-]+", token, re.ASCII)


@pytest.mark.parametrize("few", [0, 2, 5000])
def test_whatever_index_is_walked_the_answer_is_the_same(catalog: Catalog, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        *QUESTIONS,
        {"filter": "tags.stage = 'prod' and tags.team = 'x'"},
        {"filter": "stage = 'Production' order by created"},
        {"filter": "created >= '2026-11' and digest like '636%' order by metrics.auc desc"},
        {"search": "prod"},
    ]
    usual = [list(_pages(catalog, 2, **question)) for question in asked]
    monkeypatch.setattr("jupyter_modelreg.catalog.search.FEW", few)
    assert [list(_pages(catalog, 2, **question)) for question in asked] == usual


def test_a_version_registered_between_two_pages_moves_none(tmp_path: Any) -> None:
    own = open_catalog(str(tmp_path / "catalog.sqlite"))
    for number in range(6):
        create(own, "a", str(number))
    pages = _pages(own, 2, filter="order by created desc")
    seen = next(pages)
    create(own, "a", "later")
    own.delete_version("a", "4")
    assert [*seen, *(name for page in pages for name in page)] == ["a:6", "a:5", "a:3", "a:2", "a:1"]


FOREIGN: list[Callable[[str], str]] = [
    lambda token: "",
    lambda token: "x",
    lambda token: token[:-3],
    lambda token: token + "AAAA",
    lambda token: "../../etc/passwd",
    lambda token: "\x1b[31m\0",
    lambda token: "größe",
    lambda token: "W" * 100_000,
    lambda token: _changed(token, 0, 1),
    lambda token: _changed(token, 1, 5),
    lambda token: _changed(token, 1, "x\0"),
    lambda token: _changed(token, 1, "\ud800"),
    lambda token: _changed(token, 1, None),
    lambda token: _changed(token, 1, ["x"]),
    lambda token: _changed(token, 2, "1 OR 1=1"),
    lambda token: _changed(token, 2, True),
    lambda token: _changed(token, 2, 10**30),
]


def _changed(token: str, place: int, value: Any) -> str:
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    parts = json.loads(urlsafe_b64decode(token + "=="))
    parts[place] = value
    return urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize("change", FOREIGN)
def test_what_is_no_page_of_this_list_is_one_clear_line(catalog: Catalog, change: Callable[[str], str]) -> None:
    token = catalog.list_models(filter="order by name", max_results=2).next_page
    assert token
    with pytest.raises(InvalidInput, match=r"is no page of this list\. Ask with the same options as before") as caught:
        catalog.list_models(filter="order by name", max_results=2, page=change(token))
    assert caught.value.key == "page"
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("other", [{}, {"filter": "order by name desc"}, {"filter": "order by name", "tags": {"stage": "prod"}}])
def test_a_page_of_another_list_is_refused(catalog: Catalog, other: dict[str, Any]) -> None:
    token = catalog.list_models(filter="order by name", max_results=2).next_page
    with pytest.raises(InvalidInput, match="is no page of this list"):
        catalog.list_models(max_results=2, page=token, **other)


def test_a_page_may_have_another_size_than_the_one_before(catalog: Catalog) -> None:
    token = catalog.list_models(filter="order by name", max_results=2).next_page
    rest = catalog.list_models(filter="order by name", page=token)
    assert len(rest) == len(found(catalog, "order by name")) - 2
    assert rest.next_page is None


# --- any text, any tree -----------------------------------------------------------------------------------------------

WORDS = [*FIELDS, "tags.stage", "metrics.auc", "tags.", "'", '"', "'x'", "1", "-2.5e3", "=", "!=", "<", "like", "in", "is", "null", "not"]
WORDS += [
    "and",
    "or",
    "order",
    "by",
    "desc",
    "(",
    ")",
    ",",
    "true",
    "2026-11",
    "2026-11-25T10:00",
    "`a`",
    "\\",
    "%",
    "\0",
    "é",
    "500 MB",
    "--",
    "tags.'\x1b\n'",
    "'99999999 TB'",
]


@given(
    st.one_of(
        st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join), st.lists(st.sampled_from(WORDS)).map("".join)
    )
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_a_filter_or_a_mistake_with_a_place(text: str) -> None:
    mistakes = []
    try:
        parse_filter(text)
    except InvalidInput as error:
        mistakes.append(error)
    assert all(item.message.isprintable() for item in mistakes)
    assert all("^" in item.detail for item in mistakes if text.strip(" \t\r\n"))


TEXTS = [
    "prod",
    "PROD",
    "dev",
    "x",
    "1",
    "it's",
    "100%",
    "a_b",
    "final",
    "10",
    "churn",
    "",
    "Größe",
    "' OR 1=1--",
    "ada",
    "Production",
    "\\",
]
PATTERNS = [*TEXTS, "%", "_", "p%", "%o%", "c_u%", r"100\%", r"a\_b", "%[sure]*?%", "P%", "%é", "?", "*", r"%\\", "churn-%"]
NAMED = [
    "name",
    "stage",
    "description",
    "type",
    "job_name",
    "created_by",
    "tags.stage",
    "tags.team",
    "tags.x",
    'tags."it\'s"',
    "properties.p",
    'properties."a b"',
]
NUMBERS = ["0.91", "-0.25", "0", "1e300", ".5", "2"]
DATES = ["'2026-11'", "2026-11-30", "'2026'", "'2026-11-01T01:00:00'", "2026-12"]
COMPARED = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _terms() -> st.SearchStrategy[str]:
    text, pattern = st.sampled_from(TEXTS).map(_quoted), st.sampled_from(PATTERNS).map(_quoted)
    named, no = st.sampled_from(NAMED), st.sampled_from(["", "not "])
    return st.one_of(
        st.builds("{} {} {}".format, named, COMPARED, text),
        st.builds("{} {}{} {}".format, named, no, st.sampled_from(["like", "ilike"]), pattern),
        st.builds("{} {}in ({}, {})".format, named, no, text, text),
        st.builds(
            "{} is {}null".format, st.sampled_from([*NAMED, "metrics.auc", "metrics.loss", "size", "created", "version", "modified_by"]), no
        ),
        st.builds("{} {} {}".format, st.sampled_from(["metrics.auc", "metrics.loss"]), COMPARED, st.sampled_from(NUMBERS)),
        st.builds("version {} {}".format, COMPARED, st.sampled_from(["2", "7", "'final'", "'007'", "10"])),
        st.builds("size {} {}".format, COMPARED, st.sampled_from(["'250 MB'", "0", "1e9"])),
        st.builds("{} {} {}".format, st.sampled_from(["created", "modified"]), COMPARED, st.sampled_from(DATES)),
        st.builds("created {}in ({}, {})".format, no, st.sampled_from(DATES), st.sampled_from(DATES)),
        st.builds("archived {} {}".format, st.sampled_from(["=", "!="]), st.sampled_from(["true", "false"])),
    )


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
        st.builds("{} and {} and {}".format, _terms(), _terms(), _terms()),
    )


@given(
    st.recursive(_terms(), _joined, max_leaves=6),
    st.sampled_from(["", " order by metrics.auc desc", " order by name", " order by tags.stage"]),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_tree_finds_what_a_plain_reading_of_it_finds(catalog: Catalog, text: str, order: str) -> None:
    versions = [
        catalog.get_version(str(item.name), item.version) for item in catalog.list_models(filter="order by created", archived="all")
    ]
    read = parse_filter(text)
    wanted = {f"{item.name}:{item.version}" for item in versions if all(_holds(part, item) for part in read.parts)}
    listed = found(catalog, text + order, archived="all")
    assert len(listed) == len(set(listed))
    assert set(listed) == wanted


def _holds(node: Any, model: Model) -> Any:
    if isinstance(node, Junction):
        return (all if node.word == "and" else any)(_holds(part, model) for part in node.parts)
    if isinstance(node, Negation):
        return not _holds(node.part, model)
    value = _value(node, model)
    if node.operator == "null":
        return (value is not None) == node.is_negative
    if value is None:
        return False
    operator, wanted = node.operator, list(node.values)
    return any(_compares(node, operator if operator != "in" else "=", value, item) for item in wanted) != node.is_negative


def _value(term: Term, model: Model) -> Any:
    assert model.creation_context
    if term.field in ("tags", "metrics", "properties"):
        value = getattr(model, term.field).get(term.key)
        return None if value != value else value  # NaN is not there
    return {
        "size": model.size_bytes,
        "archived": model.is_archived,
        "created": model.creation_context.created_at,
        "modified": model.creation_context.last_modified_at,
        "created_by": model.creation_context.created_by,
        "modified_by": model.creation_context.last_modified_by,
    }.get(term.field, getattr(model, term.field, None))


def _compares(term: Term, operator: str, value: Any, wanted: Any) -> Any:
    if term.field in ("created", "modified"):
        start, end = wanted
        return bool(
            {
                "=": start <= value < end,
                "!=": not start <= value < end,
                "<": value < start,
                "<=": value < end,
                ">": value >= end,
                ">=": value >= start,
            }[operator]
        )
    if operator in ("like", "ilike"):
        return _matches(wanted, value, is_folded=operator == "ilike")
    if term.field == "version" and operator in ("<", "<=", ">", ">="):
        value, wanted = version_key(value), version_key(wanted)
    return bool(
        {
            "=": value == wanted,
            "!=": value != wanted,
            "<": value < wanted,
            "<=": value <= wanted,
            ">": value > wanted,
            ">=": value >= wanted,
        }[operator]
    )


def _matches(pattern: str, value: str, *, is_folded: bool) -> bool:
    signs = re.findall(r"\\.|.|\\$", pattern, re.DOTALL)
    regex = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign[-1])) for sign in signs)
    return re.fullmatch(regex, value, re.DOTALL | (re.IGNORECASE | re.ASCII if is_folded else 0)) is not None
