"""The Jupyter server's door: in-process for what needs a hand inside, as a real process for what a browser meets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from jupyter_server.utils import JupyterServerAuthWarning
from pytest_jupyter.jupyter_server import *  # noqa: F403 - fixtures; as a plugin they would run for every test of the project
from tornado.httpclient import HTTPClientError

from jupyter_modelreg import MLClient, __version__
from jupyter_modelreg.doors.changes import Changes
from jupyter_modelreg.doors.server import CHANGE_EVENT, MAX_BODY_BYTES
from jupyter_modelreg.entities import Model
from jupyter_modelreg.operations import OPERATIONS, find_operation
from jupyter_modelreg.workspace import Workspace, open_workspace

TOKEN = "a-token-of-the-tests"
JSON = {"Content-Type": "application/json"}
Ask = Callable[..., tuple[int, Any, Any]]


class Recorder(Authorizer):
    """Lets people read and nothing else, and remembers what was asked of it."""

    asked: list[tuple[str, str]] = []

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        self.asked.append((action, resource))
        return action == "read"


class Burst(Authorizer):
    """A stranger's code that fails."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        raise ZeroDivisionError("a secret")


@pytest.fixture(autouse=True)
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry; pytest-jupyter has a folder called home of its own."""
    monkeypatch.setenv("MODELREG_HOME", str(tmp_path / "registry"))
    return tmp_path / "registry"


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_modelreg": True}, "allow_unauthenticated_access": False}}


@pytest.fixture
def ask(jp_asyncio_loop: Any, jp_fetch: Any) -> Ask:
    """Ask the server in this process; returns status, headers and the answer's JSON."""

    def ask_server(*parts: str, **options: Any) -> tuple[int, Any, Any]:
        try:
            response = jp_asyncio_loop.run_until_complete(jp_fetch("jupyter-modelreg", *parts, **options))
        except HTTPClientError as error:
            response = error.response
        return response.code, response.headers, json.loads(response.body)

    return ask_server


@pytest.fixture
def post(ask: Ask) -> Ask:
    """Ask by POST with a JSON body."""
    return lambda noun, verb, body: ask(noun, verb, method="POST", headers=dict(JSON), body=json.dumps(body))


@pytest.fixture
def weights(jp_root_dir: Path) -> Path:
    """A file in the folder that the file browser shows."""
    file = jp_root_dir / "weights.txt"
    file.write_text("2")
    return file


# --- operations -------------------------------------------------------------------------------------------------------


def test_the_status_names_version_and_home_and_creates_nothing(ask: Ask, home: Path) -> None:
    code, headers, status = ask("status")
    assert (code, status["version"], status["home"]) == (200, __version__, str(home))
    assert headers["Cache-Control"] == "no-store"
    assert not home.exists()


def test_what_is_created_is_listed(post: Ask, ask: Ask, weights: Path) -> None:
    code, _, created = post("model", "create", {"name": "m", "path": "weights.txt", "tags": {"stage": "dev"}})
    assert (code, created["version"]) == (200, "1")
    code, headers, listed = ask("model", "list")
    assert (code, [model["name"] for model in listed]) == (200, ["m"])
    assert headers["Content-Type"] == "application/json"


def test_lists_repeat_their_key_and_mappings_are_pairs(post: Ask, ask: Ask, weights: Path) -> None:
    post("model", "create", {"name": "one", "path": "weights.txt", "tags": {"stage": "dev", "team": "north"}})
    post("model", "create", {"name": "two", "path": "weights.txt", "tags": {"stage": "dev"}})
    names = [model["name"] for model in ask("model", "list", params=[("tags", "stage=dev"), ("tags", "team=north")])[2]]
    assert names == ["one"]
    assert [model["name"] for model in ask("model", "list", params={"tags": "team"})[2]] == ["one"]
    _, _, updated = post("model", "update", {"name": "two", "set": ["tags.a=1", "tags.b=2"]})
    assert updated["tags"] == {"stage": "dev", "a": "1", "b": "2"}


def test_a_page_names_the_next_one_in_a_header(ask: Ask, post: Ask, weights: Path) -> None:
    for name in ("one", "two"):
        post("model", "create", {"name": name, "path": "weights.txt"})
    asked = {"filter": "order by name", "max_results": "1"}
    _, headers, listed = ask("model", "list", params=asked)
    assert [model["name"] for model in listed] == ["one"]
    _, headers, listed = ask("model", "list", params={**asked, "page": headers["Next-Page"]})
    assert [model["name"] for model in listed] == ["two"]
    assert "Next-Page" not in headers
    code, _, said = ask("model", "list", params={"filter": "nmae = 'x'"})
    assert (code, said["detail"]) == (400, "  nmae = 'x'\n  ^")


def test_a_metric_that_is_no_number_is_null_as_in_any_browser(ask: Ask) -> None:
    import numpy as np

    MLClient().models.register("m", {"weights": np.zeros(2)}, metrics={"auc": float("nan"), "loss": 0.5})
    assert ask("model", "list")[2][0]["metrics"] == {"auc": None, "loss": 0.5}


def test_a_links_token_and_a_polls_mark_are_no_fields(ask: Ask, jp_serverapp: Any) -> None:
    assert ask("model", "list", params={"token": jp_serverapp.identity_provider.token, "no_track_activity": "1"})[0] == 200


def test_relative_paths_start_at_the_folder_that_the_file_browser_shows(post: Ask, jp_root_dir: Path, weights: Path) -> None:
    post("model", "create", {"name": "m", "path": "file:weights.txt"})
    code, _, done = post("model", "download", {"name": "m", "version": "1"})
    assert code == 200, done
    assert (jp_root_dir / "m" / "weights.txt").read_text() == "2"


def test_an_absolute_path_and_one_of_a_yaml_file_are_taken_as_a_shell_takes_them(post: Ask, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text("name: m\npath: root_dir/weights.txt\n")
    assert post("model", "create", {"file": str(tmp_path / "m.yml")})[2]["version"] == "1"


def test_a_registered_version_is_no_path(post: Ask, weights: Path) -> None:
    post("model", "create", {"name": "m", "path": "weights.txt"})
    assert post("model", "create", {"name": "copy", "path": "azureml:m@latest"})[2]["name"] == "copy"


def test_every_operation_has_a_route_of_its_method(ask: Ask, post: Ask) -> None:
    for row in OPERATIONS:
        wrong = post(row.noun, row.verb, {}) if row.reads else ask(row.noun, row.verb)
        assert (wrong[0], wrong[1]["Allow"]) == (405, "GET" if row.reads else "POST"), f"{row.noun} {row.verb}"


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noun", "verb", "body", "status", "error", "message"),
    [
        ("model", "create", {"name": "m", "path": "nowhere"}, 404, "NotFound", "nowhere"),
        ("model", "create", {"name": "m", "path": "weights.txt", "version": "latest"}, 400, "InvalidInput", "latest"),
        ("model", "create", {"nmae": "m"}, 400, "InvalidInput", 'Did you mean "name"?'),
        ("model", "create", {"file": "-"}, 400, "InvalidInput", "standard input"),
        ("model", "crate", {}, 404, "NotFound", 'Did you mean "model create"?'),
        ("job", "create", {}, 503, "NotYet", "Jobs come in a later version."),
        ("model", "share", {"name": "m"}, 400, "InvalidInput", "share"),
    ],
)
def test_an_error_keeps_its_class_status_and_words(
    noun: str, verb: str, body: dict[str, Any], status: int, error: str, message: str, post: Ask, weights: Path
) -> None:
    code, _, said = post(noun, verb, body)
    assert (code, said["error"]) == (status, error)
    assert message in said["message"]
    assert said.keys() == {"message", "error", "detail"}


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"Content-Type": "text/plain"}, "{}", 415, "Send application/json."),
        ({}, "{}", 415, "Send application/json."),
        (JSON, "{", 400, "The body is not JSON"),
        (JSON, "[" * 100_000, 400, "The body is not JSON"),
        (JSON, b"\xff", 400, "The body is not JSON"),
        (JSON, "[]", 400, "must be a mapping"),
        (JSON, "x" * (MAX_BODY_BYTES + 1), 413, "larger than"),
    ],
    ids=["text", "no-type", "broken", "deep", "bytes", "list", "large"],
)
def test_a_body_that_is_no_command_is_refused(headers: dict[str, str], body: Any, status: int, message: str, ask: Ask) -> None:
    code, _, said = ask("model", "create", method="POST", headers=dict(headers), body=body)
    assert (code, said["error"]) == (status, "InvalidInput")
    assert message in said["message"]


def test_an_empty_body_is_a_command_without_fields(ask: Ask) -> None:
    assert ask("model", "create", method="POST", headers=dict(JSON), body="")[2]["message"].startswith("Please provide either --file")


def test_a_wrong_query_names_the_right_field(ask: Ask) -> None:
    code, _, said = ask("model", "show", params={"nmae": "m"})
    assert (code, 'Did you mean "name"?' in said["message"]) == (400, True)


class TestUnforeseen:
    @pytest.fixture
    def jp_server_config(self) -> dict[str, Any]:
        return {"ServerApp": {"jpserver_extensions": {"jupyter_modelreg": True}, "authorizer_class": Burst}}

    def test_what_nobody_foresaw_is_told_without_its_traceback(self, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
        code, _, said = ask("model", "list")
        assert (code, said["error"], said["detail"]) == (500, "ModelRegistryError", "")
        assert "secret" not in json.dumps(said)
        assert "log" in said["message"]
        assert "ZeroDivisionError: a secret" in caplog.text  # for who runs the server


def test_a_broken_settings_file_is_told_where_it_is_met(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "modelreg.toml").write_text("hoem = 'x'")
    code, _, said = ask("status")
    assert (code, 'Did you mean "home"?' in said["message"]) == (400, True)


def test_a_slow_operation_keeps_nobody_waiting_and_counts_as_activity(
    jp_asyncio_loop: Any, jp_fetch: Any, jp_serverapp: Any, weights: Path
) -> None:
    pipe = weights.with_name("model.yml")
    os.mkfifo(pipe)  # reading it takes as long as nobody writes

    async def tell() -> tuple[bool, bool, int]:
        body = json.dumps({"file": "model.yml"})
        slow = asyncio.ensure_future(jp_fetch("jupyter-modelreg", "model", "create", method="POST", headers=dict(JSON), body=body))
        while not jp_serverapp.extension_manager.any_activity():
            await asyncio.sleep(0.01)
        await jp_fetch("jupyter-modelreg", "model", "list")
        is_busy = jp_serverapp.extension_manager.any_activity()
        await asyncio.to_thread(pipe.write_text, "name: m\npath: weights.txt\n")
        code = (await slow).code
        return is_busy, bool(jp_serverapp.extension_manager.any_activity()), code

    assert jp_asyncio_loop.run_until_complete(tell()) == (True, False, 200)


# --- who may do what --------------------------------------------------------------------------------------------------


class TestAuthorization:
    @pytest.fixture
    def jp_server_config(self) -> dict[str, Any]:
        Recorder.asked.clear()
        return {"ServerApp": {"jpserver_extensions": {"jupyter_modelreg": True}, "authorizer_class": Recorder}}

    def test_who_may_only_read_reads(self, ask: Ask) -> None:
        assert ask("model", "list")[0] == 200
        assert ask("status")[0] == 200
        assert Recorder.asked == [("read", "modelreg")] * 2

    def test_who_may_only_read_writes_nothing(self, post: Ask, weights: Path, home: Path) -> None:
        for row in OPERATIONS:
            if not row.reads:
                code, _, said = post(row.noun, row.verb, {"name": "m", "path": "weights.txt"})
                assert (code, "not authorized to write" in said["message"]) == (403, True), f"{row.noun} {row.verb}"
        assert set(Recorder.asked) == {("write", "modelreg")}
        assert not home.exists()


def test_no_handler_of_ours_is_open_to_strangers(jp_configurable_serverapp: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jp_configurable_serverapp()
    open_ones = [str(item.message) for item in caught if issubclass(item.category, JupyterServerAuthWarning)]
    assert not [text for text in open_ones if "modelreg" in text]


class TestSettings:
    @pytest.fixture
    def jp_server_config(self, tmp_path: Path) -> dict[str, Any]:
        return {
            "ServerApp": {"jpserver_extensions": {"jupyter_modelreg": True}},
            "ModelRegistryExtension": {"home": str(tmp_path / "elsewhere"), "catalog": str(tmp_path / "names.sqlite")},
        }

    def test_the_servers_own_settings_win(self, post: Ask, ask: Ask, weights: Path, home: Path, tmp_path: Path) -> None:
        assert ask("status")[2]["home"] == str(tmp_path / "elsewhere")
        assert post("model", "create", {"name": "m", "path": "weights.txt"})[0] == 200
        assert (tmp_path / "names.sqlite").is_file()
        assert not home.exists()


# --- a server of its own ----------------------------------------------------------------------------------------------


class Server:
    """A Jupyter server under a base URL, as a process, and what a browser would ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/a/base/"
        self.log = folder / "server.log"
        options = {
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.base_url": "/a/base/",
            "ServerApp.root_dir": folder,
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "ServerApp.allow_unauthenticated_access": False,
            "ServerApp.jpserver_extensions": {"jupyter_modelreg": True},
            "IdentityProvider.token": TOKEN,
        }
        words = [sys.executable, "-m", "jupyter_server", *(f"--{name}={value}" for name, value in options.items())]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
        self._wait()

    def ask(self, path: str, body: Any = None, *, headers: dict[str, str] | None = None, jar: CookieJar | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"token {TOKEN}"} if headers is None else headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {**headers, **JSON})
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def _wait(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                urllib.request.urlopen(f"{self.url}login", timeout=5).close()
            except OSError:
                return False
            return True

        _wait_until(answers)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "weights.txt").write_text("2")
    running = Server(folder)
    yield running
    running.stop()


def test_strangers_are_kept_out(server: Server, home: Path) -> None:
    body = {"name": "m", "path": "weights.txt"}
    assert server.ask("jupyter-modelreg/model/list", headers={})[0] == 403
    assert server.ask("jupyter-modelreg/status", headers={})[0] == 403
    assert server.ask("jupyter-modelreg/model/create", body, headers={})[0] == 403
    assert server.ask("jupyter-modelreg/model/create", body, headers={"Authorization": "token wrong"})[0] == 403
    assert server.ask("jupyter-modelreg/model/list", headers={"Authorization": f"token {TOKEN}", "Host": "evil.example"})[0] == 403
    # A cookie alone lets a foreign page write, unless the page also knows the XSRF token.
    jar = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.open(f"{server.url}login?token={TOKEN}", timeout=10).close()
    assert server.ask("jupyter-modelreg/model/list", headers={}, jar=jar)[0] == 200
    code, said = server.ask("jupyter-modelreg/model/create", body, headers={}, jar=jar)
    assert (code, "_xsrf" in said["message"]) == (403, True)
    code, said = server.ask("jupyter-modelreg/model/list", headers={"Origin": "http://evil.example"}, jar=jar)
    assert code == 404
    assert not (home / "store").exists()
    assert server.ask("jupyter-modelreg/model/create", body)[0] == 200


def test_the_panel_hears_of_what_others_did(server: Server, home: Path, tmp_path: Path) -> None:
    from websocket import create_connection  # of jupyter_server's own dependencies

    from jupyter_modelreg.supervisor import read_supervisor

    address = f"{server.url.replace('http', 'ws')}api/events/subscribe"
    stream = create_connection(address, header=[f"Authorization: token {TOKEN}"], timeout=10)
    try:
        _, before = server.ask("jupyter-modelreg/status")
        (tmp_path / "weights.txt").write_text("3")
        client = MLClient()
        client.models.create_or_update(Model(name="m", path="weights.txt"))
        start = time.monotonic()
        heard = json.loads(stream.recv())
        assert time.monotonic() - start < 1.0
        assert (heard["schema_id"], heard["change"] > before["change"]) == (CHANGE_EVENT, True)
        _deploy(client, tmp_path)
        pid = client.online_deployments.get("blue", "story").pid
        _wait_until_quiet(stream)
        # Its supervisor first, which would replace it.
        for victim in (read_supervisor(str(home / "endpoints" / "story")).pid, int(pid or 0)):
            os.kill(victim, signal.SIGKILL)
        last = json.loads(stream.recv())["change"]  # a worker that died is news too
        assert client.online_endpoints.get("story").state == "stopped"
        assert server.ask("jupyter-modelreg/status")[1]["change"] == last
        client.online_endpoints.begin_delete("story")
        assert json.loads(stream.recv())["change"] == last + 1
    finally:
        stream.close()


def _deploy(client: MLClient, folder: Path) -> None:
    from jupyter_modelreg.entities import CodeConfiguration, OnlineDeployment, OnlineEndpoint

    (folder / "score.py").write_text("def init(): pass\ndef run(data): return 1\n")
    client.begin_create_or_update(OnlineEndpoint(name="story"))
    code = CodeConfiguration(code=str(folder), scoring_script="score.py")
    (folder / "code").mkdir()
    (folder / "score.py").rename(folder / "code" / "score.py")
    client.begin_create_or_update(
        OnlineDeployment(
            name="blue", endpoint_name="story", model="azureml:m:1", code_configuration=code.replace(code=str(folder / "code"))
        )
    )


def _wait_until_quiet(stream: Any) -> None:
    """Read events until none has come for longer than the server takes to look."""
    from websocket import WebSocketTimeoutException

    stream.settimeout(1.5)
    try:
        while True:
            stream.recv()
    except WebSocketTimeoutException:
        stream.settimeout(10)


def test_a_watch_that_is_in_trouble_says_so_once_and_goes_on(server: Server, tmp_path: Path) -> None:
    from websocket import create_connection

    settings = server.folder / "modelreg.toml"
    settings.write_text("hoem = 'x'")
    _wait_until(lambda: "cannot be watched" in server.log.read_text())
    address = f"{server.url.replace('http', 'ws')}api/events/subscribe"
    stream = create_connection(address, header=[f"Authorization: token {TOKEN}"], timeout=10)
    try:
        settings.unlink()
        (tmp_path / "weights.txt").write_text("3")
        MLClient().models.create_or_update(Model(name="m", path="weights.txt"))
        assert json.loads(stream.recv())["schema_id"] == CHANGE_EVENT
    finally:
        stream.close()
    said = server.log.read_text()
    assert (said.count("cannot be watched"), 'Did you mean "home"?' in said, "Traceback" in said) == (1, True, False)


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_server_ends_at_once_and_without_complaint(server: Server) -> None:
    assert server.ask("jupyter-modelreg/model/list")[0] == 200
    os.mkfifo(server.folder / "model.yml")
    threading.Thread(target=_ask_in_vain, args=(server,), daemon=True).start()
    writer = _open_once_read(server.folder / "model.yml")  # an operation that waits for ever
    start = time.monotonic()
    server.process.terminate()
    assert server.process.wait(timeout=20) == 0
    assert time.monotonic() - start < 5
    os.close(writer)
    said = server.log.read_text()
    assert "Traceback" not in said
    assert "never retrieved" not in said


def _open_once_read(pipe: Path) -> int:
    """Open a pipe for writing as soon as somebody reads it."""
    found: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):
            found.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    _wait_until(is_read)
    return found[0]


def _ask_in_vain(server: Server) -> None:
    with contextlib.suppress(OSError, ValueError):
        server.ask("jupyter-modelreg/model/create", {"file": "model.yml"})


def test_loading_the_extension_costs_the_server_no_heavy_import() -> None:
    code = "import jupyter_server.serverapp, sys; before = set(sys.modules); import jupyter_modelreg.doors.server; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.split(".")[0] for name in done.stdout.split()}
    assert tops - sys.stdlib_module_names == {"jupyter_modelreg", "jupyter_server"}


# --- noticing changes -------------------------------------------------------------------------------------------------


class TestChanges:
    def test_looking_creates_no_registry(self, home: Path) -> None:
        changes = Changes(open_workspace)
        assert [changes.have_come(), changes.have_come()] == [False, False]
        assert not home.exists()

    def test_each_change_is_noticed_once(self, tmp_path: Path) -> None:
        changes, client = Changes(open_workspace), MLClient()
        changes.have_come()
        (tmp_path / "weights.txt").write_text("2")
        for tags in ({}, {"a": "1"}, {"a": "2"}):  # as fast as they come: the disk's clock is slower
            client.models.create_or_update(Model(name="m", version="1", path="weights.txt", tags=tags))
            assert [changes.have_come(), changes.have_come()] == [True, False]

    def test_reading_is_no_change(self, workspace: Workspace) -> None:
        workspace.catalog.list_models()
        changes = Changes(open_workspace)
        changes.have_come()
        for _ in range(3):
            open_workspace().catalog.list_models()
            assert not changes.have_come()

    def test_a_quiet_registry_is_not_opened(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        workspace.catalog.list_models()
        opened = []
        now = time.time_ns()
        monkeypatch.setattr("jupyter_modelreg.doors.changes.time.time_ns", lambda: now + 60_000_000_000)

        def counted() -> Workspace:
            opened.append(open_workspace())
            return opened[-1]

        changes = Changes(counted)
        changes.have_come()
        changes.have_come()
        assert ["catalog" in vars(item) for item in opened] == [True, False]

    def test_another_home_is_a_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes = Changes(open_workspace)
        changes.have_come()
        monkeypatch.setenv("MODELREG_HOME", str(tmp_path / "other"))
        assert changes.have_come()


def test_no_operation_that_only_reads_takes_a_path() -> None:
    # The server's docstring and docs/how-to.md promise this to who withholds writing.
    from jupyter_modelreg.records import fields

    assert not [row.verb for row in OPERATIONS if row.reads and any(item.values == "path" for item in fields(row.command))]
    assert any(item.values == "path" for item in fields(find_operation("model", "create").command))
