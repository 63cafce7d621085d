"""Operations that show a version's files in a folder.

::

    HOME/mounts/<hash of the folder>/mount.json  what was made there, so that nothing else is ever removed
    HOME/mounts/<hash of the folder>/log.txt     what the process of a FUSE mount says

To read: clones where the file system has them, else hard links, else symbolic ones; never a copy of what lies here as it
is. A version that lies elsewhere is fetched first, up to the setting ``mount_limit``, or read when asked for by a process
of `fuse`. To write: a private copy, never the store's own files.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager, suppress

from .compute import ProcessIdentity, identify, is_alive, start_process, stop_process
from .entities.answers import Checksum, Mount, Unmounted
from .errors import Conflict, InvalidInput, ModelRegistryError, NotFound, Unavailable
from .records import Record, field, from_dict
from .trees import Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .commands.model import CommitModel, ListChecksums, ListMounts, MountModel, UnmountModel
    from .entities.model import Model
    from .trees import ManifestFile, Tree
    from .workspace import Workspace

START_SECONDS = 20.0
_FICLONE = 0x40049409  # Source: ioctl_ficlonerange(2)


class MountRecord(Record):
    """What stands in ``mount.json``: enough to take a mount down, whatever became of the version."""

    mount: Mount
    manifest: Manifest
    settings: dict[str, str]
    stamp_ns: int = 0
    source: str = ""
    made: list[str] = []
    former_mode: int | None = None
    written: dict[str, list[int]] = field(default={}, help="Inode and time of change of each file of a writable copy, in nanoseconds.")
    maker: ProcessIdentity | None = field(default=None, help="Who is making the mount; None once it stands.")
    process: ProcessIdentity | None = field(default=None, help="Who answers what is read from a FUSE mount.")


class Listing:
    """A version's files by path, and what each folder holds. Content never changes, so it may be kept."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.files: dict[str, ManifestFile] = {item.path: item for item in manifest.files}
        self.folders: dict[str, dict[str, str]] = {"": {}}  # folder -> name in it -> its whole path
        for path in self.files:
            self._add(path)

    def _add(self, path: str) -> None:
        while path:
            folder, _, name = path.rpartition("/")
            names = self.folders.setdefault(folder, {})
            if name in names:
                return  # so are the folders above it
            names[name] = path
            path = folder


# --- mount --------------------------------------------------------------------------------------------------------


def mount_model(workspace: Workspace, command: MountModel) -> Mount:
    """Show a version's files in a new or empty folder; the latest version when none is named.

    Raises
    ------
    InvalidInput
        If kind and mode do not go together, or the folder lies in the registry's own.
    Conflict
        If something is in the way.
    Unavailable
        If more than ``mount_limit`` would have to be fetched, FUSE is not there, or the folder cannot be written.
    """
    from .models import find_model

    if command.kind != "auto" and command.mode != "ro_mount":
        raise InvalidInput(f"A {command.mode} is always a copy; leave out --kind {command.kind}.", key="kind")
    model = find_model(workspace, command)
    manifest = workspace.manifest_of(model)
    path = _free_place(workspace, command.mount_point)
    kind = "copy" if command.mode != "ro_mount" else "view" if command.kind == "auto" else command.kind
    record = MountRecord(
        mount=Mount(path=path, model=f"{model.name}:{model.version}", mode=command.mode, kind=kind, size_bytes=manifest.size_bytes),
        manifest=manifest,
        settings=workspace.settings.to_dict(),
        stamp_ns=_stamp(model),
        maker=identify(os.getpid()),
    )
    before, make = {"view": (_fetch, _make_view), "copy": (_announce, _make_copy), "fuse": (_check_fuse, _make_fuse)}[kind]
    with _recorded(workspace, before(workspace, record)) as record:
        made = make(workspace, record).replace(maker=None)
        _save(workspace, made)
    return made.mount


def view_here(workspace: Workspace, manifest: Manifest) -> str:
    """Return a read-only folder on this machine that holds the files of a version, fetched where they lie elsewhere.

    Raises
    ------
    Unavailable
        If more than ``mount_limit`` would have to be fetched.
    """
    from .settings import parse_size

    missing, limit = _missing_bytes(workspace, manifest), workspace.settings.mount_limit
    if missing > parse_size(limit):
        raise Unavailable(
            f"{_size(missing)} would have to be fetched from {workspace.settings.store}, more than mount_limit ({limit}). "
            "Choose model mount --mode download, or --kind fuse to fetch what is read only, or set MODELREG_MOUNT_LIMIT higher."
        )
    view = workspace.store.view(manifest)
    return view if manifest.is_file else os.path.join(view, manifest.root)


def _missing_bytes(workspace: Workspace, manifest: Manifest) -> int:
    """Return how much of a version this machine would have to fetch."""
    from .storage.remote import RemoteStore

    store = workspace.store
    if not isinstance(store, RemoteStore) or store.cache.holds(manifest):
        return 0
    tree = store.open_tree(manifest)
    return sum(item.size_bytes for item in manifest.files if tree.local_path(item.path) is None)


def _is_far(workspace: Workspace) -> bool:
    from .storage.remote import RemoteStore

    return isinstance(workspace.store, RemoteStore)


def _stamp(model: Model) -> int:
    """Return when a version was made, as its files' time: what is changed later has another."""
    from datetime import datetime

    made = model.creation_context.created_at if model.creation_context else None
    return int(datetime.fromisoformat(made).timestamp()) * 10**9 if made else 0


def _announce(workspace: Workspace, record: MountRecord) -> MountRecord:
    """Note how much has to be fetched."""
    missing = _missing_bytes(workspace, record.manifest)
    return _with_reason(record, f"{_size(missing)} fetched from {workspace.settings.store}, then ") if missing else record


def _fetch(workspace: Workspace, record: MountRecord) -> MountRecord:
    """Have the store write out what lies packed or elsewhere into its own view."""
    return _announce(workspace, record).replace(source=view_here(workspace, record.manifest))


def _make_view(workspace: Workspace, record: MountRecord) -> MountRecord:
    """Link or clone each file of the store's view."""
    last = ("copies of", _copy) if _is_far(workspace) else ("symbolic links to", _link)  # a cache may lose what a link leads to
    ways: list[tuple[str, Callable[[str, str], None]]] = [("clones of", _clone), ("links to", _hard_link), last]
    for item in record.manifest.files:
        target = _below(record, item)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _place(ways, _below(record, item, record.source), target, record.stamp_ns)
    _set_modes(record, 0o555)
    return _with_reason(record, f"{ways[0][0]} what the store keeps on this machine")


def _with_reason(record: MountRecord, words: str) -> MountRecord:
    return record.replace(mount=record.mount.replace(reason=f"{record.mount.reason}{words}"))


def _place(ways: list[tuple[str, Callable[[str, str], None]]], source: str, target: str, stamp_ns: int) -> None:
    """Put one file in its place in the first way that works; a way that does not is not tried again."""
    while True:
        words, way = ways[0]
        try:
            way(source, target)
        except OSError:
            if len(ways) == 1:
                raise
            ways.pop(0)
            continue
        if words in ("clones of", "copies of"):
            os.chmod(target, 0o444)
            os.utime(target, ns=(stamp_ns, stamp_ns))
        return


def _clone(source: str, target: str) -> None:
    """Share a file's extents, as XFS and btrfs can.

    Raises
    ------
    OSError
        If the file system cannot, or the files are on two.
    """
    import fcntl

    with open(source, "rb") as whole, open(target, "xb") as copy:
        try:
            fcntl.ioctl(copy, _FICLONE, whole.fileno())
        except OSError:
            os.unlink(target)
            raise


def _hard_link(source: str, target: str) -> None:
    os.link(os.path.realpath(source), target)


def _link(source: str, target: str) -> None:
    os.symlink(source, target)


def _copy(source: str, target: str) -> None:
    import shutil

    shutil.copyfile(source, target)


def _make_copy(workspace: Workspace, record: MountRecord) -> MountRecord:
    """Write a copy, each file checked against its hash."""
    path, manifest = record.mount.path, record.manifest
    if manifest.is_file:
        workspace.store.checkout(manifest, path, workspace.progress)
    else:
        workspace.store.checkout(manifest.replace(root=os.path.basename(path)), os.path.dirname(path), workspace.progress)
    for item in manifest.files:
        os.utime(_below(record, item), ns=(record.stamp_ns, record.stamp_ns))
    if record.mount.mode == "rw_mount":
        statuses = {item.path: os.lstat(_below(record, item)) for item in manifest.files}
        record = record.replace(written={path: [status.st_ino, status.st_ctime_ns] for path, status in statuses.items()})
    then = "; model commit registers what it becomes" if record.mount.mode == "rw_mount" else ""
    return _with_reason(record, f"a copy, each file checked against its hash{then}")


def _make_fuse(workspace: Workspace, record: MountRecord) -> MountRecord:
    """Start the process that answers reads, and wait until it does."""
    folder, path = _folder_of(workspace, record.mount.path), record.mount.path
    log = os.path.join(folder, "log.txt")
    argv = [sys.executable, "-m", "jupyter_modelreg.fuse", folder]
    process = start_process(argv, folder=folder, log_path=log, env=dict(os.environ))
    deadline = time.monotonic() + START_SECONDS
    try:
        while not os.path.ismount(path):
            if not is_alive(process) or time.monotonic() > deadline:
                raise Unavailable(f"{path} cannot be mounted: {_last_line(log)}.")
            time.sleep(0.01)
    except BaseException:  # a person may be tired of waiting
        stop_process(process)
        _detach(path, is_lazy=True)
        raise
    return _with_reason(record.replace(process=process), f"read from {workspace.settings.store} when asked for")


def _check_fuse(workspace: Workspace, record: MountRecord) -> MountRecord:
    from importlib.util import find_spec

    if find_spec("mfusepy") is None:
        raise Unavailable('A FUSE mount needs mfusepy: pip install "jupyter-modelreg[fuse]"')
    if not os.path.exists("/dev/fuse"):
        raise Unavailable("A FUSE mount needs /dev/fuse, which this machine does not have. Choose --mode download.")
    return record


# --- look ---------------------------------------------------------------------------------------------------------


def list_mounts(workspace: Workspace, command: ListMounts) -> list[Mount]:
    """Return the mounts of this machine's home that stand, by path."""
    return sorted((record.mount for record in _records(workspace) if not _is_stale(record)), key=lambda mount: mount.path)


def list_checksums(workspace: Workspace, command: ListChecksums) -> list[Checksum]:
    """Return the hashes of a version's files; SHA-256 is worked out when it is first asked for."""
    from .models import find_model

    manifest = workspace.store.load_manifest(find_model(workspace, command).digest or "")
    sums = workspace.store.sha256(manifest, workspace.progress)
    return [Checksum(path=item.path, size_bytes=item.size_bytes, blake3=item.digest, sha256=sums[item.path]) for item in manifest.files]


# --- commit and unmount ---------------------------------------------------------------------------------------------


def commit_model(workspace: Workspace, command: CommitModel) -> Model:
    """Register what a writable mount holds now; the version it came from is named in the new one's lineage.

    Raises
    ------
    InvalidInput
        If the folder is mounted for reading.
    NotFound
        If it is no mount.
    Conflict
        If nothing changed.
    """
    from .entities.model import Lineage, Model
    from .models import register_model
    from .references import parse_model_name

    record = _record_at(workspace, command.mount_point)
    path, parent = record.mount.path, record.mount.model
    if record.mount.mode != "rw_mount":
        raise InvalidInput(f"{path} shows {parent} for reading; mount it with --mode rw_mount to commit changes.", key="mount_point")
    if not command.name and not _changes(record):
        raise Conflict(f"{path} is as {parent} was; there is nothing to commit.")
    name = command.name or parse_model_name(parent)[0]
    described = Model(name=name, path=path, description=command.description, tags=dict(command.tags), stage=command.stage)
    tree = _tree_of(record)
    _remember_unchanged(workspace, record)
    model = register_model(workspace, described, tree=tree, lineage=Lineage(inputs=[f"azureml:{parent}"]))
    manifest = workspace.manifest_of(model)
    _save(workspace, record.replace(manifest=manifest, mount=record.mount.replace(model=f"{model.name}:{model.version}")))
    return model


def _remember_unchanged(workspace: Workspace, record: MountRecord) -> None:
    """Tell the store which files are as it wrote them, so that they are not read again: none of their times has changed."""
    from .storage import LocalStore
    from .storage.remote import RemoteStore

    store = workspace.store.cache if isinstance(workspace.store, RemoteStore) else workspace.store
    unchanged = []
    for item in record.manifest.files:
        with suppress(OSError):
            status = os.lstat(_below(record, item))
            times = [status.st_ino, status.st_ctime_ns]
            if times == record.written.get(item.path) and status.st_mtime_ns == record.stamp_ns and status.st_size == item.size_bytes:
                unchanged.append((status, item.digest))
    if isinstance(store, LocalStore):
        store.index.remember_files(unchanged, time.time_ns())


def _tree_of(record: MountRecord) -> Tree:
    """Open a writable mount's files under the root's name that the version had, so that the same content is the same."""
    from .sources.local import open_local

    path, manifest = record.mount.path, record.manifest
    if manifest.is_file and os.listdir(path) == [manifest.root]:
        return open_local(os.path.join(path, manifest.root))
    tree = open_local(path)
    if not manifest.is_file:
        tree.root = manifest.root
    return tree


def unmount_model(workspace: Workspace, command: UnmountModel) -> Unmounted:
    """Take down a mount: what it made is removed, what a person put or changed there stays.

    Raises
    ------
    NotFound
        If the folder is no mount.
    Conflict
        If a writable one has changes that are not committed, or something still reads from it.
    """
    record = _record_at(workspace, command.mount_point)
    path = record.mount.path
    changed = _changes(record) if record.mount.mode == "rw_mount" and not command.discard else []
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise Conflict(
            f"{path} has changes that are not committed: {', '.join(changed[:3])}{more}. Run: modelreg model commit {path}, "
            "or unmount it with --discard."
        )
    if record.mount.kind == "fuse":
        _stop_fuse(record)
    left = _take_down(record, is_discarded=record.mount.mode == "rw_mount" and command.discard)
    _forget(workspace, path)
    return Unmounted(path=path, left=left)


def _changes(record: MountRecord) -> list[str]:
    """Return the paths of a writable mount's files that are new, gone or other than they were; ignored ones do not count."""
    known = {item.path: item for item in record.manifest.files}
    try:
        found = {item.path for item in _tree_of(record).files()}
    except ModelRegistryError:  # it is empty, or holds what no model may
        found = set(_paths(record.mount.path))
    return sorted(path for path in found | known.keys() if path not in found or path not in known or not _is_as_made(record, known[path]))


def _is_as_made(record: MountRecord, item: ManifestFile) -> bool:
    """Say whether a file is what the mount put there: known by its identity or time, else by its content."""
    from .storage.blobs import hash_file

    place = _below(record, item)
    status = os.lstat(place)
    if os.path.realpath(os.path.dirname(place)) != os.path.dirname(place):
        return False  # a folder was swapped for a link; what it leads to is not ours
    if os.path.islink(place):
        return record.source != "" and os.readlink(place) == _below(record, item, record.source)
    if not os.path.isfile(place) or status.st_size != item.size_bytes:
        return False
    if status.st_mtime_ns == record.stamp_ns:
        return True
    with suppress(OSError):
        if record.source and os.path.samestat(status, os.stat(_below(record, item, record.source))):
            return True
    return hash_file(place) == item.digest


def _take_down(record: MountRecord, *, is_discarded: bool) -> list[str]:
    """Remove what a mount made and return the paths that are left."""
    path = record.mount.path
    with _saying(path, "taken down"):
        if os.path.isdir(path):
            _set_modes(record, 0o755)
            for item in record.manifest.files:
                if os.path.lexists(_below(record, item)) and (is_discarded or _is_as_made(record, item)):
                    os.unlink(_below(record, item))
            if is_discarded:
                _remove_all(path)
            for folder in sorted(Listing(record.manifest).folders, reverse=True):
                if folder:
                    _remove_if_empty(os.path.join(path, folder))
            if record.former_mode is not None:
                os.chmod(path, record.former_mode)
        left = sorted(_paths(path))
        for folder in reversed(record.made):
            _remove_if_empty(folder)
    return left


def _set_modes(record: MountRecord, mode: int) -> None:
    """Set the mode of a mount's folders, the outermost last when they are closed and first when they are opened."""
    for folder in sorted(Listing(record.manifest).folders, reverse=mode == 0o555):
        place = os.path.join(record.mount.path, folder).rstrip("/")
        if os.path.isdir(place) and not os.path.islink(place):
            os.chmod(place, mode)


def _remove_all(path: str) -> None:
    import shutil

    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _remove_if_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _stop_fuse(record: MountRecord) -> None:
    """Detach a FUSE mount and wait for its process to end.

    Raises
    ------
    Conflict
        If something still reads from it.
    """
    process = record.process
    if process and is_alive(process) and os.path.ismount(record.mount.path):
        said = _detach(record.mount.path)
        if said:
            raise Conflict(f"{record.mount.path} cannot be unmounted: {said}. Close what reads from it and try again.")
        deadline = time.monotonic() + START_SECONDS
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.01)
    else:
        _detach(record.mount.path, is_lazy=True)
    if process:
        stop_process(process)


def _detach(path: str, *, is_lazy: bool = False) -> str:
    """Ask the system to take a FUSE mount away; return what it says against it."""
    import shutil
    import subprocess

    tool = shutil.which("fusermount3") or shutil.which("fusermount")
    words = [tool, "-uz" if is_lazy else "-u", path] if tool else ["umount", *(["-l"] if is_lazy else []), path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition(": ")[2].rstrip(".") or "it is refused"


# --- places and records ---------------------------------------------------------------------------------------------


def _free_place(workspace: Workspace, mount_point: str) -> str:
    """Return the full path of a folder where a version may be shown."""
    from .sources.local import is_below

    path = _full_path(mount_point)
    if os.path.islink(path):
        raise Conflict(f"{path} is a link; nothing is mounted through links. Name a new or empty folder.")
    for kept in (workspace.home, workspace.settings.store.removeprefix("file://")):
        if "://" not in kept and is_below(path, os.path.realpath(kept)):
            raise InvalidInput(f"{path} lies in the registry's own folder {kept}; name a folder outside.", key="mount_point")
    for record in _records(workspace):  # the stale ones go first, since a dead mount is no folder
        if record.mount.path == path and not _is_stale(record):
            raise Conflict(f"{path} shows {record.mount.model} already. Run: modelreg model unmount {path}")
        if _is_stale(record):
            _clear(workspace, record)
    with _saying(path, "used"):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise Conflict(f"{path} is a file. Name a new or empty folder.")
        if os.path.isdir(path) and os.listdir(path):
            raise Conflict(f"{path} is not empty. Name a new or empty folder.")
    return path


def _full_path(mount_point: str) -> str:
    """Return an absolute path without links above its last part, which may be one."""
    folder, name = os.path.split(os.path.abspath(os.path.expanduser(mount_point)))
    return os.path.join(os.path.realpath(folder), name)


def _with_folder(record: MountRecord) -> MountRecord:
    """Make the folder and those above it; remember which, and the mode of one that was there."""
    path = record.mount.path
    if os.path.isdir(path):
        return record.replace(former_mode=os.stat(path).st_mode & 0o7777)
    made: list[str] = []
    while not os.path.isdir(path):
        made.insert(0, path)
        path = os.path.dirname(path)
    os.makedirs(record.mount.path)
    return record.replace(made=made)


@contextmanager
def _recorded(workspace: Workspace, record: MountRecord) -> Iterator[MountRecord]:
    """Write down what is about to be made and make the folder; when it fails, it is as it was before.

    Raises
    ------
    Conflict
        If another mount of the same folder was quicker.
    """
    from .folders import make_folder

    path = record.mount.path
    folder = _folder_of(workspace, path)
    with _saying(path, "mounted"):
        make_folder(os.path.dirname(folder))
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            raise Conflict(f"{path} is being mounted by another process.") from None
    try:
        with _saying(path, "mounted"):
            record = _with_folder(record)
            _save(workspace, record)
            yield record
    except BaseException:
        with suppress(OSError, Unavailable):
            _take_down(record, is_discarded=False)
        _forget(workspace, path)
        raise


@contextmanager
def _saying(path: str, done: str) -> Iterator[None]:
    """Say in one line why the system refuses."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path} cannot be {done}: {error.strerror} ({error.filename}).") from None


def _is_stale(record: MountRecord) -> bool:
    """Say whether a mount stands no longer: its process, or the one that made it, is dead, or somebody removed the folder."""
    process = record.maker or record.process
    if process is not None:
        return not is_alive(process)
    return not os.path.isdir(record.mount.path)


def _clear(workspace: Workspace, record: MountRecord) -> None:
    """Take away what a dead mount left."""
    if record.mount.kind == "fuse":
        _detach(record.mount.path, is_lazy=True)
    with suppress(Unavailable):
        _take_down(record, is_discarded=False)
    _forget(workspace, record.mount.path)


def _record_at(workspace: Workspace, mount_point: str) -> MountRecord:
    path = _full_path(mount_point)
    record = read_record(_folder_of(workspace, path))
    if record is None:
        raise NotFound(f"{path} is no mount of this registry. See: modelreg model list-mounts")
    if record.maker and is_alive(record.maker):
        raise Conflict(f"{path} is being mounted; try again in a moment.")
    return record


def _records(workspace: Workspace) -> list[MountRecord]:
    folder = os.path.join(workspace.home, "mounts")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [record for name in names if (record := read_record(os.path.join(folder, name)))]


def _folder_of(workspace: Workspace, path: str) -> str:
    from blake3 import blake3

    return os.path.join(workspace.home, "mounts", blake3(os.fsencode(path)).hexdigest()[:16])


def read_record(folder: str) -> MountRecord | None:
    try:
        with open(os.path.join(folder, "mount.json"), encoding="utf-8") as stream:
            return from_dict(MountRecord, json.load(stream))
    except FileNotFoundError:
        return None


def _save(workspace: Workspace, record: MountRecord) -> None:
    target = os.path.join(_folder_of(workspace, record.mount.path), "mount.json")
    with open(os.open(f"{target}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(record.to_dict(), stream)
    os.replace(f"{target}.new", target)


def _forget(workspace: Workspace, path: str) -> None:
    import shutil

    shutil.rmtree(_folder_of(workspace, path), ignore_errors=True)


def _below(record: MountRecord, item: ManifestFile, folder: str = "") -> str:
    return os.path.join(folder or record.mount.path, *item.path.split("/"))


def _paths(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in [*names, *links])


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _last_line(log: str) -> str:
    with suppress(OSError), open(log, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip() for line in stream if line.strip()]
        return lines[-1].rstrip(".") if lines else "its process says nothing"
    return "its process did not start"
