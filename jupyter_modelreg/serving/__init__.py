"""The inference server: an HTTP parser, routes, payloads, scoring scripts. It is given a predictor and knows no catalog.

Light at the top, since operations import it to bind a port or look at a script; the server itself stands in
:mod:`.http` and :mod:`.app`.
"""

from __future__ import annotations

import errno
import socket

from ..errors import Unavailable
from .scripts import check_script


def bind_port(port: int | None, *, host: str = "127.0.0.1", is_shared: bool = False) -> socket.socket:
    """Bind a TCP port, a free one when None; the worker that is given the socket listens once its model is loaded.

    ``is_shared`` lets a new worker bind the port of the one it replaces (``SO_REUSEPORT``), and nobody else's.

    Raises
    ------
    Unavailable
        If the port is in use or may not be bound.
    """
    if port is not None and not 0 < port < 65536:
        raise Unavailable(f"{port} is no port; choose one from 1024 to 65535.")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if port and not is_shared:
            _check_is_free(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port or 0))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Port {port} is in use; choose another or leave it out for a free one.") from None
        raise Unavailable(f"Port {port} cannot be bound: {error.strerror}.") from None
    return listener


def _check_is_free(host: str, port: int) -> None:
    """Bind a port alone for a moment; that fails beside one who listens and beside a worker that does not listen yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


__all__ = ["bind_port", "check_script"]
