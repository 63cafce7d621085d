"""What may be a name, a version, a tag."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg.catalog.names import check_model, check_name, check_tag, check_version
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.references import parse_model_name

BAD_NAMES = {
    "slash": "a/b",
    "climbing": "../x",
    "dots": "..",
    "dot": ".",
    "dots inside": "a..b",
    "space": "a b",
    "trailing space": "a ",
    "empty": "",
    "long": "x" * 300,
    "backslash": "a\\b",
    "zero byte": "a\0b",
    "line end": "a\n",
    "colon": "a:b",
    "at": "a@b",
    "dash first": "-a",
    "trailing dot": "a.",
    "device": "CON",
    "device with ending": "nul.txt",
    "accent": "modèle",
    "full width": "ｍodel",
    "look-alike": "mоdel",
    "right to left": "a\u202eb",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_what_is_no_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name of a model: letters, digits") as caught:
        check_name(name, "a model")
    assert caught.value.key == "name"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["churn", "sklearn-1.5", "Phi-3.5", "a_b", "7", "x" * 255, "console"])
def test_names_as_azure_has_them_pass(name: str) -> None:
    assert check_name(name, "a model") == name


@pytest.mark.parametrize("version", ["latest", "LATEST", "a b", "1/2", "../1", "a:b", "١", "", ".1", "-1", "x" * 65, "9" * 19])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_version(version)
    assert caught.value.key == "version"


@pytest.mark.parametrize("version", ["1", "0", "1.10", "2026-11-25", "v1_final", "9" * 18, None])
def test_any_plain_text_is_a_version_as_in_azure(version: str | None) -> None:
    assert check_version(version) == version


@pytest.mark.parametrize(("key", "value"), [("", "x"), ("a=b", "x"), ("a\nb", "x"), ("k" * 257, "x"), ("k", "v" * 65_537), ("k", "\0")])
def test_what_is_no_tag_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        check_tag(key, value)


def test_a_model_is_checked_in_all_three() -> None:
    check_model(Model(name="churn", version="1", tags={"stage": "dev"}))
    for model in (Model(name="a b"), Model(name="a", version="latest"), Model(name="a", tags={"": "x"})):
        with pytest.raises(InvalidInput):
            check_model(model)


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=20))
def test_every_name_and_version_that_pass_can_be_written_as_a_reference(name: str, version: str) -> None:
    try:
        check_name(name, "a model")
        check_version(version)
    except InvalidInput:
        return
    assert parse_model_name(f"{name}:{version}") == (name, version, None)
