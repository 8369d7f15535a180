"""An iterator over a growing file, which any thread can close, also while another waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from pycontainers.kernel.closing import Closing
from pycontainers.lifecycle.trail import Trail
from pycontainers.lifecycle.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


Item = TypeVar("Item")


class Feed(Closing, Generic[Item]):
    """Gives items as they come, to any number of threads, each item to one of them.

    It lets go of its descriptors at its end, by `close`, at the end of its `with` block, and when
    nothing refers to it any more.
    """

    _closed = True  # until it has something to close

    def __init__(
        self,
        directory: str,
        file_name: Callable[[int], str],
        *,
        follow: bool,
        deadline: float | None = None,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the files of that name in a directory, to `follow` them until `ended` or `deadline`.

        `ended` is asked when something in the directory changed.
        """
        # Watched from before the first look, so that nothing comes unseen in between.
        self._waiter = Waiter(directory) if follow else None
        try:
            self._trail = Trail(directory, file_name, grows=follow)
        except BaseException:
            if self._waiter is not None:
                self._waiter.close()
            raise
        self._deadline = deadline
        self._ended = ended
        self._complete = False
        self._turn = threading.Lock()
        self._ready: deque[Item] = deque()
        self._finished = False
        self._closed = False

    def close(self) -> None:
        """End the iteration, in every thread that is in it; closed already is fine."""
        if self._closed:
            return
        self._closed = True
        if self._waiter is not None:
            self._waiter.wake()
        self._tidy()

    def _more(self) -> Iterable[Item] | None:
        """Give further items, maybe none yet, or None at the end; one thread calls it at a time."""
        raise NotImplementedError

    def _block(self) -> bytes:
        """Wait for the next lines of the trail and give them; nothing at the end."""
        while not self._closed:
            if block := self._trail.read():
                return block
            if self._complete:
                break
            # Asked before the last look, so that what came until then is read.
            left = 1.0 if self._deadline is None else self._deadline - time.time()
            self._complete = self._waiter is None or left < 0 or self._ended()
            if self._waiter is not None and not self._complete:
                self._waiter.wait(left + 0.001)
        return b""

    def _fill(self) -> None:
        """Get items ready if there are none, by one thread at a time."""
        with self._turn:
            if self._ready or self._finished or self._closed:
                return
            items = self._more()
            if items is None:
                self._finished = True
            else:
                self._ready.extend(items)

    def _tidy(self) -> None:
        """Let go of the descriptors after the end, unless a thread is busy with them: it will."""
        if (self._closed or self._finished) and self._turn.acquire(blocking=False):
            try:
                self._trail.close()
                if self._waiter is not None:
                    self._waiter.close()
            finally:
                self._turn.release()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._closed:
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            if self._finished and not self._ready:
                break
            try:
                self._fill()
            finally:
                self._tidy()
        raise StopIteration

    def __del__(self) -> None:
        if not self._closed:
            self.close()
