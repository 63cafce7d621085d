"""Triton model repositories: ``<model>/<version>/model.onnx`` with an optional ``config.pbtxt``.

Source: NVIDIA Triton, model repository. ONNX models are served here without Triton.
"""

from __future__ import annotations

import os
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput
from ..trees import paths
from . import layout
from .onnx import OnnxFlavor, SessionPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILES = ("model.onnx", "model.pt", "model.plan", "model.py", "model.savedmodel")


class TritonFlavor:
    """A folder of models with numbered versions."""

    name = "triton"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise ``<model>/<integer>/model.*``."""
        from . import Detection

        found = [path for path in paths(tree) if _is_model(path)]
        return Detection(type="triton_model", flavor=self.name) if found and not tree.is_file else None

    def accepts(self, value: object) -> bool:
        """Take nothing: a repository is files."""
        return False

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Raise: a repository is files."""
        raise layout.CannotSave("a Triton repository is registered from its folder")

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return an ONNX session of the highest version of the only model."""
        return OnnxFlavor().load(self._newest(path), is_trusted=is_trusted)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load the highest version of the only model to answer requests."""
        return SessionPredictor(self.load(path, is_trusted=is_trusted))

    def _newest(self, path: str) -> str:
        models = sorted(name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name)))
        if len(models) != 1:
            raise InvalidInput(f"The repository holds {len(models)} models ({', '.join(models)}); this version serves repositories of one.")
        versions = sorted((int(name) for name in os.listdir(os.path.join(path, models[0])) if name.isdigit()), reverse=True)
        file = os.path.join(path, models[0], str(versions[0]), "model.onnx")
        if not os.path.isfile(file):
            raise InvalidInput(f"{models[0]}/{versions[0]} has no model.onnx; other formats of Triton are not served here.")
        return file


def _is_model(path: str) -> bool:
    parts = path.split("/")
    return len(parts) >= 3 and parts[-2].isdigit() and parts[-1] in FILES
