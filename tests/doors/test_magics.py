from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from jupyter_modelreg import errors
from jupyter_modelreg.doors import lines
from jupyter_modelreg.doors.lines import ModelRegMagics, split_words
from jupyter_modelreg.operations import OPERATIONS

from .conftest import Notebook


class TestAnswers:
    def test_every_operation_has_a_line_magic(self, notebook: Notebook) -> None:
        known = notebook.shell.magics_manager.magics["line"]
        assert not [operation.magic for operation in OPERATIONS if operation.magic not in known]

    def test_an_answer_shows_itself_as_text_and_as_html(self, notebook: Notebook, churn: Path) -> None:
        shown = notebook.run("%model_list churn")
        bundle = shown._repr_mimebundle_()
        assert bundle["text/plain"] == repr(shown)
        assert bundle["text/plain"].splitlines()[2].split()[:2] == ["churn", "2"]
        assert "<table" in bundle["text/html"]

    def test_a_page_says_how_to_go_on(self, notebook: Notebook, churn: Path) -> None:
        shown = notebook.run("%model_list --filter \"name = 'churn' order by version\" --max-results 1")
        assert [model.version for model in shown] == ["1"]
        assert repr(shown).splitlines()[-1] == f"More: add --page {shown.next_page}"
        assert f"More: add --page {shown.next_page}" in shown._repr_mimebundle_()["text/html"]
        rest = notebook.run(f"%model_list --filter \"name = 'churn' order by version\" --page {shown.next_page}")
        assert [model.version for model in rest] == ["2"]
        assert "More" not in repr(rest)

    def test_a_wrong_filter_is_marked_at_its_place(self, notebook: Notebook) -> None:
        _, printed = notebook.fail("%model_list --filter \"stage = 'x' and nmae = 'y'\"")
        *_, shown, mark = printed.rstrip().splitlines()
        assert shown[mark.index("^") :] == "nmae = 'y'"

    def test_an_answer_can_be_used_like_what_it_holds(self, notebook: Notebook, churn: Path) -> None:
        models = notebook.run("models = %model_list churn\nmodels")
        assert [model.version for model in models] == ["2", "1"]
        assert (len(models), models[0].name, bool(models)) == (2, "churn", True)
        model = notebook.run("%model_show churn:1")
        assert (model.version, model.tags["team"], bool(model)) == ("1", "t1", True)
        assert model == model.answer
        assert "tags" in dir(model)
        with pytest.raises(AttributeError):
            model.no_such_field  # noqa: B018

    def test_an_empty_list_is_false_and_says_how_to_begin(self, notebook: Notebook) -> None:
        models = notebook.run("%model_list")
        assert not models
        assert "%%model_register" in repr(models)
        assert "%model_deploy" in repr(notebook.run("%model_endpoints"))

    def test_a_filter_that_finds_nothing_does_not_say_that_there_is_nothing(self, notebook: Notebook, churn: Path) -> None:
        assert repr(notebook.run("%model_list --tag stage=prod")) == "Nothing found."

    def test_what_little_changed_is_shown_as_a_row(self, notebook: Notebook, churn: Path) -> None:
        archived = notebook.run("%model_archive churn:1")
        assert archived.is_archived
        assert len(repr(archived).splitlines()) == 3
        assert "Archived" in repr(archived)
        assert ">archived<" in archived._repr_mimebundle_()["text/html"]
        assert "Archived" not in repr(notebook.run("%model_restore churn:1"))

    def test_a_query_gives_plain_values(self, notebook: Notebook, churn: Path) -> None:
        assert notebook.run("versions = %model_list churn --query [].version\nversions") == ["2", "1"]
        assert notebook.run("%model_show churn --query tags.team") == "t2"

    def test_an_output_format_prints_text(self, notebook: Notebook, churn: Path) -> None:
        notebook.printed()
        assert notebook.run("%model_show churn -o json") is None
        assert json.loads(notebook.printed())["version"] == "2"
        assert notebook.run("%model_list -o none") is None
        assert notebook.printed() == ""

    def test_a_semicolon_asks_for_silence(self, notebook: Notebook, churn: Path) -> None:
        assert notebook.run("%model_archive churn:1;") is None
        assert [model.version for model in notebook.run("%model_list churn")] == ["2"]

    def test_python_values_stand_in_a_line(self, notebook: Notebook, churn: Path) -> None:
        notebook.run("name, number = 'churn', 1")
        assert notebook.run("%model_show {name}:{number}").version == "1"
        assert notebook.run("%model_show $name --version {number + 1}").version == "2"

    def test_a_long_list_is_cut_in_a_notebook_and_whole_as_text(self, notebook: Notebook, churn: Path) -> None:
        shown = lines.Shown([notebook.run("%model_show churn").answer] * 100)
        assert len(repr(shown).splitlines()) == 63
        assert repr(shown).endswith("40 more are not shown. Narrow the list, or print all with -o table.")
        assert shown._repr_mimebundle_()["text/html"].count("<tr>") == 61


class TestWords:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("churn -d 'two words'", ["churn", "-d", "two words"]),
            ('churn -d "it\'s" # why', ["churn", "-d", "it's"]),
            ("--tag issue=#12 b=2", ["--tag", "issue=#12", "b=2"]),
            ("-d '# no comment'", ["-d", "# no comment"]),
            ("# only a comment", []),
            ("", []),
        ],
    )
    def test_a_line_is_split_as_a_shell_does(self, line: str, words: list[str]) -> None:
        assert split_words(line) == words

    def test_a_quote_that_is_not_closed_is_named(self) -> None:
        with pytest.raises(UsageError, match="No closing quotation: -d 'oops"):
            split_words("-d 'oops")

    def test_help_is_printed_and_is_what_a_question_mark_shows(self, notebook: Notebook) -> None:
        assert notebook.run("%model_list --help") is None
        printed = notebook.printed()
        assert "usage: %model_list [NAME] [options]" in printed
        assert "--include-archived" in printed
        assert notebook.shell.magics_manager.magics["line"]["model_list"].__doc__ == printed.rstrip("\n") + "\n"


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "error", "words"),
        [
            ("%model_show nobody", errors.NotFound, 'There is no model "nobody".'),
            ("%model_show churn:9", errors.NotFound, "churn"),
            ("%model_show churn@champion", errors.NotFound, "champion"),
            ("%model_create other --path nowhere", errors.NotFound, "nowhere"),
            ("%model_create churn --version 1 --path other.txt", errors.Conflict, "churn:1 exists with other content"),
            ("%model_create 'no/name' --path churn.txt", errors.InvalidInput, "no/name"),
            ("%model_update churn --set path=x", errors.InvalidInput, "never changes"),
            ("%model_list --query '[?'", UsageError, "no JMESPath"),
            ("%model_list --query length([0].nothing)", errors.InvalidInput, "does not fit"),
            ("%model_show churn --lable x", UsageError, 'has no option --lable. Did you mean "--label"?'),
            ("%model_show", UsageError, "%model_show needs"),
            ("%model_list --max-results ten", UsageError, "whole number"),
            ("%model_create x -p y --type mlflow", UsageError, 'Did you mean "mlflow_model"?'),
            ("%model_show 'churn", UsageError, "No closing quotation"),
            ("%model_delete churn:1", UsageError, "Delete churn:1 for good? A cell cannot ask; add --yes."),
            ("%model_load", UsageError, "%model_load needs"),
            ("%model_load churn", errors.InvalidInput, "no layout"),
            ("%model_logs", UsageError, "required: endpoint"),
            ("%model_logs nobody", errors.NotFound, "nobody"),
            ("%model_invoke nobody [1]", errors.NotFound, "nobody"),
        ],
    )
    def test_an_error_is_one_line_and_the_cell_fails(
        self, notebook: Notebook, churn: Path, line: str, error: type[Exception], words: str
    ) -> None:
        (churn / "other.txt").write_text("other")
        raised, seen = notebook.fail(line)
        assert type(raised) is error
        assert words in seen
        assert len(seen.strip().splitlines()) == 1
        assert seen.startswith(f"{error.__name__}: ")
        assert [model.version for model in notebook.run("%model_list churn")] == ["2", "1"]

    def test_debug_shows_where_it_failed(self, notebook: Notebook) -> None:
        _, seen = notebook.fail("%model_show nobody --debug")
        assert "Traceback (most recent call last)" in seen
        assert 'NotFound: There is no model "nobody".' in seen.splitlines()

    def test_keys_are_not_shown_but_can_be_had(self, notebook: Notebook) -> None:
        notebook.run("%online_endpoint_create quiet;")
        shown = notebook.run("keys = %online_endpoint_get_credentials quiet\nkeys")
        bundle = shown._repr_mimebundle_()
        assert len(shown.primary_key) > 20
        assert not [text for text in bundle.values() if shown.primary_key in text or shown.secondary_key in text]
        notebook.printed()
        notebook.run("%online_endpoint_get_credentials quiet -o json")
        assert json.loads(notebook.printed())["primaryKey"] == shown.primary_key


class TestLoading:
    def test_unloading_leaves_nothing_behind(self, bare_shell: InteractiveShell) -> None:
        before = _traces(bare_shell)
        bare_shell.extension_manager.load_extension("jupyter_modelreg")
        assert _traces(bare_shell) != before
        ours = weakref.ref(next(item for item in bare_shell.configurables if isinstance(item, ModelRegMagics)))
        assert bare_shell.Completer is not None
        with provisionalcompleter():
            list(bare_shell.Completer.completions("%model_show ", 12))
        bare_shell.extension_manager.unload_extension("jupyter_modelreg")
        gc.collect()
        assert _traces(bare_shell) == before
        assert ours() is None

    def test_unloading_leaves_a_magic_that_took_the_place_of_ours(self, notebook: Notebook) -> None:
        notebook.shell.magics_manager.register_function(lambda line: line.upper(), "line", "model_list")
        notebook.run("%unload_ext jupyter_modelreg")
        assert notebook.run("%model_list mine") == "MINE"
        assert notebook.shell.find_line_magic("model_show") is None

    def test_it_can_be_loaded_again(self, notebook: Notebook, churn: Path) -> None:
        notebook.run("%reload_ext jupyter_modelreg")
        assert notebook.run("%model_show churn").version == "2"
        assert len([item for item in notebook.shell.configurables if isinstance(item, ModelRegMagics)]) == 1

    def test_the_home_can_be_set_in_the_notebook(self, notebook: Notebook, tmp_path: Path) -> None:
        notebook.run(f"%config ModelRegMagics.home = {str(tmp_path / 'elsewhere')!r}")
        values = notebook.run("%settings_list --query \"[?name=='home'].[value,source]|[0]\"")
        assert values == [str(tmp_path / "elsewhere"), "argument"]

    def test_loading_imports_nothing_heavy(self) -> None:
        heavy = "numpy pandas sklearn skops mlflow torch onnx scipy yaml fsspec safetensors jmespath blake3 jupyter_server jupyter_client"
        program = (
            "import sys\n"
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "shell = InteractiveShell()\n"
            "before = set(sys.modules)\n"
            "shell.run_line_magic('load_ext', 'jupyter_modelreg')\n"
            f"print(*sorted(set({heavy.split()!r}) & set(sys.modules) - before))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == []


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingKernelClient]:
    """A kernel in a process of its own, with the extension loaded and one model registered."""
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "w.txt").write_text("w")
    places = {
        "MODELREG_HOME": str(folder / "home"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env={**os.environ, **places})
    try:
        _execute(client, "%load_ext jupyter_modelreg")
        _execute(client, "%model_create churn --path w.txt")
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class TestInARealKernel:
    def test_an_answer_is_text_and_html(self, kernel: BlockingKernelClient) -> None:
        status, [(kind, shown)] = _execute(kernel, "%model_show churn")
        assert (status, kind) == ("ok", "execute_result")
        assert shown["data"]["text/plain"].startswith("name     churn\nversion  1\n")
        assert "<b" in shown["data"]["text/html"]

    def test_a_long_copy_shows_a_bar_that_goes_when_the_cell_has_run(self, kernel: BlockingKernelClient) -> None:
        slow = (
            "import time\n"
            "magics = next(item for item in get_ipython().configurables if type(item).__name__ == 'ModelRegMagics')\n"
            "progress = magics.watched('churn').progress\n"
            "for step in range(9):\n"
            "    progress(step, 8); time.sleep(0.12)\n"
            "None"
        )
        status, shown = _execute(kernel, slow)
        assert status == "ok"
        kinds = [kind for kind, _ in shown]
        assert (kinds[0], set(kinds[1:])) == ("display_data", {"update_display_data"})
        assert "churn" in shown[0][1]["data"]["text/html"]
        assert "width:" in shown[0][1]["data"]["text/html"]
        assert "finishing" in shown[-2][1]["data"]["text/plain"]
        assert shown[-1][1]["data"] == {"text/html": "", "text/plain": ""}

    def test_our_error_is_one_line_and_stops_the_notebook(self, kernel: BlockingKernelClient) -> None:
        status, [(kind, shown)] = _execute(kernel, "%model_show nobody")
        assert (status, kind, shown["ename"]) == ("error", "error", "NotFound")
        assert shown["traceback"] == ['NotFound: There is no model "nobody".']

    def test_a_wrong_word_is_one_line_and_stops_the_notebook(self, kernel: BlockingKernelClient) -> None:
        status, [(kind, shown)] = _execute(kernel, "%model_show --lable x")
        assert (status, kind) == ("error", "stream")
        assert shown["text"].startswith("UsageError: %model_show has no option --lable.")

    def test_a_failing_cell_shows_itself_as_any_cell_does(self, kernel: BlockingKernelClient) -> None:
        status, [(kind, shown)] = _execute(kernel, "%%model_register x\n1 / 0")
        text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(shown["traceback"]))
        assert (status, kind, shown["ename"]) == ("error", "error", "ZeroDivisionError")
        assert f"Cell In[{shown['count']}], line 2\n" in text
        assert "----> 2 1 / 0" in text
        assert "jupyter_modelreg" not in text

    def test_tab_says_which_part_of_the_line_it_completes(self, kernel: BlockingKernelClient) -> None:
        line = "model = %model_load churn:"
        answer = kernel.complete(line, reply=True, timeout=60)["content"]
        assert answer["matches"] == ["churn:1", "churn:latest"]
        assert (answer["cursor_start"], answer["cursor_end"]) == (line.index("churn"), len(line))


def _execute(client: BlockingKernelClient, code: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Run a cell; return its status and what it showed, each with the cell's number."""
    shown: list[tuple[str, dict[str, Any]]] = []

    def keep(message: dict[str, Any]) -> None:
        if message["msg_type"] in ("stream", "error", "execute_result", "display_data", "update_display_data"):
            shown.append((message["msg_type"], message["content"]))

    reply = client.execute_interactive(code, timeout=60, output_hook=keep)["content"]
    return reply["status"], [(kind, {**content, "count": reply["execution_count"]}) for kind, content in shown]


def _traces(shell: InteractiveShell) -> dict[str, Any]:
    """Everything of a shell, and of the process, that an extension may add to."""
    assert shell.Completer is not None
    return {
        "line magics": set(shell.magics_manager.magics["line"]),
        "cell magics": set(shell.magics_manager.magics["cell"]),
        "user magics": set(vars(shell.magics_manager.user_magics)),
        "magic classes": set(shell.magics_manager.registry),
        "matchers": [str(matcher) for matcher in shell.Completer.custom_matchers],
        "configurables": [type(item).__name__ for item in shell.configurables],
        "events": {name: list(found) for name, found in shell.events.callbacks.items()},
        "hooks": {name: str(hook) for name, hook in shell.hooks.items()},
        "transformers": (list(shell.input_transformers_cleanup), list(shell.input_transformers_post), list(shell.ast_transformers)),
        "exceptions": shell.custom_exceptions,
        "names": {name for name in shell.user_ns if not name.startswith("_")},
        "threads": {thread.name for thread in threading.enumerate() if "modelreg" in thread.name},
    }
