"""Build the panel where Node.js is; install without it, and say so, where it is not."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any


def build(target_name: str, version: str, **options: Any) -> None:
    """Run the panel's build for hatch.

    Raises
    ------
    RuntimeError
        If Node.js is missing and ``MODELREG_REQUIRE_LABEXTENSION`` is set, as it is where releases are made.
    """
    if shutil.which("node") or shutil.which("nodejs"):
        from hatch_jupyter_builder import npm_builder

        npm_builder(target_name, version, **options)
    elif os.environ.get("MODELREG_REQUIRE_LABEXTENSION"):
        raise RuntimeError("Node.js is needed to build the JupyterLab panel")
    else:
        # pip hides warnings of builds; `modelreg settings check` repeats this.
        print("Node.js not found: installing jupyter-modelreg without its JupyterLab panel.", file=sys.stderr)
