"""A real JupyterLab with a real token and this checkout's panel, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.request import urlopen

import pytest

playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "labextension"
BUILT = ROOT / "jupyter_modelreg" / "labextension"
RESULTS = ROOT / "test-results"
TOKEN = "a-token-of-the-tests"
START_SECONDS = 60
# Without the last three, Chromium asks its maker's servers for updates, which only fills the log where there is no network.
CHROMIUM_WORDS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the browser that CHROMIUM_PATH names, or the system's."""
    names = (os.environ.get("CHROMIUM_PATH"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="package")  # no longer: Playwright's event loop runs in this thread, where other tests have theirs
def browser() -> Iterator[Any]:
    """A running Chromium; without one the journeys are skipped, except in continuous integration."""
    path = find_chromium() or _miss("no Chromium found; scripts/test says how to get one")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=CHROMIUM_WORDS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of extensions with the panel of this checkout, built anew when its sources are younger than the build."""
    if _is_stale():
        if not shutil.which("node"):
            _miss("the panel is not built and Node.js, which builds it, was not found")
        if not (SOURCES / "node_modules").is_dir():
            _jlpm("install", "--immutable")
        _jlpm("build")
    folder = tmp_path_factory.mktemp("extensions")
    shutil.copytree(BUILT, folder / "jupyter-modelreg")  # whoever builds meanwhile does not disturb the browser
    return folder


@pytest.fixture
def lab(home: Path, panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a JupyterLab, started in an empty folder with the settings of a new user."""
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(_quiet_settings(tmp_path / "settings")))
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(tmp_path / "workspaces"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "work").mkdir()
    port = _free_port()
    words = [f"--port={port}", "--port-retries=0", f"--IdentityProvider.token={TOKEN}", "--no-browser", "--ServerApp.allow_root=True"]
    words += [f"--ServerApp.root_dir={tmp_path / 'work'}", f"--LabApp.extra_labextensions_path={panel}"]
    with (tmp_path / "lab.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *words], stdout=log, stderr=log)
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}/api", process, tmp_path / "lab.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def page(browser: Any, lab: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """JupyterLab in a window, ready to be used. The last thing seen is kept in test-results."""
    window = browser.new_page(viewport={"width": 1280, "height": 800})
    window.set_default_timeout(30_000)
    window.goto(f"{lab}/lab?token={TOKEN}&reset")
    window.locator("#jupyterlab-splash").wait_for(state="detached")
    yield window
    window.screenshot(path=_result(request.node.name))
    window.close()


@pytest.fixture
def picture(page: Any) -> Callable[[str], None]:
    """Save what the page shows under a name in test-results, for people to look at."""
    return lambda name: page.screenshot(path=_result(name))


def _miss(message: str) -> NoReturn:
    """Skip, or fail in continuous integration, which must not pass for want of a part."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _is_stale() -> bool:
    built = BUILT / "package.json"
    files = [SOURCES / "package.json", *(file for name in ("src", "style", "schema") for file in (SOURCES / name).rglob("*"))]
    return not built.exists() or max(file.stat().st_mtime for file in files) > built.stat().st_mtime


def _jlpm(*words: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["jlpm", *words], cwd=SOURCES, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _result(name: str) -> Path:
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{name}.png"


def _quiet_settings(folder: Path) -> Path:
    """Settings without the question about Jupyter news, which covers a corner of a new user's first page."""
    file = folder / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    file.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, log.read_text()
            sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer within {START_SECONDS} s:\n{log.read_text()}")
