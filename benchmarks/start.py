"""How long a person waits before anything happens: import, command line, ``%load_ext``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .measure import BARE_PYTHON, MODELREG, Row, at_most_times, command, medians, over_peer, within_seconds

ROUNDS = 15
LOAD = """
from time import perf_counter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
start = perf_counter()
shell.run_line_magic("load_ext", "{extension}")
print(perf_counter() - start)
"""


def rows(scratch: Path) -> Iterator[Row]:
    """Measure in fresh processes, as a shell and a kernel start them."""
    home = _home_with_models(scratch / "home")
    bare, imported, helped, listed = medians(
        ROUNDS,
        command(*BARE_PYTHON),
        command(sys.executable, "-c", "import jupyter_modelreg"),
        command(MODELREG, "--help"),
        command(MODELREG, "model", "list", home=home),
    )
    yield over_peer("import jupyter_modelreg", imported, "python -c pass", bare, 0.05)
    yield at_most_times("modelreg --help", helped, "python -c pass", bare, 3)
    yield at_most_times("modelreg model list (20 models)", listed, "python -c pass", bare, 3)
    ours, theirs = medians(ROUNDS // 3, lambda: _load("jupyter_modelreg"), lambda: _load("autoreload"))
    yield within_seconds("%load_ext jupyter_modelreg", ours, "%load_ext autoreload", theirs, 0.1)


def _home_with_models(home: Path) -> Path:
    from jupyter_modelreg.commands.model import CreateModel
    from jupyter_modelreg.models import create_model
    from jupyter_modelreg.workspace import open_workspace

    workspace = open_workspace({"home": str(home)})
    weights = home / "weights.bin"
    home.mkdir(parents=True)
    for number in range(20):
        weights.write_bytes(bytes([number]) * 1000)
        create_model(workspace, CreateModel(name=f"model-{number}", path=str(weights)))
    return home


def _load(extension: str) -> float:
    done = subprocess.run([sys.executable, "-c", LOAD.format(extension=extension)], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])
