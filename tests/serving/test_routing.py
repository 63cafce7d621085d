"""Which deployment answers: by name, by shares, and what a mirror does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import NotFound
from jupyter_modelreg.serving import routing
from jupyter_modelreg.serving.frames import FrameServer
from jupyter_modelreg.serving.http import Pending, Request, Response, json_response
from jupyter_modelreg.serving.routing import Router

from .test_frames import TIMEOUT, a_request, endless, in_words, run

DRAWS = 20_000


class Endpoint:
    """``routes.json`` and a router of ``blue``'s that reads it."""

    def __init__(self, folder: Path, **about: Any) -> None:
        self.path = folder / "routes.json"
        self.write(**about)
        self.router = Router(str(self.path), "blue")

    def write(self, **about: Any) -> None:
        """Replace the routes as a supervisor does."""
        routes = {"front": "blue", "traffic": {}, "mirror_traffic": {}, "deployments": {"blue": [], "green": []}, **about}
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps(routes))
        scratch.replace(self.path)

    def counts(self, **headers: str) -> Counter[str]:
        """Route many requests and count who answers."""
        return Counter(self.router.choose(a_request(**headers)) for _ in range(DRAWS))


def bounds(share: float, draws: int = DRAWS) -> tuple[float, float]:
    """Return what a share comes to but once in a million times."""
    spread = 5 * (share * (1 - share) * draws) ** 0.5
    return share * draws - spread, share * draws + spread


def assert_share(count: int, share: float) -> None:
    """Hold a count against its share."""
    low, high = bounds(share)
    assert low <= count <= high


# --- shares ---------------------------------------------------------------------------------------------------------


def test_all_traffic_is_exactly_all(tmp_path: Path) -> None:
    assert Endpoint(tmp_path, traffic={"blue": 100, "green": 0}).counts() == {"blue": DRAWS}


@pytest.mark.parametrize(
    ("traffic", "share"),
    [
        ({"blue": 90, "green": 10}, 0.1),
        ({"blue": 1, "green": 99}, 0.99),
        ({"blue": 30, "green": 10}, 0.25),
        ({"green": 20}, 1.0),
    ],
    ids=str,
)
def test_shares_hold_in_the_long_run_and_are_relative_to_their_sum(traffic: dict[str, int], share: float, tmp_path: Path) -> None:
    assert_share(Endpoint(tmp_path, traffic=traffic).counts()["green"], share)


def test_three_deployments_share_as_they_should(tmp_path: Path) -> None:
    deployments: dict[str, list[str]] = {"blue": [], "green": [], "red": []}
    counts = Endpoint(tmp_path, traffic={"blue": 50, "green": 30, "red": 20}, deployments=deployments).counts()
    for name, share in (("blue", 0.5), ("green", 0.3), ("red", 0.2)):
        assert_share(counts[name], share)


@pytest.mark.parametrize("traffic", [{}, {"blue": 0, "green": 0}], ids=str)
def test_without_traffic_nobody_answers_a_request_without_a_name(traffic: dict[str, int], tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, traffic=traffic)
    with pytest.raises(NotFound, match="no deployment with positive weight; name one with the header azureml-model-deployment"):
        endpoint.router.choose(a_request())
    assert endpoint.counts(**{"azureml-model-deployment": "green"}) == {"green": DRAWS}


def test_a_name_wins_over_shares_and_one_that_nobody_has_is_told_who_is_there(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, traffic={"blue": 100})
    assert endpoint.router.choose(a_request(**{"azureml-model-deployment": "green"})) == "green"
    with pytest.raises(NotFound, match=r'Deployment "red" not found; this endpoint has "blue", "green"\.'):
        endpoint.router.choose(a_request(**{"azureml-model-deployment": "red"}))


# --- the file -------------------------------------------------------------------------------------------------------


def test_new_routes_hold_at_once_when_told_and_soon_when_not(tmp_path: Path) -> None:
    async def story() -> None:
        endpoint = Endpoint(tmp_path, traffic={"blue": 100})
        endpoint.write(traffic={"green": 100}, front="green")
        endpoint.router.look()
        assert endpoint.router.choose(a_request()) == "green"
        assert not endpoint.router.is_front
        endpoint.write(traffic={"blue": 100})
        await asyncio.sleep(routing.LOOK_SECONDS * 1.2)
        assert endpoint.router.choose(a_request()) == "blue"
        assert endpoint.router.is_front

    run(story())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"traffic": 3}', '{"deployments": {"blue": 3}}', '{"traffic": {"blue": "x"}}'])
def test_broken_routes_leave_those_before_them(text: str, tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, traffic={"green": 100})
    endpoint.path.write_text(text)
    endpoint.router.look()
    assert endpoint.router.choose(a_request()) == "green"
    endpoint.path.unlink()
    endpoint.router.look()
    assert endpoint.router.choose(a_request()) == "green"
    endpoint.write(traffic={"blue": 100})
    endpoint.router.look()
    assert endpoint.router.choose(a_request()) == "blue"


# --- others ---------------------------------------------------------------------------------------------------------


def test_what_is_anothers_is_answered_there_and_its_end_in_between_is_a_502(tmp_path: Path) -> None:
    async def story() -> None:
        def answer(request: Request) -> Response | Pending:
            return json_response(request.is_forwarded) if request.body == b"[1]" else Pending()

        server = FrameServer(str(tmp_path / "green.sock"), answer)
        await server.start()
        router = Endpoint(tmp_path, deployments={"blue": [], "green": [server.path]}).router
        assert (await router.forward(a_request(), "green", in_words)).body == b"true"
        asked = router.forward(a_request(b"wait"), "green", in_words)
        await asyncio.sleep(0.05)
        await server.stop(0)
        assert (await asked).status == 502
        router.pool.close()

    run(story())


# --- mirrors --------------------------------------------------------------------------------------------------------


class Mirrored:
    """An endpoint whose ``green`` answers copies of what ``blue`` answers."""

    def __init__(self, folder: Path, answer: Any, share: int = 50) -> None:
        self.copies: list[Request] = []
        self._answer = answer
        self.server = FrameServer(str(folder / "green.sock"), self._take)
        deployments = {"blue": [], "green": [self.server.path]}
        self.router = Endpoint(folder, traffic={"blue": 100}, mirror_traffic={"green": share}, deployments=deployments).router

    def _take(self, request: Request) -> Any:
        self.copies.append(request)
        return self._answer(request)

    async def __aenter__(self) -> Mirrored:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.router.pool.close()
        await self.server.stop(0.1)

    def live(self, response: Response, **headers: str) -> None:
        """Have blue answer one request."""
        request = a_request(**headers)
        assert self.router.choose(request) == headers.get("azureml-model-deployment", "blue")
        self.router.copy(request, response, "blue")

    async def compared(self, count: int) -> Counter[str]:
        """Wait until so many copies were compared."""
        async with asyncio.timeout(TIMEOUT):
            while self.router.mirrored.total() < count:
                await asyncio.sleep(0.005)
        return Counter({result: number for (_, result), number in self.router.mirrored.items()})


@pytest.mark.parametrize(
    ("live", "mirror", "result"),
    [
        (json_response([1, 0.5]), json_response([1, 0.5 + 1e-10]), "equal"),
        (json_response({"predictions": [1]}), Response(body=b'{"predictions":  [1]}'), "equal"),
        (json_response({"model_version": "1", "outputs": [1]}), json_response({"model_version": "2", "outputs": [1]}), "equal"),
        (json_response({"m": 1}, 400), json_response({"m": 2}, 400), "equal"),
        (json_response([1]), json_response([2]), "different"),
        (json_response([1]), json_response([1, 2]), "different"),
        (json_response([True]), json_response([1.5]), "different"),
        (json_response({"m": 1}, 400), json_response([1]), "different"),
        (Response(body=b"\x00"), Response(body=b"\x01"), "different"),
        (json_response([1]), json_response({"m": 1}, 500), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.body.decode("latin-1"),
)
def test_a_mirrors_answer_is_compared_by_what_it_means(live: Response, mirror: Response, result: str, tmp_path: Path) -> None:
    assert routing._comparison(live, mirror) == result


def test_a_mirror_gets_its_share_of_copies_and_they_are_counted(tmp_path: Path) -> None:
    async def story() -> None:
        async with Mirrored(tmp_path, lambda request: json_response([1]), share=10) as endpoint:
            for _ in range(2000):
                endpoint.live(json_response([1]))
                await asyncio.sleep(0)
            count = len(endpoint.copies)
            low, high = bounds(0.1, 2000)
            assert low <= (await endpoint.compared(count))["equal"] <= high
            assert (
                f'modelreg_mirrored_total{{deployment="blue",mirror="green",result="equal"}} {endpoint.router.mirrored["green", "equal"]}'
                in (endpoint.router.metrics_text())
            )
            assert {request.body for request in endpoint.copies} == {b"[1]"}

    run(story())


def test_more_than_half_is_never_mirrored(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, traffic={"blue": 100}, mirror_traffic={"green": 100})
    requests = [a_request() for _ in range(DRAWS)]
    for request in requests:
        endpoint.router.choose(request)
    assert_share(sum(request.mirror == "green" for request in requests), 0.5)


def test_a_request_to_one_deployment_by_name_is_not_copied(tmp_path: Path) -> None:
    async def story() -> None:
        async with Mirrored(tmp_path, lambda request: json_response([1])) as endpoint:
            for _ in range(100):
                endpoint.live(json_response([1]), **{"azureml-model-deployment": "blue"})
            await asyncio.sleep(0.05)
            assert endpoint.copies == []

    run(story())


def test_a_mirror_that_hangs_takes_a_bounded_number_of_copies_and_nothing_from_the_live_answers(tmp_path: Path) -> None:
    async def story() -> None:
        async with Mirrored(tmp_path, lambda request: Pending()) as endpoint:
            for _ in range(1000):
                endpoint.live(json_response([1]))
            await asyncio.sleep(0.1)
            assert len(endpoint.copies) == routing.MAX_MIRRORING
            assert set(endpoint.router.mirrored) == {("green", "dropped")}

    run(story())


def test_a_mirror_that_streams_is_heard_and_its_stream_closed(tmp_path: Path) -> None:
    async def story() -> None:
        closed = asyncio.Event()

        async with Mirrored(tmp_path, lambda request: Response(stream=endless(closed))) as endpoint:
            while not endpoint.copies:
                endpoint.live(json_response([1]))
                await asyncio.sleep(0.005)
            await asyncio.wait_for(closed.wait(), TIMEOUT)
            assert set(await endpoint.compared(1)) == {"different"}

    run(story())


def test_a_live_answer_of_another_deployment_is_mirrored_once_it_is_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with Mirrored(tmp_path, lambda request: json_response([1])) as endpoint:
            request = a_request()
            request.mirror = "green"
            server = FrameServer(str(tmp_path / "red.sock"), lambda request: json_response([2]))
            await server.start()
            Endpoint(tmp_path, deployments={"blue": [], "green": [endpoint.server.path], "red": [server.path]})
            endpoint.router.look()
            assert (await endpoint.router.forward(request, "red", in_words)).body == b"[2]"
            assert await endpoint.compared(1) == {"different": 1}
            await server.stop(0)

    run(story())
