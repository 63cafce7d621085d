"""Disks that are full, read-only or failing, met through the command line as a person meets them.

The mounts live in a mount namespace of their own and go with it; where none may be made the tests say so and skip.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

MODELREG = str(Path(sys.executable).with_name("modelreg"))
MIB = 1 << 20


def can_mount() -> bool:
    return subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="this machine lets nobody make a mount namespace")


class Shell:
    """Runs lines of bash where ``DISK`` is a file system of 2 MiB that holds the home."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        (folder / "small").mkdir()
        (folder / "small" / "a.txt").write_text("hello")
        (folder / "large.bin").write_bytes(os.urandom(4 * MIB))

    def run(self, *lines: str) -> list[str]:
        """Return what the lines print, standard error too, without the tables' lines."""
        script = [
            "set -u",
            f"DISK={self.disk}",
            "mount -t tmpfs -o size=2m none $DISK",
            "export MODELREG_HOME=$DISK/reg MODELREG_OUTPUT=none",
            f'modelreg() {{ {MODELREG} "$@"; }}',
            *lines,
        ]
        words = ["unshare", "--map-root-user", "--mount", "bash", "-c", "\n".join(script)]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
        return re.sub(r"\d[\d.]* [kM]?B\b", "SIZE", done.stdout.replace(str(self.disk), "DISK")).splitlines()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@needs_mounts
def test_a_file_that_does_not_fit_leaves_everything_as_it_was(shell: Shell) -> None:
    assert shell.run(
        "modelreg model create -n churn -p small",
        "before=$(find $DISK -type f | sort)",
        "modelreg model create -n churn -p large.bin; echo $?",
        '[ "$before" = "$(find $DISK -type f | sort)" ] && echo unchanged',
        "ls $DISK/reg/store/tmp",
        "modelreg model list -o tsv --query '[].version'",
        "modelreg model create -n churn -p small --query version -o tsv",
    ) == [
        "ERROR: large.bin needs SIZE, and the disk of DISK/reg/store has SIZE left; nothing was registered. "
        "Set MODELREG_STORE to a folder with room.",
        "6",
        "unchanged",
        "1",
        "2",
    ]


@needs_mounts
def test_on_a_full_disk_models_are_read_and_nothing_is_half_written(shell: Shell) -> None:
    said = shell.run(
        "modelreg model create -n churn -p small",
        "dd if=/dev/zero of=$DISK/fill bs=4k status=none 2>/dev/null",
        "modelreg model list -o tsv --query '[].name'",
        "modelreg model download -n churn -p out && cat out/churn/small/a.txt && echo",
        "mkdir new && head -c 100000 /dev/urandom > new/a.txt",  # what is known or tiny fits beside the catalog, which is met then
        "modelreg model create -n churn -p new; echo $?",
        "modelreg model update -n churn --stage Production; echo $?",
        "modelreg model download -n churn -p $DISK/out; echo $?",
        "rm $DISK/fill",
        "modelreg model update -n churn --stage Production; echo $?",
        "modelreg model list -n churn -o tsv --query '[].[version, stage]'",
    )
    assert said[:2] == ["churn", "hello"]
    assert said[3::2][:3] == ["6", "6", "6"]
    assert "the disk of DISK/reg/store has SIZE left; nothing was registered" in said[2]
    assert "DISK/reg/catalog.sqlite is not available: the disk" in said[4]
    assert "DISK/out" in said[6]
    assert said[8:] == ["0", "1\tProduction"]


@needs_mounts
def test_an_endpoint_answers_on_a_full_disk_and_is_deleted_there(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(
        "def init():\n    pass\ndef run(raw):\n    print('x' * 3_000_000)\n    return 'well'\n" + "# " * 10_000
    )
    (tmp_path / "blue.yml").write_text(
        "name: blue\nendpoint_name: live\nmodel: azureml:churn:1\ncode_configuration: {code: code, scoring_script: score.py}\n"
    )
    assert shell.run(
        "modelreg model create -n churn -p small",
        "modelreg online-endpoint create -n live",
        "modelreg online-deployment create -f blue.yml --all-traffic",
        "echo '{}' > ask.json; modelreg online-endpoint invoke -n live -r ask.json -o tsv; echo $?",
        "modelreg online-deployment update -n blue -e live --set request_settings.request_timeout_ms=4000 2>&1 | sed 's/run-[^/]*/RUN/'",
        "modelreg online-endpoint invoke -n live -r ask.json -o tsv; echo $?",
        "modelreg online-endpoint delete -n live --yes; echo $?",
        "modelreg online-endpoint list -o tsv; ls $DISK/reg/endpoints; pgrep -f $DISK/reg",
    ) == [
        *("well", "0"),
        "ERROR: DISK/reg/endpoints/live/blue/RUN/code/score.py cannot be used: the disk is full. Mend that and try again.",
        *("well", "0"),
        "0",
    ]


OBJECTS = {
    "pickle": "[bytes(4_000_000)]",
    "safetensors": "numpy.zeros(1_000_000)",
    "skops": "KNeighborsClassifier().fit(numpy.zeros((300_000, 1)), numpy.arange(300_000) % 2)",
}


@needs_mounts
@pytest.mark.parametrize("value", OBJECTS.values(), ids=OBJECTS)
def test_an_object_that_does_not_fit_is_said_so_too(shell: Shell, tmp_path: Path, value: str) -> None:
    (tmp_path / "save.py").write_text(
        "import warnings, numpy; from jupyter_modelreg import MLClient; from jupyter_modelreg.errors import Unavailable\n"
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "warnings.simplefilter('ignore')\n"
        f"try: MLClient().models.register('big', {value}, allow_pickle=True)\n"
        "except Unavailable as error: print(error.message)"
    )
    assert shell.run(f"{sys.executable} save.py", "find $DISK/reg/store -type f") == [
        "What is saved cannot be kept in DISK/reg/store: the disk is full; nothing was registered. "
        "Set MODELREG_STORE to a folder with room that you may write."
    ]


@needs_mounts
def test_on_a_disk_that_was_full_before_nothing_begins_and_room_is_all_it_wants(shell: Shell) -> None:
    said = shell.run(
        "dd if=/dev/zero of=$DISK/filler bs=4k 2> /dev/null",
        "modelreg model list; echo $?",
        "truncate --size=-24k $DISK/filler",
        "modelreg model create -n m -p small; echo $?",
        "modelreg model list; echo $?",
        "rm $DISK/filler",
        "modelreg model create -n m -p small; echo $?",
        "modelreg model show -n m --query version -o tsv",
    )
    assert said[1:6:2] == ["6", "6", "6"]
    assert "DISK/reg/catalog.sqlite cannot be made: " in said[0]
    assert "there was no room to make it. Make some, then try again." in said[4]
    assert said[6:] == ["0", "1"]


@needs_mounts
def test_a_read_only_home_is_read_and_says_what_cannot_be_done(shell: Shell) -> None:
    assert shell.run(
        "modelreg model create -n churn -p small",
        "mount -o remount,ro $DISK",
        "modelreg model list -o tsv --query '[].name'",
        "modelreg model show -n churn -o tsv --query version",
        "modelreg model create -n churn -p small; echo $?",
        "modelreg model archive -n churn; echo $?",
        "MODELREG_HOME=$DISK/new modelreg model list; echo $?",
    ) == [
        "churn",
        "1",
        "ERROR: The model's files cannot be kept in DISK/reg/store: the file system is read-only; nothing was registered. "
        "Set MODELREG_STORE to a folder with room that you may write.",
        "6",
        "ERROR: The catalog DISK/reg/catalog.sqlite is not available: it cannot be opened; is its folder there, and may you write it?",
        "6",
        "ERROR: Cannot create DISK/new: Read-only file system. Set MODELREG_HOME to a folder you may write.",
        "6",
    ]


def test_a_limit_on_the_size_of_files_is_said_so(tmp_path: Path, home: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(4 * MIB))
    done = subprocess.run(
        [MODELREG, "model", "create", "-n", "churn", "-p", "large.bin"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (6, "")
    assert "large.bin cannot be kept in" in done.stderr
    assert "it is larger than this process may write; nothing was registered" in done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_file_that_another_user_keeps_to_himself_is_said_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "secret.bin").write_bytes(b"x")
    (folder / "secret.bin").chmod(0o600)
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(place.stat().st_mode | 0o055)
    code = (
        "import os, sys; from jupyter_modelreg.sources.local import open_local; from jupyter_modelreg.errors import InvalidInput\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_local(sys.argv[1])\n"
        "except InvalidInput as error: print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == f"{folder / 'secret.bin'} cannot be read: you may not. Ask its owner, or change its mode.\n"
