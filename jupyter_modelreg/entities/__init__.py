"""What YAML files describe and people construct: ``from jupyter_modelreg.entities import Model``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .answers import Check, Comparison, Deleted, Difference, Downloaded, Invocation, LogText, Setting
    from .datastore import Datastore
    from .environment import BuildContext, Environment
    from .model import ColumnSpec, CreationContext, Lineage, Model, Scan, Signature
    from .online import (
        CodeConfiguration,
        EndpointKeys,
        KubernetesOnlineDeployment,
        KubernetesOnlineEndpoint,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        OnlineDeployment,
        OnlineEndpoint,
        OnlineRequestSettings,
        ProbeSettings,
    )

# Name -> module; imported on first use, since a shell that lists models needs one of them.
_HOMES = {
    **dict.fromkeys(("Check", "Comparison", "Deleted", "Difference", "Downloaded", "Invocation", "LogText", "Setting"), "answers"),
    "Datastore": "datastore",
    **dict.fromkeys(("BuildContext", "Environment"), "environment"),
    **dict.fromkeys(("ColumnSpec", "CreationContext", "Lineage", "Model", "Scan", "Signature"), "model"),
    **dict.fromkeys(
        (
            "CodeConfiguration",
            "EndpointKeys",
            "KubernetesOnlineDeployment",
            "KubernetesOnlineEndpoint",
            "ManagedOnlineDeployment",
            "ManagedOnlineEndpoint",
            "OnlineDeployment",
            "OnlineEndpoint",
            "OnlineRequestSettings",
            "ProbeSettings",
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
