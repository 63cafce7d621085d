"""The documentation is complete, its links lead somewhere, and its code runs.

In every page, and in order: ``python`` blocks run as cells of one notebook, ``bash`` blocks in one folder; a block whose
first line names a file is written to that file. A ``text`` block below one is what it must answer, sizes aside. What cannot run in
a test stands below a comment that says why: ``<!-- not run: … -->``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_modelreg import errors
from jupyter_modelreg.doors import cli
from jupyter_modelreg.operations import COMING, OPERATIONS
from jupyter_modelreg.records import fields
from jupyter_modelreg.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
WITH_CODE = [page for page in PAGES if page.parent != DOCS / "reference"]
_BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (?P<name>[\w./-]+\.(?:py|yml|yaml|toml|json))\n")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")]


# --- complete ---------------------------------------------------------------------------------------------------------


def test_every_operation_has_a_heading() -> None:
    for noun in {row.noun for row in OPERATIONS}:
        headings = _headings(DOCS / "reference" / f"{noun}.md")
        assert [row.verb for row in OPERATIONS if row.noun == noun and f"{noun} {row.verb}" not in headings] == []


def test_every_error_has_a_heading() -> None:
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ModelRegistryError)]
    assert set(kinds) <= set(_headings(DOCS / "reference" / "errors.md"))


def test_every_setting_has_a_heading() -> None:
    assert {item.name for item in fields(Settings)} <= set(_headings(DOCS / "reference" / "settings.md"))


def test_every_plugin_group_has_a_heading() -> None:
    groups = set(re.findall(r"\"(jupyter_modelreg\.\w+)\"", (ROOT / "jupyter_modelreg" / "sources" / "__init__.py").read_text()))
    groups |= set(re.findall(r"entry-points\.\"(jupyter_modelreg\.\w+)\"", (ROOT / "pyproject.toml").read_text()))
    assert len(groups) == 2
    assert groups <= set(_headings(DOCS / "plugins.md"))


def test_what_comes_later_is_listed_where_people_of_azure_ml_look() -> None:
    text = (DOCS / "azure.md").read_text()
    assert [noun for noun in COMING if f"`{noun}`" not in text] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_script_is_explained(page: str) -> None:
    text = (ROOT / page).read_text()
    scripts = [path.name for path in (ROOT / "scripts").iterdir() if os.access(path, os.X_OK)]
    assert len(scripts) == 8
    assert [name for name in scripts if f"scripts/{name}" not in text] == []


def test_the_readme_fits_two_screens_and_begins_with_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 100
    assert _blocks(ROOT / "README.md")[0].code == "scripts/quickstart\nscripts/test\n"


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in [_anchor(heading) for heading in _headings(file)], target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- code -------------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """One code block, the answer that stands below it, and why it is not run."""

    language: str
    code: str
    answer: str | None
    reason: str | None
    line: int


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = list(_BLOCK.finditer(text))
    blocks = []
    for match, after in zip_longest(found, found[1:]):
        is_answered = after is not None and after["language"] == "text" and not text[match.end() : after.start()].strip()
        answer = after["code"] if is_answered and after is not None else None
        blocks.append(Block(match["language"], match["code"], answer, match["reason"], text[: match.start()].count("\n") + 1))
    return blocks


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the installed commands on the path; endpoints are deleted afterwards."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    for name in cli.run(["online-endpoint", "list", "--query", "[].name", "-o", "tsv"]).split():
        cli.run(["online-endpoint", "delete", "--name", name, "--yes"])


@pytest.mark.parametrize("page", [page for page in WITH_CODE if any(not block.reason for block in _blocks(page))], ids=_name)
@pytest.mark.filterwarnings("ignore")  # what the libraries of a page's examples warn of is theirs
def test_code_runs_and_answers_what_stands_below_it(page: Path, folder: Path) -> None:
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    if page.name == "README.md":
        _make_what_the_readme_supposes(folder)
    for block in [block for block in _blocks(page) if not block.reason]:
        where = f"{_name(page)}:{block.line}"
        named = _FILE.match(block.code)
        if named:
            (folder / named["name"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named["name"]).write_text(block.code)
        elif block.language == "python":
            _check(_run_python(shell, block), block, where)
        elif block.language == "bash":
            _check(_run_bash(block), block, where)
        else:
            assert block.language in ("text", "yaml", "json", "toml", "ini"), where


def _make_what_the_readme_supposes(folder: Path) -> None:
    """Save an MLflow model and a request for it."""
    import mlflow.sklearn
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    X, y = load_breast_cancer(return_X_y=True)
    mlflow.sklearn.save_model(LogisticRegression(max_iter=10_000).fit(X, y), folder / "model", pip_requirements=["scikit-learn"])
    (folder / "sample.json").write_text(json.dumps({"input_data": X[:2].tolist()}))


def _check(said: tuple[bool, str], block: Block, where: str) -> None:
    has_failed, text = said
    shall_fail = block.answer is not None and bool(re.match(r"ERROR: |\w+: ", block.answer))
    assert has_failed == shall_fail, f"{where}\n{text}"
    if block.answer is not None:
        assert _steady(text) == _steady(block.answer), where


def _steady(text: str) -> str:
    """Without sizes, which differ from one version of a library to the next."""
    return re.sub(r"\d+\.\d kB", "SIZE", text).rstrip()


def _run_python(shell: InteractiveShell, block: Block) -> tuple[bool, str]:
    ran: Any = shell.run_cell(block.code)
    error = ran.error_before_exec or ran.error_in_exec
    if error is None:
        return False, "" if ran.result is None else repr(ran.result)
    return True, error._render_traceback_()[0] if hasattr(error, "_render_traceback_") else f"{type(error).__name__}: {error}"


def _run_bash(block: Block) -> tuple[bool, str]:
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], capture_output=True, text=True, timeout=120)
    return done.returncode != 0, done.stdout + done.stderr


# --- the plugin guide -------------------------------------------------------------------------------------------------


@pytest.fixture
def plugins(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's plugins, installed as pip would: modules with a list of entry points beside them."""
    blocks = _blocks(DOCS / "plugins.md")
    site = tmp_path / "site"
    (site / "guide-1.0.dist-info").mkdir(parents=True)
    (site / "guide-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: guide\nVersion: 1.0\n")
    declared = tomllib.loads("".join(block.code for block in blocks if block.language == "toml"))["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items()) for group, names in declared.items()]
    (site / "guide-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    for block in blocks:
        if named := _FILE.match(block.code):
            (site / named["name"]).write_text(block.code)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)


@pytest.mark.usefixtures("plugins")
def test_the_guides_flavor_is_recognised_loaded_and_served(folder: Path) -> None:
    (folder / "greek.words").write_text("alpha\nbeta\n")
    assert json.loads(_modelreg("model", "create", "-n", "greek", "-p", "greek.words"))["flavor"] == "words"
    _modelreg("model", "deploy", "greek", "--trust")
    assert json.loads(_modelreg("online-endpoint", "invoke", "greek", "--data", '{"input_data": [[1], [0]]}')) == ["beta", "alpha"]


@pytest.mark.usefixtures("plugins")
def test_the_guides_source_fetches_what_an_address_names(folder: Path) -> None:
    (folder / "model.bin").write_text("weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert json.loads(_modelreg("model", "create", "-n", "far", "-p", f"{address}/model.bin"))["size_bytes"] == 7
        with pytest.raises(AssertionError, match=f"ERROR: {address}/no.bin: File not found"):
            _modelreg("model", "create", "-n", "far", "-p", f"{address}/no.bin")
        server.shutdown()


def _modelreg(*words: str) -> str:
    done = subprocess.run(["modelreg", *words, "-o", "json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
