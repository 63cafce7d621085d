from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import CompletionContext, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from jupyter_modelreg import MLClient
from jupyter_modelreg.doors import completion
from jupyter_modelreg.doors.completion import make_matcher
from jupyter_modelreg.entities import Model, OnlineEndpoint
from jupyter_modelreg.workspace import open_workspace

from .conftest import Notebook

Ask = Callable[[str], list[str]]


@pytest.fixture
def ask(churn: Path) -> Ask:
    """Ask our matcher alone what completes a line; the registry has churn:1, churn:2, iris:1 and an endpoint."""
    MLClient().models.create_or_update(Model(name="iris", path="churn.txt", stage="Champion", tags={"kind of flower": "iris"}))
    MLClient().online_endpoints.begin_create_or_update(OnlineEndpoint(name="churn-live"))
    (churn / "data dir").mkdir()
    (churn / ".hidden").write_text("")
    matcher = make_matcher(open_workspace, {"X_test": 1, "X_train": 2, "_hidden": 3, "Out": {}})

    def answer(line: str) -> list[str]:
        found = matcher(_context(line))
        assert line.endswith(found.get("matched_fragment") or "")
        return [item.text for item in found["completions"]]

    return answer


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%model_show ch", ["churn"]),
        ("%model_show ", ["iris", "churn"]),
        ("m = %model_load ir", ["iris"]),
        ("%model_show churn:", ["churn:2", "churn:1", "churn:latest"]),
        ("%model_show churn:l", ["churn:latest"]),
        ("%model_show churn@", ["churn@latest"]),
        ("%model_deploy azureml:churn:", ["azureml:churn:2", "azureml:churn:1", "azureml:churn:latest"]),
        ("%model_show churn --version ", ["2", "1"]),
        ("%model_show --name churn --version ", ["2", "1"]),
        ("%model_compare churn:1 --other ", ["2", "1"]),
        ("%model_show churn --label ", ["latest"]),
        ("%model_show churn --lab", ["--label"]),
        ("%model_show nobody:", []),
        ("%model_create --type ", ["custom_model", "mlflow_model", "triton_model"]),
        ("%model_create --type tri", ["triton_model"]),
        ("%model_create x --stage ", ["Champion", "Development", "Production"]),
        ("%model_list --tag ", ["kind of flower=", "stage=", "team="]),
        ("%model_list --tag team=", ["team=t2"]),
        ('%model_list --filter "na', ["name"]),
        ("%model_list --filter \"name like 'ch%' and tags.", ["tags.stage", "tags.team"]),
        ('%model_list --filter "(ord', ["order by"]),
        ('%model_list --max-results 3 --filter \'stage = "x" or crea', ["created", "created_by"]),
        ("%model_list --filter \"name = 'na", []),
        ("%model_list --filter \"name = 'x'\" --st", ["--stage"]),
        ("%model_list --tag team=t2 st", ["stage="]),
        ("%model_list --output ta", ["table"]),
        ("%model_create x --path ", ["churn.txt", "data\\ dir/", "home/"]),
        ("%model_create x --path data\\ d", ["data\\ dir/"]),
        ("%model_create x --path .h", [".hidden"]),
        ("%model_create x --path azureml:ch", ["azureml:churn"]),
        ("%%model_register ch", ["churn"]),
        ("%%model_register churn --va", ["--var"]),
        ("%%model_register churn --tag stage=dev te", ["team="]),
        ("%%model_register churn --allow-pickle ", []),
        ("%model_register churn --var ", ["X_test", "X_train"]),
        ("%model_register churn --sample X_tr", ["X_train"]),
        ("%%model_deploy churn-live --model ch", ["churn"]),
        ("%model_invoke ", ["churn-live"]),
        ("%model_invoke churn-live X_te", ["X_test"]),
        ("%model_invoke churn-live X_test.he", []),
        ("%model_logs churn-live --lines ", []),
        ("%model_logs churn-", ["churn-live"]),
        ("%online_endpoint_regenerate_keys churn-live --key-type p", ["primary"]),
        ("%model_shows ch", []),
        ("x = 5 % model_show ch", []),
        ("print('churn') ch", []),
    ],
)
def test_tab_completes(ask: Ask, line: str, words: list[str]) -> None:
    assert ask(line) == words


def test_options_that_stand_on_the_line_are_not_offered_again_unless_they_repeat(ask: Ask) -> None:
    offered = ask("%model_list --stage x --tag a=b --")
    assert "--stage" not in offered
    assert {"--tags", "--search", "--max-results", "--query"} <= set(offered)


def test_what_azure_has_and_does_nothing_here_is_not_offered(ask: Ask) -> None:
    offered = ask("%online_endpoint_create --")
    assert "--model" in offered
    assert "--local" not in offered


def test_a_slow_registry_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> Any:
        time.sleep(5)

    monkeypatch.setattr(completion, "BUDGET_SECONDS", 0.05)
    start = time.monotonic()
    assert make_matcher(hang, {})(_context("%model_show ch"))["completions"] == []
    assert time.monotonic() - start < 1


def test_a_broken_registry_says_nothing_on_tab(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("no folder")
    assert (
        make_matcher(open_workspace, {"X_test": 1, "X_train": 2, "_hidden": 3, "Out": {}})(_context("%model_show ch"))["completions"] == []
    )
    assert capsys.readouterr() == ("", "")


def test_ipython_takes_our_word_for_which_part_is_completed(notebook: Notebook, churn: Path) -> None:
    assert _completed(notebook.shell, "%model_show churn:") == ["%model_show churn:2", "%model_show churn:1", "%model_show churn:latest"]
    assert _completed(notebook.shell, "m = %model_load ch") == ["m = %model_load churn"]
    assert _completed(notebook.shell, "%%model_register churn --ty") == ["%%model_register churn --type"]


def test_inside_an_expression_ipython_completes(notebook: Notebook, churn: Path) -> None:
    notebook.run("X_test_rows = [1]")
    assert "%model_invoke churn X_test_rows.append" in _completed(notebook.shell, "%model_invoke churn X_test_rows.app")
    assert "%model_invoke churn X_test_rows" in _completed(notebook.shell, "%model_invoke churn X_test_r")


def _context(line: str) -> CompletionContext:
    return CompletionContext(token="", full_text=line, cursor_position=len(line), cursor_line=0, limit=None)


def _completed(shell: InteractiveShell, line: str) -> list[str]:
    assert shell.Completer is not None
    with provisionalcompleter():
        return [line[: item.start] + item.text + line[item.end :] for item in shell.Completer.completions(line, len(line))]
