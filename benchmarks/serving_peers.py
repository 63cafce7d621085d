"""Servers that people put models behind, each as its users start it, with one process for the model.

`scripts/bench` puts each into an environment of its own, since their needs clash. One that is not there, or does not
start, is named and left out.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENVIRONMENTS = Path(sys.executable).parents[1] / "serving"
ROW = [5.1, 3.5, 1.4, 0.2]
START_SECONDS = 60
STOP_SECONDS = 10

YARDSTICK = """
import asyncio, json, sys
import httptools, joblib, numpy
model = joblib.load("model.joblib")
class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser, self.body = transport, httptools.HttpRequestParser(self), b""
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_body(self, data):
        self.body += data
    def on_message_complete(self):
        WAITING.append((self.transport, json.loads(self.body)["input_data"]))
        self.body = b""
        if len(WAITING) == 1:
            asyncio.get_running_loop().call_soon(answer)
WAITING = []
def answer():
    batch, WAITING[:] = WAITING[:], []
    for (transport, _), value in zip(batch, model.predict(numpy.array([rows[0] for _, rows in batch]))):
        text = b"[%d]" % value
        transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (len(text), text))
async def main():
    await (await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=1024)).serve_forever()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
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
V2 = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}


class Peer:
    """Something that answers at a URL. Used as a context, it is closed at the end."""

    is_yardstick = False

    def __init__(self, name: str, url: str, body: Any, headers: dict[str, str] | None = None) -> None:
        self.name, self.url, self.body = name, url, body
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        lines = [f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}" for key, value in self.headers.items()]
        handle, path = tempfile.mkstemp(suffix=".lua")
        with os.fdopen(handle, "w") as stream:  # for its owner only, since it may hold a key
            stream.write("\n".join(['wrk.method = "POST"', *lines, f"wrk.body = {json.dumps(json.dumps(body))}"]))
        self.script = Path(path)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.script.unlink()
        self.close()

    def close(self) -> None:
        """Stop it."""


class Server(Peer):
    """A peer's own process."""

    def __init__(self, name: str, url: str, body: Any, words: Sequence[str], folder: Path) -> None:
        super().__init__(name, url, body)
        self.is_yardstick = name == "asyncio + httptools"
        environment = {**os.environ, "WORKER_COUNT": "1", "BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": str(folder), "OMP_NUM_THREADS": "1"}
        self._log = (folder / "log.txt").open("w")
        self._process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def is_ready(self) -> bool:
        """Wait until it answers; False when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if ask(self)[0] == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        return False

    def close(self) -> None:
        """Stop it and what it started."""
        import signal

        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # BentoML's workers, in sessions of their own, end when they are asked only
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


def ask(peer: Peer) -> tuple[int, bytes]:
    """Ask once; return the status and the body."""
    address = urlsplit(peer.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    connection.request("POST", address.path, json.dumps(peer.body), peer.headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def start_peers(scratch: Path, model: Any) -> Iterator[Peer]:
    """Start each peer that is installed; say which is not, or does not start."""
    import joblib

    for name, code, words, path, body in _table():
        folder = scratch / name.replace(" ", "")
        folder.mkdir(parents=True)
        joblib.dump(model, folder / "model.joblib")
        port = _free_port()
        for file, text in {**code, "settings.json": _settings(port), "model-settings.json": _MODEL}.items():
            (folder / file).write_text(text)
        if not Path(words[0]).exists():
            print(f"{name} is left out: it is not installed; scripts/bench serving does that.", file=sys.stderr)
            continue
        server = Server(name, f"http://127.0.0.1:{port}{path}", body, [word.replace("PORT", str(port)) for word in words], folder)
        if server.is_ready():
            yield server
        else:
            server.__exit__()
            print(f"{name} is left out: it does not start: {(folder / 'log.txt').read_text()[-300:]}", file=sys.stderr)


_MODEL = json.dumps({"name": "iris", "implementation": "model.Model"})


def _settings(port: int) -> str:
    return json.dumps({"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port(), "parallel_workers": 0, "debug": False})


def _table() -> list[tuple[str, dict[str, str], list[str], str, Any]]:
    """Return each peer's name, files, program, path and question."""
    rows = {"input_data": [ROW]}
    programs = {name: str(ENVIRONMENTS / name / "bin") for name in ("litserve", "azure", "mlserver", "bentoml")}
    return [
        ("asyncio + httptools", {"server.py": YARDSTICK}, [sys.executable, "server.py", "PORT"], "/", rows),
        ("LitServe", {"server.py": LITSERVE}, [f"{programs['litserve']}/python", "server.py", "PORT"], "/score", rows),
        ("MLServer", {"model.py": MLSERVER}, [f"{programs['mlserver']}/mlserver", "start", "."], "/v2/models/iris/infer", V2),
        (
            "azmlinfsrv",
            {"score.py": AZURE},
            [f"{programs['azure']}/azmlinfsrv", "--entry_script", "score.py", "--port", "PORT"],
            "/score",
            rows,
        ),
        ("BentoML", {"service.py": BENTOML}, [f"{programs['bentoml']}/bentoml", "serve", "service:Iris", "--port", "PORT"], "/score", rows),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
