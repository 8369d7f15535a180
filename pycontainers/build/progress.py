"""What a build tells while it goes on: steps, their output, times and what was cached."""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TextIO

from pycontainers.build.cancelling import Cancellation
from pycontainers.build.instructions import Add, Copy, From, Run, Workdir

if TYPE_CHECKING:
    from pycontainers.build.instructions import Instruction
    from pycontainers.build.parse import Stage
    from pycontainers.distribution.progress import Progress as TransferProgress

_EXPORTING: Final = "exporting the image"
_STEPS: Final = (Run, Copy, Add, Workdir)
# What moves a terminal's cursor, colours it or speaks to it (ECMA-48), whole or broken off.
_CONTROL: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)"
)

Action = Literal["start", "output", "cached", "done", "error", "cancelled", "warning"]


class BuildProgress(NamedTuple):
    """One event of a build.

    `step` numbers the steps from 1, `stage` and `name` say what it is, and `position` of `total`
    which of its stage's; the making of the image has no position, and no stage but a platform.
    `output` is what its command has written just now, `seconds` the time since it began.  The last
    event of each step is "cached", "done", "error" or "cancelled".  A "warning" is of no step, 0:
    `name` is the rule, `output` what it says.
    """

    step: int
    stage: str
    name: str
    action: Action
    output: str = ""
    seconds: float = 0.0
    position: int = 0
    total: int = 0

    @property
    def title(self) -> str:
        """The step as it is shown: its place in the stage, and the instruction."""
        if not self.stage:
            return self.name
        place = f" {self.position}/{self.total}" if self.position else ""
        return f"[{self.stage}{place}] {self.name}"


Listener = Callable[[BuildProgress], object]


def plain_lines(text: str) -> list[str]:
    r"""Give the lines of an output without what would steer a terminal.

    Of what a carriage return writes over, as bars of progress do, the last is given.

    >>> plain_lines("\x1b[31mred\x1b[0m\n 5%\r80%\n")
    ['red', '80%']
    """
    lines = _CONTROL.sub("", text).removesuffix("\n").split("\n")
    shown = (line.rstrip("\r").rpartition("\r")[2].expandtabs() for line in lines)
    return [line if line.isprintable() else _printable(line) for line in shown]


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in line)


class Step:
    """A step that goes on: what it tells of itself."""

    def __init__(self, progress: Progress, event: BuildProgress) -> None:
        self._progress = progress
        self._event = event
        self._began = time.monotonic()
        self._rest = b""
        self.was_cached = self.has_transferred = False

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

    def transfer(self, event: TransferProgress) -> None:
        """Tell what has come of a base image; raises BuildError where the build is cancelled."""
        self._progress.cancellation.check()
        if event.action == "done":
            self.has_transferred = True
            self.output(f"{event.part} done, {event.total} bytes\n".encode())

    def tell(self, action: Action, output: str = "") -> None:
        """Tell that it has got on."""
        seconds = time.monotonic() - self._began
        self._progress.send(self._event._replace(action=action, output=output, seconds=seconds))

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
        self._positions: dict[int, int] = {}  # how many steps each stage has begun
        self._totals: dict[int, int] = {}
        self._prefix = ""
        self.cancellation = Cancellation()

    def named(self, prefix: str) -> Progress:
        """Give one for a build that is a part of this one: its stages' names begin so."""
        other = copy.copy(self)
        other._prefix = prefix
        other._positions, other._totals = {}, {}
        return other

    def send(self, event: BuildProgress) -> None:
        """Tell an event to whoever listens."""
        if self._listener is not None:
            with self._lock:
                self._listener(event)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._listener is not None

    def warn(self, rule: str, text: str) -> None:
        """Tell a warning."""
        self.send(BuildProgress(0, "", rule, "warning", text))

    @contextlib.contextmanager
    def step(self, stage: Stage, instruction: Instruction) -> Iterator[Step]:
        """Tell of an instruction while it is carried out."""
        with self._lock:
            before = self._positions.get(stage.index, 0)
            self._positions[stage.index] = before + 1
            if before == 0:
                first = int(isinstance(instruction, From))
                counted = (isinstance(one, _STEPS) for one in stage.instructions)
                self._totals[stage.index] = first + sum(counted)
            # What the base image left to be done by ONBUILD comes on top.
            total = max(self._totals[stage.index], before + 1)
        with self._step(f"{self._prefix}{stage}", instruction.text, before + 1, total) as step:
            yield step

    @contextlib.contextmanager
    def exporting(self, what: str = _EXPORTING) -> Iterator[Step]:
        """Tell of the making of the image, or something else, while it goes on."""
        with self._step(self._prefix.rstrip(), what, 0, 0) as step:
            yield step

    @contextlib.contextmanager
    def _step(self, stage: str, name: str, position: int, total: int) -> Iterator[Step]:
        self.cancellation.check()
        number = next(self._numbers)
        step = Step(self, BuildProgress(number, stage, name, "start", "", 0.0, position, total))
        step.tell("start")
        try:
            yield step
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            step.end("cancelled" if interrupted or self.cancellation.is_called else "error")
            raise
        step.end("cached" if step.was_cached else "done")


class Plain:
    """Prints a build's events as lines, as `docker build --progress=plain` does."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr

    def __call__(self, event: BuildProgress) -> None:
        """Print one event."""
        start = f"#{event.step} "
        lines = [f"{start}{event.action.upper()}"]
        if event.action == "start":
            lines = [f"{start}{plain_lines(event.title)[0]}"]
        elif event.action == "output":
            lines = [f"{start}{event.seconds:.3f} {line}" for line in plain_lines(event.output)]
        elif event.action == "done":
            lines = [f"{start}DONE {event.seconds:.1f}s"]
        elif event.action == "warning":
            lines = [f"WARNING {event.name}: {plain_lines(event.output)[0]}"]
        print("\n".join(lines), file=self._file, flush=True)
