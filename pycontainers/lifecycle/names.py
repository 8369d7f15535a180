"""The files by which containers find names, kept current as containers come and go.

Each container of a network has its own /etc/hosts, a file of the host's that it sees read-only: its
own name, and for each user network that it is in, the names and aliases of the others.  It is
rewritten in place, since a mount of a file stays with the file.  That serves glibc, musl and
whatever else reads hosts(5) alike, without a process that answers.

Where one container comes or goes, the files of all others change, and all alike: what is said of
others is the same text in the files of all that are in the same networks, byte for byte, as a new
file begins with what another has.  So it is worked out once for all of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
from typing import TYPE_CHECKING, Final

from pycontainers.kernel import paths
from pycontainers.lifecycle.netoptions import HOST_GATEWAY
from pycontainers.lifecycle.networks import DEFAULT
from pycontainers.net import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.networks import EndpointRow, Place

_HOSTS: Final = "hosts"
_RESOLV_CONF: Final = "resolv.conf"
# What own names that come later take the place of, so that no other line moves, …
_ROOM: Final = "#" + " " * 94 + "\n"
_OTHERS: Final = b"# Containers in the same networks:\n"  # … and what stands before those of others
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_MEMBERS: Final = """
SELECT containers.name, endpoints.aliases, endpoints.address4, endpoints.address6
FROM endpoints JOIN containers ON containers.id = endpoints.container
WHERE endpoints.network = ? ORDER BY containers.created, containers.id
"""
# Of all that are in a network, which networks they are in that have names.
_NAMED: Final = """
SELECT container, network FROM endpoints JOIN networks ON networks.id = network
WHERE container IN (SELECT container FROM endpoints WHERE network = ?) AND networks.name != ?
ORDER BY container, number
"""


def enter(
    services: Services,
    container: str,
    options: Options,
    places: Sequence[Place],
    told: Collection[str],
) -> None:
    """Write the files of a container, and have the others of the networks `told` know its names.

    Its directory is there.  Raises OSError.
    """
    directory = str(services.snapshots.path(container))
    own = _own(container, options, places)
    named = tuple(row.id for _, row in places if row.name != DEFAULT)
    # Nobody else writes the file of a container that is in the default network only.
    with _lock(services) if named or told else contextlib.nullcontext():
        others = _others(services)

        def revised(old: bytes) -> bytes:
            before, _, theirs = old.partition(_OTHERS)
            text = _revised_within(before.decode(), own) if before else own + _ROOM
            if not named:
                return text.encode()
            theirs = theirs or _neighbours(services, container, named[0])
            return text.encode() + _OTHERS + others(theirs, named)

        _revise(f"{directory}/{_HOSTS}", revised)
        _tell(services, told, others)
    resolv_conf = hosts.resolv_conf(options.dns, options.dns_search, options.dns_options)
    _write(f"{directory}/{_RESOLV_CONF}", resolv_conf)


def announce(services: Services, networks: Collection[str]) -> None:
    """Have all containers of these networks, by their ids, know who is in them now."""
    with _lock(services):
        _tell(services, networks, _others(services))


def share(services: Services, container: str, owner: str) -> None:
    """Have a container find names by the files of the one whose network it shares."""
    own, theirs = services.snapshots.path(container), services.snapshots.path(owner)
    for name, text in ((_HOSTS, hosts.hosts([])), (_RESOLV_CONF, hosts.resolv_conf(()))):
        (own / name).unlink(missing_ok=True)
        try:
            (own / name).hardlink_to(theirs / name)
        except FileNotFoundError:  # it is in no network
            _write(str(own / name), text)


def is_known(name: str | None, endpoint: EndpointRow, default: bool) -> bool:
    """Whether others can find a container by a name in that network."""
    return not default and (name is not None or bool(endpoint.names))


def _tell(
    services: Services,
    networks: Collection[str],
    others: Callable[[bytes, tuple[str, ...]], bytes],
) -> None:
    """Write what the containers of these networks are told of others, where it is another now."""
    if not networks:
        return
    members: dict[str, list[str]] = {}
    for network in networks:
        found: dict[str, list[str]] = {}
        for container, other in services.database.rows(_NAMED, network, DEFAULT):
            found.setdefault(container, []).append(other)
        members |= found
    with paths.directory(services.root.containers) as directory_fd:
        for container, named in members.items():
            with contextlib.suppress(FileNotFoundError):  # it is coming, or being removed
                fd = os.open(f"{container}/{_HOSTS}", _FLAGS, dir_fd=directory_fd)
                try:
                    before = os.pread(fd, os.fstat(fd).st_size, 0)
                    own, mark, theirs = before.partition(_OTHERS)
                    now = others(theirs, tuple(named))
                    if mark and now != theirs:
                        _overwrite(fd, now, len(own) + len(mark), len(theirs))
                finally:
                    os.close(fd)


def _others(services: Services) -> Callable[[bytes, tuple[str, ...]], bytes]:
    """Give what makes of the old lines about others in some networks those that are right now.

    What many have alike it finds out only once.
    """

    @functools.cache
    def lines(network: str) -> str:
        entries = []
        for name, aliases, *addresses in services.database.rows(_MEMBERS, network):
            names = [*([name] if name else []), *json.loads(aliases)]
            entries += [(address, names) for address in addresses if address and names]
        return hosts.lines(entries)

    latest: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    def revised(before: bytes, networks: tuple[str, ...]) -> bytes:
        same, now = latest.get(networks, (None, b""))
        if same != before:
            now = hosts.revised(before.decode(), "".join(map(lines, networks))).encode()
            latest[networks] = before, now
        return now

    return revised


def _own(container: str, options: Options, places: Sequence[Place]) -> str:
    """Give the lines about a container itself, and those that its options ask for."""
    name = options.hostname or container[:12]
    full = f"{name}.{options.domainname}" if options.domainname else name
    own = list(dict.fromkeys([full, name, name.partition(".")[0], container[:12]]))
    gateways = (row.gateway4 for _, row in places if not row.known["internal"])
    gateway = next((address for address in gateways if address), "")
    fixed = [(gateway if at == HOST_GATEWAY else at, [name]) for name, at in options.extra_hosts]
    entries = [(address, own) for endpoint, _ in places for address in endpoint.addresses]
    return hosts.hosts([*(entry for entry in fixed if entry[0]), *entries])


def _revised_within(old: str, new: str) -> str:
    """Give the new lines in the place of the old ones, no shorter than these."""
    return hosts.revised(old, new).ljust(len(old), "\n")


def _neighbours(services: Services, container: str, network: str) -> bytes:
    """Give what another container of a network is told of others, nothing if there is none."""
    query = "SELECT container FROM endpoints WHERE network = ? AND container != ? LIMIT 1"
    for (other,) in services.database.rows(query, network, container):
        with contextlib.suppress(FileNotFoundError):
            found = (services.snapshots.path(other) / _HOSTS).read_bytes()
            return found.partition(_OTHERS)[2]
    return b""


def _write(path: str, text: str) -> None:
    _revise(path, lambda _: text.encode())


def _revise(path: str, revised: Callable[[bytes], bytes]) -> None:
    """Write a file in place: it may be mounted in containers, whose programs read it meanwhile."""
    fd = os.open(path, _FLAGS | os.O_CREAT, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whatever the application's umask is
        size = os.fstat(fd).st_size
        _overwrite(fd, revised(os.pread(fd, size, 0) if size else b""), 0, size)
    finally:
        os.close(fd)


def _overwrite(fd: int, data: bytes, at: int, length: int) -> None:
    """Write over the last `length` bytes of a file, which begin at an offset."""
    # Who reads between the two calls sees empty lines at the end, not the rest of an old one.
    os.pwrite(fd, data.ljust(length, b"\n"), at)
    if len(data) < length:
        os.ftruncate(fd, at + len(data))


@contextlib.contextmanager
def _lock(services: Services) -> Iterator[None]:
    """Let one process at a time read who is there and write it down."""
    fd = os.open(services.root.path / "names.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
