"""Network: a bridge of the host, and the containers that talk to each other over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import attrs

from pycontainers.engine import Engine
from pycontainers.errors import NetworkNotFound
from pycontainers.handle import Handle
from pycontainers.lifecycle import connections, netoptions, networkselection, values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.lifecycle.networks import Networks
    from pycontainers.storage.networks import EndpointRow, NetworkRow

_List = list  # the class has a method of that name


class Member(NamedTuple):
    """A container's place in a network: addresses, None where it has none of that version."""

    ip: str | None
    ip6: str | None
    mac: str
    interface: str
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, row: EndpointRow) -> Self:
        """Give what a row of the database tells."""
        interface = f"eth{row.number}"
        return cls(row.address4, row.address6, row.mac, interface, tuple(row.names))


@attrs.frozen(repr=False)
class Network:
    """A network, as a plain value: its data root and id.

    Its containers reach each other by name and the world beyond through the host; containers of
    other networks can't reach them, nor can they reach the host's own services.  It stays until it
    is removed.  A context manager that removes it.

    >>> with Network.create("backend") as backend:                     # doctest: +SKIP
    ...     with Container.run("redis", name="cache", network=backend):
    ...         pycontainers.run(["getent", "hosts", "cache"], network=backend).ok
    True
    """

    root: str
    id: str

    @classmethod
    def create(
        cls,
        name: str,
        *,
        subnet: str | Sequence[str] | None = None,
        gateway: str | Sequence[str] | None = None,
        ip_range: str | Sequence[str] | None = None,
        ipv6: bool = False,
        internal: bool = False,
        host_access: bool = False,
        mtu: int | None = None,
        labels: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Self:
        """Make a network; a subnet that nothing on this host uses is chosen where none is named.

        `subnet`, `gateway` and `ip_range` take one text, or one for each version of IP; addresses
        of containers are taken from `ip_range`.  With `ipv6` it has a subnet of that too.  From an
        `internal` one nothing leads out or in.  `host_access` lets its containers reach services of
        the host.  Raises Conflict where the name or the subnet is in use, InvalidArgument.
        """
        engine = engine or Engine()
        row = engine.services().networks.create(
            netoptions.network_name(name),
            subnet,
            gateway,
            ip_range,
            ipv6=values.flag("ipv6", ipv6),
            options={
                "internal": values.flag("internal", internal),
                "host_access": values.flag("host_access", host_access),
                "mtu": None if mtu is None else values.whole("mtu", mtu, 1280, 65535),
                "labels": dict(values.labels(labels or {})),
            },
        )
        return cls(engine.root, row.id)

    @classmethod
    def get(cls, key: str, *, engine: Engine | None = None) -> Self:
        """Give the network with this name, id or unambiguous beginning of an id.

        "bridge" is the default network.  Raises NetworkNotFound, Conflict.
        """
        engine = engine or Engine()
        return cls(engine.root, engine.services().networks.find(key).id)

    @classmethod
    def list(
        cls,
        *,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> list[Self]:
        """Give all networks that fit the filters `id`, `name`, `label` and `dangling`.

        Raises InvalidArgument for others.
        """
        engine = engine or Engine()
        rows = networkselection.select(engine.services().networks, filters)
        return [cls(engine.root, row.id) for row in rows]

    @classmethod
    def prune(
        cls,
        *,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> _List[str]:
        """Remove all networks that no container is in, and give their names."""
        engine = engine or Engine()
        return networkselection.prune(engine.services().networks, filters)

    def connect(
        self,
        container: Handle,
        *,
        aliases: Sequence[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        mac: str | None = None,
    ) -> None:
        """Give a container a place in this network too, at once where it runs.

        The others find it by its name and `aliases`.  Raises Conflict where it is in the network
        already or an address is in use, InvalidArgument where it has no network of its own.
        """
        connections.connect(
            container._life(),
            self._row(),
            aliases=netoptions.aliases(aliases),
            ip=None if ip is None else netoptions.address("ip", ip, 4),
            ip6=None if ip6 is None else netoptions.address("ip6", ip6, 6),
            mac=None if mac is None else netoptions.mac(mac),
        )

    def disconnect(self, container: Handle) -> None:
        """Take a container out of this network; raises Conflict where it is not in it."""
        connections.disconnect(container._life(), self._row())

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the network; raises Conflict while a container is in it, NetworkNotFound."""
        try:
            self._networks().remove(self._row())
        except NetworkNotFound:
            if not missing_ok:
                raise

    @property
    def network_key(self) -> str:
        """What the option `network` of a container takes for it."""
        return self.id

    @property
    def name(self) -> str:
        """The name."""
        return self._row().name

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets, that of IPv4 first."""
        row = self._row()
        return tuple(text for text in (row.subnet4, row.subnet6) if text)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The host's addresses in it."""
        row = self._row()
        return tuple(text for text in (row.gateway4, row.gateway6) if text)

    @property
    def internal(self) -> bool:
        """Whether nothing leads out of it."""
        return bool(self._row().known["internal"])

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        return dict(self._row().known["labels"])

    @property
    def created(self) -> float:
        """When it was created, in seconds since 1970."""
        return self._row().created

    @property
    def containers(self) -> dict[str, Member]:
        """The containers that have a place in it, by id, whether they run or not."""
        members = self._networks().tables.of_network(self._row().id)
        return {member.container: Member.of(member) for member in members}

    @property
    def attrs(self) -> dict[str, Any]:
        """All that is known of it, as JSON can hold it."""
        row = self._row()
        known = {
            key: value for key, value in row._asdict().items() if key not in ("cursor", "options")
        }
        members = {key: member._asdict() for key, member in self.containers.items()}
        return {**known, **row.known, "bridge": row.bridge, "containers": members}

    def _networks(self) -> Networks:
        return Engine(root=self.root).services().networks

    def _row(self) -> NetworkRow:
        """Give the network as it is now; raises NetworkNotFound."""
        rows = self._networks().tables.find(self.id)
        if not rows:
            raise NetworkNotFound(f"the network {self.id[:12]} has been removed")
        return rows[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove(missing_ok=True)

    def __repr__(self) -> str:
        try:
            row = self._row()
        except NetworkNotFound:
            return f"<Network {self.id[:12]} removed>"
        return f"<Network {row.name} {row.subnet4}>"
