"""Waiting until a container is ready for what a test or an application wants of it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict, InvalidArgument, LaunchError, Timeout
from pycontainers.lifecycle import values
from pycontainers.lifecycle.logs import Logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycontainers.lifecycle.life import Life

_PAUSE: Final = 0.02  # seconds between attempts, growing to the next
_LONGEST_PAUSE: Final = 0.5
_SHOWN: Final = 20  # lines of a log in a message
_MOST: Final = 65535


def connect(life: Life, port: int, host: str, timeout: float) -> socket.socket:
    """Have a worker in the container's network namespace connect, and pass the socket out.

    Raises LaunchError, Timeout, Conflict where the container does not run.
    """
    values.whole("port", port, 1, _MOST)
    work = {
        "task": "connect",
        "jail": "network",
        "host": _address(host),
        "port": port,
        "timeout": values.seconds("timeout", timeout),
    }
    running = life.control.begin({"op": "work", "work": work}, [])
    try:
        running.wait()
        if running.never_began():
            raise life.control.not_running()
        if running.failure is not None:
            if getattr(running.failure, "errno", 0) == errno.ETIMEDOUT:
                raise Timeout(f"no connection to port {port} of {life.label} in {timeout} s")
            raise running.failure
        return socket.socket(fileno=os.dup(running.terminal_fd))
    finally:
        running.close()


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        raise InvalidArgument(f"host: {host!r} is no address, as 127.0.0.1 or ::1") from None


def wait_for(
    life: Life,
    *,
    log: str | None,
    port: int | None,
    http: str | None,
    healthy: bool,
    timeout: float,
) -> None:
    """Wait for all that is asked; raises Conflict where the container ends before, Timeout."""
    if log is None and port is None and http is None and not healthy:
        raise InvalidArgument("wait_for: say what: log=, port=, http= or healthy=True")
    waiting = _Waiting(life, values.seconds("timeout", timeout))
    pattern = None if log is None else _pattern(log)
    if port is not None:
        values.whole("port", port, 1, _MOST)
    if http is not None and not http.startswith("/"):
        raise InvalidArgument(f"http: {http!r} is no path as /health")
    if healthy and life.options.healthcheck is None and life.state().health is None:
        raise InvalidArgument(f"healthy: the container {life.label} has no health check")
    if pattern is not None:
        waiting.for_log(pattern)
    if port is not None and http is None:
        waiting.until(lambda: waiting.accepts(port), f"port {port}")
    if http is not None:
        waiting.until(lambda: waiting.answers(port or 80, http), f"http {http}")
    if healthy:
        waiting.until(waiting.is_healthy, "its health check")


def _pattern(log: str) -> re.Pattern[str]:
    try:
        return re.compile(log)
    except (re.error, TypeError) as error:
        raise InvalidArgument(f"log: {log!r} is no regular expression: {error}") from error


class _Waiting:
    """One wait, with its end: for what, and until when."""

    def __init__(self, life: Life, timeout: float) -> None:
        self._life = life
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def for_log(self, pattern: re.Pattern[str]) -> None:
        what = f"{pattern.pattern!r} in its log"
        life, deadline = self._life, self._deadline

        def over() -> bool:
            return time.monotonic() > deadline or not life.state().lives

        with Logs[str](str(life.directory), follow=True, ended=over) as lines:
            for line in lines:
                if pattern.search(line):
                    return
        self._look(what)
        raise self._late(what)

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Try again and again."""
        pause = _PAUSE
        while not ready():
            self._look(what)
            if time.monotonic() + pause > self._deadline:
                raise self._late(what)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def accepts(self, port: int) -> bool:
        with self._connected(port) as connection:
            return connection is not None

    def answers(self, port: int, path: str) -> bool:
        with self._connected(port) as connection:
            if connection is None:
                return False
            connection.settimeout(self._left())
            client = http.client.HTTPConnection("localhost", port)
            client.sock = connection
            try:
                client.request("GET", path, headers={"Connection": "close"})
                return client.getresponse().status < 400
            except (OSError, http.client.HTTPException):
                return False
            finally:
                client.close()

    def is_healthy(self) -> bool:
        found = self._life.state()
        return found.health is not None and found.health["status"] == "healthy"

    @contextlib.contextmanager
    def _connected(self, port: int) -> Iterator[socket.socket | None]:
        try:
            connection = connect(self._life, port, "127.0.0.1", self._left())
        except (LaunchError, Timeout, Conflict):
            yield None
            return
        with connection:
            yield connection

    def _left(self) -> float:
        return max(0.1, self._deadline - time.monotonic())

    def _look(self, what: str) -> None:
        """Raise Conflict where the container has ended: then nothing is to be waited for."""
        found = self._life.state()
        if not found.lives:
            how = f"ended with exit code {found.exit_code}" if found.finished else "does not run"
            raise Conflict(
                f"the container {self._life.label} {how} before {what} was ready{self._tail()}"
            )

    def _late(self, what: str) -> Timeout:
        return Timeout(
            f"the container {self._life.label} was not ready within {self._timeout:g} s: "
            f"{what} has not come{self._tail()}"
        )

    def _tail(self) -> str:
        with Logs[str](str(self._life.directory), tail=_SHOWN) as lines:
            text = lines.read().rstrip()
        return f"; the end of its log:\n{text}" if text else "; its log is empty"
