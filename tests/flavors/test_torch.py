"""torch models, where torch is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import flavors
from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput, Refused
from jupyter_modelreg.flavors.torch import ModulePredictor, TorchFlavor, module_predictor
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


CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, width=2, *, layers=(4, 4)):
        super().__init__()
        sizes = [width, *layers, 1]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 3)
        self.out = torch.nn.Linear(3, 10, bias=False)
        self.twin = torch.nn.Linear(3, 10, bias=False)
        self.twin.weight = self.out.weight

    def forward(self, x):
        hidden = self.table(x).mean(1)
        return {"first": self.out(hidden), "second": self.twin(hidden), "none": None}


def make():
    return torch.nn.Linear(1, 1)
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with the classes, in a folder of its own that is found only where it is said."""
    import importlib.util
    import sys

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "some_nets.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("elsewhere", tmp_path / "code" / "some_nets.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("some_nets", None)


def test_a_module_answers_when_its_class_is_given(folder: str, nets: Any, tmp_path: Path) -> None:
    net = nets.Net(3, layers=[5])
    flavors.save_object(net, folder)
    predict = module_predictor(folder, "some_nets:Net(3, layers=[5])", str(tmp_path / "code"), None)
    rows = torch.arange(12.0).reshape(4, 3)
    for given in (rows.numpy(), rows.double().numpy(), rows.long().numpy()):
        torch.testing.assert_close(torch.from_numpy(predict(given)), net(rows).detach())


def test_whole_numbers_stay_whole_where_they_are_looked_up_and_tied_weights_come_back(folder: str, nets: Any, tmp_path: Path) -> None:
    words = nets.Words()
    flavors.save_object(words, folder)
    predict = module_predictor(folder, "some_nets:Words", str(tmp_path / "code"), None)
    answer = predict(torch.tensor([[1, 2], [3, 4]]).numpy())
    assert list(answer) == ["first", "second"]
    expected = words(torch.tensor([[1, 2], [3, 4]]))
    torch.testing.assert_close(torch.from_numpy(answer["second"]), expected["second"].detach())


def test_parameters_of_half_precision_answer_numbers_that_json_holds(folder: str) -> None:
    flavors.save_object(torch.nn.Linear(2, 1).bfloat16(), folder)
    assert module_predictor(folder, "torch.nn:Linear(2, 1)", None, None)(torch.ones(3, 2).numpy()).dtype == "float32"


def test_several_inputs_come_by_name() -> None:
    class Add(torch.nn.Module):  # type: ignore[misc]
        def forward(self, a: Any, b: Any) -> Any:
            return a + b, a - b

    specs = [ColumnSpec(name=name, type="float", shape=[-1, 2]) for name in ("a", "b")]
    predict = ModulePredictor(Add(), Signature(inputs=specs))
    assert predict.wants == "tensors"
    answer = predict({"a": torch.ones(1, 2).numpy(), "b": torch.ones(1, 2).numpy()})
    assert {name: value.tolist() for name, value in answer.items()} == {"output_0": [[2.0, 2.0]], "output_1": [[0.0, 0.0]]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("some_nets:Net(2)", r'"layers\.0\.weight" is \[5, 3\] in the file and \[4, 2\] in the class.* and \d more'),
        ("some_nets:Net(3, layers=[5, 5])", r"the file lacks \"layers\.2\.weight\""),
        ("some_nets:Words", 'the file lacks "table.weight".* and 4 more'),
        ("some_nets:Net(3, layers=[])", r'the class has no "layers\.1\.weight"'),
        ("some_nets:make", r"some_nets:make is no torch\.nn\.Module"),
        ("some_nets:Nope", r"some_nets:Nope is no torch\.nn\.Module"),
        ("os:system('true')", r"os:system is no torch\.nn\.Module"),
    ],
)
def test_a_class_that_does_not_fit_says_why(given: str, message: str, folder: str, nets: Any, tmp_path: Path) -> None:
    flavors.save_object(nets.Net(3, layers=[5]), folder)
    with pytest.raises(InvalidInput, match=message):
        module_predictor(folder, given, str(tmp_path / "code"), None)


@pytest.mark.usefixtures("nets")
def test_it_is_deployed_from_a_notebook_with_the_class_in_the_cell(workspace: Any, tmp_path: Path) -> None:
    from jupyter_modelreg.commands.model import CreateModel
    from jupyter_modelreg.commands.online import DeleteOnlineEndpoint, DeployModel, InvokeOnlineEndpoint
    from jupyter_modelreg.models import register_object
    from jupyter_modelreg.online import delete_endpoint, deploy_model, invoke_endpoint

    net = network()
    register_object(workspace, CreateModel(name="net"), net)
    (tmp_path / "code" / "score.py").write_text(
        "import torch\nclass Net(torch.nn.Sequential):\n  def __init__(self, n):\n    L = torch.nn.Linear\n    super().__init__(L(3, n), torch.nn.ReLU(), L(n, 1))\n"
    )
    try:
        command = DeployModel(name="net", code=str(tmp_path / "code"), model_class="score:Net(4)")
        assert deploy_model(workspace, command).state == "healthy"
        answer = invoke_endpoint(workspace, InvokeOnlineEndpoint(name="net", data=json.dumps({"input_data": [[1, 2, 3.5]]}))).body
        torch.testing.assert_close(torch.tensor(answer), net(torch.tensor([[1, 2, 3.5]])).detach())
    finally:
        delete_endpoint(workspace, DeleteOnlineEndpoint(name="net"))
