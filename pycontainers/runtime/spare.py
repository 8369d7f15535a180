"""A supervisor that waits for its container, with an init born like the last one's.

The nursery bears it when nothing else goes on.  The next start then finds done what would take half
its time: two forks, namespaces, id map, /proc, /dev.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any, NamedTuple, NoReturn

from pycontainers.errors import KernelError
from pycontainers.kernel import processes, sockets
from pycontainers.runtime import ground, plan
from pycontainers.runtime.supervisor import supervise


class Likeness(NamedTuple):
    """What the next container is expected to have in common with the last one."""

    run_directory: str
    birth: str | None  # None where an init can't be born without more
    making: str  # where it gets a place for its changes, "" where it has none at its birth

    @classmethod
    def of(cls, order: dict[str, Any]) -> Likeness:
        """Give that of a container's order."""
        birth: str = order["start"]["birth"]
        steps = plan.Birth.unpack(birth).launcher
        own = order["joins"] or any(isinstance(step, plan.MakeCgroup) for step in steps)
        writes = any(isinstance(step, plan.MountRoot) and step.upper == plan.OWN for step in steps)
        return cls(order["run"], None if own else birth, order["making"] if writes else "")


class Spare:
    """The nursery's side: whether the spare supervisor will do, and its orders."""

    def __init__(self) -> None:
        self.pidfd = -1
        self._pid = -1
        self._orders, self._theirs = sockets.pair()
        # What is mounted from now on may not be seen in there (mount_namespaces(7)).
        self._mounts_fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)

    def born(self, pid: int, pidfd: int) -> None:
        """Take in that the fork has succeeded."""
        self._pid, self.pidfd = pid, pidfd
        self._theirs.close()

    def take(self, order: dict[str, Any], channel: socket.socket, fds: list[int]) -> bool:
        """Make it a container's supervisor; False where it will not do, and ends."""
        try:
            if not self._sees_all_mounts():
                return False
            sockets.send(self._orders, order, (channel.fileno(), *fds))
        except OSError:  # it was killed
            return False
        finally:
            self.close()
        return True

    def _sees_all_mounts(self) -> bool:
        changed = select.poll()
        changed.register(self._mounts_fd, select.POLLPRI)  # proc(5), /proc/pid/mounts
        if not changed.poll(0):
            return True
        ours, theirs = _mounted("self"), _mounted(self._pid)  # and a /proc of its own
        return len(theirs) == len(ours) + 1 and set(ours) <= set(theirs)

    def close(self) -> None:
        """Let go of it; it ends where it has no orders."""
        self._orders.close()
        os.close(self._mounts_fd)

    def wait(self, likeness: Likeness, *, detached_layers: bool) -> NoReturn:
        """Be the spare supervisor, in the new process."""
        try:
            self.close()
            processes.set_name("spare")
            laid = ground.lay(likeness.run_directory, detached_layers=detached_layers)
            born = None
            if likeness.birth is not None:
                with contextlib.suppress(KernelError, OSError):  # it will fail again, and be told
                    born = ground.bear(laid, likeness.birth, likeness.making)
            received = sockets.receive(self._theirs, sockets.MAX_FDS + 1)
            self._theirs.close()
        except BaseException:  # nothing may return into the nursery's code
            os._exit(1)
        if received is None:
            if born is not None:
                ground.forgo(born, laid.ranges)
            os._exit(0)
        order, fds = received
        channel = socket.socket(fileno=fds.pop(0))
        supervise(order, channel, fds, laid._replace(newborn=born))


def _mounted(pid: int | str) -> list[bytes]:
    """Give device, root, place and options of each mount that a process sees (proc(5))."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return [b" ".join(line.split(b" ", 6)[2:6]) for line in file]
