"""A small world of network namespaces: a host with two networks of containers, and others outside.

away ── wan ┐        ┌ red  ── ann, bob
            ├ host ──┤
near ── lan ┘        └ blue ── cyd
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pycontainers.kernel import links, namespaces
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Message, Netlink
from pycontainers.net import bridges, firewall
from pycontainers.runtime import firewall as entries

ETH_P_ALL = 3
PATIENCE = 5.0  # seconds for what should come
SILENCE = 0.4  # seconds without what should not


class Net(NamedTuple):
    bridge: str
    subnet4: str
    subnet6: str
    gateway4: str
    gateway6: str


RED = Net("pcred", "172.30.0.0/16", "fd00:30::/64", "172.30.0.1", "fd00:30::1")
BLUE = Net("pcblue", "172.31.0.0/16", "fd00:31::/64", "172.31.0.1", "fd00:31::1")


class Place:
    """A network namespace, with a process in it that does nothing."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        own_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespaces.unshare(namespaces.CLONE_NEWNET)
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self.fd)
            namespaces.bring_loopback_up()
            process = subprocess.Popen(["sleep", "1000"])
        finally:
            namespaces.setns(own_fd, namespaces.CLONE_NEWNET)
            os.close(own_fd)
        stack.callback(process.wait)
        stack.callback(process.kill)
        self.pid = process.pid
        self.address4 = self.address6 = self.mac = ""
        self._route: Netlink | None = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        own_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.setns(self.fd, namespaces.CLONE_NEWNET)
        try:
            yield
        finally:
            namespaces.setns(own_fd, namespaces.CLONE_NEWNET)
            os.close(own_fd)

    @property
    def route(self) -> Netlink:
        if self._route is None:
            with self.entered():
                self._route = self._stack.enter_context(Netlink(NETLINK_ROUTE))
        return self._route

    def index(self, name: str) -> int:
        found = links.index_of(self.route, name)
        assert found is not None
        return found

    def configure(self, name: str, addresses: list[str], gateways: list[str]) -> None:
        index = self.index(name)
        self.route.ask([
            links.no_ipv6_generation(index),
            *(links.add_address(index, address) for address in addresses),
            links.set_up(index),
            *(links.add_default_route(gateway, index) for gateway in gateways),
        ])  # fmt: skip

    def sysctl(self, name: str, value: str | None = None) -> str:
        with self.entered():
            path = Path("/proc/sys/net", name)
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()

    def new_socket(self, family: int, kind: int) -> socket.socket:
        with self.entered():
            made = socket.socket(family, kind)
        self._stack.callback(made.close)
        made.settimeout(PATIENCE)
        return made

    def listen(self, port: int, address: str = "::") -> socket.socket:
        """Listen for TCP at an address, at all of both versions of IP by default."""
        made = self.new_socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                           socket.SOCK_STREAM)  # fmt: skip
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen()
        return made

    def bind(self, port: int, address: str = "::") -> socket.socket:
        """Receive UDP at an address, at all of both versions of IP by default."""
        made = self.new_socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                           socket.SOCK_DGRAM)  # fmt: skip
        made.bind((address, port))
        return made

    def connect(self, address: str, port: int, patience: float = PATIENCE) -> socket.socket:
        """Connect by TCP; raises TimeoutError where nothing answers, OSError where it does."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.new_socket(family, socket.SOCK_STREAM)
        made.settimeout(patience)
        made.connect((address, port))
        return made

    def reaches(self, address: str, port: int, patience: float = PATIENCE) -> bool:
        try:
            self.connect(address, port, patience).close()
        except TimeoutError:
            return False
        return True

    def misses(self, address: str, port: int) -> bool:
        """Whether no answer comes from there, not even that there is nothing."""
        return not self.reaches(address, port, SILENCE)

    def frames(self, interface: str = "eth0") -> socket.socket:
        """Send and receive whole frames of an interface (packet(7))."""
        with self.entered():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            made.bind((interface, ETH_P_ALL))
        self._stack.callback(made.close)
        made.settimeout(PATIENCE)
        return made

    def run(self, *command: str) -> str:
        with self.entered():
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Host(Place):
    """The host: its networks, and its firewall."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        with self.entered():
            self.netfilter = stack.enter_context(Netlink(NETLINK_NETFILTER))
        self.veths: dict[Place, str] = {}
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.sysctl(setting, "0")  # others may have changed what a namespace begins with
        for setting in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
            self.sysctl(setting, "0")

    def wire(self, name: str, own: list[str], others: list[str], gateways: list[str]) -> Place:
        """Lay a cable to a new neighbour of the host's."""
        other = Place(self._stack)
        bridge = "outerbridge"  # only for as long as the cable is laid
        self.route.ask([links.add_bridge(bridge, "02:00:00:00:00:aa", 1500)])
        self.route.ask(links.add_veth(name, self.index(bridge), other.pid, inside="eth0",
                                      mac=random_mac(), mtu=1500))  # fmt: skip
        self.route.ask([links.delete(bridge)])
        self.configure(name, own, [])
        other.configure("eth0", others, gateways)
        other.address4, other.address6 = (address.partition("/")[0] for address in others)
        return other

    def add_network(self, net: Net, *, internal: bool = False, host_access: bool = False) -> None:
        gateways = [f"{net.gateway4}/16", f"{net.gateway6}/64"]
        with self.entered():
            closed = bridges.forwarding(ipv4=True, ipv6=True)
        bridges.make(self.route, net.bridge, alias=net.bridge, mtu=1500, gateways=gateways)
        firewall.ensure(self.netfilter, closed)
        firewall.add_network(self.netfilter, net.bridge, [net.subnet4, net.subnet6],
                             internal=internal, host_access=host_access)  # fmt: skip

    def add_guest(self, net: Net, number: int, *, priority: int | None = None) -> Place:
        """Add a container to a network."""
        guest = Place(self._stack)
        guest.mac = random_mac()
        guest.address4 = f"{net.subnet4.partition('.0/')[0]}.{number}"
        guest.address6 = f"{net.subnet6.partition('/')[0]}{number}"
        veth = f"pcv{guest.pid}"
        self.veths[guest] = veth
        own = [guest.address4, guest.address6]
        self.enter(entries.admit(veth, guest.mac, own, priority))
        self.route.ask(links.add_veth(veth, self.index(net.bridge), guest.pid, inside="eth0",
                                      mac=guest.mac, mtu=1500, group=entries.GROUP))  # fmt: skip
        guest.configure(
            "eth0",
            [f"{guest.address4}/16", f"{guest.address6}/64"],
            [net.gateway4, net.gateway6],
        )
        return guest

    def enter(self, messages: list[Message]) -> None:
        entries.change(self.netfilter, messages)

    def publish(self, host: str, port: int, guest: Place, inside: int, kind: str = "tcp") -> None:
        """Publish a port of a host's address ("" for all) by both versions of IP."""
        self.enter(entries.publish([(kind, host, port, guest.address4, inside),
                                    (kind, host, port, guest.address6, inside)]))  # fmt: skip


class World(NamedTuple):
    host: Host
    away: Place
    near: Place
    ann: Place
    bob: Place
    cyd: Place


WAN4, WAN6 = "192.0.2.1", "2001:db8:1::1"
LAN4, LAN6 = "198.51.100.1", "2001:db8:2::1"


@contextmanager
def world(*, bridged_by_ip: bool = True, internal: bool = False,
          host_access: bool = False) -> Iterator[World]:  # fmt: skip
    """Make it all; what bridges hand on comes by IP's rules too if `bridged_by_ip`.

    `internal` and `host_access` are about the red network.
    """
    with ExitStack() as stack:
        host = Host(stack)
        for name in ("iptables", "ip6tables"):
            host.sysctl(f"bridge/bridge-nf-call-{name}", "1" if bridged_by_ip else "0")
        away = host.wire("wan", [f"{WAN4}/24", f"{WAN6}/64"],
                         ["192.0.2.2/24", "2001:db8:1::2/64"], [WAN4, WAN6])  # fmt: skip
        near = host.wire("lan", [f"{LAN4}/24", f"{LAN6}/64"],
                         ["198.51.100.2/24", "2001:db8:2::2/64"], [LAN4, LAN6])  # fmt: skip
        host.add_network(RED, internal=internal, host_access=host_access)
        host.add_network(BLUE)
        ann, bob = host.add_guest(RED, 2), host.add_guest(RED, 3)
        cyd = host.add_guest(BLUE, 2)
        yield World(host, away, near, ann, bob, cyd)


def caller(listener: socket.socket) -> str:
    """Accept a connection, and give the address that it comes from."""
    connection, address = listener.accept()
    connection.close()
    return str(address[0]).removeprefix("::ffff:")


def random_mac() -> str:
    return (b"\x02" + os.urandom(5)).hex(":")


def packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """Give the checksum of the Internet's protocols (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
