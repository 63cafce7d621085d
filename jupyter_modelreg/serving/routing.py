"""Which deployment answers a request, and how the others are asked.

Every instance of an endpoint that accepts connections routes what it accepts: by the header ``azureml-model-deployment``,
else by the shares of traffic. What is its own deployment's it answers itself, so one deployment that has all the traffic
costs no hop. Shares hold for single requests and in the long run: nothing sticks to a caller or a connection.

Azure wants the shares to sum to 100, or to 0 for no traffic, and leaves open what lies between. Here shares are relative
to their sum: `blue=30 green=10` is three to one. So a change of traffic that is half done loses no request, and 404 says
what Azure's words for it say: that no deployment has a positive weight.

Source: Azure ML, "Perform safe rollout of new deployments"; "Troubleshoot online endpoints" for 404.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections import Counter
from functools import partial
from random import random
from time import monotonic

from ..errors import NotFound
from .frames import FramePool
from .http import json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from .frames import Asked, Fail
    from .http import Request, Response

    class MirrorCollector(Protocol):
        """Takes note of answers; it returns at once and may drop them."""

        def offer_mirror(self, request_id: str, live: tuple[str, Response], mirrored: tuple[str, Response]) -> None:
            """Note the answers of the deployment that answered and of the one that got a copy, each with its name."""
            ...


PINNED = "azureml-model-deployment"
# Source: Azure ML, "Troubleshoot online endpoints", 404.
NO_TRAFFIC = f"There is no deployment with positive weight; name one with the header {PINNED} or set the traffic."
MAX_MIRRORED_SHARE = 50  # Source: Azure ML, mirror traffic.
MAX_MIRRORING = 64  # copies under way; further ones are dropped, so that a slow mirror takes nothing from the live one
MAX_COMPARED_BYTES = 256 << 10  # larger answers are compared as bytes, since parsing them takes the live one's time
LOOK_SECONDS = 0.05
TIMEOUT_SECONDS = 200.0  # each deployment keeps its own limit, Azure's longest being 180; this is for one that hangs
ASK_SECONDS = 2.0
OWN_WORDS = ("id", "model_name", "model_version")  # in V2's answers they differ between equal ones
LOG = logging.getLogger(__name__)


class Routes:
    """``routes.json``, which the supervisor replaces: read again when it changed, looked at every 50 ms at most."""

    def __init__(self, path: str) -> None:
        self._path, self._looked, self._stamp = path, -math.inf, (0, 0, 0)
        self.front: str | None = None
        self.deployments: dict[str, list[str]] = {}
        self.shares: list[tuple[float, str]] = []  # sums of weights so far, the last one 1.0
        self.mirrors: list[tuple[str, float]] = []
        self.look()

    def fresh(self) -> Routes:
        """Return itself, as it stood in the last 50 ms."""
        if monotonic() - self._looked > LOOK_SECONDS:
            self.look()
        return self

    def look(self) -> None:
        """Read the file if it changed. One that is gone or broken leaves what was known, as its writer may be about to mend it."""
        self._looked = monotonic()
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return
            with open(self._path, encoding="utf-8") as stream:
                self._read(json.load(stream))
            self._stamp = stamp
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            LOG.error("The routes in %s cannot be read; those before them hold: %s", self._path, error)

    def _read(self, value: dict[str, Any]) -> None:
        deployments = {name: list(paths) for name, paths in value.get("deployments", {}).items()}
        shares = _cumulative(value.get("traffic") or {})
        mirrors = [
            (name, min(float(share), MAX_MIRRORED_SHARE) / 100) for name, share in (value.get("mirror_traffic") or {}).items() if share > 0
        ]
        self.front, self.deployments, self.shares, self.mirrors = value.get("front"), deployments, shares, mirrors


class Router:
    """Routes what one instance accepts.

    Parameters
    ----------
    routes_path
        The endpoint's ``routes.json``.
    deployment
        The instance's own.
    pool
        Connections to other instances.
    collector
        Takes note of a mirror's answers beside the live ones.
    """

    def __init__(self, routes_path: str, deployment: str, pool: FramePool | None = None, collector: MirrorCollector | None = None) -> None:
        self.deployment, self.pool, self._collector = deployment, pool or FramePool(), collector
        self.mirrored: Counter[tuple[str, str]] = Counter()  # by deployment and equal, different, failed or dropped
        self._routes = Routes(routes_path)
        self._mirroring = 0
        self._closing: set[asyncio.Future[None]] = set()

    @property
    def is_front(self) -> bool:
        """Whether the own deployment is the one that accepts connections."""
        return self._routes.fresh().front == self.deployment

    def look(self) -> None:
        """Read the routes now, since whoever replaced them says so."""
        self._routes.look()

    def choose(self, request: Request) -> str:
        """Return which deployment shall answer; note in ``request.mirror`` which one gets a copy.

        A pinned request is not copied: it is a question to that one deployment.

        Raises
        ------
        NotFound
            If there is no such deployment, or none has traffic.
        """
        routes = self._routes.fresh()
        pinned = request.headers.get(PINNED)
        if pinned:
            return self._pinned(routes, pinned)
        if not routes.shares:
            raise NotFound(NO_TRAFFIC)
        chosen = _drawn(routes.shares)
        for name, share in routes.mirrors:
            if name != chosen and random() < share:  # noqa: S311 - nothing is kept secret by it
                request.mirror = name
        return chosen

    def forward(self, request: Request, deployment: str, fail: Fail) -> Asked:
        """Have an instance of another deployment answer; ``fail`` words what goes wrong between it and here."""
        asked = self.pool.ask(lambda: self._instances(deployment), request, TIMEOUT_SECONDS, fail)
        if request.mirror is not None:
            asked.after = lambda response: self.copy(request, response, deployment)
        return asked

    def copy(self, request: Request, response: Response, deployment: str) -> None:
        """Send a copy of an answered request to its mirror, and compare the answers when the other one is there.

        It leaves after the live answer is known, so it takes nothing of its time.

        Parameters
        ----------
        response, deployment
            The live answer, and whose it is.
        """
        name, request.mirror = request.mirror, None
        if name is None:
            return
        if self._mirroring >= MAX_MIRRORING:
            self.mirrored[name, "dropped"] += 1
            return
        self._mirroring += 1
        copied = self.pool.ask(lambda: self._instances(name), request, TIMEOUT_SECONDS, _unanswered)
        copied.then(lambda mirrored: self._compare((deployment, response), (name, mirrored)))

    async def ask_everyone(self, request: Request) -> dict[tuple[str, str], Response | None]:
        """Put a request about instances to each that is ready, this one too; None where one does not answer in time."""
        paths = [(name, path) for name, found in self._routes.fresh().deployments.items() for path in found]
        asked = [self.pool.ask(partial(list, (path,)), request, ASK_SECONDS, _unanswered) for _, path in paths]
        answers = [await item for item in asked]
        numbers = [os.path.basename(os.path.dirname(path)).rpartition("-")[2] for _, path in paths]
        return {
            (name, number): answer if answer.status == 200 else None
            for (name, _), number, answer in zip(paths, numbers, answers, strict=True)
        }

    def metrics_text(self) -> str:
        """Return the counts of mirrored requests in Prometheus' text format; empty when there were none."""
        if not self.mirrored:
            return ""
        lines = [
            f'modelreg_mirrored_total{{deployment="{self.deployment}",mirror="{name}",result="{result}"}} {count}'
            for (name, result), count in sorted(self.mirrored.items())
        ]
        about = "# HELP modelreg_mirrored_total Copies sent to a mirror, by how its answer compares with the live one."
        return "\n".join([about, "# TYPE modelreg_mirrored_total counter", *lines, ""])

    def _pinned(self, routes: Routes, name: str) -> str:
        if name != self.deployment and name not in routes.deployments:
            known = ", ".join(f'"{item}"' for item in sorted({*routes.deployments, self.deployment}))
            raise NotFound(f'Deployment "{name[:64]}" not found; this endpoint has {known}.')
        return name

    def _instances(self, name: str) -> Sequence[str]:
        return self._routes.fresh().deployments.get(name, ())

    def _compare(self, live: tuple[str, Response], mirrored: tuple[str, Response]) -> None:
        self._mirroring -= 1
        self.mirrored[mirrored[0], _comparison(live[1], mirrored[1])] += 1
        if mirrored[1].stream is not None:
            closing = asyncio.ensure_future(mirrored[1].stream.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        elif self._collector is not None and live[1].stream is None:
            self._collector.offer_mirror(_request_id(live[1]), live, mirrored)


def _cumulative(traffic: Mapping[str, float]) -> list[tuple[float, str]]:
    weights = [(name, float(weight)) for name, weight in traffic.items() if weight > 0]
    total, passed, shares = sum(weight for _, weight in weights), 0.0, []
    for name, weight in weights:
        passed += weight
        shares.append((passed / total, name))
    return shares


def _drawn(shares: list[tuple[float, str]]) -> str:
    if len(shares) == 1:
        return shares[0][1]
    draw = random()  # noqa: S311 - nothing is kept secret by it
    return next((name for share, name in shares if draw < share), shares[-1][1])


def _comparison(live: Response, mirrored: Response) -> str:
    """Tell whether a mirror answers the same. Streams are not compared: their pieces went to the caller as they came."""
    if mirrored.status >= 400:
        return "equal" if mirrored.status == live.status else "failed"
    if live.stream is not None or mirrored.stream is not None or live.status != mirrored.status:
        return "different"
    return "equal" if live.body == mirrored.body or _are_equal_json(live.body, mirrored.body) else "different"


def _unanswered(message: str, status: int) -> Response:
    return json_response({"message": message}, status)


def _request_id(response: Response) -> str:
    line = response.lines.partition(b"x-request-id: ")[2] or response.headers.get("x-request-id", "").encode()
    return line.partition(b"\r")[0].decode("latin-1")


def _are_equal_json(one: bytes, other: bytes) -> bool:
    """Compare two answers as what they mean: floats to seven digits, without what names the model."""
    if max(len(one), len(other)) > MAX_COMPARED_BYTES:
        return False
    try:
        values = json.loads(one), json.loads(other)
    except ValueError:
        return False
    return _are_close(*(_without_own_words(value) for value in values))


def _without_own_words(value: Any) -> Any:
    return {key: item for key, item in value.items() if key not in OWN_WORDS} if isinstance(value, dict) else value


def _are_close(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        numbers = (int, float)
        return isinstance(one, numbers) and isinstance(other, numbers) and math.isclose(one, other, rel_tol=1e-7, abs_tol=1e-12)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_are_close, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_are_close(one[key], other[key]) for key in one)
    return bool(one == other)
