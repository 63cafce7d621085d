"""Operations on the store as a whole: what it holds, whether all of it is sound, what may go.

A clean-up has two phases, so that a registration at the same time loses nothing: the catalog dooms names that nothing
relies on, the store removes them, the catalog forgets. One that was killed is finished by the next.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from .entities.answers import Cleaned, Damage, StoreStats, Verification
from .errors import Corrupted, InvalidInput, ModelRegistryError, NotFound, Unavailable
from .folders import used_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from .commands.store import CleanStore, ShowStoreStats, VerifyStore
    from .storage import Garbage, Store
    from .trees import Manifest
    from .workspace import Workspace

    Answer = TypeVar("Answer")

BATCH = 1000  # names that are doomed together: a registration that needs one of them waits that long
READERS = 4
_MENDED = ("blob", "manifest", "parts")  # by files; what somebody wrote into the catalog is not
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


# --- what it holds ------------------------------------------------------------------------------------------------------


def show_stats(workspace: Workspace, command: ShowStoreStats) -> StoreStats:
    """Count what the store holds. No file is read but manifests.

    Raises
    ------
    Corrupted
        If a version's manifest is missing or damaged.
    """
    from .settings import parse_size
    from .storage import GRACE_SECONDS
    from .storage.pieces import count_bytes

    store, settings, versions = workspace.store, workspace.settings, workspace.catalog.kept_versions()
    manifests = {digest: store.load_manifest(digest) for _, digest, _ in versions}
    blobs, names = store.blobs(), set[str]().union(*(store.names_of(item) for item in manifests.values()))
    live = {name: blobs[name] for name in names & blobs.keys()}
    packs, pieces = store.count_parts(manifests.values())
    logical = sum(size for _, _, size in versions)
    return StoreStats(
        store=settings.store,
        models=len({reference.rpartition(":")[0] for reference, _, _ in versions}),
        versions=len(versions),
        files=sum(len(manifests[digest].files) for _, digest, _ in versions),
        size_bytes=logical,
        blobs=len(blobs),
        packs=packs,
        pieces=pieces,
        disk_bytes=sum(blobs.values()) if "://" in settings.store else used_bytes(settings.store),
        saved_bytes=logical - sum(live.values()),
        repeated_bytes=max(0, sum(live.values()) - count_bytes(store, manifests.values())),
        garbage_bytes=sum(item.size_bytes for item in store.garbage(workspace.catalog.live_digests(), grace_seconds=GRACE_SECONDS)),
        cache_bytes=used_bytes(os.path.join(workspace.home, "caches")),
        cache_limit_bytes=parse_size(settings.cache_limit) if "://" in settings.store else None,
        quota_bytes=parse_size(settings.quota) if settings.quota else None,
    )


# --- whether it is sound ------------------------------------------------------------------------------------------------


def verify_store(workspace: Workspace, command: VerifyStore) -> Verification:
    """Read every blob, or a sample of them, and every manifest; mend what another registry still has.

    Raises
    ------
    InvalidInput
        If the sample is no share, or there is no registry where to mend from.
    """
    if command.sample is not None and not 0 < command.sample <= 1:
        raise InvalidInput(f"sample must be above 0 and at most 1, not {command.sample:g}.", key="sample")
    sources = _sources(workspace, command.repair_from) if command.repair_from else []
    with _without_cache(workspace) as far:
        inspection = _Inspection(workspace, far, command.sample or 1.0)
        damages = inspection.run()
        if damages and sources:
            _mend(workspace, damages, sources)
            again = {(item.kind, item.name) for item in inspection.look_again(damages)}
            for damage in damages:
                damage.is_mended = (damage.kind, damage.name) not in again
    return Verification(
        is_ok=all(item.is_mended for item in damages),
        versions=len(inspection.references),
        blobs=inspection.read,
        size_bytes=inspection.size_bytes,
        is_sample=command.sample is not None,
        damages=damages,
    )


@contextmanager
def _without_cache(workspace: Workspace) -> Iterator[Store]:
    """Give the store as another machine would see it: what this one keeps of it must not hide a loss."""
    if "://" not in workspace.settings.store:
        yield workspace.store
        return
    from tempfile import TemporaryDirectory

    from .storage import open_store

    with TemporaryDirectory(prefix="modelreg-") as caches:
        yield open_store(workspace.settings.store, caches)


class _Inspection:
    """One look at everything. `far` is the store without what this machine keeps of it."""

    def __init__(self, workspace: Workspace, far: Store, share: float) -> None:
        from .settings import hide_password

        self._catalog, self._store, self._share, self._progress = workspace.catalog, workspace.store, share, workspace.progress
        self._far, self._place = far, hide_password(workspace.settings.catalog)
        kept = [*self._catalog.kept_versions(), *self._catalog.kept_contexts()]
        self.references = {reference: (digest, size) for reference, digest, size in kept}
        self._users: dict[str, list[str]] = {}  # digest -> references
        for reference, (digest, _) in self.references.items():
            self._users.setdefault(digest, []).append(reference)
        self.read = self.size_bytes = 0

    def run(self) -> list[Damage]:
        """Return what is wrong, the widest first: the catalog's records, manifests, blobs, then how files lie in them."""
        torn, audit = self._catalog.damage(), self._catalog.broken_audit()
        damages = [] if torn is None else [Damage(kind="catalog", name=self._place, problem=f"{torn}; restore it from a copy")]
        damages += [] if audit is None else [Damage(kind="audit", name=str(audit), problem="the record of changes was edited or cut here")]
        edited = "it names other content than when it was made"
        damages += [
            Damage(kind="catalog", name=self.references[reference][0], problem=edited, versions=[reference])
            for reference in self._catalog.edited_versions()
        ]
        manifests, names = self._manifests(damages)
        there = self._store.blobs()
        needed = set[str]().union(*names.values())
        damages += [self._blob(name, "missing", manifests, names) for name in sorted(needed - there.keys())]
        chosen = self._sampled(sorted(there))
        self.read, self.size_bytes = len(chosen), sum(there[name] for name in chosen)
        bad = self._unsound({name: there[name] for name in chosen})
        damages += [self._blob(name, "damaged", manifests, names) for name in bad]
        unsound = {item.name for item in damages}
        damages += self._parts(
            [manifests[digest] for digest in self._sampled(sorted(manifests)) if names[digest].isdisjoint(unsound)], names
        )
        return damages

    def look_again(self, damages: list[Damage]) -> list[Damage]:
        """Return what of some damages is left."""
        left = []
        for damage in damages:
            if damage.kind == "blob":
                is_sound = not damage.versions or not self._is_needed(damage) or self._store.is_sound(damage.name)
            else:
                is_sound = damage.kind in _MENDED and self._is_whole(damage.name)
            left += [] if is_sound else [damage]
        return left

    def _is_needed(self, damage: Damage) -> bool:
        """Say whether a version still relies on a blob: mending may have laid its files elsewhere."""
        digests = {self.references[reference][0] for reference in damage.versions}
        return any(damage.name in self._far.names_of(self._far.load_manifest(digest)) for digest in digests)

    def _is_whole(self, digest: str) -> bool:
        try:
            return not self._far.verify(self._far.load_manifest(digest))
        except (NotFound, Corrupted):
            return False

    def _manifests(self, damages: list[Damage]) -> tuple[dict[str, Manifest], dict[str, set[str]]]:
        """Return the manifests that versions name, and the blobs each relies on; what cannot be read is a damage."""
        manifests, names = {}, {}
        for digest, references in self._users.items():
            try:
                manifests[digest] = self._far.load_manifest(digest)
                names[digest] = self._far.names_of(manifests[digest]) - {digest}
            except (NotFound, Corrupted) as error:
                kind = "parts" if digest in manifests else "manifest"
                problem = "missing" if isinstance(error, NotFound) else "damaged"
                damages.append(Damage(kind=kind, name=digest, problem=problem, versions=references))
                manifests.pop(digest, None)
                continue
            damages += self._sizes(manifests[digest])
        return manifests, names

    def _sizes(self, manifest: Manifest) -> Iterator[Damage]:
        for reference in self._users[manifest.digest]:
            size = self.references[reference][1]
            if size != manifest.size_bytes:
                problem = f"the catalog says {size:,} bytes, the files have {manifest.size_bytes:,}"
                yield Damage(kind="catalog", name=manifest.digest, problem=problem, versions=[reference])

    def _sampled(self, names: list[str]) -> list[str]:
        import random

        if self._share == 1 or not names:
            return names
        return random.SystemRandom().sample(names, max(1, round(len(names) * self._share)))

    def _unsound(self, sizes: dict[str, int]) -> list[str]:
        from concurrent.futures import ThreadPoolExecutor

        from .storage import counter

        advance, bad = counter(self.size_bytes, self._progress), []
        with ThreadPoolExecutor(READERS) as readers:
            for name, is_sound in zip(sizes, readers.map(self._is_sound, sizes), strict=True):
                bad += [] if is_sound else [name]
                advance(sizes[name])
        return bad

    def _is_sound(self, name: str) -> bool:
        try:
            return self._store.is_sound(name)
        except OSError:  # the disk cannot read it
            return False

    def _blob(self, name: str, problem: str, manifests: dict[str, Manifest], names: dict[str, set[str]]) -> Damage:
        """Return a blob's damage with the versions and paths that need it."""
        users = [digest for digest, held in names.items() if name in held]
        paths: dict[str, None] = {}
        for digest in users:
            whole = [item.path for item in manifests[digest].files if item.digest == name]
            paths |= dict.fromkeys(whole or self._far.verify(manifests[digest]))  # a pack or a piece: who lies in it
        versions = [reference for digest in users for reference in self._users[digest]]
        return Damage(kind="blob", name=name, problem=problem, versions=versions, paths=list(paths))

    def _parts(self, manifests: Iterable[Manifest], names: dict[str, set[str]]) -> Iterator[Damage]:
        """Put together what lies in packs and pieces: sound blobs in a wrong order are no file."""
        for manifest in manifests:
            if names[manifest.digest] <= {item.digest for item in manifest.files}:
                continue
            paths = self._far.verify(manifest)
            if paths:
                yield Damage(kind="parts", name=manifest.digest, problem="damaged", versions=self._users[manifest.digest], paths=paths)


def _sources(workspace: Workspace, place: str) -> list[Store]:
    """Return the stores to mend from: what this machine keeps of a store elsewhere, then the one that was named."""
    from .storage import open_store

    cache = getattr(workspace.store, "cache", None)
    near: list[Store] = [] if cache is None else [cache]
    if place == "cache":
        if not near:
            raise InvalidInput("This store lies on this machine and has no cache; name another registry to mend from.", key="repair_from")
        return near
    return [*near, open_store(_store_at(place), os.path.join(workspace.home, "caches"))]


def _store_at(place: str) -> str:
    if "://" in place:
        return place
    for folder in (os.path.join(place, "store"), place):
        if os.path.isdir(os.path.join(folder, "manifests")):
            return os.path.abspath(folder)
    raise InvalidInput(f"{place} is neither a registry's home nor a store: it has no folder of manifests.", key="repair_from")


def _mend(workspace: Workspace, damages: list[Damage], sources: list[Store]) -> None:
    """Register again, from the first source that has it, the content of every version that is touched."""
    kept = {reference: digest for reference, digest, _ in [*workspace.catalog.kept_versions(), *workspace.catalog.kept_contexts()]}
    for digest in dict.fromkeys(kept[reference] for damage in damages if damage.kind in _MENDED for reference in damage.versions):
        for source in sources:
            with suppress(ModelRegistryError):  # it has not got it either, or not whole
                if _copy(workspace, source, digest) == digest:
                    break


def _copy(workspace: Workspace, source: Store, digest: str) -> str:
    """Keep a version's content again, held against every clean-up meanwhile; return the digest of what was there."""
    from .catalog.pins import Holding

    hold = Holding(lambda: workspace.catalog)
    try:
        return workspace.store.import_tree(source.open_tree(source.load_manifest(digest)), workspace.progress, hold=hold).digest
    finally:
        hold.let_go()


# --- what may go --------------------------------------------------------------------------------------------------------


def ask_to_clean(workspace: Workspace, command: CleanStore) -> str:
    """Word the question before a clean-up; empty when nothing would be removed."""
    if command.dry_run:
        return ""
    plan = _Plan(workspace, command.grace)
    return f"Free {freed_text(plan.answer(plan.garbage))}?" if plan.garbage else ""


def clean_store(workspace: Workspace, command: CleanStore) -> Cleaned:
    """Remove what no version uses and nobody touched for a while.

    Raises
    ------
    InvalidInput
        If the grace time is none.
    Corrupted
        If a version's manifest is missing or damaged: nobody knows which files it needs.
    """
    plan = _Plan(workspace, command.grace)
    return plan.answer(plan.garbage, is_dry_run=True) if command.dry_run else plan.carry_out(takes_over=command.takes_over)


class _Plan:
    """What would go."""

    def __init__(self, workspace: Workspace, grace: str) -> None:
        self._catalog, self._store, self._progress = workspace.catalog, workspace.store, workspace.progress
        self._place = workspace.settings.catalog
        grace_seconds = parse_duration(grace)
        self._since, live = self._catalog.last_rows(), self._catalog.live_digests()
        for digest in live:
            self._check(digest)
        self.garbage: list[Garbage] = list(self._store.garbage(live, grace_seconds=grace_seconds))

    def _check(self, digest: str) -> None:
        try:
            self._store.load_manifest(digest)
        except NotFound as error:
            if digest not in self._catalog.live_digests():  # deleted, and cleaned up by another, a moment ago
                return
            raise Corrupted(
                f"{error.message} Nobody knows which files its versions need, so nothing is removed: modelreg store verify names them "
                "and mends it, or delete them."
            ) from None

    def carry_out(self, *, takes_over: bool) -> Cleaned:
        """Remove it, what nobody can rely on first: on a full disk that makes the room that the catalog needs."""
        from .catalog.sqlite import keep_reserve
        from .storage import counter

        advance = counter(sum(item.size_bytes for item in self.garbage), self._progress)
        scratch = [item for item in self.garbage if item.kind == "scratch"]
        self._store.remove(scratch)
        gone, named = scratch, [item for item in self.garbage if item.kind != "scratch"]
        advance(sum(item.size_bytes for item in scratch))
        for start in range(0, len(named), BATCH):
            batch = named[start : start + BATCH]
            gone += self._remove(batch, takes_over=takes_over)
            advance(sum(item.size_bytes for item in batch))
        if "://" not in self._place:
            keep_reserve(self._place)
        return self.answer(gone)

    def _remove(self, batch: list[Garbage], *, takes_over: bool) -> list[Garbage]:
        names = [item.name for item in batch]
        identifier, chosen = self._written(lambda: self._catalog.doom(names, self._since, self._names_of, takes_over=takes_over))
        gone = [item for item in batch if item.name in chosen]
        try:
            self._store.remove(gone)
        finally:
            self._written(lambda: self._catalog.forget_doomed(identifier))  # what is still there is whole
        return gone

    def _written(self, write: Callable[[], Answer]) -> Answer:
        """Write to the catalog, on a full disk into the room that is kept for this."""
        from .catalog.sqlite import give_reserve

        try:
            return write()
        except Unavailable:
            if not give_reserve(self._place):
                raise
            return write()

    def _names_of(self, digest: str) -> set[str]:
        return self._store.names_of(self._store.load_manifest(digest))

    def answer(self, items: list[Garbage], *, is_dry_run: bool = False) -> Cleaned:
        """Count what goes."""
        counts = {kind: sum(1 for item in items if item.kind == kind) for kind in ("blob", "manifest", "scratch")}
        return Cleaned(
            size_bytes=sum(item.size_bytes for item in items),
            files=counts["blob"],
            versions=counts["manifest"],
            registrations=counts["scratch"],
            is_dry_run=is_dry_run,
        )


def freed_text(answer: Cleaned) -> str:
    """Say how much goes and what it is: 1.2 GB, 35 files, 4 versions that are gone; empty when it is nothing."""
    from .settings import size_text

    counts = ((answer.files, "file"), (answer.versions, "deleted version"), (answer.registrations, "unfinished registration"))
    parts = [f"{count:,} {words}{'' if count == 1 else 's'}" for count, words in counts if count]
    return f"{size_text(answer.size_bytes)} of {', '.join(parts)}" if parts else ""


def parse_duration(text: str, key: str = "grace") -> float:
    """Return a time in seconds: ``90s``, ``30m``, ``24h``, ``7d``; a bare number is seconds.

    Raises
    ------
    InvalidInput
        If it is none.
    """
    number = text.strip().rstrip("smhd")
    unit = text.strip()[len(number) :]
    if not number.isascii() or not number.replace(".", "", 1).isdigit() or unit not in _SECONDS:
        raise InvalidInput(f'"{text[:40]}" is no time; write 30m, 24h or 7d.', key=key)
    return float(number) * _SECONDS[unit]
