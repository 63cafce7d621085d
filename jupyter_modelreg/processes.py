"""Who a process is, so that its traces can be told from those of another that got the same number later.

A process id alone names nothing for long, so an identity also holds the time it started (Source: proc(5), field 22 of
``/proc/<pid>/stat``) and the boot it started in.
"""

from __future__ import annotations

import os
import socket

from .records import Record


class ProcessIdentity(Record):
    """What names one process for ever. ``host`` is for people; the boot tells machines apart."""

    host: str
    pid: int
    start_time: str
    boot_id: str
    token: str = ""


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a running process; an empty start time when it is gone already."""
    return ProcessIdentity(host=socket.gethostname(), pid=pid, start_time=start_time(pid) or "", boot_id=boot_id())


def is_alive(identity: ProcessIdentity) -> bool:
    """Say whether this very process runs on this machine; one that waits to be reaped does not."""
    return bool(identity.start_time) and start_time(identity.pid) == identity.start_time and identity.boot_id == boot_id()


def start_time(pid: int) -> str | None:
    """Return when a process started, in a form only for comparing; None when it is gone."""
    if os.path.isdir("/proc/self"):
        stat = read_stat(pid)
        # While other threads of a dead process still end, it holds its files and ports. Source: proc(5), field 20
        return stat[19] if stat and (stat[0] not in "ZX" or int(stat[17]) > 1) else None
    import subprocess

    asked = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = asked.stdout.strip().partition(" ")
    return started.strip().replace(" ", "-") if started and not state.startswith("Z") else None


def read_stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` from the third on: state, parent, group, session …"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot_id() -> str:
    """Return what names this run of this machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        import subprocess

        asked = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
        return asked.stdout.strip()
