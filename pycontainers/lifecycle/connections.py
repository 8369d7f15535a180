"""A container's networks over its life: where it is placed, whom it shares with, and changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from pycontainers.errors import Conflict, InvalidArgument
from pycontainers.kernel import namespaces
from pycontainers.lifecycle import names, netoptions, orders, selection, uses, wires
from pycontainers.lifecycle.networks import DEFAULT
from pycontainers.net.reservation import Published
from pycontainers.runtime import plan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.runtime.state import State
    from pycontainers.storage.database import ContainerRow
    from pycontainers.storage.networks import NetworkRow, Place
    from pycontainers.storage.volumes import VolumeRow


def resolved(services: Services, options: Options) -> Options:
    """Give the options with the container named by its id whose network is to be shared.

    Raises ContainerNotFound, InvalidArgument.
    """
    key = netoptions.shared(options.network)
    if key is None:
        return options
    owner = selection.find(services, key)
    if not owner.options.has_own_network:
        raise InvalidArgument(f"network: the container {owner.label} has no network of its own")
    return attrs.evolve(options, network=(netoptions.CONTAINER + owner.id,))


def place(
    services: Services, row: ContainerRow, options: Options, volumes: Collection[VolumeRow]
) -> list[Place]:
    """Make the container's row, and with it its places in networks and volumes, all or nothing.

    Gives its places in networks.  Raises Conflict where its name, or an address, is in use;
    NetworkNotFound.
    """
    places: list[Place] = []
    if not options.is_bridged:
        made = services.volumes.add_container(row, volumes)
    else:
        with services.networks.joining(options.network) as networks:
            made = services.volumes.add_container(row, volumes)
            places = wires.join(services, row.id, options, networks)
    services.volumes.tell("create", made)
    return places


def shared_fds(life: Life) -> list[int]:
    """Open the network namespace that a container shares, if it does; raises Conflict."""
    owner_id = netoptions.shared(life.options.network)
    if owner_id is None:
        return []
    owner = life.services.life(owner_id)
    pid = owner.state().pid
    if pid is not None:
        fd = namespaces.open_namespace(pid, "net")
        if owner.state().pid == pid:  # and so it is still the same process
            names.share(life.services, life.id, owner.id)
            return [fd]
        os.close(fd)
    raise Conflict(
        f"the container {owner.label}, whose network {life.label} shares, is not running",
        hint="start it first",
    )


def published(found: State) -> list[Published]:
    """Give what a container that lives has published."""
    return [Published(*port) for port in found.ports or ()] if found.lives else []


def connect(
    life: Life,
    network: NetworkRow,
    *,
    aliases: Sequence[str],
    ip: str | None,
    ip6: str | None,
    mac: str | None,
) -> None:
    """Give a container a place in one more network, at once where it runs.

    Raises Conflict, InvalidArgument, KernelError.
    """
    if not life.options.has_own_network:
        raise InvalidArgument(f"the container {life.label} has no network of its own")
    if not life.options.is_bridged:
        raise InvalidArgument(
            f"the container {life.label} was created with network='none'",
            hint="create it with network='bridge', or another network",
        )
    if aliases and network.name == DEFAULT:
        raise InvalidArgument("aliases: the default network has no names")
    networks = life.services.networks
    with networks.joining([network.id]) as [row]:
        networks.join(life.id, row, aliases=aliases, ip=ip, ip6=ip6, mac=mac)
    try:
        _became(life, [network.id])
    except BaseException:
        networks.tables.leave(life.id, network.id)
        raise


def disconnect(life: Life, network: NetworkRow) -> None:
    """Take a container out of a network; raises Conflict where it is not in it."""
    tables = life.services.networks.tables
    if network.id not in wires.networks_of(life.services, life.id):
        raise Conflict(f"the container {life.label} is not in the network {network.name}")
    tables.leave(life.id, network.id)
    if not _became(life, [network.id]):
        uses.tell_network(life.services, "disconnect", network, container=life.id)


def _became(life: Life, networks: list[str]) -> bool:
    """Have a container that runs wired as its rows say now, and tell the others of its names.

    Gives whether it lives: its supervisor writes events of it then.
    """
    places = life.services.networks.tables.places(life.id)
    names.enter(life.services, life.id, life.options, places, networks)
    found = life.state()
    if found.lives:
        steps = orders.wire(life, published(found))
        packed = [plan.pack(step) for step in steps]
        reached = wires.reached(steps)
        life.control.ask("rewire", wires=packed, reached=reached, uses=uses.of(life))
    return found.lives
