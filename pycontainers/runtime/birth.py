"""A container's birth and orders, step by step, as its launcher or supervisor sees to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainers.runtime.plan import MakeCgroup, MapIds, unpack
from pycontainers.runtime.preparation import bring_up, perform
from pycontainers.runtime.wiring import ConnectBridge, Publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.runtime.plan import AnyStep, Beside, BirthStep
    from pycontainers.runtime.preparation import Newborn
    from pycontainers.runtime.ranges import IdRanges


class Doing:
    """The step that is being carried out, for the account of a failure."""

    def __init__(self) -> None:
        self.step: AnyStep | None = None


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
    while beside and isinstance(beside[0], MakeCgroup | ConnectBridge | Publish):
        doing.step = beside.pop(0)
        perform(doing.step, born)
    born.order(request["steps"], fds, stdio)
    for step in beside:
        doing.step = step
        perform(step, born)
    born.hand_over_mounts()
