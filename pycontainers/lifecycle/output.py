"""What a program writes: read as it comes, kept up to a bound, the rest dropped and counted."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_LIMIT: Final = 64 << 20
_CHUNK: Final = 1 << 18
_PIPE_MAX: Final = 1 << 20  # /proc/sys/fs/pipe-max-size


class Stream:
    """One stream's bytes, at most `limit` of them; `truncated` tells whether more came."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.truncated = False
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Keep what fits."""
        room = self._limit - self._size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        if data:
            self._chunks.append(data)
            self._size += len(data)

    def data(self) -> bytes:
        """Give all that was kept."""
        return b"".join(self._chunks)


def read_into(fd: int, stream: Stream) -> bool:
    """Read once from a descriptor; False at its end (for a terminal: when its last user left)."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise
    stream.add(data)
    return bool(data)


def write_from(fd: int, view: memoryview) -> memoryview | None:
    """Write what the descriptor takes; give the rest, or None when nobody reads any more."""
    try:
        return view[os.write(fd, view[:_CHUNK]) :]
    except BlockingIOError:
        return view
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EIO):
            return None
        raise


def exchange(
    outputs: dict[int, Stream],
    feed: tuple[int, bytes] | None,
    news_fd: int,
    ended: Callable[[], bool],
    deadline: float | None,
    late: Callable[[], None],
) -> None:
    """Read `outputs` and write `feed` until the process has `ended`, then what is left.

    All descriptors given are closed.  `news_fd` is polled for the end; at `deadline` (monotonic
    seconds) `late` is called once, to end the process, whose last output still counts.
    """
    open_fds = set(outputs)
    poller = select.poll()
    poller.register(news_fd, select.POLLIN)
    rest = memoryview(b"")
    try:
        for fd in outputs:
            os.set_blocking(fd, False)
            poller.register(fd, select.POLLIN)
        if feed is not None:
            open_fds.add(feed[0])
            rest = memoryview(feed[1])
            os.set_blocking(feed[0], False)
            poller.register(feed[0], select.POLLOUT)
        finished = False
        while not finished:
            wait = None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000)
            events = poller.poll(wait)
            if deadline is not None and time.monotonic() >= deadline:
                deadline = None
                late()
            for fd, _ in events:
                if fd == news_fd:
                    finished = ended()
                elif fd in outputs:
                    done = not read_into(fd, outputs[fd])
                    if done:
                        _close(fd, open_fds, poller)
                else:
                    left = write_from(fd, rest) if rest else None
                    if left:
                        rest = left
                    else:
                        _close(fd, open_fds, poller)
        for fd in open_fds & set(outputs):
            _drain(fd, outputs[fd])
    finally:
        for fd in open_fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def _close(fd: int, open_fds: set[int], poller: select.poll) -> None:
    poller.unregister(fd)
    open_fds.discard(fd)
    os.close(fd)


def _drain(fd: int, stream: Stream) -> None:
    """Read what lies in a pipe; bounded, as a descriptor passed out may still be written to."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    for _ in range(_PIPE_MAX // _CHUNK + 1):
        if not poller.poll(0) or not read_into(fd, stream):
            return
