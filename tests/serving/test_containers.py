"""Deployments in real containers, by Podman with images made of this machine's own Python; nothing is fetched."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.environment import CleanEnvironments, ListBuiltEnvironments
from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import (
    CreateOnlineDeployment,
    CreateOnlineEndpoint,
    DeleteOnlineDeployment,
    DeleteOnlineEndpoint,
    GetOnlineDeploymentLogs,
    InvokeOnlineEndpoint,
    ShowOnlineDeployment,
    UpdateOnlineEndpoint,
)
from jupyter_modelreg.entities import Environment
from jupyter_modelreg.environments import clean_environments, list_built, ready_container
from jupyter_modelreg.errors import InvalidInput, ModelRegistryError, Unavailable
from jupyter_modelreg.models import create_model
from jupyter_modelreg.online import (
    create_deployment,
    create_endpoint,
    delete_deployment,
    delete_endpoint,
    get_logs,
    invoke_endpoint,
    show_deployment,
    update_endpoint,
)
from jupyter_modelreg.workspace import Workspace, open_workspace

PYTHON, BARE = "localhost/modelreg-test-python:1", "localhost/modelreg-test-bare:1"
SCRIPT = """
import os, sys
def init():
    global text
    text = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.txt")).read()
    print("init in", sys.executable)
def run(raw_data):
    if raw_data == '"fail"':
        raise ValueError("as asked")
    if raw_data == '"many"':
        return iter([{"a": 1}, "two\\nlines"])
    if raw_data == '"broken"':
        return (1 / (2 - number) for number in range(3))
    try:
        open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "new"), "w")
        can_write = True
    except OSError:
        can_write = False
    names = [name for name in os.environ if "KEY" in name or "TOKEN" in name or "MODELREG" in name]
    return {"text": text, "mode": os.environ["MODE"], "where": os.environ["AZUREML_MODEL_DIR"], "can_write": can_write, "secret": names}
"""
SERVER = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200 if self.path in ("/live", "/ready") else 404, {})
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        place = os.environ["AZUREML_MODEL_DIR"]
        held = open(os.path.join(place, "model.txt")).read()
        status = 503 if "fail" in body else 418 if "tea" in body else 200
        self.answer(status, {"path": self.path, "body": body, "place": place, "text": held, "key": self.headers.get("authorization")})
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-mine", "yes")
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", %d), Handler).serve_forever()
"""


def podman(*words: str) -> str:
    return subprocess.run(["podman", *words], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give Podman the limits that it may have inside a sandbox, and two images: one with Python, one without."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    conf = folder / "containers.conf"
    conf.write_text(
        '[containers]\ndefault_ulimits=["nofile=20000:20000","nproc=1000:1000"]\nnetns="host"\n'
        + ('[engine]\nruntime="runc"\n' if shutil.which("runc") else "")
    )
    before = os.environ.get("CONTAINERS_CONF")
    os.environ["CONTAINERS_CONF"] = str(conf)
    try:
        for name, paths in ((PYTHON, _python_files()), (BARE, [])):
            archive = folder / "image.tar"
            _write_archive(archive, paths)
            podman("import", "--quiet", str(archive), name)
        words = ["podman", "run", "--rm", "--entrypoint", "python3", PYTHON, "-c", "print('runs')"]
        tried = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if tried.stdout != "runs\n":
            pytest.skip(f"podman cannot run a container here: {tried.stderr.strip()[-300:]}")
        yield str(conf)
        subprocess.run(["podman", "rmi", "--force", PYTHON, BARE], capture_output=True, check=False, timeout=60)
    finally:
        os.environ.pop("CONTAINERS_CONF")
        if before is not None:
            os.environ["CONTAINERS_CONF"] = before


def _python_files() -> list[str]:
    """Return what this Python needs to run elsewhere: itself, its library without packages, and what those are linked with."""
    program, library = os.path.realpath(sys.executable), sysconfig.get_path("stdlib")
    modules = [
        str(path)
        for path in Path(library, "lib-dynload").glob("*.so")
        if re.match(
            r"_socket|select|math|_struct|_json|_hashlib|_ssl|array|_random|_posixsubprocess|fcntl|zlib|binascii|_datetime|_bisect|_sha|_blake2|_md5|unicodedata|grp|_opcode|_heapq|_csv|_queue",
            path.name,
        )
    ]
    linked = subprocess.run(["ldd", program, *modules], capture_output=True, text=True, check=True).stdout
    return sorted({program, library, *re.findall(r"(/\S+) \(0x", linked)})


def _write_archive(path: Path, paths: list[str]) -> None:
    left_out = {"site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "lib2to3"}

    def kept(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if left_out & set(item.name.split("/")) else item

    with tarfile.open(path, "w", dereference=True) as archive:
        for name in ("tmp", "usr/bin", "var"):
            item = tarfile.TarInfo(name)
            item.type, item.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(item)
        for place in paths:
            archive.add(place, arcname=place.lstrip("/"), filter=kept)
        if paths:
            link = tarfile.TarInfo("usr/bin/python3")
            link.type, link.linkname = tarfile.SYMTYPE, os.path.realpath(sys.executable)
            archive.addfile(link)
        else:
            item = tarfile.TarInfo("tmp/empty")
            archive.addfile(item, io.BytesIO())


@pytest.fixture
def boxed(engine: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An open workspace that runs containers, with an endpoint; nothing may be left of them."""
    monkeypatch.setenv("MODELREG_CONTAINER_ENGINE", "auto")
    monkeypatch.setenv("MODELREG_ENVIRONMENTS", "make")
    workspace = open_workspace()
    Path("model.txt").write_text("weights")
    Path("code").mkdir()
    Path("code/score.py").write_text(SCRIPT)
    create_model(workspace, CreateModel(name="m", path="model.txt"))
    create_endpoint(workspace, CreateOnlineEndpoint(name="boxes"))
    yield workspace
    delete_endpoint(workspace, DeleteOnlineEndpoint(name="boxes", yes=True))
    assert containers() == []


def containers() -> list[str]:
    return podman("ps", "--all", "--quiet", "--filter", "label=modelreg.run").split()


def deploy(workspace: Workspace, environment: str, more: str = "", *, script: bool = True) -> Any:
    code = "code_configuration: {code: code, scoring_script: score.py}\nenvironment_variables: {MODE: quiet}\n" if script else ""
    Path("blue.yml").write_text(f"name: blue\nendpoint_name: boxes\nmodel: azureml:m:1\n{code}environment: {environment}\n{more}")
    return create_deployment(workspace, CreateOnlineDeployment(file="blue.yml", all_traffic=True))


def ask(workspace: Workspace, body: Any) -> Any:
    Path("body.json").write_text(json.dumps(body))
    return invoke_endpoint(workspace, InvokeOnlineEndpoint(name="boxes", request_file="body.json")).body


def ask_raw(workspace: Workspace, body: Any) -> str:
    keys = json.loads(Path(workspace.home, "endpoints/boxes/keys.json").read_text())
    port = json.loads(Path(workspace.home, "endpoints/boxes/endpoint.json").read_text())["port"]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/score", json.dumps(body).encode(), {"authorization": f"Bearer {keys['primary']}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(answer.read().decode())


def eventually(happened: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(workspace: Workspace) -> bool:
    try:
        return bool(ask(workspace, 1))
    except ModelRegistryError:
        return False


def test_a_scoring_script_runs_in_the_image_and_is_replaced_when_anything_of_it_is_killed(boxed: Workspace) -> None:
    made = deploy(boxed, f"{{image: '{PYTHON}'}}")
    version = podman("version", "--format", "{{.Version}}").strip()
    assert made.notices == [f"It runs in a container of {PYTHON} by Podman {version}."]
    expected = {"text": "weights", "mode": "quiet", "where": "/var/azureml-app/azureml-models/m/1", "can_write": False, "secret": []}
    assert ask(boxed, 1) == expected
    with pytest.raises(ModelRegistryError, match="424"):
        ask(boxed, "fail")
    assert ask_raw(boxed, "many") == '{"a":1}\ntwo\nlines'
    with pytest.raises(http.client.IncompleteRead):
        ask_raw(boxed, "broken")
    log = get_logs(boxed, GetOnlineDeploymentLogs(name="blue", endpoint_name="boxes", lines=200))
    assert "init in /usr/bin/python3" in str(log)
    assert "ValueError: as asked" in str(log)

    (first,) = containers()
    os.kill(int(podman("inspect", "--format", "{{.State.Pid}}", first)), signal.SIGKILL)
    eventually(lambda: first not in containers() and answers(boxed))
    (second,) = containers()
    pid = show_deployment(boxed, ShowOnlineDeployment(name="blue", endpoint_name="boxes")).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: second not in containers() and answers(boxed))
    assert ask(boxed, 1) == expected
    assert len(containers()) == 1

    pid = show_deployment(boxed, ShowOnlineDeployment(name="blue", endpoint_name="boxes")).pid
    assert pid
    supervisor = json.loads(Path(boxed.home, "endpoints/boxes/supervisor.json").read_text())["pid"]
    for number in (supervisor, pid):  # nobody is left who would remove the container
        os.kill(number, signal.SIGKILL)
    assert len(containers()) == 1
    (third,) = containers()
    eventually(lambda: answers(boxed))
    assert third not in containers()
    assert len(containers()) == 1


def test_an_image_brings_its_own_server_and_routes(boxed: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    Path("context").mkdir()
    Path("context/server.py").write_text(SERVER % port)
    Path("context/Dockerfile").write_text(f'FROM {PYTHON}\nCOPY server.py /server.py\nENTRYPOINT ["python3", "/server.py"]\n')
    routes = f"liveness_route: {{port: {port}, path: /live}}, readiness_route: {{port: {port}, path: /ready}}, scoring_route: {{port: {port}, path: /own}}"
    environment = f"{{build: {{path: context}}, inference_config: {{{routes}}}}}"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Unavailable, match=f"Port {port}, on which the image .* is in use"):
        deploy(boxed, environment, script=False)
    assert containers() == []
    deploy(boxed, environment, "model_mount_path: /opt/mine\n", script=False)
    assert ask(boxed, [1]) == {"path": "/own", "body": "[1]", "place": "/opt/mine/m/1", "text": "weights", "key": None}
    (built,) = list_built(boxed, ListBuiltEnvironments())
    assert (built.deployments, built.size_bytes > 10_000_000) == (["boxes/blue"], True)
    assert clean_environments(boxed, CleanEnvironments(older_than="0d", yes=True)).environments == 0  # it is in use
    with pytest.raises(ModelRegistryError, match="418"):
        ask(boxed, "tea")
    with pytest.raises(ModelRegistryError, match="424"):
        ask(boxed, "fail")
    update_endpoint(boxed, UpdateOnlineEndpoint(name="boxes", traffic="blue=0"))
    delete_deployment(boxed, DeleteOnlineDeployment(name="blue", endpoint_name="boxes", yes=True))
    time.sleep(1.1)
    assert clean_environments(boxed, CleanEnvironments(older_than="0d", yes=True)).environments == 1
    assert built.digest.removeprefix("image-") not in podman("images")


def test_what_cannot_run_says_so_in_one_line(boxed: Workspace) -> None:
    for image, error, text in (
        (BARE, InvalidInput, f"The image {BARE} has no python3, which a scoring script needs"),
        ("--privileged", InvalidInput, '"--privileged" is no name of an image'),
        ("localhost/modelreg-test-none:1", Unavailable, "The image localhost/modelreg-test-none:1 is not on this machine and Podman"),
    ):
        with pytest.raises(error, match=re.escape(text)):
            ready_container(boxed, Environment(image=image), print, has_script=True)
    Path("bad").mkdir()
    Path("bad/Dockerfile").write_text(f"FROM {PYTHON}\nRUN python3 -c 'raise SystemExit(\"no luck\")'\n")
    with pytest.raises(Unavailable, match="cannot build Dockerfile") as caught:
        deploy(boxed, "{build: {path: bad}}")
    assert "no luck" in caught.value.detail


def test_without_an_engine_the_closest_python_is_used_and_a_wish_for_one_is_refused(
    workspace: Workspace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docker", "podman"):
        (tmp_path / name).write_text("#!/bin/sh\necho Cannot connect >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MODELREG_ENVIRONMENTS", "make")
    monkeypatch.setenv("MODELREG_CONTAINER_ENGINE", "auto")
    notices: list[str] = []
    assert ready_container(open_workspace(), Environment(image="ubuntu"), notices.append, has_script=True) is None
    assert notices == ["No container engine answers (podman: Cannot connect; docker: Cannot connect)."]
    monkeypatch.setenv("MODELREG_CONTAINER_ENGINE", "docker")
    with pytest.raises(Unavailable, match="The setting container_engine is docker, which does not answer"):
        ready_container(open_workspace(), Environment(image="ubuntu"), notices.append, has_script=True)
