"""Run the faults named on the command line, or all, and print one table of counts."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from .registry import Counts

# Fault: its module, rounds of a run, rounds of a long run.
FAULTS = {
    "F1": ("kills", 1000, 20_000),
    "F2": ("steps", 1_000_000, 1_000_000),
    "F3": ("power", 200, 5000),
    "F4": ("io_errors", 280, 2000),
    "F4b": ("failing_steps", 300, 1_000_000),
    "F5": ("full_disk", 500, 5000),
    "F6": ("writers", 500, 5000),
    "F8": ("downloads", 500, 5000),
    "F11": ("rot", 1000, 20_000),
}
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a killed process leaves what it wrote, flushed or not
LINE = "{:5} {:14} {:>7} {:>13} {:>6} {:>8} {:>8}  {}"


def main(words: list[str]) -> int:
    """Return 0 when nothing was lost and nothing corrupt, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"one of {', '.join(FAULTS)}; all when left out")
    parser.add_argument("--rounds", type=int, help="instead of each fault's own number")
    parser.add_argument("--long", action="store_true", help="a nightly's numbers; hours")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(words)
    unknown = [name for name in options.names if name not in FAULTS]
    if unknown:
        parser.error(f"there is no fault {', '.join(unknown)}; known: {', '.join(FAULTS)}")
    print(LINE.format("fault", "", "rounds", "acknowledged", "lost", "corrupt", "seconds", "also counted"))
    failed = [name for name in options.names or FAULTS if not _run(name, options)]
    print(f"\nFAILED: {', '.join(failed)}" if failed else "\nNothing lost, nothing corrupt.")
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    module, rounds, many = FAULTS[name]
    fault = import_module(f".{module}", __package__)
    reason = fault.why_not() if hasattr(fault, "why_not") else ""
    if reason:
        print(LINE.format(name, module, 0, "", "", "", "", f"left out: {reason}"), flush=True)
        return True
    rounds = options.rounds or (many if options.long else rounds)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-", dir=SCRATCH) as scratch:
        counts: Counts = fault.run(Path(scratch), rounds, options.seed)
    others = ", ".join(f"{count} {what}" for what, count in sorted(counts.others.items()))
    seconds = f"{time.monotonic() - start:.1f}"
    print(LINE.format(name, module, rounds, counts.acknowledged, counts.lost, counts.corrupt, seconds, others), flush=True)
    return counts.is_clean


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
