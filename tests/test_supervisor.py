"""An endpoint whose processes are killed, hang and are updated: requests go on, and nothing is left behind."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import (
    CreateOnlineDeployment,
    CreateOnlineEndpoint,
    DeleteOnlineDeployment,
    DeleteOnlineEndpoint,
    InvokeOnlineEndpoint,
    ListOnlineEndpoints,
    ShowOnlineDeployment,
    ShowOnlineEndpoint,
    UpdateOnlineDeployment,
    UpdateOnlineEndpoint,
)
from jupyter_modelreg.compute import is_alive
from jupyter_modelreg.errors import Conflict, InvalidInput, Unavailable
from jupyter_modelreg.models import create_model
from jupyter_modelreg.online import (
    create_deployment,
    create_endpoint,
    delete_deployment,
    delete_endpoint,
    get_keys,
    invoke_endpoint,
    list_endpoints,
    show_deployment,
    show_endpoint,
    update_deployment,
    update_endpoint,
)
from jupyter_modelreg.processes import ProcessIdentity
from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.supervisor import MAX_LOG_BYTES, RunStatus, instance_folders, read_run_status, read_supervisor, read_wanted, rotate
from jupyter_modelreg.worker import read_identity
from jupyter_modelreg.workspace import Workspace

SCRIPT = """
import json, os, time
def init(): pass
def run(raw_data):
    asked = json.loads(raw_data)
    time.sleep(asked.get("sleep", 0))
    if asked.get("die"):
        os._exit(1)
    return [WORD, os.getpid()]
"""


@pytest.fixture
def workspace(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with an endpoint ``live`` and a model for it; what it started has ended when the test has."""
    Path("model.txt").write_text("1")
    create_model(workspace, CreateModel(name="words", path="model.txt"))
    create_endpoint(workspace, CreateOnlineEndpoint(name="live"))
    yield workspace
    for endpoint in workspace.catalog.list_endpoints():
        delete_endpoint(workspace, DeleteOnlineEndpoint(name=str(endpoint.name)))
    until(lambda: left_over(workspace.home) == [])  # a second supervisor that instances started ends once it finds the first


def left_over(home: str) -> list[str]:
    """Return the command lines of processes that belong to a home."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{home}/endpoints" in words:
            found.append(words)
    return found


def deploy(workspace: Workspace, name: str = "blue", *, script: str = SCRIPT, **about: Any) -> Any:
    code = Path(f"code-{name}")
    code.mkdir(exist_ok=True)
    (code / "score.py").write_text(script.replace("WORD", repr(about.pop("word", name))))
    command = {"name": name, "endpoint_name": "live", "model": "azureml:words:1", "scoring_script": f"code-{name}/score.py"}
    return create_deployment(workspace, CreateOnlineDeployment(**{**command, **about}))


def share(workspace: Workspace, traffic: str, mirror: str | None = None) -> None:
    update_endpoint(workspace, UpdateOnlineEndpoint(name="live", traffic=traffic, mirror_traffic=mirror))


def folder_of(workspace: Workspace) -> Path:
    return Path(workspace.home) / "endpoints" / "live"


def supervisor_of(workspace: Workspace) -> ProcessIdentity:
    identity = read_supervisor(str(folder_of(workspace)))
    assert identity
    return identity


def status_of(workspace: Workspace, name: str = "blue") -> RunStatus:
    process = workspace.catalog.get_process("live", name)
    status = read_run_status(process["folder"]) if process else None
    assert status
    return status


def instances_of(workspace: Workspace, name: str = "blue") -> list[ProcessIdentity]:
    process = workspace.catalog.get_process("live", name)
    assert process
    found = [identity for folder in instance_folders(process["folder"]) if (identity := read_identity(folder))]
    return [identity for identity in found if is_alive(identity)]


def kill(identity: ProcessIdentity) -> None:
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: not is_alive(identity))


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happened()


def ask(workspace: Workspace, body: dict[str, Any] | None = None, name: str | None = None) -> Any:
    command = InvokeOnlineEndpoint(name="live", data=json.dumps(body or {}), deployment_name=name)
    return invoke_endpoint(workspace, command).body


class Load:
    """Callers that ask again and again while the ``with`` block lasts; ``answers`` counts what they were told."""

    def __init__(self, workspace: Workspace, callers: int = 4) -> None:
        self.url = str(show_endpoint(workspace, ShowOnlineEndpoint(name="live")).scoring_uri).split("/")[2]
        keys = get_keys(workspace, _Credentials(name="live"))
        self.headers = {"Authorization": f"Bearer {keys.primary_key}"}  # type: ignore[union-attr]
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._callers = [threading.Thread(target=self._call, args=(number % 2 == 0,)) for number in range(callers)]

    def __enter__(self) -> Load:
        for caller in self._callers:
            caller.start()
        until(lambda: self.total > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.join(30)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    def goes_on(self, count: int = 30) -> None:
        """Wait until so many more have been answered."""
        total = self.total
        until(lambda: self.total >= total + count)

    def _call(self, is_kept: bool) -> None:
        connection = http.client.HTTPConnection(self.url, timeout=30)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/score", "{}", self.headers)
                response = connection.getresponse()
                body = response.read()
                self.answers[json.loads(body)[0] if response.status == 200 else str(response.status)] += 1
            except (http.client.HTTPException, OSError):
                self.answers["broken"] += 1
                connection.close()
            if not is_kept:
                connection.close()
        connection.close()


from jupyter_modelreg.commands.online import GetOnlineEndpointCredentials as _Credentials  # noqa: E402

# --- several deployments ----------------------------------------------------------------------------------------------


def test_traffic_goes_where_the_shares_say_and_by_name(workspace: Workspace) -> None:
    deploy(workspace, "blue", all_traffic=True)
    deploy(workspace, "green")
    assert ask(workspace)[0] == "blue"
    assert ask(workspace, name="green")[0] == "green"
    share(workspace, "blue=50 green=50")
    told = Counter(ask(workspace)[0] for _ in range(60))
    assert min(told["blue"], told["green"]) > 10
    share(workspace, "blue=0 green=100")
    assert {ask(workspace)[0] for _ in range(20)} == {"green"}
    assert ask(workspace, name="blue")[0] == "blue"
    delete_deployment(workspace, DeleteOnlineDeployment(name="blue", endpoint_name="live"))
    assert ask(workspace)[0] == "green"
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="live")).deployments == ["green"]


@pytest.mark.parametrize(
    ("traffic", "mirror", "message"),
    [
        ("blue=60 green=41", None, "less than or equal to 100%, not 101"),
        ("blue=100", "green=51", "at most 50 %"),
        ("blue=90 green=10", "green=10", "only a deployment that answers none"),
        ("blue=90,green=10", None, "Do not add a delimiter"),
    ],
)
def test_rules_of_traffic_are_kept(workspace: Workspace, traffic: str, mirror: str | None, message: str) -> None:
    for name in ("blue", "green"):
        workspace.catalog.put_deployment(_deployment(name), None)
    with pytest.raises(InvalidInput, match=message):
        share(workspace, traffic, mirror)
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="live")).traffic == {}


def _deployment(name: str) -> Any:
    from jupyter_modelreg.entities import OnlineDeployment

    return OnlineDeployment(name=name, endpoint_name="live", model="azureml:words:1")


def test_a_twenty_first_deployment_is_refused(workspace: Workspace) -> None:
    for number in range(20):
        workspace.catalog.put_deployment(_deployment(f"number-{number}"), None)
    with pytest.raises(Conflict, match="20 deployments"):
        deploy(workspace)


# --- what dies is replaced --------------------------------------------------------------------------------------------


def test_a_killed_instance_costs_only_what_it_had_in_hand(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True, set=["instance_count=2"])
    with Load(workspace) as load:
        for number in (1, 2):
            kill(instances_of(workspace)[0])
            until(lambda: status_of(workspace).restarts == number)  # noqa: B023 - it is called before the next turn
            until(lambda: sum(item.is_ready for item in status_of(workspace).instances) == 2)
            load.goes_on()
    assert set(load.answers) <= {"blue", "broken"}
    assert load.answers["broken"] <= 2 * 4
    assert status_of(workspace).restarts == 2


def test_instances_serve_without_a_supervisor_and_start_another(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    before, instances = supervisor_of(workspace), instances_of(workspace)
    with Load(workspace) as load:
        kill(before)
        load.goes_on()
        until(lambda: is_alive(supervisor_of(workspace)))
        load.goes_on()
    assert set(load.answers) == {"blue"}
    assert instances_of(workspace) == instances  # adopted, not replaced
    update_deployment(workspace, UpdateOnlineDeployment(name="blue", endpoint_name="live", set=["environment_variables.A=b"]))
    assert ask(workspace)[0] == "blue"
    assert [is_alive(item) for item in instances] == [False]


def test_a_supervisor_and_an_instance_killed_at_once_both_come_back(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True, set=["instance_count=2"])
    first, second = instances_of(workspace)
    kill(supervisor_of(workspace))
    kill(first)
    until(lambda: sum(item.is_ready for item in status_of(workspace).instances) == 2 and is_alive(supervisor_of(workspace)))
    assert second in instances_of(workspace)
    assert ask(workspace)[0] == "blue"


def test_a_model_that_hangs_is_ended_and_replaced(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(
        workspace,
        all_traffic=True,
        set=["liveness_probe.period=1", "liveness_probe.timeout=1", "liveness_probe.failure_threshold=2", "liveness_probe.initial_delay=0"],
    )
    (instance,) = instances_of(workspace)
    os.kill(instance.pid, signal.SIGSTOP)  # it lives and says nothing
    until(lambda: not is_alive(instance))
    until(lambda: status_of(workspace).state == "healthy")
    assert ask(workspace)[1] != instance.pid
    assert "did not answer for 2 seconds" in (folder_of(workspace) / "supervisor.log").read_text()


def test_a_call_that_never_returns_ends_its_instance_by_the_probe_while_others_are_answered(workspace: Workspace) -> None:
    script = SCRIPT.replace(
        '    if asked.get("die")', '    if asked.get("hang"):\n        __import__("threading").Event().wait()\n    if asked.get("die")'
    )
    probe = ["liveness_probe.period=1", "liveness_probe.timeout=1", "liveness_probe.failure_threshold=2"]
    deploy(workspace, script=script, all_traffic=True, set=[*probe, "request_settings.request_timeout_ms=500"])
    deploy(workspace, "green")
    (instance,) = instances_of(workspace)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="408"):
        ask(workspace, {"hang": True})
    while time.monotonic() - began < 1.8:  # the hanging one takes connections all the while
        assert ask(workspace, name="green")[0] == "green"
    assert is_alive(instance)
    until(lambda: not is_alive(instance), 10)
    until(lambda: sum(item.is_ready for item in status_of(workspace).instances) == 1)
    answer, pid = ask(workspace)
    assert (answer, pid != instance.pid) == ("blue", True)
    assert "one call of the model took longer than 2 seconds" in (folder_of(workspace) / "supervisor.log").read_text()


def test_one_that_always_dies_is_given_up_with_its_last_words_until_asked(workspace: Workspace) -> None:
    script = "import os\ndef init():\n    if os.path.exists('WORD'):\n        raise RuntimeError('no coffee')\n" + RUN
    Path("flag").mkdir()
    deploy(workspace, script=script.replace("'WORD'", repr(os.path.abspath("flag/bad"))), all_traffic=True)
    Path("flag/bad").touch()
    kill(instances_of(workspace)[0])
    until(lambda: status_of(workspace).state == "failed", 30)
    shown = show_deployment(workspace, ShowOnlineDeployment(name="blue", endpoint_name="live"))
    assert (shown.state, shown.error, shown.provisioning_state) == ("failed", "RuntimeError: no coffee", "Failed")
    with pytest.raises(Unavailable, match="no coffee"):
        ask(workspace)
    Path("flag/bad").unlink()
    from jupyter_modelreg.commands.online import StartOnlineEndpoint
    from jupyter_modelreg.online import start_endpoint

    assert start_endpoint(workspace, StartOnlineEndpoint(name="live")).state == "healthy"


RUN = "def run(raw_data):\n    return ['run', 1]\n"


@pytest.mark.parametrize(
    ("script", "error", "shown"),
    [
        ("import os\ndef init():\n    print('last words')\n    os._exit(0)\n", "its process ended without a word", "last words"),
        ("import os\ndef init():\n    os.kill(os.getpid(), 9)\n", "its process ended without a word", "loads words:1"),
        ("def init():\n    exit()\n", r"it called exit\(\)", 'score.py", line 2, in init'),
    ],
    ids=["os._exit", "killed", "exit"],
)
def test_a_new_one_that_does_not_start_is_told_with_its_last_words(workspace: Workspace, script: str, error: str, shown: str) -> None:
    with pytest.raises(Unavailable, match=error) as caught:
        deploy(workspace, script=script + RUN)
    assert shown in caught.value.detail


# --- updates ----------------------------------------------------------------------------------------------------------


def test_updates_lose_no_request(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True, word="one", set=["instance_count=2"])
    with Load(workspace) as load:
        deploy(workspace, word="two", all_traffic=True)
        load.goes_on()
        deploy(workspace, word="three", all_traffic=True)
        load.goes_on()
    assert set(load.answers) == {"one", "two", "three"}


def test_an_update_that_fails_leaves_the_old_one_as_it_was(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    before = instances_of(workspace)
    with Load(workspace) as load:
        with pytest.raises(Unavailable, match="no coffee"):
            deploy(workspace, script="def init():\n    raise RuntimeError('no coffee')\n" + RUN)
        load.goes_on()
    assert set(load.answers) == {"blue"}
    assert instances_of(workspace) == before
    assert len(list((folder_of(workspace) / "blue").glob("run-*"))) == 1


def test_two_updates_at_once_are_one_update_and_one_conflict(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    words = ["online-deployment", "update", "-n", "blue", "-e", "live", "--set", "environment_variables.A=b"]
    both = [
        subprocess.Popen([sys.executable, "-m", "jupyter_modelreg", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 4]), said  # one after the other where they did not meet
    if codes == [0, 4]:
        assert any('"blue" is being started already' in text for text in said)
    assert ask(workspace)[0] == "blue"


def test_more_and_fewer_instances_without_a_restart(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    (first,) = instances_of(workspace)
    command = UpdateOnlineDeployment(name="blue", endpoint_name="live", set=["instance_count=3"])
    with Load(workspace) as load:
        assert update_deployment(workspace, command).provisioning_state == "Succeeded"
        assert len(instances_of(workspace)) == 3
        assert first in instances_of(workspace)
        load.goes_on()
        update_deployment(workspace, command.replace(set=["instance_count=1"]))
        until(lambda: len(instances_of(workspace)) == 1)
        load.goes_on()
    assert set(load.answers) == {"blue"}


def test_an_endpoint_moves_to_another_port_without_a_restart_and_its_connections_stay(workspace: Workspace) -> None:
    deploy(workspace, "blue", all_traffic=True, set=["instance_count=2"])
    slow = "import time\ndef init():\n    time.sleep(1.5)\n" + RUN.replace("'run'", "WORD")
    deploy(workspace, "slow", script=slow, no_wait=True)  # it starts with the old port
    instances, supervisor = instances_of(workspace), supervisor_of(workspace)
    with bind_port(None) as free, Load(workspace, callers=1) as load:
        port, old = free.getsockname()[1], load.url
        free.close()
        deploy(workspace, "green", port=port)
        load.goes_on()  # over the connection that was there
    assert set(load.answers) == {"blue"}
    assert (instances_of(workspace), supervisor_of(workspace)) == (instances, supervisor)
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="live")).scoring_uri == f"http://127.0.0.1:{port}/score"
    assert show_deployment(workspace, ShowOnlineDeployment(name="blue", endpoint_name="live")).port == port
    assert ask(workspace)[1] in {item.pid for item in instances}
    host, _, number = old.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(number)), timeout=5)
    until(lambda: status_of(workspace, "slow").state == "healthy")
    share(workspace, "blue=0 green=0 slow=100")
    assert ask(workspace)[0] == "slow"
    with pytest.raises(Unavailable, match="is in use"), bind_port(None) as taken:
        deploy(workspace, "green", port=taken.getsockname()[1])
    kill(supervisor_of(workspace))  # the next one listens there too
    until(lambda: is_alive(supervisor_of(workspace)))
    assert ask(workspace)[0] == "slow"


# --- ends -------------------------------------------------------------------------------------------------------------


def test_deleting_while_it_starts_leaves_nothing(workspace: Workspace) -> None:
    script = "import time\ndef init():\n    time.sleep(600)\n" + RUN
    deploy(workspace, script=script, no_wait=True)
    until(lambda: len(instances_of(workspace)) == 1)
    delete_endpoint(workspace, DeleteOnlineEndpoint(name="live"))
    assert left_over(workspace.home) == []
    assert not folder_of(workspace).exists()


def test_deleting_right_after_the_supervisor_was_killed_leaves_nothing(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    kill(supervisor_of(workspace))
    delete_endpoint(workspace, DeleteOnlineEndpoint(name="live"))
    assert left_over(workspace.home) == []


def test_processes_whose_folder_is_gone_end_by_themselves(workspace: Workspace) -> None:
    import shutil

    deploy(workspace, all_traffic=True)
    shutil.rmtree(folder_of(workspace))
    until(lambda: left_over(workspace.home) == [])


def test_nobody_ready_is_said_by_the_supervisor_itself(workspace: Workspace) -> None:
    deploy(workspace)
    wanted = read_wanted(str(folder_of(workspace)))
    assert wanted
    key = get_keys(workspace, _Credentials(name="live")).primary_key  # type: ignore[union-attr]

    def status() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", wanted.port or 0, timeout=20)
        connection.request("POST", "/score", "{}", {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    assert status()[0] == 404  # no traffic
    delete_deployment(workspace, DeleteOnlineDeployment(name="blue", endpoint_name="live"))
    assert status() == (404, '{"message": "No deployment exists for this endpoint."}')


def test_what_another_version_wrote_is_read_or_said_to_be_unreadable_and_nothing_ends(workspace: Workspace) -> None:
    deploy(workspace, all_traffic=True)
    (instance,) = instances_of(workspace)
    path = folder_of(workspace) / "endpoint.json"
    text = path.read_text()

    def show() -> str | None:
        return show_endpoint(workspace, ShowOnlineEndpoint(name="live")).state

    path.write_text(json.dumps({**json.loads(text), "host": "127.0.0.1"}))
    assert show() == "healthy"
    log = folder_of(workspace) / "supervisor.log"
    for written, error in (
        ('{"endpoint": "live", "zones": 3}', 'Unknown key "zones"'),
        ("[1]", "must be a mapping"),
        ("{", "Expecting property"),
    ):
        path.write_text(written)
        with pytest.raises(Unavailable, match=error) as raised:
            show()
        assert (str(path) in raised.value.message, "\n" in raised.value.message) == (True, False)
        until(lambda error=error: error in log.read_text())  # type: ignore[misc]
    time.sleep(1.5)  # a look later
    path.write_text(text)
    assert (ask(workspace), show()) == (["blue", instance.pid], "healthy")
    assert (log.read_text().count("cannot be read"), "Traceback" in log.read_text()) == (3, False)
    create_endpoint(workspace, CreateOnlineEndpoint(name="other"))
    path.write_text("[1]")
    listed = {item.name: (item.state, "must be a mapping" in str(item.error)) for item in list_endpoints(workspace, ListOnlineEndpoints())}
    assert listed == {"live": ("failed", True), "other": ("empty", False)}
    delete_endpoint(workspace, DeleteOnlineEndpoint(name="live"))
    assert not is_alive(instance)


def test_a_supervisor_that_cannot_read_what_is_wanted_says_so_in_one_line(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text('{"endpoint": "live", "zones": 3}')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [sys.executable, "-m", "jupyter_modelreg.supervisor", str(tmp_path), str(listener.fileno())]
        ended = subprocess.run(words, pass_fds=[listener.fileno()], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout.count("\n"), ended.stderr) == (6, 1, "")
    assert 'Unknown key "zones"' in ended.stdout


# --- load and logs ----------------------------------------------------------------------------------------------------


def test_instances_come_and_go_with_the_load(workspace: Workspace) -> None:
    target = ["type=target_utilization", "min_instances=1", "max_instances=2", "target_utilization_percentage=50", "polling_interval=1"]
    deploy(
        workspace,
        all_traffic=True,
        script=SCRIPT.replace('asked.get("sleep", 0)', "0.05"),
        set=[*(f"scale_settings.{item}" for item in target), "request_settings.max_concurrent_requests_per_instance=100"],
    )
    assert len(instances_of(workspace)) == 1
    with Load(workspace) as load:
        until(lambda: sum(item.is_ready for item in status_of(workspace).instances) == 2)
        load.goes_on()
    until(lambda: len(instances_of(workspace)) == 1)
    assert set(load.answers) == {"blue"}


def test_a_log_that_grows_is_begun_anew_and_the_newest_old_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    rotate(str(path))  # there is none yet
    with path.open("a") as stream:  # as an instance holds it
        for number in range(5):
            stream.write(str(number) * MAX_LOG_BYTES)
            stream.flush()
            rotate(str(path))
        stream.write("after")
    assert path.read_text() == "after"
    kept = sorted(tmp_path.glob("log.txt.*"))
    assert [(item.name, item.read_text()[0], item.stat().st_mode & 0o777) for item in kept] == [
        ("log.txt.1", "4", 0o600),
        ("log.txt.2", "3", 0o600),
        ("log.txt.3", "2", 0o600),
    ]


PRINTS = """
import sys, threading, time
from jupyter_modelreg.worker import keep_printing
keep_printing()
def lines(stream):
    for number in range(9000):
        stream.write(f"{stream.buffer.name} {sys.argv[1]} {number} {'.' * 1000}\\n")
        if number % 100 == 0: time.sleep(0.01)
threads = [threading.Thread(target=lines, args=(stream,)) for stream in (sys.stdout, sys.stderr)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_no_line_is_lost_where_a_log_is_begun_anew_while_instances_print(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.touch()
    with path.open("ab") as first, path.open("ab") as second:
        writers = [
            subprocess.Popen([sys.executable, "-c", PRINTS, str(number)], stdout=log, stderr=log)
            for number, log in enumerate((first, second))
        ]
        while any(writer.poll() is None for writer in writers):
            rotate(str(path))
    assert [writer.returncode for writer in writers] == [0, 0]
    logs = [*sorted(tmp_path.glob("log.txt.*"), reverse=True), path]
    assert len(logs) > 1
    told: dict[str, list[int]] = {}
    for line in "".join(log.read_text() for log in logs).splitlines():
        stream, writer, number, _ = line.split()
        told.setdefault(f"{stream} {writer}", []).append(int(number))
    assert sorted(len(numbers) for numbers in told.values()) == [9000] * 4
    assert all(numbers == list(range(9000)) for numbers in told.values())


def test_a_log_whose_lock_somebody_keeps_is_begun_anew_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("." * MAX_LOG_BYTES)
    with path.open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_SH)
        rotate(str(path))
    assert (path.stat().st_size, (tmp_path / "log.txt.1").stat().st_size) == (0, MAX_LOG_BYTES)
