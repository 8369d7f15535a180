"""The application's side of the workers in a container's files: what they are asked and answer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from pycontainers.errors import (
    Conflict,
    EngineError,
    ImageError,
    InvalidArgument,
    KernelError,
    LaunchError,
    PyContainersError,
    file_error,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pycontainers.lifecycle.launch import Running

_CHUNK: Final = 1 << 20
_PIPE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031


class Jail(Protocol):
    """A container's files, as workers see them: what starts one with the keys of its jail."""

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        """Start a worker; the descriptors stay the caller's."""


class Answer(NamedTuple):
    """What a worker has told, and the descriptor that it has given, else -1."""

    told: dict[str, Any]
    fd: int


def inside(path: str | os.PathLike[str]) -> str:
    """Give a path in a container as workers take it; a relative one is taken from the root.

    Raises InvalidArgument.

    >>> inside("etc/passwd")
    '/etc/passwd'
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgument(f"no path in a container: {path!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise InvalidArgument(f"no path in a container: {path!r}") from None
    return text if text.startswith("/") else f"/{text}"


def ask(jail: Jail, work: dict[str, Any], fds: list[int] | None = None) -> Answer:
    """Have a piece of work done; raises KernelError, ImageError, Conflict, EngineError."""
    running = jail.work(work, fds or [])
    try:
        return finish(running)
    finally:
        running.close()


def read(jail: Jail, work: dict[str, Any]) -> bytes:
    """Give all that a worker writes; raises what `ask` raises."""
    return b"".join(stream(jail, work))


def finish(running: Running) -> Answer:
    """Wait for a worker's end and give what it has told; raises what `ask` raises."""
    end = running.wait()
    if running.failure is not None:
        raise _error(running)
    if end.exit.status:
        raise EngineError(f"the worker ended with {end.exit.status}")
    fd, running.terminal_fd = running.terminal_fd, -1
    return Answer(running.answer, fd)


def _error(running: Running) -> PyContainersError:
    """Give the error that a worker has met, as what it is for the caller."""
    failure = running.failure
    if not isinstance(failure, LaunchError):
        return failure or EngineError("the worker told nothing")
    detail, hint = str(failure.strerror), failure.hint or None
    if running.lost:
        return EngineError(detail, hint=hint)
    number = failure.errno or 0
    if number == errno.ESRCH:
        return Conflict("the container has just ended", hint="try again")
    if not number:
        return ImageError(detail, hint=hint)
    return file_error(number, detail.removesuffix(f": {os.strerror(number)}"), hint=hint)


@contextlib.contextmanager
def host(call: str) -> Iterator[None]:
    """Tell of a failure on the host's side as one of this library's."""
    try:
        yield
    except PyContainersError as error:
        if type(error) is KernelError:
            raise file_error(error.errno or 0, error.call, hint=error.hint) from None
        raise
    except OSError as error:
        raise file_error(error.errno or 0, call) from None


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # over the user's share of pipes
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE)
    return reading, writing


def stream(jail: Jail, work: dict[str, Any]) -> Generator[bytes]:
    """Give what a worker writes, piece by piece; it is started by the first `next`."""
    running, reading = writer(jail, work)
    try:
        while data := os.read(reading, _CHUNK):
            yield data
        finish(running)
    finally:
        os.close(reading)
        running.wait()
        running.close()


def writer(jail: Jail, work: dict[str, Any]) -> tuple[Running, int]:
    """Start a worker that writes; give it, and the pipe's end to read from."""
    reading, writing = _pipe()
    try:
        return jail.work(work, [writing]), reading
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)


@contextlib.contextmanager
def reader(jail: Jail, work: dict[str, Any]) -> Iterator[int]:
    """Hold the pipe's end to write to a worker that reads; at the end wait for what it says."""
    reading, writing = _pipe()
    with io.FileIO(writing, "w") as end:
        try:
            running = jail.work(work, [reading])
        finally:
            os.close(reading)
        try:
            with contextlib.suppress(BrokenPipeError):  # then it has ended and tells why
                yield writing
            end.close()
            finish(running)
        finally:
            end.close()
            running.wait()
            running.close()
