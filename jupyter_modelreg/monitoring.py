"""Data collection in scoring scripts: the names of ``azureml.ai.monitoring``, so that only the import is swapped.

``from jupyter_modelreg.monitoring import Collector``, in ``init()`` ``inputs = Collector(name="model_inputs")``, in ``run()``
``context = inputs.collect(frame)`` and ``outputs.collect(answer, context)``: the rows of one context are written together.
"""

from __future__ import annotations

import time
import uuid

from .errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .serving import collection

__all__ = ["BasicCorrelationContext", "Collector", "CorrelationContext"]


class CorrelationContext:
    """What says that rows of several collections belong together."""

    @staticmethod
    def get_id() -> str:
        """Return the id that the rows carry."""
        return ""

    def __str__(self) -> str:
        return self.get_id()

    __repr__ = __str__


class BasicCorrelationContext(CorrelationContext):
    """A context with an id, a new one where none is given."""

    def __init__(self, id: str | None = None, timestamp: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.id, self.timestamp, self.headers = id or str(uuid.uuid4()), timestamp or int(time.time()), dict(headers or {})

    def get_id(self) -> str:  # type: ignore[override]  # Azure's base has a static method here
        """Return the id."""
        return self.id

    def get_timestamp(self) -> int:
        """Return when, in seconds since 1970."""
        return self.timestamp

    def get_headers(self) -> dict[str, str]:
        """Return the headers it was made with; they are not written."""
        return self.headers


class Collector:
    """One collection of the deployment in whose scoring script this runs.

    Parameters
    ----------
    name
        A collection that the deployment's ``data_collector`` enables.
    on_error
        Called with what went wrong, instead of raising it.

    Raises
    ------
    InvalidInput
        If the collection is not enabled, and there is no `on_error`.
    """

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self.name = name
        self.on_error = on_error or _raise
        self._opened()

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Write a DataFrame's rows, later and beside; return the context for what belongs to it.

        Raises
        ------
        InvalidInput
            If it is no pandas DataFrame or the collection is not enabled, and there is no ``on_error``.
        """
        context = correlation_context or BasicCorrelationContext()
        collector = self._opened()
        if collector is None:
            return context
        if not _is_frame(data):
            self.on_error(InvalidInput(f'The collection "{self.name}" takes a pandas DataFrame, not {type(data).__name__}.'))
            return context
        # A copy: the script may go on changing its own.
        collector.offer_frame(self.name, data.copy(), context.get_id(), context.get_id())
        return context

    def _opened(self) -> collection.Collector | None:
        """Return what writes this collection, or report why there is nothing."""
        from .serving.collection import running

        collector = running()
        if not self.name:
            self.on_error(InvalidInput("A collection has a name.", key="name"))
        elif collector is None:
            self.on_error(InvalidInput(f"Nothing is collected here; the deployment's YAML has no data_collector.collections.{self.name}."))
        elif not collector.collects(self.name):
            self.on_error(InvalidInput(f"The deployment's data_collector.collections.{self.name}.enabled is not true."))
        else:
            return collector
        return None


def _raise(error: Exception) -> None:
    raise error


def _is_frame(value: Any) -> bool:
    """Say whether a value is a DataFrame; pandas need not be there to say no."""
    return any(kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame" for kind in type(value).__mro__)
