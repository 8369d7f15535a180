"""The process that all containers are cloned from: small, and never changed by other work.

A fork shares memory until one side writes to it, and Python writes to all that it looks at.  Every
container cloned from the busy launcher itself would cost that hundreds of page faults; so a process
that does nothing else is cloned, with the launcher as the newborn's parent (CLONE_PARENT).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, NoReturn

from pycontainers.errors import KernelError
from pycontainers.kernel import namespaces, processes, sockets
from pycontainers.runtime import init, plan

if TYPE_CHECKING:
    from pycontainers.runtime.plan import Step


class ZygoteEndedError(KernelError):
    """The zygote was killed; another one has to do what it was asked."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "clone3 by the zygote")


class Zygote:
    """The launcher's side: ask for newborns, and get them in the order asked.

    One in new namespaces, of `flags`, waits for an empty message that says that its ids are mapped.
    """

    def __init__(self, flags: int = 0) -> None:
        self.socket, theirs = sockets.pair()
        self._told: plan.Birth | None = None
        self.pid, self.pidfd = namespaces.clone3(flags)
        if self.pid == 0:
            self.socket.close()
            _serve(theirs, settles=flags != 0)
        theirs.close()

    def conceive(self, birth: plan.Birth, orders: socket.socket) -> None:
        """Ask for a newborn in new namespaces; raises ZygoteEndedError."""
        try:
            if birth is not self._told:
                early = [plan.pack(step) for step in birth.init]
                sockets.send(self.socket, {"namespaces": birth.namespaces, "early": early})
                self._told = birth
            sockets.send(self.socket, {}, (orders.fileno(),))
        except (BrokenPipeError, ConnectionResetError):
            raise ZygoteEndedError from None

    def close(self) -> None:
        """Let go of a zygote that has ended."""
        self.socket.close()
        processes.wait(self.pidfd)
        os.close(self.pidfd)

    def fileno(self) -> int:
        """Give the descriptor that is readable when a newborn is there; for epoll(7)."""
        return self.socket.fileno()

    def born(self) -> tuple[int, int]:
        """Wait for the next newborn: its pid, and a pidfd that is the caller's to close.

        Raises KernelError, ZygoteEndedError.
        """
        try:
            received = sockets.receive(self.socket)
        except ConnectionResetError:
            raise ZygoteEndedError from None
        if received is None:
            raise ZygoteEndedError
        message, fds = received
        if message["errno"]:
            raise KernelError(message["errno"], message["call"])
        return message["pid"], fds[0]


def _serve(requests: socket.socket, *, settles: bool) -> NoReturn:
    processes.die_with_parent()
    processes.set_name("zygote")
    os.closerange(3, requests.fileno())  # what the launcher holds is not for containers
    processes.close_from(requests.fileno() + 1)
    if settles:
        if sockets.receive(requests) is None:
            os._exit(0)
        init.settle()
    flags = 0
    early: list[Step] = []
    while True:
        try:
            received = sockets.receive(requests)
        except ConnectionResetError:  # the launcher has just been killed
            break
        if received is None:
            break
        message, fds = received
        if message:  # unpacked here, once for all newborns to come
            flags = sum(namespaces.NAMESPACES[name] for name in message["namespaces"])
            early = [plan.unpack(step) for step in message["early"]]
            continue
        pid = -1
        try:
            pid, pidfd = namespaces.clone3(flags, sibling=True)
            if pid == 0:
                processes.die_with_parent()
                requests.close()  # its end tells the launcher of the zygote's
                orders = socket.socket(fileno=fds[0])
                init.await_orders(orders, early, -1)
        except KernelError as error:
            sockets.send(requests, {"errno": error.errno, "call": error.call})
        if pid > 0:
            sockets.send(requests, {"errno": 0, "pid": pid}, (pidfd,))
            os.close(pidfd)
        for fd in fds:
            os.close(fd)
    os._exit(0)
