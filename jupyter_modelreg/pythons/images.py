"""The closest Python to an image or a build context, where no container is run: what their names and files say of packages."""

from __future__ import annotations

import re

from ..errors import InvalidInput
from .conda import Recipe, read_conda
from .curated import curated_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PYTHON = re.compile(r"(?:^|/)python:(3\.\d+)|py(3)(\d{1,2})\b")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
_CONDA_FILE = re.compile(r"^(.*conda.*|environment)\.ya?ml$")


def image_recipe(image: str) -> Recipe:
    """Return what an image's name says: one of Azure's curated environments, or a version of Python."""
    name = image.rpartition("/")[2].partition(":")[0]
    curated = curated_recipe(name) if "/azureml/" in image else None
    recipe = curated or Recipe(python=_python_of(image))
    recipe.notices.insert(0, f"The image {image} is not run; its closest Python is used.")
    return recipe


def context_recipe(paths: list[str], read: Callable[[str], str], dockerfile: str) -> tuple[Recipe, dict[str, Any] | None]:
    """Return what a build context asks for, and its conda file: that first, then its requirements, then its image's name.

    Raises
    ------
    InvalidInput
        If its conda file is wrong.
    """
    from ..entities.loading import parse_yaml

    image = (_FROM.findall(read(dockerfile)) or [""])[-1]
    notice = "The build context is not built; "
    for path in paths:
        if _CONDA_FILE.match(path.rpartition("/")[2]):
            conda = parse_yaml(read(path), path)
            try:
                recipe = read_conda(conda)
            except InvalidInput as error:
                raise InvalidInput(f"{path}: {error.message}", key=error.key) from None
            recipe.notices.append(f"{notice}its {path} says which packages there are.")
            return recipe, conda
    for path in paths:
        if re.fullmatch(r"requirements[^/]*\.txt", path.rpartition("/")[2]):
            lines = [line.partition(" #")[0].strip() for line in read(path).splitlines()]
            wanted = [line for line in lines if line and not line.startswith("#")]
            return Recipe(
                python=_python_of(image), requirements=wanted, notices=[f"{notice}its {path} says which packages there are."]
            ), None
    recipe = image_recipe(image)
    recipe.notices[0] = f"{notice}the closest Python to its image {image or 'without a name'} is used."
    return recipe, None


def _python_of(image: str) -> str | None:
    found = _PYTHON.search(image)
    return (found[1] or f"{found[2]}.{found[3]}") if found else None
