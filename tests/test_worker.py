"""The process of one deployment, without catalog or command line: a plan, a folder, a socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.compute import ProcessIdentity, is_alive, stop_process
from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.worker import WorkerPlan, WorkerStatus, read_log, read_status, start_worker, write_plan

READY_SECONDS = 30.0


class Worker:
    """One started worker."""

    def __init__(
        self, folder: Path, script: str, *, environment: dict[str, str] | None = None, files: dict[str, str] | None = None, **about: Any
    ) -> None:
        self.folder, self.code = folder, folder / "code"
        self.code.mkdir()
        for name, text in {"score.py": script, **(files or {})}.items():
            (self.code / name).write_text(text)
        (folder / "view" / "weights").mkdir(parents=True)
        (folder / "view" / "weights" / "scale.txt").write_text("3")
        (folder / "keys.json").write_text('{"primary": "k"}')
        plan = WorkerPlan(
            endpoint="e",
            deployment="blue",
            model="scaler:1",
            model_dir=str(folder / "view"),
            model_path=str(folder / "view" / "weights"),
            keys_path=str(folder / "keys.json"),
            routes_path=str(folder / "routes.json"),
            environment_variables=environment or {},
            code_folder=str(self.code),
            scoring_script="score.py",
            **about,
        )
        with bind_port(None) as listener:
            self.port: int = listener.getsockname()[1]
            write_plan(str(folder), plan)
            self.identity: ProcessIdentity = start_worker(str(folder / "instance-1"), plan, listener)

    def wait(self, seconds: float = READY_SECONDS) -> WorkerStatus:
        """Return what the worker says once it is ready or has failed."""
        place = str(self.folder / "instance-1")
        until(lambda: read_status(place).state != "starting", seconds)
        return read_status(place)

    @property
    def log(self) -> str:
        """What it printed."""
        return read_log(str(self.folder))

    def ask(self, body: str = "{}", path: str = "/score") -> Any:
        """Post a body and return the answer parsed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", path, body, {"Authorization": "Bearer k"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Return a function that starts a worker for a script; it ends with the test."""
    started: list[Worker] = []

    def run(script: str, **about: Any) -> Worker:
        folder = tmp_path / f"run-{len(started)}"
        folder.mkdir()
        started.append(Worker(folder, script, **about))
        return started[-1]

    yield run
    for worker in started:
        stop_process(worker.identity)


def until(happened: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert happened()


ENVIRONMENT = """
import json, os, sys, helper

def init():
    global seen
    names = ("AZUREML_MODEL_DIR", "AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT", "MLFLOW_MODEL_FOLDER", "MINE", "JPY_API_TOKEN", "JUPYTER_TOKEN", "PYTHONUNBUFFERED")
    seen = {name: os.environ.get(name) for name in names}
    seen |= {"cwd": os.getcwd(), "held": os.listdir(os.environ["AZUREML_MODEL_DIR"]), "helper": helper.ANSWER}
    print("init has run")

def run(raw_data):
    print("run has run")
    return seen
"""


def test_a_script_finds_what_azure_promises_it(start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_API_TOKEN", "secret")
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    worker = start(ENVIRONMENT, environment={"MINE": "yes"}, files={"helper.py": "ANSWER = 42"})
    assert worker.wait().state == "healthy"
    assert worker.ask() == {
        "AZUREML_MODEL_DIR": str(worker.folder / "view"),
        "AML_APP_ROOT": str(worker.code),
        "AZUREML_ENTRY_SCRIPT": "score.py",
        "MLFLOW_MODEL_FOLDER": "weights",
        "MINE": "yes",
        "JPY_API_TOKEN": None,
        "JUPYTER_TOKEN": None,
        "PYTHONUNBUFFERED": "1",
        "cwd": str(worker.code),
        "held": ["weights"],
        "helper": 42,
    }
    assert "init has run\n" in worker.log
    assert "run has run\n" in worker.log


RUN = "\ndef run(raw_data):\n    return 1\n"


@pytest.mark.parametrize(
    ("script", "error", "shown"),
    [
        ("def init():\n    raise RuntimeError('no coffee')\n", "RuntimeError: no coffee", 'score.py", line 2, in init'),
        ("import osx\ndef init(): pass\n", "ModuleNotFoundError: No module named 'osx'", 'score.py", line 1, in <module>'),
        ("import sys\ndef init():\n    sys.exit('enough')\n", "it called exit('enough')", 'score.py", line 3, in init'),
        ("def init():\n    exit()\n", "it called exit()", 'score.py", line 2, in init'),
        ("def init():\n    raise KeyboardInterrupt\n", "KeyboardInterrupt", 'score.py", line 2, in init'),
        ("def init():\n    return init()\n", "RecursionError: maximum recursion depth exceeded", 'score.py", line 2, in init'),
        ("def init():\n    open('/nowhere/model.pkl')\n", "FileNotFoundError", "holds:\n  weights/scale.txt"),
    ],
    ids=["raises", "import", "exit with words", "exit", "interrupt", "recursion", "wrong path"],
)
def test_a_script_that_fails_to_start_shows_its_own_traceback_at_once(
    start: Callable[..., Worker], script: str, error: str, shown: str
) -> None:
    began = time.monotonic()
    worker = start(script + RUN)
    status = worker.wait()
    assert time.monotonic() - began < 10
    assert status.state == "failed"
    assert error in str(status.error)
    assert "\n" not in str(status.error)
    assert shown in str(status.traceback)
    assert "jupyter_modelreg/" not in str(status.traceback)  # none of our own frames
    assert "AZUREML_MODEL_DIR=" in worker.log
    until(lambda: not is_alive(worker.identity))


def test_a_run_of_the_wrong_shape_is_told_in_our_words_alone(start: Callable[..., Worker]) -> None:
    status = start("def init(): pass\ndef run(a, b): return 1\n").wait()
    assert status.error == "run(a, b) must take one argument, the request's body, and may take request_headers."
    assert status.traceback == ""


def test_what_means_nothing_here_stands_in_the_log(start: Callable[..., Worker]) -> None:
    worker = start("def init(): pass\n" + RUN, notices=["Of no effect on this machine: instance_type"])
    assert worker.wait().state == "healthy"
    assert "Of no effect on this machine: instance_type\n" in worker.log


HELPED = """
import subprocess, sys, time

def init():
    global helper
    helper = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); input(); print('helped', flush=True); time.sleep(600)"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    helper.stdout.readline()

def run(raw_data):
    print("under way", flush=True)
    time.sleep(0.5)
    helper.stdin.write("\\n")
    helper.stdin.flush()
    return [helper.stdout.readline().strip(), helper.pid]
"""


def test_a_worker_asked_to_end_answers_what_is_under_way_and_leaves_nothing(start: Callable[..., Worker]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    worker = start(HELPED)
    assert worker.wait().state == "healthy"
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(worker.ask)
        until(lambda: "under way" in worker.log)
        stop_process(worker.identity)
        said, child = answer.result(20)
    assert said == "helped"
    assert "Ended as asked.\n" in worker.log
    assert not is_alive(worker.identity)
    assert not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split(")")[1].split()[0] in "ZX"


def test_what_a_script_starts_does_not_hold_the_port(start: Callable[..., Worker]) -> None:
    script = "import subprocess, sys\ndef init():\n    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], close_fds=False)\n"
    worker = start(script + RUN)
    assert worker.wait().state == "healthy"
    os.kill(worker.identity.pid, 9)
    until(lambda: not is_alive(worker.identity))
    with bind_port(worker.port) as again:
        assert again.getsockname()[1] == worker.port
    stop_process(worker.identity)


def test_a_model_that_ends_its_process_takes_only_its_own_endpoint_down(start: Callable[..., Worker]) -> None:
    bad = start("import os\ndef init(): pass\ndef run(raw_data):\n    os._exit(1)\n")
    good = start("def init(): pass\n" + RUN)
    assert (bad.wait().state, good.wait().state) == ("healthy", "healthy")
    with pytest.raises((http.client.HTTPException, OSError)):
        bad.ask()
    until(lambda: not is_alive(bad.identity))
    assert good.ask() == 1


def test_health_is_told_while_the_model_is_busy(start: Callable[..., Worker]) -> None:
    worker = start("import time\ndef init(): pass\ndef run(raw_data):\n    print('under way', flush=True)\n    time.sleep(60)\n")
    assert worker.wait().state == "healthy"
    with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as busy:
        head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{worker.port}\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n\r\n{{}}"
        busy.sendall(head.encode())
        until(lambda: "under way" in worker.log)
        connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"Healthy"
        connection.close()


def test_the_model_is_asked_in_the_thread_that_loaded_it(start: Callable[..., Worker]) -> None:
    worker = start(
        "import threading\ndef init():\n    global first\n    first = threading.get_ident()\n"
        "def run(raw_data):\n    return first == threading.get_ident()\n"
    )
    assert worker.wait().state == "healthy"
    assert worker.ask() is True


def test_the_end_of_a_long_log_is_read_without_the_rest(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("".join(f"line {number}\n" for number in range(200_000)) + "no newline")
    assert read_log(str(tmp_path), 3) == "line 199998\nline 199999\nno newline"
    assert read_log(str(tmp_path), 200_001).startswith("line 0\n")
    (tmp_path / "log.txt").write_text("x" * 9_000_000)
    assert len(read_log(str(tmp_path), 3)) <= (8 << 20) + (64 << 10)
    (tmp_path / "log.txt").unlink()
    assert read_log(str(tmp_path)) == ""


def test_a_worker_needs_no_library_of_a_model_it_does_not_serve(start: Callable[..., Worker]) -> None:
    worker = start(
        "import sys\ndef init(): pass\ndef run(raw_data):\n    return [name for name in ('numpy', 'pandas', 'sklearn', 'IPython', 'tornado', 'yaml', 'sqlite3') if name in sys.modules]\n"
    )
    assert worker.wait().state == "healthy"
    assert worker.ask() == []


def test_files_beside_the_script_do_not_hide_what_the_server_needs(start: Callable[..., Worker]) -> None:
    hidden = ("asyncio", "httptools", "uuid", "hmac", "signal", "http", "traceback", "logging", "json", "socket")
    worker = start("def init(): pass\n" + RUN, files={f"{name}.py": "raise RuntimeError('mine')" for name in hidden})
    assert worker.wait().state == "healthy"
    assert worker.ask() == 1
