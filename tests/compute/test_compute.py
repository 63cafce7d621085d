from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jupyter_modelreg.compute import ProcessIdentity, identify, is_alive, start_process, stop_process

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def start(tmp_path: Path, argv: list[str] = SLEEP) -> ProcessIdentity:
    return start_process(argv, folder=str(tmp_path), log_path=str(tmp_path / "log.txt"), env=dict(os.environ))


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in (path.read_text() if path.exists() else "") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert text in path.read_text()


def test_a_process_writes_to_a_log_only_its_owner_reads(tmp_path: Path) -> None:
    identity = start(tmp_path)
    wait_for(tmp_path / "log.txt", "up")
    assert (tmp_path / "log.txt").stat().st_mode & 0o777 == 0o600
    stop_process(identity)


def test_it_is_nobodys_child_and_has_a_session_of_its_own(tmp_path: Path) -> None:
    identity = start(tmp_path)
    fields = Path(f"/proc/{identity.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) != os.getpid()
    assert int(fields[3]) == identity.pid
    stop_process(identity)


def test_it_outlives_a_starter_that_is_killed_with_its_group(tmp_path: Path) -> None:
    code = f"""
import os, time
from jupyter_modelreg.compute import start_process
print(start_process({SLEEP!r}, folder={str(tmp_path)!r}, log_path={str(tmp_path / "log.txt")!r}, env=dict(os.environ)).pid, flush=True)
time.sleep(60)
"""
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert starter.stdout
    identity = identify(int(starter.stdout.readline()))
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    time.sleep(0.2)
    assert is_alive(identity)
    stop_process(identity)
    assert not is_alive(identity)


def test_a_reused_number_is_another_process(tmp_path: Path) -> None:
    identity = start(tmp_path)
    assert not is_alive(identity.replace(start_time="1"))
    assert not is_alive(identity.replace(boot_id="another"))
    stop_process(identity.replace(start_time="1", token="another"))
    assert is_alive(identity)
    stop_process(identity)


def test_a_process_that_does_not_listen_is_killed_with_its_children(tmp_path: Path) -> None:
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"{deaf}; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(c.pid, 'up', flush=True); time.sleep(60)"
    identity = start(tmp_path, [sys.executable, "-c", code])
    wait_for(tmp_path / "log.txt", "up")
    child = identify(int((tmp_path / "log.txt").read_text().split()[0]))
    stop_process(identity, grace_seconds=0.3)
    assert not is_alive(identity)
    assert not is_alive(child)


def test_one_that_ended_is_not_alive(tmp_path: Path) -> None:
    identity = start(tmp_path, [sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 5
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(identity)
