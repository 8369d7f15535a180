"""What a transfer tells while it runs: one event whenever a part of it has gone on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from typing import Self

_INTERVAL: Final = 0.05  # seconds between two events of one part

Action = Literal["download", "upload", "unpack", "read", "write", "exists", "done"]


class Progress(NamedTuple):
    """One part of a transfer: `current` of `total` bytes; a `total` of 0 is not known.

    `part` is a layer's digest or a name; the last event of each part is "done", or "exists" where
    nothing had to be moved.
    """

    part: str
    action: Action
    current: int
    total: int


Listener = Callable[[Progress], object]


class Reporter:
    """Passes on the events of several threads, one at a time and not too often."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def tell(self, part: str, action: Action, current: int = 0, total: int = 0) -> None:
        """Tell how far a part is; too much of the same is left out."""
        if self._listener is None:
            return
        now = time.monotonic()
        with self._lock:
            ends = action in ("done", "exists") or current == total
            if not ends and now - self._last.get(part, 0.0) < _INTERVAL:
                return
            self._last[part] = now
            self._listener(Progress(part, action, current, total))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
