"""Networks against docker and podman: starts, throughput, connections, networks made and removed.

All take turns in one run, each on a host of its own, so that no rule of one hinders another.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from benchmarks.contestant import first_line, program
from benchmarks.hosts import Host
from benchmarks.life import in_memory, interruptible
from benchmarks.measure import TIMES, machine, median
from benchmarks.networking import (
    Networking,
    NetworkingDocker,
    NetworkingOurs,
    NetworkingPodman,
)
from benchmarks.ours import NAME
from benchmarks.scratch import BenchmarkError, Scratch, new_scratch, uninterrupted
from benchmarks.talking import Talk, Way, make_archive, ways

if TYPE_CHECKING:
    from benchmarks.living import Steps

_CREATE: Final = "create a network"
_REMOVE: Final = "remove a network"
_RUNS: Final = {"none": "run `/bin/true` without network", "bridge": "run `/bin/true` in a network"}
_BLOCK: Final = 10  # runs in the same network after each other, as they share what is kept ready
_STREAMS: Final = (1, 4)
_MOST: Final = 0.003  # seconds that a network may cost a run
_EQUAL: Final = 0.95  # of docker's figure: two runs of the same differ by as much

Samples = dict[str, dict[str, list[float]]]


class _Placed(Protocol):
    """Whoever takes part, on a host of its own."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> Host: ...


_Who = TypeVar("_Who", bound=_Placed)


class Amount(NamedTuple):
    """How much is measured."""

    starts: int
    blocks: int  # of runs
    networks: int
    rounds: int  # of throughput and connections
    seconds: int  # that each of these lasts


FULL: Final = Amount(15, 20, 100, 3, 2)
QUICK: Final = Amount(2, 3, 10, 1, 1)


class _Measurement:
    """What was sampled, and what could not be."""

    def __init__(self) -> None:
        self._order = random.Random(0)
        self.times: Samples = {}  # seconds
        self.bits: Samples = {}  # a second
        self.connections: Samples = {}  # a second
        self.notes: list[str] = []

    def try_all(
        self, part: str, contestants: Sequence[_Who], act: Callable[[_Who], object]
    ) -> list[_Who]:
        """Let each act once, which does not count; give those that can."""
        print(f"… {part}", file=sys.stderr, flush=True)
        able = []
        for each in contestants:
            try:
                with each.host.entered():
                    act(each)
            except BenchmarkError as error:
                if each.name == NAME:
                    raise
                self.notes.append(f"{each.name} is left out of {part}: {error}")
            else:
                able.append(each)
        return able

    def turn(self, able: Sequence[_Who], act: Callable[[_Who], Steps], into: Samples) -> None:
        """Let each act once, in another order than the last time."""
        for each in self._order.sample(able, len(able)):
            with each.host.entered():
                steps = act(each)
            for step, value in steps.items():
                into.setdefault(step, {}).setdefault(each.name, []).append(value)


def run(*, quick: bool) -> str:
    """Measure all; give the report in Markdown.  Nothing that this made is left afterwards.

    Raises BenchmarkError.
    """
    amount = QUICK if quick else FULL
    measurement = _Measurement()
    with interruptible(), in_memory(), new_scratch() as scratch, contextlib.ExitStack() as stack:
        archive = make_archive(scratch)
        ours = _open(stack, scratch, NetworkingOurs)
        docker = _open(stack, scratch, NetworkingDocker)
        podman = _open(stack, scratch, NetworkingPodman)
        contestants: list[Networking] = [ours, docker, podman]
        _start(measurement, contestants, amount)
        _run(measurement, ours, amount)
        _create(measurement, contestants, amount)
        talks = [Talk(scratch, ours, archive), Talk(scratch, docker, archive)]
        _talk(measurement, talks, amount)
        versions = [each.version() for each in contestants]
        versions.append(first_line([program("iperf3"), "--version"]).partition(" (")[0])
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {', '.join(versions)}."
    return "\n\n".join([head, *measurement.notes, *_render(measurement)])


_Kind = TypeVar("_Kind", NetworkingOurs, NetworkingDocker, NetworkingPodman)


def _open(stack: contextlib.ExitStack, scratch: Scratch, kind: type[_Kind]) -> _Kind:
    host = Host(scratch, kind.name)
    stack.callback(host.close)
    with host.entered():
        contestant = kind(scratch, host)
    stack.callback(_close, contestant)
    return contestant


def _close(contestant: Networking) -> None:
    with uninterrupted(), contestant.host.entered():
        contestant.close()


def _start(measurement: _Measurement, contestants: Sequence[Networking], amount: Amount) -> None:
    able = measurement.try_all("starts", contestants, lambda each: each.cycle())
    for _ in range(amount.starts):
        measurement.turn(able, lambda each: each.cycle(), measurement.times)


def _run(measurement: _Measurement, ours: NetworkingOurs, amount: Amount) -> None:
    """Run in a network and in none, in blocks that take turns; the first of each does not count."""
    print("… runs in a network and in none", file=sys.stderr, flush=True)
    for number in range(amount.blocks):
        for network in sorted(_RUNS, reverse=number % 2 == 1):
            with ours.host.entered():
                ours.run_in(network)
                taken = [ours.run_in(network) for _ in range(_BLOCK)]
            samples = measurement.times.setdefault(_RUNS[network], {})
            samples.setdefault(NAME, []).extend(taken)


def _create(measurement: _Measurement, contestants: Sequence[Networking], amount: Amount) -> None:
    """Create so many networks, so that in the end all are there, and remove them."""
    able = measurement.try_all("networks", contestants, lambda each: each.create_network("first"))
    for number in range(amount.networks):
        measurement.turn(able, partial(_created, f"network{number}"), measurement.times)
    for number in range(amount.networks):
        measurement.turn(able, partial(_removed, f"network{number}"), measurement.times)


def _created(name: str, contestant: Networking) -> Steps:
    return {_CREATE: contestant.create_network(name)}


def _removed(name: str, contestant: Networking) -> Steps:
    return {_REMOVE: contestant.remove_network(name)}


def _talk(measurement: _Measurement, talks: Sequence[Talk], amount: Amount) -> None:
    """Measure throughput over each way, and connections over those by a published port."""
    able = measurement.try_all("connections", talks, Talk.begin)
    for _ in range(amount.rounds):
        for way in ways(Host.address):
            for streams in _STREAMS:
                measurement.turn(
                    able, partial(_bits, way, streams, amount.seconds), measurement.bits
                )
            if way.published:
                measurement.turn(
                    able, partial(_connections, way, amount.seconds), measurement.connections
                )


def _bits(way: Way, streams: int, seconds: int, talk: Talk) -> Steps:
    unit = "stream" if streams == 1 else "streams"
    return {f"{way}, {streams} {unit}": talk.bits(way, streams, seconds)}


def _connections(way: Way, seconds: int, talk: Talk) -> Steps:
    return {str(way): talk.connections(way, seconds)}


def _render(measurement: _Measurement) -> list[str]:
    return [
        _table(measurement.times, "median, ms", lambda seconds: f"{seconds * 1000:.2f}"),
        _table(measurement.bits, "median, Gbit/s", lambda bits: f"{bits / 1e9:.2f}"),
        _table(measurement.connections, "median, connections a second", "{:.0f}".format),
        "\n".join(_targets(measurement)),
    ]


def _table(samples: Samples, unit: str, show: Callable[[float], str]) -> str:
    """Show what each has, ours first: the best is the least in one table, the most in others."""
    lines = [
        f"| | contestant | runs | {unit} | {TIMES} pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for step, rows in samples.items():
        own = median(rows[NAME])
        for who in sorted(rows, key=lambda who: (who != NAME, who)):
            middle = median(rows[who])
            ratio = middle / own
            lines.append(f"| {step} | {who} | {len(rows[who])} | {show(middle)} | {ratio:.2f} |")
    return "\n".join(lines)


def _targets(measurement: _Measurement) -> list[str]:
    cost = median(measurement.times[_RUNS["bridge"]][NAME])
    cost -= median(measurement.times[_RUNS["none"]][NAME])
    lines = [
        "| target | measured | |",
        "| --- | ---: | ---: |",
        f"| a network costs a run at most {_MOST * 1000:.0f} ms at the median, its end included "
        f"| {cost * 1000:.2f} ms | {_verdict(cost <= _MOST)} |",
    ]
    for samples, what in ((measurement.bits, "bytes"), (measurement.connections, "connections")):
        for step, rows in samples.items():
            if "docker" not in rows:
                lines.append(f"| {what} as docker: {step} | not measured in this run | |")
                continue
            ratio = median(rows[NAME]) / median(rows["docker"])
            promise = f"at least as many {what} a second as docker: {step}"
            lines.append(f"| {promise} | {ratio:.2f} {TIMES} | {_verdict(ratio >= _EQUAL)} |")
    return lines


def _verdict(holds: bool) -> str:
    return "holds" if holds else "**missed**"
