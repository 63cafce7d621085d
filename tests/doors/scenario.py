"""One story, told through every door: what is asked, and how each door asks it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_modelreg import errors
from jupyter_modelreg.operations import find_operation

SCRIPT = """
import json, os

def init():
    global folder
    folder = os.environ["AZUREML_MODEL_DIR"]

def run(raw_data):
    numbers = json.loads(raw_data)["data"]
    if not numbers:
        raise ValueError("no numbers")
    with open(os.path.join(folder, "weights", "scale.txt")) as stream:
        scale = float(stream.read())
    return [number * scale for number in numbers]
"""

# Each step is (noun, verb, values). The steps that must fail stand among the others: an error changes nothing.
STEPS: list[tuple[str, str, dict[str, Any]]] = [
    ("model", "list", {}),
    ("model", "show", {"name": "nobody"}),
    (
        "model",
        "create",
        {"name": "scaler", "path": "one/weights", "tags": {"stage": "dev", "team": "north"}, "description": "Scales"},
    ),
    ("model", "create", {"name": "scaler", "path": "two/weights", "stage": "Production", "tags": {"stage": "prod"}}),
    ("model", "create", {"name": "scaler", "version": "1", "path": "one/weights"}),
    ("model", "create", {"name": "scaler", "version": "1", "path": "two/weights"}),
    ("model", "create", {"name": "scaler", "version": "latest", "path": "two/weights"}),
    ("model", "create", {"name": "no such/name", "path": "one/weights"}),
    ("model", "create", {"name": "other", "path": "three/weights"}),
    ("model", "create", {"name": "other", "path": "one/weights", "type": "mlflow_model"}),
    ("model", "create", {"name": "other"}),
    ("model", "create", {"name": "copy", "path": "azureml:scaler@latest"}),
    ("model", "create", {"name": "copy", "path": "azureml://jobs/j/outputs/o/paths/p"}),
    ("model", "create", {"name": "copy", "path": "azureml://registries/r/models/m/versions/1"}),
    ("model", "list", {}),
    ("model", "list", {"name": "scaler"}),
    ("model", "list", {"tags": {"stage": "prod"}}),
    ("model", "list", {"include_archived": True, "archived_only": True}),
    ("model", "list", {"filter": "tags.stage = 'dev' or version > 1 order by version"}),
    ("model", "list", {"filter": "name like 'sc%' and not tags.team is null", "max_results": 1}),
    ("model", "list", {"filter": "tags.stage = 'dev", "max_results": 1}),
    ("model", "list", {"filter": "stagee = 'x'"}),
    ("model", "list", {"page": "elsewhere"}),
    ("model", "show", {"name": "scaler"}),
    ("model", "show", {"name": "scaler", "label": "latest"}),
    ("model", "show", {"name": "scaler", "label": "champion"}),
    ("model", "show", {"name": "scaler:1"}),
    ("model", "show", {"name": "scaler", "version": "9"}),
    ("model", "show", {"name": "scaler", "version": "1", "label": "latest"}),
    ("model", "update", {"name": "scaler", "version": "1", "set": ["tags.stage=test", "description=Old"]}),
    ("model", "update", {"name": "scaler", "version": "1", "remove": ["tags.team"]}),
    ("model", "update", {"name": "scaler", "version": "1", "set": ["path=elsewhere"]}),
    ("model", "compare", {"name": "scaler"}),
    ("model", "archive", {"name": "scaler", "version": "1"}),
    ("model", "list", {"name": "scaler"}),
    ("model", "archive", {"name": "scaler"}),
    ("model", "list", {}),
    ("model", "restore", {"name": "scaler", "version": "1"}),
    ("model", "restore", {"name": "scaler"}),
    ("model", "restore", {"name": "scaler", "version": "1"}),
    ("model", "list", {"name": "scaler", "archived_only": True}),
    ("model", "download", {"name": "scaler", "label": "latest", "download_path": "down"}),
    ("model", "list-mounts", {}),
    ("model", "mount", {"name": "scaler@latest", "mount_point": "shown"}),
    ("model", "mount", {"name": "scaler", "version": "1", "mount_point": "shown"}),
    ("model", "mount", {"name": "scaler", "mount_point": "one"}),
    ("model", "mount", {"name": "scaler", "mount_point": "draft", "mode": "rw_mount", "kind": "fuse"}),
    ("model", "mount", {"name": "scaler", "mount_point": "draft", "mode": "rw_mount"}),
    ("model", "list-mounts", {}),
    ("model", "commit", {"mount_point": "shown"}),
    ("model", "commit", {"mount_point": "draft"}),
    ("model", "commit", {"mount_point": "draft", "name": "scaled", "tags": {"from": "draft"}}),
    ("model", "unmount", {"mount_point": "shown"}),
    ("model", "unmount", {"mount_point": "draft", "discard": True}),
    ("model", "unmount", {"mount_point": "one"}),
    ("model", "delete", {"name": "scaled", "yes": True}),
    ("model", "checksums", {"name": "scaler", "version": "1"}),
    ("model", "share", {"name": "scaler", "version": "1", "share_with_name": "s", "share_with_version": "1", "registry_name": "r"}),
    ("online-endpoint", "create", {"name": "x"}),
    ("online-endpoint", "create", {"name": "story", "tags": {"a": "b"}}),
    ("online-endpoint", "create", {"name": "story"}),
    ("online-endpoint", "invoke", {"name": "story", "data": "{}"}),
    (
        "online-deployment",
        "create",
        {"name": "blue", "endpoint_name": "story", "model": "azureml:scaler:2", "scoring_script": "code/score.py", "all_traffic": True},
    ),
    ("online-endpoint", "show", {"name": "story"}),
    ("online-endpoint", "start", {"name": "story"}),
    ("online-endpoint", "start", {"name": "nobody"}),
    ("online-endpoint", "update", {"name": "story", "mirror_traffic": "blue=10"}),
    ("online-deployment", "show", {"name": "blue", "endpoint_name": "story"}),
    ("online-deployment", "update", {"name": "blue", "endpoint_name": "story", "set": ["instance_count=0"]}),
    ("online-deployment", "update", {"name": "blue", "endpoint_name": "story", "local": True, "no_wait": True}),
    ("online-deployment", "show", {"name": "green", "endpoint_name": "story"}),
    ("online-endpoint", "invoke", {"name": "story", "data": '{"data": [1, 2]}'}),
    ("online-endpoint", "invoke", {"name": "story", "data": '{"data": []}'}),
    ("online-endpoint", "invoke", {"name": "story", "data": '{"data": [1]}', "deployment_name": "green"}),
    ("model", "deploy", {"name": "scaler", "endpoint_name": "story", "deployment_name": "green", "traffic": 101}),
    ("model", "show", {"name": "scaler", "version": "2"}),
    ("model", "delete", {"name": "scaler", "version": "2", "yes": True}),
    ("online-deployment", "delete", {"name": "blue", "endpoint_name": "story", "yes": True}),
    ("online-endpoint", "update", {"name": "story", "traffic": "blue=0"}),
    ("online-endpoint", "update", {"name": "story", "traffic": "blue=120"}),
    ("online-endpoint", "list", {}),
    ("online-endpoint", "delete", {"name": "story", "yes": True}),
    ("online-endpoint", "list", {}),
    ("model", "delete", {"name": "scaler", "version": "2", "yes": True}),
    ("model", "create", {"name": "scaler", "version": "2", "path": "two/weights"}),
    ("model", "create", {"name": "scaler", "path": "two/weights"}),
    ("model", "export", {"name": "scaler", "version": "3"}),
    ("model", "export", {"name": "scaler", "version": "3"}),
    ("model", "export", {"name": "scaler", "path": "nowhere/at/all"}),
    ("model", "import", {"file": "scaler-3.modelreg"}),
    ("model", "import", {"file": "scaler-3.modelreg", "name": "carried"}),
    ("model", "import", {"file": "scaler-3.modelreg", "version": "1"}),
    ("model", "import", {"file": "scaler-3.modelreg", "name": "no such/name"}),
    ("model", "import", {"file": "code/score.py"}),
    ("model", "import", {"file": "nowhere.modelreg"}),
    ("model", "delete", {"name": "carried", "yes": True}),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "blue", "reference": "training.csv", "window": "9999d"}),
    (
        "monitor",
        "drift",
        {
            **{"endpoint_name": "watched", "deployment_name": "blue", "reference": "training.csv", "window": "9999d"},
            "threshold": {"population_stability_index": 5.5, "normalized_wasserstein_distance": 9.0},
        },
    ),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "blue"}),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "blue", "reference": "nowhere.csv"}),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "green", "reference": "training.csv"}),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "blue", "reference": "training.csv", "window": "soon"}),
    ("monitor", "drift", {"endpoint_name": "watched", "deployment_name": "blue", "reference": "training.csv", "threshold": {"psi": 1.0}}),
    ("monitor", "mirror", {"endpoint_name": "watched", "deployment_name": "green", "window": "9999d"}),
    ("monitor", "mirror", {"endpoint_name": "watched", "deployment_name": "red"}),
    ("store", "stats", {}),
    ("store", "verify", {}),
    ("store", "verify", {"sample": 2}),
    ("store", "verify", {"repair_from": "nowhere"}),
    ("model", "create", {"name": "gone", "path": "code"}),
    ("model", "delete", {"name": "gone", "yes": True}),
    ("store", "clean", {"grace": "soon", "yes": True}),
    ("store", "clean", {"grace": "0", "dry_run": True}),
    ("store", "clean", {"grace": "0", "yes": True}),
    ("store", "clean", {"grace": "0"}),
    ("audit", "list", {"max_results": 3}),
    ("audit", "list", {"model": "scaler"}),
    ("audit", "list", {"max_results": 0}),
    ("environment", "list", {}),
    ("environment", "create", {"name": "tools"}),
    ("environment", "create", {"name": "tools", "conda_file": "code/conda.yaml", "tags": {"team": "north"}, "description": "Tools"}),
    ("environment", "create", {"name": "tools", "conda_file": "code/conda.yaml"}),
    ("environment", "create", {"name": "tools", "image": "python:3.11", "tags": {"team": "south"}}),
    ("environment", "create", {"name": "tools", "version": "1", "image": "python:3.12"}),
    ("environment", "create", {"name": "tools", "image": "python:3.11", "os_type": "windows", "version": "9"}),
    ("environment", "create", {"name": "context", "build_context": "code"}),
    ("environment", "create", {"name": "context", "build_context": "code", "dockerfile_path": "docker/File"}),
    ("environment", "create", {"file": "code/conda.yaml"}),
    ("environment", "create", {"file": "code/environment.yml", "set": ["tags.team=east"]}),
    ("environment", "list", {}),
    ("environment", "list", {"name": "tools"}),
    ("environment", "list", {"name": "tols"}),
    ("environment", "list", {"archived_only": True, "include_archived": True}),
    ("environment", "show", {"name": "tools"}),
    ("environment", "show", {"name": "tools:1"}),
    ("environment", "show", {"name": "azureml:tools@latest"}),
    ("environment", "show", {"name": "tools", "version": "5"}),
    ("environment", "update", {"name": "tools", "version": "1", "set": ["tags.stage=prod", "description=Old"]}),
    ("environment", "update", {"name": "tools", "version": "1", "set": ["image=python"]}),
    ("environment", "archive", {"name": "tools", "version": "1"}),
    ("environment", "list", {"name": "tools", "archived_only": True}),
    ("environment", "restore", {"name": "tools", "version": "1"}),
    ("environment", "share", {"name": "tools", "version": "1", "share_with_name": "s", "share_with_version": "1", "registry_name": "r"}),
    ("environment", "build", {"name": "nobody"}),
    ("environment", "list-built", {}),
    ("environment", "clean", {"older_than": "soon", "yes": True}),
    ("environment", "clean", {"older_than": "0"}),
    ("environment", "delete", {"name": "tools", "version": "2", "yes": True}),
    ("environment", "delete", {"name": "tools", "yes": True}),
    ("environment", "delete", {"name": "tools", "yes": True}),
    ("model", "delete", {"name": "copy", "yes": True}),
    ("model", "list", {}),
    ("datastore", "list", {}),
    ("datastore", "show", {"name": "elsewhere"}),
]

Answer = Any
Door = Callable[[str, str, dict[str, Any]], Answer]


def make_files(folder: Path) -> None:
    """Write what the story registers."""
    for name, scale in (("one", "2"), ("two", "3")):
        (folder / name / "weights").mkdir(parents=True)
        (folder / name / "weights" / "scale.txt").write_text(scale)
    (folder / "training.csv").write_text("age,plan\n" + "".join(f"{20 + number},{'ab'[number % 2]}\n" for number in range(40)))
    asked = [{"age": 40 + number, "plan": "ab"[number % 2]} for number in range(40)]
    sides = {"live": {"deployment": "blue", "status": 200, "body": [1]}, "mirror": {"deployment": "green", "status": 200, "body": [2]}}
    for collection, said in (("model_inputs", asked), ("mirror", {**sides, "is_same": False, "largest_difference": 1.0})):
        collected = folder / "home" / "datastores" / "workspaceblobstore" / "modelDataCollector" / "watched" / "blue" / collection
        collected.mkdir(parents=True)
        row = {"specversion": "1.0", "time": "2026-01-02T03:04:05.678Z", "data": said, "xrequestid": "r"}
        (collected / "0.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "code").mkdir()
    (folder / "code" / "score.py").write_text(SCRIPT)
    (folder / "code" / "conda.yaml").write_text("name: tools\nchannels: [conda-forge]\ndependencies: [python=3.11, {pip: [six]}]\n")
    (folder / "code" / "environment.yml").write_text("name: described\nconda_file: conda.yaml\nimage: ubuntu\n")
    (folder / "code" / "docker").mkdir()
    (folder / "code" / "docker" / "File").write_text("FROM python:3.11\n")


def tell(door: Door) -> list[Answer]:
    """Ask every step and return what came back, without what differs from run to run."""
    return [_scrub(_ask(door, noun, verb, values)) for noun, verb, values in STEPS]


def _ask(door: Door, noun: str, verb: str, values: dict[str, Any]) -> Answer:
    try:
        return door(noun, verb, values)
    except errors.ModelRegistryError as error:
        return {"error": type(error).__name__, "message": error.message}


def ask_python(noun: str, verb: str, values: dict[str, Any]) -> Answer:
    """Ask through ``MLClient``: the same row its methods run."""
    from jupyter_modelreg import MLClient

    client = MLClient()
    answer = client.models._run(noun, verb, **values)
    return [item.to_dict() for item in answer] if isinstance(answer, list) else answer.to_dict()


def ask_shell(noun: str, verb: str, values: dict[str, Any]) -> Answer:
    """Ask through the command line's ``main``, as the installed script calls it."""
    from jupyter_modelreg.doors.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([noun, verb, *_words(noun, verb, values), "-o", "json"])
    if code == 0:
        answer = json.loads(out.getvalue())
        return {"body": answer, "seconds": 0.0} if verb == "invoke" else answer  # the shell prints what the endpoint said, as `az` does
    message = err.getvalue().split("\n\n")[0].strip().removeprefix("ERROR: ")
    return {"exit": code, "message": message}


def magic_door() -> Door:
    """Return a door that asks through line magics in an IPython of its own."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "jupyter_modelreg")

    def ask(noun: str, verb: str, values: dict[str, Any]) -> Answer:
        shown = shell.run_line_magic(find_operation(noun, verb).magic, shlex.join(_words(noun, verb, values)))
        answer = shown.answer
        return [item.to_dict() for item in answer] if isinstance(answer, list) else answer.to_dict()

    return ask


def rest_door(url: str, token: str) -> Door:
    """Return a door that asks a running Jupyter server."""

    def ask(noun: str, verb: str, values: dict[str, Any]) -> Answer:
        operation = find_operation(noun, verb)
        address = f"{url}jupyter-modelreg/{noun}/{verb}"
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        if operation.reads:
            address += "?" + urllib.parse.urlencode(_pairs(values))
            request = urllib.request.Request(address, headers=headers)
        else:
            request = urllib.request.Request(address, json.dumps(values).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = json.load(error)
            return {"status": error.code, "error": said["error"], "message": said["message"]}

    return ask


def _pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += [(key, f"{name}={text}") for name, text in value.items()]
        elif isinstance(value, list):
            pairs += [(key, str(item)) for item in value]
        else:
            pairs.append((key, str(value).lower() if isinstance(value, bool) else str(value)))
    return pairs


def _words(noun: str, verb: str, values: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for key, value in values.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, dict):
            words += [flag, *(f"{name}={text}" for name, text in value.items())]
        elif isinstance(value, list):
            words += [flag, *value]
        else:
            words += [flag, str(value)]
    return words


_VARYING = {
    "memory_bytes",
    "requests_per_second",
    "p50_ms",
    "p95_ms",
    "disk_bytes",
    "created_at",
    "last_modified_at",
    "seconds",
    "pid",
    "port",
    "scoring_uri",
    "openapi_uri",
    "primaryKey",
    "secondaryKey",
}


def _scrub(answer: Answer) -> Answer:
    if isinstance(answer, dict):
        return {key: "…" if key in _VARYING else _scrub(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_scrub(item) for item in answer]
    if isinstance(answer, str):
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", answer)
        # A server reads relative paths against its own folder and says them in full.
        return text.replace(os.environ["MODELREG_HOME"], "HOME").replace(os.getcwd() + "/", "")
    return answer


def error_class(answer: Answer) -> type[errors.ModelRegistryError] | None:
    """Return the class of error in a transcript's answer, or None."""
    if isinstance(answer, dict) and "error" in answer and "message" in answer:
        return getattr(errors, str(answer["error"]))
    return None
