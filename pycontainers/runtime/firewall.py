"""A container's entries in the sets of our firewall tables, which `net.firewall` makes.

Entered before a container can send, and taken out when it has ended; what they allow is written
down there.  A helper process with CAP_NET_ADMIN carries them out with `change`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pycontainers.kernel import conntrack, links, nftables
from pycontainers.kernel.nftables import address, change, ethernet, interface, port, protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.kernel.netlink import Message, Netlink

__all__ = [
    "admit",
    "by_version",
    "change",
    "publish",
    "redirect_flows",
    "unpublish",
    "unpublish_all",
    "withdraw",
]

# Where sets or rules change, so must these names: processes of several versions share a machine.
ROUTED: Final = nftables.Table(nftables.INET, "pycontainers")
BRIDGED: Final = nftables.Table(nftables.BRIDGE, "pycontainers")

# The group of our ends of all cables: what comes in by one is looked at from its first moment on,
# and also when its container is gone and others have stayed in the network namespace.
GROUP: Final = int.from_bytes(b"pc")
# Of BRIDGED: which MAC and IP address the container behind a cable has.
BOUND: Final = {4: "bound4", 6: "bound6"}
# Of ROUTED: where a port of one host address, or of all, leads; the priority of what an IP sends.
PUBLISHED: Final = {4: "ports4", 6: "ports6"}
PUBLISHED_ANY: Final = {4: "ports4_any", 6: "ports6_any"}
PRIORITIES: Final = {4: "priority4", 6: "priority6"}

Published = tuple[str, str, int, str, int]


def admit(veth: str, mac: str, addresses: Sequence[str], priority: int | None) -> list[Message]:
    """Let a container send through its cable, from this MAC and these IP addresses only.

    `priority` is the kernel's for all that it sends (SO_PRIORITY, socket(7)), None for the usual
    one.  There already is fine.
    """
    messages: list[Message] = []
    for version, texts in by_version(addresses):
        bound = [(_bound(veth, mac, text), b"") for text in texts]
        messages.append(nftables.add_elements(BRIDGED, BOUND[version], bound))
        if priority is not None:
            data = struct.pack("=I", priority)
            pairs = {address(text): data for text in texts}
            messages += _replaced(PRIORITIES[version], pairs)
    return messages


def withdraw(veth: str, mac: str, addresses: Sequence[str], priority: int | None) -> list[Message]:
    """Undo `admit`, so that nothing comes through the cable; missing is fine."""
    messages: list[Message] = []
    for version, texts in by_version(addresses):
        bound = [_bound(veth, mac, text) for text in texts]
        messages.append(nftables.destroy_elements(BRIDGED, BOUND[version], bound))
        if priority is not None:
            keys = [address(text) for text in texts]
            messages.append(nftables.destroy_elements(ROUTED, PRIORITIES[version], keys))
    return messages


def publish(ports: Sequence[Published]) -> list[Message]:
    """Have ports of the host lead to a container's, whatever they led to before.

    Each is a protocol, an address of the host ("" for all, "0.0.0.0" and "::" for all of IPv4 and
    IPv6), its port, and the container's address and port.  What the firewall can't do is left out:
    loopback addresses, and an address of the one version of IP with a container's of the other.

    >>> [message.what for message in publish([("tcp", "", 8080, "172.18.0.2", 80)])]
    ['take elements out of ports4_any in table inet pycontainers', \
'add elements to ports4_any in table inet pycontainers']
    """
    messages: list[Message] = []
    for name, pairs in _published(ports).items():
        messages += _replaced(name, pairs)
    return messages


def unpublish(ports: Sequence[Published]) -> list[Message]:
    """Undo `publish`; missing is fine."""
    return [
        nftables.destroy_elements(ROUTED, name, pairs) for name, pairs in _published(ports).items()
    ]


def unpublish_all(netlink: Netlink, addresses: Sequence[str]) -> None:
    """Undo each `publish` that leads to these addresses, by whomever; raises KernelError.

    A port that leads elsewhere by now is another container's, and stays so.
    """
    while True:
        since = nftables.generation(netlink)
        messages = [
            nftables.delete_elements(ROUTED, name, keys)
            for version, texts in by_version(addresses)
            for name in (PUBLISHED[version], PUBLISHED_ANY[version])
            if (keys := _leading_to(netlink, name, texts))
        ]
        if not messages or nftables.change_unless(netlink, since, messages):
            return


def redirect_flows(netfilter: Netlink, route: Netlink, ports: Sequence[Published]) -> None:
    """Have flows of UDP that go on lead to where ports are published now, as new ones do.

    Such a flow, as of a client that sends its log without a pause, would be sent to the container
    that had the port before for ever.  Takes about 10 ms if a port of UDP is among these.  Raises
    KernelError.
    """
    udp = [(host, host_port) for kind, host, host_port, *_ in ports if kind == "udp"]
    if not udp:
        return
    own = [text.partition("/")[0] for _, text in links.addresses(route)]
    everything = {"": own, "0.0.0.0": own, "::": own}
    targets = {(one, number) for host, number in udp for one in everything.get(host, [host])}
    conntrack.forget_udp(netfilter, targets)


def _leading_to(netlink: Netlink, name: str, texts: Sequence[str]) -> list[bytes]:
    """Give the keys of a map of ports whose data begins with one of these addresses."""
    starts = tuple(map(address, texts))
    found = nftables.elements(netlink, ROUTED, name)
    return [key for key, target in found if target.startswith(starts)]


def _replaced(name: str, pairs: dict[bytes, bytes]) -> list[Message]:
    """Enter pairs into a map, also where a container that was killed has left the same key."""
    return [
        nftables.destroy_elements(ROUTED, name, pairs),
        nftables.add_elements(ROUTED, name, pairs.items()),
    ]


def _published(ports: Sequence[Published]) -> dict[str, dict[bytes, bytes]]:
    """Give the pairs of each map for published ports."""
    found: dict[str, dict[bytes, bytes]] = {}
    for kind, host, host_port, inside, inside_port in ports:
        version = 6 if ":" in inside else 4
        key = protocol(kind) + port(host_port)
        if host in ("", "0.0.0.0" if version == 4 else "::"):
            name = PUBLISHED_ANY[version]
        elif (":" in host) == (version == 6) and not _is_loopback(address(host)):
            name = PUBLISHED[version]
            key = address(host) + key
        else:
            continue
        found.setdefault(name, {})[key] = address(inside) + port(inside_port)
    return found


def _is_loopback(packed: bytes) -> bool:
    return packed[0] == 127 if len(packed) == 4 else packed == bytes(15) + b"\1"


def _bound(veth: str, mac: str, text: str) -> bytes:
    return interface(veth) + ethernet(mac) + address(text)


def by_version(addresses: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Give the addresses, or subnets, of each version of IP of which there are any."""
    sorted_out = (
        (4, [text for text in addresses if ":" not in text]),
        (6, [text for text in addresses if ":" in text]),
    )
    return [(version, texts) for version, texts in sorted_out if texts]
