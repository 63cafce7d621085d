"""The inference server: an HTTP parser, routes, payloads, scoring scripts. It is given a predictor and knows no catalog.

Light at the top, since operations import it to bind a port or look at a script; the server itself stands in
:mod:`.http` and :mod:`.app`.
"""

from __future__ import annotations

import errno
import socket

from ..errors import Unavailable
from .scripts import check_script


def bind_port(port: int | None, *, host: str = "127.0.0.1") -> socket.socket:
    """Bind a TCP port, a free one when None; the worker that is given the socket listens once its model is loaded.

    Raises
    ------
    Unavailable
        If the port is in use or may not be bound.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port or 0))
    except OverflowError:
        listener.close()
        raise Unavailable(f"{port} is no port; choose one from 1024 to 65535.") from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Port {port} is in use; choose another or leave it out for a free one.") from None
        raise Unavailable(f"Port {port} cannot be bound: {error.strerror}.") from None
    return listener


__all__ = ["bind_port", "check_script"]
