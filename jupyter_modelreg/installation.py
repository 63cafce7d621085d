"""Operations on this installation: which settings it uses, which parts it has and how to get the others."""

from __future__ import annotations

import os

from .entities.answers import Check, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .commands.workspace import CheckInstallation, ShowSettings
    from .workspace import Workspace

PANEL = "jupyter-modelreg"
SERVER_EXTENSION = "jupyter_modelreg"

# What each extra brings, by the names of its distributions; of two in one word the first that is there counts.
EXTRAS = {
    "sklearn": ("scikit-learn", "skops"),
    "mlflow": ("mlflow mlflow-skinny", "pandas"),
    "onnx": ("onnxruntime", "onnx"),
    "pickle": ("cloudpickle",),
    "postgres": ("psycopg", "sqlalchemy"),
    "s3": ("s3fs",),
    "fuse": ("mfusepy",),
    "parquet": ("pyarrow",),
    "environments": ("uv",),
}


def list_settings(workspace: Workspace, command: ShowSettings) -> list[Setting]:
    """Return every setting with its origin."""
    from .records import fields
    from .settings import hide_password

    return [
        Setting(
            name=item.name, value=hide_password(getattr(workspace.settings, item.name)), source=workspace.origin[item.name], help=item.help
        )
        for item in fields(workspace.settings)
    ]


def check_installation(workspace: Workspace, command: CheckInstallation) -> list[Check]:
    """Look for the parts a person may miss: a writable home, JupyterLab with the panel and its server half, the extras."""
    return [_check_home(workspace.home), *_check_lab(), *(_check_extra(extra, names) for extra, names in EXTRAS.items())]


def _check_home(home: str) -> Check:
    """Ask whether the home, or the folder that would hold it, can be written; nothing is created for the question."""
    place = os.path.abspath(home)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    is_ok = os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)
    return Check(
        part="home", is_ok=is_ok, found=home, advice="" if is_ok else f"{place} cannot be written; set MODELREG_HOME to a folder of yours."
    )


def _check_lab() -> list[Check]:
    version = _version_of("jupyterlab")
    if version is None:
        return [Check(part="jupyterlab", is_ok=False, advice=_install("lab")), _check_panel()]
    return [Check(part="jupyterlab", is_ok=True, found=version), _check_panel(), _check_server_extension()]


def _check_panel() -> Check:
    import json

    for folder in _panel_folders():
        try:
            with open(os.path.join(folder, "package.json"), encoding="utf-8") as stream:
                found = str(json.load(stream)["version"])
        except (OSError, ValueError, KeyError):
            continue
        return _same_version("panel", found)
    return Check(
        part="panel",
        is_ok=False,
        advice="Not built; a checkout needs Node.js 20.19 or newer for it, a release does not. Install it again with one of them.",
    )


def _panel_folders() -> list[str]:
    """Return where JupyterLab would look for the panel; without a Jupyter, where an installation puts it."""
    try:
        from jupyter_core.paths import jupyter_path
    except ModuleNotFoundError:
        import sys

        return [os.path.join(sys.prefix, "share", "jupyter", "labextensions", PANEL)]
    return jupyter_path("labextensions", PANEL)


def _same_version(part: str, found: str) -> Check:
    from . import __version__

    is_ok = found == __version__
    return Check(part=part, is_ok=is_ok, found=found, advice="" if is_ok else f"The Python package is {__version__}; install it again.")


def _check_server_extension() -> Check:
    from jupyter_core.paths import jupyter_config_path
    from jupyter_server.extension.config import ExtensionConfigManager

    manager: Any = ExtensionConfigManager(read_config_path=jupyter_config_path())  # untyped
    enabled = manager.enabled(SERVER_EXTENSION)
    advice = "" if enabled else f"jupyter server extension enable {SERVER_EXTENSION}, then start JupyterLab again."
    return Check(part="server extension", is_ok=bool(enabled), found="enabled" if enabled else "", advice=advice)


def _check_extra(extra: str, names: tuple[str, ...]) -> Check:
    versions = {name.split()[0]: next((version for word in name.split() if (version := _version_of(word))), None) for name in names}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    is_ok = None not in versions.values()
    return Check(part=extra, is_ok=is_ok, found=found, advice="" if is_ok else _install(extra))


def _version_of(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _install(extra: str) -> str:
    return f'pip install "jupyter-modelreg[{extra}]"'
