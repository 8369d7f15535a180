"""Framed messages with descriptors over a Unix socket (unix(7), SOCK_SEQPACKET, SCM_RIGHTS).

A message is a JSON object; what does not fit into one packet travels in a memory file.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any, Final

MAX_FDS: Final = 250  # the kernel's SCM_MAX_FD is 253
_INLINE: Final = 64 * 1024
_LIMIT: Final = 64 * 1024 * 1024
_JSON: Final = b"j"
_FILE: Final = b"f"


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected packet sockets, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def connect(path: str) -> socket.socket:
    """Connect to the packet socket that listens at `path`; raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def send(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message with copies of `fds`; the caller keeps its own.

    Raises OSError, BrokenPipeError where the other side is gone.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) < _INLINE:
        _send(sock, _JSON + data, fds)
        return
    file = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        _send(sock, _FILE, (file, *fds))
    finally:
        os.close(file)


def _send(sock: socket.socket, data: bytes, fds: tuple[int, ...]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket, max_fds: int = MAX_FDS) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one message and its descriptors, close-on-exec and now the caller's; None at the end.

    Raises OSError, also BlockingIOError on a socket that does not block, ValueError on nonsense.
    """
    data, ancillary, flags, _ = sock.recvmsg(
        _INLINE + 1, socket.CMSG_SPACE(4 * (max_fds + 1)), socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
    received = fds.tolist()
    try:
        if not data:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a message was cut")
        body = _read_file(received.pop(0)) if data[:1] == _FILE else data[1:]
        message = json.loads(body)
        if not isinstance(message, dict):
            raise ValueError("a message is no object")
    except BaseException:
        for fd in received:
            os.close(fd)
        raise
    return message, received


def _read_file(fd: int) -> bytes:
    try:
        size = os.fstat(fd).st_size
        if size > _LIMIT:
            raise ValueError(f"a message of {size} bytes")
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
