"""The document that describes an endpoint, made from the signature and the input example."""

from __future__ import annotations

from ..entities.model import ColumnSpec, Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPENAPI_VERSIONS = ("2", "2.0", "3", "3.0", "3.1")
_TYPES = {"boolean": "boolean", "integer": "integer", "long": "integer", "float": "number", "double": "number"}


def describe(version: str, name: str, signature: Signature | None, example: Any) -> dict[str, Any]:
    """Return a Swagger 2.0 or OpenAPI 3.x document of ``POST /score``."""
    wanted = _input_schema(signature)
    if example is not None:
        wanted["example"] = {"input_data": example}
    given = {"type": "array", "items": {}}
    operation: dict[str, Any] = {"operationId": "score", "summary": "Ask the model."}
    info = {"title": name, "version": "1.0", "description": "Send the key as Authorization: Bearer KEY."}
    if version.startswith("2"):
        operation["parameters"] = [{"in": "body", "name": "input", "required": True, "schema": wanted}]
        operation |= {"consumes": ["application/json"], "produces": ["application/json"]}
        operation["responses"] = {"200": {"description": "Predictions", "schema": given}}
        security = {"securityDefinitions": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}}}
        return {"swagger": "2.0", "info": info, **security, "security": [{"Bearer": []}], "paths": {"/score": {"post": operation}}}
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": wanted}}}
    operation["responses"] = {"200": {"description": "Predictions", "content": {"application/json": {"schema": given}}}}
    components = {"securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}}}
    number = "3.1.0" if version == "3.1" else "3.0.3"
    return {
        "openapi": number,
        "info": info,
        "components": components,
        "security": [{"Bearer": []}],
        "paths": {"/score": {"post": operation}},
    }


def _input_schema(signature: Signature | None) -> dict[str, Any]:
    specs = signature.inputs if signature else []
    is_table = bool(specs) and all(spec.name and spec.shape is None for spec in specs)
    row = {"type": "array", "items": {}, **({"minItems": len(specs), "maxItems": len(specs)} if is_table else {})}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", **({"enum": [spec.name for spec in specs]} if is_table else {})}},
            "data": {"type": "array", "items": row},
        },
        **({"x-columns": {str(spec.name): _kind(spec) for spec in specs}} if is_table else {}),
    }
    return {"type": "object", "required": ["input_data"], "properties": {"input_data": split if is_table else {}}}


def _kind(spec: ColumnSpec) -> dict[str, str]:
    return {"type": _TYPES.get(spec.type, "string")}
