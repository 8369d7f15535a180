"""Networks and the places in them, as the database knows them.

A place, an endpoint, belongs to a container from its creation to its removal, with its addresses;
so they are the same after every start, and return to their network with the container's row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontainers.errors import Conflict

if TYPE_CHECKING:
    from pycontainers.storage.database import Database


class NetworkRow(NamedTuple):
    """A network; subnets, gateways and ranges are texts, None where it has none of that version.

    `cursor` tells which address was given last; `options` is JSON.
    """

    id: str
    name: str
    created: float
    subnet4: str | None
    gateway4: str | None
    range4: str | None
    subnet6: str | None
    gateway6: str | None
    range6: str | None
    cursor: int
    options: str

    @property
    def known(self) -> dict[str, Any]:
        """The options: internal, host_access, mtu, labels."""
        known: dict[str, Any] = json.loads(self.options)
        return known

    @property
    def bridge(self) -> str:
        """The name of its bridge on the host."""
        return f"pc{self.id[:12]}"


class EndpointRow(NamedTuple):
    """A container's place in a network: its number among the container's, addresses, names."""

    container: str
    network: str
    number: int
    mac: str
    address4: str | None
    address6: str | None
    aliases: str

    @property
    def addresses(self) -> list[str]:
        """Its addresses, IPv4 first."""
        return [address for address in (self.address4, self.address6) if address]

    @property
    def names(self) -> list[str]:
        """Its aliases."""
        names: list[str] = json.loads(self.aliases)
        return names

    @property
    def veth(self) -> str:
        """The name of the host's end of its cable."""
        return f"pv{self.container[:12]}{self.number:x}"


class Place(NamedTuple):
    """A container's place in a network, with what is known of that."""

    endpoint: EndpointRow
    network: NetworkRow


class NetworkTables:
    """The tables of networks and endpoints in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: NetworkRow) -> None:
        """Add a network; Conflict where its name is in use."""
        marks = ", ".join("?" * len(row))
        try:
            self._database.change(f"INSERT INTO networks VALUES ({marks})", *row)
        except Conflict:
            raise Conflict(f"the network {row.name} is there already") from None

    def find(self, key: str) -> list[NetworkRow]:
        """Give the network with that name or id, or all whose id begins with `key`."""
        exact = self._networks("WHERE name = ? OR id = ?", key, key)
        if exact or not key:
            return exact
        return self._networks("WHERE substr(id, 1, ?) = ?", len(key), key)

    def all(self) -> list[NetworkRow]:
        """Give all networks, oldest first."""
        return self._networks("ORDER BY created, id")

    def remove(self, network_id: str) -> bool:
        """Forget a network that nobody is in; False where somebody is."""
        with self._database.transaction() as connection:
            inside = "SELECT 1 FROM endpoints WHERE network = ? LIMIT 1"
            if connection.execute(inside, (network_id,)).fetchone():
                return False
            connection.execute("DELETE FROM networks WHERE id = ?", (network_id,))
            return True

    def advance(self, network_id: str, cursor: int) -> None:
        """Note which address was given last."""
        self._database.change("UPDATE networks SET cursor = ? WHERE id = ?", cursor, network_id)

    def join(self, row: EndpointRow) -> None:
        """Add an endpoint; the caller has made sure that its addresses are free."""
        marks = ", ".join("?" * len(row))
        self._database.change(f"INSERT INTO endpoints VALUES ({marks})", *row)

    def leave(self, container: str, network_id: str) -> None:
        """Forget an endpoint; one that is not there is fine."""
        self._database.change(
            "DELETE FROM endpoints WHERE container = ? AND network = ?", container, network_id
        )

    def of_container(self, container: str) -> list[EndpointRow]:
        """Give a container's endpoints in their order."""
        return self._endpoints("WHERE container = ? ORDER BY number", container)

    def places(self, container: str) -> list[Place]:
        """Give a container's endpoints in their order, with their networks."""
        query = """SELECT endpoints.*, networks.* FROM endpoints
                   JOIN networks ON networks.id = network WHERE container = ? ORDER BY number"""
        width = len(EndpointRow._fields)
        rows = self._database.rows(query, container)
        return [Place(EndpointRow(*row[:width]), NetworkRow(*row[width:])) for row in rows]

    def of_network(self, network_id: str) -> list[EndpointRow]:
        """Give all endpoints of a network."""
        return self._endpoints("WHERE network = ? ORDER BY container", network_id)

    def has(self, network_id: str, address: str) -> bool:
        """Whether an address is in use."""
        query = "SELECT 1 FROM endpoints WHERE network = ? AND (address4 = ? OR address6 = ?)"
        return bool(self._database.rows(query, network_id, address, address))

    def _networks(self, condition: str, *values: object) -> list[NetworkRow]:
        rows = self._database.rows(f"SELECT * FROM networks {condition}", *values)
        return [NetworkRow(*row) for row in rows]

    def _endpoints(self, condition: str, *values: object) -> list[EndpointRow]:
        rows = self._database.rows(f"SELECT * FROM endpoints {condition}", *values)
        return [EndpointRow(*row) for row in rows]
