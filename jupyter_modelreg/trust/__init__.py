"""What a model's files would do when they load, found out without loading them.

A scanner is a tripwire, not a wall: it names what it found, and what it could not read is not trusted. Files are judged
by their content, never by their name alone. Those that only a full parse can judge are read in a child process with
limits on memory and time, since a hostile file may be made to exhaust either.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from ..entities.model import Scan
from ..errors import Unavailable, UnsafeModel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..trees import Tree
    from .containers import Finding

LOADABLE = ("data-only", "known-pickle")
CHILD_SECONDS = 120
MAX_SHOWN = 20
MAX_REMEMBERED = 256
_scans: dict[str, Scan] = {}


def scan_tree(tree: Tree, *, digest: str = "") -> Scan:
    """Look into every file of a tree; the worst file decides the verdict.

    `digest` is that of the tree's content, where it is known and was verified: such a tree is looked into once in a process.

    =============  ==============================================================
    data-only      no way to run code was found
    known-pickle   a pickle that names only things on the allow-list
    unknown-names  it names something that is not on the list
    not-inspected  it could not be read to its end, or is of an unreadable format
    blocked        it names something that only an attack uses
    =============  ==============================================================

    Raises
    ------
    Unavailable
        If the disk fails while a file is read, or the folder for temporary files is full.
    """
    scan = _scans.get(digest) or _scan(tree)
    if digest and scan.verdict != "not-inspected":  # which the next look may get beyond
        while len(_scans) >= MAX_REMEMBERED:
            _scans.pop(next(iter(_scans)), None)
        _scans[digest] = scan
    return scan


def _scan(tree: Tree) -> Scan:
    from .formats import VERDICTS

    try:
        with tempfile.TemporaryDirectory(prefix="modelreg-", ignore_cleanup_errors=True) as scratch:
            found = list(_inspect_in_child(list(_costly_files(tree, scratch))))
    except OSError as error:
        raise Unavailable(
            f"{tree.root} cannot be inspected: {error}. Is there room for temporary files? TMPDIR names their folder."
        ) from None
    found.sort(key=lambda item: -VERDICTS.index(item[0]))
    findings = [line for _, lines in found for line in lines]
    return Scan(verdict=found[0][0] if found else "data-only", findings=findings[:MAX_SHOWN])


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


def _costly_files(tree: Tree, scratch: str) -> Iterator[tuple[str, str]]:
    """Yield the files that another process must look into, and where they lie; what is no file of its own is copied."""
    from .formats import needs_child

    for number, item in enumerate(tree.files()):
        with tree.open(item.path) as stream:
            if not needs_child(item.path, stream):
                continue
            local = tree.local_path(item.path)
            if local is None:
                local = os.path.join(scratch, str(number))
                stream.seek(0)
                with open(local, "xb") as copy:
                    shutil.copyfileobj(stream, copy, 4 << 20)
        yield item.path, local


def _inspect_in_child(files: list[tuple[str, str]]) -> Iterator[Finding]:
    """Inspect files in a process of its own; a file that ends it is not inspected, and those behind it go to the next."""
    deadline = time.monotonic() + CHILD_SECONDS
    while files:
        seconds = deadline - time.monotonic()
        seen = _run_child(files, seconds) if seconds > 0 else []
        yield from seen
        if len(seen) < len(files):
            yield "not-inspected", [f"{files[len(seen)][0]}: too large or too costly to inspect"]
        files = files[len(seen) + 1 :]


def _run_child(files: list[tuple[str, str]], seconds: float) -> list[Finding]:
    # -P and no empty entry: what lies in the working folder is perhaps the model, and is not imported.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "jupyter_modelreg.trust.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        said, _ = child.communicate(json.dumps(files), timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        said, _ = child.communicate()
    lines = [json.loads(line) for line in said.splitlines() if line.endswith("]")]
    return [(str(verdict), list(findings)) for verdict, findings in lines]
