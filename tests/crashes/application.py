"""A program that uses the library, run by a fresh interpreter in a session of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
_PRELUDE = """
import os, signal, sys, threading, time
import pycontainers as pc

engine = pc.Engine(root=sys.argv[1])
image = pc.Image.from_rootfs(sys.argv[2], engine=engine)

def say(*words):
    print(*words, flush=True)
"""


class Application:
    """A running program; what it says line by line is its standard output.

    `program` has `engine`, `image` and `say` to begin with.  A context manager that kills it.
    """

    def __init__(
        self,
        program: str,
        root: Path,
        rootfs: Path,
        *,
        before: Sequence[str] = (),
        flags: Sequence[str] = ("-W", "error"),
        terminal: int | None = None,
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._said = b""
        code = _PRELUDE + textwrap.dedent(program)
        python = [sys.executable, *flags, "-c", code, str(root), str(rootfs)]
        self.process = subprocess.Popen(
            [*before, *python],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )

    def line(self) -> str:
        """Wait for the next line that it says."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._said:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            assert ready, f"the program says nothing\n{self.errors()}"
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, f"the program has ended\n{self.errors()}"
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def lines(self) -> list[str]:
        """Wait for its end, which has to be a good one, and give the rest of what it said."""
        assert self.process.stdout is not None
        rest, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, self.errors()
        return (self._said + rest).decode().splitlines()

    def errors(self) -> str:
        """Give its standard error until now."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def signal_group(self, number: int) -> None:
        """Send a signal to its process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it, not what it has started, and reap it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


def children(pid: int) -> list[int]:
    """Give the processes whose parent is `pid`."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return True
    return state in (b"Z", b"X")
