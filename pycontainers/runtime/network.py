"""A container's cables, as its launcher or supervisor lays them, from the host's side.

The interfaces go with the container's network namespace; what is entered into the firewall's sets
for them is taken out when the container has ended.  The namespace goes with the last process and
the last TCP connection, which the kernel tries to end in order, 107 seconds long by default.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import links, namespaces
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from pycontainers.runtime import firewall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.kernel.netlink import Message
    from pycontainers.runtime.wiring import ConnectBridge, Publish

_ORPHAN_RETRIES: Final = "/proc/sys/net/ipv4/tcp_orphan_retries"  # ip-sysctl.rst


class Wires:
    """What connects one container, whose init is `pid`, to networks."""

    # Kept by a helper as long as it lives: the kernel lets no netfilter socket be closed before it
    # has done with what was taken out of sets, which takes it 10 ms or more.
    _netfilter: Netlink | None = None
    _outside: Netlink | None = None

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._laid: dict[str, ConnectBridge] = {}
        self._published: Publish | None = None
        self._orphan_retries_fd = -1

    def connect(self, step: ConnectBridge) -> None:
        """Lay a cable to a bridge; raises KernelError."""
        self._laid[step.interface] = step
        self._change(firewall.admit(step.veth, step.mac, _bare(step), step.priority))
        host = self._host()
        add = links.add_veth(
            step.veth,
            _index(host, step.bridge),
            self._pid,
            inside=step.interface,
            mac=step.mac,
            mtu=step.mtu,
            group=firewall.GROUP,
        )
        try:
            host.ask(add)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            # Of the program before, whose network namespace the kernel is still taking down.
            host.ask([links.delete(step.veth)])
            host.ask(add)
        if step.rate is not None:
            host.ask([links.limit_rate(_index(host, step.veth), step.rate)])
        with self._inside() as inside:
            index = _index(inside, step.interface)
            inside.ask([
                links.no_ipv6_generation(index),
                *(links.add_address(index, address) for address in step.addresses),
                links.set_up(index),
                *(links.add_default_route(gateway, index) for gateway in step.gateways),
                *([] if step.rate is None else [links.limit_rate(index, step.rate)]),
            ])  # fmt: skip

    def publish(self, step: Publish) -> None:
        """Have ports of the host lead to the container; raises KernelError."""
        self._published = step
        netfilter = self._change(firewall.publish(step.ports))
        firewall.redirect_flows(netfilter, self._host(), step.ports)

    def rewire(self, steps: list[ConnectBridge], publish: Publish | None) -> None:
        """Bring the cables to what these steps say; those that stay are not touched."""
        wanted = {step.interface: step for step in steps}
        if self._published is not None and self._published != publish:
            self._change(_undoing([], self._published))
            self._published = None
        for interface, laid in list(self._laid.items()):
            if wanted.get(interface) not in (laid, laid._replace(gateways=[])):
                self._cut(interface)
        for interface, step in wanted.items():
            if interface not in self._laid:
                self.connect(step)
            elif self._laid[interface].gateways != step.gateways:
                self._route(step)
        if publish is not None and self._published is None:
            self.publish(publish)

    def _cut(self, interface: str) -> None:
        laid = self._laid.pop(interface)
        self._host().ask([links.delete(laid.veth)])
        self._change(_undoing([laid], None))

    def _route(self, step: ConnectBridge) -> None:
        self._laid[step.interface] = step
        with self._inside() as inside:
            index = links.index_of(inside, step.interface)
            if index is not None and step.gateways:
                inside.ask([links.add_default_route(gateway, index) for gateway in step.gateways])

    @contextlib.contextmanager
    def _inside(self) -> Iterator[Netlink]:
        """Hold a netlink socket of the container's network namespace."""
        with namespaces.entered(self._pidfd, namespaces.CLONE_NEWNET):
            if self._orphan_retries_fd < 0:
                with contextlib.suppress(OSError):  # /proc/sys may be read-only here
                    self._orphan_retries_fd = os.open(_ORPHAN_RETRIES, os.O_WRONLY | os.O_CLOEXEC)
            inside = Netlink(NETLINK_ROUTE)
        with inside:
            yield inside

    def close(self) -> None:
        """Take out of the firewall's sets what was entered; raises KernelError."""
        if self._orphan_retries_fd >= 0:
            # Once, so that connections whose peer has gone too hold the interfaces for 0.6 seconds.
            with contextlib.suppress(OSError):  # the namespace is gone
                os.write(self._orphan_retries_fd, b"1")
            os.close(self._orphan_retries_fd)
            self._orphan_retries_fd = -1
        if self._laid:
            self._change(_undoing(list(self._laid.values()), self._published))
            self._laid.clear()
            self._published = None

    @staticmethod
    def _host() -> Netlink:
        Wires._outside = Wires._outside or Netlink(NETLINK_ROUTE)
        return Wires._outside

    @staticmethod
    def _change(messages: list[Message]) -> Netlink:
        Wires._netfilter = Wires._netfilter or Netlink(NETLINK_NETFILTER)
        firewall.change(Wires._netfilter, messages)
        return Wires._netfilter


def withdraw(steps: list[ConnectBridge], publish: Publish | None) -> None:
    """Take out of the firewall's sets what the steps of a helper that was killed have entered.

    What is not there is fine.  Raises KernelError.
    """
    with Netlink(NETLINK_NETFILTER) as netfilter:
        firewall.change(netfilter, _undoing(steps, publish))


def _undoing(steps: list[ConnectBridge], publish: Publish | None) -> list[Message]:
    messages: list[Message] = []
    for step in steps:
        messages += firewall.withdraw(step.veth, step.mac, _bare(step), step.priority)
    if publish is not None:
        messages += firewall.unpublish(publish.ports)
    return messages


def withdraw_all(steps: list[ConnectBridge]) -> None:
    """Do what a helper that was killed can't: take out what steps have entered, and published.

    The interfaces too, as connections that nobody has any more may hold them for minutes.
    """
    withdraw(steps, None)
    with Netlink(NETLINK_ROUTE) as host:
        host.ask([links.delete(step.veth) for step in steps])
    addresses = [address for step in steps for address in _bare(step)]
    with Netlink(NETLINK_NETFILTER) as netfilter:
        firewall.unpublish_all(netfilter, addresses)


def _index(netlink: Netlink, name: str) -> int:
    index = links.index_of(netlink, name)
    if index is None:
        raise KernelError(errno.ENODEV, f"look for the interface {name}")
    return index


def _bare(step: ConnectBridge) -> list[str]:
    return [address.partition("/")[0] for address in step.addresses]
