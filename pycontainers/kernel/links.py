"""Network interfaces, their addresses, routes and rates (rtnetlink(7), veth(4)).

What changes something gives messages, for `Netlink.ask`; what looks takes a Netlink, and sees the
network namespace in which that was made.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    attributes,
    nested,
)

if TYPE_CHECKING:
    from pycontainers.kernel.netlink import Netlink

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_RTM_NEWQDISC: Final = 36

_IFF_UP: Final = 1
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_PID: Final = 19
_IFLA_IFALIAS: Final = 20
_IFLA_AF_SPEC: Final = 26
_IFLA_GROUP: Final = 27
_IFLA_EXT_MASK: Final = 29
_RTEXT_FILTER_SKIP_STATS: Final = 8
_IFLA_NUM_TX_QUEUES: Final = 31
_IFLA_NUM_RX_QUEUES: Final = 32
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_INFO_SLAVE_KIND: Final = 4
_IFLA_INFO_SLAVE_DATA: Final = 5
_VETH_INFO_PEER: Final = 1
_IFLA_BR_MCAST_SNOOPING: Final = 23
_IFLA_BR_MULTI_BOOLOPT: Final = 46
_NO_LL_LEARN: Final = struct.pack("=II", 1, 1)  # its value and mask
_IFLA_BRPORT_MODE: Final = 4
_IFLA_INET6_ADDR_GEN_MODE: Final = 8
_IN6_ADDR_GEN_MODE_NONE: Final = b"\1"

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_IFA_F_NODAD: Final = 2

_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_TABLE: Final = 15
_RT_TABLE_MAIN: Final = 254
_RTPROT_BOOT: Final = 3
_RTN_UNICAST: Final = 1

_TC_H_ROOT: Final = 0xFFFFFFFF
_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_TCA_TBF_PARMS: Final = 1
_TCA_TBF_RATE64: Final = 4
_TCA_TBF_BURST: Final = 6
_LINKLAYER_ETHERNET: Final = 1

_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, …, type, flags
_QDISC: Final = struct.Struct("=BxxxiIII")  # struct tcmsg: family, index, handle, parent, info
_RATE: Final = struct.Struct("=BBHhHI")  # struct tc_ratespec
_NUMBER: Final = struct.Struct("=I")
_NAMED: Final = struct.Struct("16si20x")  # struct ifreq
_SIOCGIFMTU: Final = 0x8921
_SIOCGIFINDEX: Final = 0x8933
_ALL_LINKS: Final = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


class Link(NamedTuple):
    """An interface; `master` is the index of the bridge that it is a port of, 0 without."""

    index: int  # type: ignore[assignment]
    name: str
    kind: str
    alias: str
    master: int
    mtu: int
    mac: str
    up: bool


class Route(NamedTuple):
    """A route of the main table: its destination, as "172.18.0.0/16", and its interface's index."""

    destination: str
    index: int  # type: ignore[assignment]


def add_bridge(name: str, mac: str, mtu: int) -> Message:
    """Make a bridge, down at first; EEXIST where the name is taken.

    Frames to the bridge group addresses (01:80:C2:00:00:0X), which no filter of the bridge sees,
    teach it no MAC addresses, and multicast goes to all ports.
    """
    options = nested(
        _IFLA_INFO_DATA,
        attribute(_IFLA_BR_MCAST_SNOOPING, b"\0"),
        attribute(_IFLA_BR_MULTI_BOOLOPT, _NO_LL_LEARN),
    )
    return Message(
        _RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        _LINK.pack(0, 0, 0, 0, 0)
        + attribute(_IFLA_IFNAME, name)
        + attribute(_IFLA_ADDRESS, _mac(mac))
        + attribute(_IFLA_MTU, mtu)
        + nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, "bridge"), options),
        f"add the bridge {name}",
    )


def add_veth(
    name: str, bridge: int, pid: int, *, inside: str, mac: str, mtu: int, group: int = 0
) -> list[Message]:
    """Lay a cable from a bridge, by its index, into the network namespace of a process.

    The host's end is up and a port of the bridge, which may send what came from it back to it (as a
    container reaches itself by a published port), and has no addresses; from its first moment it
    is in the group, a number by which others know it.  The end `inside` is down.
    EEXIST where the name is taken.
    """
    peer = (
        _LINK.pack(0, 0, 0, 0, 0)
        + attribute(_IFLA_IFNAME, inside)
        + attribute(_IFLA_ADDRESS, _mac(mac))
        + attribute(_IFLA_MTU, mtu)
        + attribute(_IFLA_NET_NS_PID, pid)
        + _ONE_QUEUE
    )
    cable = Message(
        _RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
        + attribute(_IFLA_IFNAME, name)
        + attribute(_IFLA_MTU, mtu)
        + attribute(_IFLA_MASTER, bridge)
        + attribute(_IFLA_GROUP, group)
        + _ONE_QUEUE
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_KIND, "veth"),
            nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer)),
        ),
        f"add the interface {name}",
    )
    # In time: an interface gets no address of its own while its other end is down.
    return [cable, _port(name)]


def plug_in(name: str, bridge: int) -> list[Message]:
    """Make an interface a port of a bridge, by its index, as `add_veth` does."""
    plugged = _set(name, attribute(_IFLA_MASTER, bridge), "plug it into a bridge")
    return [plugged, _port(name)]


def _port(name: str) -> Message:
    return Message(
        _RTM_NEWLINK,
        0,
        _LINK.pack(0, 0, 0, 0, 0)
        + attribute(_IFLA_IFNAME, name)
        + _NO_GENERATION
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_SLAVE_KIND, "bridge"),
            nested(_IFLA_INFO_SLAVE_DATA, attribute(_IFLA_BRPORT_MODE, b"\1")),
        ),
        f"make {name} a port",
    )


def no_ipv6_generation(link: int | str) -> Message:
    """Have an interface, by index or name, make no IPv6 addresses of its own (fe80::…)."""
    return _set(link, _NO_GENERATION, "generate no addresses")


def set_up(link: int | str) -> Message:
    """Set an interface, by index or name, up."""
    index, name = _which(link)
    header = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)
    return Message(_RTM_SETLINK, 0, header + name, f"set the interface {link} up")


def set_alias(link: int | str, alias: str) -> Message:
    """Describe an interface, by index or name, in at most 255 bytes."""
    return _set(link, attribute(_IFLA_IFALIAS, alias.encode()), "set an alias")


def set_mtu(link: int | str, mtu: int) -> Message:
    """Set the largest packet of an interface, by index or name, in bytes."""
    return _set(link, attribute(_IFLA_MTU, mtu), f"set the mtu {mtu}")


def delete(link: int | str) -> Message:
    """Delete an interface, by index or name, and the other end of a cable; missing is fine."""
    index, name = _which(link)
    header = _LINK.pack(0, 0, index, 0, 0)
    what = f"delete the interface {link}"
    return Message(_RTM_DELLINK, 0, header + name, what, (errno.ENODEV,))


def add_address(index: int, address: str) -> Message:
    """Give an interface an address with its prefix, to be used at once; there already is fine.

    >>> add_address(2, "172.18.0.2/16").what
    'add the address 172.18.0.2/16'
    """
    return _address(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, errno.EEXIST)


def delete_address(index: int, address: str) -> Message:
    """Take an address with its prefix away; missing is fine."""
    return _address(_RTM_DELADDR, 0, index, address, errno.EADDRNOTAVAIL)


def add_default_route(gateway: str, index: int) -> Message:
    """Send what is for anywhere else to a gateway; EEXIST where there is a default route."""
    family, packed = _packed(gateway)
    return Message(
        _RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_EXCL,
        _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
        + attribute(_RTA_GATEWAY, packed)
        + attribute(_RTA_OIF, index),
        f"add the default route by {gateway}",
    )


def limit_rate(index: int, rate: int) -> Message:
    """Let an interface send `rate` bytes a second and no more, by a token bucket (tc-tbf(8)).

    10 ms may go at once, and what would have to wait for longer than 50 ms more is dropped.
    """
    burst = max(rate // 100, 16 << 10)
    limit = burst + max(rate // 20, 32 << 10)
    capped = min(rate, 0xFFFFFFFF)
    parameters = (
        _RATE.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, capped)
        + _RATE.pack(0, 0, 0, 0, 0, 0)
        + struct.pack("=III", limit, 0, 0)
    )
    return Message(
        _RTM_NEWQDISC,
        NLM_F_CREATE | NLM_F_REPLACE,
        _QDISC.pack(0, index, 0x10000, _TC_H_ROOT, 0)
        + attribute(_TCA_KIND, "tbf")
        + nested(
            _TCA_OPTIONS,
            attribute(_TCA_TBF_PARMS, parameters),
            attribute(_TCA_TBF_RATE64, struct.pack("=Q", rate)),
            attribute(_TCA_TBF_BURST, burst),
        ),
        f"limit the interface {index} to {rate} bytes a second",
    )


def links(netlink: Netlink, kind: str | None = None) -> list[Link]:
    """Give all interfaces, or those of one kind, as "bridge"; raises KernelError."""
    body = _ALL_LINKS
    if kind is not None:
        body += nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind))
    found = map(_link, netlink.dump(_RTM_GETLINK, body, "list the interfaces"))
    return [link for link in found if kind in (None, link.kind)]


def find(netlink: Netlink, link: int | str) -> Link | None:
    """Give one interface, by index or name, or None; raises KernelError."""
    index, name = _which(link)
    body = _LINK.pack(0, 0, index, 0, 0) + name
    body += attribute(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    what = f"look for the interface {link}"
    found = netlink.get(Message(_RTM_GETLINK, 0, body, what, (errno.ENODEV,)))
    return None if found is None else _link(found)


def index_of(netlink: Netlink, name: str) -> int | None:
    """Give the index of the interface with this name, or None; raises KernelError."""
    return _number_of(netlink, name, _SIOCGIFINDEX)


def mtu_of(netlink: Netlink, name: str) -> int | None:
    """Give the largest packet of the interface with this name, or None; raises KernelError."""
    return _number_of(netlink, name, _SIOCGIFMTU)


def _number_of(netlink: Netlink, name: str, request: int) -> int | None:
    """Ask for one number about an interface (netdevice(7)), a tenth of the work of `find`."""
    try:
        answer = fcntl.ioctl(netlink.fileno(), request, _NAMED.pack(name.encode(), 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise KernelError(error.errno or 0, f"look for the interface {name}") from None
    number: int = _NAMED.unpack(answer)[1]
    return number


def addresses(netlink: Netlink, of: int | None = None) -> list[tuple[int, str]]:
    """Give all addresses, or those of one interface, each after the index of its interface."""
    found = []
    for body in netlink.dump(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), "list the addresses"):
        family, prefix, _, _, index = _ADDRESS.unpack_from(body)
        if of not in (None, index):
            continue
        known = attributes(body[_ADDRESS.size :])
        packed = known.get(_IFA_LOCAL, known.get(_IFA_ADDRESS))
        if packed is not None and family in (socket.AF_INET, socket.AF_INET6):
            found.append((index, f"{socket.inet_ntop(family, packed)}/{prefix}"))
    return found


def routes(netlink: Netlink, longest: int = 128) -> list[Route]:
    """Give the routes of the main table, of both families, with prefixes no longer than that."""
    found = []
    for body in netlink.dump(_RTM_GETROUTE, _ROUTE.pack(*[0] * 9), "list the routes"):
        family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != _RTN_UNICAST:
            continue
        if prefix > longest:
            continue
        known = attributes(body[_ROUTE.size :])
        if _RTA_TABLE in known:
            table = _NUMBER.unpack(known[_RTA_TABLE])[0]
        if table == _RT_TABLE_MAIN:
            packed = known.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
            oif = known.get(_RTA_OIF, bytes(4))
            destination = f"{socket.inet_ntop(family, packed)}/{prefix}"
            found.append(Route(destination, _NUMBER.unpack(oif)[0]))
    return found


def destinations(netlink: Netlink) -> list[str]:
    """Give the networks that this host has routes to, default routes left out."""
    return [route.destination for route in routes(netlink) if not route.destination.endswith("/0")]


def subnets_of(netlink: Netlink, index: int) -> list[str]:
    """Give the networks that an interface's addresses are in, but for link-local ones.

    >>> with Netlink(NETLINK_ROUTE) as netlink:                 # doctest: +SKIP
    ...     subnets_of(netlink, 1)
    ['127.0.0.0/8', '::1/128']
    """
    found = []
    for _, address in addresses(netlink, index):
        text, _, prefix = address.partition("/")
        if not text.startswith("fe80:"):
            family, packed = _packed(text)
            first = _masked(packed, int(prefix))
            found.append(f"{socket.inet_ntop(family, first)}/{prefix}")
    return found


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    known = attributes(body[_LINK.size :])
    kind = attributes(known.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
    return Link(
        index,
        _text(known[_IFLA_IFNAME]),
        _text(kind),
        _text(known.get(_IFLA_IFALIAS, b"")),
        _NUMBER.unpack(known.get(_IFLA_MASTER, bytes(4)))[0],
        _NUMBER.unpack(known[_IFLA_MTU])[0],
        known.get(_IFLA_ADDRESS, b"").hex(":"),
        bool(flags & _IFF_UP),
    )


def _which(link: int | str) -> tuple[int, bytes]:
    """Give the index for a message's header, and the attribute that names an interface instead."""
    return (link, b"") if isinstance(link, int) else (0, attribute(_IFLA_IFNAME, link))


def _set(link: int | str, change: bytes, what: str) -> Message:
    index, name = _which(link)
    body = _LINK.pack(0, 0, index, 0, 0) + name + change
    return Message(_RTM_SETLINK, 0, body, f"{what} of the interface {link}")


def _address(kind: int, flags: int, index: int, address: str, fine: int) -> Message:
    text, _, prefix = address.partition("/")
    family, packed = _packed(text)
    own = attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    option = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    if family == socket.AF_INET and int(prefix) < 31:
        own += attribute(_IFA_BROADCAST, _masked(packed, int(prefix), rest=1))
    verb = "add" if kind == _RTM_NEWADDR else "delete"
    body = _ADDRESS.pack(family, int(prefix), option, 0, index) + own
    return Message(kind, flags, body, f"{verb} the address {address}", (fine,))


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _masked(packed: bytes, prefix: int, *, rest: int = 0) -> bytes:
    """Give an address with the bits after its prefix all 0, or all 1."""
    low = (1 << (len(packed) * 8 - prefix)) - 1
    number = int.from_bytes(packed)
    return (number | low if rest else number & ~low).to_bytes(len(packed))


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


# A cable hands on at once what it is given; one for each CPU only take time to be made.
_ONE_QUEUE: Final = attribute(_IFLA_NUM_TX_QUEUES, 1) + attribute(_IFLA_NUM_RX_QUEUES, 1)
_NO_GENERATION: Final = nested(
    _IFLA_AF_SPEC,
    nested(socket.AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)),
)
