"""How names are looked up in containers: by the C libraries' own code, and what answers beyond."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import pycontainers as pc
from tests.networks.conftest import OtherHost

OUTSIDE = "outside.example"
OUTSIDE_ADDRESS = "203.0.113.80"
# It knows one name.  For others it says at once that there is no such name.
_NAME_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(512)
    end = query.index(0, 12) + 5
    name, kind, asked = query[12:end - 4], query[end - 4:end - 2], query[12:end]
    if name == b"\\7outside\\7example\\0":
        data = socket.inet_aton(sys.argv[2])
        answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + data if kind == b"\\0\\1" else b""
        head = b"\\x85\\x80\\0\\1\\0" + bytes([bool(answer)]) + bytes(4)
    else:
        head, answer = b"\\x85\\x83\\0\\1" + bytes(6), b""
    server.sendto(query[:2] + head + asked + answer, client)
"""


class Library(NamedTuple):
    """An image with a program that looks names up by one C library, and a server to ask beyond."""

    image: pc.Image
    mounts: tuple[pc.Mount, ...]
    command: tuple[str, ...]
    name_server: str
    engine: pc.Engine

    def run(self, **options: Any) -> pc.Container:
        """Start a container that looks names up."""
        return pc.Container.run(
            self.image, ["sleep", "600"], mounts=self.mounts, dns=[self.name_server],
            engine=self.engine, **options,
        )  # fmt: skip

    def find(self, container: pc.Container, name: str) -> set[str]:
        """Look a name up in a container; give its addresses."""
        done = container.exec([*self.command, name])
        assert done.exit_code in (0, 2), done
        return {line.split()[0] for line in done.stdout.splitlines()}


def serve_names(host: OtherHost) -> subprocess.Popen[str]:
    """Start a name server on another host; it serves when this returns."""
    process = host.start(sys.executable, "-c", _NAME_SERVER, host.address, OUTSIDE_ADDRESS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
