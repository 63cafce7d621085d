"""torch models as the state of their parameters in safetensors; the class itself stays code, in your own package."""

from __future__ import annotations

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
        raise InvalidInput(f"The files hold parameters, not the code of {kind}; serve them with a scoring script that builds the module.")


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
