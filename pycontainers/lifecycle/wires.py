"""What connects a container to its networks: the steps of its start, and their undoing."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from pycontainers.errors import Conflict, ContainerNotFound, InvalidArgument, KernelError
from pycontainers.kernel import links
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from pycontainers.lifecycle import names
from pycontainers.lifecycle.networks import DEFAULT, ranges_of
from pycontainers.net.ports import ANY
from pycontainers.net.reservation import Published
from pycontainers.runtime import firewall, network
from pycontainers.runtime.wiring import ConnectBridge, Publish
from pycontainers.storage.networks import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.net.addresses import Range
    from pycontainers.net.reservation import Reservation
    from pycontainers.storage.networks import EndpointRow, NetworkRow


def join(
    services: Services, container: str, options: Options, rows: Sequence[NetworkRow]
) -> list[Place]:
    """Give a container its places in the networks that it was created with.

    Within the transaction that makes its row.  The addresses and names that the options give are
    for the first of them.
    """
    places = []
    for number, row in enumerate(rows):
        first = number == 0
        endpoint = services.networks.join(
            container,
            row,
            aliases=options.aliases if first else (),
            ip=options.ip if first else None,
            ip6=options.ip6 if first else None,
            mac=options.mac if first else None,
        )
        places.append(Place(endpoint, row))
    if options.ports and all(row.known["internal"] for row in rows):
        raise InvalidArgument("ports: an internal network has no way in")
    return places


def come(services: Services, container: str, options: Options, places: Sequence[Place]) -> None:
    """Write a new container's files, and tell the others of its networks of it by its names."""
    known = [
        row.id
        for endpoint, row in places
        if names.is_known(options.name, endpoint, row.name == DEFAULT)
    ]
    names.enter(services, container, options, places, known)


def networks_of(services: Services, container: str) -> list[str]:
    """Give the ids of the networks that a container is in."""
    return [endpoint.network for endpoint in services.networks.tables.of_container(container)]


def connects(services: Services, options: Options, places: Sequence[Place]) -> list[ConnectBridge]:
    """Give the steps that connect a container, with all bridges there; raises KernelError.

    The default routes lead through the first network that has a way out.
    """
    steps = []
    routed = False
    for endpoint, row in places:
        mtu, made = services.networks.ensure(row)
        if made:
            _plug_in_again(services, made)
        internal = row.known["internal"]
        ranges: dict[int, Range] = {one.subnet.version: one for one in ranges_of(row)}
        given: dict[int, str | None] = {4: endpoint.address4, 6: endpoint.address6}
        steps.append(
            ConnectBridge(
                bridge=row.bridge,
                veth=endpoint.veth,
                interface=f"eth{endpoint.number}",
                mac=endpoint.mac,
                mtu=mtu,
                addresses=[ranges[v].interface(address) for v, address in given.items() if address],
                gateways=[]
                if routed or internal
                else [str(ranges[v].gateway) for v, address in given.items() if address],
                rate=options.network_rate,
                priority=options.network_priority,
            )
        )
        routed = routed or not internal
    return steps


def publish(steps: Sequence[ConnectBridge], published: Sequence[Published]) -> Publish | None:
    """Give the step that leads published ports to the container that these steps connect.

    The loopback's, and those of addresses of a version that the container has none of, are not
    among them: what comes there is relayed.
    """
    ports = _entries(_targets(steps), published)
    return Publish(ports) if ports else None


def _entries(
    targets: Mapping[int, str], published: Sequence[Published]
) -> list[tuple[str, str, int, str, int]]:
    found = []
    for port in published:
        host = "" if port.host_address in ANY else port.host_address
        for version, target in targets.items():
            wanted = not port.host_address or version == _version(port.host_address)
            if wanted and not (host and ipaddress.ip_address(host).is_loopback):
                found.append((port.protocol, host, port.host_port, target, port.container_port))
    return found


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def relays(steps: Sequence[ConnectBridge], reservation: Reservation) -> list[tuple[str, str, int]]:
    """Give (protocol, container's address, its port) for each socket that holds a port.

    Raises Conflict where it is in no network by which they could be reached.
    """
    targets = _targets(steps)
    if reservation.published and not targets:
        raise Conflict(
            "ports: the container is in no network that has a way in",
            hint="Network.connect gives it a place in one",
        )
    found = []
    for sock, (protocol, port) in zip(reservation.sockets, reservation.targets, strict=True):
        version = 6 if sock.family == socket.AF_INET6 else 4
        found.append((protocol, targets.get(version) or next(iter(targets.values())), port))
    return found


def reached(steps: Sequence[ConnectBridge | Publish]) -> list[str]:
    """Give the container's addresses to which published ports lead, at most one of a version."""
    return list(_targets([step for step in steps if isinstance(step, ConnectBridge)]).values())


def _targets(steps: Sequence[ConnectBridge]) -> dict[int, str]:
    """Give the container's addresses by version, of the network that its way out is through."""
    reached = [step for step in steps if step.gateways]
    bare = [address.partition("/")[0] for step in reached for address in step.addresses]
    return {_version(address): address for address in bare}


def _plug_in_again(services: Services, made: Sequence[NetworkRow]) -> None:
    """Give containers that run their places in networks back that had to be made again."""
    with Netlink(NETLINK_ROUTE) as route, Netlink(NETLINK_NETFILTER) as netfilter:
        there = {link.name: link for link in links.links(route)}
        for row in made:
            bridge = there[row.bridge].index
            for endpoint in services.networks.tables.of_network(row.id):
                if endpoint.veth not in there:
                    continue
                with contextlib.suppress(ContainerNotFound, KernelError):  # it just ends
                    _admit_again(services, endpoint, netfilter)
                    if there[endpoint.veth].master != bridge:
                        route.ask(links.plug_in(endpoint.veth, bridge))


def _admit_again(services: Services, endpoint: EndpointRow, netfilter: Netlink) -> None:
    life = services.life(endpoint.container)
    asked = life.summary.get("options")  # those of a run are not written down
    priority = asked and asked.get("network_priority")
    messages = firewall.admit(endpoint.veth, endpoint.mac, endpoint.addresses, priority)
    if asked and life.options.ports:
        published = [Published(*port) for port in life.state().ports or ()]
        places = services.networks.tables.places(life.id)
        step = publish(connects(services, life.options, places), published)
        messages += firewall.publish(step.ports) if step else []
    firewall.change(netfilter, messages)


def release(services: Services, container: str) -> None:
    """Undo what is left of a container's wires whose helper was killed; no rows are touched."""
    endpoints = services.networks.tables.of_container(container)
    if not endpoints:
        return
    steps = [
        ConnectBridge("", endpoint.veth, "", endpoint.mac, 0, endpoint.addresses, [], None, 0)
        for endpoint in endpoints
    ]
    with contextlib.suppress(KernelError):  # the firewall's tables are gone
        network.withdraw_all(steps)
