"""Bridges of networks, and whether this host forwards what comes from them.

A bridge is known by its alias as one of ours.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import Conflict, KernelError
from pycontainers.kernel import links
from pycontainers.kernel.netlink import NETLINK_ROUTE, Netlink
from pycontainers.net import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SYSCTL: Final = Path("/proc/sys/net")
_FORWARDING: Final = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
ALIAS: Final = "pycontainers "  # what those of our bridges begin with
_DEFAULT_MTU: Final = 1500
# What a router asks for its neighbours from, where it forwards the packets of others.
_ROUTERS_ADDRESS: Final = "fe80::1/64"

_log: Final = logging.getLogger("pycontainers")


@attrs.frozen
class Closed:
    """The interfaces between which nothing was forwarded, by version of IP, until we changed that.

    `bridges` are those of them that are bridges, which always hand on between their own ports.
    """

    interfaces: dict[int, list[str]] = attrs.field(factory=dict)
    bridges: list[str] = attrs.field(factory=list)


def make(netlink: Netlink, name: str, *, alias: str, mtu: int, gateways: Sequence[str]) -> None:
    """Have a bridge with this alias, MTU and exactly these addresses, as "172.18.0.1/16", up.

    With one of IPv6 it has the link-local address fe80::1 as well.  Raises KernelError, and
    Conflict where another kind of interface has the name.
    """
    found = links.find(netlink, name)
    if found is None:
        netlink.ask([
            links.add_bridge(name, addresses.random_mac(), mtu),
            links.no_ipv6_generation(name),
            links.set_alias(name, alias),
        ])  # fmt: skip
        found = links.find(netlink, name)
    if found is None or found.kind != "bridge":
        raise Conflict(f"the interface {name} is there and no bridge")
    wanted = [*gateways, _ROUTERS_ADDRESS] if any(":" in one for one in gateways) else gateways
    there = [address for _, address in links.addresses(netlink, found.index)]
    changes = [links.add_address(found.index, one) for one in wanted if one not in there]
    changes += [links.delete_address(found.index, one) for one in there if one not in wanted]
    if found.alias != alias:
        changes.append(links.set_alias(name, alias))
    if found.mtu != mtu:
        changes.append(links.set_mtu(name, mtu))
    if not found.up:
        changes.append(links.set_up(name))
    netlink.ask(changes)


def remove(netlink: Netlink, name: str) -> None:
    """Delete a bridge; missing is fine; raises KernelError."""
    netlink.ask([links.delete(name)])


def present(netlink: Netlink, prefix: str) -> list[links.Link]:
    """Give the bridges whose name begins with `prefix`; raises KernelError."""
    return [link for link in links.links(netlink, "bridge") if link.name.startswith(prefix)]


def is_ours(link: links.Link) -> bool:
    """Tell a bridge of ours by its alias, which says whose it is."""
    return (link.alias or "").startswith(ALIAS)


def default_mtu(netlink: Netlink) -> int:
    """Give the MTU of the interface of the default route, IPv4's first; 1500 without one."""
    for route in sorted(links.routes(netlink, longest=0)):
        found = links.find(netlink, route.index)
        if found is not None:
            return found.mtu
    return _DEFAULT_MTU


def forwarding(*, ipv4: bool, ipv6: bool) -> Closed:
    """Have the host forward packets, and tell the log where it did not before.

    Gives the interfaces between which it would forward now and shall not.  Raises KernelError.
    """
    wanted = [version for version, asked in ((4, ipv4), (6, ipv6)) if asked]
    opened = [version for version in wanted if _read(_FORWARDING[version]) == "0"]
    if not opened:
        return Closed()
    with Netlink(NETLINK_ROUTE) as netlink:
        # Not ours: they may be there already where somebody has turned forwarding off since.
        found = [link for link in links.links(netlink) if not link.master and not is_ours(link)]
    names = [link.name for link in found]  # never none: "lo" is one
    if 6 in opened:
        for name in names:
            # A router takes no default route from others, unless it is told to all the same.
            if _read(f"ipv6/conf/{name}/accept_ra") == "1":
                _write(f"ipv6/conf/{name}/accept_ra", "2")
    for version in opened:
        _write(_FORWARDING[version], "1")
        _log.info(
            "IPv%d forwarding has been turned on, for containers only: not between %s",
            version,
            ", ".join(names),
        )
    bridges = [link.name for link in found if link.kind == "bridge"]
    return Closed(dict.fromkeys(opened, names), bridges)


def stop_forwarding(versions: Iterable[int]) -> None:
    """Have the host forward no packets of these versions of IP; raises KernelError."""
    for version in versions:
        _write(_FORWARDING[version], "0")
        _log.info("IPv%d forwarding is off again", version)


def _read(name: str) -> str:
    """Read a setting; one that is missing, as where there is no IPv6, is "" ."""
    try:
        return (_SYSCTL / name).read_text().strip()
    except FileNotFoundError:
        return ""


def _write(name: str, value: str) -> None:
    try:
        (_SYSCTL / name).write_text(value)
    except OSError as error:
        raise KernelError(error.errno or 0, f"write('{_SYSCTL / name}', {value!r})") from None
