"""How a model's files are laid out: found out without importing, saved in the safest format known, loaded once audited.

A flavor is a class with ``name``, ``detect``, ``accepts``, ``save``, ``load`` and ``predictor``; ours stand in the table
below, strangers' come by the entry points ``jupyter_modelreg.flavors``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import Any

from ..entities.model import Signature
from ..errors import InvalidInput, ModelRegistryError, Refused, Unavailable
from ..plugins import load_plugin, plugin_names
from ..records import Record, field
from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from ..trees import Tree

    class Predictor(Protocol):
        """Answers rows. ``wants`` is "frame" (DataFrame), "array" (ndarray) or "tensors" (dict of ndarrays)."""

        wants: str

        def __call__(self, rows: Any) -> Any: ...

    class Flavor(Protocol):
        """One layout."""

        name: str

        def detect(self, tree: Tree) -> Detection | None:
            """Say what the tree is, or None when it is not this layout. Nothing in it is imported."""
            ...

        def accepts(self, value: object) -> bool:
            """Say whether a live object can be saved so. Its library is not imported for the question."""
            ...

        def save(self, value: Any, folder: str) -> dict[str, Any]:
            """Write a live object into an empty folder; return facts for ``modelreg.json``: ``file``, ``format`` …"""
            ...

        def load(self, path: str, *, is_trusted: bool) -> Any:
            """Construct the object from a file or folder that was audited."""
            ...

        def predictor(self, path: str, signature: Signature | None, *, is_trusted: bool) -> Predictor:
            """Load what answers requests."""
            ...


class Detection(Record):
    """What a tree was found to be."""

    type: str = "custom_model"
    flavor: str | None = None
    flavors: dict[str, dict[str, Any]] = field(default={}, help="As MLmodel lists them.")
    signature: Signature | None = None
    input_example: Any = None


# In the order they are asked. Entry points are slow to read, so ours are found without them.
_OURS = {
    "mlflow": "mlflow:MlflowFlavor",
    "triton": "triton:TritonFlavor",
    "xgboost": "xgboost:XgboostFlavor",
    "sklearn": "sklearn:SklearnFlavor",
    "onnx": "onnx:OnnxFlavor",
    "torch": "torch:TorchFlavor",
    "numpy": "numpy:NumpyFlavor",
    "pickle": "pickle:PickleFlavor",
}
_TYPES = {"mlflow": "mlflow_model", "triton": "triton_model"}


def get_flavor(name: str) -> Flavor:
    """Return a flavor by name.

    Raises
    ------
    NotFound
        If nobody declares it.
    """
    if name not in _OURS:
        stranger: Flavor = load_plugin("jupyter_modelreg.flavors", name)
        return stranger
    module, kind = _OURS[name].split(":")
    flavor: Flavor = getattr(import_module(f".{module}", __package__), kind)()
    return flavor


def detect(tree: Tree, wanted_type: str | None = None) -> Detection:
    """Find out what a tree is; a wanted type is checked against its files.

    Raises
    ------
    InvalidInput
        If the files are not of the wanted type; the message says what is missing.
    """
    found = next((item for name in _asked(tree) if (item := get_flavor(name).detect(tree))), Detection())
    if wanted_type in (None, found.type):
        return found
    if wanted_type == "custom_model":
        return found.replace(type="custom_model")
    raise InvalidInput(_misfit(tree, str(wanted_type)), key="type")


def save_object(value: object, folder: str, *, sample: object = None, outputs: object = None, allow_pickle: bool = False) -> Detection:
    """Write a live object into an empty folder in the safest format known for it, with ``modelreg.json`` beside.

    Parameters
    ----------
    sample, outputs
        Some rows the model takes, shape (n, features), and what it answers; they give the signature.
    allow_pickle
        Whether an object without a safe format may be written by cloudpickle. It warns then.

    Raises
    ------
    Refused
        If only a pickle can hold the object and ``allow_pickle`` is False.
    """
    from .signatures import infer_signature, make_input_example

    name, facts = _save_safely(value, folder, allow_pickle=allow_pickle)
    signature = infer_signature(sample, outputs) if sample is not None else None
    example = make_input_example(sample) if sample is not None else None
    layout.write(folder, name, facts, signature, example)
    return Detection(type=_TYPES.get(name, "custom_model"), flavor=name, signature=signature, input_example=example)


def load_object(path: str, flavor: str, *, is_trusted: bool = False) -> Any:
    """Return the live object of files that were audited; arrays and tensors are mapped, not copied.

    Raises
    ------
    InvalidInput
        If the files have no known layout, or are not what they seem.
    UnsafeModel
        If they would run code and are not trusted.
    Unavailable
        If a library is not installed; the message names it.
    """
    with _translated(path, flavor):
        return _flavor_for(path, flavor).load(path, is_trusted=is_trusted)


def load_predictor(path: str, flavor: str, signature: Signature | None, *, is_trusted: bool = False) -> Predictor:
    """Return what answers requests for audited files; see `load_object`."""
    with _translated(path, flavor):
        return _flavor_for(path, flavor).predictor(path, signature, is_trusted=is_trusted)


def _flavor_for(path: str, flavor: str) -> Flavor:
    if not flavor:
        raise InvalidInput(
            f"{os.path.basename(path)} has no layout that can be loaded as an object. Read its files there, download it, or serve it with a scoring script."
        )
    return get_flavor(flavor)


def _asked(tree: Tree) -> Iterator[str]:
    """Yield the flavors to ask: the one a tree names itself, or all."""
    said = layout.read(tree).get("flavor")
    return iter([str(said)]) if said else _all()


def _all() -> Iterator[str]:
    """Yield every flavor's name, strangers' only when it comes to them."""
    yield from _OURS
    yield from (name for name in plugin_names("jupyter_modelreg.flavors") if name not in _OURS)


def _misfit(tree: Tree, wanted_type: str) -> str:
    if wanted_type == "triton_model":
        from .triton import explain

        return f"{tree.root} is no triton_model: {explain(tree)}"
    if tree.is_file:
        return f"Model of type mlflow_model cannot register a file: {tree.root}. Register the folder that holds MLmodel."
    held = ", ".join(sorted(item.path for item in tree.files())[:5])
    return f"{tree.root} is no mlflow_model: it has no MLmodel file, only {held}."


def _save_safely(value: object, folder: str, *, allow_pickle: bool) -> tuple[str, dict[str, Any]]:
    """Save by the first flavor that can hold the object; a pickle is the last, and only on request."""
    reasons = []
    for name in chain((name for name in _all() if name != "pickle"), ["pickle"] if allow_pickle else []):
        flavor = get_flavor(name)
        if flavor.accepts(value):
            try:
                return name, flavor.save(value, folder)
            except layout.CannotSave as error:
                reasons.append(str(error))
    kind, reason = layout.kind_of(value), f": {'; '.join(reasons)}" if reasons else ""
    if allow_pickle:
        raise Refused(f"{kind} can be saved in no format here{reason}.")
    raise Refused(
        f"{kind} has no safe format here{reason}. "
        "Add --allow-pickle (in Python allow_pickle=True) to pickle it; loading a pickle runs code, so loading will ask for --trust."
    )


@contextmanager
def _translated(path: str, flavor: str) -> Iterator[None]:
    """Say in one line what a library makes of files that it cannot load."""
    try:
        yield
    except ModelRegistryError:
        raise
    except ModuleNotFoundError as error:
        raise Unavailable(f"Loading {os.path.basename(path)} needs {error.name}, which is not installed here.") from error
    except Exception as error:  # libraries, and classes of strangers, raise anything
        raise InvalidInput(f"{os.path.basename(path)} cannot be loaded as {flavor}: {layout.in_a_line(error)}.", key="path") from error


__all__ = ["Detection", "detect", "get_flavor", "load_object", "load_predictor", "save_object"]
