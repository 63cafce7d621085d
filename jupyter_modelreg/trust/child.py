"""The process that inspects: paths as JSON on standard input, one line ``[verdict, [finding …]]`` a file on standard output."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys

MEMORY_BYTES = 2 << 30  # beside the size of the largest file, whose arrays take addresses but no memory
CPU_SECONDS = 100


def main() -> None:
    """Limit this process, then inspect each file; one that exhausts a limit ends the process, and its line is missing."""
    gc.disable()  # a pickle makes millions of objects and no garbage
    files = json.load(sys.stdin)
    _limit(MEMORY_BYTES + max(os.path.getsize(local) for _, local in files))
    from .formats import inspect_file

    for path, local in files:
        print(json.dumps(inspect_file(path, local)), flush=True)


def _limit(memory_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")  # where memory ends before the limit, this process goes and no other


if __name__ == "__main__":
    main()
