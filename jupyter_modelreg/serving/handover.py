"""Hand a listening socket from a worker to the one that replaces it, so that no waiting connection is lost.

Both accept from one queue until the old one stops. Two sockets on one port (``SO_REUSEPORT``) would each have a queue
of their own, and what waits in the old one's is reset when it closes.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "control.sock"
TIMEOUT_SECONDS = 10.0  # the door is answered between requests' bytes; a worker that takes longer hangs


def offer(folder: str) -> socket.socket:
    """Return a Unix socket in a worker's own folder (mode 0700) where successors may ask."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(folder) as path:
        door.bind(path)
    door.listen()
    return door


def give(door: socket.socket, listener: socket.socket) -> None:
    """Answer one successor with the listening socket."""
    successor, _ = door.accept()
    with successor:
        socket.send_fds(successor, [b"listener"], [listener.fileno()])


def take(folder: str) -> socket.socket | None:
    """Ask a running worker for its listening socket; None when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, short(folder) as path:
        asking.settimeout(TIMEOUT_SECONDS)
        try:
            asking.connect(path)
            _, descriptors, _, _ = socket.recv_fds(asking, 16, 1)
        except OSError:
            return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


@contextmanager
def short(folder: str, name: str = NAME) -> Iterator[str]:
    """Yield a path of the socket that fits into the 108 bytes a Unix address has."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{name}" if os.path.isdir("/proc/self/fd") else os.path.join(folder, name)
    finally:
        os.close(handle)
