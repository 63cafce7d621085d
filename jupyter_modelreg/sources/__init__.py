"""From a reference to a tree: one source a kind of reference, our own found here, strangers' by entry point."""

from __future__ import annotations

from importlib import import_module

from ..errors import NotFound
from ..plugins import load_plugin, plugin_names
from ..references import DatastorePath, JobOutput, LocalPath, MlflowRun, Reference, RegisteredModel, RegistryModel, WebAddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from ..trees import Tree

    class Places(Protocol):
        """What a source may ask the workspace for."""

        def datastore_path(self, *parts: str) -> str: ...
        def open_version(self, name: str, version: str | None, label: str | None) -> Tree: ...

    class Source(Protocol):
        """Opens one kind of reference."""

        def open(self, places: Places, reference: Any) -> Tree:
            """Raises NotFound if what is named is not there."""
            ...


# Reference kind -> (plugin name, our own class). Entry points are slow to read, so ours are found without them.
_SOURCES: dict[type[Reference], tuple[str, str]] = {
    LocalPath: ("local", "local:LocalSource"),
    DatastorePath: ("datastore", "datastore:DatastoreSource"),
    MlflowRun: ("mlflow_run", "mlflow_run:MlflowRunSource"),
    RegisteredModel: ("registered", "registered:RegisteredSource"),
    JobOutput: ("job_output", ""),
    RegistryModel: ("registry", ""),
    WebAddress: ("web", ""),
}

_MISSING = {
    JobOutput: 'There is no job "{reference.job}"; jobs come in a later version. Register the folder of the output instead.',
    RegistryModel: 'There is no registry "{reference.registry}"; registries come in a later version.',
    WebAddress: "{reference} is not on this machine; download it and register the file.",
}


def open_tree(places: Places, reference: Reference) -> Tree:
    """Open what a reference names.

    Raises
    ------
    NotFound
        If it is not there, or nothing here opens this kind of reference yet.
    """
    name, ours = _SOURCES[type(reference)]
    if ours:
        module, kind = ours.split(":")
        source: Source = getattr(import_module(f".{module}", __package__), kind)()
    elif name in plugin_names("jupyter_modelreg.sources"):
        source = load_plugin("jupyter_modelreg.sources", name)
    else:
        raise NotFound(_MISSING[type(reference)].format(reference=reference))
    return source.open(places, reference)
