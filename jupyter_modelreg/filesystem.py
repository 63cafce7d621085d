"""``modelreg://`` and ``azureml://``: registered files for everything that reads through fsspec, such as pandas.

::

    modelreg://                            the models
    modelreg://churn                       its versions
    modelreg://churn/3/data/train.parquet  a file; churn:3, churn/latest and churn@latest are versions, too
    azureml://models/churn/versions/3/…    the same files
    azureml://datastores/workspaceblobstore/paths/…

Paths are looked up in a version's manifest, never on a disk, so none leads out of it. A file that lies in the store as it is
opens as that very file: it can be mapped. Nothing is written here: versions never change.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from datetime import datetime

from fsspec.spec import AbstractFileSystem

from .entities.datastore import DEFAULT_DATASTORE
from .errors import InvalidInput, ModelRegistryError, NotFound, Refused
from .mounts import Listing, view_here
from .references import LATEST, DatastorePath, parse_model_name
from .workspace import open_workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, NoReturn, Protocol

    from .entities.model import Model
    from .trees import Tree
    from .workspace import Workspace

    class Place(Protocol):
        """What stands behind a path. ``about`` is what fsspec calls its info, without the name."""

        about: dict[str, Any]

        def children(self) -> dict[str, dict[str, Any]]: ...
        def open(self) -> BinaryIO: ...
        def local_path(self) -> str: ...


_FSSPEC_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous", "loop")
_MAX_KEPT = 8  # listings; one of a hundred thousand files takes half a second to read
_FOLDER = {"size": 0, "type": "directory"}


class ModelregFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of registered versions, for reading.

    Any number of threads may use one instance; it keeps nothing that could grow old, and may be copied to other processes,
    which read the same registry. ``ls`` leaves out archived models, their paths work.

    Parameters
    ----------
    storage_options
        Settings such as ``home``, ``catalog``, ``store``; they win over environment and file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        As every file system does; the text says what is there, or how files are registered.
    """

    protocol = "modelreg"

    def __init__(self, **storage_options: Any) -> None:
        super().__init__(**storage_options)
        self._settings = {name: str(value) for name, value in storage_options.items() if name not in _FSSPEC_OPTIONS}
        self._kept: dict[str, Listing] = {}
        self._connected: tuple[int, Workspace] | None = None
        open_workspace(self._settings)  # says so when a setting is none

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may have another environment and folder; it shall read this registry.
        settings = open_workspace(self._settings).settings.to_dict()
        return _make, (type(self), {**self.storage_options, **{name: settings[name] for name in ("home", "catalog", "store")}})

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List what a path holds; a file lists itself."""
        path = self._strip_protocol(path)
        place = self._find(path)
        if place.about["type"] == "file":
            found = [{"name": path, **place.about}]
        else:
            with _as_others_say():
                found = [{"name": f"{path}/{name}".lstrip("/"), **about} for name, about in place.children().items()]
        return found if detail else [about["name"] for about in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a path: name, size, type; a file's ``digest`` is the BLAKE3 of its bytes."""
        path = self._strip_protocol(path)
        return {"name": path, **self._find(path).about}

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> BinaryIO:
        if mode != "rb":
            _refuse()
        place = self._find(path)
        if place.about["type"] != "file":
            raise _error(IsADirectoryError, errno.EISDIR, f"{path} is a folder; name a file in it.")
        with _as_others_say():
            stream = place.open()
        stream.size = place.about["size"]  # type: ignore[attr-defined]  # fsspec's own files have it, and callers ask for it
        return stream

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file between two offsets; negative ones count from its end."""
        with self.open(path, "rb") as stream:
            first, last, _step = slice(start, end).indices(stream.size)
            stream.seek(first)
            return bytes(stream.read(max(0, last - first)))

    def local_path(self, path: str) -> str:
        """Return where a file or folder can be read on this machine, for libraries that want a path.

        It is read-only and lasts as long as the version. A version that lies elsewhere is fetched once, up to the setting
        ``mount_limit``.
        """
        place = self._find(self._strip_protocol(path))
        with _as_others_say():
            return place.local_path()

    def checksum(self, path: str) -> str:
        """Return the BLAKE3 of a file's bytes; of a version the digest of its manifest."""
        about = self.info(path)
        if "digest" not in about:
            raise _error(IsADirectoryError, errno.EISDIR, f"{path} is a folder; a file has a checksum, and a version.")
        return str(about["digest"])

    ukey = checksum

    def created(self, path: str) -> datetime:
        """Return when the version was registered; of a model, its latest one."""
        about = self.info(path)
        if "created" not in about:
            raise _error(IsADirectoryError, errno.EISDIR, "This folder was never registered, what it holds was.")
        moment: datetime = about["created"]
        return moment

    modified = created

    def _workspace(self) -> Workspace:
        """Open the registry that the settings name now; a connection to a server is kept, one to a file costs nothing."""
        fresh = open_workspace(self._settings)
        if "://" not in fresh.settings.catalog:
            return fresh
        kept = self._connected
        if kept is None or kept[0] != os.getpid() or kept[1].settings != fresh.settings:
            kept = self._connected = (os.getpid(), fresh)
        return kept[1]

    def _find(self, path: str) -> Place:
        workspace = self._workspace()
        if not path:
            return _Names(workspace)
        with _as_others_say():
            if path.startswith("/") or any(ord(sign) < 32 for sign in path):
                raise NotFound("A path begins with a model's name and has no control characters: modelreg://churn/latest/model.bin")
            name, version, label, inner = _parse(path)
            model = workspace.catalog.get_version(name, version, label)
            if (version or label) is None:
                return _Names(workspace, model)
            return _Stored(workspace, self._listing(workspace, str(model.digest)), "/".join(inner), model)

    def _listing(self, workspace: Workspace, digest: str) -> Listing:
        key = f"{workspace.settings.store} {digest}"
        found = self._kept.get(key)
        if found is None:
            found = Listing(workspace.store.load_manifest(digest))
            # A new dictionary each time, since other threads look into the old one; a lock would not survive a fork.
            self._kept = {**dict(list(self._kept.items())[1 - _MAX_KEPT :]), key: found}
        return found

    def _write(self, *_: object, **__: object) -> NoReturn:
        _refuse()

    mkdir = makedirs = mkdirs = rmdir = rm = rm_file = _rm = cp_file = copy = mv = move = rename = _write
    put = put_file = upload = pipe = pipe_file = touch = write_text = write_bytes = _write


class LocalAzuremlFileSystem(ModelregFileSystem):
    """``azureml://`` where nothing else reads it: versions of models, and the default datastore."""

    protocol = "azureml"

    def _find(self, path: str) -> Place:
        workspace = self._workspace()
        with _as_others_say():
            parts = path.split("/")
            if parts[0] == "subscriptions":
                parts = parts[6:]
            match parts:
                case ["datastores", name, "paths", "LocalUpload", digest, root, *inner] if name == DEFAULT_DATASTORE:
                    return self._upload(workspace, digest, root, inner)
                case ["datastores", name, "paths", *inner]:
                    return _Lying(workspace, DatastorePath(datastore=name, path="/".join(inner)))
                case ["models", name, "versions" | "labels" as kind, state, *inner]:
                    model = workspace.catalog.get_version(name, **{kind[:-1]: state})
                    return _Stored(workspace, self._listing(workspace, str(model.digest)), "/".join(inner), model)
            raise NotFound("Readable are azureml://models/NAME/versions/VERSION/PATH and azureml://datastores/NAME/paths/PATH.")

    def _upload(self, workspace: Workspace, digest: str, root: str, inner: list[str]) -> Place:
        """Find what `show` prints as a version's path."""
        listing = self._listing(workspace, digest)
        if root != listing.manifest.root:
            raise NotFound(f'Upload {digest[:12]}… holds "{listing.manifest.root}".')
        return _Stored(workspace, listing, "/".join([root, *inner] if listing.manifest.is_file else inner), None)


def __getattr__(name: str) -> Any:
    """Give Azure's own class for ``azureml://`` where its package is installed, else ours."""
    if name != "AzuremlFileSystem":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    from importlib.metadata import entry_points

    for other in entry_points(group="fsspec.specs", name="azureml"):
        module, _, kind = other.value.replace(":", ".").rpartition(".")
        if module != __name__:
            return getattr(import_module(module), kind)
    return LocalAzuremlFileSystem


# --- places -------------------------------------------------------------------------------------------------------


class _Names:
    """The models, or the versions of one of which `latest` is the latest."""

    def __init__(self, workspace: Workspace, latest: Model | None = None) -> None:
        self._workspace, self._latest = workspace, latest
        self.about = _dated(latest) if latest else _FOLDER

    def children(self) -> dict[str, dict[str, Any]]:
        from .commands.model import ListModels
        from .models import list_models

        if self._latest is None:
            return {str(model.name): _dated(model) for model in list_models(self._workspace, ListModels())}
        found = list_models(self._workspace, ListModels(name=self._latest.name, include_archived=True))
        return {str(model.version): {**_dated(model), "digest": model.digest} for model in found}

    def open(self) -> BinaryIO:
        raise NotImplementedError  # a folder is never opened

    def local_path(self) -> str:
        raise NotFound("A version has files on this machine, a model has none; name a version, such as churn/latest.")


class _Stored:
    """A file or folder of a version."""

    def __init__(self, workspace: Workspace, listing: Listing, path: str, model: Model | None) -> None:
        self._workspace, self._listing, self._path = workspace, listing, path
        self._dated = _dated(model) if model else _FOLDER
        if path not in listing.files and path not in listing.folders:
            held = ", ".join(list(listing.folders[""])[:5])
            raise NotFound(f'There is no "{path}" in "{listing.manifest.root}"; it holds {held}.')
        self.about = self._about(path) if path else {**self._dated, "digest": listing.manifest.digest}

    def _about(self, path: str) -> dict[str, Any]:
        item = self._listing.files.get(path)
        return {**self._dated, "size": item.size_bytes, "type": "file", "digest": item.digest} if item else self._dated

    def children(self) -> dict[str, dict[str, Any]]:
        return {name: self._about(path) for name, path in self._listing.folders[self._path].items()}

    @property
    def _tree(self) -> Tree:
        return self._workspace.store.open_tree(self._listing.manifest)

    def open(self) -> BinaryIO:
        return self._tree.open(self._path)

    def local_path(self) -> str:
        return os.path.join(view_here(self._workspace, self._listing.manifest), *self._path.split("/")).rstrip("/")


class _Lying:
    """A file or folder of the default datastore."""

    def __init__(self, workspace: Workspace, reference: DatastorePath) -> None:
        self._workspace, self._reference = workspace, reference
        root, parts = workspace.datastore_path(DEFAULT_DATASTORE), reference.path.split("/") if reference.path else []
        self._path = os.path.join(root, *parts)
        if reference.datastore != DEFAULT_DATASTORE:
            raise NotFound(f'There is no datastore "{reference.datastore}"; this version has one, "{DEFAULT_DATASTORE}".')
        is_odd = any(part in ("", ".", "..") for part in parts) or any(sign == "\\" or ord(sign) < 32 for sign in reference.path)
        if is_odd or not self._is_inside(self._path):
            raise NotFound(f'Datastore "{DEFAULT_DATASTORE}" has no "{reference.path}"; its files lie in {root}.')
        self.about = self._about(self._path)

    def _about(self, path: str) -> dict[str, Any]:
        status = os.stat(path)
        moment = datetime.fromtimestamp(status.st_mtime).astimezone()
        return {**(_FOLDER if os.path.isdir(path) else {"size": status.st_size, "type": "file"}), "created": moment}

    def children(self) -> dict[str, dict[str, Any]]:
        paths = {name: os.path.join(self._path, name) for name in sorted(os.listdir(self._path))}
        return {name: self._about(path) for name, path in paths.items() if self._is_inside(path)}

    def _is_inside(self, path: str) -> bool:
        from .sources.local import is_below

        root = self._workspace.datastore_path(DEFAULT_DATASTORE)
        return os.path.exists(path) and is_below(os.path.realpath(path), os.path.realpath(root))

    def open(self) -> BinaryIO:
        tree = self._workspace.open_tree(self._reference)
        return tree.open(tree.root)

    def local_path(self) -> str:
        return self._path


# --- steps --------------------------------------------------------------------------------------------------------


def _parse(path: str) -> tuple[str, str | None, str | None, list[str]]:
    """Split a path into name, version, label and what lies in the version."""
    name, *rest = path.split("/")
    if ":" in name or "@" in name:
        return *parse_model_name(name), rest
    if not rest:
        return name, None, None, []
    return (name, None, LATEST, rest[1:]) if rest[0] == LATEST else (name, rest[0], None, rest[1:])


def _dated(model: Model) -> dict[str, Any]:
    text = model.creation_context.created_at if model.creation_context else None
    return {**_FOLDER, "created": datetime.fromisoformat(text)} if text else _FOLDER


def _make(kind: type[ModelregFileSystem], options: dict[str, Any]) -> ModelregFileSystem:
    return kind(**options)


def _refuse() -> NoReturn:
    text = "Versions never change: this is read-only. Register files with: modelreg model create --name NAME --path FOLDER"
    raise _error(PermissionError, errno.EROFS, text)


@contextmanager
def _as_others_say() -> Iterator[None]:
    """Raise the errors that every file system raises, with our text."""
    try:
        yield
    except (NotFound, InvalidInput) as error:
        raise _error(FileNotFoundError, errno.ENOENT, error.message) from None
    except Refused as error:
        raise _error(PermissionError, errno.EACCES, error.message) from None
    except ModelRegistryError as error:
        raise _error(OSError, errno.EIO, error.message) from None


def _error(kind: type[OSError], number: int, text: str) -> OSError:
    error = kind(text)
    error.errno = number  # given to the class it would change the text
    return error
