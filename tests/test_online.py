"""Operations on endpoints: real worker processes on real sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.commands.model import ArchiveModel, CreateModel, DeleteModel, ListModels
from jupyter_modelreg.commands.online import (
    CreateOnlineDeployment,
    CreateOnlineEndpoint,
    DeleteOnlineEndpoint,
    DeployModel,
    GetOnlineDeploymentLogs,
    GetOnlineEndpointCredentials,
    InvokeOnlineEndpoint,
    ListOnlineEndpoints,
    RegenerateOnlineEndpointKeys,
    ShowOnlineEndpoint,
    UpdateOnlineDeployment,
    UpdateOnlineEndpoint,
)
from jupyter_modelreg.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable, UnsafeModel
from jupyter_modelreg.models import archive_model, create_model, delete_model, list_models, register_object
from jupyter_modelreg.online import (
    _endpoint_name_for,
    create_deployment,
    create_endpoint,
    delete_endpoint,
    deploy_model,
    get_keys,
    get_logs,
    invoke_endpoint,
    list_endpoints,
    regenerate_keys,
    shared_out,
    show_endpoint,
    update_deployment,
    update_endpoint,
)
from jupyter_modelreg.serving.keys import make_token
from jupyter_modelreg.supervisor import read_run_status, read_supervisor
from jupyter_modelreg.workspace import Workspace

SCRIPT = """
import json, os

def init():
    global scale
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "scale.txt")) as stream:
        scale = float(stream.read())
    print("scale is", scale)

def run(raw_data):
    return [scale * number for number in json.loads(raw_data)["data"]]
"""


@pytest.fixture
def workspace(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose endpoints end with the test."""
    yield workspace
    for endpoint in workspace.catalog.list_endpoints():
        delete_endpoint(workspace, DeleteOnlineEndpoint(name=str(endpoint.name)))


@pytest.fixture
def scaler(workspace: Workspace, tmp_path: Path) -> Path:
    """A model of one number and a folder with a script for it."""
    (tmp_path / "scale.txt").write_text("2")
    create_model(workspace, CreateModel(name="scaler", path="scale.txt"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCRIPT)
    return tmp_path / "code" / "score.py"


@pytest.fixture
def cancer(workspace: Workspace) -> Any:
    """A classifier registered from memory, and its frame."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer(as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    register_object(workspace, CreateModel(name="cancer"), model, sample=data.data)
    return model, data.data


def deploy_script(workspace: Workspace, script: Path, endpoint: str = "scale") -> Any:
    command = DeployModel(name="scaler", endpoint_name=endpoint, scoring_script=str(script))
    return deploy_model(workspace, command)


def ask(workspace: Workspace, endpoint: str, body: object) -> Any:
    return invoke_endpoint(workspace, InvokeOnlineEndpoint(name=endpoint, data=json.dumps(body))).body


def request(url: str, method: str, path: str, *, key: str = "", body: bytes | None = None) -> tuple[int, bytes]:
    host = url.removeprefix("http://").split("/")[0]
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request(method, path, body, {"Authorization": f"Bearer {key}"} if key else {})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def list_deployments_of(workspace: Workspace, endpoint: str = "scale") -> list[str]:
    return [str(item.name) for item in workspace.catalog.list_deployments(endpoint)]


def pids_of(workspace: Workspace, endpoint: str = "scale", deployment: str = "default") -> list[int]:
    process = workspace.catalog.get_process(endpoint, deployment)
    status = read_run_status(process["folder"]) if process else None
    assert status
    return [item.pid for item in status.instances]


def test_a_model_registered_from_memory_needs_no_script(workspace: Workspace, cancer: Any) -> None:
    model, frame = cancer
    endpoint = create_endpoint(workspace, CreateOnlineEndpoint(name="cancer", model="azureml:cancer:latest"))
    assert (endpoint.state, endpoint.provisioning_state, endpoint.traffic) == ("healthy", "Succeeded", {"default": 100})
    rows = frame.head(3)
    split = {"columns": list(rows.columns), "index": [0, 1, 2], "data": rows.values.tolist()}
    assert ask(workspace, "cancer", {"input_data": split}) == model.predict(rows).tolist()


def test_a_bad_request_is_told_what_is_wrong_and_the_next_good_one_is_answered(workspace: Workspace, cancer: Any) -> None:
    model, frame = cancer
    create_endpoint(workspace, CreateOnlineEndpoint(name="cancer", model="azureml:cancer:latest"))
    names, row = list(frame.columns), frame.iloc[0].tolist()
    for body, message in (
        ("nonsense", "400: The body is not JSON"),
        ({"input_data": {"columns": names, "data": [["x", *row[1:]]]}}, f'400: Column "{names[0]}", row 0: "x" is not a double.'),
        ({"input_data": {"columns": ["radius", *names[1:]], "data": [row]}}, f'400: The column "{names[0]}" is missing.'),
        ({"input_data": {"columns": [*names, "more"], "data": [[*row, 1.0]]}}, '400: The model takes no column "more"'),
        ({"input_data": [row[:3]]}, "400: Row 0 has 3 values; 30 are wanted: mean radius,"),
        ({"input_data": [[float("nan"), *row[1:]]]}, "400: The body is not JSON: NaN is no JSON number; use null."),
        ({"input_data": [[None, *row[1:]]]}, "400: The model refused the input: Input X contains NaN."),
    ):
        with pytest.raises(InvalidInput, match=re.escape(message)):
            invoke_endpoint(workspace, InvokeOnlineEndpoint(name="cancer", data=body if isinstance(body, str) else json.dumps(body)))
    with pytest.raises(InvalidInput, match="--request-file/-r or --data is missing"):
        invoke_endpoint(workspace, InvokeOnlineEndpoint(name="cancer"))
    with pytest.raises(InvalidInput, match=r"nope\.json: No such file"):
        invoke_endpoint(workspace, InvokeOnlineEndpoint(name="cancer", request_file="nope.json"))
    assert ask(workspace, "cancer", {"input_data": [row]}) == model.predict(frame.head(1)).tolist()


def test_a_model_that_is_gone_or_never_was_is_not_deployed(workspace: Workspace, scaler: Path) -> None:
    delete_model(workspace, DeleteModel(name="scaler", version="1"))
    for model in ("azureml:scaler:1", "scaler", "azureml:scaler@latest", "azureml:never:1"):
        with pytest.raises(NotFound):
            create_endpoint(workspace, CreateOnlineEndpoint(name="scale", model=model))
        with pytest.raises(NotFound):
            deploy_model(workspace, DeployModel(name=model.removeprefix("azureml:"), endpoint_name="scale", scoring_script=str(scaler)))
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [("cancer", "cancer"), ("m", "model-m"), ("1st", "model-1st"), ("Iris_v2.1", "iris-v2-1"), ("a" * 40, "a" * 32), ("-x-", "model-x")],
)
def test_an_endpoint_is_named_after_its_model(model: str, endpoint: str) -> None:
    assert _endpoint_name_for(model) == endpoint


def test_a_wrong_endpoint_registers_no_model(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "fresh.txt").write_text("x")
    create_endpoint(workspace, CreateOnlineEndpoint(name="taken"))
    for name, error in (("x", InvalidInput), ("taken", Conflict)):
        with pytest.raises(error):
            create_endpoint(workspace, CreateOnlineEndpoint(name=name, model="./fresh.txt"))
    assert list_models(workspace, ListModels()) == []
    assert [item.name for item in list_endpoints(workspace, ListOnlineEndpoints())] == ["taken"]


@pytest.mark.parametrize("port", [0, -1, 65536, 12_700_140_709])
def test_a_port_that_is_none_leaves_nothing(workspace: Workspace, scaler: Path, port: int) -> None:
    with pytest.raises(InvalidInput, match=f"{port} is no port"):
        deploy_model(workspace, DeployModel(name="scaler", endpoint_name="scale", scoring_script=str(scaler), port=port))
    with pytest.raises(InvalidInput, match=f"{port} is no port"):
        create_endpoint(workspace, CreateOnlineEndpoint(name="scale", port=port))
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


def test_what_an_endpoint_is_never_changes(workspace: Workspace) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale", tags={"a": "b"}, description="old"))
    for change in ("name=other", "auth_mode=aml_token"):
        with pytest.raises(InvalidInput, match="never changes"):
            update_endpoint(workspace, UpdateOnlineEndpoint(name="scale", set=[change]))
    changed = update_endpoint(workspace, UpdateOnlineEndpoint(name="scale", set=["tags.c=d", "description=new"]))
    assert (changed.tags, changed.description) == ({"a": "b", "c": "d"}, "new")


def test_a_scoring_script_serves_its_own_way(workspace: Workspace, scaler: Path) -> None:
    endpoint = deploy_script(workspace, scaler)
    assert endpoint.state == "healthy"
    assert ask(workspace, "scale", {"data": [1, 2]}) == [2.0, 4.0]
    assert "scale is 2.0" in get_logs(workspace, GetOnlineDeploymentLogs(name="default", endpoint_name="scale")).text


def test_yaml_files_of_azure_make_an_endpoint(workspace: Workspace, scaler: Path, tmp_path: Path) -> None:
    (tmp_path / "endpoint.yml").write_text("$schema: x\nname: scale\nauth_mode: key\n")
    (tmp_path / "blue.yml").write_text(
        "name: blue\nendpoint_name: scale\nmodel: azureml:scaler:1\n"
        "code_configuration:\n  code: ./code\n  scoring_script: score.py\n"
        "environment: azureml://registries/azureml/environments/sklearn-1.5/labels/latest\n"
        "instance_type: Standard_DS3_v2\ninstance_count: 1\n"
    )
    create_endpoint(workspace, CreateOnlineEndpoint(file="endpoint.yml"))
    deployment = create_deployment(workspace, CreateOnlineDeployment(file="blue.yml", all_traffic=True))
    assert (deployment.state, deployment.model) == ("healthy", "azureml:scaler:1")
    assert ask(workspace, "scale", {"data": [3]}) == [6.0]


def test_a_deployment_without_traffic_answers_only_by_name(workspace: Workspace, scaler: Path) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    create_deployment(
        workspace, CreateOnlineDeployment(name="blue", endpoint_name="scale", model="azureml:scaler:1", scoring_script=str(scaler))
    )
    with pytest.raises(NotFound, match="positive"):
        ask(workspace, "scale", {"data": [1]})
    named = InvokeOnlineEndpoint(name="scale", data='{"data": [1]}', deployment_name="blue")
    assert invoke_endpoint(workspace, named).body == [2.0]
    update_endpoint(workspace, UpdateOnlineEndpoint(name="scale", traffic="blue=100"))
    assert ask(workspace, "scale", {"data": [1]}) == [2.0]


def test_strangers_are_refused_and_a_new_key_replaces_the_old(workspace: Workspace, scaler: Path) -> None:
    url = str(deploy_script(workspace, scaler).scoring_uri)
    old = get_keys(workspace, GetOnlineEndpointCredentials(name="scale"))
    assert request(url, "POST", "/score", body=b'{"data": [1]}')[0] == 401
    assert request(url, "POST", "/score", body=b'{"data": [1]}', key="wrong")[0] == 401
    assert request(url, "POST", "/score", body=b'{"data": [1]}', key=old.secondary_key) == (200, b"[2.0]")
    new = regenerate_keys(workspace, RegenerateOnlineEndpointKeys(name="scale", key_type="primary"))
    assert new.primary_key != old.primary_key
    assert request(url, "POST", "/score", body=b'{"data": [1]}', key=old.primary_key)[0] == 401
    assert request(url, "POST", "/score", body=b'{"data": [1]}', key=new.primary_key)[0] == 200
    assert (Path(workspace.home) / "endpoints" / "scale" / "keys.json").stat().st_mode & 0o777 == 0o600


def test_a_script_that_fails_shows_its_own_traceback_and_leaves_nothing(workspace: Workspace, scaler: Path) -> None:
    scaler.write_text("def init():\n    raise RuntimeError('no coffee')\n\ndef run(raw_data):\n    return 1\n")
    with pytest.raises(Unavailable, match="no coffee") as caught:
        deploy_script(workspace, scaler)
    assert 'score.py", line 2, in init' in caught.value.detail
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []
    assert not (Path(workspace.home) / "endpoints" / "scale").exists()


def test_a_failed_replacement_leaves_the_old_one_answering(workspace: Workspace, scaler: Path) -> None:
    before = deploy_script(workspace, scaler)
    good = scaler.read_text()
    scaler.write_text("def init():\n    raise RuntimeError('no coffee')\n\ndef run(raw_data):\n    return 1\n")
    with pytest.raises(Unavailable, match="no coffee"):
        deploy_script(workspace, scaler)
    assert ask(workspace, "scale", {"data": [1]}) == [2.0]
    scaler.write_text(good.replace("scale * number", "scale * number + 1"))
    after = deploy_script(workspace, scaler)
    assert after.scoring_uri == before.scoring_uri
    assert ask(workspace, "scale", {"data": [1]}) == [3.0]


def test_no_request_is_lost_while_a_deployment_is_replaced(workspace: Workspace, scaler: Path) -> None:
    url = str(deploy_script(workspace, scaler).scoring_uri)
    key = get_keys(workspace, GetOnlineEndpointCredentials(name="scale")).primary_key
    answers: list[tuple[int, bytes]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.append(request(url, "POST", "/score", body=b'{"data": [1]}', key=key))

    caller = threading.Thread(target=load)
    caller.start()
    scaler.write_text(scaler.read_text().replace("scale * number", "scale * number + 1"))
    deploy_script(workspace, scaler)
    deadline = time.monotonic() + 10
    while answers[-1][1] != b"[3.0]" and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    caller.join()
    assert {status for status, _ in answers} == {200}
    assert answers[0][1] == b"[2.0]"
    assert answers[-1][1] == b"[3.0]"


def test_a_script_without_run_is_refused_before_anything_starts(workspace: Workspace, scaler: Path) -> None:
    scaler.write_text("def init():\n    pass\n")
    with pytest.raises(InvalidInput, match=r"score\.py.*run"):
        deploy_script(workspace, scaler)
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


def test_a_model_that_would_run_code_is_not_served_unless_trusted(workspace: Workspace) -> None:
    with pytest.warns(UserWarning, match="pickle"):
        register_object(workspace, CreateModel(name="odd"), lambda rows: rows, allow_pickle=True)
    with pytest.raises(UnsafeModel, match="trust"):
        deploy_model(workspace, DeployModel(name="odd", endpoint_name="odd"))
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


def test_a_deployed_version_cannot_be_deleted(workspace: Workspace, scaler: Path) -> None:
    deploy_script(workspace, scaler)
    with pytest.raises(Conflict, match="scale/default"):
        delete_model(workspace, DeleteModel(name="scaler", version="1"))
    with pytest.raises(Conflict, match="scale/default"):
        delete_model(workspace, DeleteModel(name="scaler"))


def test_a_port_in_use_is_named(workspace: Workspace, cancer: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"{port} is in use"):
            create_endpoint(workspace, CreateOnlineEndpoint(name="cancer", model="cancer", port=port))
        with pytest.raises(Unavailable, match=f"{port} is in use"):
            create_endpoint(workspace, CreateOnlineEndpoint(name="cancer", port=port))
        assert list_endpoints(workspace, ListOnlineEndpoints()) == []
    create_endpoint(workspace, CreateOnlineEndpoint(name="cancer", port=port))
    assert deploy_model(workspace, DeployModel(name="cancer")).scoring_uri == f"http://127.0.0.1:{port}/score"


def test_a_killed_worker_is_replaced_and_its_port_stays(workspace: Workspace, scaler: Path) -> None:
    before = deploy_script(workspace, scaler)
    (pid,) = pids_of(workspace)
    os.kill(pid, signal.SIGKILL)
    assert ask(workspace, "scale", {"data": [1]}) == [2.0]  # who calls meanwhile waits for the next one
    assert pids_of(workspace) != [pid]
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="scale")).scoring_uri == before.scoring_uri


def test_deleting_an_endpoint_leaves_no_process_and_no_file(workspace: Workspace, scaler: Path) -> None:
    deploy_script(workspace, scaler)
    folder = Path(workspace.home) / "endpoints" / "scale"
    supervisor = read_supervisor(str(folder))
    assert supervisor
    pids = [supervisor.pid, *pids_of(workspace)]
    delete_endpoint(workspace, DeleteOnlineEndpoint(name="scale"))
    for pid in pids:
        assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["x", "1st", "has space", "dash-", "a" * 33, "../up", "a/b"])
def test_a_name_that_is_none_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput, match="3 to 32 letters"):
        create_endpoint(workspace, CreateOnlineEndpoint(name=name))


@pytest.mark.parametrize(
    ("traffic", "error", "message"),
    [
        ("default=101", InvalidInput, "less than or equal to 100"),
        ("default=50,green=50", InvalidInput, "Do not add a delimiter"),
        ("green=100", NotFound, "no deployment"),
        ("default=-1", InvalidInput, "NAME=PERCENT"),
        ("default", InvalidInput, "NAME=PERCENT"),
    ],
)
def test_traffic_that_makes_no_sense_changes_nothing(
    workspace: Workspace, scaler: Path, traffic: str, error: type[Exception], message: str
) -> None:
    deploy_script(workspace, scaler)
    with pytest.raises(error, match=message):
        update_endpoint(workspace, UpdateOnlineEndpoint(name="scale", traffic=traffic))
    assert show_endpoint(workspace, ShowOnlineEndpoint(name="scale")).traffic == {"default": 100}


# --- tokens and numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["aml_token", "aad_token"])
def test_an_endpoint_of_tokens_takes_its_own_and_nothing_else(workspace: Workspace, scaler: Path, mode: str) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale", auth_mode=mode))
    url = str(deploy_script(workspace, scaler).scoring_uri)
    given = get_keys(workspace, GetOnlineEndpointCredentials(name="scale"))
    assert sorted(given.to_dict()) == ["accessToken", "expiryTimeUtc", "refreshAfterTimeUtc", "tokenType"]
    assert given.expiry_time_utc
    assert given.refresh_after_time_utc
    assert time.time() < given.refresh_after_time_utc < given.expiry_time_utc < time.time() + 3700
    assert request(url, "POST", "/score", body=b'{"data": [1]}', key=str(given.access_token)) == (200, b"[2.0]")
    secret = json.loads((Path(workspace.home) / "endpoints" / "scale" / "keys.json").read_text())["secret"]
    ended, _ = make_token(secret, "scale", now=time.time() - 4000)
    for wrong in ("", "wrong", secret, ended, str(given.access_token)[:-2] + "AA"):
        assert request(url, "POST", "/score", body=b'{"data": [1]}', key=wrong)[0] == 401
    assert ask(workspace, "scale", {"data": [1]}) == [2.0]
    with pytest.raises(InvalidInput, match="has no keys"):
        regenerate_keys(workspace, RegenerateOnlineEndpointKeys(name="scale"))


def test_many_wrong_keys_are_told_to_wait_and_a_right_one_is_still_taken(workspace: Workspace, scaler: Path) -> None:
    url = str(deploy_script(workspace, scaler).scoring_uri)
    assert [request(url, "POST", "/score", body=b"{}", key="wrong")[0] for _ in range(22)] == [401] * 20 + [429] * 2
    other = http.client.HTTPConnection(url.split("/")[2], timeout=30, source_address=("127.0.0.2", 0))
    other.request("POST", "/score", b"{}", {"Authorization": "Bearer wrong"})
    assert other.getresponse().status == 401  # nobody guessed from there
    other.close()
    assert ask(workspace, "scale", {"data": [1]}) == [2.0]


def test_show_tells_how_each_deployment_does(workspace: Workspace, scaler: Path) -> None:
    deploy_script(workspace, scaler)
    ask(workspace, "scale", {"data": [1]})
    with pytest.raises(Unavailable):
        ask(workspace, "scale", {"no": "data"})
    numbers = show_endpoint(workspace, ShowOnlineEndpoint(name="scale")).numbers
    assert numbers
    found = numbers["default"]
    assert (found.state, found.instances, found.restarts, found.requests, found.errors, found.queue) == ("healthy", 1, 0, 2, 1, 0)
    assert found.p50_ms is not None
    assert found.p95_ms is not None
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.memory_bytes
    assert 5_000_000 < found.memory_bytes < 200_000_000


def test_a_model_deployed_onto_a_split_takes_nobodys_traffic(workspace: Workspace, scaler: Path) -> None:
    create_endpoint(workspace, CreateOnlineEndpoint(name="scale"))
    blue = deploy_model(workspace, DeployModel(name="scaler", endpoint_name="scale", deployment_name="blue", scoring_script=str(scaler)))
    assert blue.traffic == {"blue": 100}
    beside = DeployModel(name="scaler", endpoint_name="scale", deployment_name="green", scoring_script=str(scaler))
    assert deploy_model(workspace, beside).traffic == {"blue": 100}
    assert deploy_model(workspace, beside.replace(traffic=30)).traffic == {"blue": 70, "green": 30}
    again = deploy_model(workspace, DeployModel(name="scaler", endpoint_name="scale"))
    assert (again.traffic, again.deployments) == ({"blue": 70, "green": 30}, ["blue", "green"])
    assert deploy_model(workspace, beside.replace(traffic=0)).traffic == {"blue": 100}
    for share in (-1, 101):
        with pytest.raises(InvalidInput, match=f"{share}: a share is a whole number from 0 to 100"):
            deploy_model(workspace, beside.replace(deployment_name="red", traffic=share))
    assert list_deployments_of(workspace) == ["blue", "green"]


def test_a_newer_version_is_deployed_as_the_older_one_was(workspace: Workspace, scaler: Path, tmp_path: Path) -> None:
    deploy_script(workspace, scaler)
    update_deployment(
        workspace,
        UpdateOnlineDeployment(
            name="default",
            endpoint_name="scale",
            set=["instance_count=2", "environment_variables.A=b", "request_settings.request_timeout_ms=7000"],
        ),
    )
    (tmp_path / "scale.txt").write_text("3")
    create_model(workspace, CreateModel(name="scaler", path="scale.txt"))
    scaler.write_text("broken")  # what was deployed is a copy
    deploy_model(workspace, DeployModel(name="scaler:2", endpoint_name="scale"))
    now = workspace.catalog.get_deployment("scale", "default")
    assert (now.model, now.instance_count, now.environment_variables) == ("azureml:scaler:2", 2, {"A": "b"})
    assert now.request_settings.request_timeout_ms == 7000
    assert ask(workspace, "scale", {"data": [1, 2]}) == [3.0, 6.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_class": "nets:Net"}, r"model_class is for parameters that torch wrote; scaler:1 is of no known layout"),
        ({"model_class": "nets.Net"}, "'nets.Net' names no class"),
        ({"model_class": "nets:Net", "scoring_script": "score.py"}, "leave it or model_class out"),
        ({"code": "code"}, "--code needs --scoring-script.*or --model-class"),
    ],
)
@pytest.mark.usefixtures("scaler")
def test_a_class_given_in_vain_says_why_and_leaves_nothing(workspace: Workspace, given: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        deploy_model(workspace, DeployModel(name="scaler", endpoint_name="scale", **given))
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


def test_another_model_does_not_inherit_a_script(workspace: Workspace, scaler: Path, cancer: Any) -> None:
    model, frame = cancer
    deploy_script(workspace, scaler)
    deploy_model(workspace, DeployModel(name="cancer", endpoint_name="scale"))
    row = frame.head(1)
    assert ask(workspace, "scale", {"input_data": row.values.tolist()}) == model.predict(row).tolist()


@pytest.mark.parametrize(
    ("traffic", "share", "wanted"),
    [
        ({}, 100, {"new": 100}),
        ({}, 0, {}),
        ({"a": 100}, 0, {"a": 100}),
        ({"a": 100}, 10, {"a": 90, "new": 10}),
        ({"a": 90, "b": 10}, 50, {"a": 45, "b": 5, "new": 50}),
        ({"a": 34, "b": 33, "c": 33}, 1, {"a": 33, "b": 33, "c": 33, "new": 1}),
        ({"a": 50, "new": 50}, 100, {"new": 100}),
        ({"a": 30, "new": 10}, 50, {"a": 50, "new": 50}),
    ],
)
def test_others_keep_their_proportions(traffic: dict[str, int], share: int, wanted: dict[str, int]) -> None:
    assert shared_out(traffic, "new", share) == wanted


def test_an_archived_version_is_not_deployed_and_the_error_says_why(workspace: Workspace, scaler: Path) -> None:
    archive_model(workspace, ArchiveModel(name="scaler", version="1"))
    with pytest.raises(Refused, match=r"scaler:1 is archived.*modelreg model restore -n scaler -v 1"):
        deploy_model(workspace, DeployModel(name="scaler", version="1", endpoint_name="scale", scoring_script=str(scaler)))
    assert list_endpoints(workspace, ListOnlineEndpoints()) == []


def test_waiting_for_nothing_and_for_this_machine_exclude_each_other(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="no_wait and local are mutually exclusive"):
        create_deployment(workspace, CreateOnlineDeployment(name="blue", endpoint_name="scale", no_wait=True, local=True))
