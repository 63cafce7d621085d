"""Pickles: whatever nothing safer holds. Loading one runs what it says, so the scanner looks first."""

from __future__ import annotations

import os
import warnings
from typing import Any

from ..entities.model import Signature
from . import layout
from .predictors import ObjectPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.pkl"
ENDINGS = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill")


class PickleWarning(UserWarning):
    """A model was saved as a pickle."""


class PickleFlavor:
    """``model.pkl`` by cloudpickle, and any single pickle or joblib file."""

    name = "pickle"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders and any single pickle."""
        from . import Detection

        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if layout.only_file(tree, *ENDINGS) else None)

    def accepts(self, value: object) -> bool:
        """Take anything; it is asked last and only on request."""
        return True

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.pkl`` and say what that means."""
        cloudpickle = layout.need("cloudpickle", "pickle")
        with open(os.path.join(folder, FILE), "wb") as stream:
            cloudpickle.dump(value, stream)
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        warnings.warn(
            f"{kind} was saved as a pickle: loading it runs code, so whoever loads it must trust you.", PickleWarning, stacklevel=2
        )
        return {"file": FILE, "format": "cloudpickle", "class": kind, "packages": layout.versions("cloudpickle")}

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Unpickle a file that was audited; joblib reads both kinds where it is installed."""
        file = layout.find_on_disk(path, *ENDINGS)
        try:
            from joblib import load
        except ModuleNotFoundError:
            import pickle

            with open(file, "rb") as stream:
                return pickle.load(stream)  # noqa: S301 - audited by the caller
        return load(file)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load the object to answer requests."""
        return ObjectPredictor(self.load(path, is_trusted=is_trusted))
