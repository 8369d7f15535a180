"""Samples: taken in turn, so that a drift of the machine hits all alike, and summed up."""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.scratch import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


TIMES: Final = "\N{MULTIPLICATION SIGN}"


class Turn(NamedTuple):
    """One row of an interleaved measurement: what to call in every `every`-th round."""

    name: str
    every: int
    act: Callable[[], float]


@dataclass
class Results:
    """All that a run has found: seconds by contestant, rates, KiB, and what was left out."""

    date: str
    machine: str
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    launch: dict[str, list[float]] = field(default_factory=dict)
    execute: dict[str, list[float]] = field(default_factory=dict)
    throughput: dict[str, dict[int, float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    imports: dict[str, list[float]] = field(default_factory=dict)


def interleave(turns: Sequence[Turn], rounds: int) -> dict[str, list[float]]:
    """Take samples in turn, each round in another order, the same in every run.

    What one leaves to the kernel, or spares the next, then falls on all alike.  The first call of
    each is a warm-up that does not count.
    """
    order = random.Random(0)
    samples: dict[str, list[float]] = {turn.name: [] for turn in turns}
    for turn in turns:
        turn.act()
    for number in range(rounds):
        present = [turn for turn in turns if number % turn.every == 0]
        for turn in order.sample(present, len(present)):
            samples[turn.name].append(turn.act())
    return samples


def rate(acts: Sequence[Callable[[], float]], seconds: float) -> float:
    """Call each of `acts` over and over in a thread of its own; give the calls a second in all."""
    together = threading.Barrier(len(acts) + 1)
    deadline = float("inf")

    def work(act: Callable[[], float]) -> int:
        together.wait()
        done = 0
        while time.perf_counter() < deadline:
            act()
            done += 1
        return done

    pool = ThreadPoolExecutor(len(acts))
    try:
        futures = [pool.submit(work, act) for act in acts]
        start = time.perf_counter()
        deadline = start + seconds
        together.wait()
        total = sum(future.result() for future in futures)
        return total / (time.perf_counter() - start)
    finally:
        deadline = 0.0
        with uninterrupted():
            pool.shutdown()


def median(samples: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(samples)


def percentile95(samples: Sequence[float]) -> float:
    """Give the 95th percentile, by the nearest rank.

    >>> percentile95([1.0, 2.0, 3.0])
    3.0
    """
    return sorted(samples)[max(0, -(-len(samples) * 95 // 100) - 1)]


def machine() -> str:
    """Describe what the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cpus = len(os.sched_getaffinity(0))
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Linux {platform.release()}, {cpus} {TIMES} {model}, Python {python}"
