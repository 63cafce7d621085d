"""How long from asking for an endpoint until it answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .measure import MODELREG, Row, medians, run, within_seconds

ROUNDS = 3


def rows(scratch: Path) -> Iterator[Row]:
    """Create an endpoint for a scikit-learn model; the command returns when it is ready."""
    environment = {**os.environ, "MODELREG_HOME": str(scratch / "home")}
    _register_model(scratch / "home")

    def create() -> float:
        from time import perf_counter

        start = perf_counter()
        run(MODELREG, "online-endpoint", "create", "--name", "bench", "--model", "azureml:iris:1", environment=environment)
        seconds = perf_counter() - start
        run(MODELREG, "online-endpoint", "delete", "--name", "bench", "--yes", environment=environment)
        return seconds

    def floor() -> None:
        run(sys.executable, "-c", "import sklearn.linear_model", environment=environment)

    ready, imported = medians(ROUNDS, create, floor)
    yield within_seconds("online-endpoint create, until it answers", ready, "python -c import sklearn", imported, 2)


def _register_model(home: Path) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from jupyter_modelreg.commands.model import CreateModel
    from jupyter_modelreg.models import register_object
    from jupyter_modelreg.workspace import open_workspace

    samples, species = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(samples, species)
    register_object(open_workspace({"home": str(home)}), CreateModel(name="iris"), model, sample=samples[:2])
