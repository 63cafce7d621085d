"""The scanner against hostile files and honest ones; the hostile are made in ``hostile``."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import joblib
import numpy as np
import pytest

from jupyter_modelreg.entities import Scan
from jupyter_modelreg.errors import UnsafeModel
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.testing.stores import GivenTree
from jupyter_modelreg.trust import audit, scan_tree
from jupyter_modelreg.trust.formats import inspect_file, needs_child

from .hostile import MADE, MARKER, RUNS, evil, onnx_model, safetensors, tensor, zipped

# How a person's own code would load each; none of these knows of us.
LOADERS = {
    "pickle": "import pickle; pickle.load(open(path, 'rb'))",
    "stacked": "import pickle; stream = open(path, 'rb'); [pickle.load(stream) for _ in range(6)]",
    "joblib": "import joblib; joblib.load(path)",
    "npy": "import numpy; found = numpy.load(path, allow_pickle=True); found['a'] if hasattr(found, 'files') else found",
}


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_file_that_could_run_code_does_not_pass(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(MADE[name])
    assert needs_child(name, io.BytesIO(path.read_bytes()))
    verdict, findings = inspect_file(name, str(path))
    assert verdict in ("blocked", "unknown-names", "not-inspected"), findings
    assert findings
    assert all(line.startswith(name) and line.isprintable() and len(line) < 250 for line in findings), findings
    assert not (tmp_path / MARKER).exists()
    with pytest.raises(UnsafeModel, match="--trust"):
        audit(Scan(verdict=verdict, findings=findings), "m:1", is_trusted=False)
    audit(Scan(verdict=verdict, findings=findings), "m:1", is_trusted=True)


def test_all_hostile_files_together_run_nothing_while_they_are_scanned(tmp_path: Path) -> None:
    for name, content in MADE.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert scan_tree(open_local(str(tmp_path / "model"))).verdict == "blocked"
    assert not [place for place, _, names in os.walk(tmp_path) if MARKER in names]


def test_the_hostile_files_are_hostile(tmp_path: Path) -> None:
    """Every loader runs the payload of its files: what the scanner stops is no paper tiger."""
    script = ["import os, sys", f"os.chdir({str(tmp_path)!r})", "missed = []"]
    for case, content in RUNS.items():
        name, _, loader = case.partition("|")
        (tmp_path / name).write_bytes(content)
        script += [
            f"path = {name!r}",
            f"try:\n    {LOADERS[loader]}\nexcept Exception: pass",
            f"os.path.exists({MARKER!r}) and os.unlink({MARKER!r}) is None or missed.append(path)",
        ]
    script.append("sys.exit(', '.join(missed) or 0)")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", "\n".join(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_found_are_shown(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(evil())
    assert scan_tree(open_local(str(tmp_path / "m.pkl"))) == Scan(verdict="blocked", findings=["m.pkl: posix.system"])


def test_the_worst_file_is_shown_first_and_its_control_characters_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + b"".join(b"cmy.own\nName%d\n0" % n for n in range(50)) + b"N.")
    (tmp_path / "b.pkl").write_bytes(b"cos\nsys\x1b[31mtem\n.")
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.verdict == "blocked"
    assert scan.findings[0] == "b.pkl: os.sys\\x1b[31mtem"
    assert len(scan.findings) == 20
    with pytest.raises(UnsafeModel, match="and 17 more"):
        audit(scan, "m:1", is_trusted=False)


def test_files_made_to_exhaust_the_scanner_are_not_inspected(tmp_path: Path) -> None:
    (tmp_path / "bomb.joblib").write_bytes(zlib.compress(bytes(100 << 20), 9))
    (tmp_path / "bomb.zip").write_bytes(zipped({"zeros.bin": bytes(100 << 20)}, compression=zipfile.ZIP_DEFLATED))
    (tmp_path / "long.pkl").write_bytes(b"\x80\x02" + b"K\x01" * 5_000_000 + b"cos\nsystem\n.")
    (tmp_path / "z_evil.pkl").write_bytes(evil())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.verdict == "blocked"
    assert scan.findings[0].startswith(("long.pkl", "z_evil.pkl"))
    assert {"bomb.joblib", "bomb.zip", "z_evil.pkl"} <= {line.partition(":")[0] for line in scan.findings}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; the work is done in another process


def test_a_deep_pickle_is_read_without_recursion(tmp_path: Path) -> None:
    (tmp_path / "deep.pkl").write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    assert scan_tree(open_local(str(tmp_path))).verdict == "known-pickle"


def test_a_file_that_kills_the_inspector_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"\x80\x04" + b"(" + b"\x8f" * 12_000_000  # three gigabytes of sets
    (tmp_path / "a_many.pkl").write_bytes(many + b"cos\nsystem\n.")
    (tmp_path / "b_evil.pkl").write_bytes(evil())
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.verdict == "blocked"
    assert scan.findings[0] == "b_evil.pkl: posix.system"
    assert scan.findings[1].startswith("a_many.pkl: ")


def test_a_pickle_of_large_arrays_is_passed_over_and_not_read(tmp_path: Path) -> None:
    """Two arrays of 1 GiB, in a file with holes; the names behind them are found all the same."""
    with open(tmp_path / "large.pkl", "wb") as stream:
        stream.write(b"\x80\x04")
        for _ in range(2):
            stream.write(b"\x8e" + struct.pack("<Q", 1 << 30))
            stream.seek(1 << 30, 1)
        stream.write(evil()[2:])
    start = time.perf_counter()
    scan = scan_tree(open_local(str(tmp_path)))
    assert scan.findings == ["large.pkl: posix.system"]
    assert time.perf_counter() - start < 5


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    for name in ("pickle.py", "json.py", "zipfile.py", "resource.py", "yaml.py"):
        (tmp_path / "model" / name).write_text(f"open({str(tmp_path / MARKER)!r}, 'w')\nraise SystemExit\n")
    (tmp_path / "model" / "m.pkl").write_bytes(evil())
    monkeypatch.chdir(tmp_path / "model")
    monkeypatch.syspath_prepend("")
    assert scan_tree(open_local(str(tmp_path / "model"))).verdict == "blocked"
    assert not (tmp_path / MARKER).exists()


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
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    (tmp_path / "m.onnx").write_bytes(onnx_model())
    (tmp_path / "outside.onnx").write_bytes(onnx_model(location="weights.bin"))
    (tmp_path / "config.json").write_text("{}")
    scan = scan_tree(open_local(str(tmp_path)))
    assert (scan.verdict, scan.findings) == ("data-only", [])


def padded(length: int) -> bytes:
    """A sound safetensors file whose header has a given length, which is its first bytes."""
    return safetensors(json.dumps({"a": tensor(0, 8)}).encode().ljust(length), bytes(8))


@pytest.mark.parametrize("length", [*range(0x60, 0x160, 8), *(0x78 | second << 8 for second in (0x01, 0x5E, 0x9C, 0xDA))])
def test_sound_safetensors_pass_whatever_their_first_byte_could_mean(length: int, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(padded(length))
    assert scan_tree(open_local(str(tmp_path))).verdict == "data-only"


@pytest.mark.parametrize("length", [0x60, 0x68, 0x70, 0x80, 0x88, 0x128, 0x158, 0x170, 0x178])
def test_most_sound_safetensors_need_no_process_of_their_own(length: int) -> None:
    assert not needs_child("m.safetensors", io.BytesIO(padded(length)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.safetensors", MADE["overlap.safetensors"]),
        ("m.safetensors", padded(0x80) + zipped({"a": b""})),
        ("m.safetensors", padded(0x50)),  # as a pickle something that the loader looks up by its own means
        ("m.safetensors", safetensors(json.dumps({"cos\nsystem": tensor(0, 0)}).encode().ljust(0x558))),  # as a pickle a text, then a name
        ("m.safetensors", padded(0x82)),  # as a pickle a name by its number
        ("m.pkl", padded(0x80)),
    ],
)
def test_what_may_be_more_than_safetensors_is_inspected_apart(name: str, content: bytes) -> None:
    assert needs_child(name, io.BytesIO(content))


def test_what_mlflow_saves_passes(tmp_path: Path) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(model, str(tmp_path / "m"), pip_requirements=["x"])
    scan = scan_tree(open_local(str(tmp_path / "m")))
    assert scan.verdict in ("data-only", "known-pickle"), scan


def test_known_content_is_looked_into_once_in_a_process(tmp_path: Path) -> None:
    class Counted(GivenTree):
        opened = 0

        def open(self, path: str) -> BinaryIO:
            self.opened += 1
            return super().open(path)

    tree = Counted({"w.bin": b"\0weights"})
    for _ in range(3):
        assert scan_tree(tree, digest="1" * 64).verdict == "data-only"
    assert tree.opened == 1
    for _ in range(2):
        assert scan_tree(tree).verdict == "data-only"
    assert tree.opened == 3
