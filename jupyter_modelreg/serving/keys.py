"""Who may call an endpoint: two keys, or a token that the endpoint's own secret signed and that ends.

The file of an endpoint in the mode ``key`` holds ``{"primary": …, "secondary": …}``, in the modes ``aml_token`` and
``aad_token`` ``{"secret": …}``; it is read again when it was replaced, so a key that was rotated is refused from the next
request on. A token is a JSON web token (HS256), made and checked here.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOKEN_SECONDS = 3600
REFRESH_SECONDS = 2700  # from a token's birth until a client had better ask for the next one
MAX_WRONG = 20  # in a minute from one address; what is wrong beyond is told to wait
WRONG_SECONDS = 60.0
MAX_ADDRESSES = 1024
LOG = logging.getLogger(__name__)


class Keys:
    """Says whether a header ``Authorization`` is one of this endpoint's.

    Wrong ones are counted by the address that sent them, in each process that answers. A right key is always taken, whoever
    failed before: on one machine most callers share 127.0.0.1, and nobody shall shut the others out. What waits is only who
    guesses, and whoever shares an address with him and sends a wrong key too is told the same.
    """

    def __init__(self, path: str) -> None:
        self._file = JsonFile(path)
        self._wrong: dict[str, tuple[float, int]] = {}
        self._moment: tuple[dict[str, Any], int] = ({}, 0)

    def current(self) -> object:
        """Return the same object as long as the answers of `accepts` stay what they are, for who remembers them."""
        known = self._file.read()
        if "secret" not in known:
            return known
        moment = (known, int(time.time()))  # a token may have ended since
        if moment != self._moment:
            self._moment = moment
        return self._moment

    def accepts(self, header: str) -> bool:
        """Compare with both keys, each in constant time, or check the signature and the end of a token.

        It may come as the password of Basic authentication too, whoever the user: MLflow's scoring client and other programs
        that know addresses only have no other way, and never send it in the address itself.
        """
        known, key = self._file.read(), offered(header)
        if "secret" in known:
            return is_good(key, str(known["secret"]))
        matches = [hmac.compare_digest(key.encode(), str(right).encode()) for right in known.values()]
        return any(matches)

    def must_wait(self, address: str) -> float:
        """Count a wrong key; return the seconds after which an address that sent too many may try again, 0 for none."""
        now = time.monotonic()
        since, count = self._wrong.get(address, (now, 0))
        if now - since >= WRONG_SECONDS:
            since, count = now, 0
        if len(self._wrong) >= MAX_ADDRESSES and address not in self._wrong:
            del self._wrong[next(iter(self._wrong))]  # the one that came first, so that new ones cannot free one another
        self._wrong[address] = (since, count + 1)
        return since + WRONG_SECONDS - now if count >= MAX_WRONG else 0.0


def offered(header: str) -> str:
    """Return the key or token that a header offers; empty when it is none that is known here."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    try:
        plain = base64.b64decode(given.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""
    return plain.partition(":")[2]


def make_token(secret: str, endpoint: str, *, now: float | None = None, seconds: int = TOKEN_SECONDS) -> tuple[str, int]:
    """Sign a token for an endpoint; return it with the time it ends, in seconds since 1970."""
    began = int(time.time() if now is None else now)
    claims = {"aud": endpoint, "iat": began, "exp": began + seconds}
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_encode(_signature(signed, secret))}", began + seconds


def is_good(token: str, secret: str) -> bool:
    """Say whether a token was signed with a secret and has not ended. Its header is not believed: there is one algorithm."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _encode(_signature(signed, secret)).encode()):
        return False
    claims = json.loads(_decode(signed.partition(".")[2]))  # ours, since the signature is
    return bool(time.time() < claims["exp"])


def _signature(signed: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), signed.encode(), "sha256")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class JsonFile:
    """A small JSON file that others replace; read again when it changed, looked at once in a turn of the loop."""

    def __init__(self, path: str) -> None:
        self._path, self._stamp, self._is_fresh = path, (0, 0), False
        self._value: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return its mapping, the same object as long as the file is the same; one that is absent or broken is an empty one."""
        if not self._is_fresh:
            self._look()
            with suppress(RuntimeError):  # without a loop it is looked at each time
                asyncio.get_running_loop().call_soon(self._age)
                self._is_fresh = True
        return self._value

    def _age(self) -> None:
        self._is_fresh = False

    def _look(self) -> None:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._value, self._stamp = {}, (0, 0)
            return
        if (status.st_mtime_ns, status.st_ino) != self._stamp:
            try:
                with open(self._path, encoding="utf-8") as stream:
                    self._value = dict(json.load(stream))
            except (ValueError, TypeError) as error:  # nobody is let in until it is mended
                LOG.error("%s cannot be read: %s", self._path, error)
                self._value = {}
            self._stamp = (status.st_mtime_ns, status.st_ino)
