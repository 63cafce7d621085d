"""Arrays as safetensors: a JSON header and raw bytes, mapped from disk without a copy."""

from __future__ import annotations

import os
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput, Unavailable
from ..tensors import header_end, parse_header
from ..trees import paths
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..tensors import Tensor
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.safetensors"
ENDINGS = (".safetensors", ".npy", ".npz")
SINGLE = "array"  # name of the one tensor of a bare array

# Source: safetensors format, dtype names.
_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_MORE_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}  # as ml_dtypes calls them
_KNOWN = frozenset(name.replace("u1", "|u1").replace("i1", "|i1") for name in _DTYPES.values())


class NumpyFlavor:
    """``model.safetensors`` of one array or a dict of arrays; ``.npy`` and ``.npz`` files are read too."""

    name = "numpy"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders, single array files, and a checkpoint in several safetensors files."""
        from . import Detection

        found = layout.detect_by_ending(tree, self.name, *ENDINGS)
        return found or (Detection(flavor=self.name) if layout.shards(paths(tree)) else None)

    def accepts(self, value: object) -> bool:
        """Take an array, or a dict of arrays by name."""
        if isinstance(value, dict):
            return bool(value) and all(isinstance(key, str) and _is_array(item) for key, item in value.items())
        return _is_array(value)

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.safetensors``."""
        import numpy as np
        from safetensors.numpy import save_file

        is_single = not isinstance(value, dict)
        arrays = {SINGLE: value} if is_single else value
        for name, array in arrays.items():
            if type(array) not in (np.ndarray, np.memmap) or array.dtype.newbyteorder("<").str.replace("|b1", "?") not in _KNOWN:
                raise layout.CannotSave(f'"{name}" is no plain array of numbers, but {layout.kind_of(array)} of {array.dtype}')
        if "__metadata__" in arrays:
            raise layout.CannotSave('the name "__metadata__" is taken by the format')
        little = {name: np.require(array, array.dtype.newbyteorder("<"), "C") for name, array in arrays.items()}
        save_file(little, os.path.join(folder, FILE))
        return {"file": FILE, "format": "safetensors", "is_single": is_single, "packages": layout.versions("numpy", "safetensors")}

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Map the arrays; nothing is read before it is used. An ``.npz`` is packed, so its arrays are read."""
        import numpy as np

        sharded = layout.shards(layout.files_on_disk(path))
        if sharded:
            return map_safetensors(*sharded)
        file = layout.find_on_disk(path, *ENDINGS)
        if file.endswith(".npy"):
            return np.load(file, mmap_mode="r", allow_pickle=False)
        if file.endswith(".npz"):
            with np.load(file, allow_pickle=False) as packed:
                return dict(packed)
        arrays = map_safetensors(file)
        return arrays[SINGLE] if layout.read_folder(path).get("is_single") else arrays

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Raise: arrays alone predict nothing."""
        raise InvalidInput("Arrays alone predict nothing; serve them with a scoring script that says how.")


def map_safetensors(*files: str) -> dict[str, Any]:
    """Return read-only arrays over the files' own pages; types that numpy lacks, such as BF16, are those of ``ml_dtypes``.

    Raises
    ------
    Unavailable
        If a tensor has a type that numpy has not and ``ml_dtypes`` is not installed, or has not either.
    InvalidInput
        If the header does not describe the bytes.
    """
    return {name: array for file in files for name, array in _map_file(file).items()}


def _map_file(file: str) -> dict[str, Any]:
    import numpy as np

    try:
        pages = np.memmap(file, mode="r", dtype="u1")
        start = header_end(pages[:8].tobytes(), len(pages))
        tensors, _ = parse_header(pages[8:start].tobytes(), len(pages) - start)
    except ValueError as error:
        raise InvalidInput(f"{os.path.basename(file)} is no sound safetensors file ({layout.in_a_line(error)}).") from None
    types = {tensor.dtype: _numpy_type(tensor) for tensor in tensors}
    return {tensor.name: np.ndarray(tensor.shape, types[tensor.dtype], pages, start + tensor.begin) for tensor in tensors}


def _numpy_type(tensor: Tensor) -> Any:
    import numpy as np

    if tensor.dtype in _DTYPES:
        return np.dtype(_DTYPES[tensor.dtype])
    try:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _MORE_DTYPES[tensor.dtype]))
    except (ImportError, KeyError, AttributeError):
        advice = "install ml_dtypes, or load it with torch" if tensor.dtype in _MORE_DTYPES else "load it with torch"
        raise Unavailable(f'"{tensor.name}" is of type {tensor.dtype}, which numpy has not; {advice}.') from None


def _is_array(value: object) -> bool:
    return layout.is_instance_of(value, "numpy.ndarray")
