"""The Jupyter server's door: every operation as a route, and an event when the registry changes.

One handler class serves the whole table. Operations run in threads, each with a workspace of its own, so that a slow
one keeps nobody waiting. Source of the rules: jupyter_server's extension guide; both decorators on every verb, since
being known is not being allowed.
"""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.application import ExtensionApp
from tornado import web
from traitlets import Unicode

from .. import __version__
from ..errors import InvalidInput, ModelRegistryError, NotFound
from ..operations import find_operation
from ..records import Field, fields, from_dict
from ..workspace import Workspace, open_workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..commands import Command
    from ..operations import Operation

CHANGE_EVENT = "https://events.jupyter.org/jupyter_modelreg/change/v1"
MAX_BODY_BYTES = 1 << 20
WATCH_SECONDS = 0.5
AUTH_RESOURCE = "modelreg"
PATH_FIELDS = ("path", "file", "code", "download_path", "request_file")

_EVENT_SCHEMA = {
    "$id": CHANGE_EVENT,
    "version": "1",
    "title": "The registry changed",
    "personal-data": True,
    "type": "object",
    "properties": {"change": {"type": "integer", "description": "Grows with every change."}},
    "required": ["change"],
}


class RegistryHandler(APIHandler):
    """What all routes share: who may come in, errors as JSON, no caching."""

    auth_resource = AUTH_RESOURCE

    def set_default_headers(self) -> None:
        """Keep answers out of caches."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    @property
    def registry(self) -> ModelRegistryExtension:
        """The extension."""
        extension: ModelRegistryExtension = self.settings["modelreg_extension"]
        return extension

    def fail(self, error: ModelRegistryError) -> None:
        """Answer with an error of ours."""
        self.set_status(error.status)
        self.finish(json.dumps({"message": error.message, "error": type(error).__name__, "detail": error.detail}))


class StatusHandler(RegistryHandler):
    """``GET jupyter-modelreg/status``: the version, the home, the number of changes."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer without creating a registry that is not there yet."""
        change = await self.registry.in_thread(self.registry.change_number)
        self.finish(json.dumps({"version": __version__, "home": self.registry.open().home, "change": change}))


class OperationHandler(RegistryHandler):
    """``GET`` or ``POST jupyter-modelreg/<noun>/<verb>``: one row of the table."""

    @web.authenticated
    @authorized
    async def get(self, noun: str, verb: str) -> None:
        """Run an operation that changes nothing; its command stands in the query."""
        await self._run(noun, verb, reads=True)

    @web.authenticated
    @authorized
    async def post(self, noun: str, verb: str) -> None:
        """Run an operation; its command is the JSON body."""
        await self._run(noun, verb, reads=False)

    async def _run(self, noun: str, verb: str, *, reads: bool) -> None:
        try:
            operation = find_operation(noun, verb)
            if operation.reads != reads:
                self.set_header("Allow", "GET" if operation.reads else "POST")
                self.set_status(405)
                self.finish(
                    json.dumps(
                        {"message": f"{noun} {verb} takes {'GET' if operation.reads else 'POST'}.", "error": "InvalidInput", "detail": ""}
                    )
                )
                return
            values = self._query(operation) if reads else self._body()
            command = from_dict(operation.command, self._below_root(values))
            answer = await self.registry.in_thread(self.registry.run, operation, command)
        except ModelRegistryError as error:
            self.fail(error)
            return
        except Exception:
            self.log.exception("%s %s failed", noun, verb)
            self.fail(ModelRegistryError(f"{noun} {verb} failed; the server's log says why."))
            return
        plain = [item.to_dict() for item in answer] if isinstance(answer, list) else answer.to_dict()
        self.finish(json.dumps(plain))
        self.registry.look()

    def _body(self) -> dict[str, Any]:
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMedia("Send application/json.")
        if len(self.request.body) > MAX_BODY_BYTES:
            raise TooLarge(f"The body is larger than {MAX_BODY_BYTES:,} bytes.")
        try:
            values = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise InvalidInput("The body must be a mapping of the command's fields.")
        return values

    def _query(self, operation: Operation) -> dict[str, Any]:
        """Read a command from the query: lists repeat their key, mappings are written ``key=value``."""
        by_name = {item.key: item for item in fields(operation.command)}
        values: dict[str, Any] = {}
        for name in self.request.query_arguments:
            if name != "token":
                texts = self.get_query_arguments(name)
                values[name] = _from_query(by_name[name], texts) if name in by_name else texts[-1]
        return values

    def _below_root(self, values: dict[str, Any]) -> dict[str, Any]:
        """Resolve relative paths against the folder that the file browser shows."""
        from ..references import LocalPath, parse_reference

        def resolve(name: str, value: Any) -> Any:
            if name not in PATH_FIELDS or not isinstance(value, str) or not value or value == "-":
                return value
            if name == "path" and not isinstance(parse_reference(value), LocalPath):
                return value
            return os.path.join(self.registry.root_dir, os.path.expanduser(value))

        return {name: resolve(name, value) for name, value in values.items()}


class UnsupportedMedia(InvalidInput):
    """The body is of another type than JSON."""

    status = 415


class TooLarge(InvalidInput):
    """The body is larger than a command can be."""

    status = 413


def _from_query(item: Field, texts: list[str]) -> Any:
    if isinstance(item.default, dict):
        return dict(text.partition("=")[::2] for text in texts)
    return texts if isinstance(item.default, list) else texts[-1]


class ModelRegistryExtension(ExtensionApp):
    """The extension: routes, settings, and a watcher that tells the panel what others changed."""

    name = "jupyter_modelreg"
    load_other_extensions = True

    home = Unicode("", help="Folder of everything that is kept on this machine; empty means the usual one.").tag(config=True)
    catalog = Unicode("", help="Database of names and versions; empty means the usual one.").tag(config=True)
    store = Unicode("", help="Where files are kept; empty means the usual place.").tag(config=True)

    def initialize_settings(self) -> None:
        """Make the threads and announce the event."""
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="modelreg")
        self._seen: tuple[Any, ...] = ()
        self._number = 0
        self._watching: asyncio.Task[None] | None = None
        self.settings["modelreg_extension"] = self
        assert self.serverapp
        assert self.serverapp.event_logger
        self.serverapp.event_logger.register_event_schema(_EVENT_SCHEMA)

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(
            [
                (r"/jupyter-modelreg/status", StatusHandler),
                (r"/jupyter-modelreg/([a-z-]+)/([a-z-]+)", OperationHandler),
            ]
        )

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def stop_extension(self) -> None:
        """Stop watching; endpoints go on, they are processes of their own."""
        if self._watching:
            self._watching.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def root_dir(self) -> str:
        """The folder that the file browser shows."""
        return str(getattr(self.serverapp, "root_dir", "") or os.getcwd())

    def open(self) -> Workspace:
        """Open a workspace with this server's settings."""
        return open_workspace({name: getattr(self, name) for name in ("home", "catalog", "store")})

    def run(self, operation: Operation, command: Command) -> Any:
        """Run an operation in a workspace of its own."""
        return operation.run(self.open(), command)

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Run something slow off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def change_number(self) -> int:
        """Return the catalog's number of changes; 0 when there is no catalog yet, which is not created for the question."""
        workspace = self.open()
        return workspace.catalog.change_number() if os.path.exists(workspace.settings.catalog) else 0

    def look(self) -> None:
        """Look for changes at once, after this server made one."""
        if self._watching and not self._watching.done():
            asyncio.ensure_future(self._emit_if_changed())  # noqa: RUF006 - it ends by itself

    async def _watch(self) -> None:
        while True:
            try:
                await self._emit_if_changed()
            except Exception:
                self.log.exception("The registry could not be watched")
            await asyncio.sleep(WATCH_SECONDS)

    async def _emit_if_changed(self) -> None:
        stamps = await self.in_thread(self._stamps)
        if stamps != self._seen:
            is_first, self._seen = self._seen == (), stamps
            self._number += 1
            if not is_first and self.serverapp and self.serverapp.event_logger:
                self.serverapp.event_logger.emit(schema_id=CHANGE_EVENT, data={"change": self._number})

    def _stamps(self) -> tuple[Any, ...]:
        """Return what moves when the registry does: its database, and each worker's word and life."""
        workspace = self.open()
        files = [workspace.settings.catalog, f"{workspace.settings.catalog}-wal"]
        stamps: list[Any] = [_stamp(path) for path in files]
        if os.path.isdir(os.path.join(workspace.home, "endpoints")) and os.path.exists(workspace.settings.catalog):
            from ..hosting import observe_endpoint

            for endpoint in workspace.catalog.list_endpoints():
                try:
                    observed = observe_endpoint(workspace, str(endpoint.name))
                except NotFound:  # deleted since it was listed
                    continue
                stamps.append((observed.name, observed.state, observed.scoring_uri))
        return tuple(stamps)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
