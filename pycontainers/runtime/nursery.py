"""The fork server of supervisors: they share its memory, and one is born in advance.

It holds nothing and knows nothing of them but that they live: killed, it is missed by nobody, and
the next start makes another.  It ends when it has neither clients nor supervisors.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.kernel import namespaces, processes, sockets
from pycontainers.kernel.cgroups import v1, v2  # noqa: F401  # loaded once, for all supervisors
from pycontainers.runtime import ground, overlay
from pycontainers.runtime.answers import tell
from pycontainers.runtime.loop import Loop
from pycontainers.runtime.spare import Likeness, Spare
from pycontainers.runtime.supervisor import supervise

if TYPE_CHECKING:
    from pycontainers.runtime.loop import Timer

LISTENING_FD: Final = 3
_LOOK_AGAIN: Final = 1.0  # seconds: whoever was about to connect may have been killed
_AFTER_A_START: Final = 0.01  # seconds, in which the container needs the processors


class Nursery:
    """The loop over clients, their requests, and the ends of supervisors."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode = os.stat(path).st_ino
        self._listening = socket.socket(fileno=LISTENING_FD)
        self._listening.setblocking(False)
        self._clients: dict[int, socket.socket] = {}
        self._owners: dict[int, int] = {}  # pidfds of clients, by their connections
        self._supervisors: set[int] = set()
        self._spare: Spare | None = None
        self._expected: Likeness | None = None  # of the next container
        self._timer: Timer | None = None  # of the birth of a spare
        self._place = ""  # where cgroups are made, once an application has found out
        self._detached_layers = overlay.takes_detached_layers()
        self._loop = Loop()
        self._loop.add(LISTENING_FD, self._accept)

    def run(self) -> NoReturn:
        """Serve until nobody is left."""
        while True:
            if not self._clients and not self._supervisors:
                self._end_unless_wanted()
                self._loop.after(_LOOK_AGAIN, lambda: None)
            self._loop.turn()

    def _end_unless_wanted(self) -> None:
        """End, with the lock held by which applications start one, so that none comes too late."""
        try:
            lock_fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.stat(self._path).st_ino != self._inode:
                os._exit(0)
        except FileNotFoundError:  # the run directory was cleared: nobody finds the way here
            os._exit(0)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._accept()
            if not self._clients:
                os.unlink(self._path)
                os._exit(0)
        except BlockingIOError:
            return  # who holds the lock is about to connect
        finally:
            os.close(lock_fd)

    def _accept(self, _events: int = 0) -> None:
        try:
            client, _ = self._listening.accept()
        except BlockingIOError:
            return
        self._clients[client.fileno()] = client
        self._loop.add(client.fileno(), lambda _: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        try:
            received = sockets.receive(client)
        except (OSError, ValueError):
            received = None
        if received is None:
            self._part_from(client)
            return
        request, fds = received
        if request["op"] == "hello":
            self._place = request.get("place") or self._place
            # Its children may hold the connection too, so that its end is not told by that.
            if client.fileno() not in self._owners:
                owner_fd = self._owners[client.fileno()] = fds.pop()
                self._loop.add(owner_fd, lambda _: self._part_from(client))
            tell(client, {"pid": os.getpid(), "place": self._place})
        elif request["op"] == "supervise":
            if not self._take_spare(request, client, fds):
                self._bear(request, client, fds)
            self._part_from(client)
            self._expect(request)
        for fd in fds:
            os.close(fd)

    def _part_from(self, client: socket.socket) -> None:
        owner_fd = self._owners.pop(client.fileno(), -1)
        if owner_fd >= 0:
            self._loop.remove(owner_fd)
            os.close(owner_fd)
        self._loop.remove(client.fileno())
        del self._clients[client.fileno()]
        client.close()
        if not self._owners:
            self._forgo_spare()

    def _bear(self, order: dict[str, Any], channel: socket.socket, fds: list[int]) -> None:
        try:
            _, pidfd = self._fork(channel)
        except OSError as error:
            tell(channel, {"failed": str(error), "errno": error.errno or 0})
            return
        if pidfd < 0:
            begin(order, channel, fds, detached_layers=self._detached_layers)
        self._supervisors.add(pidfd)

    def _fork(self, channel: socket.socket | None) -> tuple[int, int]:
        """Fork into a new PID and mount namespace; gives pid and pidfd, -1 for it in the child."""
        flags = namespaces.CLONE_NEWPID | namespaces.CLONE_NEWNS
        pid, pidfd = namespaces.clone3(flags)
        if pid != 0:
            self._loop.add(pidfd, lambda _: self._bury(pidfd))
            return pid, pidfd
        self._loop.close()
        self._listening.close()
        for other in self._clients.values():
            if other is not channel:
                other.close()
        for other_fd in (*self._supervisors, *self._owners.values()):
            os.close(other_fd)
        self._forgo_spare()
        return pid, -1

    def _take_spare(self, order: dict[str, Any], channel: socket.socket, fds: list[int]) -> bool:
        spare, self._spare = self._spare, None
        if spare is None or not spare.take(order, channel, fds):
            return False
        self._supervisors.add(spare.pidfd)
        return True

    def _expect(self, order: dict[str, Any]) -> None:
        """Have a spare soon that suits a container like this one."""
        self._expected = Likeness.of(order)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(_AFTER_A_START, self._ready_spare)

    def _ready_spare(self) -> None:
        if not self._owners or self._expected is None or self._spare is not None:
            return
        spare = Spare()
        try:
            pid, pidfd = self._fork(None)
        except OSError:  # a start would fail as well, and be told
            spare.close()
            return
        if pidfd < 0:
            spare.wait(self._expected, detached_layers=self._detached_layers)
        spare.born(pid, pidfd)
        self._spare = spare

    def _forgo_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def _bury(self, pidfd: int) -> None:
        self._loop.remove(pidfd)
        self._supervisors.discard(pidfd)
        if self._spare is not None and self._spare.pidfd == pidfd:
            self._forgo_spare()
        processes.wait(pidfd)
        os.close(pidfd)


def begin(
    order: dict[str, Any], channel: socket.socket, fds: list[int], *, detached_layers: bool
) -> NoReturn:
    """Be the supervisor that `order` describes, in the new process."""
    try:
        laid = ground.lay(order["run"], detached_layers=detached_layers)
    except BaseException as error:  # nothing may return into the nursery's code
        tell(channel, {"failed": f"the supervisor failed: {error}", "errno": 0})
        os._exit(1)
    supervise(order, channel, fds, laid)


def main(path: str) -> NoReturn:
    """Become the nursery that listens on descriptor 3, as nobody's child."""
    if namespaces.clone3(0)[0] != 0:
        os._exit(0)
    os.setsid()
    null_fd = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null_fd, 2)  # what the application writes to is not to be held open
    os.chdir("/")
    os.umask(0)
    processes.close_from(LISTENING_FD + 1)
    processes.close_on_exec_from(LISTENING_FD)
    processes.set_dumpable(False)
    processes.set_name("nursery")
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    nursery = Nursery(path)
    gc.collect()
    gc.disable()
    gc.freeze()
    nursery.run()
