"""The inference server: an HTTP parser, routes, payloads, scoring scripts. It is given a predictor and knows no catalog.

Light at the top, since operations import it to bind a port or look at a script; the server itself stands in
:mod:`.http` and :mod:`.app`.
"""

from __future__ import annotations

import errno
import socket

from ..errors import InvalidInput, Unavailable
from .scripts import check_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

BACKLOG = 1024


def bind_port(port: int | None, *, host: str = "127.0.0.1") -> socket.socket:
    """Listen on a TCP port, a free one when None.

    It listens at once, since nobody else can take the port from then on. Who connects before the worker has loaded its
    model waits in the queue, and is answered then.

    Raises
    ------
    InvalidInput
        If there is no such port.
    Unavailable
        If the port is in use or may not be bound.
    """
    if port is not None and not 0 < port < 65536:
        raise InvalidInput(f"{port} is no port; choose one from 1024 to 65535.", key="port")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended lately do not block it
        listener.bind((host, port or 0))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Port {port} is in use; choose another or leave it out for a free one.") from None
        raise Unavailable(f"Port {port} cannot be bound: {error.strerror}.") from None
    return listener


def new_event_loop() -> AbstractEventLoop:
    """Return uvloop's loop, asyncio's own where that package is not made for this system or Python; all else is the same."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


__all__ = ["bind_port", "check_script", "new_event_loop"]
