"""Run the benchmarks named on the command line, or all, and print one table."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from .measure import HEADING, Row, show

QUICK = "--quick"  # fewer and shorter rounds, where a benchmark has that
NAMES = ("start", "listing", "search", "endpoint", "register", "store", "serving")


def main(names: list[str]) -> int:
    """Return 0 when every limit held, else 1."""
    names = [name for name in names if name != QUICK]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; known: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    print(HEADING)
    missed = [row for name in names or NAMES for row in _run(name) if not row.is_ok]
    absent = sum(not row.is_here for row in missed)
    print(f"\n{len(missed) - absent} limits missed, {absent} peers not here." if missed else "\nEvery limit held.")
    return 1 if missed else 0


def _run(name: str) -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as scratch:
        for row in import_module(f".{name}", __package__).rows(Path(scratch)):
            print(show(row), flush=True)
            found.append(row)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
