"""F4: system calls that fail or do a part only, by libfiu; below Python, SQLite and everything else that calls the C library."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from jupyter_modelreg.commands.model import DeleteModel, DownloadModel
from jupyter_modelreg.errors import ModelRegistryError
from jupyter_modelreg.models import delete_model, download_model
from jupyter_modelreg.workspace import Workspace

from .kills import Say
from .processes import Child
from .registry import NAMES, OFTEN, Counts, Registry, clean, register, settled, write_model

# libfiu's name of a call: what it may fail with. One that is reduced does a part of what it was asked for.
CALLS = {
    "posix/io/rw/write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "posix/io/rw/pwrite": (errno.ENOSPC, errno.EIO),
    "posix/io/rw/write/reduce": (0,),
    "posix/io/rw/pwrite/reduce": (0,),
    "posix/io/rw/read": (errno.EIO,),
    "posix/io/rw/pread": (errno.EIO,),
    "posix/io/rw/read/reduce": (0,),
    "posix/io/rw/pread/reduce": (0,),
    "posix/io/rw/ftruncate": (errno.EIO, errno.ENOSPC),
    "posix/io/oc/open": (errno.EMFILE, errno.EACCES, errno.ENOSPC, errno.EIO),
    "posix/io/oc/close": (errno.EIO,),
    "posix/io/sync/fsync": (errno.EIO, errno.ENOSPC),
    "posix/io/sync/fdatasync": (errno.EIO,),
    "posix/io/dir/rename": (errno.EIO, errno.ENOSPC),
    "posix/io/dir/unlink": (errno.EIO, errno.EACCES),
    "posix/io/dir/opendir": (errno.EMFILE,),
    "posix/mm/mmap": (errno.ENOMEM,),
}
HANG_SECONDS = 60
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def run(folder: Path, rounds: int, seed: int) -> Counts:
    """Let a call fail in each of `rounds` operations, in a Python whose C library is libfiu's."""
    command = ["fiu-run", "-x", "-f", "", sys.executable, "-m", __name__, str(folder), str(rounds), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2])
    return Counts(**json.loads(done.stdout))


def why_not() -> str:
    """Return why calls cannot be made to fail here, or nothing."""
    return "" if shutil.which("fiu-run") else "fiu-run is not installed (Debian: fiu-utils)"


def _inject(folder: Path, rounds: int, seed: int) -> Counts:
    chance, registry = random.Random(seed), Registry(folder)
    registry.register("large-first")
    for _ in range(rounds):
        one = chance.randrange(1 << 30)
        code, lines = Child(lambda say, one=one: _disturbed(registry, one, say)).end()
        registry.hear(lines)
        registry.others["injections"] += 1
        registry.others["hangs"] += code == -signal.SIGALRM
        assert code in (0, -signal.SIGALRM), "a process died of an error; see its traceback"
    counts = settled(registry)
    counts.corrupt += counts.others["hangs"]
    return counts


def _disturbed(registry: Registry, seed: int, say: Say) -> None:
    """Do one operation in which a call fails, then one that must work."""
    chance, workspace = random.Random(seed), registry.open(dedup=random.Random(seed).choice(("file", "tensor")))
    place = registry.folder / "source"
    signal.alarm(HANG_SECONDS)
    _try(lambda: _register(workspace, place, f"plain-before-{seed}", say), say)  # so that everything is imported
    work = chance.choice((_register, _register, _register, _delete, _download, _clean))
    content = f"{chance.choice(OFTEN)}-{seed}"
    write_model(place, content)
    call = chance.choice(sorted(CALLS))
    with _failing(call, chance.choice(CALLS[call]), chance.choice((1, 1, 2, 3, 5, 8, 13, 21)), is_lasting=chance.random() < 0.5) as count:
        said: list[tuple[object, ...]] = []
        _try(lambda: work(workspace, place, content, lambda *words: said.append(words)), lambda *words: said.append(words))
    for words in said:
        say(*words)
    if count():
        say("faults met")
    _register(workspace, write_model(place, f"plain-after-{seed}"), f"plain-after-{seed}", say)


def _try(work: Callable[[], None], say: Say) -> None:
    try:
        work()
    except ModelRegistryError as error:
        say("clean errors" if "\n" not in error.message else "long errors")
    except Exception as error:
        say(f"raw {type(error).__name__}")
        if "FAULTS_SHOW" in os.environ:
            import traceback

            traceback.print_exc()


def _register(workspace: Workspace, place: Path, content: str, say: Say) -> None:
    if content.startswith("plain-before"):
        write_model(place, content)
    say("kept", NAMES[0], register(workspace, place, NAMES[0], content), content)


def _delete(workspace: Workspace, place: Path, content: str, say: Say) -> None:
    newest = str(workspace.catalog.get_version(NAMES[0]).version)
    say("deleting", NAMES[0], newest)
    delete_model(workspace, DeleteModel(name=NAMES[0], version=newest))
    say("deleted", NAMES[0], newest)


def _download(workspace: Workspace, place: Path, content: str, say: Say) -> None:
    target = place.with_name("target")
    try:
        download_model(workspace, DownloadModel(name=NAMES[0], version="1", download_path=str(target)))
        say("downloads")
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _clean(workspace: Workspace, place: Path, content: str, say: Say) -> None:
    clean(workspace, grace_seconds=-1)
    say("clean-ups")


class _failing:
    """While this lasts the n-th call of a name fails; with `is_lasting` those behind it too. Gives how many did."""

    def __init__(self, name: str, code: int, number: int, *, is_lasting: bool) -> None:
        self._name, self._seen, self._failed = name.encode(), 0, 0
        self._fiu = ctypes.CDLL("libfiu.so.0")

        def decide(*_: object) -> int:
            self._seen += 1
            fails = self._seen >= number if is_lasting else self._seen == number
            self._failed += fails
            return int(fails)

        self._decide, self._code = _Callback(decide), code

    def __enter__(self) -> Callable[[], int]:
        assert self._fiu.fiu_enable_external(self._name, 1, ctypes.c_void_p(self._code), 0, self._decide) == 0
        return lambda: self._failed

    def __exit__(self, *_: object) -> None:
        self._fiu.fiu_disable(self._name)


if __name__ == "__main__":
    found = _inject(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"acknowledged": found.acknowledged, "lost": found.lost, "corrupt": found.corrupt, "others": found.others}))
