"""The fork server: takes plans, gives birth to containers, owns the attached ones, and buries them.

It is two processes.  The guard, the application's child, only waits; its child, the launcher
itself, is process 1 of a PID namespace in which all its containers live: when the launcher ends,
for whatever reason, the kernel kills every one of them, and no container can escape that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.errors import KernelError
from pycontainers.kernel import mounts, namespaces, processes, sockets
from pycontainers.kernel.cgroups import base
from pycontainers.runtime import overlay, plan, worker
from pycontainers.runtime.answers import failure, io_of, tell
from pycontainers.runtime.birth import Doing, bring_to_life, give_orders
from pycontainers.runtime.home import Home
from pycontainers.runtime.preparation import Newborn
from pycontainers.runtime.ranges import IdRanges
from pycontainers.runtime.zygote import Zygote, ZygoteEndedError

if TYPE_CHECKING:
    from collections.abc import Callable

CONTROL_FD: Final = 3
OWNER_FD: Final = 4
_PASSED_OVER: Final = 16  # times a spare is, before it is given up
_BIRTHS: Final = 32  # known at one time
_STAYS_FAST: Final = 0.03  # seconds
_AFTER_A_START: Final = 0.05
_AFTER_AN_END: Final = 0.002


class Live:
    """A process that the launcher has started for the application and will reap."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel
        self.newborn: Newborn | None = None  # of a container's init, or a home
        self.home = ""


class Launcher:
    """The loop over requests, ends of processes, and the end of the application."""

    def __init__(self, run_directory: str, zygote: Zygote, guard_fd: int) -> None:
        self.control = socket.socket(fileno=CONTROL_FD)
        self.poll = select.epoll()
        self.poll.register(CONTROL_FD, select.EPOLLIN)
        self.poll.register(OWNER_FD, select.EPOLLIN)
        self.poll.register(guard_fd, select.EPOLLIN)
        self.poll.register(zygote.fileno(), select.EPOLLIN)
        self.guard_fd = guard_fd
        self.live: dict[int, Live] = {}
        self.ranges = IdRanges(run_directory)
        self.detached_layers = overlay.takes_detached_layers()
        self.zygote = zygote
        self.homes: dict[str, Home] = {}
        self.doing = Doing()
        self.spares: dict[str, Newborn] = {}  # at most one of a home, and one that is in none
        self.wanted: dict[str, tuple[str, dict[str, Any] | None]] = {}  # births, and their cgroups
        self.expected: tuple[str, socket.socket, Zygote] | None = None
        self.following: dict[str, Any] | None = None  # the cgroup that the one expected shall have
        self.postponed: float | None = None  # seconds from now, for the spare
        self.joined = 0.0  # when one last joined its cgroup
        self.births: dict[str, plan.Birth] = {}

    def run(self) -> NoReturn:
        """Serve until the application ends or says so; then kill and clean up."""
        while True:
            events = self.poll.poll(self.postponed)
            if not events:
                self.ready_spare()
            for fd, kinds in events:
                if fd in self.live:
                    self.bury(self.live[fd])
                    if self.postponed is not None:
                        self.postponed = _AFTER_AN_END
                elif fd == self.guard_fd:
                    os._exit(1)  # and so everything in this PID namespace
                elif fd == OWNER_FD or (fd == CONTROL_FD and not self.serve()):
                    self.end()
                elif fd not in (OWNER_FD, CONTROL_FD):
                    self.hear(fd, kinds, alone=len(events) == 1)

    def hear(self, fd: int, kinds: int, *, alone: bool) -> None:
        """Take in what a zygote tells: a birth, or by the end of its socket its own end."""
        if not kinds & select.EPOLLHUP:
            if alone:  # all that somebody waits for comes first
                self.ready_or_postpone()
        elif fd == self.zygote.fileno():
            self.replace_zygote()
        else:
            self.unregister(fd)

    def unregister(self, fd: int) -> None:
        """Listen to a home's zygote no more."""
        with contextlib.suppress(OSError):  # it is done already
            self.poll.unregister(fd)

    def end(self) -> NoReturn:
        """Kill every container and take its cgroup away."""
        self.wanted.clear()
        while self.spares:
            self.spares.popitem()[1].abort(self.ranges)
        for home in self.homes.values():
            self.unregister(home.zygote.fileno())
        for live in self.live.values():
            processes.send_signal(live.pidfd, signal.SIGKILL)
        for fd in (CONTROL_FD, OWNER_FD, self.guard_fd, self.zygote.fileno()):
            self.poll.unregister(fd)
        # As they end, not one by one: a container's init ends after all that were executed in it
        # have been reaped, which is for this process to do.
        while self.live:
            for fd, _ in self.poll.poll():
                self.bury(self.live[fd])
        os._exit(0)

    def serve(self) -> bool:
        """Take one request; False when there will be no more."""
        try:
            received = sockets.receive(self.control)
        except (OSError, ValueError):
            return False
        if received is None or received[0]["op"] == "end":
            return False
        request, fds = received
        serve: Callable[[dict[str, Any], socket.socket, list[int]], None]
        serve = getattr(self, f"do_{request['op']}")
        channel = socket.socket(fileno=fds[0])
        try:
            serve(request, channel, fds[1:])
        except (KernelError, OSError) as error:
            tell(channel, failure(None, error))
        finally:
            for fd in fds[1:]:
                os.close(fd)
        return True

    def do_start(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> None:
        """Start a container: a spare newborn or a new one gets its orders and its mounts."""
        given = fds[1 + request["stdio"] :]
        newborn: Newborn | None = None
        self.doing.step = None
        try:
            newborn = self.newborn(request)
            newborn.given_fds = given
            give_orders(newborn, request, fds, request["stdio"], self.doing)
        except BrokenPipeError:
            pass  # init met an error of its own and tells of it
        except (KernelError, OSError) as error:
            tell(channel, {**failure(self.doing.step, error), "end_follows": newborn is not None})
            if newborn is not None:
                newborn.dismiss()
        if newborn is None:
            return
        live = Live(newborn.pid, newborn.pidfd, channel)
        live.newborn = newborn
        self.watch(live)
        self.wanted[self.birth(request["birth"]).home] = request["birth"], request["next"]
        self.conceive_next()

    def newborn(self, request: dict[str, Any]) -> Newborn:
        """Give the spare newborn, where it was born as asked, or a new one."""
        birth, place = request["birth"], request["cgroup"]
        home = self.birth(birth).home
        spare = self.spares.get(home)
        if spare is not None:
            if spare.serves(birth, place):
                del self.spares[home]
                spare.place = place
                return spare
            # Another thread may be about to ask for it; or never, if it was for a container that
            # is not started.
            spare.passed_over += 1
            if spare.passed_over > _PASSED_OVER or not spare.serves(birth, spare.place):
                del self.spares[home]
                spare.abort(self.ranges)
        return self.give_birth(birth, place)

    def give_birth(self, birth: str, place: dict[str, Any] | None) -> Newborn:
        """Have a container's init cloned, and do for it what its birth asks."""
        home = self.birth(birth).home
        if self.expected is None or self.expected[0] != birth:
            self.conceive(birth)
        try:
            pid, pidfd, ours = self.take_expected()
        except ZygoteEndedError:
            if home:
                raise
            self.replace_zygote()
            self.conceive(birth)
            pid, pidfd, ours = self.take_expected()
        newborn = Newborn(pid, pidfd, ours, birth, place, detached_layers=self.detached_layers)
        newborn.owner_fd = OWNER_FD
        if home:
            newborn.live_in(self.homes[home].place)
        self.joined = time.monotonic()
        bring_to_life(newborn, self.birth(birth).launcher, self.ranges, self.doing)
        return newborn

    def take_expected(self) -> tuple[int, int, socket.socket]:
        """Wait for the newborn that is expected: its pid, a pidfd, and our end of its socket."""
        assert self.expected is not None
        (_, ours, zygote), self.expected = self.expected, None
        if self.postponed is not None:
            self.postponed = None
            self.poll.modify(zygote.fileno(), select.EPOLLIN)
        return *zygote.born(), ours

    def ready_or_postpone(self) -> None:
        """Bring the spare up now or when nothing goes on.

        After a pause the kernel takes milliseconds to let a process join a version 1 cgroup, and
        lets no other process execute or end meanwhile.
        """
        if self.expected is None:
            return
        if not self.joins(self.expected[0]) or time.monotonic() < self.joined + _STAYS_FAST:
            self.ready_spare()
        else:
            self.postponed = _AFTER_A_START
            self.poll.modify(self.expected[2].fileno(), 0)

    def replace_zygote(self) -> None:
        """Have another zygote in the place of one that was killed, with what it had promised."""
        self.poll.unregister(self.zygote.fileno())
        self.zygote.close()
        if self.expected is not None and self.expected[2] is self.zygote:
            self.expected[1].close()
            self.expected = self.postponed = None
        self.zygote = Zygote()
        self.poll.register(self.zygote.fileno(), select.EPOLLIN)

    def ready_spare(self) -> None:
        """Bring the expected newborn up as a spare; what fails now will fail again, and be told."""
        if self.expected is None:
            return
        birth = self.expected[0]
        if self.following is not None or not self.joins(birth):
            with contextlib.suppress(KernelError, OSError):
                self.spares[self.birth(birth).home] = self.give_birth(birth, self.following)
            self.conceive_next()

    def conceive_next(self) -> None:
        """Ask for the next newborn that is to be a spare."""
        while self.expected is None and self.wanted:
            home, (birth, self.following) = self.wanted.popitem()
            if home not in self.spares:
                with contextlib.suppress(ZygoteEndedError):  # of a home, which will be told of
                    self.conceive(birth)

    def birth(self, packed: str) -> plan.Birth:
        """Give a birth that a request names."""
        found = self.births.get(packed)
        if found is None:
            if len(self.births) >= _BIRTHS:
                self.births.clear()
            found = self.births[packed] = plan.Birth.unpack(packed)
        return found

    def joins(self, birth: str) -> bool:
        """Whether joining a cgroup is a part of a birth."""
        return any(isinstance(step, plan.MakeCgroup) for step in self.birth(birth).launcher)

    def conceive(self, packed: str) -> None:
        """Ask for a newborn, which comes while other work is done."""
        if self.expected is not None:
            put_off = self.expected[0]
            self.wanted.setdefault(self.birth(put_off).home, (put_off, self.following))
            self.forgo()
        birth = self.birth(packed)
        if birth.home and birth.home not in self.homes:
            raise ZygoteEndedError
        ours, theirs = sockets.pair()
        zygote = self.homes[birth.home].zygote if birth.home else self.zygote
        with theirs:
            try:
                zygote.conceive(birth, theirs)
            except ZygoteEndedError:
                if birth.home:
                    ours.close()
                    raise
                self.replace_zygote()
                zygote = self.zygote
                zygote.conceive(birth, theirs)
        self.expected = packed, ours, zygote

    def forgo(self) -> None:
        """Do without the newborn that is expected, if any."""
        if self.expected is not None:
            with contextlib.suppress(ZygoteEndedError):
                pid, pidfd, ours = self.take_expected()
                Newborn(pid, pidfd, ours, "", None, detached_layers=False).abort(self.ranges)

    def do_home(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> None:
        """Make a home, which later births can name."""
        self.doing.step = None
        try:
            home = Home(request["wires"], self.ranges, self.doing)
        except (KernelError, OSError) as error:
            tell(channel, failure(self.doing.step, error))
            return
        live = Live(home.place.pid, home.place.pidfd, channel)
        live.newborn, live.home = home.place, request["home"]
        self.homes[live.home] = home
        self.poll.register(home.zygote.fileno(), select.EPOLLIN)
        self.watch(live)

    def do_leave(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> None:
        """End a home in which nothing runs any more."""
        home = self.homes.get(request["home"])
        if home is not None:
            self.clear(request["home"])
            home.place.dismiss()
        tell(channel, {})
        channel.close()

    def clear(self, home: str) -> None:
        """Have no container wait in a home any more."""
        self.wanted.pop(home, None)
        if home in self.spares:
            self.spares.pop(home).abort(self.ranges)
        if self.expected is not None and self.birth(self.expected[0]).home == home:
            self.forgo()
            self.conceive_next()

    def do_work(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> None:
        """Fork a jailed worker, which answers over the status socket."""
        pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET)
        if pid == 0:
            processes.die_with_parent()
            worker.run(request["work"], fds, -1)
        self.watch(Live(pid, pidfd, channel))

    def do_report(self, _: dict[str, Any], channel: socket.socket, __: list[int]) -> None:
        """Tell what this process has loaded and holds, for the tests of its promises."""
        fds = len(os.listdir("/proc/self/fd"))
        told = {"modules": sorted(sys.modules), "live": len(self.live), "fds": fds}
        tell(channel, told | {"spare": [spare.place for spare in self.spares.values()]})
        channel.close()

    def watch(self, live: Live) -> None:
        """Tell the application of a new process, and watch for its end."""
        self.live[live.pidfd] = live
        self.poll.register(live.pidfd, select.EPOLLIN)
        tell(live.channel, {"started": live.pid}, (live.pidfd,))

    def bury(self, live: Live) -> None:
        """Reap an ended process, take its cgroup away and tell the application how it ended."""
        self.poll.unregister(live.pidfd)
        del self.live[live.pidfd]
        if live.home:
            self.clear(live.home)
            self.unregister(self.homes.pop(live.home).zygote.fileno())
        io = io_of(live.pid)
        ended = processes.wait(live.pidfd)
        usage, problem = base.Usage(), None
        if live.newborn is None:
            os.close(live.pidfd)
        else:
            try:
                if live.newborn.cgroup is not None:
                    usage = live.newborn.cgroup.usage()
                    live.newborn.cgroup.remove()
            except (KernelError, OSError) as error:
                problem = str(error)
            live.newborn.close(self.ranges)
        tell(live.channel, {"exited": ended, "usage": usage, "io": io, "problem": problem})
        live.channel.close()


def main(run_directory: str) -> NoReturn:
    """Become guard and launcher; descriptor 3 is the control socket, 4 the owner's pidfd."""
    os.chdir("/")
    os.umask(0)
    processes.close_from(OWNER_FD + 1)
    processes.close_on_exec_from(CONTROL_FD)
    processes.set_dumpable(False)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    gc.disable()
    gc.freeze()
    guard_fd = processes.pidfd_open(os.getpid())
    pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWNS)
    if pid == 0:
        processes.set_name("pycontainers")
        # The host's unmounts reach this namespace, so that it keeps no disk busy; nothing leaves.
        mounts.mount(None, "/", None, mounts.MS_SLAVE | mounts.MS_REC)
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        mounts.mount("proc", "/proc", "proc", flags)
        Launcher(run_directory, Zygote(), guard_fd).run()
    os.close(CONTROL_FD)
    os.close(OWNER_FD)
    os._exit(processes.wait(pidfd).status)
