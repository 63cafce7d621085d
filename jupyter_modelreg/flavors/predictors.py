"""What answers requests: an object with ``predict``, or a function."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidInput


class ObjectPredictor:
    """Asks a live object; it gets a DataFrame when it was fitted on named columns, else an array.

    Parameters
    ----------
    is_batchable
        Whether it answers each row alone, so that rows of several requests may be asked at once.
    """

    def __init__(self, value: Any, *, is_batchable: bool = False) -> None:
        self.is_batchable = is_batchable
        self._ask = getattr(value, "predict", None) or (value if callable(value) else None)
        if self._ask is None:
            raise InvalidInput(
                f"{type(value).__module__}.{type(value).__qualname__} has no predict() and cannot be called; serve it with a scoring script."
            )
        self.wants = "frame" if _has_names(value) else "array"
        if self.wants == "frame":
            import pandas as pd  # noqa: F401 - now, not when the first caller waits

    def __call__(self, rows: Any) -> Any:
        """Predict rows."""
        assert self._ask
        return self._ask(rows)


def _has_names(value: Any) -> bool:
    try:
        return getattr(value, "feature_names_in_", None) is not None
    except AttributeError:
        return False
