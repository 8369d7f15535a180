"""A build drawn with rich: its running steps with their last output, above them what has ended."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.build.progress import Plain, plain_lines
from pycontainers.distribution import bars
from pycontainers.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    from pycontainers.build.progress import BuildProgress, Listener

_MOST_LINES: Final = 6  # of the output of one step
_PER_SECOND: Final = 10
_CELL_WIDTH: Final = 100
_WORDS: Final = {"cached": "CACHED ", "done": "", "error": "ERROR ", "cancelled": "CANCELLED "}
_STYLES: Final = {"cached": "cyan", "done": "green", "error": "bold red", "cancelled": "yellow"}
_PAGE: Final = '<pre style="line-height: 1.2; overflow-x: auto">{code}</pre>'


def reporter(progress: Listener | bool | None) -> AbstractContextManager[Listener | None]:
    """Give who is told of a build, from its option; None draws where somebody looks."""
    if progress is None and bars.is_looked_at():
        return Drawing()
    if callable(progress):
        return contextlib.nullcontext(progress)
    if progress not in (None, True, False):
        raise InvalidArgument(f"progress: expected a callable, a bool or None, not {progress!r}")
    shown = sys.stderr is not None and sys.stderr.isatty() if progress is None else progress
    return contextlib.nullcontext(Plain() if shown else None)


@attrs.define
class _Running:
    """A step that goes on."""

    title: str
    begun: float
    lines: deque[str]


class Drawing:
    """A listener that draws; a context manager, as the display has to be ended."""

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}
        self._warnings: list[str] = []
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._ended = self._cached = 0
        self._display = _Cell(self._draw) if bars.in_notebook() else _Screen(self._draw)

    def __call__(self, event: BuildProgress) -> None:
        """Show one event."""
        title = plain_lines(event.title)[0]
        with self._lock:
            match event.action:
                case "start":
                    begun = time.monotonic() - event.seconds
                    self._running[event.step] = _Running(title, begun, deque(maxlen=_MOST_LINES))
                case "output":
                    self._running[event.step].lines.extend(plain_lines(event.output)[-_MOST_LINES:])
                case "warning":
                    self._warnings.append(f"{event.name}: {plain_lines(event.output)[0]}")
                case _:
                    del self._running[event.step]
                    self._ended += 1
                    self._cached += event.action == "cached"
        # Not with the lock held: who draws just now waits for it, and holds the display's.
        if event.action in _WORDS:
            word, style = _WORDS[event.action], _STYLES[event.action]
            self._display.print(_timed(f"=> {word}{title}", event.seconds, style))

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from rich.text import Text

        if self._warnings:
            count = len(self._warnings)
            said = [f"{count} warning{'s' if count > 1 else ''}"]
            said += [f" - {warning}" for warning in self._warnings]
            self._display.print(Text("\n".join(said), "yellow"))
        word = "built" if kind is None else "not built"
        self._display.print(self._summary(word))
        self._display.stop()

    def _summary(self, word: str) -> _Row:
        steps = f"{self._ended} step{'' if self._ended == 1 else 's'}, {self._cached} cached"
        return _timed(f"{word}: {steps}", time.monotonic() - self._begun, "bold")

    def _draw(self, height: int) -> Any:
        """Give what goes on, in at most so many lines."""
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        with self._lock:
            running = list(self._running.values())[: max(1, height - 1)]
            if not running:
                return Text("")
            room = max(0, (height - 1 - len(running)) // len(running))
            drawn = [self._summary("building")]
            for one in running:
                drawn.append(_timed(f"=> {one.title}", now - one.begun))
                shown = list(one.lines)[-room:] if room else []
                drawn += [_Row(f"   {line}", "", "dim") for line in shown]
        return Group(*drawn)


@attrs.frozen
class _Row:
    """A line of the terminal's width, with an end that is never cut off.

    Tables of rich can do that too, and take two milliseconds.
    """

    text: str
    end: str = ""
    style: str = "none"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.cells import cell_len, set_cell_size
        from rich.segment import Segment

        width = max(2, options.max_width - len(self.end))
        text = self.text
        if cell_len(text) > width:
            text = set_cell_size(text, width - 1) + "…"
        yield Segment(set_cell_size(text, width) + self.end, console.get_style(self.style))
        yield Segment.line()


def _timed(text: str, seconds: float, style: str = "none") -> _Row:
    return _Row(text, f" {seconds:.1f}s", style)


class _Now:
    """What goes on, as rich asks for it whenever it draws."""

    def __init__(self, draw: Callable[[int], Any], height: Callable[[], int]) -> None:
        self._draw = draw
        self._height = height

    def __rich__(self) -> Any:
        return self._draw(self._height())


class _Screen:
    """A terminal: what has ended scrolls up, what goes on is drawn again and again below."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr)
        self._live = Live(
            _Now(draw, lambda: console.height - 1),
            console=console,
            refresh_per_second=_PER_SECOND,
            transient=True,
        )
        self.print: Callable[[Any], None] = console.print
        self.start: Callable[[], None] = self._live.start
        self.stop: Callable[[], None] = self._live.stop


class _Cell:
    """The output of a notebook's cell, which is replaced as a whole."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        from IPython.display import DisplayHandle

        self._draw = draw
        self._handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
        self._above: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="pycontainers-drawing")

    def print(self, line: Any) -> None:
        self._above.append(line)

    def start(self) -> None:
        self._handle.display(self._html())
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._handle.update(self._html())

    def _refresh(self) -> None:
        while not self._over.wait(1 / _PER_SECOND):
            self._handle.update(self._html())

    def _html(self) -> Any:
        from IPython.display import HTML
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=_CELL_WIDTH, force_jupyter=False)
        console.print(*self._above, self._draw(sys.maxsize), sep="\n", end="")
        page = console.export_html(inline_styles=True, code_format=_PAGE)
        return HTML(page)  # type: ignore[no-untyped-call]
