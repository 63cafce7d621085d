"""Typed records, made from anything and turned back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg.entities.model import CreationContext, Model, Signature
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.operations import OPERATIONS
from jupyter_modelreg.records import Record, field, field_type, fields, from_dict


class Inner(Record):
    x: int
    note: str = "none"


class Outer(Record):
    name: str
    count: int = 1
    share: float = 0.5
    is_on: bool = False
    colour: str | None = field(default=None, choices=("Red", "Blue"))
    inner: Inner | None = None
    many: list[Inner] = []
    table: dict[str, list[int]] = {}
    free: Any = None
    either: Inner | str | None = None
    made: str | None = field(default=None, is_read_only=True)
    renamed: str | None = field(default=None, key="in-yaml")


def outer(**values: Any) -> Outer:
    return from_dict(Outer, {"name": "n", **values})


# --- making one -------------------------------------------------------------------------------------------------------


def test_a_record_takes_keywords_and_fills_in_defaults() -> None:
    record = Outer(name="n")
    assert (record.name, record.count, record.many, record.inner) == ("n", 1, [], None)
    assert repr(record) == "Outer(name='n')"
    assert record == Outer(name="n") != Outer(name="m")


def test_what_does_not_fit_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r'Outer has no "nmae"\. Did you mean "name"'):
        Outer(nmae="n")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match='Outer needs "name"'):
        Outer()  # type: ignore[call-arg]


def test_defaults_that_hold_things_are_not_shared() -> None:
    Outer(name="a").many.append(Inner(x=1))
    assert Outer(name="b").many == []


def test_a_record_of_trusted_values_is_the_same_record() -> None:
    assert Outer.trusted({"name": "n", "count": 2, "many": [], "table": {}}) == Outer(name="n", count=2)


def test_a_copy_changes_what_it_is_told_and_no_more() -> None:
    record = Outer(name="n", count=2)
    assert record.replace(count=3) == Outer(name="n", count=3)
    assert record.count == 2


def test_a_subclass_has_the_fields_of_its_base_first() -> None:
    class Wider(Inner):
        y: int = 2

    assert [item.name for item in fields(Wider)] == ["x", "note", "y"]
    assert Wider(x=1).y == 2
    assert field_type(Outer, "table") == dict[str, list[int]]


def test_a_contradiction_is_refused_when_it_is_made() -> None:
    with pytest.raises(InvalidInput, match="If version is specified, name must be specified also"):
        Model(version="1")
    with pytest.raises(InvalidInput, match="Asset version must be a string, not type <class 'int'>"):
        Model(name="a", version=1)  # type: ignore[arg-type]


# --- from plain values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "given", "wanted"),
    [
        ("name", 3, "3"),
        ("name", 1.5, "1.5"),
        ("name", True, "true"),
        ("count", "7", 7),
        ("count", 7.0, 7),
        ("share", "0.25", 0.25),
        ("share", 2, 2.0),
        ("share", 2**60 + 1, float(2**60)),
        ("share", "inf", math.inf),
        ("is_on", "True", True),
        ("is_on", "false", False),
        ("colour", "RED", "Red"),
        ("many", None, []),
        ("many", ({"x": 1},), [Inner(x=1)]),
        ("table", {1: ["2"]}, {"1": [2]}),
        ("table", None, {}),
        ("inner", {"x": "1", "$schema": "s"}, Inner(x=1)),
        ("inner", None, None),
        ("either", {"x": 1}, Inner(x=1)),
        ("either", "text", "text"),
        ("free", {1: [None, {"a": 2}]}, {"1": [None, {"a": 2}]}),
    ],
)
def test_a_value_becomes_what_is_wanted(key: str, given: Any, wanted: Any) -> None:
    value = getattr(outer(**{key: given}), key)
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("values", "key", "said"),
    [
        ({"count": 3.7}, "count", 'count must be a whole number, not "3.7"'),
        ({"count": True}, "count", "count must be a whole number"),
        ({"count": "x"}, "count", 'count must be a whole number, not "x"'),
        ({"count": math.inf}, "count", "count must be a whole number"),
        ({"count": "9" * 5000}, "count", "count must be a whole number"),
        ({"share": 10**400}, "share", "share must be a number"),
        ({"share": []}, "share", "share must be a number, not a list"),
        ({"is_on": 1}, "is_on", "is_on must be true or false"),
        ({"name": {}}, "name", "name must be text, not a mapping"),
        ({"name": None}, "name", "name must not be empty"),
        ({"colour": "Redd"}, "colour", 'colour is "Redd"; it must be one of Red, Blue. Did you mean "Red"?'),
        ({"many": "x"}, "many", 'many must be a list, not "x"'),
        ({"many": [{"x": 1}, {"y": 1}]}, "many[1].y", 'Unknown key "y"'),
        ({"many": [{}]}, "many[0].x", '"x" is missing'),
        ({"table": {"a": [1, "b"]}}, "table.a[1]", "must be a whole number"),
        ({"table": 3}, "table", "table must be a mapping"),
        ({"inner": 3}, "inner", "inner must be a mapping"),
        ({"either": {"z": 1}}, "either.z", 'Unknown key "z"'),
        ({"nmae": 1}, "nmae", 'Unknown key "nmae". Did you mean "name"?'),
    ],
)
def test_what_is_wrong_is_named_by_its_dotted_path(values: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        outer(**values)
    assert caught.value.key == key
    assert said in caught.value.message


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidInput, match='"name" is missing') as caught:
        from_dict(Outer, {})
    assert caught.value.key == "name"
    with pytest.raises(InvalidInput, match="Outer must be a mapping, not a list"):
        from_dict(Outer, [])  # type: ignore[arg-type]


def test_what_only_the_registry_writes_is_dropped_unless_asked_for() -> None:
    assert outer(made="x").made is None
    assert from_dict(Outer, {"name": "n", "made": "x"}, drop_read_only=False).made == "x"


def test_a_key_may_differ_from_the_attribute() -> None:
    assert outer(**{"in-yaml": "x"}).renamed == "x"
    assert outer(**{"in-yaml": "x"}).to_dict()["in-yaml"] == "x"


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        outer(count="y" * 5000)
    assert len(caught.value.message) < 200


# --- properties -------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MODELS = st.builds(
    Model,
    name=TEXT,
    version=st.none() | TEXT,
    type=st.none() | st.sampled_from(["custom_model", "mlflow_model", "triton_model"]),
    description=st.none() | TEXT,
    tags=st.dictionaries(TEXT, TEXT, max_size=3),
    flavors=st.dictionaries(TEXT, st.dictionaries(TEXT, PLAIN_JSON, max_size=2), max_size=2),
    metrics=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3),
    input_example=PLAIN_JSON,
    allowed_deployment_templates=st.none() | st.lists(PLAIN_JSON, max_size=2),
    creation_context=st.none() | st.builds(CreationContext, created_by=st.none() | TEXT),
    signature=st.none() | st.builds(Signature),
    is_archived=st.booleans(),
    size_bytes=st.none() | st.integers(),
)


@settings(deadline=None)
@given(MODELS)
def test_a_record_comes_back_from_its_own_json(model: Model) -> None:
    assert from_dict(Model, json.loads(json.dumps(model.to_dict())), drop_read_only=False) == model


COMMANDS = sorted({operation.command for operation in OPERATIONS}, key=lambda kind: kind.__name__)


@settings(deadline=None)
@given(st.sampled_from([Model, *COMMANDS]), st.data())
def test_any_plain_values_make_a_record_or_one_clear_error(kind: type[Record], data: st.DataObject) -> None:
    keys = st.sampled_from([item.key for item in fields(kind)] or ["x"]) | TEXT
    values = data.draw(st.dictionaries(keys, JSON, max_size=5))
    try:
        record = from_dict(kind, values, drop_read_only=False)
    except InvalidInput:
        return
    again = from_dict(kind, record.to_dict(), drop_read_only=False)
    assert repr(again) == repr(record)  # not ==, since one nan is not another
