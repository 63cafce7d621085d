"""Arrays as safetensors: a JSON header and raw bytes, mapped from disk without a copy."""

from __future__ import annotations

import json
import os
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput, Unavailable
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree
    from . import Detection, Predictor

FILE = "model.safetensors"
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


class NumpyFlavor:
    """``model.safetensors`` of one array or a dict of arrays; ``.npy`` and ``.npz`` files are read too."""

    name = "numpy"

    def detect(self, tree: Tree) -> Detection | None:
        """Recognise our own folders and single array files."""
        from . import Detection

        is_one = layout.only_file(tree, ".safetensors", ".npy", ".npz")
        return layout.detection(tree, self.name) or (Detection(flavor=self.name) if is_one else None)

    def accepts(self, value: object) -> bool:
        """Take an array, or a dict of arrays by name."""
        if isinstance(value, dict):
            return bool(value) and all(
                isinstance(key, str) and self.accepts(item) for key, item in value.items() if not isinstance(item, dict)
            )
        return layout.is_instance_of(value, "numpy.ndarray")

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.safetensors``."""
        import numpy as np
        from safetensors.numpy import save_file

        is_single = not isinstance(value, dict)
        arrays = {SINGLE: value} if is_single else value
        for name, array in arrays.items():
            if isinstance(array, dict) or array.dtype.kind not in "biuf":
                raise layout.CannotSave(f'"{name}" is no array of numbers')
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, os.path.join(folder, FILE))
        return {"file": FILE, "format": "safetensors", "is_single": is_single, "packages": layout.versions("numpy", "safetensors")}

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Map the arrays; nothing is read before it is used."""
        import numpy as np

        file = layout.find_on_disk(path, ".safetensors", ".npy", ".npz")
        if not file.endswith(".safetensors"):
            return np.load(file, mmap_mode="r", allow_pickle=False)
        arrays = map_safetensors(file)
        return arrays[SINGLE] if layout.read_folder(path).get("is_single") else arrays

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Raise: arrays alone predict nothing."""
        raise InvalidInput("Arrays alone predict nothing; serve them with a scoring script that says how.")


def map_safetensors(file: str) -> dict[str, Any]:
    """Return read-only arrays over the file's own pages.

    Raises
    ------
    Unavailable
        If a tensor has a type that numpy has not, such as BF16.
    """
    import numpy as np

    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    pages = np.memmap(file, mode="r", dtype="u1")
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise Unavailable(f'"{name}" is of type {entry["dtype"]}, which numpy has not; load it with torch.')
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = pages[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays
