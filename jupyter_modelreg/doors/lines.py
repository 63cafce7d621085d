"""What all magics share: their settings, how a line is split, how a row of the table is run, answers that show themselves."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from IPython.core.error import UsageError
from traitlets import Unicode
from traitlets.config import Configurable

from ..errors import InvalidInput, ModelRegistryError
from ..workspace import Workspace, open_workspace
from .arguments import HelpAsked, parse_words
from .display import empty_text
from .progress import Bar, NotebookScreen, TerminalScreen, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ..operations import Operation
    from .arguments import Presentation
    from .progress import Screen

# What a person learns in a notebook when there is nothing yet.
EMPTY = {
    "Model": "No models yet. Register one: start a cell with %%model_register NAME and end it with the model.",
    "OnlineEndpoint": "No endpoints yet. Serve a model: %model_deploy NAME",
    "Environment": "No environments yet. Record one: %environment_create sklearn --conda-file conda.yaml",
    "PythonBuild": "No environment was made yet. A deployment makes what it needs; %environment_build NAME does it before.",
    "Mount": "Nothing is mounted. Show a version in a folder: %model_mount churn@latest ./churn",
}

# Verbs after which there is little new to see; their answer is shown as a row of a list.
_BRIEF = {"archive", "restore"}

# A comment starts where a word does: in tags such as issue=#12 the sign is text.
_QUOTED_OR_COMMENT = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|(?P<comment>(?<!\S)#.*)""", re.DOTALL)


class ModelRegMagics(Configurable):
    """Settings of the magics, for example ``%config ModelRegMagics.home = "/data/registry"``."""

    home = Unicode("", help="Folder of everything that is kept on this machine; empty means the usual one.").tag(config=True)
    catalog = Unicode("", help="Database of names and versions; empty means the usual one.").tag(config=True)
    store = Unicode("", help="Where files are kept; empty means the usual place.").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(parent=shell)
        self.shell = shell
        self.loaded_models: list[str] = []  # what this session loaded: the inputs of what it registers next
        self.added: list[tuple[str, str, Callable[..., Any]]] = []
        self.matcher: Any = None

    def add(self, kind: str, name: str, function: Callable[..., Any]) -> None:
        """Add a magic and remember it, to be removed again."""
        self.shell.magics_manager.register_function(function, kind, name)
        self.added.append((kind, name, function))

    def workspace(self) -> Workspace:
        """Open the workspace anew: nothing is kept between calls."""
        return self._open(None)

    def watched(self, label: str | None) -> Workspace:
        """Open the workspace for what may take long: a bar under `label` shows how far it is until the cell has run."""
        screen = _screen(self.shell)
        if screen is None:
            return self._open(None)
        bar = Bar(label or "files", screen)

        def close(*_: object) -> None:
            self.shell.events.unregister("post_run_cell", close)
            bar.close()

        self.shell.events.register("post_run_cell", close)
        return self._open(bar)

    def _open(self, progress: Bar | None) -> Workspace:
        return open_workspace({name: getattr(self, name) for name in ("home", "catalog", "store")}, progress=progress)


class Shown:
    """An answer that shows itself; its attributes and items are the answer's."""

    def __init__(self, answer: Any, *, empty: str = "", html: Callable[[Any], str] | None = None, is_row: bool = False) -> None:
        self.answer = answer
        self._empty, self._html, self._is_row = empty, html, is_row

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.answer, name)

    def __iter__(self) -> Any:
        return iter(self.answer)

    def __len__(self) -> int:
        return len(self.answer)

    def __bool__(self) -> bool:
        return bool(self.answer)  # a record has no length

    def __getitem__(self, key: Any) -> Any:
        return self.answer[key]

    def __eq__(self, other: object) -> bool:
        return bool(self.answer == (other.answer if isinstance(other, Shown) else other))

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return ["answer", *(name for name in dir(self.answer) if not name.startswith("_"))]

    def __repr__(self) -> str:
        from .display import KEYS_HIDDEN, MAX_LISTED, more_text, onward_text, stable_text

        if type(self.answer).__name__ == "EndpointKeys":
            return KEYS_HIDDEN
        if not isinstance(self.answer, list):
            return stable_text([self.answer] if self._is_row else self.answer)
        text = stable_text(self.answer[:MAX_LISTED], empty=self._empty)
        return "\n".join(filter(None, [text, more_text(len(self.answer)), onward_text(self.answer)]))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from .html import to_html

        shown = [self.answer] if self._is_row else self.answer
        html = self._html(self.answer) if self._html else to_html(shown, empty=self._empty)
        return {"text/plain": repr(self), "text/html": html}


def split_words(line: str) -> list[str]:
    """Split a line as a shell does, without its comment; on Windows a backslash is a plain character.

    Raises
    ------
    UsageError
        If a quote is not closed.
    """
    lexer = shlex.shlex(_QUOTED_OR_COMMENT.sub(lambda found: "" if found["comment"] else found[0], line), posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if os.name == "nt":
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise UsageError(f"{error}: {line}") from None


def run_operation(magics: ModelRegMagics, operation: Operation, words: list[str], *, prog: str = "") -> Any:
    """Run one row of the table with words; None when they asked for help or for text."""
    try:
        command, presentation = parse_words(operation, words, prog=prog or f"%{operation.magic}")
    except HelpAsked as asked:
        print(asked)
        return None
    except InvalidInput as error:
        raise UsageError(error.message) from None
    label = getattr(command, "name", None) or operation.noun
    workspace = magics.workspace() if presentation.only_show_errors else magics.watched(label)
    try:
        question = operation.question(workspace, command)
        if question:
            raise UsageError(f"{question} A cell cannot ask; add --yes.")
        answer = operation.run(workspace, command)
    except ModelRegistryError:
        if presentation.debug:
            _print_traceback()
        raise
    return present(answer, presentation, empty=empty_text(EMPTY, operation, command), is_row=operation.verb in _BRIEF)


def present(answer: Any, presentation: Presentation, **shown: Any) -> Any:
    """Return an answer that shows itself; plain values with ``--query``; None when ``--output`` made it printed text."""
    from .display import select, to_text

    wanted = select(answer, presentation.query) if presentation.query else answer
    if presentation.output:
        text = to_text(wanted, presentation.output, empty=shown.get("empty", ""))
        if text:
            print(text)
        return None
    return wanted if presentation.query else Shown(answer, **shown)


def _screen(shell: InteractiveShell) -> Screen | None:
    """Return where a bar can be drawn; None in a log file."""
    import sys

    if is_terminal(sys.stderr):
        return TerminalScreen()
    return NotebookScreen() if hasattr(shell, "kernel") else None


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()
