"""MLflow's scoring protocol: ``/invocations`` in JSON, CSV and numpy's format, and what its clients look at before.

``mlflow.deployments`` asks ``/endpoints/NAME/invocations``, where NAME is the model's or the endpoint's; the scoring client
``/ping`` and ``/invocations``. A body of ``application/x-npy`` is one array, and ``Accept: application/x-npy`` asks for one.

Source: MLflow 3, scoring server and deployments client.
"""

from __future__ import annotations

from urllib.parse import quote

from .. import __version__
from . import arrays, npy
from .azure import Reader, content_type
from .calls import Call, Route, Unacceptable
from .http import Response, json_response
from .payloads import parse_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .calls import Routes, ServedModel
    from .http import Request

# Source: mlflow.protos.databricks_pb2, ErrorCode; the caller's other mistakes are BAD_REQUEST.
CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
KINDS = ("application/json", "text/csv", npy.CONTENT_TYPE)


def routes(models: list[ServedModel], names: Iterable[str] = ()) -> Routes:
    """Return the protocol's routes: the first model answers ``/invocations``, each under its name and the first under more names."""
    wires = {id(model): Mlflow(model) for model in models}
    wire = wires[id(models[0])]
    health = Route(wire, plain=lambda request: Response(body=b"\n", content_type="text/plain"))  # MLflow says JSON, which it is not
    version = Route(wire, plain=lambda request: Response(body=__version__.encode(), content_type="text/plain; charset=utf-8"))
    unknown = Route(wire, plain=lambda request: wire.fail("There is no such endpoint here; ask /invocations.", 404))
    named = {**dict.fromkeys(names, models[0]), **{model.name: model for model in reversed(models)}}
    return {
        "/ping": {"GET": health},
        "/health": {"GET": health},
        "/version": {"GET": version},
        "/invocations": {"POST": Route(wire, models[0])},
        "/endpoints/*": {"POST": unknown},
        **{
            f"/endpoints/{spelling}/invocations": {"POST": Route(wires[id(model)], model)}
            for name, model in named.items()
            for spelling in {name, quote(name, safe="")}
        },
    }


class Mlflow:
    """The protocol's format of one model's requests, answers and errors."""

    def __init__(self, model: ServedModel) -> None:
        self._reader = Reader(model)

    def read(self, request: Request, model: ServedModel) -> Call:
        """Read rows by the body's content type."""
        kind = content_type(request)
        if kind not in KINDS:
            raise Unacceptable(f'Send {", ".join(KINDS[:-1])} or {KINDS[-1]}, not "{kind[:60]}".', 415)
        if model.script is not None:
            if kind == KINDS[0]:
                parse_json(request.body)  # what is none is the caller's fault, not the script's
            call = arrays.read_text(request)
        elif kind == npy.CONTENT_TYPE:
            inputs = arrays.to_input({"": npy.read(request.body)}, model.wants, model.signature)
            call = Call(inputs, *arrays.rows_and_key(inputs, model.signature))
        else:
            call = self._reader.read(request.body, kind)
        call.meta = npy.is_wanted(request)
        return call

    def write(self, value: Any, call: Call, model: ServedModel) -> Response:
        """Write predictions, as an array where that was asked for."""
        if call.meta:
            return npy.write(arrays.to_arrays(value, model.signature))
        return Response(body=write_json({"predictions": value}))

    def fail(self, message: str, status: int) -> Response:
        """Word a failure."""
        code = CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        return json_response({"error_code": code, "message": message}, status)
