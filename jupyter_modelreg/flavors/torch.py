"""torch models as the state of their parameters in safetensors; the class itself stays code, in your own package."""

from __future__ import annotations

import ast
import os
import warnings
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput
from ..tensors import header_end, parse_header
from ..trees import paths, read_bytes
from . import layout
from .numpy import map_safetensors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.safetensors"


class TorchFlavor:
    """``model.safetensors`` with torch tensors."""

    name = "torch"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders, and checkpoints in safetensors that torch wrote."""
        from . import Detection

        path = layout.only_file(tree, ".safetensors") or next(iter(layout.shards(paths(tree))), None)
        is_torch = path is not None and _metadata(tree, path).get("format") == "pt"
        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if is_torch else None)

    def accepts(self, value: object) -> bool:
        """Take a module, or a state dict of tensors."""
        if isinstance(value, dict):
            return bool(value) and all(layout.is_instance_of(item, "torch.Tensor", "torch._tensor.Tensor") for item in value.values())
        return layout.is_instance_of(value, "torch.nn.modules.module.Module")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write the parameters; tensors that share memory are written once."""
        from safetensors.torch import save_file, save_model

        file = os.path.join(folder, FILE)
        try:
            if isinstance(value, dict):
                save_file(_apart(value), file, metadata={"format": "pt"})
            else:
                save_model(value, file, metadata={"format": "pt"})
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            layout.empty(folder)
            raise layout.CannotSave(f"safetensors cannot hold it ({layout.in_a_line(error)})") from None
        return {
            "file": FILE,
            "format": "safetensors",
            "class": layout.kind_of(value),
            "packages": layout.versions("torch", "safetensors"),
        }

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return the state: a dict of tensors over the file's own pages, for ``module.load_state_dict``.

        Where torch is not installed the tensors are numpy arrays, and a warning says so.
        """
        files = layout.find_safetensors(path)
        try:
            from safetensors.torch import load_file
        except ModuleNotFoundError:
            warnings.warn("torch is not installed here; the tensors come as numpy arrays.", stacklevel=2)
            return map_safetensors(*files)
        return {name: tensor for file in files for name, tensor in load_file(file).items()}

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Raise: parameters need their class."""
        kind = layout.read_folder(path).get("class", "its class")
        raise InvalidInput(
            f"The files hold parameters, not the code of {kind}; give it (--model-class MODULE:CLASS), or serve them with a scoring script."
        )


def parse_class(text: str) -> tuple[str, str, list[Any], dict[str, Any]]:
    """Return module, class, arguments and named arguments of ``nets:Net`` or ``nets:Net(4, hidden=[8, 8])``; nothing is run.

    Raises
    ------
    InvalidInput
        If it is neither, or an argument is no literal.
    """
    module, _, called = text.partition(":")
    try:
        node = ast.parse(called.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
        if not (all(map(str.isidentifier, module.strip().split("."))) and isinstance(call.func, ast.Name)):
            raise ValueError
        named = {item.arg: ast.literal_eval(item.value) for item in call.keywords if item.arg}
        if len(named) < len(call.keywords):  # **more
            raise ValueError
        return module.strip(), call.func.id, [ast.literal_eval(item) for item in call.args], named
    except (SyntaxError, ValueError, RecursionError):
        raise InvalidInput(
            f"{text[:80]!r} names no class: nets:Net, or nets:Net(4, hidden=[8, 8]) with plain values.",
            key="code_configuration.model_class",
        ) from None


def module_predictor(path: str, model_class: str, code_folder: str | None, signature: Signature | None) -> Predictor:
    """Build a module of a class that is given, over the parameters in a version's files.

    Parameters
    ----------
    model_class
        As `parse_class` reads it. Who deploys names it, never the files: making an object runs its code.
    code_folder
        Where its module lies; None where it is installed.

    Raises
    ------
    InvalidInput
        If it is no ``torch.nn.Module``, or the parameters do not fit it.
    """
    import sys
    from importlib import import_module

    name, kind, arguments, named = parse_class(model_class)
    if code_folder and code_folder not in sys.path:
        sys.path.insert(0, code_folder)
    torch = layout.need("torch", "torch")
    made = getattr(import_module(name), kind, None)
    if not (isinstance(made, type) and issubclass(made, torch.nn.Module)):
        raise InvalidInput(f"{name}:{kind} is no torch.nn.Module.", key="code_configuration.model_class")
    module = made(*arguments, **named)
    _fill(module, TorchFlavor().load(path, is_trusted=False))
    return ModulePredictor(module.eval(), signature)


class ModulePredictor:
    """Asks a module without recording gradients; numbers come in the type of its parameters.

    Whole numbers stay whole where the module looks things up by them (``torch.nn.Embedding``); other layers want fractions.
    """

    is_batchable = True

    def __init__(self, module: Any, signature: Signature | None) -> None:
        import torch

        self._torch, self._module = torch, module
        self.wants = "tensors" if signature and len(signature.inputs) > 1 and signature.inputs[0].shape else "array"
        self._looks_up = any(isinstance(item, (torch.nn.Embedding, torch.nn.EmbeddingBag)) for item in module.modules())
        self._dtype = next((item.dtype for item in module.parameters() if item.is_floating_point()), torch.float32)

    def __call__(self, rows: Any) -> Any:
        """Ask for an array, or tensors by name; several answers come by name."""
        with self._torch.inference_mode():
            if isinstance(rows, dict):
                return self._plain(self._module(**{name: self._tensor(array) for name, array in rows.items()}))
            return self._plain(self._module(self._tensor(rows)))

    def _tensor(self, array: Any) -> Any:
        import numpy as np

        tensor = self._torch.from_numpy(np.array(array))  # a copy, because a request's bytes may not be written to
        return tensor.to(self._dtype) if tensor.is_floating_point() or not self._looks_up else tensor

    def _plain(self, answer: Any) -> Any:
        if isinstance(answer, self._torch.Tensor):
            return (answer.float() if answer.dtype == self._torch.bfloat16 else answer).numpy()
        if isinstance(answer, (tuple, list)):
            answer = {f"output_{number}": item for number, item in enumerate(answer)}
        if not hasattr(answer, "items"):
            raise InvalidInput(f"forward() returned a {type(answer).__name__}; tensors can be sent, one or several.")
        return {str(name): self._plain(item) for name, item in answer.items() if item is not None}


def _fill(module: Any, state: dict[str, Any]) -> None:
    """Give a module its parameters, over the file's own pages; names that share memory there need one of them only."""
    own = module.state_dict(keep_vars=True)
    twins: dict[int, list[str]] = {}
    for name, tensor in own.items():
        twins.setdefault(id(tensor), []).append(name)
    for names in twins.values():
        given = next((name for name in names if name in state), None)
        if given is not None:
            state.update(dict.fromkeys(names, state[given]))
    wrong = [
        *(f'the file lacks "{name}"' for name in own if name not in state),
        *(f'the class has no "{name}"' for name in state if name not in own),
        *(
            f'"{name}" is {list(state[name].shape)} in the file and {list(tensor.shape)} in the class'
            for name, tensor in own.items()
            if name in state and state[name].shape != tensor.shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InvalidInput(
            f"The parameters do not fit {layout.kind_of(module)}: {'; '.join(wrong[:3])}{more}.", key="code_configuration.model_class"
        )
    module.load_state_dict(state, assign=True)


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """Give each tensor memory of its own, which the format asks for; tied weights come twice, as in the state itself."""
    apart, seen = {}, set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage()
        is_alone = memory.data_ptr() not in seen and memory.nbytes() == tensor.numel() * tensor.element_size()
        apart[str(name)] = tensor.detach().contiguous() if is_alone else tensor.detach().clone().contiguous()
        seen.add(memory.data_ptr())
    return apart


def _metadata(tree: Tree, path: str) -> dict[str, str]:
    """Return the ``__metadata__`` of a safetensors file; empty when there is none or the header is broken."""
    size = next(item.size_bytes for item in tree.files() if item.path == path)
    end = header_end(read_bytes(tree, path, limit_bytes=8), size)
    try:
        return parse_header(read_bytes(tree, path, limit_bytes=end)[8:], size - end)[1]
    except ValueError:
        return {}
