"""A supervisor's children: the container's program, further ones in it, and jailed workers."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel import namespaces, processes, sockets
from pycontainers.kernel.cgroups import base
from pycontainers.runtime import further, ground, init, wiring, worker
from pycontainers.runtime.answers import failure, io_of, tell
from pycontainers.runtime.birth import Doing, bear, give_orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.kernel.processes import Exit
    from pycontainers.runtime.preparation import Newborn
    from pycontainers.runtime.supervisor import Supervisor


class Ended(NamedTuple):
    """How a process ended, and what its container had used until then."""

    exit: Exit
    usage: base.Usage
    io: list[int] | None

    def message(self) -> dict[str, Any]:
        """Give what a client is told of it."""
        return {"exited": self.exit, "usage": self.usage, "io": self.io, "problem": None}


class Other(NamedTuple):
    """A further program or a worker: who is told of its end, and its process tree's cgroup."""

    pid: int
    pidfd: int
    on_end: Callable[[Ended], None]
    tree: Cgroup | None = None


class Program:
    """The container's program, while there is one, and what else runs for the container."""

    def __init__(self, supervisor: Supervisor, detached_layers: bool, born: Newborn | None) -> None:
        self.pid = -1
        self.pidfd = -1
        self.cgroup: Cgroup | None = None
        self.runs = False  # whether it has been executed, and has not ended
        self._supervisor = supervisor
        self._detached_layers = detached_layers
        self._own_pid_namespace = namespaces.open_namespace(os.getpid(), "pid")
        self._doing = Doing()
        self._born = born  # before it was known for what
        self._newborn: Newborn | None = None
        self._status: socket.socket | None = None
        self._account: dict[str, Any] | None = None  # of a start that failed

    def start(self) -> None:
        """Begin a start; the supervisor's `began` or `failed` is called with its outcome."""
        supervisor, request = self._supervisor, self._supervisor.order["start"]
        ends = supervisor.streams.open()
        ours, theirs = sockets.pair()
        self._account, self._doing.step = None, None
        try:
            newborn = self._newborn = self._give_birth(request)
        except (KernelError, OSError) as error:
            ours.close()
            supervisor.failed(failure(self._doing.step, error))
            return
        else:
            newborn.given_fds = supervisor.given
            fds = [theirs.fileno(), *ends, *supervisor.given]
            self._give_orders(newborn, request, fds, len(ends))
        finally:
            for fd in ends:
                os.close(fd)
            theirs.close()
        self.pid, self.pidfd = newborn.pid, newborn.pidfd
        self.cgroup, self._status = newborn.cgroup, ours
        ours.setblocking(False)
        supervisor.loop.add(ours.fileno(), self._hear)
        supervisor.loop.add(newborn.pidfd, self._bury)

    def _give_birth(self, request: dict[str, Any]) -> Newborn:
        shared_fd, ranges = self._supervisor.shared_fd, self._supervisor.ranges
        born, self._born = self._born, None
        if born is not None:
            if shared_fd < 0 and self._adopted(born, request):
                return born
            ground.forgo(born, ranges)
        return bear(
            request["birth"],
            request["cgroup"],
            self._supervisor.directory,
            ranges,
            self._doing,
            detached_layers=self._detached_layers,
            shared_fd=shared_fd,
        )

    def _adopted(self, born: Newborn, request: dict[str, Any]) -> bool:
        """Make what was born before it was known for whom this container's, where it fits."""
        if born.changes and not self._supervisor.order["fresh"]:
            return False
        if not born.serves(request["birth"], request["cgroup"]):
            return False
        try:
            born.settle(self._supervisor.directory)
        except OSError:
            return False
        born.place = request["cgroup"]
        return True

    def _give_orders(
        self, newborn: Newborn, request: dict[str, Any], fds: list[int], stdio: int
    ) -> None:
        try:
            give_orders(newborn, request, fds, stdio, self._doing)
        except BrokenPipeError:
            pass  # init met an error of its own and tells of it
        except (KernelError, OSError) as error:
            self._account = failure(self._doing.step, error)
            newborn.dismiss()

    def _hear(self, _events: int = 0) -> None:
        """Take in what init says, whose silent end means that it has become the program."""
        while self._status is not None:
            try:
                data, fds, _, _ = socket.recv_fds(self._status, 1 << 16, 1)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data, fds = b"", []
            if data[:1] == b"j":
                os.set_inheritable(fds[0], False)
                self._supervisor.streams.take_terminal(fds[0])
            elif data:
                self._account = json.loads(data)
            else:
                self._supervisor.loop.remove(self._status.fileno())
                self._status.close()
                self._status = None
                if self._account is None:
                    self.runs = True
                    self._supervisor.began()

    def _bury(self, _events: int) -> None:
        self._hear()
        newborn = self._newborn
        assert newborn is not None
        self._supervisor.loop.remove(newborn.pidfd)
        io = io_of(newborn.pid)
        exit_ = processes.wait(newborn.pidfd)
        usage = base.Usage()
        if newborn.cgroup is not None:
            usage = newborn.cgroup.usage()
            try:
                newborn.cgroup.remove()
            except KernelError:
                newborn.cgroup.kill()  # by a freeze it may have been joined by others
                newborn.cgroup.remove()
        newborn.close(self._supervisor.ranges)
        self._newborn = self.cgroup = None
        self.pid = self.pidfd = -1
        self.runs = False
        if self._account is not None:
            self._supervisor.failed(self._account)
        else:
            self._supervisor.ended(Ended(exit_, usage, io))

    def signal(self, number: int) -> bool:
        """Send the program a signal; False where it has ended."""
        return self.pidfd >= 0 and processes.send_signal(self.pidfd, number)

    def kill(self) -> None:
        """Kill the program, and with it all that runs in the container."""
        self.signal(signal.SIGKILL)

    def handles(self, number: int) -> bool:
        """Whether the program would do something about a signal."""
        if any(step[0] == "Reap" for step in self._supervisor.order["start"]["steps"]):
            return True  # process 1 passes all of them on
        try:
            return processes.handles(self.pid, number)
        except OSError:
            return False  # it has just ended

    def rewire(self, wires: list[list[Any]]) -> None:
        """Bring the container's network to what these steps say; raises KernelError."""
        if self._newborn is not None:
            self._newborn.wires.rewire(*wiring.wires(wires))

    # What else runs for the container.

    def execute(
        self, request: dict[str, Any], fds: list[int], on_end: Callable[[Ended], None]
    ) -> Other:
        """Start a further program in the container; raises KernelError."""
        pid, pidfd, tree = further.start(self.cgroup, request, fds, self._born_within)
        return self._watch(Other(pid, pidfd, on_end, tree))

    def _born_within(self, orders: socket.socket) -> tuple[int, int]:
        # The child shall be born in there: one fork less than to join it afterwards.
        namespaces.setns(self.pidfd, namespaces.CLONE_NEWPID)
        try:
            pid, pidfd = namespaces.clone3(0)
            if pid == 0:
                processes.die_with_parent()
                init.await_orders(orders, [], self.pidfd)
        finally:
            namespaces.setns(self._own_pid_namespace, namespaces.CLONE_NEWPID)
        return pid, pidfd

    def work(self, request: dict[str, Any], fds: list[int], channel: socket.socket) -> Other:
        """Fork a jailed worker, which answers over the status socket."""
        pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET)
        if pid == 0:
            processes.die_with_parent()
            worker.run(request["work"], fds, self.pidfd)
        return self._watch(Other(pid, pidfd, ender(channel)))

    def _watch(self, other: Other) -> Other:
        self._supervisor.loop.add(other.pidfd, lambda _: self._bury_other(other))
        return other

    def _bury_other(self, other: Other) -> None:
        self._supervisor.loop.remove(other.pidfd)
        io = io_of(other.pid)
        exit_ = processes.wait(other.pidfd)
        os.close(other.pidfd)
        if other.tree is not None and not other.tree.pids():  # what goes on there needs it
            other.tree.remove()
        other.on_end(Ended(exit_, base.Usage(), io))


def ender(channel: socket.socket) -> Callable[[Ended], None]:
    """Give what tells a client of an end, and lets it go."""

    def end(ended: Ended) -> None:
        tell(channel, ended.message())
        channel.close()

    return end
