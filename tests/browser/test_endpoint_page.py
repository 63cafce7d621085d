"""The page of an endpoint: opened with a key, tried, and nothing of the key left anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ..serving.service import KEY, Service
from ..serving.test_openapi import models
from .conftest import _result

pytestmark = pytest.mark.browser


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A deployment of models of every kind."""
    with Service(tmp_path, models()) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_tries_the_model_on_its_page(browser: Any, service: Service, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{service.port}/docs")
    expect(page.locator("#all")).to_be_hidden()
    page.get_by_role("textbox", name="Key").fill("a wrong one")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#said")).to_contain_text("The key is missing or wrong")
    page.get_by_role("textbox", name="Key").fill(KEY)
    page.get_by_role("textbox", name="Key").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("blue")
    expect(page.locator("#title")).to_have_text("POST /score")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status")).to_contain_text("200 OK")
    expect(page.get_by_label("Answer")).to_have_text("[0]")
    page.get_by_label("to deployment").fill("blue")
    expect(page.get_by_label("Command for a shell")).to_contain_text("--header 'azureml-model-deployment: blue'")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status")).to_contain_text("blue")
    page.screenshot(path=_result(f"endpoint-page-{scheme}"), full_page=True)
    page.get_by_role("button", name="/v2/models/pair/infer").click()
    page.get_by_label("Body").fill("{")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status")).to_contain_text("400")
    expect(page.get_by_label("Answer")).to_contain_text("The body is not JSON")
    expect(page.get_by_label("Command for a shell")).to_contain_text('--header "Authorization: Bearer $KEY"')
    assert all(url.startswith(f"http://127.0.0.1:{service.port}/") and KEY not in url for url in asked)
    assert KEY not in page.url
    assert page.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert KEY not in page.content()
    page.close()


def test_what_a_model_is_called_is_text_and_nothing_else(browser: Any, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    described = models()[:1]
    described[0].name = hostile
    with Service(tmp_path, described) as service:
        page = browser.new_page()
        said: list[str] = []
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(f"http://127.0.0.1:{service.port}/docs")
        page.get_by_role("textbox", name="Key").fill(KEY)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("button", name=f"/v2/models/{hostile}/infer")).to_be_visible()
        assert (said, page.locator("img").count()) == ([], 0)
        page.close()
