"""The Python door where it differs from the others: Azure's names, types and manners."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_modelreg import MLClient, load_environment, load_model, load_online_deployment, load_online_endpoint
from jupyter_modelreg.constants import ListViewType
from jupyter_modelreg.doors import client
from jupyter_modelreg.entities import Environment, Model, OnlineDeployment, OnlineEndpoint
from jupyter_modelreg.errors import Conflict, InvalidInput, NotFound, NotYet


@pytest.fixture
def ml_client() -> MLClient:
    return MLClient.from_config()


@pytest.fixture
def churn(ml_client: MLClient, tmp_path: Path) -> Model:
    """Version 1 of a model."""
    (tmp_path / "churn.txt").write_text("weights")
    return ml_client.models.create_or_update(Model(name="churn", path="churn.txt", tags={"stage": "dev"}))


@pytest.mark.parametrize("credential", [None, "anything", object()])
def test_any_credential_will_do_and_no_file_is_needed(credential: object) -> None:
    client = MLClient.from_config(credential, path=".azureml", file_name="config.json", logging_enable=True)
    assert client.models.list() == []
    assert MLClient(credential, "subscription", "group", "space").workspace_name == "space"


def test_settings_may_be_given_as_keywords(tmp_path: Path) -> None:
    client = MLClient(home=tmp_path / "mine")
    (tmp_path / "m.txt").write_text("weights")
    client.create_or_update(Model(name="m", path="m.txt"))
    assert (tmp_path / "mine" / "catalog.sqlite").is_file()
    assert MLClient().models.list() == []


def test_a_registry_is_not_there_yet_and_a_workspace_beside_it_is_wrong() -> None:
    with pytest.raises(NotFound, match="registries come in a later version"):
        MLClient(registry_name="shared")
    with pytest.raises(InvalidInput, match="cannot be used together"):
        MLClient(None, "s", "g", "space", registry_name="shared")


def test_a_version_or_a_label_is_needed_and_not_both(ml_client: MLClient, churn: Model) -> None:
    with pytest.raises(InvalidInput, match="Must provide either version or label"):
        ml_client.models.get("churn")
    with pytest.raises(InvalidInput, match="Cannot specify both version and label"):
        ml_client.models.get("churn", version="1", label="latest")


def test_a_changed_entity_changes_what_may_change(ml_client: MLClient, churn: Model) -> None:
    churn.description, churn.tags = "Who leaves", {"stage": "prod"}
    changed = ml_client.models.create_or_update(churn)
    assert (changed.version, changed.description, changed.tags) == ("1", "Who leaves", {"stage": "prod"})
    Path("other.txt").write_text("other weights")
    with pytest.raises(Conflict, match="versions never change"):
        ml_client.models.create_or_update(Model(name="churn", version="1", path="other.txt"))


def test_a_version_is_carried_in_a_file(ml_client: MLClient, churn: Model, tmp_path: Path) -> None:
    exported = ml_client.models.export("churn", "1", path=tmp_path)
    assert exported.model == "churn:1"
    with pytest.raises(Conflict):
        ml_client.models.export("churn", label="latest", path=exported.path)
    carried = ml_client.models.import_file(exported.path, name="carried")
    assert (carried.name, carried.version, carried.digest) == ("carried", "1", exported.digest)


def test_lists_show_what_the_view_type_says(ml_client: MLClient, churn: Model) -> None:
    ml_client.models.archive("churn")
    names = {
        kind: [model.name for model in ml_client.models.list(list_view_type=kind)]
        for kind in (ListViewType.ACTIVE_ONLY, ListViewType.ARCHIVED_ONLY, ListViewType.ALL)
    }
    assert names == {"ActiveOnly": [], "ArchivedOnly": ["churn"], "All": ["churn"]}


class TestPages:
    @pytest.fixture(autouse=True)
    def five(self, ml_client: MLClient, churn: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        """Five versions, and pages of two."""
        for number in range(4):
            Path("churn.txt").write_text(f"other weights {number}")
            ml_client.models.create_or_update(Model(name="churn", path="churn.txt", tags={"stage": "prod"}))
        monkeypatch.setattr(client, "PAGE", 2)

    def test_a_list_is_read_page_by_page_as_it_is_looked_at(self, ml_client: MLClient, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        ask = ml_client._workspace.catalog.list_models
        monkeypatch.setattr(ml_client._workspace.catalog, "list_models", lambda **words: asked.append(words["page"]) or ask(**words))  # type: ignore[func-returns-value]
        models = ml_client.models.list(filter="order by created desc")
        assert (len(asked), bool(models), models[0].version) == (1, True, "5")
        walk = iter(models)
        assert [next(walk).version for _ in range(3)] == ["5", "4", "3"]
        assert len(asked) == 2
        assert [model.version for model in models] == ["5", "4", "3", "2", "1"] == [model.version for model in models]
        assert len(asked) == 3

    def test_it_is_whatever_a_list_is(self, ml_client: MLClient) -> None:
        models = ml_client.models.list("churn")
        assert (len(models), models[-1].version, [model.version for model in models[1:3]]) == (5, "1", ["4", "3"])
        assert models == list(models) == ml_client.models.list("churn")
        assert models != []
        assert models[4] in models
        assert repr(models) == repr(list(models))
        assert [model.version for model in reversed(models)] == ["1", "2", "3", "4", "5"]
        with pytest.raises(IndexError):
            models[5]

    def test_at_most_so_many_are_read_in_all(self, ml_client: MLClient) -> None:
        models = ml_client.models.list("churn", max_results=3)
        assert [model.version for model in models] == ["5", "4", "3"]
        assert [model.version for model in ml_client.models.list("churn", page=models.next_page)] == ["2", "1"]
        with pytest.raises(InvalidInput, match="max_results must be at least 1"):
            ml_client.models.list(max_results=0)

    def test_azures_pages_go_on_from_a_token(self, ml_client: MLClient) -> None:
        pages = list(ml_client.models.list("churn", tags={"stage": "prod"}).by_page())
        assert [[model.version for model in page] for page in pages] == [["5", "4"], ["3", "2"]]
        (rest,) = ml_client.models.list("churn", tags={"stage": "prod"}).by_page(pages[0].next_page)
        assert [model.version for model in rest] == ["3", "2"]

    def test_what_is_wrong_is_said_where_it_is_asked(self, ml_client: MLClient) -> None:
        with pytest.raises(InvalidInput, match='There is no field "nmae"'):
            ml_client.models.list(filter="nmae = 'x'")
        with pytest.raises(NotFound):
            ml_client.models.list("nobody")


def test_environments_have_azures_names(ml_client: MLClient) -> None:
    conda = {"dependencies": ["python=3.11", {"pip": ["six"]}]}
    made = ml_client.environments.create_or_update(Environment(name="tools", conda_file=conda, tags={"team": "north"}))
    assert (made.name, made.version, made.conda_file) == ("tools", "1", conda)
    again = ml_client.create_or_update(Environment(name="tools", conda_file=conda, description="Tools"))
    assert (again.version, again.description, again.tags) == ("1", "Tools", {"team": "north"})
    ml_client.environments.create_or_update(Environment(name="tools", image="python:3.11"))
    assert [item.version for item in ml_client.environments.list("tools")] == ["2", "1"]
    assert ml_client.environments.get("tools", label="latest").image == "python:3.11"
    with pytest.raises(InvalidInput, match="Must provide either version or label"):
        ml_client.environments.get("tools")
    ml_client.environments.archive("tools", "2")
    assert [item.version for item in ml_client.environments.list("tools", list_view_type=ListViewType.ARCHIVED_ONLY)] == ["2"]
    ml_client.environments.restore("tools", label="latest")
    assert [item.version for item in ml_client.environments.list()] == ["2"]
    with pytest.raises(NotFound, match="registries come in a later version"):
        ml_client.environments.share("tools", "1", share_with_name="t", share_with_version="1", registry_name="r")
    with pytest.raises(NotFound, match="nothing to make"):
        ml_client.environments.build(ml_client.environments.create_or_update(Environment(image="ubuntu")).name)
    assert ml_client.environments.delete("tools", "1").names == ["tools:1"]


def test_an_environment_without_a_name_gets_one_made_of_its_content(ml_client: MLClient) -> None:
    made = [ml_client.environments.create_or_update(Environment(image="python:3.11")) for _ in range(2)]
    assert made[0] == made[1]
    assert (made[0].name, made[0].version) == (f"anonymous-{made[0].digest[:16]}", "1")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("jobs", "Jobs"),
        ("data", "Data assets"),
        ("registries", "Registries"),
        ("batch_endpoints", "Batch endpoints"),
        ("batch_deployments", "Batch endpoints"),
        ("components", "Components of pipelines"),
        ("schedules", "Schedules"),
    ],
)
def test_what_a_later_version_brings_says_so(name: str, word: str, ml_client: MLClient) -> None:
    with pytest.raises(NotYet, match=f"^{word} come in a later version.$"):
        getattr(ml_client, name).list()


def test_other_entities_than_this_version_has_say_so(ml_client: MLClient) -> None:
    with pytest.raises(NotYet, match="not OnlineEndpoint"):
        ml_client.create_or_update(OnlineEndpoint(name="e"))  # type: ignore[arg-type]
    with pytest.raises(NotYet, match="not Model"):
        ml_client.begin_create_or_update(Model(name="m", path="p"))  # type: ignore[arg-type]


def test_a_poller_is_done_when_it_is_made(ml_client: MLClient) -> None:
    poller = ml_client.begin_create_or_update(OnlineEndpoint(name="story"))
    poller.wait(timeout=1)
    assert (poller.done(), poller.status(), poller.result().name) == (True, "Succeeded", "story")
    assert ml_client.online_endpoints.begin_delete("story").result() is None


def test_yaml_becomes_the_entity_it_describes(tmp_path: Path) -> None:
    (tmp_path / "e.yml").write_text("name: story\nauth_mode: key\n")
    assert load_online_endpoint("e.yml", params_override=[{"name": "other"}]) == OnlineEndpoint(name="other")
    (tmp_path / "d.yml").write_text("name: blue\nendpoint_name: story\nmodel: azureml:churn:1\n")
    assert load_online_deployment(tmp_path / "d.yml").model == "azureml:churn:1"  # type: ignore[arg-type]
    (tmp_path / "env.yml").write_text("name: env\nimage: python:3.11\n")
    assert load_environment("env.yml").image == "python:3.11"
    assert isinstance(load_online_deployment("d.yml"), OnlineDeployment)


def test_a_streams_paths_start_where_it_is_said_to_come_from(tmp_path: Path) -> None:
    text = "name: churn\npath: weights\n"
    assert load_model(io.StringIO(text), relative_origin=str(tmp_path / "there")).path == str(tmp_path / "there" / "weights")
    (tmp_path / "m.yml").write_text(text)
    assert load_model(io.StringIO(text), relative_origin=str(tmp_path / "m.yml")).path == str(tmp_path / "weights")


def test_code_that_catches_azures_own_error_catches_ours() -> None:
    pytest.importorskip("azure.core", reason="azure-core is not installed")
    code = """
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from jupyter_modelreg import MLClient
from jupyter_modelreg.errors import NotFound
client = MLClient()
for ask in (
    lambda: client.models.get("nobody", version="1"),
    lambda: client.models.load("nobody"),
    lambda: client.online_endpoints.get("nobody"),
    lambda: client.online_deployments.get("blue", "nobody"),
):
    try:
        ask()
    except ResourceNotFoundError as error:
        assert isinstance(error, NotFound) and isinstance(error, HttpResponseError)
        print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("There is no ") == 4


def test_without_azures_package_nothing_of_it_is_imported(ml_client: MLClient) -> None:
    code = "import sys; from jupyter_modelreg import MLClient; MLClient().models.list(); print([n for n in sys.modules if n.startswith('azure')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
