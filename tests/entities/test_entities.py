"""What a person constructs in Python."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from jupyter_modelreg import entities
from jupyter_modelreg.entities import Datastore, Difference, Model, OnlineEndpoint
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.records import Record, from_dict


def test_every_public_name_is_a_record_and_the_names_are_these() -> None:
    for name in entities.__all__:
        assert issubclass(getattr(entities, name), Record)
    assert dir(entities) == entities.__all__ == sorted(entities.__all__)
    for module in ("answers", "collection", "datastore", "environment", "model", "online"):
        imported = __import__(f"jupyter_modelreg.entities.{module}", fromlist=["x"])
        own = {name for name, item in vars(imported).items() if isinstance(item, type) and item.__module__ == imported.__name__}
        assert own <= set(entities.__all__), module


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Modle"):
        entities.Modle  # noqa: B018
    with pytest.raises(ImportError, match="Modle"):
        exec("from jupyter_modelreg.entities import Modle")


def test_importing_one_entity_imports_no_other() -> None:
    script = (
        "import sys; from jupyter_modelreg.entities import Model; "
        "print([name for name in ('yaml', 'numpy', 'typing', 'dataclasses', 'jupyter_modelreg.entities.online') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "m", "version": 1}, "Asset version must be a string, not type <class 'int'>"),
        ({"version": "1"}, "If version is specified, name must be specified also."),
    ],
)
def test_a_model_that_contradicts_itself_is_azures_own_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Model(**values)
    assert (raised.value.message, raised.value.key) == (message, "version")


@pytest.mark.parametrize("spelling", ["MLFlowModel", "mlflowmodel", "mlflow_model"])
def test_older_spellings_of_a_type_work_in_python(spelling: str) -> None:
    assert Model(name="m", type=spelling).type == "mlflow_model"


def test_a_keyword_that_is_no_field_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r'Model has no "descripton"\. Did you mean "description"\?'):
        Model(descripton="x")  # type: ignore[call-arg]


def test_defaults_are_not_shared() -> None:
    Model().tags["a"] = "b"
    assert Model().tags == {}


def test_azures_names_are_the_same_entities() -> None:
    assert entities.ManagedOnlineEndpoint is entities.KubernetesOnlineEndpoint is OnlineEndpoint
    assert entities.ManagedOnlineDeployment is entities.KubernetesOnlineDeployment is entities.OnlineDeployment


def test_answers_go_to_json_and_back() -> None:
    difference = Difference(group="metrics", name="auc", first="0.5", second="0.75", delta=0.25)
    assert from_dict(Difference, difference.to_dict()) == difference
    assert Datastore().to_dict() == {"name": "workspaceblobstore", "type": "local_folder", "tags": {}, "is_default": True}
