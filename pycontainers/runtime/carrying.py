"""Connections of TCP carried through pipes by splice(2), so that no byte is copied here.

A side that does not read is waited for, and what is held for it is at most one pipe full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.runtime.loop import READ, WRITE

if TYPE_CHECKING:
    from pycontainers.runtime.relay import Relay

_PIPE: Final = 1 << 20  # bytes
_PIPES: Final = 8
_ROUNDS: Final = 16  # of one connection until others have their turn
_SPARSE: Final = 1 << 16  # bytes; after less than that there is rarely more at once
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_RESET: Final = struct.pack("ii", 1, 0)  # linger for 0 seconds: close(2) sends RST


class _Pipe(NamedTuple):
    reading: int
    writing: int
    size: int

    @classmethod
    def make(cls) -> _Pipe:
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
        except PermissionError:  # the user's share of memory for pipes is in use
            size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        return cls(reading, writing, size)

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


class Pipes:
    """Empty pipes; few are needed, as only a side that has to be waited for keeps one."""

    def __init__(self) -> None:
        # Made while this process has its privileges: a user's many pipes make later ones small.
        self._idle = [_Pipe.make() for _ in range(_PIPES)]

    def take(self) -> _Pipe:
        """Give a pipe that is empty; raises OSError where no more can be made."""
        return self._idle.pop() if self._idle else _Pipe.make()

    def give_back(self, pipe: _Pipe) -> None:
        """Take a pipe that is empty again."""
        if pipe.size >= _PIPE and len(self._idle) < _PIPES:
            self._idle.append(pipe)
        else:
            pipe.close()


class _Flow:
    """One direction of a connection: `held` bytes in its pipe, and whether its source has ended.

    `broken` tells that its sink takes no more, `back` is the other direction.
    """

    __slots__ = ("_pipe", "_pipes", "_sink", "_source", "back", "broken", "ended", "held")
    back: _Flow

    def __init__(self, pipes: Pipes, source: socket.socket, sink: socket.socket) -> None:
        self._pipes = pipes
        self._source = source
        self._sink = sink
        self._pipe: _Pipe | None = None
        self.held = 0
        self.ended = False
        self.broken = False

    @property
    def reads(self) -> bool:
        """Whether it is the source that is waited for."""
        return not self.held and not self.ended and not self.broken

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        return not self.held and (self.ended or self.broken)

    def move(self) -> None:
        """Carry what there is, until a side has to be waited for; raises OSError of the source."""
        carried = _PIPE
        for _ in range(_ROUNDS):
            if not self.held:
                if carried < _SPARSE:
                    return
                carried = self.held = self._fill()
                if not carried:
                    return
            if not self._drain():
                return

    def _fill(self) -> int:
        pipe = self._pipes.take()
        try:
            count = os.splice(self._source.fileno(), pipe.writing, _PIPE, flags=_FLAGS)
        except BlockingIOError:  # not for the pipe, which is empty
            self._pipes.give_back(pipe)
            return 0
        except OSError:
            self._pipes.give_back(pipe)
            raise
        if count:
            self._pipe = pipe
            return count
        self._pipes.give_back(pipe)
        if self.back.broken:  # the error has been told to the writer, and once only
            raise ConnectionResetError
        self.ended = True
        with contextlib.suppress(OSError):  # the sink may have ended as well
            self._sink.shutdown(socket.SHUT_WR)
        return 0

    def _drain(self) -> bool:
        """Empty the pipe into the sink; False where that has to be waited for, or is broken."""
        assert self._pipe is not None
        try:
            while self.held:
                self.held -= os.splice(
                    self._pipe.reading, self._sink.fileno(), self.held, flags=_FLAGS
                )
        except BlockingIOError:
            return False
        except OSError:  # it reads no more, but what it has said before may still be on its way
            self.drop()
            self.broken = True
            return False
        self._pipes.give_back(self._pipe)
        self._pipe = None
        return True

    def drop(self) -> None:
        """Lose what is held."""
        if self._pipe is not None:
            while self.held:
                self.held -= len(os.read(self._pipe.reading, self.held))
            self._pipes.give_back(self._pipe)
            self._pipe = None


class Connection:
    """A client's connection and the one to the container, with the two flows between them."""

    def __init__(self, relay: Relay, client: socket.socket, target: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._target = target
        self._up = _Flow(relay.pipes, client, target)
        self._down = _Flow(relay.pipes, target, client)
        self._up.back, self._down.back = self._down, self._up
        self._masks = [0, WRITE]
        relay.loop.add(target.fileno(), self._connected, WRITE)

    def _connected(self, _events: int) -> None:
        if self._target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._close(reset=True)
            return
        try:
            self._target.getpeername()
        except OSError:  # the event was an earlier descriptor's of the same number
            return
        self._masks[1] = 0
        self._watch()

    def _hear_client(self, events: int) -> None:
        self._carry(events, self._up, self._down)

    def _hear_target(self, events: int) -> None:
        self._carry(events, self._down, self._up)

    def _carry(self, events: int, from_there: _Flow, to_there: _Flow) -> None:
        # Errors and hang-ups come unasked, and are found by reading or writing.
        try:
            if events & ~WRITE and from_there.reads:
                from_there.move()
            if events & ~READ and to_there.held:
                to_there.move()
        except OSError:
            self._close(reset=True)
            return
        self._watch()

    def _watch(self) -> None:
        """Wait for just what each side is to do next: an ended one would else wake us for ever."""
        up, down = self._up, self._down
        if up.over and down.over:
            self._close(reset=up.broken or down.broken)
            return
        sides = ((self._client, up, down, self._hear_client),
                 (self._target, down, up, self._hear_target))  # fmt: skip
        for index, (sock, from_there, to_there, handler) in enumerate(sides):
            mask = (READ if from_there.reads else 0) | (WRITE if to_there.held else 0)
            if mask != self._masks[index]:
                self._masks[index] = mask
                if mask:
                    self._relay.loop.add(sock.fileno(), handler, mask)
                else:
                    self._relay.loop.remove(sock.fileno())

    def _close(self, *, reset: bool = False) -> None:
        for sock in (self._client, self._target):
            self._relay.loop.remove(sock.fileno())
            close(sock, reset=reset)
        for flow in (self._up, self._down):
            flow.drop()
            del flow.back  # else only the garbage collector would find them
        self._relay.forget(self)


def close(sock: socket.socket, *, reset: bool) -> None:
    """Close a socket, with RST instead of FIN if `reset`."""
    if reset:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def connect(address: str, port: int) -> socket.socket:
    """Begin to connect, without waiting; raises OSError where it can't even begin."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    tune(sock)
    code = sock.connect_ex((address, port))
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def tune(sock: socket.socket) -> None:
    """Set the options that both sides of a connection have."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A side that has vanished from the network is noticed some day.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
