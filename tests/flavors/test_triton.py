"""Triton model repositories, and what is wrong with those that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jupyter_modelreg import flavors
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.sources.local import open_local

from .test_flavors import onnx_sum


def put(root: Path, *files: str) -> str:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(onnx_sum().SerializeToString() if name.endswith(".onnx") else b"x")
    return str(root)


@pytest.mark.parametrize("files", [["m/1/model.onnx"], ["m/1/model.py", "m/config.pbtxt"], ["m/3/model.savedmodel/saved_model.pb"]])
def test_a_repository_is_recognised(files: list[str], tmp_path: Path) -> None:
    found = flavors.detect(open_local(put(tmp_path / "repo", *files)))
    assert (found.type, found.flavor) == ("triton_model", "triton")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["m/model.onnx"], r"m/model\.onnx has no version folder; move it to m/1/model\.onnx\."),
        (["1/model.onnx"], r"repo is a model, 1/model\.onnx its version; register the folder that holds repo\."),
        (["m/v1/model.onnx"], r'm/v1/model\.onnx lies in "v1", which is no version; name the folder by a whole number\.'),
        (["a.txt"], r"MODEL/1/model\.onnx .* but it holds a\.txt\."),
        (["m/1/weights.bin"], r"MODEL/1/model\.onnx .* but it holds m/1/weights\.bin\."),
    ],
)
def test_a_folder_that_is_no_repository_says_what_would_be_right(files: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"repo is no triton_model: .*{reason}"):
        flavors.detect(open_local(put(tmp_path / "repo", *files)), "triton_model")


def test_a_file_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"m\.onnx is no triton_model: m\.onnx is a file\. A repository is a folder"):
        flavors.detect(open_local(put(tmp_path, "m.onnx") + "/m.onnx"), "triton_model")


def test_the_newest_version_of_the_only_model_answers(tmp_path: Path) -> None:
    folder = put(tmp_path / "repo", "m/2/model.onnx", "m/10/model.onnx", "m/config.pbtxt", "notes/readme.txt")
    (tmp_path / "repo/m/2/model.onnx").write_bytes(b"broken")
    predictor = flavors.load_predictor(folder, "triton", None)
    np.testing.assert_array_equal(predictor({"x": [[1, 2]], "z": [[1, 1]]}), [[2, 3]])


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["m/1/model.plan"], r"m/1 has no model\.onnx"),
        (["a/1/model.onnx", "b/2/model.py"], r"b/2 has no model\.onnx"),
    ],
)
def test_what_is_not_served_here_says_so(files: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=reason):
        flavors.load_predictor(put(tmp_path / "repo", *files), "triton", None)


def test_several_models_are_asked_by_name_and_never_guessed(tmp_path: Path) -> None:
    predictor = flavors.load_predictor(put(tmp_path / "repo", "a/1/model.onnx", "a/3/model.onnx", "b/2/model.onnx"), "triton", None)
    assert {name: version for name, (version, _) in predictor.members.items()} == {"a": "3", "b": "2"}
    np.testing.assert_array_equal(predictor.members["b"][1]({"x": [[1, 2]], "z": [[1, 1]]}), [[2, 3]])
    with pytest.raises(InvalidInput, match="This repository holds a, b; ask one of them: /v2/models/NAME/infer"):
        predictor({"x": [[1, 2]], "z": [[1, 1]]})
    with pytest.raises(InvalidInput, match=r"holds 2 models \(a, b\)"):
        flavors.load_object(str(tmp_path / "repo"), "triton")


def test_a_graph_says_itself_what_it_takes(tmp_path: Path) -> None:
    predictor = flavors.load_predictor(put(tmp_path, "m.onnx") + "/m.onnx", "onnx", None)
    assert [(spec.name, spec.type, spec.shape) for spec in predictor.signature.inputs] == [("x", "float", [-1, 2]), ("z", "float", [-1, 2])]
