"""What a container uses while its program runs, networks and volumes, as events tell of it.

Its supervisor has the list, and writes what begins and ends (runtime/journal.py); the names of the
attributes are Docker's.  A run has no supervisor, and no events: they would cost it 0.15 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainers.lifecycle import mounts
from pycontainers.runtime import journal
from pycontainers.storage.volumes import DRIVER

if TYPE_CHECKING:
    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.networks import NetworkRow


def of(life: Life) -> list[list[Any]]:
    """Give what a container uses, in the form that `journal.append_uses` takes."""
    return [*_networks(life), *_volumes(life)]


def _networks(life: Life) -> list[list[Any]]:
    found: list[list[Any]] = []
    places = life.services.networks.tables.places(life.id) if life.options.is_bridged else ()
    for _, row in places:
        known = {"container": life.id, **_attributes(row)}
        found.append(["network", row.id, known, known])
    return found


def _volumes(life: Life) -> list[list[Any]]:
    found: list[list[Any]] = []
    for mount in mounts.all_of(life.options) if life.volumes else ():
        if mount.kind == "volume":
            at_end = {"container": life.id, "driver": DRIVER}
            at_begin = {
                **at_end,
                "destination": mount.target,
                "propagation": "",
                "read/write": str(not mount.read_only).lower(),
            }
            found.append(["volume", life.volumes[mount.target], at_begin, at_end])
    return found


def tell_over(life: Life) -> None:
    """Write down that a container uses nothing more, whose supervisor did not live to."""
    journal.append_uses(str(life.services.root.events), of(life), begin=False)


def tell_network(services: Services, action: str, row: NetworkRow, **more: str) -> None:
    """Write an event of a network down."""
    known = {**more, **_attributes(row)}
    journal.append(str(services.root.events), action, row.id, known, kind="network")


def _attributes(row: NetworkRow) -> dict[str, str]:
    return {"name": row.name, "type": "bridge"}
