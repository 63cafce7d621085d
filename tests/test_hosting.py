"""The life of endpoints: started by one process, used and ended by others, with nothing lost and nothing left."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import MLClient, hosting
from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import (
    CreateOnlineDeployment,
    CreateOnlineEndpoint,
    DeleteOnlineDeployment,
    DeleteOnlineEndpoint,
    GetOnlineDeploymentLogs,
    GetOnlineEndpointCredentials,
    InvokeOnlineEndpoint,
    ShowOnlineDeployment,
    ShowOnlineEndpoint,
    StartOnlineEndpoint,
    UpdateOnlineDeployment,
    UpdateOnlineEndpoint,
)
from jupyter_modelreg.compute import TOKEN, ProcessIdentity, identify, is_alive
from jupyter_modelreg.entities import (
    CodeConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    OnlineDeployment,
    OnlineRequestSettings,
    ProbeSettings,
)
from jupyter_modelreg.entities.model import ColumnSpec, Model, Signature
from jupyter_modelreg.errors import Conflict, NotFound, Unavailable
from jupyter_modelreg.models import create_model
from jupyter_modelreg.online import (
    create_deployment,
    create_endpoint,
    delete_deployment,
    delete_endpoint,
    get_keys,
    get_logs,
    invoke_endpoint,
    put_deployment,
    show_deployment,
    show_endpoint,
    start_endpoint,
    update_deployment,
    update_endpoint,
)
from jupyter_modelreg.supervisor import instance_folders, read_supervisor
from jupyter_modelreg.worker import read_identity
from jupyter_modelreg.workspace import Workspace

MODELREG = [sys.executable, "-m", "jupyter_modelreg"]
SCRIPT = """
import json, os
print("loading")

def init():
    global scale
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "scale.txt")) as stream:
        scale = float(stream.read())

def run(raw_data):
    return [scale * number for number in json.loads(raw_data)["data"]]
"""
BODY = '{"data": [1]}'


@pytest.fixture
def workspace(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with two versions of a scaler, whose endpoints end with the test."""
    for scale in ("2", "3"):
        Path("scale.txt").write_text(scale)
        create_model(workspace, CreateModel(name="scaler", path="scale.txt"))
    Path("code").mkdir()
    Path("code/score.py").write_text(SCRIPT)
    yield workspace
    for endpoint in workspace.catalog.list_endpoints():
        delete_endpoint(workspace, DeleteOnlineEndpoint(name=str(endpoint.name)))


@pytest.fixture
def served(workspace: Workspace) -> Workspace:
    """The workspace with version 1 at ``scale/blue``, all traffic on it."""
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    deploy(workspace)
    return workspace


def deploy(workspace: Workspace, **about: Any) -> OnlineDeployment:
    command = {
        "name": "blue",
        "endpoint_name": "scale",
        "model": "azureml:scaler:1",
        "scoring_script": "code/score.py",
        "all_traffic": True,
    }
    return create_deployment(workspace, CreateOnlineDeployment(**{**command, **about}))


def ask(workspace: Workspace) -> Any:
    return invoke_endpoint(workspace, InvokeOnlineEndpoint(name="scale", data=BODY)).body


def process_of(workspace: Workspace) -> dict[str, Any]:
    process = workspace.catalog.get_process("scale", "blue")
    assert process
    return process


def instances_of(workspace: Workspace, run: Path | None = None) -> list[ProcessIdentity]:
    """Return the processes of a run's instances, by default those of the run that counts."""
    folders = instance_folders(str(run or process_of(workspace)["folder"]))
    return [identity for folder in folders if (identity := read_identity(folder))]


def token_of(workspace: Workspace) -> str:
    (instance,) = instances_of(workspace)
    return instance.token


def state_of(workspace: Workspace) -> str | None:
    return show_deployment(workspace, ShowOnlineDeployment(name="blue", endpoint_name="scale")).state


def runs_of(workspace: Workspace) -> list[Path]:
    return sorted(Path(workspace.home).glob("endpoints/scale/blue/run-*"))


def marked(token: str) -> list[int]:
    """Return the processes that carry a worker's token."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{TOKEN}={token}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def until(happened: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happened()


# --- a whole life, by each door ---------------------------------------------------------------------------------------


def test_a_life_in_python_with_azures_names(workspace: Workspace, home: Path) -> None:
    client = MLClient.from_config()
    endpoint = client.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="scale", auth_mode="key", tags={"a": "b"})
    ).result()
    assert (endpoint.provisioning_state, endpoint.scoring_uri) == ("Succeeded", None)
    blue = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="scale",
        model="azureml:scaler:1",
        code_configuration=CodeConfiguration(code="./code", scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
        request_settings=OnlineRequestSettings(request_timeout_ms=3000),
    )
    deployed = client.online_deployments.begin_create_or_update(blue).result()
    assert (deployed.provisioning_state, deployed.state) == ("Succeeded", "healthy")
    endpoint.traffic = {"blue": 100}
    endpoint = client.online_endpoints.begin_create_or_update(endpoint).result()
    Path("sample.json").write_text(BODY)
    assert client.online_endpoints.invoke("scale", request_file="sample.json") == "[2.0]"
    assert client.online_endpoints.invoke("scale", deployment_name="blue", request_file="sample.json") == "[2.0]"
    keys = client.online_endpoints.get_keys("scale")
    request = urllib.request.Request(str(endpoint.scoring_uri), BODY.encode(), {"Authorization": f"Bearer {keys.primary_key}"})
    assert json.load(urllib.request.urlopen(request)) == [2.0]
    assert "loading\n" in client.online_deployments.get_logs("blue", "scale", 10)
    assert "instance_type" in client.online_deployments.get_logs("blue", "scale")  # it says what has no effect
    assert [item.name for item in client.online_endpoints.list()] == ["scale"]
    assert client.online_deployments.get("blue", "scale").model == "azureml:scaler:1"
    client.online_endpoints.begin_delete("scale").wait()
    assert client.online_endpoints.list() == []


def modelreg(*words: str, is_ok: bool = True) -> str:
    done = subprocess.run([*MODELREG, *words], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) == is_ok, done.stdout + done.stderr
    return done.stdout if is_ok else done.stderr


def test_a_life_in_a_shell_with_curl(workspace: Workspace) -> None:
    Path("endpoint.yml").write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\nname: scale\nauth_mode: key\n"
    )
    Path("blue.yml").write_text(
        "name: blue\nendpoint_name: scale\nmodel: azureml:scaler@latest\ncode_configuration:\n  code: code\n  scoring_script: score.py\n"
        "instance_type: Standard_DS3_v2\ninstance_count: 1\n"
    )
    Path("sample.json").write_text(BODY)
    modelreg("online-endpoint", "create", "-f", "endpoint.yml")
    modelreg("online-deployment", "create", "-f", "blue.yml", "--all-traffic")
    assert json.loads(modelreg("online-endpoint", "invoke", "-n", "scale", "-r", "sample.json")) == [3.0]
    key = modelreg("online-endpoint", "get-credentials", "-n", "scale", "--query", "primaryKey", "-o", "tsv").strip()
    url = modelreg("online-endpoint", "show", "-n", "scale", "--query", "scoring_uri", "-o", "tsv").strip()

    def curl(*words: str) -> tuple[int, str]:
        done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", *words], capture_output=True, text=True, check=True, timeout=30)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    key_header, kind = f"Authorization: Bearer {key}", "Content-Type: application/json"
    assert curl(url, "-d", "@sample.json") == (
        401,
        '{"message": "The key is missing or wrong; send the header Authorization: Bearer KEY."}',
    )
    assert curl(url, "-d", "@sample.json", "-H", key_header, "-H", kind) == (200, "[3.0]")
    assert curl(url, "-d", "@sample.json", "-H", key_header, "-H", kind, "--http2") == (200, "[3.0]")
    assert curl(url, "-d", "@sample.json", "-H", key_header, "-H", "Transfer-Encoding: chunked") == (200, "[3.0]")
    assert curl(url.replace("/score", "/")) == (200, "Healthy")
    assert curl("-I", url.replace("/score", "/"))[0] == 200
    Path("large.json").write_text(json.dumps({"data": [1] * 400_000}))  # curl waits for 100 Continue above 1 MB
    status, body = curl(url, "-d", "@large.json", "-H", key_header, "-H", kind, "-H", "Expect: 100-continue")
    assert (status, len(json.loads(body))) == (200, 400_000)
    assert curl(url, "-d", "nonsense", "-H", key_header, "-H", kind)[0] == 424
    assert "Ready after" in modelreg("online-deployment", "get-logs", "-n", "blue", "-e", "scale", "-o", "table")
    assert "has 100 % of the traffic" in modelreg("online-deployment", "delete", "-n", "blue", "-e", "scale", "--yes", is_ok=False)
    modelreg("online-endpoint", "update", "-n", "scale", "--traffic", "blue=0")
    assert "positive weight" in modelreg("online-endpoint", "invoke", "-n", "scale", "-r", "sample.json", is_ok=False)
    modelreg("online-deployment", "delete", "-n", "blue", "-e", "scale", "--yes")
    assert "No deployment exists" in modelreg("online-endpoint", "invoke", "-n", "scale", "-r", "sample.json", is_ok=False)
    modelreg("online-endpoint", "delete", "-n", "scale", "--yes")
    assert json.loads(modelreg("online-endpoint", "list")) == []


def test_a_model_that_mlflow_saved_answers_both_routes(workspace: Workspace) -> None:
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame({"width": [1.0, 2.0, 3.0], "count": [1, 2, 4]})
    model = LinearRegression().fit(frame, [3.0, 6.0, 10.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's own, about what it calls in pandas
        signature = infer_signature(frame, model.predict(frame))
        mlflow.sklearn.save_model(model, "saved", signature=signature, input_example=frame.head(2), pip_requirements=["scikit-learn"])
    create_model(workspace, CreateModel(name="saved", path="saved", type="mlflow_model"))
    url = str(create_endpoint(workspace, CreateOnlineEndpoint(name="saved", model="azureml:saved:latest", trust=True)).scoring_uri)
    key = get_keys(workspace, GetOnlineEndpointCredentials(name="saved")).primary_key

    def post(path: str, body: object) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(url.replace("/score", path), json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    split = {"columns": ["width", "count"], "data": frame.values.tolist()}
    expected = pytest.approx(model.predict(frame).tolist())
    assert post("/score", {"input_data": split}) == (200, expected)
    status, answer = post("/invocations", {"dataframe_split": split})
    assert (status, answer["predictions"]) == (200, expected)
    assert post("/invocations", {"dataframe_records": frame.to_dict("records")})[1]["predictions"] == expected
    assert post("/invocations", {"inputs": frame.to_dict("list")})[1]["predictions"] == expected
    assert post("/score", {"input_data": {"columns": ["width"], "data": [[1.0]]}})[1]["message"].startswith(
        'The column "count" is missing.'
    )
    assert (
        post("/score", {"input_data": {"columns": ["width", "count"], "data": [[1.0, "x"]]}})[1]["message"]
        == 'Column "count", row 0: "x" is not a long.'
    )


# --- who starts and who ends ------------------------------------------------------------------------------------------


def test_an_endpoint_outlives_the_session_that_started_it(workspace: Workspace) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.run({[*MODELREG, 'model', 'deploy', 'scaler', '-e', 'scale', '--scoring-script', 'code/score.py']!r}, check=True)\n"
        "print('deployed', flush=True)\ntime.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert starter.stdout
    assert any("deployed" in line for line in starter.stdout)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait(10)
    starter.stdout.close()
    assert ask(workspace) == [3.0]


def test_deleting_leaves_no_process_that_carries_the_token(served: Workspace) -> None:
    Path("code/score.py").write_text(
        "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(600)'])\n"
        + SCRIPT
    )
    deploy(served)
    token = token_of(served)
    assert len(marked(token)) >= 2
    update_endpoint(served, UpdateOnlineEndpoint(name="scale", traffic="blue=0"))
    delete_deployment(served, DeleteOnlineDeployment(name="blue", endpoint_name="scale"))
    until(lambda: not marked(token))
    assert not (Path(served.home) / "endpoints" / "scale" / "blue").exists()
    assert show_endpoint(served, ShowOnlineEndpoint(name="scale")).state == "empty"


def test_replacing_leaves_one_run_and_no_process_of_the_old_one(served: Workspace) -> None:
    token = token_of(served)
    update_deployment(served, UpdateOnlineDeployment(name="blue", endpoint_name="scale", set=["model=azureml:scaler:2"]))
    assert ask(served) == [3.0]
    assert marked(token) == []
    assert [str(run) for run in runs_of(served)] == [process_of(served)["folder"]]


def test_no_kept_connection_and_no_new_one_loses_a_request_while_the_model_is_replaced(served: Workspace) -> None:
    url = str(show_endpoint(served, ShowOnlineEndpoint(name="scale")).scoring_uri)
    headers = {"Authorization": f"Bearer {get_keys(served, GetOnlineEndpointCredentials(name='scale')).primary_key}"}
    seen: list[bytes] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def keep_calling(is_kept: bool) -> None:
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
        try:
            while not stop.is_set():
                connection.request("POST", "/score", BODY, headers)
                answer = connection.getresponse()
                seen.append(answer.read())
                assert answer.status == 200
                if not is_kept:
                    connection.close()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    callers = [threading.Thread(target=keep_calling, args=(number < 2,)) for number in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(seen) > 20)
    for version in ("2", "1", "2"):
        update_deployment(served, UpdateOnlineDeployment(name="blue", endpoint_name="scale", set=[f"model=azureml:scaler:{version}"]))
    count = len(seen)
    until(lambda: len(seen) > count + 20)
    stop.set()
    for caller in callers:
        caller.join(20)
    assert failures == []
    assert set(seen) == {b"[2.0]", b"[3.0]"}
    assert seen[-1] == b"[3.0]"
    assert str(show_endpoint(served, ShowOnlineEndpoint(name="scale")).scoring_uri) == url


def test_code_that_is_not_named_anew_stays_what_it_was(served: Workspace) -> None:
    Path("code/score.py").write_text("edited meanwhile")
    update_deployment(served, UpdateOnlineDeployment(name="blue", endpoint_name="scale", set=["model=azureml:scaler:2"]))
    assert ask(served) == [3.0]
    shutil.rmtree("code")
    update_deployment(served, UpdateOnlineDeployment(name="blue", endpoint_name="scale", set=["environment_variables.LEVEL=debug"]))
    assert ask(served) == [3.0]
    assert show_deployment(served, ShowOnlineDeployment(name="blue", endpoint_name="scale")).environment_variables == {"LEVEL": "debug"}


# --- what goes wrong --------------------------------------------------------------------------------------------------

STUCK = "import time\ndef init():\n    time.sleep(600)\ndef run(raw_data):\n    return 1\n"
BROKEN = "def init():\n    raise RuntimeError('no coffee')\ndef run(raw_data):\n    return 1\n"


def start_in_background(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*MODELREG, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def deploy_in_background() -> subprocess.Popen[str]:
    words = "online-deployment create -n blue -e scale -m azureml:scaler:1 --scoring-script code/score.py --all-traffic"
    return start_in_background(*words.split())


def test_a_first_deployment_that_fails_stays_to_be_looked_at(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text(BROKEN)
    with pytest.raises(Unavailable, match="no coffee"):
        deploy(workspace)
    shown = show_deployment(workspace, ShowOnlineDeployment(name="blue", endpoint_name="scale"))
    assert (shown.state, shown.provisioning_state, shown.error) == ("failed", "Failed", "RuntimeError: no coffee")
    assert 'score.py", line 2, in init' in get_logs(workspace, GetOnlineDeploymentLogs(name="blue", endpoint_name="scale")).text
    with pytest.raises(Unavailable, match='"scale" has failed: RuntimeError: no coffee'):
        ask(workspace)
    Path("code/score.py").write_text(BROKEN.replace("coffee", "tea"))
    with pytest.raises(Unavailable, match="no tea"):
        deploy(workspace)
    assert "no tea" in get_logs(workspace, GetOnlineDeploymentLogs(name="blue", endpoint_name="scale")).text
    Path("code/score.py").write_text(SCRIPT)
    assert deploy(workspace).state == "healthy"
    assert ask(workspace) == [2.0]
    assert len(runs_of(workspace)) == 1


def test_two_who_start_one_deployment_do_not_get_in_each_others_way(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text(STUCK)
    first = deploy_in_background()
    until(lambda: state_of_or_none(workspace) == "starting")
    with pytest.raises(Conflict, match='"blue" is being started already'):
        deploy(workspace)
    assert state_of(workspace) == "starting"
    delete_deployment(workspace, DeleteOnlineDeployment(name="blue", endpoint_name="scale"))
    said = first.communicate(timeout=20)[1]
    assert (first.returncode, "was deleted while it was starting" in said) == (4, True)
    assert runs_of(workspace) == []


def state_of_or_none(workspace: Workspace) -> str | None:
    try:
        return state_of(workspace)
    except NotFound:
        return None


@pytest.mark.parametrize(
    "words",
    [
        "online-deployment create -n blue -e scale -m scaler --scoring-script code/score.py",
        "model deploy scaler -e scale --scoring-script code/score.py",
    ],
)
def test_ctrl_c_while_it_starts_leaves_nothing(workspace: Workspace, words: str) -> None:
    if "create" in words:
        create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text(STUCK)
    starter = start_in_background(*words.split())
    until(lambda: any(Path(workspace.home).glob("endpoints/scale/*/run-*/instance-1/process.json")))
    run = next(Path(workspace.home).glob("endpoints/scale/*/run-*"))
    until(lambda: any(is_alive(identity) for identity in instances_of(workspace, run)))
    (identity,) = instances_of(workspace, run)
    until(lambda: bool(workspace.catalog.list_deployments("scale")))
    starter.send_signal(signal.SIGINT)
    starter.communicate(timeout=20)
    assert starter.returncode == 130
    assert not is_alive(identity)
    assert workspace.catalog.list_deployments("scale") == []
    assert ("create" in words) == bool(workspace.catalog.list_endpoints())
    assert not run.exists()


def test_a_starter_that_is_killed_leaves_a_worker_that_can_be_seen_and_ended(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text(STUCK)
    starter = deploy_in_background()
    until(lambda: state_of_or_none(workspace) == "starting")
    starter.kill()
    starter.communicate(timeout=20)
    token = token_of(workspace)
    assert marked(token)
    Path("code/score.py").write_text(SCRIPT)
    assert deploy(workspace).state == "healthy"  # takes its place
    until(lambda: not marked(token))


def test_a_killed_replacement_is_found_by_the_next_one(served: Workspace) -> None:
    Path("code/score.py").write_text(STUCK)
    starter = deploy_in_background()
    until(lambda: sum(is_alive(item) for run in runs_of(served) for item in instances_of(served, run)) == 2)
    starter.kill()
    starter.communicate(timeout=20)
    identities = [item for run in runs_of(served) for item in instances_of(served, run)]
    assert len(identities) == 2
    assert ask(served) == [2.0]
    Path("code/score.py").write_text(SCRIPT)
    deploy(served, model="azureml:scaler:2")
    assert ask(served) == [3.0]
    assert [identity for identity in identities if is_alive(identity)] == []
    assert len(runs_of(served)) == 1


def test_a_worker_that_dies_while_nobody_waits_shows_as_failed(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text("import os\ndef init():\n    os._exit(1)\ndef run(raw_data): pass\n")
    deploy(workspace, no_wait=True)
    until(lambda: state_of(workspace) == "failed")
    Path("code/score.py").write_text(BROKEN)
    deploy(workspace, no_wait=True)
    until(lambda: show_endpoint(workspace, ShowOnlineEndpoint(name="scale")).error == "RuntimeError: no coffee")


def test_nobody_waits_and_it_becomes_ready(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    assert deploy(workspace, no_wait=True).provisioning_state in ("Creating", "Succeeded")
    assert ask(workspace) == [2.0]  # a call waits for the model
    assert state_of(workspace) == "healthy"


def test_the_readiness_probe_says_how_long_to_wait(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    Path("code/score.py").write_text(STUCK)
    hasty = OnlineDeployment(
        name="blue",
        endpoint_name="scale",
        model="azureml:scaler:1",
        code_configuration=CodeConfiguration(code="code", scoring_script="score.py"),
        readiness_probe=ProbeSettings(initial_delay=0, period=1, failure_threshold=1),
    )
    with pytest.raises(Unavailable, match="not ready after 1 second"):
        put_deployment(workspace, hasty)
    assert state_of(workspace) == "failed"
    assert instances_of(workspace) == []


def samples(workspace: Workspace) -> dict[str, float]:
    """Return what ``/metrics`` says, whichever instance answers."""
    endpoint = show_endpoint(workspace, ShowOnlineEndpoint(name="scale"))
    keys = get_keys(workspace, GetOnlineEndpointCredentials(name="scale"))
    url = str(endpoint.scoring_uri).replace("/score", "/metrics")
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {keys.primary_key}"})) as answer:
        lines = answer.read().decode().splitlines()
    abouts = [line for line in lines if line.startswith("#")]
    assert len(abouts) == len(set(abouts))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_metrics_are_those_of_all_instances_whoever_answers(served: Workspace) -> None:
    update_deployment(served, UpdateOnlineDeployment(name="blue", endpoint_name="scale", set=["instance_count=2"]))
    deploy(served, name="green", model="azureml:scaler:2", all_traffic=False)
    update_endpoint(served, UpdateOnlineEndpoint(name="scale", mirror_traffic="green=50"))
    until(lambda: len(instances_of(served)) == 2)
    until(lambda: sum(name.startswith("modelreg_instance_up") for name in samples(served)) == 3)
    for _ in range(40):
        ask(served)
    for _ in range(5):
        found = samples(served)
        answers = {name: value for name, value in found.items() if name.startswith("modelreg_answers_total")}
        assert sum(value for name, value in answers.items() if 'deployment="blue"' in name) == 40
        assert 0 < sum(value for name, value in answers.items() if 'deployment="green"' in name) < 40
    assert sorted(name for name in found if name.startswith("process_resident_memory_bytes")) == [
        f'process_resident_memory_bytes{{worker="{number}",deployment="{name}"}}'
        for number, name in (("1", "blue"), ("1", "green"), ("2", "blue"))
    ]
    assert all(5e6 < value < 3e8 for name, value in found.items() if name.startswith("process_resident_memory_bytes"))
    green = served.catalog.get_process("scale", "green")
    assert green
    (hung,) = instances_of(served, Path(green["folder"]))
    os.kill(hung.pid, signal.SIGSTOP)
    up = {name: value for name, value in samples(served).items() if name.startswith("modelreg_instance_up")}
    assert sorted(up.items()) == [
        ('modelreg_instance_up{deployment="blue",worker="1"}', 1.0),
        ('modelreg_instance_up{deployment="blue",worker="2"}', 1.0),
        ('modelreg_instance_up{deployment="green",worker="1"}', 0.0),
    ]


@pytest.mark.parametrize(
    ("flavor", "names", "has_tables"),
    [("sklearn", ["a", "b"], True), ("sklearn", [None], False), ("sklearn", None, True), ("mlflow", [None], True), (None, [None], True)],
)
def test_only_scikit_learn_fitted_on_columns_without_names_needs_no_tables(flavor: str | None, names: Any, has_tables: bool) -> None:
    signature = None if names is None else Signature(inputs=[ColumnSpec(name=name, type="double") for name in names])
    assert hosting._has_tables(Model(name="m", flavor=flavor, signature=signature)) == has_tables


def end_everything(workspace: Workspace) -> None:
    """Kill an endpoint's processes, as a machine that goes down does."""
    supervisor = read_supervisor(str(Path(workspace.home) / "endpoints" / "scale"))
    assert supervisor
    for identity in (supervisor, *instances_of(workspace)):
        os.kill(identity.pid, signal.SIGKILL)
        until(lambda identity=identity: not is_alive(identity))  # type: ignore[misc]


def test_reused_process_numbers_are_taken_for_nobody(served: Workspace) -> None:
    (instance,) = instances_of(served)
    end_everything(served)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder = Path(served.home) / "endpoints" / "scale"
    for place in (folder / "supervisor.json", Path(process_of(served)["folder"]) / "instance-1" / "process.json"):
        place.write_text(json.dumps({**json.loads(place.read_text()), "pid": bystander.pid}))
    assert state_of(served) == "stopped"
    start_endpoint(served, StartOnlineEndpoint(name="scale"))
    assert ask(served) == [2.0]
    delete_endpoint(served, DeleteOnlineEndpoint(name="scale"))
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait(10)
    assert marked(instance.token) == []


def test_a_machine_that_was_started_anew_has_no_worker(served: Workspace) -> None:
    end_everything(served)
    me = identify(os.getpid())  # a process that lives, of another boot
    folder = Path(served.home) / "endpoints" / "scale"
    (folder / "supervisor.json").write_text(json.dumps({**me.to_dict(), "boot_id": "another"}))
    assert state_of(served) == "stopped"


def test_a_stopped_endpoint_says_so_and_comes_back_on_its_port(served: Workspace) -> None:
    before = show_endpoint(served, ShowOnlineEndpoint(name="scale"))
    end_everything(served)
    shown = show_endpoint(served, ShowOnlineEndpoint(name="scale"))
    assert (shown.state, shown.error) == ("stopped", "Nothing of it runs any more; bring it back: modelreg online-endpoint start -n scale")
    started = start_endpoint(served, StartOnlineEndpoint(name="scale"))
    assert (started.state, started.scoring_uri) == ("healthy", before.scoring_uri)
    assert ask(served) == [2.0]


def test_a_call_brings_a_stopped_endpoint_back(served: Workspace) -> None:
    end_everything(served)
    assert ask(served) == [2.0]


def test_a_port_that_was_taken_meanwhile_is_told_with_the_way_out(served: Workspace) -> None:
    from jupyter_modelreg.serving import bind_port

    port = process_of(served)["port"]
    end_everything(served)
    said = f"Port {port}, which this endpoint had, is in use now; deploy again with --port to move it to another"
    with bind_port(port) as squatter:
        with pytest.raises(Unavailable, match=said):
            ask(served)
        squatter.setblocking(False)
        with pytest.raises(BlockingIOError):  # the key was never sent to whoever sits there now
            squatter.accept()
        with pytest.raises(Unavailable, match=said):
            deploy(served)
        assert deploy(served, port=free_port()).state == "healthy"
    assert process_of(served)["port"] != port


def free_port() -> int:
    from jupyter_modelreg.serving import bind_port

    with bind_port(None) as listener:
        number: int = listener.getsockname()[1]
        return number


def test_a_deployment_moves_to_another_port_when_told(served: Workspace) -> None:
    before, port = process_of(served)["port"], free_port()
    deploy(served, port=port)
    assert (before != port, show_endpoint(served, ShowOnlineEndpoint(name="scale")).scoring_uri) == (True, f"http://127.0.0.1:{port}/score")
    assert ask(served) == [2.0]


def test_keys_are_for_their_owner_and_never_in_logs_or_process_lists(served: Workspace) -> None:
    ask(served)
    keys = get_keys(served, GetOnlineEndpointCredentials(name="scale"))
    folder = Path(served.home) / "endpoints" / "scale"
    assert (folder.stat().st_mode & 0o777, (folder / "keys.json").stat().st_mode & 0o777) == (0o700, 0o600)
    (instance,) = instances_of(served)
    supervisor = read_supervisor(str(folder))
    assert supervisor
    places = [Path(f"/proc/{pid}/{name}") for pid in (instance.pid, supervisor.pid) for name in ("cmdline", "environ")]
    places += [item for item in folder.rglob("*") if item.is_file() and item.name != "keys.json"]
    for place in places:
        assert keys.primary_key.encode() not in place.read_bytes()
        assert keys.secondary_key.encode() not in place.read_bytes()
    assert all(item.stat().st_mode & 0o077 == 0 for item in folder.glob("blue/run-*"))


def test_both_keys_are_made_anew_one_at_a_time(served: Workspace) -> None:
    from jupyter_modelreg.commands.online import RegenerateOnlineEndpointKeys
    from jupyter_modelreg.online import regenerate_keys
    from jupyter_modelreg.serving.client import call

    url = str(show_endpoint(served, ShowOnlineEndpoint(name="scale")).scoring_uri)
    first = get_keys(served, GetOnlineEndpointCredentials(name="scale"))
    second = regenerate_keys(served, RegenerateOnlineEndpointKeys(name="scale", key_type="secondary"))
    third = regenerate_keys(served, RegenerateOnlineEndpointKeys(name="scale", key_type="primary"))
    assert second.primary_key == first.primary_key
    assert third.secondary_key == second.secondary_key
    assert len({first.primary_key, first.secondary_key, second.secondary_key, third.primary_key}) == 4
    for key, is_good in ((first.primary_key, False), (first.secondary_key, False), (third.primary_key, True), (third.secondary_key, True)):
        if is_good:
            assert call(url, BODY.encode(), key, {}).body == [2.0]
        else:
            with pytest.raises(Exception, match="401"):
                call(url, BODY.encode(), key, {})
    hosting.write_keys(served, "scale", {"primary": first.primary_key, "secondary": first.secondary_key})
    assert call(url, BODY.encode(), first.primary_key, {}).body == [2.0]
