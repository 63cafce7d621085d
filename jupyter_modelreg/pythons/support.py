"""What our own worker needs, in a folder that comes behind everything of a user's environment.

It is made for one version of Python: of links to what this kernel has where that is the same version, else installed by uv.
"""

from __future__ import annotations

import json
import os
import sys

from ..folders import make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import Distribution

# What parses requests and reads JSON and MLmodel files; numpy is there for an environment without one.
SERVES = ("httptools", "orjson", "PyYAML", "numpy", "uvloop")
# Without a scoring script our own code loads the model, and makes tables of requests where it was fitted on one: scikit-learn
# imports pandas wherever it finds it, which takes 40 MB.
LOADS = ("safetensors", "skops", "packaging", "prettytable", "wcwidth")
TABLES = ("pandas", "python-dateutil", "six", "pytz", "tzdata")
PACKAGE = "jupyter-modelreg"


def support_path(folder: str, python: str, minor: str, *, has_script: bool, has_tables: bool = True) -> str:
    """Return the folder for a Python of a minor version, made when it is new.

    Where a script of the user's serves, nothing is there that only our own loading needs: what it imports is its environment's.

    Raises
    ------
    Unavailable
        If what it needs cannot be installed.
    """
    from . import _locked

    names = SERVES if has_script else (*SERVES, *LOADS, *(TABLES if has_tables else ()))
    versions = {name: found.version for name in names if (found := _distribution(name))}
    name = f"worker-{_digest(minor, versions)}"
    place = os.path.join(folder, name)
    if not _is_whole(place):
        with _locked(folder, name) as lock:
            if not _is_whole(place):  # somebody may have made it while we waited
                _make(place, python, minor, versions, lock)
    return place


def _is_whole(place: str) -> bool:
    return os.path.exists(os.path.join(place, "modelreg.json"))


def _make(place: str, python: str, minor: str, versions: dict[str, str], lock: int) -> None:
    import shutil

    from . import _write

    shutil.rmtree(place, ignore_errors=True)  # of a maker who was killed
    make_folder(place)
    if minor == f"{sys.version_info[0]}.{sys.version_info[1]}":
        for item in versions:
            _link(_distribution(item), place)
    else:
        _install(place, python, versions, lock)
    _link_package(place)
    _write(os.path.join(place, "modelreg.json"), json.dumps(versions))


def _distribution(name: str) -> Distribution | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _digest(minor: str, versions: dict[str, str]) -> str:
    from blake3 import blake3

    from .. import __version__

    asked = [minor, versions, __version__, os.path.dirname(os.path.dirname(__file__))]
    return blake3(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _link(distribution: Distribution | None, place: str) -> None:
    """Link a distribution's folders and modules, and what says which version it is."""
    if distribution is None:
        return
    tops = {item.parts[0] for item in distribution.files or [] if item.parts[0] not in ("..", "__pycache__", "bin")}
    for top in tops:
        _link_to(str(distribution.locate_file(top)), os.path.join(place, top))


def _link_package(place: str) -> None:
    """Link this package and its list of plugins; it may be installed or a checkout."""
    _link_to(os.path.dirname(os.path.dirname(__file__)), os.path.join(place, "jupyter_modelreg"))
    distribution = _distribution(PACKAGE)
    for item in (distribution and distribution.files) or []:
        if item.parts[0].endswith(".dist-info"):
            _link_to(str(distribution.locate_file(item.parts[0])), os.path.join(place, item.parts[0]))  # type: ignore[union-attr]
            return


def _link_to(source: str, target: str) -> None:
    if os.path.lexists(target):
        return
    os.symlink(source, target)


def _install(place: str, python: str, versions: dict[str, str], lock: int) -> None:
    from . import _run, uv_program

    words = [uv_program(), "pip", "install", "--quiet", "--color", "never", "--no-progress", "--no-deps", "--only-binary", ":all:"]
    _run([*words, "--python", python, "--target", place, *(f"{name}<={version}" for name, version in versions.items())], lock)
