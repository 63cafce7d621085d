"""Containers that deployments run in, by Podman or Docker where one of them answers.

An instance starts its container as its child, waits until it is ready and passes requests on over a port of this machine
alone. A file in the instance's folder names the container before it starts, so that whoever ends the instance, however it
died, finds and removes it too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress

from ..entities.environment import InferenceConfig
from ..errors import InvalidInput, Unavailable
from ..folders import listed, read_json, write_json
from ..records import Record, field, from_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from http.client import HTTPResponse
    from typing import Any

    from ..trees import Tree

ENGINES = {"podman": ["info", "--format", "{{.Version.Version}}"], "docker": ["version", "--format", "{{.Server.Version}}"]}
ASK_SECONDS = 10.0
REMOVE_SECONDS = 30.0
LOOK_SECONDS = 0.05
PROBE_SECONDS = 2.0
SHOWN_LINES = 20
OLDEST = (3, 11)  # that our server in the container runs on
ROOT = "/var/azureml-app"  # Source: Azure ML, where an image finds its model and code
PACKAGE = "/var/modelreg"
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*")
_NOT_PASSED = {"host", "authorization", "content-length", "connection", "transfer-encoding", "accept-encoding", "expect", "keep-alive"}


class Engine(Record):
    """A program that runs containers, and how it names itself: Podman 4.3.1."""

    program: str
    name: str


class ContainerPlan(Record):
    """The container of a deployment's instances."""

    engine: Engine
    image: str = field(help="What the engine knows it by, which never changes.")
    name: str = field(help="What a person knows it by.")
    routes: InferenceConfig | None = field(default=None, help="Of the image's own server; without them ours runs the scoring script.")
    mount: str | None = field(default=None, help="Where NAME/VERSION of the model is seen; /var/azureml-app/azureml-models when left out.")


# --- engine and image -------------------------------------------------------------------------------------------------


def find_engine(wanted: str, notice: Callable[[str], None]) -> Engine | None:
    """Return the first engine that answers; None when none does, which is noticed, or none is wanted.

    Raises
    ------
    Unavailable
        If one is asked for by name and does not answer.
    """
    import shutil

    said = []
    for name in ENGINES if wanted == "auto" else [wanted] if wanted != "none" else []:
        program = shutil.which(name)
        answer = _run([program, *ENGINES[name]], ASK_SECONDS) if program else None
        if program and answer and answer.returncode == 0 and (version := _last_line(answer.stdout)):
            return Engine(program=program, name=f"{name.capitalize()} {version}")
        said.append(f"{name}: {_last_line(answer.stdout) if answer else 'it is not installed'}")
    if wanted not in ("auto", "none"):
        raise Unavailable(f"The setting container_engine is {wanted}, which does not answer ({'; '.join(said)}).")
    if said:
        notice(f"No container engine answers ({'; '.join(said)}).")
    return None


def check_image(image: str) -> None:
    """Refuse what no image is called, options of the engine above all.

    Raises
    ------
    InvalidInput
        If it is no name of an image.
    """
    if not _IMAGE.fullmatch(image):
        raise InvalidInput(f'"{image[:100]}" is no name of an image; write it as registry/name:tag.', key="image")


def find_image(engine: Engine, image: str) -> str:
    """Return the unchanging identity of an image, fetched only when it is not on this machine.

    Raises
    ------
    Unavailable
        If it cannot be fetched.
    """
    check_image(image)
    found = _image_id(engine, image)
    if found:
        return found
    pulled = _run([engine.program, "pull", "--quiet", image], None)
    found = _image_id(engine, image) if pulled.returncode == 0 else None
    if not found:
        raise Unavailable(
            f"The image {image} is not on this machine and {engine.name} cannot fetch it: {_last_line(pulled.stdout)}", detail=pulled.stdout
        )
    return found


def build_image(engine: Engine, tree: Tree, dockerfile: str, folder: str) -> str:
    """Return the image of a build context, built once; who asks at the same time waits.

    Raises
    ------
    Unavailable
        If it cannot be built; the last lines of the building are in ``detail``.
    """
    import tempfile

    from . import _locked

    digest = _digest_of(tree, dockerfile)
    tag, place = f"localhost/modelreg-environment:{digest}", os.path.join(folder, f"image-{digest}.json")
    with _locked(folder, f"image-{digest}"), tempfile.TemporaryDirectory(dir=folder, prefix="context-") as context:
        found = _image_id(engine, tag)
        if found:
            _note_image(engine, tag, found, place)
            return found
        _copy(tree, context)
        built = _run([engine.program, "build", "--tag", tag, "--file", os.path.join(context, dockerfile), context], None)
        found = _image_id(engine, tag) if built.returncode == 0 else None
    if not found:
        lines = "\n".join(built.stdout.splitlines()[-SHOWN_LINES:])
        raise Unavailable(f"{engine.name} cannot build {dockerfile}: {_last_line(built.stdout)}", detail=lines)
    _note_image(engine, tag, found, place)
    return found


class BuiltImage(Record):
    """What is noted of an image that was built here; the note's own time is when it was used last."""

    program: str
    tag: str
    image: str
    size_bytes: int = 0
    made_at: str = ""


def list_images(folder: str) -> list[tuple[str, BuiltImage, float]]:
    """Return what was built, with its digest and when it was used last; no engine is asked."""
    found = []
    for name in listed(folder):
        path = os.path.join(folder, name)
        if name.startswith("image-") and name.endswith(".json") and (values := read_json(path)):
            found.append((name.removesuffix(".json"), from_dict(BuiltImage, values), os.stat(path).st_mtime))
    return found


def remove_image(folder: str, digest: str) -> None:
    """Remove an image that was built, and its note."""
    path = os.path.join(folder, f"{digest}.json")
    held = read_json(path)
    if held:
        _run([held["program"], "rmi", "--force", held["tag"]], REMOVE_SECONDS)
        os.unlink(path)


def _note_image(engine: Engine, tag: str, image: str, path: str) -> None:
    said = _run([engine.program, "image", "inspect", "--format", "{{.Size}}", image], ASK_SECONDS).stdout.strip()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    before = read_json(path)
    noted = BuiltImage(program=engine.program, tag=tag, image=image, size_bytes=int(said) if said.isdigit() else 0, made_at=now)
    write_json(path, noted.replace(made_at=before["made_at"] if before else now).to_dict())


def check_python(engine: Engine, image: str, name: str) -> None:
    """See that an image has a Python that our server runs on.

    Raises
    ------
    InvalidInput
        If it has none, or too old a one.
    """
    words = [engine.program, "run", "--rm", "--pull", "never", *_confined(engine), "--entrypoint", "python3", image]
    found = _run([*words, "-c", "import sys; print('python', *sys.version_info[:2])"], ASK_SECONDS * 6)
    version = re.search(r"^python (\d+) (\d+)$", found.stdout, re.MULTILINE)
    if not version and ("not found" in found.stdout or "no such file" in found.stdout):
        raise InvalidInput(
            f"The image {name} has no python3, which a scoring script needs; an image with a server of its own gives inference_config.",
            key="environment.image",
        )
    if not version:
        raise Unavailable(f"{engine.name} cannot run the image {name}: {_last_line(found.stdout)}", detail=found.stdout)
    if (int(version[1]), int(version[2])) < OLDEST:
        raise InvalidInput(
            f"The image {name} has Python {version[1]}.{version[2]}; a scoring script needs 3.11 or newer.", key="environment.image"
        )


def _image_id(engine: Engine, image: str) -> str | None:
    found = _run([engine.program, "image", "inspect", "--format", "{{.Id}}", image], ASK_SECONDS)
    name = re.search(r"^(?:sha256:)?[0-9a-f]{64}$", found.stdout, re.MULTILINE)  # an engine may warn before or after
    return name[0] if found.returncode == 0 and name else None


def _digest_of(tree: Tree, dockerfile: str) -> str:
    from blake3 import blake3

    held = blake3(dockerfile.encode())
    for item in sorted(tree.files(), key=lambda item: item.path):
        with tree.open(item.path) as stream:
            held.update(f"\0{item.path}\0{blake3(stream.read()).hexdigest()}".encode())
    return held.hexdigest()[:32]


def _copy(tree: Tree, folder: str) -> None:
    import shutil

    for item in tree.files():
        target = os.path.join(folder, *item.path.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with tree.open(item.path) as source, open(target, "wb") as stream:
            shutil.copyfileobj(source, stream)


def _confined(engine: Engine) -> list[str]:
    """Take from a container what a model needs not: it is this user, gains no rights and has none of root's."""
    words = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    if hasattr(os, "getuid"):
        words += ["--user", f"{os.getuid()}:{os.getgid()}"]
        words += ["--userns", "keep-id"] if os.getuid() and engine.name.startswith("Podman") else []
    return words


def _run(words: list[str], seconds: float | None) -> subprocess.CompletedProcess[str]:
    """Run the engine and return what it said, all in ``stdout``; one that hangs has failed."""
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, stdout=f"no answer within {seconds:.0f} seconds")
    except OSError as error:
        return subprocess.CompletedProcess(words, 1, stdout=str(error))


def _last_line(text: str) -> str:
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


# --- a container ------------------------------------------------------------------------------------------------------


def remove_container(folder: str) -> None:
    """End and remove the container of an instance's folder; nothing when it has none."""
    held = read_json(os.path.join(folder, "container.json"))
    if held:
        for words in (["kill", held["name"]], ["rm", "--force", held["name"]]):
            _run([held["program"], *words], REMOVE_SECONDS)


class Container:
    """The container of one instance.

    Parameters
    ----------
    variables
        What the container's environment gets; no key is among it.
    model
        NAME:VERSION, whose folder is ``model_dir``.

    Raises
    ------
    Unavailable
        If its port is taken, or it ends before it is ready.
    InvalidInput
        If a variable has several lines, which no engine's file of variables can hold.
    """

    def __init__(
        self,
        folder: str,
        plan: ContainerPlan,
        *,
        model: str,
        model_dir: str,
        code: str | None,
        script: str | None,
        variables: dict[str, str],
    ) -> None:
        from blake3 import blake3

        self._folder, self._plan = folder, plan
        self._name = f"modelreg-{blake3(folder.encode()).hexdigest()[:20]}"
        self._is_ended = False
        self._outer = _free_port()
        self._inner = plan.routes.scoring_route.port if plan.routes else self._outer
        self._was_taken = bool(plan.routes) and _is_taken(self._inner)
        seen_dir = f"{plan.mount or f'{ROOT}/azureml-models'}/{model.replace(':', '/')}"  # Source: Azure ML, model_mount_path
        mounts = {seen_dir: model_dir}
        given = {**variables, "AZUREML_MODEL_DIR": seen_dir}
        if code:
            mounts[f"{ROOT}/code"] = code
            given |= {"AML_APP_ROOT": f"{ROOT}/code", "AZUREML_ENTRY_SCRIPT": script or ""}
        command: list[str] = []
        if not plan.routes:
            mounts[f"{PACKAGE}/jupyter_modelreg"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
            command = ["-P", "-c", _OURS, f"{ROOT}/code", str(script), str(self._inner), _network()]
            given |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        mounts |= _linked(model_dir)
        self._process = self._start(command, mounts, given)
        self._port = self._find_port()
        self._wait()

    def _start(self, command: list[str], mounts: Mapping[str, str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        program = self._plan.engine.program
        write_json(os.path.join(self._folder, "container.json"), {"program": program, "name": self._name})
        remove_container(self._folder)
        words = [program, "run", "--rm", "--pull", "never", "--name", self._name, "--label", f"modelreg.run={self._folder}"]
        words += [*_confined(self._plan.engine), "--publish", f"127.0.0.1:{self._outer}:{self._inner}"]
        words += ["--env-file", self._write_variables(variables)]
        for target, source in mounts.items():
            words += ["--mount", f"type=bind,source={source},target={target},readonly"]
        words += ["--entrypoint", "python3"] if command else []
        # Without the mark of this instance, whose bearers are killed one by one: the engine's own helper has to see the end.
        env = {name: value for name, value in os.environ.items() if name != "MODELREG_PROCESS"}
        return subprocess.Popen([*words, self._plan.image, *command], stdin=subprocess.DEVNULL, stdout=sys.stderr, env=env)

    def _write_variables(self, variables: Mapping[str, str]) -> str:
        broken = next((name for name, value in variables.items() if "\n" in value or "\n" in name or "=" in name), None)
        if broken is not None:
            raise InvalidInput(f'environment_variables: "{broken[:60]}" has several lines, which a container cannot be given.')
        path = os.path.join(self._folder, "container.env")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.writelines(f"{name}={value}\n" for name, value in variables.items())
        return path

    def _find_port(self) -> int:
        """Return the port that answers here; on the host's own network it is the container's, for others it was published."""
        words = [self._plan.engine.program, "inspect", "--type", "container", "--format", "{{.HostConfig.NetworkMode}}", self._name]
        while (found := _run(words, ASK_SECONDS)).returncode:
            self._check_lives()
            time.sleep(LOOK_SECONDS)
        if "host" not in found.stdout.split("\n"):
            return self._outer
        if self._was_taken:
            self.end()
            raise Unavailable(
                f"Port {self._inner}, on which the image {self._plan.name} serves, is in use, and its container shares this machine's network."
            )
        return self._inner

    def _wait(self) -> None:
        path = self._plan.routes.readiness_route.path if self._plan.routes else "/"
        while not self._answers(path):
            self._check_lives()
            time.sleep(LOOK_SECONDS)

    def _answers(self, path: str) -> bool:
        try:
            return 200 <= self._request(self._connect(PROBE_SECONDS), "GET", path).status < 400
        except (OSError, ValueError):
            return False

    def _check_lives(self) -> None:
        code = self._process.poll()
        if code is not None:
            raise Unavailable(f"{self._ended_with(code)} before it was ready; the log says why.")

    def _ended_with(self, code: int) -> str:
        return f"The container of {self._plan.name} ended with code {code}"

    def watch(self, period: float, threshold: int) -> str:
        """Return why the container ended, or has to, when that happens."""
        route = self._plan.routes.liveness_route.path if self._plan.routes else "/"
        failures = 0
        while failures < threshold:
            try:
                return f"{self._ended_with(self._process.wait(period))}; the log's end follows"
            except subprocess.TimeoutExpired:
                failures = 0 if self._answers(route) else failures + 1
        return f"The container of {self._plan.name} did not answer {route} {threshold} times; the log's end follows"

    def end(self) -> None:
        """End and remove it."""
        remove_container(self._folder)

    # --- requests

    is_batchable = False

    def score(self, text: Any, headers: Any) -> Any:
        """Ask it as a scoring script is asked.

        Raises
        ------
        RuntimeError
            If it fails: what it says is for the log.
        """
        passed = {name: value for name, value in headers.items() if name not in _NOT_PASSED}
        path = self._plan.routes.scoring_route.path if self._plan.routes else "/score"
        response = self._request(self._connect(None), "POST", path, text.encode(), passed)
        kind = response.headers.get("content-type", "application/json")
        if response.status < 500 and kind.startswith("text/event-stream"):
            return _events(response)
        body = response.read()
        if response.status >= 500:
            raise RuntimeError(f"The container answered {response.status}: {body[:1000].decode(errors='replace')}")
        if not self._plan.routes and "x-own-response" not in response.headers:
            import json

            return json.loads(body)
        return Answer(response.status, body, kind, dict(response.headers.items()))

    def _connect(self, seconds: float | None) -> Any:
        from http.client import HTTPConnection

        return HTTPConnection("127.0.0.1", self._port, timeout=seconds)

    def _request(self, connection: Any, method: str, path: str, body: bytes | None = None, headers: Any = None) -> HTTPResponse:
        from http.client import HTTPException

        try:
            connection.request(method, path if path.startswith("/") else f"/{path}", body, {"connection": "close", **(headers or {})})
            response: HTTPResponse = connection.getresponse()
        except HTTPException as error:
            connection.close()
            raise ConnectionError(f"the container broke off: {error!r}") from None
        except OSError:
            connection.close()
            raise
        if method == "GET":
            response.read()
            connection.close()
        return response


class Answer:
    """What a container answered, as Flask's answers look, which scripts return."""

    def __init__(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.status_code, self.content_type = status, kind
        self.headers = {
            name: value for name, value in headers.items() if name.lower() not in ("date", "server", "x-own-response", "keep-alive")
        }
        self._body = body

    def get_data(self) -> bytes:
        """Return the body."""
        return self._body


def _events(response: HTTPResponse) -> Iterator[Any]:
    """Yield the texts of server-sent events as they come, and the values of those that our own server calls json."""
    import json

    held: list[str] = []
    is_json = False
    with response:
        for line in response:
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.startswith("data:"):
                held.append(text[5:].removeprefix(" "))
            elif text == "event: failed":
                raise RuntimeError("The scoring script failed while it streamed; its container printed why.")
            elif text == "event: json":
                is_json = True
            elif not text and held:
                yield json.loads("\n".join(held)) if is_json else "\n".join(held)
                held, is_json = [], False


# What of ours the image's Python runs; our package comes last, so that what the image has wins.
_OURS = f"import sys; sys.path.append({PACKAGE!r}); from jupyter_modelreg.serving.boxed import main; main(*sys.argv[1:])"


def _free_port() -> int:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _is_taken(port: int) -> bool:
    import socket

    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _network() -> str:
    """Return what tells this machine's own network from a container's."""
    try:
        return os.readlink("/proc/self/ns/net")
    except OSError:
        return "other"


def _linked(folder: str) -> dict[str, str]:
    """Return the files outside that links in a folder lead to, each to be seen where it is."""
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return {target: target for path in paths if os.path.islink(path) and (target := os.path.realpath(path))}
