"""scikit-learn models answered by onnxruntime: the same answers, or a refusal that says why."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from jupyter_modelreg import flavors
from jupyter_modelreg.commands.model import CreateModel
from jupyter_modelreg.commands.online import (
    CreateOnlineEndpoint,
    DeleteOnlineEndpoint,
    DeployModel,
    GetOnlineEndpointCredentials,
    ShowOnlineDeployment,
)
from jupyter_modelreg.errors import InvalidInput, Unavailable
from jupyter_modelreg.flavors import accelerated
from jupyter_modelreg.flavors.accelerated import AcceleratedPredictor, Report, Wanted, convert, read_report, write_report
from jupyter_modelreg.models import create_model, register_object
from jupyter_modelreg.online import create_endpoint, delete_endpoint, deploy_model, get_keys, show_deployment
from jupyter_modelreg.workspace import Workspace

X, Y = load_iris(return_X_y=True)
NAMED = load_iris(as_frame=True).data
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]
D, Z = load_diabetes(return_X_y=True)


class Fickle(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of nobody's library."""

    def fit(self, rows: Any, labels: Any) -> Fickle:
        self.classes_, self.n_features_in_ = np.unique(labels), rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows), int)


def converted(tmp_path: Path, model: Any, sample: Any = None) -> tuple[AcceleratedPredictor, Report]:
    folder, onnx = tmp_path / "model", tmp_path / "onnx"
    folder.mkdir()
    onnx.mkdir()
    found = flavors.save_object(model, str(folder), sample=sample)
    write_report(
        Wanted(path=str(folder), flavor=str(found.flavor), folder=str(onnx), example=found.input_example, signature=found.signature)
    )
    return AcceleratedPredictor(str(onnx)), read_report(str(onnx))


@pytest.mark.parametrize(
    ("model", "rows", "labels"),
    [
        (LogisticRegression(max_iter=1000), X, Y),
        (RandomForestClassifier(30, random_state=0), X, WORDS),
        (GradientBoostingClassifier(n_estimators=5), X, Y),
        (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), NAMED, WORDS),
        (Ridge(), D, Z),
        (RandomForestRegressor(10, random_state=0), D, Z),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_answers_as_the_original_does(tmp_path: Path, model: Any, rows: Any, labels: Any) -> None:
    model.fit(rows, labels)
    predict, report = converted(tmp_path, model, sample=rows)
    assert report.rows > 500
    answer, expected = predict(np.asarray(rows)), model.predict(rows)
    assert answer.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(answer, expected, rtol=1e-5)
    else:
        assert answer.tolist() == expected.tolist()


def test_columns_that_were_named_are_still_known_without_a_signature(tmp_path: Path) -> None:
    predict, _ = converted(tmp_path, LogisticRegression(max_iter=1000).fit(NAMED, Y))
    assert predict.signature
    assert [spec.name for spec in predict.signature.inputs] == list(NAMED.columns)


def test_what_is_not_finite_is_refused_in_scikit_learns_words(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=1000).fit(X, Y)
    predict, _ = converted(tmp_path, model)
    for value, words in (
        (np.nan, "Input X contains NaN."),
        (np.inf, "Input X contains infinity or a value too large for dtype('float64')."),
    ):
        with pytest.raises(InvalidInput, match=re.escape(words)):
            predict(np.full((1, 4), value))
        with pytest.raises(ValueError, match=re.escape(words)):
            model.predict(np.full((1, 4), value))


def test_missing_values_that_would_be_answered_otherwise_are_refused_and_it_says_so(tmp_path: Path) -> None:
    forest = RandomForestClassifier(30, random_state=0).fit(X, Y)
    forest.predict([[np.nan] * 4])
    predict, report = converted(tmp_path, forest, sample=X)
    assert report.missing
    assert "missing values are refused, since they were answered otherwise" in report.told()
    with pytest.raises(InvalidInput, match="contains NaN"):
        predict(np.full((1, 4), np.nan))


def test_rows_lie_on_the_thresholds_of_trees_where_rounding_shows(tmp_path: Path) -> None:
    forest = RandomForestClassifier(5, random_state=0).fit(X, Y)
    asked = accelerated._rows(forest, X[:5])
    thresholds = {value for tree in forest.estimators_ for value in tree.tree_.threshold[tree.tree_.feature >= 0]}
    assert len(asked) > 500 + 5
    assert len(thresholds & set(asked.ravel())) > 20


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (HistGradientBoostingClassifier(max_iter=2), X, "skl2onnx has no way for HistGradientBoostingClassifier"),
        (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=1000)), X, "skl2onnx has no way for Pipeline"),
        (
            make_pipeline(ColumnTransformer([("word", CountVectorizer(analyzer="char"), "word")]), LogisticRegression()),
            pd.DataFrame({"word": list("abc") * 50}),
            'its column "word" holds free text',
        ),
        (
            make_pipeline(ColumnTransformer([("word", OneHotEncoder(), ["word"])]), LogisticRegression()),
            pd.DataFrame({"word": list("abc") * 50, "when": pd.date_range("2026-01-01", periods=150)}),
            'its column "when" is of type datetime',
        ),
    ],
)
def test_what_cannot_be_converted_says_why_and_what_to_do(tmp_path: Path, model: Any, rows: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"It cannot be accelerated by ONNX: {message}.* Deploy without --accelerator\."):
        converted(tmp_path, model.fit(rows, Y), sample=rows)


def people() -> pd.DataFrame:
    drawn = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": drawn.integers(18, 90, 400),
            "fare paid (EUR)": drawn.gamma(2, 20, 400).round(2),
            "sex": drawn.choice(["m", "f"], 400),
            "town": drawn.choice(["Köln", "Bonn", "Ulm"], 400),
        }
    )


PEOPLE = people()
NUMBERS, TEXTS = ["age", "fare paid (EUR)"], ["sex", "town"]
SAVED = np.where((PEOPLE["fare paid (EUR)"] > 30) ^ (PEOPLE["sex"] == "f"), "yes", "no")


def by_column(encoder: Any, model: Any) -> Any:
    return make_pipeline(ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("texts", encoder, TEXTS)]), model)


def tensors(frame: pd.DataFrame) -> dict[str, Any]:
    """Return what a request for a table becomes."""
    return {str(name): frame[name].to_numpy().reshape(-1, 1) for name in frame}


@pytest.mark.parametrize(
    ("model", "answers"),
    [
        (by_column(OneHotEncoder(), LogisticRegression()), SAVED),
        (by_column(OneHotEncoder(handle_unknown="ignore"), RandomForestClassifier(30, random_state=0)), SAVED),
        (by_column(OneHotEncoder(sparse_output=False), GradientBoostingClassifier(n_estimators=5)), SAVED == "yes"),
        (by_column(OrdinalEncoder(), RandomForestRegressor(10, random_state=0)), PEOPLE["age"] * 1.5),
        (by_column(OneHotEncoder(), Ridge()), PEOPLE["age"] * 1.5),
        (by_column(OneHotEncoder(), LogisticRegression()), (SAVED == "yes") * 2.0),
    ],
    ids=["logistic", "forest", "boosting of booleans", "forest of numbers", "ridge", "labels with a point"],
)
def test_columns_of_text_and_numbers_are_answered_as_by_the_original(tmp_path: Path, model: Any, answers: Any) -> None:
    if answers.dtype == bool:
        answers = answers.astype(int)
    model.fit(PEOPLE, answers)
    predict, report = converted(tmp_path, model, sample=PEOPLE)
    assert predict.wants == "tensors"
    assert (report.rows > 500, report.apart) == (True, 0)
    answer, expected = predict(tensors(PEOPLE)), model.predict(PEOPLE)
    assert (answer.shape, answer.dtype.kind) == (expected.shape, "O" if expected.dtype.kind == "U" else expected.dtype.kind)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(answer, expected, rtol=1e-5)
    else:
        assert answer.tolist() == expected.tolist()


def test_columns_of_numbers_that_are_treated_apart_are_converted_by_column(tmp_path: Path) -> None:
    model = make_pipeline(ColumnTransformer([("one", StandardScaler(), [NAMED.columns[0]])], remainder="passthrough"), LogisticRegression())
    predict, report = converted(tmp_path, model.fit(NAMED, WORDS), sample=NAMED)
    assert report.by_column
    assert predict(tensors(NAMED)).tolist() == model.predict(NAMED).tolist()


@pytest.mark.parametrize("encoder", [OneHotEncoder, OrdinalEncoder])
def test_a_text_that_the_original_refuses_is_refused_and_one_that_it_ignores_is_answered(tmp_path: Path, encoder: Any) -> None:
    strangers = PEOPLE[:3].assign(town="Rom")
    strict = by_column(encoder(), LogisticRegression()).fit(PEOPLE, SAVED)
    (tmp_path / "strict").mkdir()
    predict, _ = converted(tmp_path / "strict", strict, sample=PEOPLE)
    with pytest.raises(ValueError, match="unknown categories"):
        strict.predict(strangers)
    with pytest.raises(InvalidInput, match='Column "town" holds "Rom", which the model does not know; it knows Bonn, Köln, Ulm'):
        predict(tensors(strangers))
    ignores = {"handle_unknown": "use_encoded_value", "unknown_value": -1} if encoder is OrdinalEncoder else {"handle_unknown": "ignore"}
    lenient = by_column(encoder(**ignores), LogisticRegression()).fit(PEOPLE, SAVED)
    predict, report = converted(tmp_path, lenient, sample=PEOPLE)
    assert predict(tensors(strangers)).tolist() == lenient.predict(strangers).tolist()
    assert report.missing
    with pytest.raises(InvalidInput, match='Column "town" holds a missing value'):
        predict(tensors(strangers.assign(town=None)))
    with pytest.raises(InvalidInput, match='The column "town" is missing'):
        predict(tensors(strangers.drop(columns="town")))


def test_a_gap_is_answered_in_the_column_that_may_have_one_and_refused_in_the_others(tmp_path: Path) -> None:
    parts = ColumnTransformer([("filled", SimpleImputer(), ["a"]), ("whole", StandardScaler(), ["b"])])
    rows = pd.DataFrame(X[:, :2], columns=["a", "b"])
    model = make_pipeline(parts, LogisticRegression()).fit(rows, Y)
    predict, report = converted(tmp_path, model, sample=rows)
    assert (report.holes, report.missing) == ([0], False)
    gap = rows[:5].assign(a=np.nan)
    assert predict(tensors(gap)).tolist() == model.predict(gap).tolist()
    with pytest.raises(InvalidInput, match="Input X contains NaN"):
        predict(tensors(rows[:5].assign(b=np.nan)))


def test_an_infinite_float32_is_refused_too(tmp_path: Path) -> None:
    rows = PEOPLE.astype({NUMBERS[1]: "float32"})
    predict, _ = converted(tmp_path, by_column(OneHotEncoder(), LogisticRegression()).fit(rows, SAVED), sample=rows)
    assert predict(tensors(rows[:3])).tolist() == predict(tensors(rows))[:3].tolist()
    with pytest.raises(InvalidInput, match="Input X contains infinity"):
        predict(tensors(rows[:3].assign(**{NUMBERS[1]: np.float32(np.inf)}).astype({NUMBERS[1]: "float32"})))


def test_a_signature_in_another_order_than_the_model_was_fitted_on_is_refused(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=1000).fit(NAMED, Y)
    with pytest.raises(InvalidInput, match=r"its signature names petal width \(cm\), .*; it was fitted on sepal length"):
        converted(tmp_path, model, sample=NAMED[NAMED.columns[::-1]])


def test_trees_behind_a_scaler_are_asked_where_their_answer_changes_and_look_at_the_same_float32(tmp_path: Path) -> None:
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(X, WORDS)
    _, report = converted(tmp_path, forest, sample=X)
    assert report.rows > 500 + accelerated.MAX_EDGES
    assert (report.apart, report.error) == (0, None)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_forest_that_takes_gaps_still_refuses_what_float32_cannot_hold(tmp_path: Path, value: float) -> None:
    rows = X.copy()
    rows[::7, 0] = np.nan
    forest = RandomForestClassifier(10, random_state=0).fit(rows, Y)
    predict, _ = converted(tmp_path, forest, sample=X)
    words = re.escape("Input X contains infinity or a value too large for dtype('float32').")
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=words):
        forest.predict(np.full((1, 4), value))
    with pytest.raises(InvalidInput, match=words):
        predict(np.full((1, 4), value))


def test_several_labels_for_a_row_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it answers several labels for a row"):
        converted(tmp_path, RandomForestClassifier(3).fit(X, np.column_stack([Y, Y])), sample=X)


def test_what_is_no_estimator_is_told_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"it is a builtins\.dict, no estimator of scikit-learn"):
        converted(tmp_path, {"weights": np.ones(3)})


def test_a_process_that_ends_without_a_word_is_told_with_its_last_ones(tmp_path: Path) -> None:
    wanted = Wanted(path="x", flavor="sklearn", folder=str(tmp_path / "onnx"))
    with pytest.raises(Unavailable, match="ended without a word") as caught:
        convert([sys.executable, "-c", "import os; os.write(2, b'killed by rain'); os._exit(9)"], dict(os.environ), wanted)
    assert caught.value.detail == "killed by rain"


def test_a_python_that_is_gone_is_told(tmp_path: Path) -> None:
    wanted = Wanted(path="x", flavor="sklearn", folder=str(tmp_path / "onnx"))
    with pytest.raises(Unavailable, match=r"The conversion to ONNX cannot be started: .*gone"):
        convert([str(tmp_path / "gone")], dict(os.environ), wanted)


def test_columns_of_text_without_a_sample_are_told_what_is_lacking(tmp_path: Path) -> None:
    model = by_column(OneHotEncoder(), LogisticRegression()).fit(PEOPLE, SAVED)
    with pytest.raises(InvalidInput, match="Register it with a sample, so that the types of its columns are known"):
        converted(tmp_path, model)


@pytest.mark.parametrize(
    ("expected", "answer", "told"),
    [
        (["ab", None], ["ab"], {"rows": 2}),
        (["ab", None], ["aa"], {"rows": 2, "error": "1 of 2 rows are answered otherwise, one with a for b."}),
        (["ab", [[0.9, 0.1], [0.5, 0.5]]], ["aa", [[0.9, 0.1], [0.5, 0.5]]], {"rows": 2, "ties": 1}),
        (["ab", [[0.9, 0.1], [0.4, 0.6]]], ["ab", [[0.8, 0.2], [0.4, 0.6]]], {"rows": 2, "apart": 1}),
        (
            ["ab", [[0.9, 0.1], [0.4, 0.6]]],
            ["aa", [[0.9, 0.1], [0.6, 0.4]]],
            {"error": "1 of 2 rows are answered otherwise, one with a for b."},
        ),
    ],
)
def test_labels_must_be_equal_where_the_original_is_decided(expected: Any, answer: Any, told: dict[str, Any]) -> None:
    wanted = [np.array(list(expected[0])), *(np.array(item) for item in expected[1:] if item)]
    report = accelerated._compared(wanted, [np.array(list(answer[0])), *map(np.array, answer[1:])], [])
    assert {name: getattr(report, name) for name in told} == told


def test_numbers_must_be_close() -> None:
    assert not accelerated._compared([np.array([1.0, 1000.0])], [np.array([[1.001], [1000.0]])], []).error
    assert accelerated._compared([np.array([1.0, 1000.0])], [np.array([[1.1], [1000.0]])], []).error


# --- deployed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose endpoints end with the test."""
    yield workspace
    for endpoint in workspace.catalog.list_endpoints():
        delete_endpoint(workspace, DeleteOnlineEndpoint(name=str(endpoint.name)))


def posted(workspace: Workspace, deployment: str, path: str, body: Any) -> Any:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    shown = show_deployment(workspace, ShowOnlineDeployment(name=deployment, endpoint_name="iris"))
    key = get_keys(workspace, GetOnlineEndpointCredentials(name="iris")).primary_key
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployment, "Content-Type": "application/json"}
    try:
        with urlopen(Request(f"http://127.0.0.1:{shown.port}{path}", json.dumps(body).encode(), headers)) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_deployment_answers_the_same_in_every_protocol_and_needs_no_scikit_learn(workspace: Workspace) -> None:
    forest = RandomForestClassifier(30, random_state=0).fit(NAMED, WORDS)
    register_object(workspace, CreateModel(name="iris"), forest, sample=NAMED)
    deploy_model(workspace, DeployModel(name="iris", deployment_name="plain"))
    deploy_model(workspace, DeployModel(name="iris", deployment_name="fast", accelerator="onnx"))
    rows, columns = NAMED.iloc[::30].values.tolist(), list(NAMED.columns)
    turned = [row[::-1] for row in rows]
    tensor = {"name": "x", "shape": [5, 4], "datatype": "FP64", "data": [value for row in rows for value in row]}
    for path, body in (
        ("/score", {"input_data": rows}),
        ("/score", {"input_data": {"columns": columns[::-1], "data": turned}}),
        ("/invocations", {"dataframe_split": {"columns": columns, "data": rows}}),
        ("/invocations", {"dataframe_records": [dict(zip(columns, row, strict=True)) for row in rows]}),
        ("/v2/models/iris/infer", {"id": "1", "inputs": [tensor]}),
        ("/v1/models/iris:predict", {"instances": rows}),
        ("/score", {"input_data": [row[:3] for row in rows]}),
        ("/score", {"input_data": {"columns": ["a", *columns[1:]], "data": rows}}),
        ("/score", {"input_data": [["x", *row[1:]] for row in rows]}),
    ):
        assert posted(workspace, "fast", path, body) == posted(workspace, "plain", path, body), path
    shown = show_deployment(workspace, ShowOnlineDeployment(name="fast", endpoint_name="iris"))
    assert shown.accelerator == "onnx"
    assert any("rows were answered with the original's labels" in notice for notice in shown.notices or [])
    loaded = Path(f"/proc/{shown.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert "sklearn" not in loaded


def test_columns_of_text_are_answered_the_same_in_every_protocol(workspace: Workspace) -> None:
    model = by_column(OneHotEncoder(), RandomForestClassifier(10, random_state=0)).fit(PEOPLE, SAVED)
    register_object(workspace, CreateModel(name="iris"), model, sample=PEOPLE)
    deploy_model(workspace, DeployModel(name="iris", deployment_name="plain"))
    deploy_model(workspace, DeployModel(name="iris", deployment_name="fast", accelerator="onnx"))
    rows, columns = PEOPLE[:5].values.tolist(), list(PEOPLE.columns)
    named = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    types = ("INT64", "FP64", "BYTES", "BYTES")
    inputs = [{"name": name, "shape": [5], "datatype": kind, "data": named[name]} for name, kind in zip(columns, types, strict=True)]
    for path, body in (
        ("/score", {"input_data": rows}),
        ("/score", {"input_data": {"columns": columns[::-1], "data": [row[::-1] for row in rows]}}),
        ("/invocations", {"dataframe_split": {"columns": columns, "data": rows}}),
        ("/invocations", {"dataframe_records": [dict(zip(columns, row, strict=True)) for row in rows]}),
        ("/invocations", {"inputs": named}),
        ("/v2/models/iris/infer", {"id": "1", "inputs": inputs}),
        ("/v1/models/iris:predict", {"instances": [dict(zip(columns, row, strict=True)) for row in rows]}),
        ("/score", {"input_data": [row[:3] for row in rows]}),
        ("/score", {"input_data": [["x", *row[1:]] for row in rows]}),
        ("/invocations", {"inputs": {**named, "age": ["x"] * 5}}),
        ("/v2/models/iris/infer", {"id": "1", "inputs": inputs[1:]}),
    ):
        assert posted(workspace, "fast", path, body) == posted(workspace, "plain", path, body), path
    strange = {"input_data": [[*rows[0][:3], "Rom"]]}
    assert posted(workspace, "fast", "/score", strange)[0] == posted(workspace, "plain", "/score", strange)[0] == 400
    pid = show_deployment(workspace, ShowOnlineDeployment(name="fast", endpoint_name="iris")).pid
    assert not re.search("sklearn|pandas", Path(f"/proc/{pid}/maps").read_text())


def test_it_is_offered_where_it_is_sure_to_help_and_refused_where_it_cannot(workspace: Workspace, tmp_path: Path) -> None:
    register_object(workspace, CreateModel(name="iris"), RandomForestClassifier(3, random_state=0).fit(X, Y), sample=X)
    deploy_model(workspace, DeployModel(name="iris"))
    notices = show_deployment(workspace, ShowOnlineDeployment(name="default", endpoint_name="iris")).notices
    assert any("RandomForestClassifier answers many times faster with --accelerator onnx" in notice for notice in notices or [])
    (tmp_path / "note.txt").write_text("no model")
    create_model(workspace, CreateModel(name="note", path="note.txt"))
    (tmp_path / "score.py").write_text("def init(): pass\ndef run(raw_data): return 1\n")
    create_endpoint(workspace, CreateOnlineEndpoint(name="other"))
    for about, message in (
        ({"name": "note"}, "It cannot be accelerated by ONNX: note.txt has no layout that can be loaded"),
        ({"name": "note", "scoring_script": str(tmp_path / "score.py")}, "accelerator is for a model that answers by itself"),
        ({"name": "iris", "accelerator": "magic"}, "onnx"),
    ):
        with pytest.raises(InvalidInput, match=message):
            deploy_model(workspace, DeployModel(**{"endpoint_name": "other", "accelerator": "onnx", **about}))
    assert workspace.catalog.list_deployments("other") == []
