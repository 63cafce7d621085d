"""Where processes run: this machine. A process is started detached, so it outlives kernel, server and shell.

Only if its whole identity matches is a process looked at or stopped. A token in its environment, which its children
inherit, finds what it leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from ..errors import Unavailable
from ..processes import ProcessIdentity, boot_id, identify, is_alive, read_stat, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_SECONDS = 10.0
TOKEN = "MODELREG_PROCESS"  # noqa: S105 - the name of a variable
LOOK_SECONDS = 0.02


def start_process(
    argv: Sequence[str], *, folder: str, log_path: str, env: Mapping[str, str], pass_fds: Sequence[int] = (), token: str = ""
) -> ProcessIdentity:
    """Start a program in a session of its own, its output appended to a log that only its owner reads.

    Who wants to find the program even if it is killed before it learns the answer gives a ``token`` and notes it first.

    Raises
    ------
    Unavailable
        If the program, the folder or the log cannot be used.
    """
    token = token or new_token()
    try:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{log_path} cannot be written: {error.strerror}.") from None
    try:
        # A process in between starts it and ends, so that a long-lived caller is left with no child to wait for.
        starter = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _STARTER, str(log), ",".join(map(str, pass_fds)), folder, *argv],
            env={**env, TOKEN: token},
            pass_fds=(*pass_fds, log),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]} cannot be started: {error}.") from None
    finally:
        os.close(log)
    if starter.returncode:
        raise Unavailable(f"{argv[0]} cannot be started: {starter.stderr.strip()}.")
    return identify(int(starter.stdout)).replace(token=token)


def new_token() -> str:
    """Make what marks a process and its children."""
    import secrets

    return secrets.token_hex(16)


# Isolated and without site, so it costs only a bare interpreter.
_STARTER = """
import os, subprocess, sys
log, fds, folder = int(sys.argv[1]), [int(fd) for fd in sys.argv[2].split(",") if fd], sys.argv[3]
try:
    child = subprocess.Popen(sys.argv[4:], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds, start_new_session=True)
except OSError as error:
    sys.exit(f"{error.strerror} ({error.filename})")
print(child.pid, flush=True)
os._exit(0)
"""


def stop_process(identity: ProcessIdentity, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End a process and everything it started; ask it first, insist after the grace time.

    What it started is not asked: a worker that ends in good order still needs its helpers for the answers under way.
    """
    if identity.boot_id != boot_id():
        return
    session = _session(identity) if is_alive(identity) else {}
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGTERM)
        _wait_for_end(identity, grace_seconds)
    # What a dying process still starts is found in a second look; so is one that execs, which has no environment for a moment.
    deadline, looks = time.monotonic() + GRACE_SECONDS, 0
    while looks < 2 and time.monotonic() < deadline:
        left = {pid for pid, start in {**session, **_marked(identity)}.items() if start_time(pid) == start}
        looks = 0 if left else looks + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _wait_for_end(identity: ProcessIdentity, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def _session(identity: ProcessIdentity) -> dict[int, str]:
    """Return process ids and start times of a living process's session, itself included."""
    found = {identity.pid: identity.start_time}
    for pid in _processes():
        stat = read_stat(pid)
        if stat and stat[3] == str(identity.pid):  # Source: proc(5), field 6
            found[pid] = stat[19]
    return found


def _marked(identity: ProcessIdentity) -> dict[int, str]:
    """Return process ids and start times of those that carry the token."""
    found = {}
    mark = f"{TOKEN}={identity.token}".encode()
    for pid in _processes() if identity.token else []:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
            if mark in stream.read().split(b"\0") and (start := start_time(pid)):
                found[pid] = start
    return found


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc/self") else []


__all__ = ["ProcessIdentity", "identify", "is_alive", "new_token", "start_process", "stop_process"]
