"""Published ports: the texts and mappings that say where on the host a container is reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from pycontainers.errors import InvalidArgument

PROTOCOLS: Final = ("tcp", "udp", "sctp")
ANY: Final = ("", "0.0.0.0", "::")  # all addresses of the host, all of one family

HostPort: TypeAlias = int | tuple[int, int] | None
Ports: TypeAlias = Mapping[Any, Any] | Sequence[Any]

_LAST: Final = 65535
_NUMBERS: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_FORM: Final = 'write "80", "8080:80", "127.0.0.1:8080:80/udp" or "[::1]:8080:80"'
_HOST_FORM: Final = 'write 8080, "9000-9010", "127.0.0.1:8080", ("127.0.0.1", 8080) or None'


def _plain_range(value: Any) -> Any:
    return (
        value[0] if isinstance(value, tuple) and len(value) == 2 and len({*value}) == 1 else value
    )


@attrs.frozen
class Port:
    """A container's port and where on the host it is reached.

    `host_address` is "" for all addresses of the host, "0.0.0.0" and "::" are all of one family.
    `host_port` is a number, None for a random one, or (first, last) for the first free of these.
    `str` gives Docker's text.  Raises InvalidArgument for values out of range.

    >>> str(Port(80, host_address="::1", host_port=8080))
    '[::1]:8080:80/tcp'
    """

    container_port: int
    protocol: str = "tcp"
    host_address: str = ""
    host_port: HostPort = attrs.field(default=None, converter=_plain_range)

    def __attrs_post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise InvalidArgument(f"ports: {self.protocol!r:.80} is no protocol of {known}")
        _number(self.container_port)
        if isinstance(self.host_port, tuple):
            _range(*map(_number, self.host_port))
        elif self.host_port is not None:
            _number(self.host_port)
        if self.host_address and _address(self.host_address) != self.host_address:
            raise InvalidArgument(f"ports: {self.host_address!r} is not an address's usual form")

    def __str__(self) -> str:
        host = "" if self.host_port is None else str(self.host_port)
        if isinstance(self.host_port, tuple):
            host = "-".join(map(str, self.host_port))
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        before = f"{address}:{host}:" if address else f"{host}:" if host else ""
        return f"{before}{self.container_port}/{self.protocol}"


def parse(value: Ports) -> tuple[Port, ...]:
    """Give the ports that the option `ports` asks for, each once.

    A mapping leads from the container's port, as 80, "53/udp" or "8000-8010/tcp", to the host's:
    8080, None for a random one, "127.0.0.1:8080", ("127.0.0.1", 8080), "9000-9010", or a list of
    these.  A range leads to one of the same length, one to one; a single port to any free one of a
    range.  A sequence holds Docker's texts, the host's part first, or container's ports as they
    are.  Raises InvalidArgument.

    >>> [str(port) for port in parse({"80/tcp": ("127.0.0.1", 8080), "53/udp": None})]
    ['127.0.0.1:8080:80/tcp', '53/udp']
    >>> parse(["8080:80"]) == parse({80: 8080})
    True
    """
    if isinstance(value, Mapping):
        found = [port for key, host in value.items() for port in _mapped(key, host)]
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        found = [port for item in value for port in _listed(item)]
    else:
        raise InvalidArgument(f"ports: expected a mapping or a list, not {value!r:.80}")
    ports = tuple(dict.fromkeys(found))
    _refuse_clashes(ports)
    return ports


def _mapped(key: Any, host: Any) -> Iterable[Port]:
    """Read one entry of a mapping."""
    protocol, containers = _container(key)
    for one in host if isinstance(host, list) else [host]:
        yield from _pair(protocol, containers, *_host(one))


def _listed(item: Any) -> Iterable[Port]:
    """Read one item of a sequence: a port, or Docker's `[[address:]host:]container[/protocol]`."""
    if isinstance(item, Port):
        return [item]
    if not isinstance(item, str):
        return _pair(*_container(item), "", None)
    before, colon, container = item.rpartition(":")
    protocol, containers = _container(container, item)
    if not colon:
        return _pair(protocol, containers, "", None)
    address, host = _split(before, item, _FORM)
    return _pair(protocol, containers, address, _host_port(host, item, _FORM))


def _pair(
    protocol: str, containers: tuple[int, int], address: str, host: HostPort
) -> Iterable[Port]:
    """Bring the container's and the host's numbers together."""
    first, last = containers
    count = last - first + 1
    if host is None or count == 1:
        return [Port(first + n, protocol, address, host) for n in range(count)]
    host_first, host_last = host if isinstance(host, tuple) else (host, host)
    if host_last - host_first + 1 != count:
        raise InvalidArgument(
            f"ports: the container's {first}-{last} are {count} ports, "
            f"the host's {host_first}-{host_last} {host_last - host_first + 1}",
            hint="both ranges must have the same length",
        )
    return [Port(first + n, protocol, address, host_first + n) for n in range(count)]


def _container(key: Any, whole: Any = None) -> tuple[str, tuple[int, int]]:
    """Read the container's side, as 80 or "8000-8010/tcp"; a message shows `whole` instead."""
    if isinstance(key, int):
        return "tcp", (_number(key), key)
    if not isinstance(key, str):
        raise InvalidArgument(f"ports: {key!r:.80} is no port of a container", hint=_FORM)
    numbers, slash, protocol = key.partition("/")
    return protocol.lower() if slash else "tcp", _numbers(numbers, whole or key, _FORM)


def _host(value: Any) -> tuple[str, HostPort]:
    """Read the host's side of a mapping."""
    if value is None or isinstance(value, int):
        return "", _host_port(value, value, _HOST_FORM)
    if isinstance(value, str):
        address, host = _split(value, value, _HOST_FORM)
        return address, _host_port(host, value, _HOST_FORM)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        address = _address(value[0]) if value[0] else ""
        return address, _host_port(value[1], value, _HOST_FORM)
    raise InvalidArgument(f"ports: {value!r:.80} is no port of the host", hint=_HOST_FORM)


def _split(text: str, whole: str, form: str) -> tuple[str, str]:
    """Part an address, IPv6 in brackets, from the host's port, both of which may be empty."""
    address, colon, host = text.rpartition(":")
    if not colon:
        return "", host
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        raise InvalidArgument(f"ports: {whole!r:.80} can't be read", hint=form)
    return _address(address) if address else "", host


def _host_port(value: Any, whole: Any, form: str) -> HostPort:
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return _number(value)
    if not isinstance(value, str):
        raise InvalidArgument(f"ports: {whole!r:.80} is no port of the host", hint=form)
    first, last = _numbers(value, whole, form)
    return first if first == last else (first, last)


def _numbers(text: str, whole: Any, form: str) -> tuple[int, int]:
    """Read a number, or two as first-last."""
    match = _NUMBERS.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"ports: {whole!r:.80} can't be read", hint=form)
    return _range(_number(int(match[1])), _number(int(match[2] or match[1])))


def _range(first: int, last: int) -> tuple[int, int]:
    if first > last:
        raise InvalidArgument(f"ports: the range {first}-{last} ends before it begins")
    return first, last


def _number(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LAST:
        hint = "None is a random port of the host" if value == 0 else None
        raise InvalidArgument(f"ports: {value!r:.80} is not between 1 and {_LAST}", hint=hint)
    return value


def _address(text: str) -> str:
    """Give an address in its usual form."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise InvalidArgument(
            f"ports: {text!r:.80} is no address of a host",
            hint="an address in numbers, as 127.0.0.1 or ::1, without a zone",
        )
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _refuse_clashes(ports: Iterable[Port]) -> None:
    """Refuse two containers' ports at one port of the host."""
    known: dict[tuple[str, HostPort], list[str]] = {}
    for port in ports:
        if isinstance(port.host_port, int):
            others = known.setdefault((port.protocol, port.host_port), [])
            for other in others:
                if overlap(other, port.host_address):
                    raise InvalidArgument(
                        f"ports: the host's {port.host_port}/{port.protocol} is given twice"
                    )
            others.append(port.host_address)


def overlap(one: str, other: str) -> bool:
    """Whether two host addresses have one in common.

    >>> overlap("0.0.0.0", "127.0.0.1"), overlap("0.0.0.0", "::1")
    (True, False)
    """
    if one == other or not one or not other:
        return True
    return (":" in one) == (":" in other) and (one in ANY or other in ANY)
