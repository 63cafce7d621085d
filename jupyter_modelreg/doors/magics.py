"""The notebook's door: a line magic for every operation, and the magics that only a notebook has.

``load`` and ``unload`` are what ``%load_ext`` and ``%unload_ext`` call. A magic returns its answer, which shows itself;
wrong words are a ``UsageError``, a failed operation raises our own error, one line, and the cell fails.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from IPython.core.error import UsageError
from traitlets import Unicode
from traitlets.config import Configurable

from ..errors import InvalidInput
from ..operations import OPERATIONS, Operation
from ..workspace import Workspace, open_workspace
from .arguments import HelpAsked, build_parser, parse_command
from .cells import CELL_MAGICS, LINE_MAGICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

MATCHER = "modelreg"


class ModelRegMagics(Configurable):
    """Settings of the magics, for example ``%config ModelRegMagics.home = "/data/registry"``."""

    home = Unicode("", help="Folder of everything that is kept on this machine; empty means the usual one.").tag(config=True)
    catalog = Unicode("", help="Database of names and versions; empty means the usual one.").tag(config=True)
    store = Unicode("", help="Where files are kept; empty means the usual place.").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(parent=shell)
        self.shell = shell
        self.loaded_models: list[str] = []  # what this session loaded: the inputs of what it registers next

    def workspace(self) -> Workspace:
        """Open the workspace anew: nothing is kept between calls."""
        return open_workspace({name: getattr(self, name) for name in ("home", "catalog", "store")}, progress=draw_progress())


class Shown:
    """An answer that shows itself; its attributes and items are the answer's."""

    def __init__(self, answer: Any, *, empty: str = "", html: Callable[[Any], str] | None = None) -> None:
        self.answer = answer
        self._empty, self._html = empty, html

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.answer, name)

    def __iter__(self) -> Any:
        return iter(self.answer)

    def __len__(self) -> int:
        return len(self.answer)

    def __getitem__(self, key: Any) -> Any:
        return self.answer[key]

    def __eq__(self, other: object) -> bool:
        return bool(self.answer == (other.answer if isinstance(other, Shown) else other))

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return ["answer", *(name for name in dir(self.answer) if not name.startswith("_"))]

    def __repr__(self) -> str:
        from .display import to_text

        return to_text(self.answer, empty=self._empty)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from .html import to_html

        html = self._html(self.answer) if self._html else to_html(self.answer, empty=self._empty)
        return {"text/plain": repr(self), "text/html": html}


def load(shell: InteractiveShell) -> None:
    """Add the magics, their settings and their completion."""
    from .completion import make_matcher

    magics = ModelRegMagics(shell)
    shell.configurables.append(magics)  # type: ignore[arg-type]
    for operation in OPERATIONS:
        shell.magics_manager.register_function(_line_magic(magics, operation), "line", operation.magic)
    for name, function in LINE_MAGICS.items():
        shell.magics_manager.register_function(_bound(magics, function), "line", name)
    for name, function in CELL_MAGICS.items():
        shell.magics_manager.register_function(_bound(magics, function), "cell", name)
    if shell.Completer is not None:
        matcher = make_matcher(magics.workspace)
        shell.Completer.custom_matchers.append(matcher)


def unload(shell: InteractiveShell) -> None:
    """Remove exactly what `load` added."""
    shell.configurables[:] = [item for item in shell.configurables if not isinstance(item, ModelRegMagics)]
    lines, cells = shell.magics_manager.magics["line"], shell.magics_manager.magics["cell"]
    for name in [operation.magic for operation in OPERATIONS] + list(LINE_MAGICS):
        lines.pop(name, None)
    for name in CELL_MAGICS:
        cells.pop(name, None)
    if shell.Completer is not None:
        matchers = shell.Completer.custom_matchers
        matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != MATCHER]


def split_words(line: str) -> list[str]:
    """Split a line as a shell does; a trailing comment is dropped, and backslashes are left alone on Windows.

    Raises
    ------
    UsageError
        If a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    if os.name == "nt":
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise UsageError(f"{error}: {line}") from None


def run_operation(magics: ModelRegMagics, operation: Operation, words: list[str]) -> Any:
    """Run one row of the table with words; None when they asked for help."""
    prog = f"%{operation.magic}"
    try:
        command = parse_command(operation, words, prog=prog)
    except HelpAsked as asked:
        print(asked)
        return None
    except InvalidInput as error:
        raise UsageError(error.message) from None
    if operation.confirms and not getattr(command, "yes", False):
        question = operation.confirms.format(name=getattr(command, "name", ""))
        raise UsageError(f"{question} A cell cannot ask; add --yes.")
    from .display import EMPTY

    answer = operation.run(magics.workspace(), command)
    return Shown(answer, empty=EMPTY.get(operation.answer.removeprefix("list[").rstrip("]"), "Nothing found."))


def draw_progress() -> Callable[[int, int], None]:
    """Return a callback that draws a plain bar on standard error once half a second has passed; none in a log file."""
    from time import monotonic

    start = monotonic()

    def draw(done: int, total: int) -> None:
        import sys

        seconds = monotonic() - start
        if seconds > 0.5 and total:
            end = "\r" if done < total else "\n"
            print(f"\r{done / total:4.0%} of {total / 1e6:,.0f} MB, {done / seconds / 1e6:,.0f} MB/s", end=end, file=sys.stderr, flush=True)

    return draw


def _line_magic(magics: ModelRegMagics, operation: Operation) -> Callable[[str], Any]:
    def magic(line: str = "") -> Any:
        return run_operation(magics, operation, split_words(line))

    magic.__name__ = operation.magic
    # Read when somebody asks %name?, so that loading the extension builds no parser.
    magic.__doc__ = operation.summary
    return magic


def _bound(magics: ModelRegMagics, function: Callable[..., Any]) -> Callable[..., Any]:
    def magic(line: str = "", cell: str | None = None) -> Any:
        return function(magics, line) if cell is None else function(magics, line, cell)

    magic.__name__, magic.__doc__ = function.__name__, function.__doc__
    return magic


__all__ = ["ModelRegMagics", "Shown", "build_parser", "load", "run_operation", "split_words", "unload"]
