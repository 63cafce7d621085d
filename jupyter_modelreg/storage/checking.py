"""Whether all of a tree is sound at the far end of a store: each blob is read once, several at a time."""

from __future__ import annotations

from collections import Counter

from blake3 import blake3

from ..errors import Corrupted
from .far import READ_BYTES
from .transfers import in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..trees import Manifest, ManifestFile
    from .far import FarEnd
    from .parts import Parts


def is_sound(far: FarEnd, blob: str) -> bool:
    """Read a blob where it lies and say whether it is what its name says."""
    hasher, size = blake3(max_threads=blake3.AUTO), far.size("blobs", blob)
    if size is None:
        return False
    try:
        for start in range(0, size, READ_BYTES):
            hasher.update(far.read("blobs", blob, start, min(start + READ_BYTES, size)))
    except (FileNotFoundError, Corrupted):  # gone or cut meanwhile
        return False
    return bool(hasher.hexdigest() == blob)


class FarCheck:
    """The check of one tree. ``paths`` and ``blobs`` are what is missing or damaged."""

    def __init__(self, far: FarEnd, manifest: Manifest, parts: Parts) -> None:
        self._far, self._parts = far, parts
        files = {item.digest: item for item in manifest.files}
        self._whole = [item for digest, item in files.items() if digest not in parts]
        self._joined = [item for digest, item in files.items() if digest in parts]
        self.blobs: set[str] = set()
        self._bad: set[str] = set()
        self._manifest = manifest

    @property
    def paths(self) -> list[str]:
        return [item.path for item in self._manifest.files if item.digest in self._bad]

    def run(self, advance: Callable[[int], None]) -> FarCheck:
        """Read everything."""
        counts = Counter(item.digest for item in self._manifest.files)
        for item, sound in zip(self._whole, in_order(lambda item: is_sound(self._far, item.digest), self._whole), strict=True):
            if not sound:
                self.blobs.add(item.digest)
                self._bad.add(item.digest)
            advance(item.size_bytes * counts[item.digest])
        self._check_joined(lambda item: advance(item.size_bytes * counts[item.digest]))
        return self

    def _check_joined(self, advance: Callable[[ManifestFile], None]) -> None:
        """Put files together from the blobs they lie in: sound blobs in a wrong order are no file."""
        uses = Counter(part.blob for item in self._joined for part in self._parts[item.digest])
        contents, held = in_order(self._read, list(uses)), dict[str, bytes | None]()
        for item in self._joined:
            hasher, is_whole = blake3(max_threads=blake3.AUTO), True
            for blob, offset, size in self._parts[item.digest]:
                if blob not in held:
                    held[blob] = next(contents)  # blobs come in the order of their first use
                content = held[blob]
                if content is None:
                    is_whole = False
                    self.blobs.add(blob)
                else:
                    hasher.update(content[offset : offset + size])
                uses[blob] -= 1
                if not uses[blob]:
                    held[blob] = None
            if not is_whole or hasher.hexdigest() != item.digest:
                self._bad.add(item.digest)
            advance(item)

    def _read(self, blob: str) -> bytes | None:
        try:
            content = self._far.read_whole("blobs", blob)
        except Corrupted:
            return None
        return content if content is not None and blake3(content, max_threads=blake3.AUTO).hexdigest() == blob else None


__all__ = ["FarCheck", "is_sound"]
