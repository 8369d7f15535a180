"""The launch benchmark: one container from nothing to nothing, exec, throughput, memory, import."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.contestant import Enterable
from benchmarks.docker import Docker
from benchmarks.floor import LEVELS, WHOLE, Floor, FloorPrograms
from benchmarks.measure import Results, Turn, interleave, machine, rate
from benchmarks.peers import Bubblewrap, Podman, Runc
from benchmarks.processes import timed
from benchmarks.scratch import BenchmarkError, Scratch, new_scratch, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contestant import Contestant

THREADS: Final = (1, 2, 8)
_PEERS: Final = (Bubblewrap, Runc, Podman, Docker)
_IMPORTS: Final = {
    "bare interpreter": "pass",
    "import pycontainers": "import pycontainers",
    "… and name its run": "import pycontainers; pycontainers.run",
}


class Amount(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: float  # of each throughput figure
    containers: int  # idle ones, for their memory


FULL: Final = Amount(rounds=200, seconds=4.0, containers=50)
QUICK: Final = Amount(rounds=20, seconds=1.0, containers=50)


def run(amount: Amount, *, peers_only: bool) -> Results:
    """Measure all that is present; nothing that this made is left when it returns or raises."""
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    results = Results(date=now, machine=machine())
    with _interruptible(), new_scratch() as scratch, contextlib.ExitStack() as stack:
        programs = FloorPrograms(scratch)
        floors = [_enter(stack, partial(Floor, programs, name)) for name in LEVELS]
        peers = _open_peers(stack, scratch, results)
        ours: list[Contestant] = []
        if peers_only:
            results.notes.append("Without pycontainers.")
        else:
            # Imported when asked for: the peers are measured alone where the engine fails.
            from benchmarks.ours import Ours

            ours = [_enter(stack, partial(Ours, scratch))]
        contestants = [*floors, *peers, *ours]
        results.versions = {each.name: each.version() for each in [floors[-1], *peers, *ours]}
        _say("launch")
        turns = [Turn(each.name, each.every, each.launch) for each in contestants]
        results.launch = interleave(turns, amount.rounds)
        _say("throughput")
        _measure_throughput(amount, results, stack, programs, [*peers, *ours])
        _say("exec")
        _measure_exec(amount, results, [*peers, *ours])
        if not peers_only:
            _say("memory and import")
            _measure_memory(amount, results, scratch)
            results.imports = interleave(
                [
                    Turn(name, 1, partial(timed, [sys.executable, "-c", code], scratch.log))
                    for name, code in _IMPORTS.items()
                ],
                max(10, amount.rounds // 5),
            )
    return results


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _closing(contestant: Contestant) -> Iterator[None]:
    try:
        yield
    finally:
        with uninterrupted():
            contestant.close()


def _enter(stack: contextlib.ExitStack, make: Callable[[], Contestant]) -> Contestant:
    contestant = make()
    stack.enter_context(_closing(contestant))
    return contestant


def _open_peers(
    stack: contextlib.ExitStack, scratch: Scratch, results: Results
) -> list[Contestant]:
    peers = []
    for kind in _PEERS:
        _say(kind.name)
        try:
            peers.append(_enter(stack, partial(kind, scratch)))
        except BenchmarkError as error:
            results.notes.append(f"{kind.name} is left out: {error}")
    return peers


def _measure_throughput(
    amount: Amount,
    results: Results,
    stack: contextlib.ExitStack,
    programs: FloorPrograms,
    contestants: list[Contestant],
) -> None:
    floors = [_enter(stack, partial(Floor, programs, WHOLE)) for _ in range(max(THREADS))]
    fast = [each for each in contestants if each.every == 1]
    for threads in THREADS:
        acts = {WHOLE: [floor.launch for floor in floors[:threads]]}
        acts |= {each.name: [each.launch] * threads for each in fast}
        for name, calls in acts.items():
            results.throughput.setdefault(name, {})[threads] = rate(calls, amount.seconds)


def _measure_exec(amount: Amount, results: Results, contestants: list[Contestant]) -> None:
    entered = [each for each in contestants if isinstance(each, Enterable)]
    for each in entered:
        each.open_container()
    turns = [Turn(each.name, each.every, each.execute) for each in entered]
    results.execute = interleave(turns, amount.rounds)


def _measure_memory(amount: Amount, results: Results, scratch: Scratch) -> None:
    data_root = str(scratch.directory / "memory")
    argv = [sys.executable, "-m", "benchmarks.memory", str(scratch.rootfs), data_root]
    done = subprocess.run(
        [*argv, str(amount.containers)], check=True, stdout=subprocess.PIPE, text=True
    )
    results.memory = json.loads(done.stdout)


def _say(part: str) -> None:
    print(f"… {part}", file=sys.stderr, flush=True)
