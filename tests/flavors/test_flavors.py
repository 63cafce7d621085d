"""Every flavor holds to the suite; detecting, saving and loading of real libraries' objects."""

from __future__ import annotations

import functools
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from safetensors.numpy import save_file
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from jupyter_modelreg import flavors
from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput, NotFound, Refused, Unavailable, UnsafeModel
from jupyter_modelreg.flavors.numpy import NumpyFlavor
from jupyter_modelreg.flavors.onnx import OnnxFlavor
from jupyter_modelreg.flavors.pickle import PickleFlavor, PickleWarning
from jupyter_modelreg.flavors.sklearn import SklearnFlavor
from jupyter_modelreg.flavors.torch import parse_class
from jupyter_modelreg.flavors.xgboost import XgboostFlavor
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.testing import FlavorSuite
from jupyter_modelreg.trust import LOADABLE, scan_tree

from ..trust.hostile import MADE, MARKER, RUNS, safetensors, skops, zipped

FRAME = pd.DataFrame(
    {
        "age": [1, 2, 3, 4] * 5,
        "city": ["a", "b", "c", "a"] * 5,
        "pay": [1.0, np.nan, 3.0, 4.0] * 5,
        "ok": [True, False, True, False] * 5,
        "kind": pd.Categorical(["x", "y", "x", "y"] * 5),
    }
)
LABELS = np.array(["no", "yes"] * 10)


class Own(BaseEstimator):
    """An estimator of nobody's library."""

    def predict(self, rows: Any) -> Any:
        return rows


def table_pipeline() -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "pay"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city", "kind"]),
            ("rest", "passthrough", ["ok"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, LABELS)


def onnx_sum() -> Any:
    from onnx import TensorProto, helper

    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    more = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 2])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "z"], ["y"])], "sum", [rows, more], [answer])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class TestSklearn(FlavorSuite):
    def make_flavor(self) -> SklearnFlavor:
        return SklearnFlavor()

    def make_value(self) -> Any:
        return table_pipeline()

    def make_value_it_cannot_hold(self) -> Any:
        return FunctionTransformer(lambda rows: rows)

    def assert_same(self, saved: Any, loaded: Any) -> None:
        assert list(loaded.predict(FRAME)) == list(saved.predict(FRAME))


class TestXgboost(FlavorSuite):
    def make_flavor(self) -> XgboostFlavor:
        return XgboostFlavor()

    def make_value(self) -> Any:
        return xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1).fit(FRAME[["age", "pay"]], LABELS == "yes")

    def make_value_it_cannot_hold(self) -> Any:
        return xgboost.XGBRegressor()  # has seen no data

    def assert_same(self, saved: Any, loaded: Any) -> None:
        assert type(loaded) is type(saved)
        assert (loaded.max_depth, loaded.n_estimators) == (2, 4)
        assert list(loaded.feature_names_in_) == ["age", "pay"]
        np.testing.assert_array_equal(loaded.predict_proba(FRAME[["age", "pay"]]), saved.predict_proba(FRAME[["age", "pay"]]))


class TestXgboostBooster(FlavorSuite):
    def make_flavor(self) -> XgboostFlavor:
        return XgboostFlavor()

    def make_value(self) -> Any:
        return xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(FRAME[["age", "pay"]], LABELS == "yes"), 3)

    def assert_same(self, saved: Any, loaded: Any) -> None:
        np.testing.assert_array_equal(
            loaded.predict(xgboost.DMatrix(FRAME[["age", "pay"]])), saved.predict(xgboost.DMatrix(FRAME[["age", "pay"]]))
        )


class TestNumpy(FlavorSuite):
    def make_flavor(self) -> NumpyFlavor:
        return NumpyFlavor()

    def make_value(self) -> Any:
        return {"weights": np.arange(6.0).reshape(2, 3), "bias": np.array(0.5, "f4"), "none": np.zeros((0, 3), "u1")}

    def make_value_it_cannot_hold(self) -> Any:
        return np.array(["text"])

    def assert_same(self, saved: Any, loaded: Any) -> None:
        assert saved.keys() == loaded.keys()
        for name, array in saved.items():
            assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(loaded[name], array)


class TestOnnx(FlavorSuite):
    def make_flavor(self) -> OnnxFlavor:
        return OnnxFlavor()

    def make_value(self) -> Any:
        return onnx_sum()

    def assert_same(self, saved: Any, loaded: Any) -> None:
        ones = np.ones((1, 2), "f4")
        np.testing.assert_array_equal(loaded.run(None, {"x": ones, "z": ones})[0], 2 * ones)


@pytest.mark.filterwarnings("ignore::jupyter_modelreg.flavors.pickle.PickleWarning")
class TestPickle(FlavorSuite):
    needs_trust = True
    takes_anything = True

    def make_flavor(self) -> PickleFlavor:
        return PickleFlavor()

    def make_value(self) -> Any:
        return lambda rows: [2 * row for row in rows]

    def make_value_it_cannot_hold(self) -> Any:
        return (number for number in range(3))

    def assert_same(self, saved: Any, loaded: Any) -> None:
        assert loaded([1, 2]) == saved([1, 2])


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "model").mkdir()
    return str(tmp_path / "model")


def save_and_load(value: Any, folder: str) -> Any:
    """Save as the safest flavor does, hold the files against the scanner, load."""
    saved = flavors.save_object(value, folder)
    scan = scan_tree(open_local(folder))
    assert scan.verdict in LOADABLE, scan
    found = flavors.detect(open_local(folder))
    assert found.flavor == saved.flavor
    return flavors.load_object(folder, str(found.flavor))


@pytest.mark.parametrize(
    ("estimator", "rows"),
    [
        (table_pipeline(), FRAME),
        (RandomForestClassifier(3).fit(FRAME[["age"]], LABELS), FRAME[["age"]]),
        (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["a cat", "the dog"] * 5, ["c", "d"] * 5), ["cat", "dog"]),
        (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(FRAME[["age"]], LABELS), FRAME[["age"]]),
        (GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2).fit(FRAME[["age"]], LABELS), FRAME[["age"]]),
        (make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()).fit(FRAME[["age"]], LABELS), FRAME[["age"]]),
    ],
)
def test_an_estimator_comes_back_the_same_without_trust(estimator: Any, rows: Any, folder: str) -> None:
    loaded = save_and_load(estimator, folder)
    assert list(loaded.predict(rows)) == list(estimator.predict(rows))


@pytest.mark.parametrize("kind", ["model.pkl", "model.joblib", "packed.joblib"])
def test_an_estimator_that_others_pickled_loads_without_trust(kind: str, folder: str) -> None:
    estimator = table_pipeline()
    path = os.path.join(folder, kind)
    if kind == "model.pkl":
        Path(path).write_bytes(pickle.dumps(estimator))
    else:
        joblib.dump(estimator, path, compress=3 if kind == "packed.joblib" else 0)
    assert scan_tree(open_local(folder)).verdict == "known-pickle"
    for place in (folder, path):
        loaded = flavors.load_object(place, str(flavors.detect(open_local(place)).flavor))
        assert list(loaded.predict(FRAME)) == list(estimator.predict(FRAME))


def test_an_array_comes_back_mapped_and_not_copied(folder: str) -> None:
    array = np.arange(12, dtype="f4").reshape(3, 4)
    loaded = save_and_load(array, folder)
    np.testing.assert_array_equal(loaded, array)
    assert isinstance(loaded.base, np.memmap) or isinstance(loaded, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded[0, 0] = 1


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.arange(3, dtype=">i4"),
        np.arange(6.0).reshape(2, 3).T,
        np.array([True, False]),
        np.zeros((0, 4), "f2"),
        np.arange(9)[::2],
    ],
)
def test_arrays_keep_value_shape_and_kind(array: Any, folder: str) -> None:
    loaded = save_and_load(array, folder)
    assert (loaded.shape, loaded.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ma.array([1, 2], mask=[0, 1]), "MaskedArray"),
        (np.array([1 + 2j]), "complex128"),
        (np.array([{}]), "object"),
        (np.array([1], "f16"), "float128"),
        ({"__metadata__": np.ones(1)}, "taken by the format"),
        ({"a": np.ones(1), 3: np.ones(1)}, "builtins.dict has no safe format here. Add --allow-pickle"),
        (FRAME, "pandas.DataFrame has no safe format here. Add --allow-pickle"),
        (FunctionTransformer(lambda rows: rows), "<lambda>, which no other process could import"),
        (Own, "builtins.type has no safe format"),
        ([1, 2], "builtins.list has no safe format"),
        (object(), "loading a pickle runs code, so loading will ask for --trust"),
    ],
)
def test_what_has_no_safe_format_is_refused_with_the_reason(value: Any, reason: str, folder: str) -> None:
    with pytest.raises(Refused) as raised:
        flavors.save_object(value, folder)
    assert reason in raised.value.message
    assert os.listdir(folder) == []


def test_a_class_of_ones_own_module_is_saved_and_asks_for_trust(folder: str) -> None:
    assert flavors.save_object(Own(), folder).flavor == "sklearn"
    scan = scan_tree(open_local(folder))
    assert (scan.verdict, scan.findings) == ("unknown-names", [f"model.skops: {__name__}.Own"])
    with pytest.raises(UnsafeModel, match=r"Own.*--trust"):
        flavors.load_object(folder, "sklearn")
    assert isinstance(flavors.load_object(folder, "sklearn", is_trusted=True), Own)


def test_a_pickle_on_request_warns_and_asks_for_trust(folder: str) -> None:
    double = FunctionTransformer(lambda rows: 2 * rows)
    with pytest.warns(PickleWarning, match="whoever loads it must trust you"):
        assert flavors.save_object(double, folder, allow_pickle=True).flavor == "pickle"
    assert scan_tree(open_local(folder)).verdict == "unknown-names"
    with pytest.raises(UnsafeModel, match=r"cloudpickle.*--trust"):
        flavors.load_object(folder, "pickle")
    assert flavors.load_object(folder, "pickle", is_trusted=True).transform(np.ones(1)) == [2.0]


def test_what_nothing_can_hold_is_refused_even_with_a_pickle(folder: str) -> None:
    with pytest.raises(Refused, match="in no format here: cloudpickle cannot hold it"):
        flavors.save_object((number for number in range(3)), folder, allow_pickle=True)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("case", sorted(RUNS))
def test_the_loader_itself_runs_nothing_that_is_not_allowed(case: str, folder: str, tmp_path: Path) -> None:
    """Even where nobody scanned before it: each name is checked as it is met."""
    name = case.partition("|")[0]
    path = Path(folder) / (name if name.endswith((".pkl", ".joblib", ".npy", ".npz", ".safetensors")) else f"{name}.pkl")
    path.write_bytes(MADE[name])
    flavor = str(flavors.detect(open_local(folder)).flavor)
    if name not in ("stacked.pkl", "legacy.pt", "array_hides.pkl"):  # harmless up to where this loader stops
        with pytest.raises((UnsafeModel, InvalidInput)):
            flavors.load_object(folder, flavor)
    else:
        flavors.load_object(folder, flavor)
    assert not (tmp_path / MARKER).exists()


def test_a_folder_cannot_name_a_file_that_is_none_of_its_flavor(folder: str) -> None:
    Path(folder, "weights.dat").write_bytes(MADE["plain.pkl"])
    Path(folder, "modelreg.json").write_text(json.dumps({"flavor": "pickle", "file": "weights.dat"}))
    with pytest.raises(NotFound, match=r"model holds no files ending in \.pkl"):
        flavors.load_object(folder, "pickle", is_trusted=True)


@pytest.mark.parametrize("said", ["[" * 100_000, "[]", '{"flavor": null}', "{", "null", "\xff"])
def test_a_broken_description_is_none(said: str, folder: str) -> None:
    Path(folder, "modelreg.json").write_text(said)
    assert flavors.detect(open_local(folder)).flavor is None


def test_a_description_with_a_signature_that_is_none_says_so(folder: str) -> None:
    Path(folder, "modelreg.json").write_text('{"flavor": "numpy", "signature": {"input": 3}}')
    with pytest.raises(InvalidInput, match=r'modelreg\.json: signature: Unknown key "input"\. Did you mean "inputs"'):
        flavors.detect(open_local(folder))


def test_an_example_that_is_not_json_is_made_so_and_a_large_one_left_out(folder: str) -> None:
    described = Path(folder, "modelreg.json")
    described.write_text('{"flavor": "numpy", "input_example": [NaN, Infinity, 1, 2, 3, 4]}')
    assert flavors.detect(open_local(folder)).input_example == [None, None, 1]
    described.write_text(json.dumps({"flavor": "numpy", "input_example": ["x" * 1_000_000]}))
    assert flavors.detect(open_local(folder)).input_example is None


def test_a_flavor_that_is_not_installed_is_named(folder: str) -> None:
    Path(folder, "modelreg.json").write_text('{"flavor": "sklaern"}')
    with pytest.raises(NotFound, match='There is no flavors plugin "sklaern"'):
        flavors.detect(open_local(folder))


@pytest.mark.parametrize(
    ("name", "content", "flavor"),
    [
        ("m.safetensors", MADE["wrong_size.safetensors"], "numpy"),
        ("m.safetensors", MADE["half.safetensors"], "numpy"),
        ("m.npy", b"no array", "numpy"),
        ("m.onnx", b"no model", "onnx"),
        ("m.skops", b"no zip", "sklearn"),
        ("m.skops", zipped(skops(__class__="Pipeline", __module__="sklearn.pipeline", __loader__="Nonsense")), "sklearn"),
        ("m.pkl", b"no pickle", "pickle"),
        ("MLmodel", b"flavors: {sklearn: {}}", "mlflow"),
    ],
)
def test_broken_files_are_one_clear_line(name: str, content: bytes, flavor: str, folder: str) -> None:
    Path(folder, name).write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        flavors.load_object(folder, flavor)
    assert "\n" not in raised.value.message
    assert "model" in raised.value.message or name in raised.value.message


def bare_safetensors(folder: str, dtype: str, content: bytes, **metadata: str) -> str:
    path = Path(folder, "m.safetensors")
    header = {"__metadata__": metadata, "a": {"dtype": dtype, "shape": [2], "data_offsets": [0, len(content)]}}
    path.write_bytes(safetensors(header, content))
    return str(path)


@pytest.mark.parametrize("written_by", ["np", "pt"])
def test_a_checkpoint_in_several_files_is_one_mapping(written_by: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, names in enumerate((["a", "b"], ["c"]), 1):
        save_file(
            {name: np.full(2, ord(name)) for name in names}, f"{folder}/model-0000{number}-of-00002.safetensors", {"format": written_by}
        )
    Path(folder, "model.safetensors.index.json").write_text("{}")
    flavor = str(flavors.detect(open_local(folder)).flavor)
    assert flavor == {"np": "numpy", "pt": "torch"}[written_by]
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = flavors.load_object(folder, flavor)
    assert {name: int(array[1]) for name, array in loaded.items()} == {"a": 97, "b": 98, "c": 99}
    Path(folder, "model-00001-of-00002.safetensors").rename(f"{folder}/aside")
    Path(folder, "other.safetensors").write_bytes(b"")
    assert flavors.detect(open_local(folder)).flavor is None


def test_a_checkpoint_of_torch_gives_arrays_where_torch_is_not_installed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bare_safetensors(folder, "F32", np.array([1.5, 2.5], "<f4").tobytes(), format="pt")
    assert flavors.detect(open_local(path)).flavor == "torch"
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.warns(UserWarning, match="torch is not installed here; the tensors come as numpy arrays"):
        loaded = flavors.load_object(path, "torch")
    assert (list(loaded["a"]), isinstance(loaded["a"].base, np.memmap)) == ([1.5, 2.5], True)


@pytest.mark.parametrize(("dtype", "content"), [("BF16", b"\xc0\x3f\x20\x40"), ("F8_E5M2", b"\x3e\x41")])
def test_types_that_numpy_lacks_are_those_of_ml_dtypes(dtype: str, content: bytes, folder: str) -> None:
    pytest.importorskip("ml_dtypes")
    loaded = flavors.load_object(bare_safetensors(folder, dtype, content), "numpy")
    assert [float(value) for value in loaded["a"]] == [1.5, 2.5]


def test_types_that_nothing_here_knows_say_what_would_help(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=r'"a" is of type U8_OWN, which numpy has not; load it with torch\.'):
        flavors.load_object(bare_safetensors(folder, "U8_OWN", bytes(2)), "numpy")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(Unavailable, match=r'"a" is of type BF16, which numpy has not; install ml_dtypes, or load it with torch\.'):
        flavors.load_object(bare_safetensors(folder, "BF16", bytes(4)), "numpy")


def test_files_without_a_layout_say_what_can_be_done_with_them(folder: str) -> None:
    with pytest.raises(InvalidInput, match="serve it with a scoring script"):
        flavors.load_object(folder, "")


def test_a_missing_class_is_named_when_a_trusted_pickle_needs_it(folder: str) -> None:
    Path(folder, "m.pkl").write_bytes(b"cnot_installed.here\nThing\n.")
    with pytest.raises(Unavailable, match="needs not_installed, which is not installed"):
        flavors.load_object(folder, "pickle", is_trusted=True)


@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1), Counter("abc"), functools.partial(np.clip, a_min=0, a_max=1), np.random.default_rng(3), {"a": (1, "b", None)}],
)
def test_plain_values_that_others_pickled_load_without_trust(value: Any, folder: str) -> None:
    for name, dump in (("m.pkl", pickle.dumps), ("m.joblib", None)):
        path = os.path.join(folder, name)
        Path(path).write_bytes(dump(value)) if dump else joblib.dump(value, path)
        assert scan_tree(open_local(path)).verdict == "known-pickle", scan_tree(open_local(path))
        loaded = flavors.load_object(path, "pickle")
        assert type(loaded) is type(value)
        assert repr(loaded).partition(" at ")[0] == repr(value).partition(" at ")[0]


def test_npz_files_come_as_a_dict_of_arrays(folder: str) -> None:
    np.savez(os.path.join(folder, "m.npz"), a=np.arange(3), b=np.ones(2))
    loaded = flavors.load_object(folder, "numpy")
    assert {name: list(array) for name, array in loaded.items()} == {"a": [0, 1, 2], "b": [1.0, 1.0]}


def test_a_predictor_asks_for_what_the_model_was_fitted_on(folder: str) -> None:
    flavors.save_object(table_pipeline(), folder)
    predictor = flavors.load_predictor(folder, "sklearn", None)
    assert predictor.wants == "frame"
    assert list(predictor(FRAME.head(2))) == ["no", "yes"]


_SERVE = """
import json, sys
from jupyter_modelreg.flavors import load_predictor
predictor = load_predictor({folder!r}, "sklearn", None)
loaded = sorted({{"pandas", "skops"}} & set(sys.modules))
import pandas, skops.io, skops.io._trusted_types as known
answers = predictor(pandas.DataFrame({rows!r}) if predictor.wants == "frame" else {rows!r}).tolist()
print(json.dumps([loaded, answers, len(known.SKLEARN_ESTIMATOR_TYPE_NAMES) > 100]))
"""


@pytest.mark.parametrize(
    ("model", "rows", "loaded"),
    [
        (LogisticRegression().fit([[0.0], [1.0]], [0, 1]), [[0.0], [1.0]], []),
        # Its names are asked of what skops knows, all of it.
        (make_pipeline(FunctionTransformer(expit), LogisticRegression()).fit([[-9.0], [9.0]], [0, 1]), [[-9.0], [9.0]], ["skops"]),
        (LogisticRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1]), [{"x": 0.0}, {"x": 1.0}], ["pandas"]),
    ],
)
def test_a_served_estimator_brings_only_what_it_needs_and_leaves_the_rest_whole(model: Any, rows: Any, loaded: Any, folder: str) -> None:
    flavors.save_object(model, folder)
    said = subprocess.run([sys.executable, "-c", _SERVE.format(folder=folder, rows=rows)], check=True, capture_output=True, text=True)
    found, answers, is_whole = json.loads(said.stdout)
    assert (found, answers, is_whole) == (loaded, [0, 1], True)


def test_an_onnx_predictor_names_a_missing_input(folder: str) -> None:
    flavors.save_object(onnx_sum(), folder)
    predictor = flavors.load_predictor(folder, "onnx", None)
    assert predictor.wants == "tensors"
    np.testing.assert_array_equal(predictor({"x": [[1, 2]], "z": [[1, 1]]}), [[2, 3]])
    with pytest.raises(InvalidInput, match='The input "z" is missing; the model takes x, z'):
        predictor({"x": [[1, 2]]})


def test_an_onnx_file_that_scikit_learn_became_answers_the_same(folder: str) -> None:
    from skl2onnx import to_onnx

    rows = FRAME[["age"]].to_numpy("f4")
    estimator = LogisticRegression().fit(rows, LABELS)
    flavors.save_object(to_onnx(estimator, rows[:1]), folder)
    answers = flavors.load_predictor(folder, "onnx", None)(rows)
    assert list(answers["label"] if "label" in answers else answers["output_label"]) == list(estimator.predict(rows))


def test_arrays_alone_are_not_served(folder: str) -> None:
    flavors.save_object(np.ones(3), folder)
    with pytest.raises(InvalidInput, match="serve them with a scoring script"):
        flavors.load_predictor(folder, "numpy", None)


def test_the_signature_and_example_are_kept_beside_the_model(folder: str) -> None:
    estimator = table_pipeline()
    saved = flavors.save_object(estimator, folder, sample=FRAME, outputs=estimator.predict(FRAME))
    found = flavors.detect(open_local(folder))
    assert (found.signature, found.input_example) == (saved.signature, saved.input_example)
    assert saved.signature
    assert saved.signature.outputs == [ColumnSpec(type="string", shape=[-1])]
    assert isinstance(saved.signature, Signature)


def test_a_file_that_xgboost_wrote_is_found_and_answers(tmp_path: Path) -> None:
    rows = FRAME[["age", "pay"]].to_numpy()
    booster = xgboost.train({"objective": "reg:squarederror", "nthread": 1}, xgboost.DMatrix(rows, FRAME["age"]), 3)
    for name in ("model.ubj", "model.json"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        booster.save_model(folder / name)
        for place in (folder, folder / name):
            assert flavors.detect(open_local(str(place))).flavor == "xgboost"
            predict = flavors.load_predictor(str(place), "xgboost", None)
            np.testing.assert_array_equal(predict(rows), booster.predict(xgboost.DMatrix(rows)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.json").write_text('{"weights": [1]}')
    assert flavors.detect(open_local(str(tmp_path / "other"))).flavor is None


def test_an_estimator_of_xgboost_answers_arrays_unless_it_has_categories(tmp_path: Path) -> None:
    plain = xgboost.XGBRegressor(n_estimators=2, n_jobs=1, monotone_constraints={"age": 1}).fit(FRAME[["age", "pay"]], FRAME["age"])
    sorted_out = xgboost.XGBRegressor(n_estimators=2, n_jobs=1, enable_categorical=True).fit(FRAME[["kind", "pay"]], FRAME["age"])
    for name, model, columns, wants in (("a", plain, ["age", "pay"], "array"), ("b", sorted_out, ["kind", "pay"], "frame")):
        (tmp_path / name).mkdir()
        flavors.save_object(model, str(tmp_path / name))
        predict = flavors.load_predictor(str(tmp_path / name), "xgboost", None)
        assert predict.wants == wants
        rows = FRAME[columns]
        np.testing.assert_array_equal(predict(rows if wants == "frame" else rows.to_numpy()), model.predict(rows))


def test_what_a_strangers_folder_asks_for_is_no_name_of_the_library(tmp_path: Path) -> None:
    flavors.save_object(xgboost.train({}, xgboost.DMatrix(np.ones((4, 1)), np.ones(4)), 1), str(tmp_path))
    facts = json.loads((tmp_path / "modelreg.json").read_text())
    (tmp_path / "modelreg.json").write_text(json.dumps({**facts, "class": "os.system", "parameters": {"command": "echo"}}))
    assert type(flavors.load_object(str(tmp_path), "xgboost")) is xgboost.Booster


def test_an_objective_of_ones_own_is_code_and_says_so(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=1, n_jobs=1, objective=lambda truth, guess: (guess - truth, truth * 0 + 1))
    model.fit(FRAME[["age"]], FRAME["age"])
    with pytest.raises(Refused, match="its parameter objective is no value that JSON holds"):
        flavors.save_object(model, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("nets:Net", ("nets", "Net", [], {})),
        ("my.nets : Net( 4, hidden=[8, 8], name='a:b' )", ("my.nets", "Net", [4], {"hidden": [8, 8], "name": "a:b"})),
        ("nets:Net(-1.5, None, (True,))", ("nets", "Net", [-1.5, None, (True,)], {})),
    ],
)
def test_a_class_is_read_without_running_anything(text: str, meaning: Any) -> None:
    assert parse_class(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Net",
        "nets:",
        ":Net",
        "nets.Net(4)",
        "nets:Net(open('x'))",
        "nets:Net(**{'a': 1})",
        "nets:a.Net()",
        "nets:Net()()",
        "a-b:Net",
        "n:" + "(" * 9000,
    ],
)
def test_what_is_no_class_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"names no class: nets:Net, or nets:Net\(4, hidden=\[8, 8\]\) with plain values"):
        parse_class(text)
