from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyter_modelreg.compute import ProcessIdentity, identify, is_alive, start_process, stop_process
from jupyter_modelreg.errors import Unavailable

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
import pytest

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


def test_what_leaves_its_session_is_found_by_the_token(tmp_path: Path) -> None:
    escape = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); print(os.getpid(), 'away', flush=True); time.sleep(60)"
    identity = start(
        tmp_path,
        [sys.executable, "-c", f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {escape!r}]); time.sleep(60)"],
    )
    wait_for(tmp_path / "log.txt", "away")
    away = identify(int((tmp_path / "log.txt").read_text().split()[0]))
    assert is_alive(away)
    stop_process(identity)
    assert not is_alive(identity)
    assert not is_alive(away)


def test_what_a_dead_process_left_behind_is_ended_too(tmp_path: Path) -> None:
    code = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(c.pid, 'left', flush=True)"
    identity = start(tmp_path, [sys.executable, "-c", code])
    wait_for(tmp_path / "log.txt", "left")
    left = identify(int((tmp_path / "log.txt").read_text().split()[0]))
    stop_process(identity)
    assert not is_alive(left)


def test_stopping_twice_is_quiet(tmp_path: Path) -> None:
    identity = start(tmp_path)
    stop_process(identity)
    stop_process(identity)
    assert not is_alive(identity)


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"/nowhere/program cannot be started: No such file or directory"):
        start(tmp_path, ["/nowhere/program"])
    with pytest.raises(Unavailable, match=r"cannot be started: No such file or directory .*gone"):
        start_process(SLEEP, folder=str(tmp_path / "gone"), log_path=str(tmp_path / "log.txt"), env=dict(os.environ))
    with pytest.raises(Unavailable, match=r"log\.txt cannot be written: No such file or directory"):
        start_process(SLEEP, folder=str(tmp_path), log_path=str(tmp_path / "gone" / "log.txt"), env=dict(os.environ))


def test_the_starters_own_files_stay_its_own(tmp_path: Path) -> None:
    code = "import os; print('fds', sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1], flush=True)"
    with (tmp_path / "secret").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        start(tmp_path, [sys.executable, "-c", code])
        wait_for(tmp_path / "log.txt", "fds")
    assert "fds [0, 1, 2]" in (tmp_path / "log.txt").read_text()
