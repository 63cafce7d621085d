"""Answers that are no entity a person would write: what was copied, deleted, compared, printed."""

from __future__ import annotations

from ..records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Downloaded(Record):
    """What a download wrote. ``files`` are relative to ``path``."""

    path: str
    files: list[str] = []
    size_bytes: int = 0


class Exported(Record):
    """One file that holds a version. ``digest`` is the version's; it is the same wherever the file is imported."""

    path: str
    model: str = field(help="The version, as churn:3.")
    digest: str
    files: int = 0
    size_bytes: int = 0


class Deleted(Record):
    """What is gone: references such as ``churn:3``, or names of endpoints."""

    names: list[str]
    noun: str | None = field(default=None, help="What they are, where they are no models or endpoints.")


class LogText(Record):
    """Text that a process printed."""

    text: str = ""


class Invocation(Record):
    """The answer of an endpoint. ``body`` is parsed JSON where it was JSON, else text."""

    body: Any = None
    seconds: float = 0.0


class Difference(Record):
    """One line of a comparison; None stands for absent. ``delta`` is second minus first for numbers."""

    group: str = field(help="metadata, metrics, packages, signature, files or tensors")
    name: str
    first: str | None = None
    second: str | None = None
    delta: float | None = None


class Comparison(Record):
    """Two versions side by side, only what differs; ``same`` counts what does not, by group."""

    first: str
    second: str
    differences: list[Difference] = []
    metrics: dict[str, list[float | None]] = field(default={}, help="Every metric of either version: [first, second].")
    same: dict[str, int] = {}


class Setting(Record):
    """One setting, its value and where the value came from."""

    name: str
    value: str | None = None
    source: str = "default"
    help: str = ""


class Check(Record):
    """One part of this installation. ``advice`` says what would mend it."""

    part: str
    is_ok: bool
    found: str = ""
    advice: str = ""


class Mount(Record):
    """A folder that shows a version's files. ``reason`` says how they got there."""

    path: str
    model: str = field(help="The version, as churn:3.")
    mode: str = field(help="ro_mount, rw_mount or download")
    kind: str = field(help="view (links or clones), copy, or fuse (read when asked for)")
    reason: str = ""
    size_bytes: int = 0


class Unmounted(Record):
    """A folder that shows a version's files no longer. ``left`` are paths in it that the mount had not made."""

    path: str
    left: list[str] = []


class Checksum(Record):
    """One file of a version and the hashes of its bytes, in hex."""

    path: str
    size_bytes: int
    blake3: str
    sha256: str


class AuditRow(Record):
    """One change of the catalog: who did what to what. ``digest`` is that of the content, where there is one."""

    number: int
    at: str = field(help="When, in UTC.")
    actor: str
    action: str
    subject: str
    digest: str = ""


class StoreStats(Record):
    """What a store holds and what that takes. Sizes are in bytes; ``size_bytes`` counts every file of every version."""

    store: str
    models: int = 0
    versions: int = 0
    files: int = 0
    size_bytes: int = 0
    blobs: int = field(default=0, help="Files of the store itself.")
    packs: int = field(default=0, help="Blobs that hold many small files.")
    pieces: int = field(default=0, help="Blobs that hold a part of a file.")
    disk_bytes: int = field(default=0, help="What the store takes on disk; of a store elsewhere, the size of its blobs.")
    saved_bytes: int = field(default=0, help="What keeping each content once saves.")
    repeated_bytes: int = field(default=0, help="Tensors that lie in several files; with dedup = tensor each is kept once.")
    garbage_bytes: int = field(default=0, help="What store clean would free now.")
    cache_bytes: int = field(default=0, help="What this machine keeps of stores elsewhere.")
    cache_limit_bytes: int | None = None
    quota_bytes: int | None = None


class Damage(Record):
    """One thing that is wrong in a registry. ``kind`` is blob, manifest, parts, catalog or audit; ``name`` a digest or number."""

    kind: str
    name: str
    problem: str = "damaged"
    versions: list[str] = field(default=[], help="Versions that need it, as churn:3.")
    paths: list[str] = field(default=[], help="Their files that cannot be read.")
    is_mended: bool = False


class Verification(Record):
    """What a look at everything found. ``is_ok`` is False while damage remains; a shell's exit code is then 6."""

    is_ok: bool
    versions: int = 0
    blobs: int = field(default=0, help="How many were read.")
    size_bytes: int = 0
    is_sample: bool = False
    damages: list[Damage] = []


class Cleaned(Record):
    """What a clean-up removed, or would: files of the store, manifests of versions that are gone, unfinished registrations."""

    size_bytes: int = 0
    files: int = 0
    versions: int = 0
    registrations: int = 0
    is_dry_run: bool = False


class Histogram(Record):
    """Two samples in the same bins: shares of the values, which sum to 1 in each."""

    labels: list[str] = []
    reference: list[float] = []
    live: list[float] = []


class ColumnDrift(Record):
    """One column of the training data and of what an endpoint was asked.

    ``verdict`` is ok, drift (the values differ more than chance and more than matters), quality (gaps, wrong types, values out of
    bounds), missing (never asked with it), new (not in the reference), too-few (fewer than 30 values) or skipped (no plain values).
    """

    column: str
    kind: str = field(help="numerical, categorical or text")
    verdict: str
    reasons: list[str] = field(default=[], help="Each limit that was passed, with the value.")
    reference_values: int = 0
    live_values: int = 0
    metrics: dict[str, float] = field(default={}, help="By Azure's names; those of tests are probabilities.")
    histogram: Histogram | None = None


class DriftReport(Record):
    """What an endpoint was asked, held against a reference; ``verdict`` is the worst of the columns'."""

    endpoint: str
    deployment: str
    collection: str
    reference: str = field(help="The file.")
    window: str
    since: str
    until: str
    verdict: str
    reference_rows: int = 0
    live_rows: int = 0
    unread_lines: int = field(default=0, help="Lines that are no rows, torn by a kill.")
    is_capped: bool = field(default=False, help="Whether older rows of the window were left out.")
    thresholds: dict[str, float] = {}
    columns: list[ColumnDrift] = []


class MirrorReport(Record):
    """A mirror's answers beside those that callers got."""

    endpoint: str
    deployment: str
    window: str
    since: str
    until: str
    requests: int = 0
    same: int = 0
    failed: int = field(default=0, help="Answered with an error by the mirror, and without by the live deployment.")
    largest_difference: float | None = field(default=None, help="Of two numbers at the same place.")
    mean_difference: float | None = field(default=None, help="Mean over the requests of the largest difference in each.")
    differing: list[str] = field(default=[], help="Request ids of the latest that differ, ten at most.")
