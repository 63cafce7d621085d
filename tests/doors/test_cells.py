from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from IPython.core.error import UsageError

from jupyter_modelreg import errors

from .conftest import Notebook

TRAIN = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
X, y = load_iris(return_X_y=True, as_frame=True)
metrics = {"accuracy": 0.9, "rows": 150}
"""
FIT = "LogisticRegression(max_iter=500).fit(X, y)"


class TestRegisteringACell:
    def test_its_last_value_is_registered_with_all_that_is_known(self, notebook: Notebook) -> None:
        shown = notebook.run(f"%%model_register iris --tag stage=dev -d 'Three kinds' --stage Development{TRAIN}{FIT}")
        model = notebook.run("%model_show iris")
        assert (shown.name, shown.version, model.flavor, model.description, model.stage) == (
            "iris",
            "1",
            "sklearn",
            "Three kinds",
            "Development",
        )
        assert model.tags == {"stage": "dev"}
        assert model.metrics == {"accuracy": 0.9, "rows": 150.0}
        assert [column.name for column in model.signature.inputs][:2] == ["sepal length (cm)", "sepal width (cm)"]
        assert [column.type for column in model.signature.outputs] == ["long"]
        assert model.input_example["columns"][0] == "sepal length (cm)"
        assert model.lineage.code == TRAIN.lstrip("\n") + FIT + "\n"
        assert set(model.lineage.packages) >= {"scikit-learn", "pandas"}
        assert "Registered" in shown._repr_mimebundle_()["text/html"]

    def test_the_cells_names_stay_and_its_output_is_printed_once(self, notebook: Notebook) -> None:
        notebook.run("import numpy as np")
        notebook.printed()
        shown = notebook.run("%%model_register array\nfour = 2 + 2\nprint('training')\nnp.arange(four)")
        assert notebook.names["four"] == 4
        assert notebook.printed().count("training") == 1
        assert shown.flavor == "numpy"

    def test_a_variable_is_registered_by_name(self, notebook: Notebook) -> None:
        notebook.run("import numpy as np\nweights = np.ones(3)")
        assert notebook.run("%model_register w --var weights").version == "1"
        assert notebook.run("%%model_register w --var bias\nbias = np.zeros(3)").version == "2"
        assert notebook.run("%model_load w:2").tolist() == [0.0, 0.0, 0.0]

    def test_samples_and_metrics_are_variables_that_one_names(self, notebook: Notebook) -> None:
        notebook.run(TRAIN + "rows, scores = X.to_numpy()[:5], {'f1': 1}\nplain = LogisticRegression(max_iter=500).fit(X.to_numpy(), y)")
        model = notebook.run("%model_register iris --var plain --sample rows --metrics scores\n").answer
        assert model.metrics == {"f1": 1.0}
        assert [(column.name, column.type) for column in model.signature.inputs] == [(None, "double")]

    def test_data_of_another_shape_is_not_taken_for_the_sample(self, notebook: Notebook) -> None:
        notebook.run(TRAIN)
        assert notebook.run("%%model_register narrow\nLogisticRegression(max_iter=500).fit(X.iloc[:, :2], y)").signature is None
        # Rows without names would make scikit-learn warn about a model that knows names, and the other way round.
        assert (
            notebook.run("%%model_register named\nfit = LogisticRegression(max_iter=500).fit(X, y)\nX = X.to_numpy()\nfit").signature
            is None
        )

    def test_training_data_is_kept_when_asked_and_the_model_loads_as_ever(self, notebook: Notebook) -> None:
        notebook.run(TRAIN)
        notebook.run(f"%%model_register iris\n{FIT}")
        notebook.run(f"%%model_register iris --keep-sample\n{FIT}")
        kept = [[item.path for item in notebook.run(f"%model_show iris:{version}").files] for version in (1, 2)]
        assert [path for path in kept[1] if path not in kept[0]] == ["training_sample.jsonl"]
        model = notebook.run("%model_show iris:2")
        assert model.scan.verdict == "data-only"
        assert notebook.run("%model_load iris:2").n_features_in_ == 4
        with pytest.raises(UsageError, match="--keep-sample finds no rows that fit the model"):
            notebook.run("%%model_register other --keep-sample\n[1, 2]")

    def test_metrics_of_an_earlier_cell_are_not_taken(self, notebook: Notebook) -> None:
        notebook.run(TRAIN)
        assert notebook.run(f"%%model_register iris\n{FIT}").metrics == {}

    def test_what_was_loaded_is_named_as_what_it_was_made_from(self, notebook: Notebook) -> None:
        notebook.run("import numpy as np\none = np.ones(2)\n%model_register base --var one")
        notebook.run("loaded = %model_load base@latest")
        model = notebook.run("%%model_register tuned\nloaded + 1")
        assert model.lineage.inputs == ["azureml:base:1"]
        assert "azureml:base:1" in model._repr_mimebundle_()["text/html"]

    def test_notebook_and_git_commit_are_recorded(self, notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JPY_SESSION_NAME", "/home/ada/secret/train.ipynb")
        _git(tmp_path, "init", "-q")
        (tmp_path / "code.py").write_text("1")
        _git(tmp_path, "add", "code.py")
        _git(tmp_path, "commit", "-q", "-m", "first")
        notebook.run("import numpy as np")
        lineage = notebook.run("%%model_register a\nnp.ones(2)").lineage
        assert lineage.git_commit == _git(tmp_path, "rev-parse", "HEAD")
        assert (lineage.git_is_dirty, lineage.notebook) == (False, "/home/ada/secret/train.ipynb")
        (tmp_path / "code.py").write_text("2")
        shown = notebook.run("%%model_register a\nnp.ones(2)")
        assert shown.lineage.git_is_dirty
        html = shown._repr_mimebundle_()["text/html"]
        assert "train.ipynb" in html
        assert "/home/ada" not in html  # an output that is passed on does not tell where it was made

    def test_outside_git_nothing_is_claimed(self, notebook: Notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        notebook.run("import numpy as np")
        lineage = notebook.run("%%model_register a\nnp.ones(2)").lineage
        assert (lineage.git_commit, lineage.git_is_dirty) == (None, None)

    def test_a_semicolon_after_the_value_asks_for_silence(self, notebook: Notebook) -> None:
        notebook.run("import numpy as np")
        assert notebook.run("%%model_register a\nnp.ones(2);") is None
        assert notebook.run("%model_show a").version == "1"

    def test_a_query_gives_plain_values(self, notebook: Notebook) -> None:
        notebook.run("import numpy as np")
        assert notebook.run("%%model_register a --query version\nnp.ones(2)") == "1"

    def test_only_a_word_of_consent_pickles(self, notebook: Notebook) -> None:
        notebook.run("class Odd:\n    pass")
        error, seen = notebook.fail("%%model_register odd\nOdd()")
        assert isinstance(error, errors.Refused)
        assert "--allow-pickle" in seen
        assert notebook.run("%model_list") == []


class TestRegisteringFiles:
    def test_the_body_describes_the_files(self, notebook: Notebook, tmp_path: Path) -> None:
        (tmp_path / "w.txt").write_text("w")
        notebook.run("folder = '.'")
        model = notebook.run("%%model_register w --path {folder}/w.txt --tag a=b\n\nWhat it is,\nin words.\n")
        assert (model.description, model.tags, model.version) == ("What it is,\nin words.", {"a": "b"}, "1")
        assert "What it is, in words." in repr(model)

    def test_a_description_on_the_line_wins(self, notebook: Notebook, tmp_path: Path) -> None:
        (tmp_path / "w.txt").write_text("w")
        assert notebook.run("%%model_register w -p w.txt -d Short\nLong").description == "Short"
        assert notebook.run("%model_register w -p w.txt").version == "2"


class TestRegisteringYaml:
    BODY = "name: y\npath: w.txt\nversion: 3\ntags:\n  a: b\n"

    @pytest.fixture(autouse=True)
    def _weights(self, tmp_path: Path) -> None:
        (tmp_path / "w.txt").write_text("w")

    def test_the_body_is_the_whole_description(self, notebook: Notebook) -> None:
        model = notebook.run(f"%%model_register -f -\n{self.BODY}")
        assert (model.name, model.version, model.tags) == ("y", "3", {"a": "b"})

    def test_options_win_over_the_body(self, notebook: Notebook) -> None:
        model = notebook.run(f"%%model_register other -f - --version 4 --tag c=d --stage Production --set tags.a=z\n{self.BODY}")
        assert (model.name, model.version, model.tags, model.stage) == ("other", "4", {"a": "z", "c": "d"}, "Production")

    @pytest.mark.parametrize("option", ["--registry-name nowhere", "--datastore nowhere"])
    def test_a_place_that_is_not_there_is_not_passed_over(self, option: str, notebook: Notebook) -> None:
        error, seen = notebook.fail(f"%%model_register -f - {option}\n{self.BODY}")
        assert isinstance(error, errors.NotFound)
        assert "nowhere" in seen
        assert notebook.run("%model_list") == []

    def test_a_file_is_read_by_the_line_magic(self, notebook: Notebook, tmp_path: Path) -> None:
        (tmp_path / "y.yml").write_text(self.BODY)
        assert notebook.run("%model_register -f y.yml").version == "3"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("name: y\npath: w.txt\ndescripton: x", 'cell:4: Unknown key "descripton". Did you mean "description"?'),
            ("- a", "a mapping of keys to values is wanted"),
            ("name: [", "cell:3: this is no YAML"),
            ("name: y", 'A model needs "name" and "path".'),
            ("name: y\npath: nowhere", "nowhere"),
        ],
    )
    def test_an_error_names_the_line_of_the_cell(self, notebook: Notebook, body: str, message: str) -> None:
        error, seen = notebook.fail(f"%%model_register -f -\n{body}")
        assert isinstance(error, errors.ModelRegistryError)
        assert message in seen
        assert len(seen.strip().splitlines()) == 1
        assert notebook.run("%model_list") == []


class TestMistakes:
    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("%%model_register\nran = 1", "needs a name"),
            ("%%model_register x --lable y\nran = 1", "has no option --lable"),
            ("%%model_register x --tag stage\nran = 1", 'takes KEY=VALUE, not "stage"'),
            ("%%model_register x --set tags.a=b\nran = 1", "--set goes with --path and -f"),
            ("%%model_register x --path y --var z\nran = 1", "--var goes with a value of Python"),
            ("%model_register -f y.yml --allow-pickle", "--allow-pickle goes with a value of Python"),
            ("%%model_deploy e --model m --code .\nran = 1", "The cell is the scoring script"),
            ("%%model_register x -f y.yml\nran = 1", "%model_register -f FILE"),
            ("%model_register x", "--var VARIABLE or --path PATH"),
            ("%%model_register x\nawait ran()", "%%model_register cannot await."),
            ("%%model_register x\nasync with ran() as y:\n    pass", "%%model_register cannot await."),
        ],
    )
    def test_wrong_words_are_told_before_the_cell_runs(self, notebook: Notebook, cell: str, message: str) -> None:
        error, seen = notebook.fail(cell)
        assert type(error) is UsageError
        assert message in seen
        assert "ran" not in notebook.names

    @pytest.mark.parametrize(
        ("words", "message"),
        [("no/name", "no/name"), ("x --version latest", "latest"), ("x --tag '=v'", "KEY=VALUE"), ("x --version 'a b'", "a b")],
    )
    def test_a_name_that_cannot_be_is_told_before_the_cell_runs(self, notebook: Notebook, words: str, message: str) -> None:
        _, seen = notebook.fail(f"%%model_register {words}\nran = 1\nran")
        assert message in seen
        assert "ran" not in notebook.names

    @pytest.mark.parametrize(
        ("cell", "error", "message"),
        [
            ("%%model_register x\ny = 1", UsageError, "no value to register"),
            ("%model_register x --var scoers", errors.InvalidInput, 'There is no variable "scoers". Did you mean "scores"?'),
            ("%model_register x --var one --metrics one", errors.InvalidInput, '"one" must be a dict of numbers'),
            ("%%model_register x\nx = = 3", errors.InvalidInput, "Line 2 is no Python: invalid syntax."),
        ],
    )
    def test_one_line_says_what_is_wrong(self, notebook: Notebook, cell: str, error: type[Exception], message: str) -> None:
        notebook.run("scores, one = {}, 1")
        raised, seen = notebook.fail(cell)
        assert type(raised) is error
        assert message in seen.splitlines()[0]

    def test_a_failing_cell_shows_its_own_traceback_once(self, notebook: Notebook) -> None:
        error, seen = notebook.fail("%%model_register x\ndef halve(n):\n    return n / 0\n\nhalve(4)")
        assert isinstance(error, ZeroDivisionError)
        assert seen.count("Traceback") == seen.count("ZeroDivisionError: division by zero") == 1
        assert "----> 5 halve(4)" in seen  # counted as the notebook counts
        assert "----> 3     return n / 0" in seen
        assert "cells.py" not in seen
        assert notebook.run("%model_list") == []

    def test_an_error_that_is_raised_again_elsewhere_shows_where(self, notebook: Notebook) -> None:
        notebook.fail("%%model_register x\nimport sys\nfailure = ValueError('once')\nraise failure")
        _, seen = notebook.fail("def again():\n    raise failure\nagain()")
        assert "again()" in seen


class TestServing:
    def test_a_model_from_a_cell_is_served_and_asked(self, notebook: Notebook) -> None:
        notebook.run(f"%%model_register iris{TRAIN}{FIT}")
        shown = notebook.run("%model_deploy iris --endpoint flowers")
        assert (shown.state, "http" in repr(shown)) == ("healthy", False)
        expected = notebook.run(f"model = {FIT}\nmodel.predict(X.iloc[::50]).tolist()")
        assert notebook.run("%model_invoke flowers X.iloc[::50]") == expected
        assert notebook.run("%model_invoke flowers X.iloc[50]") == [expected[1]]
        assert notebook.run("place = 'flowers'\n%model_invoke {place} X[::50].to_numpy()") == expected
        assert set(notebook.run("%model_invoke flowers")) == {0}  # the model's own input example
        assert notebook.run("%model_invoke flowers --data '{\"input_data\": [[5.1, 3.5, 1.4, 0.2]]}'") == [0]
        error, seen = notebook.fail("%model_invoke flowers X.ilok[:2]")
        assert isinstance(error, AttributeError)
        assert "cells.py" not in seen
        assert "Ready" in repr(notebook.run("%model_logs flowers"))

    def test_a_cell_is_the_scoring_script(self, notebook: Notebook, churn: Path) -> None:
        script = "import json\n\ndef init():\n    global factor\n    factor = 3\n\ndef run(raw_data):\n    return [n * factor for n in json.loads(raw_data)]\n"
        assert notebook.run(f"%%model_deploy scaler --model churn:1\n{script}").state == "healthy"
        assert notebook.run("%model_invoke scaler --data [1,2]") == [3, 6]
        assert notebook.run("%model_invoke scaler --data [1,2] --query [1]") == 6
        assert notebook.run("%online_deployment_list scaler")[0].model == "azureml:churn:1"
        error, seen = notebook.fail(
            "%%model_deploy scaler --model churn\ndef init():\n    raise OSError('no weights')\n\ndef run(raw_data):\n    return 1\n"
        )
        assert isinstance(error, errors.Unavailable)
        assert "no weights" in seen.splitlines()[0]
        assert "line 2, in init" in seen
        assert notebook.run("%model_invoke scaler --data [1,2]") == [3, 6]  # what was served before still is

    def test_one_deployment_of_several_is_asked_and_read(self, notebook: Notebook, churn: Path) -> None:
        script = "def init():\n    print('I multiply by {0}')\n\ndef run(raw_data):\n    return {0}\n"
        notebook.run(f"%%model_deploy scaler --model churn:1 --deployment zebra\n{script.format(2)}")
        notebook.run(f"%%model_deploy scaler --model churn:1 --deployment ant\n{script.format(3)}")
        assert notebook.run("%model_invoke scaler 1") == notebook.run("%model_invoke scaler --data 1") == 2
        assert notebook.run("%model_invoke scaler/ant 1") == notebook.run("%model_invoke scaler/ant --data 1") == 3
        assert "I multiply by 2" in repr(notebook.run("%model_logs scaler"))
        assert "I multiply by 3" in repr(notebook.run("%model_logs scaler/ant --lines 50"))
        for magic in ("%model_invoke scaler/bee 1", "%model_logs scaler/bee"):
            error, seen = notebook.fail(magic)
            assert isinstance(error, errors.NotFound)
            assert "bee" in seen.splitlines()[0]


def _git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
