"""Scoring scripts: what is read before they run, and how ``run`` is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import InvalidInput, NotFound
from jupyter_modelreg.serving import check_script
from jupyter_modelreg.serving.scripts import Script


@pytest.mark.parametrize(
    "text",
    [
        "def init(): pass\ndef run(raw_data): return 1",
        "from common import init, run",
        "from common import *",
        "from common import start as init\nrun = lambda raw_data: 1",
        "try:\n    def init(): pass\nexcept Exception: pass\nif True:\n    def run(raw_data): return 1",
        "import x\n@x.rawhttp\ndef run(request): return 1\ndef init(): pass",
    ],
)
def test_a_script_that_has_both_functions_passes(tmp_path: Path, text: str) -> None:
    (tmp_path / "score.py").write_text(text)
    check_script(str(tmp_path / "score.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "score.py has no init() and no run(); a scoring script defines init() and run(raw_data)."),
        ("def init(): pass", "score.py has no run()"),
        ("def run(x): pass", "score.py has no init()"),
        ("async def run(x): pass\ndef init(): pass", "score.py has no run()"),
        ("class A:\n    def init(self): pass\n    def run(self): pass", "has no init() and no run()"),
        ("def init(): pass\ndef run(", "score.py:2: '(' was never closed."),
        ("def init(): pass\n\x00", "null bytes"),
    ],
)
def test_a_script_that_lacks_something_is_told_before_it_runs(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "score.py").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        check_script(str(tmp_path / "score.py"))
    assert message in caught.value.message
    assert caught.value.key == "code_configuration.scoring_script"


def test_a_missing_script_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("")
    with pytest.raises(NotFound, match=r'scoer\.py\. Did you mean "score\.py"\?'):
        check_script(str(tmp_path / "scoer.py"))
    with pytest.raises(NotFound):
        check_script(str(tmp_path / "nowhere" / "score.py"))


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (lambda raw_data: raw_data, "text"),
        (lambda anything: anything, "text"),
        (lambda raw_data, request_headers: request_headers["a"] + raw_data, "btext"),
        (lambda request_headers, raw_data: request_headers["a"] + raw_data, "btext"),
        (lambda raw_data, limit=3: raw_data[:limit], "tex"),
        (lambda *, raw_data: raw_data, "text"),
    ],
)
def test_run_gets_the_text_and_the_headers_if_it_wants_them(run: Callable[..., Any], answer: str) -> None:
    assert Script(run).score("text", {"a": "b"}) == answer


@pytest.mark.parametrize(
    "run", [lambda: 1, lambda a, b: 1, lambda *rest: 1, lambda **named: 1, lambda a, *rest: 1, lambda a, /: 1, lambda request_headers: 1]
)
def test_a_run_that_cannot_be_called_so_is_refused(run: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match="must take one argument, the request's body, and may take request_headers"):
        Script(run)
