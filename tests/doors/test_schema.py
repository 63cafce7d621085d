from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_modelreg.doors.schema import typescript
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.operations import OPERATIONS
from jupyter_modelreg.records import REQUIRED, fields

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what ``scripts/docs`` reads and writes."""
    folder = tmp_path / "checkout"
    for name in ("scripts", "docs/reference", "labextension/src", "jupyter_modelreg"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "labextension"))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run_docs(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([checkout / "scripts" / "docs", *words], capture_output=True, text=True, timeout=60)


def test_what_is_committed_is_what_the_table_says(checkout: Path) -> None:
    done = run_docs(checkout, "--check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["labextension/src/schema.ts", "docs/reference/model.md"])
def test_a_stale_file_fails_the_check_and_writing_mends_it(name: str, checkout: Path) -> None:
    (checkout / name).write_text("old")
    done = run_docs(checkout, "--check")
    assert (done.returncode, done.stderr) == (1, f"{name} is stale; run scripts/docs\n")
    assert (checkout / name).read_text() == "old"
    assert run_docs(checkout).stdout == f"wrote {name}\n"
    assert run_docs(checkout, "--check").returncode == 0


def test_a_changed_table_fails_the_check(checkout: Path) -> None:
    commands = checkout / "jupyter_modelreg" / "commands" / "model.py"
    commands.write_text(commands.read_text().replace('help="What it is, in words."', 'help="A new help."'))
    assert "docs/reference/model.md is stale" in run_docs(checkout, "--check").stderr


def test_a_page_of_a_noun_that_is_gone_fails_the_check_and_is_removed(checkout: Path) -> None:
    page = checkout / "docs" / "reference" / "gone.md"
    page.write_text("# gone")
    assert run_docs(checkout, "--check").stderr == "docs/reference/gone.md is stale; run scripts/docs\n"
    run_docs(checkout)
    assert not page.exists()


def test_every_operation_has_its_types_and_its_method() -> None:
    text = typescript()
    for row in OPERATIONS:
        kind = row.answer.removeprefix("list[").removesuffix("]")
        many = "[]" if row.answer.startswith("list[") else ""
        assert f"'{row.noun} {row.verb}': {{ command: I{row.command.__name__}; answer: I{kind}{many} }};" in text
        assert f"'{row.noun} {row.verb}': {{\n    method: '{'GET' if row.reads else 'POST'}',\n    path: '{row.noun}/{row.verb}'" in text
        for name in (row.command.__name__, kind):
            assert f"export interface I{name} {{" in text


def test_every_field_is_in_its_interface_and_optional_unless_required() -> None:
    body = re.search(r"export interface IModel \{(.*?)^\}", typescript(), re.DOTALL | re.MULTILINE)
    assert body is not None
    for item in fields(Model):
        assert f"  {item.key}{'' if item.default is REQUIRED else '?'}: " in body[1]
    assert "type?: 'custom_model' | 'mlflow_model' | 'triton_model';" in body[1]
    assert "tags?: { [key: string]: string };" in body[1]
    assert "signature?: ISignature;" in body[1]


def test_every_type_that_is_named_is_declared() -> None:
    text = re.sub(r"/\*\*.*?\*/", "", typescript())
    assert set(re.findall(r"\bI[A-Z]\w+", text)) == set(re.findall(r"export interface (I\w+)", text))
