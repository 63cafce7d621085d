"""Interleaved rounds and their medians: what slows the machine for a while slows ours and the peer alike."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

MODELREG = str(Path(sys.executable).with_name("modelreg"))
BARE_PYTHON = [sys.executable, "-c", "pass"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, in seconds unless `say` says otherwise. A row without a limit is always ok."""

    what: str
    ours: float
    peer_name: str
    peer: float
    limit: str
    is_ok: bool
    say: Callable[[float], str] = lambda seconds: _say_seconds(seconds)
    is_here: bool = True


def at_most_times(what: str, ours: float, peer_name: str, peer: float, times: float) -> Row:
    """Make a row that holds when ours takes at most `times` the peer's time."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit=f"≤ {times:.3g}×", is_ok=ours <= times * peer)


def at_least_faster(what: str, ours: float, peer_name: str, peer: float, times: float) -> Row:
    """Make a row that holds when the peer takes at least `times` our time."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit=f"≤ 1/{times:g}", is_ok=ours * times <= peer)


def within_seconds(what: str, ours: float, peer_name: str, peer: float, seconds: float) -> Row:
    """Make a row that holds when ours takes less than `seconds`; the peer shows what the machine can do."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit=f"< {_say_seconds(seconds)}", is_ok=ours < seconds)


def over_peer(what: str, ours: float, peer_name: str, peer: float, seconds: float) -> Row:
    """Make a row that holds when ours takes less than `seconds` longer than the peer."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit=f"< +{_say_seconds(seconds)}", is_ok=ours - peer < seconds)


def at_most_bytes(what: str, ours: float, peer_name: str, peer: float, limit: float) -> Row:
    """Make a row that holds when ours takes at most `limit` bytes."""
    is_ok = ours <= limit
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit=f"≤ {_say_bytes(limit)}", is_ok=is_ok, say=_say_bytes)


def not_here(what: str, ours: float, peer_name: str, limit: str) -> Row:
    """Make a row whose peer could not be measured: nobody knows whether it holds, so it does not."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=math.nan, limit=limit, is_ok=False, is_here=False)


def without_limit(what: str, ours: float, peer_name: str, peer: float) -> Row:
    """Make a row that only shows."""
    return Row(what=what, ours=ours, peer_name=peer_name, peer=peer, limit="", is_ok=True)


def medians(rounds: int, *steps: Callable[[], float | None]) -> list[float]:
    """Run the steps in turn, `rounds` times, and return each one's median seconds.

    A step that returns a number has measured itself; another is measured from outside. One turn before the first
    warms caches and counts for nothing.
    """
    seconds: list[list[float]] = [[] for _ in steps]
    for number in range(rounds + 1):
        for step, found in zip(steps, seconds, strict=True):
            start = perf_counter()
            own = step()
            if number:
                found.append(perf_counter() - start if own is None else own)
    return [statistics.median(found) for found in seconds]


def command(*words: str | Path, home: Path | None = None) -> Callable[[], None]:
    """Return a step that runs a program to its end; its exit code must be 0."""
    environment = {**os.environ, **({"MODELREG_HOME": str(home)} if home else {})}
    return lambda: run(*words, environment=environment)


def run(*words: str | Path, environment: dict[str, str]) -> None:
    """Run a program to its end.

    Raises
    ------
    RuntimeError
        If its exit code is not 0; a failed program measures nothing.
    """
    done = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")


def show(row: Row) -> str:
    """Return a row as one line of the table; see :data:`HEADING`."""
    if not row.is_here:
        return _LINE.format(row.what, row.say(row.ours), "-", row.peer_name, "-", row.limit, "not here")
    ratio = row.ours / row.peer
    said = f"{ratio:.2f}×" if ratio >= 0.1 else f"1/{1 / ratio:.0f}" if ratio else "0"
    return _LINE.format(row.what, row.say(row.ours), row.say(row.peer), row.peer_name, said, row.limit, _verdict(row))


def _verdict(row: Row) -> str:
    return "" if not row.limit else "ok" if row.is_ok else "MISSED"


def _say_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def _say_bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


_LINE = "{:<45} {:>9} {:>9}  {:<34} {:>7}  {:>8}  {}"
HEADING = _LINE.format("what", "ours", "peer", "the peer", "ratio", "limit", "")
