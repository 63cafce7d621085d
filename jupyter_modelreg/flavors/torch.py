"""torch models as the state of their parameters in safetensors; the class itself stays code, in your own package."""

from __future__ import annotations

import json
import os
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput
from ..trees import read_bytes
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.safetensors"


class TorchFlavor:
    """``model.safetensors`` with torch tensors."""

    name = "torch"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders, and safetensors files that torch wrote."""
        from . import Detection

        path = layout.only_file(tree, ".safetensors")
        is_ours = path and _metadata(read_bytes(tree, path)).get("format") == "pt"
        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if is_ours else None)

    def accepts(self, value: object) -> bool:
        """Take a module, or a state dict of tensors."""
        if isinstance(value, dict):
            return bool(value) and all(layout.is_instance_of(item, "torch.Tensor", "torch._tensor.Tensor") for item in value.values())
        return layout.is_instance_of(value, "torch.nn.modules.module.Module")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write the parameters; tensors that share memory are written once."""
        from safetensors.torch import save_file, save_model

        file = os.path.join(folder, FILE)
        if isinstance(value, dict):
            save_file({name: tensor.contiguous() for name, tensor in value.items()}, file, metadata={"format": "pt"})
        else:
            save_model(value, file, metadata={"format": "pt"})
        return {
            "file": FILE,
            "format": "safetensors",
            "class": f"{type(value).__module__}.{type(value).__qualname__}",
            "packages": layout.versions("torch", "safetensors"),
        }

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return the state: a dict of tensors over the file's own pages, for ``module.load_state_dict``."""
        layout.need("torch", "torch")
        from safetensors.torch import load_file

        return load_file(layout.find_on_disk(path, ".safetensors"))

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Raise: parameters need their class."""
        kind = layout.read_folder(path).get("class", "its class")
        raise InvalidInput(f"The files hold parameters, not the code of {kind}; serve them with a scoring script that builds the module.")


def _metadata(head: bytes) -> dict[str, str]:
    length = int.from_bytes(head[:8], "little")
    try:
        metadata: dict[str, str] = json.loads(head[8 : 8 + length]).get("__metadata__", {})
    except (ValueError, AttributeError):
        return {}
    return metadata
