"""Requests that queue while the model is busy are asked together, and each gets its own rows back."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_modelreg.serving import batching
from jupyter_modelreg.serving.azure import Score
from jupyter_modelreg.serving.batching import Batcher, Job
from jupyter_modelreg.serving.calls import Call, ServedModel
from jupyter_modelreg.serving.http import Request
from jupyter_modelreg.serving.metrics import Metrics

from .service import Service
from .wires import columns


class Slow:
    """A model of rows that takes its time, refuses numbers below zero, and keeps how many rows it was given at once."""

    wants = "array"

    def __init__(self, *, is_batchable: bool = True) -> None:
        self.is_batchable, self.calls = is_batchable, list[int]()

    def __call__(self, rows: Any) -> Any:
        self.calls.append(len(rows))
        time.sleep(0.02)
        if (rows < 0).any():
            raise ValueError("a number below zero")
        return rows.sum(axis=1)


REQUESTS = 40


def ask_all(service: Service, first: list[float]) -> list[Any]:
    """Ask for ``[x, 1]`` and ``[x, 2]`` of each number at once, in turn by every protocol; return statuses and sums."""

    def ask(place: int) -> Any:
        rows = [[first[place], 1.0], [first[place], 2.0]]
        bodies = [
            ("/score", {"input_data": rows}, lambda body: body),
            ("/invocations", {"instances": rows}, lambda body: body["predictions"]),
            ("/v1/models/m:predict", {"instances": rows}, lambda body: body["predictions"]),
            (
                "/v2/models/m/infer",
                {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": rows}]},
                lambda body: body["outputs"][0]["data"],
            ),
        ]
        path, body, predictions = bodies[place % len(bodies)]
        answer = service.ask("POST", path, json.dumps(body).encode(), content_type="application/json")
        return answer.status, predictions(answer.json()) if answer.status == 200 else None

    with ThreadPoolExecutor(REQUESTS) as callers:
        return list(callers.map(ask, range(REQUESTS)))


def test_what_queues_is_asked_together_and_everyone_gets_his_own(tmp_path: Path) -> None:
    slow = Slow()
    with Service(tmp_path, [ServedModel("m", predictor=slow, signature=columns("a:double", "b:double"))]) as service:
        answers = ask_all(service, [float(place) for place in range(REQUESTS)])
    assert answers == [(200, [place + 1.0, place + 2.0]) for place in range(REQUESTS)]
    assert sum(slow.calls) == 2 * REQUESTS
    assert len(slow.calls) < REQUESTS / 2


def test_those_answered_together_are_waited_for_and_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LINGER_SHARE", 100.0)
    monkeypatch.setattr(batching, "MAX_LINGER_SECONDS", 0.5)
    model = Slow()

    async def ask_in_turn() -> None:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(ServedModel("m", predictor=model), thread, Metrics("blue"), lambda job, response: None, timeout_seconds=20)

            def ask() -> Job:
                request = Request("POST", "/score", "", {})
                job = Job(request, Score(batcher.model), Call(np.ones((1, 2)), 1, "numbers"), time.perf_counter())
                batcher.submit(job)
                return job

            await asyncio.gather(*[ask() for _ in range(3)])
            first = ask()
            await asyncio.sleep(0.05)  # the loop turns meanwhile
            await asyncio.gather(first, ask(), ask())  # all are here: nobody waits on
            await ask()  # the others never come
            await ask()

    asyncio.run(ask_in_turn())
    assert model.calls == [3, 3, 1, 1]


def test_a_request_that_the_model_refuses_fails_alone(tmp_path: Path) -> None:
    slow, first = Slow(), [-9.0 if place % 10 == 3 else float(place) for place in range(REQUESTS)]
    with Service(tmp_path, [ServedModel("m", predictor=slow, signature=columns("a:double", "b:double"))]) as service:
        answers = ask_all(service, first)
    assert answers == [(400, None) if number < 0 else (200, [number + 1, number + 2]) for number in first]
    assert max(slow.calls) > 2


def test_a_model_that_may_look_at_all_rows_together_is_asked_one_by_one(tmp_path: Path) -> None:
    slow = Slow(is_batchable=False)
    with Service(tmp_path, [ServedModel("m", predictor=slow, signature=columns("a:double", "b:double"))]) as service:
        ask_all(service, [1.0] * REQUESTS)
    assert slow.calls == [2] * REQUESTS


@pytest.mark.parametrize("answer", [lambda rows: rows.sum(), lambda rows: "all", lambda rows: np.zeros(1)])
def test_an_answer_that_has_not_one_row_a_row_is_not_shared_out(tmp_path: Path, answer: Any) -> None:
    class Whole(Slow):
        def __call__(self, rows: Any) -> Any:
            super().__call__(rows)
            return answer(rows)

    whole = Whole()
    with Service(tmp_path, [ServedModel("m", predictor=whole, signature=columns("a:double", "b:double"))]) as service:
        statuses = [status for status, _ in ask_all(service, [1.0] * REQUESTS)]
    assert set(statuses) == {200}
    assert whole.calls.count(2) >= REQUESTS
