"""A supervisor's client: ask it about its container, from whichever process of the same user.

Each request is a connection of its own, so that any number of threads and processes can ask.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pycontainers.errors import Conflict
from pycontainers.kernel import sockets
from pycontainers.lifecycle.launch import Running, launch_error

if TYPE_CHECKING:
    import socket
    from pathlib import Path


class Control:
    """The supervisor of one container, by the path of its socket; `label` is for messages."""

    def __init__(self, path: Path, label: str) -> None:
        self._path = str(path)
        self._label = label

    def ask(self, op: str, *, patience: float | None = None, **request: Any) -> dict[str, Any]:
        """Ask and wait for the answer, `patience` seconds at the most.

        Raises Conflict where the container is in no state for it, or has no supervisor, LaunchError
        for what failed, TimeoutError.
        """
        with self._connected() as channel:
            channel.settimeout(patience)
            self._send(channel, {"op": op, **request}, ())
            try:
                received = sockets.receive(channel)
            except ConnectionResetError:
                received = None
        if received is None:
            raise self.not_running()
        answer = received[0]
        if "conflict" in answer:
            raise Conflict(f"the container {self._label} is {answer['conflict']}")
        if "failed" in answer or "detail" in answer:
            raise launch_error(answer)
        return answer

    def begin(
        self, request: dict[str, Any], fds: list[int], *, with_status: bool = True
    ) -> Running:
        """Have something begun that the supervisor tells of as it goes on.

        With a status the process that it starts tells itself whether it could be.  Raises Conflict
        where there is no supervisor.
        """
        status, theirs = sockets.pair() if with_status else (None, None)
        given = fds if theirs is None else [theirs.fileno(), *fds]
        try:
            with contextlib.ExitStack() as stack:
                channel = stack.enter_context(self._connected())
                self._send(channel, request, tuple(given))
                stack.pop_all()
            running = Running(channel, status, outlives=not with_status)
        except BaseException:
            if status is not None:
                status.close()
            raise
        finally:
            if theirs is not None:
                theirs.close()
        return running

    def kill_tree(self, tree: str) -> None:
        """Kill all processes that an executed program has started; no container, no processes."""
        with contextlib.suppress(Conflict):
            self.ask("kill_tree", tree=tree)

    def not_running(self) -> Conflict:
        """Make the error of a container without a supervisor."""
        return Conflict(f"the container {self._label} is not running")

    def _send(self, channel: socket.socket, request: dict[str, Any], fds: tuple[int, ...]) -> None:
        try:
            sockets.send(channel, request, fds)
        except (BrokenPipeError, ConnectionResetError):  # the supervisor is just ending
            raise self.not_running() from None

    def _connected(self) -> socket.socket:
        try:
            return sockets.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise self.not_running() from None
