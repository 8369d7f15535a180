"""Progress drawn with rich: one bar a layer with its speed, in a terminal or a notebook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pycontainers.distribution.progress import Progress, Reporter
from pycontainers.errors import InvalidArgument

if TYPE_CHECKING:
    from typing import Self

    from pycontainers.distribution.progress import Listener

_WORDS = {
    "download": "downloading",
    "upload": "uploading",
    "unpack": "unpacking",
    "read": "reading",
    "write": "writing",
    "exists": "already there",
    "done": "done",
}


def reporter(progress: Listener | bool | None, what: str) -> Reporter:
    """Give the reporter that a `progress=` option means; None draws where somebody looks."""
    if progress is False:
        return Reporter(None)
    if progress is None or progress is True:
        return Bars(what) if progress or is_looked_at() else Reporter(None)
    if not callable(progress):
        raise InvalidArgument(f"progress: expected a callable, a bool or None, not {progress!r}")
    return Reporter(progress)


def is_looked_at() -> bool:
    """Tell whether rich can draw and somebody looks, in a terminal or a notebook."""
    if "rich" not in sys.modules:
        from importlib.util import find_spec

        if find_spec("rich") is None:
            return False
    return sys.stderr is not None and (sys.stderr.isatty() or in_notebook())


def in_notebook() -> bool:
    """Tell whether this is a cell of a notebook."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return type(found).__name__ == "ZMQInteractiveShell"


class Bars(Reporter):
    """A reporter that draws; a context manager, as the display has to be ended."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Display,
        )

        super().__init__(self._draw)
        self._what = what
        self._tasks: dict[str, Any] = {}
        self._display = Display(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[word]}"),
            console=Console(file=None if in_notebook() else sys.stderr),
        )

    def _draw(self, event: Progress) -> None:
        task = self._tasks.get(event.part)
        if task is None:
            name = event.part.removeprefix("sha256:")[:12]
            task = self._tasks[event.part] = self._display.add_task(name, word="", total=None)
        word = _WORDS[event.action]
        if event.action in ("done", "exists"):
            known = self._display.tasks[self._display.task_ids.index(task)]
            total = known.total or event.total or 1
            self._display.update(task, completed=total, total=total, word=word)
        else:
            known_total = event.total or None
            self._display.update(task, completed=event.current, total=known_total, word=word)

    def __enter__(self) -> Self:
        self._display.console.print(self._what, highlight=False)
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()
