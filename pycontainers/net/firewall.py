"""The firewall of containers: two tables of our own, shared by all data roots of a machine.

What the rules promise:

- networks are apart: a container reaches those of its own network, and others by the ports that
  they publish on the host; nobody outside reaches a container but by these;
- what leaves for elsewhere has the host's address; an internal network has no way out at all;
- the host's own services can't be reached from a network, unless it was made with `host_access`;
- a container sends with its own MAC and IP addresses only, in ARP and neighbour discovery as well.

Rules of other tables are not touched, and hold as well: what they drop stays dropped.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import nftables as nft
from pycontainers.kernel import nftrules as rules
from pycontainers.kernel.nftrules import (
    ACCEPT,
    ADDRESS,
    DROP,
    FIRST,
    INTERFACE,
    LINK,
    MASQUERADE,
    NETWORK,
    REJECT,
    RESET,
    TRANSPORT,
    add_base_chain,
    add_chain,
    add_rule,
    add_set,
    equals,
    lookup,
    meta,
    payload,
)
from pycontainers.net import bridges
from pycontainers.runtime.firewall import (
    BOUND,
    BRIDGED,
    GROUP,
    PRIORITIES,
    PUBLISHED,
    PUBLISHED_ANY,
    ROUTED,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.kernel.netlink import Message, Netlink

# Sets of ROUTED, of the names of bridges and of subnets: all our networks', …
_NETWORKS: Final = "networks"
_WITHIN: Final = "within"  # bridge . the same bridge
_INTERNAL: Final = "internal"
_HOST_ACCESS: Final = "host_access"
_SUBNETS: Final = {4: "subnets4", 6: "subnets6"}
# … of the versions of IP, by number, of which others drop what is forwarded, …
_DROPPED: Final = "dropped"
# … and of the interfaces between which nothing was forwarded before we made this host a router.
_OUTER: Final = {4: "outer4", 6: "outer6"}

_AT_ONCE: Final = 500  # names of interfaces that fit into one message's 64 KiB
_OUR_BRIDGES: Final = b"pc"  # what their names begin with

_FAMILY: Final = {4: nft.IPV4, 6: nft.IPV6}
_SOURCE: Final = {4: (12, 4), 6: (8, 16)}  # where it is in the header, and its length
_DESTINATION: Final = {4: (16, 4), 6: (24, 16)}
_SECOND: Final = FIRST + 4  # after the name of an interface
_THIRD: Final = FIRST + 6  # after a name and a MAC address
_NAT_DESTINATION: Final = -100
_NAT_SOURCE: Final = 100
_BEFORE_ALL: Final = -300

_ETHERNET_IP: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}
_ETHERNET_ARP: Final = b"\x08\x06"
_ARP_OF_IPV4: Final = b"\0\1\x08\0\6\4"  # its header: Ethernet, IPv4, and their lengths
_ICMP: Final = b"\1"
_TCP: Final = b"\6"
_ICMPV6: Final = b"\x3a"
_ECHO_REQUEST: Final = b"\x08"
_ECHO_REQUEST6: Final = b"\x80"
_ROUTER_ADVERTISEMENT: Final = b"\x86"
_NEIGHBOUR_SOLICITATION: Final = b"\x87"
_NEIGHBOUR_ADVERTISEMENT: Final = b"\x88"
_REDIRECT: Final = b"\x89"


def is_there(netlink: Netlink) -> bool:
    """Tell whether both tables exist; raises KernelError."""
    return nft.is_there(netlink, ROUTED) and nft.is_there(netlink, BRIDGED)


def has_network(netlink: Netlink, bridge: str) -> bool:
    """Tell whether the rules hold for a network; raises KernelError."""
    if not nft.is_there(netlink, BRIDGED):
        return False
    try:
        return nft.interface(bridge) in dict(nft.elements(netlink, ROUTED, _NETWORKS))
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return False


def ensure(netlink: Netlink, closed: bridges.Closed) -> None:
    """Make the tables where they are missing; raises KernelError.

    `closed` are interfaces between which nothing shall be forwarded.  The caller holds the
    machine's lock.
    """
    messages: list[Message] = []
    if not nft.is_there(netlink, ROUTED):
        messages += _routed()
    if not nft.is_there(netlink, BRIDGED):
        messages += _bridged()
    for version, names in closed.interfaces.items():
        messages += _enter(_OUTER[version], names)
    # What a bridge hands on between its own ports may come by here too (br_netfilter).
    messages += _enter(_WITHIN, closed.bridges, twice=True)
    if messages:
        nft.change(netlink, messages)


def add_network(
    netlink: Netlink, bridge: str, subnets: Sequence[str], *, internal: bool, host_access: bool
) -> None:
    """Have the rules hold for a network; there already is fine; raises KernelError."""
    messages = [*_enter(_NETWORKS, [bridge]), *_enter(_WITHIN, [bridge], twice=True)]
    if internal:
        messages += _enter(_INTERNAL, [bridge])
    if host_access:
        messages += _enter(_HOST_ACCESS, [bridge])
    for version, texts in _by_version(subnets):
        messages.append(nft.add_networks(ROUTED, _SUBNETS[version], texts))
    nft.change(netlink, messages)


def remove_network(netlink: Netlink, bridge: str, subnets: Sequence[str]) -> None:
    """Forget a network; missing is fine; raises KernelError."""
    name = nft.interface(bridge)
    messages = [nft.destroy_elements(ROUTED, _WITHIN, [name + name])]
    for each in (_NETWORKS, _INTERNAL, _HOST_ACCESS):
        messages.append(nft.destroy_elements(ROUTED, each, [name]))
    for version, texts in _by_version(subnets):
        messages.append(nft.destroy_networks(ROUTED, _SUBNETS[version], texts))
    nft.change(netlink, messages)


def remove_if_unused(netlink: Netlink) -> None:
    """Take the tables away if there is no network any more; raises KernelError.

    If this host forwards packets only because of us, it is no router any more then; if others need
    it to be one meanwhile, the tables stay, as they keep others from being forwarded as well.  The
    caller holds the machine's lock.
    """
    there = [table for table in (ROUTED, BRIDGED) if nft.is_there(netlink, table)]
    if ROUTED in there:
        if nft.elements(netlink, ROUTED, _NETWORKS):
            return
        opened = [
            version for version, name in _OUTER.items() if nft.elements(netlink, ROUTED, name)
        ]
        if opened:
            if _others_forward(netlink):
                return
            bridges.stop_forwarding(opened)
    nft.change(netlink, [nft.delete_table(table) for table in there])


def foreign_drops(netlink: Netlink) -> list[str]:
    """Name the chains of others that drop what no rule of theirs lets be forwarded.

    As "table ip filter, chain FORWARD"; those in whose table a rule is about all our bridges, as
    "pc*", are left out.  What was made by iptables-legacy is not seen.
    """
    return [_named(chain) for chain in _strict(netlink)]


def relay_where_dropped(netlink: Netlink) -> list[str]:
    """Leave published ports to those who listen there, where others drop what is forwarded.

    Gives what `foreign_drops` does; takes 0.3 ms; raises KernelError.
    """
    strict = _strict(netlink)
    wanted: set[bytes] = set()
    for chain in strict:
        families = _FAMILY.values() if chain.table.family == nft.INET else [chain.table.family]
        wanted |= {bytes((family,)) for family in families}
    known = {key[:1] for key, _ in nft.elements(netlink, ROUTED, _DROPPED)}
    changes = []
    if known - wanted:
        changes.append(nft.destroy_elements(ROUTED, _DROPPED, known - wanted))
    if wanted - known:
        changes.append(nft.add_elements(ROUTED, _DROPPED, [(key, b"") for key in wanted - known]))
    nft.change(netlink, changes)
    return [_named(chain) for chain in strict]


def _named(chain: nft.Chain) -> str:
    return f"{chain.table}, chain {chain.name}"


def _strict(netlink: Netlink) -> list[nft.Chain]:
    found = (chain for chain in _others(netlink, rules.FORWARD) if chain.drops)
    return [chain for chain in found if not nft.compares(netlink, chain.table, _OUR_BRIDGES)]


def _others_forward(netlink: Netlink) -> bool:
    """Tell whether others have rules for what is forwarded, as container engines and routers do."""
    if _others(netlink, rules.FORWARD, rules.POSTROUTING):
        return True
    for name in ("ip_tables_names", "ip6_tables_names"):  # of iptables-legacy
        with contextlib.suppress(FileNotFoundError):
            if Path("/proc/thread-self/net", name).read_text():
                return True
    return False


def _others(netlink: Netlink, *hooks: int) -> list[nft.Chain]:
    """Give the chains of others that packets of IP enter at hooks."""
    families = (nft.INET, nft.IPV4, nft.IPV6)
    found = (chain for chain in nft.chains(netlink) if chain.table.family in families)
    return [chain for chain in found if chain.hook in hooks and chain.table != ROUTED]


def _enter(name: str, interfaces: Sequence[str], *, twice: bool = False) -> list[Message]:
    """Enter names of interfaces, or each with itself, into a set of ROUTED."""
    keys = [nft.interface(each) * (2 if twice else 1) for each in interfaces]
    parts = (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
    return [nft.add_elements(ROUTED, name, [(key, b"") for key in part]) for part in parts]


def _by_version(subnets: Sequence[str]) -> list[tuple[int, list[str]]]:
    found = ((4, [text for text in subnets if ":" not in text]),
             (6, [text for text in subnets if ":" in text]))  # fmt: skip
    return [(version, texts) for version, texts in found if texts]


# The tables.


def _routed() -> list[Message]:
    """Give the table of what comes through the host's IP, or through a bridge to it."""
    sets = [
        add_set(ROUTED, _WITHIN, [INTERFACE, INTERFACE]),
        add_set(ROUTED, _DROPPED, [rules.NFPROTO_FIELD]),
    ]
    for name in (_NETWORKS, _INTERNAL, _HOST_ACCESS, *_OUTER.values()):
        sets.append(add_set(ROUTED, name, [INTERFACE]))
    for version, address in ADDRESS.items():
        port = [rules.TRANSPORT_PROTOCOL, rules.PORT]
        target = [address, rules.PORT]
        sets += [
            add_set(ROUTED, _SUBNETS[version], [address], intervals=True),
            add_set(ROUTED, PUBLISHED[version], [address, *port], data=target),
            add_set(ROUTED, PUBLISHED_ANY[version], port, data=target),
            add_set(ROUTED, PRIORITIES[version], [address], data=[rules.CLASS]),
        ]
    return [
        nft.add_table(ROUTED),
        *sets,
        *_translation_chains(),
        *_forwarding_chain(),
        *_input_chains(),
    ]


def _translation_chains() -> list[Message]:
    """Give the chains that publish ports, and show others the host's address."""
    messages = [
        add_chain(ROUTED, "publish"),
        add_base_chain(ROUTED, "prerouting", "nat", rules.PREROUTING, _NAT_DESTINATION),
        add_base_chain(ROUTED, "output", "nat", rules.OUTPUT, _NAT_DESTINATION),
        add_base_chain(ROUTED, "postrouting", "nat", rules.POSTROUTING, _NAT_SOURCE),
        # What would be dropped on its way to a container is relayed.
        add_rule(ROUTED, "prerouting", _is_relayed(), ACCEPT),
        add_rule(ROUTED, "prerouting", rules.is_to_this_host(), rules.jump("publish")),
        # No container could answer to 127.0.0.1, so the loopback is left to relays.
        add_rule(ROUTED, "output", _ip(4), payload(NETWORK, *_DESTINATION[4]),
                 rules.masked(b"\xff\0\0\0"), equals(b"\x7f\0\0\0"), ACCEPT),
        add_rule(ROUTED, "output", _ip(6), payload(NETWORK, *_DESTINATION[6]),
                 equals(bytes(15) + b"\1"), ACCEPT),
        add_rule(ROUTED, "output", rules.is_to_this_host(), rules.jump("publish")),
        # The host may talk to itself by a gateway's address.
        add_rule(ROUTED, "postrouting", meta(rules.OIFNAME), equals(nft.interface("lo")), ACCEPT),
    ]  # fmt: skip
    for version, found in _published():
        redirected = rules.redirect(_FAMILY[version])
        messages.append(add_rule(ROUTED, "publish", _ip(version), found, redirected))
    for version in _FAMILY:
        source = _ip(version) + payload(NETWORK, *_SOURCE[version]) + lookup(_SUBNETS[version])
        back = payload(NETWORK, *_DESTINATION[version]) + lookup(_SUBNETS[version])
        elsewhere = meta(rules.OIFNAME) + rules.not_in(_NETWORKS)
        messages += [
            add_rule(ROUTED, "postrouting", source, elsewhere, MASQUERADE),
            # A published port that leads to a neighbour: its answers have to come by us as well.
            add_rule(ROUTED, "postrouting", rules.is_redirected(), source, back, MASQUERADE),
        ]
    return messages


def _published() -> Iterator[tuple[int, bytes]]:
    """Give what goes on if a packet is for a published port: where that leads is loaded then."""
    for version, (offset, length) in _DESTINATION.items():
        one = payload(NETWORK, offset, length) + _transport(FIRST + length // 4)
        yield version, one + lookup(PUBLISHED[version], into=FIRST)
        yield version, _transport(FIRST) + lookup(PUBLISHED_ANY[version], into=FIRST)


def _forwarding_chain() -> list[Message]:
    """Give the chain of what comes in by one interface and goes out by another."""
    comes_from, goes_to = meta(rules.IIFNAME), meta(rules.OIFNAME)
    ours = comes_from + lookup(_NETWORKS)
    into_ours = goes_to + lookup(_NETWORKS)
    chain = "forward"
    messages = [add_base_chain(ROUTED, chain, "filter", rules.FORWARD, 0)]
    for version, place in _SOURCE.items():
        known = payload(NETWORK, *place) + lookup(PRIORITIES[version], into=FIRST)
        messages.append(add_rule(ROUTED, chain, ours, _ip(version), known, rules.set_priority()))
    pair = comes_from + meta(rules.OIFNAME, _SECOND)
    messages += [
        add_rule(ROUTED, chain, pair, lookup(_WITHIN), ACCEPT),
        add_rule(ROUTED, chain, comes_from, lookup(_INTERNAL), DROP),
        add_rule(ROUTED, chain, goes_to, lookup(_INTERNAL), DROP),
        add_rule(ROUTED, chain, into_ours, rules.is_answer(), ACCEPT),
        add_rule(ROUTED, chain, into_ours, rules.is_redirected(), ACCEPT),
        add_rule(ROUTED, chain, into_ours, DROP),
    ]
    for version, name in _OUTER.items():
        both = comes_from + lookup(name) + goes_to + lookup(name)
        messages.append(add_rule(ROUTED, chain, _ip(version), both, DROP))
    return messages


def _input_chains() -> list[Message]:
    """Give the chains of what is for the host itself."""
    chain, relayed = "host", _is_relayed()
    messages = [
        add_chain(ROUTED, chain),
        add_base_chain(ROUTED, "input", "filter", rules.INPUT, 0),
        add_rule(ROUTED, "input", meta(rules.IIFNAME), lookup(_NETWORKS), rules.jump(chain)),
        add_rule(ROUTED, chain, rules.is_answer(), ACCEPT),
    ]
    for kind in (_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT):
        messages.append(add_rule(ROUTED, chain, _icmp(6, kind), ACCEPT))
    messages += [
        add_rule(ROUTED, chain, meta(rules.IIFNAME), lookup(_INTERNAL), DROP),
        add_rule(ROUTED, chain, _icmp(4, _ECHO_REQUEST), ACCEPT),
        add_rule(ROUTED, chain, _icmp(6, _ECHO_REQUEST6), ACCEPT),
        add_rule(ROUTED, chain, meta(rules.IIFNAME), lookup(_HOST_ACCESS), ACCEPT),
        *(add_rule(ROUTED, chain, relayed, _ip(version), found, ACCEPT)
          for version, found in _published()),
        # TCP takes no notice of an error that comes while it is still sending (tcp_v6_err()).
        add_rule(ROUTED, chain, meta(rules.L4PROTO), equals(_TCP), RESET),
        add_rule(ROUTED, chain, REJECT),
    ]  # fmt: skip
    return messages


def _bridged() -> list[Message]:
    """Give the table of what containers send into their bridges, before these learn from it."""
    sender = meta(rules.IIFNAME) + payload(LINK, 6, 6, _SECOND)
    chain = "port"
    messages = [
        nft.add_table(BRIDGED),
        *(add_set(BRIDGED, name, [INTERFACE, rules.ETHERNET, ADDRESS[version]])
          for version, name in BOUND.items()),
        add_chain(BRIDGED, chain),
        add_base_chain(BRIDGED, "prerouting", "filter", rules.PREROUTING, _BEFORE_ALL),
        add_rule(BRIDGED, "prerouting", meta(rules.IIFGROUP), equals(struct.pack("=I", GROUP)),
                 rules.jump(chain)),
    ]  # fmt: skip

    def bound(version: int, offset: int) -> bytes:
        """Go on if the sender may have the IP address that is there in the packet."""
        length = ADDRESS[version].length
        return sender + payload(NETWORK, offset, length, _THIRD) + lookup(BOUND[version])

    of_arp = meta(rules.IIFNAME) + payload(NETWORK, 8, 6, _SECOND)
    of_arp += payload(NETWORK, 14, 4, _THIRD) + lookup(BOUND[4])
    plain = payload(NETWORK, 0, 6) + equals(_ARP_OF_IPV4)
    own4, own6 = bound(4, _SOURCE[4][0]), bound(6, _SOURCE[6][0])
    told = payload(TRANSPORT, 8, 16, _THIRD) + lookup(BOUND[6])  # whose MAC address is advertised
    messages += [
        add_rule(BRIDGED, chain, _frame(_ETHERNET_IP[4]), own4, ACCEPT),
        add_rule(BRIDGED, chain, _frame(_ETHERNET_ARP), plain, bound(4, 14), of_arp, ACCEPT),
        # Routers and who redirects could have all traffic come by them, and none of ours is one.
        *(add_rule(BRIDGED, chain, _frame(_ETHERNET_IP[6]), _icmp_type(_ICMPV6, kind), DROP)
          for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT)),
        add_rule(BRIDGED, chain, _frame(_ETHERNET_IP[6]),
                 _icmp_type(_ICMPV6, _NEIGHBOUR_ADVERTISEMENT), own6, sender, told, ACCEPT),
        add_rule(BRIDGED, chain, _frame(_ETHERNET_IP[6]),
                 _icmp_type(_ICMPV6, _NEIGHBOUR_ADVERTISEMENT), DROP),
        add_rule(BRIDGED, chain, _frame(_ETHERNET_IP[6]), own6, ACCEPT),
        add_rule(BRIDGED, chain, DROP),
    ]  # fmt: skip
    return messages


# Matches.


def _is_relayed() -> bytes:
    """Go on if others drop what is forwarded by this version of IP."""
    return meta(rules.NFPROTO) + lookup(_DROPPED)


def _ip(version: int) -> bytes:
    """Go on for packets of this version of IP, in the family inet."""
    return meta(rules.NFPROTO) + equals(bytes((_FAMILY[version],)))


def _frame(kind: bytes) -> bytes:
    """Go on for frames of this type, in the family bridge."""
    return meta(rules.PROTOCOL) + equals(kind)


def _transport(register: int) -> bytes:
    """Load the transport protocol and the port that the packet is for."""
    return meta(rules.L4PROTO, register) + payload(TRANSPORT, 2, 2, register + 1)


def _icmp(version: int, kind: bytes) -> bytes:
    return _ip(version) + _icmp_type(_ICMP if version == 4 else _ICMPV6, kind)


def _icmp_type(protocol: bytes, kind: bytes) -> bytes:
    return meta(rules.L4PROTO) + equals(protocol) + payload(TRANSPORT, 0, 1) + equals(kind)
