"""Whether and how an answer is compressed.

On one machine compressing costs more than it saves, and most clients say "gzip" because their library does. So text of some
size is compressed for whoever takes it, and binary tensors, which hardly shrink, only for a client that names gzip or deflate
alone, as Triton's does when a person asks for it.

Source: RFC 9110, 12.5.3.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

MIN_BYTES = 1024
FASTEST = 1
TEXTS = ("application/json", "text/")
WINDOW_BITS = {"gzip": 31, "deflate": 15}


def encode(body: bytes, content_type: str, accepted: str) -> tuple[bytes, bytes]:
    """Return a body as it goes out, and the header lines that say so; an answer that is refused compression stays as it is."""
    coding, is_named = _choose(accepted)
    is_worth_it = is_named if not content_type.startswith(TEXTS) else is_named or len(body) >= MIN_BYTES
    if not coding or not body or not is_worth_it:
        return body, b""
    packer = zlib.compressobj(FASTEST, wbits=WINDOW_BITS[coding])
    return packer.compress(body) + packer.flush(), b"content-encoding: %b\r\nvary: accept-encoding\r\n" % coding.encode()


@lru_cache(maxsize=64)
def _choose(accepted: str) -> tuple[str, bool]:
    """Return the coding to use, empty for none, and whether the client named it alone."""
    weights = {}
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        weights[name.strip()] = _weight(parameters)
    offered = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in WINDOW_BITS}
    best = max(offered, key=offered.__getitem__)
    return (best, set(weights) == {best}) if offered[best] > 0 else ("", False)


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
