"""Every way to name a thing: text in, record out, and back. No disk, no network.

Source of the forms: Azure ML CLI v2, path and reference expressions. A reference prints as the text it was parsed
from in its canonical spelling, so ``parse_reference(str(reference)) == reference``.
"""

from __future__ import annotations

from .errors import InvalidReference, nearest
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Reference(Record):
    """Base of all references."""


class LocalPath(Reference):
    """A file or folder on this machine."""

    path: str

    def __str__(self) -> str:
        return self.path if _is_plain_path(self.path) else f"file:{self.path}"


class DatastorePath(Reference):
    """``azureml://datastores/<datastore>/paths/<path>``; ``scope`` keeps the long form's workspace."""

    datastore: str
    path: str
    scope: str = ""

    def __str__(self) -> str:
        return f"azureml://{self.scope}datastores/{self.datastore}/paths/{self.path}"


class JobOutput(Reference):
    """``azureml://jobs/<job>/outputs/<output>/paths/<path>``; the path may be empty."""

    job: str
    output: str
    path: str = ""

    def __str__(self) -> str:
        return f"azureml://jobs/{self.job}/outputs/{self.output}" + (f"/paths/{self.path}" if self.path else "")


class MlflowRun(Reference):
    """``runs:/<run>/<path>``"""

    run: str
    path: str = ""

    def __str__(self) -> str:
        return f"runs:/{self.run}" + (f"/{self.path}" if self.path else "")


class RegisteredModel(Reference):
    """``azureml:<name>:<version>``, ``azureml:<name>@<label>``; neither means the latest."""

    name: str
    version: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        return f"azureml:{self.name}" + (f":{self.version}" if self.version else f"@{self.label}" if self.label else "")


class RegistryModel(Reference):
    """``azureml://registries/<registry>/models/<name>/versions/<version>`` or ``…/labels/<label>``."""

    registry: str
    name: str
    version: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        end = f"versions/{self.version}" if self.version else f"labels/{self.label}"
        return f"azureml://registries/{self.registry}/models/{self.name}/{end}"


class EnvironmentName(Record):
    """``azureml:<name>:<version>`` or ``azureml:<name>@<label>`` of an environment; with a registry, the long form."""

    name: str
    version: str | None = None
    label: str | None = None
    registry: str | None = None

    def __str__(self) -> str:
        if self.registry:
            end = f"versions/{self.version}" if self.version else f"labels/{self.label or LATEST}"
            return f"azureml://registries/{self.registry}/environments/{self.name}/{end}"
        return f"azureml:{self.name}" + (f":{self.version}" if self.version else f"@{self.label}" if self.label else "")


class WebAddress(Reference):
    """``https://…``, ``wasbs://…``, ``abfss://…``, ``adl://…`` and Azure's internal ``azureml://feeds/…``."""

    url: str

    def __str__(self) -> str:
        return self.url


LATEST = "latest"
_WEB = ("http", "https", "wasb", "wasbs", "abfs", "abfss", "adl", "s3", "gs")
_SCHEMES = ("azureml:", "runs:", "models:", "file:", "folder:")

# Templates of what follows azureml:// ; <x> takes one segment, <x…> the rest of the text. The first that fits is taken.
_TEMPLATES: tuple[tuple[str, type[Reference]], ...] = (
    ("datastores/<datastore>/paths/<path…>", DatastorePath),
    ("subscriptions/<s>/resourcegroups/<g>/workspaces/<w>/datastores/<datastore>/paths/<path…>", DatastorePath),
    ("jobs/<job>/outputs/<output>/paths/<path…>", JobOutput),
    ("jobs/<job>/outputs/<output>", JobOutput),
    ("jobs/<job>/outputs/<output>/<path…>", JobOutput),
    ("locations/<l>/workspaces/<w>/models/<name>/versions/<version>", RegisteredModel),
    ("models/<name>/versions/<version>", RegisteredModel),
    ("models/<name>/labels/<label>", RegisteredModel),
    ("registries/<registry>/models/<name>/versions/<version>", RegistryModel),
    ("registries/<registry>/models/<name>/labels/<label>", RegistryModel),
)
_ENVIRONMENTS = (
    "registries/<registry>/environments/<name>/versions/<version>",
    "registries/<registry>/environments/<name>/labels/<label>",
    "registries/<registry>/environments/<name>",
    "locations/<l>/workspaces/<w>/environments/<name>/versions/<version>",
    "subscriptions/<s>/resourcegroups/<g>/providers/microsoft.machinelearningservices/workspaces/<w>/environments/<name>/versions/<version>",
)
_ARM = "subscriptions/<s>/resourcegroups/<g>/providers/microsoft.machinelearningservices/workspaces/<w>/models/<name>/versions/<version>"


def parse_reference(text: str) -> Reference:
    """Parse any documented form.

    Raises
    ------
    InvalidReference
        If the text begins like a reference but fits no form; the message shows the form that was probably meant.
    """
    if not text.strip():
        raise InvalidReference("A path or reference is missing.", key="path")
    if _is_plain_path(text):
        return LocalPath(path=text)
    text = text.strip()
    scheme, _, rest = text.partition(":")
    parser = _PARSERS.get(scheme.lower())
    if parser:
        return parser(text, rest)
    if text.lower().startswith("/subscriptions/"):
        return _parse_arm(text, text)
    if rest.startswith("//") and scheme.lower() in _WEB:
        return WebAddress(url=text)
    raise InvalidReference(f'"{text}" is no reference.{nearest(f"{scheme.lower()}:", _SCHEMES)} Prefix a local path with ./', key="path")


def parse_model_name(text: str) -> tuple[str, str | None, str | None]:
    """Split ``churn``, ``churn:2``, ``churn@latest`` or their ``azureml:`` forms into name, version and label.

    Raises
    ------
    InvalidReference
        If the text names something else than a registered model.
    """
    reference = parse_reference(text if text.lower().startswith(("azureml:", "models:", "/subscriptions/")) else f"azureml:{text}")
    if not isinstance(reference, RegisteredModel):
        raise InvalidReference(f'"{text}" names no registered model; write NAME, NAME:VERSION or NAME@LABEL.', key="name")
    return reference.name, reference.version, reference.label


def parse_environment_name(text: str) -> EnvironmentName:
    """Parse what names an environment: ``env``, ``env:3``, ``env@latest``, their ``azureml:`` forms, one of a registry, a resource id.

    Raises
    ------
    InvalidReference
        If the text is none of these.
    """
    form = "azureml:NAME:VERSION, azureml:NAME@LABEL or azureml://registries/REGISTRY/environments/NAME/labels/latest"
    rest = text.strip()
    if rest.lower().startswith("azureml:"):
        rest = rest[len("azureml:") :]
    for template in _ENVIRONMENTS if rest.startswith("/") else ():
        found = _match(template, rest.strip("/"))
        if found:
            named = _registered(text, form, found["name"], version=found.get("version"), label=found.get("label"))
            return EnvironmentName(name=named.name, version=named.version, label=named.label, registry=found.get("registry"))
    if "/" in rest or not rest:
        raise InvalidReference(f'"{text}" names no environment; write {form}.', key="environment")
    named = _parse_short(text, rest)
    return EnvironmentName(name=named.name, version=named.version, label=named.label)


def _is_plain_path(text: str) -> bool:
    """Say whether a text is a path as it stands: one that begins like a path, or has nothing of a scheme."""
    if text.strip().lower().startswith("/subscriptions/"):
        return False
    scheme, sign, _ = text.strip().partition(":")
    if text.startswith((".", "/", "~")) or len(scheme) == 1 or not sign:  # C:\\models is a path too
        return bool(text.strip())
    return "://" not in text and scheme.lower() not in _PARSERS and not nearest(f"{scheme.lower()}:", _SCHEMES)


def _parse_file(text: str, rest: str) -> LocalPath:
    return LocalPath(path=_required(rest.removeprefix("//"), text, "file:./path"))


def _parse_azureml(text: str, rest: str) -> Reference:
    if rest.startswith("//"):
        return _parse_url(text, rest[2:])
    if rest.lower().startswith("/subscriptions/"):
        return _parse_arm(text, rest)
    if rest.startswith("/"):
        raise InvalidReference(f'"{text}" is no reference. Did you mean "azureml:/{rest}"?', key="path")
    return _parse_short(text, rest)


def _parse_short(text: str, rest: str) -> RegisteredModel:
    """Parse ``name``, ``name:version``, ``name@label``; ``name:latest`` is the label, as Azure's articles mean it."""
    form = "azureml:NAME:VERSION or azureml:NAME@LABEL"
    name, at, label = rest.partition("@")
    if at:
        return _registered(text, form, name, label=_required(label, text, form))
    name, sign, version = rest.partition(":")
    return _registered(text, form, name, version=_required(version, text, form) if sign else None)


def _parse_url(text: str, rest: str) -> Reference:
    if rest.startswith("feeds/"):
        return WebAddress(url=text)
    for template, kind in _TEMPLATES:
        found = _match(template, rest)
        if found is not None:
            return _build(kind, found, rest, text)
    raise InvalidReference(f'"{text}" is no reference. Did you mean azureml://{_nearest_form(rest)} ?', key="path")


def _nearest_form(rest: str) -> str:
    forms = [template.replace("…", "") for template, _ in _TEMPLATES]
    head = rest.split("/")[0]
    same = [form for form in forms if form.startswith(f"{head}/")]
    close = [form for form in forms if nearest(head, [form.split("/")[0]])]
    return (same or close or forms)[0]


def _build(kind: type[Reference], found: dict[str, str], rest: str, text: str) -> Reference:
    if kind is RegisteredModel:
        return _registered(text, "azureml:NAME:VERSION", found["name"], version=found.get("version"), label=found.get("label"))
    values = {key: value for key, value in found.items() if key in kind._fields}
    if "path" in values:
        values["path"] = _checked_path(values["path"], text)
    if "s" in found:
        values["scope"] = "/".join(rest.split("/")[:6]) + "/"
    return kind(**values)


def _parse_arm(text: str, rest: str) -> RegisteredModel:
    found = _match(_ARM, rest.strip("/"))
    if found is None:
        raise InvalidReference(f'"{text}" is no resource id of a model; write azureml:/{_ARM}.', key="path")
    return _registered(text, f"azureml:/{_ARM}", found["name"], version=found["version"])


def _parse_run(text: str, rest: str) -> MlflowRun:
    if not rest.startswith("/"):
        raise InvalidReference(f'"{text}" is no reference. Did you mean "runs:/{rest}"?', key="path")
    run, _, path = rest.strip("/").partition("/")
    if run in (".", ".."):
        raise InvalidReference(f'"{text}" is no reference; write runs:/RUN/PATH.', key="path")
    return MlflowRun(run=_required(run, text, "runs:/RUN/PATH"), path=_checked_path(path, text))


def _parse_mlflow_name(text: str, rest: str) -> RegisteredModel:
    """Parse MLflow's ``models:/name/version`` and ``models:/name@alias``."""
    form = "models:/NAME/VERSION or models:/NAME@ALIAS"
    name, at, label = rest.removeprefix("/").partition("@")
    if not rest.startswith("/"):
        raise InvalidReference(f'"{text}" is no reference; write {form}.', key="path")
    if at:
        return _registered(text, form, name, label=_required(label, text, form))
    name, _, version = name.rstrip("/").partition("/")
    return _registered(text, form, name, version=version or None)


def _registered(text: str, form: str, name: str, *, version: str | None = None, label: str | None = None) -> RegisteredModel:
    """Build the reference; a version ``latest`` is the label, since no version may be called so."""
    parts = (_required(name, text, form), version or "", label or "")
    if any(char in part for part in parts for char in ":@/") or any(part != part.strip() for part in parts):
        raise InvalidReference(f'"{text}" is no reference; write {form}.', key="path")
    if version == LATEST:
        return RegisteredModel(name=name, label=LATEST)
    return RegisteredModel(name=name, version=version, label=label)


def _match(template: str, text: str) -> dict[str, str] | None:
    """Match text against a template, segment by segment; fixed segments in any case."""
    wanted, given = template.split("/"), text.split("/")
    found: dict[str, str] = {}
    for index, segment in enumerate(wanted):
        if segment.endswith("…>"):
            found[segment[1:-2]] = "/".join(given[index:])
            return found if index < len(given) else None
        if index >= len(given) or given[index] in ("", ".", ".."):
            return None
        if segment.startswith("<"):
            found[segment[1:-1]] = given[index]
        elif segment != given[index].lower():
            return None
    return found if len(given) == len(wanted) or given[len(wanted) :] == [""] else None


def _checked_path(path: str, text: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in path or "\0" in path:
        raise InvalidReference(f'"{text}" leaves its place: a path here has no "..", no backslash.', key="path")
    return "/".join(parts)


def _required(value: str, text: str, form: str) -> str:
    if not value:
        raise InvalidReference(f'"{text}" is no reference; write {form}.', key="path")
    return value


_PARSERS: dict[str, Callable[[str, str], Reference]] = {
    "azureml": _parse_azureml,
    "runs": _parse_run,
    "models": _parse_mlflow_name,
    "file": _parse_file,
    "folder": _parse_file,
}
