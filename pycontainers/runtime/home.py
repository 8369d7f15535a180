"""A home: a user namespace and a network in which containers are born one after the other.

What they have in common, ids and cables, is made once.  A zygote of the home's own gives birth to
them, and is all that lives there in between: none of them finds a process of another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainers.kernel import namespaces
from pycontainers.runtime.plan import MapIds, unpack
from pycontainers.runtime.preparation import Newborn, perform
from pycontainers.runtime.zygote import Zygote

if TYPE_CHECKING:
    from pycontainers.runtime.birth import Doing
    from pycontainers.runtime.ranges import IdRanges


class Home:
    """A home with its cables; raises KernelError, with nothing of it left."""

    def __init__(self, wires: list[list[Any]], ranges: IdRanges, doing: Doing) -> None:
        flags = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNET
        zygote = self.zygote = Zygote(flags)
        self.place = Newborn(
            zygote.pid, zygote.pidfd, zygote.socket, "", None, detached_layers=False
        )
        try:
            self.place.map_ids(MapIds([], []), ranges)
            self.place.announce()
            for step in map(unpack, wires):
                doing.step = step
                perform(step, self.place)
        except BaseException:
            self.place.abort(ranges)
            raise
