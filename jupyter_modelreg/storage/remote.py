"""A store on any file system that fsspec knows, with a local store as its cache on this machine.

Files are hashed and kept in the cache first, then put under their digest where all can see them: blobs, then the record of
parts, the manifest last, so that whoever sees a manifest finds all that it names. What is read comes through the cache and
is checked on its way in. Large files travel in slices (see `slices`), several at a time, and go on where they were cut.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress

from ..errors import Corrupted, NotFound
from . import Garbage
from .checking import FarCheck, is_sound
from .far import FarEnd, Patience, check_url
from .local import GRACE_SECONDS, StoredTree, counter, is_digest
from .parts import Slice, blobs_of, count_parts, parse_parts, slices_of
from .slices import WHOLE_BYTES, FarLayout, is_cut
from .transfers import RangeReader, Wanted, fetch_blobs, fetch_large, in_order, read_checked, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from ..trees import Manifest, ManifestFile, Tree
    from . import Hold, Progress
    from .cache import Cache
    from .parts import Parts
    from .pieces import Piece

SMALL_BYTES = 4 << 20  # a file up to here is read whole and checked; of a larger one what is asked for
_TRIES = 3


def open_remote(url: str, cache: Cache, *, cache_bytes: int | None = None, patience: Patience = Patience()) -> RemoteStore:  # noqa: B008
    """Open a store at an fsspec URL, such as ``s3://bucket/prefix``. `cache_bytes` limits what this machine keeps of it.

    Raises
    ------
    InvalidInput
        If fsspec knows no such kind of URL.
    Unavailable
        If the package that reaches it is not installed.
    """
    check_url(url)
    cache.limit_bytes = cache_bytes
    return RemoteStore(FarEnd(url, patience), cache)


class RemoteStore:
    """Blobs and manifests at a URL; see `Store` for what each method promises. It is as durable as what lies there."""

    def __init__(self, far: FarEnd, cache: Cache) -> None:
        self.far, self.cache = far, cache

    # --- keep -----------------------------------------------------------------------------------------------------

    def import_tree(self, tree: Tree, progress: Progress | None = None, *, hold: Hold | None = None, is_linked: bool = False) -> Manifest:
        """Keep the files of a tree; when this returns others can read them.

        `progress` is told of two passes over the bytes: into the cache, and from there.
        """
        self.cache.make_room(sum(item.size_bytes for item in tree.files()))
        with self.cache.busy():
            manifest = self.cache.import_tree(tree, progress, is_linked=is_linked)
            while not self._keep(tree, manifest, progress, hold, is_linked=is_linked):
                pass  # others who keep the same content laid it out meanwhile; each time that they do, one of them is done
        self.cache.trim()
        return manifest

    def _keep(self, tree: Tree, manifest: Manifest, progress: Progress | None, hold: Hold | None, *, is_linked: bool) -> bool:
        """Hold what a tree will rely on and send what is not there; False when another laid its files out meanwhile."""
        theirs, layout = self._sound_parts(manifest), self._layout(manifest)
        if hold:
            hold({manifest.digest, *layout.sources, *blobs_of(manifest, theirs), *(item.digest for item in manifest.files)})
        for _ in range(_TRIES):
            if self.cache.holds(manifest):
                break
            self.cache.import_tree(tree, is_linked=is_linked)  # a clean-up was quicker than we
            layout = self._layout(manifest)
        return self._send(manifest, layout, theirs, progress)

    def _layout(self, manifest: Manifest) -> FarLayout:
        layout = FarLayout(self.cache, manifest)
        self.cache.touch({source.blob for source in layout.sources.values()})
        return layout

    def _send(self, manifest: Manifest, layout: FarLayout, theirs: Parts, progress: Progress | None) -> bool:
        """Put what is not there; who put a manifest's parts first has laid its files out, as long as they are there."""
        advance = counter(sum(source.size_bytes for source in layout.sources.values()), progress)
        named = blobs_of(manifest, theirs)
        is_laid_out = bool(theirs) and not any(map(self.cache.is_unsound, (manifest.digest, *named))) and self._is_there(named)
        if is_laid_out:
            for source in layout.sources.values():
                advance(source.size_bytes)
        else:
            send(self.far, self.cache, layout.sources, advance)
        if (now := self._sound_parts(manifest)) and now != theirs:
            return False
        if not is_laid_out and layout.text:
            self.far.put("parts", manifest.digest, layout.text)
        elif not is_laid_out and (theirs or self.cache.is_unsound(manifest.digest)):
            self.far.remove("parts", manifest.digest)  # each file is a blob of its own now
        self._put_pieces(manifest)
        self._put_manifest(manifest)
        return True

    def _put_pieces(self, manifest: Manifest) -> None:
        for item in manifest.files:
            if self.cache.pieces(item) and self.far.size("pieces", item.digest) is None:
                with open(self.cache.pieces_path(item.digest), "rb") as stream:
                    self.far.put("pieces", item.digest, stream.read())

    def _put_manifest(self, manifest: Manifest) -> None:
        with open(self.cache.manifest_path(manifest.digest), "rb") as stream:
            content = stream.read()
        if self.far.size("manifests", manifest.digest) != len(content) or self.cache.is_unsound(manifest.digest):
            self.far.put("manifests", manifest.digest, content)
            self.cache.forget_unsound(manifest.digest)

    def scratch(self) -> AbstractContextManager[str]:
        """Give a private folder on this machine that goes with the context."""
        return self.cache.scratch()

    # --- read -----------------------------------------------------------------------------------------------------

    def load_manifest(self, digest: str) -> Manifest:
        """Return a kept tree's manifest, checked against its hash."""
        with suppress(NotFound, Corrupted):  # the cache's copy is one of two
            return self.cache.load_manifest(digest)
        with suppress(NotFound):
            self._admit_manifest(digest)
        return self.cache.load_manifest(digest)  # says so when there is none

    def _admit_manifest(self, digest: str) -> None:
        try:
            content = self.far.read_whole("manifests", digest) if is_digest(digest) else None
            if content is None:
                raise NotFound(f"The store has no manifest {digest[:12]}….")
            self.cache.admit("manifests", digest, io.BytesIO(content), f"Manifest {digest[:12]}…")
        except Corrupted as error:
            self.cache.mark_unsound(digest)
            raise Corrupted(f"Manifest {digest[:12]}… is damaged in the store {self.far.url}: {error.message}") from None

    def open_tree(self, manifest: Manifest) -> StoredTree:
        """Return the files of a manifest. Small ones are checked when they are opened; of large ones that are not here only what is asked for is
        fetched, and checked where their pieces are known."""
        return StoredTree(self, manifest)

    def load_parts(self, manifest: Manifest) -> Parts:
        """Return how a tree's files lie in blobs, where they are none of their own: here, or else at the far end."""
        if self.cache.holds(manifest):
            return self.cache.load_parts(manifest)
        parts = self._far_parts(manifest)
        return {item.digest: parts[item.digest] for item in manifest.files if item.digest in parts and not self.local_blob(item)}

    def _far_parts(self, manifest: Manifest) -> Parts:
        """Return the parts as they lie at the far end now; others may have laid the files out anew."""
        try:
            text = self.far.read_whole("parts", manifest.digest)
            return parse_parts(text, manifest) if text is not None else {}
        except (ValueError, Corrupted) as error:
            self.cache.mark_unsound(manifest.digest)
            raise Corrupted(
                f"The parts of {manifest.root} are damaged in the store {self.far.url} ({error}). Register its files again to mend them."
            ) from None

    def _sound_parts(self, manifest: Manifest) -> Parts:
        """Return the parts as they lie at the far end; none where they are damaged, which who keeps the content mends."""
        with suppress(Corrupted):
            return self._far_parts(manifest)
        return {}

    def open_file(self, item: ManifestFile, parts: Parts) -> BinaryIO:
        """Open a file from the cache, else where it lies."""
        slices = slices_of(parts, item.digest, item.size_bytes)
        if all(os.path.exists(self.cache.blob_path(part.blob)) for part in slices):
            self.cache.touch(part.blob for part in slices)
            return self.cache.open_file(item, parts)
        if item.size_bytes > SMALL_BYTES:
            if self.far.size("blobs", slices[0].blob) is None:
                raise Corrupted(f"{item.path} is missing from the store {self.far.url}.")
            return io.BufferedReader(RangeReader(self.far, slices, item.path, self.pieces(item)))
        return io.BytesIO(self._read_small(item, slices))

    def _read_small(self, item: ManifestFile, slices: list[Slice]) -> bytes:
        if slices[0].blob == item.digest:
            content = read_checked(self.far, Wanted(item.digest, item.size_bytes, item.path))
            self.cache.admit_blobs({item.digest: content})
            return content
        from blake3 import blake3

        content = io.BufferedReader(RangeReader(self.far, slices, item.path)).read()
        if blake3(content).hexdigest() != item.digest:
            raise Corrupted(f"{item.path} is damaged where it comes from.")
        return content

    def local_blob(self, item: ManifestFile) -> str | None:
        """Return where this machine has a file already."""
        return self.cache.blob_path(item.digest) if self.cache.has_blob(item.digest, item.size_bytes) else None

    def pieces(self, item: ManifestFile) -> list[Piece] | None:
        """Return the pieces of a file, where it is safetensors and they were kept and are not damaged."""
        from .pieces import parse_pieces

        kept = self.cache.pieces(item)
        if kept or not item.path.endswith(".safetensors"):
            return kept
        with suppress(ValueError, Corrupted):
            text = self.far.read_whole("pieces", item.digest)
            found = parse_pieces(text, item.size_bytes) if text is not None else None
            if found and text:
                self.cache.admit_text("pieces", item.digest, text)
            return found
        return None

    def view(self, manifest: Manifest) -> str:
        """Return a read-only folder on this machine that holds the tree; what the cache lacks is fetched and checked."""
        with self._fetched(manifest, None):
            path = self.cache.view(manifest)
            self.cache.touch((), path)
        return path

    def checkout(self, manifest: Manifest, folder: str, progress: Progress | None = None, *, is_verified: bool = True) -> list[str]:
        """Copy the tree into a folder, each file checked against its hash; return the paths, relative to it."""
        is_here = self.cache.holds(manifest)
        with self._fetched(manifest, progress):
            try:
                return self.cache.checkout(manifest, folder, progress if is_here else None, is_verified=is_verified)
            except Corrupted:
                self._drop_damaged(manifest, self.cache.verify(manifest))
        with self._fetched(manifest, progress):
            return self.cache.checkout(manifest, folder, is_verified=is_verified)

    def damaged(self, manifest: Manifest) -> list[str]:
        """Return the paths that are missing or damaged in the view on this machine, and at the far end, too."""
        with self._fetched(manifest, None):
            bad = self.cache.damaged(manifest)
            if not bad:
                return []
            self._drop_damaged(manifest, bad)
        with suppress(Corrupted), self._fetched(manifest, None):
            return self.cache.damaged(manifest)
        return bad

    def _drop_damaged(self, manifest: Manifest, paths: list[str]) -> None:
        """Remove from the cache what is damaged there: the far end may have it sound."""
        parts = self.cache.kept_parts(manifest)
        files = [item for item in manifest.files if item.path in paths]
        blobs = {part.blob for item in files for part in slices_of(parts, item.digest, item.size_bytes)}
        self.cache.remove([Garbage(kind="blob", name=blob) for blob in blobs if not self.cache.is_sound(blob)])

    def sha256(self, manifest: Manifest, progress: Progress | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file in hex, by path."""
        known = self.cache.index.checksums(item.digest for item in manifest.files)
        if all(item.digest in known for item in manifest.files):
            return {item.path: known[item.digest] for item in manifest.files}
        with self._fetched(manifest, progress):
            return self.cache.sha256(manifest)

    @contextmanager
    def _fetched(self, manifest: Manifest, progress: Progress | None) -> Iterator[None]:
        """Have a tree in the cache, where it stays while it is used."""
        with self.cache.busy():
            for _ in range(_TRIES):
                is_here = self.cache.holds(manifest)
                if not is_here:
                    self._fetch(manifest, progress)
                names = set(blobs_of(manifest, self.cache.load_parts(manifest)))
                self.cache.touch(names)
                if is_here and self.cache.holds(manifest):
                    break  # since it was touched nobody trims it
            yield
        if not is_here:
            self.cache.trim(but=names)

    def _fetch(self, manifest: Manifest, progress: Progress | None) -> None:
        if not os.path.exists(self.cache.manifest_path(manifest.digest)):
            self._admit_manifest(manifest.digest)
        parts = self._far_parts(manifest)
        missing = [item for item in {item.digest: item for item in manifest.files}.values() if not self.local_blob(item)]
        large = [item for item in missing if (is_cut(parts[item.digest]) if item.digest in parts else item.size_bytes > WHOLE_BYTES)]
        small = [item for item in missing if item not in large]
        self.cache.keep_parts(manifest, {item.digest: parts[item.digest] for item in small if item.digest in parts})
        wanted = [item for item in _wanted(small, parts).values() if not self.cache.has_least(item.blob, item.size_bytes)]
        total = sum(item.size_bytes for item in wanted) + sum(item.size_bytes for item in large)
        self.cache.trim(room_bytes=total, but={part.blob for slices in parts.values() for part in slices})
        self.cache.make_room(total)
        advance = counter(total, progress)
        fetch_blobs(self.far, self.cache, wanted, advance)
        for item in large:
            whole = Wanted(item.digest, item.size_bytes, item.path)
            fetch_large(self.far, self.cache, whole, parts.get(item.digest, []), advance)

    # --- check ----------------------------------------------------------------------------------------------------

    def holds(self, manifest: Manifest) -> bool:
        """Say whether a tree's manifest and all that its files lie in is there."""
        try:
            needed = blobs_of(manifest, self._far_parts(manifest))
        except Corrupted:
            return False
        return self.far.size("manifests", manifest.digest) is not None and self._is_there(needed)

    def _is_there(self, needed: dict[str, int]) -> bool:
        sizes = in_order(lambda blob: self.far.size("blobs", blob), needed)
        return all(size is not None and size >= needed[blob] for blob, size in zip(needed, sizes, strict=True))

    def verify(self, manifest: Manifest, progress: Progress | None = None) -> list[str]:
        """Read every byte of a tree where it lies and return the paths that are missing or damaged."""
        try:
            parts = self._far_parts(manifest)
        except Corrupted:
            return [item.path for item in manifest.files]
        bad = FarCheck(self.far, manifest, parts).run(counter(manifest.size_bytes, progress))
        for name in bad.blobs:
            self.cache.mark_unsound(name)
        if bad.paths and not bad.blobs:
            self.cache.mark_unsound(manifest.digest)  # sound blobs in a wrong order: its parts are wrong
        return bad.paths

    def is_sound(self, name: str) -> bool:
        """Read a blob where it lies and say whether it is what its name says."""
        if is_sound(self.far, name):
            self.cache.forget_unsound(name)
            return True
        self.cache.mark_unsound(name)  # what is kept next takes its place, though its length is right
        return False

    def names_of(self, manifest: Manifest) -> set[str]:
        """Return the blobs that a kept tree lies in, and its own digest."""
        return {manifest.digest, *blobs_of(manifest, self._far_parts(manifest))}

    def blobs(self) -> dict[str, int]:
        """Return every blob that is there and its length in bytes."""
        return {name: size for name, (size, _) in self.far.listed("blobs").items()}

    def count_parts(self, manifests: Iterable[Manifest]) -> tuple[int, int]:
        """Return in how many packs of small files, and in how many pieces of large ones, trees lie."""
        found = in_order(self._far_parts, manifests)
        return count_parts({name: slices for name, slices in parts.items() if not is_cut(slices)} for parts in found)

    # --- clean ----------------------------------------------------------------------------------------------------

    def garbage(self, live: set[str], *, grace_seconds: float = GRACE_SECONDS) -> list[Garbage]:
        """Return what no live manifest needs and is older than the grace time, there and among private files here."""
        from .cleaning import find_garbage

        return find_garbage(self, live, grace_seconds)

    def remove(self, items: Iterable[Garbage]) -> int:
        """Remove garbage and return the bytes freed there."""
        from .cleaning import remove_garbage

        return remove_garbage(self, list(items))


def _wanted(files: list[ManifestFile], parts: Parts) -> dict[str, Wanted]:
    """Return the blobs that files lie in; how long a pack or a piece is, is known only in so far as they need it."""
    found: dict[str, Wanted] = {}
    for item in files:
        for blob, offset, size in slices_of(parts, item.digest, item.size_bytes):
            least = max(offset + size, found[blob].size_bytes if blob in found else 0)
            found[blob] = Wanted(blob, least, item.path, is_least=item.digest in parts)
    return found
