"""An endpoint under load beside what people serve models with today, one process each, asked by wrk in interleaved rounds.

Ours is a real endpoint: its key, the header Host and the model's signature are checked with every request; no peer checks
any of them. The yardstick answers the same question with nothing around it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .measure import Row, at_most_bytes, at_most_times, medians, over_peer
from .serving_peers import Peer, ask, start_peers

ROUNDS = 5
WRK_SECONDS = 2
SAMPLE = [5.1, 3.5, 1.4, 0.2]
MAX_BYTES = 110_000_000
MAX_HOP_SECONDS = 0.0002


def rows(scratch: Path) -> Iterator[Row]:
    """Measure the rows of the table that this machine has the programs for."""
    if not shutil.which("wrk"):
        print("Serving is left out: wrk is not installed.", file=sys.stderr)
        return
    os.environ["MODELREG_HOME"] = str(scratch / "home")
    models = _models()
    for kind, model in models.items():
        yield from _rows_of(kind, model, scratch / kind)


def _models() -> dict[str, Any]:
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    samples, species = load_iris(return_X_y=True)
    return {
        "logistic": LogisticRegression(max_iter=1000).fit(samples, species),
        "forest": RandomForestClassifier(100, n_jobs=1, random_state=0).fit(samples, species),
    }


def _rows_of(kind: str, model: Any, scratch: Path) -> Iterator[Row]:
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(kind, model))
        peers = [stack.enter_context(peer) for peer in start_peers(scratch, model)]
        many = [lambda peer=peer: _load(peer, 64)[0] for peer in (ours, *peers)]
        first, *others = medians(ROUNDS, *many)
        for peer, seconds in zip(peers, others, strict=True):
            yield _per_request(f"{kind}, 64 clients: requests", first, peer, seconds, _limit(kind, peer))
        if kind != "logistic":
            return
        alone = [lambda peer=peer: _load(peer, 1)[1] for peer in (ours, *peers)]
        first, *others = medians(ROUNDS, *alone)
        for peer, seconds in zip(peers, others, strict=True):
            yield at_most_times("logistic, one client: p50", first, peer.name, seconds, 2 if peer.is_yardstick else 0.5)
        yield at_most_bytes("memory of the instance", ours.memory_bytes(), "the limit", MAX_BYTES, MAX_BYTES)
        yield _failed("innocent requests failed by malformed ones", _poison(ours))
        whole, split = medians(ROUNDS, lambda: _load(ours, 1)[1], lambda: ours.split(lambda: _load(ours, 1)[1]))
        yield over_peer("p50 with half of the traffic elsewhere", split, "all of it on one", whole, MAX_HOP_SECONDS)


def _limit(kind: str, peer: Peer) -> float:
    """Return how much of a peer's time ours may take."""
    return 1 / 0.6 if peer.is_yardstick else 0.1 if kind == "logistic" else 1


def _per_request(what: str, ours: float, peer: Peer, theirs: float, times: float) -> Row:
    row = at_most_times(what, ours, peer.name, theirs, times)
    return Row(**{**vars(row), "say": lambda seconds: f"{1 / seconds:,.0f}/s"})


def _failed(what: str, count: int) -> Row:
    return Row(what=what, ours=count, peer_name="of 1,440", peer=1440, limit="0", is_ok=count == 0, say=lambda number: f"{number:.0f}")


class Ours(Peer):
    """A deployment behind an endpoint with a key; :meth:`split` puts another beside it."""

    def __init__(self, kind: str, model: Any) -> None:
        from jupyter_modelreg import MLClient
        from jupyter_modelreg.entities import OnlineDeployment, OnlineEndpoint

        self._client, self._kind = MLClient(), kind
        self._client.models.register(kind, model, sample=[SAMPLE])
        self._client.begin_create_or_update(OnlineEndpoint(name=f"bench-{kind}"))
        for name in ("blue", "green"):
            self._client.begin_create_or_update(OnlineDeployment(name=name, endpoint_name=f"bench-{kind}", model=f"azureml:{kind}@latest"))
        self._share(blue=100)
        url = str(self._client.online_endpoints.get(f"bench-{kind}").scoring_uri)
        key = self._client.online_endpoints.get_keys(f"bench-{kind}").primary_key
        super().__init__("ours", url, {"input_data": [SAMPLE]}, {"Authorization": f"Bearer {key}"})

    def _share(self, **traffic: int) -> None:
        from jupyter_modelreg.entities import OnlineEndpoint

        self._client.begin_create_or_update(OnlineEndpoint(name=f"bench-{self._kind}", traffic=traffic))

    def split(self, step: Callable[[], float]) -> float:
        """Do something while half of the traffic goes to another deployment."""
        self._share(blue=50, green=50)
        try:
            return step()
        finally:
            self._share(blue=100, green=0)

    def memory_bytes(self) -> float:
        """Return what the instance that was asked takes, shared pages counted once."""
        numbers = self._client.online_endpoints.get(f"bench-{self._kind}").numbers or {}
        return float(numbers["blue"].memory_bytes or 0)

    def close(self) -> None:
        """Stop it."""
        self._client.online_endpoints.begin_delete(f"bench-{self._kind}")


def _load(peer: Peer, clients: int) -> tuple[float, float]:
    """Return the seconds a request takes of the server's time, and those that half of the clients wait at most."""
    import subprocess

    words = ["wrk", "-t1", f"-c{clients}", f"-d{WRK_SECONDS}", "--latency", "-s", str(peer.script), peer.url]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    rate, wait = re.search(r"Requests/sec: +([\d.]+)", said), re.search(r"50% +([\d.]+)(us|ms|s)", said)
    if not rate or not wait or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{peer.name}: requests failed.\n{said}")
    return 1 / float(rate[1]), float(wait[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[wait[2]]


def _poison(peer: Peer) -> int:
    """Let 16 callers ask 100 times each, every tenth time for nonsense; return how many right requests were not answered right."""
    expected = ask(peer)[1]

    def caller(number: int) -> int:
        connection = http.client.HTTPConnection(urlsplit(peer.url).netloc)
        failed = 0
        for count in range(100):
            is_wrong = (count + number) % 10 == 0
            body = json.dumps({"input_data": [["x", None, 1, 2]]} if is_wrong else peer.body)
            connection.request("POST", urlsplit(peer.url).path, body, peer.headers)
            answer = connection.getresponse()
            text = answer.read()
            failed += not is_wrong and (answer.status, text) != (200, expected)
        connection.close()
        return failed

    with ThreadPoolExecutor(16) as callers:
        return sum(callers.map(caller, range(16)))
