"""Ask a protocol's routes directly: bytes in, bytes out, no server between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_modelreg.entities.model import ColumnSpec, Signature
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.serving.calls import ServedModel, Unacceptable, Unwritable
from jupyter_modelreg.serving.http import Request, Response
from jupyter_modelreg.serving.scripts import Script

if TYPE_CHECKING:
    from jupyter_modelreg.serving.calls import Routes


class Model:
    """A predictor of one function, which keeps what it was given."""

    def __init__(self, wants: str, answer: Callable[[Any], Any] = lambda inputs: inputs) -> None:
        self.wants, self.answer = wants, answer
        self.given: Any = None

    def __call__(self, inputs: Any) -> Any:
        self.given = inputs
        return self.answer(inputs)


def columns(*specs: str) -> Signature:
    """Return a signature of columns, each written ``name:type``, or ``name:type?`` where it may be left out."""
    inputs = [
        ColumnSpec(name=name or None, type=kind.rstrip("?"), required=False if kind.endswith("?") else None)
        for name, _, kind in (spec.partition(":") for spec in specs)
    ]
    return Signature(inputs=inputs)


def tensors(*specs: tuple[str | None, str, list[int]]) -> Signature:
    """Return a signature of tensors: name, type, shape."""
    return Signature(inputs=[ColumnSpec(name=name, type=kind, shape=shape) for name, kind, shape in specs])


def served(wants: str = "array", answer: Callable[[Any], Any] = lambda inputs: inputs, signature: Signature | None = None) -> ServedModel:
    """Return a served model of one function."""
    return ServedModel("m", "3", predictor=Model(wants, answer), signature=signature)


def scripted(run: Callable[..., Any]) -> ServedModel:
    """Return a served scoring script."""
    return ServedModel("m", "3", script=Script(run))


def ask(routes: Routes, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
    """Answer a request by the routes alone, as the app does, without its limits."""
    request = Request(method, path, "", {name.replace("_", "-"): value for name, value in headers.items()}, body)
    wildcards = sorted((key for key in routes if key.endswith("*") and path.startswith(key[:-1])), key=len)
    route = routes[path if path in routes else wildcards[-1]][method]
    if route.plain:
        return route.plain(request)
    assert route.model
    try:
        call = route.wire.read(request, route.model)
        value = route.model.script.score(call.inputs, {}) if route.model.script else route.model.predict(call)
        return route.wire.write(value, call, route.model)
    except InvalidInput as error:
        return route.wire.fail(error.message, 400)
    except Unacceptable as error:
        return route.wire.fail(error.message, error.status)
    except Unwritable as error:
        return route.wire.fail(str(error), 500)
