"""Waiting for a directory's files to change, and being woken by another thread."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Final

from pycontainers.errors import KernelError
from pycontainers.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Watch

_SAFETY: Final = 1.0  # seconds; a watch's queue may overflow
_WITHOUT_WATCH: Final = 0.1


class Waiter:
    """Wakes when a file of a directory grows or is renamed.  Watches from the first on.

    Where the user has no more watches to give, it looks ten times a second.
    """

    def __init__(self, directory: str) -> None:
        self._guard = threading.RLock()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watch: Watch | None = None
        with contextlib.suppress(KernelError):
            self._watch = Watch()
            self._watch.add(directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
            return
        self._stop_watching()

    def wait(self, timeout: float) -> None:
        """Return after a change, a `wake`, `timeout` seconds, or a second at the most."""
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        if self._watch is None:
            timeout = min(timeout, _WITHOUT_WATCH)
        else:
            poller.register(self._watch, select.POLLIN)
        poller.poll(max(0.0, min(timeout, _SAFETY)) * 1000)
        if self._watch is not None:
            self._watch.drain()

    def wake(self) -> None:
        """Have the `wait` of another thread, or the next one, return at once."""
        with self._guard:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Let go of all descriptors; closed already is fine."""
        with self._guard:
            fd, self._wake_fd = self._wake_fd, -1
        if fd >= 0:
            os.close(fd)
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
