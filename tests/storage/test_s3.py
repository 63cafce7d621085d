"""A store on S3: the promises of every store, kept over a network that fails, on a server that does wrong."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_modelreg.errors import Corrupted, Unavailable
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage.cache import Cache
from jupyter_modelreg.storage.far import Patience
from jupyter_modelreg.storage.remote import RemoteStore, open_remote
from jupyter_modelreg.testing.stores import FILES, GivenTree
from tests.storage.servers import Answer, Bucket, Line, Request, between, point_at
from tests.storage.test_suite import RemoteSuite

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()
    server._server.server_close()


@pytest.fixture(autouse=True)
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket(server, f"bucket-{secrets.token_hex(4)}")
    point_at(monkeypatch, bucket.port)
    return bucket


MIB = 1 << 20
LARGE = {"weights.bin": secrets.token_bytes(1 * MIB) * 70}  # three slices, of which two are the same
QUICK = Patience(tries=4, first_seconds=0.02, most_seconds=20)


@pytest.fixture
def line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    line = Line(bucket.port)
    point_at(monkeypatch, line.port)
    yield line
    line.close()


def open_at(url: str, folder: Path, patience: Patience = QUICK) -> RemoteStore:
    return open_remote(url, Cache(str(folder)), patience=patience)


def large_file(folder: Path, size_mib: int = 70) -> Path:
    """Write a file whose slices all differ."""
    path = folder / "weights.bin"
    path.write_bytes(b"".join(secrets.token_bytes(1024) * 1024 for _ in range(size_mib)))
    return path


class TestS3(RemoteSuite):
    @pytest.fixture(autouse=True)
    def use_bucket(self, bucket: Bucket) -> None:
        self.url = f"{bucket.url}/{{folder.name}}"


# --- a line that is cut -------------------------------------------------------------------------------------------------


def test_an_upload_that_was_cut_sends_only_what_is_not_there(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    tree = open_local(str(large_file(tmp_path, 150)))
    store = open_at(bucket.url, tmp_path / "ours", Patience(tries=1))
    line.cut_after(145 * MIB)
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.import_tree(tree)
    arrived = sum(store.blobs().values())
    assert arrived >= 32 * MIB
    line.mend()
    manifest = store.import_tree(tree)
    assert line.sent_bytes < 150 * MIB - arrived + MIB
    assert store.verify(manifest) == []


def test_a_download_that_was_cut_fetches_only_what_is_not_there(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    path = large_file(tmp_path, 150)
    manifest = open_at(bucket.url, tmp_path / "ours").import_tree(open_local(str(path)))
    there = open_at(bucket.url, tmp_path / "theirs", Patience(tries=1))
    there.load_manifest(manifest.digest)
    line.cut_after(140 * MIB)
    with pytest.raises(Unavailable, match="cannot be reached"):
        there.view(manifest)
    assert there.local_blob(manifest.files[0]) is None
    line.mend()
    view = there.view(manifest)
    assert line.received_bytes < 118 * MIB + MIB
    assert (Path(view) / "weights.bin").read_bytes() == path.read_bytes()


def test_a_line_that_is_cut_again_and_again_gets_everything_through(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    store = open_at(bucket.url, tmp_path / "ours", Patience(tries=8, first_seconds=0.02))
    line.cut_after(20 * MIB, times=6)
    manifest = store.import_tree(GivenTree({"weights.bin": secrets.token_bytes(16 * MIB) * 5}))
    assert open_at(bucket.url, tmp_path / "theirs", Patience(tries=8, first_seconds=0.02)).verify(manifest) == []
    assert line.cuts == 6


def test_a_line_on_which_nothing_moves_is_given_up(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    store = open_at(bucket.url, tmp_path / "ours", Patience(tries=1, silent_seconds=1.0))
    line.stall_after(20 * MIB)
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.import_tree(GivenTree({"weights.bin": secrets.token_bytes(16 * MIB) * 4}))
    assert line.cuts


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_transfer_that_was_killed_goes_on(way: str, line: Line, bucket: Bucket, tmp_path: Path) -> None:
    path = large_file(tmp_path, 150)
    store = open_at(bucket.url, tmp_path / "ours")
    code = "store.import_tree(open_local(sys.argv[1]))"
    if way == "down":
        digest = store.import_tree(open_local(str(path))).digest
        code = f"store.view(store.load_manifest({digest!r}))"
    program = f"""
import sys
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import open_store
from jupyter_modelreg.storage.cache import Cache
from jupyter_modelreg.storage.remote import open_remote
store = open_remote({bucket.url!r}, Cache({str(tmp_path / "theirs")!r}))
{code}
"""
    begun = line.sent_bytes + line.received_bytes
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as process:
        while line.sent_bytes + line.received_bytes - begun < 140 * MIB and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    line.mend()
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert line.sent_bytes + line.received_bytes < 125 * MIB
    assert open_at(bucket.url, tmp_path / "other").verify(store.import_tree(open_local(str(path)))) == []


def test_a_server_that_is_away_for_a_moment_is_waited_for(bucket: Bucket, tmp_path: Path) -> None:
    store = open_at(bucket.url, tmp_path / "ours", Patience(tries=8, first_seconds=0.1))
    store.import_tree(GivenTree({"a": b"before"}))
    with bucket.stopped():
        timer = threading.Thread(target=lambda: made.append(store.import_tree(GivenTree({"a": b"after"}))))
        made: list[Any] = []
        timer.start()
        time.sleep(0.3)
        assert not made
    timer.join()
    assert store.holds(made[0])


def test_a_server_that_stays_away_is_one_line_that_says_what_to_do(bucket: Bucket, tmp_path: Path) -> None:
    store = open_at(bucket.url, tmp_path / "ours")
    with (
        bucket.stopped(),
        pytest.raises(Unavailable, match=r"cannot be reached: .*\(tried 4 times in \d+ s\)\. Try again when the network") as raised,
    ):
        store.import_tree(GivenTree({"a": b"one"}))
    assert "\n" not in raised.value.message


# --- what somebody must mend --------------------------------------------------------------------------------------------


def counted(change: Callable[[Request, Answer], Answer], seen: list[Request]) -> Callable[[Request, Answer], Answer]:
    def count(request: Request, answer: Answer) -> Answer:
        seen.append(request)
        return change(request, answer)

    return count


def refusal(code: str, text: str, status: int = 403) -> Answer:
    return status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "RequestTimeTooSkewed"])
def test_a_refusal_is_not_tried_again_and_names_what_to_mend(
    code: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []
    with between(bucket.port, counted(lambda *_: refusal(code, "Not for you."), seen)) as port:
        point_at(monkeypatch, port)
        with pytest.raises(Unavailable, match=r"refuses us: .*AWS_ACCESS_KEY_ID") as raised:
            open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree({"a": b"one"}))
    assert len(seen) == 1
    assert "a-secret" not in raised.value.message


def test_credentials_that_were_mended_are_used_at_once(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Request, answer: Answer) -> Answer:
        return answer if "Credential=mended" in request.headers["Authorization"] else refusal("InvalidAccessKeyId", "Nobody knows it.")

    with between(bucket.port, refuse) as port:
        point_at(monkeypatch, port)
        store = open_at(bucket.url, tmp_path / "ours")
        with pytest.raises(Unavailable, match="Nobody knows it"):
            store.import_tree(GivenTree({"a": b"one"}))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mended")
        assert store.verify(store.import_tree(GivenTree({"a": b"one"}))) == []


def test_missing_credentials_are_said(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unavailable, match=r"Unable to locate credentials.*AWS_ACCESS_KEY_ID"):
        open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree({"a": b"one"}))


@pytest.mark.parametrize("work", [lambda store: store.import_tree(GivenTree({"a": b"one"})), lambda store: store.load_manifest("0" * 64)])
def test_a_bucket_that_is_not_there_is_said(work: Callable[[RemoteStore], Any], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r'"s3://no-such-bucket/x" is not there: .*Create "no-such-bucket"'):
        work(open_at("s3://no-such-bucket/x", tmp_path / "ours"))


def test_a_name_that_no_bucket_can_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Invalid bucket name"):
        open_at("s3://No Bucket/x", tmp_path / "ours").import_tree(GivenTree({"a": b"one"}))


# --- servers that do wrong ----------------------------------------------------------------------------------------------


def is_blob(request: Request) -> bool:
    return request.method == "GET" and "/blobs/" in request.path


@pytest.fixture
def kept(bucket: Bucket, tmp_path: Path) -> Any:
    return open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree(FILES))


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_fails_now_and_then_is_asked_again(
    status: int, kept: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []

    def fail(request: Request, answer: Answer) -> Answer:
        return answer if len(seen) % 2 == 0 else refusal("InternalError", "Try later.", status)

    with between(bucket.port, counted(fail, seen)) as port:
        point_at(monkeypatch, port)
        assert open_at(bucket.url, tmp_path / "theirs", Patience(tries=8, first_seconds=0.01)).verify(kept) == []


def test_a_server_that_always_fails_is_given_up(kept: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Request] = []
    with between(bucket.port, counted(lambda *_: refusal("InternalError", "We are sorry.", 500), seen)) as port:
        point_at(monkeypatch, port)
        with pytest.raises(Unavailable, match=r"We are sorry.*tried 4 times"):
            open_at(bucket.url, tmp_path / "theirs").load_manifest(kept.digest)
    assert len(seen) == 4


@pytest.mark.parametrize("is_said", [True, False], ids=["length of what is sent", "length of the whole"])
def test_an_answer_that_is_cut_is_asked_for_again(
    is_said: bool, kept: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []

    def shorten(request: Request, answer: Answer) -> Answer:
        status, headers, content = answer
        if not is_blob(request) or request.path in cut or not content:
            return answer
        cut.append(request.path)
        length = len(content) // 2 if is_said else len(content)
        return status, {**headers, "Content-Length": str(length)}, content[: len(content) // 2]

    with between(bucket.port, shorten) as port:
        point_at(monkeypatch, port)
        store = open_at(bucket.url, tmp_path / "theirs")
        store.checkout(store.load_manifest(kept.digest), str(tmp_path / "out"))
    assert cut
    assert (tmp_path / "out" / "model" / "data" / "weights.bin").read_bytes() == FILES["data/weights.bin"]


def test_wrong_bytes_are_named_and_never_enter_the_cache(
    kept: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(request: Request, answer: Answer) -> Answer:
        status, headers, content = answer
        return (status, headers, b"\x00" * len(content)) if is_blob(request) and len(content) > 1000 else answer

    with between(bucket.port, spoil) as port:
        point_at(monkeypatch, port)
        store = open_at(bucket.url, tmp_path / "theirs")
        assert store.verify(kept) == ["data/weights.bin"]
        with pytest.raises(Corrupted, match=r"data/weights\.bin is damaged where it comes from"):
            store.view(store.load_manifest(kept.digest))
        assert [store.local_blob(item) for item in kept.files if item.path == "data/weights.bin"] == [None]
    point_at(monkeypatch, bucket.port)
    assert store.cache.verify(store.load_manifest(kept.digest)) != []
    store.view(kept)
    assert store.cache.verify(kept) == []


def test_an_answer_that_is_wrong_once_is_asked_for_again(
    kept: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt: list[str] = []

    def spoil(request: Request, answer: Answer) -> Answer:
        status, headers, content = answer
        if not is_blob(request) or request.path in spoilt:
            return answer
        spoilt.append(request.path)
        return status, headers, b"\x00" * len(content)

    with between(bucket.port, spoil) as port:
        point_at(monkeypatch, port)
        store = open_at(bucket.url, tmp_path / "theirs")
        store.view(store.load_manifest(kept.digest))
    assert spoilt
    assert store.cache.verify(kept) == []


def test_nothing_stands_on_conditional_headers(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Request] = []
    with between(bucket.port, counted(lambda _, answer: answer, seen)) as port:
        point_at(monkeypatch, port)
        manifest = open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree(FILES))
        open_at(bucket.url, tmp_path / "theirs").view(manifest)
    assert not [request for request in seen if {"if-match", "if-none-match"} & {name.lower() for name in request.headers}]


# --- as little as can be ------------------------------------------------------------------------------------------------


def test_one_tensor_of_a_large_file_is_read_without_the_rest(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    header = json.dumps(
        {
            f"layer.{number}": {"dtype": "U8", "shape": [2 * MIB], "data_offsets": [number * 2 * MIB, (number + 1) * 2 * MIB]}
            for number in range(80)
        }
    ).encode()
    tensors = [secrets.token_bytes(1024) * 2048 for _ in range(80)]
    content = len(header).to_bytes(8, "little") + header + b"".join(tensors)
    manifest = open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree({"model.safetensors": content}))
    store = open_at(bucket.url, tmp_path / "theirs")
    tree = store.open_tree(store.load_manifest(manifest.digest))
    line.mend()
    with tree.open("model.safetensors") as stream:  # its pieces are asked for, too
        length = int.from_bytes(stream.read(8), "little")
        assert stream.read(length) == header
        stream.seek(8 + length + 41 * 2 * MIB)
        assert stream.read(2 * MIB) == tensors[41]
        assert line.received_bytes < 4 * MIB
        stream.seek(-2 * MIB, os.SEEK_END)
        assert stream.read() == tensors[79]
        assert stream.read() == b""
    lies_in = store._far_parts(manifest)[manifest.files[0].digest][2]
    wrong = bytearray(store.far.read("blobs", lies_in.blob, 0, lies_in.size_bytes))
    wrong[20 * MIB] ^= 1
    store.far.put("blobs", lies_in.blob, bytes(wrong))
    with tree.open("model.safetensors") as stream:
        stream.seek(84 * MIB)
        with pytest.raises(Corrupted, match=r"model\.safetensors is damaged .* in tensor layer\.41"):
            stream.read(100)


def test_a_thousand_small_files_are_few_requests(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Request] = []
    files = {f"{number}.txt": f"file {number}".encode() * 20 for number in range(1000)}
    with between(bucket.port, counted(lambda _, answer: answer, seen)) as port:
        point_at(monkeypatch, port)
        manifest = open_at(bucket.url, tmp_path / "ours").import_tree(GivenTree(files))
        assert len(seen) < 12
        there = open_at(bucket.url, tmp_path / "theirs")
        view = there.view(there.load_manifest(manifest.digest))
        assert len(seen) < 20
        assert (Path(view) / "model" / "999.txt").read_bytes() == files["999.txt"]
        with open_at(bucket.url, tmp_path / "reader").open_tree(manifest).open("7.txt") as stream:
            assert stream.read() == files["7.txt"]


def test_what_is_kept_again_unchanged_is_not_sent_again(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    store = open_at(bucket.url, tmp_path / "ours")
    store.import_tree(GivenTree(LARGE))
    line.mend()
    store.import_tree(GivenTree(LARGE))
    other = open_at(bucket.url, tmp_path / "theirs")
    other.import_tree(GivenTree({**LARGE, "readme": b"new"}))
    assert line.sent_bytes < MIB


# --- several at once ----------------------------------------------------------------------------------------------------


def test_two_machines_keep_the_same_at_the_same_time(bucket: Bucket, tmp_path: Path) -> None:
    program = f"""
import sys
from jupyter_modelreg.storage import open_store
from jupyter_modelreg.testing.stores import GivenTree
files = {{"big": b"weights" * (10 << 20), **{{f"{{number}}": b"%d" % number for number in range(50)}}}}
print(open_store({bucket.url!r}, sys.argv[1]).import_tree(GivenTree(files)).digest)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / f"cache{number}")], stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    digests = {process.communicate()[0].strip() for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert len(digests) == 1
    store = open_at(bucket.url, tmp_path / "other")
    manifest = store.load_manifest(digests.pop())
    assert store.verify(manifest) == []
    assert set(store.blobs()) == store.names_of(manifest) - {manifest.digest}


def test_a_forked_process_and_an_interrupted_one_end(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    program = f"""
import os
import sys
from jupyter_modelreg.storage import open_store
from jupyter_modelreg.testing.stores import GivenTree
store = open_store({bucket.url!r}, sys.argv[1])
manifest = store.import_tree(GivenTree({{"a": b"one"}}))
child = os.fork()
if child == 0:
    os._exit(len(store.verify(manifest)))
assert os.waitpid(child, 0)[1] == 0
print("forked", flush=True)
store.import_tree(GivenTree({{"big": os.urandom(1 << 20) * 300}}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "ours")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"forked\n"
        sent = line.sent_bytes
        while line.sent_bytes < sent + 20 * MIB and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        before = time.monotonic()
        said = process.communicate(timeout=60)[1].decode()
        assert time.monotonic() - before < 20
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not open_at(bucket.url, tmp_path / "other").far.listed("parts")


def test_s3_is_imported_only_when_a_store_lies_there(tmp_path: Path) -> None:
    program = "import sys; from jupyter_modelreg import storage; storage.open_store(sys.argv[1], sys.argv[1]); print('s3fs' in sys.modules, 'fsspec' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["False", "False"]


_SCRIPT = """
import os

def init():
    global scale
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "scale.txt")) as stream:
        scale = float(stream.read())

def run(raw_data):
    return [scale]
"""


def test_a_team_registers_on_one_machine_and_loads_deploys_and_downloads_on_another(bucket: Bucket, tmp_path: Path) -> None:
    from jupyter_modelreg.commands.model import CreateModel, DownloadModel
    from jupyter_modelreg.commands.online import (
        CreateOnlineDeployment,
        CreateOnlineEndpoint,
        DeleteOnlineEndpoint,
        InvokeOnlineEndpoint,
    )
    from jupyter_modelreg.models import create_model, download_model
    from jupyter_modelreg.online import create_deployment, create_endpoint, delete_endpoint, invoke_endpoint
    from jupyter_modelreg.workspace import open_workspace

    shared = {"catalog": str(tmp_path / "shared.sqlite"), "store": bucket.url}
    one, two = (open_workspace({**shared, "home": str(tmp_path / name)}) for name in ("one", "two"))
    Path("scale.txt").write_text("3")
    Path("code").mkdir()
    Path("code/score.py").write_text(_SCRIPT)
    create_model(one, CreateModel(name="scaler", path="scale.txt"))

    download_model(two, DownloadModel(name="scaler", label="latest", download_path="out"))
    assert Path("out/scaler/scale.txt").read_text() == "3"
    create_endpoint(two, CreateOnlineEndpoint(name="scale"))
    try:
        deployment = {"name": "blue", "endpoint_name": "scale", "model": "azureml:scaler:1", "scoring_script": "code/score.py"}
        create_deployment(two, CreateOnlineDeployment(**deployment, all_traffic=True))
        assert invoke_endpoint(two, InvokeOnlineEndpoint(name="scale", data='{"data": [1]}')).body == [3.0]
    finally:
        delete_endpoint(two, DeleteOnlineEndpoint(name="scale"))
    assert create_model(two, CreateModel(name="scaler", path="scale.txt")).version == "2"
    assert str(create_model(one, CreateModel(name="scaler", path="scale.txt")).version) == "3"


def test_a_mended_store_is_verified_by_what_a_person_runs(bucket: Bucket, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MODELREG_STORE": bucket.url, "MODELREG_HOME": str(tmp_path / "one")}
        return subprocess.run([sys.executable, "-m", "jupyter_modelreg", *words], env=environment, capture_output=True, text=True)

    Path("weights.bin").write_bytes(b"right" * 1000)
    assert run("model", "create", "--name", "m", "--path", "weights.bin").returncode == 0
    far = open_at(bucket.url, tmp_path / "other")
    far.far.put("blobs", next(iter(far.blobs())), b"wrong" * 1000)
    told = run("store", "verify")
    assert told.returncode != 0
    assert "m:1" in told.stdout + told.stderr
    assert run("store", "verify", "--repair-from", "cache").returncode == 0
    told = run("store", "clean", "--grace", "0s", "-y")
    assert (told.returncode, run("store", "verify").returncode) == (0, 0), told.stderr
