"""What a model's files would do when they load, found out without loading them.

A scanner is a tripwire, not a wall: it names what it found, and what it could not read is not trusted. Files are judged
by their content, never by their name alone. Those that only a full parse can judge are read in a child process with
limits on memory and time, since a hostile file may be made to exhaust either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from ..entities.model import Scan
from ..errors import UnsafeModel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..trees import Tree

VERDICTS = ("data-only", "known-pickle", "unknown-names", "not-inspected", "blocked")  # from harmless to worst
LOADABLE = ("data-only", "known-pickle")
CHILD_SECONDS = 120
MAX_SHOWN = 20


def scan_tree(tree: Tree) -> Scan:
    """Look into every file of a tree; the worst file decides the verdict.

    =============  ==============================================================
    data-only      no way to run code was found
    known-pickle   a pickle that names only things on the allow-list
    unknown-names  it names something that is not on the list
    not-inspected  it could not be read to its end, or is of an unreadable format
    blocked        it names something that only an attack uses
    =============  ==============================================================
    """
    from .formats import needs_child

    files = [(item.path, tree.local_path(item.path)) for item in tree.files()]
    risky = [(path, local) for path, local in files if local is None or needs_child(path, local)]
    found = _inspect_in_child(risky) if risky else []
    verdicts = [verdict for verdict, _ in found] or ["data-only"]
    findings = [line for _, lines in found for line in lines]
    return Scan(verdict=max(verdicts, key=VERDICTS.index), findings=findings[:MAX_SHOWN])


def audit(scan: Scan, what: str, *, is_trusted: bool) -> None:
    """Let a scan pass that cannot run code, or that somebody vouches for.

    Raises
    ------
    UnsafeModel
        If loading may run code; the message says why and how to allow it.
    """
    if is_trusted or scan.verdict in LOADABLE:
        return
    reason = {
        "unknown-names": "loading it calls on names that are not known to be safe",
        "not-inspected": "it could not be inspected to its end",
        "blocked": "loading it would run code that has no place in a model",
    }[scan.verdict]
    shown = "; ".join(scan.findings[:3]) + (f" and {len(scan.findings) - 3} more" if len(scan.findings) > 3 else "")
    raise UnsafeModel(f"{what} is not loaded: {reason} ({shown}). If you trust whoever made it, add --trust (in Python trust=True).")


def _inspect_in_child(files: list[tuple[str, str | None]]) -> list[tuple[str, list[str]]]:
    """Inspect files in a process of its own; what it does not come back with counts as not inspected."""
    here = [(path, local) for path, local in files if local is not None]
    far = [("not-inspected", [f"{path}: it lies on another machine"]) for path, local in files if local is None]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "jupyter_modelreg.trust.child"],
            input=json.dumps(here),
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            env=environment,
            check=False,
        )
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.endswith("]")]
    except subprocess.TimeoutExpired:
        lines = []
    seen = [(str(verdict), list(findings)) for verdict, findings in lines]
    unread = [("not-inspected", [f"{path}: too large or too costly to inspect"]) for path, _ in here[len(seen) :]]
    return [*seen, *unread, *far]
