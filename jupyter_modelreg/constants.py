"""The words that code written for Azure ML imports; each is the text that YAML has.

Source: ``azure.ai.ml.constants``, whose names and values these are. Plain text, no enum: what they stand for is text.
"""

from __future__ import annotations


class AssetTypes:
    """Types of models, and of inputs and outputs."""

    URI_FILE = "uri_file"
    URI_FOLDER = "uri_folder"
    MLTABLE = "mltable"
    CUSTOM_MODEL = "custom_model"
    MLFLOW_MODEL = "mlflow_model"
    TRITON_MODEL = "triton_model"


class ModelType:
    """Types of models in the spelling of older code; :class:`~jupyter_modelreg.entities.Model` understands it."""

    CUSTOM = "CustomModel"
    MLFLOW = "MLFlowModel"
    TRITON = "TritonModel"


class InputOutputModes:
    """How an input or output reaches the files."""

    MOUNT = "mount"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    RO_MOUNT = "ro_mount"
    RW_MOUNT = "rw_mount"
    EVAL_MOUNT = "eval_mount"
    EVAL_DOWNLOAD = "eval_download"
    DIRECT = "direct"


class ListViewType:
    """Which models a list shows."""

    ACTIVE_ONLY = "ActiveOnly"
    ARCHIVED_ONLY = "ArchivedOnly"
    ALL = "All"


class Scope:
    """Where an asset lies."""

    WORKSPACE = "workspace"
    REGISTRY = "registry"
