"""Endpoints that are hard to knock over: by strangers, by their own scripts, by other users, by a full disk."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.online import DeleteOnlineDeployment, ShowOnlineDeployment, ShowOnlineEndpoint
from jupyter_modelreg.commands.online import GetOnlineEndpointCredentials as _Credentials
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.online import delete_deployment, get_keys, show_deployment, show_endpoint
from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.serving.handover import short
from jupyter_modelreg.supervisor import MAX_LOG_BYTES, instance_folders, read_wanted
from jupyter_modelreg.workspace import Workspace

from .serving.live import Answer, read_all
from .storage.test_disk import MODELREG, needs_mounts
from .test_supervisor import (  # noqa: F401 - a fixture is found by its name
    ask,
    deploy,
    folder_of,
    instances_of,
    status_of,
    supervisor_of,
    until,
    workspace,
)

SCRIPT = """
import json, logging.config, os, resource, sys, time
def init(): logging.config.dictConfig({"version": 1})  # which turns off the loggers there are
def run(raw_data):
    return globals()[json.loads(raw_data).get("do", "fine")]()
def fine(): return [os.getpid()]
def exits(): sys.exit("enough")
def interrupts(): raise KeyboardInterrupt
def allocates(): return len(bytearray(1 << 46))
def meets_its_limit():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as stream:
        held = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20), before[1]))
    try:
        return len(bytearray(1 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
def recurses(): return recurses()
def returns_itself():
    found = []
    found.append(found)
    return found
def returns_a_huge_number(): return 10 ** 5000
def returns_half_a_letter(): return "\\ud800"
def returns_a_class(): return dict
def raises_what_cannot_be_shown():
    class Broken(Exception):
        def __str__(self): raise RuntimeError("no")
    raise Broken
def yields_and_fails():
    yield "a"
    raise RuntimeError("no")
def closes_its_output(): sys.stdout.close(); sys.stderr.close(); print("on"); return "closed"
def takes_the_log_apart():
    import logging
    class Broken(logging.Handler):
        def emit(self, record): raise RuntimeError("no log")
    logging.getLogger().handlers[:] = [Broken()]
    return "apart"
def prints(): print(("x" * 999 + "\\n") * 60_000); return "printed"
def says_its_headers(): return "canary"
def is_killed(): os.kill(os.getpid(), 9)
def ends(): os._exit(3)
"""


class Caller:
    """Sends bytes to an endpoint's port."""

    def __init__(self, workspace: Workspace) -> None:  # noqa: F811
        self.key = str(get_keys(workspace, _Credentials(name="live")).primary_key)  # type: ignore[union-attr]
        wanted = read_wanted(str(folder_of(workspace)))
        assert wanted
        assert wanted.port
        self.port = wanted.port

    def exchange(self, sent: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(sent)
            return read_all(client)

    def ask(self, method: str = "POST", path: str = "/score", body: bytes = b"{}", **headers: str) -> Answer:
        """Send one request on a connection of its own; a header whose value is empty is left out."""
        values = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {self.key}", "Connection": "close"}
        values |= {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in values.items() if value)]
        return Answer(self.exchange("\r\n".join([*lines, "", ""]).encode() + body))

    def do(self, what: str) -> Answer:
        return self.ask(body=json.dumps({"do": what}).encode())


@pytest.fixture
def caller(workspace: Workspace) -> Caller:  # noqa: F811
    """A caller of an endpoint whose script does what it is told."""
    deploy(workspace, script=SCRIPT, all_traffic=True)
    return Caller(workspace)


def stop_serving(workspace: Workspace) -> None:  # noqa: F811
    """Leave the endpoint with nobody but its supervisor."""
    from .test_supervisor import share

    share(workspace, "blue=0")
    delete_deployment(workspace, DeleteOnlineDeployment(name="blue", endpoint_name="live"))


# --- strangers --------------------------------------------------------------------------------------------------------

STRANGE: dict[str, tuple[dict[str, Any], int]] = {
    "no key": ({"Authorization": ""}, 401),
    "wrong key": ({"Authorization": "Bearer nothing"}, 401),
    "key in the address": ({"Authorization": "", "path": "/score?token=KEY&code=KEY"}, 401),
    "other name": ({"Host": "evil.example"}, 421),
    "name that leads here": ({"Host": "localhost.evil.example:80"}, 421),
    "no name": ({"Host": ""}, 400),
    "other page": ({"Origin": "https://evil.example"}, 403),
    "sandboxed page": ({"Origin": "null"}, 403),
    "preflight": (
        {"Authorization": "", "Origin": "https://evil.example", "method": "OPTIONS", "Access_Control_Request_Method": "POST"},
        403,
    ),
    "long id": ({"x_request_id": "1" * 200}, 431),
    "200 MB": ({"Content_Length": "200000000"}, 413),
    "endless head": ({"x_pad": "1" * 40_000}, 431),
    "two lengths": ({"Content_Length": "2\r\nContent-Length: 3"}, 400),
    "a tunnel": ({"method": "CONNECT", "path": "evil.example:443"}, 400),
}


def test_strangers_learn_and_get_nothing_whether_somebody_is_ready_or_not(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    def check() -> None:
        for name, (about, status) in STRANGE.items():
            values = {key: value.replace("KEY", caller.key) for key, value in about.items()}
            answer = caller.ask(**values)
            assert answer.status == status, name
            assert not [header for header in answer.headers if header.startswith("access-control")], name
            assert answer.headers["x-content-type-options"] == "nosniff", name
            assert answer.headers["content-type"] == "application/json", name

    check()
    assert caller.do("fine").status == 200
    stop_serving(workspace)
    check()
    assert caller.ask().status == 404
    for path in ("/", "/health", "/ping", "/v2/health/live", "/v2/health/ready", "/docs"):
        answer = caller.ask("GET", path, b"", Authorization="")
        assert (answer.status, answer.headers["connection"]) == (503, "close")
    # Who is kept would go on asking who has nothing to say, when somebody is ready again.
    assert caller.ask("GET", "/metrics", b"", Authorization="", Connection="").headers["connection"] == "close"
    assert [caller.ask(Authorization=f"Bearer {number}").status for number in range(25)][-1] == 429
    assert caller.ask().status == 404  # a right key is taken all the same
    with socket.create_connection(("127.0.0.1", caller.port), timeout=30) as silent:
        silent.send(b"POST /score HTTP/1.1\r\n")
        assert caller.ask().status == 404


def test_more_silent_connections_than_a_process_may_have_keep_nobody_out(workspace: Workspace) -> None:  # noqa: F811
    deploy(workspace, script=SCRIPT, all_traffic=True)
    (first,) = instances_of(workspace)
    resource.prlimit(supervisor_of(workspace).pid, resource.RLIMIT_NOFILE, (128, 128))
    os.kill(first.pid, signal.SIGKILL)  # the next one has the limit of the supervisor that starts it
    until(lambda: bool(instances_of(workspace)) and instances_of(workspace) != [first])
    caller = Caller(workspace)
    with ExitStack() as stack:
        for number in range(300):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", caller.port), timeout=30))
            silent.send(b"POST /score HTTP/1.1\r\n"[: number % 20])
        for _ in range(20):
            assert caller.do("fine").status == 200
        assert show_endpoint(workspace, ShowOnlineEndpoint(name="live")).state == "healthy"


def test_only_this_machine_can_connect(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", caller.port), timeout=5)
    bound = [line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [place for place, state in bound if state == "0A" and place.endswith(f":{caller.port:04X}")] == [f"0100007F:{caller.port:04X}"]
    assert f":{caller.port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_who_took_the_port_of_a_dead_endpoint_is_never_sent_the_key(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    for identity in (supervisor_of(workspace), *instances_of(workspace)):
        os.kill(identity.pid, signal.SIGKILL)
    until(lambda: instances_of(workspace) == [])
    with bind_port(caller.port) as stranger:
        stranger.setblocking(False)
        with pytest.raises(Unavailable, match=f"Port {caller.port}, which this endpoint had, is in use now"):
            ask(workspace)
        with pytest.raises(BlockingIOError):  # nobody has connected
            stranger.accept()


def test_no_secret_stands_in_a_file_or_a_list_of_processes(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    canary = "canary-4711"
    caller.ask(path=f"/score?token={canary}")
    caller.ask(Authorization=f"Bearer {canary}")
    caller.ask(cookie=canary, x_api_key=canary, body=b'{"do": "raises_what_cannot_be_shown"}')
    caller.ask(Host=f"{canary}.example")
    caller.exchange(f"GET /{canary} HTTP/9.9\r\nAuthorization: {canary}\r\n\r\n".encode())
    caller.exchange(f"{canary}\r\n\r\n".encode())
    keys = get_keys(workspace, _Credentials(name="live"))
    secrets = [canary, str(keys.primary_key), str(keys.secondary_key)]  # type: ignore[union-attr]
    folder = folder_of(workspace)
    assert [str(item) for item in folder.rglob("*") if item.stat().st_mode & 0o077 and not item.is_relative_to(folder / "blue")] == []
    processes = [supervisor_of(workspace).pid, *(item.pid for item in instances_of(workspace))]
    places = [Path(f"/proc/{pid}/{name}") for pid in processes for name in ("cmdline", "environ")]
    places += [item for item in Path(workspace.home).rglob("*") if item.is_file() and item.name != "keys.json"]
    found = {str(place): secret for place in places for secret in secrets if secret.encode() in place.read_bytes()}
    stop_serving(workspace)
    caller.ask(path=f"/score?token={canary}", Authorization=f"Bearer {canary}")
    told = (folder / "supervisor.log").read_text()
    assert (found, [secret for secret in secrets if secret in told]) == ({}, [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_other_users_reach_neither_sockets_nor_files(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    home = Path(workspace.home)
    for place in (home, *home.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o055)  # as on a machine whose folders all may enter
    folder = folder_of(workspace)
    sockets = [folder / "control.sock", *(Path(item) / name for item in _instances(workspace) for name in ("control.sock", "infer.sock"))]
    files = [folder / name for name in ("keys.json", "endpoint.json", "routes.json", "supervisor.log", "lock")]
    assert all(item.exists() for item in (*sockets, *files))
    seen = 'ls "$1" >/dev/null && shift && for path; do if [ -e "$path" ]; then echo "reached $path"; fi; done'
    words = ["sh", "-c", seen, "sh", str(home), *map(str, (*sockets, *files))]
    done = subprocess.run(words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _instances(workspace: Workspace) -> list[str]:  # noqa: F811
    process = workspace.catalog.get_process("live", "blue")
    assert process
    return instance_folders(process["folder"])


def test_nonsense_at_the_doors_between_processes_costs_only_its_own_connection(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    folder, (instance,) = folder_of(workspace), map(Path, _instances(workspace))
    before = (supervisor_of(workspace), instances_of(workspace))
    held = []
    for path in (folder / "control.sock", instance / "control.sock", instance / "infer.sock"):
        for sent in (
            b"",
            b"{",
            b"\n",
            b"nonsense\n",
            b"[]\n",
            b"{}\n",
            b'{"ask": 1}\n',
            b'{"ask": "nothing"}\n',
            b"\xff" * 200_000,
            b"{" * 60_000 + b"\n",
        ):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(30)
            held.append(client)
            with short(str(path.parent), path.name) as address:
                client.connect(address)
            with suppress(OSError):  # it has been sent away before it said all
                client.sendall(sent)
    assert caller.do("fine").json() == [before[1][0].pid]
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="live")).state == "healthy"
    time.sleep(1.2)  # a look or two
    assert (supervisor_of(workspace), instances_of(workspace)) == before
    assert "Traceback" not in (folder / "supervisor.log").read_text() + (instance.parent / "log.txt").read_text()
    for client in held:
        client.close()


# --- scripts ----------------------------------------------------------------------------------------------------------

FAILS = (
    *("exits", "interrupts", "allocates", "meets_its_limit", "recurses", "raises_what_cannot_be_shown"),
    *("returns_itself", "returns_a_huge_number", "returns_a_class", "nothing_of_that_name"),
)


def test_what_a_script_does_costs_only_its_own_request(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    (pid,) = caller.do("fine").json()
    for what in FAILS:
        answer = caller.do(what)
        assert (answer.status, list(answer.json())) == (424, ["message"]), what
        assert "Traceback" not in answer.body.decode(), what
        assert caller.do("fine").json() == [pid], what
    (log,) = folder_of(workspace).glob("blue/run-*/log.txt")
    for error in ("SystemExit: enough", "KeyboardInterrupt", "MemoryError", "RecursionError", "in exits"):
        assert error in log.read_text()
    assert caller.do("returns_half_a_letter").body == b'"\\ud800"'
    assert b"0\r\n\r\n" not in caller.do("yields_and_fails").body  # the last chunk never comes
    assert caller.do("closes_its_output").json() == "closed"
    assert caller.do("takes_the_log_apart").json() == "apart"
    for what in ("exits", "yields_and_fails", "exits"):
        caller.do(what)
    assert caller.do("exits").status == 424
    assert caller.do("fine").json() == [pid]
    for number, what in enumerate(("is_killed", "ends"), 1):
        with pytest.raises((OSError, IndexError)):
            caller.do(what)
        until(lambda: status_of(workspace).restarts == number)  # noqa: B023 - it is called before the next turn
        assert caller.do("fine").status == 200
    assert caller.do("fine").json() != [pid]


def test_a_script_that_prints_without_end_fills_no_disk(workspace: Workspace, caller: Caller) -> None:  # noqa: F811
    (run,) = folder_of(workspace).glob("blue/run-*")
    for _ in range(2):
        assert caller.do("prints").json() == "printed"
    until(lambda: sum(item.stat().st_size for item in run.glob("log.txt*")) < 3 * MAX_LOG_BYTES)
    assert caller.do("fine").status == 200


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL = r"""
set -eu
mount -t tmpfs -o size=24m none disk
export MODELREG_HOME=$PWD/disk/reg MODELREG_OUTPUT=none MODELREG_ENVIRONMENTS=kernel
reg() { "$MODELREG" "$@" 2>&1; }
trap 'rm -f disk/fill; "$MODELREG" online-endpoint delete -n live --yes >/dev/null 2>&1 || true' EXIT
echo 1 > model.txt
reg model create -n words --path model.txt
reg online-endpoint create -n live
reg online-deployment create -n blue -e live --model azureml:words:1 --scoring-script code/score.py --all-traffic
key=$(reg online-endpoint get-credentials -n live -o json | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["primaryKey"])')
port=$("$PYTHON" -c 'import json; print(json.load(open("disk/reg/endpoints/live/endpoint.json"))["port"])')
score() { curl -s -m 20 -w ' %{http_code}\n' -H "Authorization: Bearer $key" -d '{"do": "'$1'"}' http://127.0.0.1:$port/score; }
dd if=/dev/zero of=disk/fill bs=1M 2>/dev/null || true
dd if=/dev/zero of=disk/fill bs=1 count=100000 oflag=append conv=notrunc 2>/dev/null || true
echo "full: $(df --output=avail disk | tail -1 | tr -d ' ')"
for _ in $(seq 30); do score prints; done | sort | uniq -c
score exits
reg online-endpoint invoke -n live --request-file body.json -o json
sleep 2
pgrep -cf "supervisor $MODELREG_HOME"
rm disk/fill
kill -9 $(cat disk/reg/endpoints/live/blue/run-*/instance-1/process.json | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
sleep 1
score fine
"""


@needs_mounts
@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "command -v curl pgrep"], capture_output=True).returncode != 0, reason="curl and pgrep are needed"
)
def test_a_full_disk_costs_lines_of_the_log_and_no_request(tmp_path: Path) -> None:
    for name in ("disk", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "score.py").write_text(SCRIPT.replace("* 60_000", "* 100").replace("[os.getpid()]", '"fine"'))
    (tmp_path / "body.json").write_text('{"do": "prints"}')
    environment = {**os.environ, "MODELREG": MODELREG, "PYTHON": sys.executable}
    words = ["unshare", "--map-root-user", "--mount", "bash", "-c", FULL]
    done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
    told = [re.sub(r"\s+", " ", line).strip() for line in done.stdout.splitlines()]
    told = told[told.index("full: 0") :]
    assert told[1] == '30 "printed" 200'
    assert told[2].endswith(" 424")
    assert told[3:] == ['"printed"', "1", '"fine" 200'], done.stdout


# --- a deployment that cannot be --------------------------------------------------------------------------------------


def test_an_init_that_takes_too_long_is_told_with_what_it_said(workspace: Workspace) -> None:  # noqa: F811
    probe = ["readiness_probe.initial_delay=0", "readiness_probe.period=1", "readiness_probe.failure_threshold=1"]
    with pytest.raises(Unavailable, match="not ready after 1 second") as caught:
        deploy(
            workspace, script="import time\ndef init():\n    print('patience')\n    time.sleep(60)\ndef run(raw_data): pass\n", set=probe
        )
    assert "patience" in str(caught.value.detail)
    assert show_deployment(workspace, ShowOnlineDeployment(name="blue", endpoint_name="live")).state == "failed"
