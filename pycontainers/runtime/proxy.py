"""The published ports of one container, as its supervisor holds them.

Packets to the host's own addresses reach the container by the firewall.  What can't, as those over
the loopback, comes to the sockets that hold the ports, and a process takes it over from there: a
relay, forked when the first connection or datagram comes, so that a start does not wait for it.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.kernel import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pycontainers.runtime.loop import Loop

_RELAYED: Final = ("tcp", "udp")
_PAUSE: Final = 1.0  # seconds from a relay's start, or a try at it, to the next


class Published(NamedTuple):
    """A socket that holds a port of the host, and where in the container its data goes.

    `fd` is bound and, for TCP, listens; `address` is in numbers, of IPv4 or IPv6.
    """

    fd: int
    protocol: str
    address: str
    port: int


class Relay:
    """The process that relays what comes to the published ports, while there is any.

    `fork` gives the (number, pidfd) of a child, and (0, …) in it, as `namespaces.clone3(0)` does.
    The sockets stay open here: what comes while no relay is there waits for the next.
    """

    def __init__(
        self, loop: Loop, fork: Callable[[], tuple[int, int]], published: Iterable[Published]
    ) -> None:
        self._loop = loop
        self._fork = fork
        published = list(published)
        self._fds = [one.fd for one in published]
        self._published = [one for one in published if one.protocol in _RELAYED]
        self._pidfd = -1  # of the relay, while there is one
        self._began = 0.0
        self._wait()

    def lead_to(self, addresses: Sequence[str]) -> None:
        """Have what comes from now on go to these addresses, at least one, instead."""
        of_version = {":" in address: address for address in addresses}
        led = [
            one._replace(address=of_version.get(":" in one.address, addresses[0]))
            for one in self._published
        ]
        if led != self._published:
            self._published = led
            self._began = 0.0  # the next relay need not wait
            self._end()

    def close(self) -> None:
        """Let go of the ports: when this returns, others can have them."""
        for fd in self._fds:
            self._loop.remove(fd)
            os.close(fd)
        self._fds, self._published = [], []
        if self._pidfd >= 0:
            self._end()
            self._bury()

    def _end(self) -> None:
        if self._pidfd >= 0:
            processes.send_signal(self._pidfd, signal.SIGKILL)

    def _wait(self) -> None:
        for one in self._published:
            self._loop.add(one.fd, self._begin)

    def _begin(self, _events: int) -> None:
        for one in self._published:
            self._loop.remove(one.fd)
        self._began = time.monotonic()
        try:
            pid, self._pidfd = self._fork()
        except OSError:  # too many processes, or too little memory
            self._loop.after(_PAUSE, self._wait)
            return
        if pid == 0:
            self._become()
        self._loop.add(self._pidfd, self._bury)

    def _become(self) -> None:
        try:
            processes.die_with_parent()
            from pycontainers.runtime import relay  # here only: the supervisor stays small

            relay.serve(self._published)
        finally:
            os._exit(1)  # nothing may return into the supervisor's code

    def _bury(self, _events: int = 0) -> None:
        self._loop.remove(self._pidfd)
        processes.wait(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        # One that fails each time must not keep the machine busy.
        self._loop.after(max(0.0, self._began + _PAUSE - time.monotonic()), self._wait)
