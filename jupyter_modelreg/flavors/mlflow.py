"""MLflow models as MLflow saved them: a folder with an ``MLmodel`` file."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput
from ..trees import paths, read_bytes
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "MLmodel"
EXAMPLE = "serving_input_example.json"
_ENVELOPES = ("dataframe_split", "inputs", "instances", "dataframe_records")

# numpy's names in tensor signatures -> MLflow's words for columns.
_WORDS = {
    "float64": "double",
    "float32": "float",
    "int64": "long",
    "int32": "integer",
    "bool": "boolean",
    "str": "string",
    "object": "string",
}


class MlflowFlavor:
    """``MLmodel`` and what it names."""

    name = "mlflow"

    def detect(self, tree: Tree) -> Detection | None:
        """Read ``MLmodel`` at the root: flavors, signature, input example.

        Raises
        ------
        InvalidInput
            If it is there and cannot be read.
        """
        from . import Detection

        if tree.is_file or FILE not in set(paths(tree)):
            return None
        described = _parse(read_bytes(tree, FILE))
        return Detection(
            type="mlflow_model",
            flavor=self.name,
            flavors=described["flavors"],
            signature=_signature(described.get("signature")),
            input_example=_example(tree),
        )

    def accepts(self, value: object) -> bool:
        """Take nothing: mlflow saves its models itself."""
        return False

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Raise: mlflow saves its models itself."""
        raise layout.CannotSave("save it with mlflow and register the folder")

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return the model of its own library where MLflow can, else MLflow's wrapper."""
        layout.need("mlflow", "mlflow")
        with open(os.path.join(path, FILE), "rb") as stream:
            flavors = _parse(stream.read())["flavors"]
        for name in (name for name in flavors if name != "python_function"):
            try:
                return import_module(f"mlflow.{name}").load_model(path)
            except (ModuleNotFoundError, AttributeError):
                continue
        return layout.need("mlflow.pyfunc", "mlflow").load_model(path)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load MLflow's wrapper to answer requests."""
        return MlflowPredictor(layout.need("mlflow.pyfunc", "mlflow").load_model(path), signature)


class MlflowPredictor:
    """Asks ``mlflow.pyfunc``: a frame for columns, an array or named arrays for tensors."""

    def __init__(self, model: Any, signature: Signature | None) -> None:
        self._model = model
        specs = signature.inputs if signature else []
        is_tensor = bool(specs) and specs[0].shape is not None
        self.wants = "frame" if not is_tensor else "array" if len(specs) == 1 and not specs[0].name else "tensors"

    def __call__(self, rows: Any) -> Any:
        """Predict rows."""
        return self._model.predict(rows)


def _parse(text: bytes) -> dict[str, Any]:
    import yaml

    try:
        described = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"MLmodel cannot be read: {str(error).splitlines()[0]}", key="path") from None
    if not isinstance(described, dict) or not isinstance(described.get("flavors"), dict):
        raise InvalidInput('MLmodel has no "flavors"; is it one that mlflow wrote?', key="path")
    return described


def _signature(described: Any) -> Signature | None:
    if not isinstance(described, dict):
        return None
    return Signature(inputs=_specs(described.get("inputs")), outputs=_specs(described.get("outputs")))


def _specs(text: Any) -> list[ColumnSpec]:
    """Read MLflow's JSON in YAML: columns by name and type, or tensors by dtype and shape."""
    columns = json.loads(text) if isinstance(text, str) else []
    specs = []
    for column in columns:
        tensor = column.get("tensor-spec")
        kind = _WORDS.get(tensor["dtype"], tensor["dtype"]) if tensor else str(column.get("type", "string"))
        specs.append(ColumnSpec(name=column.get("name"), type=kind, shape=tensor["shape"] if tensor else None))
    return specs


def _example(tree: Tree) -> Any:
    if EXAMPLE not in set(paths(tree)):
        return None
    try:
        example = json.loads(read_bytes(tree, EXAMPLE))
    except ValueError:
        return None
    return next((example[key] for key in _ENVELOPES if isinstance(example, dict) and key in example), example)
