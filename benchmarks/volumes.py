"""The first use of a volume against docker and podman: what the image has there is copied into it.

All take turns in one run, in memory, so that what is compared is the engines and not the disk.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import pycontainers as pc
from benchmarks.life import in_memory, interruptible
from benchmarks.living import LivingDocker, LivingPodman, Peer, Steps, duration
from benchmarks.measure import TIMES, machine, median
from benchmarks.ours import NAME, Ours
from benchmarks.peers import TRUE
from benchmarks.scratch import BenchmarkError, Scratch, new_scratch, uninterrupted

if TYPE_CHECKING:
    from pathlib import Path

_IMAGE: Final = "many:1"
_TARGET: Final = "/many"
_VOLUME: Final = "filled"
_FIRST: Final = "run with a new volume"
_AGAIN: Final = "run with it again"
_LEAST: Final = 2  # how many times as fast as docker the first shall be


class Amount(NamedTuple):
    """How much is measured."""

    rounds: int
    files: int


FULL: Final = Amount(7, 10_000)
QUICK: Final = Amount(2, 1000)


class FillingOurs(Ours):
    """pycontainers, timed around `run`."""

    def load(self, archive: Path) -> None:
        """Make the image."""
        self._many = pc.Image.from_rootfs(archive, engine=self._engine)

    def use(self, files: int) -> Steps:
        """Run with a new volume, and with the same again; make sure that it is full."""
        volumes = {_VOLUME: _TARGET}

        def run() -> None:
            pc.run(TRUE, image=self._many, volumes=volumes, check=True, engine=self._engine)

        times = {_FIRST: duration(run), _AGAIN: duration(run)}
        volume = pc.Volume.get(_VOLUME, engine=self._engine)
        _check(self.name, sum(len(names) for _, _, names in os.walk(volume.path)), files)
        volume.remove()
        return times


class _Filling(Peer):
    """Docker and podman, by the commands that they share."""

    def load(self, archive: Path) -> None:
        """Import the image."""
        self._do("import", archive, _IMAGE)

    def use(self, files: int) -> Steps:
        """Run with a new volume, and with the same again; make sure that it is full."""
        run = ["run", "--rm", *self._options, "-v", f"{_VOLUME}:{_TARGET}", _IMAGE]
        times = {_FIRST: self._time(*run, *TRUE), _AGAIN: self._time(*run, *TRUE)}
        names = self._do(*run, "/bin/sh", "-c", f"ls {_TARGET}/*").split()
        _check(self.name, sum(not name.endswith(":") for name in names), files)
        self._do("volume", "rm", _VOLUME)
        return times


class FillingDocker(_Filling, LivingDocker):
    """Docker."""


class FillingPodman(_Filling, LivingPodman):
    """Podman."""


Filling: TypeAlias = FillingOurs | FillingDocker | FillingPodman
_KINDS: Final[tuple[type[Filling], ...]] = (FillingOurs, FillingDocker, FillingPodman)


def _check(name: str, found: int, files: int) -> None:
    if found != files:
        raise BenchmarkError(f"{name} has copied {found} of {files} files")


def run(*, quick: bool) -> str:
    """Measure all; give the report in Markdown.  Nothing that this made is left afterwards.

    Raises BenchmarkError.
    """
    amount = QUICK if quick else FULL
    samples: dict[str, dict[str, list[float]]] = {}
    notes: list[str] = []
    with interruptible(), in_memory(), new_scratch() as scratch, contextlib.ExitStack() as stack:
        archive = _archive(scratch, amount.files)
        able: list[Filling] = []
        for kind in _KINDS:
            contestant = kind(scratch)
            stack.callback(_close, contestant)
            contestant.load(archive)
            try:
                contestant.use(amount.files)
            except BenchmarkError as error:
                if contestant.name == NAME:
                    raise
                notes.append(f"{contestant.name} is left out: {error}")
            else:
                able.append(contestant)
        order = random.Random(0)
        for number in range(amount.rounds):
            print(f"… round {number + 1} of {amount.rounds}", file=sys.stderr, flush=True)
            for each in order.sample(able, len(able)):
                for step, seconds in each.use(amount.files).items():
                    samples.setdefault(step, {}).setdefault(each.name, []).append(seconds)
        versions = ", ".join(each.version() for each in able)
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {versions}."
    return "\n\n".join([head, *notes, *_render(samples, amount)])


def _close(contestant: Filling) -> None:
    with uninterrupted():
        contestant.close()


def _archive(scratch: Scratch, files: int) -> Path:
    """Make the root file system with so many files of up to 4 KiB in directories of a hundred."""
    path = scratch.directory / "many.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(scratch.rootfs, arcname=".")
        for number in range(files):
            member = tarfile.TarInfo(f".{_TARGET}/{number // 100}/{number}")
            member.size = number * 37 % 4096
            member.uid, member.gid = 1000, 1000
            archive.addfile(member, io.BytesIO(os.urandom(member.size)))
    return path


def _render(samples: dict[str, dict[str, list[float]]], amount: Amount) -> list[str]:
    lines = [
        f"| | contestant | runs | median, ms | {TIMES} pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for step, rows in samples.items():
        what = f"{step}: {amount.files:,} files" if step == _FIRST else step
        own = median(rows[NAME])
        for who, values in sorted(rows.items(), key=lambda row: median(row[1])):
            middle = median(values)
            lines.append(
                f"| {what} | {who} | {len(values)} | {middle * 1000:.2f} | {middle / own:.2f} |"
            )
    first = samples[_FIRST]
    if "docker" not in first:
        return ["\n".join(lines)]
    ratio = median(first["docker"]) / median(first[NAME])
    verdict = "holds" if ratio >= _LEAST else "**missed**"
    target = f"| the first use at least {_LEAST} {TIMES} as fast as docker's "
    table = [
        "| target | docker / pycontainers | |",
        "| --- | ---: | ---: |",
        f"{target}| {ratio:.1f} {TIMES} | {verdict} |",
    ]
    return ["\n".join(lines), "\n".join(table)]
