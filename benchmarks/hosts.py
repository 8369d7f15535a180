"""A host of a contestant's own: a network namespace, and another that is its neighbour.

None sees the others' bridges, rules and connections, nor does this machine, and all goes with it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.contestant import prepare, program
from pycontainers.kernel import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scratch import Scratch

_NAMES: Final = Path("/run/netns")  # of ip(8); in the run's own /run
_NEIGHBOUR: Final = "198.51.100.2"


class Host:
    """A network namespace with a cable to a neighbour's, over which its default route leads."""

    address = "198.51.100.1"

    def __init__(self, scratch: Scratch, name: str) -> None:
        self._scratch = scratch
        self._names = (name, f"{name}-neighbour")
        for each in self._names:
            self._ip("netns", "add", each)
        own, neighbour = self._names
        self._ip(
            "-n", own, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", neighbour
        )
        for each, address in ((own, self.address), (neighbour, _NEIGHBOUR)):
            self._ip("-n", each, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip("-n", each, "link", "set", "lo", "up")
            self._ip("-n", each, "link", "set", "eth0", "up")
        self._ip("-n", own, "route", "add", "default", "via", _NEIGHBOUR)

    def _ip(self, *arguments: str) -> None:
        prepare([program("ip"), *arguments], self._scratch)

    @contextlib.contextmanager
    def entered(self, *, neighbour: bool = False) -> Iterator[None]:
        """Be there for a while, as are the processes started meanwhile; or at its neighbour's."""
        fd = os.open(_NAMES / self._names[neighbour], os.O_RDONLY | os.O_CLOEXEC)
        try:
            with namespaces.entered(fd, namespaces.CLONE_NEWNET):
                yield
        finally:
            os.close(fd)

    def close(self) -> None:
        """Take both away."""
        for each in self._names:
            self._ip("netns", "delete", each)
