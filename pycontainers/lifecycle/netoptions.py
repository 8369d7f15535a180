"""The options about a container's network: modes, addresses, names, rates; each checked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import values
from pycontainers.net import ports

if TYPE_CHECKING:
    from pycontainers.lifecycle.options import Options
    from pycontainers.oci.config import ImageConfig

MODES: Final = ("none", "host")  # instead of networks by name
CONTAINER: Final = "container:"
HOST_GATEWAY: Final = "host-gateway"
_ID: Final = re.compile(r"[0-9a-f]{64}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ALIAS: Final = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?)bit", re.IGNORECASE)
_THOUSANDS: Final = {"": 0, "k": 1, "m": 2, "g": 3}
_MOST_PORTS: Final = 100  # two sockets each, which have to fit into one message (unix(7))
_LEAST_RATE: Final = 1000  # bytes a second: less than that lets no whole packet through


class Joinable(Protocol):
    """What can stand for itself in the option `network`: a Network, or a Container to share."""

    @property
    def network_key(self) -> str:
        """What the option takes for it."""


NetworkOption: TypeAlias = str | Joinable | Sequence[str | Joinable]


def network(value: NetworkOption | None) -> tuple[str, ...] | None:
    """Give the networks by name or id, or the one mode; None is for what `ports` decides.

    >>> network("backend")
    ('backend',)
    """
    if value is None:
        return None
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    wanted = tuple(one if isinstance(one, str) else _key(one) for one in given)
    if not wanted:
        raise InvalidArgument("network: an empty list", hint="network='none' is without one")
    for one in wanted:
        if not values.plain("network", one, 256):
            raise InvalidArgument("network: an empty name")
        alone = one in MODES or one.startswith(CONTAINER)
        if alone and len(wanted) > 1:
            raise InvalidArgument(f"network: {one} can't be combined with others")
        if wanted.count(one) > 1:
            raise InvalidArgument(f"network: {one} is named twice")
    if wanted[0] == CONTAINER:
        raise InvalidArgument("network: container: is without a container's name")
    return wanted


def _key(value: Joinable) -> str:
    key = getattr(value, "network_key", None)
    if not isinstance(key, str):
        raise InvalidArgument(f"network: {value!r} is no network, and no name of one")
    return key


def network_name(value: str) -> str:
    """Give a name for a network: a container's, but for those that mean something already."""
    if value in (*MODES, "bridge", "default"):
        raise InvalidArgument(f"name: {value} is the name of a network that is always there")
    if isinstance(value, str) and _ID.fullmatch(value):
        raise InvalidArgument(f"name: {value} would be taken for an id")
    return values.name(value)


def shared(value: tuple[str, ...]) -> str | None:
    """Give the name or id of the container whose network is shared, if one's is.

    >>> shared(("container:db",))
    'db'
    """
    first = value[0]
    return first.removeprefix(CONTAINER) if first.startswith(CONTAINER) else None


def aliases(value: Sequence[str]) -> tuple[str, ...]:
    """Give further names of a container in a network."""
    return tuple(host_name("aliases", name) for name in values.listed("aliases", value))


def host_name(option: str, value: str) -> str:
    """Give a name as /etc/hosts can hold it."""
    if not isinstance(value, str) or not _ALIAS.fullmatch(value):
        raise InvalidArgument(f"{option}: {value!r} is no host name")
    return value


def address(option: str, value: str, version: int | None = None) -> str:
    """Give an address of IPv4 or IPv6 in its usual form.

    >>> address("ip6", "fd00:0::1", 6)
    'fd00::1'
    """
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        raise InvalidArgument(f"{option}: {value!r} is no address") from None
    if version is not None and found.version != version:
        raise InvalidArgument(f"{option}: {value} is no address of IPv{version}")
    return str(found)


def mac(value: str) -> str:
    """Give a hardware address of one device, as 02:42:ac:11:00:02."""
    lower = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(lower) or int(lower[:2], 16) & 1 or lower == "00:00:00:00:00:00":
        raise InvalidArgument(f"mac: {value!r} is no hardware address of one device")
    return lower


def dns(value: Sequence[str]) -> tuple[str, ...]:
    """Give the addresses of name servers."""
    return tuple(address("dns", server) for server in values.listed("dns", value))


def dns_search(value: Sequence[str]) -> tuple[str, ...]:
    """Give the domains in which short names are looked for; "." stands for none."""
    found = tuple(values.listed("dns_search", value))
    return tuple(one if one == "." else host_name("dns_search", one) for one in found)


def dns_options(value: Sequence[str]) -> tuple[str, ...]:
    """Give the options of the resolver, as "ndots:2" (resolv.conf(5))."""
    found = tuple(values.listed("dns_options", value))
    for one in found:
        if not values.plain("dns_options", one, 256) or " " in one:
            raise InvalidArgument(f"dns_options: {one!r} is no option of resolv.conf(5)")
    return found


def extra_hosts(value: Mapping[str, str] | Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Give (name, address) from a mapping or Docker's `name:address`; also "host-gateway"."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = []
        for item in values.listed("extra_hosts", value):
            name, colon, at = str(item).partition(":")
            if not colon:
                raise InvalidArgument(f"extra_hosts: {item!r} is not of the form name:address")
            pairs.append((name, at.strip("[]")))
    return tuple(
        (
            host_name("extra_hosts", name),
            at if at == HOST_GATEWAY else address("extra_hosts", at),
        )
        for name, at in pairs
    )


def rate(value: int | str) -> int:
    """Give bytes a second, from such a number or a text in bits as "10mbit".

    >>> rate("8mbit")
    1000000
    """
    if isinstance(value, str):
        match = _RATE.fullmatch(value.strip())
        if match is None:
            raise InvalidArgument(
                f"network_rate: {value!r} is no rate", hint='write bytes a second, or "10mbit"'
            )
        value = int(float(match[1]) * 1000 ** _THOUSANDS[match[2].lower()] / 8)
    return values.whole("network_rate", value, _LEAST_RATE, 1 << 36)


def priority(value: int) -> int:
    """Give the priority of what a container sends, 0 to 15 (tc-prio(8))."""
    return values.whole("network_priority", value, 0, 15)


def with_exposed(options: Options, config: ImageConfig) -> Options:
    """Give the options with the image's ports published at random ones, if `publish_all` asks so.

    Those that `ports` names stay where it says.  Raises InvalidArgument.
    """
    if not options.publish_all:
        return options
    named = {(port.container_port, port.protocol) for port in options.ports}
    exposed = ports.parse(config.exposed_ports)
    more = [port for port in exposed if (port.container_port, port.protocol) not in named]
    return attrs.evolve(options, ports=(*options.ports, *more))


def check_together(options: Options) -> None:
    """Refuse what has no meaning beside the network chosen; raises InvalidArgument."""
    if len(options.ports) > _MOST_PORTS:
        raise InvalidArgument(
            f"ports: {len(options.ports)} are more than the {_MOST_PORTS} that can be published",
            hint="a container with network='host' needs none to be",
        )
    first = options.network[0]
    if first in MODES or first.startswith(CONTAINER):
        given: dict[str, Any] = {
            "ports": options.ports,
            "publish_all": options.publish_all or None,
            "ip": options.ip,
            "ip6": options.ip6,
            "mac": options.mac,
            "aliases": options.aliases,
            "network_rate": options.network_rate,
            "network_priority": options.network_priority,
        }
        for name, value in given.items():
            if value not in (None, ()):
                raise InvalidArgument(
                    f"{name}: there is no such thing with network={first!r}",
                    hint="network='bridge' or one made by Network.create has it",
                )
        for name in ("dns", "dns_search", "dns_options", "extra_hosts"):
            if getattr(options, name):
                raise InvalidArgument(f"{name}: there is no such thing with network={first!r}")
    if options.aliases and first == "bridge":
        raise InvalidArgument(
            "aliases: the default network has no names", hint="Network.create makes one that has"
        )
