"""Azure's curated environments, as far as PyPI has what is in them. Azure's own packages are left out: nothing here talks to Azure.

Source: Azure/azureml-assets, ``assets/training/general/environments``.
"""

from __future__ import annotations

import re

from .conda import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TOOLS = ["ipykernel", "matplotlib", "psutil", "tqdm"]
_DATA = ["joblib", "pandas", "scipy", *_TOOLS]
# scikit-learn's minor versions and the Pythons that it has wheels for; those before numpy 2 need numpy 1.
_SKLEARN_PYTHONS = {
    (1, 1): ">=3.11,<3.12",
    (1, 2): ">=3.11,<3.12",
    (1, 3): ">=3.11,<3.13",
    (1, 4): ">=3.11,<3.13",
    (1, 5): ">=3.11,<3.14",
    (1, 6): ">=3.11,<3.14",
}


def curated_recipe(name: str) -> Recipe | None:
    """Return what a curated environment holds; None for one that is not in this catalogue.

    ``AzureML-sklearn-1.0-ubuntu20.04-py38-cpu`` and ``sklearn-1.0`` are one.
    """
    plain = re.sub(r"^azureml-", "", name.lower())
    for pattern, recipe in _CATALOGUE:
        found = re.match(pattern, plain)
        if found:
            return recipe(found)
    return None


def _sklearn(found: re.Match[str]) -> Recipe:
    major, minor = int(found[1]), int(found[2])
    notices = []
    if (major, minor) < (1, 1):
        notices = [f"scikit-learn {major}.{minor} runs on no Python that this package runs on; scikit-learn 1.1 is taken."]
        major, minor = 1, 1
    numpy = "numpy<2" if (major, minor) < (1, 5) else "numpy"
    return Recipe(
        python=_SKLEARN_PYTHONS.get((major, minor)),
        requirements=[f"scikit-learn=={major}.{minor}.*", "skops", numpy, *_DATA],
        notices=notices,
    )


def _torch(found: re.Match[str]) -> Recipe:
    major, minor = int(found[1]), int(found[2])
    notices = []
    if (major, minor) < (2, 0):
        notices = [f"torch {major}.{minor} runs on no Python that this package runs on; torch 2.0 is taken."]
        major, minor = 2, 0
    python, numpy = (">=3.11,<3.12", "numpy<2") if (major, minor) < (2, 2) else (">=3.11,<3.13", "numpy<2" if minor < 3 else "numpy")
    if (major, minor) >= (2, 5):
        python = ">=3.11,<3.14"
    return Recipe(python=python, requirements=[f"torch=={major}.{minor}.*", numpy, "safetensors", "pandas", *_TOOLS], notices=notices)


def _lightgbm(found: re.Match[str]) -> Recipe:
    return Recipe(requirements=["lightgbm", "scikit-learn", "skops", "numpy", *_DATA])


def _tensorflow(found: re.Match[str]) -> Recipe:
    return Recipe(python=">=3.11,<3.13", requirements=["tensorflow", "numpy", "pandas", *_TOOLS])


def _inference(found: re.Match[str]) -> Recipe:
    """Images for scoring scripts that bring their own packages: this kernel's Python has what a script may expect."""
    return Recipe()


_CATALOGUE: tuple[tuple[str, Callable[[re.Match[str]], Recipe]], ...] = (
    (r"sklearn-(\d+)\.(\d+)", _sklearn),
    (r"(?:acpt-)?pytorch-(\d+)\.(\d+)", _torch),
    (r"lightgbm", _lightgbm),
    (r"tensorflow-", _tensorflow),
    (r"(?:minimal|mlflow|python-sdk-v2|foundation-model|triton)\b", _inference),
)
