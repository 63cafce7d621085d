"""Words on a line to a checked command: one parser built from a command's fields, for the shell and the magics alike.

It follows ``az``: options may be shortened to a unique prefix, ``--tags a=1 b=2`` takes several values, and Azure's
own scope options (``-g``, ``-w``, ``--subscription``) are accepted and mean nothing here.
"""

from __future__ import annotations

import argparse
import os

from ..errors import InvalidInput, nearest
from ..records import REQUIRED, Record, field, field_type, fields, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from ..commands import Command
    from ..operations import Operation
    from ..records import Field

FORMATS = ("json", "jsonc", "table", "tsv", "yaml", "yamlc", "none")

# Azure's scope and policy options; they parse so that a script moves over unchanged, and mean nothing on one machine.
_IGNORED = ("-g", "--resource-group"), ("-w", "--workspace-name"), ("--subscription",), ("--acquire-policy-token",), ("--change-reference",)


class Presentation(Record):
    """How a shell wants its answer."""

    output: str = field("-o", default="", choices=FORMATS, help="Format: json, jsonc, table, tsv, yaml, yamlc or none.")
    query: str = field(default="", help="JMESPath query over the answer's JSON.")
    debug: bool = field(default=False, help="Show Python's traceback when something fails.")
    verbose: bool = field(default=False, help="Accepted for Azure's sake.")
    only_show_errors: bool = field(default=False, help="Print no progress and no warnings.")

    def _check(self) -> None:
        """Find a wrong query before anything is done, not when the answer is there."""
        if not self.query:
            return
        import jmespath
        from jmespath.exceptions import JMESPathError

        try:
            jmespath.compile(self.query)
        except JMESPathError as error:
            raise InvalidInput(f"--query {self.query!r} is no JMESPath expression: {str(error).splitlines()[0]}", key="query") from None


class HelpAsked(Exception):
    """The words asked for help; the text is the exception's argument."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized") and words[0].startswith("-"):
            raise InvalidInput(
                f"{self.prog} has no option {words[0]}.{nearest(words[0], self._option_string_actions)} See {self.prog} --help."
            )
        raise InvalidInput(f"{self.prog}: {message}. See {self.prog} --help.")


def parse_command(operation: Operation, words: Sequence[str], *, prog: str = "") -> Command:
    """Make the command that the words ask for.

    Raises
    ------
    InvalidInput
        If an option is unknown, a value has the wrong type or a required one is missing.
    HelpAsked
        If the words contain ``-h`` or ``--help``.
    """
    return parse_words(operation, words, prog=prog)[0]


def parse_words(operation: Operation, words: Sequence[str], *, prog: str = "") -> tuple[Command, Presentation]:
    """Make the command and say how its answer shall be shown; see :func:`parse_command`."""
    parser = build_parser(operation, prog or f"modelreg {operation.noun} {operation.verb}")
    command, presentation, _ = parse_given(parser, operation, words)
    return command, presentation


def parse_given(parser: Parser, operation: Operation, words: Sequence[str]) -> tuple[Command, Presentation, dict[str, Any]]:
    """Make the command with a parser that a door gave options of its own; their values come third, by name."""
    given = vars(parse_plain(parser, words))
    values = {item.key: _value_of(parser, item, given) for item in fields(operation.command) if _is_given(item, given)}
    for item in fields(operation.command):
        if item.default is REQUIRED and item.key not in values:
            flags = "/".join(_flags(item))
            raise InvalidInput(f"{parser.prog} needs {flags}. See {parser.prog} --help.", key=item.name)
    shown = {item.name: given[item.name] for item in fields(Presentation) if given.get(item.name) is not None}
    return from_dict(operation.command, values), from_dict(Presentation, shown), given


def parse_plain(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse with a parser that stands on no operation; see :func:`parse_command` for what is raised."""
    if "-h" in words or "--help" in words:
        raise HelpAsked(parser.format_help())
    return parser.parse_args(list(words))


def build_parser(operation: Operation, prog: str, *, about: str = "") -> Parser:
    """Build the parser of one operation; ``about`` replaces the command's docstring in its help."""
    bare = "".join(f" [{item.name.upper()}]" for item in fields(operation.command) if item.is_positional)
    parser = Parser(
        prog=prog,
        usage=f"%(prog)s{bare} [options]",
        description=about or operation.command.__doc__,
        add_help=False,
        # argparse makes a formatter for every option, and one that is told no width imports shutil for 3 ms.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=_columns()),
    )
    options = parser.add_argument_group("arguments")
    for item in fields(operation.command):
        if item.is_positional:
            parser.add_argument(f"{item.name}_", nargs="?", metavar=item.name.upper(), help=argparse.SUPPRESS)
        options.add_argument(*_flags(item), dest=item.name, **_options(operation.command, item))
    shared = parser.add_argument_group("shared by all commands")
    taken = parser._option_string_actions
    for item in fields(Presentation):
        shared.add_argument(*[flag for flag in _flags(item) if flag not in taken], dest=item.name, **_options(Presentation, item))
    shared.add_argument("-h", "--help", action="store_true", default=None, help="Show this help.")
    for flags in _IGNORED:
        parser.add_argument(*[flag for flag in flags if flag not in taken], dest="ignored", help=argparse.SUPPRESS)
    return parser


def _columns() -> int:
    """Return how many columns help may fill."""
    try:
        return max(os.get_terminal_size().columns, 40) - 2
    except OSError:
        return 78


def field_flags(item: Field) -> list[str]:
    """Return the option strings of a field, the long one first: ``["--name", "-n"]``."""
    return sorted(_flags(item), key=len, reverse=True)


def _flags(item: Field) -> list[str]:
    return [*item.flags, f"--{item.name.replace('_', '-')}"]


def _options(command: type[Record], item: Field) -> dict[str, Any]:
    kind = field_type(command, item.name)
    origin = getattr(kind, "__origin__", kind)
    options: dict[str, Any] = {"help": item.help.replace("%", "%%") or None, "default": None}
    if kind is bool:
        return {**options, "action": "store_true"}
    if origin in (dict, list):
        return {**options, "nargs": "+", "action": "append", "metavar": item.metavar or "VALUE"}
    return {**options, "metavar": item.metavar or ("{" + ",".join(item.choices) + "}" if item.choices else item.name.upper())}


def _is_given(item: Field, given: dict[str, Any]) -> bool:
    return given.get(item.name) is not None or given.get(f"{item.name}_") is not None


def _value_of(parser: Parser, item: Field, given: dict[str, Any]) -> Any:
    bare, value = given.get(f"{item.name}_"), given.get(item.name)
    if bare is not None and value is not None:
        parser.error(f'both "{bare}" and {_flags(item)[0]} {value} name the {item.name}')
    if not isinstance(value, list):
        return bare if value is None else value
    if " " in item.metavar:  # one occurrence is one change: --add tags stage=prod
        return [" ".join(words) for words in value]
    words = [word for group in value for word in group]
    return _pairs(parser, item, words) if isinstance(item.default, dict) else words


def _pairs(parser: Parser, item: Field, words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not key or not (sign or "KEY alone" in item.help):
            parser.error(f'{_flags(item)[-1]} takes KEY=VALUE, not "{word}"')
        pairs[key] = value
    return pairs
