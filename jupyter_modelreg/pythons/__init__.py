"""Pythons that are made: virtual environments by uv, each named by what it holds, shared by all that ask for the same.

::

    FOLDER/<digest>/                the environment
    FOLDER/<digest>/modelreg.json   what it is; written last, so that without it there is no environment
    FOLDER/<digest>.lock            held while it is made, also by the uv that outlives a maker who was killed
    FOLDER/<digest>.txt             the versions that were chosen; the next making takes the same, without a network if it can
    FOLDER/worker-<digest>/         what our own worker needs, for one version of Python
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager

from ..errors import InvalidInput, Unavailable
from ..folders import make_folder, used_bytes
from ..records import Record, field, from_dict
from .conda import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OLDEST = (3, 11)  # that this package runs on
NEWEST_KNOWN = (3, 14)
SHOWN_LINES = 20
_IS_FAR = ("error sending request", "Failed to fetch", "dns error", "timed out", "Connection refused")


class PythonEnvironment(Record):
    """A Python to run something in. ``path`` is what comes behind everything that is its own."""

    python: str
    path: list[str] = []

    def command(self, module: str) -> list[str]:
        """Return the words that run a module in it; what stands in `path` is found last, so that its own packages win."""
        if not self.path:
            return [self.python, "-P", "-m", module]
        code = f"import runpy, sys; sys.path += {self.path!r}; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        return [self.python, "-P", "-c", code]

    def variables(self, given: dict[str, str]) -> dict[str, str]:
        """Return environment variables without what would lead its Python to another's packages."""
        if not self.path:
            return given
        kept = {name: value for name, value in given.items() if name not in ("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX")}
        folder = os.path.dirname(self.python)
        return {**kept, "VIRTUAL_ENV": os.path.dirname(folder), "PATH": f"{folder}{os.pathsep}{given.get('PATH', os.defpath)}"}


class Build(Record):
    """What ``modelreg.json`` says of an environment."""

    digest: str
    python: str
    packages: list[str] = []
    requirements: list[str] = field(default=[], help="What was asked for.")
    size_bytes: int = 0
    made_at: str = ""


# --- make -----------------------------------------------------------------------------------------------------------


def make_python(folder: str, recipe: Recipe, conda: dict[str, Any] | None = None) -> str:
    """Return the Python of an environment, made when it is not there; who asks at the same time waits for the one maker.

    Parameters
    ----------
    conda
        The conda file, for packages that only conda has.

    Raises
    ------
    Unavailable
        If uv is missing, or the packages or the Python cannot be had; the resolver's last lines are in ``detail``.
    """
    from time import time

    minor = choose_python(recipe)
    digest = _digest_of(recipe, minor, conda)
    place = os.path.join(folder, digest)
    if find_build(folder, digest) is None:
        _check_can_make(recipe)
        with _locked(folder, digest) as lock:
            if find_build(folder, digest) is None:
                _make(place, recipe, minor, conda, lock)
    os.utime(_record_of(place), (time(), time()))  # when it was used last
    return _python_in(place)


def choose_python(recipe: Recipe) -> str:
    """Return the minor version that fits a recipe: this kernel's if it does, else the oldest that this package runs on."""
    kernel = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if recipe.python is None or fits(kernel, recipe.python):
        return kernel
    known = [f"3.{minor}" for minor in range(OLDEST[1], NEWEST_KNOWN[1] + 1)]
    found = next((version for version in known if fits(version, recipe.python)), None)
    if found is None and _numbers(recipe.python)[:2] > NEWEST_KNOWN:
        return recipe.python
    return found or kernel


def fits(version: str, condition: str) -> bool:
    """Say whether a minor version of Python fits ``3.11`` or ``>=3.9,<3.12``.

    Raises
    ------
    InvalidInput
        If it is no condition.
    """
    return all(_fits_one(_numbers(version), part.strip()) for part in condition.split(","))


def _fits_one(version: tuple[int, ...], part: str) -> bool:
    number = part.lstrip("=<>!~")
    sign, limit = part[: len(part) - len(number)] or "==", _numbers(number)
    compared = {
        "==": version == limit[:2],
        "!=": version != limit[:2] or len(limit) > 2,
        ">=": version >= limit[:2],
        "<=": version <= limit[:2],
        ">": version > limit[:2] or (version == limit[:2] and len(limit) > 2),
        "<": version < limit[:2] or (version == limit[:2] and len(limit) > 2),
        "~=": version >= limit[:2] and version[0] == limit[0],
    }
    if sign not in compared:
        raise InvalidInput(
            f'"python{part}" is no version of Python; write python=3.11 or "python>=3.11,<3.13".', key="conda_file.dependencies"
        )
    return compared[sign]


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part for part in text.strip(" =<>!~").split(".") if part != "*"]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidInput(f'"{text}" is no version of Python; write python=3.11.', key="conda_file.dependencies")
    return tuple(map(int, parts))


def _digest_of(recipe: Recipe, minor: str, conda: dict[str, Any] | None) -> str:
    import sysconfig

    from blake3 import blake3

    asked = {
        "python": minor,
        "requirements": recipe.requirements,
        "conda": conda if recipe.foreign else None,
        "platform": sysconfig.get_platform(),
    }
    return blake3(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def _check_can_make(recipe: Recipe) -> None:
    uv_program()
    if recipe.foreign and not micromamba():
        named = ", ".join(f'"{name}"' for name in dict.fromkeys(recipe.foreign))
        raise Unavailable(
            f"PyPI does not have {named} of the conda file; micromamba would install {'it' if len(recipe.foreign) == 1 else 'them'} "
            "and is not there. Install micromamba, or leave out what the model does not need."
        )


def uv_program() -> str:
    """Return the path of uv.

    Raises
    ------
    Unavailable
        If it is not installed.
    """
    import shutil

    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        if found:
            return found
        raise Unavailable('Making an environment needs uv: pip install "jupyter-modelreg[environments]"') from None


def micromamba() -> str | None:
    """Return the path of micromamba; None where it is not installed."""
    import shutil

    return shutil.which("micromamba")


@contextmanager
def _locked(folder: str, digest: str) -> Iterator[int]:
    """Let one process at a time make an environment. The lock is the system's: it goes with whoever holds it."""
    import fcntl

    try:
        make_folder(folder)
        stream = open(os.path.join(folder, f"{digest}.lock"), "w", encoding="utf-8")  # noqa: SIM115 - held by the block below
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror}.") from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()


def _make(place: str, recipe: Recipe, minor: str, conda: dict[str, Any] | None, lock: int) -> None:
    import shutil

    try:
        shutil.rmtree(place, ignore_errors=True)  # of a maker who was killed
        if recipe.foreign:
            _make_by_micromamba(place, minor, conda or {}, lock)
        else:
            _make_by_uv(place, recipe, minor, lock)
        packages = _run([uv_program(), "pip", "freeze", "--python", _python_in(place)], lock).splitlines()
        _write(f"{place}.txt", "".join(f"{line}\n" for line in packages))
        _write_record(place, recipe, packages)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise Unavailable(f"The environment cannot be written to {place}: {error.strerror}.") from None
    except BaseException:  # Ctrl-C too
        shutil.rmtree(place, ignore_errors=True)
        raise


def _make_by_uv(place: str, recipe: Recipe, minor: str, lock: int) -> None:
    kernel = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = sys.executable if minor == kernel else minor
    _run([uv_program(), "venv", "--quiet", "--no-project", "--no-config", "--python", wanted, place], lock, what=f"Python {minor}")
    if recipe.requirements:
        _install(place, recipe, lock)


def _install(place: str, recipe: Recipe, lock: int) -> None:
    """Install what was chosen last time, from what this machine keeps if that is enough; else let the resolver choose."""
    asked, chosen = os.path.join(place, "requirements.txt"), f"{place}.txt"
    _write(asked, "".join(f"{line}\n" for line in recipe.requirements))
    install = [
        uv_program(),
        "pip",
        "install",
        "--quiet",
        "--color",
        "never",
        "--no-progress",
        "--python",
        _python_in(place),
        "--requirement",
    ]
    if os.path.exists(chosen):
        for words in ([*install, chosen, "--offline", "--no-deps"], [*install, chosen, "--no-deps"]):
            try:
                _run(words, lock)
                return
            except Unavailable:  # gone from the index, or there is no network
                continue
    try:
        _run([*install, asked], lock)
    except Unavailable as error:
        if not any(sign in error.detail for sign in _IS_FAR):
            raise
        try:
            _run([*install, asked, "--offline"], lock)
        except Unavailable:
            raise error from None


def _make_by_micromamba(place: str, minor: str, conda: dict[str, Any], lock: int) -> None:
    """Let micromamba make what has packages that only conda has; the file is read as it is, but for the Python."""
    import tempfile

    import yaml

    dependencies = [item for item in conda["dependencies"] if not (isinstance(item, str) and item.replace(" ", "").startswith("python="))]
    asked = {"channels": conda.get("channels") or ["conda-forge"], "dependencies": [f"python={minor}", *dependencies]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as stream:
        yaml.safe_dump(asked, stream)
        stream.flush()
        _run([str(micromamba()), "create", "--yes", "--quiet", "--prefix", place, "--file", stream.name], lock)


def _run(words: list[str], lock: int, *, what: str = "") -> str:
    """Run a program, which keeps the lock while it runs, and return what it printed."""
    import subprocess

    from .indexes import uv_variables

    variables = {**os.environ, **uv_variables(os.environ)}
    done = subprocess.run(
        words, pass_fds=[lock], env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()][-SHOWN_LINES:]
    raise Unavailable(f"The environment cannot be made{f', {what}' if what else ''}: {_reason(lines)}.", detail="\n".join(lines))


def _reason(lines: list[str]) -> str:
    """Return what of a program's last lines says most: the cause it names, else its error."""
    for sign in ("cause: ", "error: "):
        found = next((line.strip().removeprefix(sign) for line in lines if line.strip().startswith(sign)), "")
        if found:
            return found.partition(", we can conclude")[0].rstrip(".")
    return "its packages cannot be installed"


def _write_record(place: str, recipe: Recipe, packages: list[str]) -> None:
    from time import gmtime, strftime

    version = _run_python(place)
    build = Build(
        digest=os.path.basename(place),
        python=version,
        packages=packages,
        requirements=recipe.requirements,
        size_bytes=used_bytes(place),
        made_at=strftime("%Y-%m-%dT%H:%M:%SZ", gmtime()),
    )
    _write(_record_of(place), json.dumps(build.to_dict()))


def _run_python(place: str) -> str:
    """Ask the new Python for its version, which also shows that it runs."""
    import subprocess

    words = [_python_in(place), "-I", "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _write(path: str, text: str) -> None:
    scratch = f"{path}.{os.getpid()}"
    with open(scratch, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(scratch, path)


def _record_of(place: str) -> str:
    return os.path.join(place, "modelreg.json")


def _python_in(place: str) -> str:
    return os.path.join(place, "bin", "python")


# --- look and remove --------------------------------------------------------------------------------------------------


def find_build(folder: str, digest: str) -> Build | None:
    """Return what an environment is; None if it was never made, not wholly, or its Python is gone."""
    place = os.path.join(folder, digest)
    try:
        with open(_record_of(place), encoding="utf-8") as stream:
            build = from_dict(Build, json.load(stream))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return build if os.path.exists(_python_in(place)) else None  # the Python that it was made of may have been replaced


def list_builds(folder: str) -> list[tuple[Build, float]]:
    """Return every environment that was made and when it was used last, the latest first."""
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        build = None if name.startswith("worker-") else find_build(folder, name)
        if build:
            found.append((build, os.stat(_record_of(os.path.join(folder, name))).st_mtime))
    return sorted(found, key=lambda item: item[1], reverse=True)


def remove_build(folder: str, digest: str) -> None:
    """Remove an environment; which versions it had is kept, so that it is made the same again."""
    import shutil

    with _locked(folder, digest):
        place = os.path.join(folder, digest)
        if os.path.exists(_record_of(place)):
            os.unlink(_record_of(place))  # first, so that a half removed one is none
        shutil.rmtree(place, ignore_errors=True)


def digest_of(recipe: Recipe, conda: dict[str, Any] | None = None) -> str:
    """Return the name of the environment that a recipe leads to on this machine."""
    return _digest_of(recipe, choose_python(recipe), conda)
