"""An endpoint under load beside what people serve models with today, one process each, asked by wrk in interleaved rounds.

Ours is a real endpoint: its key, the header Host and the model's signature are checked with every request; no peer checks
any of them. The prototype answers with asyncio, httptools, uvloop and the same kind of batches, and nothing around it.
One server is asked at a time; the others idle. ``--quick`` takes fewer and shorter rounds.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .measure import Row, at_most_bytes, at_most_times, medians, not_here, over_peer, without_limit
from .serving_peers import COLUMNS, PEERS, PROTOTYPE, PROTOTYPE_ONNX, ROW, ROWS, SPLIT, Peer, Question, Recipe, table_peers, tensor_peers

IS_QUICK = "--quick" in sys.argv
ROUNDS, WRK_SECONDS, START_ROUNDS, ROLLOUTS = (2, 1, 1, 3) if IS_QUICK else (4, 2, 3, 100)
MAX_BYTES = 110_000_000
MAX_HOP_SECONDS = 0.0002
MAX_START = 1.3  # times the import
TENSOR_LENGTH = 1 << 18
TICKS = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    """What wrk and the kernel counted, each for one request but `busy`."""

    seconds: float  # of the server's time
    wait: float  # of half of the clients at most
    cpu: float  # seconds of all of the server's processes
    busy: float  # cores that others used meanwhile


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model, what is asked, and how much of each peer's number ours may take; None means that a row only shows."""

    model: Callable[[], Any]
    at_many: dict[str, float | None]  # times a peer's seconds of the server, with 64 clients
    at_one: dict[str, float | None] = field(default_factory=dict)  # times a peer's p50, with one client
    question: Question = ROWS
    path: str = "/score"
    peers: dict[str, Recipe] = field(default_factory=lambda: PEERS)
    clients: int = 64
    sample: Callable[[], Any] = lambda: [ROW]
    deployment: dict[str, Any] = field(default_factory=dict)  # what it says besides its model
    is_weighed: bool = False  # whether its memory is measured too
    is_whole: bool = False  # whether start, faults and shares are measured too


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(*_iris())


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, n_jobs=1, random_state=0).fit(*_iris())


def _logistic_of_a_table() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(_table(), _iris()[1])


def _iris() -> Any:
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def _table() -> Any:
    """The flowers as most notebooks have them: columns with names."""
    import pandas as pd

    return pd.DataFrame(_iris()[0], columns=COLUMNS)


def _mean() -> Any:
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [None]), ("y", [1]))]
    graph = helper.make_graph([helper.make_node("ReduceMean", ["x"], ["y"])], "mean", tensors[:1], tensors[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _tensor() -> Question:
    import numpy as np

    return Question.binary(np.linspace(0, 1, TENSOR_LENGTH))


_PYTHON = ("LitServe", "MLServer", "azmlinfsrv", "BentoML", "MLflow")
WORKLOADS = {
    "logistic": Workload(
        model=_logistic,
        at_many={PROTOTYPE: 1 / 0.6, "Triton": None, "PyTriton": None, **dict.fromkeys(_PYTHON, 0.1)},
        at_one={PROTOTYPE: None, "Triton": None, **dict.fromkeys(_PYTHON, 0.5)},
        is_weighed=True,
        is_whole=True,
    ),
    "forest": Workload(model=_forest, at_many={"Triton": 1, PROTOTYPE: None, "PyTriton": 1, "MLServer": 1, "MLflow": 1}),
    "forest as ONNX": Workload(
        model=_forest, at_many={PROTOTYPE_ONNX: 2, "Triton": None}, deployment={"accelerator": "onnx"}, is_weighed=True
    ),
    "logistic of a table": Workload(
        model=_logistic_of_a_table,
        at_many={"MLflow": 0.1},
        question=SPLIT,
        path="/invocations",
        peers=table_peers(),
        sample=_table,
    ),
    "1 MB tensor": Workload(
        model=_mean,
        sample=lambda: None,
        at_many={"Triton": 1},
        question=_tensor(),
        path="/v2/models/{name}/infer",
        peers=tensor_peers(_tensor()),
        clients=1,
    ),
}


def rows(scratch: Path) -> Iterator[Row]:
    """Measure the rows of the table that this machine has the programs for."""
    if not shutil.which("wrk") or not Path("/proc/self/smaps_rollup").exists():
        print("Serving is left out: it needs wrk and Linux.", file=sys.stderr)
        return
    os.environ["MODELREG_HOME"] = str(scratch / "home")
    for kind, workload in WORKLOADS.items():
        yield from _rows_of(kind, workload, scratch)
    yield _rollouts(scratch)


def _rows_of(kind: str, workload: Workload, scratch: Path) -> Iterator[Row]:
    model = workload.model()
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(kind, model, workload))
        started = {name: workload.peers[name].start(scratch, model) for name in workload.at_many}
        peers = {name: stack.enter_context(peer) for name, peer in started.items() if peer}
        clients = f"{workload.clients} clients" if workload.clients > 1 else "one client"
        own, theirs = _loads(ours, peers, workload.clients)
        for name, times in workload.at_many.items():
            yield _as_rate(_against(f"{kind}, {clients}: requests", own.seconds, name, theirs, "seconds", times))
        for name in workload.at_many:
            yield _as_micro(_against(f"{kind}, {clients}: CPU a request", own.cpu, name, theirs, "cpu", None))
        if workload.is_weighed:
            yield from _memory_rows(kind, ours, peers)
        if workload.is_whole:
            yield from _whole_rows(kind, workload, ours, peers)
            yield from _start_rows(kind, workload, model, ours, peers, scratch)


def _memory_rows(kind: str, ours: Ours, peers: dict[str, Peer]) -> Iterator[Row]:
    size = _pss(ours)
    yield at_most_bytes(f"{kind}: memory of the instance", size, "the limit", MAX_BYTES, MAX_BYTES)
    for name, peer in peers.items():
        yield Row(**{**vars(without_limit(f"{kind}: memory", size, name, _pss(peer))), "say": lambda count: f"{count / 1e6:.1f} MB"})


def _whole_rows(kind: str, workload: Workload, ours: Ours, peers: dict[str, Peer]) -> Iterator[Row]:
    own, theirs = _loads(ours, {name: peers[name] for name in workload.at_one if name in peers}, 1)
    for name, times in workload.at_one.items():
        yield _against(f"{kind}, one client: p50", own.wait, name, theirs, "wait", times)
    yield _lost("innocent requests failed by malformed ones", *_poison(ours))
    whole, split = medians(ROUNDS, lambda: _load(ours, 1).wait, lambda: ours.split(lambda: _load(ours, 1).wait))
    yield over_peer("p50 with half of the traffic elsewhere", split, "all of it on one", whole, MAX_HOP_SECONDS)


def _start_rows(kind: str, workload: Workload, model: Any, ours: Ours, peers: dict[str, Peer], scratch: Path) -> Iterator[Row]:
    """Start each again, in turn: from the process to its first answer. An import is what a model needs in any case."""
    steps: dict[str, Callable[[], float]] = {"ours": ours.start_again}
    steps |= {f"import {name}": lambda name=name: _import(name) for name in ("sklearn", "sklearn.linear_model")}
    steps |= {name: lambda name=name: _start(workload.peers[name], scratch, model) for name in peers}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(START_ROUNDS):
        for name, step in steps.items():
            found[name].append(step())
    own, *others = [(name, statistics.median(seconds)) for name, seconds in found.items()]
    for name, seconds in others:
        what = f"{kind}: start to first answer"
        yield (
            at_most_times(what, own[1], name, seconds, MAX_START)
            if name == "import sklearn"
            else without_limit(what, own[1], name, seconds)
        )
    for name in workload.at_many.keys() - peers:
        yield not_here(f"{kind}: start to first answer", own[1], name, "")


def _start(recipe: Recipe, scratch: Path, model: Any) -> float:
    server = recipe.start(scratch, model)
    if server is None:
        raise RuntimeError(f"{recipe.name} started before, and does not now.")
    server.__exit__()
    return server.start_seconds


def _import(name: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
    return time.perf_counter() - began


def _against(what: str, ours: float, name: str, theirs: dict[str, Load], number: str, times: float | None) -> Row:
    if name not in theirs:
        return not_here(what, ours, name, f"≤ {times:.3g}×" if times else "")
    peer = getattr(theirs[name], number)
    return at_most_times(what, ours, name, peer, times) if times else without_limit(what, ours, name, peer)


def _as_rate(row: Row) -> Row:
    return Row(**{**vars(row), "say": lambda seconds: f"{1 / seconds:,.0f}/s"})


def _as_micro(row: Row) -> Row:
    return Row(**{**vars(row), "say": lambda seconds: f"{seconds * 1e6:,.0f} µs"})


def _lost(what: str, count: int, total: int) -> Row:
    return Row(what=what, ours=count, peer_name="of so many", peer=total, limit="0", is_ok=count == 0, say=lambda number: f"{number:,.0f}")


# --- ours -------------------------------------------------------------------------------------------------------------


class Ours(Peer):
    """A deployment behind an endpoint with a key; :meth:`split` puts another beside it."""

    def __init__(self, kind: str, model: Any, workload: Workload) -> None:
        from jupyter_modelreg import MLClient
        from jupyter_modelreg.entities import OnlineDeployment, OnlineEndpoint

        self._client, self._kind = MLClient(), re.sub(r"\W+", "-", kind.lower()).strip("-0123456789")
        self._client.models.register(self._kind, model, sample=workload.sample())
        self._endpoint = f"bench-{self._kind}"
        self._client.begin_create_or_update(OnlineEndpoint(name=self._endpoint))
        for name in ("blue", "green") if workload.is_whole else ("blue",):
            about = {"endpoint_name": self._endpoint, "model": f"azureml:{self._kind}@latest", **workload.deployment}
            self._client.begin_create_or_update(OnlineDeployment(name=name, **about))
        self._share(blue=100)
        url = urlsplit(str(self._client.online_endpoints.get(self._endpoint).scoring_uri))
        key = self._client.online_endpoints.get_keys(self._endpoint).primary_key
        headers = {**workload.question.headers, "Authorization": f"Bearer {key}"}
        path = workload.path.format(name=self._kind)
        super().__init__("ours", f"http://{url.netloc}{path}", Question(workload.question.body, headers))
        self._run = next(Path(os.environ["MODELREG_HOME"]).glob(f"endpoints/{self._endpoint}/blue/*/worker.json")).parent
        self._plan = self._run.joinpath("worker.json").read_text()

    def _share(self, **traffic: int) -> None:
        from jupyter_modelreg.entities import OnlineEndpoint

        self._client.begin_create_or_update(OnlineEndpoint(name=self._endpoint, traffic=traffic))

    def split(self, step: Callable[[], float]) -> float:
        """Do something while half of the traffic goes to another deployment."""
        self._share(blue=50, green=50)
        try:
            return step()
        finally:
            self._share(blue=100, green=0)

    def start_again(self) -> float:
        """Start an instance of its own by the same plan; return the seconds until it answers."""
        from jupyter_modelreg.compute import stop_process
        from jupyter_modelreg.records import from_dict
        from jupyter_modelreg.worker import WorkerPlan, start_worker, write_plan

        run = Path(os.environ["MODELREG_HOME"]) / f"start-{time.monotonic_ns()}"
        plan = from_dict(WorkerPlan, {**json.loads(self._plan), "endpoint_folder": None})
        run.mkdir()
        write_plan(str(run), plan)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}{urlsplit(self.url).path}"
            began = time.perf_counter()
            identity = start_worker(str(run / "instance-0"), plan, listener)
        with Peer("ours", url, self.question) as instance:
            is_answering = instance.wait()
            seconds = time.perf_counter() - began
            stop_process(identity)
        if not is_answering:
            raise RuntimeError(f"An instance did not start: {(run / 'log.txt').read_text()}")
        return seconds

    def pids(self) -> list[int]:
        """Return the instance that accepts connections."""
        return [json.loads(path.read_text())["pid"] for path in self._run.glob("instance-*/process.json")]

    def close(self) -> None:
        """Stop it."""
        self._client.online_endpoints.begin_delete(self._endpoint)


def _rollouts(scratch: Path) -> Row:
    """Roll new versions out under load, as tests/test_rollouts.py does; count what was lost or answered wrong."""
    from jupyter_modelreg import MLClient
    from jupyter_modelreg.entities import CodeConfiguration, OnlineDeployment, OnlineEndpoint
    from tests.load import Load as Callers

    client, name, code = MLClient(), "bench-rollouts", scratch / "code"
    code.mkdir()
    client.models.register("words", _logistic(), sample=[ROW])
    client.begin_create_or_update(OnlineEndpoint(name=name))

    def deploy(word: str) -> None:
        script = f"import json\ndef init(): pass\ndef run(raw_data): return [{word!r}, json.loads(raw_data)['number']]\n"
        (code / "score.py").write_text(script)
        scoring = CodeConfiguration(code=str(code), scoring_script="score.py")
        client.begin_create_or_update(
            OnlineDeployment(name=word, endpoint_name=name, model="azureml:words@latest", code_configuration=scoring)
        )

    def share(**traffic: int) -> None:
        client.begin_create_or_update(OnlineEndpoint(name=name, traffic=traffic))

    deploy("one-0")
    share(**{"one-0": 100})
    address = urlsplit(str(client.online_endpoints.get(name).scoring_uri)).netloc
    try:
        with Callers(address, client.online_endpoints.get_keys(name).primary_key) as load:
            for number in range(1, ROLLOUTS + 1):
                old, new = f"one-{number - 1}", f"one-{number}"
                deploy(new)
                share(**{old: 50, new: 50})
                load.go_on()
                share(**{old: 0, new: 100})
                client.online_deployments.begin_delete(old, name)
                load.go_on()
    finally:
        client.online_endpoints.begin_delete(name)
    return _lost(f"requests lost in {ROLLOUTS} rollouts", len(load.failures) + len(load.wrong), load.total)


# --- what is counted --------------------------------------------------------------------------------------------------


def _loads(ours: Peer, peers: dict[str, Peer], clients: int) -> tuple[Load, dict[str, Load]]:
    """Ask each in turn, again and again; return the medians. One turn before the first counts for nothing."""
    asked = [ours, *peers.values()]
    found: list[list[Load]] = [[] for _ in asked]
    for number in range(ROUNDS + 1):
        for peer, loads in zip(asked, found, strict=True):
            load = _load(peer, clients)
            if number:
                loads.append(load)
    busy = [load.busy for loads in found for load in loads]
    print(f"Other programs used {statistics.median(busy):.2f} cores meanwhile, {max(busy):.2f} at most.", file=sys.stderr)
    own, *theirs = [Load(*map(statistics.median, zip(*loads, strict=True))) for loads in found]
    return own, dict(zip(peers, theirs, strict=True))


def _load(peer: Peer, clients: int) -> Load:
    words = ["wrk", "-t1", f"-c{clients}", f"-d{WRK_SECONDS}", "--latency", "--timeout", "20s", "-s", str(peer.script), peer.url]
    pids = peer.pids()
    cpu, all_cpu, wrk_cpu, began = _cpu(pids), _all_cpu(), _children_cpu(), time.perf_counter()
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    cpu, all_cpu, wrk_cpu = _cpu(pids) - cpu, _all_cpu() - all_cpu, _children_cpu() - wrk_cpu
    rate, wait, count = (re.search(text, said) for text in (r"Requests/sec: +([\d.]+)", r"50% +([\d.]+)(us|ms|s)", r"(\d+) requests in"))
    if not rate or not wait or not count or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{peer.name}: requests failed.\n{said}")
    return Load(
        seconds=1 / float(rate[1]),
        wait=float(wait[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[wait[2]],
        cpu=cpu / int(count[1]),
        busy=max(0.0, (all_cpu - cpu - wrk_cpu) / (time.perf_counter() - began)),
    )


def _cpu(pids: list[int]) -> float:
    """Return the seconds of CPU that processes have used, their own and the kernel's for them."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(item[11]) + int(item[12]) for item in fields) / TICKS


def _all_cpu() -> float:
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pss(peer: Peer) -> float:
    """Return what a server's processes take, shared pages counted once."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in peer.pids()]
    return sum(int(text.partition("\nPss:")[2].split()[0]) * 1024 for text in texts)


def _poison(peer: Peer) -> tuple[int, int]:
    """Let 16 callers ask 100 times each, every tenth time for nonsense; return how many right requests failed, and their number."""
    expected = peer.ask()[1]

    def caller(number: int) -> int:
        connection = http.client.HTTPConnection(urlsplit(peer.url).netloc)
        failed = 0
        for count in range(100):
            is_wrong = (count + number) % 10 == 0
            answer = peer.ask(b'{"input_data": [["x", null, 1, 2]]}' if is_wrong else None, connection)
            failed += not is_wrong and answer != (200, expected)
        connection.close()
        return failed

    with ThreadPoolExecutor(16) as callers:
        return sum(callers.map(caller, range(16))), 16 * 90
