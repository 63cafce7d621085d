"""Azure's own rollout scripts, line by line: the safe rollout, the managed and the local deployment of a scoring script.

The lines are those of deploy-safe-rollout-online-endpoints.sh, deploy-managed-online-endpoint.sh and
deploy-local-endpoint.sh; the model, its script and the files beside them are our own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import ModelRegistryError

from .conftest import Az

ENDPOINT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: key
"""
DEPLOYMENT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: COLOUR
endpoint_name: my-endpoint
model:
  path: ../MODEL/model/
code_configuration:
  code: ../MODEL/onlinescoring/
  scoring_script: score.py
environment:
  conda_file: ../MODEL/environment/conda.yaml
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest
instance_type: Standard_DS3_v2
instance_count: 1
"""
CONDA = f"name: model-env\nchannels: [conda-forge]\ndependencies: [python={sys.version_info[0]}.{sys.version_info[1]}]\n"
SCORE = """
import json
import logging
import os


def init():
    global weights
    with open(os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model/weights.json")) as stream:
        weights = json.load(stream)
    logging.info("Init complete")


def run(raw_data):
    logging.info("Request received")
    rows = json.loads(raw_data)["data"]
    return [sum(weight * value for weight, value in zip(weights, row)) for row in rows]
"""
SAMPLE = '{"data": [[1, 2], [3, 4]]}'
BLUE, GREEN = [3, 7], [21, 43]  # what the two models make of the sample


@pytest.fixture
def files(home: Path) -> None:
    """Two models with the folders that the scripts suppose, and the YAML files of each sample."""
    for name, weights in (("model-1", [1, 1]), ("model-2", [1, 10])):
        texts = {"model/weights.json": json.dumps(weights), "onlinescoring/score.py": SCORE, "environment/conda.yaml": CONDA}
        for path, text in {**texts, "sample-request.json": SAMPLE}.items():
            _write(f"endpoints/online/{name}/{path}", text)
    for sample in ("saferollout", "sample"):
        folder = f"endpoints/online/managed/{sample}"
        _write(f"{folder}/endpoint.yml", ENDPOINT)
        for colour, model in (("blue", "model-1"), ("green", "model-2")):
            text = DEPLOYMENT.replace("COLOUR", colour).replace("../MODEL", f"../../{model}")
            _write(f"{folder}/{colour}-deployment.yml", text)


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def curl(*words: str) -> Any:
    """Call the endpoint as the scripts do."""
    done = subprocess.run(["curl", "--silent", "--show-error", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


JSON = ("--header", "Content-Type: application/json")
FIRST, SECOND = (f"endpoints/online/{name}/sample-request.json" for name in ("model-1", "model-2"))
SAFE = "endpoints/online/managed/saferollout"


def test_the_safe_rollout_runs_as_published(az: Az, files: None) -> None:
    name = "endpt-1234"
    az(f"az ml online-endpoint create --name {name} -f {SAFE}/endpoint.yml")
    az(f"az ml online-deployment create --name blue --endpoint {name} -f {SAFE}/blue-deployment.yml --all-traffic")
    assert az(f"az ml online-endpoint invoke --name {name} --request-file {FIRST}") == BLUE
    az(f"az ml online-deployment update --name blue --endpoint {name} --set instance_count=2")
    assert az(f"az ml online-deployment show --name blue --endpoint {name}")["instance_count"] == 2
    az(f"az ml online-deployment create --name green --endpoint {name} -f {SAFE}/green-deployment.yml")
    assert az(f"az ml online-endpoint show -n {name} --query traffic") == {"blue": 100}
    assert az(f"az ml online-endpoint invoke --name {name} --deployment green --request-file {SECOND}") == GREEN
    assert az(f"az ml online-endpoint invoke --name {name} --request-file {SECOND}") == BLUE
    key = az(f"az ml online-endpoint get-credentials -n {name} -o tsv --query primaryKey").strip()
    uri = az(f"az ml online-endpoint show -n {name} -o tsv --query scoring_uri").strip()
    bearer = ("--header", f"Authorization: Bearer {key}")
    pinned = ("--header", "azureml-model-deployment: green")
    assert curl("--request", "POST", uri, *bearer, *JSON, *pinned, "--data", f"@{SECOND}") == GREEN
    az(f'az ml online-endpoint update --name {name} --mirror-traffic "green=10"')
    assert az(f"az ml online-endpoint show -n {name} --query mirror_traffic") == {"green": 10}
    assert curl("--request", "POST", uri, *bearer, *JSON, "--data", f"@{SECOND}") == BLUE
    az(f'az ml online-endpoint update --name {name} --mirror-traffic "green=0"')
    az(f'az ml online-endpoint update --name {name} --traffic "blue=90 green=10"')
    assert az(f"az ml online-endpoint show -n {name} --query traffic") == {"blue": 90, "green": 10}
    az(f'az ml online-endpoint update --name {name} --traffic "blue=0 green=100"')
    assert az(f"az ml online-endpoint invoke --name {name} --request-file {FIRST}") == GREEN
    az(f"az ml online-deployment delete --name blue --endpoint {name} --yes --no-wait")
    assert az(f"az ml online-endpoint invoke --name {name} --request-file {FIRST}") == GREEN
    az(f"az ml online-endpoint delete --name {name} --yes --no-wait")


def test_a_managed_deployment_runs_as_published(az: Az, files: None) -> None:
    name = "endpt-1234"
    az(f"az ml online-endpoint create --name {name} -f {SAFE}/endpoint.yml")
    az(f"az ml online-deployment create --name blue --endpoint {name} -f {SAFE}/blue-deployment.yml --all-traffic")
    az(f"az ml online-endpoint show -n {name}")
    assert az(f'az ml online-endpoint show --name {name} --query "provisioning_state" -o tsv').strip() == "Succeeded"
    assert az(f'az ml online-deployment show --name blue --endpoint {name} --query "provisioning_state" -o tsv').strip() == "Succeeded"
    assert az(f"az ml online-endpoint invoke --name {name} --request-file {FIRST}") == BLUE
    key = az(f"az ml online-endpoint get-credentials -n {name} -o tsv --query primaryKey").strip()
    uri = az(f"az ml online-endpoint show -n {name} -o tsv --query scoring_uri").strip()
    assert curl("--request", "POST", uri, "--header", f"Authorization: Bearer {key}", *JSON, "--data", f"@{FIRST}") == BLUE
    assert "Init complete" in az(f"az ml online-deployment get-logs --name blue --endpoint {name}")["text"]
    az(f"az ml online-endpoint delete --name {name} --yes --no-wait")


def test_a_local_deployment_runs_as_published_but_for_the_key(az: Az, files: None) -> None:
    """Azure's local endpoints take a call from anybody on the machine; ours want the key there too."""
    name, sample = "endpt-1234", "endpoints/online/managed/sample"
    az(f"az ml online-endpoint create --local -n {name} -f {sample}/endpoint.yml")
    az(f"az ml online-deployment create --local -n blue --endpoint {name} -f {sample}/blue-deployment.yml")
    az(f"az ml online-endpoint show -n {name} --local")
    assert az(f'az ml online-endpoint show --local --name {name} --query "provisioning_state" -o tsv').strip() == "Succeeded"
    state = az(f'az ml online-deployment show --local --name blue --endpoint {name} --query "provisioning_state" -o tsv')
    assert state.strip() == "Succeeded"
    assert az(f"az ml online-endpoint invoke --local --name {name} --request-file {FIRST}") == BLUE
    uri = az(f"az ml online-endpoint show --local -n {name} -o tsv --query scoring_uri").strip()
    assert "Authorization: Bearer KEY" in curl("--request", "POST", uri, *JSON, "--data", f"@{FIRST}")["message"]
    key = az(f"az ml online-endpoint get-credentials -n {name} -o tsv --query primaryKey").strip()
    assert curl("--request", "POST", uri, "--header", f"Authorization: Bearer {key}", *JSON, "--data", f"@{FIRST}") == BLUE
    assert "Init complete" in az(f"az ml online-deployment get-logs --local -n blue --endpoint {name}")["text"]
    az(f"az ml online-endpoint delete --local --name {name} --yes")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('az ml online-endpoint update --name endpt-1234 --traffic "blue=90, green=10"', "Do not add a delimiter"),
        ('az ml online-endpoint update --name endpt-1234 --traffic "blue=90 green=20"', "must sum to less than or equal to 100%"),
        ('az ml online-endpoint update --name endpt-1234 --traffic "blue=90 red=10"', "red"),
        ("az ml online-deployment delete --name blue --endpoint endpt-1234 --yes", "traffic"),
    ],
)
def test_a_step_that_azure_refuses_is_refused_with_a_reason_and_nothing_changes(line: str, message: str, az: Az, files: None) -> None:
    az(f"az ml online-endpoint create --name endpt-1234 -f {SAFE}/endpoint.yml")
    az(f"az ml online-deployment create --name blue --endpoint endpt-1234 -f {SAFE}/blue-deployment.yml --all-traffic")
    with pytest.raises(ModelRegistryError, match=message):
        az(line)
    assert az("az ml online-endpoint show -n endpt-1234 --query traffic") == {"blue": 100}
    assert az(f"az ml online-endpoint invoke --name endpt-1234 --request-file {FIRST}") == BLUE
