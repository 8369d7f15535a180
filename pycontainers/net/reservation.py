"""Ports of the host held for a container, by sockets, so that the kernel decides who has which."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pycontainers.errors import Conflict, InvalidArgument, KernelError, NotSupported
from pycontainers.kernel.closing import Closing
from pycontainers.net.ports import Port

_BACKLOG: Final = 4096  # connections that wait to be accepted; the kernel's own limit comes first
_ATTEMPTS: Final = 128  # at a random port that is free at all addresses
_IP_PKTINFO: Final = 8  # linux/in.h
_EVERYWHERE: Final = ("0.0.0.0", "::")
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class Published(NamedTuple):
    """A port of a container, and where on the host it is reached; "" is at all addresses.

    >>> str(Published("tcp", "127.0.0.1", 8080, 80))
    '127.0.0.1:8080->80/tcp'
    """

    protocol: str
    host_address: str
    host_port: int
    container_port: int

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        before = f"{address}:" if address else ""
        return f"{before}{self.host_port}->{self.container_port}/{self.protocol}"


class Reservation(Closing):
    """Ports held by sockets, until all copies of these are closed; a context manager that closes.

    `published` has an entry for each port asked for, in that order.  `sockets` are bound; those of
    TCP listen, those of UDP tell where a datagram was sent to (IP_PKTINFO).  `targets` gives for
    each of them the protocol and the container's port.
    """

    def __init__(self, parts: Iterable[tuple[Published, list[socket.socket]]]) -> None:
        parts = list(parts)
        self.published = tuple(published for published, _ in parts)
        self.sockets = tuple(sock for _, socks in parts for sock in socks)
        self.targets = tuple(
            (published.protocol, published.container_port)
            for published, socks in parts
            for _ in socks
        )

    def close(self) -> None:
        """Close this process's sockets; closed already is fine."""
        for sock in self.sockets:
            sock.close()


def reserve(ports: Sequence[Port]) -> Reservation:
    """Bind a socket at each port, in the network namespace of the calling thread.

    Where the kernel has no SCTP, nothing is held for it.  Raises Conflict where a port is in use,
    InvalidArgument for an address that this host has not, NotSupported, KernelError; then nothing
    is held.

    >>> with reserve([Port(80, host_address="127.0.0.1")]) as held:
    ...     held.published[0].container_port
    80
    """
    parts: dict[int, tuple[Published, list[socket.socket]]] = {}
    try:
        # Those without a choice first, that none of the others takes their port.
        for index in sorted(range(len(ports)), key=lambda index: _freedom(ports[index])):
            port = ports[index]
            number, socks = _hold(port)
            published = Published(port.protocol, port.host_address, number, port.container_port)
            parts[index] = published, socks
    except BaseException:
        _close(sock for _, socks in parts.values() for sock in socks)
        raise
    return Reservation(parts[index] for index in range(len(ports)))


def _freedom(port: Port) -> int:
    return {int: 0, tuple: 1}.get(type(port.host_port), 2)


def _hold(port: Port) -> tuple[int, list[socket.socket]]:
    """Bind the first of the possible numbers that is free."""
    tries: Sequence[int] = [0] * _ATTEMPTS
    wanted = "a random port"
    if isinstance(port.host_port, int):
        tries = [port.host_port]
        wanted = f"the port {port.host_port}"
    elif port.host_port is not None:
        first, last = port.host_port
        tries = range(first, last + 1)
        wanted = f"each port of {first}-{last}"
    for number in tries:
        with contextlib.suppress(_InUse):
            return _bind_all(port, number)
    holder = _holder(port.protocol, tries[0]) if len(tries) == 1 else None
    raise Conflict(
        f"{wanted}/{port.protocol} of {port.host_address or 'this host'} is in use",
        hint=holder or "choose another, or None for a random one",
    )


class _InUse(Exception):
    """Another socket has the port."""


def _bind_all(port: Port, number: int) -> tuple[int, list[socket.socket]]:
    """Bind one number, or for 0 a random one, at all addresses that are asked for."""
    addresses = (port.host_address,) if port.host_address else _EVERYWHERE
    socks: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                sock = _bind(port.protocol, address, number)
            except OSError as error:
                if len(addresses) > 1 and ":" in address and error.errno in _NO_FAMILY:
                    continue  # a host without IPv6
                if error.errno == errno.EPROTONOSUPPORT and port.protocol == "sctp":
                    return _unheld(number), []
                raise _told(error, port, address, number) from None
            socks.append(sock)
            number = sock.getsockname()[1]
    except BaseException:
        _close(socks)
        raise
    return number, socks


def _unheld(number: int) -> int:
    if not number:
        raise NotSupported(
            "this kernel has no SCTP sockets, by which a random port could be found",
            hint="name the host's port, or load the module sctp",
        )
    return number


def _bind(protocol: str, address: str, number: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, proto = _KINDS[protocol]
    sock = socket.socket(family, kind, proto)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # What is left of ended connections does not count; another that listens does.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if protocol == "udp":
            # Before the first datagram comes: the answer has to come from where that was sent to.
            _tell_destinations(sock)
        sock.bind((address, number))
        if protocol == "tcp":
            sock.listen(_BACKLOG)  # with SO_REUSEADDR only this decides who has the port
    except BaseException:
        sock.close()
        raise
    return sock


def _tell_destinations(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _told(error: OSError, port: Port, address: str, number: int) -> Exception:
    """Give the error of this library for what the kernel refused."""
    if error.errno == errno.EADDRINUSE:
        return _InUse()
    if error.errno in _NO_FAMILY:
        return InvalidArgument(
            f"ports: this host has no address {address}", hint="ip addr lists those it has"
        )
    hint = None
    if error.errno == errno.EACCES:
        hint = (
            "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; "
            "choose a higher one"
        )
    call = f"bind({address!r}, {number}/{port.protocol})"
    return KernelError(error.errno or 0, call, hint=hint)


def _close(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def _holder(protocol: str, number: int) -> str | None:
    """Say which process has a port, where /proc tells it."""
    inodes = set()
    for name in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == number:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if _has_one_of(process, inodes):
                name = (process / "comm").read_text().strip()
                return f"process {process.name} ({name}) has it"
    return None


def _has_one_of(process: Path, inodes: set[str]) -> bool:
    for fd in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            if str(fd.readlink()) in inodes:
                return True
    return False
