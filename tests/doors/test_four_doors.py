"""One story through Python, shell, magics and REST: the same answers, the same errors."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import scenario

STEP_NAMES = [f"{number:02d} {noun} {verb} {values.get('name', '')}" for number, (noun, verb, values) in enumerate(scenario.STEPS)]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets up a fresh folder and registry for one door."""

    def enter(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        scenario.make_files(folder)
        monkeypatch.setenv("MODELREG_HOME", str(folder / "home"))
        monkeypatch.chdir(folder)
        return folder

    return enter


@pytest.fixture
def told(stage: Any) -> list[Any]:
    """The story as Python tells it; the others are held against it."""
    stage("python")
    return scenario.tell(scenario.ask_python)


def _same(ours: list[Any], told: list[Any], error_of: Any) -> None:
    for name, answer, expected in zip(STEP_NAMES, ours, told, strict=True):
        wanted = scenario.error_class(expected)
        if wanted is None:
            assert answer == expected, name
        else:
            assert error_of(answer, wanted) == expected["message"], name


def test_the_story_has_the_ends_it_should_have(told: list[Any]) -> None:
    by_name = dict(zip(STEP_NAMES, told, strict=True))
    failures = {name: answer["error"] for name, answer in by_name.items() if scenario.error_class(answer)}
    assert sorted(set(failures.values())) == ["Conflict", "InvalidInput", "NotFound", "Unavailable"]
    assert len(failures) == 69
    bodies = [answer["body"] for (_, verb, _), answer in zip(scenario.STEPS, told, strict=True) if verb == "invoke" and "body" in answer]
    assert bodies == [[3.0, 6.0]]
    assert [item["name"] for item in told[-3]] == ["scaler"]
    assert told[-3][0]["version"] == "3"  # 2 was deleted; its number is not used again


def test_the_shell_tells_the_same_story(stage: Any, told: list[Any]) -> None:
    stage("shell")

    def error_of(answer: Any, wanted: Any) -> str:
        assert answer["exit"] == wanted.exit_code
        return str(answer["message"])

    _same(scenario.tell(scenario.ask_shell), told, error_of)


def test_the_magics_tell_the_same_story(stage: Any, told: list[Any]) -> None:
    stage("magics")

    def error_of(answer: Any, wanted: Any) -> str:
        assert answer["error"] == wanted.__name__
        return str(answer["message"])

    _same(scenario.tell(scenario.magic_door()), told, error_of)


def test_rest_tells_the_same_story(stage: Any, told: list[Any]) -> None:
    folder = stage("rest")

    def error_of(answer: Any, wanted: Any) -> str:
        assert (answer["status"], answer["error"]) == (wanted.status, wanted.__name__)
        return str(answer["message"])

    with _server(folder) as (url, token):
        _same(scenario.tell(scenario.rest_door(url, token)), told, error_of)


class _server:
    """A real Jupyter server with a real token on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> tuple[str, str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        token = "the-story"
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self._folder,
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "ServerApp.jpserver_extensions": {"jupyter_modelreg": True},
            "IdentityProvider.token": token,
        }
        words = [sys.executable, "-m", "jupyter_server", *(f"--{name}={value}" for name, value in options.items())]
        self._log = (self._folder / "server.log").open("w")
        self._process = subprocess.Popen(words, stdout=self._log, stderr=subprocess.STDOUT, cwd=self._folder)
        url = f"http://127.0.0.1:{port}/"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}api", timeout=5).close()
                return url, token
            except OSError:
                assert self._process.poll() is None, (self._folder / "server.log").read_text()
                time.sleep(0.1)
        raise AssertionError((self._folder / "server.log").read_text())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()


@pytest.fixture(autouse=True)
def _stop_endpoints(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no worker behind when a story breaks off."""
    yield
    from jupyter_modelreg import MLClient

    for endpoint in MLClient().online_endpoints.list():
        MLClient().online_endpoints.begin_delete(str(endpoint.name))
