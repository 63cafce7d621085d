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
        held = {name: _versions(os.path.join(path, name)) for name in sorted(os.listdir(path))}
        models = [name for name, versions in held.items() if versions]
        if len(models) != 1:
            raise InvalidInput(f"The repository holds {len(models)} models ({', '.join(models)}); this version serves repositories of one.")
        version = max(held[models[0]])
        file = os.path.join(path, models[0], str(version), "model.onnx")
        if not os.path.isfile(file):
            raise InvalidInput(f"{models[0]}/{version} has no model.onnx; other formats of Triton are not served here.")
        return file


def explain(tree: Tree) -> str:
    """Say why a tree is no Triton model repository, and what would be right."""
    wanted = "A repository is a folder of models, each with numbered versions: MODEL/1/model.onnx (or .pt, .plan, .py)"
    if tree.is_file:
        return f"{tree.root} is a file. {wanted}."
    held = list(paths(tree))
    for path in held:
        parts = path.split("/")
        if parts[-1].startswith(FILES) and len(parts) == 2 and parts[0].isdigit():
            return f"{tree.root} is a model, {path} its version; register the folder that holds {tree.root}."
        if parts[-1].startswith(FILES) and len(parts) == 2:
            return f"{path} has no version folder; move it to {parts[0]}/1/{parts[1]}."
        if parts[-1].startswith(FILES) and len(parts) >= 3 and not parts[-2].isdigit():
            return f'{path} lies in "{parts[-2]}", which is no version; name the folder by a whole number.'
    return f"{wanted}, but it holds {', '.join(sorted(held)[:5])}."


def _versions(folder: str) -> list[int]:
    return [int(name) for name in os.listdir(folder) if name.isdigit()] if os.path.isdir(folder) else []


def _is_model(path: str) -> bool:
    """Say whether a file is a model, or lies in a folder that is one, as a SavedModel's do."""
    parts = path.split("/")
    return any(parts[at - 1].isdigit() and parts[at] in FILES for at in range(2, min(len(parts), 4)))
