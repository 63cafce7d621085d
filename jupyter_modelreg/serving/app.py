"""One deployment's answers: who may ask, which route and deployment, how many at a time, and what every answer carries.

What a request means and how its answer is worded is its wire's (:mod:`.calls`), when the model is asked its batcher's
(:mod:`.batching`). All of it happens in the loop's thread, without a task for each request.

Source of statuses and headers: azureml-inference-server-http 1.5 and Azure ML, "Troubleshoot online endpoints".
"""

from __future__ import annotations

import logging
import uuid
from functools import partial
from itertools import count
from time import perf_counter

from .. import __version__
from ..entities.online import DEFAULT_TIMEOUT_SECONDS
from ..errors import InvalidInput, NotFound
from . import azure, docs, kserve, mlflow, v2
from .batching import MAX_READ_IN_LOOP, Batcher, Job
from .calls import Route, Unacceptable
from .gate import MAX_REQUEST_ID, OPEN_PATHS, Gate
from .http import Request, Response, json_response
from .metrics import Metrics, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from concurrent.futures import Executor
    from typing import Any

    from .calls import Collector, Router, Routes, ServedModel

LOG = logging.getLogger("modelreg.endpoint")
DEFAULT_MAX_WAITING = 256
PINNED = "azureml-model-deployment"


class App:
    """One deployment's answers.

    Parameters
    ----------
    deployment
        Name that callers may pin with the header ``azureml-model-deployment``.
    models
        What answers; the first one is the deployment's own, which ``/score`` and ``/invocations`` ask.
    keys_path
        Small JSON file of the keys, which operations rewrite; read again when it changes.
    router
        Says which deployment answers a request and asks others; without one this deployment answers all.
    collector
        Takes note of what was asked and answered.
    endpoint
        Its name, under which MLflow's deployments client asks.
    model_thread
        The one thread that loaded the model and asks it, since some libraries keep state by thread.
    max_waiting
        Requests that may be with the model or wait for it before others get 429.
    """

    def __init__(
        self,
        deployment: str,
        *,
        models: list[ServedModel],
        port: int,
        keys_path: str,
        model_thread: Executor,
        router: Router | None = None,
        collector: Collector | None = None,
        code_folder: str | None = None,
        endpoint: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_waiting: int = DEFAULT_MAX_WAITING,
    ) -> None:
        self.deployment, self.models, self.code_folder, self.max_waiting = deployment, models, code_folder, max_waiting
        self.metrics = Metrics(deployment)
        self._gate, self._router, self._collector = Gate(port, keys_path), router, collector
        self._batchers = {
            id(model): Batcher(model, model_thread, self.metrics, self._finish, timeout_seconds=timeout_seconds) for model in models
        }
        self.routes = {
            **self._own_routes(),
            **docs.routes(f"{endpoint}/{deployment}" if endpoint else deployment, models, code_folder),
            **v2.routes(models),
            **kserve.routes(models),
            **mlflow.routes(models, [endpoint] if endpoint else []),
            **azure.routes(models),
        }
        self._lines = f"x-ms-server-version: jupyter-modelreg/{__version__}\r\n{PINNED}: {deployment}\r\n".encode()
        # Told apart by the number, and from other instances' by what is before it; nothing is kept secret by them.
        self._id_head, self._ids = str(uuid.uuid4())[:24], count(1)

    @property
    def waiting(self) -> int:
        """Requests that are with a model or wait for one."""
        count = 0
        for batcher in self._batchers.values():  # for each request; a generator takes thrice as long
            count += batcher.waiting
        return count

    def move(self, port: int) -> None:
        """Answer to the names that another port has."""
        self._gate.move(port)

    def stats(self) -> dict[str, Any]:
        """Return the numbers that a person and the supervisor look at."""
        longest = max(batcher.running_seconds for batcher in self._batchers.values())
        return self.metrics.stats(waiting=self.waiting, running_seconds=longest)

    def refuse(self, request: Request) -> Response | None:
        """Refuse by the head what may not ask, in the words of the protocol that its path belongs to.

        A head that passed passes again as long as the keys are the same.
        """
        keys = self._gate.current()
        if request.head is not None and request.head.passed is keys:
            return None
        refusal = self._refusal(request)
        if refusal is None:
            if request.head is not None:
                request.head.passed = keys
            return None
        self.metrics.rejected(refusal.status)
        return self._signed(request, refusal)

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request that was not refused: at once, by a job that is settled later, or by another deployment."""
        began = perf_counter()
        route = self._route(request)
        if self._router is not None and not request.is_forwarded and self._is_routed(request, route):
            try:
                chosen = self._router.choose(request)
            except NotFound as error:
                return self._done(request, self._fail(request, error.message, 404), began)
            if chosen != self.deployment:
                return self._router.forward(request, chosen, partial(self._unanswered, request, chosen, began))
        if route is None:
            return self._done(request, self._unknown(request), began)
        if route.model is None:
            assert route.plain
            answer = route.plain(request)
            return self._done(request, answer, began) if isinstance(answer, Response) else self._later(request, answer, began)
        return self._ask(request, route, self._batchers[id(route.model)], began)

    # --- who may ask --------------------------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        refusal = self._gate.refusal(request)
        if refusal is None:
            return None
        response = self._fail(request, refusal.message, refusal.status)
        response.headers |= refusal.headers
        return response

    # --- what was asked for -------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> Route | None:
        return self._methods(request.path).get("GET" if request.method == "HEAD" else request.method)

    def _methods(self, path: str) -> dict[str, Route]:
        methods = self.routes.get(path)
        if methods is None:
            return next((held for begin, held in self.routes.items() if begin[-1] == "*" and path.startswith(begin[:-1])), {})
        return methods

    def _is_routed(self, request: Request, route: Route | None) -> bool:
        """Say whether another deployment may have to answer: not for what is about this instance, unless one is pinned."""
        return (route is None or route.model is not None or PINNED in request.headers) and request.path not in _ABOUT_INSTANCE

    def _unknown(self, request: Request) -> Response:
        methods = self.routes.get(request.path)
        if methods is None:
            return self._fail(request, f"There is no {request.path[:200]} here.", 404)
        response = self._fail(request, f"{request.method} is not allowed here.", 405)
        response.headers["allow"] = ", ".join(methods)
        return response

    def _fail(self, request: Request, message: str, status: int) -> Response:
        """Word a failure as the protocol does to which the path belongs."""
        route = next(iter(self._methods(request.path).values()), None)
        return route.wire.fail(message, status) if route else json_response({"message": message}, status)

    def _unanswered(self, request: Request, deployment: str, began: float, message: str, status: int) -> Response:
        """Word what went wrong on the way to another deployment, in its name."""
        response = self._fail(request, message, status)
        response.headers[PINNED] = deployment
        return self._done(request, response, began)

    def _ask(self, request: Request, route: Route, batcher: Batcher, began: float) -> Response | Job:
        assert route.model
        if self.waiting >= self.max_waiting:
            response = route.wire.fail("Too many requests wait for the model; try again later.", 429)
            response.headers["retry-after"] = "1"
            return self._done(request, response, began)
        try:
            call = route.wire.read(request, route.model) if len(request.body) <= MAX_READ_IN_LOOP else None
        except InvalidInput as error:
            return self._unread(request, route.wire.fail(error.message, 400), began)
        except Unacceptable as error:
            return self._unread(request, route.wire.fail(error.message, error.status), began)
        job = Job(request, route.wire, call, began)
        batcher.submit(job)
        return job

    # --- what every answer carries ------------------------------------------------------------------------------------

    def _done(self, request: Request, response: Response, began: float) -> Response:
        if request.path not in _ABOUT_INSTANCE:  # who looks every few seconds is no caller
            self.metrics.answered(response.status, perf_counter() - began)
        return self._signed(request, response)

    async def _later(self, request: Request, answer: Awaitable[Response], began: float) -> Response:
        return self._done(request, await answer, began)

    def _unread(self, request: Request, response: Response, began: float) -> Response:
        """Answer a body that is at fault: the model does not see it, who collects bodies does."""
        self.metrics.answered(response.status, perf_counter() - began)
        name = self._request_id(request)
        if self._collector is not None:
            self._collector.offer(name, None, None, request, response)
        return self._signed(request, response, name)

    def _finish(self, job: Job, response: Response) -> None:
        """Count and sign a job's answer, before it goes out."""
        self.metrics.answered(response.status, perf_counter() - job.began)
        response.lines = b"x-ms-run-fn-exec-ms: %.3f\r\n" % (job.seconds * 1000)
        name = self._request_id(job.request)
        self._signed(job.request, response, name)
        if self._collector is not None and not response.stream:
            self._collector.offer(name, job.call.inputs if job.call else None, job.outputs, job.request, response)
        if self._router is not None and job.request.mirror is not None:
            self._router.copy(job.request, response, self.deployment)

    def _request_id(self, request: Request) -> str:
        given = request.headers.get("x-request-id", "")
        return given if given and _is_id(given) else f"{self._id_head}{next(self._ids):012x}"

    def _signed(self, request: Request, response: Response, name: str = "") -> Response:
        """Give an answer the headers of the contract; those that a script set itself win."""
        lines = b"%b%bx-request-id: %b\r\n" % (
            response.lines,
            self._lines,
            (name or self._request_id(request)).encode("latin-1", "replace"),
        )
        client = request.headers.get("x-ms-client-request-id", "")
        if client and _is_id(client):
            lines += f"x-ms-client-request-id: {client}\r\n".encode("latin-1", "replace")
        if response.headers:
            held = [line for line in lines.splitlines(keepends=True) if line.partition(b":")[0].decode() not in response.headers]
            lines = b"".join(held)
        response.lines = lines
        return response

    # --- about the instance -------------------------------------------------------------------------------------------

    def _own_routes(self) -> Routes:
        wire = azure.Score(self.models[0])
        plain = {"/": self._answer_health, "/metrics": self._answer_metrics}
        return {path: {"GET": Route(wire, plain=answer)} for path, answer in plain.items()}

    def _answer_health(self, request: Request) -> Response:
        """Say that the instance lives."""
        return Response(body=b"Healthy", content_type="text/plain; charset=utf-8")

    def _answer_metrics(self, request: Request) -> Response | Awaitable[Response]:
        """Count in Prometheus' text format: a forwarded request what this instance counts, any other what all do."""
        if self._router is not None and not request.is_forwarded:
            return self._answer_metrics_of_all(self._router, request)
        return _metrics_response(self._metrics_text())

    async def _answer_metrics_of_all(self, router: Router, request: Request) -> Response:
        answers = await router.ask_everyone(request)
        texts = {place: answer.body.decode() if answer else None for place, answer in answers.items()}
        return _metrics_response(merged(texts) if texts else self._metrics_text())

    def _metrics_text(self) -> str:
        running = sum(batcher.running for batcher in self._batchers.values())
        text = self.metrics.text(waiting=self.waiting, in_flight=running)
        text += self._collector.metrics_text(self.deployment) if self._collector else ""
        return text + (self._router.metrics_text() if self._router else "")


def _metrics_response(text: str) -> Response:
    return Response(body=text.encode(), content_type="text/plain; version=0.0.4; charset=utf-8")


_ABOUT_INSTANCE = (*OPEN_PATHS, "/metrics")


def _is_id(text: str) -> bool:
    return len(text) <= MAX_REQUEST_ID and text.isprintable()
