"""XGBoost boosters in the library's own file, which holds trees and numbers and no code."""

from __future__ import annotations

import json
import os
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput
from ..trees import read_bytes
from . import layout
from .predictors import ObjectPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.ubj"
ENDINGS = (".ubj", ".json", ".xgb", ".model")
# How its files begin. Source: XGBoost, "Introduction to Model IO".
_HEADS = (b"{L\0\0\0\0\0\0\0\x07learner", b'{"learner":')
# What a file's neighbour may ask to be made: no other name of the library is looked up.
_WRAPPERS = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")


class XgboostFlavor:
    """``model.ubj``"""

    name = "xgboost"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders, and any tree with one file that begins as XGBoost's do."""
        from . import Detection

        path = layout.only_file(tree, *ENDINGS)
        head = read_bytes(tree, path, limit_bytes=64) if path else b""
        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if head.startswith(_HEADS) else None)

    def accepts(self, value: object) -> bool:
        """Take boosters, and the estimators around one."""
        return layout.is_instance_of(value, "xgboost.core.Booster", "xgboost.sklearn.XGBModel")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.ubj``; an estimator's parameters stand in ``modelreg.json``."""
        kind = layout.kind_of(value)
        is_estimator = layout.is_instance_of(value, "xgboost.sklearn.XGBModel")
        if is_estimator and kind.rpartition(".")[2] not in _WRAPPERS:
            raise layout.CannotSave(f"XGBoost's own file knows no {kind}")
        parameters = _parameters(value) if is_estimator else None
        try:
            value.save_model(os.path.join(folder, FILE))
        except (ValueError, TypeError) as error:  # not fitted; XGBoostError is a ValueError
            layout.empty(folder)
            raise layout.CannotSave(f"XGBoost cannot write it ({layout.in_a_line(error)})") from None
        facts = {"file": FILE, "format": "ubj", "class": kind, "packages": layout.versions("xgboost", "xgboost-cpu", "numpy")}
        return {**facts, "parameters": parameters} if parameters else facts

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return the booster, or the estimator that was saved."""
        library = layout.need("xgboost", "xgboost")
        facts = layout.read_folder(path)
        kind = str(facts.get("class")).rpartition(".")[2]
        parameters = facts.get("parameters")
        value = getattr(library, kind)(**(parameters if isinstance(parameters, dict) else {})) if kind in _WRAPPERS else library.Booster()
        value.load_model(_file_of(path))
        return value

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load it to answer requests."""
        value = self.load(path, is_trusted=is_trusted)
        return BoosterPredictor(value) if layout.kind_of(value) == "xgboost.core.Booster" else EstimatorPredictor(value)


class EstimatorPredictor(ObjectPredictor):
    """Asks an estimator; only one with categories needs a frame, which costs it three times as long."""

    def __init__(self, value: Any) -> None:
        super().__init__(value, is_batchable=True)
        self.wants = "frame" if "c" in (value.get_booster().feature_types or []) else "array"


class BoosterPredictor:
    """Asks a booster: rows as an array, shape (n, features); NaN is a missing value."""

    wants = "array"
    is_batchable = True

    def __init__(self, booster: Any) -> None:
        if "c" in (booster.feature_types or []):
            raise InvalidInput(
                "A Booster with categories cannot be asked by rows alone; register the estimator around it, or write a scoring script."
            )
        self._booster = booster

    def __call__(self, rows: Any) -> Any:
        """Predict rows, as ``Booster.inplace_predict`` does."""
        return self._booster.inplace_predict(rows)


def _parameters(value: Any) -> dict[str, Any]:
    """Return an estimator's parameters that are not the default and can stand in a file."""
    default = type(value)().get_params()
    given = {name: item for name, item in value.get_params().items() if item is not None and repr(item) != repr(default.get(name))}
    for name, item in given.items():
        try:
            json.dumps(item, allow_nan=False)
        except (TypeError, ValueError):
            raise layout.CannotSave(f"its parameter {name} is no value that JSON holds: {str(item)[:60]}") from None
    return given


def _file_of(path: str) -> str:
    return path if os.path.isfile(path) else layout.find_on_disk(path, *ENDINGS)
