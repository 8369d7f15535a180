"""Ports that EXPOSE names: `80`, `53/udp`, `8000-8010/tcp`, and forms that should not be used."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from pycontainers.errors import BuildError

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_RANGE: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_HIGHEST: Final = 65535
_MOST: Final = 3 * (_HIGHEST + 1)


class Exposed(NamedTuple):
    """A port, or those from `first` to `last`; `published` if an address or host port is named."""

    first: int
    last: int
    protocol: str
    published: bool

    @classmethod
    def parse(cls, text: str) -> Exposed:
        """Read `[[address:]host port:]port[-port][/protocol]`; raises BuildError.

        >>> Exposed.parse("8000-8001/UDP")
        Exposed(first=8000, last=8001, protocol='UDP', published=False)
        """
        *before, port = text.split(":")
        port, _, protocol = port.partition("/")
        protocol = protocol or "tcp"
        if protocol.lower() not in _PROTOCOLS:
            raise BuildError(f"{text[:80]!r} has no known protocol", near=text,
                             hint=f"one of {', '.join(_PROTOCOLS)}")  # fmt: skip
        first, last = _range(port, text)
        if host := before[-1] if before else "":
            begin, end = _range(host, text)
            if end - begin != last - first and last != first:
                raise BuildError(f"{text[:80]!r} maps ranges of different lengths", near=text)
        address = ":".join(before[:-1])
        if address:
            try:
                ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
            except ValueError:
                raise BuildError(f"{address[:80]!r} is no address", near=text) from None
        return cls(first, last, protocol, bool(host or address))


def exposed(texts: Iterable[str]) -> tuple[str, ...]:
    """Give each port as an image's config has it; raises BuildError.

    >>> exposed(["80", "53-54/udp"])
    ('80/tcp', '53/udp', '54/udp')
    """
    found: dict[str, None] = {}
    work = 0
    for text in dict.fromkeys(texts):
        port = Exposed.parse(text)
        work += port.last - port.first + 1
        if work > _MOST:
            raise BuildError("more ports than there are")
        protocol = port.protocol.lower()
        found |= dict.fromkeys(f"{one}/{protocol}" for one in range(port.first, port.last + 1))
    return tuple(found)


def _range(text: str, whole: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or not first <= last <= _HIGHEST:
        raise BuildError(f"{whole[:80]!r} is no port", near=whole, hint="as 80, 53/udp, 8000-8010")
    return first, last
