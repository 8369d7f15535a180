"""Programs timed from outside: from posix_spawn to the end of the process."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from benchmarks.scratch import BenchmarkError, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def timed(argv: list[str], log: Path, *, env: Mapping[str, str] | None = None) -> float:
    """Run a program without input, its output dropped and its errors in `log`; give the seconds.

    posix_spawn does not copy this process's page tables, so that its size counts for nothing.
    Raises BenchmarkError where the program fails.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    start = time.perf_counter()
    # In a process group of its own: a Ctrl-C that ended bwrap alone would leave its child behind.
    pid = os.posix_spawn(
        argv[0], argv, os.environ if env is None else env, file_actions=actions, setpgroup=0
    )
    try:
        _, status = os.waitpid(pid, 0)
    except BaseException:
        with uninterrupted():
            os.waitpid(pid, 0)
        raise
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        tail = log.read_text(errors="replace")[-500:].strip()
        raise BenchmarkError(f"{' '.join(argv)} ended with {code}: {tail}")
    return seconds
