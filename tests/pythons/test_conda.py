"""Conda files, curated names and images, read as what pip understands; nothing is installed here."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.pythons import choose_python, fits
from jupyter_modelreg.pythons.conda import Recipe, read_conda
from jupyter_modelreg.pythons.curated import curated_recipe
from jupyter_modelreg.pythons.images import context_recipe, image_recipe


def read(*dependencies: Any, **others: Any) -> Recipe:
    return read_conda({"dependencies": list(dependencies), **others})


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py311h64a7726_0", "numpy==1.26.4.*"),
        ("numpy==1.26.4=py311h64a7726_0", "numpy==1.26.4"),
        ("numpy 1.26.*", "numpy==1.26.*"),
        ("numpy 1.26.4 py311h64a7726_0", "numpy==1.26.4.*"),
        ("numpy>=1.26,<2", "numpy>=1.26,<2"),
        ("numpy >=1.26, <2.0a0", "numpy>=1.26,<2.0a0"),
        ("numpy>=1.26.*", "numpy>=1.26"),
        ("numpy!=1.26.1", "numpy!=1.26.1"),
        ("numpy~=1.26.0", "numpy~=1.26.0"),
        ("conda-forge::numpy=1.26", "numpy==1.26.*"),
        ("conda-forge/linux-64::numpy", "numpy"),
        ("numpy[version='>=1.26,<2', build=py311*]", "numpy>=1.26,<2"),
        ("numpy=*", "numpy"),
        ("Scikit-Learn=1.5  # pinned", "scikit-learn==1.5.*"),
        ("pytorch=2.5", "torch==2.5.*"),
        ("opencv", "opencv-python-headless"),
    ],
)
def test_a_package_of_conda_is_named_as_pip_names_it(conda: str, pip: str) -> None:
    (found,) = read(conda).requirements
    assert found == pip
    Requirement(found)


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True),
    st.sampled_from(["", "=", "==", ">=", "<=", ">", "<", "!=", "~="]),
    st.lists(st.integers(0, 99), min_size=2, max_size=4),
)
def test_whatever_version_is_asked_for_pip_understands_it(name: str, sign: str, numbers: list[int]) -> None:
    version = ".".join(map(str, numbers))
    recipe = read(f"{name}{sign}{version}" if sign else name)
    if name not in ("pip", "python", "blas") and not recipe.foreign:
        (requirement,) = recipe.requirements
        assert Requirement(requirement).specifier.contains(version) == (sign not in ("!=", ">", "<"))


@given(st.text(alphabet=string.printable, max_size=30))
def test_no_text_is_taken_for_a_package_that_pip_would_not_understand(text: str) -> None:
    try:
        recipe = read(text)
    except InvalidInput:
        return
    for requirement in recipe.requirements:
        assert re.fullmatch(r"[A-Za-z0-9._-]+[=<>!~,0-9A-Za-z.!+_*-]*", requirement)


def test_what_stands_under_pip_stays_as_it_is() -> None:
    recipe = read(
        "python=3.11",
        "pip=24",
        {"pip": ["torch==2.5.1+cpu", "--extra-index-url https://packages.example/simple", "six ; python_version > '3'"]},
    )
    assert recipe == Recipe(
        python="3.11",
        requirements=["torch==2.5.1+cpu", "--extra-index-url https://packages.example/simple", "six ; python_version > '3'"],
    )


@pytest.mark.parametrize(
    ("written", "python"),
    [
        ("python=3.11", "3.11"),
        ("python==3.11.4", "3.11"),
        ("python=3.11.*", "3.11"),
        ("python 3.11", "3.11"),
        ("python>=3.11,<3.13", ">=3.11,<3.13"),
        ("python", None),
    ],
)
def test_the_python_is_chosen_by_its_minor_version(written: str, python: str | None) -> None:
    assert read(written).python == python


@pytest.mark.parametrize("name", ["cudatoolkit=11.3", "gcc_linux-64", "r-base=4.3", "openmpi", "_openmp_mutex", "cuda-nvcc"])
def test_what_only_conda_has_is_known_by_name(name: str) -> None:
    recipe = read("numpy", name)
    assert (recipe.requirements, len(recipe.foreign)) == (["numpy"], 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dependencies": ["numpy"], "chanels": []}, 'A conda file has no "chanels". Did you mean "channels"?'),
        ({"channels": ["conda-forge"]}, "needs dependencies"),
        ({"dependencies": "numpy"}, "needs dependencies"),
        ({"dependencies": ["numpy>=1|<0.5"]}, "has alternatives"),
        ({"dependencies": ["numpy>="]}, "is no version"),
        ({"dependencies": ["numpy=latest"]}, '"=latest" is no version'),
        ({"dependencies": ["a b c d e !"]}, "no version"),
        ({"dependencies": ["&"]}, "is no package of a conda file"),
        ({"dependencies": [{"npm": ["x"]}]}, "only a list under pip"),
        ({"dependencies": [{"pip": "six"}]}, "only a list under pip"),
        ({"dependencies": [{"pip": ["-r requirements.txt"]}]}, "write its lines under pip"),
    ],
)
def test_a_mistake_in_a_conda_file_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_conda(values)


def test_variables_of_a_conda_file_are_said_to_be_left_out() -> None:
    assert "environment_variables" in read("numpy", variables={"A": "b"}).notices[0]


@pytest.mark.parametrize(
    ("condition", "fitting"),
    [
        ("3.11", "3.11"),
        ("3.11.4", "3.11"),
        (">=3.9", "3.9 3.10 3.11 3.12 3.13"),
        (">=3.9,<3.12", "3.9 3.10 3.11"),
        ("<=3.11", "3.8 3.9 3.10 3.11"),
        (">3.11", "3.12 3.13"),
        (">3.11.2,<3.13", "3.11 3.12"),
        ("~=3.10", "3.10 3.11 3.12 3.13"),
        ("!=3.11,>=3.10", "3.10 3.12 3.13"),
    ],
)
def test_versions_of_python_are_compared_as_numbers(condition: str, fitting: str) -> None:
    assert " ".join(version for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13") if fits(version, condition)) == fitting


@pytest.mark.parametrize("condition", ["", "three", "=>3.11", "3.x"])
def test_what_is_no_version_of_python_is_said(condition: str) -> None:
    with pytest.raises(InvalidInput, match="is no version of Python"):
        fits("3.11", condition)


def test_this_kernels_python_is_taken_where_it_fits_and_an_old_one_never() -> None:
    import sys

    kernel = f"3.{sys.version_info[1]}"
    assert [choose_python(Recipe(python=python)) for python in (None, kernel, ">=3.6", "3.8", "<3.11")] == [kernel] * 5
    other = "3.12" if kernel != "3.12" else "3.11"
    assert choose_python(Recipe(python=other)) == other
    assert choose_python(Recipe(python="3.99")) == "3.99"


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("sklearn-1.5", "scikit-learn==1.5.*"),
        ("AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", "scikit-learn==1.1.*"),
        ("AzureML-sklearn-0.24-ubuntu18.04-py37-cpu", "scikit-learn==1.1.*"),
        ("acpt-pytorch-2.2-cuda12.1", "torch==2.2.*"),
        ("AzureML-pytorch-1.10-ubuntu18.04-py38-cuda11-gpu", "torch==2.0.*"),
        ("lightgbm-3.3", "lightgbm"),
        ("AzureML-tensorflow-2.16-cuda12", "tensorflow"),
    ],
)
def test_a_curated_name_says_what_is_in_it(name: str, first: str) -> None:
    recipe = curated_recipe(name)
    assert recipe
    assert recipe.requirements[0] == first
    assert [Requirement(item) for item in recipe.requirements]
    assert choose_python(recipe).startswith("3.1")


def test_a_curated_environment_that_runs_on_no_python_of_today_says_what_is_taken() -> None:
    recipe = curated_recipe("sklearn-1.0")
    assert recipe
    assert recipe.notices == ["scikit-learn 1.0 runs on no Python that this package runs on; scikit-learn 1.1 is taken."]
    assert curated_recipe("sklearn-1.5").notices == []  # type: ignore[union-attr]
    assert curated_recipe("our-own") is None


@pytest.mark.parametrize(
    ("image", "python", "requirements"),
    [
        ("python:3.12-slim", "3.12", 0),
        ("docker.io/library/python:3.11", "3.11", 0),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest", None, 0),
        ("mcr.microsoft.com/azureml/minimal-ubuntu20.04-py38-cpu-inference:latest", None, 0),
        ("mcr.microsoft.com/azureml/curated/sklearn-1.5:3", ">=3.11,<3.14", 10),
        ("example/own-py310:1", "3.10", 0),
    ],
)
def test_an_images_name_says_how_close_a_python_comes(image: str, python: str | None, requirements: int) -> None:
    recipe = image_recipe(image)
    assert (recipe.python, len(recipe.requirements)) == (python, requirements)
    assert recipe.notices[0] == f"The image {image} is not run; its closest Python is used."


def test_a_build_context_is_read_as_far_as_it_names_packages() -> None:
    files = {
        "Dockerfile": "FROM base AS x\nFROM --platform=linux/amd64 python:3.12\nRUN pip install -r requirements.txt\n",
        "requirements.txt": "# ours\nsix==1.16.0 # small\n\ntoolz\n",
    }
    recipe, conda = context_recipe(list(files), files.__getitem__, "Dockerfile")
    assert (recipe.python, recipe.requirements, conda) == ("3.12", ["six==1.16.0", "toolz"], None)
    files["conda_dependencies.yaml"] = "dependencies: [python=3.11, six]\n"
    recipe, conda = context_recipe(list(files), files.__getitem__, "Dockerfile")
    assert (recipe.python, recipe.requirements, conda) == ("3.11", ["six"], {"dependencies": ["python=3.11", "six"]})
    files["conda_dependencies.yaml"] = "dependencies: six\n"
    with pytest.raises(InvalidInput, match=r"conda_dependencies.yaml: A conda file needs dependencies"):
        context_recipe(list(files), files.__getitem__, "Dockerfile")
    recipe, _ = context_recipe(["Dockerfile"], files.__getitem__, "Dockerfile")
    assert (recipe.python, recipe.requirements) == ("3.12", [])
    assert recipe.notices == ["The build context is not built; the closest Python to its image python:3.12 is used."]
