"""What YAML files describe and people construct: ``from jupyter_modelreg.entities import Model``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from .answers import AuditRow as AuditRow
    from .answers import Check as Check
    from .answers import Checksum as Checksum
    from .answers import Cleaned as Cleaned
    from .answers import ColumnDrift as ColumnDrift
    from .answers import Comparison as Comparison
    from .answers import Damage as Damage
    from .answers import Deleted as Deleted
    from .answers import Difference as Difference
    from .answers import Downloaded as Downloaded
    from .answers import DriftReport as DriftReport
    from .answers import Exported as Exported
    from .answers import Histogram as Histogram
    from .answers import Invocation as Invocation
    from .answers import LogText as LogText
    from .answers import MirrorReport as MirrorReport
    from .answers import Mount as Mount
    from .answers import Setting as Setting
    from .answers import StoreStats as StoreStats
    from .answers import Unmounted as Unmounted
    from .answers import Verification as Verification
    from .collection import CollectedAsset as CollectedAsset
    from .collection import DataCollector as DataCollector
    from .collection import DeploymentCollection as DeploymentCollection
    from .collection import RequestLogging as RequestLogging
    from .datastore import Datastore as Datastore
    from .environment import BuildContext as BuildContext
    from .environment import Environment as Environment
    from .environment import InferenceConfig as InferenceConfig
    from .environment import PythonBuild as PythonBuild
    from .environment import Removed as Removed
    from .environment import Route as Route
    from .model import ColumnSpec as ColumnSpec
    from .model import CreationContext as CreationContext
    from .model import Lineage as Lineage
    from .model import Model as Model
    from .model import Scan as Scan
    from .model import Signature as Signature
    from .online import CodeConfiguration as CodeConfiguration
    from .online import DeploymentNumbers as DeploymentNumbers
    from .online import EndpointKeys as EndpointKeys
    from .online import KubernetesOnlineDeployment as KubernetesOnlineDeployment
    from .online import KubernetesOnlineEndpoint as KubernetesOnlineEndpoint
    from .online import ManagedOnlineDeployment as ManagedOnlineDeployment
    from .online import ManagedOnlineEndpoint as ManagedOnlineEndpoint
    from .online import OnlineDeployment as OnlineDeployment
    from .online import OnlineEndpoint as OnlineEndpoint
    from .online import OnlineRequestSettings as OnlineRequestSettings
    from .online import ProbeSettings as ProbeSettings
    from .online import ScaleSettings as ScaleSettings

# Name -> module; imported on first use, since a shell that lists models needs one of them.
_HOMES = {
    **dict.fromkeys(
        (
            "Check",
            "Checksum",
            "ColumnDrift",
            "Comparison",
            "DriftReport",
            "Histogram",
            "MirrorReport",
            "Deleted",
            "Difference",
            "Downloaded",
            "Invocation",
            "LogText",
            "Mount",
            "Setting",
            "AuditRow",
            "Exported",
            "Verification",
            "StoreStats",
            "Damage",
            "Cleaned",
            "Unmounted",
        ),
        "answers",
    ),
    **dict.fromkeys(("CollectedAsset", "DataCollector", "DeploymentCollection", "RequestLogging"), "collection"),
    "Datastore": "datastore",
    **dict.fromkeys(("BuildContext", "Environment", "InferenceConfig", "PythonBuild", "Removed", "Route"), "environment"),
    **dict.fromkeys(("ColumnSpec", "CreationContext", "Lineage", "Model", "Scan", "Signature"), "model"),
    **dict.fromkeys(
        (
            "CodeConfiguration",
            "DeploymentNumbers",
            "EndpointKeys",
            "KubernetesOnlineDeployment",
            "KubernetesOnlineEndpoint",
            "ManagedOnlineDeployment",
            "ManagedOnlineEndpoint",
            "OnlineDeployment",
            "OnlineEndpoint",
            "OnlineRequestSettings",
            "ProbeSettings",
            "ScaleSettings",
        ),
        "online",
    ),
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
