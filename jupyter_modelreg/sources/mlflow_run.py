"""The artifacts of an MLflow run as a tree, read by MLflow itself from wherever its tracking store is."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import InvalidInput, NotFound, Unavailable
from ..references import MlflowRun
from .local import LocalTree, open_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Places


class DownloadedTree(LocalTree):
    """A tree in a folder of its own that goes when the tree does."""

    def __init__(self, root: str, tree: LocalTree, scratch: str) -> None:
        super().__init__(root, tree._files, is_file=tree.is_file, place=tree._place)
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)


class MlflowRunSource:
    """Opens ``runs:/<run>/<path>``; ``MLFLOW_TRACKING_URI`` says where runs are."""

    def open(self, places: Places, reference: MlflowRun) -> LocalTree:
        """Download a run's artifacts and open them.

        Raises
        ------
        NotFound
            If MLflow knows no such run or artifact, or there is no tracking store.
        Unavailable
            If mlflow is not installed or its store does not answer.
        """
        if not reference.path:
            raise InvalidInput(f"{reference} names a whole run; name the model in it, for example {reference}/model", key="path")
        scratch = tempfile.mkdtemp(prefix="modelreg-run-")
        try:
            tree = open_local(_download(reference, scratch))
            return DownloadedTree(reference.path.rpartition("/")[2], tree, scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _download(reference: MlflowRun, folder: str) -> str:
    try:
        from mlflow import get_tracking_uri
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError:
        raise Unavailable(f'{reference} needs mlflow: pip install "jupyter-modelreg[mlflow]"') from None
    _check_place(reference, get_tracking_uri())
    place = _without_password(get_tracking_uri())
    try:
        with _reading_file_stores():
            return str(download_artifacts(artifact_uri=str(reference), dst_path=folder)).rstrip("/")
    except MlflowException as error:
        said = str(error).strip().splitlines()[0]
        # MLflow 2 gathers what failed under one error that has no code of its own.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") or os.strerror(errno.ENOENT) in str(error):
            raise NotFound(f"MLflow at {place} has no {reference}: {said}") from None
        raise Unavailable(f"MLflow at {place} cannot give {reference}: {said}") from None
    except OSError as error:
        raise NotFound(f"MLflow at {place} has no {reference}: {error.strerror or error}") from None


def _check_place(reference: MlflowRun, place: str) -> None:
    """Refuse a local tracking store that is not there: MLflow would make an empty one."""
    url = urlsplit(place)
    if url.scheme not in ("sqlite", "file", ""):
        return
    path = url2pathname(url.path.removeprefix("/") if url.scheme == "sqlite" else url.path)
    if path and not os.path.exists(path):
        raise NotFound(f"MLflow has no {reference}: there is no tracking store at {place}. Set MLFLOW_TRACKING_URI.")


def _without_password(place: str) -> str:
    url = urlsplit(place)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() if "@" in url.netloc else place


@contextmanager
def _reading_file_stores() -> Iterator[None]:
    """Let MLflow open runs that lie in folders, which it refuses unless told; we only read."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
