"""Servers that people put models behind, each as its users start it, with one process for the model.

`scripts/bench` puts each into an environment of its own, since their needs clash. One that is not there, or does not
start, is named, and its rows say so.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENVIRONMENTS = Path(sys.executable).parents[1] / "serving"
ROW = [5.1, 3.5, 1.4, 0.2]
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
START_SECONDS = 60
STOP_SECONDS = 10
LOOK_SECONDS = 0.005
PROTOTYPE = "prototype with uvloop"
PROTOTYPE_ONNX = "prototype with ONNX"

# What a model costs with asyncio and httptools alone: no key, no signature, no limits, no timeouts, one route.
_PROTOTYPE = """
import asyncio, sys
import httptools, joblib, numpy, orjson, uvloop
predict = joblib.load("model.joblib").predict
KINDS = {"FP64": "f8", "FP32": "f4", "INT64": "i8"}
BATCH = 64
def read(body):
    tensor = orjson.loads(body)["inputs"][0]
    return numpy.array(tensor["data"], dtype=KINDS[tensor["datatype"]]).reshape(tensor["shape"])
def write(found):
    output = {"name": "y", "shape": list(found.shape), "datatype": "INT64", "data": found.tolist()}
    return orjson.dumps({"model_name": "iris", "model_version": "1", "outputs": [output]})
def ask_all(inputs):
    if len(inputs) == 1:
        return [predict(inputs[0])]
    found, place, parts = predict(numpy.concatenate(inputs)), 0, []
    for item in inputs:
        parts.append(found[place : place + len(item)])
        place += len(item)
    return parts
class Batcher:
    def __init__(self):
        self.waiting, self.is_due = [], False
    def submit(self, value):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.waiting.append((value, future))
        if not self.is_due:
            self.is_due = True
            loop.call_soon(self.turn)
        return future
    def turn(self):
        batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        try:
            answers = ask_all([value for value, _ in batch])
        except Exception:
            answers = [self.alone(value) for value, _ in batch]
        for (_, future), answer in zip(batch, answers):
            if not future.done():
                future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
        self.is_due = bool(self.waiting)
        if self.waiting:
            asyncio.get_running_loop().call_soon(self.turn)
    def alone(self, value):
        try:
            return ask_all([value])[0]
        except Exception as error:
            return error
class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser, self.body = transport, httptools.HttpRequestParser(self), b""
    def data_received(self, data):
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()
    def on_body(self, data):
        self.body += data
    def on_message_complete(self):
        body, self.body = self.body, b""
        BATCHER.submit(read(body)).add_done_callback(self.answer)
    def answer(self, future):
        failed = future.exception()
        self.write(b"400 Bad Request" if failed else b"200 OK", b'{"error":"bad input"}' if failed else write(future.result()))
    def write(self, status, text):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %b\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (status, len(text), text))
BATCHER = Batcher()
async def main():
    await (await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=1024)).serve_forever()
uvloop.run(main())
"""
_PREDICT = 'predict = joblib.load("model.joblib").predict'
assert _PREDICT in _PROTOTYPE
_PREDICT_ONNX = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("model.onnx", options)
predict = lambda rows: session.run(["label"], {"x": rows.astype("f4")})[0]
"""
_TO_ONNX = """
import joblib
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
model = joblib.load("model.joblib")
converted = convert_sklearn(model, initial_types=[("x", FloatTensorType([None, 4]))], options={id(model): {"zipmap": False}})
open("model.onnx", "wb").write(converted.SerializeToString())
"""
LITSERVE = """
import sys, joblib, litserve, numpy
class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load("model.joblib")
    def decode_request(self, request):
        return request["input_data"]
    def predict(self, rows):
        return self.model.predict(numpy.array(rows)).tolist()
    def encode_response(self, value):
        return value
if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/score"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
"""
AZURE = """
import json, joblib, numpy
def init():
    global model
    model = joblib.load("model.joblib")
def run(raw_data):
    return model.predict(numpy.array(json.loads(raw_data)["input_data"])).tolist()
"""
MLSERVER = """
import joblib, numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
class Model(MLModel):
    async def load(self):
        self.model = joblib.load("model.joblib")
        return True
    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        found = self.model.predict(rows)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", found)])
"""
BENTOML = """
import bentoml, joblib, numpy
@bentoml.service(workers=1)
class Iris:
    def __init__(self):
        self.model = joblib.load("model.joblib")
    @bentoml.api(route="/score")
    def score(self, input_data: list) -> list:
        return self.model.predict(numpy.array(input_data)).tolist()
"""
MLFLOW = """
import joblib, mlflow
mlflow.sklearn.save_model(joblib.load("model.joblib"), "model", serialization_format="cloudpickle")
"""
# The server's own program out of NVIDIA's wheel, with its Python backend; the stub wants a shared libpython.
TRITON = """
import os, shutil, sys, sysconfig
from importlib.util import find_spec
from pathlib import Path
http, grpc, metrics = sys.argv[1:]
place, here = Path(find_spec("pytriton").origin).parent, Path.cwd()
server = place / "tritonserver"
shutil.copytree(server / "backends" / "python", here / "backends" / "python")
version = f"{sys.version_info.major}.{sys.version_info.minor}"
shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", here / "backends" / "python")
libraries = [str(place.parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "PYTHONPATH": str(place.parent), "PYTHONHOME": sys.base_prefix}
words = ["--model-repository", here / "repository", "--backend-directory", here / "backends", "--http-address", "127.0.0.1",
         "--grpc-address", "127.0.0.1", "--metrics-address", "127.0.0.1", "--http-port", http, "--grpc-port", grpc,
         "--metrics-port", metrics, "--backend-config", f"python,shm-region-prefix-name=bench{http}"]
program = server / "bin" / "tritonserver"
os.execve(program, [str(word) for word in (program, *words)], environment)
"""
TRITON_MODEL = """
import joblib
import triton_python_backend_utils as triton
class TritonPythonModel:
    def initialize(self, arguments):
        self.ask = joblib.load(FOLDER + "/model.joblib").predict
    def execute(self, requests):
        import numpy
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        found, place, answers = self.ask(numpy.concatenate(inputs)), 0, []
        for item in inputs:
            answers.append(triton.InferenceResponse([triton.Tensor("y", found[place : place + len(item), None])]))
            place += len(item)
        return answers
"""
TRITON_CONFIG = """
name: "iris" backend: "python" max_batch_size: 64
input [ { name: "x" data_type: TYPE_FP64 dims: [4] } ]
output [ { name: "y" data_type: TYPE_INT64 dims: [1] } ]
dynamic_batching { max_queue_delay_microseconds: 0 }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
TRITON_MEAN = """
import numpy
import triton_python_backend_utils as triton
class TritonPythonModel:
    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", numpy.array([item.mean()], dtype="f4"))]) for item in inputs]
"""
TRITON_MEAN_CONFIG = """
name: "iris" backend: "python" max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [-1] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [1] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
PYTRITON = """
import sys, joblib, numpy
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
model = joblib.load("model.joblib")
@batch
def infer(x):
    return {"y": model.predict(x)[:, None]}
http, grpc, metrics = map(int, sys.argv[1:])
with Triton(config=TritonConfig(http_address="127.0.0.1", http_port=http, grpc_port=grpc, metrics_port=metrics)) as server:
    tensors = {"inputs": [Tensor(name="x", dtype=numpy.float64, shape=(4,))], "outputs": [Tensor(name="y", dtype=numpy.int64, shape=(1,))]}
    batching = ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0))
    server.bind(model_name="iris", infer_func=infer, config=batching, **tensors)
    server.serve()
"""


@dataclass(frozen=True)
class Question:
    """What is asked again and again: a body and its headers."""

    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    @classmethod
    def json(cls, value: Any) -> Question:
        """Ask with JSON."""
        return cls(json.dumps(value).encode())

    @classmethod
    def binary(cls, values: Any) -> Question:
        """Ask with one binary tensor of float32, by the Open Inference Protocol's extension."""
        raw = values.astype("<f4").tobytes()
        tensor = {"name": "x", "shape": [len(values)], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        return cls(head + raw, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})


ROWS = Question.json({"input_data": [ROW]})
V2 = Question.json({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [ROW]}]})
INPUTS = Question.json({"inputs": [ROW]})
SPLIT = Question.json({"dataframe_split": {"columns": COLUMNS, "data": [ROW]}})


class Peer:
    """Something that answers at a URL. Used as a context, it is closed at the end."""

    def __init__(self, name: str, url: str, question: Question) -> None:
        self.name, self.url, self.question = name, url, question
        with tempfile.NamedTemporaryFile(suffix=".body", delete=False) as stream:
            stream.write(question.body)
        self._body = Path(stream.name)
        lines = [f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}" for key, value in question.headers.items()]
        lines += ['wrk.method = "POST"', f'wrk.body = io.open({json.dumps(stream.name)}, "rb"):read("*a")']
        handle, path = tempfile.mkstemp(suffix=".lua")
        with os.fdopen(handle, "w") as script:  # for its owner only, since it may hold a key
            script.write("\n".join(lines))
        self.script = Path(path)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.script.unlink()
        self._body.unlink()
        self.close()

    def ask(self, body: bytes | None = None, connection: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
        """Ask once; return the status and the body."""
        address = urlsplit(self.url)
        used = connection or http.client.HTTPConnection(address.netloc, timeout=10)
        used.request("POST", address.path, self.question.body if body is None else body, self.question.headers)
        answer = used.getresponse()
        found = answer.status, answer.read()
        if connection is None:
            used.close()
        return found

    def wait(self) -> bool:
        """Wait until it answers; False when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.is_alive():
            try:
                if self.ask()[0] == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(LOOK_SECONDS)
        return False

    def is_alive(self) -> bool:
        """Say whether it may still answer."""
        return True

    def pids(self) -> list[int]:
        """Return its processes."""
        return []

    def close(self) -> None:
        """Stop it."""


class Server(Peer):
    """A peer's own process."""

    start_seconds = 0.0  # until its first answer

    def __init__(self, name: str, url: str, question: Question, words: Sequence[str], folder: Path) -> None:
        super().__init__(name, url, question)
        environment = {
            **os.environ,
            "PATH": f"{Path(words[0]).parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),  # else PyTriton's stub takes another Python's library
            **{"WORKER_COUNT": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            **{"BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "PYTRITON_HOME": str(folder)},
        }
        self._log = (folder / "log.txt").open("w")
        self._process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def is_alive(self) -> bool:
        """Say whether it may still answer."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """Return its process and all that descend from it."""
        return _tree(self._process.pid)

    def close(self) -> None:
        """Stop it and what it started."""
        started = self.pids()
        if self.is_alive():
            os.killpg(self._process.pid, signal.SIGTERM)  # BentoML's workers, in sessions of their own, end when they are asked only
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pid in set(started) & set(_tree(1)):  # whom nobody ended
            os.kill(pid, signal.SIGKILL)
        self._log.close()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a peer is started: its files, the program that makes it ready, its program, and what it is asked where."""

    name: str
    place: str
    files: dict[str, str]
    words: list[str]
    path: str
    question: Question
    before: list[str] = field(default_factory=list)

    def start(self, scratch: Path, model: Any) -> Server | None:
        """Start it in an empty folder and wait until it answers; None when it is not installed or does not come up."""
        import joblib

        programs = ENVIRONMENTS / self.place / "bin"
        if not (ENVIRONMENTS / self.place / "ready").exists():
            print(f"{self.name} is not here: scripts/bench serving installs it where the network or uv's cache has it.", file=sys.stderr)
            return None
        folder = Path(tempfile.mkdtemp(dir=scratch))
        ports = [_free_port() for _ in range(3)]
        for file, text in self.files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text.replace("FOLDER", repr(str(folder))))
        joblib.dump(model, folder / "model.joblib")
        if self.before:
            subprocess.run([programs / self.before[0], *self.before[1:]], cwd=folder, check=True, capture_output=True)
        words = [word.replace("PORT2", str(ports[1])).replace("PORT3", str(ports[2])).replace("PORT", str(ports[0])) for word in self.words]
        if "settings.json" in self.files:
            (folder / "settings.json").write_text(_settings(ports))
        began = time.perf_counter()
        server = Server(self.name, f"http://127.0.0.1:{ports[0]}{self.path}", self.question, [str(programs / words[0]), *words[1:]], folder)
        if server.wait():
            server.start_seconds = time.perf_counter() - began
            return server
        server.__exit__()
        print(f"{self.name} does not start here: {(folder / 'log.txt').read_text()[-600:]}", file=sys.stderr)
        return None


def _settings(ports: list[int]) -> str:
    named = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    return json.dumps({**named, "parallel_workers": 0, "debug": False})


def _peer(name: str, place: str, files: dict[str, str], words: str, path: str, question: Question, before: str = "") -> Recipe:
    return Recipe(name=name, place=place, files=files, words=words.split(), path=path, question=question, before=before.split())


def _triton(name: str, model: str, config: str, question: Question) -> Recipe:
    files = {"server.py": TRITON, "repository/iris/1/model.py": model, "repository/iris/config.pbtxt": config}
    return _peer(name, "triton", files, "python server.py PORT PORT2 PORT3", _INFER, question)


_INFER = "/v2/models/iris/infer"
_MLSERVER_FILES = {
    "model.py": MLSERVER,
    "settings.json": "",
    "model-settings.json": json.dumps({"name": "iris", "implementation": "model.Model"}),
}
_MLFLOW_SERVE = "mlflow models serve -m model --env-manager local -h 127.0.0.1 -p PORT --workers 1"
PEERS = {
    recipe.name: recipe
    for recipe in (
        _peer(PROTOTYPE, "prototype", {"server.py": _PROTOTYPE}, "python server.py PORT", "/", V2),
        _peer(
            PROTOTYPE_ONNX,
            "prototype",
            {"server.py": _PROTOTYPE.replace(_PREDICT, _PREDICT_ONNX), "convert.py": _TO_ONNX},
            "python server.py PORT",
            "/",
            V2,
            "python convert.py",
        ),
        _triton("Triton", TRITON_MODEL, TRITON_CONFIG, V2),
        _peer("PyTriton", "triton", {"server.py": PYTRITON}, "python server.py PORT PORT2 PORT3", _INFER, V2),
        _peer("LitServe", "litserve", {"server.py": LITSERVE}, "python server.py PORT", "/score", ROWS),
        _peer("MLServer", "mlserver", _MLSERVER_FILES, "mlserver start .", _INFER, V2),
        _peer("azmlinfsrv", "azure", {"score.py": AZURE}, "azmlinfsrv --entry_script score.py --port PORT", "/score", ROWS),
        _peer("BentoML", "bentoml", {"service.py": BENTOML}, "bentoml serve service:Iris --port PORT", "/score", ROWS),
        _peer("MLflow", "mlflow", {"save.py": MLFLOW}, _MLFLOW_SERVE, "/invocations", INPUTS, "python save.py"),
    )
}


def table_peers() -> dict[str, Recipe]:
    """Return the peers that know the columns of a table."""
    return {"MLflow": _peer("MLflow", "mlflow", {"save.py": MLFLOW}, _MLFLOW_SERVE, "/invocations", SPLIT, "python save.py")}


def tensor_peers(question: Question) -> dict[str, Recipe]:
    """Return the peers that take a binary tensor of any length and answer its mean."""
    return {"Triton": _triton("Triton", TRITON_MEAN, TRITON_MEAN_CONFIG, question)}


def _tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
