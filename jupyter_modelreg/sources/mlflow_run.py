"""The artifacts of an MLflow run as a tree, read by MLflow itself from wherever its tracking store is."""

from __future__ import annotations

import os
import tempfile

from ..errors import InvalidInput, NotFound, Unavailable
from ..references import MlflowRun
from .local import LocalTree, open_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Places


class DownloadedTree(LocalTree):
    """A tree in a folder of its own that goes when the tree does."""

    scratch: tempfile.TemporaryDirectory[str]


class MlflowRunSource:
    """Opens ``runs:/<run>/<path>``; ``MLFLOW_TRACKING_URI`` says where runs are."""

    def open(self, places: Places, reference: MlflowRun) -> LocalTree:
        """Download a run's artifacts and open them.

        Raises
        ------
        NotFound
            If MLflow knows no such run or artifact.
        Unavailable
            If mlflow is not installed or its store does not answer.
        """
        if not reference.path:
            raise InvalidInput(f"{reference} names a whole run; name the model in it, for example {reference}/model", key="path")
        try:
            from mlflow.artifacts import download_artifacts
            from mlflow.exceptions import MlflowException
        except ModuleNotFoundError:
            raise Unavailable(f'{reference} needs mlflow: pip install "jupyter-modelreg[mlflow]"') from None
        scratch = tempfile.TemporaryDirectory(prefix="modelreg-run-")
        try:
            path = download_artifacts(artifact_uri=str(reference), dst_path=scratch.name)
        except MlflowException as error:
            raise NotFound(f"MLflow has no {reference}: {str(error).splitlines()[0]}") from None
        except OSError as error:
            raise NotFound(f"MLflow has no {reference}: {error.strerror or error}") from None
        tree = open_local(path.rstrip("/"))
        kept = DownloadedTree(os.path.join(scratch.name, reference.path.rpartition("/")[2]), tree._files, is_file=tree.is_file)
        kept.scratch = scratch
        return kept
