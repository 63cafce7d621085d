"""What one deployment's instance counts of itself: for Prometheus as text, for the supervisor and `show` as a few numbers.

A request costs one increment here. Latencies lie in buckets ten to a decade, from which Prometheus' buckets are sums and
quantiles are read to within an eighth.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from contextlib import suppress
from time import monotonic, process_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WINDOW_SECONDS = 60.0
STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
BOUNDS = [step * 10.0**decade for decade in range(-5, 3) for step in STEPS]  # 10 microseconds to 800 seconds
SHOWN_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
SHOWN_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
REASONS = {
    400: "malformed",
    401: "key",
    403: "origin",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    415: "type",
    421: "host",
    429: "busy",
    431: "header",
    503: "unready",
}


class Window:
    """What happened since a moment."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.latencies = [0] * (len(BOUNDS) + 1)
        self.errors = self.batches = self.batched = 0
        self.model_seconds = 0.0


class Metrics:
    """Counts of one instance; everything is called in the loop's thread."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self.answers: Counter[int] = Counter()  # by status
        self.rejects: Counter[str] = Counter()  # by reason
        self.sizes: Counter[int] = Counter()  # requests in a batch
        self.model_seconds = self.answer_seconds = 0.0
        self._latencies = [0] * (len(BOUNDS) + 1)
        self._began = monotonic()
        self._now, self._before = Window(), Window()

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer and the time since its request was there."""
        self.answers[status] += 1
        self.answer_seconds += seconds
        window = self._window()
        window.latencies[bisect_left(BOUNDS, seconds)] += 1
        if status >= 400:
            self._count_failure(status)

    def rejected(self, status: int) -> None:
        """Count what was refused by its head, or never became a request."""
        self.answers[status] += 1
        self._count_failure(status)

    def ran(self, requests: int, seconds: float) -> None:
        """Count one call of the model, for one or more requests."""
        self.sizes[requests] += 1
        self.model_seconds += seconds
        window = self._window()
        window.model_seconds += seconds
        window.batches += 1
        window.batched += requests

    def ran_step(self, seconds: float) -> None:
        """Count the time of one step of a stream."""
        self.model_seconds += seconds
        self._window().model_seconds += seconds

    def stats(self, *, waiting: int = 0, running_seconds: float = 0.0) -> dict[str, Any]:
        """Return the numbers that a person and the supervisor look at, those of the last one to two minutes where they are rates."""
        now, before = self._window(), self._before
        latencies = [a + b for a, b in zip(now.latencies, before.latencies, strict=True)]
        past = max(monotonic() - before.began, 0.001)
        batches = now.batches + before.batches
        return {
            "requests": sum(self.answers.values()),
            "errors": sum(count for status, count in self.answers.items() if status >= 400),
            "requests_per_second": round(sum(latencies) / past, 3),
            "errors_per_second": round((now.errors + before.errors) / past, 3),
            **{f"p{share}_ms": _quantile_ms(latencies, share / 100) for share in (50, 95, 99)},
            "busy_share": round(min((now.model_seconds + before.model_seconds) / past, 1.0), 4),
            "batches": batches,
            "batched": now.batched + before.batched,
            "model_seconds": round(self.model_seconds, 6),
            "waiting": waiting,
            "running_seconds": round(running_seconds, 3),
        }

    def text(self, *, waiting: int = 0, in_flight: int = 0) -> str:
        """Return all counts in Prometheus' text format."""
        now = self._window()
        every = [sum(counts) for counts in zip(self._latencies, self._before.latencies, now.latencies, strict=True)]
        name = f'deployment="{self.deployment}"'
        lines = [
            *_counter("modelreg_answers_total", "Answers by HTTP status.", name, "status", dict(sorted(self.answers.items()))),
            *_counter("modelreg_rejects_total", "Requests that were not answered with 2xx, by reason.", name, "reason", self.rejects),
            *_histogram("modelreg_request_seconds", "From a request's last byte to its answer.", name, *_shown(every), self.answer_seconds),
            *_histogram("modelreg_batch_size", "Requests in one call of the model.", name, *_shown_sizes(self.sizes)),
            *_single("modelreg_model_seconds_total", "counter", "Time in the model.", name, f"{self.model_seconds:.6f}"),
            *_single("modelreg_waiting", "gauge", "Requests that are with the model or wait for it.", name, waiting),
            *_single("modelreg_in_flight", "gauge", "Requests that are with the model.", name, in_flight),
            *_single(
                "modelreg_uptime_seconds", "gauge", "Time since the instance began to count.", name, f"{monotonic() - self._began:.0f}"
            ),
        ]
        # The names that Prometheus' own client libraries use.
        lines += _single("process_cpu_seconds_total", "counter", "Time on a processor.", name, f"{process_time():.2f}")
        with suppress(OSError), open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[1])
            lines += _single("process_resident_memory_bytes", "gauge", "Memory in use.", name, pages * os.sysconf("SC_PAGE_SIZE"))
        return "\n".join([*lines, ""])

    def _count_failure(self, status: int) -> None:
        self._window().errors += 1
        self.rejects[REASONS.get(status, "model" if status in (424, 500) else "other")] += 1

    def _window(self) -> Window:
        if monotonic() - self._now.began > WINDOW_SECONDS:
            for place, count in enumerate(self._before.latencies):
                self._latencies[place] += count
            self._before, self._now = self._now, Window()
        return self._now


def merged(texts: dict[tuple[str, str], str | None]) -> str:
    """Return what several instances count as one text, each sample with the number of its instance.

    Parameters
    ----------
    texts
        By deployment and number what each says; None for one that did not answer.
    """
    families: dict[str, tuple[list[str], list[str]]] = {}
    name = "modelreg_instance_up"
    about = [f"# HELP {name} Whether the instance said how it does.", f"# TYPE {name} gauge"]
    families[name] = (
        about,
        [f'{name}{{deployment="{deployment}",worker="{number}"}} {int(text is not None)}' for (deployment, number), text in texts.items()],
    )
    for (_, number), text in texts.items():
        for line in (text or "").splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            about, samples = families.setdefault(name, ([], []))
            if not line.startswith("#"):
                samples.append(line.replace("{", f'{{worker="{number}",', 1))
            elif line not in about:
                about.append(line)
    return "\n".join([*(line for about, samples in families.values() for line in (*about, *samples)), ""])


def _quantile_ms(counts: list[int], share: float) -> float | None:
    """Return the latency below which a share of the requests lie, within its bucket by proportion; None without any."""
    wanted, seen = share * sum(counts), 0
    if not wanted:
        return None
    for place, count in enumerate(counts):
        if count and seen + count >= wanted:
            low, high = BOUNDS[place - 1] if place else 0.0, BOUNDS[min(place, len(BOUNDS) - 1)]
            return round(1000 * (low + (high - low) * (wanted - seen) / count), 3)
        seen += count
    raise AssertionError("a share is at most one")


def _shown(counts: list[int]) -> tuple[list[tuple[str, int]], int]:
    places = [bisect_left(BOUNDS, bound * 1.0001) for bound in SHOWN_SECONDS]
    return [(f"{bound:g}", sum(counts[:place])) for bound, place in zip(SHOWN_SECONDS, places, strict=True)], sum(counts)


def _shown_sizes(sizes: Counter[int]) -> tuple[list[tuple[str, int]], int, int]:
    below = [(str(bound), sum(count for size, count in sizes.items() if size <= bound)) for bound in SHOWN_SIZES]
    return below, sum(sizes.values()), sum(size * count for size, count in sizes.items())


def _counter(name: str, about: str, deployment: str, label: str, counts: dict[Any, int]) -> list[str]:
    lines = [f'{name}{{{deployment},{label}="{key}"}} {count}' for key, count in counts.items()]
    return [f"# HELP {name} {about}", f"# TYPE {name} counter", *lines]


def _histogram(name: str, about: str, deployment: str, below: list[tuple[str, int]], count: int, total: float) -> list[str]:
    return [
        f"# HELP {name} {about}",
        f"# TYPE {name} histogram",
        *(f'{name}_bucket{{{deployment},le="{bound}"}} {number}' for bound, number in below),
        f'{name}_bucket{{{deployment},le="+Inf"}} {count}',
        f"{name}_sum{{{deployment}}} {total:.6f}" if isinstance(total, float) else f"{name}_sum{{{deployment}}} {total}",
        f"{name}_count{{{deployment}}} {count}",
    ]


def _single(name: str, kind: str, about: str, deployment: str, value: object) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name}{{{deployment}}} {value}"]
