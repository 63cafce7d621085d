"""Routes of one deployment: Azure's ``/score``, MLflow's ``/invocations``, health and swagger, behind a key.

Source of statuses, headers and bodies: azureml-inference-server-http 1.5 and Azure ML, "Troubleshoot online endpoints";
MLflow 3 scoring server.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import time
import uuid
from collections import Counter
from urllib.parse import parse_qsl

from .. import __version__
from ..entities.model import Signature
from ..errors import InvalidInput
from .http import Request, Response, json_response
from .payloads import Unwritable, parse_rows, to_input, to_json
from .swagger import OPENAPI_VERSIONS, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Any

    from .scripts import Script

    Route = Callable[["App", Request], Any]

LOG = logging.getLogger("modelreg.endpoint")
DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_MAX_WAITING = 256
MAX_REQUEST_ID = 100  # Source: azureml-inference-server-http answers 431 above it.
REQUEST_IDS = ("x-request-id", "x-ms-client-request-id")
OPEN_PATHS = ("/", "/ping", "/health")  # liveness says nothing about the model
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
FAILED = {"x-ms-run-function-failed": "True"}
OWN_HEADERS = {"content-type", "content-length", "connection", "transfer-encoding"}


class App:
    """One deployment's answers.

    Parameters
    ----------
    deployment
        Name that callers may pin with the header ``azureml-model-deployment``.
    predictor, script
        One of them answers: a predictor with ``wants``, or a scoring script.
    keys_path, endpoint_path
        Small JSON files that operations rewrite; read again when they change.
    model_thread
        The one thread that loaded the model and asks it, since some libraries keep state by thread.
    max_waiting
        Requests that may be with the model or wait for it before others get 429.
    """

    def __init__(
        self,
        deployment: str,
        *,
        port: int,
        keys_path: str,
        endpoint_path: str,
        model_thread: Executor,
        predictor: Any = None,
        script: Script | None = None,
        signature: Signature | None = None,
        input_example: Any = None,
        code_folder: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_waiting: int = DEFAULT_MAX_WAITING,
    ) -> None:
        self.deployment, self.predictor, self.script = deployment, predictor, script
        self.signature, self.input_example, self.code_folder = signature, input_example, code_folder
        self.timeout_seconds, self.max_waiting = timeout_seconds, max_waiting
        self._hosts = {f"{host}:{port}" for host in LOCAL_HOSTS} | (set(LOCAL_HOSTS) if port == 80 else set())
        self._keys, self._endpoint = JsonFile(keys_path), JsonFile(endpoint_path)
        self._model_thread = model_thread
        self._waiting, self._model_seconds = 0, 0.0
        self.counts: Counter[int] = Counter()  # answers by status

    def refuse(self, request: Request) -> Response | None:
        """Refuse by the head, in this order: long request ids, other hosts, other origins, no key."""
        refusal = self._refusal(request)
        return self._signed(request, refusal) if refusal else None

    async def handle(self, request: Request) -> Response:
        """Answer one request that was not refused."""
        return self._signed(request, await self._route(request))

    def _signed(self, request: Request, response: Response) -> Response:
        """Count an answer and give it the headers of the contract."""
        self.counts[response.status] += 1
        identifiers = {name: request.headers.get(name, "") for name in REQUEST_IDS}
        known = {name: value for name, value in identifiers.items() if 0 < len(value) <= MAX_REQUEST_ID and value.isprintable()}
        return response.replace(
            headers={
                "x-request-id": str(uuid.uuid4()),
                **known,
                "x-ms-server-version": f"jupyter-modelreg/{__version__}",
                "azureml-model-deployment": self.deployment,
                **response.headers,
            }
        )

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if any(len(headers.get(name, "")) > MAX_REQUEST_ID for name in REQUEST_IDS):
            return json_response({"message": f"A request id has at most {MAX_REQUEST_ID} characters."}, 431)
        if not headers.get("host"):
            return json_response({"message": "The header Host is missing."}, 400)
        if headers["host"].lower() not in self._hosts:
            return json_response({"message": "This endpoint answers on 127.0.0.1 and localhost only."}, 421)
        if "origin" in headers and headers["origin"].lower().removeprefix("http://") not in self._hosts:
            return json_response({"message": "Other web pages may not call this endpoint."}, 403)
        if request.path in OPEN_PATHS or self._knows_key(headers.get("authorization", "")):
            return None
        message = "The key is missing or wrong; send the header Authorization: Bearer KEY."
        return json_response({"message": message}, 401, **{"www-authenticate": "Bearer"})

    def _knows_key(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        offered = given.strip().encode()
        # Both keys are compared, each in constant time.
        matches = [hmac.compare_digest(offered, str(key).encode()) for key in self._keys.read().values()]
        return scheme.lower() == "bearer" and any(matches)

    async def _route(self, request: Request) -> Response:
        methods = _ROUTES.get(request.path)
        if methods is None:
            return json_response({"message": f"There is no {request.path[:200]} here."}, 404)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            return json_response({"message": f"{request.method} is not allowed here."}, 405, allow=", ".join(methods))
        answer: Response = await route(self, request)
        return answer

    # --- routes -------------------------------------------------------------------------------------------------------

    async def get_health(self, request: Request) -> Response:
        """Say that the worker lives."""
        return Response(body=b"Healthy", content_type="text/plain; charset=utf-8")

    async def get_ping(self, request: Request) -> Response:
        """Say so as MLflow does."""
        return Response(body=b"\n", content_type="application/json")

    async def get_version(self, request: Request) -> Response:
        """Name the version of the server."""
        return Response(body=__version__.encode(), content_type="text/plain; charset=utf-8")

    async def get_metrics(self, request: Request) -> Response:
        """Count answers and the model's time in Prometheus' text format."""
        name = f'deployment="{self.deployment}"'
        lines = [
            "# TYPE modelreg_answers_total counter",
            *(f'modelreg_answers_total{{{name},status="{status}"}} {count}' for status, count in sorted(self.counts.items())),
            "# TYPE modelreg_model_seconds_total counter",
            f"modelreg_model_seconds_total{{{name}}} {self._model_seconds:.6f}",
            "# TYPE modelreg_waiting gauge",
            f"modelreg_waiting{{{name}}} {self._waiting}",
        ]
        return Response(body="\n".join([*lines, ""]).encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def get_options(self, request: Request) -> Response:
        """Answer OPTIONS; without CORS headers, so that web pages stay out."""
        return Response(content_type="text/plain", headers={"allow": "GET, POST, OPTIONS"})

    async def get_swagger(self, request: Request) -> Response:
        """Describe ``/score``; files beside the scoring script win."""
        version = dict(parse_qsl(request.query)).get("version", "2")
        if version not in OPENAPI_VERSIONS:
            return json_response({"message": f"Swagger version [{version[:20]}] is not supported; use {', '.join(OPENAPI_VERSIONS)}."}, 404)
        return json_response(self._own_swagger(version) or describe(version, self.deployment, self.signature, self.input_example))

    async def score(self, request: Request) -> Response:
        """Answer Azure's route: a bare list of predictions, or what the script returns."""
        if request.method != "POST":
            request.body = json.dumps(dict(parse_qsl(request.query))).encode()
        kind = _content_type(request)
        if request.method == "POST" and self.script is None and kind not in ("application/json", ""):
            return json_response({"message": f'Send application/json, not "{kind[:60]}".'}, 415)
        if "pickle" in kind:
            return json_response({"message": "Pickles are never read."}, 415)
        return await self._predict(request, lambda value: value, lambda message, status: {"message": message})

    async def invoke(self, request: Request) -> Response:
        """Answer MLflow's route: ``{"predictions": …}``."""
        kind = _content_type(request)
        if kind not in ("application/json", "text/csv"):
            message = f'Send application/json or text/csv, not "{kind[:60]}".'
            return json_response({"error_code": "BAD_REQUEST", "message": message}, 415)
        codes = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND"}
        return await self._predict(
            request,
            lambda value: {"predictions": value},
            lambda message, status: {"error_code": codes.get(status, "INTERNAL_ERROR"), "message": message},
        )

    # --- the model ----------------------------------------------------------------------------------------------------

    async def _predict(self, request: Request, wrap: Callable[[Any], Any], fail: Callable[[str, int], Any]) -> Response:
        refused = self._misrouted(request)
        if refused:
            return json_response(fail(*refused), refused[1])
        if self._waiting >= self.max_waiting:
            return json_response(fail("Too many requests wait for the model; try again later.", 429), 429, **{"retry-after": "1"})
        self._waiting += 1
        work = self._model_thread.submit(self._answer, request, wrap, fail)
        future = asyncio.wrap_future(work)
        future.add_done_callback(self._count_out)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.timeout_seconds)
        except asyncio.CancelledError:  # the client has gone
            work.cancel()
            raise
        except TimeoutError:
            work.cancel()  # if it has not begun; a running one keeps its place in the queue
            message = f"Scoring timeout after {self.timeout_seconds * 1000:.0f} ms; request_settings.request_timeout_ms sets the limit."
            return json_response(fail(message, 408), 408)

    def _count_out(self, _: object) -> None:
        self._waiting -= 1

    def _misrouted(self, request: Request) -> tuple[str, int] | None:
        """Say why this deployment shall not answer: another was asked for, or it has no traffic."""
        wanted = request.headers.get("azureml-model-deployment")
        if wanted and wanted != self.deployment:
            return f'Deployment "{wanted[:64]}" not found; this endpoint has "{self.deployment}".', 404
        if not wanted and not self._endpoint.read().get("traffic", {}).get(self.deployment):
            return "There is no deployment with positive weight; name one with the header azureml-model-deployment or set the traffic.", 404
        return None

    def _answer(self, request: Request, wrap: Callable[[Any], Any], fail: Callable[[str, int], Any]) -> Response:
        """Ask the model; called in its thread. A stranger sees no traceback, the log has all of it."""
        start = time.perf_counter()
        try:
            value = self._run_script(request) if self.script else self._run_predictor(request)
            response = value if isinstance(value, Response) else json_response(wrap(to_json(value)))
        except InvalidInput as error:
            response = json_response(fail(error.message, 400), 400)
        except Unwritable as error:
            LOG.error("%s", error)
            response = json_response(fail(str(error), 500), 500, **FAILED)
        except BaseException:  # the model's and the script's own code may raise anything, even SystemExit
            LOG.exception("The request failed in the model")
            message = "An unexpected error occurred in the model or its scoring script. Check the logs for more info."
            response = json_response(fail(message, 500), 500, **FAILED)
        seconds = time.perf_counter() - start
        self._model_seconds += seconds
        return response.replace(headers={"x-ms-run-fn-exec-ms": f"{seconds * 1000:.3f}", **response.headers})

    def _run_predictor(self, request: Request) -> Any:
        rows = to_input(parse_rows(request.body, _content_type(request)), self.predictor.wants, self.signature)
        try:
            return self.predictor(rows)
        except ValueError as error:
            # What libraries raise for the wrong number of features, or for gaps where they take none.
            LOG.exception("The model refused the input")
            raise InvalidInput(f"The model refused the input: {str(error).splitlines()[0] if str(error) else 'ValueError'}") from None

    def _run_script(self, request: Request) -> Any:
        assert self.script
        try:
            text = request.body.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8 text.") from None
        value = self.script.score(text, request.headers)
        # Flask's answers, which AMLResponse is one of, carry status, headers and body of their own.
        return _flask_response(value) if hasattr(value, "status_code") and hasattr(value, "get_data") else value

    def _own_swagger(self, version: str) -> Any:
        names = ("swagger2.json", "swagger.json") if version.startswith("2") else ("swagger3.json",)
        for name in names:
            path = os.path.join(self.code_folder or "", name)
            if self.code_folder and os.path.isfile(path):
                return JsonFile(path).read()
        return None


class JsonFile:
    """A small JSON file that others replace; read again when it changed."""

    def __init__(self, path: str) -> None:
        self._path, self._stamp = path, (0, 0)
        self._value: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return its mapping; an absent file is an empty one."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return {}
        if (status.st_mtime_ns, status.st_ino) != self._stamp:
            with open(self._path, encoding="utf-8") as stream:
                self._value = json.load(stream)
            self._stamp = (status.st_mtime_ns, status.st_ino)
        return self._value


def _flask_response(value: Any) -> Response:
    headers = {name.lower(): text for name, text in value.headers.items() if name.lower() not in OWN_HEADERS}
    return Response(
        status=int(value.status_code), body=value.get_data(), content_type=value.content_type or "application/json", headers=headers
    )


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


_ROUTES: dict[str, dict[str, Route]] = {
    "/": {"GET": App.get_health},
    "/health": {"GET": App.get_ping},
    "/ping": {"GET": App.get_ping},
    "/version": {"GET": App.get_version},
    "/metrics": {"GET": App.get_metrics},
    "/score": {"POST": App.score, "GET": App.score, "OPTIONS": App.get_options},
    "/invocations": {"POST": App.invoke},
    "/swagger.json": {"GET": App.get_swagger},
}
