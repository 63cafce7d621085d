"""An IPython of its own for each test, and short words to use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Notebook:
    """What a person does in a notebook: run cells, read what they print and answer."""

    def __init__(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell, self._capsys = shell, capsys

    def run(self, cell: str) -> Any:
        """Return a cell's answer; its error is raised."""
        result = self.shell.run_cell(cell)
        result.raise_error()
        return result.result

    def fail(self, cell: str) -> tuple[BaseException, str]:
        """Return the error of a cell that must fail, and all that a person sees of it, in plain text."""
        self.printed()
        result = self.shell.run_cell(cell)
        error = result.error_before_exec or result.error_in_exec
        assert error is not None, f"{cell!r} did not fail"
        return error, self.printed()

    def printed(self) -> str:
        """Return what was printed since the last call."""
        out, err = self._capsys.readouterr()
        return str(out + err)

    @property
    def names(self) -> dict[str, Any]:
        """The variables."""
        return self.shell.user_ns


@pytest.fixture
def bare_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """An IPython without our extension and without a history."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    return InteractiveShell(config=config)


@pytest.fixture
def notebook(bare_shell: InteractiveShell, capsys: pytest.CaptureFixture[str], home: Path) -> Iterator[Notebook]:
    """A notebook with the extension loaded; endpoints are deleted afterwards."""
    bare_shell.run_line_magic("load_ext", "jupyter_modelreg")
    yield Notebook(bare_shell, capsys)
    if home.is_dir():
        from jupyter_modelreg import MLClient

        for endpoint in MLClient().online_endpoints.list():
            MLClient().online_endpoints.begin_delete(str(endpoint.name))


@pytest.fixture
def churn(tmp_path: Path) -> Path:
    """Two versions of a model, registered from files."""
    from jupyter_modelreg import MLClient
    from jupyter_modelreg.entities import Model

    for number in ("1", "2"):
        (tmp_path / "churn.txt").write_text(f"weights {number}")
        MLClient().models.create_or_update(Model(name="churn", path="churn.txt", tags={"stage": "dev", "team": f"t{number}"}))
    return tmp_path
