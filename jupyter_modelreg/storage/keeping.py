"""One tree on its way into a local store: what is new is staged, what is there is relied on, what is small is packed."""

from __future__ import annotations

import io
import os
import time
from functools import cached_property

from blake3 import blake3

from ..errors import Conflict
from ..trees import Manifest, ManifestFile
from .blobs import PACK_STEP_BYTES, data_bytes
from .cutting import CUT_FROM_BYTES, stage_pieces
from .extents import can_clone, whole_blocks
from .local import canonical
from .parts import Slice, blobs_of, format_parts, slices_of
from .pieces import PieceHasher, format_pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from ..trees import Tree, TreeFile
    from .blobs import Pack, Staging
    from .local import LocalStore
    from .parts import Parts
    from .pieces import Piece

SMALL_BYTES = 256 << 10
SHARED_FROM_BYTES = 1 << 20  # less is not worth writing a file twice
PACKED_FROM = 16  # small files of one tree: up to here each is a blob, which loads and tools can map


class Keeping:
    """The steps of one registration, in the order of its methods."""

    def __init__(self, store: LocalStore, staging: Staging, tree: Tree, advance: Callable[[int], None], *, is_linked: bool) -> None:
        self._store, self._staging, self._tree, self._advance, self._is_linked = store, staging, tree, advance, is_linked
        self._files: dict[str, ManifestFile] = {}
        self._statuses: dict[str, os.stat_result] = {}
        self._staged: dict[str, str] = {}  # blob -> private name
        self._sound: dict[str, bool] = {}  # blobs that were there already
        self._lengths: dict[str, int] = {}  # the same, before they could be relied on; -1 for one that is damaged
        self._parts: Parts = {}
        self._places: dict[str, Slice] = {}
        self._private: dict[str, os.stat_result] = {}  # what was staged, by blob
        self._pieces: dict[str, str] = {}  # blob -> private name of its pieces
        self._cuts: list[tuple[str, list[Piece]]] = []  # private names of files that are kept as pieces of which some are there
        self.manifest = Manifest(root=tree.root, is_file=tree.is_file)

    def stage(self, items: list[TreeFile]) -> Manifest:
        """Read what is not known and write it under private names; return the manifest of all."""
        new = self._find_known(items)
        self._store.check_room(self._tree.root, sum(map(self._bytes_needed, new)))
        self._stage_new(new)
        files = tuple(self._files[item.path] for item in items)
        manifest = Manifest(root=self._tree.root, is_file=self._tree.is_file, files=files)
        self._text = canonical(manifest)
        self.manifest = manifest.replace(digest=blake3(self._text).hexdigest())
        self._keep_to_layout()
        return self.manifest

    def names(self) -> set[str]:
        """Return every blob that the tree will rely on, those that may take the place of one that goes meanwhile, and the manifest."""
        return {self.manifest.digest, *blobs_of(self.manifest, self._parts), *(file.digest for file in self._files.values())}

    def settle(self, items: list[TreeFile], held: AbstractSet[str]) -> bool:
        """Look again, now that nothing that is held can go: what went or is damaged is staged after all.

        False when others have laid the files out meanwhile where more must be held.
        """
        self._sound, self._lengths = {}, {}
        self._keep_to_layout()
        if not self.names() <= held:
            return False
        for name, relied in self._cuts:
            self._cut(name, [piece for piece in relied if not self._is_sound(piece.digest)])
        self._stage_again([item for item in items if not self._is_there(self._files[item.path])])
        self._private |= {blob: os.stat(name) for blob, name in self._staged.items()}
        for blob, name in self._staged.items():
            self._staging.keep(name, self._store.blob_path(blob))
        for blob, name in self._pieces.items():
            self._staging.keep(name, self._store.pieces_path(blob))
        self._staged, self._pieces = {}, {}
        self._staging.rely(map(self._store.blob_path, blobs_of(self.manifest, self._parts)))
        self._settle_parts(self._store.parts_path(self.manifest.digest))
        self._staging.keep(self._write(self._text), self._store.manifest_path(self.manifest.digest))
        return True

    def _settle_parts(self, target: str) -> None:
        """Plan to write the parts, unless they stand there already."""
        is_there = os.path.exists(target)
        if is_there and self._parts == self._store.kept_parts(self.manifest):
            self._staging.rely([target])
        elif is_there or self._parts:
            if is_there:  # versions rely on them: what takes their place must be safe before
                self._staging.publish(self._store.is_kept)
            self._staging.keep(self._write(format_parts(self._parts)), target)

    def is_kept(self, target: str) -> bool:
        """Say whether a final name holds what it should. Who first wrote the parts of a tree decided, as long as all that they name is sound:
        a clean-up may have looked at them, and what it is about to remove is not looked at again."""
        if target != self._store.parts_path(self.manifest.digest):
            return self._store.is_kept(target)
        kept = self._store.kept_parts(self.manifest)
        return bool(kept) and self._is_whole(kept)

    def is_laid_out(self) -> bool:
        """Say whether the files lie where we hold them: another registration of the same tree may have been quicker."""
        return self._parts == self._store.kept_parts(self.manifest)

    def remember(self) -> None:
        """Tell the index what was read and written, so that it need not be again."""
        index = self._store.index
        new = {path: self._files[path].digest for path in self._statuses if self._files[path].digest != self._known.get(path)}
        index.remember_files(((self._statuses[path], digest) for path, digest in new.items()), self._started_ns)
        index.remember_places(self._new_places())
        index.remember_cuts((digest, self.manifest.digest, slices) for digest, slices in self._parts.items() if len(slices) > 1)
        needed = blobs_of(self.manifest, self._parts)
        kept = {blob: os.stat(self._store.blob_path(blob)) for blob in self._private.keys() & needed}
        index.remember_sound((blob, status) for blob, status in kept.items() if os.path.samestat(status, self._private[blob]))

    def _new_places(self) -> list[tuple[str, Slice]]:
        places = self._places | {digest: slices[0] for digest, slices in self._parts.items() if len(slices) == 1}
        needed = blobs_of(self.manifest, self._parts)
        return [(digest, place) for digest, place in places.items() if place.blob in needed and self._known_places.get(digest) != place]

    # --- what is there ------------------------------------------------------------------------------------------------

    def _find_known(self, items: list[TreeFile]) -> list[TreeFile]:
        """Take files that rest since they were hashed from the index; return the others."""
        self._started_ns = time.time_ns()
        for item in items:
            local = self._tree.local_path(item.path)
            if local is not None:
                try:
                    self._statuses[item.path] = os.lstat(local)
                except OSError:  # opening it will say what is wrong
                    continue
        self._known = known = self._store.index.digests(self._statuses)
        self._known_places = places = self._store.index.places(known.values())
        new = []
        for item in items:
            digest = known.get(item.path, "")
            if digest and self._statuses[item.path].st_size == item.size_bytes and self._is_relied_on(item, digest, places.get(digest)):
                self._files[item.path] = ManifestFile(path=item.path, size_bytes=item.size_bytes, digest=digest)
                self._advance(item.size_bytes)
            else:
                new.append(item)
        return new

    def _is_relied_on(self, item: TreeFile, digest: str, place: Slice | None) -> bool:
        """Say whether content is there, and note where."""
        if self._store.has_blob(digest, item.size_bytes):
            return True
        slices = [place] if place else self._store.cut_of(digest) if item.size_bytes > CUT_FROM_BYTES else []
        if not slices or sum(part.size_bytes for part in slices) != item.size_bytes or not all(map(self._may_hold, slices)):
            return False
        self._parts[digest] = slices
        return True

    def _may_hold(self, part: Slice) -> bool:
        """Say whether a blob is there now, and sound."""
        if part.blob not in self._lengths:
            is_sound = self._store.is_sound(part.blob, is_remembered_enough=True)
            self._lengths[part.blob] = self._store.blob_size(part.blob) if is_sound else -1
        return self._lengths[part.blob] >= part.offset + part.size_bytes

    def _keep_to_layout(self) -> None:
        """Let files lie where an earlier registration of the same tree laid them, if all of that is there: versions rely on it."""
        kept = self._store.kept_parts(self.manifest)
        if (kept or os.path.exists(self._store.manifest_path(self.manifest.digest))) and self._is_whole(kept):
            self._parts = kept
            needed = blobs_of(self.manifest, kept)
            self._staged = {blob: name for blob, name in self._staged.items() if blob in needed}

    def _is_whole(self, parts: Parts) -> bool:
        """Say whether all that the files lie in is there, and sound."""
        return all(self._may_hold(Slice(blob, 0, size)) for blob, size in blobs_of(self.manifest, parts).items())

    def _is_there(self, file: ManifestFile) -> bool:
        slices = slices_of(self._parts, file.digest, file.size_bytes)
        return all(item.blob in self._staged or self._is_sound(item.blob) for item in slices)

    def _is_sound(self, blob: str) -> bool:
        if blob not in self._sound:
            self._sound[blob] = self._store.is_sound(blob, is_remembered_enough=True)
        return self._sound[blob]

    def _bytes_needed(self, item: TreeFile) -> int:
        """Return what a new file takes on disk: nothing where it is linked, no holes where it has some."""
        status, local = self._statuses.get(item.path), self._tree.local_path(item.path)
        if self._is_linked:
            return 0
        if status is None or local is None or status.st_blocks * 512 >= item.size_bytes:
            return item.size_bytes
        try:
            return data_bytes(local, item.size_bytes)
        except OSError:  # opening it will say what is wrong
            return item.size_bytes

    # --- what is new --------------------------------------------------------------------------------------------------

    def _stage_new(self, items: list[TreeFile]) -> None:
        small = [item for item in items if 0 < item.size_bytes <= SMALL_BYTES]
        if len(small) > PACKED_FROM and not self._is_linked:
            self._pack(small)
        for item in items:
            if item.path not in self._files:
                self._stage_file(item)

    def _stage_again(self, items: list[TreeFile]) -> None:
        """Stage what was relied on and went or is damaged; each as a blob of its own, since that name is held."""
        for item in items:
            known = self._files[item.path]
            self._parts.pop(known.digest, None)
            if known.digest not in self._staged:
                self._stage_file(item)
            if self._files[item.path] != known:
                raise self._changed(item, self._tree.local_path(item.path))

    def _stage_file(self, item: TreeFile) -> None:
        local, staging, beside = self._tree.local_path(item.path), self._staging, PieceHasher(item.size_bytes)
        what = item.path if self._tree.is_file else f"{item.path} of {self._tree.root}"
        with self._tree.open(item.path) as stream, self._store.storing(what):
            if local is None:
                name, digest, size = staging.write_stream(stream, self._advance, beside=beside)
            elif self._is_linked:
                name, digest, size = staging.link_file(stream.fileno(), local, self._advance, beside=beside)
            else:
                name, digest, size = staging.copy_file(stream.fileno(), local, self._advance, beside=beside)
        if size != item.size_bytes:
            raise self._changed(item, local)
        self._files[item.path] = ManifestFile(path=item.path, size_bytes=size, digest=digest)
        pieces = beside.pieces()
        if pieces and self._store.dedup == "tensor" and size > CUT_FROM_BYTES and not self._store.has_blob(digest, size):
            relied = [piece for piece in pieces if self._store.has_blob(piece.digest, piece.size_bytes)]
            self._cuts.append((name, relied))
            self._parts[digest] = self._cut(name, pieces, {piece.digest for piece in relied})
        else:
            self._staged[digest] = self._shared(name, digest, pieces) if pieces and not self._is_linked else name
        if pieces and not os.path.exists(self._store.pieces_path(digest)):
            self._pieces[digest] = self._write(format_pieces(pieces))

    def _shared(self, name: str, digest: str, pieces: list[Piece]) -> str:
        """Return a private file in the place of another that shares the space of the pieces which other blobs hold, where the disk can."""
        if self._store.has_blob(digest, sum(piece.size_bytes for piece in pieces)) or not self._can_clone:
            return name
        known = self._store.index.places(piece.digest for piece in pieces)
        stretches = list(
            whole_blocks(
                (piece.offset, self._store.blob_path(place.blob), place.offset, piece.size_bytes)
                for piece in pieces
                if (place := known.get(piece.digest)) and place.size_bytes == piece.size_bytes
            )
        )
        self._places |= {piece.digest: Slice(digest, piece.offset, piece.size_bytes) for piece in pieces}
        return self._staging.share(name, digest, stretches) if sum(size for *_, size in stretches) >= SHARED_FROM_BYTES else name

    @cached_property
    def _can_clone(self) -> bool:
        return can_clone(self._staging.folder)

    def _cut(self, name: str, pieces: list[Piece], there: AbstractSet[str] = frozenset()) -> list[Slice]:
        """Stage the pieces of a checkpoint that are not there; its private whole goes with the staging."""
        source = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return stage_pieces(
                self._staging, source, pieces, lambda private, blob: self._staged.update({blob: private}), there | self._staged.keys()
            )
        finally:
            os.close(source)

    def _pack(self, items: list[TreeFile]) -> None:
        """Write small files whose content is not there one after another into one blob."""
        places: dict[str, tuple[int, int]] = {}
        with self._staging.packing() as pack:
            for batch in _batches(items):
                self._pack_batch(pack, batch, places)
        if not places:
            return
        self._staged[pack.digest] = pack.name
        new = {digest: Slice(pack.digest, *place) for digest, place in places.items()}
        self._places |= new
        self._parts |= {digest: [place] for digest, place in new.items()}

    def _pack_batch(self, pack: Pack, items: list[TreeFile], places: dict[str, tuple[int, int]]) -> None:
        room, at, digests = pack.room(), 0, []
        for item in items:
            self._read(item, room[at : at + item.size_bytes + 1])
            digests.append(blake3(room[at : at + item.size_bytes]).hexdigest())
            at += item.size_bytes
        known, at = self._store.index.places(digests), 0
        self._known_places |= known
        for item, digest in zip(items, digests, strict=True):
            end = at + item.size_bytes
            if digest not in places and not self._is_relied_on(item, digest, known.get(digest)):
                places[digest] = (pack.add(at, end), item.size_bytes)
            self._files[item.path] = ManifestFile(path=item.path, size_bytes=item.size_bytes, digest=digest)
            self._advance(item.size_bytes)
            at = end
        pack.write()

    def _read(self, item: TreeFile, room: memoryview) -> None:
        """Read a file into memory that has room for one byte more."""
        done = 0
        with self._tree.open(item.path) as stream:
            while done < len(room) and (count := stream.readinto(room[done:])):  # type: ignore[attr-defined]
                done += count
        if done != item.size_bytes:
            raise self._changed(item, self._tree.local_path(item.path))

    def _changed(self, item: TreeFile, local: str | None) -> Conflict:
        return Conflict(f"{local or item.path} changed while it was read; nothing was registered. Try again when it rests.")

    def _write(self, text: bytes) -> str:
        return self._staging.write_stream(io.BytesIO(text), lambda _: None)[0]


def _batches(items: list[TreeFile]) -> Iterator[list[TreeFile]]:
    """Yield files that fit into the room of a pack together, with one byte to spare."""
    batch: list[TreeFile] = []
    size = 0
    for item in items:
        if size + item.size_bytes >= PACK_STEP_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size_bytes
    yield batch


__all__ = ["Keeping"]
