"""Environments: what a job or deployment runs in. This version reads their definition and runs in this kernel's Python.

Source: Azure ML CLI v2, ``environment.schema.json``.
"""

from __future__ import annotations

from ..records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BuildContext(Record):
    """A folder with a Dockerfile."""

    path: str | None = None
    dockerfile_path: str = "Dockerfile"


class Environment(Record):
    """A conda file, an image or a build context under a name."""

    name: str | None = None
    version: str | None = None
    description: str | None = None
    tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    image: str | None = None
    build: BuildContext | None = None
    conda_file: str | dict[str, Any] | None = field(default=None, help="Path of a conda file, or its content.")
    os_type: str | None = field(default=None, choices=("linux", "windows"))
    inference_config: dict[str, Any] | None = None
    datastore: str | None = None
