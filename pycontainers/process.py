"""Process: a program in a container, with subprocess.Popen's habits."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import signal
import struct
import termios
import time
from typing import IO, TYPE_CHECKING, Self, cast

from pycontainers.errors import InvalidArgument, Timeout
from pycontainers.lifecycle import output
from pycontainers.lifecycle.options import stop_signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.streams import Streams


class Process:
    """A running program and the ends of its streams: raw binary files, or None.

    Made by `Container.popen` and `Container.attach`.  With a terminal, `stdin` and `stdout` are its
    two directions.  A context manager that closes the streams and waits; that of `attach` detaches.
    """

    def __init__(
        self,
        running: Running,
        args: tuple[str, ...],
        streams: tuple[IO[bytes] | None, IO[bytes] | None, IO[bytes] | None],
        kill: Callable[[], None],
        life: Life | None = None,
    ) -> None:
        self.args = args
        self.stdin, self.stdout, self.stderr = streams
        self._running = running
        self._kill = kill
        self._life = life  # of a container that is attached to

    @classmethod
    def of(
        cls,
        running: Running,
        args: tuple[str, ...],
        streams: Streams,
        kill: Callable[[], None],
        life: Life | None = None,
    ) -> Self:
        """Take the streams of a program that has been started."""
        if streams.tty:
            streams.take_terminal(running.terminal_fd)
            stdin: IO[bytes] | None = cast("IO[bytes]", Terminal(streams.stdin))
            stdout: IO[bytes] | None = cast("IO[bytes]", Terminal(streams.stdout))
            return cls(running, args, (stdin, stdout, None), kill)
        stdin = None if streams.stdin < 0 else os.fdopen(streams.stdin, "wb", buffering=0)
        stdout, stderr = (
            None if fd < 0 else os.fdopen(fd, "rb", buffering=0)
            for fd in (streams.stdout, streams.stderr)
        )
        return cls(running, args, (stdin, stdout, stderr), kill, life)

    @property
    def pid(self) -> int | None:
        """The process's number on the host, None once it has ended."""
        return self._running.pid()

    @property
    def returncode(self) -> int | None:
        """The exit code, None while the program runs; 128 + n after signal n."""
        return self.poll()

    def poll(self) -> int | None:
        """Give the exit code, None while the program runs."""
        end = self._running.news()
        if end is not None and self._running.lost and self._life is not None:
            found = self._life.state()  # detached, or its supervisor was killed
            return None if found.lives else found.exit_code
        return None if end is None else end.exit.status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, `timeout` seconds at the most, and give the exit code.

        Raises Timeout; the program then goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        end = self._running.wait(timeout)
        if self._running.lost and self._life is not None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return self._life.wait(left)
        return end.exit.status

    def send_signal(self, number: int | str) -> None:
        """Send a signal; ended already is fine."""
        self._running.signal(stop_signal(number))

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program, with all that it started where it has a process tree of its own."""
        self._kill()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program's terminal its new size; raises InvalidArgument without one."""
        if self._life is not None and self._life.options.tty:
            self._running.say({"op": "resize", "rows": rows, "columns": columns})
            return
        if self._running.terminal_fd < 0:
            raise InvalidArgument("resize: the program has no terminal")
        size = struct.pack("4H", rows, columns, 0, 0)
        fcntl.ioctl(self._running.terminal_fd, termios.TIOCSWINSZ, size)

    def detach(self) -> None:
        """Leave a container that is attached to alone: it goes on, with its input open.

        Raises InvalidArgument for a program of `popen`, which nobody else would look after.
        """
        if self._life is None:
            raise InvalidArgument("detach: the program was not attached to but started")
        self._running.say({"op": "detach"})
        self.close()

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Write `input`, read both streams to their end, and wait; gives (stdout, stderr).

        Raises Timeout after `timeout` seconds; the program is killed then.
        """
        kept = output.Stream(), output.Stream()
        readers = {
            _detach(stream): into
            for stream, into in zip((self.stdout, self.stderr), kept, strict=True)
            if stream is not None
        }
        feed = None if self.stdin is None else (_detach(self.stdin), input or b"")
        deadline = None if timeout is None else time.monotonic() + timeout
        self.stdin = self.stdout = self.stderr = None
        late = []

        def expire() -> None:
            late.append(True)
            self.kill()

        ended = lambda: self.poll() is not None  # noqa: E731
        output.exchange(readers, feed, self._running.fileno(), ended, deadline, expire)
        self.wait()
        if late:
            raise Timeout(f"{self.args[0]} did not end within {timeout} s")
        return kept[0].data(), kept[1].data()

    def close(self) -> None:
        """Close the streams."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._life is not None:
                self.detach()
                return
            if error is not None:
                self.kill()
            self.close()
            self.wait()
        finally:
            self._running.close()

    def __repr__(self) -> str:
        code = self.poll()
        state = "running" if code is None else f"exited {code}"
        return f"<Process {self.args[0]} {state}>"


class Terminal(io.RawIOBase):
    """One direction of a terminal's master side; its end is the last user's close (pty(7))."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def writable(self) -> bool:
        """Whether it can be written: yes."""
        return True

    def fileno(self) -> int:
        """Give the descriptor."""
        if self.closed:
            raise ValueError("the terminal is closed")
        return self._fd

    def readinto(self, buffer: object) -> int:
        """Read what is there, at least one byte; 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        try:
            data = os.read(self._fd, len(view))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        view[: len(data)] = data
        return len(data)

    def write(self, data: object) -> int:
        """Write to the program's input."""
        return os.write(self._fd, memoryview(data))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._fd)
        super().close()


def _detach(stream: IO[bytes]) -> int:
    fd = os.dup(stream.fileno())
    stream.close()
    return fd
