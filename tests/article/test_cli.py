"""The article's lines for the shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.errors import ModelRegistryError, NotFound, NotYet

from .conftest import Az

LOCAL_FILE = """
$schema: https://azuremlschemas.azureedge.net/latest/model.schema.json
name: local-file-example
path: mlflow-model/model.pkl
description: Model created from local file.
"""
LOCAL_FOLDER = """
$schema: https://azuremlschemas.azureedge.net/latest/model.schema.json
name: local-folder-example
path: mlflow-model
type: mlflow_model
description: Model created from local folder.
"""
ENDPOINT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: key
"""
DEPLOYMENT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: my-endpoint
model: azureml:run-model-example:1
instance_type: Standard_DS3_v2
instance_count: 1
"""
SCRIPT_DEPLOYMENT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: my-endpoint
model:
  path: mlflow-model/model.pkl
code_configuration:
  code: onlinescoring
  scoring_script: score.py
environment:
  conda_file: environment/conda.yaml
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest
instance_type: Standard_DS3_v2
instance_count: 1
"""
SCORE = """
import json
import logging
import os
import pickle

import numpy


def init():
    global model
    model_path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model.pkl")
    with open(model_path, "rb") as stream:
        model = pickle.load(stream)
    logging.info("Init complete")


def run(raw_data):
    logging.info("model 1: request received")
    data = numpy.array(json.loads(raw_data)["data"])
    return model.predict(data).tolist()
"""
JOB = """
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: ls ${{inputs.my_model}}
inputs:
  my_model:
    type: mlflow_model
    path: mlflow-model
    mode: ro_mount
environment: azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest
"""
IRIS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]


@pytest.fixture
def registered(az: Az, mlflow_model: Path) -> None:
    """Version 1 of ``run-model-example``."""
    az("az ml model create --name run-model-example --version 1 --path mlflow-model --type mlflow_model")


# --- register -----------------------------------------------------------------------------------------------------


def test_a_model_is_created_from_a_local_file(az: Az, mlflow_model: Path) -> None:
    Path("my-model.yml").write_text(LOCAL_FILE)
    model = az("az ml model create -f my-model.yml")
    assert (model["name"], model["version"], model["type"]) == ("local-file-example", "1", "custom_model")
    assert model["description"] == "Model created from local file."


def test_a_model_is_created_from_a_local_folder(az: Az, mlflow_model: Path) -> None:
    Path("my-model.yml").write_text(LOCAL_FOLDER)
    model = az("az ml model create -f my-model.yml")
    assert (model["name"], model["version"], model["type"]) == ("local-folder-example", "1", "mlflow_model")
    assert "sklearn" in model["flavors"]


def test_a_model_is_created_from_a_datastore(az: Az, home: Path) -> None:
    file = home / "datastores" / "workspaceblobstore" / "models" / "cifar10" / "cifar.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    model = az(
        "az ml model create --name my-model --version 1 --path azureml://datastores/workspaceblobstore/paths/models/cifar10/cifar.pt"
    )
    assert (model["name"], model["version"]) == ("my-model", "1")


def test_a_model_is_created_from_an_mlflow_run(az: Az, run_id: str) -> None:
    model = az(f"az ml model create --name my-registered-model --version 1 --path runs:/{run_id}/model/ --type mlflow_model")
    assert (model["version"], model["type"], model["job_name"]) == ("1", "mlflow_model", run_id)


def test_a_model_is_created_from_another_version(az: Az, registered: None) -> None:
    model = az("az ml model create --name promoted --path azureml:run-model-example:1")
    assert (model["name"], model["version"], model["type"]) == ("promoted", "1", "mlflow_model")


def test_a_version_left_out_is_the_next_one(az: Az, mlflow_model: Path, registered: None) -> None:
    assert az("az ml model create --name run-model-example --path mlflow-model/model.pkl")["version"] == "2"


@pytest.mark.xfail(strict=True, raises=NotFound, reason="jobs come in a later issue")
def test_a_model_is_created_from_a_job_output(az: Az) -> None:
    az(
        "az ml model create --name run-model-example --version 1 "
        "--path azureml://jobs/my_job/outputs/artifacts/paths/model/ --type mlflow_model"
    )


@pytest.mark.xfail(strict=True, raises=NotFound, reason="datastores beyond the default one come in a later issue")
def test_a_model_is_created_from_a_datastore_of_ones_own(az: Az) -> None:
    az("az ml model create --name my-model --version 1 --path azureml://datastores/myblobstore/paths/models/cifar10/cifar.pt")


# --- manage -------------------------------------------------------------------------------------------------------


def test_all_models_are_listed(az: Az, registered: None) -> None:
    assert [(model["name"], model["version"]) for model in az("az ml model list")] == [("run-model-example", "1")]


def test_all_versions_of_a_model_are_listed(az: Az, registered: None) -> None:
    az("az ml model create --name run-model-example --path mlflow-model/model.pkl")
    assert [model["version"] for model in az("az ml model list --name run-model-example")] == ["2", "1"]


def test_a_version_is_shown_in_full(az: Az, registered: None) -> None:
    model = az("az ml model show --name run-model-example --version 1")
    assert model["path"].startswith("azureml://datastores/workspaceblobstore/paths/LocalUpload/")
    assert model["creation_context"]["created_at"].endswith("Z")


def test_what_show_prints_can_be_asked_for_a_part(az: Az, registered: None) -> None:
    assert az("az ml model show --name run-model-example --version 1 --query type -o tsv") == "mlflow_model"


def test_description_and_tags_are_updated(az: Az, registered: None) -> None:
    model = az(
        'az ml model update --name run-model-example --version 1 --set description="This is an updated description." '
        '--set tags.stage="Prod"'
    )
    assert (model["description"], model["tags"]) == ("This is an updated description.", {"stage": "Prod"})


@pytest.mark.parametrize("version", ["", " --version 1"])
def test_a_model_is_archived_and_restored(version: str, az: Az, registered: None) -> None:
    az(f"az ml model archive --name run-model-example{version}")
    assert az("az ml model list") == []
    az(f"az ml model restore --name run-model-example{version}")
    assert len(az("az ml model list")) == 1


def test_a_model_is_downloaded(az: Az, registered: None) -> None:
    az("az ml model download --name run-model-example --version 1 --download-path fetched")
    assert Path("fetched/run-model-example/mlflow-model/MLmodel").is_file()


# --- deploy -------------------------------------------------------------------------------------------------------


def test_a_model_is_deployed_with_one_line(az: Az, mlflow_model: Path) -> None:
    az("az ml model create --name my_model --path mlflow-model --type mlflow_model")
    endpoint = az("az ml online-endpoint create --name my-endpoint --model azureml:my_model:latest")
    assert endpoint["scoring_uri"].startswith("http://127.0.0.1:")
    Path("sample.json").write_text(f'{{"input_data": {IRIS}}}')
    assert az("az ml online-endpoint invoke --name my-endpoint --request-file sample.json") == [0, 2]


def test_an_endpoint_and_its_deployment_are_created_from_files(az: Az, registered: None) -> None:
    Path("endpoint.yml").write_text(ENDPOINT)
    Path("deployment.yml").write_text(DEPLOYMENT)
    Path("sample.json").write_text(f'{{"input_data": {IRIS}}}')
    az("az ml online-endpoint create -f endpoint.yml")
    az("az ml online-deployment create --name blue --endpoint my-endpoint -f deployment.yml --all-traffic")
    assert az("az ml online-endpoint show --name my-endpoint --query provisioning_state -o tsv") == "Succeeded"
    assert az("az ml online-endpoint show --name my-endpoint")["traffic"] == {"blue": 100}
    assert az("az ml online-endpoint invoke --name my-endpoint --request-file sample.json") == [0, 2]
    assert set(az("az ml online-endpoint get-credentials --name my-endpoint")) == {"primaryKey", "secondaryKey"}
    az("az ml online-endpoint delete --name my-endpoint --yes")
    assert az("az ml online-endpoint list") == []


def test_a_scoring_script_of_ones_own_is_deployed(az: Az, mlflow_model: Path) -> None:
    for folder in ("onlinescoring", "environment"):
        Path(folder).mkdir()
    Path("onlinescoring/score.py").write_text(SCORE)
    Path("environment/conda.yaml").write_text("name: model-env\ndependencies: [python=3.11, scikit-learn]\n")
    Path("deployment.yml").write_text(SCRIPT_DEPLOYMENT)
    Path("sample.json").write_text(f'{{"data": {IRIS}}}')
    az("az ml online-endpoint create --name my-endpoint --local")
    az("az ml online-deployment create --local --name blue --endpoint my-endpoint -f deployment.yml")
    assert az("az ml online-endpoint invoke --local --name my-endpoint --request-file sample.json") == [0, 2]
    assert "request received" in az("az ml online-deployment get-logs --local --name blue --endpoint my-endpoint")["text"]


def test_environments_are_managed(az: Az) -> None:
    """Source: Azure ML, "Manage Azure Machine Learning environments with the CLI & SDK (v2)"."""
    Path("docker-image.yml").write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json\n"
        "name: docker-image-example\nimage: pytorch/pytorch:latest\ndescription: Environment created from a Docker image.\n"
    )
    Path("conda-yamls").mkdir()
    Path("conda-yamls/pydata.yml").write_text(
        "name: pydata-example\nchannels: [conda-forge]\ndependencies: [python=3.12, numpy, pip, {pip: [pandas]}]\n"
    )
    Path("docker-image-plus-conda.yml").write_text(
        "name: docker-image-plus-conda-example\nimage: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04\n"
        "conda_file: conda-yamls/pydata.yml\ndescription: Environment created from a Docker image plus Conda environment.\n"
    )
    Path("docker-contexts/python-and-pip").mkdir(parents=True)
    Path("docker-contexts/python-and-pip/Dockerfile").write_text("FROM python:3.12\nRUN pip install numpy\n")
    Path("docker-context.yml").write_text("name: docker-context-example\nbuild:\n  path: docker-contexts/python-and-pip\n")
    for name in ("docker-image", "docker-image-plus-conda", "docker-context"):
        assert az(f"az ml environment create --file {name}.yml")["version"] == "1"
    assert len(az("az ml environment list")) == 3
    assert [item["version"] for item in az("az ml environment list --name docker-image-example")] == ["1"]
    assert az("az ml environment show --name docker-image-plus-conda-example --version 1")["conda_file"]["dependencies"][0] == "python=3.12"
    az('az ml environment update --name docker-image-example --version 1 --set description="This is an updated description."')
    assert az("az ml environment show --name docker-image-example --version 1")["description"] == "This is an updated description."
    az("az ml environment archive --name docker-image-example --version 1")
    assert [item["name"] for item in az("az ml environment list --archived-only")] == ["docker-image-example"]
    az("az ml environment restore --name docker-image-example --version 1")
    assert len(az("az ml environment list")) == 3


@pytest.mark.parametrize(
    ("line", "error", "what"),
    [
        ("az ml job create -f job.yml", NotYet, "jobs"),
        ("az ml job download --name my_job --output-name my_model", NotYet, "jobs"),
        ("az ml datastore create -f datastore.yml", NotYet, "datastores beyond the default one"),
        ("az ml data create -f data.yml", NotYet, "data assets"),
        ("az ml registry create -f registry.yml", NotYet, "registries"),
        (
            "az ml model share --name run-model-example --version 1 --registry-name my-registry "
            "--share-with-name shared --share-with-version 1",
            NotFound,
            "registries",
        ),
        ("az ml batch-endpoint create --name my-batch-endpoint --model azureml:my_model:latest", NotYet, "batch endpoints"),
        ("az ml batch-deployment create -f batch-deployment.yml --set-default", NotYet, "batch endpoints"),
        ("az ml model package --name run-model-example --version 1 -f package.yml", NotYet, "packages"),
    ],
    ids=lambda value: value.split(" -")[0] if isinstance(value, str) and value.startswith("az ml ") else None,
)
def test_what_a_later_issue_brings(
    line: str, error: type[ModelRegistryError], what: str, az: Az, registered: None, request: pytest.FixtureRequest
) -> None:
    request.applymarker(pytest.mark.xfail(strict=True, raises=error, reason=f"{what} come in a later issue"))
    Path("job.yml").write_text(JOB)
    az(line)
