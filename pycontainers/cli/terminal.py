"""Between this process's standard streams and a program's: bytes, signals, the window's size."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from typing import IO, TYPE_CHECKING, Final, Literal

import pycontainers as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK: Final = 1 << 16
_TICK: Final = 100  # ms
_PATIENCE: Final = 3  # signals that a program may ignore
_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                     signal.SIGUSR1, signal.SIGUSR2)  # fmt: skip
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)

Outcome = Literal["ended", "detached", "left"]


def window() -> tuple[int, int] | None:
    """Give the rows and columns of this process's terminal; None where it has none."""
    for fd in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            if size.lines and size.columns:
                return size.lines, size.columns
    return None


def need_terminal(*, interactive: bool) -> None:
    """Raise InvalidArgument where a terminal is to be typed into and there is none."""
    if interactive and not os.isatty(0):
        raise pc.InvalidArgument(
            "the input is not a terminal", hint="leave -t out to send a file or a pipe"
        )


def detach_keys(text: str) -> bytes:
    r"""Give the bytes of keys as Docker writes them; raises InvalidArgument.

    >>> detach_keys("ctrl-p,ctrl-q"), detach_keys("a,ctrl-@")
    (b'\x10\x11', b'a\x00')
    """
    found = b""
    for key in filter(None, text.split(",")):
        letter = key.removeprefix("ctrl-")
        code = ord(letter) if len(letter) == 1 else -1
        if not 0 < code < 127 or (letter != key and not (64 <= code < 96 or letter.islower())):
            raise pc.InvalidArgument(
                f"--detach-keys: {key!r} is no key", hint='write keys as "a" or "ctrl-p,ctrl-q"'
            )
        found += bytes([code & 31 if letter != key else code])
    return found


class Keys:
    """Looks for the keys that detach in what is typed."""

    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted
        self._held = b""

    def take(self, typed: bytes) -> tuple[bytes, bool]:
        """Give what is the program's, and whether the keys came; a beginning of them is held."""
        if not self._wanted:
            return typed, False
        passed = b""
        for code in typed:
            self._held += bytes([code])
            while self._held and not self._wanted.startswith(self._held):
                passed += self._held[:1]
                self._held = self._held[1:]
            if self._held == self._wanted:
                return passed, True
        return passed, False


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """Have this process's terminal pass every key on; it is put back whatever comes."""
    if not wanted or not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(0, termios.TCSANOW, before)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Have signals arrive as bytes of a pipe; gives its end."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    old = {n: signal.signal(n, lambda *_: None) for n in (*_FORWARDED, signal.SIGWINCH)}
    try:
        yield reading
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_fd)
        os.close(reading)
        os.close(writing)


class Session:
    """A program's streams joined with ours, until it ends or is detached from.

    `forward` sends it a signal.  `tty` tells that it has a terminal, and `shared` that others may
    hold its outputs open when it has ended.
    """

    def __init__(
        self,
        process: pc.Process,
        forward: Callable[[int], None],
        *,
        interactive: bool,
        tty: bool,
        keys: bytes = b"",
        shared: bool = False,
    ) -> None:
        self._process = process
        self._forward = forward
        self._tty = tty
        self._shared = shared
        self._typing = interactive and tty
        self._keys = Keys(keys if self._typing else b"")
        self._source = 0 if interactive else -1
        self._pending = b""
        self._urgent = 0  # signals that should have ended it
        self._outputs = {
            stream.fileno(): to
            for stream, to in ((process.stdout, 1), (process.stderr, 2))
            if stream is not None
        }
        self._input: IO[bytes] | None = process.stdin if interactive else None
        if self._input is not None:
            os.set_blocking(self._input.fileno(), False)

    def run(self) -> Outcome:
        """Pass everything on, and tell how that ended; the terminal is as before then."""
        sys.stdout.flush()
        with _signals() as news, _raw(self._typing):
            while self._outputs:
                outcome = self._turn(news)
                if outcome is not None:
                    return outcome
        return "ended"

    def _turn(self, news: int) -> Outcome | None:
        poller = select.poll()
        for fd in (news, *self._outputs):
            poller.register(fd, select.POLLIN)
        if self._pending and self._input is not None:
            poller.register(self._input.fileno(), select.POLLOUT)
        elif self._source >= 0:
            poller.register(self._source, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(_TICK if self._shared else None)}
        if not ready:
            return "ended" if self._process.poll() is not None else None
        for fd in ready & self._outputs.keys():
            self._pass_output(fd)
        if self._pending and ready:
            self._feed()
        elif self._source in ready and self._hear():
            return "detached"
        return self._take_signals(news) if news in ready else None

    def _pass_output(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: a terminal that its last user has left
            data = b""
        if not data:
            del self._outputs[fd]
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._outputs[fd], view) :]
            except BlockingIOError:  # what we were given is another's, and set so
                select.select([], [self._outputs[fd]], [])

    def _hear(self) -> bool:
        """Take in what is typed or sent; True to detach: the keys came, or the terminal went."""
        try:
            data = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._source = -1
            self._end_input()
            return self._typing
        passed, detach = self._keys.take(data)
        self._pending += passed
        self._feed()
        return detach

    def _feed(self) -> None:
        if self._input is None or not self._pending:
            return
        try:
            self._pending = self._pending[os.write(self._input.fileno(), self._pending) :]
        except BlockingIOError:
            return
        except OSError:  # the program takes no more
            self._pending = b""
            self._source = -1
        self._end_input()

    def _end_input(self) -> None:
        """Close the program's input once all has been passed on; a terminal's stays open."""
        if self._source < 0 and not self._pending and self._input is not None and not self._tty:
            self._input.close()
            self._input = self._process.stdin = None

    def _take_signals(self, news: int) -> Outcome | None:
        for number in os.read(news, _CHUNK):
            if number == signal.SIGWINCH:
                self._resize()
            elif number in _FORWARDED:
                self._urgent += number in _ENDING
                if self._urgent >= _PATIENCE:
                    return "left"
                self._forward(number)
        return None

    def _resize(self) -> None:
        size = window()
        if self._tty and size is not None:
            with contextlib.suppress(pc.PyContainersError, OSError):  # it has just ended
                self._process.resize(*size)
