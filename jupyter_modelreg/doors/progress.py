"""How far a long copy is: a line of a terminal, a bar in a notebook. What is quick draws nothing; what was drawn goes.

::

    churn  41% ████▌        8.2/20.0 GB   512 MB/s  0:23 left
"""

from __future__ import annotations

import os
import sys
from collections import deque
from time import monotonic

from .display import escape_control, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TextIO

    class Screen(Protocol):
        """Where a bar is drawn."""

        def show(self, label: str, share: float, facts: list[str]) -> None:
            """Draw in the place of what was drawn before; of the facts the last ones matter least."""
            ...

        def clear(self) -> None:
            """Leave nothing behind."""
            ...


PATIENCE_SECONDS = 0.5
REDRAW_SECONDS = 0.1
RATE_SECONDS = 5.0  # a rate is of the last few seconds: a disk slows down, a network comes back
MAX_BAR, MIN_BAR, MAX_LABEL = 30, 8, 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Bar:
    """Draws how far something is: call it with what is done and what there is in all, in bytes. `close` takes it away."""

    def __init__(self, label: str, screen: Screen) -> None:
        self._label, self._screen = escape_control(label), screen
        self._seen: deque[tuple[float, int]] = deque()
        self._start: float | None = None  # when it was first called: a person may think long about a question before
        self._drawn = 0.0
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        """Draw, unless it was drawn a moment ago; the end is drawn at once."""
        now = monotonic()
        self._start = now if self._start is None else self._start
        if self._seen and done < self._seen[-1][1]:  # a second part begins, such as an upload
            self._seen.clear()
        is_early = now - self._start < PATIENCE_SECONDS or (now - self._drawn < REDRAW_SECONDS and done < total)
        if self._seen and is_early:
            return
        self._seen.append((now, done))
        while now - self._seen[0][0] > RATE_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        if total and not is_early:
            self._drawn, self._is_shown = now, True
            self._screen.show(self._label, min(done / total, 1.0), facts(done, total, self._rate()))

    def _rate(self) -> float:
        (first, before), (last, done) = self._seen[0], self._seen[-1]
        return (done - before) / (last - first) if last > first else 0.0

    def close(self) -> None:
        """Take away what was drawn."""
        if self._is_shown:
            self._is_shown = False
            self._screen.clear()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TerminalScreen:
    """One line of standard error, as wide as the terminal allows."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def show(self, label: str, share: float, facts: list[str]) -> None:
        """Draw over the line."""
        text = bar_text(label, share, facts, self._columns(), is_plain="utf" not in (self._stream.encoding or "").lower())
        print(f"\r{text}\033[K", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Empty the line."""
        print("\r\033[K", end="", file=self._stream, flush=True)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80


class NotebookScreen:
    """A bar in a cell's output, which is emptied when it has ended."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, label: str, share: float, facts: list[str]) -> None:
        """Draw in the place of what was drawn before."""
        from .html import progress_html

        self._display({"text/html": progress_html(label, share, facts), "text/plain": bar_text(label, share, facts, 80)})

    def clear(self) -> None:
        """Empty the output."""
        self._display({"text/html": "", "text/plain": ""})

    def _display(self, bundle: dict[str, str]) -> None:
        from IPython import display

        if self._handle is not None:
            self._handle.update(bundle, raw=True)
            return
        handle: Any = display.DisplayHandle  # untyped
        self._handle = handle()
        self._handle.display(bundle, raw=True)


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person watches a stream that can draw over its own line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def facts(done: int, total: int, rate: float) -> list[str]:
    """Return how much, how fast and how long still, each as wide at every moment as at the last."""
    if done >= total:
        return [amount_text(total, total), "finishing"]  # the disk may take a while to have it all
    left = left_text((total - done) / rate) if rate > 0 else ""
    return [amount_text(done, total), f"{size_text(int(rate)) + '/s' if rate > 0 else '':>9}", left]


def amount_text(done: int, total: int) -> str:
    """Return a part of a whole in the whole's unit: `` 8.2/20.0 GB``."""
    whole = size_text(total)
    number, unit = whole.split()
    digits = len(number.partition(".")[2])
    power = ("B", "kB", "MB", "GB", "TB").index(unit)
    return f"{done / 1000**power:>{len(number)}.{digits}f}/{whole}"


def left_text(seconds: float) -> str:
    """Return a time as a clock shows it: ``0:23 left``; nothing where it is no better than a guess."""
    minutes, rest = divmod(int(seconds + 0.99), 60)
    hours, minutes = divmod(minutes, 60)
    if hours > 99:
        return ""
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


def bar_text(label: str, share: float, facts: list[str], columns: int, *, is_plain: bool = False) -> str:
    """Return one line of at most `columns` - 1: what does not fit is left out, the bar last of all but the share."""
    head = f"{label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + '…'}  {int(share * 100):3}%"  # 100 % is when it is done
    if is_plain:
        head = head.encode("ascii", "replace").decode()
    room = columns - 1 - len(head)
    shown = list(facts)
    while shown and room < MIN_BAR + sum(len(fact) + 2 for fact in shown) + 1:
        shown.pop()
    width = min(MAX_BAR, room - sum(len(fact) + 2 for fact in shown) - 1)
    bar = f" {_drawn(share, width, is_plain)}" if width >= MIN_BAR else ""
    return "  ".join([head + bar, *shown])[: columns - 1].rstrip()


def _drawn(share: float, width: int, is_plain: bool) -> str:
    if is_plain:
        return f"{'#' * int(share * width):<{width}}"
    whole, part = divmod(int(share * width * 8), 8)
    return f"{'█' * whole}{_EIGHTHS[part] if part else ''}".ljust(width)
