"""Programs in a cgroup, for the tests of what a cgroup promises."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pycontainers.kernel import namespaces, processes
from pycontainers.kernel.cgroups.base import Cgroup
from pycontainers.kernel.processes import Exit


class Program:
    """A shell script that runs in a cgroup, born in it where that is possible."""

    def __init__(self, script: str, cgroup: Cgroup, *, born: bool = True) -> None:
        clone_fd = cgroup.clone_fd() if born else None
        join_fds = [] if clone_fd is not None else cgroup.join_fds()
        reader, writer = os.pipe()
        self.pid, self._pidfd = namespaces.clone3(0, cgroup_fd=clone_fd)
        if self.pid == 0:
            try:
                for fd in join_fds:
                    os.write(fd, b"0")
                os.dup2(writer, 1)
                os.dup2(writer, 2)
                os.write(1, b"joined\n")
                os.execv("/bin/sh", ["sh", "-c", script])
            finally:
                os._exit(99)
        os.close(writer)
        self.output_fd = reader
        assert self.line() == "joined"
        for fd in (*join_fds, *([] if clone_fd is None else [clone_fd])):
            os.close(fd)

    def wait(self) -> Exit:
        ended = processes.wait(self._pidfd)
        os.close(self._pidfd)
        os.close(self.output_fd)
        return ended

    def line(self) -> str:
        """Read until a line is whole, or the output has ended."""
        text = b""
        while not text.endswith(b"\n") and (part := os.read(self.output_fd, 1)):
            text += part
        return text.decode().strip()

    def output(self) -> str:
        text = b""
        while part := os.read(self.output_fd, 65536):
            text += part
        return text.decode()


@contextmanager
def running(script: str, cgroup: Cgroup) -> Iterator[Program]:
    program = Program(script, cgroup)
    try:
        yield program
    finally:
        cgroup.thaw()
        cgroup.kill()
        program.wait()


def directory(cgroup: Cgroup, controller: str) -> Path:
    plain = cgroup.plain()
    return Path(plain["directory"] if plain["version"] == 2 else plain["directories"][controller])


def within(seconds: float, true: Callable[[], object]) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
