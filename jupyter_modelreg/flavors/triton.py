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
        found = _newest(path)
        if len(found) != 1:
            raise InvalidInput(f"The repository holds {len(found)} models ({', '.join(found)}); load one by its file.")
        (_, file), *_ = found.values()
        return OnnxFlavor().load(file, is_trusted=is_trusted)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load the highest version of every model to answer requests."""
        sessions = {
            name: (version, SessionPredictor(OnnxFlavor().load(file, is_trusted=is_trusted)))
            for name, (version, file) in _newest(path).items()
        }
        return RepositoryPredictor(sessions)


class RepositoryPredictor:
    """The models of a repository, ``members``: version and predictor by name.

    Asked itself it is the only one there is; where there are several, the caller names one in the path of its request.
    """

    platform = SessionPredictor.platform

    def __init__(self, members: dict[str, tuple[str, SessionPredictor]]) -> None:
        self.members = members
        self._only = next(iter(members.values()))[1] if len(members) == 1 else None
        self.wants = self._only.wants if self._only else "tensors"
        self.signature = self._only.signature if self._only else None
        self.is_batchable = self._only.is_batchable if self._only else False

    def __call__(self, rows: Any) -> Any:
        """Predict with the only model.

        Raises
        ------
        InvalidInput
            If there are several.
        """
        if self._only is None:
            raise InvalidInput(f"This repository holds {', '.join(self.members)}; ask one of them: /v2/models/NAME/infer.")
        return self._only(rows)


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


def _newest(path: str) -> dict[str, tuple[str, str]]:
    """Return the highest version of each model of a repository and its file; Triton serves these where it is not told otherwise."""
    held = {name: _versions(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    found = {
        name: (str(max(versions)), os.path.join(path, name, str(max(versions)), "model.onnx"))
        for name, versions in held.items()
        if versions
    }
    missing = [f"{name}/{version}" for name, (version, file) in found.items() if not os.path.isfile(file)]
    if missing or not found:
        raise InvalidInput(f"{', '.join(missing) or 'The repository'} has no model.onnx; other formats of Triton are not served here.")
    return found


def _versions(folder: str) -> list[int]:
    return [int(name) for name in os.listdir(folder) if name.isdigit()] if os.path.isdir(folder) else []


def _is_model(path: str) -> bool:
    """Say whether a file is a model, or lies in a folder that is one, as a SavedModel's do."""
    parts = path.split("/")
    return any(parts[at - 1].isdigit() and parts[at] in FILES for at in range(2, min(len(parts), 4)))
