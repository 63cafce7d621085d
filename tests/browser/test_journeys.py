"""Journeys of a person through JupyterLab: register and see it; deploy, call and stop it; share traffic out; break it and read why.

Each step leaves a picture in test-results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jupyter_modelreg import MLClient
from jupyter_modelreg.entities import Model, OnlineDeployment, OnlineEndpoint

pytestmark = pytest.mark.browser

Picture = Callable[[str], None]

TRAIN = """%%model_register iris --tag data=iris
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
X, y = load_iris(return_X_y=True, as_frame=True)
model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
metrics = {"accuracy": round(model.score(X, y), 3)}
model"""


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """A busy machine may take its time; a quiet one is not slowed down."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
def ml_client(home: Path) -> Iterator[MLClient]:
    """The registry that the page shows; endpoints are stopped afterwards."""
    client = MLClient()
    yield client
    for endpoint in client.online_endpoints.list():
        client.online_endpoints.begin_delete(str(endpoint.name))


@pytest.fixture
def iris(ml_client: MLClient) -> Model:
    """A registered classifier of four columns."""
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    X, y = load_iris(return_X_y=True, as_frame=True)
    fitted = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
    return ml_client.models.register("iris", fitted, sample=X.head(3), metrics={"accuracy": 0.96}, tags={"data": "iris"})


@pytest.fixture
def stranger(ml_client: MLClient, tmp_path: Path) -> Model:
    """A pickle that calls on a module which is not there."""
    (tmp_path / "stranger.pkl").write_bytes(b"cmissing_module\nthing\n.")
    return ml_client.models.create_or_update(Model(name="stranger", path="stranger.pkl"))


def open_panel(page: Page) -> Any:
    page.get_by_role("tab", name="Model Registry").click()
    panel = page.get_by_role("region", name="Model Registry")
    expect(panel).to_be_visible()
    return panel


def open_version(panel: Any, name: str) -> Any:
    panel.get_by_role("list", name="Models", exact=True).get_by_role("button", name=name).click()
    version = panel.get_by_role("region", name="Version", exact=True)
    expect(version.get_by_role("heading", level=2)).to_have_text(f"{name}:1")
    return version


def open_notebook(page: Page) -> None:
    """Begin a notebook from the launcher; what is run before its kernel answers is lost."""
    page.get_by_role("region", name="main area").get_by_text("Python 3 (ipykernel)").first.click()
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()


def run_cell(page: Page, number: int, code: str) -> Any:
    """Write a cell into the open notebook, run it and return its output."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number - 1)
    cell.get_by_role("textbox").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-InputArea-prompt")).to_have_text(f"[{number}]:")
    return cell.locator(".jp-Cell-outputArea")


def test_what_a_notebook_registers_appears_in_the_panel_without_reloading(page: Page, picture: Picture) -> None:
    panel = open_panel(page)
    expect(panel.get_by_text("No models yet")).to_be_visible()
    open_notebook(page)
    assert run_cell(page, 1, "%load_ext jupyter_modelreg").inner_text() == ""
    output = run_cell(page, 2, TRAIN)
    expect(output).to_contain_text("accuracy")
    row = panel.get_by_role("list", name="Models", exact=True).get_by_role("button", name="iris")
    expect(row).to_contain_text("v1")
    picture("journey-1-registered")
    version = open_version(panel, "iris")
    expect(version.get_by_role("list", name="Tags")).to_contain_text("iris")
    run_cell(page, 3, TRAIN.replace("max_depth=2", "max_depth=3"))
    panel.get_by_role("button", name="Back to models").click()
    expect(row).to_contain_text("v2")
    picture("journey-1-second-version")


def test_the_traffic_of_two_deployments_is_shared_out_where_they_are_shown(
    iris: Model, page: Page, picture: Picture, ml_client: MLClient
) -> None:
    ml_client.begin_create_or_update(OnlineEndpoint(name="iris"))
    for name in ("blue", "green"):
        ml_client.begin_create_or_update(OnlineDeployment(name=name, endpoint_name="iris", model="azureml:iris:1"))
    ml_client.begin_create_or_update(OnlineEndpoint(name="iris", traffic={"blue": 100}))
    panel = open_panel(page)
    row = panel.get_by_role("list", name="Endpoints").get_by_role("button", name="iris")
    expect(row).to_contain_text("iris:1 +1")
    row.click()
    endpoint = panel.get_by_role("region", name="Endpoint", exact=True)
    deployments = endpoint.get_by_role("form", name="Deployments")
    expect(deployments).to_contain_text("100 % in all")
    deployments.get_by_role("spinbutton", name="Traffic of green in percent").fill("10")
    expect(deployments).to_contain_text("110 % in all: at most 100")
    expect(deployments.get_by_role("button", name="Set traffic")).to_be_disabled()
    deployments.get_by_role("spinbutton", name="Traffic of blue in percent").fill("-90")
    expect(deployments).to_contain_text("No share is below 0")
    expect(deployments.get_by_role("button", name="Set traffic")).to_be_disabled()
    deployments.get_by_role("spinbutton", name="Traffic of blue in percent").fill("90")
    deployments.get_by_role("button", name="Set traffic").click()
    expect(deployments.get_by_role("button", name="Set traffic")).to_be_disabled()
    assert ml_client.online_endpoints.get("iris").traffic == {"blue": 90, "green": 10}
    endpoint.get_by_role("button", name="Send").click()
    expect(endpoint.get_by_role("region", name="Answer", exact=True)).to_have_text(re.compile(r"\[\s*0,\s*0,\s*0\s*\]"))
    expect(deployments).to_contain_text("1 request")
    page.set_viewport_size({"width": 1280, "height": 1500})
    picture("journey-4-shared-out")


def test_a_rollout_is_done_where_it_is_shown(iris: Model, page: Page, picture: Picture, ml_client: MLClient) -> None:
    ml_client.begin_create_or_update(OnlineEndpoint(name="iris"))
    ml_client.begin_create_or_update(OnlineDeployment(name="blue", endpoint_name="iris", model="azureml:iris:1"))
    ml_client.begin_create_or_update(OnlineEndpoint(name="iris", traffic={"blue": 100}))
    page.set_viewport_size({"width": 1280, "height": 1500})
    panel = open_panel(page)
    open_version(panel, "iris").get_by_role("button", name="Deploy", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Deployment").select_option("Beside the others")
    expect(dialog.get_by_role("textbox", name="Its name")).to_have_value("green")
    picture("journey-5-dialog")
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    endpoint = panel.get_by_role("region", name="Endpoint", exact=True)
    deployments = endpoint.get_by_role("form", name="Deployments")
    green = deployments.get_by_role("group", name="Deployment green")
    expect(green).to_contain_text("healthy")
    set_traffic = deployments.get_by_role("button", name="Set traffic")
    deployments.get_by_role("combobox", name="Copies to").select_option("green")
    deployments.get_by_role("spinbutton", name="Copies of the traffic in percent").fill("20")
    set_traffic.click()
    expect(set_traffic).to_be_disabled()
    assert ml_client.online_endpoints.get("iris").mirror_traffic == {"green": 20}
    instances = green.get_by_role("spinbutton", name="Instances of green")
    instances.fill("0")
    instances.press("Enter")
    expect(endpoint.get_by_role("alert")).to_contain_text("instance_count is 0; it must be from 1 to 64")
    expect(instances).to_have_value("0")
    instances.fill("2")
    instances.press("Enter")
    expect(green).to_contain_text("2 instances")
    green.get_by_role("button", name="Log").click()
    expect(endpoint.get_by_role("log")).to_contain_text("iris/green loads iris:1")
    picture("journey-5-mirrored")
    deployments.get_by_role("combobox", name="Copies to").select_option("nobody")
    deployments.get_by_role("spinbutton", name="Traffic of blue in percent").fill("0")
    deployments.get_by_role("spinbutton", name="Traffic of green in percent").fill("100")
    set_traffic.click()
    expect(set_traffic).to_be_disabled()
    deployments.get_by_role("group", name="Deployment blue").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(deployments).not_to_contain_text("blue")
    assert [item.name for item in ml_client.online_deployments.list("iris")] == ["green"]
    endpoint.get_by_role("button", name="Send").click()
    expect(endpoint.get_by_role("region", name="Answer", exact=True)).to_have_text(re.compile(r"\[\s*0,\s*0,\s*0\s*\]"))
    expect(deployments).to_contain_text("half within")  # by itself, while one looks
    picture("journey-5-rolled-out")


def test_a_model_is_deployed_called_and_stopped_where_it_is_shown(iris: Model, page: Page, picture: Picture, ml_client: MLClient) -> None:
    panel = open_panel(page)
    open_version(panel, "iris").get_by_role("button", name="Deploy", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("textbox", name="Endpoint name")).to_have_value("iris")
    picture("journey-2-dialog")
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    endpoint = panel.get_by_role("region", name="Endpoint", exact=True)
    expect(endpoint).to_contain_text("healthy")
    expect(endpoint.get_by_role("textbox", name="Request")).to_have_value(re.compile("input_data"))
    endpoint.get_by_role("button", name="Send").click()
    expect(endpoint.get_by_role("region", name="Answer", exact=True)).to_have_text(re.compile(r"\[\s*0,\s*0,\s*0\s*\]"))
    expect(endpoint.get_by_role("status")).to_have_text(re.compile(r"\d ms"))
    picture("journey-2-answered")
    endpoint.get_by_role("button", name="Show keys").click()
    endpoint.get_by_role("button", name="Copy primary key").click()
    said = page.locator(".Toastify__toast")
    expect(said).to_contain_text("Copied")
    expect(said).not_to_contain_text(ml_client.online_endpoints.get_keys("iris").primary_key)  # the list of notifications stays
    page.get_by_role("tab", name="Running Terminals and Kernels").click()
    item = page.locator("#jp-running-sessions .jp-RunningSessions-item").filter(has_text="iris:1")
    expect(item).to_be_visible()
    item.hover()
    picture("journey-2-running")
    item.get_by_title("Shut Down").click()
    expect(item).to_have_count(0)
    page.get_by_role("tab", name="Model Registry").click()
    expect(panel.get_by_text("No endpoints.")).to_be_visible()
    picture("journey-2-stopped")
    assert ml_client.online_endpoints.list() == []


def test_what_goes_wrong_is_said_where_the_person_looks(iris: Model, stranger: Model, page: Page, picture: Picture) -> None:
    panel = open_panel(page)
    open_version(panel, "stranger").get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Deploy", exact=True).click()
    refusal = page.get_by_role("dialog").filter(has_text="can run code")
    expect(refusal).to_contain_text("missing_module")
    picture("journey-3-refused")
    refusal.get_by_role("button", name="Trust and deploy").click()
    endpoint = panel.get_by_role("region", name="Endpoint", exact=True)
    expect(endpoint).to_contain_text("failed")
    expect(endpoint.get_by_role("alert")).to_contain_text("missing_module, which is not installed here")
    expect(endpoint.get_by_role("log", name="Log")).to_contain_text("AZUREML_MODEL_DIR=")
    picture("journey-3-did-not-start")

    panel.get_by_role("button", name="Back to models").click()
    open_version(panel, "iris").get_by_role("button", name="Deploy", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Endpoint name").fill("no name!")
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text('"no name!" is no name of an endpoint')
    expect(dialog.get_by_role("textbox", name="Endpoint name")).to_have_value("no name!")
    picture("journey-3-no-name")
    dialog.get_by_role("textbox", name="Endpoint name").fill("iris")
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    expect(endpoint).to_contain_text("healthy")
    request = endpoint.get_by_role("textbox", name="Request")
    for body, words in ("no json", "JSON"), ('{"input_data": [[1, 2]]}', "4"):
        request.fill(body)
        endpoint.get_by_role("button", name="Send").click()
        expect(endpoint.get_by_role("alert")).to_contain_text(words)
        picture(f"journey-3-{'wrong-columns' if 'data' in body else 'no-json'}")
    request.fill('{"input_data": [[5.1, 3.5, 1.4, 0.2]]}')
    endpoint.get_by_role("button", name="Send").click()
    expect(endpoint.get_by_role("region", name="Answer", exact=True)).to_have_text(re.compile(r"\[\s*0\s*\]"))
    expect(endpoint.get_by_role("alert")).to_have_count(0)
