"""Commands about what endpoints were asked and answered."""

from __future__ import annotations

from ..records import field
from . import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _endpoint_name() -> Any:
    return field("-e", "--endpoint", is_positional=True, values="endpoint", help="The endpoint.")


def _window() -> Any:
    return field(default="7d", help="How far back to look, such as 30m, 24h or 7d.")


class MonitorDrift(Command):
    """Compare what a deployment is asked with the data its model was trained on, column by column."""

    endpoint_name: str = _endpoint_name()
    deployment_name: str = field("-d", "--deployment", values="deployment", help="The deployment whose requests are looked at.")
    reference: str | None = field(
        "-r",
        default=None,
        metavar="FILE",
        values="path",
        help="Training data: CSV, Parquet or JSON lines. Without it training_sample.csv, .parquet or .jsonl among the version's files.",
    )
    collection: str = field("-c", default="model_inputs", help="Which collected rows: model_inputs, model_outputs or a script's own.")
    window: str = _window()
    threshold: dict[str, float] = field(default={}, metavar="METRIC=VALUE", help="Another limit, such as population_stability_index=0.1.")


class MonitorMirror(Command):
    """Compare the answers of a deployment that gets mirrored traffic with those that callers got."""

    endpoint_name: str = _endpoint_name()
    deployment_name: str = field("-d", "--deployment", values="deployment", help="The deployment that gets the copies.")
    window: str = _window()
