"""The bar of a long copy: what it says, when it is drawn, and that nothing of it stays."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from jupyter_modelreg.doors import progress
from jupyter_modelreg.doors.progress import Bar, TerminalScreen, amount_text, bar_text, facts, left_text

GB = 10**9


class Drawn:
    """A screen that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, label: str, share: float, facts: list[str]) -> None:
        self.lines.append(bar_text(label, share, facts, 80))

    def clear(self) -> None:
        self.lines.append("")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


class TestWhatItSays:
    def test_it_fits_every_terminal(self) -> None:
        for columns, share in product(range(1, 130), (0.0, 0.413, 1.0)):
            assert len(bar_text("churn", share, facts(int(20 * GB * share), 20 * GB, 512e6), columns)) < max(columns, 2)

    def test_it_says_how_far_how_much_how_fast_and_how_long_still(self) -> None:
        text = bar_text("churn", 0.41, facts(int(8.2 * GB), 20 * GB, 512e6), 72)
        assert text == "churn   41% █████████▍                8.2/20.0 GB   512 MB/s  0:24 left"

    def test_what_does_not_fit_is_left_out_the_bar_last(self) -> None:
        said = facts(int(8.2 * GB), 20 * GB, 512e6)
        assert bar_text("churn", 0.41, said, 48) == "churn   41% ████         8.2/20.0 GB   512 MB/s"
        assert bar_text("churn", 0.41, said, 24) == "churn   41% ████▌"
        assert bar_text("churn", 0.41, said, 16) == "churn   41%"

    def test_it_is_done_when_it_is_done(self) -> None:
        assert "99%" in bar_text("churn", 0.999, facts(999, 1000, 1.0), 80)
        assert bar_text("churn", 1.0, facts(1000, 1000, 1.0), 80).endswith("1.0/1.0 kB  finishing")

    def test_a_terminal_without_blocks_gets_signs(self) -> None:
        assert bar_text("chürn", 0.5, [], 40, is_plain=True).encode("ascii") == b"ch?rn   50% #############"

    @pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:01 left"), (23, "0:23 left"), (3723, "1:02:03 left"), (1e9, "")])
    def test_time_is_shown_as_a_clock_shows_it(self, seconds: float, text: str) -> None:
        assert left_text(seconds) == text

    def test_a_part_has_the_unit_of_the_whole(self) -> None:
        assert [amount_text(done, 20 * GB) for done in (0, 8_200_000_000, 20 * GB)] == [" 0.0/20.0 GB", " 8.2/20.0 GB", "20.0/20.0 GB"]
        assert amount_text(1, 900) == "  1/900 B"

    def test_a_terminal_obeys_no_name(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        bar = Bar("\033[2J", screen)
        bar(0, 2)
        clock(1.0)
        bar(1, 2)
        assert "\033" not in screen.lines[0]


class TestWhenItIsDrawn:
    def test_what_is_quick_draws_nothing(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        with Bar("churn", screen) as bar:
            for done in range(5):
                clock(done / 10)
                bar(done, 4)
        assert screen.lines == []

    def test_ten_times_a_second_at_most_and_the_end_at_once(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        with Bar("churn", screen) as bar:
            for step in range(2001):
                clock(step / 1000)
                bar(step, 2000)
        assert len(screen.lines) in range(15, 18)
        assert "finishing" in screen.lines[-2]
        assert screen.lines[-1] == ""

    def test_the_rate_is_of_the_last_seconds(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        bar = Bar("churn", screen)
        for second in range(31):
            clock(second)
            bar(second * GB if second < 10 else 10 * GB + (second - 10) * 1_000_000, 100 * GB)
        assert "1.0 GB/s" in screen.lines[5]
        assert "1.0 MB/s" in screen.lines[-1]

    def test_a_second_part_begins_anew(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        bar = Bar("churn", screen)
        for second, done in enumerate([0, GB, 2 * GB, 0, GB // 10, 2 * GB // 10]):
            clock(second)
            bar(done, 2 * GB)
        assert "100 MB/s" in screen.lines[-1]

    def test_nothing_to_copy_draws_nothing(self, clock: Callable[[float], None]) -> None:
        screen = Drawn()
        bar = Bar("churn", screen)
        bar(0, 0)
        clock(9.0)
        bar(0, 0)
        assert screen.lines == []

    def test_an_error_leaves_an_empty_line(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()

        def fail() -> None:
            with Bar("churn", TerminalScreen(_Terminal(stream))) as bar:
                bar(0, 2)
                clock(1.0)
                bar(1, 2)
                raise ValueError

        with pytest.raises(ValueError, match=r"^$"):
            fail()
        assert stream.getvalue().startswith("\rchurn   50%")
        assert stream.getvalue().endswith("\r\033[K")


class _Terminal(io.TextIOWrapper):
    """A stream that says what it is told and has no size."""

    def __init__(self, into: io.StringIO) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._into = into

    def write(self, text: str) -> int:
        return self._into.write(text)

    def fileno(self) -> int:
        raise OSError("none")


def _slow_command(*words: str) -> str:
    """Return a program that runs the command line on a disk that takes its time."""
    return (
        "import sys, time\n"
        "from jupyter_modelreg.storage import LocalStore\n"
        "from jupyter_modelreg.doors import cli\n"
        "kept = LocalStore.import_tree\n"
        "def slow(self, tree, progress=None, **others):\n"
        "    for step in range(8):\n"
        "        progress and (progress(step, 8), time.sleep(0.12))\n"
        "    return kept(self, tree, progress, **others)\n"
        "LocalStore.import_tree = slow\n"
        f"sys.exit(cli.main({list(words)!r}))\n"
    )


@pytest.mark.parametrize(
    ("words", "is_terminal", "is_drawn"), [((), True, True), (("--only-show-errors",), True, False), ((), False, False)]
)
def test_a_person_sees_it_and_a_log_file_does_not(words: tuple[str, ...], is_terminal: bool, is_drawn: bool, tmp_path: Any) -> None:
    (tmp_path / "w.txt").write_text("weights")
    ours, theirs = os.openpty()
    program = _slow_command("model", "create", "churn", "-p", "w.txt", "-o", "none", *words)
    stderr = theirs if is_terminal else subprocess.PIPE
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", program], stderr=stderr, timeout=60, check=True, env=environment)
    os.close(theirs)
    said = done.stderr or b""
    try:
        while is_terminal and (part := os.read(ours, 65536)):
            said += part
    except OSError:  # the other end is closed: all was read
        pass
    os.close(ours)
    assert (b"churn  " in said) == is_drawn
    assert said.endswith(b"\r\033[K" if is_drawn else b"")
