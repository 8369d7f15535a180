"""A connection from within a container's network namespace, for whoever is outside of it."""

from __future__ import annotations

import errno
import socket
from typing import Any

from pycontainers.errors import KernelError


def connect(work: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
    """Connect to `host`, an address in numbers, and `port` by TCP; answer with the socket."""
    family = socket.AF_INET6 if ":" in work["host"] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(work["timeout"])
    try:
        connection.connect((work["host"], work["port"]))
    except TimeoutError:
        raise KernelError(errno.ETIMEDOUT, f"connect({work['port']})") from None
    connection.settimeout(None)
    return {"descriptor": connection.detach()}
