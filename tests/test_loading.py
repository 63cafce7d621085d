"""Loading from the store: in place, at once, and never what was written to meanwhile."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jupyter_modelreg.commands.model import CreateModel, ShowModel
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Corrupted, UnsafeModel
from jupyter_modelreg.models import create_model, load_model
from jupyter_modelreg.workspace import Workspace, open_workspace


def register(workspace: Workspace, path: Path) -> Model:
    return create_model(workspace, CreateModel(name="net", path=str(path)))


def seconds_to_load(workspace: Workspace) -> float:
    begin = time.perf_counter()
    load_model(workspace, ShowModel(name="net"))
    return time.perf_counter() - begin


def test_a_model_is_mapped_at_once_whatever_its_size(workspace: Workspace, tmp_path: Path) -> None:
    save_file({f"layer.{number}": np.ones(2 << 20, "u1") for number in range(100)}, tmp_path / "net.safetensors")
    register(workspace, tmp_path / "net.safetensors")
    assert isinstance(load_model(workspace, ShowModel(name="net"))["layer.0"].base, np.memmap)
    assert min(seconds_to_load(workspace) for _ in range(5)) < 0.01  # to hash 200 MiB takes 50 ms


@pytest.mark.parametrize("dedup", ["file", "tensor"])
def test_what_was_written_to_is_not_loaded(dedup: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_DEDUP", dedup)
    workspace = open_workspace()
    save_file({"w": np.ones(2 << 20, "u1")}, tmp_path / "net.safetensors")
    model = register(workspace, tmp_path / "net.safetensors")
    load_model(workspace, ShowModel(name="net"))
    view = Path(workspace.store.view(workspace.store.load_manifest(str(model.digest))), "net.safetensors")
    view.chmod(0o644)
    with view.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    with pytest.raises(Corrupted, match=r"net:1 is damaged in the store: net\.safetensors\."):
        load_model(workspace, ShowModel(name="net"))


def test_a_model_kept_in_pieces_loads_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_DEDUP", "tensor")
    workspace = open_workspace()
    save_file({"w": np.arange(1 << 20, dtype="u4"), "b": np.ones(3)}, tmp_path / "net.safetensors")
    model = register(workspace, tmp_path / "net.safetensors")
    manifest = workspace.store.load_manifest(str(model.digest))
    assert model.scan
    assert (model.scan.verdict, len(workspace.store.names_of(manifest))) == ("data-only", 3)
    loaded = load_model(workspace, ShowModel(name="net"))
    assert isinstance(loaded["w"].base, np.memmap)
    assert (loaded["w"][-1], loaded["b"].sum()) == ((1 << 20) - 1, 3)
    assert min(seconds_to_load(workspace) for _ in range(5)) < 0.01


def test_files_that_lie_together_are_inspected_like_any_others(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"words {number}")
    (folder / "model.pkl").write_bytes(pickle.dumps([1.5]))
    model = register(workspace, folder)
    assert model.scan
    assert (model.scan.verdict, model.scan.findings) == ("known-pickle", [])
    (folder / "model.pkl").write_bytes(pickle.dumps(os.system))
    assert register(workspace, folder).scan == model.scan.replace(verdict="blocked", findings=["model.pkl: posix.system"])
    with pytest.raises(UnsafeModel, match=r"model\.pkl: posix\.system"):
        load_model(workspace, ShowModel(name="net"))
