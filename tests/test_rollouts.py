"""New versions beside old ones under load: no request is lost, shares hold, and a killed instance costs what it had in hand.

``scripts/rollouts`` runs many more rollouts, kills and hours than a test has time for.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jupyter_modelreg.commands.online import (
    DeleteOnlineDeployment,
    GetOnlineEndpointCredentials,
    RegenerateOnlineEndpointKeys,
    ShowOnlineEndpoint,
    UpdateOnlineDeployment,
)
from jupyter_modelreg.compute import is_alive
from jupyter_modelreg.online import delete_deployment, get_keys, regenerate_keys, show_endpoint, update_deployment
from jupyter_modelreg.workspace import Workspace

from .load import Load
from .serving.test_routing import bounds
from .soak import held_by
from .test_supervisor import deploy, instances_of, kill, share, status_of, supervisor_of, until, workspace  # noqa: F401 - a fixture

ROLLOUTS = int(os.environ.get("MODELREG_TEST_ROLLOUTS", "3"))
HOURS = int(os.environ.get("MODELREG_TEST_HOURS", "1"))
KILLS = int(os.environ.get("MODELREG_TEST_KILLS", "6"))
QUESTIONS = 2000
SCRIPT = """
import json
def init(): pass
def run(raw_data):
    return [WORD, json.loads(raw_data)["number"]]
"""


def address_and_key(workspace: Workspace) -> tuple[str, str]:  # noqa: F811
    """Return host and port of the endpoint, and a key that it takes."""
    uri = str(show_endpoint(workspace, ShowOnlineEndpoint(name="live")).scoring_uri)
    keys: Any = get_keys(workspace, GetOnlineEndpointCredentials(name="live"))
    return uri.split("/")[2], str(keys.primary_key)


class Caller:
    """One kept connection to the endpoint."""

    def __init__(self, workspace: Workspace) -> None:  # noqa: F811
        address, key = address_and_key(workspace)
        self._connection = http.client.HTTPConnection(address, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, **headers: str) -> tuple[Any, str]:
        """Return the body of an answer and the deployment that its header names."""
        self._connection.request("POST", "/score", '{"number": 1}', {**self._headers, **headers})
        response = self._connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return json.loads(text), str(response.headers["azureml-model-deployment"])

    def close(self) -> None:
        """End the connection; the next question opens another."""
        self._connection.close()

    def counts(self, questions: int = QUESTIONS) -> Counter[str]:
        """Ask many times and count who answers, by its answer and by its header alike."""
        found: Counter[str] = Counter()
        for _ in range(questions):
            answer, name = self.ask()
            assert answer == [name, 1]
            found[name] += 1
        return found


def assert_lossless(load: Load) -> None:
    """Every question had its own right answer."""
    assert load.wrong == []
    assert load.failures == []


def test_a_rollout_as_a_person_does_it(workspace: Workspace) -> None:  # noqa: F811
    deploy(workspace, "blue", script=SCRIPT, all_traffic=True)
    caller = Caller(workspace)
    assert caller.ask() == (["blue", 1], "blue")
    update_deployment(workspace, UpdateOnlineDeployment(name="blue", endpoint_name="live", set=["instance_count=2"]))
    assert len(instances_of(workspace)) == 2
    deploy(workspace, "green", script=SCRIPT)
    assert caller.counts(50) == {"blue": 50}
    assert caller.ask(**{"azureml-model-deployment": "green"}) == (["green", 1], "green")
    before = _requests_of(workspace, "green")
    share(workspace, "blue=100 green=0", "green=10")
    assert caller.counts() == {"blue": QUESTIONS}
    low, high = bounds(0.1, QUESTIONS)
    until(lambda: low <= _requests_of(workspace, "green") - before <= high)
    share(workspace, "blue=90 green=10", "green=0")
    assert low <= caller.counts()["green"] <= high
    share(workspace, "blue=0 green=100")
    assert caller.counts(200) == {"green": 200}
    delete_deployment(workspace, DeleteOnlineDeployment(name="blue", endpoint_name="live"))
    caller.close()  # an idle connection to what has gone is closed, and the next question opens another
    assert caller.counts(50) == {"green": 50}
    caller.close()


def _requests_of(workspace: Workspace, name: str) -> int:  # noqa: F811
    """Return how many requests a deployment has had since it started."""
    numbers = show_endpoint(workspace, ShowOnlineEndpoint(name="live")).numbers
    assert numbers
    return int(numbers[name].requests or 0)


def test_rollouts_under_load_lose_no_request(workspace: Workspace) -> None:  # noqa: F811
    deploy(workspace, "one-0", script=SCRIPT, all_traffic=True)
    with Load(*address_and_key(workspace)) as load:
        for number in range(1, ROLLOUTS + 1):
            old, new = f"one-{number - 1}", f"one-{number}"
            deploy(workspace, new, script=SCRIPT)
            share(workspace, f"{old}=50 {new}=50")
            load.go_on()
            share(workspace, f"{old}=0 {new}=100")
            delete_deployment(workspace, DeleteOnlineDeployment(name=old, endpoint_name="live"))
            load.go_on()
    assert_lossless(load)
    assert set(load.words) == {f"one-{number}" for number in range(ROLLOUTS + 1)}


def test_updates_of_what_others_forward_to_lose_no_request(workspace: Workspace) -> None:  # noqa: F811
    deploy(workspace, "blue", script=SCRIPT, all_traffic=True)
    deploy(workspace, "green", script=SCRIPT, word="green-0")
    share(workspace, "blue=60 green=40")
    with Load(*address_and_key(workspace)) as load:
        for number in range(1, ROLLOUTS + 1):
            deploy(workspace, "green", script=SCRIPT, word=f"green-{number}")
            load.go_on()
    assert_lossless(load)
    assert set(load.words) == {"blue", *(f"green-{number}" for number in range(ROLLOUTS + 1))}


def test_a_random_instance_killed_each_second_costs_only_what_it_had_in_hand(workspace: Workspace) -> None:  # noqa: F811
    for name in ("blue", "green"):
        deploy(workspace, name, script=SCRIPT, set=["instance_count=2"])
    share(workspace, "blue=50 green=50")
    kills: list[float] = []
    chance = random.Random(7)
    with Load(*address_and_key(workspace)) as load:
        for _ in range(KILLS):
            name = chance.choice(["blue", "green"])
            until(lambda name=name: bool(instances_of(workspace, name)))  # type: ignore[misc]
            victim = chance.choice(instances_of(workspace, name))
            kills.append(time.monotonic())
            kill(victim)
            time.sleep(1)
        until(lambda: all(_is_whole(workspace, name) for name in ("blue", "green")), 60)
        load.go_on()
    assert load.wrong == []
    unexplained = [item for item in load.failures if not any(item.asked <= moment + 0.1 and moment <= item.told for moment in kills)]
    assert unexplained == []
    assert len(load.failures) <= KILLS * 8
    assert {item.what.partition(" ")[0] for item in load.failures} <= {"502", "IncompleteReadError:", "ConnectionResetError:"}


def test_hours_of_everything_lose_nothing_but_what_a_killed_instance_had_in_hand(workspace: Workspace) -> None:  # noqa: F811
    """Each hour of a day is what happens in it, without the waiting: a rollout, a kill, more and fewer instances, an update, new keys."""
    deploy(workspace, "at-0", script=SCRIPT, all_traffic=True)
    kills: list[float] = []
    chance = random.Random(24)
    with Load(*address_and_key(workspace)) as load:
        first = held_by(supervisor_of(workspace).pid)
        for hour in range(1, HOURS + 1):
            old, new = f"at-{hour - 1}", f"at-{hour}"
            deploy(workspace, new, script=SCRIPT)
            for traffic, mirror in (
                (f"{old}=100", f"{new}=10"),
                *((f"{old}={100 - share} {new}={share}", f"{new}=0") for share in (10, 50, 100)),
            ):
                share(workspace, traffic, mirror)
                load.go_on()
            delete_deployment(workspace, DeleteOnlineDeployment(name=old, endpoint_name="live"))
            count = UpdateOnlineDeployment(name=new, endpoint_name="live", set=["instance_count=2"])
            update_deployment(workspace, count)
            if chance.random() < 0.5:
                kill(supervisor_of(workspace))
            else:
                kills.append(time.monotonic())
                kill(chance.choice(instances_of(workspace, new)))
            until(lambda new=new: is_alive(supervisor_of(workspace)) and _is_whole(workspace, new), 60)  # type: ignore[misc]
            load.go_on()
            update_deployment(workspace, count.replace(set=["instance_count=1"]))
            deploy(workspace, new, script=SCRIPT)
            regenerate_keys(workspace, RegenerateOnlineEndpointKeys(name="live", key_type="secondary"))
            load.go_on()
        until(lambda: len(instances_of(workspace, new)) == 1)
        last = held_by(supervisor_of(workspace).pid)
    lost = [item for item in load.failures if not any(item.asked <= moment + 0.1 and moment <= item.told for moment in kills)]
    print(
        f"{HOURS} hours, {load.total:,} questions: {len(load.wrong)} wrong, {len(lost)} lost, {len(load.failures)} in hand at {len(kills)} kills"
    )
    print(
        f"supervisor: {first.memory_kb:,} KB and {first.descriptors} descriptors at first, {last.memory_kb:,} KB and {last.descriptors} at last"
    )
    assert (load.wrong, lost) == ([], [])
    assert len(load.failures) <= len(kills) * 8
    assert last.descriptors <= first.descriptors + 2
    assert last.memory_kb < first.memory_kb + 8192


def _is_whole(workspace: Workspace, name: str) -> bool:  # noqa: F811
    ready = {item.pid for item in status_of(workspace, name).instances if item.is_ready}
    return len(ready) == 2 and ready == {item.pid for item in instances_of(workspace, name)}  # none that died unnoticed so far


def test_a_stream_of_another_deployment_arrives_in_pieces_and_ends_there_when_its_reader_goes(workspace: Workspace) -> None:  # noqa: F811
    script = """
import json, os, time
def init(): pass
def run(raw_data):
    def pieces():
        try:
            yield WORD + " "
            while not os.path.exists("GO"):
                time.sleep(0.01)
                yield "."
            yield " end"
        finally:
            open("ENDED", "w").close()
    return pieces()
"""
    go, ended = Path("go").absolute(), Path("ended").absolute()
    deploy(workspace, "blue", script=SCRIPT, all_traffic=True)
    deploy(workspace, "green", script=script.replace("GO", str(go)).replace("ENDED", str(ended)))
    address, key = address_and_key(workspace)
    for is_read in (True, False):
        connection = http.client.HTTPConnection(address, timeout=30)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "azureml-model-deployment": "green"}
        connection.request("POST", "/score", "{}", headers)
        response = connection.getresponse()
        assert response.headers["azureml-model-deployment"] == "green"
        assert response.read(6) == b"green "
        assert not ended.exists()
        if is_read:
            go.touch()
            assert response.read().endswith(b" end")
        response.close()
        connection.close()
        until(ended.exists)
        go.unlink(missing_ok=True)
        ended.unlink()


def test_load_notices_what_is_wrong_lost_or_late(workspace: Workspace) -> None:  # noqa: F811
    script = """
import json
def init(): pass
def run(raw_data):
    number = json.loads(raw_data)["number"]
    assert number % 3
    return [WORD, number + number % 2]
"""
    deploy(workspace, "blue", script=script, all_traffic=True)
    with Load(*address_and_key(workspace), callers=2) as load:
        load.go_on(100)
    assert load.words
    assert load.wrong
    assert {item.what[:3] for item in load.failures} <= {"500", "424"}
    assert load.failures
