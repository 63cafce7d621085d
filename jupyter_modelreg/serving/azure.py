"""Azure's route ``/score``: a bare list of predictions, or what the scoring script returns.

A failure of the model or its script is 424 with Azure's headers of the status behind it, since a person sees the endpoint
here, not the container behind it; other protocols say 500 in their own words.

Source: azureml-inference-server-http 1.5; Azure ML, "Troubleshoot online endpoints", HTTP status codes.
"""

from __future__ import annotations

import json
from itertools import chain
from urllib.parse import parse_qsl

from .arrays import dtype_of, read_text, rows_and_key
from .calls import Call, Route, Unacceptable
from .http import Response, json_response
from .payloads import parse_rows, to_input, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..entities.model import ColumnSpec
    from .calls import Routes, ServedModel
    from .http import Request

MODEL_FAILED = 424


def routes(models: list[ServedModel]) -> Routes:
    """Return the route of the deployment's model, the first one."""
    wire = Score(models[0])
    ask, options = Route(wire, models[0]), Route(wire, plain=_answer_options)
    return {"/score": {"POST": ask, "GET": ask, "OPTIONS": options}}


class Score:
    """The format of ``/score`` for one model."""

    def __init__(self, model: ServedModel) -> None:
        self._reader = Reader(model)

    def read(self, request: Request, model: ServedModel) -> Call:
        """Read JSON in any of its envelopes; a script gets the text, for GET the query as JSON."""
        kind = content_type(request)
        if request.method != "POST":
            request.body = json.dumps(dict(parse_qsl(request.query))).encode()
        if model.script is not None:
            if "pickle" in kind:
                raise Unacceptable("Pickles are never read.", 415)
            return read_text(request)
        if request.method == "POST" and kind not in ("application/json", ""):
            raise Unacceptable(f'Send application/json, not "{kind[:60]}".', 415)
        return self._reader.read(request.body, "application/json")

    def write(self, value: Any, call: Call, model: ServedModel) -> Response:
        """Write what came back, and nothing around it."""
        return Response(body=write_json(value))

    def fail(self, message: str, status: int) -> Response:
        """Say so in ``message``."""
        if status != 500:
            return json_response({"message": message}, status)
        behind = {"ms-azureml-model-error-statuscode": "500", "ms-azureml-model-error-reason": "Internal Server Error"}
        return json_response({"message": message}, MODEL_FAILED, **behind)


class Reader:
    """Reads bodies for one model; what depends on its signature alone is worked out once."""

    def __init__(self, model: ServedModel) -> None:
        self.wants, self.signature, self._params = model.wants, model.signature, model.params
        wants, signature = self.wants, self.signature
        specs = signature.inputs if signature else []
        self._width = _width(specs) if wants == "array" else 0
        self._columns = None if any(spec.shape for spec in specs) else [spec.name for spec in specs]
        self._whole = [(place, _LIMITS[spec.type]) for place, spec in enumerate(specs) if spec.type in _LIMITS]
        self._dtype = _common_dtype(specs) if self._width else None

    def read(self, body: bytes | bytearray, content_type: str) -> Call:
        """Return a body as what the predictor wants, and how far it may be joined with others.

        Raises
        ------
        InvalidInput
            If the body, a column or a value is at fault.
        """
        rows = parse_rows(body, content_type, self._params)
        if self._width and (rows.columns is None or rows.columns == self._columns) and not rows.is_text and not rows.params:
            numbers = self._numbers(rows.rows)
            if numbers is not None:
                return Call(numbers, len(numbers), "numbers")
        inputs = to_input(rows, self.wants, self.signature)
        if rows.params:
            call = Call(inputs)
            call.params = rows.params
            return call
        return Call(inputs, *rows_and_key(inputs, self.signature))

    def _numbers(self, rows: list[Any]) -> Any:
        """Make an array of rows of numbers; None when they are anything else, which is then read column by column."""
        import numpy as np

        try:
            if not _KINDS.issuperset(map(type, chain.from_iterable(rows))):
                return None
            for place, limit in self._whole:
                if not all(type(row[place]) is int and -limit <= row[place] < limit for row in rows):
                    return None
            array = np.array(rows, dtype=self._dtype)
        except (TypeError, ValueError, LookupError, OverflowError):  # rows that are none, of different lengths, numbers too large
            return None
        return array if array.shape == (len(rows), self._width) else None


_KINDS = frozenset({int, float})
_LIMITS = {"long": 1 << 63, "integer": 1 << 31}


def _width(specs: list[ColumnSpec]) -> int:
    """Return how many numbers a row has, where a table's columns or an array's shape say so; else 0."""
    if len(specs) == 1 and specs[0].shape is not None:
        is_row = specs[0].type == "double" and len(specs[0].shape) == 2 and specs[0].shape[0] == -1 and specs[0].shape[1] > 0
        return specs[0].shape[1] if is_row else 0
    return len(specs) if all(spec.shape is None and spec.type in ("double", *_LIMITS) for spec in specs) else 0


def _common_dtype(specs: list[ColumnSpec]) -> Any:
    import numpy as np

    return np.result_type(*(dtype_of(spec.type) for spec in specs))


def content_type(request: Request) -> str:
    """Return a request's media type in lower case, without parameters."""
    kind = request.headers.get("content-type", "")
    return kind if kind == "application/json" else kind.partition(";")[0].strip().lower()


def _answer_options(request: Request) -> Response:
    """Answer without CORS headers, so that web pages stay out."""
    return Response(content_type="text/plain", headers={"allow": "GET, POST, OPTIONS"})
