"""Networks by Docker's filters, and those that nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict
from pycontainers.lifecycle import filters as filtering
from pycontainers.lifecycle.networks import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pycontainers.lifecycle.networks import Networks
    from pycontainers.storage.networks import NetworkRow


def select(
    networks: Networks, filters: Mapping[str, str | Sequence[str]] | None
) -> list[NetworkRow]:
    """Give the networks that fit all filters, oldest first; raises InvalidArgument."""
    wanted = filtering.checked(filters, _FILTERS)
    return [row for row in networks.tables.all() if _fits(networks, row, wanted)]


def prune(networks: Networks, filters: Mapping[str, str | Sequence[str]] | None) -> list[str]:
    """Remove the networks that fit and that no container is in; give their names."""
    removed = []
    for row in select(networks, filters):
        if row.name == DEFAULT or networks.tables.of_network(row.id):
            continue
        try:
            networks.remove(row)
        except Conflict:  # a container has just come
            continue
        removed.append(row.name)
    return removed


def _fits(networks: Networks, row: NetworkRow, wanted: dict[str, list[str]]) -> bool:
    return filtering.fit(wanted, lambda key, value: _FILTERS[key](networks, row, value))


def _dangles(networks: Networks, row: NetworkRow, wanted: str) -> bool:
    unused = row.name != DEFAULT and not networks.tables.of_network(row.id)
    return unused == filtering.truth(wanted.lower())


_FILTERS: Final[dict[str, Callable[[Networks, NetworkRow, str], bool]]] = {
    "id": lambda _, row, value: row.id.startswith(value),
    "name": lambda _, row, value: value in row.name,
    "label": lambda _, row, value: filtering.has_label(row.known["labels"], value),
    "dangling": _dangles,
}
