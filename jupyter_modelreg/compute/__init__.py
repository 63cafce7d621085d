"""Where processes run: this machine. A process is started detached, so it outlives kernel, server and shell.

A process id alone names nothing for long, so an identity also holds the time it started (Source: proc(5), field 22 of
``/proc/<pid>/stat``) and the boot it started in; only if all of them match is it looked at or stopped. A token in its
environment, which its children inherit, finds what it leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from ..errors import Unavailable
from ..records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_SECONDS = 10.0
TOKEN = "MODELREG_PROCESS"  # noqa: S105 - the name of a variable
LOOK_SECONDS = 0.02


class ProcessIdentity(Record):
    """What names one process for ever. ``host`` is for people; the boot tells machines apart."""

    host: str
    pid: int
    start_time: str
    boot_id: str
    token: str = ""


def start_process(
    argv: Sequence[str], *, folder: str, log_path: str, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> ProcessIdentity:
    """Start a program in a session of its own, its output appended to a log that only its owner reads.

    Raises
    ------
    Unavailable
        If the program, the folder or the log cannot be used.
    """
    import secrets

    token = secrets.token_hex(16)
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


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a running process; an empty start time when it is gone already."""
    return ProcessIdentity(host=socket.gethostname(), pid=pid, start_time=_start_time(pid) or "", boot_id=_boot_id())


def is_alive(identity: ProcessIdentity) -> bool:
    """Say whether this very process runs on this machine; one that waits to be reaped does not."""
    return bool(identity.start_time) and _start_time(identity.pid) == identity.start_time and identity.boot_id == _boot_id()


def stop_process(identity: ProcessIdentity, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End a process and everything it started; ask it first, insist after the grace time.

    What it started is not asked: a worker that ends in good order still needs its helpers for the answers under way.
    """
    if identity.boot_id != _boot_id():
        return
    session = _session(identity) if is_alive(identity) else {}
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGTERM)
        _wait_for_end(identity, grace_seconds)
    # What a dying process still starts is found in a second look; so is one that execs, which has no environment for a moment.
    deadline, looks = time.monotonic() + GRACE_SECONDS, 0
    while looks < 2 and time.monotonic() < deadline:
        left = {pid for pid, start in {**session, **_marked(identity)}.items() if _start_time(pid) == start}
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
        stat = _stat(pid)
        if stat and stat[3] == str(identity.pid):  # Source: proc(5), field 6
            found[pid] = stat[19]
    return found


def _marked(identity: ProcessIdentity) -> dict[int, str]:
    """Return process ids and start times of those that carry the token."""
    found = {}
    mark = f"{TOKEN}={identity.token}".encode()
    for pid in _processes() if identity.token else []:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
            if mark in stream.read().split(b"\0") and (start := _start_time(pid)):
                found[pid] = start
    return found


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc/self") else []


def _start_time(pid: int) -> str | None:
    if os.path.isdir("/proc/self"):
        stat = _stat(pid)
        # While other threads of a dead process still end, it holds its files and ports. Source: proc(5), field 20
        return stat[19] if stat and (stat[0] not in "ZX" or int(stat[17]) > 1) else None
    asked = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = asked.stdout.strip().partition(" ")
    return started.strip().replace(" ", "-") if started and not state.startswith("Z") else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` from the third on: state, parent, group, session …"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        asked = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
        return asked.stdout.strip()
