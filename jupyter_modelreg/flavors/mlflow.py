"""MLflow models as MLflow saved them: a folder with an ``MLmodel`` file."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

from ..entities.loading import parse_yaml
from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput
from ..trees import paths, read_bytes
from . import layout
from .signatures import bound_example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "MLmodel"
MAX_BYTES = 4 << 20
EXAMPLE = "serving_input_example.json"
# Libraries whose models answer each row alone; a model of a person's own may look at all of them together.
BY_ROW = ("mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost")
CALLERS_FAULTS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # Source: mlflow.exceptions, those that answer 400
_ENVELOPES = ("dataframe_split", "inputs", "instances", "dataframe_records")

# numpy's names in tensor signatures -> MLflow's words for columns.
_WORDS = {
    "float64": "double",
    "float32": "float",
    "float16": "float",
    "int64": "long",
    "int32": "integer",
    "int16": "integer",
    "int8": "integer",
    "uint32": "long",
    "uint16": "integer",
    "uint8": "integer",
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
        described = _parse(read_bytes(tree, FILE, limit_bytes=MAX_BYTES + 1))
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
            flavors = _parse(stream.read(MAX_BYTES + 1))["flavors"]
        for name in (str(name) for name in flavors if name != "python_function"):
            loader = _loader(name)
            if loader:
                return loader(path)
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
        loader = model.metadata.flavors.get("python_function", {}).get("loader_module")
        self.is_batchable = loader in BY_ROW
        wanted = model.metadata.get_params_schema()
        self.params = [spec.name for spec in wanted.params] if wanted else []
        schema = model.metadata.get_input_schema() if is_tensor else None
        self._dtypes = {spec.name: spec.type for spec in schema.inputs} if schema else {}

    def __call__(self, rows: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict rows; MLflow takes tensors, and params, of exactly the type that its signature names.

        Raises
        ------
        ValueError
            If MLflow finds the rows at fault.
        """
        if self.wants == "array" and self._dtypes:
            rows = rows.astype(self._dtypes[None])
        elif self.wants == "tensors":
            rows = {name: array.astype(self._dtypes.get(name, array.dtype)) for name, array in rows.items()}
        from mlflow.exceptions import MlflowException

        try:
            return self._model.predict(rows, params=params) if params else self._model.predict(rows)
        except MlflowException as error:
            if error.error_code in CALLERS_FAULTS:
                raise ValueError(str(error)) from error
            raise


def _loader(name: str) -> Any:
    """Return the function that loads a flavor, or None where MLflow or the flavor's library is not here to do so."""
    try:
        return getattr(import_module(f"mlflow.{name}"), "load_model", None) if name.isidentifier() else None
    except ModuleNotFoundError:
        return None


def _parse(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"MLmodel is larger than {MAX_BYTES >> 20} MiB; that is none that mlflow wrote.", key="path")
    try:
        described = parse_yaml(text.decode(), FILE)
    except UnicodeDecodeError:
        raise InvalidInput("MLmodel is not UTF-8 text.", key="path") from None
    flavors = described.get("flavors")
    if not isinstance(flavors, dict) or not all(isinstance(about, dict) for about in flavors.values()):
        raise InvalidInput('MLmodel has no "flavors"; is it one that mlflow wrote?', key="path")
    return described


def _signature(described: Any) -> Signature | None:
    """Read MLflow's JSON in YAML.

    Raises
    ------
    InvalidInput
        If it is none.
    """
    if not isinstance(described, dict):
        return None
    try:
        return Signature(inputs=_specs(described.get("inputs")), outputs=_specs(described.get("outputs")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"MLmodel has a signature that cannot be read ({layout.in_a_line(error)}).", key="path") from None


def _specs(text: Any) -> list[ColumnSpec]:
    """Return columns by name and type, or tensors by dtype and shape."""
    specs = []
    for column in json.loads(text) if isinstance(text, str) else []:
        tensor = column.get("tensor-spec")
        kind = _WORDS.get(tensor["dtype"], tensor["dtype"]) if tensor else str(column.get("type", "string"))
        shape = [int(size) for size in tensor["shape"]] if tensor else None
        name, required = column.get("name"), False if column.get("required") is False else None
        specs.append(ColumnSpec(name=None if name is None else str(name), type=str(kind), shape=shape, required=required))
    return specs


def _example(tree: Tree) -> Any:
    """Return the first rows of the example that MLflow keeps for serving; None when there is none that can be read."""
    if EXAMPLE not in set(paths(tree)):
        return None
    try:
        example = json.loads(read_bytes(tree, EXAMPLE, limit_bytes=MAX_BYTES))
    except (ValueError, RecursionError):
        return None
    return bound_example(next((example[key] for key in _ENVELOPES if isinstance(example, dict) and key in example), example))
