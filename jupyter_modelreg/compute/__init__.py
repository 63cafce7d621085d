"""Where processes run: this machine. A process is started detached, so it outlives kernel, server and shell.

A process id alone names nothing for long, so an identity also holds the time it started (Source: proc(5), field 22 of
``/proc/<pid>/stat``) and the boot it started in; only if all of them match is it looked at or stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from ..records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_SECONDS = 5.0


class ProcessIdentity(Record):
    """What names one process for ever."""

    host: str
    pid: int
    start_time: str
    boot_id: str


def start_process(
    argv: Sequence[str], *, folder: str, log_path: str, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> ProcessIdentity:
    """Start a program in a session of its own, its output appended to a log that only its owner reads.

    Raises
    ------
    OSError
        If the program or the folder is not there.
    """
    # A process in between starts it and ends, so that a long-lived caller is left with no child to wait for.
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        starter = subprocess.run(
            [sys.executable, "-c", _STARTER, str(log), ",".join(map(str, pass_fds)), folder, *argv],
            env=dict(env),
            pass_fds=(*pass_fds, log),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            check=True,
            timeout=30,
        )
    finally:
        os.close(log)
    return identify(int(starter.stdout))


# Isolated by -c: imports nothing of ours, so it costs one bare interpreter.
_STARTER = """
import os, subprocess, sys
log, fds, folder = int(sys.argv[1]), [int(fd) for fd in sys.argv[2].split(",") if fd], sys.argv[3]
child = subprocess.Popen(sys.argv[4:], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds, start_new_session=True)
print(child.pid, flush=True)
os._exit(0)
"""


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a running process; an empty start time when it is gone already."""
    return ProcessIdentity(host=socket.gethostname(), pid=pid, start_time=_start_time(pid) or "", boot_id=_boot_id())


def is_alive(identity: ProcessIdentity) -> bool:
    """Say whether this very process runs on this machine; one that waits to be reaped does not."""
    if identity.boot_id != _boot_id() or identity.host != socket.gethostname():
        return False
    return bool(identity.start_time) and _start_time(identity.pid) == identity.start_time


def stop_process(identity: ProcessIdentity, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End a process and everything in its session; ask first, insist after the grace time."""
    if is_alive(identity):
        _signal(identity.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while is_alive(identity) and time.monotonic() < deadline:
            time.sleep(0.02)
    if identity.boot_id == _boot_id():
        for pid in _members(identity):
            _kill(pid)
    deadline = time.monotonic() + grace_seconds
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)


def _members(identity: ProcessIdentity) -> list[int]:
    """Return the processes of a session that is ours for certain: its leader lives, or its members are older than any reuse."""
    if not os.path.isdir("/proc/self"):
        return [identity.pid] if is_alive(identity) else []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = _stat(int(name))
            # Field 6 is the session; a member cannot be older than the leader that made it.
            if stat and stat[3] == str(identity.pid) and int(stat[19]) >= int(identity.start_time or 0) and stat[0] != "Z":
                found.append(int(name))
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        os.kill(pid, number)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _start_time(pid: int) -> str | None:
    if os.path.isdir("/proc/self"):
        stat = _stat(pid)
        return stat[19] if stat and stat[0] != "Z" else None
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
