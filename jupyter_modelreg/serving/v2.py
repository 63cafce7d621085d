"""The Open Inference Protocol, version 2, over REST: what KServe, Triton, MLServer and their clients speak.

With the extension for binary tensors both ways: a JSON head, raw little-endian tensors behind it, and the header
``Inference-Header-Content-Length`` with the head's size. That header alone decides, since Triton's client sends no
Content-Type, KServe's sends ``application/octet-stream`` and MLServer's ``application/json`` with a binary tail.

Clients differ in what they look for, so health has a status and a body, and answers say ``live`` and ``ready`` both.
A caller's mistake is 400 with ``{"error": …}`` and an unknown model 404, where the peers answer 422 or 500.

A scoring script is given the body as it is, as ``/score`` does; what it returns with "outputs" goes out as it is.

Source: Open Inference Protocol, predict_rest; Triton Inference Server, protocol extensions for binary data and for the model
repository.
"""

from __future__ import annotations

import json
import math
import struct
from urllib.parse import quote

from .. import __version__
from ..entities.model import Signature
from ..errors import InvalidInput
from . import arrays
from .calls import Call, Route, Unwritable
from .http import Response, json_response
from .payloads import parse_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..entities.model import ColumnSpec
    from .calls import Routes, ServedModel
    from .http import Request

NAME = "jupyter-modelreg"
EXTENSIONS = ["binary_tensor_data", "model_repository"]
HEAD_LENGTH = "inference-header-content-length"
MAX_SHOWN = 60
NOT_SERVED = ("shared_memory_region", "classification")  # parameters that would change the answer's meaning

# Source: Open Inference Protocol, tensor data types. numpy's words, little-endian; text and bytes are BYTES.
DATATYPES = {
    "BOOL": "?",
    **{f"{sign.upper()}INT{size}": f"<{sign or 'i'}{size // 8}" for sign in ("", "u") for size in (8, 16, 32, 64)},
    **{f"FP{size}": f"<f{size // 8}" for size in (16, 32, 64)},
    "BYTES": "O",
}


def routes(models: list[ServedModel]) -> Routes:
    """Return the protocol's routes for some models: health, metadata, infer and the repository's index.

    A model without a version in the path is its newest, or its only one. Names may come percent-encoded.
    """
    asked = [model for model in models if model.is_asked]
    names = list(dict.fromkeys(model.name for model in asked))
    index = [{"name": model.name, "version": model.version, "state": "READY", "reason": ""} for model in asked]
    unknown = _refuse(f"There is no such model or route here; this deployment has {', '.join(names)}.", 404)
    found: Routes = {
        "/v2": {"GET": _answer({"name": NAME, "version": __version__, "extensions": EXTENSIONS})},
        "/v2/health/live": {"GET": _answer({"live": True})},
        "/v2/health/ready": {"GET": _answer({"live": True, "ready": True})},
        "/v2/models": {"GET": _answer({"models": names})},
        "/v2/repository/index": {"POST": _answer(index)},
        "/v2/repository/models/*": {"POST": _refuse("Deployments load and unload models here; update the deployment instead.", 400)},
        "/v2/*": {"GET": unknown, "POST": unknown},
    }
    for name in names:
        versions = sorted((model for model in asked if model.name == name), key=_age)
        for spelling in {name, quote(name, safe="")}:
            for model in versions:
                found |= _routes_of(model, f"/v2/models/{spelling}/versions/{quote(model.version, safe='')}", versions)
            found |= _routes_of(versions[-1], f"/v2/models/{spelling}", versions)
    return found


def _routes_of(model: ServedModel, base: str, versions: list[ServedModel]) -> Routes:
    return {
        base: {"GET": _answer(describe(model, [item.version for item in versions]))},
        f"{base}/ready": {"GET": _answer({"name": model.name, "ready": True})},
        f"{base}/infer": {"POST": Route(V2(), model)},
    }


def _answer(value: Any) -> Route:
    return Route(V2(), plain=lambda request: json_response(value))


def _refuse(message: str, status: int) -> Route:
    return Route(V2(), plain=lambda request: V2().fail(message, status))


def describe(model: ServedModel, versions: list[str]) -> dict[str, Any]:
    """Return a model's metadata, its tensors from the signature; without one it has none to name."""
    signature = model.signature or Signature()
    return {
        "name": model.name,
        "versions": versions,
        "platform": getattr(model.predictor, "platform", NAME),
        "inputs": [_tensor(spec, arrays.input_name(spec, place)) for place, spec in enumerate(signature.inputs)],
        "outputs": [_tensor(spec, arrays.output_name(signature, place)) for place, spec in enumerate(signature.outputs)],
    }


class V2:
    """The protocol's format of requests, answers and errors."""

    def read(self, request: Request, model: ServedModel) -> Call:
        """Read JSON, or JSON with binary tensors behind it."""
        if model.script is not None:
            body = parse_json(request.body)
            return arrays.read_text(request, _Asked(body if isinstance(body, dict) else {}))
        body, tail = _split(request, model)
        named = _read_tensors(body.get("inputs"), tail)
        inputs = arrays.to_input(named, model.wants, model.signature)
        rows, key = arrays.rows_and_key(inputs, model.signature)
        return Call(inputs, rows, key, _Asked(body))

    def write(self, value: Any, call: Call, model: ServedModel) -> Response:
        """Write tensors by name, each as JSON or as bytes, as was asked."""
        asked: _Asked = call.meta
        if model.script is not None and isinstance(value, dict) and "outputs" in value:
            return Response(body=write_json({"model_name": model.name, "model_version": model.version, **asked.id, **value}))
        made = arrays.to_arrays(value, model.signature)
        try:
            chosen = asked.choose(made)
        except InvalidInput as error:
            return self.fail(error.message, 400)
        tails: list[memoryview] = []
        outputs = [_write_tensor(name, array, tails if is_binary else None) for name, array, is_binary in chosen]
        head = write_json({"model_name": model.name, "model_version": model.version, **asked.id, "outputs": outputs})
        if not tails:
            return Response(body=head)
        return Response(body=b"".join([head, *tails]), content_type="application/octet-stream", headers={HEAD_LENGTH: str(len(head))})

    def fail(self, message: str, status: int) -> Response:
        """Word a failure."""
        return json_response({"error": message}, status)


class _Asked:
    """What a request wants to have back: its id, and which outputs in which form."""

    __slots__ = ("id", "is_binary", "outputs")

    def __init__(self, body: dict[str, Any]) -> None:
        if not isinstance(body.get("id"), str | None):
            raise InvalidInput('"id" must be text.')
        self.id = {} if body.get("id") is None else {"id": body["id"]}
        self.is_binary = bool(_parameters(body, "The request").get("binary_data_output"))
        wanted = [] if body.get("outputs") is None else body["outputs"]
        if not isinstance(wanted, list) or not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in wanted):
            raise InvalidInput('"outputs" must be a list of mappings, each with a "name".')
        self.outputs = [
            (item["name"], bool(_parameters(item, f'Output "{item["name"][:MAX_SHOWN]}"').get("binary_data", self.is_binary)))
            for item in wanted
        ]

    def choose(self, made: dict[str, Any]) -> list[tuple[str, Any, bool]]:
        """Return name, array and form of each output; a lone one without name answers to any."""
        if list(made) == [arrays.OUTPUT] and len(self.outputs) == 1:
            name, is_binary = self.outputs[0]
            return [(name, made[arrays.OUTPUT], is_binary)]
        unknown = next((name for name, _ in self.outputs if name not in made), None)
        if unknown is not None:
            raise InvalidInput(f'The model has no output "{unknown[:MAX_SHOWN]}"; it has {", ".join(made)}.')
        return [(name, made[name], is_binary) for name, is_binary in self.outputs or [(name, self.is_binary) for name in made]]


# --- requests ---------------------------------------------------------------------------------------------------------


def _split(request: Request, model: ServedModel) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON head and the bytes behind it."""
    body, given = request.body, request.headers.get(HEAD_LENGTH)
    if given is None:
        size = len(body)
    elif given.isascii() and given.isdigit() and len(given) < 12 and int(given) <= len(body):
        size = int(given)
    else:
        raise InvalidInput(
            f'Inference-Header-Content-Length is "{given[:MAX_SHOWN]}"; it is the size of the JSON in a body of {len(body)} bytes.'
        )
    tail = memoryview(body)[size:]
    if given is not None and size == 0:
        return _raw(tail, model), tail
    value = parse_json(body if size == len(body) else body[:size])
    if not isinstance(value, dict):
        raise InvalidInput('The body must be a mapping with "inputs".')
    return value, tail


def _raw(tail: memoryview, model: ServedModel) -> dict[str, Any]:
    """Describe a body that is the only input's bytes and nothing else. Source: Triton, raw binary request."""
    specs = model.signature.inputs if model.signature else []
    shape = [] if len(specs) != 1 else specs[0].shape or [-1, 1]
    datatype = _tensor(specs[0], "")["datatype"] if specs else "BYTES"
    free, fixed = shape.count(-1), math.prod(size for size in shape if size != -1)
    if len(specs) != 1 or free > 1 or datatype == "BYTES" or not fixed:
        raise InvalidInput("A body without JSON needs a model with one input of numbers and one free length; send the JSON head.")
    rows = len(tail) // (_itemsize(datatype) * fixed)
    name = arrays.input_name(specs[0], 0)
    shape = [rows if size == -1 else size for size in shape]
    parameters = {"binary_data_size": len(tail)}
    return {
        "inputs": [{"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}],
        "parameters": {"binary_data_output": True},
    }


def _read_tensors(described: Any, tail: memoryview) -> dict[str, Any]:
    if not isinstance(described, list) or not described or not all(isinstance(item, dict) for item in described):
        raise InvalidInput(
            'The body needs "inputs", a list of tensors: {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}.'
        )
    named: dict[str, Any] = {}
    for item in described:
        name = item.get("name")
        if not isinstance(name, str) or name in named:
            raise InvalidInput("Each input needs a name of its own.")
        named[name], tail = _read_tensor(item, f'Input "{name[:MAX_SHOWN]}"', tail)
    if len(tail):
        raise InvalidInput(f"{len(tail)} bytes are left over behind the tensors; do shapes and sizes fit?")
    return named


def _read_tensor(item: dict[str, Any], what: str, tail: memoryview) -> tuple[Any, memoryview]:
    """Return a tensor and what follows its bytes."""
    shape, datatype = item.get("shape"), item.get("datatype")
    if not isinstance(shape, list) or not arrays.is_shape(shape):
        raise InvalidInput(f'{what} needs a "shape", a list of whole numbers.')
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidInput(f'{what} needs a "datatype", one of {", ".join(DATATYPES)}.')
    parameters = _parameters(item, what)
    size, has_data = parameters.get("binary_data_size"), "data" in item
    if has_data == (size is not None):
        raise InvalidInput(f'{what} needs either "data" or the parameter binary_data_size.')
    if has_data:
        return _from_json(item["data"], datatype, shape, what), tail
    if type(size) is not int or not 0 <= size <= len(tail):
        raise InvalidInput(f"{what} has a binary_data_size of {str(size)[:MAX_SHOWN]}; {len(tail)} bytes are left in the body.")
    return _from_bytes(tail[:size], datatype, shape, what), tail[size:]


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = {} if holder.get("parameters") is None else holder["parameters"]
    if not isinstance(parameters, dict):
        raise InvalidInput(f'{what} has "parameters" that are no mapping.')
    unserved = next((name for name in NOT_SERVED if name in parameters), None)
    if unserved:
        raise InvalidInput(f"{what} asks for {unserved}, which is not served here.")
    return parameters


def _from_bytes(content: memoryview, datatype: str, shape: list[int], what: str) -> Any:
    """Read a tensor's bytes; numbers stay where they are in the body."""
    import numpy as np

    if datatype == "BYTES":
        elements = _elements(content, what)
        if len(elements) != math.prod(shape):
            raise InvalidInput(f"{what} holds {len(elements)} values; the shape {shape} has {math.prod(shape)}.")
        return np.array(elements, dtype=object).reshape(shape)
    if len(content) != math.prod(shape) * _itemsize(datatype):
        raise InvalidInput(f"{what} has {len(content)} bytes; {datatype} of shape {shape} has {math.prod(shape) * _itemsize(datatype)}.")
    if datatype == "BOOL":  # any other byte would be no boolean that numpy knows
        return (np.frombuffer(content, dtype="u1") != 0).reshape(shape)
    return np.frombuffer(content, dtype=DATATYPES[datatype]).reshape(shape)


def _elements(content: memoryview, what: str) -> list[Any]:
    """Read bytes, each behind its length in four bytes."""
    found, place = [], 0
    while place < len(content):
        end = place + 4 + (struct.unpack_from("<I", content, place)[0] if place + 4 <= len(content) else 0)
        if end > len(content) or place + 4 > len(content):
            raise InvalidInput(f"{what} ends within an element; each is its length in four bytes, little-endian, and its bytes.")
        found.append(bytes(content[place + 4 : end]))
        place = end
    return found


def _from_json(values: Any, datatype: str, shape: list[int], what: str) -> Any:
    """Read nested or flat values, in rows; null is a number's gap."""
    leaves = _flat(values if isinstance(values, list) else [values])
    kind = datatype.strip("U0123456789")
    if not set(map(type, leaves)) <= _LEAVES[kind]:
        wrong = next(item for item in leaves if type(item) not in _LEAVES[kind])
        raise InvalidInput(f"{what} holds {json.dumps(wrong)[:MAX_SHOWN]}, which is no {datatype}.")
    if len(leaves) != math.prod(shape):
        raise InvalidInput(f"{what} holds {len(leaves)} values; the shape {shape} has {math.prod(shape)}.")
    return _to_array(leaves, kind, DATATYPES[datatype], what).reshape(shape)


def _flat(values: list[Any]) -> list[Any]:
    while list in set(map(type, values)):
        values = [leaf for item in values for leaf in (item if isinstance(item, list) else [item])]
    return values


def _to_array(leaves: list[Any], kind: str, dtype: str, what: str) -> Any:
    import numpy as np

    if kind in ("BOOL", "BYTES"):
        return np.array(leaves, dtype=dtype)
    if kind == "FP":
        try:
            return arrays.narrow(np.array(leaves, dtype="f8"), dtype, what)
        except OverflowError:
            raise InvalidInput(f"{what} holds a number that is too large.") from None
    fraction = next((item for item in leaves if item != int(item)), None)
    limits = np.iinfo(dtype)
    if fraction is not None or (leaves and not limits.min <= min(leaves) <= max(leaves) <= limits.max):
        wrong = fraction if fraction is not None else min(leaves) if min(leaves) < limits.min else max(leaves)
        raise InvalidInput(f"{what} holds {str(wrong)[:MAX_SHOWN]}, which is no {np.dtype(dtype).name}.")
    return np.array([int(item) for item in leaves], dtype=dtype)


# --- answers ----------------------------------------------------------------------------------------------------------


def _write_tensor(name: str, array: Any, tails: list[memoryview] | None) -> dict[str, Any]:
    """Describe a tensor with its values, or, where there is a list for it, put its bytes there."""
    about: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype), "shape": list(array.shape)}
    if tails is None:
        return about | {"data": _to_json(array)}
    tails.append(_to_bytes(array))
    return about | {"parameters": {"binary_data_size": len(tails[-1])}}


def _to_bytes(array: Any) -> memoryview:
    """Return a tensor's bytes: numbers little-endian in rows, from where they are, text behind its length."""
    import numpy as np

    if array.dtype == object:
        items = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
        return memoryview(b"".join(part for item in items for part in (struct.pack("<I", len(item)), item)))
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    flat: memoryview = little.reshape(-1).view("u1").data
    return flat


def _to_json(array: Any) -> Any:
    """Return a tensor's values in rows, for the writer of JSON."""
    if array.dtype.kind != "O":
        return array.ravel()
    try:
        return [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise Unwritable("The model returned bytes that are no text; ask for them with binary_data.") from None


# --- words ------------------------------------------------------------------------------------------------------------


def _tensor(spec: ColumnSpec, name: str) -> dict[str, Any]:
    import numpy as np

    return {
        "name": name,
        "datatype": datatype_of(np.dtype(arrays.dtype_of(spec.type))),
        "shape": [-1, 1] if spec.shape is None else spec.shape,
    }


def datatype_of(dtype: Any) -> str:
    """Return the protocol's word for numpy's type; what is no number is BYTES."""
    word = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP"}.get(dtype.kind, "BYTES")
    return word if word in DATATYPES else f"{word}{dtype.itemsize * 8}"


def _itemsize(datatype: str) -> int:
    return 1 if datatype == "BOOL" else int(datatype.lstrip("BFINPTU")) // 8


def _age(model: ServedModel) -> tuple[bool, int, str]:
    """Order versions: numbers by their size, above any that is none."""
    is_number = model.version.isascii() and model.version.isdigit()
    return is_number, int(model.version) if is_number else 0, model.version


# What JSON may have in a tensor, by the type's kind.
_LEAVES: dict[str, set[type]] = {"BOOL": {bool}, "BYTES": {str}, "INT": {int, float}, "FP": {int, float, type(None)}}
