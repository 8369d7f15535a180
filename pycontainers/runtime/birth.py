"""A container's birth and orders, step by step, as its launcher or supervisor sees to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainers.kernel import namespaces, processes, sockets
from pycontainers.runtime import init
from pycontainers.runtime.plan import (
    Birth,
    MakeCgroup,
    MapIds,
    SetLimit,
    SetOomScore,
    pack,
    unpack,
)
from pycontainers.runtime.preparation import Newborn, bring_up, perform
from pycontainers.runtime.wiring import AwaitNetwork, ConnectBridge, Publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.runtime.plan import AnyStep, Beside, BirthStep
    from pycontainers.runtime.ranges import IdRanges


class Doing:
    """The step that is being carried out, for the account of a failure."""

    def __init__(self) -> None:
        self.step: AnyStep | None = None


def bear(
    birth: str,
    place: dict[str, Any] | None,
    changes: str,
    ranges: IdRanges,
    doing: Doing,
    *,
    detached_layers: bool,
    shared_fd: int = -1,
) -> Newborn:
    """Clone a container's init from this process, and do for it what its birth asks.

    `place` is its cgroup in its plain form, `changes` the directory for those to its files,
    `shared_fd` the network namespace that it shares with others.  Raises KernelError, OSError.
    """
    made = Birth.unpack(birth)
    ours, theirs = sockets.pair()
    flags = sum(namespaces.NAMESPACES[name] for name in made.namespaces)
    with namespaces.entered(shared_fd, namespaces.CLONE_NEWNET if shared_fd >= 0 else 0):
        pid, pidfd = namespaces.clone3(flags)
        if pid == 0:
            processes.die_with_parent()
            init.await_orders(theirs, made.init, -1)
    theirs.close()
    newborn = Newborn(
        pid, pidfd, ours, birth, place, detached_layers=detached_layers, changes=changes
    )
    bring_to_life(newborn, made.launcher, ranges, doing)
    return newborn


def bring_to_life(
    born: Newborn, steps: Sequence[BirthStep], ranges: IdRanges, doing: Doing
) -> None:
    """Do for a newborn what its birth asks; where that fails, it is gone again."""
    announced = False
    try:
        for step in steps:
            # Ids and cgroup first: init waits for both.
            if not announced and not isinstance(step, MakeCgroup | MapIds):
                announced = True
                born.announce()
            doing.step = step
            bring_up(step, born, ranges)
        if not announced:
            born.announce()
        born.hand_over_mounts()
    except BaseException:
        born.abort(ranges)
        raise


def give_orders(
    born: Newborn, request: dict[str, Any], fds: list[int], stdio: int, doing: Doing
) -> None:
    """Tell a newborn what it will be, and do beside it what its plan asks.

    `fds` are its status socket, `stdio` streams, and what its steps name.
    """
    beside: list[Beside] = [unpack(step) for step in request["beside"]]
    # A spare has its root already: once it has its orders nothing keeps it from the program.
    while beside and isinstance(beside[0], MakeCgroup | SetOomScore | SetLimit):
        doing.step = beside.pop(0)
        perform(doing.step, born)
    born.order(request["steps"], fds, stdio)
    for step in beside:
        if isinstance(step, ConnectBridge | Publish):  # which take long: init goes on meanwhile
            born.hand_over_mounts()
        doing.step = step
        perform(step, born)
    born.hand_over_mounts()
    if pack(AwaitNetwork()) in request["steps"]:
        born.connected()
