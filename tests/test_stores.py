"""The store as a whole: what it holds, what is damaged and mended, what goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jupyter_modelreg import stores
from jupyter_modelreg.commands.model import CreateModel, DeleteModel
from jupyter_modelreg.commands.store import CleanStore, ShowStoreStats, VerifyStore
from jupyter_modelreg.doors.cli import main
from jupyter_modelreg.doors.display import to_text
from jupyter_modelreg.entities.answers import Damage, Verification
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Corrupted, InvalidInput, ModelRegistryError
from jupyter_modelreg.models import create_model, delete_model
from jupyter_modelreg.workspace import Workspace, open_workspace

LARGE = bytes(range(256)) * 2000


def register(workspace: Workspace, name: str, files: dict[str, bytes], version: str | None = None) -> Model:
    """Register a folder of files."""
    folder = Path("made", name)
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return create_model(workspace, CreateModel(name=name, version=version, path=str(folder)))


@pytest.fixture
def churn(workspace: Workspace) -> Workspace:
    """A registry of three versions: two share a large file, one has many small ones."""
    register(workspace, "churn", {"w.bin": LARGE, "a.txt": b"first"})
    register(workspace, "churn", {"w.bin": LARGE, "a.txt": b"second"})
    register(workspace, "small", {f"{number}.txt": b"number %d" % number for number in range(40)})
    return workspace


@pytest.fixture
def twin(churn: Workspace, tmp_path: Path) -> Path:
    """The home of another registry with the same versions."""
    home = tmp_path / "twin"
    other = open_workspace({"home": str(home)})
    register(other, "churn", {"w.bin": LARGE, "a.txt": b"first"})
    register(other, "churn", {"w.bin": LARGE, "a.txt": b"second"})
    register(other, "small", {f"{number}.txt": b"number %d" % number for number in range(40)})
    return home


def verify(workspace: Workspace, **values: Any) -> Verification:
    return stores.verify_store(workspace, VerifyStore(**values))


def clean(workspace: Workspace, **values: Any) -> Any:
    return stores.clean_store(workspace, CleanStore(**{"grace": "0", **values}))


def inside(workspace: Workspace, kind: str) -> list[Path]:
    """Return the files of one kind in a store, the largest first."""
    files = [path for path in Path(workspace.settings.store, kind).rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


def rot(path: Path) -> None:
    """Change one byte and nothing that a listing shows."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(status.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class TestStats:
    def test_everything_is_counted(self, churn: Workspace) -> None:
        stats = stores.show_stats(churn, ShowStoreStats())
        assert (stats.models, stats.versions, stats.files) == (2, 3, 44)
        assert stats.size_bytes == 2 * len(LARGE) + 5 + 6 + sum(len(b"number %d" % number) for number in range(40))
        assert stats.saved_bytes == len(LARGE)
        assert (stats.packs, stats.pieces) == (1, 0)
        assert stats.blobs == 4
        assert stats.garbage_bytes == 0

    @pytest.mark.parametrize(("dedup", "repeated"), [("file", 2_000_000), ("tensor", 0)])
    def test_tensors_that_several_files_hold_are_told(
        self, dedup: str, repeated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODELREG_DEDUP", dedup)
        workspace = open_workspace()
        for version in range(2):
            save_file({"w": np.ones(2_000_000, "u1"), "b": np.full(3, version, "u1")}, tmp_path / "net.safetensors")
            create_model(workspace, CreateModel(name="net", path=str(tmp_path / "net.safetensors")))
        stats = stores.show_stats(workspace, ShowStoreStats())
        assert repeated <= stats.repeated_bytes < repeated + 500
        assert ("repeated" in to_text(stats)) == (dedup == "file")
        assert stats.pieces == {"file": 0, "tensor": 3}[dedup]

    def test_what_it_takes_is_what_du_says(self, churn: Workspace) -> None:
        churn.store.view(churn.store.load_manifest(str(churn.catalog.get_version("churn").digest)))
        stats = stores.show_stats(churn, ShowStoreStats())
        said = subprocess.run(["du", "-s", "-B1", churn.settings.store], capture_output=True, text=True, check=True).stdout
        assert abs(stats.disk_bytes - int(said.split()[0])) < 64 * 1024  # the folder itself, and a log that shrinks

    def test_an_empty_registry_has_stats_too(self, workspace: Workspace) -> None:
        assert stores.show_stats(workspace, ShowStoreStats()).to_dict()["versions"] == 0
        assert "versions  0 of 0 models" in to_text(stores.show_stats(workspace, ShowStoreStats()))

    def test_a_quota_is_shown(self, churn: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELREG_QUOTA", "20 GB")
        assert "of 20.0 GB" in to_text(stores.show_stats(open_workspace(), ShowStoreStats()))


class TestVerify:
    def test_a_sound_registry_is_sound(self, churn: Workspace) -> None:
        found = verify(churn)
        assert (found.is_ok, found.versions, found.blobs, found.damages) == (True, 3, 4, [])
        assert to_text(found) == f"Read 4 blobs of {found.size_bytes / 1000:.0f} kB, for 3 versions: all is sound."

    def test_progress_ends_at_the_whole(self, churn: Workspace) -> None:
        seen: list[tuple[int, int]] = []
        churn.progress = lambda done, total: seen.append((done, total))
        found = verify(churn)
        assert seen[-1] == (found.size_bytes, found.size_bytes)

    def test_a_rotten_blob_is_named_with_its_versions_and_paths(self, churn: Workspace) -> None:
        blob = inside(churn, "blobs")[0]
        rot(blob)
        [damage] = verify(churn).damages
        assert damage == Damage(kind="blob", name=blob.name, problem="damaged", versions=["churn:1", "churn:2"], paths=["w.bin"])

    def test_a_lost_blob_is_missing(self, churn: Workspace) -> None:
        inside(churn, "blobs")[0].unlink()
        [damage] = verify(churn).damages
        assert (damage.problem, damage.versions, damage.paths) == ("missing", ["churn:1", "churn:2"], ["w.bin"])

    def test_a_rotten_pack_names_the_files_in_it(self, churn: Workspace) -> None:
        pack = inside(churn, "blobs")[1]
        rot(pack)
        [damage] = verify(churn).damages
        assert (damage.kind, damage.name, damage.versions) == ("blob", pack.name, ["small:1"])
        assert len(damage.paths) == 1
        assert re.fullmatch(r"\d+\.txt", damage.paths[0])

    @pytest.mark.parametrize("deed", [rot, Path.unlink, lambda path: (path.chmod(0o644), path.write_bytes(b"{"))])
    def test_a_lost_or_rotten_manifest_is_named(self, churn: Workspace, deed: Any) -> None:
        digest = str(churn.catalog.get_version("churn", "1").digest)
        deed(Path(churn.settings.store, "manifests", digest[:2], digest))
        [damage] = verify(churn).damages
        assert (damage.kind, damage.name, damage.versions) == ("manifest", digest, ["churn:1"])

    @pytest.mark.parametrize("deed", ["missing", "no JSON", "swapped"])
    def test_parts_that_lead_nowhere_are_named(self, churn: Workspace, deed: str) -> None:
        [parts] = inside(churn, "parts")
        parts.chmod(0o644)
        if deed == "missing":
            parts.unlink()
        elif deed == "no JSON":
            parts.write_bytes(b"{")
        else:
            values = json.loads(parts.read_bytes())
            first, second = list(values)[:2]
            values[first], values[second] = values[second], values[first]
            parts.write_text(json.dumps(values))
        found = verify(churn)
        assert not found.is_ok
        assert {version for damage in found.damages for version in damage.versions} == {"small:1"}

    def test_a_catalog_that_was_edited_by_hand_is_named(self, churn: Workspace) -> None:
        with sqlite3.connect(churn.settings.catalog) as connection:
            connection.execute("UPDATE version SET size_bytes = 1 WHERE id = 1")
            connection.execute("UPDATE version SET digest = ? WHERE id = 2", ("ab" * 32,))
        connection.close()
        found = {(item.kind, tuple(item.versions)) for item in verify(churn).damages}
        assert found == {("catalog", ("churn:1",)), ("catalog", ("churn:2",)), ("manifest", ("churn:2",))}

    def test_a_version_that_was_given_another_content_by_hand_is_named_and_not_mended(self, churn: Workspace, twin: Path) -> None:
        with sqlite3.connect(churn.settings.catalog) as connection:
            connection.execute(
                "UPDATE version SET (digest, size_bytes) = (SELECT digest, size_bytes FROM version WHERE id = 2) WHERE id = 1"
            )
        connection.close()
        found = verify(churn, repair_from=str(twin))
        assert [(item.kind, item.versions, item.is_mended) for item in found.damages] == [("catalog", ["churn:1"], False)]

    def test_an_index_of_the_catalog_that_leads_to_another_row_is_named(self, churn: Workspace) -> None:
        first, second = (churn.catalog.get_version("churn", version).digest for version in ("1", "2"))
        with sqlite3.connect(churn.settings.catalog) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_version_1'").fetchone()[0]
            size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.close()
        path = Path(churn.settings.catalog)
        sound = path.read_bytes()
        for place in range(page * size - 60, page * size):  # where the first rows of a page lie
            path.write_bytes(sound[:place] + bytes([sound[place] ^ 3]) + sound[place + 1 :])
            with suppress(ModelRegistryError):
                if open_workspace().catalog.get_version("churn", "2").digest == first != second:
                    break
        else:
            pytest.fail("no bit leads to another row")
        damages = verify(open_workspace()).damages
        assert damages[0].kind == "catalog"
        assert damages[0].name == churn.settings.catalog
        assert "index" in damages[0].problem

    def test_a_record_of_changes_that_was_edited_is_named(self, churn: Workspace) -> None:
        with sqlite3.connect(churn.settings.catalog) as connection:
            connection.execute("UPDATE audit SET actor = 'nobody' WHERE number = 2")
        connection.close()
        [damage] = verify(churn).damages
        assert (damage.kind, damage.name) == ("audit", "2")

    def test_a_sample_reads_a_part(self, churn: Workspace) -> None:
        found = verify(churn, sample=0.5)
        assert (found.blobs, found.is_sample, found.is_ok) == (2, True, True)
        assert ", a sample, of " in to_text(found)

    @pytest.mark.parametrize("sample", [0, -1, 2, float("nan")])
    def test_a_sample_that_is_no_share_is_refused(self, workspace: Workspace, sample: float) -> None:
        with pytest.raises(InvalidInput, match="sample must be above 0"):
            verify(workspace, sample=sample)

    def test_the_exit_code_says_it_and_the_answer_is_whole(self, churn: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["store", "verify", "-o", "none"]) == 0
        rot(inside(churn, "blobs")[0])
        capsys.readouterr()
        assert main(["store", "verify", "-o", "json"]) == Corrupted.exit_code
        answer = json.loads(capsys.readouterr().out)
        assert (answer["is_ok"], answer["damages"][0]["versions"]) == (False, ["churn:1", "churn:2"])
        assert main(["store", "verify", "-o", "table"]) == Corrupted.exit_code
        assert "1 damage." in capsys.readouterr().out


class TestMend:
    @pytest.mark.parametrize("place", ["twin", "twin/store"])
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_rotten_blob_is_mended_from_another_registry(self, churn: Workspace, twin: Path, place: str, number: int) -> None:
        rot(inside(churn, "blobs")[number])
        found = verify(churn, repair_from=place)
        assert ([item.is_mended for item in found.damages], found.is_ok) == ([True], True)
        assert verify(churn).damages == []

    @pytest.mark.parametrize("kind", ["blobs", "manifests", "parts"])
    @pytest.mark.parametrize("deed", [rot, Path.unlink])
    def test_whatever_is_lost_comes_back(self, churn: Workspace, twin: Path, kind: str, deed: Any) -> None:
        for path in inside(churn, kind):
            deed(path)
        found = verify(churn, repair_from=str(twin))
        assert (found.is_ok, len(found.damages) > 0) == (True, True)
        assert verify(churn).is_ok

    def test_what_the_other_has_rotten_too_stays_a_damage(self, churn: Workspace, twin: Path) -> None:
        for workspace in (churn, open_workspace({"home": str(twin)})):
            rot(inside(workspace, "blobs")[0])
        found = verify(churn, repair_from=str(twin))
        assert ([item.is_mended for item in found.damages], found.is_ok) == ([False], False)

    def test_nothing_is_mended_unasked(self, churn: Workspace, twin: Path) -> None:
        rot(inside(churn, "blobs")[0])
        assert not verify(churn).is_ok
        assert not verify(churn).is_ok

    def test_a_place_without_a_store_is_refused_before_anything_is_read(self, churn: Workspace, tmp_path: Path) -> None:
        for place in ("nowhere", str(tmp_path)):
            with pytest.raises(InvalidInput, match="neither a registry's home nor a store"):
                verify(churn, repair_from=place)
        with pytest.raises(InvalidInput, match="has no cache"):
            verify(churn, repair_from="cache")

    def test_what_a_store_elsewhere_lost_is_not_hidden_by_the_cache(self, tmp_path: Path) -> None:
        far = tmp_path / "far"
        workspace = open_workspace({"store": f"local://{far}"})
        model = register(workspace, "small", {f"{number}.txt": b"number %d" % number for number in range(40)})
        for kind in ("manifests", "parts"):
            lost = far / kind / str(model.digest)[:2] / str(model.digest)
            lost.unlink()
            assert {version for damage in verify(workspace).damages for version in damage.versions} == {"small:1"}
            assert verify(workspace, repair_from="cache").is_ok
            assert lost.exists()

    def test_a_store_elsewhere_is_mended_from_the_cache(self, tmp_path: Path) -> None:
        far = tmp_path / "far"
        workspace = open_workspace({"store": f"local://{far}"})
        register(workspace, "churn", {"w.bin": LARGE, "a.txt": b"first"})
        blob = max((path for path in (far / "blobs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        blob.chmod(0o644)
        blob.write_bytes(b"?" * blob.stat().st_size)
        assert not verify(workspace).is_ok
        assert verify(workspace, repair_from="cache").is_ok
        assert verify(workspace).damages == []


class TestClean:
    def test_what_a_deleted_version_had_goes_and_what_others_need_stays(self, churn: Workspace) -> None:
        delete_model(churn, DeleteModel(name="churn:2"))
        delete_model(churn, DeleteModel(name="small"))
        done = clean(churn)
        assert (done.files, done.versions, done.is_dry_run) == (2, 2, False)
        assert done.size_bytes > 0
        assert verify(churn).to_dict()["blobs"] == 2
        assert clean(churn).to_dict() == {"size_bytes": 0, "files": 0, "versions": 0, "registrations": 0, "is_dry_run": False}

    def test_a_version_that_another_deleted_and_cleaned_up_a_moment_ago_is_no_damage(
        self, churn: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live = churn.catalog.live_digests()
        delete_model(churn, DeleteModel(name="churn"))
        clean(churn)
        with monkeypatch.context() as patch:
            answers = [live]
            real = churn.catalog.live_digests
            patch.setattr(churn.catalog, "live_digests", lambda: answers.pop() if answers else real())
            assert clean(churn).files == 0

    def test_what_is_young_stays(self, churn: Workspace) -> None:
        delete_model(churn, DeleteModel(name="small"))
        assert clean(churn, grace="1h").size_bytes == 0
        assert stores.ask_to_clean(churn, CleanStore(grace="1h")) == ""

    def test_a_dry_run_removes_nothing_and_says_what_would_go(self, churn: Workspace) -> None:
        delete_model(churn, DeleteModel(name="churn"))
        before = inside(churn, "")
        plan = clean(churn, dry_run=True)
        assert (plan.files, plan.versions, plan.is_dry_run) == (3, 2, True)
        assert inside(churn, "") == before
        assert to_text(plan).startswith("Would free 51")
        assert clean(churn).size_bytes == plan.size_bytes

    def test_the_question_says_what_goes(self, churn: Workspace) -> None:
        delete_model(churn, DeleteModel(name="churn"))
        scratch = Path(churn.settings.store, "tmp", "abandoned")
        scratch.mkdir(parents=True)
        (scratch / "half").write_bytes(b"x" * 1000)
        question = stores.ask_to_clean(churn, CleanStore(grace="0"))
        assert re.fullmatch(r"Free 51\d kB of 3 files, 2 deleted versions, 1 unfinished registration\?", question)
        assert clean(churn).registrations == 1
        assert not scratch.exists()

    def test_a_terminal_asks_with_it_and_no_means_no(self, churn: Workspace) -> None:
        delete_model(churn, DeleteModel(name="churn"))
        for key, code in ((b"n\n", 2), (b"y\n", 0)):
            ours, theirs = os.openpty()
            words = [sys.executable, "-m", "jupyter_modelreg", "store", "clean", "--grace", "0"]
            with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                os.write(ours, key)
                _, err = process.communicate(timeout=60)
            os.close(ours)
            os.close(theirs)
            assert process.returncode == code, err
            assert "3 files, 2 deleted versions? [y/N]" in err
        assert clean(churn).size_bytes == 0

    def test_nobody_is_asked_where_nothing_would_go(self, churn: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["store", "clean", "-o", "table"]) == 0
        assert capsys.readouterr().out == "Nothing to free.\n"

    def test_a_registration_that_began_meanwhile_keeps_its_files(self, churn: Workspace) -> None:
        version = churn.catalog.get_version("churn", "1")
        names = churn.store.names_of(churn.store.load_manifest(str(version.digest)))
        delete_model(churn, DeleteModel(name="churn"))
        pin = churn.catalog.pin(names)
        assert clean(churn).files == 1
        churn.catalog.unpin(pin)
        assert clean(churn).files == 2

    @pytest.mark.parametrize("deed", [rot, Path.unlink])
    def test_a_manifest_that_is_damaged_or_lost_stops_it(self, churn: Workspace, deed: Any) -> None:
        delete_model(churn, DeleteModel(name="small"))
        digest = str(churn.catalog.get_version("churn", "1").digest)
        deed(Path(churn.settings.store, "manifests", digest[:2], digest))
        before = inside(churn, "blobs")
        with pytest.raises(Corrupted):
            clean(churn)
        assert inside(churn, "blobs") == before

    @pytest.mark.parametrize("text", ["", "soon", "-1h", "1y", "1.2.3h", "\u0661h"])
    def test_a_time_that_is_none_is_refused(self, workspace: Workspace, text: str) -> None:
        with pytest.raises(InvalidInput, match="is no time"):
            clean(workspace, grace=text)

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604_800)])
    def test_times_are_read(self, text: str, seconds: float) -> None:
        assert stores.parse_duration(text) == seconds

    @pytest.mark.parametrize("step", ["doom", "remove", "forget_doomed"])
    def test_one_that_is_killed_is_finished_by_the_next(self, churn: Workspace, step: str) -> None:
        delete_model(churn, DeleteModel(name="churn"))
        program = (
            "import os, sys\n"
            "from jupyter_modelreg import stores\n"
            "from jupyter_modelreg.commands.store import CleanStore\n"
            "from jupyter_modelreg.catalog import Catalog\n"
            "from jupyter_modelreg.storage import LocalStore\n"
            "from jupyter_modelreg.workspace import open_workspace\n"
            f"place = LocalStore if {step!r} == 'remove' else Catalog\n"
            f"done = getattr(place, {step!r})\n"
            "def die(self, *values, **others):\n"
            "    items = list(values[0]) if isinstance(values[0], list) else None\n"
            "    if items == []:\n"
            "        return done(self, *values, **others)\n"
            "    done(self, *([items[:1], *values[1:]] if items else values), **others)\n"
            "    os._exit(9)\n"
            f"setattr(place, {step!r}, die)\n"
            "stores.clean_store(open_workspace(), CleanStore(grace='0'))\n"
        )
        assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 9
        register(churn, "churn", {"w.bin": LARGE, "a.txt": b"first"}, version="7")
        assert verify(churn).is_ok
        clean(churn)
        assert verify(churn).is_ok
        assert load_files(churn, "churn:7") == {"w.bin": LARGE, "a.txt": b"first"}
        assert len(inside(churn, "blobs")) == 3

    def test_it_works_on_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
        if mount.returncode:
            pytest.skip(f"no small disk can be made here: {mount.stderr.strip()}")
        try:
            monkeypatch.setenv("MODELREG_HOME", str(disk / "home"))
            (tmp_path / "w.bin").write_bytes(os.urandom(2_000_000))
            for words in (["model", "create", "big", "-p", "w.bin"], ["model", "delete", "big", "-y"]):
                done = subprocess.run([sys.executable, "-m", "jupyter_modelreg", *words, "-o", "none"], check=False)
                assert done.returncode == 0
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(1 << 16))
            with suppress(OSError), (disk / "filler").open("ab", buffering=0) as stream:
                while True:
                    stream.write(b"0")
            words = [sys.executable, "-m", "jupyter_modelreg", "store", "clean", "--grace", "0", "-y", "-o", "table"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (0, "Freed 2.0 MB of 1 file, 1 deleted version.\n"), done.stderr
            assert (disk / "home" / "catalog.sqlite-reserve").exists()
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_deleting_a_version_says_that_its_files_stay(self) -> None:
        assert "store clean" in (DeleteModel.__doc__ or "")


def load_files(workspace: Workspace, name: str) -> dict[str, bytes]:
    found = workspace.catalog.get_version(*name.split(":"))
    manifest = workspace.store.load_manifest(str(found.digest))
    root = Path(workspace.store.view(manifest), manifest.root)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
