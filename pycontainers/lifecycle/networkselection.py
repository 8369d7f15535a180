"""Networks by Docker's filters, and those that nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict, InvalidArgument
from pycontainers.lifecycle.networks import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pycontainers.lifecycle.networks import Networks
    from pycontainers.storage.networks import NetworkRow


def select(
    networks: Networks, filters: Mapping[str, str | Sequence[str]] | None
) -> list[NetworkRow]:
    """Give the networks that fit all filters, oldest first; raises InvalidArgument."""
    wanted: dict[str, list[str]] = {}
    for key, value in (filters or {}).items():
        if key not in _FILTERS:
            raise InvalidArgument(f"filters: {key!r} is none of {', '.join(_FILTERS)}")
        found = [value] if isinstance(value, str | int) else list(value)
        wanted[key] = [str(one).lower() if key == "dangling" else str(one) for one in found]
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
    return all(
        (all if key == "label" else any)(_FILTERS[key](networks, row, value) for value in values)
        for key, values in wanted.items()
    )


def _has_label(_: Networks, row: NetworkRow, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    labels = row.known["labels"]
    return key in labels and (not equals or labels[key] == value)


def _dangles(networks: Networks, row: NetworkRow, wanted: str) -> bool:
    unused = row.name != DEFAULT and not networks.tables.of_network(row.id)
    return unused == (wanted in ("true", "1"))


_FILTERS: Final[dict[str, Callable[[Networks, NetworkRow, str], bool]]] = {
    "id": lambda _, row, value: row.id.startswith(value),
    "name": lambda _, row, value: value in row.name,
    "label": _has_label,
    "dangling": _dangles,
}
