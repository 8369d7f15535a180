"""The relay: a process that carries connections and datagrams from the host to a container.

It holds no privilege and nothing but its sockets.  When nothing has come for a while it ends, and
its supervisor waits for the next.
"""

from __future__ import annotations

import errno
import functools
import gc
import os
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.kernel import capabilities, processes
from pycontainers.runtime.carrying import Connection, Pipes, close, connect, tune
from pycontainers.runtime.datagrams import Datagrams
from pycontainers.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.runtime.datagrams import Sender
    from pycontainers.runtime.proxy import Published

_IDLE: Final = 90.0  # seconds without a datagram after which a client is forgotten
_SWEEP: Final = 30.0
_MOST: Final = 4096  # connections, and as many clients of UDP
_PAUSE: Final = 0.2  # seconds until descriptors may be there again
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def serve(published: Sequence[Published]) -> NoReturn:
    """Be the relay of these ports, in a fork of the supervisor; ends by an error or in silence."""
    gc.freeze()  # the supervisor's objects must not close descriptors that have new owners
    processes.set_name("relay")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # splice(2) has no MSG_NOSIGNAL
    _keep_only([one.fd for one in published])
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    relay = Relay(published, min(_MOST, limit // 8))  # a connection has two sockets and two pipes
    capabilities.drop_bounding(0)
    capabilities.apply(0, 0, 0, 0)
    capabilities.no_new_privs()
    while True:
        relay.loop.turn()


def _keep_only(kept: Sequence[int]) -> None:
    """Close all descriptors but the standard ones and these."""
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    processes.close_from(first)


class Relay:
    """All ports, connections and clients; at most `most` of the last two."""

    def __init__(self, published: Sequence[Published], most: int) -> None:
        self.loop = Loop()
        self.pipes = Pipes()
        self.senders: dict[tuple[Any, ...], Sender] = {}  # by their last use
        self._most = most
        self._connections: set[Connection] = set()
        self._listening: dict[int, tuple[socket.socket, tuple[str, int]]] = {}
        self._used = time.monotonic()
        for one in published:
            sock = socket.socket(fileno=one.fd)
            sock.setblocking(False)
            target = (one.address, one.port)
            if one.protocol == "udp":
                Datagrams(self, sock, target)
            else:
                tune(sock)  # the sockets accepted from it have the same options
                self._listening[one.fd] = sock, target
        self._resume()
        self.loop.after(_SWEEP, self._sweep)

    def _resume(self) -> None:
        for fd in self._listening:
            self.loop.add(fd, functools.partial(self._accept, *self._listening[fd]))

    def _pause(self) -> None:
        for fd in self._listening:
            self.loop.remove(fd)

    def _accept(self, listening: socket.socket, target: tuple[str, int], _events: int) -> None:
        if len(self._connections) >= self._most:
            self._pause()
            return
        try:
            client, _ = listening.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause()
                self.loop.after(_PAUSE, self._resume)
            return  # else it is gone again
        self._connect(client, target)

    def _connect(self, client: socket.socket, target: tuple[str, int]) -> None:
        client.setblocking(False)
        try:
            own = connect(*target)
        except OSError:
            close(client, reset=True)
            return
        self._connections.add(Connection(self, client, own))

    def forget(self, connection: Connection) -> None:
        """Take in the end of a connection."""
        if len(self._connections) >= self._most:
            self._resume()
        self._connections.discard(connection)
        self._used = time.monotonic()

    def make_room(self) -> None:
        """Forget the client of UDP that has been idle for the longest, if there are too many."""
        if len(self.senders) >= self._most:
            next(iter(self.senders.values())).close()

    def _sweep(self) -> None:
        """Forget idle clients; end where nothing is left, and has not been for a while."""
        now = time.monotonic()
        for sender in list(self.senders.values()):
            if now - sender.used < _IDLE:
                break
            sender.close()
        if not self._connections and not self.senders and now - self._used >= _IDLE:
            os._exit(0)
        self.loop.after(_SWEEP, self._sweep)
