"""One version in one file, to be carried where no network goes: written by `export_model`, read by `import_model`.

::

    churn-3/modelreg.json   what is known of the version, and its manifest
    churn-3/BLAKE3SUMS      digests of all the others, as b3sum writes them
    churn-3/files/<root>/…  the files, each at a multiple of 4 KiB, so that it can be cloned or mapped

It is an uncompressed tar that any tar reads, and each byte of it outside the files follows from ``modelreg.json``. So
nothing of a stranger's tar is ever obeyed: the reader says itself what must stand where, and compares. Links, devices,
other names, other sizes, more members, fewer: each is a difference.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import stat
from contextlib import contextmanager, suppress

from .entities.answers import Exported
from .entities.model import Model
from .errors import Conflict, Corrupted, InvalidInput, ModelRegistryError, NotFound, Unavailable
from .folders import flush_folder
from .records import from_dict
from .trees import Manifest, TreeFile, no_such_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from .commands.model import ExportModel, ImportModel
    from .trees import ManifestFile, Tree
    from .workspace import Workspace

FORMAT = 1
SUFFIX = ".modelreg"
MAX_HEAD_BYTES = 32 << 20  # about 300,000 files; a hostile head is refused before it is read
STEP_BYTES = 8 << 20
_HEAD, _SUMS, _FILES = "modelreg.json", "BLAKE3SUMS", "files"
_BLOCK, _ALIGNED = 512, 4096
_END = bytes(2 * _BLOCK)
_MAX_OCTAL = 8**11 - 1

# What travels of a version. Where it is served, whether it is archived and what a scan said are the registry's own matter.
_TRAVELS = (
    *("name", "version", "type", "path", "description", "tags", "properties", "stage", "flavors", "job_name", "flavor"),
    *("signature", "input_example", "metrics", "lineage", "creation_context", "digest", "size_bytes"),
)

_OTHER_KINDS = {
    b"PK": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf": "a 7-Zip archive",
}
# Source: POSIX pax(1), "ustar Interchange Format"; S is GNU tar's sparse file.
_TAR_KINDS = {"1": "a hard link", "2": "a link", "3": "a device", "4": "a device", "5": "a folder", "6": "a pipe", "S": "a sparse file"}


# --- operations -----------------------------------------------------------------------------------------------------


def export_model(workspace: Workspace, command: ExportModel) -> Exported:
    """Write a version into one file, each byte checked on its way.

    Raises
    ------
    Conflict
        If the file exists.
    InvalidInput
        If two paths differ only by case or accents, so that some file systems could not hold both.
    Corrupted
        If a stored file is damaged; nothing is written then.
    Unavailable
        If the file cannot be written.
    """
    from .models import find_model

    model = find_model(workspace, command)
    manifest = workspace.manifest_of(model)
    _check_paths(manifest, f"{model.name}:{model.version} cannot be carried in one file")
    export = _Layout(model, manifest)
    target = _target_of(command.path, f"{export.prefix}{SUFFIX}")
    with _new_file(target) as handle:
        size = _write(export, workspace.store.open_tree(manifest), handle, _counter(manifest, workspace))
    return Exported(path=target, model=f"{model.name}:{model.version}", digest=manifest.digest, files=len(manifest.files), size_bytes=size)


def import_model(workspace: Workspace, command: ImportModel) -> Model:
    """Register the version that a file holds, each byte checked. A version that is here already is returned as it stands.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If it is no exported version, or holds what no exported version holds.
    Corrupted
        If it was cut or changed. Nothing is kept then.
    Conflict
        If the version exists with other content; the message says how to choose another.
    """
    from .catalog.names import check_model
    from .models import register_exported

    with _opened(command.file) as (handle, size):
        export = _read_layout(handle, size, command.file)
        model = export.model.replace(name=command.name or export.model.name, version=command.version or export.model.version)
        check_model(model)
        here = _here_already(workspace, model, export.manifest)
        if here is not None:
            return here
        tree = ExportedTree(export.manifest, _compare(export, handle, size, command.file), handle, command.file)
        return register_exported(workspace, model, tree, export.manifest)


def _here_already(workspace: Workspace, model: Model, manifest: Manifest) -> Model | None:
    try:
        found = workspace.catalog.get_version(str(model.name), model.version)
    except NotFound:
        return None
    if found.digest != manifest.digest:
        raise Conflict(
            f"{model.name}:{model.version} exists here with other content; versions never change. "
            "Give it a free number with --version, or another name with --name."
        )
    return found if workspace.store.holds(manifest) else None


# --- the format -----------------------------------------------------------------------------------------------------


class _Layout:
    """What stands where in the file of one version."""

    def __init__(self, model: Model, manifest: Manifest, head: bytes = b"") -> None:
        self.model, self.manifest = model, manifest
        self.prefix = f"{model.name}-{model.version}"
        self._head = head or _head_of(model, manifest)

    def gaps(self) -> Iterator[tuple[str, bytes, int, bytes | ManifestFile]]:
        """Yield what stands before each member's bytes: its path, the gap, where it ends, and the bytes or whose they are.

        The last one is what stands behind all of them.
        """
        place = 0
        for path, held in self._members():
            size = len(held) if isinstance(held, bytes) else held.size_bytes
            gap = bytes(-place % _BLOCK)
            gap += _member_head(f"{self.prefix}/{path}", size, place + len(gap))
            place += len(gap)
            yield path, gap, place, held
            place += size
        gap = bytes(-place % _BLOCK) + _END
        yield "its end", gap, place + len(gap), b""

    def _members(self) -> Iterator[tuple[str, bytes | ManifestFile]]:
        yield _HEAD, self._head
        yield _SUMS, self._sums()
        for item in self.manifest.files:
            yield _place_of(self.manifest, item), item

    def _sums(self) -> bytes:
        from blake3 import blake3

        rows = [(blake3(self._head).hexdigest(), _HEAD), *((item.digest, _place_of(self.manifest, item)) for item in self.manifest.files)]
        return "".join(f"{digest}  {path}\n" for digest, path in rows).encode()


def _place_of(manifest: Manifest, item: ManifestFile) -> str:
    return f"{_FILES}/{manifest.root}" if manifest.is_file else f"{_FILES}/{manifest.root}/{item.path}"


def _head_of(model: Model, manifest: Manifest) -> bytes:
    known = model.to_dict()
    values = {"format": FORMAT, "model": {key: known[key] for key in _TRAVELS if key in known}, "manifest": manifest.to_dict()}
    head = json.dumps(values, indent=1, ensure_ascii=False).encode()
    if len(head) > MAX_HEAD_BYTES:
        raise InvalidInput(f"{model.name}:{model.version} has too many files or too long a description for one file; at most 300,000.")
    return head


def _member_head(path: str, size: int, place: int) -> bytes:
    """Return the headers of one member, filled up so that its bytes begin at a multiple of 4 KiB.

    Source: POSIX pax(1): an extended header holds the path as it is, a length of any size, and a comment that no tar reads.
    """
    records = _record("path", path.encode()) + (_record("size", str(size).encode()) if size > _MAX_OCTAL else b"")
    shortest = 2 * _BLOCK + len(records) + len(_record("comment", b""))
    length = -(-(place + shortest) // _ALIGNED) * _ALIGNED - place
    records += _filler(length - 2 * _BLOCK - len(records))
    name = path.encode("ascii", "replace")[:99]
    return _ustar(b"pax", len(records), b"x") + records + _ustar(name, size if size <= _MAX_OCTAL else 0, b"0")


def _record(key: str, value: bytes) -> bytes:
    """Return a record that begins with its own length, in digits that count themselves."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key.encode(), value)


def _filler(length: int) -> bytes:
    return b"%d comment=%s\n" % (length, b" " * (length - len(str(length)) - len(" comment=\n")))


def _ustar(name: bytes, size: int, kind: bytes) -> bytes:
    fields = [name.ljust(100, b"\0"), b"0000644\0", b"0000000\0" * 2, b"%011o\0" % size, b"%011o\0" % 0, b" " * 8, kind, bytes(100)]
    block = b"".join([*fields, b"ustar\x0000", bytes(64), b"0000000\0" * 2]).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


# --- writing --------------------------------------------------------------------------------------------------------


def _target_of(path: str, name: str) -> str:
    target = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(target):
        target = os.path.join(target, name)
    if os.path.lexists(target):
        raise Conflict(f"{target} exists; nothing was overwritten. Remove it or choose another file with --path.")
    return target


@contextmanager
def _new_file(target: str) -> Iterator[int]:
    """Give a private file that gets its name, flushed, when all went well, and is removed otherwise."""
    folder, name = os.path.split(target)
    scratch = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield handle
            os.fsync(handle)
        finally:
            os.close(handle)
        _give_name(scratch, target)
        flush_folder(folder)
    except FileExistsError:
        raise Conflict(f"{target} exists; nothing was overwritten. Remove it or choose another file with --path.") from None
    except OSError as error:
        raise Unavailable(
            f"{target} cannot be written: {error.strerror}; nothing was exported. Choose another place with --path."
        ) from None
    finally:
        with suppress(OSError):
            os.unlink(scratch)


def _give_name(scratch: str, target: str) -> None:
    try:
        os.link(scratch, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        if os.path.lexists(target):  # no hard links here, such as on a stick
            raise FileExistsError from None
        os.rename(scratch, target)


def _write(export: _Layout, tree: Tree, handle: int, advance: Callable[[int], None]) -> int:
    """Write everything and return the length."""
    length = 0
    for _, gap, length, held in export.gaps():
        _write_all(handle, gap, length - len(gap))
        if isinstance(held, bytes):
            _write_all(handle, held, length)
        else:
            _write_file(tree, held, handle, length, advance)
    return length


def _write_file(tree: Tree, item: ManifestFile, handle: int, start: int, advance: Callable[[int], None]) -> None:
    """Copy one file, in the kernel where it lies here, and hash what was written."""
    from blake3 import blake3

    local, hasher, done = tree.local_path(item.path), blake3(), 0
    with tree.open(item.path) as stream:
        while done < item.size_bytes:
            wanted = min(STEP_BYTES, item.size_bytes - done)
            count = _copy(stream, local is not None, done, handle, start + done, wanted)
            if count == 0:
                break
            _hash_range(hasher, handle, start + done, count)
            done += count
            advance(count)
    if hasher.hexdigest() != item.digest:
        raise Corrupted(
            f"{item.path} is damaged in the store ({item.digest[:12]}…); nothing was exported. modelreg store verify says what else is."
        )


def _copy(stream: BinaryIO, is_here: bool, offset: int, handle: int, place: int, wanted: int) -> int:
    if is_here and hasattr(os, "copy_file_range"):
        with suppress(OSError):  # not between these two; a full disk is met again below
            return os.copy_file_range(stream.fileno(), handle, wanted, offset, place)
    data = os.pread(stream.fileno(), wanted, offset) if is_here else stream.read(wanted)
    _write_all(handle, data, place)
    return len(data)


def _hash_range(hasher: Any, handle: int, place: int, size: int) -> None:
    import mmap

    first = place - place % mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(handle, place - first + size, access=mmap.ACCESS_READ, offset=first) as view, memoryview(view)[place - first :] as part:
        hasher.update(part)


def _write_all(handle: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, place)
        view, place = view[count:], place + count


def _counter(manifest: Manifest, workspace: Workspace) -> Callable[[int], None]:
    from .storage import counter

    return counter(manifest.size_bytes, workspace.progress)


# --- reading --------------------------------------------------------------------------------------------------------


class ExportedTree:
    """The files in an exported version: each is hashed while it is read, and the last byte of a wrong one is an error."""

    def __init__(self, manifest: Manifest, starts: dict[str, int], handle: int, what: str) -> None:
        self.root, self.is_file = manifest.root, manifest.is_file
        self._files = {item.path: item for item in manifest.files}
        self._starts, self._handle, self._what = starts, handle, what

    def files(self) -> list[TreeFile]:
        """Return the files, by path."""
        return list(self._files.values())

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading, once from its first byte to its last."""
        if path not in self._files:
            raise no_such_file(self, path)
        return io.BufferedReader(_Checked(self._handle, self._starts[path], self._files[path], self._what), 1 << 20)

    def local_path(self, path: str) -> None:
        """Return None: it lies inside another file."""
        return


class _Checked(io.RawIOBase):
    def __init__(self, handle: int, start: int, item: ManifestFile, what: str) -> None:
        from blake3 import blake3

        self._handle, self._place, self._item, self._what = handle, start, item, what
        self._left, self._hasher = item.size_bytes, blake3()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        count = os.preadv(self._handle, [view], self._place) if view else 0
        self._hasher.update(view[:count])
        self._place, self._left = self._place + count, self._left - count
        if (self._left == 0 or count == 0) and self._hasher.hexdigest() != self._item.digest:
            raise Corrupted(f"{self._what} is damaged: {self._item.path} is not what its digest says. Nothing was imported; copy it again.")
        return count


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    """Open a regular file; a pipe or a device is not waited for."""
    try:
        handle = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f'There is no file "{path}".') from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InvalidInput(f"{path} is no exported version: it is {kind}. modelreg model create -p registers files and folders.")
        yield handle, status.st_size
    except OSError as error:
        raise Unavailable(f"{path} cannot be read to its end: {error.strerror}. Nothing was imported.") from None
    finally:
        os.close(handle)


def _read_layout(handle: int, size: int, what: str) -> _Layout:
    """Read the first member, from which everything else follows."""
    block = os.pread(handle, _ALIGNED, 0)
    digits = block[_ALIGNED - _BLOCK + 124 :][:11]
    is_ours = len(block) == _ALIGNED and block[257:265] == b"ustar\x0000" and f"/{_HEAD}\n".encode() in block and digits.isdigit()
    length = int(digits, 8) if is_ours and set(digits) <= set(b"01234567") else 0
    if not 0 < length <= MAX_HEAD_BYTES:
        raise InvalidInput(f"{what} is no exported version: {_kind_of(block)}. modelreg model export writes one.")
    head = os.pread(handle, length, _ALIGNED)
    if len(head) < length:
        raise _cut(what, size, _ALIGNED + length)
    return _parse_head(head, size, what)


def _kind_of(block: bytes) -> str:
    if not block:
        return "it is empty"
    for start, kind in _OTHER_KINDS.items():
        if block.startswith(start):
            return f"it is {kind}"
    if block[257:262] == b"ustar":
        return "it is a tar archive that something else wrote, or was changed"
    return "it begins as none"


def _parse_head(head: bytes, size: int, what: str) -> _Layout:
    from .storage import manifest_digest

    try:
        values = json.loads(head)
        found = values["format"]
        if found == FORMAT:
            at_least = _ALIGNED * len(values["manifest"]["files"])
            if size < at_least:  # before a million members are looked at
                raise _cut(what, size, at_least)
            model = from_dict(Model, values["model"], drop_read_only=False)
            manifest = from_dict(Manifest, values["manifest"], drop_read_only=False)
    except Corrupted:
        raise
    except ModelRegistryError as error:
        raise InvalidInput(f"{what} is no version that can be imported: {error.message}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Corrupted(f"{what} is damaged: its {_HEAD} is not what export writes. Nothing was imported; copy it again.") from None
    if found != FORMAT:
        raise InvalidInput(f"{what} has format {str(found)[:20]}; this version reads format {FORMAT}. A newer modelreg reads it.")
    _check_paths(manifest, f"{what} cannot be imported")
    if not model.digest or model.digest != manifest.digest or manifest_digest(manifest) != manifest.digest:
        raise Corrupted(f"{what} is damaged: its manifest is not what its digest says. Nothing was imported; copy it again.")
    return _Layout(model, manifest, head)


def _check_paths(manifest: Manifest, what: str) -> None:
    """Refuse what could not be kept everywhere: paths that climb, that stand twice, that differ only by case or accents."""
    from unicodedata import normalize

    from .storage import check_relative_path

    if manifest.is_file and [item.path for item in manifest.files] != [manifest.root]:
        raise InvalidInput(f'{what}: it is said to be one file, "{manifest.root[:60]}", and holds others.')
    check_relative_path(manifest.root)
    known: dict[str, str] = {}
    files = set()
    for item in manifest.files:
        if item.size_bytes < 0 or check_relative_path(item.path) in files:
            raise InvalidInput(f'{what}: "{item.path}" stands in it twice, or has no size.')
        files.add(item.path)
        way = item.path
        while way:
            other = known.setdefault(normalize("NFC", way).casefold(), way)
            if other != way:
                raise InvalidInput(f'{what}: "{other}" and "{way}" are one name on some file systems.')
            way = way.rpartition("/")[0]


def _compare(export: _Layout, handle: int, size: int, what: str) -> dict[str, int]:
    """Check all that stands between the files, before a byte of them is kept; return where each file begins."""
    at_least = export.manifest.size_bytes + 2 * _BLOCK * len(export.manifest.files)
    if size < at_least:  # before ten terabytes are looked for
        raise _cut(what, size, at_least)
    starts, end = {}, 0
    for path, gap, end, held in export.gaps():
        known = gap + held if isinstance(held, bytes) else gap
        found = os.pread(handle, len(known), end - len(gap))
        if found != known:
            raise _differs(found, known, path, what) if end - len(gap) + len(known) <= size else _cut(what, size, end)
        if not isinstance(held, bytes):
            starts[held.path] = end
    if size > end:
        raise Corrupted(f"{what} goes on for {size - end:,} bytes behind its end. Nothing was imported; copy it again.")
    return starts


def _differs(found: bytes, known: bytes, path: str, what: str) -> Corrupted:
    """Say what stands in the place of a member's header, where that can be told."""
    kind = _TAR_KINDS.get(chr(found[len(known) - _BLOCK :][156])) if path.startswith(_FILES) else None
    about = f"{path} is {kind}" if kind else f"what stands before {path} is not what export writes"
    return Corrupted(f"{what} is damaged or was changed: {about}. Nothing was imported; copy it again.")


def _cut(what: str, size: int, wanted: int) -> Corrupted:
    return Corrupted(f"{what} ends after {size:,} of at least {wanted:,} bytes. Nothing was imported; copy it again, whole.")
