"""A socket of one RUN that leads to an SSH agent of the host."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Final

from pycontainers.kernel import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK: Final = 1 << 16


@contextlib.contextmanager
def forwarded(agent: Path, place: Path) -> Iterator[None]:
    """Have a socket at `place` that leads to the one at `agent`, as long as this goes on.

    Its owner and mode can be whatever a command needs; the agent's own stay as they are.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        with paths.directory(place.parent) as parent_fd:  # a socket's own path is of 108 bytes
            listening.bind(f"/proc/self/fd/{parent_fd}/{place.name}")
        listening.listen()
        ending, end = socket.socketpair()
        thread = threading.Thread(
            target=_serve, args=(listening, agent, ending), name="pycontainers-ssh", daemon=True
        )
        with ending, end:
            thread.start()
            try:
                yield
            finally:
                end.close()
                thread.join()


def _serve(listening: socket.socket, agent: Path, ending: socket.socket) -> None:
    """Accept connections and pass on what is said, until `ending` is closed."""
    peers: dict[socket.socket, socket.socket] = {}
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
        for each in (listening, ending):
            waiting.register(each, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is ending:
                    return
                if key.fileobj is listening:
                    for one, other in _connect(listening, agent):
                        peers[one] = other
                        stack.enter_context(one)
                        waiting.register(one, selectors.EVENT_READ)
                    continue
                spoke = key.fileobj
                assert isinstance(spoke, socket.socket)
                if spoke in peers and not _pass_on(spoke, peers[spoke]):
                    for gone in (peers.pop(spoke), spoke):
                        waiting.unregister(gone)
                        gone.close()
                        peers.pop(gone, None)


def _connect(listening: socket.socket, agent: Path) -> list[tuple[socket.socket, socket.socket]]:
    """Accept a connection and make its other half; each end with its peer."""
    theirs, _ = listening.accept()
    ours = socket.socket(socket.AF_UNIX)
    try:
        ours.connect(str(agent))
    except OSError:  # the agent has gone
        ours.close()
        theirs.close()
        return []
    return [(theirs, ours), (ours, theirs)]


def _pass_on(one: socket.socket, other: socket.socket) -> bool:
    """Pass on what has come; False at the end of the connection."""
    try:
        data = one.recv(_CHUNK)
        other.sendall(data)
    except OSError:
        return False
    return bool(data)
