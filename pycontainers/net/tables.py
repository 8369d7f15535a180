"""The two tables of the firewall: their sets and their rules, which keep what `firewall` promises.

Who changes them gives `RULES` another number, so that those of an older version are replaced.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

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
    from collections.abc import Iterator

    from pycontainers.kernel.netlink import Message

RULES: Final = "rules2"  # a chain of BRIDGED without rules

# Sets of ROUTED, of the names of bridges and of subnets: all our networks', …
NETWORKS: Final = "networks"
WITHIN: Final = "within"  # bridge . the same bridge
INTERNAL: Final = "internal"
HOST_ACCESS: Final = "host_access"
SUBNETS: Final = {4: "subnets4", 6: "subnets6"}
# … of the versions of IP, by number, of which others drop what is forwarded, …
DROPPED: Final = "dropped"
# … and of the interfaces between which nothing was forwarded before we made this host a router.
OUTER: Final = {4: "outer4", 6: "outer6"}

FAMILY: Final = {4: nft.IPV4, 6: nft.IPV6}

# All of each table but DROPPED, which is found anew.
SETS: Final = {
    ROUTED: (
        *(NETWORKS, WITHIN, INTERNAL, HOST_ACCESS),
        *(*SUBNETS.values(), *OUTER.values(), *PRIORITIES.values()),
        *(*PUBLISHED.values(), *PUBLISHED_ANY.values()),
    ),
    BRIDGED: (*BOUND.values(),),
}

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


def routed() -> list[Message]:
    """Give the table of what comes through the host's IP, or through a bridge to it."""
    sets = [
        add_set(ROUTED, WITHIN, [INTERFACE, INTERFACE]),
        add_set(ROUTED, DROPPED, [rules.NFPROTO_FIELD]),
    ]
    for name in (NETWORKS, INTERNAL, HOST_ACCESS, *OUTER.values()):
        sets.append(add_set(ROUTED, name, [INTERFACE]))
    for version, address in ADDRESS.items():
        port = [rules.TRANSPORT_PROTOCOL, rules.PORT]
        target = [address, rules.PORT]
        sets += [
            add_set(ROUTED, SUBNETS[version], [address], intervals=True),
            add_set(ROUTED, PUBLISHED[version], [address, *port], data=target),
            add_set(ROUTED, PUBLISHED_ANY[version], port, data=target),
            add_set(ROUTED, PRIORITIES[version], [address], data=[rules.CLASS]),
        ]
    return [
        nft.add_table(ROUTED),
        *sets,
        *_translation_chains(),
        *_forwarding_chains(),
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
        redirected = rules.redirect(FAMILY[version])
        messages.append(add_rule(ROUTED, "publish", _ip(version), found, redirected))
    for version in FAMILY:
        source = _ip(version) + payload(NETWORK, *_SOURCE[version]) + lookup(SUBNETS[version])
        back = payload(NETWORK, *_DESTINATION[version]) + lookup(SUBNETS[version])
        elsewhere = meta(rules.OIFNAME) + rules.not_in(NETWORKS)
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


def _forwarding_chains() -> list[Message]:
    """Give the chains of what comes in by one interface and goes out by another.

    All packets of all connections pass here, and each look at a set takes time; so what is mostly
    there is found first.
    """
    comes_from, goes_to = meta(rules.IIFNAME), meta(rules.OIFNAME)
    within = comes_from + meta(rules.OIFNAME, _SECOND) + lookup(WITHIN)
    into_ours = goes_to + lookup(NETWORKS) + rules.jump("into")
    prioritized = [
        _ip(version)
        + payload(NETWORK, *place)
        + lookup(PRIORITIES[version], into=FIRST)
        + rules.set_priority()
        for version, place in _SOURCE.items()
    ]
    outer = [
        _ip(version) + comes_from + lookup(name) + goes_to + lookup(name) + DROP
        for version, name in OUTER.items()
    ]
    chains = {
        "internal": [within + ACCEPT, DROP],
        "into": [rules.is_answer() + ACCEPT, within + ACCEPT, rules.is_redirected() + ACCEPT, DROP],
        "from": [
            *prioritized,
            comes_from + lookup(INTERNAL) + rules.jump("internal"),
            goes_to + lookup(INTERNAL) + rules.jump("internal"),
            into_ours,
            ACCEPT,
        ],
        "forward": [
            comes_from + lookup(NETWORKS) + rules.jump("from"),
            goes_to + lookup(INTERNAL) + DROP,
            into_ours,
            within + ACCEPT,
            *outer,
        ],
    }
    return [
        *(add_chain(ROUTED, chain) for chain in ("internal", "into", "from")),
        add_base_chain(ROUTED, "forward", "filter", rules.FORWARD, 0),
        *(add_rule(ROUTED, chain, rule) for chain, found in chains.items() for rule in found),
    ]


def _input_chains() -> list[Message]:
    """Give the chains of what is for the host itself."""
    chain, relayed = "host", _is_relayed()
    messages = [
        add_chain(ROUTED, chain),
        add_base_chain(ROUTED, "input", "filter", rules.INPUT, 0),
        add_rule(ROUTED, "input", meta(rules.IIFNAME), lookup(NETWORKS), rules.jump(chain)),
        add_rule(ROUTED, chain, rules.is_answer(), ACCEPT),
    ]
    for kind in (_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT):
        messages.append(add_rule(ROUTED, chain, _icmp(6, kind), ACCEPT))
    messages += [
        add_rule(ROUTED, chain, meta(rules.IIFNAME), lookup(INTERNAL), DROP),
        add_rule(ROUTED, chain, _icmp(4, _ECHO_REQUEST), ACCEPT),
        add_rule(ROUTED, chain, _icmp(6, _ECHO_REQUEST6), ACCEPT),
        add_rule(ROUTED, chain, meta(rules.IIFNAME), lookup(HOST_ACCESS), ACCEPT),
        *(add_rule(ROUTED, chain, relayed, _ip(version), found, ACCEPT)
          for version, found in _published()),
        # TCP takes no notice of an error that comes while it is still sending (tcp_v6_err()).
        add_rule(ROUTED, chain, meta(rules.L4PROTO), equals(_TCP), RESET),
        add_rule(ROUTED, chain, REJECT),
    ]  # fmt: skip
    return messages


def bridged() -> list[Message]:
    """Give the table of what containers send into their bridges, before these learn from it."""
    sender = meta(rules.IIFNAME) + payload(LINK, 6, 6, _SECOND)
    chain = "port"
    messages = [
        nft.add_table(BRIDGED),
        add_chain(BRIDGED, RULES),
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
    return meta(rules.NFPROTO) + lookup(DROPPED)


def _ip(version: int) -> bytes:
    """Go on for packets of this version of IP, in the family inet."""
    return meta(rules.NFPROTO) + equals(bytes((FAMILY[version],)))


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
