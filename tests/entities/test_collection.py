"""What ``data_collector`` of a deployment may say."""

from __future__ import annotations

import io
from typing import Any

import pytest

from jupyter_modelreg.entities import DataCollector, DeploymentCollection, OnlineDeployment, RequestLogging
from jupyter_modelreg.entities.collection import SECRET_HEADERS
from jupyter_modelreg.entities.loading import dump_entity, load_entity
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.records import from_dict

# Azure's own example, with a collection and headers more. Source: "Collect production data from models".
YAML = """\
name: blue
endpoint_name: churn
model: azureml:churn:1
data_collector:
  collections:
    model_inputs:
      enabled: 'True'
      data:
        name: inputs
        version: 1
        path: azureml://datastores/workspaceblobstore/paths/collected/in
    model_outputs:
      enabled: true
    request:
      enabled: 'False'
      data: azureml:requests:1
  rolling_rate: Minute
  sampling_rate: 0.5
  request_logging:
    capture_headers:
    - X-Tenant
"""


def _load(text: str) -> OnlineDeployment:
    loaded: OnlineDeployment = load_entity(OnlineDeployment, io.StringIO(text))
    return loaded


def test_azures_example_loads_and_what_is_shown_loads_again() -> None:
    collector = _load(YAML).data_collector
    assert collector
    assert {name: (item.enabled, item.folder) for name, item in collector.collections.items()} == {
        "model_inputs": (True, "collected/in"),
        "model_outputs": (True, None),
        "request": (False, None),
    }
    assert (collector.rolling_rate, collector.sampling_rate) == ("minute", 0.5)
    assert collector.request_logging == RequestLogging(capture_headers=["X-Tenant"])
    assert _load(dump_entity(_load(YAML))).data_collector == collector


def test_left_out_everything_is_written_by_the_hour() -> None:
    collector = from_dict(DataCollector, {"collections": {"model_inputs": {"enabled": "true"}}})
    assert (collector.rolling_rate, collector.sampling_rate, collector.request_logging) == ("hour", 1.0, None)


@pytest.mark.parametrize(("given", "meant"), [("True", True), ("False", False), ("false", False), (True, True), (False, False)])
def test_true_and_false_count_as_texts_too_also_from_python(given: Any, meant: bool) -> None:
    assert DeploymentCollection(enabled=given).enabled is meant
    assert from_dict(DeploymentCollection, {"enabled": given}).enabled is meant


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("enabled: 'True'", "enabled: 'yes'", 7, "collections.model_inputs.enabled", 'must be true or false, not "yes"'),
        ("enabled: 'True'", "enable: 'True'", 7, "collections.model_inputs.enable", 'Did you mean "enabled"?'),
        ("sampling_rate: 0.5", "sampling_rate: 1.5", 18, "sampling_rate", "sampling_rate is 1.5; it is a share, from 0 to 1."),
        ("sampling_rate: 0.5", "sampling_rate: half", 18, "sampling_rate", 'must be a number, not "half"'),
        ("rolling_rate: Minute", "rolling_rate: week", 17, "rolling_rate", "must be one of year, month, day, hour, minute"),
        ("- X-Tenant", "- AUTHORIZATION", 20, "request_logging.capture_headers", 'names "AUTHORIZATION": headers that carry keys'),
        ("workspaceblobstore", "elsewhere", 11, "collections.model_inputs.data.path", "no folder of the default datastore"),
        ("collected/in", "../in", 11, "collections.model_inputs.data.path", 'a path here has no ".."'),
        ("    request:", "    ../request:", 14, "collections.../request", "needs a name of letters"),
        ("    request:", "    a: {enabled: 3}\n    request:", 14, "collections.a.enabled", 'must be true or false, not "3"'),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(old: str, new: str, line: int, key: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        _load(YAML.replace(old, new))
    assert message in raised.value.message
    assert raised.value.message.startswith(f"YAML:{line}: ")
    assert raised.value.key == f"data_collector.{key}"


def test_a_sixth_collection_is_refused() -> None:
    six = {f"c{number}": {"enabled": "False"} for number in range(6)}
    with pytest.raises(InvalidInput, match="There are 6 collections; a deployment has at most 5") as raised:
        from_dict(DataCollector, {"collections": six}, where="data_collector")
    assert raised.value.key == "data_collector.collections"


@pytest.mark.parametrize("name", sorted(SECRET_HEADERS))
def test_headers_with_secrets_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="never written"):
        RequestLogging(capture_headers=["x-tenant", f" {name.title()} "])
