"""A jailed worker."""
from __future__ import annotations
import os, socket
from typing import Any, NoReturn
def run(work: dict[str, Any], status: socket.socket, fds: list[int]) -> NoReturn:
    os._exit(0)
