"""torch models, where torch is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import flavors
from jupyter_modelreg.errors import InvalidInput, Refused
from jupyter_modelreg.flavors.torch import TorchFlavor
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.testing import FlavorSuite
from jupyter_modelreg.trust import scan_tree

torch = pytest.importorskip("torch")


def network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))


class TestTorch(FlavorSuite):
    def make_flavor(self) -> TorchFlavor:
        return TorchFlavor()

    def make_value(self) -> Any:
        return network()

    def make_value_it_cannot_hold(self) -> Any:
        return {"sparse": torch.eye(3).to_sparse()}

    def assert_same(self, saved: Any, loaded: Any) -> None:
        again = network()
        again.load_state_dict(loaded)
        rows = torch.ones(2, 3)
        assert torch.equal(again(rows), saved(rows))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "model").mkdir()
    return str(tmp_path / "model")


def test_a_state_with_tied_views_and_odd_types_comes_back(folder: str) -> None:
    weights = torch.arange(12.0).reshape(3, 4)
    state = {
        "a": weights,
        "tied": weights,
        "view": weights[1:],
        "turned": weights.T,
        "half": torch.ones(2).bfloat16(),
        "scalar": torch.tensor(3),
    }
    assert flavors.save_object(state, folder).flavor == "torch"
    assert scan_tree(open_local(folder)).verdict == "data-only"
    loaded = flavors.load_object(folder, "torch")
    assert all(torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in state.items())


def test_parameters_that_modules_share_are_written_once(folder: str) -> None:
    class Tied(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(100, 100, bias=False)
            self.two = torch.nn.Linear(100, 100, bias=False)
            self.two.weight = self.one.weight

    flavors.save_object(Tied(), folder)
    assert Path(folder, "model.safetensors").stat().st_size < 50_000


def test_a_file_that_torch_wrote_is_told_from_arrays(folder: str) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, f"{folder}/m.safetensors", metadata={"format": "pt", "long": "x" * 2_000_000})
    assert flavors.detect(open_local(folder)).flavor == "torch"
    assert torch.equal(flavors.load_object(f"{folder}/m.safetensors", "torch")["a"], torch.ones(2))


def test_a_module_is_not_served_without_its_code(folder: str) -> None:
    flavors.save_object(network(), folder)
    with pytest.raises(InvalidInput, match=r"not the code of torch\.nn\.modules\.container\.Sequential; .*scoring script"):
        flavors.load_predictor(folder, "torch", None)


def test_the_signature_of_tensors_is_that_of_arrays(folder: str) -> None:
    sample = torch.ones(5, 3)
    found = flavors.save_object(network(), folder, sample={"x": sample, "half": sample.bfloat16()}, outputs=network()(sample))
    assert found.signature
    assert [(spec.name, spec.type, spec.shape) for spec in found.signature.inputs] == [("x", "float", [-1, 3]), ("half", "float", [-1, 3])]
    assert found.input_example == {"x": [[1.0] * 3] * 3, "half": [[1.0] * 3] * 3}
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_sparse_state_is_refused_with_the_reason(folder: str) -> None:
    with pytest.raises(Refused, match="safetensors cannot hold it"):
        flavors.save_object({"a": torch.eye(3).to_sparse()}, folder)


@pytest.mark.parametrize("is_legacy", [False, True])
def test_what_torch_saves_itself_is_known_where_it_holds_only_tensors(is_legacy: bool, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "m.pt", _use_new_zipfile_serialization=not is_legacy)
    scan = scan_tree(open_local(str(tmp_path / "m.pt")))
    assert scan.verdict == "known-pickle", scan
    torch.save({"model": network(), "path": tmp_path}, tmp_path / "own.pt", _use_new_zipfile_serialization=not is_legacy)
    assert scan_tree(open_local(str(tmp_path / "own.pt"))).verdict == "unknown-names"
