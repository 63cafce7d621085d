"""The Jupyter server's door: every operation as a route, and an event when the registry changes.

One handler class serves the whole table. Operations run in threads, each with a workspace of its own, so that a slow
one keeps nobody waiting. Source of the rules: jupyter_server's extension guide; both decorators on every verb, since
being known is not being allowed.

Paths are those of the shell: relative ones start at the folder that the file browser shows, absolute ones reach whatever
the server's user can read. That is no wider than what writing means anyway: who may write to ``modelreg`` may deploy
a scoring script, which is code of one's own. Reading takes no path. An authorizer that withholds writing withholds both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.application import ExtensionApp
from tornado import web
from traitlets import Float, Unicode

from .. import __version__, errors
from ..errors import InvalidInput, ModelRegistryError
from ..operations import find_operation
from ..records import Field, fields, from_dict
from ..workspace import Workspace, open_workspace
from .changes import Changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..commands import Command
    from ..operations import Operation

CHANGE_EVENT = "https://events.jupyter.org/jupyter_modelreg/change/v1"
MAX_BODY_BYTES = 17 << 20  # a request to an endpoint, which takes 16 MB, and the words around it
AT_ONCE = 32  # operations; more wait
AUTH_RESOURCE = "modelreg"

_EVENT_SCHEMA = {
    "$id": CHANGE_EVENT,
    "version": "1",
    "title": "The registry changed",
    "personal-data": False,
    "type": "object",
    "properties": {"change": {"type": "integer", "description": "Grows with every change."}},
    "required": ["change"],
}


class RegistryHandler(APIHandler):
    """What all routes share: errors as JSON, no caching. Every verb needs both decorators."""

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

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with ``message``, ``error`` (a class of :mod:`jupyter_modelreg.errors`) and ``detail``; never a traceback."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, web.HTTPError):
            error = ModelRegistryError(error.log_message or responses.get(status_code, "Unknown error"))
        elif isinstance(error, ModelRegistryError):
            self.set_status(error.status)
        else:
            error = ModelRegistryError(f"{self.request.path} failed; the server's log says why.")
        if isinstance(error, BadRequest) and error.allowed:
            self.set_header("Allow", error.allowed)
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        self.finish(json.dumps({"message": error.message, "error": kind, "detail": error.detail}))

    def log_exception(self, kind: Any, value: BaseException | None, trace: Any) -> None:
        """Log what nobody foresaw; the caller's own mistakes stand in the answer."""
        if not isinstance(value, ModelRegistryError) or value.status == 500:
            super().log_exception(kind, value, trace)


class StatusHandler(RegistryHandler):
    """``GET jupyter-modelreg/status``: the version, the home, the number that events carry."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer without creating a registry that is not there yet."""
        workspace = await self.registry.in_thread(self.registry.open)
        self.finish(json.dumps({"version": __version__, "home": workspace.home, "change": self.registry.change}))


class OperationHandler(RegistryHandler):
    """``GET`` or ``POST jupyter-modelreg/<noun>/<verb>``: one row of the table."""

    @web.authenticated
    @authorized
    async def get(self, noun: str, verb: str) -> None:
        """Run an operation that changes nothing; its command stands in the query."""
        operation = self._find(noun, verb, reads=True)
        await self._run(operation, self._query(operation))

    @web.authenticated
    @authorized
    async def post(self, noun: str, verb: str) -> None:
        """Run an operation; its command is the JSON body."""
        operation = self._find(noun, verb, reads=False)
        await self._run(operation, self._body())

    def _find(self, noun: str, verb: str, *, reads: bool) -> Operation:
        operation = find_operation(noun, verb)
        if operation.reads != reads:
            method = "GET" if operation.reads else "POST"
            raise BadRequest(405, f"{noun} {verb} takes {method}.", allowed=method)
        return operation

    async def _run(self, operation: Operation, values: dict[str, Any]) -> None:
        command = from_dict(operation.command, _with_full_paths(operation, values, self.registry.root_dir))
        text, next_page = await self.registry.in_thread(self.registry.run, operation, command)
        if next_page:
            self.set_header("Next-Page", next_page)
        if not operation.reads:
            self.registry.look_now()
        self.finish(text)

    def _body(self) -> dict[str, Any]:
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadRequest(415, "Send application/json.")
        if len(self.request.body) > MAX_BODY_BYTES:
            raise BadRequest(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes.")
        try:
            values = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise InvalidInput("The body must be a mapping of the command's fields.")
        return values

    def _query(self, operation: Operation) -> dict[str, Any]:
        """Read a command from the query: lists repeat their key, mappings are written ``key=value``."""
        by_key = {item.key: item for item in fields(operation.command)}
        # Jupyter's own: the token of a link, and a poll that does not count as activity.
        names = self.request.query_arguments.keys() - {"token", "no_track_activity"}
        return {name: _from_query(by_key.get(name), self.get_query_arguments(name)) for name in names}


class BadRequest(InvalidInput):
    """HTTP itself was used wrongly; ``allowed`` names the method that would be right."""

    def __init__(self, status: int, message: str, *, allowed: str = "") -> None:
        super().__init__(message)
        self.status, self.allowed = status, allowed


def _to_json(plain: Any) -> str:
    """Write JSON as browsers read it: a number that is none, such as a metric's NaN, becomes null."""
    try:
        return json.dumps(plain, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(plain), parse_constant=lambda _: None))


def _from_query(item: Field | None, texts: list[str]) -> Any:
    if item is not None and isinstance(item.default, dict):
        return dict(text.partition("=")[::2] for text in texts)
    return texts if item is not None and isinstance(item.default, list) else texts[-1]


def _with_full_paths(operation: Operation, values: dict[str, Any], folder: str) -> dict[str, Any]:
    """Resolve relative paths against the folder that the file browser shows, those left out too."""
    resolved = dict(values)
    for item in fields(operation.command):
        value = values.get(item.key, item.default)
        is_inside_code = item.name == "scoring_script" and values.get("code")
        if item.values == "path" and isinstance(value, str) and value and not is_inside_code:
            resolved[item.key] = _full_path(item.name, value, folder)
    return resolved


def _full_path(name: str, value: str, folder: str) -> str:
    from ..references import LocalPath, parse_reference

    if name == "file" and value == "-":
        raise InvalidInput("The server has no standard input for you; send the fields themselves.", key=name)
    reference = parse_reference(value) if name == "path" else LocalPath(path=value)
    return os.path.join(folder, os.path.expanduser(reference.path)) if isinstance(reference, LocalPath) else value


class ModelRegistryExtension(ExtensionApp):
    """The extension: routes, settings, and a watch that tells the panel what others changed."""

    name = "jupyter_modelreg"
    load_other_extensions = True

    home = Unicode("", help="Folder of everything that is kept on this machine; empty means the usual one.").tag(config=True)
    catalog = Unicode("", help="Database of names and versions; empty means the usual one.").tag(config=True)
    store = Unicode("", help="Where files are kept; empty means the usual place.").tag(config=True)
    watch_seconds = Float(0.5, help="Time between two looks for changes that others made.").tag(config=True)

    def initialize_settings(self) -> None:
        """Make what the handlers need and announce the event."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._watching: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._running = 0
        self.change = int(time.time())  # grows over restarts too, so that a panel that stayed open notices
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
        """Stop watching. What still runs ends with the server, as in a crash; endpoints go on, being processes of their own."""
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    def current_activity(self) -> int:
        """Return how many operations run, so that nobody culls the server meanwhile."""
        return self._running

    @property
    def root_dir(self) -> str:
        """The folder that the file browser shows."""
        return str(getattr(self.serverapp, "root_dir", "") or os.getcwd())

    def open(self) -> Workspace:
        """Open a workspace with this server's settings."""
        return open_workspace({name: getattr(self, name) for name in ("home", "catalog", "store")})

    def run(self, operation: Operation, command: Command) -> tuple[str, str | None]:
        """Run an operation in a workspace of its own and return its answer as JSON, and what asks for the page behind it."""
        answer = operation.run(self.open(), command)
        text = _to_json([item.to_dict() for item in answer] if isinstance(answer, list) else answer.to_dict())
        return text, getattr(answer, "next_page", None)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run something slow off the event loop."""
        self._running += 1
        try:
            async with self._slots:
                return await _in_daemon(function, *arguments)
        finally:
            self._running -= 1

    def look_now(self) -> None:
        """Look for changes at once, after this server made one."""
        self._wake.set()

    async def _watch(self) -> None:
        changes, trouble = Changes(self.open), ""
        while True:
            self._wake.clear()
            try:
                if await _in_daemon(changes.have_come):  # beside the slots, which slow operations may fill
                    self._emit()
                trouble = ""
            except Exception as error:  # a watch that died would leave every panel stale without a word
                if repr(error) != trouble:  # said once, not twice a second
                    self.log.warning("The registry cannot be watched: %s", error, exc_info=not isinstance(error, ModelRegistryError))
                trouble = repr(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.watch_seconds)

    def _emit(self) -> None:
        self.change += 1
        assert self.serverapp
        assert self.serverapp.event_logger
        self.serverapp.event_logger.emit(schema_id=CHANGE_EVENT, data={"change": self.change})


async def _in_daemon(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread that nobody waits for at exit: a server that is told to stop stops."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not answer.done():  # cancelled meanwhile
            set_it(value)

    def work() -> None:
        try:
            value = function(*arguments)
        except BaseException as error:
            outcome: tuple[Callable[[Any], None], Any] = (answer.set_exception, error)
        else:
            outcome = (answer.set_result, value)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name="modelreg", daemon=True).start()
    return await answer
