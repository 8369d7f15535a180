"""The owner of one container: starts it, keeps its log and state, restarts it, and buries it.

It is process 1 of a PID namespace in which the container lives, so that nothing of the container
outlives it.  Whoever may use the container's socket can ask it; one connection is one request.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.kernel import namespaces, processes
from pycontainers.kernel.cgroups import base
from pycontainers.runtime import journal, state
from pycontainers.runtime.answers import tell
from pycontainers.runtime.ground import host_number
from pycontainers.runtime.health import Health
from pycontainers.runtime.log import Log
from pycontainers.runtime.loop import Loop
from pycontainers.runtime.program import Ended, Program
from pycontainers.runtime.proxy import Published, Relay
from pycontainers.runtime.requests import Requests
from pycontainers.runtime.streams import Client, Streams

if TYPE_CHECKING:
    from pycontainers.runtime.ground import Ground
    from pycontainers.runtime.loop import Timer

_KILLED: Final = 128 + signal.SIGKILL
_FIRST_PAUSE: Final = 0.1  # seconds before a restart, doubled each time, as Docker's
_LONGEST_PAUSE: Final = 60.0
_LASTED: Final = 10.0  # seconds after which a program counts as started well
_PARTING: Final = 10.0  # seconds that clients get to read what is left


class Supervisor:
    """One container from a start on until it has ended for good."""

    def __init__(
        self,
        order: dict[str, Any],
        channel: socket.socket,
        fds: list[int],
        ground: Ground,
    ) -> None:
        self.order = order
        self.directory: str = order["directory"]
        self.loop = Loop()
        self.state = state.load(self.directory)
        self.clients_of_end: list[socket.socket] = []
        self.clients_of_start: list[socket.socket] = []
        self.stopped = False  # whether somebody wants it not to run
        self.again = False  # whether it is to be started again at once
        self.timed_out = False
        self._host_proc_fd = ground.host_proc_fd
        self._me = [host_number(ground.host_proc_fd), processes.start_time(1) or 0]
        self._pause = _FIRST_PAUSE
        self._timers: dict[str, Timer] = {}
        log = Log(self.directory, **order["log"])
        self.streams = Streams(self.loop, log, stdin=order["stdin"], tty=order["tty"])
        self._lock_fd, *rest = fds
        if order["attached"]:
            owner_fd = rest.pop(0)
            self.loop.add(owner_fd, lambda _: self.end_with_owner(owner_fd))
        self.shared_fd = rest.pop(0) if order["joins"] else -1
        ports = [Published(rest.pop(0), *relay) for relay in order["relays"]]
        ends = [rest.pop(0) for _ in order["attach"] or ()]
        self.given = rest
        self.ranges = ground.ranges
        self.program = Program(self, ground.detached_layers, ground.newborn)
        self.relay = Relay(self.loop, lambda: namespaces.clone3(0), ports)
        self.health = Health(self, order["health"]) if order["health"] else None
        self.requests = Requests(self)
        self.clients_of_start.append(channel)
        if order["attach"] is not None:
            self.requests.attach(channel, order["attach"], ends)

    def run(self) -> NoReturn:
        """Start the program, and see to everything until nothing is left to do."""
        self.program.start()
        while True:
            self.loop.turn()

    # What is written down and told.

    def note(self, **changed: Any) -> None:
        """Write the container's state down."""
        self.state = self.state._replace(**changed)
        state.store(self.directory, self.state)

    def tell_journal(self, action: str, **attributes: str) -> None:
        """Write an event down."""
        known = {**self.order["attributes"], **attributes}
        journal.append(self.order["events"], action, self.order["id"], known)

    def change_uses(self, uses: list[list[Any]]) -> None:
        """Take in what the container uses from now on, and write down what has changed."""
        before, self.order["uses"] = self.order["uses"], uses
        if self.program.runs:
            events = self.order["events"]
            journal.append_uses(events, [use for use in before if use not in uses], begin=False)
            journal.append_uses(events, [use for use in uses if use not in before], begin=True)

    def host_pid(self, pidfd: int) -> int | None:
        """Give the host's number of a process; None once it has ended."""
        path = f"self/fdinfo/{pidfd}"
        flags = os.O_RDONLY | os.O_CLOEXEC
        fd = os.open(path, flags, dir_fd=self._host_proc_fd)
        try:
            text = os.read(fd, 4096).decode()
        finally:
            os.close(fd)
        pid = int(text.partition("Pid:")[2].split()[0])
        return pid if pid > 0 else None

    # The program's course.

    def began(self) -> None:
        """Take in that the program has been executed."""
        self.note(
            status="running",
            pid=self.host_pid(self.program.pidfd),
            supervisor=self._me,
            cgroup=self.order["start"]["cgroup"],
            started=time.time(),
            stopped=False,
            error="",
            health=self.health.begin() if self.health else None,
        )
        journal.append_uses(self.order["events"], self.order["uses"], begin=True)
        self.tell_journal("start")
        for channel in self.clients_of_start:
            tell(channel, {"started": self.state.pid}, (self.program.pidfd,))
        self._part(self.clients_of_start)
        if self.order["timeout"] is not None:
            self._timers["timeout"] = self.loop.after(self.order["timeout"], self._expire)

    def failed(self, account: dict[str, Any]) -> None:
        """Take in that the program could not be started, after all made for it is undone."""
        again = self.state.status == "restarting"
        self.relay.close()
        self.note(
            status="exited" if again else self.state.status,
            error=f"cannot {account['doing']}: {account['detail']}",
            exit_code=127 if again else self.state.exit_code,
            pid=None,
            supervisor=None,
            cgroup=None,
        )
        for channel in self.clients_of_start:
            tell(channel, account)
        self.leave()

    def ended(self, ended: Ended) -> None:
        """Take in that the program has ended, and decide what comes next."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.streams.drain()
        if self.health:
            self.health.stop()
        code = ended.exit.status
        oom = bool(ended.usage.oom_kills) and code == _KILLED
        reason = "oom" if oom else "signal" if ended.exit.signal else "exited"
        lasted = time.time() - (self.state.started or 0.0)
        known = {
            "exit_code": code,
            "reason": "timeout" if self.timed_out else reason,
            "finished": time.time(),
            "pid": None,
            "usage": {**ended.usage._asdict(), "wall": lasted, "io": ended.io,
                      "cpu": ended.exit[2:]},
        }  # fmt: skip
        again = self.again or self._wants_restart(code)
        if not again:
            self.relay.close()  # whoever hears of the end may want the ports
        if again:
            self.note(status="restarting", restarts=self.state.restarts + (not self.again), **known)
        else:
            self.note(status="exited", supervisor=None, cgroup=None, stopped=self.stopped, **known)
        if ended.usage.oom_kills:
            self.tell_journal("oom")
        self.tell_journal("die", exitCode=str(code), execDuration=str(int(lasted)))
        journal.append_uses(self.order["events"], self.order["uses"], begin=False)
        if self.stopped and not self.again:
            self.tell_journal("stop")
        for channel in self.clients_of_end:
            tell(channel, ended.message())
        self._part(self.clients_of_end)
        self.timed_out = False
        if not again:
            self.leave(ended)
        elif self.again:
            self.again = False
            self.program.start()
        else:
            self._pause = _FIRST_PAUSE if lasted >= _LASTED else self._pause
            self._timers["restart"] = self.loop.after(self._pause, self.program.start)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _wants_restart(self, code: int) -> bool:
        name, most = self.order["restart"]
        if self.stopped or name == "no":
            return False
        if name == "on-failure":
            return code != 0 and (not most or self.state.restarts < most)
        return True

    def stop(self, number: int, grace: float) -> None:
        """Have the program end: its signal, then after `grace` seconds SIGKILL.

        What process 1 neither handles nor could die of is not waited for.
        """
        if self.program.pidfd < 0:  # it is between two starts
            self._timers.pop("restart").cancel()
            self.give_up_restart()
            return
        if not self.program.signal(number):
            return
        if number != signal.SIGKILL and self.program.handles(number) and grace > 0:
            self._timers["grace"] = self.loop.after(grace, self.program.kill)
        else:
            self.program.kill()
        self.thaw()

    def thaw(self) -> None:
        """Let a paused program go on, so that it can end."""
        if self.state.status == "paused" and self.program.cgroup is not None:
            self.program.cgroup.thaw()
            self.note(status="running")

    def give_up_restart(self) -> None:
        """Be ended while a restart was to come: start at once if asked to, else be gone."""
        if self.again:
            self.again = False
            self.program.start()
            return
        self.relay.close()
        self.note(status="exited", supervisor=None, cgroup=None, stopped=True)
        self.tell_journal("stop")
        code = self.state.exit_code or 0
        for channel in self.clients_of_end:
            exit_ = processes.Exit(code, 0, 0.0, 0.0)
            tell(channel, Ended(exit_, base.Usage(), None).message())
        self._part(self.clients_of_end)
        self.leave()

    def _expire(self) -> None:
        self.timed_out = self.stopped = True
        self.program.kill()

    def end_with_owner(self, owner_fd: int) -> None:
        """End, as the application has that the container belongs to."""
        self.loop.remove(owner_fd)
        self.stopped, self.again = True, False
        self.stop(signal.SIGKILL, 0)

    # The end.

    def leave(self, ended: Ended | None = None) -> None:
        """Be gone, once the clients that are attached have read what there is."""
        self.requests.close()
        deadline = time.monotonic() + _PARTING
        self.loop.after(_PARTING, lambda: None)
        while self.streams.clients and time.monotonic() < deadline:
            for client in list(self.streams.clients):
                if self.streams.finish(client):
                    self.part_from(client, ended)
            if self.streams.clients:
                self.loop.turn()
        # Workers and the relay would end with this process 1 of theirs; but its end waits for its
        # netfilter socket, 10 ms and more, and whoever wants the lock should not.
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os.close(self._lock_fd)
        os._exit(0)

    def part_from(self, client: Client, ended: Ended | None) -> None:
        """Tell a client how the program ended, and let it go."""
        if ended is not None:
            tell(client.channel, ended.message())
        self.streams.drop(client)
        self.loop.remove(client.channel.fileno())
        client.channel.close()

    def _part(self, channels: list[socket.socket]) -> None:
        attached = [client.channel for client in self.streams.clients]
        for channel in channels:
            if channel not in attached:
                self.loop.remove(channel.fileno())
                channel.close()
        channels.clear()


def supervise(
    order: dict[str, Any], channel: socket.socket, fds: list[int], ground: Ground
) -> NoReturn:
    """Be the supervisor that `order` describes."""
    supervisor: Supervisor | None = None
    try:
        processes.set_name("supervisor")
        supervisor = Supervisor(order, channel, fds, ground)
        supervisor.run()
    except BaseException as error:  # nothing may return into the nursery's code
        account = f"the supervisor failed: {type(error).__name__}: {error}"
        if supervisor is not None:
            supervisor.note(error=account)
        tell(channel, {"failed": account, "errno": getattr(error, "errno", 0)})
    finally:
        os._exit(1)
