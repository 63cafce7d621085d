"""A version in one file: carried whole or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_modelreg import exports
from jupyter_modelreg.commands.model import CreateModel, DeleteModel, ExportModel, ImportModel
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Conflict, Corrupted, InvalidInput, ModelRegistryError, NotFound, Unavailable
from jupyter_modelreg.models import create_model, delete_model
from jupyter_modelreg.trees import read_bytes
from jupyter_modelreg.workspace import Workspace, open_workspace

FILES = {"weights.bin": bytes(range(256)) * 40, "empty": b"", "sub/ünï 木.txt": b"hello\n", "sub/deep/" + "x" * 120 + ".json": b"{}"}
Refuses = Callable[[bytes | Path], ModelRegistryError]


@pytest.fixture
def churn(workspace: Workspace, tmp_path: Path) -> Model:
    """A version with files of awkward names."""
    for path, content in FILES.items():
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(content)
    command = CreateModel(
        name="churn", version="3", path="model", description="Says\nwho leaves", tags={"stage": "dev"}, stage="Production"
    )
    return create_model(workspace, command)


@pytest.fixture
def exported(workspace: Workspace, churn: Model, tmp_path: Path) -> Path:
    """The file that holds it."""
    return Path(exports.export_model(workspace, ExportModel(name="churn:3")).path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    """A registry on another machine."""
    return open_workspace({"home": str(tmp_path / "elsewhere")})


@pytest.fixture
def refuses(elsewhere: Workspace, tmp_path: Path) -> Refuses:
    """Return a function that imports what must be refused and checks that nothing of it was kept."""

    def refuse(content: bytes | Path) -> ModelRegistryError:
        path = content if isinstance(content, Path) else tmp_path / "bad.modelreg"
        if isinstance(content, bytes):
            path.write_bytes(content)
        with pytest.raises(ModelRegistryError) as caught:
            exports.import_model(elsewhere, ImportModel(file=str(path)))
        assert "\n" not in caught.value.message
        assert kept(elsewhere) == []
        return caught.value

    return refuse


def kept(workspace: Workspace) -> list[Path]:
    """Return the files of a registry's store and its versions."""
    store = Path(workspace.settings.store)
    files = [path for path in store.rglob("*") if path.is_file() and path.name.split("-")[0] != "index.sqlite"]
    return [*files, *(Path(str(model.name)) for model in workspace.catalog.list_models())]


class TestExport:
    def test_a_version_comes_back_with_all_that_was_known_of_it(self, churn: Model, exported: Path, elsewhere: Workspace) -> None:
        found = exports.import_model(elsewhere, ImportModel(file=str(exported)))
        same = ("name", "version", "digest", "type", "flavor", "description", "tags", "stage", "metrics", "signature", "lineage", "path")
        assert [getattr(found, name) for name in same] == [getattr(churn, name) for name in same]
        tree = elsewhere.store.open_tree(elsewhere.store.load_manifest(str(found.digest)))
        assert {item.path: read_bytes(tree, item.path) for item in tree.files()} == FILES

    def test_many_small_files_come_back(self, workspace: Workspace, elsewhere: Workspace, tmp_path: Path) -> None:
        (tmp_path / "small").mkdir()
        for number in range(30):
            (tmp_path / "small" / f"{number}.txt").write_text("x" * 1000)
        create_model(workspace, CreateModel(name="small", path="small"))
        carried = exports.export_model(workspace, ExportModel(name="small")).path
        assert len(exports.import_model(elsewhere, ImportModel(file=carried)).digest or "") == 64

    def test_any_tar_reads_it(self, exported: Path, tmp_path: Path) -> None:
        subprocess.run(["tar", "xf", str(exported), "-C", str(tmp_path)], check=True, capture_output=True)
        root = tmp_path / "churn-3" / "files" / "model"
        assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} == FILES
        with tarfile.open(exported) as tar:
            assert {member.offset_data % 4096 for member in tar} == {0}

    def test_its_sums_are_those_that_b3sum_checks(self, exported: Path, tmp_path: Path) -> None:
        from blake3 import blake3

        subprocess.run(["tar", "xf", str(exported), "-C", str(tmp_path)], check=True, capture_output=True)
        lines = (tmp_path / "churn-3" / "BLAKE3SUMS").read_text().splitlines()
        assert len(lines) == len(FILES) + 1
        for line in lines:
            digest, path = line.split("  ", 1)
            assert blake3((tmp_path / "churn-3" / path).read_bytes()).hexdigest() == digest

    def test_it_is_the_same_file_each_time(self, workspace: Workspace, exported: Path) -> None:
        again = exports.export_model(workspace, ExportModel(name="churn", path="again"))
        assert Path(again.path).read_bytes() == exported.read_bytes()
        assert again.size_bytes == exported.stat().st_size

    def test_nothing_is_overwritten_and_nothing_is_left_in_the_way(self, workspace: Workspace, exported: Path, tmp_path: Path) -> None:
        before = exported.read_bytes()
        (tmp_path / "link").symlink_to("nowhere")
        for path in (str(exported), ".", "link"):
            with pytest.raises(Conflict, match="exists"):
                exports.export_model(workspace, ExportModel(name="churn", path=path))
        assert exported.read_bytes() == before
        assert list(tmp_path.glob(".*")) == []

    def test_a_folder_that_is_not_there_is_named(self, workspace: Workspace, churn: Model) -> None:
        with pytest.raises(Unavailable, match="nowhere/churn cannot be written: No such file"):
            exports.export_model(workspace, ExportModel(name="churn", path="nowhere/churn"))

    def test_a_damaged_version_is_not_carried_on(self, workspace: Workspace, churn: Model, tmp_path: Path) -> None:
        blob = next(path for path in Path(workspace.settings.store, "blobs").rglob("*") if path.is_file() and path.stat().st_size > 9999)
        blob.chmod(0o644)
        blob.write_bytes(b"?" + blob.read_bytes()[1:])
        with pytest.raises(Corrupted, match=r"weights\.bin is damaged in the store"):
            exports.export_model(workspace, ExportModel(name="churn"))
        assert list(tmp_path.glob("*.modelreg*")) + list(tmp_path.glob(".*")) == []

    def test_a_single_file_travels_too(self, workspace: Workspace, elsewhere: Workspace, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(b"w" * 5000)
        model = create_model(workspace, CreateModel(name="one", path="w.bin"))
        done = exports.export_model(workspace, ExportModel(name="one", path="carried"))
        assert exports.import_model(elsewhere, ImportModel(file=done.path)).digest == model.digest

    def test_names_that_are_one_elsewhere_are_not_carried(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "A.txt").write_text("1")
        (tmp_path / "m" / "a.txt").write_text("2")
        if len(list((tmp_path / "m").iterdir())) == 1:
            pytest.skip("this file system takes A.txt and a.txt for one name")
        create_model(workspace, CreateModel(name="both", path="m"))
        with pytest.raises(InvalidInput, match=r'"A\.txt" and "a\.txt" are one name'):
            exports.export_model(workspace, ExportModel(name="both"))

    def test_a_length_beyond_octal_digits_is_written_as_pax_does(self) -> None:
        head = exports._member_head("p/files/m/big", 20 * 2**30, 4096)
        with tarfile.open(fileobj=io.BytesIO(head + bytes(1024))) as tar:
            member = tar.next()
            assert member is not None
            assert (member.name, member.size, member.offset_data) == ("p/files/m/big", 20 * 2**30, len(head))

    @given(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1, max_size=3000),
        st.integers(0, 20) | st.integers(0, 2**50),
    )
    @settings(max_examples=60, deadline=None)
    def test_every_name_ends_on_a_page(self, path: str, blocks: int) -> None:
        head = exports._member_head(f"p/{path}", 7, blocks * 512)
        assert (blocks * 512 + len(head)) % 4096 == 0
        member = tarfile.TarInfo.frombuf(head[-512:], "utf-8", "strict")
        assert member.size == 7


class TestImport:
    def test_twice_is_once(self, exported: Path, elsewhere: Workspace) -> None:
        first = exports.import_model(elsewhere, ImportModel(file=str(exported)))
        files = kept(elsewhere)
        assert exports.import_model(elsewhere, ImportModel(file=str(exported))).to_dict() == first.to_dict()
        assert kept(elsewhere) == files

    def test_what_was_lost_here_is_mended(self, workspace: Workspace, exported: Path) -> None:
        blob = next(path for path in Path(workspace.settings.store, "blobs").rglob("*") if path.is_file())
        blob.unlink()
        exports.import_model(workspace, ImportModel(file=str(exported)))
        assert blob.exists()

    def test_a_number_that_is_taken_says_how_to_choose(self, exported: Path, elsewhere: Workspace, tmp_path: Path) -> None:
        (tmp_path / "w").write_text("other")
        create_model(elsewhere, CreateModel(name="churn", version="3", path="w"))
        with pytest.raises(Conflict, match=r"churn:3 exists here with other content.*--version.*--name"):
            exports.import_model(elsewhere, ImportModel(file=str(exported)))
        assert exports.import_model(elsewhere, ImportModel(file=str(exported), version="9")).version == "9"
        assert exports.import_model(elsewhere, ImportModel(file=str(exported), name="theirs")).name == "theirs"

    def test_a_number_that_was_deleted_stays_deleted(self, exported: Path, elsewhere: Workspace) -> None:
        exports.import_model(elsewhere, ImportModel(file=str(exported)))
        delete_model(elsewhere, DeleteModel(name="churn:3"))
        with pytest.raises(Conflict, match="was deleted"):
            exports.import_model(elsewhere, ImportModel(file=str(exported)))

    @pytest.mark.parametrize(("name", "version"), [("../x", None), ("a b", None), (None, "latest"), (None, "-1"), (None, "1" * 20)])
    def test_names_are_checked_before_anything_is_read(
        self, name: str | None, version: str | None, exported: Path, elsewhere: Workspace
    ) -> None:
        with pytest.raises(InvalidInput):
            exports.import_model(elsewhere, ImportModel(file=str(exported), name=name, version=version))
        assert kept(elsewhere) == []


class TestBadFiles:
    def test_another_kind_of_file_is_named(self, refuses: Refuses, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "z", "w") as archive:
            archive.writestr("../x", "x")
        assert "it is a zip archive" in refuses(tmp_path / "z").message
        assert "it is empty" in refuses(b"").message
        assert "it begins as none" in refuses(b"hello").message
        assert "a gzip file" in refuses(b"\x1f\x8b" + bytes(9999)).message

    def test_a_tar_that_something_else_wrote_is_refused(self, refuses: Refuses, exported: Path, tmp_path: Path) -> None:
        subprocess.run(["tar", "xf", str(exported), "-C", str(tmp_path)], check=True, capture_output=True)
        subprocess.run(["tar", "cf", str(tmp_path / "t"), "-C", str(tmp_path), "churn-3"], check=True, capture_output=True)
        assert "a tar archive that something else wrote" in refuses(tmp_path / "t").message

    def test_what_is_no_file_is_refused_at_once(self, refuses: Refuses, elsewhere: Workspace, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "it is no regular file" in refuses(tmp_path / "pipe").message
        assert "it is a folder" in refuses(tmp_path).message
        assert isinstance(refuses(tmp_path / "nowhere"), NotFound)
        assert "cannot be read" in refuses(Path("x" * 300)).message
        with pytest.raises(Unavailable, match="cannot be read"):
            exports.import_model(elsewhere, ImportModel(file="a\0b"))

    @pytest.mark.parametrize("share", [0.0001, 0.1, 0.3, 0.5, 0.9, 0.9999])
    def test_a_file_that_was_cut_is_refused(self, share: float, exported: Path, refuses: Refuses) -> None:
        whole = exported.read_bytes()
        error = refuses(whole[: int(len(whole) * share)])
        assert isinstance(error, (Corrupted, InvalidInput))

    def test_a_file_that_goes_on_is_refused(self, exported: Path, refuses: Refuses) -> None:
        assert "goes on for 3 bytes behind its end" in refuses(exported.read_bytes() + b"???").message

    @pytest.mark.parametrize(
        ("kind", "name"),
        [("1", "a hard link"), ("2", "a link"), ("3", "a device"), ("5", "a folder"), ("6", "a pipe"), ("S", "a sparse file")],
    )
    def test_what_is_no_regular_file_inside_is_named(self, kind: str, name: str, exported: Path, refuses: Refuses) -> None:
        content = bytearray(exported.read_bytes())
        with tarfile.open(exported) as tar:
            start = next(member for member in tar if member.name.endswith("weights.bin")).offset_data
        content[start - 512 + 156] = ord(kind)
        assert f"files/model/weights.bin is {name}" in refuses(bytes(content)).message

    def test_bytes_that_differ_from_their_digest_keep_nothing(self, exported: Path, refuses: Refuses) -> None:
        content = exported.read_bytes()
        place = content.index(bytes(range(256)))
        error = refuses(content[: place + 5000] + b"!" + content[place + 5001 :])
        assert isinstance(error, Corrupted)
        assert "weights.bin is not what its digest says" in error.message

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ([("../x", 1)], "'../x' cannot be a path"),
            ([("/x", 1)], "'/x' cannot be a path"),
            ([("a/../../x", 1)], "cannot be a path"),
            ([("C:\\x", 1)], "cannot be a path"),
            ([("a", 1), ("a", 1)], '"a" stands in it twice'),
            ([("a", 1), ("A", 1)], '"a" and "A" are one name'),
            ([("e\u0301", 1), ("\u00e9", 1)], "are one name"),
            ([("d/x", 1), ("D/y", 1)], '"d" and "D" are one name'),
            ([("a", -1)], "has no size"),
            ([("a", 10 * 10**12)], "ends after"),
            ([(f"{number}", 0) for number in range(1000)], "ends after"),
        ],
    )
    def test_a_hostile_manifest_is_refused(self, files: list[tuple[str, int]], message: str, refuses: Refuses) -> None:
        assert message in refuses(hostile(files) + bytes(16384)).message

    @pytest.mark.parametrize("root", ["..", "", "a/b", "../../etc", "\n"])
    def test_a_hostile_root_is_refused(self, root: str, refuses: Refuses) -> None:
        refuses(hostile([("x", 0)], root=root))

    @pytest.mark.parametrize(
        "head",
        [
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"format": 2}',
            b'{"format": 1, "model": {}, "manifest": {}}',
            b'{"format": 1, "model": {"name": "x", "secret": 1}, "manifest": {"root": "m"}}',
            b'{"format": 1, "model": {"name": "x", "version": "1", "digest": ""}, "manifest": {"root": "m"}}',
            b"\xff\xfe",
        ],
        ids=range(8),
    )
    def test_a_head_that_is_none_is_refused(self, head: bytes, refuses: Refuses) -> None:
        refuses(_with_head(head))

    @pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux says the most memory that a process had")
    def test_a_million_members_and_ten_terabytes_are_refused_in_two_seconds_and_256_mb(self, tmp_path: Path) -> None:
        (tmp_path / "million").write_bytes(hostile([(f"{number}", 0) for number in range(1_000_000)]))
        (tmp_path / "most").write_bytes(hostile([(f"{number}", 0) for number in range(250_000)]))
        (tmp_path / "large").write_bytes(hostile([("x", 10 * 10**12)]))
        program = (
            "import sys, time\n"
            "from jupyter_modelreg.doors.cli import main\n"
            "start = time.monotonic()\n"
            "code = main(['model', 'import', sys.argv[1]])\n"
            "seconds = time.monotonic() - start\n"
            "print(code, seconds, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
        )
        for name in ("million", "most", "large"):
            done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, timeout=60, check=True)
            code, seconds, kilobytes = done.stdout.split()
            assert code in ("2", "6"), done.stderr
            assert float(seconds) < 2.0 and int(kilobytes) < 256 * 1024, (name, seconds, kilobytes)  # noqa: PT018

    @given(st.binary(max_size=3000) | st.binary(max_size=300).map(lambda tail: _with_head(tail)))
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_bytes_are_refused_in_one_line(self, refuses: Refuses, content: bytes) -> None:
        refuses(content)

    @given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_one_flipped_bit_is_refused_wherever_it_is(self, exported: Path, refuses: Refuses, share: float, bit: int) -> None:
        content = bytearray(exported.read_bytes())
        content[int(share * len(content))] ^= 1 << bit
        refuses(bytes(content))

    def test_a_flipped_bit_in_every_byte_of_the_head_is_refused(self, exported: Path, refuses: Refuses) -> None:
        whole = exported.read_bytes()
        end = whole.index(b"\0", 4096)
        for place in range(4096, end, 7):
            content = bytearray(whole)
            content[place] ^= 1
            refuses(bytes(content))


def hostile(files: list[tuple[str, int]], root: str = "m") -> bytes:
    """Return the beginning of a file whose head says this of its files, all digests in order."""
    from blake3 import blake3

    items = [{"path": path, "size_bytes": size, "digest": blake3(b"").hexdigest()} for path, size in files]
    values = {"files": items, "is_file": False, "root": root}
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    digest = blake3(canonical).hexdigest()
    model = {"name": "x", "version": "1", "digest": digest}
    return _with_head(json.dumps({"format": 1, "model": model, "manifest": {**values, "digest": digest}}).encode())


def _with_head(head: bytes) -> bytes:
    start = exports._member_head("x-1/modelreg.json", len(head), 0) + head
    return start + bytes(-len(start) % 512 + 1024)


def test_a_large_version_streams(workspace: Workspace, elsewhere: Workspace, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / "big.bin").open("wb") as stream:
        for number in range(40):
            stream.write(bytes([number]) * (1 << 20))
    model = create_model(workspace, CreateModel(name="big", path="model"))
    seen: list[tuple[int, int]] = []
    workspace.progress = lambda done, total: seen.append((done, total))
    done = exports.export_model(workspace, ExportModel(name="big"))
    assert (len(seen) >= 5, seen[-1]) == (True, (40 << 20, 40 << 20))
    assert exports.import_model(elsewhere, ImportModel(file=done.path)).digest == model.digest
    shutil.rmtree(tmp_path / "model")
