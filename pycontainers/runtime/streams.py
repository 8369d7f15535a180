"""Between a program's standard streams, its log and the clients that are attached to it.

What a client does not read makes the program wait, once its pipe and a buffer of bounded size are
full; the log never does.  All bytes go through as they are.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Final

from pycontainers.runtime.loop import WRITE

if TYPE_CHECKING:
    import socket

    from pycontainers.runtime.log import Log
    from pycontainers.runtime.loop import Loop

_CHUNK: Final = 1 << 16
_FULL: Final = 1 << 20
_PIPE: Final = 1 << 18
_F_SETPIPE_SZ: Final = 1031
_LAST: Final = 64  # chunks that can lie in a pipe of the largest size


class Client:
    """One that is attached: its channel, and its ends of the streams that it wants."""

    def __init__(self, channel: socket.socket, stdin: int, outputs: dict[str, int]) -> None:
        self.channel = channel
        self.stdin = stdin
        self.outputs = outputs
        self.waiting: dict[str, bytearray] = {name: bytearray() for name in outputs}

    def is_full(self) -> bool:
        """Whether no more can be taken for it."""
        return any(len(data) > _FULL for data in self.waiting.values())


class Streams:
    """The supervisor's ends of a program's streams, and who gets what comes out of them."""

    def __init__(self, loop: Loop, log: Log, *, stdin: bool, tty: bool) -> None:
        self.clients: list[Client] = []
        self._loop = loop
        self._log = log
        self._wants_input = stdin
        self._tty = tty
        self._input = -1
        self._typed = bytearray()  # what a client has written and the program has not read
        self._ended = False  # whether the input has, once all of that is read
        self._outputs: dict[int, str] = {}
        self._held = False

    # The program's side.

    def open(self) -> list[int]:
        """Make the pipes of a start; give the program's ends, which are to be closed here."""
        if self._tty:
            return []
        theirs = []
        if self._wants_input:
            reading, writing = os.pipe()
            self._take_input(writing)
            theirs.append(reading)
        else:
            theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for name in ("stdout", "stderr"):
            reading, writing = os.pipe()
            fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE)
            self._take_output(name, reading)
            theirs.append(writing)
        return theirs

    def take_terminal(self, master: int) -> None:
        """Take the master side of the program's terminal: both its directions."""
        self._take_output("stdout", master)
        self._take_input(os.dup(master))

    def resize(self, rows: int, columns: int) -> bool:
        """Tell the terminal its size; False where there is none."""
        if not self._tty or self._input < 0:
            return False
        fcntl.ioctl(self._input, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        return True

    def drain(self) -> None:
        """Take what an ended program has left in its pipes, and let them go."""
        for fd in list(self._outputs):
            chunks = _LAST  # bounded: a descriptor passed out may still be written to
            while chunks and self._take(fd):
                chunks -= 1
            if fd in self._outputs:
                self._end_output(fd)
        self._close_input()
        self._typed.clear()
        self._held = self._ended = False
        for name in ("stdout", "stderr"):
            self._log.flush(name)

    def _take_input(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._input = fd
        if self._typed or self._ended:
            self._loop.add(fd, self._feed, WRITE)

    def _take_output(self, name: str, fd: int) -> None:
        os.set_blocking(fd, False)
        self._outputs[fd] = name
        if not self._held:
            self._watch(fd)

    def _watch(self, fd: int) -> None:
        self._loop.add(fd, lambda _: self._read(fd))

    def _read(self, fd: int) -> None:
        self._take(fd)
        self._hold_or_go_on()

    def _take(self, fd: int) -> bool:
        """Read once; False where there is nothing more, for now or ever."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last user has left
                raise
            data = b""
        if not data:
            self._end_output(fd)
            return False
        name = self._outputs[fd]
        self._log.write(name, data)
        for client in self.clients:
            if name in client.outputs:
                self._give(client, name, data)
        return True

    def _end_output(self, fd: int) -> None:
        self._loop.remove(fd)
        del self._outputs[fd]
        os.close(fd)

    # The clients' side.

    def attach(self, client: Client) -> None:
        """Give a client all that comes from now on, and the program what it writes."""
        self.clients.append(client)
        for fd in client.outputs.values():
            os.set_blocking(fd, False)
        if client.stdin >= 0:
            os.set_blocking(client.stdin, False)
            self._listen_to(client)

    def drop(self, client: Client) -> None:
        """Let a client go; the program goes on."""
        if client not in self.clients:
            return
        self.clients.remove(client)
        self._close_stdin(client)
        for name in list(client.outputs):
            self._close_output(client, name)
        self._hold_or_go_on()

    def finish(self, client: Client) -> bool:
        """Close a client's outputs that have nothing waiting; True where none is left."""
        for name in list(client.outputs):
            if not client.waiting[name]:
                self._close_output(client, name)
        return not client.outputs

    def _give(self, client: Client, name: str, data: bytes) -> None:
        waiting = client.waiting[name]
        fd = client.outputs[name]
        if waiting:
            waiting += data
            return
        written = _write(fd, data)
        if written < 0:
            self._close_output(client, name)
        elif written < len(data):
            waiting += data[written:]
            self._loop.add(fd, lambda _: self._catch_up(client, name), WRITE)

    def _catch_up(self, client: Client, name: str) -> None:
        waiting = client.waiting[name]
        written = _write(client.outputs[name], waiting)
        if written < 0:
            self._close_output(client, name)
        else:
            del waiting[:written]
            if not waiting:
                self._loop.remove(client.outputs[name])
        self._hold_or_go_on()

    def _close_output(self, client: Client, name: str) -> None:
        fd = client.outputs.pop(name)
        client.waiting.pop(name)
        self._loop.remove(fd)
        os.close(fd)

    def _hold_or_go_on(self) -> None:
        """Read the program's output only while every client can take it."""
        full = any(client.is_full() for client in self.clients)
        if full == self._held:
            return
        self._held = full
        for fd in self._outputs:
            if full:
                self._loop.remove(fd)
            else:
                self._watch(fd)

    # The input, from whichever client.

    def _listen_to(self, client: Client) -> None:
        self._loop.add(client.stdin, lambda _: self._hear(client))

    def _hear(self, client: Client) -> None:
        try:
            data = os.read(client.stdin, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._close_stdin(client)
            self.end_input()
            return
        self._typed += data
        self._feed()
        if self._typed:
            for other in self.clients:
                self._loop.remove(other.stdin)

    def end_input(self) -> None:
        """Let the program read the end of its input; on a terminal that is the user's to type."""
        if not self._tty:
            self._ended = True
            self._feed()

    def _feed(self, _events: int = 0) -> None:
        if self._input < 0:
            if not self._wants_input and not self._tty:
                self._typed.clear()
            return
        written = _write(self._input, self._typed) if self._typed else 0
        if written < 0:
            self._typed.clear()
            self._close_input()
            for client in self.clients:
                self._close_stdin(client)
            return
        del self._typed[:written]
        if self._typed:
            self._loop.add(self._input, self._feed, WRITE)
            return
        self._loop.remove(self._input)
        if self._ended:
            self._close_input()
        for client in self.clients:
            if client.stdin >= 0:
                self._listen_to(client)

    def _close_input(self) -> None:
        if self._input >= 0:
            self._loop.remove(self._input)
            os.close(self._input)
            self._input = -1

    def _close_stdin(self, client: Client) -> None:
        if client.stdin >= 0:
            self._loop.remove(client.stdin)
            os.close(client.stdin)
            client.stdin = -1


def _write(fd: int, data: bytes | bytearray) -> int:
    """Write what a descriptor takes; give how much, -1 where nobody reads it any more."""
    try:
        with memoryview(data) as view:
            return os.write(fd, view[:_CHUNK])
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EIO):
            return -1
        raise
