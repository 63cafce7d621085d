"""Where a store elsewhere lies: bytes are put and read by name, again where the network is lost for a moment.

Nothing here stands on renames, listings or conditional puts of an object store: what is put lies under its own hash, so a
server that ignores ``If-None-Match`` does no harm, and numbers come from the catalog. Listings only serve clean-ups. What
an error means is looked up in its class, its number and the server's answer: libraries of stores have no common root.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import re
import secrets
import socket
import time
from typing import NamedTuple

from ..errors import Corrupted, InvalidInput, ModelRegistryError, Unavailable
from ..settings import hide_password
from .blobs import digest_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")

_PUTS = 3
READ_BYTES = 8 << 20  # of one request: what is asked for again when the line is cut
# Object stores: nobody sees half of what is being put.
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"}
_TEMPORARY_NUMBERS = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.EHOSTUNREACH,
    errno.EBUSY,
    errno.EAGAIN,
    getattr(errno, "EREMOTEIO", errno.ECONNRESET),  # what s3fs makes of InternalError
}
# By name, so that none of the packages is imported for it: builtins, fsspec, botocore, aiohttp, urllib3, requests, ssl, socket.
_TEMPORARY_CLASSES = {
    "ConnectionError",
    "TimeoutError",
    "FSTimeoutError",
    "HTTPClientError",
    "ResponseParserError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ServerDisconnectedError",
    "IncompleteRead",
    "ProtocolError",
    "gaierror",
    "ServiceRequestError",
    "ServiceResponseError",
}
_TEMPORARY_ANSWERS = {408, 425, 429, 500, 502, 503, 504}
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "ProfileNotFound",
}
_REFUSED_ANSWERS = {401, 403}


class Patience(NamedTuple):
    """How long a lost network is waited for; each wait is about twice the one before.

    A connection on which nothing is acknowledged for ``silent_seconds`` is lost.
    """

    tries: int = 5
    first_seconds: float = 0.5
    most_seconds: float = 30.0
    silent_seconds: float = 20.0


class FarEnd:
    """Files at an fsspec URL, under a kind and a digest. Any number of threads may use one at a time.

    Every method raises `Unavailable` with one line when the place cannot be used: after some tries where that may pass, at
    once where somebody must mend it.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        self._url, self._patience = url, patience
        self.url = hide_password(url)  # as it may be shown

    def read(self, kind: str, digest: str, start: int, end: int) -> bytes:
        """Return the bytes between two offsets, exactly as many as asked for.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        Corrupted
            If it is shorter, or what came does not match the server's own checksum; the message says only that.
        """
        if start == end:
            return b""
        try:
            return self._ask(lambda files, root: _read_exactly(files, digest_path(f"{root}/{kind}", digest), start, end))
        except (FileNotFoundError, Corrupted):
            raise
        except Unavailable:
            # A cut file gives short answers or none for ever; the network is not at fault.
            size = self.size(kind, digest)
            if size is not None and size < end:
                raise Corrupted(f"it has {size:,} of at least {end:,} bytes.") from None
            raise

    def read_whole(self, kind: str, digest: str) -> bytes | None:
        """Return a small file's bytes; None when there is none."""
        try:
            return self._ask(lambda files, root: bytes(files.cat_file(digest_path(f"{root}/{kind}", digest), start=0)))
        except FileNotFoundError:
            return None

    def size(self, kind: str, digest: str) -> int | None:
        """Return a file's length; None when it is not there."""
        try:
            about = self._ask(lambda files, root: files.info(digest_path(f"{root}/{kind}", digest)))
        except FileNotFoundError:
            return None
        return int(about["size"]) if about["type"] == "file" else None

    def put(self, kind: str, digest: str, content: bytes) -> None:
        """Put bytes under a name, which never holds half of them."""

        def put(files: Any, root: str) -> None:
            target = digest_path(f"{root}/{kind}", digest)
            if _puts_whole(files):
                files.pipe_file(target, content)
                return
            # Elsewhere a private name is moved. Source: fsspec's put_file and pipe_file write onto the final name.
            name = f"{root}/staging/{secrets.token_hex(8)}"
            for path in (name, target):
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(name, content)
            files.mv(name, target)

        for number in range(_PUTS, 0, -1):
            try:
                return self._ask(put)
            except FileNotFoundError as error:  # it makes its folders: a clean-up without grace took it, or the place is missing
                if number == 1:
                    self._say_missing(error)

    def listed(self, folder: str) -> dict[str, tuple[int, float]]:
        """Return the files in a folder: length and time of change by name, which is the last part of the path."""

        def listed(files: Any, root: str) -> dict[str, tuple[int, float]]:
            found = files.find(f"{root}/{folder}", detail=True)
            return {path.rpartition("/")[2]: (int(about["size"]), _changed(files, path, about)) for path, about in found.items()}

        return self._ask(listed)

    def remove(self, kind: str, digest: str) -> None:
        """Remove a file; one that is not there is no error."""
        self._remove(digest_path(kind, digest))

    def remove_staged(self, name: str) -> None:
        """Remove what a put that was cut left behind."""
        self._remove(f"staging/{name}")

    def _remove(self, path: str) -> None:
        try:
            self._ask(lambda files, root: files.rm_file(f"{root}/{path}"))
        except FileNotFoundError:
            return

    def _ask(self, work: Callable[[Any, str], T]) -> T:
        """Do something there, again while the network is lost."""
        started = time.monotonic()
        for number in range(1, self._patience.tries + 1):
            try:
                return work(*_connect(self._url, self._patience.silent_seconds, os.getpid(), _environment()))
            except FileNotFoundError as error:
                if _codes(error) & {"NoSuchBucket", "ContainerNotFound"}:
                    self._say_missing(error)
                raise
            except ModelRegistryError:
                raise
            except ImportError as error:
                raise Unavailable(f'The store "{self.url}" needs a package that is not installed: {error}.') from None
            except Exception as error:
                waited = time.monotonic() - started
                if "FlexibleChecksumError" in _kinds(error):  # botocore compares what came with the checksum that S3 keeps
                    raise Corrupted(f"its bytes do not match their checksum at {self.url}.") from None
                if not _is_temporary(error):
                    self._say_refused(error)
                if number == self._patience.tries or waited > self._patience.most_seconds:
                    raise Unavailable(
                        f'The store "{self.url}" cannot be reached: {_said(error)} (tried {number} times in {waited:.0f} s). '
                        "Try again when the network is back; what has arrived is not sent again."
                    ) from None
            wait = self._patience.first_seconds * 2 ** (number - 1) * random.uniform(0.5, 1)  # noqa: S311 - so that not all come at once
            time.sleep(min(wait, max(0.0, self._patience.most_seconds - waited)))
        raise AssertionError("unreachable")

    def _say_refused(self, error: Exception) -> NoReturn:
        if _kinds(error) & _NO_CREDENTIALS or isinstance(error, PermissionError) or _answers(error) & _REFUSED_ANSWERS:
            _connect.cache_clear()  # credentials are looked up anew when they were mended
            raise Unavailable(
                f'The store "{self.url}" refuses us: {_said(error)}. Check the credentials ({_credentials(self._url)}) and that they may '
                "read, write and list there."
            ) from None
        raise Unavailable(f'The store "{self.url}" cannot be used: {_said(error)}.') from None

    def _say_missing(self, error: Exception) -> NoReturn:
        where = self.url.partition("://")[2]
        bucket = where.partition("/")[0] or where
        raise Unavailable(
            f'The store "{self.url}" is not there: {_said(error)}. Create "{bucket}", or set store (MODELREG_STORE) to one that is.'
        ) from None


def check_url(url: str) -> None:
    """Refuse a URL that nothing here can open; the place itself is asked when it is used.

    Raises
    ------
    InvalidInput
        If fsspec knows no such kind.
    Unavailable
        If the package that reaches it is not installed.
    """
    from fsspec import get_filesystem_class

    protocol = url.partition("://")[0]
    try:
        get_filesystem_class(protocol)
    except ValueError as error:
        raise InvalidInput(f'The store "{hide_password(url)}" is of a kind that fsspec does not know: {error}.', key="store") from None
    except ImportError as error:
        extra = ": pip install 'jupyter-modelreg[s3]'" if protocol in ("s3", "s3a") else ""
        raise Unavailable(f'The store "{hide_password(url)}" needs a package that is not installed: {error}{extra}.') from None


@functools.lru_cache(maxsize=8)
def _connect(url: str, silent_seconds: float, process: int, environment: int) -> tuple[Any, str]:
    """Return a file system of our own and the path in it; a forked process, or one whose credentials changed, gets another."""
    from fsspec.core import url_to_fs

    try:
        # What others put meanwhile must be seen, so no listing is remembered.
        files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ValueError as error:
        raise InvalidInput(f'The store "{hide_password(url)}" cannot be opened: {_said(error)}.', key="store") from None
    if hasattr(files, "config_kwargs") and hasattr(files, "retries"):  # s3fs: 5 times 5 tries would take minutes, and ours take over
        ours = {"retries": {"total_max_attempts": 1}, "connector_args": {"socket_factory": functools.partial(_socket, silent_seconds)}}
        files.retries, files.config_kwargs = 1, {**ours, **files.config_kwargs}
    return files, str(root).rstrip("/")


def _socket(silent_seconds: float, address: tuple[Any, ...]) -> socket.socket:
    """Make a socket that ends when the other side is silent: no client limits how long it may take to send, and the system waits a quarter of an hour."""
    made = socket.socket(*address[:3])
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * silent_seconds))
    return made


def _environment() -> int:
    names = ("AWS_", "FSSPEC_", "AZURE_", "GOOGLE_", "OSS_")
    return hash(frozenset((name, value) for name, value in os.environ.items() if name.startswith(names)))


def _read_exactly(files: Any, path: str, start: int, end: int) -> bytes:
    content = bytes(files.cat_file(path, start=start, end=end))
    if len(content) != end - start:
        raise ConnectionError(f"the server sent {len(content):,} of {end - start:,} bytes")
    return content


def _puts_whole(files: Any) -> bool:
    return not _WHOLE_PUTS.isdisjoint([files.protocol] if isinstance(files.protocol, str) else files.protocol)


def _changed(files: Any, path: str, about: dict[str, Any]) -> float:
    """Return when a file was written; some kinds say so in a listing, others when asked."""
    when: Any = about.get("LastModified") or about.get("mtime") or about.get("created")
    if isinstance(when, int | float):
        return float(when)
    return float((when if hasattr(when, "timestamp") else files.modified(path)).timestamp())


# --- what an error means ------------------------------------------------------------------------------------------------


def _is_temporary(error: Exception) -> bool:
    # A lost connection first: aiohttp gives a body that was cut the status 400.
    numbers = {getattr(item, "errno", None) for item in _chain(error)}
    return bool(_kinds(error) & _TEMPORARY_CLASSES or numbers & _TEMPORARY_NUMBERS or _answers(error) & _TEMPORARY_ANSWERS)


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for item in _chain(error) for kind in type(item).__mro__}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it came from."""
    item: BaseException | None = error
    for _ in range(8):
        if item is None:
            return
        yield item
        item = item.__cause__ or item.__context__


def _answers(error: Exception) -> set[int]:
    """Return the HTTP status of the server's answer, where there was one."""
    found = set()
    for item in _chain(error):
        response = getattr(item, "response", None)
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        for value in (status, *(getattr(item, name, None) for name in ("status", "status_code", "code"))):
            if isinstance(value, int) and value >= 400:
                found.add(value)
    return found


def _codes(error: Exception) -> set[str]:
    """Return what S3 and Azure call the error."""
    responses = [getattr(item, "response", None) for item in _chain(error)]
    found = {str(item["Error"].get("Code")) for item in responses if isinstance(item, dict) and "Error" in item}
    return found | {str(getattr(item, "error_code", None)) for item in _chain(error)}


def _said(error: BaseException) -> str:
    """Return what a library said as one line, without what could be a secret."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return re.sub(r"\?[^\s'\")]*", "?…", re.sub(r"://[^/@\s]*@", "://…@", text))[:300]


def _credentials(url: str) -> str:
    if url.startswith(("s3://", "s3a://")):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
    return f"those that fsspec's {url.partition('://')[0]} file system reads"


__all__ = ["READ_BYTES", "FarEnd", "Patience", "check_url"]
