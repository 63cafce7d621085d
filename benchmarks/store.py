"""The store and the catalog beside cp, sync, a hash, raw SQLite, and what people use today.

All in processes that are warm, on one disk, in interleaved rounds. MLflow, BentoML and DVC neither flush nor (the first
two) hash; ours does both in every row that does not say otherwise.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, sleep

from .measure import BARE_PYTHON, MODELREG, Row, at_most_bytes, at_most_times, command, medians, over_peer, within_seconds, without_limit
from .peers import open_peers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_modelreg.entities import Model
    from jupyter_modelreg.workspace import Workspace

    from .peers import Mlflow, Restic

ROUNDS = 5
BIG_BYTES = 1 << 30
SMALL_FILES, SMALL_BYTES = 1000, 100 << 10
TENSORS, TENSOR_BYTES = 100, 5_000_000
COMMITS, WRITERS, VERSIONS_EACH = 200, 8, 500


def rows(scratch: Path) -> Iterator[Row]:
    """Measure every row of the store's table."""
    big, small = _noise(scratch / "weights.bin", BIG_BYTES), scratch / "small"
    small.mkdir()
    for number in range(SMALL_FILES):
        _array(small / f"{number:04d}.npy", SMALL_BYTES)
    yield from _large_rows(scratch, big)
    yield from _peer_rows(scratch, big, "a file of 1 GiB")
    big.unlink()
    yield from _small_rows(scratch, small)
    yield from _peer_rows(scratch, small, "1,000 files of 100 KiB")
    yield from _tensor_rows(scratch)
    yield from _commit_rows(scratch)
    yield _list_row(scratch)


# --- one large file -----------------------------------------------------------------------------------------------


def _large_rows(scratch: Path, big: Path) -> Iterator[Row]:
    registered, synced, relaxed, copied, linked, hashed = medians(
        ROUNDS,
        _register(scratch, big),
        _copy_and_sync(big, scratch / "copy"),
        _register(scratch, big, durability="relaxed"),
        _copy(big, scratch / "copy"),
        _register(scratch, big, durability="relaxed", transfer="link"),
        _hash(big),
    )
    big.chmod(0o644)
    sleep(2.1)  # what changed a moment ago is read again, lest a change within the clock's tick be missed
    yield at_most_times("register 1 GiB, hashed, durable", registered, "cp && sync", synced, 1.5)
    yield at_most_times("… not flushed", relaxed, "cp", copied, 1.8)
    yield at_most_times("… by link", linked, "BLAKE3 of it", hashed, 1.15)
    workspace = _workspace(scratch / "kept")
    version = _create(workspace, big)
    again, copied = medians(ROUNDS, lambda: _timed(lambda: _create(workspace, big)), _copy(big, scratch / "copy"))
    yield within_seconds("register it again, unchanged", again, "cp", copied, 0.005)
    viewed, trusted, checked, copied = medians(
        ROUNDS,
        _view(workspace, version),
        _checkout(workspace, version, scratch / "out", is_verified=False),
        _checkout(workspace, version, scratch / "out"),
        _copy(big, scratch / "copy"),
    )
    yield within_seconds("get it as a view", viewed, "cp", copied, 0.005)
    yield at_most_times("get it as a copy", trusted, "cp", copied, 1.1)
    yield at_most_times("get it as a verified copy", checked, "cp", copied, 1.9)
    shutil.rmtree(scratch / "kept")


def _small_rows(scratch: Path, small: Path) -> Iterator[Row]:
    registered, synced = medians(ROUNDS, _register(scratch, small), _copy_and_sync(small, scratch / "copy"))
    yield at_most_times("register 1,000 files of 100 KiB, durable", registered, "cp -r && sync", synced, 0.5)
    workspace = _workspace(scratch / "kept")
    version = _create(workspace, small)
    again, checked, copied = medians(
        ROUNDS,
        lambda: _timed(lambda: _create(workspace, small)),
        _checkout(workspace, version, scratch / "out"),
        _copy(small, scratch / "copy"),
    )
    yield within_seconds("register them again, unchanged", again, "cp -r", copied, 0.005 * SMALL_FILES)
    yield at_most_times("get them as a verified copy", checked, "cp -r", copied, 1.3)
    shutil.rmtree(scratch / "kept")


def _peer_rows(scratch: Path, source: Path, what: str) -> Iterator[Row]:
    """Register and get back, ours and each peer in turn."""
    peers = open_peers(scratch / "peers")
    workspace = _workspace(scratch / "held")
    version = _create(workspace, source)
    copy, checked = (_checkout(workspace, version, scratch / "out", is_verified=is_verified) for is_verified in (False, True))
    steps: list[Callable[[], float | None]] = [_register(scratch, source), copy, checked]
    for peer in peers:
        steps += _peer_steps(peer, source, scratch / "fetched")
    ours_in, ours_out, ours_checked, *theirs = medians(3, *steps)
    for peer, put, got in zip(peers, theirs[::2], theirs[1::2], strict=True):
        yield at_most_times(f"register {what}", ours_in, peer.name, put, 1)
        is_checked = peer.name == "restic"
        yield at_most_times(f"get back {what}{', verified' * is_checked}", ours_checked if is_checked else ours_out, peer.name, got, 1)
        if not is_checked:
            yield without_limit("… verified, which it is not there", ours_checked, peer.name, got)
        peer.close()
    shutil.rmtree(scratch / "peers")


def _peer_steps(peer: Mlflow | Restic, source: Path, target: Path) -> list[Callable[[], float]]:
    token = ""

    def put() -> float:
        nonlocal token
        seconds, token = peer.register(source)
        return seconds

    def get() -> float:
        seconds = peer.fetch(token, target)
        shutil.rmtree(target, ignore_errors=True)
        peer.clear()
        return seconds

    return [put, get]


# --- tensors ------------------------------------------------------------------------------------------------------


def _tensor_rows(scratch: Path) -> Iterator[Row]:
    from jupyter_modelreg import MLClient

    first, second = scratch / "first.safetensors", scratch / "second.safetensors"
    tensors = _write_tensors(first, {})
    _write_tensors(second, {name: os.urandom(TENSOR_BYTES) for name in random.Random(7).sample(sorted(tensors), TENSORS // 10)}, tensors)
    del tensors
    client = MLClient(home=str(scratch / "tensors"))
    client.models.create_or_update(_model("checkpoint", first))
    opened, mapped = medians(20, lambda: _timed(lambda: client.models.load("checkpoint", 1)), _map(first))
    yield within_seconds("open a safetensors model of 500 MB", opened, "mmap and its header", mapped, 0.01)
    shutil.rmtree(scratch / "tensors")
    workspace = _workspace(scratch / "tensors", dedup="tensor")
    _create(workspace, first)
    before = _bytes_on_disk(scratch / "tensors")
    _create(workspace, second)
    grown = _bytes_on_disk(scratch / "tensors") - before
    yield at_most_bytes("second checkpoint, 10 % of tensors changed", grown, "what changed", TENSORS // 10 * TENSOR_BYTES, 55_000_000)
    shutil.rmtree(scratch / "tensors")
    first.unlink()
    second.unlink()


def _write_tensors(path: Path, changed: dict[str, bytes], base: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Write 500 MB of noise as a safetensors file, by its public format."""
    tensors = {f"layer.{number}": os.urandom(TENSOR_BYTES) for number in range(TENSORS)} if base is None else {**base, **changed}
    offsets = {name: [place * TENSOR_BYTES, (place + 1) * TENSOR_BYTES] for place, name in enumerate(tensors)}
    header = json.dumps({name: {"dtype": "BF16", "shape": [TENSOR_BYTES // 2], "data_offsets": ends} for name, ends in offsets.items()})
    text = header.encode().ljust(-(-len(header) // 8) * 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for content in tensors.values():
            stream.write(content)
    return tensors


def _map(path: Path) -> Callable[[], None]:
    def step() -> None:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            json.loads(view[8 : 8 + int.from_bytes(view[:8], "little")])

    return step


# --- the catalog --------------------------------------------------------------------------------------------------


def _commit_rows(scratch: Path) -> Iterator[Row]:
    """One version recorded and on the disk, beside one row of raw SQLite and MLflow's own call; then eight writers at once."""
    workspace = _workspace(scratch / "commits")
    source = _noise(scratch / "tiny.bin", 1000)
    from jupyter_modelreg.sources.local import open_local

    manifest = workspace.store.import_tree(open_local(str(source)))
    raw = sqlite3.connect(scratch / "raw.sqlite", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE version (number INTEGER PRIMARY KEY, text TEXT)"):
        raw.execute(statement)

    def ours() -> None:
        workspace.catalog.create_version(_model("hot", source), manifest)

    def theirs() -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO version (text) VALUES (?)", ("x" * 300,))
        raw.execute("COMMIT")

    committed, floor = medians(COMMITS, ours, theirs)
    raw.close()
    yield over_peer("commit of a version, one writer, p50", committed, "a row of raw SQLite", floor, 0.001)
    registered, committed = medians(20, _register_in_mlflow(scratch / "mlflow.db"), ours)
    yield at_most_times("commit of a version", committed, "MLflow create_model_version", registered, 1)
    yield _writers_row(scratch / "commits")


def _writers_row(home: Path) -> Row:
    """Eight processes record 4,000 versions of one model; a failure or a gap is an error of the benchmark."""
    start = perf_counter()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(home), str(VERSIONS_EACH)]) for _ in range(WRITERS)]
    failed = [writer.wait() for writer in writers]
    seconds = perf_counter() - start
    numbers = [int(str(item.version)) for item in _workspace(home).catalog.list_models(name="contended")]
    if any(failed) or sorted(numbers) != list(range(1, WRITERS * VERSIONS_EACH + 1)):
        raise RuntimeError(f"{sum(map(bool, failed))} writers failed, {len(set(numbers))} of {WRITERS * VERSIONS_EACH} numbers are there.")
    each = seconds / (WRITERS * VERSIONS_EACH)
    return within_seconds("… 8 writers, 4,000 versions, no gap: each", each, "all of them", seconds, 0.1)


WRITER = """
import sys
from jupyter_modelreg.entities import Model
from jupyter_modelreg.trees import Manifest
from jupyter_modelreg.workspace import open_workspace
catalog = open_workspace({"home": sys.argv[1]}).catalog
digest = catalog.get_version("hot").digest
for _ in range(int(sys.argv[2])):
    catalog.create_version(Model(name="contended"), Manifest(root="m", digest=digest))
"""


def _register_in_mlflow(database: Path) -> Callable[[], None]:
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{database}", registry_uri=f"sqlite:///{database}")
    client.create_registered_model("m")

    def step() -> None:
        client.create_model_version("m", "file:///m")

    return step


def _list_row(scratch: Path) -> Row:
    home = scratch / "commits"
    bare, listed = medians(15, command(*BARE_PYTHON), command(MODELREG, "model", "list", home=home))
    return over_peer("modelreg model list", listed, "python -c pass", bare, 0.12)


# --- steps --------------------------------------------------------------------------------------------------------


def _workspace(home: Path, **settings: str) -> Workspace:
    from jupyter_modelreg.workspace import open_workspace

    return open_workspace({"home": str(home), **settings})


def _create(workspace: Workspace, source: Path, **options: str) -> str:
    """Register as a person does, and return the version's digest."""
    from jupyter_modelreg.commands.model import CreateModel
    from jupyter_modelreg.models import create_model

    return str(create_model(workspace, CreateModel(name="m", path=str(source), **options)).digest)


def _model(name: str, source: Path) -> Model:
    from jupyter_modelreg.entities import Model

    return Model(name=name, path=str(source))


def _register(scratch: Path, source: Path, *, durability: str = "full", **options: str) -> Callable[[], float]:
    """Register into a fresh home each time, since what is known is not copied again."""

    def step() -> float:
        home = scratch / "fresh"
        shutil.rmtree(home, ignore_errors=True)
        workspace = _workspace(home, durability=durability)
        workspace.catalog.list_models()  # made before the clock runs, as a home is once
        _settle()
        seconds = _timed(lambda: _create(workspace, source, **options))
        shutil.rmtree(home)
        return seconds

    return step


def _checkout(workspace: Workspace, version: str, target: Path, *, is_verified: bool = True) -> Callable[[], float]:
    manifest = workspace.store.load_manifest(version)

    def step() -> float:
        seconds = _timed(lambda: workspace.store.checkout(manifest, str(target), is_verified=is_verified))
        shutil.rmtree(target)
        return seconds

    return step


def _view(workspace: Workspace, version: str) -> Callable[[], float]:
    manifest = workspace.store.load_manifest(version)

    def step() -> float:
        shutil.rmtree(Path(workspace.home) / "store" / "views", ignore_errors=True)
        return _timed(lambda: workspace.store.view(manifest))

    return step


def _copy(source: Path, target: Path) -> Callable[[], float]:
    def step() -> float:
        seconds = _timed(lambda: subprocess.run(["cp", "-r", source, target], check=True))
        _remove(target)
        return seconds

    return step


def _copy_and_sync(source: Path, target: Path) -> Callable[[], float]:
    def copy() -> None:
        subprocess.run(["cp", "-r", source, target], check=True)
        subprocess.run(["sync", "-f", target], check=True)

    def step() -> float:
        _settle()
        seconds = _timed(copy)
        _remove(target)
        return seconds

    return step


def _hash(path: Path) -> Callable[[], None]:
    from blake3 import blake3

    return lambda: blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() and None


def _settle() -> None:
    """Let nobody's flush wait for what another step left to be written."""
    os.sync()


def _timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _noise(path: Path, size_bytes: int) -> Path:
    step = 16 << 20
    with path.open("wb") as stream:
        for start in range(0, size_bytes, step):
            stream.write(os.urandom(min(step, size_bytes - start)))
        os.fsync(stream.fileno())
    return path


def _array(path: Path, size_bytes: int) -> None:
    """Write noise as an array of NumPy: a file that says what it is, as the files of models do."""
    import numpy as np

    np.save(path, np.frombuffer(os.urandom(size_bytes - 128), dtype="u1"))


def _bytes_on_disk(folder: Path) -> int:
    seen = {(status.st_dev, status.st_ino): status.st_blocks * 512 for path in folder.rglob("*") if (status := path.lstat())}
    return sum(seen.values())
