from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg import MLClient
from jupyter_modelreg.entities import Model
from jupyter_modelreg.errors import Unavailable


@pytest.fixture
def team(tmp_path: Path) -> Any:
    """Two people with a home each, one catalog, and files behind a URL."""
    shared = {"catalog": str(tmp_path / "shared" / "catalog.sqlite"), "store": f"local://{tmp_path}/shared/files"}
    return [MLClient(home=str(tmp_path / name), **shared) for name in ("ada", "bea")]


def test_what_one_registers_at_a_url_another_loads_and_downloads(team: Any, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    ada, bea = team
    ada.models.register("line", LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), sample=[[0.0]])
    assert bea.models.load("line").predict([[2.0]]).round(6).tolist() == [4.0]
    assert len(bea.models.download("line", "1", str(tmp_path / "out")).files) == 2


def test_what_one_registers_at_a_url_another_serves(team: Any) -> None:
    from sklearn.linear_model import LinearRegression

    from jupyter_modelreg.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint

    ada, bea = team
    ada.models.register("line", LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), sample=[[0.0]])
    bea.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="line"))
    try:
        deployment = ManagedOnlineDeployment(name="blue", endpoint_name="line", model="azureml:line:1", instance_type="local")
        bea.online_deployments.begin_create_or_update(deployment)
        answer = bea.online_endpoints.invoke("line", deployment_name="blue", input_data={"input_data": [[2.0]]})
        assert json.loads(answer) == pytest.approx([4.0])
    finally:
        bea.online_endpoints.begin_delete("line")


def test_a_store_that_cannot_be_used_is_one_line_and_registers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in-the-way").write_text("no folder")
    (tmp_path / "m.bin").write_bytes(b"weights")
    client = MLClient(home=str(tmp_path / "ada"), store=f"local://{tmp_path}/in-the-way/files")
    with pytest.raises(Unavailable, match="cannot be used"):
        client.models.create_or_update(Model(name="m", path=str(tmp_path / "m.bin")))
    assert client.models.list() == []
