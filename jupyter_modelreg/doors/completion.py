"""Completion of the magics by Tab: options, choices, names, versions, labels, stages, endpoints, tags, paths.

An IPython matcher of the second kind: it says itself which part of the line it completes, since IPython's own idea of
a word ends at a colon. It never raises and never keeps a person waiting. What is inside an expression is left to IPython.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from threading import Thread

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from ..operations import OPERATIONS, Operation
from ..records import Field, fields
from .arguments import Presentation, field_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..catalog import Catalog
    from ..workspace import Workspace

BUDGET_SECONDS = 0.4
LIMIT = 200
STAGES = ("Development", "Production")

_MAGIC = re.compile(r"(?<![\w%])%%?(\w+)\s")
# The word at the end of a filter that is still open, and not inside a text of its own.
_FILTER = re.compile(r"""--filter[ =]+(?:"(?:[^"']|'[^']*')*?|'(?:[^"']|"[^"]*")*?)(?<![\w.])(?P<word>[\w.]*)$""")
_SPACE = re.compile(r"(?<!\\)\s+")

# Magics written by hand complete like the row they stand on, with options of their own.
_ALIASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model_register": ("model_create", ("--var", "--sample", "--metrics", "--allow-pickle")),
    "model_load": ("model_show", ("--trust",)),
    "model_invoke": ("online_endpoint_invoke", ()),
    "model_logs": ("online_endpoint_show", ("--lines",)),
    "model_endpoints": ("online_endpoint_list", ()),
}
_SHARED = [item for item in fields(Presentation) if item.name in ("output", "query")]


def make_matcher(open_workspace: Callable[[], Workspace], namespace: Mapping[str, Any]) -> Any:
    """Return the matcher; it opens the workspace when a name is to be completed, and knows a person's variables."""
    rows = {operation.magic: operation for operation in OPERATIONS}

    @context_matcher(identifier="modelreg", priority=200)  # type: ignore[untyped-decorator]
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = context.line_with_cursor[: context.cursor_position]
        for found in _MAGIC.finditer(line):
            row, own = _ALIASES.get(found[1], (found[1], ()))
            if row in rows:
                typed = line[found.end() :]
                *before, fragment = _SPACE.split(typed)
                if inside := _FILTER.search(typed):
                    fragment = inside["word"]
                    words = _in_time(lambda: _filter_words(open_workspace().catalog, fragment))  # noqa: B023 - asked at once
                else:
                    words = _in_time(lambda: _complete(open_workspace, namespace, rows[row], own, before, fragment))  # noqa: B023
                completions = [SimpleCompletion(text=word, type="modelreg") for word in words[:LIMIT]]
                return SimpleMatcherResult(completions=completions, matched_fragment=fragment, suppress=bool(completions), ordered=True)
        return SimpleMatcherResult(completions=[])

    return matcher


def _in_time(ask: Callable[[], list[str]]) -> list[str]:
    """Return what is found in time. A thread that hangs on a dead disk keeps neither the person nor the kernel's end waiting."""
    found: list[list[str]] = []

    def look() -> None:
        with suppress(Exception):  # Tab must never print a traceback; running the line says what is wrong
            found.append(ask())

    thread = Thread(target=look, name="modelreg-completion", daemon=True)
    thread.start()
    thread.join(BUDGET_SECONDS)
    return found[0] if found else []


def _complete(
    open_workspace: Callable[[], Workspace],
    namespace: Mapping[str, Any],
    operation: Operation,
    own: tuple[str, ...],
    before: list[str],
    fragment: str,
) -> list[str]:
    items = [*fields(operation.command), *_SHARED]
    if fragment.startswith("-"):
        return _starting(fragment, [*_unused_flags(items, before), *own])
    item, name = _field_at(items, own, before)
    if item is _VARIABLE or (item is None and operation.verb == "invoke" and fragment.isidentifier()):
        return _variables(namespace, fragment)
    if item is None:
        return []
    if item.choices:
        return _starting(fragment, list(item.choices))
    kind = item.values or ("tag" if isinstance(item.default, dict) else item.name)
    if kind == "path" and not fragment.startswith("azureml:"):
        return _paths(fragment)
    source = _SOURCES.get("model" if kind == "path" else kind)
    return source(open_workspace().catalog, fragment, name) if source else []


def _unused_flags(items: list[Field], before: list[str]) -> list[str]:
    """Return the long options that can still be given; what Azure takes and we only accept is not offered."""
    offered = [item for item in items if not item.help.startswith("Accepted")]
    return [field_flags(item)[0] for item in offered if isinstance(item.default, (dict, list)) or not set(field_flags(item)) & set(before)]


def _field_at(items: list[Field], own: tuple[str, ...], before: list[str]) -> tuple[Field | None, str]:
    """Return the field whose value is being typed, None where it is none of ours, and the model's or endpoint's name before it."""
    options = {flag: item for item in items if not isinstance(item.default, bool) for flag in field_flags(item)}
    options |= dict.fromkeys(set(own) - _SWITCHES, _VARIABLE)
    current: Field | None = None
    name = ""
    for word in before:
        if word.startswith("-"):
            current = options.get(word)
        elif current is None or current.is_positional:
            name, current = name or word, None
        elif not isinstance(current.default, (dict, list)):
            current = None
    if current is not None:
        return current, name
    return (None if name else next((item for item in items if item.is_positional), None)), name


_VARIABLE = Field(default=None)  # the value of a magic's own option
_SWITCHES = {"--allow-pickle", "--trust", "--lines"}


def _variables(namespace: Mapping[str, Any], fragment: str) -> list[str]:
    ours = [name for name in namespace if not name.startswith("_") and name not in _IPYTHONS]
    return _starting(fragment, sorted(ours))


_IPYTHONS = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def _starting(fragment: str, words: list[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(fragment)]


# --- what there is --------------------------------------------------------------------------------------------------


def _models(catalog: Catalog, fragment: str, name: str) -> list[str]:
    """Complete names, and behind a name's colon its versions."""
    return _named(
        fragment,
        lambda text: [model.name for model in catalog.list_models(search=text or None, max_results=LIMIT)],
        lambda model: _versions(catalog, "", model),
    )


def _versions(catalog: Catalog, fragment: str, name: str) -> list[str]:
    """Complete the versions of the model that stands on the line, the newest first."""
    model = _name_in(name)
    return _starting(fragment, [str(item.version) for item in catalog.list_models(name=model, max_results=LIMIT)]) if model else []


def _environments(catalog: Catalog, fragment: str, name: str) -> list[str]:
    """Complete names, and behind a name's colon its versions."""
    return _named(
        fragment,
        lambda _: [item.name for item in catalog.list_environments(max_results=LIMIT)],
        lambda environment: _environment_versions(catalog, "", environment),
    )


def _environment_versions(catalog: Catalog, fragment: str, name: str) -> list[str]:
    environment = _name_in(name)
    return (
        _starting(fragment, [str(item.version) for item in catalog.list_environments(environment, max_results=LIMIT)])
        if environment
        else []
    )


def _named(fragment: str, names: Callable[[str], list[str | None]], versions: Callable[[str], list[str]]) -> list[str]:
    prefix = "azureml:" if fragment.startswith("azureml:") else ""
    text = fragment.removeprefix(prefix)
    for sign in (":", "@"):
        if sign in text:
            given = text.partition(sign)[0]
            known = versions(given) if sign == ":" else []
            return _starting(fragment, [f"{prefix}{given}{sign}{word}" for word in (*known, "latest")])
    return _starting(fragment, [f"{prefix}{name}" for name in names(text)])


def _name_in(text: str) -> str:
    return re.split("[:@]", text.removeprefix("azureml:"))[0]


def _labels(catalog: Catalog, fragment: str, name: str) -> list[str]:
    return _starting(fragment, ["latest"])


def _stages(catalog: Catalog, fragment: str, name: str) -> list[str]:
    used = sorted({model.stage for model in catalog.list_models(max_results=LIMIT) if model.stage})
    return _starting(fragment, [*used, *STAGES])


def _endpoints(catalog: Catalog, fragment: str, name: str) -> list[str]:
    return _starting(fragment, [str(item.name) for item in catalog.list_endpoints()])


def _deployments(catalog: Catalog, fragment: str, name: str) -> list[str]:
    return _starting(fragment, sorted({str(item.name) for item in catalog.list_deployments()}))


def _tags(catalog: Catalog, fragment: str, name: str) -> list[str]:
    models = catalog.list_models(max_results=LIMIT)
    key, sign, _ = fragment.partition("=")
    if sign:
        return _starting(fragment, sorted({f"{key}={model.tags[key]}" for model in models if key in model.tags}))
    return _starting(fragment, sorted({f"{tag}=" for model in models for tag in model.tags}))


def _filter_words(catalog: Catalog, fragment: str) -> list[str]:
    """Complete the fields of a filter, and the keys of tags and metrics that are used."""
    from ..catalog.filters import FIELDS

    models = catalog.list_models(max_results=LIMIT)
    keys = {f"{field}.{key}" for model in models for field in ("tags", "metrics") for key in getattr(model, field)}
    plain = sorted(key for key in keys if key.replace(".", "").isidentifier())
    return _starting(fragment, [*FIELDS, *plain, "order by"])


def _paths(fragment: str) -> list[str]:
    """Complete a file's path; blanks in it are escaped as in a shell, and a folder ends in a slash."""
    folder, slash, start = fragment.replace("\\ ", " ").rpartition("/")
    place = os.path.expanduser(folder or slash or ".")
    names = sorted(name for name in os.listdir(place) if name.startswith(start) and (start or not name.startswith(".")))
    ended = [f"{name}/" if os.path.isdir(os.path.join(place, name)) else name for name in names]
    return [f"{folder}{slash}{name}".replace(" ", "\\ ") for name in ended]


_SOURCES: dict[str, Callable[[Catalog, str, str], list[str]]] = {
    "model": _models,
    "version": _versions,
    "environment": _environments,
    "environment-version": _environment_versions,
    "label": _labels,
    "stage": _stages,
    "endpoint": _endpoints,
    "deployment": _deployments,
    "tag": _tags,
}
