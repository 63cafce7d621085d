"""What only the panel does: reached by keyboard, fit for a narrow sidebar in the dark, and honest when its server part is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from jupyter_modelreg import __version__
from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import CreateOnlineEndpoint, DeleteOnlineEndpoint, DeployModel, UpdateOnlineEndpoint
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.models import create_model
from jupyter_modelreg.online import create_endpoint, delete_endpoint, deploy_model, update_endpoint
from jupyter_modelreg.workspace import Workspace

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LONG = "a-name-" + "that-goes-on-" * 15 + "and-ends"


@pytest.fixture
def models(workspace: Workspace, tmp_path: Path) -> None:
    """A model with two versions, and one whose name and tags fit no sidebar."""
    weights = tmp_path / "weights.bin"
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        create_model(workspace, CreateModel(name="churn", path=str(weights), tags={"stage": "dev"}))
    create_model(workspace, CreateModel(name=LONG, path=str(weights), description=LONG, tags={"key" * 20: "value" * 20}, stage="s" * 60))


@pytest.fixture
def dark(tmp_path: Path) -> None:
    """JupyterLab's configuration when the dark theme is the usual one."""
    file = tmp_path / "config" / "labconfig" / "default_setting_overrides.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}}))


@pytest.fixture
def no_server_part(tmp_path: Path) -> None:
    """Jupyter's configuration when the server part is switched off."""
    file = tmp_path / "config" / "jupyter_server_config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"jupyter_modelreg": False}}}))


def open_panel(page: Any) -> Any:
    """Open the panel by its tab in the sidebar."""
    page.get_by_role("tab", name="Model Registry").click()
    return page.locator("#jp-modelreg-panel")


def model_rows(page: Any) -> Any:
    """The list of models."""
    return page.get_by_role("list", name="Models", exact=True)


def overflow(page: Any) -> list[str]:
    """Return which parts of the panel are wider than the sidebar."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('.jp-modelreg-Section, .jp-modelreg-Page')]
            .filter(part => part.scrollWidth > part.clientWidth).map(part => part.className)"""
    )
    return found


@pytest.mark.usefixtures("models")
def test_a_model_is_found_opened_and_left_by_keyboard(page: Any) -> None:
    page.locator(".jp-LauncherCard").first.wait_for()  # it takes the focus when it comes
    open_panel(page)
    model_rows(page).get_by_role("button", name=LONG).wait_for()
    page.keyboard.press("Control+Alt+m")
    expect(page.get_by_role("textbox", name="Search models")).to_be_focused()
    page.keyboard.type("chur")
    model_rows(page).get_by_role("button", name=LONG).wait_for(state="detached")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="churn:2").wait_for()
    page.keyboard.press("Enter")  # on the way back, which has the focus
    model_rows(page).wait_for()
    assert page.evaluate("document.activeElement.title") == "churn"


@pytest.mark.usefixtures("models", "dark")
def test_nothing_overflows_a_narrow_sidebar_in_the_dark(page: Any, picture: Callable[[str], None]) -> None:
    open_panel(page)
    model_rows(page).get_by_role("button").first.wait_for()
    assert page.evaluate("document.body.dataset.jpThemeName") == "JupyterLab Dark"
    page.add_style_tag(content=".jp-modelreg-Section { width: 200px !important }")
    picture("panel-dark-list")
    assert overflow(page) == []
    model_rows(page).get_by_role("button", name=LONG).click()
    page.get_by_role("button", name="Deploy", exact=True).wait_for()
    picture("panel-dark-version")
    assert overflow(page) == []


@pytest.fixture
def crowded(workspace: Workspace, tmp_path: Path) -> Iterator[str]:
    """An endpoint whose names fit no sidebar, with a deployment that answers, one that gets copies, and one that failed at length."""
    (tmp_path / "weights.bin").write_bytes(b"one")
    create_model(workspace, CreateModel(name="churn", path=str(tmp_path / "weights.bin")))
    (tmp_path / "good.py").write_text("def init(): pass\ndef run(raw_data): return 1\n")
    (tmp_path / "bad.py").write_text(f"def init(): raise OSError('{LONG} {'/x' * 90}')\ndef run(raw_data): return 1\n")
    endpoint = "an-endpoint-whose-name-goes-on-x"
    create_endpoint(workspace, CreateOnlineEndpoint(name=endpoint))
    for name, script in (("the-first-deployment-of-them-all", "good"), ("copies", "good"), ("broken", "bad")):
        with suppress(Unavailable):
            command = DeployModel(name="churn", endpoint_name=endpoint, deployment_name=name, scoring_script=str(tmp_path / f"{script}.py"))
            deploy_model(workspace, command)
    update_endpoint(workspace, UpdateOnlineEndpoint(name=endpoint, mirror_traffic="copies=20"))
    yield endpoint
    delete_endpoint(workspace, DeleteOnlineEndpoint(name=endpoint))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_of_an_endpoint_overflows_a_narrow_sidebar(theme: str, crowded: str, request: Any) -> None:
    if theme == "dark":
        request.getfixturevalue("dark")
    page, picture = request.getfixturevalue("page"), request.getfixturevalue("picture")
    page.set_viewport_size({"width": 1000, "height": 1900})
    panel = open_panel(page)
    page.add_style_tag(content=".jp-modelreg-Section { width: 200px !important }")
    panel.get_by_role("list", name="Endpoints").get_by_role("button").click()
    broken = panel.get_by_role("group", name="Deployment broken")
    expect(broken.get_by_role("alert")).to_contain_text("OSError")
    broken.get_by_role("button", name="Log").click()
    expect(panel.get_by_role("log")).to_contain_text("OSError")
    expect(panel.get_by_role("combobox", name="Copies to")).to_have_value("copies")
    panel.get_by_role("button", name="Show keys").click()
    panel.get_by_role("button", name="Hide keys").wait_for()
    picture(f"panel-{theme}-endpoint")
    assert overflow(page) == []


@pytest.mark.usefixtures("no_server_part")
def test_a_missing_server_part_is_answered_with_the_command_that_mends_it(page: Any) -> None:
    panel = open_panel(page)
    panel.get_by_role("alert").get_by_text("jupyter server extension enable jupyter_modelreg").wait_for()
    assert model_rows(page).count() == 0


def test_what_another_process_registers_appears_by_itself(page: Any, workspace: Workspace, tmp_path: Path) -> None:
    open_panel(page)
    page.get_by_text("%%model_register").wait_for()
    (tmp_path / "weights.bin").write_bytes(b"weights")
    create_model(workspace, CreateModel(name="churn", path=str(tmp_path / "weights.bin")))
    model_rows(page).get_by_role("button", name="churn").wait_for(timeout=10_000)  # polling would take thirty seconds


def test_the_panel_and_the_package_have_one_version() -> None:
    assert json.loads((ROOT / "labextension" / "package.json").read_text())["version"] == __version__
