"""Bytes and connections a second between a client and a server, over each way between them."""

from __future__ import annotations

import json
import os
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.contestant import prepare, program
from benchmarks.networking import CONNECTIONS_PORT, IPERF_PORT
from benchmarks.scratch import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.networking import Talking
    from benchmarks.scratch import Scratch

_CONTAINER: Final = "container"
_HOST: Final = "host"
_NEIGHBOUR: Final = "another host"
_PATIENCE: Final = 10.0  # seconds until a server must listen
_LOOPBACK: Final = "127.0.0.1"


class Way(NamedTuple):
    """Where the client is, and at which address it finds the server; None is the container's."""

    client: str
    address: str | None

    @property
    def published(self) -> bool:
        """Whether it leads over a published port."""
        return self.address is not None

    def __str__(self) -> str:
        if self.address is None:
            return f"{self.client} to container"
        name = "127.0.0.1" if self.address == _LOOPBACK else "the host's address"
        return f"{self.client} to published port, by {name}"


def ways(host_address: str) -> list[Way]:
    """Give all that are measured."""
    return [
        Way(_CONTAINER, None),
        Way(_HOST, None),
        Way(_HOST, host_address),
        Way(_HOST, _LOOPBACK),
        Way(_NEIGHBOUR, host_address),
    ]


def make_archive(scratch: Scratch) -> Path:
    """Make a root file system with busybox, iperf3 and our own program for connections."""
    source = Path(__file__).with_name("connections.c")
    gcc = [program("gcc"), "-O2", "-static", "-o", _connections(scratch), str(source)]
    prepare(gcc, scratch)
    iperf = program("iperf3")
    words = prepare([program("ldd"), iperf], scratch).split()
    path = scratch.directory / "talking.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(scratch.rootfs, arcname=".")
        archive.add(_connections(scratch), arcname="./bin/connections")
        archive.add(iperf, arcname="./bin/iperf3")
        for library in (word for word in words if word.startswith("/")):
            archive.add(os.path.realpath(library), arcname=f".{library}")
    return path


def _connections(scratch: Scratch) -> str:
    return str(scratch.directory / "connections")


class Talk:
    """A contestant's server and its clients; to be used with the contestant's host entered."""

    def __init__(self, scratch: Scratch, contestant: Talking, archive: Path) -> None:
        self.name = contestant.name
        self.host = contestant.host
        self._scratch = scratch
        self._contestant = contestant
        self._archive = archive
        self._inside = ""

    def begin(self) -> None:
        """Start server and client."""
        self._inside = self._contestant.talk(self._archive)

    def bits(self, way: Way, streams: int, seconds: int) -> float:
        """Give the bits a second that the server has received by TCP; raises BenchmarkError."""
        words = ["--client", self._address(way), "--port", str(IPERF_PORT), "--json"]
        how = ["--time", str(seconds), "--parallel", str(streams)]
        deadline = time.monotonic() + _PATIENCE
        while True:
            told = json.loads(self._ask(way, "iperf3", [*words, *how]))
            if "error" not in told:
                return float(told["end"]["sum_received"]["bits_per_second"])
            # Between two tests its server does not listen for a moment.
            if time.monotonic() > deadline:
                raise BenchmarkError(f"iperf3 of {self.name}, {way}: {told['error']}")
            time.sleep(0.1)

    def connections(self, way: Way, seconds: int) -> float:
        """Give the connections a second of one client; raises BenchmarkError."""
        words = ["connect", self._address(way), str(CONNECTIONS_PORT), str(seconds)]
        return float(self._ask(way, "connections", words))

    def _address(self, way: Way) -> str:
        return way.address or self._inside

    def _ask(self, way: Way, name: str, words: list[str]) -> str:
        if way.client == _CONTAINER:
            return self._contestant.in_client([f"/bin/{name}", *words])
        path = program(name) if name == "iperf3" else _connections(self._scratch)
        with self.host.entered(neighbour=way.client == _NEIGHBOUR):
            return prepare([path, *words], self._scratch)
