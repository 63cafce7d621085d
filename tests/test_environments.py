"""Environments: what is recorded, and what a deployment really runs in."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import environments
from jupyter_modelreg.commands.environment import (
    BuildEnvironment,
    CleanEnvironments,
    CreateEnvironment,
    DeleteEnvironment,
    ListBuiltEnvironments,
    ShowEnvironment,
    UpdateEnvironment,
)
from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import (
    CreateOnlineDeployment,
    CreateOnlineEndpoint,
    DeleteOnlineEndpoint,
    GetOnlineDeploymentLogs,
    InvokeOnlineEndpoint,
    ShowOnlineDeployment,
    UpdateOnlineDeployment,
)
from jupyter_modelreg.commands.store import CleanStore, VerifyStore
from jupyter_modelreg.entities import BuildContext, Environment, InferenceConfig, Route
from jupyter_modelreg.entities.loading import load_entity
from jupyter_modelreg.environments import (
    build_environment,
    clean_environments,
    create_environment,
    delete_environment,
    list_built,
    ready_environment,
    register_environment,
    resolve_environment,
    show_environment,
    update_environment,
)
from jupyter_modelreg.errors import Conflict, InvalidInput, InvalidReference, NotFound, Unavailable
from jupyter_modelreg.models import create_model
from jupyter_modelreg.online import (
    create_deployment,
    create_endpoint,
    delete_endpoint,
    get_logs,
    invoke_endpoint,
    show_deployment,
    update_deployment,
)
from jupyter_modelreg.references import parse_environment_name
from jupyter_modelreg.stores import clean_store, verify_store
from jupyter_modelreg.workspace import Workspace
from tests.pythons.conftest import making as making

CURATED = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
SIX: dict[str, Any] = {"dependencies": [f"python=3.{sys.version_info[1]}", {"pip": ["six==1.16.0"]}]}
SCRIPT = """
import json, sys

def init():
    print("runs in", sys.prefix)

def run(raw_data):
    answer = {}
    for name in json.loads(raw_data)["versions"]:
        try:
            answer[name] = __import__(name).__version__
        except ImportError as error:
            answer[name] = None
    return {"versions": answer, "prefix": sys.prefix}
"""


# --- what is recorded -----------------------------------------------------------------------------------------------


def test_the_content_of_a_conda_file_is_kept_whatever_becomes_of_the_file(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "conda.yaml").write_text("name: x\ndependencies: [python=3.11, {pip: [six==1.16.0]}]\n")
    (tmp_path / "env" / "env.yml").write_text("name: tools\nconda_file: conda.yaml\nimage: ubuntu:latest\n")
    made = create_environment(workspace, CreateEnvironment(file="env/env.yml"))
    assert made.conda_file == {"name": "x", "dependencies": ["python=3.11", {"pip": ["six==1.16.0"]}]}
    (tmp_path / "env" / "conda.yaml").write_text("name: renamed\ndependencies: [python=3.11, {pip: [six==1.16.0]}]\n")
    assert create_environment(workspace, CreateEnvironment(file="env/env.yml")) == made  # the name in the file means nothing
    (tmp_path / "env" / "conda.yaml").write_text("dependencies: [python=3.11, {pip: [six==1.17.0]}]\n")
    assert create_environment(workspace, CreateEnvironment(file="env/env.yml")).version == "2"
    (tmp_path / "env" / "conda.yaml").unlink()
    assert show_environment(workspace, ShowEnvironment(name="tools:1")) == made.replace(latest_version="2")


def test_options_win_over_the_file_and_set_is_applied_before_anything_is_checked(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text("name: tools\nimage: ubuntu\nos_type: Linux\ntags: {a: b}\n")
    command = CreateEnvironment(file="env.yml", name="other", image="python:3.12", tags={"c": "d"}, set=["tags.a=e", "description=Ours"])
    made = create_environment(workspace, command)
    assert (made.name, made.image, made.tags, made.description, made.os_type) == (
        "other",
        "python:3.12",
        {"a": "e", "c": "d"},
        "Ours",
        "linux",
    )


def test_the_output_of_show_loads_again(workspace: Workspace) -> None:
    routes = {name: Route(port=5001, path=f"/{name}") for name in ("liveness_route", "readiness_route", "scoring_route")}
    environment = Environment(name="own", image="example/server:1", inference_config=InferenceConfig(**routes), tags={"a": "b"})
    made = register_environment(workspace, environment)
    assert load_entity(Environment, made.to_dict()) == environment.replace(version="1")
    assert register_environment(workspace, load_entity(Environment, made.to_dict())) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\nchannels: [c]\ndependencies: [a]\n",
            'e.yml:2: "channels" belongs into a conda file, and this describes an environment.',
        ),
        ("name: x\nimage: a\nbuild: {path: b}\n", "e.yml:3: An environment has an image or a build context, not both."),
        ("name: x\nbuild: {path: b}\nconda_file: c.yml\n", "leave conda_file out"),
        ("name: x\nimage: a\nos_type: macos\n", 'e.yml:3: os_type is "macos"; it must be one of linux, windows.'),
        ("name: x\nimage: a\ninference_config: {liveness_route: {port: 1, path: /}}\n", 'e.yml:3: "readiness_route" is missing.'),
        (
            "name: x\nimage: a\ninference_config: {liveness_route: {port: one, path: /}}\n",
            "inference_config.liveness_route.port must be a whole number",
        ),
        ("name: x\nimage: a\nversion: latest\n", '"latest" is the label of the newest version'),
        ("name: x y\nimage: a\n", '"x y" is no name of an environment'),
        ("name: x\nimage: a\nimg: b\n", 'e.yml:3: Unknown key "img". Did you mean "image"?'),
        ("name: x\n", "An environment needs an image, a build context or a conda file."),
        ("name: x\nconda_file: nowhere.yaml\n", "nowhere.yaml: no such file."),
        ("name: x\nconda_file: e.yml\n", 'e.yml: A conda file has no "conda_file"'),
        ("name: x\nconda_file: {dependencies: ['python>=3.x']}\n", '"3.x" is no version of Python; write python=3.11.'),
        ("name: x\nimage: a\ndatastore: elsewhere\n", 'There is no datastore "elsewhere"'),
        ("image: a\n", "Please provide either --file/-f or --name/-n."),
    ],
)
def test_a_mistake_is_said_with_its_place_and_records_nothing(text: str, message: str, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "e.yml").write_text(text)
    with pytest.raises((InvalidInput, NotFound), match=re.escape(message)):
        create_environment(workspace, CreateEnvironment(file="e.yml"))
    assert workspace.catalog.list_environments(archived="all") == []


def test_only_description_and_tags_ever_change(workspace: Workspace) -> None:
    register_environment(workspace, Environment(name="tools", image="a", tags={"x": "y"}, properties={"p": "q"}))
    changed = update_environment(workspace, UpdateEnvironment(name="tools", set=["description=New"], remove=["tags.x"], add=["tags a=b"]))
    assert (changed.description, changed.tags, changed.properties) == ("New", {"a": "b"}, {"p": "q"})
    for word in ("image=b", "properties.p=r", "version=2", "os_type=windows"):
        with pytest.raises(InvalidInput, match=r"never changes; only description and tags do"):
            update_environment(workspace, UpdateEnvironment(name="tools", set=[word]))
    with pytest.raises(InvalidInput, match=r'An environment has no "colour"'):
        update_environment(workspace, UpdateEnvironment(name="tools", set=["colour=blue"]))


def test_a_build_context_lies_in_the_store_and_goes_with_its_environment(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM python:3.11\n")
    made = create_environment(workspace, CreateEnvironment(name="built", build_context="context"))
    assert isinstance(made.build, BuildContext)
    assert str(made.build.path).startswith("azureml://datastores/workspaceblobstore/paths/LocalUpload/")
    (tmp_path / "context" / "Dockerfile").unlink()
    assert clean_store(workspace, CleanStore(grace="0")).files == 0
    assert register_environment(workspace, made) == made  # from what is stored
    assert (verify_store(workspace, VerifyStore()).is_ok, verify_store(workspace, VerifyStore()).blobs) == (True, 1)
    for blob in (Path(workspace.settings.store) / "blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o644)
            blob.write_text("FROM elsewhere\n")
    (damage,) = verify_store(workspace, VerifyStore()).damages
    assert damage.versions == ["environment built:1"]
    delete_environment(workspace, DeleteEnvironment(name="built"))
    assert clean_store(workspace, CleanStore(grace="0")).files == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tools", ("tools", None, None, None)),
        ("azureml:tools:3", ("tools", "3", None, None)),
        ("azureml:tools@latest", ("tools", None, "latest", None)),
        ("azureml:tools:latest", ("tools", None, "latest", None)),
        (CURATED, ("sklearn-1.5", None, "latest", "azureml")),
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/7", ("sklearn-1.5", "7", None, "azureml")),
        ("AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest", ("AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", None, "latest", None)),
        (
            "azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/environments/tools/versions/3",
            ("tools", "3", None, None),
        ),
    ],
)
def test_every_way_to_name_an_environment_is_read(text: str, parts: tuple[str | None, ...]) -> None:
    named = parse_environment_name(text)
    assert (named.name, named.version, named.label, named.registry) == parts
    assert parse_environment_name(str(named)) == named


@pytest.mark.parametrize("text", ["", "azureml:", "azureml://registries/r/models/m/versions/1", "a/b", "azureml:a:b:c", "a@"])
def test_what_names_no_environment_is_said(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_environment_name(text)


# --- what a deployment gets, without a network ------------------------------------------------------------------------


def ready(workspace: Workspace, given: str | Environment | None) -> tuple[str, list[str]]:
    notices: list[str] = []
    return ready_environment(workspace, resolve_environment(workspace, given), notices.append).python, notices


def test_no_environment_means_this_kernels_python(workspace: Workspace) -> None:
    assert ready(workspace, None) == (sys.executable, [])


def test_where_the_setting_says_so_nothing_is_made(workspace: Workspace) -> None:
    python, (notice,) = ready(workspace, CURATED)
    assert python == sys.executable
    assert notice == f"{CURATED} is not made, since the setting environments is kernel; this kernel's Python is used."


def test_a_deployment_records_which_version_it_runs_in(workspace: Workspace) -> None:
    made = [register_environment(workspace, Environment(name="tools", image=image)) for image in ("a", "b")]
    assert [item.version for item in made] == ["1", "2"]
    for given, resolved in (("azureml:tools@latest", "2"), ("azureml:tools", "2"), ("tools:1", "1")):
        assert resolve_environment(workspace, given) == f"azureml:tools:{resolved}"
    assert resolve_environment(workspace, Environment(name="tools", image="c")) == "azureml:tools:3"
    assert resolve_environment(workspace, Environment(conda_file=SIX)) == Environment(conda_file=SIX)
    assert resolve_environment(workspace, CURATED) == CURATED
    with pytest.raises(NotFound, match='There is no environment "nobody"'):
        resolve_environment(workspace, "azureml:nobody:1")
    with pytest.raises(NotFound, match='There is no registry "ours"'):
        resolve_environment(workspace, "azureml://registries/ours/environments/x/labels/latest")


def test_what_says_nothing_of_packages_is_this_kernels_python_with_a_notice(workspace: Workspace) -> None:
    workspace.settings.environments = "make"
    python, notices = ready(workspace, Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"))
    assert python == sys.executable
    assert notices == [
        "The image mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04 is not run; its closest Python is used.",
        "The inline environment says nothing of packages; this kernel's Python is used.",
    ]
    python, notices = ready(workspace, "azureml:AzureML-unheard-of@latest")
    assert (python, notices[0]) == (sys.executable, 'The catalogue of curated environments has no "AzureML-unheard-of".')


def test_a_curated_environment_that_cannot_be_made_is_this_kernels_python_with_a_notice(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace.settings.environments = "make"
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    python, notices = ready(workspace, CURATED)
    assert python == sys.executable
    assert notices == [
        f'{CURATED} cannot be made; this kernel\'s Python is used. Making an environment needs uv: pip install "jupyter-modelreg[environments]"'
    ]
    with pytest.raises(Unavailable, match="needs uv"):
        ready(workspace, Environment(conda_file=SIX))


# --- what a deployment really runs in -----------------------------------------------------------------------------------


@pytest.fixture
def served(making: Workspace, tmp_path: Path) -> Workspace:
    """A model and a script that tells which packages it sees, and an endpoint for them."""
    (tmp_path / "weights").write_text("w")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCRIPT)
    create_model(making, CreateModel(name="told", path="weights"))
    create_endpoint(making, CreateOnlineEndpoint(name="live"))
    return making


def deploy(workspace: Workspace, environment: str, name: str = "blue") -> Any:
    """Deploy by a YAML file, as a person does."""
    Path(f"{name}.yml").write_text(
        f"name: {name}\nendpoint_name: live\nmodel: azureml:told:1\n"
        f"code_configuration: {{code: code, scoring_script: score.py}}\nenvironment: {environment}\n"
    )
    return create_deployment(workspace, CreateOnlineDeployment(file=f"{name}.yml", all_traffic=True))


def tell(workspace: Workspace, *names: str) -> dict[str, Any]:
    body: dict[str, Any] = invoke_endpoint(workspace, InvokeOnlineEndpoint(name="live", data=json.dumps({"versions": names}))).body
    return body


def test_a_deployment_runs_in_its_environment_whatever_this_kernel_has(served: Workspace) -> None:
    import numpy as np
    import sklearn

    pinned = {"dependencies": [f"python=3.{sys.version_info[1]}", "numpy=1.26", "scikit-learn=1.5"]}
    register_environment(served, Environment(name="pinned", conda_file=pinned))
    deployment = deploy(served, "azureml:pinned@latest")
    assert (deployment.state, deployment.environment) == ("healthy", "azureml:pinned:1")
    told = tell(served, "numpy", "sklearn", "pandas", "httptools")
    assert told["versions"]["numpy"].startswith("1.26.")
    assert told["versions"]["sklearn"].startswith("1.5.")
    assert not np.__version__.startswith("1.26.")
    assert not sklearn.__version__.startswith("1.5.")
    assert told["versions"]["pandas"] is None
    assert told["versions"]["httptools"]
    (build,) = list_built(served, ListBuiltEnvironments())
    assert (build.environments, build.deployments, build.path) == (["pinned:1"], ["live/blue"], told["prefix"])
    with pytest.raises(Conflict, match=r"Environment pinned:1 is used at live/blue"):
        delete_environment(served, DeleteEnvironment(name="pinned"))
    assert clean_environments(served, CleanEnvironments(older_than="0")).environments == 0
    delete_endpoint(served, DeleteOnlineEndpoint(name="live"))
    assert clean_environments(served, CleanEnvironments(older_than="1h")).environments == 0
    assert clean_environments(served, CleanEnvironments(older_than="0")).environments == 1
    assert not os.path.exists(build.path)


def test_a_model_without_a_script_needs_of_its_environment_only_its_own_library(making: Workspace) -> None:
    import sklearn
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from jupyter_modelreg import MLClient

    inputs, target = load_iris(return_X_y=True, as_frame=True)
    MLClient().models.register("iris", LogisticRegression(max_iter=500).fit(inputs, target), sample=inputs.head(2))
    create_endpoint(making, CreateOnlineEndpoint(name="live"))
    Path("blue.yml").write_text(
        "name: blue\nendpoint_name: live\nmodel: azureml:iris:1\n"
        f"environment: {{conda_file: {{dependencies: [{{pip: [scikit-learn=={sklearn.__version__}]}}]}}}}\n"
    )
    deployment = create_deployment(making, CreateOnlineDeployment(file="blue.yml", all_traffic=True))
    assert deployment.state == "healthy"
    body = json.dumps({"input_data": {"columns": list(inputs), "data": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]}})
    assert invoke_endpoint(making, InvokeOnlineEndpoint(name="live", data=body)).body == [0, 2]


def test_two_environments_serve_beside_each_other_and_one_is_made_of_one_definition(served: Workspace) -> None:
    for name, version in (("blue", "1.16.0"), ("green", "1.17.0")):
        deploy(served, f"{{conda_file: {{dependencies: [{{pip: [six=={version}]}}]}}}}", name)
        assert tell(served, "six")["versions"] == {"six": version}
    update_deployment(served, UpdateOnlineDeployment(name="green", endpoint_name="live", set=["tags.a=b"]))
    assert tell(served, "six")["versions"] == {"six": "1.17.0"}
    assert len(list_built(served, ListBuiltEnvironments())) == 2
    assert "runs in" in get_logs(served, GetOnlineDeploymentLogs(name="green", endpoint_name="live")).text


def test_what_is_otherwise_than_in_the_cloud_is_shown_and_logged(served: Workspace) -> None:
    made = deploy(
        served, "{image: 'mcr.microsoft.com/azureml/openmpi4.1.0', conda_file: {dependencies: [python=3.8, {pip: [six==1.16.0]}]}}"
    )
    kernel = f"3.{sys.version_info[1]}"
    expected = [
        "The image mcr.microsoft.com/azureml/openmpi4.1.0 is not used; the conda file says which packages there are.",
        f"The inline environment asks for Python 3.8, which is too old for the server; Python {kernel} is used.",
    ]
    assert made.notices == expected
    assert show_deployment(served, ShowOnlineDeployment(name="blue", endpoint_name="live")).notices == expected
    log = get_logs(served, GetOnlineDeploymentLogs(name="blue", endpoint_name="live")).text
    assert all(notice in log for notice in expected)


def test_an_environment_that_cannot_be_made_is_one_error_and_leaves_what_serves_alone(served: Workspace) -> None:
    deploy(served, "{conda_file: {dependencies: [{pip: [six==1.16.0]}]}}")
    with pytest.raises(Unavailable, match=r"^The environment cannot be made: Because there is no version of six==0.0.77") as caught:
        deploy(served, "{conda_file: {dependencies: [{pip: [six==0.0.77]}]}}")
    assert "six==0.0.77" in caught.value.detail
    assert tell(served, "six")["versions"] == {"six": "1.16.0"}


def test_code_whose_folder_holds_the_registry_is_copied_without_it(served: Workspace, tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(SCRIPT)
    command = CreateOnlineDeployment(
        name="blue", endpoint_name="live", model="azureml:told:1", code=".", scoring_script="score.py", all_traffic=True
    )
    assert create_deployment(served, command).state == "healthy"
    (copied,) = (Path(served.home) / "endpoints" / "live" / "blue").glob("run-*/code")
    assert (copied / "code" / "score.py").exists()
    assert not (copied / "home").exists()


def test_an_instance_in_an_environment_calls_back_the_supervisor_that_was_killed(served: Workspace) -> None:
    deploy(served, "{conda_file: {dependencies: [{pip: [six==1.16.0]}]}}")
    record = Path(served.home) / "endpoints" / "live" / "supervisor.json"
    before = json.loads(record.read_text())
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while json.loads(record.read_text())["pid"] == before["pid"]:
        assert time.monotonic() < deadline, "no instance started a supervisor"
        time.sleep(0.1)
    assert tell(served, "six")["versions"] == {"six": "1.16.0"}


def test_an_environment_is_made_before_it_is_needed_and_cleaned_by_age(making: Workspace) -> None:
    register_environment(making, Environment(name="tools", conda_file=SIX))
    register_environment(making, Environment(name="same", conda_file={"name": "x", **SIX}))
    build = build_environment(making, BuildEnvironment(name="tools"))
    assert (build.environments, build.packages, build.deployments) == (["same:1", "tools:1"], 1, [])
    assert build_environment(making, BuildEnvironment(name="same", label="latest")).path == build.path
    with pytest.raises(NotFound, match="nothing to make"):
        build_environment(making, BuildEnvironment(name=str(register_environment(making, Environment(name="no", image="a")).name)))
    month = time.time() - 31 * 86_400
    os.utime(f"{build.path}/modelreg.json", (month, month))
    assert clean_environments(making, CleanEnvironments(dry_run=True)).environments == 1
    question = environments.ask_to_clean(making, CleanEnvironments())
    assert re.fullmatch(r"Remove 1 environment and free \d+(\.\d)? kB\?", question)
    ready_environment(making, "azureml:tools:1", print)  # asked for again, so it is young
    assert environments.ask_to_clean(making, CleanEnvironments()) == ""
    assert clean_environments(making, CleanEnvironments()).environments == 0
