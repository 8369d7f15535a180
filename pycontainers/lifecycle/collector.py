"""One thread that reads the output of all containers whose streams nobody holds.

It starts with the first stream and ends with the last, so that a process without such containers
has no thread of ours.
"""

from __future__ import annotations

import os
import select
import threading

from pycontainers.lifecycle import output


class Collector:
    """Reads descriptors into streams until their ends, then closes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[int, tuple[output.Stream, threading.Event]] = {}
        self._poller = select.epoll()
        self._thread: threading.Thread | None = None

    def add(self, fd: int, stream: output.Stream) -> threading.Event:
        """Read `fd`, which it owns from now on; give the event of its end."""
        ended = threading.Event()
        os.set_blocking(fd, False)
        with self._lock:
            self._streams[fd] = (stream, ended)
            self._poller.register(fd, select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._read, name="pycontainers-output", daemon=True
                )
                self._thread.start()
        return ended

    def close(self) -> None:
        """Let go of the poller, once every stream has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout=5)
        self._poller.close()

    def _read(self) -> None:
        while True:
            for fd, _ in self._poller.poll():
                stream, ended = self._streams[fd]
                if not output.read_into(fd, stream):
                    self._poller.unregister(fd)
                    with self._lock:
                        del self._streams[fd]
                    os.close(fd)
                    ended.set()
            with self._lock:
                if not self._streams:
                    self._thread = None
                    return
