"""Call an endpoint on this machine, and say in our errors what its HTTP answer means."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException, HTTPResponse
from time import perf_counter
from urllib.parse import urlsplit

from ..entities.answers import Invocation
from ..errors import InvalidInput, ModelRegistryError, NotFound, Refused, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TIMEOUT_SECONDS = 200.0  # Source: Azure ML's longest request_timeout_ms is 180,000.

# Source: Azure ML, "Troubleshoot online endpoints", HTTP status codes.
_MEANINGS: dict[int, type[ModelRegistryError]] = {
    400: InvalidInput,
    401: Refused,
    404: NotFound,
    413: InvalidInput,
    415: InvalidInput,
}


def call(url: str, body: bytes, key: str, headers: Mapping[str, str]) -> Invocation:
    """Post a JSON body and return the answer; JSON is parsed, other text is not.

    Raises
    ------
    InvalidInput
        If the endpoint calls the request bad (400, 413, 415).
    Refused
        If it refuses the key (401).
    NotFound
        If no deployment takes the request (404).
    Unavailable
        If nobody answers, the model fails or is too busy (408, 424, 429, 5xx).
    """
    address = urlsplit(url)
    start = perf_counter()
    connection = HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", address.path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers})
        response = connection.getresponse()
        text = response.read().decode("utf-8", errors="replace")
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{url} does not answer: {error}.") from None
    finally:
        connection.close()
    answer = _parse(text)
    if response.status >= 400:
        raise _error_of(response, answer)
    return Invocation(body=answer, seconds=perf_counter() - start)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _error_of(response: HTTPResponse, answer: Any) -> ModelRegistryError:
    said = answer.get("message", answer) if isinstance(answer, dict) else answer
    kind = _MEANINGS.get(response.status, Unavailable)
    return kind(f"The endpoint answered {response.status}: {said or response.reason}")
