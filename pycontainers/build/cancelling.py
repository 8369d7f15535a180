"""What a build has going on, so that all of it can be ended at once."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pycontainers.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cancellation:
    """Ends what goes on in other threads when a build has failed, or was interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = threading.Event()
        self._ends: dict[object, Callable[[], object]] = {}

    @property
    def is_called(self) -> bool:
        """Whether the build has failed elsewhere, or was interrupted."""
        return self._called.is_set()

    def call(self) -> None:
        """End all that goes on, and have nothing more begun."""
        self._called.set()
        with self._lock:
            ends = list(self._ends.values())
        for end in ends:
            end()

    def check(self) -> None:
        """Raise BuildError where the build has been cancelled."""
        if self._called.is_set():
            raise BuildError("cancelled, as the build has failed elsewhere or was interrupted")

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until the build is cancelled; raises BuildError then."""
        self._called.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Have `end` called when the build is cancelled meanwhile; raises BuildError then."""
        key = object()
        with self._lock:
            self.check()
            self._ends[key] = end
        try:
            yield
        finally:
            with self._lock:
                del self._ends[key]
            # What was ended tells of that as of a failure of its own.
            self.check()
