"""The article's snippets for Python; ``azure.ai.ml`` became ``jupyter_modelreg`` and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg import MLClient
from jupyter_modelreg.entities import Model
from jupyter_modelreg.errors import ModelRegistryError, NotYet

from .conftest import Az


def test_a_client_is_made_with_any_credential(az: Az) -> None:
    from jupyter_modelreg import MLClient

    ml_client = MLClient(object(), "subscription", "resource-group", "workspace")
    assert list(ml_client.models.list()) == []


def test_a_model_is_created_from_a_local_file(ml_client: MLClient, mlflow_model: Path) -> None:
    from jupyter_modelreg.constants import AssetTypes
    from jupyter_modelreg.entities import Model

    file_model = Model(
        path="mlflow-model/model.pkl",
        type=AssetTypes.CUSTOM_MODEL,
        name="local-file-example",
        description="Model created from local file.",
    )
    created = ml_client.models.create_or_update(file_model)
    assert (created.version, created.type) == ("1", "custom_model")


def test_a_model_is_created_from_a_datastore(ml_client: MLClient, home: Path) -> None:
    from jupyter_modelreg.constants import AssetTypes
    from jupyter_modelreg.entities import Model

    folder = home / "datastores" / "workspaceblobstore"
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(b"weights")
    cloud_model = Model(
        path="azureml://datastores/workspaceblobstore/paths/model.pkl",
        name="cloud-path-example",
        type=AssetTypes.CUSTOM_MODEL,
        description="Model created from cloud path.",
    )
    assert ml_client.models.create_or_update(cloud_model).version == "1"


def test_a_model_is_created_from_a_run(ml_client: MLClient, run_id: str) -> None:
    from jupyter_modelreg.constants import AssetTypes
    from jupyter_modelreg.entities import Model

    run_model = Model(
        path=f"runs:/{run_id}/model/",
        name="run-model-example",
        description="Model created from run.",
        type=AssetTypes.MLFLOW_MODEL,
    )
    assert ml_client.models.create_or_update(run_model).job_name == run_id


@pytest.fixture
def registered(ml_client: MLClient, mlflow_model: Path) -> Model:
    """Version 1 of ``run-model-example``."""
    return ml_client.models.create_or_update(Model(path="mlflow-model", name="run-model-example", type="mlflow_model"))


def test_models_are_listed_with_their_versions(ml_client: MLClient, registered: Model, capsys: pytest.CaptureFixture[str]) -> None:
    models = ml_client.models.list()
    for model in models:
        print(model.name, model.version)
    assert capsys.readouterr().out == "run-model-example 1\n"


def test_the_versions_of_a_model_are_listed(ml_client: MLClient, registered: Model) -> None:
    models = ml_client.models.list(name="run-model-example")
    assert [model.version for model in models] == ["1"]


def test_a_version_is_got(ml_client: MLClient, registered: Model) -> None:
    model_example = ml_client.models.get(name="run-model-example", version="1")
    assert model_example.id == registered.id
    assert ml_client.models.get(name="run-model-example", label="latest").version == "1"


def test_description_and_tags_are_updated(ml_client: MLClient, registered: Model) -> None:
    model_example = ml_client.models.get(name="run-model-example", version="1")
    model_example.description = "This is an updated description."
    model_example.tags = {"stage": "Prod"}
    ml_client.models.create_or_update(model=model_example)
    found = ml_client.models.get(name="run-model-example", version="1")
    assert (found.description, found.tags) == ("This is an updated description.", {"stage": "Prod"})


@pytest.mark.parametrize("version", [{}, {"version": "1"}])
def test_a_model_is_archived_and_restored(version: dict[str, str], ml_client: MLClient, registered: Model) -> None:
    ml_client.models.archive(name="run-model-example", **version)
    assert list(ml_client.models.list()) == []
    ml_client.models.restore(name="run-model-example", **version)
    assert len(list(ml_client.models.list())) == 1


def test_a_model_is_downloaded(ml_client: MLClient, registered: Model) -> None:
    ml_client.models.download(name="run-model-example", version="1", download_path="fetched")
    assert Path("fetched/run-model-example/mlflow-model/MLmodel").is_file()


def test_a_model_is_deployed_and_called(ml_client: MLClient, registered: Model) -> None:
    from jupyter_modelreg.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint

    endpoint = ManagedOnlineEndpoint(name="my-endpoint", description="An endpoint", auth_mode="key", tags={"foo": "bar"})
    ml_client.begin_create_or_update(endpoint).result()
    blue_deployment = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="my-endpoint",
        model=ml_client.models.get(name="run-model-example", version="1"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    ml_client.begin_create_or_update(blue_deployment).result()
    endpoint.traffic = {"blue": 100}
    ml_client.begin_create_or_update(endpoint).result()
    Path("sample.json").write_text('{"input_data": [[5.1, 3.5, 1.4, 0.2]]}')
    answer = ml_client.online_endpoints.invoke(endpoint_name="my-endpoint", deployment_name="blue", request_file="sample.json")
    assert answer == "[0]"
    assert ml_client.online_endpoints.get_keys("my-endpoint").primary_key
    ml_client.online_endpoints.begin_delete(name="my-endpoint").result()


def test_a_model_is_an_input_of_a_job_one_can_already_write(ml_client: MLClient) -> None:
    from jupyter_modelreg import Input, Output
    from jupyter_modelreg.constants import AssetTypes

    my_job_inputs = {"input_model": Input(type=AssetTypes.MLFLOW_MODEL, path="azureml:run-model-example:1")}
    my_job_outputs = {"output_folder": Output(type=AssetTypes.CUSTOM_MODEL)}
    assert my_job_inputs["input_model"].path == "azureml:run-model-example:1"
    assert my_job_outputs["output_folder"].type == "custom_model"


@pytest.mark.xfail(strict=True, raises=ImportError, reason="jobs come in a later issue")
def test_a_job_takes_a_model(ml_client: MLClient) -> None:
    from jupyter_modelreg import Input, command

    job = command(
        code="./src",
        command="ls ${{inputs.input_model}}",
        inputs={"input_model": Input(type="mlflow_model", path="azureml:run-model-example:1")},
        environment="AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest",
        compute="cpu-cluster",
    )
    ml_client.jobs.create_or_update(job)


@pytest.mark.xfail(strict=True, raises=NotYet, reason="batch endpoints come in a later issue")
def test_a_batch_endpoint_is_invoked(ml_client: MLClient) -> None:
    ml_client.batch_endpoints.invoke(endpoint_name="my-batch-endpoint")


@pytest.mark.xfail(strict=True, raises=NotYet, reason="jobs come in a later issue")
def test_the_jobs_are_listed(ml_client: MLClient) -> None:
    ml_client.jobs.list()


@pytest.mark.xfail(strict=True, raises=ModelRegistryError, reason="registries come in a later issue")
def test_a_model_is_shared_into_a_registry(ml_client: MLClient, registered: Model) -> None:
    ml_client.models.share(
        name="run-model-example", version="1", registry_name="my-registry", share_with_name="shared", share_with_version="1"
    )
