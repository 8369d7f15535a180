"""The nursery's client: find the fork server of supervisors, or start one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import pycontainers
from pycontainers.errors import EngineError
from pycontainers.kernel import processes, sockets
from pycontainers.lifecycle.launch import Running
from pycontainers.lifecycle.spawn import spawn

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainers.kernel.cgroups.host import Host

_LISTENING_FD: Final = 3
_BACKLOG: Final = 128
_ATTEMPTS: Final = 20  # with nurseries that end, or are killed, one after the other
_GONE: Final = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, BrokenPipeError)


class Nursery:
    """This process's hold on the nursery of a data root, network, Python and version of ours.

    While it is held, the nursery stays.
    """

    def __init__(self, run_directory: Path, root: str, cgroups: Host) -> None:
        self.cgroups = cgroups
        self._directory = run_directory / "nurseries"
        network = str(os.stat("/proc/thread-self/ns/net").st_ino)  # noqa: PTH116
        named = "\0".join(
            [root, network, sys.executable, pycontainers.__file__, pycontainers.__version__]
        )
        self._path = self._directory / hashlib.sha256(named.encode()).hexdigest()[:16]
        self._hold: socket.socket | None = None
        self._lock = threading.Lock()

    def ready(self) -> None:
        """Have the nursery there, and cgroups a place; raises EngineError, NotSupported."""
        with self._lock:
            if self._hold is not None and not _has_ended(self._hold):
                return
            self._release()
            self._hold = self._found()

    def supervise(self, order: dict[str, Any], fds: list[int]) -> Running:
        """Have a supervisor born that carries out `order`; the descriptors stay the caller's."""
        for _ in range(_ATTEMPTS):
            self.ready()
            try:
                channel = sockets.connect(str(self._path))
            except _GONE:  # the run directory may have been cleared under a living nursery
                self.close()
                continue
            try:
                sockets.send(channel, order, tuple(fds))
            except _GONE:
                channel.close()
                continue
            return Running(channel, outlives=True)
        raise EngineError("the nursery of supervisors ends again and again", hint="try again")

    def close(self) -> None:
        """Let the nursery go; it ends when nobody else holds it and no supervisor lives."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _found(self) -> socket.socket:
        """Connect and find out where cgroups are; the first to come starts and settles it."""
        with contextlib.suppress(*_GONE):
            hold, known = self._greeted()
            if known["place"] or not self.cgroups.moves_helpers:
                self.cgroups.adopt(0, known["place"])
                return hold
            hold.close()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._starting():
            for _ in range(_ATTEMPTS):
                try:
                    hold, known = self._greeted()
                except _GONE:
                    self._start()
                    continue
                place = self.cgroups.adopt(known["pid"], known["place"])
                if place != known["place"]:
                    _hello(hold, place)
                return hold
        raise EngineError("the nursery of supervisors can't be started", hint="try again")

    def _greeted(self) -> tuple[socket.socket, dict[str, Any]]:
        hold = sockets.connect(str(self._path))
        try:
            return hold, _hello(hold)
        except BaseException:
            hold.close()
            raise

    @contextlib.contextmanager
    def _starting(self) -> Any:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._directory / "lock", flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _start(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            self._path.unlink(missing_ok=True)
            listening.bind(str(self._path))
            listening.listen(_BACKLOG)
            pidfd, _ = spawn("nursery", str(self._path), {_LISTENING_FD: listening.fileno()})
        try:
            with contextlib.suppress(OSError):  # reaped by the application's own waitpid(-1)
                processes.wait(pidfd)  # the nursery itself is its child, and nobody's
        finally:
            os.close(pidfd)


def _hello(hold: socket.socket, place: str = "") -> dict[str, Any]:
    owner_fd = processes.pidfd_open(os.getpid())
    try:
        sockets.send(hold, {"op": "hello", "place": place}, (owner_fd,))
    finally:
        os.close(owner_fd)
    received = sockets.receive(hold)
    if received is None:
        raise ConnectionResetError
    return received[0]


def _has_ended(hold: socket.socket) -> bool:
    try:
        return not hold.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
