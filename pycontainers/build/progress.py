"""What a build tells while it goes on: steps, their output, times and what was cached."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TextIO

from pycontainers.errors import BuildError

if TYPE_CHECKING:
    from pycontainers.build.instructions import Instruction

_EXPORTING: Final = "exporting the image"

Action = Literal["start", "output", "cached", "done", "error", "cancelled"]


class BuildProgress(NamedTuple):
    """One event of a build's step.

    `step` numbers the steps from 1, `stage` and `name` say what it is, `output` is what its command
    has written just now, `seconds` the time since it began.
    """

    step: int
    stage: str
    name: str
    action: Action
    output: str = ""
    seconds: float = 0.0


Listener = Callable[[BuildProgress], object]


class Step:
    """A step that goes on: what it tells of itself."""

    def __init__(self, progress: Progress, number: int, stage: str, name: str) -> None:
        self._progress = progress
        self._number = number
        self._stage = stage
        self._name = name
        self._began = time.monotonic()
        self._rest = b""
        self.was_cached = False

    def cached(self) -> None:
        """Say that it was made before."""
        self.was_cached = True

    def output(self, data: bytes) -> None:
        """Tell what its command has written, in whole lines as far as they go."""
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        if len(rest) > 1 << 16:
            whole, newline, rest = self._rest + data, b"", b""
        self._rest = rest
        if whole:
            self.tell("output", (whole + newline).decode("utf-8", "replace"))

    def tell(self, action: Action, output: str = "") -> None:
        """Tell that it has got on."""
        seconds = time.monotonic() - self._began
        self._progress.send(
            BuildProgress(self._number, self._stage, self._name, action, output, seconds)
        )

    def end(self, action: Action) -> None:
        """Tell its end, after the last of its output."""
        if self._rest:
            self.tell("output", self._rest.decode("utf-8", "replace"))
        self.tell(action)


class Progress:
    """Numbers the steps of a build and passes on what they tell, one event at a time."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._cancelled = threading.Event()

    def send(self, event: BuildProgress) -> None:
        """Tell an event to whoever listens."""
        if self._listener is not None:
            with self._lock:
                self._listener(event)

    def cancel(self) -> None:
        """Have no further step begun."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the build has failed elsewhere, or was interrupted."""
        return self._cancelled.is_set()

    @contextlib.contextmanager
    def step(self, stage: str, instruction: Instruction | None) -> Iterator[Step]:
        """Tell of a step while it goes on; None is the making of the image itself."""
        if self._cancelled.is_set():
            raise BuildError("cancelled, as another stage has failed")
        name = _EXPORTING if instruction is None else instruction.text
        step = Step(self, next(self._numbers), stage, name)
        step.tell("start")
        try:
            yield step
        except BaseException:
            step.end("cancelled" if self._cancelled.is_set() else "error")
            raise
        step.end("cached" if step.was_cached else "done")


class Plain:
    """Prints a build's events as lines, as `docker build --progress=plain` does."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr

    def __call__(self, event: BuildProgress) -> None:
        """Print one event."""
        start = f"#{event.step} "
        if event.action == "start":
            stage = f"[{event.stage}] " if event.stage else ""
            text = f"{start}{stage}{event.name}"
        elif event.action == "output":
            lines = event.output.rstrip("\n").split("\n")
            text = "\n".join(f"{start}{event.seconds:.3f} {line}" for line in lines)
        elif event.action == "done":
            text = f"{start}DONE {event.seconds:.1f}s"
        else:
            text = f"{start}{event.action.upper()}"
        print(text, file=self._file, flush=True)
