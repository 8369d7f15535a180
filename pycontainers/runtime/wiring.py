"""Steps that give a container its places in networks; plain and printable, as all of a plan's."""

from __future__ import annotations

from typing import Any, NamedTuple


class ConnectBridge(NamedTuple):
    """Make a pair of virtual interfaces between a bridge of the host and the container.

    `addresses` are with the length of their prefixes, `gateways` of the default routes through it;
    `rate` is in bytes a second, `priority` that of what the container sends.
    """

    bridge: str
    veth: str
    interface: str
    mac: str
    mtu: int
    addresses: list[str]
    gateways: list[str]
    rate: int | None = None
    priority: int | None = None

    def __str__(self) -> str:
        addresses = " and ".join(self.addresses)
        return f"connect {self.interface} as {addresses} to the bridge {self.bridge}"


class Publish(NamedTuple):
    """Send what comes to ports of the host to the container.

    Each is (protocol, host's address or "" for all, its port, container's address, its port).
    """

    ports: list[tuple[str, str, int, str, int]]

    def __str__(self) -> str:
        each = (f"{host}:{port}/{kind}" if host else f"{port}/{kind}"
                for kind, host, port, *_ in self.ports)  # fmt: skip
        return f"publish {' '.join(each)}"


class AwaitNetwork(NamedTuple):
    """Wait until the launcher has connected the container to its networks."""

    def __str__(self) -> str:
        return "wait for the network"


class MountSysfs(NamedTuple):
    """Make a read-only /sys of a network namespace that the container only shares.

    It owns none, and so may not make one itself (sysfs in a user namespace).
    """

    def __str__(self) -> str:
        return "make a /sys of the shared network"


def wires(plain: list[list[Any]]) -> tuple[list[ConnectBridge], Publish | None]:
    """Give the steps of packed ones that are about networks, as a request to rewire has them."""
    connects = [ConnectBridge(*step[1:]) for step in plain if step[0] == "ConnectBridge"]
    publish = [Publish(*step[1:]) for step in plain if step[0] == "Publish"]
    return connects, publish[0] if publish else None
