"""Hostile files on their whole way: registered, shown, loaded, deployed. Nothing they bring ever runs without trust."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg.commands.model import CreateModel, DownloadModel, ShowModel
from jupyter_modelreg.commands.online import DeployModel
from jupyter_modelreg.errors import InvalidInput, UnsafeModel
from jupyter_modelreg.models import create_model, download_model, load_model, show_model
from jupyter_modelreg.online import deploy_model
from jupyter_modelreg.workspace import Workspace

from .hostile import MADE, MARKER

FILES = [
    "plain.pkl",
    "protocol_0.pkl",
    "tar.pkl",
    "array_hides.pkl",
    "broken_after.pkl",
    "rot13.pkl",
    "zlib.joblib",
    "object_array_hides.joblib",
    "object.npy",
    "torch.pt",
    "lambda.pkl",
    "evil.skops",
    "outside.onnx",
    "overlap.safetensors",
    "own_code/MLmodel",
]


@pytest.fixture
def no_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way to unpickle in this process fail the test."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("this process unpickled")

    for name in ("load", "loads", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, fail)


@pytest.mark.usefixtures("no_unpickling")
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_model_is_kept_and_shown_and_never_runs(name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "model" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(MADE[name])
    created = create_model(workspace, CreateModel(name="evil", path=str(tmp_path / "model" / name.partition("/")[0])))
    shown = show_model(workspace, ShowModel(name="evil"))
    assert created.scan
    assert created.scan == shown.scan
    assert created.scan.verdict not in ("data-only", "known-pickle")
    with pytest.raises(UnsafeModel, match=r"evil:1 is not loaded: .*--trust"):
        load_model(workspace, ShowModel(name="evil"))
    with pytest.raises(UnsafeModel, match=r"evil:1 is not loaded: .*--trust"):
        deploy_model(workspace, DeployModel(name="evil"))
    assert workspace.catalog.list_endpoints() == []
    download_model(workspace, DownloadModel(name="evil", version="1", download_path=str(tmp_path / "out")))
    assert not [place for place, _, names in os.walk(tmp_path) if MARKER in names]


def test_trust_lets_the_same_file_run(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "plain.pkl").write_bytes(MADE["plain.pkl"])
    create_model(workspace, CreateModel(name="evil", path="plain.pkl"))
    assert load_model(workspace, ShowModel(name="evil"), trust=True) == 0
    assert (tmp_path / MARKER).exists()


def test_what_has_no_layout_says_what_can_be_done_with_it(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("cat\ndog\n")
    create_model(workspace, CreateModel(name="words", path="words.txt"))
    with pytest.raises(InvalidInput, match=r"^words\.txt has no layout that can be loaded"):
        load_model(workspace, ShowModel(name="words"))


def test_an_onnx_model_with_weights_beside_it_loads_from_the_store(workspace: Workspace, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((1, 64), 2.0, "f4"), "w")
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 64])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 64])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [rows], [answer], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m").mkdir()
    onnx.save_model(model, str(tmp_path / "m" / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "m" / "weights.bin").stat().st_size == 256
    create_model(workspace, CreateModel(name="big", path="m"))
    session = load_model(workspace, ShowModel(name="big"))
    np.testing.assert_array_equal(session.run(None, {"x": np.ones((1, 64), "f4")})[0], np.full((1, 64), 2.0))
