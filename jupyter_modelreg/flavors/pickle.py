"""Pickles, for what nothing safer holds. Loading one calls on what it names, so each name is checked as it is met.

The scanner has looked before; here the loader itself asks for nothing that is not on the allow-list, so that what the
two make of a file cannot differ.
"""

from __future__ import annotations

import os
import pickle
import warnings
from typing import Any

from ..entities.model import Signature
from ..errors import UnsafeModel
from ..safe_names import full_name, is_allowed, is_at_home
from . import layout
from .predictors import ObjectPredictor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

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
        return layout.detect_by_ending(tree, self.name, *ENDINGS)

    def accepts(self, value: object) -> bool:
        """Take anything; it is asked last and only on request."""
        return True

    def save(self, value: Any, folder: str) -> dict[str, Any]:
        """Write ``model.pkl`` and say what that means."""
        cloudpickle = layout.need("cloudpickle", "pickle")
        kind = layout.kind_of(value)
        try:
            content = cloudpickle.dumps(value)
        except Exception as error:  # a stranger's class may raise anything when it is pickled
            raise layout.CannotSave(f"cloudpickle cannot hold it ({layout.in_a_line(error)})") from None
        with open(os.path.join(folder, FILE), "wb") as stream:
            stream.write(content)
        warnings.warn(
            f"{kind} was saved as a pickle: loading it runs code, so whoever loads it must trust you.", PickleWarning, stacklevel=2
        )
        return {"file": FILE, "format": "cloudpickle", "class": kind, "packages": layout.versions("cloudpickle")}

    def load(self, path: str, *, is_trusted: bool) -> Any:
        """Unpickle a file that was audited; joblib reads both kinds where it is installed.

        Raises
        ------
        UnsafeModel
            If it names anything that is not on the allow-list and is not trusted.
        """
        with open(layout.find_on_disk(path, *ENDINGS), "rb") as stream:
            return _load_freely(stream) if is_trusted else _load_known(stream)

    def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
        """Load the object to answer requests."""
        return ObjectPredictor(self.load(path, is_trusted=is_trusted))


def _load_freely(stream: BinaryIO) -> Any:
    try:
        from joblib import load
    except ModuleNotFoundError:
        return pickle.load(stream)  # noqa: S301 - somebody vouches for it
    return load(stream)


def _load_known(stream: BinaryIO) -> Any:
    try:
        from joblib.compressor import _COMPRESSORS
        from joblib.numpy_pickle import NumpyUnpickler
    except ModuleNotFoundError:
        return _known(pickle.Unpickler)(stream).load()
    import inspect

    head = stream.peek(8)  # type: ignore[attr-defined]
    packer = next((item for item in _COMPRESSORS.values() if item.prefix and head.startswith(item.prefix)), None)
    opened = packer.decompressor_file(stream) if packer else stream
    options = {"ensure_native_byte_order": True} if "ensure_native_byte_order" in inspect.signature(NumpyUnpickler).parameters else {}
    return _known(NumpyUnpickler)(stream.name, opened, **options).load()


def _known(base: Any) -> Any:
    """Return an unpickler that finds only what is on the allow-list, at any depth."""

    class Known(base):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            full = full_name(module, name)
            found = super().find_class(module, name) if is_allowed(full) else None
            if found is None or not is_at_home(full, found):
                raise UnsafeModel(
                    f"It calls on {full}, which is not known to be safe. If you trust whoever made it, add --trust (in Python trust=True)."
                )
            return _with_known_objects(found) if full == "joblib.numpy_pickle.NumpyArrayWrapper" else found

    return Known


def _with_known_objects(wrapper: Any) -> Any:
    """Return joblib's array wrapper, reading arrays of objects no more freely than the rest; older joblibs would."""

    class Wrapper(wrapper):  # type: ignore[misc]
        def read_array(self, unpickler: Any, *rest: Any) -> Any:
            if not self.dtype.hasobject:
                return super().read_array(unpickler, *rest)
            return _known(pickle._Unpickler)(unpickler.file_handle).load()

    return Wrapper
