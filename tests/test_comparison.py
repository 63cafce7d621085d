"""Two versions side by side."""

from __future__ import annotations

import math

from jupyter_modelreg.comparison import compare
from jupyter_modelreg.entities.answers import Difference
from jupyter_modelreg.entities.model import ColumnSpec, Lineage, Model, Signature
from jupyter_modelreg.trees import ManifestFile


def version(number: str, **values: object) -> Model:
    return Model(name="churn", version=number, **values)


def test_what_is_the_same_is_counted_and_not_shown() -> None:
    compared = compare(version("1", stage="dev", tags={"a": "b"}), version("2", stage="dev", tags={"a": "b"}))
    assert (compared.first, compared.second) == ("churn:1", "churn:2")
    assert compared.differences == []
    assert compared.same == {"metadata": 2}


def test_a_metric_has_its_change_and_may_be_missing() -> None:
    compared = compare(version("1", metrics={"auc": 0.5, "old": 1.0}), version("2", metrics={"auc": 0.75, "new": 2.0}))
    assert compared.metrics == {"auc": [0.5, 0.75], "new": [None, 2.0], "old": [1.0, None]}
    assert compared.differences == [
        Difference(group="metrics", name="auc", first="0.5", second="0.75", delta=0.25),
        Difference(group="metrics", name="new", first=None, second="2.0"),
        Difference(group="metrics", name="old", first="1.0", second=None),
    ]


def test_a_metric_that_is_no_number_any_more_is_shown() -> None:
    (difference,) = compare(version("1", metrics={"loss": 1.0}), version("2", metrics={"loss": math.nan})).differences
    assert difference.second == "nan"
    assert difference.delta is not None
    assert math.isnan(difference.delta)


def test_texts_that_look_like_numbers_have_no_change() -> None:
    first = version("1", tags={"year": "2025"}, lineage=Lineage(packages={"numpy": "1.9"}), size_bytes=10)
    second = version("2", tags={"year": "2026"}, lineage=Lineage(packages={"numpy": "1.10"}), size_bytes=15)
    changes = {item.name: item.delta for item in compare(first, second).differences}
    assert changes == {"size_bytes": 5.0, "tags.year": None, "numpy": None}


def test_files_are_compared_by_content() -> None:
    def files(**digests: str) -> list[ManifestFile]:
        return [ManifestFile(path=path, size_bytes=1, digest=digest) for path, digest in digests.items()]

    compared = compare(version("1", files=files(a="111", b="2")), version("2", files=files(a="112", c="3", d="4")))
    assert [(item.name, item.first, item.second, item.delta) for item in compared.differences] == [
        ("a", "111", "112", None),
        ("b", "2", None, None),
        ("c", None, "3", None),
        ("d", None, "4", None),
    ]


def test_the_signature_is_compared_column_by_column() -> None:
    old = Signature(inputs=[ColumnSpec(name="age"), ColumnSpec(type="tensor", shape=[-1, 3])])
    new = Signature(inputs=[ColumnSpec(name="age", type="long")], outputs=[ColumnSpec()])
    found = {item.name: (item.first, item.second) for item in compare(version("1", signature=old), version("2", signature=new)).differences}
    assert found == {"input age": ("double", "long"), "input 1": ("tensor[-1, 3]", None), "output 0": (None, "double")}


def test_groups_come_in_one_order() -> None:
    first = version("1", stage="a", metrics={"m": 1.0}, lineage=Lineage(packages={"p": "1"}), files=[])
    second = version("2", stage="b", metrics={"m": 2.0}, files=[ManifestFile(path="f", size_bytes=1, digest="d")])
    assert [item.group for item in compare(first, second).differences] == ["metadata", "metrics", "packages", "files"]
