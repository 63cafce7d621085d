"""KServe's first protocol, which is TensorFlow Serving's: ``{"instances": […]}`` in, ``{"predictions": […]}`` out.

Source: KServe, V1 protocol; TensorFlow Serving, REST API, whose paths with versions are here too.
"""

from __future__ import annotations

from urllib.parse import quote

from .arrays import read_text
from .azure import Reader
from .calls import Route
from .http import Response, json_response
from .payloads import parse_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls import Call, Routes, ServedModel
    from .http import Request


def routes(models: list[ServedModel]) -> Routes:
    """Return the protocol's routes for some models."""
    asked = [model for model in models if model.is_asked]
    names, wire = list(dict.fromkeys(model.name for model in asked)), V1(models[0])
    message = f"There is no such model or route here; this deployment has {', '.join(names)}."
    unknown = Route(wire, plain=lambda request: wire.fail(message, 404))
    found: Routes = {
        "/v1/models": {"GET": Route(wire, plain=lambda request: json_response({"models": names}))},
        "/v1/models/*": {"GET": unknown, "POST": unknown},
    }
    for model in asked:
        for spelling in {model.name, quote(model.name, safe="")}:
            for base in (f"/v1/models/{spelling}/versions/{quote(model.version, safe='')}", f"/v1/models/{spelling}"):
                found |= _routes_of(model, base)
    return found


def _routes_of(model: ServedModel, base: str) -> Routes:
    wire = V1(model)
    ready = Route(wire, plain=lambda request: json_response({"name": model.name, "ready": True}))
    return {base: {"GET": ready}, f"{base}:predict": {"POST": Route(wire, model)}}


class V1:
    """The protocol's format of one model's requests, answers and errors."""

    def __init__(self, model: ServedModel) -> None:
        self._reader = Reader(model)

    def read(self, request: Request, model: ServedModel) -> Call:
        """Read instances; the content type is not looked at, since clients leave it out."""
        if model.script is None:
            return self._reader.read(request.body, "application/json")
        parse_json(request.body)  # what is none is the caller's fault, not the script's
        return read_text(request)

    def write(self, value: Any, call: Call, model: ServedModel) -> Response:
        """Write predictions; a script's own mapping with "predictions" goes out as it is."""
        is_whole = model.script is not None and isinstance(value, dict) and "predictions" in value
        return Response(body=write_json(value if is_whole else {"predictions": value}))

    def fail(self, message: str, status: int) -> Response:
        """Word a failure."""
        return json_response({"error": message}, status)
