"""The notebooks do what they show: cell by cell under nbval, from top to bottom under nbclient, a second time too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from jupyter_modelreg.doors import cli

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with the notebooks, so that what they write lands nowhere else; endpoints are deleted afterwards."""
    folder = tmp_path / "notebooks"
    shutil.copytree(FOLDER, folder)
    yield folder
    for name in cli.run(["online-endpoint", "list", "--query", "[].name", "-o", "tsv"]).split():
        cli.run(["online-endpoint", "delete", "--name", name, "--yes"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_prints_what_it_shows_and_runs_again(name: str, copied: Path) -> None:
    _compare_outputs(copied / name)
    _run_all_cells(copied / name)  # the home has versions and an endpoint by now


def test_no_notebook_was_saved_with_an_error_or_out_of_order() -> None:
    for name in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def _compare_outputs(notebook: Path) -> None:
    words = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", f"--nbval-sanitize-with={notebook.parent / 'sanitize.cfg'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider", "-q", *words, notebook.name],
        cwd=notebook.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _run_all_cells(notebook: Path) -> None:
    # nbval takes a UsageError for output: it prints, and the notebook goes on.
    opened = nbformat.read(notebook, as_version=4)
    ran = NotebookClient(opened, timeout=120, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    said = [output.get("text", "") for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [text for text in said if "UsageError" in text]
