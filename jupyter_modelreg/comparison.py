"""Two versions side by side: a pure function of two models."""

from __future__ import annotations

from .entities.answers import Comparison, Difference
from .entities.model import Lineage, Model, Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FACTS = ("type", "flavor", "stage", "description", "size_bytes")


MAX_TENSORS = 20


def compare(first: Model, second: Model, tensors: tuple[dict[str, str], dict[str, str]] = ({}, {})) -> Comparison:
    """Return what differs between two versions, group by group, in the order of the groups and then of the names.

    `tensors` is what each holds by name, where that is known; of many that differ the first are named and the rest counted.
    """
    groups = {
        "metadata": (_facts(first), _facts(second)),
        "metrics": (_numbers(first), _numbers(second)),
        "packages": ((first.lineage or Lineage()).packages, (second.lineage or Lineage()).packages),
        "signature": (_columns(first), _columns(second)),
        "files": (_digests(first), _digests(second)),
        "tensors": tensors,
    }
    differences = [item for group, (left, right) in groups.items() for item in _differences(group, left, right)]
    differences = _without_many_tensors(differences)
    same = {group: sum(1 for key in left if left[key] == right.get(key)) for group, (left, right) in groups.items()}
    names = sorted(first.metrics.keys() | second.metrics.keys())
    return Comparison(
        first=f"{first.name}:{first.version}",
        second=f"{second.name}:{second.version}",
        differences=differences,
        metrics={name: [first.metrics.get(name), second.metrics.get(name)] for name in names},
        same={group: count for group, count in same.items() if count},
    )


def _without_many_tensors(differences: list[Difference]) -> list[Difference]:
    at = sum(1 for item in differences if item.group != "tensors") + MAX_TENSORS  # tensors come last
    left = differences[at:]
    if len(left) < 2:
        return differences
    counts = [sum(1 for item in left if getattr(item, side) is not None) for side in ("first", "second")]
    return [
        *differences[:at],
        Difference(group="tensors", name="and more", first=f"{counts[0]:,} of them", second=f"{counts[1]:,} of them"),
    ]


def _differences(group: str, left: Mapping[str, str], right: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(
            group=group,
            name=name,
            first=left.get(name),
            second=right.get(name),
            # A package's 1.9 and a tag's 7 are words.
            delta=_delta(left.get(name), right.get(name)) if group == "metrics" or name == "size_bytes" else None,
        )
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]


def _delta(first: str | None, second: str | None) -> float | None:
    try:
        return float(second or "") - float(first or "")
    except ValueError:
        return None


def _facts(model: Model) -> dict[str, str]:
    facts = {name: str(value) for name in _FACTS if (value := getattr(model, name)) is not None}
    return {**facts, **{f"tags.{key}": value for key, value in model.tags.items()}}


def _numbers(model: Model) -> dict[str, str]:
    return {name: repr(value) for name, value in model.metrics.items()}


def _columns(model: Model) -> dict[str, str]:
    signature = model.signature or Signature()
    sides = (("input", signature.inputs), ("output", signature.outputs))
    return {
        f"{side} {column.name or index}": column.type + (str(column.shape) if column.shape else "")
        for side, columns in sides
        for index, column in enumerate(columns)
    }


def _digests(model: Model) -> dict[str, str]:
    return {item.path: item.digest for item in model.files or []}
