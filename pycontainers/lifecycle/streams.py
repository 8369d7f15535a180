"""The standard streams of a program: pipes straight to the application, or a terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Final

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.lifecycle.launch import Running

PIPE: Final = subprocess.PIPE
STDOUT: Final = subprocess.STDOUT
DEVNULL: Final = subprocess.DEVNULL


class Streams:
    """The ends of a program's streams: `theirs` for the start, and ours, -1 where there is none.

    With a terminal both directions are its master side, which the program hands over.
    """

    def __init__(
        self,
        *,
        stdin: bool = False,
        stdout: int = PIPE,
        stderr: int = PIPE,
        tty: bool = False,
    ) -> None:
        if stdout not in (PIPE, DEVNULL) or stderr not in (PIPE, DEVNULL, STDOUT):
            raise InvalidArgument("stdout and stderr can be PIPE or DEVNULL, stderr also STDOUT")
        self.theirs: list[int] = []
        self.stdin = self.stdout = self.stderr = -1
        self.tty = tty
        if tty:
            return
        try:
            self.theirs.append(self._input(stdin))
            self.stdout, theirs = self._output(stdout)
            self.theirs.append(theirs)
            if stderr == STDOUT:
                self.theirs.append(os.dup(self.theirs[1]))
            else:
                self.stderr, theirs = self._output(stderr)
                self.theirs.append(theirs)
        except BaseException:
            self.close()
            raise

    def started(self) -> None:
        """Let the program's ends go: it has them now."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = []

    def take_terminal(self, fd: int) -> None:
        """Take the terminal's master side as both of our ends."""
        self.stdin, self.stdout = os.dup(fd), os.dup(fd)

    def close(self) -> None:
        """Close what is still ours."""
        self.started()
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.stdin = self.stdout = self.stderr = -1

    def collect(
        self,
        running: Running,
        *,
        feed: bytes | None,
        limit: int,
        deadline: float | None,
        late: Callable[[], None],
    ) -> tuple[output.Stream, output.Stream]:
        """Write `feed` and read both outputs until the program has ended; closes our ends."""
        out, err = output.Stream(limit), output.Stream(limit)
        outputs = {fd: kept for fd, kept in ((self.stdout, out), (self.stderr, err)) if fd >= 0}
        fed = None if self.stdin < 0 else (self.stdin, feed or b"")
        self.stdin = self.stdout = self.stderr = -1
        output.exchange(
            outputs, fed, running.fileno(), lambda: running.news() is not None, deadline, late
        )
        return out, err

    def _input(self, wanted: bool) -> int:
        if not wanted:
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        theirs, self.stdin = os.pipe()
        return theirs

    def _output(self, where: int) -> tuple[int, int]:
        if where == DEVNULL:
            return -1, os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        return os.pipe()


def run_to_end(
    running: Running,
    streams: Streams,
    *,
    feed: bytes | None,
    limit: int,
    timeout: float | None,
    late: Callable[[], None],
) -> tuple[output.Stream, output.Stream]:
    """See a started program through to its end and give its output; raises LaunchError.

    `late` is called once the timeout, in seconds, is over, and on an interruption (as Ctrl-C); it
    has to bring the end about.
    """
    deadline = None if timeout is None else running.began + timeout
    try:
        if streams.tty:
            running.wait_started()
            if running.terminal_fd >= 0:
                streams.take_terminal(running.terminal_fd)
        kept = streams.collect(running, feed=feed, limit=limit, deadline=deadline, late=late)
        running.wait()
        if running.failure is not None:
            raise running.failure
        return kept
    except BaseException:
        with contextlib.suppress(Exception):
            if running.news() is None:
                late()
                running.wait(timeout=30)
        raise
    finally:
        streams.close()
