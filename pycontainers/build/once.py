"""What several threads of a build need and one of them makes, while the others wait for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_Made = TypeVar("_Made")


class Once(Generic[_Made]):
    """Things by their keys, each made by whoever asks first; an error is raised for all who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, Future[_Made]] = {}

    def get(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Give what `make` has made for the key, now or before.

        >>> once = Once[int]()
        >>> once.get("a", lambda: 1), once.get("a", lambda: 2)
        (1, 1)
        """
        with self._lock:
            future = self._known.get(key)
            first = future is None
            if future is None:
                future = self._known[key] = Future()
        if first:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()
