"""Networks of a data root: made, found, removed, and the places that containers have in them.

A network is a row, a bridge and its entries in the firewall's sets.  The row is made first and goes
first; a bridge without a row is found by its alias, one that is missing is made when it is needed,
as after a reboot.  What concerns the whole machine is done under one lock.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import Conflict, InvalidArgument, KernelError, NetworkNotFound
from pycontainers.kernel import links
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from pycontainers.lifecycle import uses
from pycontainers.net import addresses, bridges, firewall
from pycontainers.storage import locks
from pycontainers.storage.networks import EndpointRow, NetworkRow, NetworkTables
from pycontainers.storage.root import run_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.lifecycle.services import Services

DEFAULT: Final = "bridge"
_MOST: Final = 16  # networks of one container
_PREFIX: Final = "pc"
_LONGEST_ALIAS: Final = 255  # bytes
_LOOK: Final = 1.0  # seconds, at least, from one look at what others do or have left to the next

_PLAIN: Final[dict[str, Any]] = {"internal": False, "host_access": False, "mtu": None, "labels": {}}

_log: Final = logging.getLogger("pycontainers")


class Networks:
    """The networks of one data root."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.database
        self.tables = NetworkTables(services.database)
        # One for what is asked before a start, one for what is done under the machine's lock.
        self._asking, self._changing = _Sockets(), _Sockets()
        self._looked = 0.0  # when at what others drop
        self._swept = 0.0
        self._warned: list[str] = []

    # Networks.

    def create(
        self,
        name: str,
        subnet: str | Sequence[str] | None = None,
        gateway: str | Sequence[str] | None = None,
        ip_range: str | Sequence[str] | None = None,
        *,
        ipv6: bool = False,
        options: dict[str, Any] = _PLAIN,
    ) -> NetworkRow:
        """Make a network with a row's options; raises InvalidArgument, Conflict, KernelError."""
        wanted = addresses.subnets(subnet)
        gateways, ranges = _by_version("gateway", gateway), _by_version("ip_range", ip_range)
        for given in (gateways, ranges):
            for version in given.keys() - {one.version for one in wanted}:
                raise InvalidArgument(f"gateway, ip_range: there is no subnet of IPv{version}")
        if options["internal"] and options["host_access"]:
            raise InvalidArgument("host_access: an internal network has no way out to the host")
        for one in wanted:  # before anything is made
            addresses.make_range(one, gateways.get(one.version), ranges.get(one.version))
        with _machine_lock(), self._changing as (route, netfilter):
            if wanted or time.monotonic() - self._swept > _LOOK:
                self._swept = time.monotonic()
                _sweep(route, netfilter)
            chosen = self._chosen(route, wanted, ipv6)
            row = _row(name, chosen, gateways, ranges, options)
            self.tables.add(row)
            try:
                self._make(route, netfilter, row)
            except BaseException:
                self.tables.remove(row.id)
                bridges.remove(route, row.bridge)
                raise
        uses.tell_network(self._services, "create", row)
        return row

    def _chosen(
        self, route: Netlink, wanted: list[addresses.Subnet], ipv6: bool
    ) -> list[addresses.Subnet]:
        """Give the subnets of a new network; those that are named must be free."""
        texts = dict.fromkeys([*links.destinations(route), *self._subnets()])
        used = [*map(addresses.parse_subnet, texts)]
        for subnet, other in addresses.overlapping(wanted, used):
            raise Conflict(f"the subnet {subnet} overlaps {other}, which this host uses")
        chosen = list(wanted)
        versions = {subnet.version for subnet in chosen}
        if 4 not in versions:
            chosen.insert(0, addresses.free_subnet(used))
        if ipv6 and 6 not in versions:
            chosen.append(addresses.free_subnet6(used))
        return chosen

    def _subnets(self) -> list[str]:
        return [text for row in self.tables.all() for text in (row.subnet4, row.subnet6) if text]

    def find(self, key: str) -> NetworkRow:
        """Give the network with this name, id or unambiguous beginning of an id.

        The default network is made when it is asked for.  Raises NetworkNotFound, Conflict.
        """
        rows = self.tables.find(key)
        if len(rows) > 1:
            raise Conflict(f"{len(rows)} networks have an id that begins with {key!r}")
        if rows and key:
            return rows[0]
        if key == DEFAULT:
            with contextlib.suppress(Conflict):  # another process is faster
                return self.create(DEFAULT)
            return self.find(key)
        raise NetworkNotFound(
            f"no network {key!r} in {self._services.root.path}",
            hint="Network.create makes one; 'bridge' is the default network",
        )

    def remove(self, row: NetworkRow) -> None:
        """Take a network away; raises Conflict while containers are in it."""
        with _machine_lock(), self._changing as (route, netfilter), self._database.transaction():
            # The row goes last, so that one that is half gone is seen; nobody joins meanwhile.
            inside = [endpoint.container[:12] for endpoint in self.tables.of_network(row.id)]
            if inside:
                raise Conflict(
                    f"the network {row.name} is used by {', '.join(inside)}",
                    hint="disconnect or remove these containers first",
                )
            _unmake(route, netfilter, row)
            self.tables.remove(row.id)
        uses.tell_network(self._services, "destroy", row)

    def tidy(self) -> None:
        """Take the default network away when nobody is in it."""
        rows = self.tables.find(DEFAULT)
        if rows and not self.tables.of_network(rows[0].id):
            with contextlib.suppress(Conflict):
                self.remove(rows[0])

    # Bridges.

    def ensure(self, row: NetworkRow) -> tuple[int, list[NetworkRow]]:
        """Have the network's bridge there, as it may not be after a reboot.

        Gives its MTU, and the networks that had to be made again: all that the firewall has
        forgotten are.  Raises KernelError, Conflict where its subnet has come into use elsewhere.
        """
        made: list[NetworkRow] = []
        with self._asking as (route, netfilter):
            mtu = links.mtu_of(route, row.bridge)
            if mtu is not None and firewall.has_network(netfilter, row.bridge):
                if time.monotonic() - self._looked > _LOOK:
                    self._look_at_others(netfilter)
                return mtu, made
        with _machine_lock(), self._changing as (route, netfilter):
            there = {link.name for link in bridges.present(route, _PREFIX)}
            if row.bridge not in there:
                _check_free(route, row)
            made += (
                one for one in self.tables.all()
                if one.id == row.id
                or (one.bridge in there and not firewall.has_network(netfilter, one.bridge))
            )  # fmt: skip
            for one in made:
                self._make(route, netfilter, one)
            mtu = links.mtu_of(route, row.bridge)
        if mtu is None:
            raise NetworkNotFound(f"the network {row.name} has been removed")
        return mtu, made

    def _look_at_others(self, netfilter: Netlink) -> None:
        """Have published ports relayed where others drop what is forwarded, and say who does."""
        self._looked = time.monotonic()
        dropping = firewall.relay_where_dropped(netfilter)
        if dropping and dropping != self._warned:
            _log.warning(
                "others drop what containers send: %s; doctor() says what can be done",
                "; ".join(dropping),
            )
        self._warned = dropping

    def close(self) -> None:
        """Close what is kept open."""
        self._asking.close()
        self._changing.close()

    def _make(self, route: Netlink, netfilter: Netlink, row: NetworkRow) -> None:
        known = row.known
        subnets = [text for text in (row.subnet4, row.subnet6) if text]
        gateways = [range_.interface(str(range_.gateway)) for range_ in ranges_of(row)]
        closed = bridges.forwarding(ipv4=row.subnet4 is not None, ipv6=row.subnet6 is not None)
        alias = f"{bridges.ALIAS}{row.name} {self._services.root.path}"
        if len(alias.encode()) > _LONGEST_ALIAS:  # it is not found when its data root is deleted
            alias = f"{bridges.ALIAS}{row.name}"
        mtu = known["mtu"] or bridges.default_mtu(route)
        bridges.make(route, row.bridge, alias=alias, mtu=mtu, gateways=gateways)
        firewall.ensure(netfilter, closed)
        firewall.add_network(
            netfilter,
            row.bridge,
            subnets,
            internal=known["internal"],
            host_access=known["host_access"],
        )
        self._look_at_others(netfilter)

    # Places in networks.

    @contextlib.contextmanager
    def joining(self, keys: Sequence[str]) -> Iterator[list[NetworkRow]]:
        """Be in a transaction in which these networks are there, for `join` and what goes with it.

        Raises NetworkNotFound, Conflict.
        """
        while True:
            with self._database.transaction():
                found = [self.tables.find(key) for key in keys]
                if all(len(rows) == 1 for rows in found):
                    yield [row for (row,) in found]
                    return
            for key in keys:  # and so the default network is made, or an error raised
                self.find(key)

    def join(
        self,
        container: str,
        row: NetworkRow,
        *,
        aliases: Sequence[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        mac: str | None = None,
    ) -> EndpointRow:
        """Give a container a place in a network, with addresses that nobody else has.

        To be called within `joining`.  Raises Conflict, InvalidArgument.
        """
        own = self.tables.of_container(container)
        if any(endpoint.network == row.id for endpoint in own):
            raise Conflict(f"the container is in the network {row.name} already")
        numbers = {endpoint.number for endpoint in own}
        number = next(number for number in range(_MOST + 1) if number not in numbers)
        if number == _MOST:
            raise InvalidArgument(f"network: a container can be in {_MOST} networks at most")
        given = {4: ip, 6: ip6}
        found: dict[int, str] = {}
        for range_ in ranges_of(row):
            version = range_.subnet.version
            found[version] = self._address(row, range_, given.pop(version))
        for address in filter(None, given.values()):
            raise InvalidArgument(f"ip: {address}: the network {row.name} has no such subnet")
        endpoint = EndpointRow(
            container=container,
            network=row.id,
            number=number,
            mac=mac or addresses.random_mac(),
            address4=found.get(4),
            address6=found.get(6),
            aliases=json.dumps(list(aliases)),
        )
        self.tables.join(endpoint)
        return endpoint

    def _address(self, row: NetworkRow, range_: addresses.Range, given: str | None) -> str:
        if given is not None:
            range_.check(given)
            if self.tables.has(row.id, given):
                raise Conflict(f"the address {given} is in use in the network {row.name}")
            return given
        address, cursor = range_.free(row.cursor, lambda one: self.tables.has(row.id, one))
        if range_.subnet.version == 4:
            self.tables.advance(row.id, cursor)
        return address


class _Sockets:
    """A route socket and a netfilter socket, for one thread at a time; kept open.

    Closing a netfilter socket waits until the kernel has done with all that was taken out of sets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._both: tuple[Netlink, Netlink] | None = None

    def __enter__(self) -> tuple[Netlink, Netlink]:
        self._lock.acquire()
        try:
            self._both = self._both or (Netlink(NETLINK_ROUTE), Netlink(NETLINK_NETFILTER))
        except BaseException:
            self._lock.release()
            raise
        return self._both

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Close them; the next use makes new ones."""
        for sock in self._both or ():
            sock.close()
        self._both = None


def _check_free(route: Netlink, row: NetworkRow) -> None:
    """Refuse to make a bridge again whose subnet has come into use; raises Conflict."""
    wanted = [range_.subnet for range_ in ranges_of(row)]
    used = [*map(addresses.parse_subnet, links.destinations(route))]
    for subnet, other in addresses.overlapping(wanted, used):
        raise Conflict(
            f"the subnet {subnet} of the network {row.name} overlaps {other}, in use by now",
            hint="remove the network, and create it with another subnet",
        )


def _unmake(route: Netlink, netfilter: Netlink, row: NetworkRow) -> None:
    subnets = [text for text in (row.subnet4, row.subnet6) if text]
    firewall.remove_network(netfilter, row.bridge, subnets)
    bridges.remove(route, row.bridge)
    firewall.remove_if_unused(netfilter)


def ranges_of(row: NetworkRow) -> list[addresses.Range]:
    """Give the ranges of a network's addresses, IPv4 first."""
    found = []
    for subnet, gateway, pool in (
        (row.subnet4, row.gateway4, row.range4),
        (row.subnet6, row.gateway6, row.range6),
    ):
        if subnet is not None:
            found.append(addresses.make_range(addresses.parse_subnet(subnet), gateway, pool))
    return found


def _row(
    name: str,
    chosen: list[addresses.Subnet],
    gateways: dict[int, str],
    ranges: dict[int, str],
    options: dict[str, Any],
) -> NetworkRow:
    made = {
        subnet.version: addresses.make_range(
            subnet, gateways.get(subnet.version), ranges.get(subnet.version)
        )
        for subnet in chosen
    }
    return NetworkRow(
        id=os.urandom(32).hex(),
        name=name,
        created=time.time(),
        subnet4=str(made[4].subnet),
        gateway4=str(made[4].gateway),
        range4=ranges.get(4),
        subnet6=str(made[6].subnet) if 6 in made else None,
        gateway6=str(made[6].gateway) if 6 in made else None,
        range6=ranges.get(6),
        cursor=0,
        options=json.dumps(options),
    )


def _by_version(option: str, value: str | Sequence[str] | None) -> dict[int, str]:
    """Give addresses or ranges by their version of IP; raises InvalidArgument."""
    given = [] if value is None else [value] if isinstance(value, str) else list(value)
    found: dict[int, str] = {}
    for text in given:
        try:
            version = ipaddress.ip_network(text, strict=False).version
        except ValueError as error:
            raise InvalidArgument(f"{option}: {error}") from None
        if version in found:
            raise InvalidArgument(f"{option}: more than one of IPv{version}")
        found[version] = text
    return found


def _sweep(route: Netlink, netfilter: Netlink) -> None:
    """Take away bridges that nobody uses, of data roots that have been deleted, networks and all.

    One that is used may be of a data root that only this process can't see (mount_namespaces(7)).
    """
    lost: list[links.Link] = []
    for link in bridges.present(route, _PREFIX):
        kind, _, rest = (link.alias or "").partition(" ")
        root = rest.partition(" ")[2]
        if kind == "pycontainers" and root and not Path(root, "state.db").exists():
            lost.append(link)
    used = {link.master for link in links.links(route)} if lost else set()
    for link in lost:
        if link.index not in used:
            with contextlib.suppress(KernelError):
                subnets = links.subnets_of(route, link.index)
                firewall.remove_network(netfilter, link.name, subnets)
                bridges.remove(route, link.name)


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    """Hold the lock on the machine's bridges and our tables of its firewall."""
    directory = run_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.held(directory / "network.lock"):
        yield
