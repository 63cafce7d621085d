"""scikit-learn estimators as skops files, which name the types they construct and run nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import zipfile
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from ..entities.model import Signature
from ..errors import UnsafeModel
from ..safe_names import is_allowed
from . import layout
from .predictors import ObjectPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.skops"
SCHEMA = "schema.json"


class SklearnFlavor:
    """``model.skops``"""

    name = "sklearn"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders and any single skops file."""
        return layout.detect_by_ending(tree, self.name, ".skops")

    def accepts(self, value: object) -> bool:
        """Take everything that descends from scikit-learn's base class."""
        return layout.is_instance_of(value, "sklearn.base.BaseEstimator")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.skops``; it names classes and functions, so each must be found again by its name."""
        skops = layout.need("skops.io", "sklearn")
        file = os.path.join(folder, FILE)
        try:
            held = io.BytesIO()
            skops.dump(value, held)
            _write_settled(held, file)
            lost = [name for name in skops.get_untrusted_types(file=file) if not _can_be_found(name)]
        except OSError:  # the disk is at fault, not the object
            raise
        except Exception as error:  # a stranger's class may make skops raise anything
            layout.empty(folder)
            raise layout.CannotSave(f"skops cannot hold it ({layout.in_a_line(error)})") from None
        if lost:
            layout.empty(folder)
            raise layout.CannotSave(f"it holds {', '.join(lost[:3])}, which no other process could import; move it into a module")
        return {
            "file": FILE,
            "format": "skops",
            "class": layout.kind_of(value),
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
        """Load the estimator to answer requests, in a process that does nothing else."""
        with suppress(UnsafeModel), _light_imports():
            return _predictor(self.load(path, is_trusted=False), signature)
        return _predictor(self.load(path, is_trusted=is_trusted), signature)  # it names what skops alone knows to be safe, or needs trust


def _write_settled(held: io.BytesIO, file: str) -> None:
    """Write a skops file so that equal estimators are equal files, which are kept once.

    skops calls objects and files by where they lie in memory, and zip notes the time. Source: skops.io._persist, _utils.
    """
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(file, "w") as new:
        schema = json.loads(old.read(SCHEMA))
        numbers: dict[int, int] = {}
        names: dict[str, str] = {}
        waiting = [schema]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting.extend(node)
            if not isinstance(node, dict):
                continue
            if type(node.get("__id__")) is int:  # what stands in an object's own dictionary is a node, never a number
                node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
            if isinstance(node.get("file"), str):
                node["file"] = names.setdefault(node["file"], f"{len(names)}{os.path.splitext(node['file'])[1]}")
            waiting.extend(node.values())
        for name, settled in names.items():
            with old.open(name) as source, new.open(zipfile.ZipInfo(settled), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        new.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(schema, indent=2))


def _predictor(value: Any, signature: Signature | None) -> Predictor:
    _forget_names(value, signature)
    return ObjectPredictor(value, is_batchable=True)  # predict() is by row there


def _forget_names(value: Any, signature: Signature | None) -> None:
    """Let an estimator that was fitted on a table of numbers take bare rows, where it looks at the names only to check them.

    Making a DataFrame of a row takes longer than asking most models, and pandas 40 MB.
    """
    specs = signature.inputs if signature else []
    types = {spec.type for spec in specs}
    names = getattr(value, "feature_names_in_", None)
    if names is None or [spec.name for spec in specs] != list(names) or any(spec.shape or spec.required is False for spec in specs):
        return
    parts = list(_estimators(value))
    holds_categories = any(hasattr(part, "categories_") for part in parts)  # of a column in its own type, which one array for all changes
    if all(map(_is_by_place, parts)) and types <= _NUMBERS and not (holds_categories and len(types) > 1):
        for part in parts:
            vars(part).pop("feature_names_in_", None)


def _is_by_place(part: Any) -> bool:
    return (
        type(part).__module__.startswith("sklearn.") and type(part).__name__ not in _BY_NAME and not hasattr(part, "_sklearn_output_config")
    )


# What picks columns by name, or hands a whole table to a function; `set_output` asks for tables between two steps.
_BY_NAME = {"ColumnTransformer", "FunctionTransformer"}
_NUMBERS = {"double", "float", "long", "integer"}


def _estimators(value: Any) -> Iterator[Any]:
    """Yield an estimator and all that it holds."""
    from sklearn.base import BaseEstimator

    seen, waiting = set(), [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, BaseEstimator):
            yield item
            waiting.extend(vars(item).values())
        elif isinstance(item, (list, tuple, set)):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())


@contextmanager
def _light_imports() -> Iterator[None]:
    """Import scikit-learn without pandas, and skops without all of scikit-learn, which takes 70 MB and 0.7 s; who asks for them afterwards gets them.

    scikit-learn imports pandas wherever it finds it, and from 1.7 on uses it only where it asks for it again. skops imports
    every estimator to list what it trusts by itself; here it trusts nothing, and all is asked of `safe_names`.
    """
    if not {"pandas", "sklearn", "skops"}.isdisjoint(sys.modules) or not _is_from_1_7():
        yield
        return
    trusted = ModuleType("skops.io._trusted_types")
    vars(trusted)["__getattr__"] = lambda name: []
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Source: Python, "The import system": then it is not found
    try:
        layout.need("sklearn", "sklearn")
    finally:
        del sys.modules["pandas"]
    sys.modules[trusted.__name__] = trusted
    try:
        layout.need("skops.io", "sklearn")
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "skops"]:
            del sys.modules[name]


def _is_from_1_7() -> bool:
    numbers = re.findall(r"\d+", layout.versions("scikit-learn").get("scikit-learn", "0"))
    return [int(number) for number in numbers[:2]] >= [1, 7]


def _can_be_found(name: str) -> bool:
    """Say whether another process can import what a skops file calls by name."""
    module, _, last = name.rpartition(".")
    return module not in ("", "__main__") and hasattr(sys.modules.get(module), last)
