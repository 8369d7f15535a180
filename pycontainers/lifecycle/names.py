"""The files by which containers find names, kept current as containers come and go.

Each container of a network has its own /etc/hosts, a file of the host's that it sees read-only: its
own name, and for each user network that it is in, the names and aliases of the others.  It is
rewritten in place, since a mount of a file stays with the file.  That serves glibc, musl and
whatever else reads hosts(5) alike, without a process that answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
from typing import TYPE_CHECKING, Final

from pycontainers.lifecycle.netoptions import HOST_GATEWAY
from pycontainers.lifecycle.networks import DEFAULT
from pycontainers.net import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.networks import EndpointRow

_HOSTS: Final = "hosts"
_RESOLV_CONF: Final = "resolv.conf"
_MEMBERS: Final = """
SELECT containers.name, endpoints.aliases, endpoints.address4, endpoints.address6
FROM endpoints JOIN containers ON containers.id = endpoints.container
WHERE endpoints.network = ? ORDER BY containers.created, containers.id
"""


def write(services: Services, container: str, options: Options) -> None:
    """Write the files of a container that starts; its directory is there.  Raises OSError."""
    directory = services.snapshots.path(container)
    _write(directory / _RESOLV_CONF, hosts.resolv_conf(options.dns))
    with _lock(services):
        path = directory / _HOSTS
        text = _hosts(services, container, options.hostname, options.extra_hosts, _lines(services))
        _write(path, text, revise=True)


def share(services: Services, container: str, owner: str) -> None:
    """Have a container find names by the files of the one whose network it shares."""
    own, theirs = services.snapshots.path(container), services.snapshots.path(owner)
    for name, text in ((_HOSTS, hosts.hosts([])), (_RESOLV_CONF, hosts.resolv_conf(()))):
        (own / name).unlink(missing_ok=True)
        try:
            (own / name).hardlink_to(theirs / name)
        except FileNotFoundError:  # it is in no network
            _write(own / name, text)


def announce(services: Services, networks: Iterable[str]) -> None:
    """Write the hosts of all containers of these networks again, by their ids."""
    with _lock(services):
        members = {
            endpoint.container
            for network in networks
            for endpoint in services.networks.tables.of_network(network)
        }
        lines = _lines(services)
        for row in services.database.containers():
            if row.id in members:
                asked = json.loads(row.options).get("options", {})
                extra = [(name, at) for name, at in asked.get("extra_hosts", ())]
                text = _hosts(services, row.id, asked.get("hostname"), extra, lines)
                with contextlib.suppress(FileNotFoundError):  # it is coming, or being removed
                    path = services.snapshots.path(row.id) / _HOSTS
                    _write(path, text, flags=0, revise=True)


def is_known(name: str | None, endpoint: EndpointRow, default: bool) -> bool:
    """Whether others can find a container by a name in that network."""
    return not default and (name is not None or bool(endpoint.names))


def _lines(services: Services) -> Callable[[str], str]:
    """Give what tells the lines of a network's members by its id, and finds each only once."""

    @functools.cache
    def lines(network: str) -> str:
        entries = []
        for name, aliases, *addresses in services.database.rows(_MEMBERS, network):
            names = [*([name] if name else []), *json.loads(aliases)]
            entries += [(address, names) for address in addresses if address and names]
        return hosts.lines(entries)

    return lines


def _hosts(
    services: Services,
    container: str,
    hostname: str | None,
    extra: Sequence[tuple[str, str]],
    lines: Callable[[str], str],
) -> str:
    own = list(dict.fromkeys([hostname or container[:12], container[:12]]))
    entries: list[tuple[str, list[str]]] = []
    others = ""
    gateway = ""
    for endpoint in services.networks.tables.of_container(container):
        entries += [(address, own) for address in endpoint.addresses]
        for network in services.networks.tables.find(endpoint.network):
            if not network.known["internal"]:
                gateway = gateway or network.gateway4 or ""
            if network.name != DEFAULT:
                others += lines(network.id)
    fixed = [(gateway if at == HOST_GATEWAY else at, [name]) for name, at in extra]
    return hosts.hosts([*(entry for entry in fixed if entry[0]), *entries]) + others


def _write(path: Path, text: str, *, flags: int = os.O_CREAT, revise: bool = False) -> None:
    """Write a file in place: it may be mounted in containers, whose programs read it meanwhile."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whatever the application's umask is
        size = os.fstat(fd).st_size
        if revise:
            text = hosts.revised(os.pread(fd, size, 0).decode(), text)
        data = text.encode()
        # Who reads between the two calls sees empty lines at the end, not the rest of an old one.
        os.pwrite(fd, data.ljust(size, b"\n"), 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


@contextlib.contextmanager
def _lock(services: Services) -> Iterator[None]:
    """Let one process at a time read who is there and write it down."""
    fd = os.open(services.root.path / "names.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
