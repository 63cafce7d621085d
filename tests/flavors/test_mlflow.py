"""Models that MLflow itself saved, and folders that only look like one."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from jupyter_modelreg import flavors
from jupyter_modelreg.entities.model import ColumnSpec
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.trust import scan_tree

FRAME = pd.DataFrame({"age": [1, 2, 3, 4] * 5, "pay": [1.0, 2.0, 3.0, 4.0] * 5})
LABELS = np.array(["a", "b"] * 10)


def save(folder: Path, model: Any, sample: Any, **options: Any) -> str:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(sample, model.predict(sample))
        mlflow.sklearn.save_model(model, str(folder), signature=signature, input_example=sample, pip_requirements=["x"], **options)
    return str(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders that MLflow wrote: one for each of its formats, and one of tensors."""
    place = tmp_path_factory.mktemp("mlflow")
    table = LogisticRegression().fit(FRAME, LABELS)
    made = {kind: save(place / kind, table, FRAME, serialization_format=kind) for kind in ("skops", "pickle", "cloudpickle")}
    tensors = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
    return {**made, "tensors": save(place / "tensors", tensors, np.eye(3, dtype="f4"))}


@pytest.mark.parametrize("kind", ["skops", "pickle", "cloudpickle"])
def test_what_mlflow_saved_is_found_read_and_loaded(kind: str, saved: dict[str, str]) -> None:
    folder = saved[kind]
    found = flavors.detect(open_local(folder), "mlflow_model")
    assert (found.type, found.flavor) == ("mlflow_model", "mlflow")
    assert found.signature
    assert found.signature.inputs == [ColumnSpec(name="age", type="long"), ColumnSpec(name="pay", type="double")]
    assert found.signature.outputs == [ColumnSpec(type="string", shape=[-1])]
    assert found.input_example == {"columns": ["age", "pay"], "data": [[1, 1.0], [2, 2.0], [3, 3.0]]}
    assert found.flavors["sklearn"]["serialization_format"] == kind
    json.dumps(found.to_dict(), allow_nan=False)
    assert scan_tree(open_local(folder)).verdict in ("data-only", "known-pickle")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert type(flavors.load_object(folder, "mlflow")) is LogisticRegression
        predictor = flavors.load_predictor(folder, "mlflow", found.signature)
    assert predictor.wants == "frame"
    assert set(predictor(FRAME.head(4))) <= {"a", "b"}


def test_a_model_of_tensors_is_asked_with_tensors_of_its_own_type(saved: dict[str, str]) -> None:
    found = flavors.detect(open_local(saved["tensors"]))
    assert found.signature
    assert found.signature.inputs == [ColumnSpec(type="float", shape=[-1, 3])]
    assert found.input_example == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = flavors.load_predictor(saved["tensors"], "mlflow", found.signature)
    assert predictor.wants == "array"
    np.testing.assert_allclose(predictor(np.eye(3)), [1, 2, 3], rtol=1e-5)


def test_rows_that_mlflow_refuses_are_the_callers_fault(saved: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = flavors.load_predictor(saved["skops"], "mlflow", None)
    with pytest.raises(ValueError, match="pay"):
        predictor(FRAME[["age"]])
    with pytest.raises(ValueError, match="age"):
        predictor(FRAME.assign(age="many"))


def test_detecting_imports_no_mlflow(saved: dict[str, str]) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from jupyter_modelreg import flavors; from jupyter_modelreg.sources.local import open_local; "
        f"flavors.detect(open_local({saved['skops']!r})); "
        "print([name for name in ('mlflow', 'pandas', 'numpy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_code_that_mlflow_saved_asks_for_trust(tmp_path: Path) -> None:
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Double(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
            def predict(self, model_input: list[str]) -> list[str]:
                return model_input

        mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Double(), pip_requirements=["x"])
    scan = scan_tree(open_local(str(tmp_path / "m")))
    assert scan.verdict == "unknown-names"
    assert any("cloudpickle" in line for line in scan.findings)


def test_a_file_is_no_mlflow_model(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\x00")
    with pytest.raises(InvalidInput, match=r"mlflow_model cannot register a file: m\.bin\. Register the folder that holds MLmodel"):
        flavors.detect(open_local(str(tmp_path / "m.bin")), "mlflow_model")


def test_a_folder_without_mlmodel_is_no_mlflow_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("a")
    with pytest.raises(InvalidInput, match=r"m is no mlflow_model: it has no MLmodel file, only a\.txt"):
        flavors.detect(open_local(str(tmp_path / "m")), "mlflow_model")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"flavors: [", "MLmodel:1: this is no YAML"),
        (b"", "MLmodel is empty"),
        (b"a: 1", 'no "flavors"'),
        (b"flavors: {sklearn: 3}", 'no "flavors"'),
        (b"\xff\xfe", "not UTF-8"),
        (b"flavors: {a: {b: !!python/object/apply:os.system ['true']}}", "tag .* is not allowed"),
        (b"flavors: " + b"[" * 5000, "nested too deeply"),
        (b"#" * (5 << 20), "larger than 4 MiB"),
        (b"flavors: {sklearn: {}}\nsignature: {inputs: '[', outputs: null}", "signature that cannot be read"),
        (b'flavors: {sklearn: {}}\nsignature: {inputs: \'[{"tensor-spec": {"dtype": "f"}}]\'}', "signature that cannot be read"),
        (b"flavors: {sklearn: {}}\nsignature: {inputs: '[3]'}", "signature that cannot be read"),
    ],
)
def test_an_mlmodel_that_is_none_is_one_clear_line(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_bytes(content)
    with pytest.raises(InvalidInput, match=reason) as raised:
        flavors.detect(open_local(str(tmp_path)))
    assert "\n" not in raised.value.message


def test_an_mlmodel_that_is_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    from ..trust.hostile import MADE

    (tmp_path / "MLmodel").write_bytes(MADE["bomb/MLmodel"])
    start = time.perf_counter()
    with pytest.raises(InvalidInput, match="too large"):
        flavors.detect(open_local(str(tmp_path)))
    assert time.perf_counter() - start < 2


def test_values_that_json_has_not_stay_text(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {day: 2026-01-02, odd: .nan, far: .inf, size: 3, none: null, bad: 2026-99-99}}")
    found = flavors.detect(open_local(str(tmp_path)))
    wanted = {"day": "2026-01-02", "odd": ".nan", "far": ".inf", "size": 3, "none": None, "bad": "2026-99-99"}
    assert found.flavors == {"sklearn": wanted}


@pytest.mark.parametrize("example", ["[" * 100_000, "{", json.dumps({"inputs": [["x" * 300_000]] * 3})])
def test_an_example_that_is_none_or_too_large_is_left_out(example: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {}}")
    (tmp_path / "serving_input_example.json").write_text(example)
    assert flavors.detect(open_local(str(tmp_path))).input_example is None
