"""The notebook's door: a line magic for every operation, and the magics that only a notebook has.

``load`` and ``unload`` are what ``%load_ext`` and ``%unload_ext`` call. A magic returns its answer, which shows itself;
wrong words are a ``UsageError``, a failed operation raises our own error, one line, and the cell fails.
IPython writes the values of Python variables into a line before a magic sees it: ``%model_show {name}:$version``.
"""

from __future__ import annotations

from typing import Any

from ..operations import OPERATIONS, Operation
from .arguments import build_parser
from .cells import CELL_MAGICS, LINE_MAGICS
from .lines import ModelRegMagics, run_operation, split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell


def load(shell: InteractiveShell) -> None:
    """Add the magics, their settings and their completion."""
    from .completion import make_matcher

    magics = ModelRegMagics(shell)
    shell.configurables.append(magics)  # type: ignore[arg-type]
    for operation in OPERATIONS:
        magics.add("line", operation.magic, _OperationMagic(magics, operation))
    for name, function in LINE_MAGICS.items():
        magics.add("line", name, _bound(magics, function))
    for name, function in CELL_MAGICS.items():
        magics.add("cell", name, _bound(magics, function))
    if shell.Completer is not None:
        magics.matcher = make_matcher(magics.workspace, shell.user_ns)
        shell.Completer.custom_matchers.append(magics.matcher)


def unload(shell: InteractiveShell) -> None:
    """Remove exactly what `load` added; what the person put in its place meanwhile stays."""
    for magics in [item for item in shell.configurables if isinstance(item, ModelRegMagics)]:
        shell.configurables.remove(magics)
        for kind, name, function in magics.added:
            # IPython keeps what is registered in two places.
            for place in (shell.magics_manager.magics[kind], vars(shell.magics_manager.user_magics)):
                if place.get(name) is function:
                    del place[name]
        if shell.Completer is not None:
            shell.Completer.custom_matchers[:] = [item for item in shell.Completer.custom_matchers if item is not magics.matcher]


class _OperationMagic:
    # No docstring of its own: `%model_list?` shows __doc__, written when somebody asks, so that loading builds no parser.

    def __init__(self, magics: ModelRegMagics, operation: Operation) -> None:
        self._magics, self._operation = magics, operation
        self.__name__ = operation.magic

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return build_parser(self._operation, f"%{self._operation.magic}").format_help()

    def __call__(self, line: str = "") -> Any:
        line, is_silent = _without_semicolon(line)
        answer = run_operation(self._magics, self._operation, split_words(line))
        return None if is_silent else answer


def _bound(magics: ModelRegMagics, function: Callable[..., Any]) -> Callable[..., Any]:
    def magic(line: str = "", cell: str | None = None) -> Any:
        if cell is not None:
            answer = function(magics, line, cell)
            return None if cell.rstrip().endswith(";") else answer
        line, is_silent = _without_semicolon(line)
        answer = function(magics, line)
        return None if is_silent else answer

    magic.__name__, magic.__doc__ = function.__name__, function.__doc__
    return magic


def _without_semicolon(line: str) -> tuple[str, bool]:
    """Take off the semicolon that asks for silence, as it does after any expression in a notebook."""
    text = line.rstrip()
    return (text[:-1], True) if text.endswith(";") else (line, False)
