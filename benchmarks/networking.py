"""Who takes part in the networks benchmark: pycontainers, docker and podman, all asked the same.

Each is on a host of its own, which the caller has entered wherever something is asked.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final, TypeAlias

import pycontainers as pc
from benchmarks.living import LivingDocker, LivingPodman, Peer, Steps, duration
from benchmarks.ours import Ours
from benchmarks.peers import IDLE, IMAGE, TRUE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.hosts import Host
    from benchmarks.scratch import Scratch

START: Final = "start detached with a published port"
REMOVE: Final = "remove it"
IPERF_PORT: Final = 5201
CONNECTIONS_PORT: Final = 7000
_PORTS: Final = (IPERF_PORT, CONNECTIONS_PORT)
_SERVE: Final = [
    "/bin/sh",
    "-c",
    f"/bin/connections serve {CONNECTIONS_PORT} & exec /bin/iperf3 --server --port {IPERF_PORT}",
]
_TALKING: Final = "talking:1"


class NetworkingOurs(Ours):
    """pycontainers, timed around the calls, with one engine that is open all the time."""

    def __init__(self, scratch: Scratch, host: Host) -> None:
        self.host = host
        super().__init__(scratch)

    def cycle(self) -> Steps:
        """Start a container with a published port, and remove it while it runs."""
        begin = time.perf_counter()
        container = pc.Container.run(
            self._image, IDLE, engine=self._engine, detach=True, ports={80: None}
        )
        started = time.perf_counter() - begin
        return {START: started, REMOVE: duration(lambda: container.remove(force=True))}

    def run_in(self, network: str) -> float:
        """Run `/bin/true` in a network."""
        return duration(
            lambda: pc.run(
                TRUE, image=self._image, network=network, check=True, engine=self._engine
            )
        )

    def create_network(self, name: str) -> float:
        """Create a network."""
        return duration(lambda: pc.Network.create(name, engine=self._engine))

    def remove_network(self, name: str) -> float:
        """Find it and remove it."""
        return duration(lambda: pc.Network.get(name, engine=self._engine).remove())

    def talk(self, archive: Path) -> str:
        """Have a server, its ports published, and a client in its network; give its address."""
        image = pc.Image.from_rootfs(archive, engine=self._engine)
        server = pc.Container.run(
            image, _SERVE, engine=self._engine, detach=True, ports={port: port for port in _PORTS}
        )
        self._client = pc.Container.run(
            image, IDLE, engine=self._engine, detach=True, network="bridge"
        )
        assert server.ip is not None
        return server.ip

    def in_client(self, argv: Sequence[str]) -> str:
        """Run a program in the client; give its output."""
        return str(self._client.exec(argv, check=True).stdout)

    def close(self) -> None:
        """Remove all containers and end the engine."""
        for container in pc.Container.list(all=True, engine=self._engine):
            container.remove(force=True, missing_ok=True)
        self._engine.close()


class _Networking(Peer):
    """Docker and podman, by the commands that they share."""

    host: Host
    _at_once: tuple[str, ...] = ()  # what `rm --force` needs for SIGKILL

    def cycle(self) -> Steps:
        """Start a container with a published port, and remove it while it runs."""
        name = f"cycle{next(self._numbers)}"
        run = ["run", "--detach", "--name", name, "--publish", "80", *self._options]
        return {
            START: self._time(*run, IMAGE, *IDLE),
            REMOVE: self._time("rm", "--force", *self._at_once, name),
        }

    def create_network(self, name: str) -> float:
        """Create a network."""
        return self._time("network", "create", name)

    def remove_network(self, name: str) -> float:
        """Remove it."""
        return self._time("network", "rm", name)


class NetworkingDocker(_Networking, LivingDocker):
    """Docker with its bridge, its rules and its proxy, as it is by default."""

    # Its own pools have room for 31 networks.
    _daemon_options = ("--default-address-pool", "base=10.64.0.0/12,size=24")

    def __init__(self, scratch: Scratch, host: Host) -> None:
        self.host = host
        super().__init__(scratch)
        self._options = []

    def talk(self, archive: Path) -> str:
        """Have a server, its ports published, and a client in its network; give its address."""
        self._do("import", archive, _TALKING)
        publish = itertools.chain.from_iterable(("--publish", f"{port}:{port}") for port in _PORTS)
        self._do("run", "--detach", "--name", "server", *publish, _TALKING, *_SERVE)
        self._do("run", "--detach", "--name", "client", _TALKING, *IDLE)
        where = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
        return self._do("inspect", "--format", where, "server").strip()

    def in_client(self, argv: Sequence[str]) -> str:
        """Run a program in the client; give its output."""
        return self._do("exec", "client", *argv)


class NetworkingPodman(_Networking, LivingPodman):
    """Podman with its bridge."""

    _at_once = ("--time", "0")

    def __init__(self, scratch: Scratch, host: Host) -> None:
        self.host = host
        super().__init__(scratch)
        self._options = self._options[2:]  # all but that there be no network


Talking: TypeAlias = NetworkingOurs | NetworkingDocker
Networking: TypeAlias = NetworkingOurs | NetworkingDocker | NetworkingPodman
