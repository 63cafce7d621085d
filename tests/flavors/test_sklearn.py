"""scikit-learn's estimators in an instance: what was fitted on a table answers bare rows where that is the same."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from jupyter_modelreg import flavors
from jupyter_modelreg.entities.model import Signature
from jupyter_modelreg.flavors.signatures import infer_signature
from jupyter_modelreg.flavors.sklearn import SklearnFlavor
from jupyter_modelreg.serving.azure import Reader
from jupyter_modelreg.serving.calls import ServedModel

IRIS = load_iris(as_frame=True).data
KINDS = load_iris().target
NUMBERED = IRIS.assign(count=np.arange(150) % 3)  # whole numbers beside fractions
WHOLE = (10 * IRIS).round().astype("int64")
NARROW = IRIS.astype("float32")
GAPS = IRIS.mask(IRIS > 6)
FEW = {"max_iter": 50}

BY_PLACE: dict[str, tuple[Any, pd.DataFrame]] = {
    "logistic": (LogisticRegression(**FEW), IRIS),
    "whole": (LogisticRegression(**FEW), WHOLE),
    "narrow": (RandomForestClassifier(10, random_state=0), NARROW),
    "mixed": (make_pipeline(StandardScaler(), SVC()), NUMBERED),
    "forest": (RandomForestClassifier(10, random_state=0), IRIS),
    "boosted": (GradientBoostingClassifier(n_estimators=5), NUMBERED),
    "histogram": (HistGradientBoostingClassifier(max_iter=5), GAPS),
    "gaps": (make_pipeline(SimpleImputer(), KNeighborsClassifier()), GAPS),
    "searched": (GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression(**FEW)), {"logisticregression__C": [1, 2]}, cv=2), IRIS),
    "voting": (VotingClassifier([("a", DecisionTreeClassifier()), ("b", LogisticRegression(**FEW))]), IRIS),
    "stacking": (StackingClassifier([("a", DecisionTreeClassifier(random_state=0))], passthrough=True, cv=2), IRIS),
    "bagging": (BaggingClassifier(n_estimators=3, max_features=2, random_state=0), IRIS),
    "union": (make_pipeline(make_union(PCA(2), SelectKBest(k=1)), OneVsRestClassifier(LogisticRegression(**FEW))), IRIS),
    "encoded": (make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(**FEW)), WHOLE),
    "clusters": (KMeans(3, n_init=1, random_state=0), IRIS),
    "outliers": (IsolationForest(n_estimators=5, random_state=0), IRIS),
    "net": (MLPClassifier((4,), max_iter=10, random_state=0), IRIS),
}


class Own(ClassifierMixin, BaseEstimator):
    """A stranger's estimator, which may look at its columns."""

    def fit(self, rows: Any, kinds: Any) -> Own:
        self.feature_names_in_ = np.array(list(rows.columns), dtype=object)
        return self

    def predict(self, rows: Any) -> Any:
        return (rows["petal width (cm)"] > 1).to_numpy().astype(int)


BY_NAME: dict[str, tuple[Any, pd.DataFrame]] = {
    "columns": (make_pipeline(ColumnTransformer([("a", StandardScaler(), ["petal width (cm)"])]), LogisticRegression(**FEW)), IRIS),
    "selected": (make_pipeline(ColumnTransformer([("a", StandardScaler(), make_column_selector("petal"))]), SVC()), IRIS),
    "function": (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(**FEW)), IRIS),
    "inner": (VotingClassifier([("a", make_pipeline(FunctionTransformer(np.log1p), SVC()))]), IRIS),
    "target": (TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1), IRIS),
    "tables": (make_pipeline(StandardScaler().set_output(transform="pandas"), SVC()), IRIS),
    "mixed": (make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), SVC()), NUMBERED),
    "boolean": (LogisticRegression(**FEW), IRIS.assign(is_large=IRIS["petal width (cm)"] > 1)),
    "text": (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), SVC()),
        IRIS.assign(size=np.where(IRIS["petal width (cm)"] > 1, "big", "small")),
    ),
    "stranger": (Own(), IRIS),
    "strangers": (VotingClassifier([("a", Own())], voting="hard"), IRIS),
}


def served(estimator: Any, table: pd.DataFrame, folder: Path, signature: Signature | None) -> tuple[Any, Any]:
    """Fit, save and load to serve; return the predictor and what the estimator itself answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = estimator.fit(table, KINDS).predict(table)
    flavors.save_object(estimator, str(folder))
    return SklearnFlavor().predictor(str(folder), signature, is_trusted=True), wanted


def ask(predictor: Any, table: pd.DataFrame, signature: Signature | None, **about: Any) -> Any:
    """Ask as a caller does, in JSON."""
    values = {"columns": list(table.columns), "data": json.loads(table.to_json(orient="values", double_precision=15)), **about}
    call = Reader(ServedModel("m", predictor=predictor, signature=signature)).read(
        json.dumps({"dataframe_split": values}).encode(), "application/json"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return predictor(call.inputs)


@pytest.mark.parametrize(("name", "wants"), [*((name, "array") for name in BY_PLACE), *((name, "frame") for name in BY_NAME)])
def test_only_who_may_pick_columns_by_name_or_type_gets_a_table_and_all_answer_as_they_did(name: str, wants: str, tmp_path: Path) -> None:
    estimator, table = (BY_PLACE if wants == "array" else BY_NAME)[name]
    signature = infer_signature(table)
    predictor, wanted = served(estimator, table, tmp_path, signature)
    assert predictor.wants == wants
    np.testing.assert_allclose(ask(predictor, table, signature), wanted, rtol=1e-12, atol=1e-12)
    backwards = table[table.columns[::-1]]
    np.testing.assert_allclose(ask(predictor, backwards, signature), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("columns", [None, list(IRIS.columns[::-1]), ["a", "b", "c", "d"]])
def test_a_table_is_made_where_the_signature_is_not_what_it_was_fitted_on(columns: list[str] | None, tmp_path: Path) -> None:
    signature = infer_signature(IRIS.set_axis(columns, axis=1)) if columns else None
    predictor, _ = served(LogisticRegression(**FEW), IRIS, tmp_path, signature)
    assert predictor.wants == "frame"


def test_a_model_of_a_table_of_numbers_is_served_without_pandas(tmp_path: Path) -> None:
    signature = infer_signature(IRIS)
    _, wanted = served(LogisticRegression(**FEW), IRIS, tmp_path, signature)
    script = f"""
import sys, json
from jupyter_modelreg.entities.model import Signature
from jupyter_modelreg.flavors import load_predictor
from jupyter_modelreg.records import from_dict
predictor = load_predictor({str(tmp_path)!r}, "sklearn", from_dict(Signature, {signature.to_dict()!r}))
print(json.dumps([predictor({IRIS.to_numpy().tolist()!r}).tolist(), "pandas" in sys.modules]))
"""
    said = subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == [wanted.tolist(), False]


# A search keeps how long its fits took.
@pytest.mark.parametrize("name", sorted({*BY_PLACE, *BY_NAME} - {"searched"}))
def test_who_is_fitted_again_the_same_way_is_saved_in_equal_files(name: str, tmp_path: Path) -> None:
    files = []
    for number in range(2):
        estimator, table = {**BY_PLACE, **BY_NAME}[name]
        again = clone(estimator).set_params(**{key: 0 for key in estimator.get_params() if key.endswith("random_state")})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again.fit(table, KINDS)
        (tmp_path / f"{number}").mkdir()
        SklearnFlavor().save(again, str(tmp_path / f"{number}"))
        files.append((tmp_path / f"{number}" / "model.skops").read_bytes())
    assert files[0] == files[1]
