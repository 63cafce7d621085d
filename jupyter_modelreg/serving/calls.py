"""What stands between the protocols, the model and other deployments: a route, a call, a served model.

A *wire* is one protocol's format, without state: it reads a request into a `Call`, writes what the model returned, and
words failures. `App` (:mod:`.app`) looks up the route, lets the router choose the deployment, and hands the call to the
model's batcher, which may join it with others of an equal ``key``. Wires know nothing of keys, limits, threads or batches.

A protocol's module has ``routes(models: list[ServedModel]) -> Routes``: whole paths, with the names of the models in them,
to methods to what answers. They are known at the start, so that a request costs one look-up. A path that ends in ``*``
takes what begins so and has no entry of its own, to say in the protocol's words that there is no such thing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence
    from typing import Any, Protocol

    from ..entities.model import Signature
    from .http import Request, Response
    from .scripts import Script

    class Wire(Protocol):
        """One protocol's format."""

        def read(self, request: Request, model: ServedModel) -> Call:
            """Read a request; called in the loop's thread, for a large body in the model's.

            Raises
            ------
            InvalidInput
                If the body is at fault: answered with ``fail(message, 400)``.
            Unacceptable
                If another status says better what is wrong, such as 415.
            """
            ...

        def write(self, value: Any, call: Call, model: ServedModel) -> Response:
            """Write what the model returned for one call: its own rows, when it was joined with others.

            Called in the thread in which the model ran.

            Raises
            ------
            Unwritable
                If the format cannot hold it: answered as a failure of the model.
            """
            ...

        def fail(self, message: str, status: int) -> Response:
            """Word a failure: 400, 404, 405, 408, 415, 429, 500 (the model's or script's own), 503."""
            ...

    class Router(Protocol):
        """Which deployment answers, and how those that are elsewhere are asked. Requests that were forwarded do not come by."""

        def choose(self, request: Request) -> str:
            """Return the deployment's name, by header or weight; ``request.mirror`` names another that shall get a copy.

            Raises
            ------
            NotFound
                If no deployment has the name that was asked for, or none has traffic; the message is for the caller.
            """
            ...

        async def ask_everyone(self, request: Request) -> dict[tuple[str, str], Response | None]:
            """Ask every ready instance, by deployment and number; None where one does not answer."""
            ...

        def forward(self, request: Request, deployment: str, fail: Callable[[str, int], Response]) -> Awaitable[Response]:
            """Ask an instance of another deployment; its answer goes out as it is. ``fail`` words what goes wrong on the way."""
            ...

        def copy(self, request: Request, response: Response, deployment: str) -> None:
            """Send a copy of a request that this deployment answered to its mirror."""
            ...

        def metrics_text(self) -> str:
            """Return what is counted of mirrors in Prometheus' text format."""
            ...

    class Collector(Protocol):
        """Takes note of requests and answers; it returns at once and may drop them."""

        def offer(self, request_id: str, inputs: Any, outputs: Any, request: Request, response: Response) -> None:
            """Note one answered call: what the model was given and what it returned, of that call only."""
            ...

        def metrics_text(self, deployment: str) -> str:
            """Return its counts in Prometheus' text format."""
            ...

    Plain = Callable[[Request], Response | Awaitable[Response]]
    Routes = dict[str, dict[str, "Route"]]


class ServedModel:
    """A model or scoring script that answers, and what is known of it.

    Parameters
    ----------
    predictor
        Called with a `Call`'s ``inputs``; its ``wants`` says what they are: ``frame``, ``array`` or ``tensors``.
    script
        Called with the body's text; one of the two is None.
    """

    __slots__ = ("input_example", "name", "params", "predictor", "script", "signature", "version", "wants")

    def __init__(
        self,
        name: str,
        version: str = "1",
        *,
        predictor: Any = None,
        script: Script | None = None,
        signature: Signature | None = None,
        input_example: Any = None,
    ) -> None:
        self.name, self.version, self.predictor, self.script = name, version, predictor, script
        self.signature: Signature | None = signature or getattr(predictor, "signature", None)  # what an ONNX graph declares
        self.input_example = input_example
        self.wants: str = "text" if predictor is None else predictor.wants
        self.params: Sequence[str] = getattr(predictor, "params", ())  # names of what it takes beside rows

    def predict(self, call: Call) -> Any:
        """Ask the predictor for one call."""
        return self.predictor(call.inputs, call.params) if call.params else self.predictor(call.inputs)

    def members(self) -> list[ServedModel]:
        """Return this model, first, and those of the repository that it is."""
        held = getattr(self.predictor, "members", {})
        named = [ServedModel(name, version, predictor=predictor) for name, (version, predictor) in held.items()]
        return [self, *(model for model in named if not self.is_asked or model.name != self.name)]

    @property
    def is_asked(self) -> bool:
        """Whether it answers itself, and is not a repository of several."""
        return len(getattr(self.predictor, "members", ())) < 2


class Call:
    """What a wire made of one request.

    Parameters
    ----------
    inputs
        What the predictor wants: a DataFrame, an ndarray, or a dict of ndarrays; for a script the body as text.
    rows
        Length of the first axis; 0 when it shall not be joined with others.
    key
        Equal for calls whose inputs may be concatenated: kind, names, dtypes, trailing shape, parameters.
    meta
        What writing the answer needs; only the wire looks at it.
    headers
        The request's, for a script that asks for them.
    params
        What the predictor takes beside its inputs. A call with some is not joined with others.
    """

    __slots__ = ("headers", "inputs", "key", "meta", "params", "rows")

    def __init__(self, inputs: Any, rows: int = 0, key: Hashable = None, meta: Any = None, headers: dict[str, str] | None = None) -> None:
        self.inputs, self.rows, self.key, self.meta, self.headers = inputs, rows, key, meta, headers
        self.params: dict[str, Any] | None = None


class Route:
    """What answers one method of one path: a model through a wire, or ``plain``, a function of the request alone.

    The wire also words what goes wrong before: a wrong method, no deployment with traffic, too many callers.
    """

    __slots__ = ("model", "plain", "wire")

    def __init__(self, wire: Wire, model: ServedModel | None = None, plain: Plain | None = None) -> None:
        self.wire, self.model, self.plain = wire, model, plain


class Unacceptable(Exception):
    """A request that a wire does not take, with the status that says why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class Unwritable(Exception):
    """A model or script returned what the format cannot hold."""
