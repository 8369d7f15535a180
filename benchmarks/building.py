"""Building images against docker's two builders and buildah.

All take turns in one run.  Everything lies in memory, in a tmpfs of the run's own, so that what is
compared is the builders and not when the disk is written.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import contexts
from benchmarks.builders import (
    BUILDKIT,
    CLASSIC,
    Builder,
    BuildingBuildah,
    BuildingBuildKit,
    BuildingDocker,
    BuildingOurs,
)
from benchmarks.contestant import prepare, program
from benchmarks.life import in_memory, interruptible
from benchmarks.measure import TIMES, machine, median
from benchmarks.ours import NAME
from benchmarks.scratch import BenchmarkError, Scratch, new_scratch, uninterrupted

if TYPE_CHECKING:
    from pathlib import Path

_STEPS: Final = 10
_CACHED_STEPS: Final = 30
_NOTHING: Final = "a build that runs nothing"
_RUNS: Final = f"{_STEPS} RUN steps of `true`"
_STEP: Final = "a RUN step more"
_CACHED: Final = f"{_CACHED_STEPS} RUN steps, nothing changed"
_STAGES: Final = "two stages, each with a `sleep 1`"
_PIP: Final = "pip install in one stage, used in another"
_MOST: Final = 0.05  # seconds of the cached build
_LEAST_STEP: Final = 10  # how many times as long docker's shall take
_LEAST_COPY: Final = 2

Samples = dict[str, dict[str, list[float]]]
Builds = list[tuple[str, "Path"]]  # what is built after each other in one turn, and its name


class Amount(NamedTuple):
    """How much is measured."""

    runs: int  # rounds
    cached: int
    copies: int
    files: int
    stages: int
    installs: int


FULL: Final = Amount(5, 10, 3, 20_000, 3, 3)
QUICK: Final = Amount(2, 3, 2, 2000, 1, 1)


class _Measurement:
    """What was sampled, and what could not be."""

    def __init__(self, builders: Sequence[Builder]) -> None:
        self._builders = builders
        self._order = random.Random(0)
        self.samples: Samples = {}
        self.notes: list[str] = []

    def take(self, part: str, rounds: int, make: Callable[[int], Builds]) -> None:
        """Let all take turns, each round in another order, with new contexts.

        Round 0 does not count, and need not be as large as the others; who fails in it is left out.
        """
        print(f"… {part}", file=sys.stderr, flush=True)
        builds = make(0)
        able = [each for each in self._builders if self._try(part, each, builds)]
        for number in range(1, rounds + 1):
            builds = make(number)
            present = [each for each in able if (number - 1) % each.every == 0]
            for each in self._order.sample(present, len(present)):
                for step, context in builds:
                    rows = self.samples.setdefault(step, {})
                    rows.setdefault(each.name, []).append(each.build(context))

    def _try(self, part: str, builder: Builder, builds: Builds) -> bool:
        try:
            for _, context in builds:
                builder.build(context)
        except BenchmarkError as error:
            self.notes.append(f"{builder.name} is left out of {part}: {error}")
            return False
        return True


def run(*, quick: bool) -> str:
    """Measure all; give the report in Markdown.  Nothing that this made is left afterwards.

    Raises BenchmarkError, and BuildError where pycontainers fails.
    """
    amount = QUICK if quick else FULL
    with interruptible(), in_memory(), new_scratch() as scratch, contextlib.ExitStack() as stack:
        builders = _open(stack, scratch)
        for reference, archive in (
            (contexts.SMALL, scratch.tar),
            (contexts.PYTHON, _python(scratch)),
        ):
            for each in builders:
                each.give(reference, archive)
        measurement = _Measurement(builders)
        _take_all(measurement, scratch, amount)
        versions = ", ".join(each.version() for each in builders)
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {versions}."
    return "\n\n".join([head, *measurement.notes, *_render(measurement.samples, amount)])


def _open(stack: contextlib.ExitStack, scratch: Scratch) -> list[Builder]:
    ours = BuildingOurs(scratch)
    stack.callback(_close, ours)
    docker = BuildingDocker(scratch)
    stack.callback(_close, docker)
    buildah = BuildingBuildah(scratch)
    stack.callback(_close, buildah)
    return [ours, docker, BuildingBuildKit(docker), buildah]


def _close(builder: Builder) -> None:
    with uninterrupted():
        builder.close()


def _python(scratch: Scratch) -> Path:
    """Make the archive of a Debian that has pip."""
    print("… Debian with pip", file=sys.stderr, flush=True)
    path = scratch.directory / "python.tar"
    paths = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    prepare(
        [program("mmdebstrap"), "--mode=root", "--variant=minbase", "--quiet", *paths,
         "--aptopt=Apt::Install-Recommends 0", "--include=python3-pip", "bookworm", str(path)],
        scratch,
    )  # fmt: skip
    return path


def _take_all(measurement: _Measurement, scratch: Scratch, amount: Amount) -> None:
    place = scratch.new_directory("contexts")
    cached = contexts.runs(place / "cached", _CACHED_STEPS, 0)

    def runs(number: int) -> Builds:
        return [
            (_NOTHING, contexts.nothing(place / f"nothing{number}", number)),
            (_RUNS, contexts.runs(place / f"runs{number}", _STEPS, number)),
        ]

    def copies(number: int) -> Builds:
        files = amount.files if number else amount.files // 10
        context = contexts.copies(place / f"copies{number}", files)
        builds = [(_copy(amount), context), (_copy_again(amount), context)]
        if number == 0:
            builds.append(("check", contexts.check(place / "check", files)))
        return builds

    def stages(number: int) -> Builds:
        return [(_STAGES, contexts.stages(place / f"stages{number}", number))]

    def installs(number: int) -> Builds:
        return [(_PIP, contexts.pip(place / f"pip{number}", number))]

    measurement.take("RUN steps", amount.runs, runs)
    measurement.take("a cached build", amount.cached, lambda _: [(_CACHED, cached)])
    measurement.take("COPY", amount.copies, copies)
    measurement.take("stages", amount.stages, stages)
    measurement.take("pip install", amount.installs, installs)


def _copy(amount: Amount) -> str:
    return f"COPY of {amount.files:,} files"


def _copy_again(amount: Amount) -> str:
    return f"{_copy(amount)}, nothing changed"


def _render(samples: Samples, amount: Amount) -> list[str]:
    lines = [
        f"| | contestant | runs | median, ms | {TIMES} pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for step, rows in _with_step(samples).items():
        own = median(rows[NAME])
        for who, values in sorted(rows.items(), key=lambda row: median(row[1])):
            middle = median(values)
            lines.append(
                f"| {step} | {who} | {len(values)} | {middle * 1000:.2f} | {middle / own:.2f} |"
            )
    return ["\n".join(lines), "\n".join(_targets(_with_step(samples), amount))]


def _with_step(samples: Samples) -> Samples:
    """Add what a RUN step costs: what the build has more than one that runs nothing."""
    step = {
        who: [
            (run - nothing) / _STEPS
            for run, nothing in zip(rows, samples[_NOTHING][who], strict=True)
        ]
        for who, rows in samples[_RUNS].items()
    }
    first = {name: samples[name] for name in (_NOTHING, _RUNS)}
    return {**first, _STEP: step, **samples}


def _targets(samples: Samples, amount: Amount) -> list[str]:
    lines = ["| target | measured | |", "| --- | ---: | ---: |"]
    copy = _copy(amount)
    for promise, step, least in (
        (f"a RUN step at most 1/{_LEAST_STEP} of that of", _STEP, _LEAST_STEP),
        (f"{copy} at least {_LEAST_COPY} {TIMES} as fast as", copy, _LEAST_COPY),
    ):
        for who in (CLASSIC, BUILDKIT):
            if who not in samples[step]:
                lines.append(f"| {promise} {who} | not measured in this run | |")
                continue
            ratio = median(samples[step][who]) / median(samples[step][NAME])
            lines.append(f"| {promise} {who} | {ratio:.1f} {TIMES} | {_verdict(ratio >= least)} |")
    cached = median(samples[_CACHED][NAME])
    lines.append(
        f"| {_CACHED}: less than {_MOST * 1000:.0f} ms "
        f"| {cached * 1000:.2f} ms | {_verdict(cached < _MOST)} |"
    )
    return lines


def _verdict(holds: bool) -> str:
    return "holds" if holds else "**missed**"
