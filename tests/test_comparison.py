"""Two versions side by side."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jupyter_modelreg.commands.model import CompareModels, CreateModel
from jupyter_modelreg.comparison import compare
from jupyter_modelreg.entities.answers import Difference
from jupyter_modelreg.entities.model import ColumnSpec, Lineage, Model, Signature
from jupyter_modelreg.models import compare_models, create_model
from jupyter_modelreg.trees import ManifestFile
from jupyter_modelreg.workspace import Workspace


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


def test_tensors_are_compared_by_name_and_of_many_the_rest_is_counted() -> None:
    same = {"z": "F32[1] 0"}
    few = compare(version("1"), version("2"), ({"a": "F32[1] 1", "b": "F32[1] 2", **same}, {"a": "F16[1] 1", "c": "F32[1] 2", **same}))
    assert [(item.group, item.name, item.first, item.second) for item in few.differences] == [
        ("tensors", "a", "F32[1] 1", "F16[1] 1"),
        ("tensors", "b", "F32[1] 2", None),
        ("tensors", "c", None, "F32[1] 2"),
    ]
    assert few.same == {"tensors": 1}
    left, right = ({f"layer {number:04}": f"{side} {number}" for number in range(1500)} for side in "ab")
    many = compare(version("1", stage="a"), version("2", stage="b"), (left, {**right, "more": "c"}))
    assert len(many.differences) == 22
    assert many.differences[-1] == Difference(group="tensors", name="and more", first="1,480 of them", second="1,481 of them")


@pytest.mark.usefixtures("home")
def test_the_tensors_that_changed_are_named(workspace: Workspace, tmp_path: Path) -> None:
    weights = {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(3, "f4"), "old": np.ones(1)}
    for tensors in (weights, {"w": weights["w"] + 1, "b": weights["b"], "new": np.ones(1, "i8")}):
        save_file(tensors, tmp_path / "net.safetensors")
        create_model(workspace, CreateModel(name="net", path=str(tmp_path / "net.safetensors")))
    compared = compare_models(workspace, CompareModels(name="net"))
    found = [item for item in compared.differences if item.group == "tensors"]
    assert [item.name for item in found] == ["new", "old", "w"]
    assert found[0].first is None
    assert str(found[1].first).startswith("F64[1] ")
    assert [str(side).rpartition(" ")[0] for side in (found[2].first, found[2].second)] == ["F64[2, 3]", "F64[2, 3]"]
    assert found[2].first != found[2].second
    assert compared.same["tensors"] == 1


@pytest.mark.usefixtures("home")
def test_a_tensor_that_moved_to_another_file_is_the_same(workspace: Workspace, tmp_path: Path) -> None:
    tensors = {name: np.full(5, number) for number, name in enumerate("abc")}
    for number, shards in enumerate((["abc"], ["ab", "c"])):
        folder = tmp_path / str(number) / "net"
        folder.mkdir(parents=True)
        for names in shards:
            save_file({name: tensors[name] for name in names}, folder / f"{names}.safetensors")
        create_model(workspace, CreateModel(name="net", path=str(folder)))
    compared = compare_models(workspace, CompareModels(name="net"))
    assert [item.name for item in compared.differences if item.group == "tensors"] == []
    assert compared.same["tensors"] == 3
