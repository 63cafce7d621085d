"""Magics that only a notebook has: register what a cell made, load it back, serve a cell as a scoring script.

They stand on the same operations as the others; what they add is what the notebook knows: the code, its values, its
packages, its git commit.
"""

from __future__ import annotations

import ast
import os
import sys
import traceback
from typing import Any

from IPython.core.error import UsageError

from ..commands.model import CreateModel, ShowModel
from ..entities.model import Lineage, Model
from ..errors import InvalidInput, NotFound, nearest
from ..operations import find_operation
from .arguments import HelpAsked, Parser, build_parser, parse_given, parse_plain
from .lines import Shown, present, run_operation, split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import NoReturn, TypeVar

    from IPython.core.interactiveshell import InteractiveShell

    from .arguments import Presentation
    from .lines import ModelRegMagics

    T = TypeVar("T")

SAMPLE_ROWS = 100
GIT_SECONDS = 2.0

# Names that a cell's training data usually has; the first that fits the model is the sample.
SAMPLE_NAMES = ("X_train", "X_test", "X", "x_train", "features", "X_val", "x_test")


def model_register(magics: ModelRegMagics, line: str, cell: str | None = None) -> Any:
    """Register a model as a new version, which never changes.

    What the cell makes: it runs, and the value of its last line is saved in the safest format known for it::

        %%model_register churn --tag stage=dev --metrics scores
        scores = {"accuracy": 0.97}
        LogisticRegression().fit(X, y)

    Files, the body says what they are; or all of it as YAML; or a variable, in one line::

        %%model_register churn --path ./model --type mlflow_model
        %%model_register -f -
        %model_register churn --var clf

    Kept with it: the signature and an example of the input (rows of --sample, else of X_train, X_test or X when they
    fit the model), metrics (--metrics, else a dict "metrics" that the cell assigned), the code, the notebook, its git
    commit and the packages in use. --help lists every option; {name} and $name put Python values into the line.
    """

    given = _parse_register("%model_register" if cell is None else "%%model_register", split_words(line))
    if given is None:
        return None
    command, presentation, own = given
    if command.file or command.path:
        _refuse_own(own)
    if command.file:
        model = _register_described(magics, command, cell)
    elif command.path:
        model = _register_files(magics, command, cell or "")
    else:
        model = _register_value(magics, command, own, cell)
    return present(model, presentation, html=_card)


def model_load(magics: ModelRegMagics, line: str) -> Any:
    """Return the live object of a version: ``model = %model_load churn:2``.

    A file that would run code is refused; --trust loads it all the same. --help lists every option.
    """
    from ..models import load_model

    operation = find_operation("model", "show")
    parser = build_parser(operation, "%model_load", about="Return the live object of a version.")
    parser.add_argument("--trust", action="store_true", help="Load files even though they can run code.")
    given = _asked(lambda: parse_given(parser, operation, split_words(line)))
    if given is None:
        return None
    command, _, own = given
    workspace = magics.watched(getattr(command, "name", None))
    found = operation.run(workspace, command)
    value = load_model(workspace, ShowModel(name=found.name, version=found.version), trust=own["trust"])
    reference = f"azureml:{found.name}:{found.version}"
    if reference not in magics.loaded_models:
        magics.loaded_models.append(reference)
    return value


def model_deploy_cell(magics: ModelRegMagics, line: str, cell: str) -> Any:
    """Serve a model with the cell as its scoring script: ``%%model_deploy churn --model churn:2``.

    The cell defines ``init()`` and ``run(raw_data)``, or the class that ``--model-class "Net(4)"`` names. The bare word is the
    endpoint; without --model it is the model, as in ``%model_deploy``. A failing ``init()`` shows its own traceback, and what
    was served before stays.
    """
    import tempfile

    operation = find_operation("model", "deploy")
    given = _asked(lambda: parse_given(build_parser(operation, "%%model_deploy"), operation, _with_endpoint(split_words(line))))
    if given is None:
        return None
    command, presentation, own = given
    if own["code"] or own["scoring_script"]:
        _usage("The cell is the scoring script; --code and --scoring-script go with %model_deploy.")
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        with open(os.path.join(folder, "score.py"), "w", encoding="utf-8") as stream:
            stream.write(cell)
        what = {"model_class": f"score:{own['model_class']}"} if own["model_class"] else {"scoring_script": "score.py"}
        return present(operation.run(magics.workspace(), command.replace(code=folder, **what)), presentation)


def model_invoke(magics: ModelRegMagics, line: str) -> Any:
    """Ask an endpoint: ``%model_invoke churn X_test[:3]`` or ``%model_invoke churn --data '{"input_data": [[1, 2]]}'``.

    An expression is evaluated here; a DataFrame goes by its columns, arrays and lists as they are. Without one the
    served model's own input example is sent. The answer is plain JSON values. ``churn/green`` asks one deployment,
    whatever its traffic. Only the endpoint's name may hold ``{name}`` or ``$name``: the rest is Python or JSON already.
    """

    first, _, rest = line.strip().partition(" ")
    endpoint, expression = magics.shell.var_expand(first), rest.strip()  # type: ignore[no-untyped-call]
    name, _, deployment = endpoint.partition("/")
    if first and not first.startswith("-") and not expression.startswith("-"):
        value = {"input_data": _as_input(run_cell(magics.shell, expression, magic="%model_invoke"))} if expression else None
        return _invoke_with(magics, name, deployment, value)
    operation = find_operation("online-endpoint", "invoke")
    words = split_words(f"{name} {rest}") + (["--deployment-name", deployment] if deployment else [])
    given = _asked(lambda: parse_given(build_parser(operation, "%model_invoke"), operation, words))
    if given is None:
        return None
    command, presentation, _ = given
    body = operation.run(magics.workspace(), command).body
    return present(body, presentation) if presentation.query or presentation.output else body


def _invoke_with(magics: ModelRegMagics, name: str, deployment: str, value: Any) -> Any:
    """Send a request, made of the served model's input example when there is none."""
    import json

    from ..commands.online import InvokeOnlineEndpoint

    data = json.dumps(_example_for(magics, name) if value is None else value)
    command = InvokeOnlineEndpoint(name=name, data=data, deployment_name=deployment or None)
    return find_operation("online-endpoint", "invoke").run(magics.workspace(), command).body


model_invoke._ipython_magic_no_var_expand = True  # type: ignore[attr-defined]


def model_logs(magics: ModelRegMagics, line: str) -> Any:
    """Show what a model's process printed: ``%model_logs churn``, or ``%model_logs churn/green`` for one deployment of several."""
    from ..commands.online import GetOnlineDeploymentLogs
    from ..online import main_deployment

    parser = Parser(prog="%model_logs", description=model_logs.__doc__, add_help=False)
    parser.add_argument("endpoint", help="ENDPOINT, for the deployment with the most traffic, or ENDPOINT/DEPLOYMENT.")
    parser.add_argument("--lines", "-l", type=int, default=200, help="At most this many last lines.")
    given = _asked(lambda: parse_plain(parser, split_words(line)))
    if given is None:
        return None
    workspace = magics.workspace()
    endpoint, _, deployment = given.endpoint.partition("/")
    name = deployment or main_deployment(workspace, endpoint)
    if not name:
        raise NotFound(f'Endpoint "{endpoint}" has no deployment.')
    command = GetOnlineDeploymentLogs(endpoint_name=endpoint, name=name, lines=given.lines)
    return Shown(find_operation("online-deployment", "get-logs").run(workspace, command))


def model_endpoints(magics: ModelRegMagics, line: str) -> Any:
    """List endpoints: ``%model_endpoints``."""

    return run_operation(magics, find_operation("online-endpoint", "list"), split_words(line), prog="%model_endpoints")


LINE_MAGICS: dict[str, Callable[..., Any]] = {
    "model_register": model_register,
    "model_load": model_load,
    "model_invoke": model_invoke,
    "model_logs": model_logs,
    "model_endpoints": model_endpoints,
}
CELL_MAGICS: dict[str, Callable[..., Any]] = {"model_register": model_register, "model_deploy": model_deploy_cell}


# --- running a cell ---------------------------------------------------------------------------------------------------


def run_cell(shell: InteractiveShell, cell: str, *, magic: str) -> Any:
    """Run code in the person's namespace and return the value of its last expression, None without one.

    The way of ``%%time``: ``shell.run_cell`` would show results and errors twice. Lines are counted as the notebook
    counts them: a cell magic's own line is the first.

    Raises
    ------
    UsageError
        If it awaits at its top level.
    InvalidInput
        If it is no Python.
    """
    text = "\n" * magic.startswith("%%") + shell.transform_cell(cell)  # type: ignore[no-untyped-call]
    name = shell.compile.cache(text, _execution_count(shell), raw_code=cell)
    body, last = _compiled(shell, text, name, magic)
    try:
        exec(body, shell.user_ns)  # noqa: S102 - the person's own cell
        return eval(last, shell.user_ns) if last else None  # noqa: S307
    except (Exception, KeyboardInterrupt) as error:
        _show_from(shell, error, name)
        raise


def _execution_count(shell: InteractiveShell) -> int:
    # IPython 9 counts a cell when it begins, IPython 8 when it ends; its result knows its own number in both.
    result = shell.displayhook.exec_result
    return (result and result.execution_count) or shell.execution_count


def _compiled(shell: InteractiveShell, text: str, name: str, magic: str) -> tuple[CodeType, CodeType | None]:
    """Return the code of all statements but a last expression, and that expression's."""
    compiler: Callable[..., CodeType] = shell.compile
    try:
        tree = shell.transform_ast(shell.compile.ast_parse(text, filename=name))  # type: ignore[no-untyped-call]
        awaits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
        if any(isinstance(node, awaits) for statement in tree.body for node in _outside_functions(statement)):
            _usage(f"{magic} cannot await. Await in a cell of its own, into a variable, and name the variable here.")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        return compiler(tree, name, "exec"), compiler(ast.Expression(last.value), name, "eval") if last else None
    except SyntaxError as error:
        shown = traceback.format_exception_only(error)[1:-1]  # without the file's name and the message
        raise InvalidInput(f"Line {error.lineno} is no Python: {error.msg}.", detail="".join(shown)) from None


def _show_from(shell: InteractiveShell, error: BaseException, name: str) -> None:
    """Let a cell's error show the cell's own frames, as if no magic stood above it."""
    if isinstance(error, UsageError) or hasattr(error, "_render_traceback_"):
        return

    def render() -> Any:
        del error._render_traceback_  # type: ignore[attr-defined]  # whoever raises it again has frames of their own to show
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename != name:
            frames = frames.tb_next
        return shell.InteractiveTB.structured_traceback(type(error), error, frames or error.__traceback__, tb_offset=0)

    error._render_traceback_ = render  # type: ignore[attr-defined]


def _outside_functions(node: ast.AST) -> list[ast.AST]:
    found, waiting = [], [node]
    while waiting:
        item = waiting.pop()
        found.append(item)
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(item))
    return found


# --- registering ------------------------------------------------------------------------------------------------------


def _parse_register(prog: str, words: list[str]) -> tuple[CreateModel, Presentation, dict[str, Any]] | None:
    operation = find_operation("model", "create")
    parser = build_parser(operation, prog)
    own = parser.add_argument_group("the cell")
    own.add_argument("--var", metavar="NAME", help="Variable to register; the cell's last value when left out.")
    own.add_argument("--sample", metavar="NAME", help="Variable with rows of input; they give the signature.")
    own.add_argument("--keep-sample", action="store_true", help="Keep up to 2,000 of those rows with it, to hold later requests against.")
    own.add_argument("--metrics", metavar="NAME", help='Variable with numbers to compare versions by, {"accuracy": 0.97}.')
    own.add_argument("--allow-pickle", action="store_true", help="Pickle what has no safe format; loading it will ask for trust.")
    given = _asked(lambda: parse_given(parser, operation, words))
    if given is None:
        return None
    assert isinstance(given[0], CreateModel)
    return given[0], given[1], given[2]


def _refuse_own(own: dict[str, Any]) -> None:
    for name in ("var", "sample", "keep_sample", "metrics", "allow_pickle"):
        if own[name]:
            _usage(f"--{name.replace('_', '-')} goes with a value of Python, not with --path or -f.")


def _register_described(magics: ModelRegMagics, command: CreateModel, cell: str | None) -> Any:
    """Register what YAML describes: a file's, or the cell's body where the file is ``-``. Options win over it."""
    import io

    from ..models import describe_model, register_model

    operation = find_operation("model", "create")
    if cell is None and command.file != "-":
        return operation.run(magics.watched(command.name), command)
    if cell is None or command.file != "-":
        _usage("The body of %%model_register is the YAML where -f - stands; a file's name goes with %model_register -f FILE.")
    body = io.StringIO("\n" + cell)  # lines as the notebook counts them
    body.name = "cell"
    model = describe_model(command, body)
    if not model.name or not model.path:
        raise InvalidInput('A model needs "name" and "path".')
    return register_model(magics.watched(model.name), model, transfer=command.transfer)


def _register_files(magics: ModelRegMagics, command: CreateModel, cell: str) -> Any:
    """Register files; the cell's body is the description."""
    described = command.replace(description=command.description or cell.strip() or None)
    return find_operation("model", "create").run(magics.watched(command.name), described)


def _register_value(magics: ModelRegMagics, command: CreateModel, own: dict[str, Any], cell: str | None) -> Model:
    """Run the cell and register its value, or the variable that ``--var`` names."""
    from ..models import register_object

    _check_words(command, own, cell)
    namespace = magics.shell.user_ns
    before = namespace.get("metrics")
    value = None if cell is None else run_cell(magics.shell, cell, magic="%%model_register")
    if own["var"]:
        value = _variable(namespace, own["var"])
    if value is None:
        _usage("The cell's last line has no value to register; end it with the model, or name a variable with --var.")
    rows = _rows(own["sample"], value, namespace)
    if rows is None and own["keep_sample"]:
        _usage("--keep-sample finds no rows that fit the model; name them with --sample VARIABLE.")
    return register_object(
        magics.watched(command.name),
        command,
        value,
        sample=None if rows is None else _head(rows),
        training=rows if own["keep_sample"] else None,
        metrics=_metrics(own["metrics"], namespace, before),
        lineage=_lineage(magics, cell, namespace),
        allow_pickle=own["allow_pickle"],
    )


def _check_words(command: CreateModel, own: dict[str, Any], cell: str | None) -> None:
    """Say what is missing or wrong before a cell trains for an hour."""
    from ..catalog.names import check_model

    if not command.name:
        _usage("%%model_register needs a name: %%model_register NAME")
    if cell is None and not own["var"]:
        _usage("%model_register needs --var VARIABLE or --path PATH; to register what a cell makes, begin the cell with %%model_register.")
    if command.set:
        _usage("--set goes with --path and -f; for a cell's value there are --tag, --description and --stage.")
    check_model(Model(name=command.name, version=command.version, tags=command.tags))


def _variable(namespace: dict[str, Any], name: str) -> Any:
    if name not in namespace:
        known = [item for item in namespace if not item.startswith("_")]
        raise InvalidInput(f'There is no variable "{name}".{nearest(name, known)}')
    return namespace[name]


def _rows(name: str | None, value: Any, namespace: dict[str, Any]) -> Any:
    """Return rows of input: what ``--sample`` names, else a usual name that fits the model; None where there is none."""
    if name:
        return _variable(namespace, name)
    known = (namespace.get(usual) for usual in SAMPLE_NAMES)
    return next((rows for rows in known if _fits(rows, value)), None)


def _fits(rows: Any, model: Any) -> bool:
    """Say whether rows have the columns that a model was fitted on: their number, and their names where it knows them."""
    width = getattr(model, "n_features_in_", None)
    shape: tuple[int, ...] = getattr(rows, "shape", ())
    if width is None or len(shape) != 2 or shape[-1] != width:
        return False
    names, columns = getattr(model, "feature_names_in_", None), getattr(rows, "columns", None)
    return names is columns if names is None or columns is None else list(names) == list(columns)


def _head(rows: Any) -> Any:
    return rows.iloc[:SAMPLE_ROWS] if hasattr(rows, "iloc") else rows[:SAMPLE_ROWS]


def _metrics(name: str | None, namespace: dict[str, Any], before: object) -> dict[str, float]:
    """Return the numbers that ``--metrics`` names, else those of a dict ``metrics`` that this cell assigned."""
    metrics: Any = _variable(namespace, name) if name else namespace.get("metrics")
    if not name and (metrics is before or not isinstance(metrics, dict)):
        return {}
    try:
        return {str(key): float(value) for key, value in metrics.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidInput(f'"{name or "metrics"}" must be a dict of numbers, such as {{"accuracy": 0.97}}.') from None


def _lineage(magics: ModelRegMagics, cell: str | None, namespace: dict[str, Any]) -> Lineage:
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
    changes = ask("status", "--porcelain", "--untracked-files=no") if commit else None
    return commit, None if changes is None else bool(changes)


# --- small things -----------------------------------------------------------------------------------------------------


def _asked(parse: Callable[[], T]) -> T | None:
    """Return what was parsed; None when it was a question for help, which is answered here."""
    try:
        return parse()
    except HelpAsked as asked:
        print(asked)
        return None
    except InvalidInput as error:
        raise UsageError(error.message) from None


def _with_endpoint(words: list[str]) -> list[str]:
    """Read the bare word before ``--model`` as the endpoint's name."""
    flags = [word.partition("=")[0] for word in words]
    if words and not words[0].startswith("-") and ("--model" in flags or "-m" in flags):
        return ["--endpoint", *words]
    return words


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


def _usage(message: str) -> NoReturn:
    raise UsageError(message)
