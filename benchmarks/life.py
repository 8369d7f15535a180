"""A container's whole life against docker and podman: exec, start and stop, logs, copies, lists.

All take turns in one run.  Everything lies in memory, in a tmpfs of the run's own, so that what is
compared is the engines and not when the disk is written.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from benchmarks.living import (
    COPIES,
    FULL,
    LINES,
    QUICK,
    READ,
    START,
    Amount,
    Living,
    LivingDocker,
    LivingOurs,
    LivingPodman,
    Steps,
)
from benchmarks.measure import TIMES, machine, median
from benchmarks.ours import NAME
from benchmarks.scratch import BenchmarkError, new_scratch, uninterrupted
from pycontainers.kernel import mounts, namespaces

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scratch import Scratch

_EXEC: Final = "exec `/bin/true`"
_KINDS: Final[tuple[type[LivingOurs | LivingDocker | LivingPodman], ...]] = (
    LivingOurs,
    LivingDocker,
    LivingPodman,
)

Samples = dict[str, dict[str, list[float]]]
Act = Callable[[Living], Steps]


class _Measurement:
    """The contestants of one run, what was sampled, and what could not be."""

    def __init__(self, contestants: list[Living]) -> None:
        self._contestants = contestants
        self._order = random.Random(0)
        self.samples: Samples = {}
        self.notes: list[str] = []

    def take(self, part: str, act: Act, rounds: int, *, sparing: bool = False) -> None:
        """Let all take turns, each round in another order; the first does not count.

        The slow ones take part in few rounds where `sparing`.  Who fails in the first is left out.
        """
        print(f"… {part}", file=sys.stderr, flush=True)
        able = [each for each in self._contestants if self._try(part, act, each)]
        for number in range(rounds):
            present = [each for each in able if not sparing or number % each.every == 0]
            for each in self._order.sample(present, len(present)):
                for step, seconds in act(each).items():
                    self.samples.setdefault(step, {}).setdefault(each.name, []).append(seconds)

    def _try(self, part: str, act: Act, contestant: Living) -> bool:
        try:
            act(contestant)
        except BenchmarkError as error:
            if contestant.name == NAME:
                raise
            self.notes.append(f"{contestant.name} is left out of {part}: {error}")
            return False
        return True


def run(*, quick: bool) -> str:
    """Measure all; give the report in Markdown.  Nothing that this made is left afterwards.

    Raises BenchmarkError.
    """
    amount = QUICK if quick else FULL
    with interruptible(), in_memory(), new_scratch() as scratch, contextlib.ExitStack() as stack:
        small, large = _files(scratch, amount)
        contestants = _open(stack, scratch)
        measurement = _Measurement(contestants)
        for each in contestants:
            each.open_container()
        measurement.take("exec", lambda each: {_EXEC: each.execute()}, amount.execs, sparing=True)
        measurement.take("start and stop", lambda each: each.cycle(), amount.rounds)
        measurement.take("writing logs", lambda each: each.write_log(amount.log), amount.rounds)
        measurement.take("reading logs", lambda each: each.read_log(amount.log), amount.rounds)
        for path, what in ((small, _many(amount)), (large, _one(amount))):
            measurement.take(
                f"copying {what}",
                lambda each, path=path, what=what: each.copies(what, path),  # type: ignore[misc]
                amount.rounds,
            )
        print("… many containers", file=sys.stderr, flush=True)
        for each in contestants:
            each.crowd(amount.listed, amount.watched)
        list_, stats = f"list of {amount.listed}", f"stats of {amount.watched}"
        measurement.take("list", lambda each: {list_: each.list_all()}, amount.rounds)
        measurement.take("stats", lambda each: {stats: each.watch()}, amount.rounds)
        versions = ", ".join(each.version() for each in contestants)
        head = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {versions}."
        return _render(head, measurement, amount)


def _open(stack: contextlib.ExitStack, scratch: Scratch) -> list[Living]:
    opened: list[Living] = []
    for kind in _KINDS:
        contestant = kind(scratch)
        stack.callback(_close, contestant)
        opened.append(contestant)
    return opened


def _close(contestant: Living) -> None:
    with uninterrupted():
        contestant.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def in_memory() -> Iterator[None]:
    """Have a tmpfs for the scratch directory, seen by this process and its children only."""
    place = tempfile.gettempdir()
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("tmpfs", place, "tmpfs", data="mode=1777")
    try:
        yield
    finally:
        mounts.umount(place, detach=True)


def _files(scratch: Scratch, amount: Amount) -> tuple[Path, Path]:
    """Make what is copied: a directory of small files, and a large one."""
    small = scratch.new_directory("small")
    for number in range(amount.files):
        (small / f"file{number}").write_bytes(os.urandom(4096))
    large = scratch.directory / "large"
    with large.open("wb") as file:
        for _ in range(amount.file // 1_000_000):
            file.write(os.urandom(1_000_000))
    return small, large


def _many(amount: Amount) -> str:
    return f"{amount.files:,} files of 4 KiB"


def _one(amount: Amount) -> str:
    return f"a file of {amount.file // 1_000_000} MB"


def _render(head: str, measurement: _Measurement, amount: Amount) -> str:
    samples = measurement.samples
    lines = [
        f"| | contestant | runs | median, ms | {TIMES} pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for step, times in samples.items():
        if step == READ + LINES:
            continue
        rows = dict(times)
        if step == READ:
            rows[NAME + LINES] = samples[READ + LINES][NAME]
        what = step.replace("the log", f"a log of {amount.log // 1_000_000} MB")
        own = median(times[NAME])
        for who, values in sorted(rows.items(), key=lambda row: median(row[1])):
            middle = median(values)
            lines.append(
                f"| {what} | {who} | {len(values)} | {middle * 1000:.2f} | {middle / own:.2f} |"
            )
    targets = _targets(samples, amount)
    return "\n\n".join([head, *measurement.notes, "\n".join(lines), "\n".join(targets)])


def _targets(samples: Samples, amount: Amount) -> list[str]:
    """Judge each target, by how many times as long docker takes."""
    wanted = [
        ("exec at most 1/30 of `docker exec`", _EXEC, _EXEC, 30.0),
        ("a detached start at most 1/20 of `docker run -d`", START, START, 20.0),
        ("the log read at once faster than `docker logs`", READ, READ, 1.0),
        ("the log read line by line faster than `docker logs`", READ + LINES, READ, 1.0),
    ]
    for what in (_many(amount), _one(amount)):
        for copy in COPIES:
            step = f"{copy}: {what}"
            wanted.append((f"{copy} at least 3 {TIMES} as fast as docker's: {what}", step, step, 3))
    lines = ["| target | docker / pycontainers | |", "| --- | ---: | ---: |"]
    for promise, own, other, least in wanted:
        if "docker" not in samples[other]:
            lines.append(f"| {promise} | not measured in this run | |")
            continue
        ratio = median(samples[other]["docker"]) / median(samples[own][NAME])
        verdict = "holds" if ratio >= least else "**missed**"
        lines.append(f"| {promise} | {ratio:.1f} {TIMES} | {verdict} |")
    return lines
