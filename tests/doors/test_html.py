from __future__ import annotations

import re
from html.parser import HTMLParser
from types import UnionType
from typing import Any

import pytest

from jupyter_modelreg.doors.display import MAX_LISTED, to_text
from jupyter_modelreg.doors.html import registered_html, to_html
from jupyter_modelreg.entities import answers
from jupyter_modelreg.entities.answers import Check, Comparison, Difference
from jupyter_modelreg.entities.datastore import Datastore
from jupyter_modelreg.entities.environment import Environment, PythonBuild, Removed
from jupyter_modelreg.entities.model import ColumnSpec, Model, Scan, Signature
from jupyter_modelreg.entities.online import DeploymentNumbers, EndpointKeys, OnlineDeployment, OnlineEndpoint
from jupyter_modelreg.operations import OPERATIONS
from jupyter_modelreg.records import Record, field_type, fields

HOSTILE = "</td><script>alert('1')</script><b onmouseover=\"x\">&amp;{{x}}\x1b[2J"
KINDS: list[type[Record]] = [
    *(kind for kind in vars(answers).values() if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record),
    Model,
    OnlineEndpoint,
    OnlineDeployment,
    EndpointKeys,
    Datastore,
    Environment,
    PythonBuild,
    Removed,
]
VOID = {"br", "hr", "img", "input", "meta", "link"}


def hostile(kind: Any, depth: int = 0) -> Any:
    """Make a value of an annotated type in which every text is hostile."""
    if isinstance(kind, UnionType):
        kind = kind.__args__[0]
    origin, inner = getattr(kind, "__origin__", kind), getattr(kind, "__args__", ())
    if isinstance(origin, type) and issubclass(origin, Record):
        values = {item.name: hostile(field_type(origin, item.name), depth + 1) for item in fields(origin)} if depth < 4 else {}
        # Not checked: a catalog edited by hand says what it likes. Words have no delta.
        return origin.trusted(values | {"delta": None} if origin is Difference else values) if values else None
    simple = {dict: lambda: {HOSTILE: hostile(inner[1], depth + 1)}, list: lambda: [hostile(inner[0], depth + 1)] * 2}
    simple |= {int: lambda: 3, float: lambda: 0.5, bool: lambda: True}
    return simple.get(origin, lambda: HOSTILE)()


class Checker(HTMLParser):
    """Reads a fragment as a browser does and keeps what it must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles += [value or "" for name, value in attrs if name == "style"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def test_every_answer_of_the_table_is_among_the_kinds_tested_here() -> None:
    named = {operation.answer.removeprefix("list[").rstrip("]") for operation in OPERATIONS}
    assert named <= {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("is_list", [False, True], ids=["one", "list"])
class TestEveryRecord:
    def test_nothing_it_says_becomes_markup(self, kind: type[Record], is_list: bool) -> None:
        found = read(to_html([hostile(kind)] * 2 if is_list else hostile(kind)))
        assert found.tags <= {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "b", "br", "code", "pre", "details", "summary"}
        assert found.attributes <= {"class", "style", "open", "colspan"}

    def test_its_colours_are_the_themes_with_one_of_their_own_to_fall_back_on(self, kind: type[Record], is_list: bool) -> None:
        html = to_html([hostile(kind)] if is_list else hostile(kind))
        for style in read(html).styles:
            for word in re.findall(r"(?:^|;)(?:color|background):([^;]+)", style):
                assert re.fullmatch(r"#[0-9a-f]{6}|transparent|rgba\(128,128,128,[.\d]+\)|var\(--jp-[\w-]+,#[0-9a-f]{6}\)", word)
            # What JupyterLab takes out of an untrusted notebook must not be all there is.
            assert style.count("var(") == len(re.findall(r"(color|background):#[0-9a-f]{6};\1:var\(", style))
        assert "<style" not in html

    def test_it_has_text_and_both_are_the_same_each_time(self, kind: type[Record], is_list: bool) -> None:
        first, second = ([hostile(kind)] if is_list else hostile(kind) for _ in range(2))
        assert to_html(first) == to_html(second)
        assert to_text(first) == to_text(second) != ""
        assert "\x1b" not in to_text(first)


def text_of(answer: Any) -> str:
    return read(to_html(answer)).text


def test_a_model_shows_what_a_person_asks_first() -> None:
    model = Model(
        name="churn",
        version="2",
        type="custom_model",
        flavor="sklearn",
        stage="Production",
        description="Who leaves",
        tags={"team": "north"},
        metrics={"accuracy": 0.97123456},
        size_bytes=40_600,
        signature=Signature(inputs=[ColumnSpec(name="a"), ColumnSpec(name="b"), ColumnSpec(name="c", type="long")], outputs=[ColumnSpec()]),
        scan=Scan(verdict="unknown-names", findings=["m.pkl: some.thing"]),
        is_archived=True,
    )
    text = " ".join(text_of(model).replace("\xa0", " ").split())
    for words in (
        "churn version 2",
        "Production",
        "archived",
        "Who leaves",
        "team=north",
        "accuracy 0.971235",
        "40.6 kB",
        "m.pkl: some.thing",
    ):
        assert words in text
    assert "3 inputs, 1 output" in text
    assert "double a, b" in text
    assert "Registered" in read(registered_html(model)).text
    assert "%model_load churn:2" in registered_html(model)
    assert "%model_load" not in registered_html(model.replace(flavor=None))  # files without a layout cannot be loaded


def test_a_long_list_is_cut_and_says_so() -> None:
    html = to_html([Model(name=f"m{number}", version="1") for number in range(10_000)])
    assert html.count("<tr>") == MAX_LISTED + 1
    assert "9,940 more are not shown" in html
    assert len(html) < 20_000


def test_a_row_shows_some_tags_and_metrics_and_counts_the_others() -> None:
    text = text_of([Model(name="m", version="1", tags={f"t{n}": "v" for n in range(9)}, metrics={f"m{n}": n for n in range(6)})])
    assert "t3=v" in text
    assert "and 5 more" in text
    assert "t4=v" not in text
    assert "and 2 more" in text


def test_a_comparison_shows_metrics_to_one_scale() -> None:
    html = to_html(
        Comparison(
            first="c:1",
            second="c:2",
            differences=[Difference(group="metrics", name="missed", first="10", second="3", delta=-7.0)],
            metrics={"missed": [10.0, 3.0], "same": [1.0, 1.0], "new": [None, 2.0]},
            same={"metrics": 1},
        )
    )
    assert re.findall(r"width:(\d+)px", html) == ["96", "29", "96", "96", "96"]
    assert "-7" in read(html).text
    assert "The same: 1 metrics." in html
    assert "They are the same." in to_html(Comparison(first="c:1", second="c:1"))


def test_states_are_words_beside_their_colour() -> None:
    for state, variable in (("healthy", "success"), ("starting", "warn"), ("failed", "error")):
        html = to_html(OnlineEndpoint(name="e", state=state))
        assert f"var(--jp-{variable}-color1" in html
        assert f"● {state}" in read(html).text
    assert "var(--jp-error-color1" in to_html([Check(part="panel", is_ok=False, advice="pip install it")])


def test_shares_are_lengths_with_their_numbers_and_an_empty_mirror_is_none() -> None:
    html = to_html(OnlineEndpoint(name="e", traffic={"blue": 90, "<b>": 10}, mirror_traffic={"green": 20, "gone": 0}))
    for text in ("width:90%", "blue 90 %", "width:10%", "&lt;b&gt; 10 %", "Copies", "green 20 %"):
        assert text in html
    assert "gone" not in html
    assert "Copies" not in to_html(OnlineEndpoint(name="e", traffic={"blue": 100}, mirror_traffic={"gone": 0}))


def test_deployments_in_a_list_say_how_they_do() -> None:
    numbers = DeploymentNumbers(state="healthy", requests_per_second=18512.4, p50_ms=0.314, errors=3, memory_bytes=61_000_000)
    html = to_html([OnlineDeployment(name="blue", instance_count=2, numbers=numbers), OnlineDeployment(name="new")])
    for text in ("Instances", "18,512", "0.31 ms", "61.0 MB"):
        assert text in html


def test_keys_are_in_no_html() -> None:
    assert "secret" not in to_html(EndpointKeys(primary_key="secret-one", secondary_key="secret-two"))


def test_an_empty_list_shows_its_sentence() -> None:
    assert "No models yet." in to_html([], empty="No models yet.")
