"""What a person would use instead, each as its users call it: libraries in a process that is warm, programs as programs.

MLflow comes with the test extra. `scripts/bench` puts DVC and BentoML into an environment of their own, since their needs
clash with everybody's; restic is Debian's. A peer that is not there is named and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

PEERS_PYTHON = Path(sys.executable).parents[1] / "peers" / "bin" / "python"
QUIET = {
    "BENTOML_DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RESTIC_PASSWORD": "bench",
}

START = """
import os, sys
said = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a peer prints goes to the errors
"""
LOOP = """
import time
print("ready", file=said, flush=True)
for line in sys.stdin:
    operation, first, second = line.rstrip("\\n").split("\\t")
    start = time.perf_counter()
    token = globals()[operation](first, second)
    print(f"{time.perf_counter() - start}\\t{token}", file=said, flush=True)
"""
MLFLOW = """
import logging, os, mlflow
logging.getLogger("alembic").setLevel(logging.ERROR)
logging.getLogger("mlflow").setLevel(logging.ERROR)
mlflow.set_tracking_uri("sqlite:///" + os.path.abspath("mlflow.db"))
experiment = mlflow.create_experiment("bench", artifact_location="file://" + os.path.abspath("artifacts"))
client = mlflow.MlflowClient()
client.create_registered_model("m")
def register(source, name):
    run = client.create_run(experiment).info
    (client.log_artifacts if os.path.isdir(source) else client.log_artifact)(run.run_id, source)
    return client.create_model_version("m", run.artifact_uri, run.run_id).version
def fetch(token, target):
    os.makedirs(target)
    return mlflow.artifacts.download_artifacts(artifact_uri=f"models:/m/{token}", dst_path=target)
"""
BENTOML = """
import os, shutil, bentoml
def register(source, name):
    with bentoml.models.create("m") as model:
        if os.path.isdir(source):
            shutil.copytree(source, model.path_of("files"))
        else:
            shutil.copy(source, model.path)
    return str(model.tag)
def fetch(token, target):
    shutil.copytree(bentoml.models.get(token).path, target)
    return target
"""
DVC = """
import os, shutil
from dvc.repo import Repo
def add(folder, name):
    os.chdir(folder)
    with Repo(".") as repo:
        repo.add("files")
    os.chdir("..")
    return folder
def checkout(folder, target):
    os.chdir(folder)
    with Repo(".") as repo:
        repo.checkout()
    os.chdir("..")
    return folder
def prepare(folder, source):
    Repo.init(folder, no_scm=True).close()
    if os.path.isdir(source):
        shutil.copytree(source, os.path.join(folder, "files"), copy_function=os.link)
    else:
        os.link(source, os.path.join(folder, "files"))
    return folder
def forget(folder, name):
    files = os.path.join(folder, "files")
    shutil.rmtree(files) if os.path.isdir(files) else os.unlink(files)
    return folder
"""


class Worker:
    """A Python that has imported a peer and waits to be asked; it measures itself."""

    def __init__(self, python: Path | str, code: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        environment = {**os.environ, **QUIET, "BENTOML_HOME": str(folder), "HOME": str(folder), "DVC_GLOBAL_CONFIG_DIR": str(folder)}
        self._errors = (folder / "errors.txt").open("w")
        self._process = subprocess.Popen(
            [str(python), "-c", START + code + LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=folder,
            text=True,
        )
        self.folder = folder
        self._answer()

    def ask(self, operation: str, first: Path | str, second: Path | str = "") -> tuple[float, str]:
        """Return the seconds it took and what it said."""
        assert self._process.stdin
        self._process.stdin.write(f"{operation}\t{first}\t{second}\n")
        self._process.stdin.flush()
        seconds, _, token = self._answer().partition("\t")
        return float(seconds), token

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError((self.folder / "errors.txt").read_text()[-600:])
        return line

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class Mlflow:
    """MLflow with SQLite and local artifacts: one artifact of a run, one version."""

    name = "MLflow"

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(sys.executable, MLFLOW, folder)

    def register(self, source: Path) -> tuple[float, str]:
        """Return the seconds that registering took, and what names it."""
        return self._worker.ask("register", source)

    def fetch(self, token: str, target: Path) -> float:
        """Return the seconds that getting a copy took."""
        return self._worker.ask("fetch", token, target)[0]

    def clear(self) -> None:
        """Free the disk."""
        shutil.rmtree(self._worker.folder / "artifacts", ignore_errors=True)

    def close(self) -> None:
        """End it."""
        self._worker.close()


class Bentoml(Mlflow):
    """BentoML's local store: a folder a version."""

    name = "BentoML"

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(PEERS_PYTHON, BENTOML, folder)

    def clear(self) -> None:
        """Free the disk."""
        shutil.rmtree(self._worker.folder / "models", ignore_errors=True)


class Dvc(Mlflow):
    """DVC: `add` takes the files into its cache, `checkout` brings them back."""

    name = "DVC"

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(PEERS_PYTHON, DVC, folder)
        self._count = 0

    def register(self, source: Path) -> tuple[float, str]:
        """Return the seconds of `dvc add`; the files are put into the work tree by links before."""
        self._count += 1
        repository = self._worker.folder / f"repository-{self._count}"
        self._worker.ask("prepare", repository, source)
        return self._worker.ask("add", repository)

    def fetch(self, token: str, target: Path) -> float:
        """Return the seconds of `dvc checkout` into a work tree from which the files went."""
        self._worker.ask("forget", token)
        return self._worker.ask("checkout", token)[0]

    def clear(self) -> None:
        """Free the disk."""
        for repository in self._worker.folder.glob("repository-*"):
            shutil.rmtree(repository, ignore_errors=True)


class Restic:
    """restic's backup into a repository on this disk, which has hashes and flushes, as a program."""

    name = "restic"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._count = 0

    def register(self, source: Path) -> tuple[float, str]:
        """Return the seconds of `restic backup` into a fresh repository."""
        self._count += 1
        repository = self._folder / str(self._count)
        self._run(repository, "init")
        return self._run(repository, "backup", str(source)), str(repository)

    def fetch(self, token: str, target: Path) -> float:
        """Return the seconds of `restic restore`."""
        return self._run(Path(token), "restore", "latest", "--target", str(target))

    def _run(self, repository: Path, *words: str) -> float:
        environment = {**os.environ, **QUIET, "HOME": str(self._folder)}
        start = perf_counter()
        subprocess.run(["restic", "--quiet", "-r", str(repository), *words], check=True, capture_output=True, env=environment)
        return perf_counter() - start

    def clear(self) -> None:
        """Free the disk."""
        for repository in self._folder.iterdir():
            shutil.rmtree(repository, ignore_errors=True)

    def close(self) -> None:
        """Nothing runs."""


def open_peers(folder: Path) -> list[Mlflow | Restic]:
    """Start every peer that is installed; say which is not."""
    folder.mkdir()
    peers: list[Mlflow | Restic] = [Mlflow(folder / "mlflow")]
    if PEERS_PYTHON.exists():
        peers += [Bentoml(folder / "bentoml"), Dvc(folder / "dvc")]
    else:
        print(
            f"BentoML and DVC are left out: there is no {PEERS_PYTHON.parents[1].name} environment; scripts/bench makes it.",
            file=sys.stderr,
        )
    if shutil.which("restic"):
        peers.append(Restic(folder / "restic"))
    else:
        print("restic is left out: it is not installed.", file=sys.stderr)
    return peers
