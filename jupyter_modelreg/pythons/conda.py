"""Conda files, read as what pip understands: conda's own way of naming versions and packages becomes PyPI's.

Source of the forms: conda, "Package match specifications"; of the names: what both call one package.
"""

from __future__ import annotations

import re

from ..errors import InvalidInput, nearest
from ..records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Recipe(Record):
    """What an environment needs. ``foreign`` are packages of conda that PyPI has not, which only conda can install."""

    python: str | None = None  # "3.11", or a condition such as ">=3.9,<3.12"; None means this kernel's
    requirements: list[str] = []
    foreign: list[str] = []
    notices: list[str] = []


KEYS = ("name", "channels", "dependencies", "prefix", "variables", "platforms")
# Called otherwise on PyPI.
PYPI_NAMES = {
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-lightgbm": "lightgbm",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "tensorflow-gpu": "tensorflow",
    "xgboost-cpu": "xgboost",
}
# They choose among builds that PyPI has one of, or are what a virtual environment has anyway.
NEEDLESS = {"blas", "ca-certificates", "cpuonly", "mkl-service", "nomkl", "pip", "python_abi", "pytorch-cuda", "pytorch-mutex"}
# Programs and libraries that conda packs and PyPI does not; a package of the same name there is another.
_FOREIGN_WORDS = """
    binutils cuda cuda-nvcc cuda-runtime cuda-toolkit cudatoolkit cudnn compilers cxx-compiler c-compiler curl ffmpeg fortran-compiler
    gcc gdal geos gfortran git glib go gxx hdf5 icu java-jdk krb5 lapack libblas libcurl libffi libgcc libgcc-ng libgfortran libgomp
    liblapack libopenblas libpng libstdcxx-ng libtiff libxml2 llvm llvmdev make mpich mpi nccl ncurses nodejs openblas openjdk openmpi
    openssl pandoc perl postgresql proj r-base r-essentials readline ruby rust sqlite sysroot_linux-64 texlive
    tk unzip wget xz zlib zstd
    """
FOREIGN = frozenset(_FOREIGN_WORDS.split())
_FOREIGN_SIGNS = re.compile(r"^(r-|cuda-|_|gcc_|gxx_)|_(linux|osx|win)-")
_SPEC = re.compile(r"^(?:(?P<channel>[^\s\[\]]+)::)?(?P<name>[A-Za-z0-9_.\-]+)\s*(?:\[(?P<inside>[^\]]*)\])?(?P<version>.*)$")
_INSIDE = re.compile(r"""version\s*=\s*(?:'([^']*)'|"([^"]*)"|([^,\]]*))""")
_PART = re.compile(r"^(?P<sign>==|!=|>=|<=|~=|=|>|<)?\s*(?P<number>[0-9][0-9A-Za-z.!+_*-]*|\*)$")


def read_conda(values: dict[str, Any]) -> Recipe:
    """Return what a conda file asks for.

    Raises
    ------
    InvalidInput
        If it has a key that a conda file has not, no list of dependencies, or one that is of no known form.
    """
    for key in values:
        if key not in KEYS:
            raise InvalidInput(f'A conda file has no "{key}".{nearest(str(key), KEYS)} Known: {", ".join(KEYS)}.', key=f"conda_file.{key}")
    dependencies = values.get("dependencies")
    if not isinstance(dependencies, list):
        raise InvalidInput(
            "A conda file needs dependencies: a list such as [python=3.11, scikit-learn=1.5].", key="conda_file.dependencies"
        )
    recipe = Recipe()
    for item in dependencies:
        if isinstance(item, dict):
            _read_pip(recipe, item)
        else:
            _read_package(recipe, str(item).split(" #")[0].strip())
    if values.get("variables"):
        recipe.notices.append("The variables of the conda file are not set; write environment_variables in the deployment.")
    return recipe


def _read_pip(recipe: Recipe, section: dict[str, Any]) -> None:
    lines = section.get("pip")
    if list(section) != ["pip"] or not isinstance(lines, list):
        raise InvalidInput("Beside packages the dependencies of a conda file have only a list under pip.", key="conda_file.dependencies")
    for line in map(str, lines):
        if line.startswith(("-r", "-c", "--requirement", "--constraint")):
            raise InvalidInput(
                f'"{line}" names a file that is no part of the environment; write its lines under pip instead.',
                key="conda_file.dependencies",
            )
        recipe.requirements.append(line.strip())


def _read_package(recipe: Recipe, text: str) -> None:
    found = _SPEC.match(text)
    if not found:
        raise InvalidInput(
            f'"{text}" is no package of a conda file; write numpy, numpy=1.26 or "numpy>=1.26,<2".', key="conda_file.dependencies"
        )
    name = found["name"].lower()
    inside = _INSIDE.search(found["inside"] or "")
    condition = _condition("".join(filter(None, inside.groups())) if inside else found["version"], text)
    if name == "python":
        recipe.python = _python(condition)
    elif name in FOREIGN or _FOREIGN_SIGNS.search(name):
        recipe.foreign.append(name)
    elif name not in NEEDLESS:
        recipe.requirements.append(PYPI_NAMES.get(name, name) + condition)


def _condition(version: str, text: str) -> str:
    """Return a condition as pip writes it. In conda one equals sign means any build that begins so."""
    words = version.strip()
    if words in ("", "*", "=*", "==*"):
        return ""
    if "|" in words:
        raise InvalidInput(f'"{text}" has alternatives, which PyPI has not; write one condition.', key="conda_file.dependencies")
    sign = re.match(r"^[=<>!~]*\s*", words)[0] if re.match(r"^[=<>!~]", words) else ""  # type: ignore[index]
    rest = words[len(sign) :]
    if sign.strip() in ("", "=", "=="):  # NAME=VERSION=BUILD or NAME VERSION BUILD: a build is conda's alone
        rest = re.split(r"[=\s]", rest)[0] if "," not in rest else rest
    return ",".join(_part(part.strip(), text) for part in f"{sign}{rest}".split(","))


def _part(part: str, text: str) -> str:
    found = _PART.match(part)
    if not found:
        raise InvalidInput(f'"{text}": "{part}" is no version; write numpy=1.26 or "numpy>=1.26,<2".', key="conda_file.dependencies")
    sign, number = found["sign"] or "=", found["number"]
    if sign == "=":
        return f"=={number if number.endswith('*') else f'{number}.*'}"
    return f"{sign}{number.removesuffix('.*') if sign in ('>=', '<=', '>', '<') else number}"


def _python(condition: str) -> str | None:
    """Return which Python is asked for: its minor version where one is named, since any patch of it will do."""
    exact = re.fullmatch(r"={2,3}(\d+\.\d+)(\.[\d*]+)*", condition)
    return exact[1] if exact else condition or None
