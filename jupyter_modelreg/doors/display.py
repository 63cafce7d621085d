"""Answers as people and programs read them: tables, JSON, YAML, TSV in a shell; HTML in a notebook.

One table of columns serves every list. What differs from run to run (times, ports, process ids) is in none of
:func:`stable_text`, so that a notebook's outputs can be compared; a shell shows it. Names come from anywhere, so they are
escaped here.
"""

from __future__ import annotations

from ..records import Record, fields
from ..settings import size_text as size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..commands import Command
    from ..operations import Operation

# Record's name -> (heading, key) of its columns in a list.
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "Model": (
        ("Name", "name"),
        ("Version", "version"),
        ("Type", "type"),
        ("Stage", "stage"),
        ("Archived", "is_archived"),
        ("Tags", "tags"),
        ("Metrics", "metrics"),
        ("Size", "size_bytes"),
    ),
    "OnlineEndpoint": (("Name", "name"), ("State", "state"), ("Deployments", "deployments"), ("Traffic", "traffic"), ("Tags", "tags")),
    "OnlineDeployment": (("Name", "name"), ("State", "state"), ("Model", "model"), ("Instances", "instance_count")),
    "Environment": (
        ("Name", "name"),
        ("Version", "version"),
        ("Archived", "is_archived"),
        ("Packages", "conda_file"),
        ("Image", "image"),
        ("Tags", "tags"),
        ("Description", "description"),
    ),
    "PythonBuild": (
        ("Environments", "environments"),
        ("Asked for", "requirements"),
        ("Python", "python"),
        ("Packages", "packages"),
        ("Size", "size_bytes"),
        ("Deployments", "deployments"),
        ("Digest", "digest"),
    ),
    "Mount": (("Folder", "path"), ("Model", "model"), ("Mode", "mode"), ("Kind", "kind"), ("Size", "size_bytes")),
    "Checksum": (("Path", "path"), ("Size", "size_bytes"), ("SHA-256", "sha256")),
    "AuditRow": (("Number", "number"), ("Who", "actor"), ("Did", "action"), ("To", "subject")),
    "Datastore": (("Name", "name"), ("Type", "type"), ("Description", "description")),
    "Difference": (("Group", "group"), ("Name", "name"), ("First", "first"), ("Second", "second"), ("Change", "delta")),
    "Damage": (
        ("", "is_mended"),
        ("What", "kind"),
        ("Problem", "problem"),
        ("Versions", "versions"),
        ("Paths", "paths"),
        ("Name", "name"),
    ),
    "Setting": (("Name", "name"), ("Value", "value"), ("From", "source"), ("Meaning", "help")),
    "Check": (("", "is_ok"), ("Part", "part"), ("Found", "found"), ("Advice", "advice")),
}

# Columns that differ from run to run.
VARYING_COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "Model": (("Created", "creation_context"),),
    "Environment": (("Created", "creation_context"),),
    "PythonBuild": (("Used", "used_at"),),
    "OnlineEndpoint": (("URL", "scoring_uri"),),
    "AuditRow": (("When", "at"),),
    "OnlineDeployment": (
        ("A second", "numbers.requests_per_second"),
        ("Half within", "numbers.p50_ms"),
        ("Errors", "numbers.errors"),
        ("Memory", "numbers.memory_bytes"),
        ("Port", "port"),
    ),
}

# What a person learns when there is nothing yet.
EMPTY = {
    "Model": "No models yet. Register one: modelreg model create --name churn --path ./model",
    "OnlineEndpoint": "No endpoints yet. Serve a model: modelreg model deploy churn",
    "OnlineDeployment": "No deployments yet.",
    "Environment": "No environments yet. Record one: modelreg environment create --name sklearn --conda-file conda.yaml",
    "PythonBuild": "No environment was made yet. A deployment makes what it needs; modelreg environment build NAME does it before.",
    "Mount": "Nothing is mounted. Show a version in a folder: modelreg model mount churn@latest ./churn",
}
NOTHING = "Nothing found."

# What stays whole in a list, however long; other cells end at MAX_CELL characters.
_WHOLE = {"name", "version", "value", "advice", "help", "model", "scoring_uri", "path", "sha256", "environments"}
MAX_CELL = 48
MAX_WIDTH = 60
MAX_LISTED = 60  # rows that a notebook shows and keeps; a shell prints all

# Keys of one record that differ from run to run, and those that no text shows: it says them in other words.
_VARYING = {"numbers", "creation_context", "path", "digest", "pid", "port", "scoring_uri", "made_at", "used_at"}
_HIDDEN = {
    "auth_mode",
    "conda_file",
    "files",
    "flavors",
    "id",
    "input_example",
    "kind",
    "latest_version",
    "lineage",
    "openapi_uri",
    "provisioning_state",
    "scan",
    "signature",
    "utc_time_created",
}
_LABELS = {"size_bytes": "size", "is_archived": "archived", "creation_context": "created", "scoring_uri": "url", "pid": "process"}


_NUMBER_TEXTS: dict[str, Callable[[Any], str]] = {
    "numbers.requests_per_second": lambda value: rate_text(value),
    "numbers.p50_ms": lambda value: milliseconds_text(value),
    "numbers.memory_bytes": lambda value: size_text(value),
}


def to_text(answer: Any, output: str = "table", *, empty: str = "") -> str:
    """Return an answer as text in one of az's formats: table, json, jsonc, yaml, yamlc, tsv or none.

    Raises
    ------
    InvalidInput
        If there is no such format.
    """
    if output not in _WRITERS:
        from ..errors import InvalidInput, nearest

        raise InvalidInput(f'There is no output format "{output}".{nearest(output, _WRITERS)}')
    return _WRITERS[output](answer, empty)


def stable_text(answer: Any, *, empty: str = "") -> str:
    """Return an answer's table without what differs from run to run, as a notebook keeps it."""
    return _table(answer, empty, is_stable=True)


def plain(answer: Any) -> Any:
    """Return an answer as JSON values."""
    if isinstance(answer, Record):
        return answer.to_dict()
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    return answer


def empty_text(texts: dict[str, str], operation: Operation, command: Command) -> str:
    """Return what an empty list means: how to begin, or that nothing fits what was asked for."""
    is_filtered = command != type(command)(**dict.fromkeys(command._required, ""))
    return NOTHING if is_filtered else texts.get(operation.answer.removeprefix("list[").rstrip("]"), NOTHING)


def select(answer: Any, query: str) -> Any:
    """Return what a JMESPath query finds in an answer's JSON values.

    Raises
    ------
    InvalidInput
        If it does not fit the answer, such as the length of a number.
    """
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(query, plain(answer))
    except JMESPathError as error:
        from ..errors import InvalidInput

        raise InvalidInput(f"--query {query!r} does not fit this answer: {str(error).splitlines()[0]}") from None


def count_text(items: list[Any], noun: str) -> str:
    """Return a number of things as people say it: 1 file, 2,000 files."""
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"


def cell_text(value: Any, key: str) -> str:
    """Return one value for a table's cell, safe for a terminal."""
    if value is None or value == {} or value == []:
        return ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if key == "size_bytes":
        return size_text(value)
    if key in _NUMBER_TEXTS:
        return _NUMBER_TEXTS[key](value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if key == "creation_context":
        return created_text(value)
    if key in ("at", "made_at", "used_at"):
        return _minute(str(value))
    if key == "data_collector":
        share = "" if value.sampling_rate == 1.0 else f" of {value.sampling_rate:.3g} of the requests"
        return escape_control(", ".join(name for name, item in value.collections.items() if item.enabled) + share)
    if key == "numbers":
        return numbers_text(value)
    if key == "conda_file":
        return packages_text(value)
    if key == "environment" and isinstance(value, Record):
        return environment_text(value)
    if key == "notices":
        return escape_control(" ".join(value))
    if isinstance(value, Record):
        value = value.to_dict()
    if isinstance(value, dict):
        return escape_control(", ".join(f"{name}={f'{item:.6g}' if isinstance(item, float) else item}" for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return escape_control(", ".join(map(str, value)))
    return escape_control(" ".join(str(value).splitlines()))


def numbers_text(numbers: Any) -> str:
    """Say how a deployment does in one line."""
    latency = [milliseconds_text(value) for value in (numbers.p50_ms, numbers.p95_ms, numbers.p99_ms) if value is not None]
    parts = [
        numbers.state,
        f"{numbers.instances} instance{'' if numbers.instances == 1 else 's'}",
        f"{numbers.requests:,} requests, {rate_text(numbers.requests_per_second)} a second",
        f"{numbers.errors:,} errors" if numbers.errors else "",
        f"half within {latency[0]}, 95 % within {latency[1]}, 99 % within {latency[2]}" if len(latency) == 3 else "",
        f"{numbers.batch_size:.1f} in a call of the model" if (numbers.batch_size or 1) >= 1.05 else "",
        f"{numbers.queue} waiting" if numbers.queue else "",
        f"{numbers.restarts} restarts" if numbers.restarts else "",
        f"{size_text(numbers.memory_bytes)} of memory" if numbers.memory_bytes else "",
    ]
    return escape_control(", ".join(filter(None, parts)))


def milliseconds_text(value: float) -> str:
    """Write a time with two or three digits that count: 0.31 ms, 4.2 ms, 120 ms, 1.2 s."""
    if value >= 999.5:
        return f"{value / 1000:.{0 if value >= 9950 else 1}f} s"
    return f"{value:.{0 if value >= 9.95 else 1 if value >= 0.995 else 2}f} ms"


def rate_text(value: float) -> str:
    """Write how often in a second: 18,500, 120, 4.2, 0.31."""
    return f"{value:,.0f}" if value >= 9.95 else f"{round(value, 1 if value >= 0.995 else 2):g}"


def created_text(context: Any) -> str:
    """Return when something was made, to the minute."""
    return _minute(context.created_at) if context.created_at else ""


def _minute(time: str) -> str:
    return f"{time[:16].replace('T', ' ')} UTC"


def escape_control(text: str) -> str:
    """Show control characters instead of obeying them: a name may hold a terminal's escape sequence."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}" for char in text)


# --- formats --------------------------------------------------------------------------------------------------------


def _json(answer: Any, empty: str) -> str:
    import json

    return json.dumps(plain(answer), indent=2, ensure_ascii=False)


def _yaml(answer: Any, empty: str) -> str:
    import yaml

    return (
        str(yaml.safe_dump(plain(answer), sort_keys=False, allow_unicode=True, default_flow_style=False)).rstrip("\n").removesuffix("\n...")
    )


def _coloured(write: Callable[[Any, str], str], language: str) -> Callable[[Any, str], str]:
    """Return a writer whose text has colours where a person reads it; a program gets it plain."""

    def write_coloured(answer: Any, empty: str) -> str:
        import sys

        text = write(answer, empty)
        if not sys.stdout.isatty():
            return text
        from pygments import highlight
        from pygments.formatters import TerminalFormatter
        from pygments.lexers import get_lexer_by_name

        return str(highlight(text, get_lexer_by_name(language), TerminalFormatter())).rstrip("\n")

    return write_coloured


def _none(answer: Any, empty: str) -> str:
    return ""


def _tsv(answer: Any, empty: str) -> str:
    """Write values in columns of tabs as az does: a list a row each, nested values left out."""
    value = plain(answer)
    rows = value if isinstance(value, list) else [value]
    return "\n".join(_tsv_row(row) for row in rows)


def _tsv_row(row: Any) -> str:
    if isinstance(row, dict):
        return "\t".join("" if isinstance(item, (dict, list)) else _tsv_value(item) for item in row.values())
    if isinstance(row, list):
        return "\t".join(_tsv_value(item) for item in row)
    return _tsv_value(row)


def _tsv_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return " ".join(text.split()) if "\t" in text or "\n" in text or "\r" in text else text


def _table(answer: Any, empty: str, *, is_stable: bool = False) -> str:
    if isinstance(answer, list):
        return _list_table(answer, empty, is_stable)
    kind = type(answer).__name__
    if kind in _OWN_TEXTS:
        return _OWN_TEXTS[kind](answer)
    if isinstance(answer, Record):
        return _facts(answer, _HIDDEN | _VARYING if is_stable else _HIDDEN)
    if isinstance(answer, dict):
        return _aligned([[escape_control(str(key)), cell_text(value, str(key))] for key, value in answer.items()])
    return "" if answer is None else escape_control(str(answer))


def _list_table(rows: list[Any], empty: str, is_stable: bool) -> str:
    if not rows:
        return empty
    kind = type(rows[0]).__name__
    if kind in COLUMNS:
        columns = shown_columns(rows, is_stable=is_stable)
        cells = [[_fitting(cell_text(value_at(row, key), key), key) for _, key in columns] for row in rows]
        return _headed([heading for heading, _ in columns], cells)
    if isinstance(rows[0], dict):
        keys = list(dict.fromkeys(key for row in rows for key in row))
        return _headed([str(key) for key in keys], [[cell_text(row.get(key), key) for key in keys] for row in rows])
    return "\n".join(cell_text(row, "") for row in rows)


def shown_columns(rows: list[Any], *, is_stable: bool = False) -> list[tuple[str, str]]:
    """Return heading and key of the columns that tell something about these records; an all-clear does, too."""
    kind = type(rows[0]).__name__
    columns = COLUMNS[kind] + (() if is_stable else VARYING_COLUMNS.get(kind, ()))
    return [
        (heading, key) for heading, key in columns if key in ("is_ok", "is_mended") or any(not is_empty(value_at(row, key)) for row in rows)
    ]


def value_at(row: Any, key: str) -> Any:
    """Return what a column's key names in a record; None behind what is not there."""
    for name in key.split("."):
        row = None if row is None else getattr(row, name)
    return row


def _headed(headings: list[str], rows: list[list[str]]) -> str:
    return _aligned([headings, ["-" * len(heading) for heading in headings], *rows], is_ruled=True)


def _aligned(rows: list[list[str]], *, is_ruled: bool = False) -> str:
    # One name of two hundred signs pushes its own row aside, not all the others.
    widths = [min(max(map(_width, column)), MAX_WIDTH) for column in zip(*rows, strict=True)]
    if is_ruled:
        rows[1] = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese signs take two, combining accents none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _fitting(text: str, key: str) -> str:
    """Shorten prose in a list's cell; what somebody may want to copy stays whole."""
    return text if key in _WHOLE else shortened(text)


def shortened(text: str) -> str:
    """Return a text that fits a list's cell, its end cut off when it does not."""
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def more_text(count: int) -> str:
    """Say how many rows of a list a notebook does not show."""
    return f"{count - MAX_LISTED:,} more are not shown. Narrow the list, or print all with -o table." if count > MAX_LISTED else ""


def onward_text(answer: Any) -> str:
    """Say how to see what comes behind a page; empty behind the last."""
    token = getattr(answer, "next_page", None)
    return f"More: add --page {token}" if token else ""


def _facts(record: Record, left_out: set[str]) -> str:
    """Show one record's fields a line each, without what is empty."""
    shown = [
        item.name for item in fields(record) if item.name not in left_out and not _is_told_elsewhere(item.name, getattr(record, item.name))
    ]
    rows = [row for name in shown for row in _rows(name, getattr(record, name))]
    return _aligned([*rows, *_details(record)])


def _rows(name: str, value: Any) -> list[list[str]]:
    label = _LABELS.get(name, name.replace("_", " "))
    if name == "numbers" and isinstance(value, dict):
        return [["" if index else label, f"{escape_control(key)}: {numbers_text(item)}"] for index, (key, item) in enumerate(value.items())]
    return [[label, cell_text(value, name)]]


def _is_told_elsewhere(name: str, value: Any) -> bool:
    """Say whether a value tells nothing, or only what the digest does: where the store keeps what was uploaded."""
    return is_empty(value) or (name, value) == ("os_type", "linux") or (name == "path" and "/LocalUpload/" in value)


def environment_text(environment: Any) -> str:
    """Say what an environment is: its name, the packages of an inline one, or its image."""
    if isinstance(environment, str):
        return escape_control(environment)
    return packages_text(environment.conda_file) or escape_control(environment.image or "a build context")


def packages_text(conda: Any) -> str:
    """Return the packages of a conda file, those of pip behind the others."""
    listed = conda.get("dependencies", []) if isinstance(conda, dict) else []
    own = [str(item) for item in listed if not isinstance(item, dict)]
    of_pip = [str(line) for item in listed if isinstance(item, dict) for line in item.get("pip", [])]
    return escape_control("; ".join(filter(None, [", ".join(own), f"pip: {', '.join(of_pip)}" if of_pip else ""])))


def _details(record: Record) -> list[list[str]]:
    signature, scan, files = (getattr(record, name, None) for name in ("signature", "scan", "files"))
    sides = [("inputs", signature.inputs), ("outputs", signature.outputs)] if signature else []
    rows = [[name, _columns_text(columns)] for name, columns in sides if columns]
    rows += [["packages", text]] if (text := packages_text(getattr(record, "conda_file", None))) else []
    if scan:
        rows += [["scan", escape_control(scan.verdict)], *(["", escape_control(line)] for line in scan.findings)]
    return rows + [
        ["" if index else "files", f"{size_text(item.size_bytes):>7}  {escape_control(item.path)}"]
        for index, item in enumerate(files or [])
    ]


def _columns_text(columns: list[Any], limit: int = 4) -> str:
    shown = [f"{name}{': ' if name else ''}{kind}" for name, kind in column_texts(columns[:limit])]
    return escape_control(", ".join(shown)) + (f" and {len(columns) - limit} more" if len(columns) > limit else "")


def column_texts(columns: list[Any]) -> list[tuple[str, str]]:
    """Return name and type of a signature's columns, a tensor with its shape, -1 as ``n``."""
    return [(column.name or "", column.type + _shape_text(column.shape)) for column in columns]


def _shape_text(shape: list[int] | None) -> str:
    return f"[{', '.join('n' if size == -1 else str(size) for size in shape)}]" if shape else ""


def is_empty(value: Any) -> bool:
    """Say whether a value tells nothing: nothing was given, or a flag that is down."""
    return value is None or value is False or value in ({}, [], "")


def _comparison(answer: Any) -> str:
    if not answer.differences:
        return f"{answer.first} and {answer.second} are the same."
    headings = ["", "Name", escape_control(answer.first), escape_control(answer.second), "Change"]
    rows = [[escape_control(item.group), *difference_texts(item)] for item in answer.differences if item.group != "files"]
    changed, same = sum(1 for item in answer.differences if item.group == "files"), answer.same.get("files", 0)
    files = f"{changed} {'file differs' if changed == 1 else 'files differ'}" + (
        f", {same} {'is' if same == 1 else 'are'} the same." if same else "."
    )
    return "\n".join([_headed(headings, rows) if rows else "", files if changed else ""]).strip("\n")


def difference_texts(item: Any) -> list[str]:
    """Return a difference's name, both sides and change as a person reads them."""
    sides = (item.first, item.second)
    if item.name == "size_bytes" and None not in sides:
        grown = int(item.second) - int(item.first)
        return ["size", *(size_text(int(side)) for side in sides), f"{'+' if grown > 0 else '-'}{size_text(abs(grown))}"]
    shown = [_short(side, number=item.delta is not None) for side in sides]
    return [escape_control(item.name), *shown, "" if item.delta is None else f"{item.delta:+.4g}"]


def _short(text: str | None, *, number: bool) -> str:
    if text is None:
        return "-"
    return f"{float(text):.6g}" if number else _fitting(escape_control(text), "")


def exported_text(answer: Any) -> str:
    """Say what an export wrote."""
    files = f"{answer.files:,} file{'' if answer.files == 1 else 's'}"
    return f"Wrote {answer.model}, {files}, {size_text(answer.size_bytes)}, to {answer.path}"


def _deleted(answer: Any) -> str:
    lines = [f"Deleted {escape_control(name)}" for name in answer.names] or ["Nothing to delete."]
    return "\n".join([*lines, *filter(None, [stay_text(answer, "modelreg store clean")])])


def stay_text(answer: Any, command: str) -> str:
    """Say of deleted versions which command frees the room they took."""
    return f"The files stay until {command}." if not answer.noun and any(":" in name for name in answer.names) else ""


def stats_facts(answer: Any) -> list[tuple[str, str]]:
    """Return what a store holds, a line each: name and value; what there is none of is left out."""
    parts = [(answer.packs, "pack"), (answer.pieces, "piece")]
    inner = ", ".join(f"{number:,} {word}{'' if number == 1 else 's'}" for number, word in parts if number)
    facts = [
        ("store", answer.store),
        ("versions", f"{answer.versions:,} of {answer.models:,} model{'' if answer.models == 1 else 's'}"),
        ("files", f"{answer.files:,}, {size_text(answer.size_bytes)}"),
        ("blobs", f"{answer.blobs:,}{f' ({inner})' if inner else ''}"),
        ("on disk", size_text(answer.disk_bytes) + (f" of {size_text(answer.quota_bytes)}" if answer.quota_bytes else "")),
        ("saved", size_text(answer.saved_bytes) if answer.saved_bytes > 0 else ""),
        ("repeated", f"{size_text(answer.repeated_bytes)} in tensors that several files hold" if answer.repeated_bytes >= 1 << 20 else ""),
        ("to clean", size_text(answer.garbage_bytes) if answer.garbage_bytes else ""),
        ("cache", f"{size_text(answer.cache_bytes)} of {size_text(answer.cache_limit_bytes)}" if answer.cache_limit_bytes else ""),
    ]
    return [(name, value) for name, value in facts if value]


def verified_text(answer: Any) -> str:
    """Say what was read and what is wrong."""
    sample = ", a sample," if answer.is_sample else ""
    read = f"Read {answer.blobs:,} blob{'' if answer.blobs == 1 else 's'}{sample} of {size_text(answer.size_bytes)}"
    left = sum(1 for item in answer.damages if not item.is_mended)
    mended = f" {len(answer.damages) - left:,} mended." if len(answer.damages) > left else ""
    return f"{read}, for {answer.versions:,} version{'' if answer.versions == 1 else 's'}: " + (
        f"{left:,} damage{'' if left == 1 else 's'}.{mended}" if left else f"all is sound.{mended}"
    )


def _verification(answer: Any) -> str:
    if not answer.damages:
        return verified_text(answer)
    advice = [] if answer.is_ok else [mend_text("modelreg store verify")]
    return "\n".join([_list_table(answer.damages, "", is_stable=False), "", verified_text(answer), *advice])


def mend_text(command: str) -> str:
    """Say how damage is mended."""
    return f"Mend it from a registry that still has it, {command} --repair-from HOME-OR-URL, or register the files again."


def removed_text(answer: Any) -> str:
    """Say which environments went, or would."""
    if not answer.environments:
        return "Nothing to remove."
    what = f"{answer.environments:,} environment{'' if answer.environments == 1 else 's'}"
    return f"{'Would remove' if answer.is_dry_run else 'Removed'} {what}, {size_text(answer.size_bytes)}."


def cleaned_text(answer: Any) -> str:
    """Say what went, or would."""
    from ..stores import freed_text

    said = freed_text(answer)
    return f"{'Would free' if answer.is_dry_run else 'Freed'} {said}." if said else "Nothing to free."


def drift_heads(report: Any) -> list[str]:
    """Return what a drift report says in words: of what, how it is, what may be missing."""
    counts: dict[str, int] = {}
    for item in report.columns:
        counts[item.verdict] = counts.get(item.verdict, 0) + 1
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    notes = [
        "Only the latest rows of the window are looked at." if report.is_capped else "",
        f"{report.unread_lines:,} {'line' if report.unread_lines == 1 else 'lines'} could not be read." if report.unread_lines else "",
    ]
    return [
        f"{count_text(report.columns, 'column')}: {verdicts}.",
        f"{report.live_rows:,} {'row' if report.live_rows == 1 else 'rows'} of {report.collection} in the last {report.window}, "
        f"against {report.reference_rows:,} rows of {report.reference}.",
        *filter(None, notes),
    ]


DRIFT_COLUMNS = ("Column", "Verdict", "PSI", "Distance", "Probability", "Gaps", "Outside")


def drift_cells(item: Any) -> list[str]:
    """Return one column's numbers as a person reads them; see DRIFT_COLUMNS."""
    metrics = item.metrics
    distance = metrics.get("normalized_wasserstein_distance", metrics.get("jensen_shannon_distance"))
    probability = metrics.get("two_sample_kolmogorov_smirnov_test", metrics.get("pearsons_chi_squared_test"))
    psi = metrics.get("population_stability_index")
    return [
        escape_control(item.column),
        escape_control(item.verdict),
        *("" if value is None else f"{value:.3f}" for value in (psi, distance)),
        "" if probability is None else "<0.001" if probability < 0.001 else f"{probability:.3f}",
        *("" if metrics.get(name) is None else f"{metrics[name]:.1%}" for name in ("null_value_rate", "out_of_bounds_rate")),
    ]


def _drift(report: Any) -> str:
    from .plots import histogram_texts

    rows = [[*drift_cells(item), *histogram_texts(item.histogram)] for item in report.columns]
    table = _headed([*DRIFT_COLUMNS, "Training", "Live"], rows)
    reasons = [f"{item.column}: {', '.join(item.reasons)}" for item in report.columns if item.verdict in ("drift", "quality")]
    return "\n".join([*map(escape_control, drift_heads(report)), "", table, *([""] if reasons else []), *map(escape_control, reasons)])


def mirror_text(report: Any) -> str:
    """Say how a mirror's answers stand beside the live ones."""
    share = f"{report.same:,} of {report.requests:,} answers are the same ({report.same / report.requests:.1%})"
    failed = (
        f"; {report.failed:,} {'is an error' if report.failed == 1 else 'are errors'} where the caller got none" if report.failed else ""
    )
    numbers = (
        f" Numbers differ by up to {report.largest_difference:.4g}, {report.mean_difference:.4g} on average."
        if report.largest_difference
        else ""
    )
    return f"{report.endpoint}/{report.deployment} as a mirror in the last {report.window}: {share}{failed}.{numbers}"


def _mirror(report: Any) -> str:
    differing = [f"The latest that differ: {', '.join(report.differing)}"] if report.differing else []
    return "\n".join(map(escape_control, [mirror_text(report), *differing]))


def _invocation(answer: Any) -> str:
    import json

    return _lines(answer.body) if isinstance(answer.body, str) else json.dumps(answer.body, ensure_ascii=False)


def _lines(text: str) -> str:
    """Return text of several lines that a terminal does not obey."""
    return "\n".join(escape_control(line) for line in text.splitlines())


def unmounted_text(answer: Any) -> str:
    """Say what became of a folder that showed a version."""
    if not answer.left:
        return f"{answer.path} shows nothing any more."
    stays = f"{count_text(answer.left, 'file')} {'stays' if len(answer.left) == 1 else 'stay'}"
    return f"{answer.path} is an ordinary folder again; {stays} that the mount had not put there:"


KEYS_HIDDEN = (
    "Keys are not shown in a notebook, since notebooks are passed on. "
    "Assign them: keys = %online_endpoint_get_credentials NAME; keys.primary_key"
)

_OWN_TEXTS: dict[str, Callable[[Any], str]] = {
    "Downloaded": lambda answer: "\n".join(
        [
            f"Wrote {count_text(answer.files, 'file')}, {size_text(answer.size_bytes)}, to {escape_control(answer.path)}",
            *(f"  {escape_control(path)}" for path in answer.files[:MAX_LISTED]),
            *([f"  … and {len(answer.files) - MAX_LISTED:,} more"] if len(answer.files) > MAX_LISTED else []),
        ]
    ),
    "Mount": lambda answer: escape_control(f"{answer.path} shows {answer.model}, {size_text(answer.size_bytes)}: {answer.reason}."),
    "Unmounted": lambda answer: "\n".join([escape_control(unmounted_text(answer)), *(f"  {escape_control(path)}" for path in answer.left)]),
    "Exported": lambda answer: escape_control(exported_text(answer)),
    "StoreStats": lambda answer: _aligned([[name, escape_control(value)] for name, value in stats_facts(answer)]),
    "Verification": _verification,
    "Cleaned": lambda answer: cleaned_text(answer),
    "Removed": removed_text,
    "Deleted": _deleted,
    "LogText": lambda answer: _lines(answer.text),
    "Comparison": _comparison,
    "DriftReport": _drift,
    "MirrorReport": _mirror,
    "Invocation": _invocation,
    "EndpointKeys": lambda answer: _aligned(
        [[name, escape_control(key)] for name in ("primary", "secondary", "token") if (key := _key_of(answer, name))]
    ),
}


def _key_of(answer: Any, name: str) -> str | None:
    key: str | None = answer.access_token if name == "token" else getattr(answer, f"{name}_key")
    return key


_WRITERS: dict[str, Callable[[Any, str], str]] = {
    "table": _table,
    "json": _json,
    "jsonc": _coloured(_json, "json"),
    "yaml": _yaml,
    "yamlc": _coloured(_yaml, "yaml"),
    "tsv": _tsv,
    "none": _none,
}
