"""Addresses of networks and of what is in them: subnets chosen and checked, the next free address.

Pure: what is in use is given by the caller.
"""

from __future__ import annotations

import bisect
import functools
import ipaddress
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from pycontainers.errors import Conflict, InvalidArgument

Subnet: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks and their subnets are looked at over and over again, and made out of few texts.
parse_subnet: Final = functools.lru_cache(maxsize=4096)(ipaddress.ip_network)

# As Docker's pools (RFC 1918): the large ones first, and none that homes and offices mostly have.
# From that address on, so many with a prefix of that length.
_POOLS: Final = (("172.18.0.0", 14, 16), ("192.168.0.0", 16, 20), ("10.128.0.0", 2048, 20))
_ATTEMPTS: Final = 64
_MOST_TRIED: Final = 1 << 16
_LEAST: Final = 2  # addresses beside the gateway's that a subnet must have


@attrs.frozen
class Range:
    """A subnet, its gateway's address, and the part that containers' addresses are taken from."""

    subnet: Subnet
    gateway: Address
    pool: Subnet

    def free(self, cursor: int, is_used: Callable[[str], bool]) -> tuple[str, int]:
        """Give the next free address after `cursor`, and the cursor to go on from.

        So an address that was given back is the last to be used again: what others know of it has
        gone by then.  Raises Conflict where none is left.
        """
        first, last = _usable(self.subnet, self.pool)
        size = last - first + 1
        for step in range(min(size, _MOST_TRIED)):
            offset = (cursor + 1 + step) % size
            candidate = self.subnet.network_address + (first + offset)
            if candidate != self.gateway and not is_used(str(candidate)):
                return str(candidate), offset
        raise Conflict(f"no address is left in {self.pool}")

    def check(self, address: str) -> None:
        """Refuse a fixed address that no container can have; raises InvalidArgument."""
        found = ipaddress.ip_address(address)
        if found not in self.subnet:
            raise InvalidArgument(f"ip: {address} is not in the network's subnet {self.subnet}")
        first, last = _usable(self.subnet, self.subnet)
        offset = int(found) - int(self.subnet.network_address)
        if not first <= offset <= last or found == self.gateway:
            raise InvalidArgument(f"ip: {address} is the gateway's, the network's or broadcast")

    def interface(self, address: str) -> str:
        """Give an address of it with the length of its prefix, as interfaces have it."""
        return f"{address}/{self.subnet.prefixlen}"


def _usable(subnet: Subnet, pool: Subnet) -> tuple[int, int]:
    """Give the first and the last address of `pool`, counted from the start of the subnet."""
    base = int(subnet.network_address)
    first = int(pool.network_address) - base
    last = int(pool.broadcast_address) - base
    return max(first, 1), min(last, subnet.num_addresses - 2)


def subnets(value: str | Sequence[str] | None) -> list[Subnet]:
    """Give the subnets that a caller names, at most one a version; raises InvalidArgument.

    >>> subnets("10.9.0.0/24")
    [IPv4Network('10.9.0.0/24')]
    """
    named = [] if value is None else [value] if isinstance(value, str) else list(value)
    found: list[Subnet] = []
    for text in named:
        try:
            subnet = ipaddress.ip_network(text)
        except ValueError as error:
            raise InvalidArgument(f"subnet: {text!r} is no subnet: {error}") from None
        if subnet.num_addresses < _LEAST + 2:
            raise InvalidArgument(f"subnet: {text} is too small")
        if subnet.is_multicast or subnet.is_loopback or subnet.is_unspecified:
            raise InvalidArgument(f"subnet: {text} can't be a network's of containers")
        if any(other.version == subnet.version for other in found):
            raise InvalidArgument(f"subnet: more than one of IPv{subnet.version}")
        found.append(subnet)
    return found


@functools.lru_cache(maxsize=1024)
def make_range(subnet: Subnet, gateway: str | None, pool: str | None) -> Range:
    """Make a range of a subnet; by default all of it, its first address the gateway's.

    Raises InvalidArgument.
    """
    try:
        within = subnet if pool is None else ipaddress.ip_network(pool)
        at = subnet.network_address + 1 if gateway is None else ipaddress.ip_address(gateway)
    except ValueError as error:
        raise InvalidArgument(f"gateway, ip_range: {error}") from None
    if within.version != subnet.version or not _is_within(within, subnet):
        raise InvalidArgument(f"ip_range: {within} is not within {subnet}")
    made = Range(subnet, at, within)
    first, last = _usable(subnet, subnet)
    if at not in subnet or not first <= int(at) - int(subnet.network_address) <= last:
        raise InvalidArgument(f"gateway: {at} is no address of a device in {subnet}")
    return made


def _is_within(part: Subnet, whole: Subnet) -> bool:
    return part.network_address in whole and part.broadcast_address in whole


def free_subnet(used: Iterable[Subnet]) -> Subnet:
    """Give a subnet of IPv4 that overlaps none in use; raises Conflict where none is left."""
    occupied = [subnet for subnet in used if subnet.version == 4 and subnet.prefixlen > 0]
    ends = sorted((int(one.network_address), int(one.broadcast_address)) for one in occupied)
    firsts = [first for first, _ in ends]
    lasts = [*itertools.accumulate((last for _, last in ends), max)]  # of all up to there
    for start, number, prefix in _POOLS:
        size, begin = 1 << (32 - prefix), int(ipaddress.IPv4Address(start))
        for first in range(begin, begin + number * size, size):
            before = bisect.bisect(firsts, first + size - 1)
            if not before or lasts[before - 1] < first:
                return ipaddress.IPv4Network((first, prefix))
    raise Conflict(
        "no subnet is left for a network", hint="name one with subnet=, or remove networks"
    )


def free_subnet6(used: Iterable[Subnet]) -> Subnet:
    """Give a random unique local subnet of IPv6 (RFC 4193) that overlaps none in use."""
    occupied = [subnet for subnet in used if subnet.version == 6 and subnet.prefixlen > 0]
    candidates = (_random_subnet6() for _ in range(_ATTEMPTS))
    return next(c for c in candidates if not any(overlaps(c, subnet) for subnet in occupied))


def _random_subnet6() -> Subnet:
    return ipaddress.IPv6Network((b"\xfd" + os.urandom(7) + bytes(8), 64))


def overlaps(one: Subnet, other: Subnet) -> bool:
    """Whether two subnets share an address."""
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return isinstance(other, ipaddress.IPv6Network) and one.overlaps(other)


def overlapping(
    wanted: Iterable[Subnet], used: Sequence[Subnet]
) -> Iterator[tuple[Subnet, Subnet]]:
    """Give each subnet that is wanted and overlaps one in use, with that one."""
    for subnet in wanted:
        for other in used:
            if other.prefixlen > 0 and overlaps(subnet, other):
                yield subnet, other


def random_mac() -> str:
    """Give a hardware address of one device, locally administered."""
    return ":".join(f"{byte:02x}" for byte in b"\x02" + os.urandom(5))
