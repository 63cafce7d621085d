"""ONNX models as they are, answered by onnxruntime."""

from __future__ import annotations

import os
from typing import Any

from ..entities.model import ColumnSpec, Signature
from ..errors import InvalidInput
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.onnx"
# onnxruntime's words -> numpy's, and a signature's where it has others.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    **{f"tensor({sign}int{size})": f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)},
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}
_WORDS = {"float32": "float", "float64": "double", "int64": "long", "int32": "integer", "bool": "boolean", "str": "string"}


class OnnxFlavor:
    """``model.onnx``"""

    name = "onnx"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders and any single ONNX file."""
        return layout.detect_by_ending(tree, self.name, ".onnx")

    def accepts(self, value: object) -> bool:
        """Take a ``ModelProto``."""
        return type(value).__name__ == "ModelProto" and hasattr(value, "opset_import") and hasattr(value, "SerializeToString")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.onnx``."""
        with open(os.path.join(folder, FILE), "wb") as stream:
            stream.write(value.SerializeToString())
        return {"file": FILE, "format": "onnx", "packages": layout.versions("onnx")}

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Return an ``onnxruntime.InferenceSession``."""
        return open_session(layout.find_on_disk(path, ".onnx"))

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load a session to answer requests."""
        return SessionPredictor(self.load(path, is_trusted=is_trusted))


def open_session(file: str, threads: int | None = None) -> Any:
    """Return a session that leaves the processor to others while it has nothing to do.

    Parameters
    ----------
    threads
        How many one call may use; by default what ``OMP_NUM_THREADS`` says, else as many as there are cores.
    """
    runtime = layout.need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    said = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = threads if threads is not None else int(said) if said.isdigit() else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(file, options, providers=runtime.get_available_providers())


class SessionPredictor:
    """Asks a session: one input takes an array, several take tensors by name; one output is given bare, several by name.

    ``signature`` is what the graph itself declares.
    """

    platform = "onnxruntime_onnx"  # Source: Triton, model configuration

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = {item.name: (_DTYPES.get(item.type), len(item.shape or ())) for item in session.get_inputs()}
        self._outputs = [item.name for item in session.get_outputs()]
        self.wants = "array" if len(self._inputs) == 1 else "tensors"
        self.signature = _signature(session)
        # Rows may come together where the graph leaves their number open on both sides.
        specs = self.signature.inputs + self.signature.outputs if self.signature else []
        self.is_batchable = bool(specs) and all(spec.shape and spec.shape[0] == -1 for spec in specs)

    def __call__(self, rows: Any) -> Any:
        """Predict an array, or tensors by name; what has the graph's type already is not copied."""
        import numpy as np

        given = rows if isinstance(rows, dict) else {next(iter(self._inputs)): rows}
        missing = [name for name in self._inputs if name not in given]
        if missing:
            raise InvalidInput(f'The input "{missing[0]}" is missing; the model takes {", ".join(self._inputs)}.')
        feeds = {name: _as_column(np.asarray(given[name], dtype=dtype), rank) for name, (dtype, rank) in self._inputs.items()}
        values = self._session.run(None, feeds)
        return values[0] if len(values) == 1 else dict(zip(self._outputs, values, strict=True))


def _as_column(array: Any, rank: int) -> Any:
    """Return a column of a table as the graph has it, (n) or (n, 1)."""
    if array.ndim == 1 and rank == 2:
        return array.reshape(-1, 1)
    return array.reshape(-1) if array.ndim == 2 and rank == 1 and array.shape[1] == 1 else array


def _signature(session: Any) -> Signature | None:
    """Return the graph's inputs and outputs; None where it leaves a rank or a type open that a signature cannot."""
    inputs = [_spec(item) for item in session.get_inputs()]
    outputs = [_spec(item) for item in session.get_outputs()]
    return Signature(inputs=inputs, outputs=[spec for spec in outputs if spec.shape]) if all(spec.shape for spec in inputs) else None


def _spec(item: Any) -> ColumnSpec:
    dtype = _DTYPES.get(item.type)
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in item.shape or []] if dtype else None
    return ColumnSpec(name=item.name, type=_WORDS.get(str(dtype), str(dtype)), shape=shape)
