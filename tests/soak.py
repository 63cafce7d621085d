"""Ask an endpoint a million times, with rollouts in between, and print what its processes hold: memory, file descriptors, errors.

``python -m tests.soak --requests N``. It ends with 1 when a request was lost, a descriptor leaked, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

REQUESTS = 1_000_000
CALLERS = 16
ROUNDS = 20  # of measuring; every other one with an update of the deployment
WARM = 0.25  # of the rounds, in which caches fill
MAX_GROWTH_KB = 2.0  # per thousand requests, of one process
SCRIPT = "import json\ndef init(): pass\ndef run(raw_data): return json.loads(raw_data)\n"
LINE = "{:>10} {:>8} {:>7} | {:>12} {:>5} | {:>12} {:>5} | {:>14} {:>5}  {}"


class Held(NamedTuple):
    """What a process holds."""

    pid: int
    memory_kb: int
    descriptors: int


def held_by(pid: int) -> Held:
    """Measure a process: what it allocated, since its share of mapped files changes with who else maps them, and its open file descriptors."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return Held(pid, memory, len(os.listdir(f"/proc/{pid}/fd")))


class Callers:
    """Ask over connections that are kept, and over new ones now and then, and check each answer."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self.answered, self.errors = 0, [""][:0]

    def ask(self, count: int) -> None:
        """Ask so many questions."""
        asyncio.run(self._ask_all(count))

    async def _ask_all(self, count: int) -> None:
        await asyncio.gather(*(self._ask_on(count // CALLERS) for _ in range(CALLERS)))

    async def _ask_on(self, count: int) -> None:
        reader = writer = None
        for number in range(count):
            if writer is None or number % 200 == 199:
                if writer:
                    writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            assert reader
            try:
                is_open = await self._ask_one(reader, writer, number)
            except (OSError, EOFError) as error:
                self.errors.append(repr(error))
                is_open = False
            if not is_open:
                writer.close()
                writer = None
        if writer:
            writer.close()

    async def _ask_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """Ask one question; say whether the connection stays."""
        body = f'{{"number":{number}}}'
        writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        text = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        if head.split()[1] != b"200" or text.decode() != body:
            self.errors.append(f"{head.split()[1].decode()} {text[:200].decode()}")
        else:
            self.answered += 1
        return b"connection: close" not in head


def slope_of(points: list[tuple[int, int]]) -> float:
    """Return the growth of a line through points, in units per thousand requests."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return 1000 * above / below if below else 0.0


def soak(requests: int) -> int:
    """Run, print, and return 0 when all is flat and nothing was lost."""
    from jupyter_modelreg.commands.model import CreateModel
    from jupyter_modelreg.commands.online import (
        CreateOnlineDeployment,
        CreateOnlineEndpoint,
        DeleteOnlineEndpoint,
        GetOnlineEndpointCredentials,
        UpdateOnlineDeployment,
    )
    from jupyter_modelreg.models import create_model
    from jupyter_modelreg.online import create_deployment, create_endpoint, delete_endpoint, get_keys, update_deployment
    from jupyter_modelreg.supervisor import instance_folders, read_supervisor, read_wanted
    from jupyter_modelreg.worker import read_identity
    from jupyter_modelreg.workspace import open_workspace

    workspace = open_workspace()
    Path("model.txt").write_text("1")
    Path("code").mkdir()
    Path("code/score.py").write_text(SCRIPT)
    create_model(workspace, CreateModel(name="words", path="model.txt"))
    create_endpoint(workspace, CreateOnlineEndpoint(name="soak"))
    about = {"endpoint_name": "soak", "model": "azureml:words:1", "scoring_script": "code/score.py"}
    settings = ["request_settings.max_concurrent_requests_per_instance=100"]
    for name in ("green", "blue"):  # blue stays and takes half of the traffic, green is rolled out anew in between
        create_deployment(workspace, CreateOnlineDeployment(name=name, set=settings, **about))
    folder = os.path.join(workspace.home, "endpoints", "soak")
    wanted, supervisor = read_wanted(folder), read_supervisor(folder)
    assert wanted
    assert wanted.port
    assert supervisor
    callers = Callers(wanted.port, str(get_keys(workspace, GetOnlineEndpointCredentials(name="soak")).primary_key))  # type: ignore[union-attr]

    def instance_of(name: str) -> int:
        process = workspace.catalog.get_process("soak", name)
        assert process
        identity = read_identity(instance_folders(process["folder"])[-1])
        assert identity
        return identity.pid

    _share(workspace, "green=40 blue=60")
    series: dict[str, list[tuple[int, Held]]] = {"supervisor": [], "blue": [], "green": []}
    print(LINE.format("requests", "per s", "errors", "supervisor KB", "fds", "blue KB", "fds", "green KB", "fds", ""))
    try:
        for number in range(ROUNDS):
            event = ""
            began, before = time.monotonic(), callers.answered
            if number % 2:
                event = "green rolled out anew"
                import threading

                asking = threading.Thread(target=callers.ask, args=(requests // ROUNDS,))
                asking.start()
                update_deployment(
                    workspace,
                    UpdateOnlineDeployment(
                        name="green", endpoint_name="soak", set=[f"request_settings.max_concurrent_requests_per_instance={100 + number}"]
                    ),
                )
                asking.join()
            else:
                callers.ask(requests // ROUNDS)
            rate = (callers.answered - before) / (time.monotonic() - began)
            time.sleep(0.3)  # the last connections close
            now = {"supervisor": held_by(supervisor.pid), "blue": held_by(instance_of("blue")), "green": held_by(instance_of("green"))}
            for name, held in now.items():
                series[name].append((callers.answered, held))
            cells = [cell for held in now.values() for cell in (f"{held.memory_kb:,}", held.descriptors)]
            print(LINE.format(f"{callers.answered:,}", f"{rate:,.0f}", len(callers.errors), *cells, event), flush=True)
    finally:
        delete_endpoint(workspace, DeleteOnlineEndpoint(name="soak"))
    return _verdict(series, callers)


def _share(workspace: object, traffic: str) -> None:
    from jupyter_modelreg.commands.online import UpdateOnlineEndpoint
    from jupyter_modelreg.online import update_endpoint

    update_endpoint(workspace, UpdateOnlineEndpoint(name="soak", traffic=traffic))  # type: ignore[arg-type]


def _verdict(series: dict[str, list[tuple[int, Held]]], callers: Callers) -> int:
    """Judge what stays, the supervisor and blue; green is another process each time."""
    is_good = not callers.errors
    for name in ("supervisor", "blue"):
        warm = series[name][int(ROUNDS * WARM) :]
        growth = slope_of([(asked, held.memory_kb) for asked, held in warm])
        fds = [held.descriptors for _, held in warm]
        is_same = len({held.pid for _, held in series[name]}) == 1
        print(f"{name}: {growth:+.2f} KB per thousand requests, {min(fds)} to {max(fds)} descriptors{'' if is_same else ', replaced!'}")
        is_good &= is_same and growth < MAX_GROWTH_KB and fds[-1] <= fds[0] + 2
    rollouts = len({held.pid for _, held in series["green"]}) - 1
    is_good &= rollouts == ROUNDS // 2
    print(f"{callers.answered:,} answered rightly, {len(callers.errors)} errors {callers.errors[:3]}, {rollouts} rollouts")
    return 0 if is_good else 1


def main(words: list[str]) -> int:
    """Soak in a home of its own."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"{REQUESTS:,} when left out")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="modelreg-soak-") as folder:
        os.environ |= {"MODELREG_HOME": os.path.join(folder, "home"), "MODELREG_ENVIRONMENTS": "kernel"}
        os.chdir(folder)
        try:
            return soak(options.requests)
        finally:
            os.chdir("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
