"""The launcher's client: start it, ask it, and hold what it started.

Every request brings its own socket for the answers, so that any number of threads can ask at once
without a lock or a thread of ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import (
    BadExecutable,
    CommandNotFound,
    Conflict,
    EngineError,
    KernelError,
    LaunchError,
    PermissionDenied,
    Timeout,
)
from pycontainers.kernel import processes, sockets
from pycontainers.kernel.cgroups.base import Usage
from pycontainers.kernel.processes import Exit
from pycontainers.lifecycle.spawn import spawn
from pycontainers.runtime.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CONTROL_FD: Final = 3
_OWNER_FD: Final = 4
_KILLED: Final = Exit(128 + signal.SIGKILL, signal.SIGKILL, 0.0, 0.0)
_UNABLE: Final = (errno.EPERM, errno.ENOSYS, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)
# EBADF: another thread has found it dead, and closed it, a moment before.
_GONE: Final = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)
_LOOK_AGAIN: Final = 0.05  # seconds: another thread may have taken the message that is awaited
_PATIENCE: Final = 10.0  # seconds until the kernel has ended what it has killed


class End(NamedTuple):
    """How a process of a container ended, and what its container used until then."""

    exit: Exit
    usage: Usage
    io: tuple[int, int] | None
    at: float


class Running:
    """A process that the launcher started: a container's init, a program in it, or a worker.

    It ends with its launcher: where that was killed, so was the process, and `lost` is true.
    """

    def __init__(
        self,
        channel: socket.socket,
        status: socket.socket | None = None,
        *,
        outlives: bool = False,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        self._on_loss = on_loss
        self._outlives = outlives  # whether the process may go on when nothing more is told of it
        self.lost = False
        self.is_work = False
        self.began = time.monotonic()
        self.pidfd = -1
        self.terminal_fd = -1
        self.failure: LaunchError | Conflict | None = None
        self.answer: dict[str, Any] = {}  # a worker's
        self.end: End | None = None
        self._channel = channel
        self._status = status
        self._lock = threading.Lock()
        channel.setblocking(False)
        if status is not None:
            status.setblocking(False)

    def why(self) -> str:
        """Say in a few words what kept the process from what it was to do."""
        failure = self.failure
        return str(failure.strerror if isinstance(failure, LaunchError) else failure)

    def never_began(self) -> bool:
        """Whether the launcher was killed before it had given the process its orders."""
        return self.lost and self.pidfd < 0

    def fileno(self) -> int:
        """Give the descriptor that is readable when there is news; for poll(2)."""
        return self._channel.fileno()

    def wait_started(self) -> None:
        """Wait until the program has been executed; raise what kept it from that.

        Raises LaunchError, after all that was made for the start has been undone.
        """
        while (status := self._read_status()) is not None:
            _await([status, self.fileno()], _LOOK_AGAIN)
            if self.news() is not None:
                self._read_status()
                break
        self._await_pidfd()
        if self.failure is not None:
            self.wait()
            raise self.failure

    def wait(self, timeout: float | None = None) -> End:
        """Wait for the end, `timeout` seconds at the most; raises Timeout."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (end := self.news()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise Timeout(f"the process did not end within {timeout} s")
            _await([self.fileno()], left)
        self._read_status()
        return end

    def news(self) -> End | None:
        """Take in what the launcher has said; give the end, once there is one."""
        with self._lock:
            while self.end is None:
                try:
                    received = sockets.receive(self._channel)
                except BlockingIOError:
                    return None
                except OSError:
                    received = None
                if received is None:
                    self._lose()
                else:
                    self._take(*received)
            return self.end

    def signal(self, number: int) -> bool:
        """Send a signal to the process; False where it has ended."""
        self._await_pidfd()
        with self._lock:
            if self.pidfd < 0 or self.end is not None:
                return False
            return processes.send_signal(self.pidfd, number)

    def say(self, message: dict[str, Any]) -> None:
        """Tell a supervisor something more; where it has gone, its end has been told."""
        with self._lock, contextlib.suppress(OSError):
            sockets.send(self._channel, message)

    def pid(self) -> int | None:
        """Give the process's number on the host, None once it has ended."""
        with self._lock:
            if self.pidfd < 0 or self.end is not None:
                return None
            pid = processes.pid_of(self.pidfd)
            return pid if pid > 0 else None

    def close(self) -> None:
        """Let the descriptors go; the process itself goes on."""
        with self._lock:
            for fd in (self.pidfd, self.terminal_fd):
                if fd >= 0:
                    os.close(fd)
            self.pidfd = self.terminal_fd = -1
            self._channel.close()
            if self._status is not None:
                self._status.close()
                self._status = None

    def __del__(self) -> None:
        self.close()

    def _await_pidfd(self) -> None:
        while self.news() is None and self.pidfd < 0:
            _await([self.fileno()], _LOOK_AGAIN)

    def _lose(self) -> None:
        """Take in that the launcher is gone: what it had started is killed with it, or has been."""
        self.lost = True
        if self.fileno() >= 0 and self._on_loss is not None:
            self._on_loss()
        if self.is_work:
            self.failure = LaunchError(
                "do the work", 0, "the launcher was killed", hint="try again"
            )
        if self.pidfd >= 0 and not self._outlives:
            processes.send_signal(self.pidfd, signal.SIGKILL)
            _await([self.pidfd], _PATIENCE)
        self.end = End(_KILLED, Usage(), None, time.monotonic())

    def _take(self, message: dict[str, Any], fds: list[int]) -> None:
        if "started" in message:
            (self.pidfd,) = fds
        elif "exited" in message:
            io = message["io"]
            self.end = End(
                Exit(*message["exited"]),
                Usage(*message["usage"]),
                (io[0], io[1]) if io else None,
                time.monotonic(),
            )
        elif "conflict" in message:
            self.failure = Conflict(f"the container is {message['conflict']}")
            self.end = End(_KILLED, Usage(), None, time.monotonic())
        else:
            if self.failure is None:
                self.failure = launch_error(message)
            if message.get("end_follows"):
                return  # the launcher kills what it began, and tells of that end
            self.end = End(Exit(127, 0, 0.0, 0.0), Usage(), None, time.monotonic())

    def _read_status(self) -> int | None:
        """Take in what init has said; None once it has become its program, or has ended.

        Else gives the descriptor that tells more.
        """
        with self._lock:
            while self._status is not None:
                try:
                    data, fds, _, _ = socket.recv_fds(self._status, 1 << 16, 1)
                except BlockingIOError:
                    return self._status.fileno()
                except ConnectionResetError:
                    data = b""
                if not data:
                    self._status.close()
                    self._status = None
                elif data[:1] == b"j":
                    (self.terminal_fd,) = fds
                    os.set_inheritable(self.terminal_fd, False)
                elif (account := json.loads(data)).get("step") is None:
                    self.answer = account
                else:
                    # Init's own account is nearer to the cause than the launcher's.
                    self.failure = launch_error(account)
            return None


def _await(fds: list[int], timeout: float | None) -> None:
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(None if timeout is None else max(0.0, timeout * 1000))


def launch_error(message: dict[str, Any]) -> LaunchError:
    """Make an error of a helper's account of what failed."""
    number = int(message.get("errno") or 0)
    detail = str(message.get("detail") or message.get("failed"))
    doing = str(message.get("doing") or "ask the launcher")
    kind: type[LaunchError] = LaunchError
    if message.get("step") == "Execute":
        kind = {
            errno.ENOENT: CommandNotFound,
            errno.ENOTDIR: CommandNotFound,
            errno.EACCES: PermissionDenied,
            errno.EPERM: PermissionDenied,
            errno.ELOOP: PermissionDenied,
            errno.ENOEXEC: BadExecutable,
        }.get(number, LaunchError)
    hint = message.get("hint")
    if hint is None and kind is LaunchError and number in _UNABLE:
        hint = "pycontainers.doctor() tries what containers need here, and names what is missing"
    return kind(doing, number, detail, hint=hint)


class Launcher:
    """The application's side of one launcher process; usable from all threads."""

    def __init__(self, run_directory: Path) -> None:
        self._control, theirs = sockets.pair()
        self._dead = False
        owner_fd = processes.pidfd_open(os.getpid())
        try:
            boot, fds = "launcher", {_CONTROL_FD: theirs.fileno(), _OWNER_FD: owner_fd}
            self._guard, self.pid = spawn(boot, str(run_directory), fds)
        finally:
            theirs.close()
            os.close(owner_fd)

    def alive(self) -> bool:
        """Whether the launcher still serves."""
        return not self._dead and not processes.has_ended(self._guard)

    def note_death(self) -> None:
        """Take note that it serves no more; the guard's end comes a little later."""
        self._dead = True

    def start(
        self,
        plan: Plan,
        stdio: list[int],
        given: list[int],
        following: dict[str, Any] | None = None,
    ) -> Running:
        """Have a container started; the descriptors stay the caller's.

        `following` is the cgroup that a spare container is made in, in its plain form.
        """
        request = {"op": "start", **plan.plain(), "stdio": len(stdio), "next": following}
        return self._ask(request, [*stdio, *given])

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        """Have a jailed worker started."""
        running = self._ask({"op": "work", "work": work}, fds)
        running.is_work = True
        return running

    def home(self, name: str, wires: list[list[Any]]) -> Running:
        """Have a home made, with these packed cables, that the births of plans can name."""
        channel, theirs = sockets.pair()
        running = Running(channel, on_loss=self.note_death)
        try:
            self._send({"op": "home", "home": name, "wires": wires}, theirs, [])
        except BaseException:
            running.close()
            raise
        return running

    def leave(self, name: str) -> None:
        """Have a home ended in which nothing runs any more; raises EngineError."""
        self._answer({"op": "leave", "home": name})

    def report(self) -> dict[str, Any]:
        """Ask what the launcher has loaded and holds."""
        return self._answer({"op": "report"})

    def close(self) -> None:
        """Have the launcher kill all its containers, and wait for its end."""
        with contextlib.suppress(OSError):
            sockets.send(self._control, {"op": "end"})
        with contextlib.suppress(KernelError):  # reaped by the application's own waitpid(-1)
            processes.wait(self._guard)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the descriptors, as a forked child must."""
        self._control.close()
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        ours, theirs = sockets.pair()
        with ours:
            self._send(request, theirs, [])
            try:
                received = sockets.receive(ours)
            except OSError:
                received = None
        if received is None:
            self._dead = True
            raise EngineError("the launcher has ended")
        return received[0]

    def _ask(self, request: dict[str, Any], fds: list[int]) -> Running:
        channel, their_channel = sockets.pair()
        status, their_status = sockets.pair()
        running = Running(channel, status, on_loss=self.note_death)
        try:
            with their_status:
                self._send(request, their_channel, [their_status.fileno(), *fds])
        except BaseException:
            running.close()
            raise
        return running

    def _send(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> None:
        with channel:
            try:
                sockets.send(self._control, request, (channel.fileno(), *fds))
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self._dead = True
                raise EngineError("the launcher has ended", hint="try again") from None
