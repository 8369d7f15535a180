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
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import nftables as nft
from pycontainers.kernel import nftrules as rules
from pycontainers.net import bridges
from pycontainers.net.tables import (
    DROPPED,
    FAMILY,
    HOST_ACCESS,
    INTERNAL,
    NETWORKS,
    OUTER,
    RULES,
    SETS,
    SUBNETS,
    WITHIN,
    bridged,
    routed,
)
from pycontainers.runtime.firewall import BRIDGED, ROUTED, by_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.kernel.netlink import Message, Netlink

_AT_ONCE: Final = 500  # names of interfaces that fit into one message's 64 KiB
_OUR_BRIDGES: Final = b"pc"  # what their names begin with


def is_there(netlink: Netlink) -> bool:
    """Tell whether both tables exist, with the rules of this version; raises KernelError."""
    return nft.is_there(netlink, ROUTED) and nft.has_chain(netlink, BRIDGED, RULES)


def has_network(netlink: Netlink, bridge: str) -> bool:
    """Tell whether the rules hold for a network; raises KernelError."""
    known = nft.has_element(netlink, ROUTED, NETWORKS, nft.interface(bridge))
    return known and nft.has_chain(netlink, BRIDGED, RULES)


def ensure(netlink: Netlink, closed: bridges.Closed) -> None:
    """Make the tables where they are missing, or of another version; raises KernelError.

    `closed` are interfaces between which nothing shall be forwarded.  The caller holds the
    machine's lock.
    """
    if not is_there(netlink):
        _make(netlink)
    messages: list[Message] = []
    for version, names in closed.interfaces.items():
        messages += _enter(OUTER[version], names)
    # What a bridge hands on between its own ports may come by here too (br_netfilter).
    messages += _enter(WITHIN, closed.bridges, twice=True)
    if messages:
        nft.change(netlink, messages)


def _make(netlink: Netlink) -> None:
    """Make both tables, with all that is in the sets of those that are there."""
    while True:
        since = nft.generation(netlink)
        there = [table for table in (ROUTED, BRIDGED) if nft.is_there(netlink, table)]
        empty = [*map(nft.delete_table, there), *routed(), *bridged()]
        kept = [
            message
            for table in there
            for name in SETS[table]
            for message in nft.copied_elements(netlink, table, name)
        ]
        try:
            done = nft.change_unless(netlink, since, [*empty, *kept])
        except KernelError:
            if not kept:
                raise
            done = nft.change_unless(netlink, since, empty)  # what they hold has another form
        if done:
            return


def add_network(
    netlink: Netlink, bridge: str, subnets: Sequence[str], *, internal: bool, host_access: bool
) -> None:
    """Have the rules hold for a network; there already is fine; raises KernelError."""
    messages = [*_enter(NETWORKS, [bridge]), *_enter(WITHIN, [bridge], twice=True)]
    if internal:
        messages += _enter(INTERNAL, [bridge])
    if host_access:
        messages += _enter(HOST_ACCESS, [bridge])
    for version, texts in by_version(subnets):
        messages.append(nft.add_networks(ROUTED, SUBNETS[version], texts))
    nft.change(netlink, messages)


def remove_network(netlink: Netlink, bridge: str, subnets: Sequence[str]) -> None:
    """Forget a network; missing is fine; raises KernelError."""
    name = nft.interface(bridge)
    messages = [nft.destroy_elements(ROUTED, WITHIN, [name + name])]
    for each in (NETWORKS, INTERNAL, HOST_ACCESS):
        messages.append(nft.destroy_elements(ROUTED, each, [name]))
    for version, texts in by_version(subnets):
        messages.append(nft.destroy_networks(ROUTED, SUBNETS[version], texts))
    nft.change(netlink, messages)


def remove_if_unused(netlink: Netlink) -> None:
    """Take the tables away if there is no network any more; raises KernelError.

    If this host forwards packets only because of us, it is no router any more then; if others need
    it to be one meanwhile, the tables stay, as they keep others from being forwarded as well.  The
    caller holds the machine's lock.
    """
    there = [table for table in (ROUTED, BRIDGED) if nft.is_there(netlink, table)]
    if ROUTED in there:
        if nft.elements(netlink, ROUTED, NETWORKS):
            return
        opened = [version for version, name in OUTER.items() if nft.elements(netlink, ROUTED, name)]
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
        families = FAMILY.values() if chain.table.family == nft.INET else [chain.table.family]
        wanted |= {bytes((family,)) for family in families}
    known = {key[:1] for key, _ in nft.elements(netlink, ROUTED, DROPPED)}
    changes = []
    if known - wanted:
        changes.append(nft.destroy_elements(ROUTED, DROPPED, known - wanted))
    if wanted - known:
        changes.append(nft.add_elements(ROUTED, DROPPED, [(key, b"") for key in wanted - known]))
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
