"""The process that inspects: paths as JSON on standard input, one line ``[verdict, [finding …]]`` a file on standard output."""

from __future__ import annotations

import json
import sys

MEMORY_BYTES = 3 << 30
CPU_SECONDS = 100


def main() -> None:
    """Limit this process, then inspect each file; one that exhausts a limit ends the process, and its line is missing."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from .formats import inspect_file

    for path, local in json.load(sys.stdin):
        print(json.dumps(inspect_file(path, local)), flush=True)


if __name__ == "__main__":
    main()
