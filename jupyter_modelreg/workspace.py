"""A workspace: one set of settings and the parts built from it. Nothing else builds parts.

It keeps no state of its own, so it can be thrown away and rebuilt at any moment; parts are built on first use.
"""

from __future__ import annotations

import os
from functools import cached_property

from .errors import Corrupted, NotFound
from .settings import load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .catalog import Catalog
    from .entities.model import Model
    from .references import Reference
    from .storage import Store
    from .trees import Manifest, Tree

    Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Workspace:
    """Everything an operation needs.

    Parameters
    ----------
    settings
        Explicit values by name; they win over environment, file and default.
    progress
        Called with (bytes done, bytes in all) while files are copied.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, progress: Progress | None = None) -> None:
        self.settings, self.origin = load_settings(settings)
        self.progress = progress

    @property
    def home(self) -> str:
        return self.settings.home

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, created and migrated when needed."""
        from .catalog import open_catalog

        return open_catalog(self.settings.catalog, user=self.settings.user, network=self.settings.network_catalog)

    @cached_property
    def store(self) -> Store:
        """The store of files."""
        from .settings import parse_size
        from .storage import open_store

        return open_store(
            self.settings.store,
            os.path.join(self.home, "caches"),
            durability=self.settings.durability,
            dedup=self.settings.dedup,
            quota_bytes=parse_size(self.settings.quota) if self.settings.quota else None,
            cache_bytes=parse_size(self.settings.cache_limit) if self.settings.cache_limit else None,
        )

    def datastore_path(self, *parts: str) -> str:
        """Return where the default datastore's files lie on this machine."""
        return os.path.join(self.home, "datastores", *parts)

    def open_tree(self, reference: Reference) -> Tree:
        """Open what a reference names.

        Raises
        ------
        NotFound
            If it does not exist, or its kind of source has no plugin yet.
        """
        from .references import DatastorePath
        from .sources import open_tree

        if isinstance(reference, DatastorePath) and reference.path.startswith("LocalUpload/"):
            return self._open_upload(reference.path)
        return open_tree(self, reference)

    def _open_upload(self, path: str) -> Tree:
        """Open what `show` prints as a version's path, ``LocalUpload/<digest>/<root>``: it leads back to the files."""
        _, digest, *rest = path.split("/")
        manifest = self.store.load_manifest(digest)
        if rest not in ([], [manifest.root]):
            raise NotFound(f'Upload {digest[:12]}… has no "{"/".join(rest)}"; it holds "{manifest.root}", as a whole.')
        return self.store.open_tree(manifest)

    def manifest_of(self, model: Model) -> Manifest:
        """Return what a registered version is made of.

        Raises
        ------
        Corrupted
            If the catalog says another size: its row was edited.
        """
        manifest = self.store.load_manifest(model.digest or "")
        if manifest.size_bytes != model.size_bytes:
            raise Corrupted(
                f"The catalog says that {model.name}:{model.version} has {model.size_bytes} bytes, its manifest {manifest.size_bytes}: "
                "the catalog was edited. modelreg store verify names all that differ."
            )
        return manifest

    def open_version(self, name: str, version: str | None, label: str | None) -> Tree:
        """Open the files of a registered version.

        Raises
        ------
        NotFound
            If there is no such version.
        """
        model = self.catalog.get_version(name, version, label)
        return self.store.open_tree(self.manifest_of(model))


def open_workspace(settings: Mapping[str, str] | None = None, *, progress: Progress | None = None) -> Workspace:
    """Build a workspace from settings."""
    return Workspace(settings, progress=progress)
