"""The words of azure.ai.ml.constants."""

from __future__ import annotations

import pytest

from jupyter_modelreg import constants
from jupyter_modelreg.entities import Model
from jupyter_modelreg.entities.model import MODEL_TYPES


def test_the_types_of_models_are_those_of_the_entity() -> None:
    assert set(MODEL_TYPES) <= {value for name, value in vars(constants.AssetTypes).items() if name.isupper()}


@pytest.mark.parametrize("name", ["CUSTOM", "MLFLOW", "TRITON"])
def test_older_codes_model_types_mean_the_same(name: str) -> None:
    assert Model(name="m", type=getattr(constants.ModelType, name)).type == getattr(constants.AssetTypes, f"{name}_MODEL")


def test_list_view_types_have_azures_values() -> None:
    assert (constants.ListViewType.ACTIVE_ONLY, constants.ListViewType.ARCHIVED_ONLY, constants.ListViewType.ALL) == (
        "ActiveOnly",
        "ArchivedOnly",
        "All",
    )
