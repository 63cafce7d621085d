"""The command line: ``modelreg model create …``, the words and formats of ``az ml``."""

from __future__ import annotations

import os
import sys

from ..errors import Corrupted, InvalidInput, ModelRegistryError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..commands import Command
    from ..operations import Operation
    from .arguments import Presentation


def main(words: list[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, or the ``exit_code`` of the error's class."""
    if words is None:
        import gc

        gc.disable()  # a process that ends after one answer has nothing to collect, and looking takes a tenth of its time
        words = sys.argv[1:]
    try:
        text, code, hint = _answer(words)
        if text:
            print(text)
        sys.stdout.flush()
        if hint:
            print(hint, file=sys.stderr)
    except ModelRegistryError as error:
        _show_error(error, is_debugging="--debug" in words)
        return error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return code


def run(words: list[str]) -> str:
    """Run one command line and return what it prints.

    Raises
    ------
    ModelRegistryError
        If the words are wrong or the operation fails.
    """
    return _answer(words)[0]


def _answer(words: list[str]) -> tuple[str, int, str]:
    """Return what a command line prints, its exit code (a script asks for no more of `store verify`), and a hint for a person."""
    if not words or words[0] in ("-h", "--help", "help"):
        return _root_help(), 0, ""
    if words[0] in ("-V", "--version"):
        from .. import __version__

        return f"modelreg {__version__}", 0, ""
    operation = _find_operation(words)
    if isinstance(operation, str):
        return operation, 0, ""
    from .arguments import HelpAsked, parse_words
    from .display import onward_text

    try:
        command, presentation = parse_words(operation, words[2:])
    except HelpAsked as asked:
        return str(asked).rstrip(), 0, ""
    output = _output_of(presentation)  # what is wrong with it shall be said before anything is done
    answer = _do(operation, command, presentation)
    code = Corrupted.exit_code if operation.answer == "Verification" and not answer.is_ok else 0
    hint = "" if presentation.only_show_errors else onward_text(answer)
    return _present(answer, presentation.query, output, operation, command), code, hint


def _find_operation(words: list[str]) -> Operation | str:
    from ..operations import COMING, NOUNS, OPERATIONS, find_operation

    noun, verb = words[0], words[1] if len(words) > 1 else "--help"
    if noun in COMING or f"{noun} {verb}" in COMING:
        return find_operation(noun, verb)  # says so
    if noun not in NOUNS:
        raise InvalidInput(f'modelreg has no command "{noun}".{nearest(noun, [*NOUNS, *COMING])} See modelreg --help.')
    rows = [row for row in OPERATIONS if row.noun == noun]
    if verb in ("-h", "--help"):
        return _noun_help(noun, rows)
    for row in rows:
        if row.verb == verb:
            return row
    raise InvalidInput(f'modelreg {noun} has no command "{verb}".{nearest(verb, [row.verb for row in rows])} See modelreg {noun} --help.')


def _output_of(presentation: Presentation) -> str:
    """Return the format of the answer. A person reads a table, a program reads JSON, as `az` would print it."""
    from .arguments import FORMATS

    usual = os.environ.get("MODELREG_OUTPUT") or ("table" if sys.stdout.isatty() else "json")
    if usual not in FORMATS:
        raise InvalidInput(f'MODELREG_OUTPUT is "{usual}"; it must be one of {", ".join(FORMATS)}.{nearest(usual, FORMATS)}')
    return presentation.output or usual


def _do(operation: Operation, command: Command, presentation: Presentation) -> Any:
    from ..workspace import open_workspace

    if presentation.only_show_errors or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        workspace = open_workspace()
        _confirm(operation.question(workspace, command))
        return operation.run(workspace, command)
    from .progress import Bar, TerminalScreen

    with Bar(getattr(command, "name", None) or operation.noun, TerminalScreen()) as bar:
        workspace = open_workspace(progress=bar)
        _confirm(operation.question(workspace, command))
        return operation.run(workspace, command)


def _confirm(question: str) -> None:
    if not question:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} Nobody is there to answer; add --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # standard output is the answer's alone
    try:
        answer = input()
    except EOFError:  # Ctrl+D
        answer = ""
        print(file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise InvalidInput("Nothing was changed.")


def _present(answer: Any, query: str, output: str, operation: Operation, command: Command) -> str:
    from .display import EMPTY, empty_text, select, to_text

    if operation.answer == "Invocation" and (query or output != "table"):
        answer = answer.body  # as `az` prints what an endpoint said
    if query:
        return to_text(select(answer, query), output)
    return to_text(answer, output, empty=empty_text(EMPTY, operation, command))


def _show_error(error: ModelRegistryError, *, is_debugging: bool) -> None:
    if is_debugging:
        import traceback

        traceback.print_exception(error)
    print(f"ERROR: {error.message}", file=sys.stderr)
    if error.detail:
        print(f"\n{error.detail.rstrip()}", file=sys.stderr)


def _root_help() -> str:
    from ..operations import NOUNS

    lines = [f"  {noun:<20}{about}" for noun, about in NOUNS.items()]
    return "\n".join(
        [
            "usage: modelreg COMMAND VERB [options]",
            "",
            "Register models, browse them, serve them. The words of `az ml`, on this machine.",
            "",
            "commands:",
            *lines,
            "",
            "See modelreg COMMAND --help for the verbs, modelreg COMMAND VERB --help for the options.",
        ]
    )


def _noun_help(noun: str, rows: list[Operation]) -> str:
    from ..operations import NOUNS

    lines = [f"  {row.verb:<20}{row.summary}" for row in rows]
    return "\n".join([f"usage: modelreg {noun} VERB [options]", "", NOUNS[noun], "", "verbs:", *lines])
