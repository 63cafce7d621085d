"""Scoring scripts: a Python file with ``init()`` and ``run(raw_data)``.

Source of the contract: azureml-inference-server-http: ``init`` once, ``run`` for each request with the body as text; it
may take ``request_headers``; what it returns must fit JSON.
"""

from __future__ import annotations

import ast
import os

from ..errors import InvalidInput, NotFound, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def check_script(path: str) -> None:
    """Read a script, without running it, and see that it has what is called.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If it is no Python, or lacks ``init()`` or ``run()``.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            tree = ast.parse(stream.read(), filename=path)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))
        beside = os.listdir(folder) if os.path.isdir(folder) else []
        raise NotFound(f"There is no scoring script {path}.{nearest(os.path.basename(path), beside)}") from None
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise InvalidInput(
            f"{path}:{line or 1}: {getattr(error, 'msg', None) or error}.", key="code_configuration.scoring_script"
        ) from None
    names = set(_names_defined(tree.body))
    missing = [name for name in ("init", "run") if name not in names]
    if missing:
        raise InvalidInput(
            f"{path} has no {' and no '.join(f'{name}()' for name in missing)}; a scoring script defines init() and run(raw_data).",
            key="code_configuration.scoring_script",
        )


def load_script(folder: str, name: str) -> Script:
    """Import a script with its folder as working directory and first place to import from, then call its ``init``.

    Raises
    ------
    BaseException
        Whatever the script raises; the caller shows it with the script's own traceback.
    """
    import importlib.util
    import sys

    path = os.path.join(folder, name)
    os.chdir(folder)
    for place in (folder, os.path.dirname(path)):
        if place not in sys.path:
            sys.path.insert(0, place)
    spec = importlib.util.spec_from_file_location("entry_module", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module
    spec.loader.exec_module(module)
    module.init()
    return Script(module.run, is_batchable=getattr(module, "batch", False) is True)


class Script:
    """A loaded script.

    ``is_batchable`` is True for a module that says ``batch = True``: its ``run`` takes a list of bodies, and of headers if it
    asks for them, and returns a list of answers, one for each. What waits for it is then given to it at once.

    Raises
    ------
    InvalidInput
        If ``run`` takes more than the body and ``request_headers``.
    """

    def __init__(self, run: Callable[..., Any], *, is_batchable: bool = False) -> None:
        import inspect

        self.is_batchable = is_batchable

        parameters = inspect.signature(run).parameters
        named = [item for item in parameters.values() if item.name != "request_headers"]
        is_plain = all(item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY) for item in named)
        if not is_plain or not named or any(item.default is item.empty for item in named[1:]):
            raise InvalidInput(f"run{inspect.signature(run)} must take one argument, the request's body, and may take request_headers.")
        self._run, self._parameter = run, named[0].name
        self._takes_headers = "request_headers" in parameters

    def score(self, text: str | list[str], headers: dict[str, str] | list[dict[str, str]]) -> Any:
        """Call ``run`` with the request's text, or those of several."""
        arguments: dict[str, Any] = {self._parameter: text}
        if self._takes_headers:
            arguments["request_headers"] = headers
        return self._run(**arguments)


def _names_defined(body: list[ast.stmt]) -> list[str]:
    """Return what a module defines at its top, also under ``if`` and ``try``."""
    names: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            names += ["init", "run"] if any(item.name == "*" for item in node.names) else [item.asname or item.name for item in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif not isinstance(node, (ast.ClassDef, ast.AsyncFunctionDef)):
            inner = [getattr(node, block, []) for block in ("body", "orelse", "finalbody")]
            inner += [handler.body for handler in getattr(node, "handlers", [])]
            names += [name for block in inner if isinstance(block, list) for name in _names_defined(block)]
    return names
