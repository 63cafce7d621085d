"""Completion of the magics by Tab: options, choices, names, versions, labels, endpoints, tags, paths.

An IPython matcher of the second kind: it says itself which part of the line it completes, since IPython's own idea of
a word ends at a colon. It never raises and never keeps a person waiting.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from ..operations import OPERATIONS, Operation
from ..records import Field, fields
from .arguments import field_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..workspace import Workspace

BUDGET_SECONDS = 0.4
LIMIT = 200

# Magics written by hand complete like the row they stand on, with options of their own.
_ALIASES = {
    "model_register": ("model_create", ["--var", "--sample", "--metrics", "--allow-pickle"]),
    "model_load": ("model_show", ["--trust"]),
    "model_invoke": ("online_endpoint_invoke", []),
    "model_logs": ("online_endpoint_show", ["--lines"]),
    "model_endpoints": ("online_endpoint_list", []),
}


def make_matcher(open_workspace: Callable[[], Workspace]) -> Any:
    """Return the matcher; it opens the workspace when a name is to be completed."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="modelreg-completion")
    rows = {operation.magic: operation for operation in OPERATIONS}

    @context_matcher(identifier="modelreg", priority=200)  # type: ignore[untyped-decorator]
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = context.line_with_cursor[: context.cursor_position]
        found = re.search(r"%%?(\w+)\s(.*)$", line)
        name, own = _ALIASES.get(found.group(1), (found.group(1), [])) if found else ("", [])
        if not found or name not in rows:
            return SimpleMatcherResult(completions=[])
        fragment = re.split(r"\s", found.group(2))[-1]
        try:
            words = pool.submit(_complete, open_workspace, rows[name], own, found.group(2), fragment).result(BUDGET_SECONDS)
        except TimeoutError:
            words = []
        except Exception:
            words = []
        completions = [SimpleCompletion(text=word, type="modelreg") for word in words[:LIMIT]]
        return SimpleMatcherResult(completions=completions, matched_fragment=fragment, suppress=bool(completions))

    return matcher


def _complete(open_workspace: Callable[[], Workspace], operation: Operation, own: list[str], typed: str, fragment: str) -> list[str]:
    items = fields(operation.command)
    if fragment.startswith("-"):
        flags = [field_flags(item)[0] for item in items if not item.name.startswith("no_wait")]
        return _starting(fragment, [*flags, *own])
    item = _field_at(items, typed, fragment)
    if item is None:
        return []
    if item.choices:
        return _starting(fragment, list(item.choices))
    return _SOURCES.get(item.values or ("tag" if isinstance(item.default, dict) else ""), _nothing)(open_workspace, fragment)


def _field_at(items: list[Field], typed: str, fragment: str) -> Field | None:
    """Return the field whose value is being typed: that of the last option, else the one that may stand bare."""
    before = typed[: len(typed) - len(fragment)].split()
    options = {flag: item for item in items for flag in field_flags(item)}
    for offset, word in enumerate(reversed(before)):
        if word.startswith("-"):
            item = options.get(word)
            takes_more = item is not None and isinstance(item.default, (dict, list))
            if item is not None and not isinstance(item.default, bool) and (offset == 0 or takes_more):
                return item
            break
    return next((item for item in items if item.is_positional), None)


def _starting(fragment: str, words: list[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(fragment)]


def _nothing(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    return []


def _models(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    """Complete names, and behind a name's colon its versions."""
    catalog = open_workspace().catalog
    prefix = "azureml:" if fragment.startswith("azureml:") else ""
    text = fragment.removeprefix(prefix)
    for sign in (":", "@"):
        if sign in text:
            name = text.partition(sign)[0]
            versions = [str(model.version) for model in catalog.list_models(name=name)] if sign == ":" else []
            return _starting(fragment, [f"{prefix}{name}{sign}{word}" for word in ["latest", *versions]])
    return _starting(fragment, [f"{prefix}{model.name}" for model in catalog.list_models(max_results=LIMIT)])


def _versions(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    catalog = open_workspace().catalog
    return _starting(fragment, sorted({str(model.version) for model in catalog.list_models(max_results=LIMIT)}))


def _endpoints(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    return _starting(fragment, [str(item.name) for item in open_workspace().catalog.list_endpoints()])


def _deployments(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    return _starting(fragment, [str(item.name) for item in open_workspace().catalog.list_deployments()])


def _tags(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    models = open_workspace().catalog.list_models(max_results=LIMIT)
    key, sign, _ = fragment.partition("=")
    if sign:
        return _starting(fragment, sorted({f"{key}={model.tags[key]}" for model in models if key in model.tags}))
    return _starting(fragment, sorted({f"{name}=" for model in models for name in model.tags}))


def _paths(open_workspace: Callable[[], Workspace], fragment: str) -> list[str]:
    folder, _, start = fragment.rpartition("/")
    place = os.path.expanduser(folder or ("/" if fragment.startswith("/") else "."))
    names = sorted(name for name in os.listdir(place) if name.startswith(start) and (start or not name.startswith(".")))
    return [f"{folder}/{name}" if folder or fragment.startswith("/") else name for name in names]


_SOURCES: dict[str, Callable[[Callable[[], Workspace], str], list[str]]] = {
    "model": _models,
    "version": _versions,
    "endpoint": _endpoints,
    "deployment": _deployments,
    "tag": _tags,
    "path": _paths,
}
