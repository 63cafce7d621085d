"""Real models of real libraries behind the protocols: ONNX graphs, a Triton repository, MLflow's signatures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg import flavors
from jupyter_modelreg.flavors.onnx import SessionPredictor
from jupyter_modelreg.serving import azure, kserve, mlflow, v2
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.sources.local import open_local

from ..flavors.test_flavors import onnx_sum
from .wires import ask, columns

COLUMNS = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Columns(PythonModel):
    def predict(self, context, model_input, params=None):
        return [",".join(model_input.columns)] * len(model_input)

set_model(Columns())
"""


def infer(model: str, models: list[ServedModel], x: Any, z: Any) -> Any:
    """Ask for the sum of two float32 tensors, binary both ways."""
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
        for name, array in (("x", x), ("z", z))
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    answer = ask(
        v2.routes(models),
        "POST",
        f"/v2/models/{model}/infer",
        head + x.tobytes() + z.tobytes(),
        inference_header_content_length=str(len(head)),
    )
    assert answer.status == 200, answer.body
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.body[:size])["outputs"]
    return np.frombuffer(answer.body[size:], "<f4").reshape(output["shape"])


class Watched:
    """A session that keeps what it was fed."""

    def __init__(self, session: Any) -> None:
        self._session, self.fed = session, {}
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Any, feeds: dict[str, Any]) -> Any:
        self.fed = feeds
        return self._session.run(names, feeds)


def test_a_graphs_tensors_are_read_from_the_body_itself(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_sum().SerializeToString())
    watched = Watched(flavors.load_object(str(tmp_path / "m.onnx"), "onnx"))
    x, z = np.array([[1, 2]], "f4"), np.array([[3, 4]], "f4")
    np.testing.assert_array_equal(infer("m", [ServedModel("m", predictor=SessionPredictor(watched))], x, z), [[4, 6]])
    assert not any(array.flags.owndata or array.flags.writeable for array in watched.fed.values())


def test_a_graph_without_a_signature_says_what_it_takes_and_refuses_other_things(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_sum().SerializeToString())
    model = ServedModel("m", predictor=flavors.load_predictor(str(tmp_path / "m.onnx"), "onnx", None))
    about = json.loads(ask(v2.routes([model]), "GET", "/v2/models/m").body)
    assert about["platform"] == "onnxruntime_onnx"
    assert about["inputs"] == [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in "xz"]
    assert about["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    body = {"inputs": [{"name": name, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]} for name in "xz"]}
    refused = ask(v2.routes([model]), "POST", "/v2/models/m/infer", json.dumps(body).encode())
    assert (refused.status, json.loads(refused.body)["error"]) == (
        400,
        'Input "x" has the shape (1, 3); the model takes (-1, 2) (-1: any length).',
    )


def test_a_repositorys_models_answer_by_name_and_the_only_one_under_both_its_names(tmp_path: Path) -> None:
    for place in ("a/1", "b/7"):
        (tmp_path / "repo" / place).mkdir(parents=True)
        (tmp_path / "repo" / place / "model.onnx").write_bytes(onnx_sum().SerializeToString())
    x, z = np.array([[1, 2]], "f4"), np.array([[3, 4]], "f4")
    several = ServedModel("repo", "5", predictor=flavors.load_predictor(str(tmp_path / "repo"), "triton", None)).members()
    routes = v2.routes(several)
    for name in "ab":
        np.testing.assert_array_equal(infer(name, several, x, z), [[4, 6]])
    index = json.loads(ask(routes, "POST", "/v2/repository/index").body)
    assert [(row["name"], row["version"]) for row in index] == [("a", "1"), ("b", "7")]
    assert ask(routes, "GET", "/v2/models/repo").status == 404
    assert json.loads(ask(kserve.routes(several), "GET", "/v1/models").body) == {"models": ["a", "b"]}
    guess = ask(
        mlflow.routes(several), "POST", "/invocations", b'{"inputs": {"x": [[1, 2]], "z": [[3, 4]]}}', content_type="application/json"
    )
    assert (guess.status, "ask one of them" in json.loads(guess.body)["message"]) == (400, True)
    only = tmp_path / "only" / "densenet" / "3"
    only.mkdir(parents=True)
    (only / "model.onnx").write_bytes(onnx_sum().SerializeToString())
    single = ServedModel("churn", "5", predictor=flavors.load_predictor(str(tmp_path / "only"), "triton", None)).members()
    for name in ("churn", "densenet"):
        np.testing.assert_array_equal(infer(name, single, x, z), [[4, 6]])


def test_what_answers_each_row_alone_says_so(tmp_path: Path) -> None:
    from onnx import TensorProto, helper
    from sklearn.linear_model import LinearRegression

    flavors.save_object(LinearRegression().fit([[0.0], [1.0]], [0, 1]), str(tmp_path))
    assert flavors.load_predictor(str(tmp_path), "sklearn", None).is_batchable
    fixed = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "fixed", fixed[:1], fixed[1:])
    for name, proto, answer in (("sum", onnx_sum(), True), ("fixed", None, False)):
        proto = proto or helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
        assert flavors.load_predictor(str(tmp_path / f"{name}.onnx"), "onnx", None).is_batchable == answer


def test_a_graph_with_an_input_a_column_answers_tables_in_every_form(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("a", [None, 1]), ("b", [None]))]
    nodes = [helper.make_node("Unsqueeze", ["b", "one"], ["c"]), helper.make_node("Add", ["a", "c"], ["y"])]
    one = [helper.make_tensor("one", TensorProto.INT64, [1], [1])]
    graph = helper.make_graph(nodes, "columns", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])], one)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    predictor = flavors.load_predictor(str(tmp_path / "m.onnx"), "onnx", None)
    model = ServedModel("m", predictor=predictor, signature=columns("a:double", "b:double"))
    bodies = [
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"instances": [[1, 2], [3, 4]]},
        {"inputs": {"a": [[1], [3]], "b": [2, 4]}},
    ]
    for body in bodies:
        answer = ask(mlflow.routes([model]), "POST", "/invocations", json.dumps(body).encode(), content_type="application/json")
        assert json.loads(answer.body) == {"predictions": [[3.0], [7.0]]}, body
    matrix = [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}]
    single = [{"name": name, "shape": [2], "datatype": "FP64", "data": data} for name, data in (("a", [1, 3]), ("b", [2, 4]))]
    for inputs in (matrix, single):
        answer = ask(v2.routes([model]), "POST", "/v2/models/m/infer", json.dumps({"inputs": inputs}).encode())
        assert json.loads(answer.body)["outputs"][0]["data"] == [3.0, 7.0]


PARAMS = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Raised(PythonModel):
    def predict(self, context, model_input, params=None):
        return [row * params["power"] for row in model_input["a"]]

set_model(Raised())
"""


def test_what_mlflows_models_take_beside_rows_is_checked_and_given_to_them(tmp_path: Path) -> None:
    pyfunc = pytest.importorskip("mlflow.pyfunc")
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    (tmp_path / "code.py").write_text(PARAMS)
    params = ParamSchema([ParamSpec("power", "double", 2.0), ParamSpec("mode", "string", "plain")])
    signature = ModelSignature(Schema([ColSpec("double", "a")]), Schema([ColSpec("double")]), params)
    folder = str(tmp_path / "model")
    with warnings.catch_warnings(action="ignore"):
        pyfunc.save_model(folder, python_model=tmp_path / "code.py", signature=signature, pip_requirements=[])
    described = flavors.detect(open_local(folder)).signature
    model = ServedModel("m", predictor=flavors.load_predictor(folder, "mlflow", described, is_trusted=True), signature=described)

    def invoke(body: dict[str, Any]) -> Any:
        asked = json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1], [3]]}, **body}).encode()
        return json.loads(ask(mlflow.routes([model]), "POST", "/invocations", asked, content_type="application/json").body)

    assert invoke({}) == invoke({"params": {}}) == invoke({"params": None}) == {"predictions": [2.0, 6.0]}
    assert invoke({"params": {"power": 10}}) == {"predictions": [10.0, 30.0]}
    assert invoke({"params": {"pover": 10}})["message"] == 'The model takes no param "pover"; it takes power, mode.'
    assert invoke({"params": [1]})["message"] == '"params" must be a mapping of names to values.'
    with pytest.raises(ValueError, match=r"power.*Can not safely convert"):  # which the batcher answers with 400
        invoke({"params": {"power": "high"}})
    call = azure.Reader(model).read(b'{"input_data": [[1.0]], "params": {"power": 3}}', "application/json")
    assert (call.rows, call.params) == (0, {"power": 3})  # joined with nobody


def test_mlflows_optional_columns_may_be_left_out(tmp_path: Path) -> None:
    pyfunc = pytest.importorskip("mlflow.pyfunc")
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    (tmp_path / "code.py").write_text(COLUMNS)
    signature = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b", required=False)]), Schema([ColSpec("string")]))
    folder, example = str(tmp_path / "model"), pd.DataFrame({"a": [1.0]})
    with warnings.catch_warnings(action="ignore"):  # MLflow's advice, and its use of pandas
        pyfunc.save_model(folder, python_model=tmp_path / "code.py", signature=signature, input_example=example, pip_requirements=[])
    described = flavors.detect(open_local(folder)).signature
    assert [(spec.name, spec.required) for spec in described.inputs] == [("a", None), ("b", False)]
    predictor = flavors.load_predictor(folder, "mlflow", described, is_trusted=True)
    model = ServedModel("m", predictor=predictor, signature=described)
    assert not predictor.is_batchable
    answers = {
        body: json.loads(ask(mlflow.routes([model]), "POST", "/invocations", body, content_type="application/json").body)
        for body in (b'{"dataframe_records": [{"a": 1}]}', b'{"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1]]}}')
    }
    assert [answer.get("predictions") for answer in answers.values()] == [["a"], ["a,b"]], answers
    tensor = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]}
    answer = json.loads(ask(v2.routes([model]), "POST", "/v2/models/m/infer", json.dumps(tensor).encode()).body)
    assert answer["outputs"] == [{"name": "predict", "datatype": "BYTES", "shape": [1], "data": ["a"]}]
