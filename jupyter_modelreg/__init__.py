"""The model registry that lives where models are made: the notebook.

``%load_ext jupyter_modelreg`` in a notebook, ``modelreg`` in a shell, :class:`MLClient` in Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

    from .doors.client import Input, MLClient, Output, load_environment, load_model, load_online_deployment, load_online_endpoint

__version__ = "0.1.0"

_CLIENT_NAMES = ("Input", "MLClient", "Output", "load_environment", "load_model", "load_online_deployment", "load_online_endpoint")
__all__ = ["Input", "MLClient", "Output", "__version__", "load_environment", "load_model", "load_online_deployment", "load_online_endpoint"]


def __getattr__(name: str) -> object:
    if name not in _CLIENT_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .doors import client

    return getattr(client, name)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics and their completion: ``%load_ext jupyter_modelreg``."""
    from .doors.magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove exactly what was added."""
    from .doors.magics import unload

    unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter-modelreg"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .doors.server import ModelRegistryExtension

    return [{"module": "jupyter_modelreg", "app": ModelRegistryExtension}]
