"""scikit-learn estimators as skops files, which name the types they construct and run nothing else."""

from __future__ import annotations

import os
from typing import Any

from ..entities.model import Signature
from ..errors import UnsafeModel
from ..safe_names import is_allowed
from . import layout
from .predictors import ObjectPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.skops"


class SklearnFlavor:
    """``model.skops``"""

    name = "sklearn"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders and any single skops file."""
        from . import Detection

        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if layout.only_file(tree, ".skops") else None)

    def accepts(self, value: object) -> bool:
        """Take everything that descends from scikit-learn's base class."""
        return layout.is_instance_of(value, "sklearn.base.BaseEstimator")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.skops``."""
        skops = layout.need("skops.io", "sklearn")
        try:
            skops.dump(value, os.path.join(folder, FILE))
        except Exception as error:  # a stranger's class may make skops raise anything
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            raise layout.CannotSave(
                f"skops cannot hold it ({type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''})"
            ) from None
        return {
            "file": FILE,
            "format": "skops",
            "class": f"{type(value).__module__}.{type(value).__qualname__}",
            "packages": layout.versions("scikit-learn", "skops", "numpy"),
        }

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Construct the estimator; types that are not on the allow-list need trust."""
        skops = layout.need("skops.io", "sklearn")
        file = layout.find_on_disk(path, ".skops")
        named = skops.get_untrusted_types(file=file)
        unknown = [name for name in named if not is_allowed(name)]
        if unknown and not is_trusted:
            raise UnsafeModel(
                f"{os.path.basename(file)} constructs {', '.join(unknown[:5])}, which is not known to be safe. "
                "If you trust whoever made it, add --trust (in Python trust=True)."
            )
        return skops.load(file, trusted=named)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load the estimator to answer requests."""
        return ObjectPredictor(self.load(path, is_trusted=is_trusted))
