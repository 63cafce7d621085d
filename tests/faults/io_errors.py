"""F4: system calls that fail or do a part only, by libfiu; below Python, SQLite and everything else that calls the C library."""

from __future__ import annotations

import ctypes
import errno
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .actions import EVERYTHING, Say, attempt, register_new, rest_models
from .processes import Child
from .registry import Counts, Registry, settled

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
    rest_models(registry)
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
    """Do one thing in which a call fails, then one that must work."""
    chance = random.Random(seed)
    workspace = registry.open(dedup=chance.choice(("file", "tensor")))
    signal.alarm(HANG_SECONDS)
    register_new(registry, workspace, chance, say)
    said: list[tuple[object, ...]] = []
    name, number, is_lasting = chance.choice(sorted(CALLS)), chance.choice((1, 1, 2, 3, 5, 8, 13, 21)), chance.random() < 0.5
    with _failing(name, chance.choice(CALLS[name]), number, is_lasting=is_lasting) as count:
        attempt(chance.choice(EVERYTHING), registry, workspace, chance, lambda *words: said.append(words))
    for words in said:  # said when no call fails any more
        say(*words)
    if count():
        say("faults met")
    register_new(registry, workspace, chance, say)


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
