"""Who may ask an endpoint, judged by a request's head: one rule for instances and for the supervisor that answers for them.

No answer carries a word that lets a browser's other pages in (CORS), and a key counts in a header only, never in the
address, which browsers and proxies write down.
"""

from __future__ import annotations

from .http import Response, json_response
from .keys import Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .http import Request

MAX_REQUEST_ID = 100  # Source: azureml-inference-server-http answers 431 above it.
REQUEST_IDS = ("x-request-id", "x-ms-client-request-id")
OPEN_PATHS = ("/", "/ping", "/health", "/v2/health/live", "/v2/health/ready", "/docs")  # they say nothing about the model
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Refusal:
    """Why a request is refused; each protocol has its own words around ``message``."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status, self.message, self.headers = status, message, headers

    def response(self) -> Response:
        """Return it as an answer of no protocol."""
        return json_response({"message": self.message}, self.status, **self.headers)


class Gate:
    """Refuses by the head, in this order: long request ids, other hosts, other origins, no key.

    The host is compared as a whole with this machine's own names, so that no name of somebody else's that leads here
    (DNS rebinding) is taken for it.
    """

    def __init__(self, port: int, keys_path: str) -> None:
        self._hosts = self._origins = _names(port)
        self._keys = Keys(keys_path)

    def move(self, port: int) -> None:
        """Answer at another port. Who was connected before goes on by the old one's name; its web pages are strangers now."""
        self._origins = _names(port)
        self._hosts = self._hosts | self._origins

    def current(self) -> object:
        """Return the same object as long as a head that passed passes again."""
        return self._keys.current()

    def refusal(self, request: Request) -> Refusal | None:
        """Return why a request is refused; None for one that may pass."""
        headers = request.headers
        if any(len(headers.get(name, "")) > MAX_REQUEST_ID for name in REQUEST_IDS):
            return Refusal(431, f"A request id has at most {MAX_REQUEST_ID} characters.")
        if not headers.get("host"):
            return Refusal(400, "The header Host is missing.")
        if headers["host"].lower() not in self._hosts:
            return Refusal(421, "This endpoint answers on 127.0.0.1 and localhost only.")
        if "origin" in headers and headers["origin"].lower().removeprefix("http://") not in self._origins:
            return Refusal(403, "Other web pages may not call this endpoint.")
        if request.path in OPEN_PATHS or self._keys.accepts(headers.get("authorization", "")):
            return None
        seconds = self._keys.must_wait(request.peer)
        if seconds:
            return Refusal(429, f"Too many wrong keys; try again in {seconds:.0f} seconds.", **{"retry-after": f"{seconds:.0f}"})
        return Refusal(401, "The key is missing or wrong; send the header Authorization: Bearer KEY.", **{"www-authenticate": "Bearer"})


def _names(port: int) -> set[str]:
    return {f"{host}:{port}" for host in LOCAL_HOSTS} | (set(LOCAL_HOSTS) if port == 80 else set())
