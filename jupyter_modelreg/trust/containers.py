"""Archives and compressed files, opened with limits: what is in them is inspected like any other file."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Finding = tuple[str, list[str]]  # verdict, reasons
    Inspect = Callable[[str, Any, int | None], Finding]

MAX_MEMBERS = 10_000
MAX_EXPANDED_BYTES = 4 << 30
MAX_RATIO = 200
RATIO_FROM_BYTES = 64 << 20
_BUFFER = 1 << 16
_ZIP_END = b"PK\x05\x06"

_UNREADABLE = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


def container_of(head: bytes) -> str | None:
    """Return the kind of container that a file's first bytes announce."""
    if head[:4] in (b"PK\x03\x04", _ZIP_END):
        return "zip"
    if head[257:262] == b"ustar" or _has_tar_checksum(head):
        return "tar"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:3] == b"BZh":
        return "bzip2"
    if head[:6] == b"\xfd7zXZ\x00" or head[:2] == b"]\x00":
        return "xz"
    if head[:1] == b"\x78" and len(head) > 1 and head[1] in (0x01, 0x5E, 0x9C, 0xDA) and _may_expand(head):
        return "zlib"
    return next((name for magic, name in _UNREADABLE.items() if head.startswith(magic)), None)


def _may_expand(head: bytes) -> bool:
    """Say whether zlib gets on with these bytes up to the first it would give; a number may begin a file by the same two."""
    try:
        zlib.decompressobj().decompress(head, 1)
    except zlib.error:
        return False
    return True


def _has_tar_checksum(head: bytes) -> bool:
    """Say whether a file begins with a tar header, which the oldest tars have no magic word for."""
    said = head[148:156].strip(b" \0")
    return len(head) >= 512 and said.isdigit() and int(said[:8]) == int(f"{sum(head[:148]) + sum(head[156:512]) + 256:o}")


def has_zip_end(stream: Any) -> bool:
    """Say whether a zip archive ends a file, whatever begins it: most readers open such a file as a zip."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, end - (1 << 16) - 22))
    tail = stream.read()
    stream.seek(0)
    at = tail.rfind(_ZIP_END)
    return bool(at >= 0 and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") <= len(tail))


def open_zip(path: str, stream: Any, inspect: Inspect) -> list[Finding]:
    """Inspect the members of a zip archive.

    Raises
    ------
    ValueError
        If a member leads out, stands twice, or grows beyond bearing.
    """
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        _check_members(members)
        found = []
        for member in members:
            if not member.is_dir():
                with archive.open(member) as content, _buffered(content) as buffered:
                    found.append(inspect(f"{path}/{member.filename}", buffered, member.file_size))
    return found


def open_tar(path: str, stream: Any, inspect: Inspect) -> list[Finding]:
    """Inspect the members of a tar archive; see `open_zip`."""
    import tarfile

    found: list[Finding] = []
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for number, member in enumerate(archive):
            if number > MAX_MEMBERS:
                raise ValueError("too many members")
            if _leads_out(member.name) or not (member.isfile() or member.isdir()):
                found.append(("blocked", [f"{path}/{member.name}: a link, a device or a way out of the archive"]))
            elif content := archive.extractfile(member):
                found.append(inspect(f"{path}/{member.name}", content, member.size))
    return found


def open_compressed(path: str, stream: Any, inspect: Inspect) -> list[Finding]:
    """Inspect what a compressed file holds."""
    return [inspect(path, io.BufferedReader(Expanded(stream), _BUFFER), None)]


OPENERS = {"zip": open_zip, "tar": open_tar, **dict.fromkeys(("gzip", "bzip2", "xz", "zlib"), open_compressed)}


class Expanded(io.RawIOBase):
    """A decompressed stream that ends with an error when it grows beyond bearing; rewinds by starting over."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._start()

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes: from the start."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Decompress."""
        found = self._plain.read(len(buffer))
        buffer[: len(found)] = found
        self._done += len(found)
        if self._done > MAX_EXPANDED_BYTES or (self._done > RATIO_FROM_BYTES and self._done > MAX_RATIO * max(self._source.tell(), 1)):
            raise ValueError(f"it expands to more than {self._done >> 20} MiB")
        return len(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Rewind, or read on up to an offset."""
        if whence:
            raise OSError("only from the start")
        if offset < self._done:
            self._start()
        while self._done < offset and self.read(min(1 << 20, offset - self._done)):
            pass
        return self._done

    def tell(self) -> int:
        """Return the decompressed offset."""
        return self._done

    def _start(self) -> None:
        self._source.seek(0)
        kind = str(container_of(self._source.read(6)))
        self._source.seek(0)
        self._plain, self._done = _expand(kind, self._source), 0


def _expand(kind: str, source: Any) -> Any:
    if kind == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=source)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2File(source)
    if kind == "xz":
        import lzma

        return lzma.LZMAFile(source)
    return io.BufferedReader(_Zlib(source))


class _Zlib(io.RawIOBase):
    """joblib's zlib files, which the standard library cannot open by itself; one stream may follow another."""

    def __init__(self, source: Any) -> None:
        self._source, self._decoder, self._left = source, zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            given = self._decoder.unconsumed_tail or self._decoder.unused_data or self._source.read(1 << 16)
            if not given:
                break
            if self._decoder.eof:
                self._decoder = zlib.decompressobj()
            self._left = self._decoder.decompress(given, 1 << 20)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _buffered(content: Any) -> io.BufferedReader:
    return io.BufferedReader(content, _BUFFER)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS or len({member.filename.lower() for member in members}) != len(members):
        raise ValueError("too many members, or two of one name")
    for member in members:
        if _leads_out(member.filename):
            raise ValueError(f"the member {member.filename!r} leads out of the archive")
        if member.external_attr >> 28 == 0xA:
            raise ValueError(f"the member {member.filename!r} is a link")
        if member.file_size > RATIO_FROM_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ValueError(f"the member {member.filename!r} grows more than {MAX_RATIO} times")
    if sum(member.file_size - member.compress_size for member in members) > MAX_EXPANDED_BYTES:
        raise ValueError("it expands to too much")


def _leads_out(name: str) -> bool:
    return name.startswith(("/", "\\")) or name[1:2] == ":" or ".." in re.split(r"[/\\]", name)
