"""The page at ``/docs`` and the documents that it and other tools read.

The page is one file that fetches nothing from elsewhere, names no model before a key is given, and keeps the key in its memory.
Its policy allows what stands in it, by hash, and this endpoint, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from urllib.parse import parse_qs

from .azure import Score
from .calls import Route
from .http import Response, json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls import Routes, ServedModel
    from .http import Request

PAGE = os.path.join(os.path.dirname(__file__), "docs.html")


def routes(title: str, models: list[ServedModel], code_folder: str | None) -> Routes:
    """Return the routes of the page and the documents; files beside the scoring script win."""
    wire = Score(models[0])

    def answer(version: str) -> Response:
        from .swagger import OPENAPI_VERSIONS, describe  # rarely asked for, and a worker starts sooner without it

        if version not in OPENAPI_VERSIONS:
            return json_response({"message": f"Swagger version [{version[:20]}] is not supported; use {', '.join(OPENAPI_VERSIONS)}."}, 404)
        return json_response(_own_document(code_folder, version) or describe(version, title, models))

    def answer_swagger(request: Request) -> Response:
        return answer(parse_qs(request.query).get("version", ["2"])[-1])

    def answer_openapi(request: Request) -> Response:
        from .swagger import describe

        return json_response(describe("3.1", title, models))

    return {
        "/swagger.json": {"GET": Route(wire, plain=answer_swagger)},
        "/openapi.json": {"GET": Route(wire, plain=answer_openapi)},
        "/docs": {"GET": Route(wire, plain=lambda request: _page())},
    }


def _own_document(folder: str | None, version: str) -> Any:
    names = ("swagger2.json", "swagger.json") if version.startswith("2") else ("swagger3.json",)
    for name in names:
        path = os.path.join(folder or "", name)
        if folder and os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                return json.load(stream)
    return None


def _page() -> Response:
    body, policy = _read_page()
    headers = {"content-security-policy": policy, "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
    return Response(body=body, content_type="text/html; charset=utf-8", headers=headers)


@cache
def _read_page() -> tuple[bytes, str]:
    """Return the page and its policy, which names its script and style by their hashes."""
    import base64
    import hashlib

    with open(PAGE, "rb") as stream:
        body = stream.read()
    hashes = {}
    for tag in (b"script", b"style"):
        (inner,) = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), body, re.DOTALL)
        hashes[tag.decode()] = base64.b64encode(hashlib.sha256(inner).digest()).decode()
    allowed = [f"{tag}-src 'sha256-{digest}'" for tag, digest in hashes.items()]
    closed = ("default-src", "base-uri", "form-action", "frame-ancestors")
    return body, "; ".join([*(f"{name} 'none'" for name in closed), *allowed, "connect-src 'self'"])
