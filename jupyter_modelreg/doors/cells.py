"""Magics that only a notebook has: register what a cell made, load it back, serve a cell as a scoring script.

They stand on the same operations as the others; what they add is what the notebook knows: the code, its values, its
packages, its git commit.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from typing import Any

from IPython.core.error import UsageError

from ..entities.model import Lineage, Model
from ..errors import InvalidInput, NotFound
from ..operations import find_operation
from .arguments import HelpAsked, Parser, build_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from .magics import ModelRegMagics

SAMPLE_ROWS = 100
GIT_SECONDS = 2.0

# Names that a cell's training data usually has; the first whose width fits the model is the sample.
SAMPLE_NAMES = ("X_train", "X_test", "X", "x_train", "features", "X_val", "x_test")


def model_register(magics: ModelRegMagics, line: str, cell: str) -> Any:
    """Register a model: the value of the cell's last line, a YAML body with ``-f -``, or files with ``--path``.

    ``%%model_register churn --tag stage=dev --metrics scores`` runs the cell and registers its last value, or the
    variable that ``--var`` names, with its signature, the cell's code, packages and git commit.
    """
    from .magics import Shown, split_words

    parser = _register_parser()
    given = _parse(parser, split_words(line))
    if given is None:
        return None
    if given.file:
        model = _from_yaml(cell) if given.file == "-" else _usage("The cell's body is the YAML: write -f -, or use %model_create -f FILE.")
        return Shown(_registered(magics, model, given), html=_card)
    if not given.name:
        _usage("%%model_register needs a name.")
    if given.path:
        description = given.description or cell.strip() or None
        model = Model(
            name=given.name,
            version=given.version,
            path=given.path,
            type=given.type,
            description=description,
            tags=_tags(given),
            stage=given.stage,
        )
        return Shown(_registered(magics, model, given), html=_card)
    namespace = magics.shell.user_ns
    before = dict(namespace)
    value = run_cell(magics.shell, cell)
    if given.var:
        value = _variable(namespace, given.var)
    if value is None:
        _usage("The cell's last line has no value to register; end it with the model, or name a variable with --var.")
    registered = _register_value(magics, given, cell, value, namespace, before)
    return Shown(registered, html=_card)


def model_load(magics: ModelRegMagics, line: str) -> Any:
    """Return the live object of a version: ``model = %model_load churn:2``."""
    from ..commands.model import ShowModel
    from ..models import load_model
    from .magics import split_words

    parser = Parser(prog="%model_load", description=model_load.__doc__, add_help=False)
    parser.add_argument("name", help="NAME, NAME:VERSION or NAME@LABEL.")
    parser.add_argument("--version", "-v")
    parser.add_argument("--label", "-l")
    parser.add_argument("--trust", action="store_true", help="Load files even though they can run code.")
    given = _parse(parser, split_words(line))
    if given is None:
        return None
    workspace = magics.workspace()
    command = ShowModel(name=given.name, version=given.version, label=given.label)
    value = load_model(workspace, command, trust=given.trust)
    found = find_operation("model", "show").run(workspace, command)
    reference = f"azureml:{found.name}:{found.version}"
    if reference not in magics.loaded_models:
        magics.loaded_models.append(reference)
    return value


def model_deploy_cell(magics: ModelRegMagics, line: str, cell: str) -> Any:
    """Serve a model with the cell as its scoring script: ``%%model_deploy endpoint --model churn:2``.

    The cell defines ``init()`` and ``run(raw_data)``. A failing ``init()`` shows its own traceback.
    """
    import tempfile

    from ..commands.online import DeployModel
    from .magics import Shown, split_words

    parser = Parser(prog="%%model_deploy", description=model_deploy_cell.__doc__, add_help=False)
    parser.add_argument("endpoint", help="Name of the endpoint.")
    parser.add_argument("--model", "-m", required=True, help="NAME, NAME:VERSION or NAME@LABEL.")
    parser.add_argument("--port", type=int, help="Port on 127.0.0.1; a free one when left out.")
    given = _parse(parser, split_words(line))
    if given is None:
        return None
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        with open(os.path.join(folder, "score.py"), "w", encoding="utf-8") as stream:
            stream.write(cell)
        command = DeployModel(name=given.model, endpoint_name=given.endpoint, code=folder, scoring_script="score.py", port=given.port)
        return Shown(find_operation("model", "deploy").run(magics.workspace(), command))


def model_invoke(magics: ModelRegMagics, line: str) -> Any:
    """Ask an endpoint: ``%model_invoke churn X_test[:3]`` or ``%model_invoke churn --data '{"input_data": [[1, 2]]}'``.

    An expression is evaluated here; a DataFrame goes by its columns, arrays and lists as they are. The answer is plain
    JSON values.
    """
    import json

    from ..commands.online import InvokeOnlineEndpoint

    endpoint, _, rest = line.strip().partition(" ")
    if not endpoint or endpoint.startswith("-"):
        _usage("%model_invoke ENDPOINT EXPRESSION, or ENDPOINT --data JSON, or ENDPOINT --request-file FILE")
    if rest.strip().startswith("-"):
        from .magics import split_words

        operation = find_operation("online-endpoint", "invoke")
        given = _parse(build_parser(operation, "%model_invoke"), split_words(line))
        if given is None:
            return None
        command = InvokeOnlineEndpoint(
            name=endpoint, data=given.data, request_file=given.request_file, deployment_name=given.deployment_name
        )
    elif rest.strip():
        value = eval(rest, magics.shell.user_ns)  # noqa: S307 - the person's own expression, in the person's own namespace
        command = InvokeOnlineEndpoint(name=endpoint, data=json.dumps({"input_data": _as_input(value)}))
    else:
        command = InvokeOnlineEndpoint(name=endpoint, data=json.dumps(_example_for(magics, endpoint)))
    return find_operation("online-endpoint", "invoke").run(magics.workspace(), command).body


def model_logs(magics: ModelRegMagics, line: str) -> Any:
    """Show what an endpoint's process printed: ``%model_logs churn``."""
    from ..commands.online import GetOnlineDeploymentLogs, ListOnlineDeployments
    from .magics import Shown, split_words

    parser = Parser(prog="%model_logs", description=model_logs.__doc__, add_help=False)
    parser.add_argument("endpoint", help="Name of the endpoint.")
    parser.add_argument("--lines", "-l", type=int, default=200, help="At most this many last lines.")
    given = _parse(parser, split_words(line))
    if given is None:
        return None
    workspace = magics.workspace()
    deployments = find_operation("online-deployment", "list").run(workspace, ListOnlineDeployments(endpoint_name=given.endpoint))
    if not deployments:
        raise NotFound(f'Endpoint "{given.endpoint}" has no deployment.')
    command = GetOnlineDeploymentLogs(endpoint_name=given.endpoint, name=str(deployments[0].name), lines=given.lines)
    return Shown(find_operation("online-deployment", "get-logs").run(workspace, command))


def model_endpoints(magics: ModelRegMagics, line: str) -> Any:
    """List endpoints: ``%model_endpoints``."""
    from .magics import run_operation, split_words

    return run_operation(magics, find_operation("online-endpoint", "list"), split_words(line))


LINE_MAGICS: dict[str, Callable[..., Any]] = {
    "model_load": model_load,
    "model_invoke": model_invoke,
    "model_logs": model_logs,
    "model_endpoints": model_endpoints,
}
CELL_MAGICS: dict[str, Callable[..., Any]] = {"model_register": model_register, "model_deploy": model_deploy_cell}


# --- running a cell ---------------------------------------------------------------------------------------------------


def run_cell(shell: InteractiveShell, cell: str) -> Any:
    """Run a cell's code in the person's namespace and return the value of its last expression, None without one.

    The way of ``%%time``: ``shell.run_cell`` would show results and errors twice.

    Raises
    ------
    UsageError
        If it awaits at its top level.
    """
    text = shell.transform_cell(cell)  # type: ignore[no-untyped-call]
    tree = shell.transform_ast(shell.compile.ast_parse(text, filename="<model_register>"))  # type: ignore[no-untyped-call]
    if any(isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)) for statement in tree.body for node in _outside_functions(statement)):
        _usage("%%model_register cannot await at the cell's top level; await in another cell and name the variable with --var.")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<model_register>", "exec"), shell.user_ns)  # noqa: S102 - the person's own cell
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<model_register>", "eval"), shell.user_ns)  # noqa: S307


def _outside_functions(node: ast.AST) -> list[ast.AST]:
    found, waiting = [], [node]
    while waiting:
        item = waiting.pop()
        found.append(item)
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(item))
    return found


# --- registering ------------------------------------------------------------------------------------------------------


def _register_parser() -> Parser:
    parser = build_parser(find_operation("model", "create"), "%%model_register")
    own = parser.add_argument_group("the cell")
    own.add_argument("--var", help="Variable to register; the cell's last value when left out.")
    own.add_argument("--sample", help="Variable with rows of input; they give the signature.")
    own.add_argument("--metrics", help='Variable with numbers to compare versions by, {"accuracy": 0.97}.')
    own.add_argument("--allow-pickle", action="store_true", help="Pickle what has no safe format; loading it will ask for trust.")
    return parser


def _register_value(
    magics: ModelRegMagics, given: argparse.Namespace, cell: str, value: Any, namespace: dict[str, Any], before: dict[str, Any]
) -> Model:
    from ..commands.model import CreateModel
    from ..models import register_object

    command = CreateModel(
        name=given.name, version=given.version, description=given.description, tags=_tags(given), stage=given.stage, type=given.type
    )
    return register_object(
        magics.workspace(),
        command,
        value,
        sample=_sample(given, value, namespace),
        metrics=_metrics(given, namespace, before),
        lineage=_lineage(magics, cell, namespace),
        allow_pickle=given.allow_pickle,
    )


def _registered(magics: ModelRegMagics, model: Model, given: argparse.Namespace) -> Model:
    from ..models import register_model

    if not model.name or not model.path:
        raise InvalidInput('A model needs "name" and "path".')
    tagged = model.replace(tags={**model.tags, **_tags(given)}, stage=given.stage or model.stage)
    return register_model(magics.workspace(), tagged)


def _from_yaml(cell: str) -> Model:
    import io

    from ..entities.loading import load_entity

    return load_entity(Model, io.StringIO(cell))


def _tags(given: argparse.Namespace) -> dict[str, str]:
    pairs = {}
    for word in (word for group in given.tags or [] for word in group):
        key, sign, value = word.partition("=")
        if not sign or not key:
            _usage(f'--tag takes KEY=VALUE, not "{word}"')
        pairs[key] = value
    return pairs


def _variable(namespace: dict[str, Any], name: str) -> Any:
    from ..errors import nearest

    if name not in namespace:
        known = [item for item in namespace if not item.startswith("_")]
        raise InvalidInput(f'There is no variable "{name}".{nearest(name, known)}')
    return namespace[name]


def _sample(given: argparse.Namespace, value: Any, namespace: dict[str, Any]) -> Any:
    """Return some rows of input: what ``--sample`` names, else a usual name whose width fits the model."""
    if given.sample:
        return _head(_variable(namespace, given.sample))
    width = getattr(value, "n_features_in_", None)
    for name in SAMPLE_NAMES if width is not None else ():
        shape: tuple[int, ...] = getattr(namespace.get(name), "shape", ())
        if len(shape) == 2 and shape[-1] == width:
            return _head(namespace[name])
    return None


def _head(rows: Any) -> Any:
    return rows.iloc[:SAMPLE_ROWS] if hasattr(rows, "iloc") else rows[:SAMPLE_ROWS]


def _metrics(given: argparse.Namespace, namespace: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that ``--metrics`` names, else those of a dict ``metrics`` that this cell assigned."""
    if given.metrics:
        metrics = _variable(namespace, given.metrics)
    elif namespace.get("metrics") is not before.get("metrics") and isinstance(namespace.get("metrics"), dict):
        metrics = namespace["metrics"]
    else:
        return {}
    try:
        return {str(key): float(value) for key, value in metrics.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidInput(f'"{given.metrics or "metrics"}" must be a dict of numbers, such as {{"accuracy": 0.97}}.') from None


def _lineage(magics: ModelRegMagics, cell: str, namespace: dict[str, Any]) -> Lineage:
    commit, is_dirty = _git()
    return Lineage(
        code=cell,
        notebook=_notebook(namespace),
        git_commit=commit,
        git_is_dirty=is_dirty,
        python=".".join(map(str, sys.version_info[:3])),
        packages=_packages(namespace),
        inputs=list(magics.loaded_models),
    )


def _notebook(namespace: dict[str, Any]) -> str | None:
    return os.environ.get("JPY_SESSION_NAME") or namespace.get("__vsc_ipynb_file__")


def _packages(namespace: dict[str, Any]) -> dict[str, str]:
    """Return the versions of the distributions whose modules the namespace uses."""
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    modules = {
        str(getattr(value, "__module__", None) or getattr(value, "__name__", "")).partition(".")[0]
        for name, value in namespace.items()
        if not name.startswith("_") and (hasattr(value, "__module__") or type(value).__name__ == "module")
    }
    known = packages_distributions()
    found = {}
    for module in sorted(modules - {"IPython", "jupyter_modelreg", "ipykernel"}):
        for distribution in known.get(module, [])[:1]:
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                continue
    return found


def _git() -> tuple[str | None, bool | None]:
    import subprocess

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return (commit, bool(ask("status", "--porcelain", "--untracked-files=no"))) if commit else (None, None)


# --- small things -----------------------------------------------------------------------------------------------------


def _parse(parser: Parser, words: list[str]) -> argparse.Namespace | None:
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return None
    try:
        given = parser.parse_args(words)
    except (InvalidInput, HelpAsked) as error:
        raise UsageError(str(error)) from None
    if getattr(given, "name_", None) is not None:
        given.name = given.name_
    return given


def _as_input(value: Any) -> Any:
    """Return what ``input_data`` holds for a live value: a split frame, or nested lists."""
    from ..serving.payloads import to_json

    if hasattr(value, "columns") and hasattr(value, "values"):
        return {"columns": [str(name) for name in value.columns], "data": to_json(value.values.tolist())}
    if hasattr(value, "name") and hasattr(value, "to_frame"):
        return _as_input(value.to_frame().T)
    return to_json(value)


def _example_for(magics: ModelRegMagics, endpoint: str) -> Any:
    """Return a request made of the served model's input example."""
    from ..commands.model import ShowModel
    from ..commands.online import ListOnlineDeployments

    workspace = magics.workspace()
    for deployment in find_operation("online-deployment", "list").run(workspace, ListOnlineDeployments(endpoint_name=endpoint)):
        model = find_operation("model", "show").run(workspace, ShowModel(name=str(deployment.model)))
        if model.input_example is not None:
            return {"input_data": model.input_example}
    raise InvalidInput(f"{endpoint} serves a model without an input example; say what to ask: %model_invoke {endpoint} EXPRESSION")


def _card(model: Model) -> str:
    from .html import registered_html

    return registered_html(model)


def _usage(message: str) -> Any:
    raise UsageError(message)
