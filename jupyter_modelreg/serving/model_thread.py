"""The thread that a model lives in, for a process that gives it its main one."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ModelThread(Executor):
    """An executor whose one thread is the one that calls `run`."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Queue a call."""
        future: Future[Any] = Future()
        self._work.put((future, lambda: call(*arguments, **named)))
        return future

    def run(self) -> None:
        """Do what is queued, for ever."""
        while True:
            future, call = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # also a script's exit()
                    future.set_exception(error)
            del future, call  # an idle worker holds no request
