"""Drive a real, unmodified client: ``python ask.py CLIENT PORT KEY MODEL`` in the client's own environment.

Each check is printed as a line of JSON: its name, and what went wrong or null. The model takes rows of four numbers and
answers 0 for the flower asked about here.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

CLIENT, PORT, KEY, MODEL = sys.argv[1:]
FLOWER = [5.1, 3.5, 1.4, 0.2]
PLACE, URL = f"127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT}"


def headers() -> dict[str, str]:
    """Return a fresh mapping, since some clients write into the one they are given."""
    return {"Authorization": f"Bearer {KEY}"}


def check(name: str, step: Callable[[], Any]) -> None:
    try:
        wrong = None if step() else "it says no"
    except BaseException as error:  # a client may raise anything
        wrong = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps([name, wrong]), flush=True)


def triton() -> None:
    import numpy as np
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException

    client = http.InferenceServerClient(PLACE)
    check("live", lambda: client.is_server_live(headers=headers()))
    check("ready", lambda: client.is_server_ready(headers=headers()))
    check("model ready", lambda: client.is_model_ready(MODEL, headers=headers()))
    check("an unknown model is not", lambda: not client.is_model_ready("nobody", headers=headers()))
    check("server metadata", lambda: "binary_tensor_data" in client.get_server_metadata(headers=headers())["extensions"])
    about = client.get_model_metadata(MODEL, headers=headers())
    check("model metadata", lambda: about["inputs"][0]["datatype"] == "FP64")
    output = about["outputs"][0]["name"]

    def infer(*, binary_in: bool, binary_out: bool | None, model: str = MODEL, **more: str) -> bool:
        given = http.InferInput("x", [2, 4], "FP64")
        given.set_data_from_numpy(np.array([FLOWER, FLOWER]), binary_data=binary_in)
        wanted = None if binary_out is None else [http.InferRequestedOutput(output, binary_data=binary_out)]
        answer = client.infer(model, [given], outputs=wanted, request_id="7", headers=headers(), **more)
        return answer.as_numpy(output).tolist() == [0, 0] and answer.get_response()["id"] == "7"

    check("binary both ways, as it does by default", lambda: infer(binary_in=True, binary_out=None))
    check("binary in, JSON out", lambda: infer(binary_in=True, binary_out=False))
    check("JSON in, binary out", lambda: infer(binary_in=False, binary_out=True))
    check("JSON both ways", lambda: infer(binary_in=False, binary_out=False))
    check("a gzipped request", lambda: infer(binary_in=True, binary_out=None, request_compression_algorithm="gzip"))
    check("a gzipped answer", lambda: infer(binary_in=True, binary_out=None, response_compression_algorithm="gzip"))

    def refused() -> bool:
        try:
            infer(binary_in=True, binary_out=None, model="nobody")
        except InferenceServerException as error:
            return error.status() == "404" and "no such model" in error.message()
        return False

    check("an unknown model is refused in words", refused)


def kserve() -> None:
    import numpy as np
    from kserve import InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig

    def asked(step: Callable[[Any], Any], protocol: str = "v2") -> Callable[[], Any]:
        async def ask() -> Any:
            return await step(InferenceRESTClient(RESTConfig(protocol=protocol)))

        return lambda: asyncio.run(ask())

    async def infer(client: Any, *, is_binary: bool) -> bool:
        given = InferInput("x", [1, 4], "FP64")
        given.set_data_from_numpy(np.array([FLOWER]), binary_data=is_binary)
        answer = await client.infer(URL, InferRequest(MODEL, [given]), model_name=MODEL, headers=headers())
        return answer.outputs[0].as_numpy().tolist() == [0]

    async def predict(client: Any) -> bool:
        return (await client.infer(URL, {"instances": [FLOWER]}, model_name=MODEL, headers=headers())) == {"predictions": [0]}

    check("live", asked(lambda client: client.is_server_live(URL, headers=headers())))
    check("ready", asked(lambda client: client.is_server_ready(URL, headers=headers())))
    check("model ready", asked(lambda client: client.is_model_ready(URL, MODEL, headers=headers())))
    check("JSON", asked(lambda client: infer(client, is_binary=False)))
    check("binary", asked(lambda client: infer(client, is_binary=True)))
    check("the first protocol", asked(predict, "v1"))


def oip() -> None:
    import httpx
    from open_inference.openapi.client import InferenceRequest, OpenInferenceClient

    client = OpenInferenceClient(base_url=URL, httpx_client=httpx.Client(headers=headers()))
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": FLOWER}
    check("ready", lambda: client.check_server_readiness() is None)
    check("model metadata", lambda: client.read_model_metadata(MODEL).name == MODEL)
    check("infer", lambda: client.model_infer(MODEL, request=InferenceRequest(inputs=[tensor])).outputs[0].data.__root__ == [0])


def mlserver() -> None:
    def infer(*words: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            request, answer = os.path.join(folder, "in"), os.path.join(folder, "out")
            with open(request, "w") as stream:
                stream.write(json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": FLOWER}]}) + "\n")
            program = os.path.join(os.path.dirname(sys.executable), "mlserver")
            where = ["-u", f"any:{KEY}@{PLACE}", "-m", MODEL, "-i", request, "-o", answer]
            subprocess.run([program, "infer", *words, *where], check=True, capture_output=True, timeout=60)
            with open(answer) as stream:
                return bool(json.load(stream)["outputs"][0]["data"] == [0])

    check("infer", infer)
    check("infer -b", lambda: infer("-b"))


def mlflow() -> None:
    import pandas as pd
    from mlflow.deployments import get_deploy_client
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    os.environ["MLFLOW_TRACKING_TOKEN"] = KEY
    frame = pd.DataFrame([FLOWER], columns=list("abcd"))
    scoring, deployments = ScoringServerClient(f"any:{KEY}@127.0.0.1", PORT), get_deploy_client(URL)
    check("scoring client, ping", lambda: scoring.ping() is None)
    check("scoring client, invoke", lambda: scoring.invoke(frame).get_predictions().to_numpy().ravel().tolist() == [0])
    check("deployments client, predict", lambda: deployments.predict(endpoint=MODEL, inputs={"inputs": [FLOWER]})["predictions"] == [0])


globals()[CLIENT]()
