"""Files that would run code, made here; each payload only touches a marker file."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

from jupyter_modelreg.entities import Scan
from jupyter_modelreg.errors import UnsafeModel
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.trust import audit, scan_tree


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def touch(marker: Path) -> Payload:
    return Payload(os.system, f"touch {marker}")


def zipped(name: str, data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, data)
    return made.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def joblibbed(value: Any, compress: Any = 0) -> bytes:
    made = io.BytesIO()
    joblib.dump(value, made, compress=compress)
    return made.getvalue()


def npy(value: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([value], dtype=object), allow_pickle=True)
    return made.getvalue()


def hostile(marker: Path) -> dict[str, bytes]:
    evil = pickle.dumps(touch(marker))
    return {
        "plain.pkl": evil,
        "wrong_ending.txt": evil,
        "no_ending": evil,
        "weights.safetensors": evil,
        "protocol_0.pkl": pickle.dumps(touch(marker), protocol=0),
        "protocol_0.txt": pickle.dumps(touch(marker), protocol=0),
        "broken_after.pkl": evil[:-1] + b"\x00garbage",
        "stacked.pkl": pickle.dumps({"a": 1}) + evil,
        "eval.pkl": pickle.dumps(Payload(eval, "1")),
        "getattr.pkl": pickle.dumps(Payload(getattr, "x", "upper")),
        "gzip.pkl.gz": gzip.compress(evil),
        "bz2.pkl": bz2.compress(evil),
        "xz.pkl": lzma.compress(evil),
        "zlib.joblib": joblibbed(touch(marker), ("zlib", 3)),
        "lzma.joblib": joblibbed(touch(marker), ("lzma", 3)),
        "array_first.joblib": joblibbed([np.arange(1000.0), touch(marker)]),
        "object_array.joblib": joblibbed(np.array([touch(marker)], dtype=object)),
        "object.npy": npy(touch(marker)),
        "object.npz": zipped("a.npy", npy(touch(marker))),
        "torch.pt": zipped("archive/data.pkl", evil),
        "zip_in_zip.zip": zipped("a.zip", zipped("b.pkl", evil)),
        "bundle.tar": tarred("b.pkl", evil),
        "bundle.tar.gz": gzip.compress(tarred("b.pkl", evil)),
        "lambda.pkl": cloudpickle.dumps(lambda rows: rows),
        "unsafe.yaml": b"a: !!python/object/apply:os.system ['true']\n",
        "layer.keras": zipped("config.json", b'{"class_name": "Lambda", "module": "keras.layers"}'),
        "outside.onnx": b"\x0a\x08location\x12\x10../../etc/passwd",
        "evil.skops": zipped(
            "schema.json", json.dumps({"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode"}).encode()
        ),
        "archive.7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
        "slip.zip": zipped("../../up.txt", b"x"),
        "named_like.pkl": b"no pickle at all",
        "short.safetensors": struct.pack("<Q", 10**12),
        "long.safetensors": struct.pack("<Q", 2) + b"{}" + b"more",
        "MLmodel": b"flavors:\n  python_function:\n    loader_module: my_own.code\n",
    }


@pytest.mark.parametrize("name", sorted(hostile(Path("marker"))))
def test_a_file_that_could_run_code_does_not_pass(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_bytes(hostile(marker)[name])
    scan = scan_tree(open_local(str(tmp_path / "model")))
    assert scan.verdict in ("blocked", "unknown-names", "not-inspected"), scan
    assert any(name in line for line in scan.findings)
    assert not marker.exists()
    with pytest.raises(UnsafeModel, match="--trust"):
        audit(scan, "m:1", is_trusted=False)
    audit(scan, "m:1", is_trusted=True)


def test_the_names_found_are_shown(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(touch(tmp_path / "marker")))
    scan = scan_tree(open_local(str(tmp_path / "m.pkl")))
    assert scan == Scan(verdict="blocked", findings=["m.pkl: posix.system"])


def test_a_bomb_is_not_inspected_and_the_process_lives(tmp_path: Path) -> None:
    (tmp_path / "bomb.joblib").write_bytes(zlib.compress(bytes(1 << 30), 9))
    (tmp_path / "deep.pkl").write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.verdict == "not-inspected" or scan.findings == []
    assert any("bomb.joblib" in line for line in scan.findings)


def test_one_file_that_kills_the_inspector_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a_huge.pkl").write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40))
    (tmp_path / "b_evil.pkl").write_bytes(pickle.dumps(touch(tmp_path / "marker")))
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.verdict in ("blocked", "not-inspected")


def estimators() -> list[Any]:
    from sklearn import cluster, decomposition, ensemble, feature_selection, linear_model, naive_bayes, neighbors, neural_network, svm, tree
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_iris
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    rows, labels = load_iris(return_X_y=True)
    makers: list[Any] = [
        linear_model.LogisticRegression(),
        linear_model.LinearRegression(),
        linear_model.Ridge(),
        linear_model.Lasso(),
        linear_model.SGDClassifier(),
        linear_model.Perceptron(),
        linear_model.BayesianRidge(),
        ensemble.RandomForestClassifier(5),
        ensemble.GradientBoostingClassifier(n_estimators=5),
        ensemble.HistGradientBoostingClassifier(max_iter=5),
        ensemble.ExtraTreesRegressor(5),
        ensemble.AdaBoostClassifier(n_estimators=3),
        ensemble.IsolationForest(n_estimators=5),
        tree.DecisionTreeClassifier(),
        tree.DecisionTreeRegressor(),
        svm.SVC(),
        svm.LinearSVC(),
        naive_bayes.GaussianNB(),
        neighbors.KNeighborsClassifier(),
        neighbors.NearestCentroid(),
        neural_network.MLPClassifier(max_iter=5),
        cluster.KMeans(3, n_init=1),
        cluster.AgglomerativeClustering(3),
        cluster.DBSCAN(),
        decomposition.PCA(2),
        decomposition.TruncatedSVD(2),
        decomposition.NMF(2, max_iter=20),
        feature_selection.SelectKBest(k=2),
        StandardScaler(),
        MinMaxScaler(),
        OneHotEncoder(),
        make_pipeline(StandardScaler(), linear_model.LogisticRegression()),
        make_pipeline(ColumnTransformer([("s", StandardScaler(), [0, 1])]), ensemble.RandomForestClassifier(3)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [maker.fit(np.abs(rows), labels) for maker in makers]


def test_honest_estimators_pass_in_every_common_format(tmp_path: Path) -> None:
    import skops.io

    for number, estimator in enumerate(estimators()):
        kind = f"{number:02d}_{type(estimator).__name__}"
        (tmp_path / f"{kind}.pkl").write_bytes(pickle.dumps(estimator))
        joblib.dump(estimator, tmp_path / f"{kind}.joblib")
        joblib.dump(estimator, tmp_path / f"{kind}.z.joblib", compress=3)
        skops.io.dump(estimator, tmp_path / f"{kind}.skops")
    scan = scan_tree(open_local(str(tmp_path)))
    assert not scan.findings, "\n".join(scan.findings)
    assert scan.verdict == "known-pickle"


def test_plain_data_is_plain_data(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(6.0)}, tmp_path / "m.safetensors")
    np.save(tmp_path / "m.npy", np.arange(6.0))
    np.savez(tmp_path / "m.npz", a=np.arange(6.0))
    (tmp_path / "notes.txt").write_text("cats and dogs\nin (brackets).\n")
    (tmp_path / "README.md").write_text("# A model\n")
    (tmp_path / "weights.bin").write_bytes(os.urandom(10_000))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    scan = scan_tree(open_local(str(tmp_path)))
    assert (scan.verdict, scan.findings) == ("data-only", [])


def test_what_mlflow_saves_passes(tmp_path: Path) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(model, str(tmp_path / "m"))
    scan = scan_tree(open_local(str(tmp_path / "m")))
    assert scan.verdict in ("data-only", "known-pickle"), scan
