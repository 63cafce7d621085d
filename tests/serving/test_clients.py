"""The clients that people have, unmodified, against our server: each in an environment of its own, made by ``scripts/test``.

Their needs clash with ours and with each other's, so only MLflow's come with the test extra.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.serving.calls import ServedModel

from .service import KEY, Service

ENVIRONMENTS = Path(sys.prefix) / "clients"
ASK = Path(__file__).parent / "clients" / "ask.py"
SIGNATURE = Signature(inputs=[ColumnSpec(type="double", shape=[-1, 4])], outputs=[ColumnSpec(type="long", shape=[-1])])


class Iris:
    """A real classifier of flowers."""

    wants = "array"

    def __init__(self) -> None:
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression

        self._model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._model.predict(rows)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment of a classifier of flowers."""
    model = ServedModel("iris", "1", predictor=Iris(), signature=SIGNATURE)
    with Service(tmp_path_factory.mktemp("endpoint"), [model]) as service:
        yield service


@pytest.mark.parametrize(
    ("client", "environment", "checks"),
    [("triton", "kserve", 13), ("kserve", "kserve", 6), ("oip", "oip", 3), ("mlserver", "mlserver", 2), ("mlflow", None, 3)],
)
def test_a_real_client_is_satisfied(client: str, environment: str | None, checks: int, endpoint: Service) -> None:
    python = ENVIRONMENTS / environment / "bin" / "python" if environment else Path(sys.executable)
    if not python.exists():
        pytest.skip(f"{python.parents[1]} is not there; scripts/test makes it where there is a network")
    ran = subprocess.run([python, ASK, client, str(endpoint.port), KEY, "iris"], capture_output=True, text=True, timeout=120, check=False)
    said = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    assert [name for name, wrong in said if wrong] == [], said
    assert len(said) == checks, ran.stderr
