"""KServe's first protocol, which is TensorFlow Serving's: ``{"instances": […]}`` in, ``{"predictions": […]}`` out.

Source: KServe, V1 protocol; TensorFlow Serving, REST API, whose paths with versions are here too.
"""

from __future__ import annotations

from urllib.parse import quote

from .calls import Route
from .http import Response, json_response
from .mlflow import read_rows
from .payloads import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls import Call, Routes, ServedModel
    from .http import Request


def routes(models: list[ServedModel]) -> Routes:
    """Return the protocol's routes for some models."""
    wire, models = V1(), [model for model in models if model.is_asked]
    unknown = Route(
        wire, plain=lambda request: wire.fail(f"There is no such model or route here; this deployment has {', '.join(names)}.", 404)
    )
    names = list(dict.fromkeys(model.name for model in models))
    found: Routes = {
        "/v1/models": {"GET": Route(wire, plain=lambda request: json_response({"models": names}))},
        "/v1/models/*": {"GET": unknown, "POST": unknown},
    }
    for model in models:
        is_ready = _ready(wire, model.name)
        for spelling in {model.name, quote(model.name, safe="")}:
            for base in (f"/v1/models/{spelling}/versions/{quote(model.version, safe='')}", f"/v1/models/{spelling}"):
                found[base] = {"GET": is_ready}
                found[f"{base}:predict"] = {"POST": Route(wire, model)}
    return found


def _ready(wire: V1, name: str) -> Route:
    return Route(wire, plain=lambda request: json_response({"name": name, "ready": True}))


class V1:
    """The protocol's format of requests, answers and errors."""

    def read(self, request: Request, model: ServedModel) -> Call:
        """Read instances; the content type is not looked at, since clients leave it out."""
        return read_rows(request, model, "application/json")

    def write(self, value: Any, call: Call, model: ServedModel) -> Response:
        """Write predictions; a script's own mapping with "predictions" goes out as it is."""
        is_whole = model.script is not None and isinstance(value, dict) and "predictions" in value
        return Response(body=write_json(value if is_whole else {"predictions": value}))

    def fail(self, message: str, status: int) -> Response:
        """Word a failure."""
        return json_response({"error": message}, status)
