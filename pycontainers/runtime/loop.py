"""An event loop as small as a supervisor: descriptors with handlers, and moments with acts."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler: TypeAlias = Callable[[int], Any]
    Act: TypeAlias = Callable[[], Any]

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Timer:
    """An act to come; `cancel` keeps it from coming."""

    def __init__(self, when: float, act: Act) -> None:
        self.when = when
        self.act = act

    def cancel(self) -> None:
        """Do nothing when the moment comes; what has happened already stays."""
        self.act = _nothing


class Loop:
    """Calls each descriptor's handler with its events, and each timer's act at its time."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[Timer] = []

    def add(self, fd: int, handler: Handler, mask: int = READ) -> None:
        """Watch a descriptor, which has to be removed before it is closed (epoll(7)).

        One that is watched already gets the new handler and mask.
        """
        if fd in self._handlers:
            self._poll.modify(fd, mask)
        else:
            self._poll.register(fd, mask)
        self._handlers[fd] = handler

    def remove(self, fd: int) -> None:
        """Watch a descriptor no more; one that is not watched is fine."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, act: Act) -> Timer:
        """Call `act` once, that many seconds from now."""
        timer = Timer(time.monotonic() + seconds, act)
        self._timers.append(timer)
        return timer

    def turn(self) -> None:
        """Wait for what comes next, and do it."""
        wait = None
        if self._timers:
            wait = max(0.0, min(timer.when for timer in self._timers) - time.monotonic())
        for fd, events in self._poll.poll(wait):
            handler = self._handlers.get(fd)
            if handler is not None:  # an earlier event of this turn may have removed it
                handler(events)
        if self._timers:
            now = time.monotonic()
            due = [timer for timer in self._timers if timer.when <= now]
            self._timers = [timer for timer in self._timers if timer.when > now]
            for timer in due:
                timer.act()

    def close(self) -> None:
        """Let go of the poller."""
        self._poll.close()


def _nothing() -> None:
    """Be what is left of a cancelled act."""
