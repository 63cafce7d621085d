"""The documents that describe an endpoint: Swagger 2.0 of ``/score`` as Azure has it, OpenAPI 3.0 and 3.1 of every route.

Made from the models' signatures and input examples. What JSON Schema cannot say, such as that the columns of a mapping are
equally long, is left to the answer 400, whose message names what is wrong. The page at ``/docs`` (:mod:`.docs`) reads them.

Source: Swagger 2.0; OpenAPI 3.0.3 and 3.1.0.
"""

from __future__ import annotations

import re

from ..entities.model import ColumnSpec, Signature
from . import arrays, npy, v2
from .payloads import ENVELOPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls import ServedModel

    Json = dict[str, Any]

OPENAPI_VERSIONS = ("2", "2.0", "3", "3.0", "3.1")
JSON, TEXT, BINARY = "application/json", "text/plain", "application/octet-stream"
HELP = "Send the key as `Authorization: Bearer KEY`; `modelreg online-endpoint get-credentials` shows it."
TAGS = AZURE, MLFLOW, V2, V1, ENDPOINT = "Azure ML", "MLflow", "Open Inference Protocol, V2", "KServe, V1", "Endpoint"
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The key as the password of any user, for clients that know addresses only",
    },
}

# What may go wrong, besides an answer: for every route, and for those that ask the model.
_REFUSALS = {
    "400": "The request is at fault; the message says how",
    "401": "The key is missing or wrong",
    "403": "Another web page asks",
    "408": "The request or the model's answer took too long",
    "421": "Another host was meant",
    "431": "The headers, or a request id, are too long",
}
_FAILURES = {
    "404": "There is no such model, or no deployment with traffic",
    "413": "The body is too large",
    "415": "The body's type or encoding is not taken",
    "424": "The model or its scoring script failed, as `/score` says it",
    "429": "Too many requests wait; try again later",
    "500": "The model or its scoring script failed, as the other routes say it",
    "503": "No instance is ready; try again later",
}


def describe(version: str, name: str, models: list[ServedModel]) -> Json:
    """Return the document of a deployment in one of `OPENAPI_VERSIONS`; the first model is the one that ``/score`` asks."""
    info = {"title": name, "version": "1.0", "description": HELP}
    if version.startswith("2"):
        return _swagger(info, models[0])
    found: Json = {
        "openapi": "3.1.0" if version == "3.1" else "3.0.3",
        "info": info,
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in SECURITY],
        "tags": [{"name": tag} for tag in TAGS],
        "paths": _own_paths(models[0])
        | {path: methods for model in models if model.is_asked for path, methods in _paths_of(model).items()}
        | _shared_paths(),
        "components": {
            "securitySchemes": SECURITY,
            "schemas": {**_SCHEMAS, **{_rows_name(model): _rows(model) for model in models}},
            "responses": _responses(),
        },
    }
    return found if version == "3.1" else _older(found)


def sample(model: ServedModel) -> Any:
    """Return an input to try: the example, or zeros and empty texts after the signature; None where nothing is known."""
    specs = model.signature.inputs if model.signature else []
    if model.input_example is not None or not specs:
        return model.input_example
    if all(spec.shape is None for spec in specs):
        return {"columns": [spec.name or str(place) for place, spec in enumerate(specs)], "data": [[_zero(spec) for spec in specs]]}
    tensors = {arrays.input_name(spec, place): _zeros(spec, spec.shape or []) for place, spec in enumerate(specs)}
    return tensors if len(specs) > 1 or specs[0].name else next(iter(tensors.values()))


# --- routes -----------------------------------------------------------------------------------------------------------


def _own_paths(model: ServedModel) -> Json:
    """Describe the routes of the deployment's own model."""
    is_script = model.script is not None
    ask = _operation(
        AZURE,
        "Ask the model; what comes back is the bare predictions.",
        {JSON: _media(_input(model), _example(model))},
        {JSON: _media({})},
    )
    query = _operation(AZURE, "Ask the scoring script with the query's parameters as JSON.", None, {JSON: _media({})}, asks=True)
    query["parameters"] = [{"name": "query", "in": "query", "schema": {"type": "object", "additionalProperties": {"type": "string"}}}]
    invoke = _operation(MLFLOW, "Ask the model as MLflow's server is asked.", _rows_media(model), _predictions_media())
    return {
        "/score": {"post": ask, **({"get": query} if is_script else {})},
        "/invocations": {"post": invoke},
    }


def _paths_of(model: ServedModel) -> Json:
    """Describe the routes of a model under its name."""
    name, base = model.name, f"/v2/models/{model.name}"
    infer = _operation(V2, f"Ask {name} in the Open Inference Protocol.", _tensors_media(model), _tensor_answers())
    predict = {
        JSON: _media({"type": "object", "required": ["instances"], "properties": {"instances": _ref(_rows_name(model))}}, _instances(model))
    }
    invoke = _operation(MLFLOW, f"Ask {name} as `mlflow.deployments` does.", _rows_media(model), _predictions_media())
    ready = _operation(V2, f"Say whether {name} is ready.", None, {JSON: _media(_ref("Ready"))})
    listed = _operation(V2, f"Describe the tensors of {name}.", None, {JSON: _media(_ref("ModelMetadata"))})
    return {
        f"{base}/infer": {"post": infer},
        base: {"get": listed},
        f"{base}/ready": {"get": ready},
        f"{base}/versions/{model.version}/infer": {"post": infer},
        f"{base}/versions/{model.version}": {"get": listed},
        f"{base}/versions/{model.version}/ready": {"get": ready},
        f"/v1/models/{name}:predict": {"post": _operation(V1, f"Ask {name} in KServe's first protocol.", predict, _predictions())},
        f"/v1/models/{name}": {"get": _operation(V1, f"Say whether {name} is ready.", None, {JSON: _media(_ref("Ready"))})},
        f"/endpoints/{name}/invocations": {"post": invoke},
    }


def _shared_paths() -> Json:
    """Describe what is about the endpoint itself."""
    text = {TEXT: _media({"type": "string"})}
    index = {"type": "array", "items": {"type": "object", "required": ["name", "version", "state", "reason"]}}
    names = {"type": "object", "required": ["models"], "properties": {"models": {"type": "array", "items": {"type": "string"}}}}
    swagger = _operation(ENDPOINT, "This document.", None, {JSON: _media({"type": "object"})})
    swagger["parameters"] = [{"name": "version", "in": "query", "schema": {"type": "string", "enum": list(OPENAPI_VERSIONS)}}]
    swagger["responses"]["404"] = {"$ref": "#/components/responses/404"}
    return {
        "/v2": {"get": _operation(V2, "Describe the server.", None, {JSON: _media(_ref("ServerMetadata"))})},
        "/v2/health/live": {"get": _operation(V2, "Say whether the server lives.", None, {JSON: _media(_ref("Ready"))}, is_open=True)},
        "/v2/health/ready": {"get": _operation(V2, "Say whether it is ready.", None, {JSON: _media(_ref("Ready"))}, is_open=True)},
        "/v2/models": {"get": _operation(V2, "List the models.", None, {JSON: _media(names)})},
        "/v2/repository/index": {"post": _operation(V2, "List the models with their states.", None, {JSON: _media(index)})},
        "/v1/models": {"get": _operation(V1, "List the models.", None, {JSON: _media(names)})},
        "/": {"get": _operation(ENDPOINT, "Say that the endpoint lives.", None, text, is_open=True)},
        "/ping": {"get": _operation(MLFLOW, "Say that the endpoint lives.", None, text, is_open=True)},
        "/health": {"get": _operation(MLFLOW, "Say that the endpoint lives.", None, text, is_open=True)},
        "/version": {"get": _operation(MLFLOW, "Name the server's version.", None, text)},
        "/metrics": {"get": _operation(ENDPOINT, "Count in Prometheus' text format.", None, text)},
        "/swagger.json": {"get": swagger},
        "/openapi.json": {"get": _operation(ENDPOINT, "This document, in OpenAPI 3.1.", None, {JSON: _media({"type": "object"})})},
        "/docs": {
            "get": _operation(ENDPOINT, "The page to try all this on.", None, {"text/html": _media({"type": "string"})}, is_open=True)
        },
    }


def _operation(tag: str, summary: str, body: Json | None, answers: Json, *, is_open: bool = False, asks: bool = False) -> Json:
    statuses = {**_REFUSALS, **(_FAILURES if body or asks else {})}
    if is_open:
        statuses.pop("401")
    return {
        "tags": [tag],
        "summary": summary,
        **({"security": []} if is_open else {}),
        **({"requestBody": {"required": True, "content": body}} if body else {}),
        "responses": {
            "200": {"description": "The answer", "content": answers},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in statuses},
        },
    }


def _responses() -> Json:
    content = {JSON: _media(_ref("Error"))}
    return {status: {"description": said, "content": content} for status, said in {**_REFUSALS, **_FAILURES}.items()}


def _media(schema: Json, example: Any = None) -> Json:
    return {"schema": schema, **({} if example is None else {"example": example})}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


# --- bodies -----------------------------------------------------------------------------------------------------------


def _rows_media(model: ServedModel) -> Json:
    example = _example(model)
    return {
        JSON: _media(_input(model), {"dataframe_split": example["input_data"]} if _is_split(example) else example),
        "text/csv": _media({"type": "string"}, _csv(model)),
        **({} if model.wants in ("text", "tensors") else {npy.CONTENT_TYPE: _media({"type": "string", "format": "binary"})}),
    }


def _predictions() -> Json:
    return {JSON: _media({"type": "object", "required": ["predictions"]})}


def _predictions_media() -> Json:
    return {**_predictions(), npy.CONTENT_TYPE: _media({"type": "string", "format": "binary"})}


def _tensors_media(model: ServedModel) -> Json:
    tensors = _tensors(model)
    return {
        JSON: _media(_ref("InferRequest"), {"id": "1", "inputs": tensors} if tensors else None),
        BINARY: _media({"type": "string", "format": "binary", "description": "JSON, then tensors; `Inference-Header-Content-Length`"}),
    }


def _tensor_answers() -> Json:
    return {JSON: _media(_ref("InferResponse")), BINARY: _media({"type": "string", "format": "binary"})}


def _input(model: ServedModel) -> Json:
    """Describe a body of rows: one envelope around any of the forms that the model's rows have."""
    if model.script is not None:
        return {}
    envelopes = {key: _ref(_rows_name(model)) for key in ENVELOPES}
    return {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": envelopes, "additionalProperties": False}


def _rows_name(model: ServedModel) -> str:
    return "Rows-" + re.sub(r"[^A-Za-z0-9._-]", "_", model.name)


def _rows(model: ServedModel) -> Json:
    specs = model.signature.inputs if model.signature else []
    if not specs or model.script is not None:
        return {}
    if all(spec.shape is None for spec in specs):
        return {"anyOf": _table(specs)}
    tensors = {arrays.input_name(spec, place): _nested(spec, spec.shape or []) for place, spec in enumerate(specs)}
    by_name = {"type": "object", "required": list(tensors), "properties": tensors, "additionalProperties": False}
    return {"anyOf": [by_name, *tensors.values()]} if len(specs) == 1 else by_name


def _table(specs: list[ColumnSpec]) -> list[Json]:
    """Describe a table as a split frame, as rows and as records."""
    names = [spec.name or str(place) for place, spec in enumerate(specs)]
    cells = [_cell(spec) for spec in specs]
    row = {"type": "array", "prefixItems": cells, "minItems": len(specs), "maxItems": len(specs)}
    rows = {"type": "array", "minItems": 1, "items": row}
    required = [name for name, spec in zip(names, specs, strict=True) if spec.required is not False]
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {"columns": {"type": "array", "items": {"type": "string"}, "enum": [names]}, "data": rows},
        "x-columns": {name: {"type": _bare(cell)} for name, cell in zip(names, cells, strict=True)},
    }
    record = {"type": "object", "required": required, "properties": dict(zip(names, cells, strict=True)), "additionalProperties": False}
    named = all(spec.name for spec in specs)
    return [split, rows, *([{"type": "array", "minItems": 1, "items": record}] if named else [])]


def _nested(spec: ColumnSpec, shape: list[int]) -> Json:
    if not shape:
        return _cell(spec)
    size = {"minItems": 1} if shape[0] < 0 else {"minItems": shape[0], "maxItems": shape[0]}
    return {"type": "array", **size, "items": _nested(spec, shape[1:])}


def _cell(spec: ColumnSpec) -> Json:
    """Describe one value. A gap is null, where the type has one."""
    return _CELLS.get(spec.type) or ({"type": ["number", "null"]} if arrays.dtype_of(spec.type).startswith("f") else {})


_CELLS: dict[str, Json] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1},
    "long": {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1},
    "float": {"type": ["number", "null"]},
    "double": {"type": ["number", "null"]},
    "string": {"type": ["string", "null"]},
    "datetime": {"type": ["string", "null"], "format": "date-time"},
}


def _bare(cell: Json) -> str:
    kind = cell.get("type", "string")
    return kind if isinstance(kind, str) else str(kind[0])


# --- examples ---------------------------------------------------------------------------------------------------------


def _example(model: ServedModel) -> Any:
    given = sample(model)
    if given is None:
        return None
    return {"data" if model.script is not None else "input_data": given}


def _is_split(example: Any) -> bool:
    return isinstance(example, dict) and isinstance(example.get("input_data"), dict) and "columns" in example["input_data"]


def _instances(model: ServedModel) -> Any:
    given = sample(model)
    if isinstance(given, dict) and "columns" in given:
        given = [dict(zip(given["columns"], row, strict=False)) for row in given["data"]]
    return None if given is None else {"instances": given}


def _csv(model: ServedModel) -> str | None:
    given = sample(model)
    if not isinstance(given, dict) or "columns" not in given:
        return None
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([given["columns"], *given["data"]])
    return text.getvalue()


def _tensors(model: ServedModel) -> list[Json]:
    """Return the sample as tensors of the V2 protocol; none where it cannot be one."""
    import numpy as np

    given, signature = sample(model), model.signature or Signature()
    if given is None or model.script is not None:
        return []
    if isinstance(given, dict) and "columns" in given:
        given = {name: [[row[place]] for row in given["data"]] for place, name in enumerate(given["columns"])}
    elif not isinstance(given, dict):
        given = {arrays.input_name(spec, 0): given for spec in signature.inputs[:1]} or {"input-0": given}
    specs = {arrays.input_name(spec, place): spec for place, spec in enumerate(signature.inputs)}
    found = []
    for name, values in given.items():
        array = np.asarray(values, dtype=None if name not in specs else object)
        datatype = v2.datatype_of(np.dtype(arrays.dtype_of(specs[name].type)) if name in specs else array.dtype)
        found.append({"name": str(name), "shape": list(array.shape), "datatype": datatype, "data": array.ravel().tolist()})
    return found


def _zero(spec: ColumnSpec) -> Any:
    if spec.type == "datetime":
        return "2026-01-01T00:00:00"
    return {"b": False, "O": "", "f": 0.0}.get(arrays.dtype_of(spec.type)[0].replace("o", "O"), 0)


def _zeros(spec: ColumnSpec, shape: list[int]) -> Any:
    return [_zeros(spec, shape[1:]) for _ in range(max(1, shape[0]))] if shape else _zero(spec)


# --- documents of older kinds -----------------------------------------------------------------------------------------


def _swagger(info: Json, model: ServedModel) -> Json:
    """Describe ``POST /score`` in Swagger 2.0, as Azure's inference server does."""
    specs = model.signature.inputs if model.signature else []
    forms = _table(specs) if specs and all(spec.shape is None for spec in specs) else [{}]
    wanted: Json = {"type": "object", "required": ["input_data"], "properties": {"input_data": _older(forms[0])}}
    if model.script is not None:
        wanted = {}
    example = _example(model)
    if example is not None:
        wanted["example"] = example
    operation = {
        "operationId": "score",
        "summary": "Ask the model.",
        "parameters": [{"in": "body", "name": "input", "required": True, "schema": wanted}],
        "consumes": [JSON],
        "produces": [JSON],
        "responses": {"200": {"description": "Predictions", "schema": {"type": "array", "items": {}}}},
    }
    return {
        "swagger": "2.0",
        "info": info,
        "securityDefinitions": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        "security": [{"Bearer": []}],
        "paths": {"/score": {"post": operation}},
    }


def _older(value: Any) -> Any:
    """Say in the words of JSON Schema's draft 5, which OpenAPI 3.0 has, what is said in those of 2020-12."""
    if isinstance(value, list):
        return [_older(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: item if key in ("example", "enum") else _older(item) for key, item in value.items()}
    if isinstance(made.get("type"), list):
        made |= {"type": made["type"][0], "nullable": True}
    if "prefixItems" in made:
        cells = made.pop("prefixItems")
        unique = [cell for place, cell in enumerate(cells) if cell not in cells[:place]]
        made["items"] = unique[0] if len(unique) == 1 else {"anyOf": unique}
    return made


_TENSOR: Json = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": arrays.MAX_DIMENSIONS},
        "datatype": {"type": "string", "enum": list(v2.DATATYPES)},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}, "description": "Nested or flat, in rows"},
    },
}
_SCHEMAS: Json = {
    "Error": {
        "type": "object",
        "properties": {"message": {"type": "string"}, "error": {"type": "string"}, "error_code": {"type": "string"}},
        "anyOf": [{"required": ["message"]}, {"required": ["error"]}],
    },
    "Ready": {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in (("live", "boolean"), ("ready", "boolean"), ("name", "string"))},
    },
    "Tensor": _TENSOR,
    "ServerMetadata": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            **{
                key: {"type": "array", "items": {"type": "object", "required": ["name", "datatype", "shape"]}}
                for key in ("inputs", "outputs")
            },
        },
    },
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "minItems": 1, "items": _ref("Tensor")},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                },
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _ref("Tensor")},
        },
    },
}
