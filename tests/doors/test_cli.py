from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_modelreg import __version__
from jupyter_modelreg.doors.cli import main
from jupyter_modelreg.operations import COMING, NOUNS


@pytest.fixture
def churn(tmp_path: Path) -> Path:
    """A registered model."""
    (tmp_path / "churn.txt").write_text("weights")
    assert main(["model", "create", "-n", "churn", "-p", "churn.txt", "--tags", "stage=dev", "-o", "none"]) == 0
    return tmp_path


def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jupyter_modelreg", *words], input=stdin or "", capture_output=True, text=True, timeout=60)


def test_a_page_says_on_standard_error_how_to_go_on_and_the_answer_stays_a_list(churn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        assert main(["model", "create", "-n", f"other-{number}", "-p", "churn.txt", "-o", "none"]) == 0
    names, words = [], ["model", "list", "--filter", "order by name", "--max-results", "2", "-o", "json"]
    asked = [*words]
    while True:
        capsys.readouterr()
        assert main(asked) == 0
        out, err = capsys.readouterr()
        names += [model["name"] for model in json.loads(out)]
        if not err:
            break
        assert err.startswith("More: add --page ")
        asked = [*words, *err.split()[2:]]
    assert names == ["churn", "other-0", "other-1"]
    assert main([*words, "--only-show-errors"]) == 0
    assert capsys.readouterr().err == ""


def test_a_wrong_filter_is_shown_with_a_mark_below_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--filter", "name = 'x' and stge = 'prod'"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        'ERROR: There is no field "stge". Did you mean "stage"? (--filter, character 16)',
        "",
        "  name = 'x' and stge = 'prod'",
        "                 ^",
    ]


def test_help_names_every_noun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(noun in out for noun in NOUNS)


def test_a_nouns_help_names_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model"]) == 0
    assert "restore" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"modelreg {__version__}"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["modle"], 2, 'Did you mean "model"?'),
        (["model", "crate"], 2, 'Did you mean "create"?'),
        (["model", "show", "churn"], 3, 'There is no model "churn"'),
        (["model", "show", "-n"], 2, "expected one argument"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("ERROR: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("noun", COMING)
def test_what_a_later_version_brings_says_so(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*noun.split(), "create", "-f", "x.yml"]) == 6
    assert "later version" in capsys.readouterr().err


@pytest.mark.usefixtures("churn")
class TestOutput:
    def test_a_program_reads_json(self) -> None:
        done = run("model", "show", "churn")
        assert json.loads(done.stdout)["version"] == "1"

    def test_a_query_selects(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["model", "show", "churn", "--query", "tags.stage", "-o", "tsv"]) == 0
        assert capsys.readouterr().out == "dev\n"

    def test_a_wrong_query_is_the_callers_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["model", "list", "--query", "[?"]) == 2
        assert "JMESPath" in capsys.readouterr().err

    @pytest.mark.parametrize(("words", "variable"), [(["--query", "[?"], ""), (["-o", "tabel"], ""), ([], "tabel")])
    def test_a_wrong_way_to_show_the_answer_is_said_before_anything_is_done(
        self, words: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MODELREG_OUTPUT", variable)
        assert main(["model", "create", "-n", "other", "-p", "churn.txt", *words]) == 2
        assert capsys.readouterr().err.startswith("ERROR: ")
        monkeypatch.delenv("MODELREG_OUTPUT")
        assert main(["model", "show", "other"]) == 3

    @pytest.mark.parametrize(("key", "code", "left"), [(b"\x04", 2, 0), (b"n\n", 2, 0), (b"y\n", 0, 3)])
    def test_a_person_is_asked(self, key: bytes, code: int, left: int) -> None:
        ours, theirs = os.openpty()
        words = [sys.executable, "-m", "jupyter_modelreg", "model", "delete", "churn", "-o", "none"]
        with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            os.write(ours, key)
            out, err = process.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert (process.returncode, "Traceback" in err) == (code, False)
        assert (out, "Delete churn for good? [y/N]" in err) == ("", True)
        assert main(["model", "show", "churn", "-o", "none"]) == left

    @pytest.mark.parametrize("output", ["json", "jsonc", "table", "tsv", "yaml", "yamlc"])
    def test_every_format_has_the_name(self, output: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["model", "list", "-o", output]) == 0
        assert "churn" in capsys.readouterr().out

    def test_none_prints_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["model", "list", "-o", "none"]) == 0
        assert capsys.readouterr().out == ""

    def test_a_reader_that_leaves_early_is_no_error(self) -> None:
        line = f"{sys.executable} -m jupyter_modelreg model show churn | head -c 1"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")

    def test_deleting_asks_and_without_a_terminal_needs_yes(self) -> None:
        done = run("model", "delete", "churn")
        assert done.returncode == 2
        assert "add --yes" in done.stderr
        assert run("model", "delete", "churn", "--yes").returncode == 0
        assert run("model", "show", "churn").returncode == 3


def test_a_yaml_file_may_come_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("weights")
    done = run("model", "create", "-f", "-", stdin="name: churn\npath: m.txt\ntags: {a: 1}\n")
    assert json.loads(done.stdout)["tags"] == {"a": "1"}


def test_what_show_prints_registers_again(churn: Path) -> None:
    shown = run("model", "show", "churn", "-o", "yaml").stdout
    (churn / "shown.yml").write_text(shown)
    again = run("model", "create", "-f", "shown.yml")
    assert (again.returncode, json.loads(again.stdout or "{}").get("version")) == (0, "1"), again.stderr


def test_a_yaml_error_names_file_line_and_nearest_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yml").write_text("name: churn\npath: .\ndescripton: x\n")
    assert main(["model", "create", "-f", "m.yml"]) == 2
    err = capsys.readouterr().err
    assert "m.yml:3" in err
    assert 'Did you mean "description"?' in err


def test_an_endpoints_answer_is_printed_as_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def init(): pass\ndef run(data): return {'said': data}\n")
    (tmp_path / "m.txt").write_text("weights")
    assert main(["model", "create", "-n", "echo", "-p", "m.txt", "-o", "none"]) == 0
    try:
        assert main(["model", "deploy", "echo", "--code", "code", "--scoring-script", "score.py", "-o", "none"]) == 0
        for words, printed in (
            ([], '{\n  "said": "1"\n}\n'),
            (["--query", "said", "-o", "tsv"], "1\n"),
            (["-o", "table"], '{"said": "1"}\n'),
        ):
            assert main(["online-endpoint", "invoke", "echo", "--data", "1", *words]) == 0
            assert capsys.readouterr().out == printed
    finally:
        main(["online-endpoint", "delete", "echo", "--yes"])
