"""What the launcher and the supervisors tell the application, in the same words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import sockets

if TYPE_CHECKING:
    import socket

    from pycontainers.runtime import plan

_IO_LIMIT: Final = 4096


def tell(channel: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send to the application; where it has gone, others find out what it was to hear."""
    try:
        sockets.send(channel, message, fds)
    except OSError:
        return


def failure(doing: plan.AnyStep | None, error: OSError) -> dict[str, Any]:
    """Give the account of a step that failed, as the application will read it."""
    known = isinstance(error, KernelError)
    return {
        "step": type(doing).__name__,
        "doing": str(doing) if doing is not None else "make the container's namespaces",
        "errno": error.errno or 0,
        "detail": str(error.args[0]) if known else str(error),
        "hint": error.hint if isinstance(error, KernelError) else None,
    }


def io_of(pid: int) -> list[int] | None:
    """Read the bytes that a process and its reaped children moved from and to storage (proc(5))."""
    try:
        fd = os.open(f"/proc/{pid}/io", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fields = dict(line.split(": ") for line in os.read(fd, _IO_LIMIT).decode().splitlines())
    except OSError:
        return None
    finally:
        os.close(fd)
    return [int(fields["read_bytes"]), int(fields["write_bytes"])]
