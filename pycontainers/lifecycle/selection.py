"""Containers by what people call them, and by Docker's filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict, ContainerNotFound, InvalidArgument
from pycontainers.lifecycle import filters as filtering
from pycontainers.lifecycle import recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.services import Services
    from pycontainers.runtime.state import State

_STATES: Final = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_RUNNING: Final = ("running", "paused", "restarting")


def find(services: Services, key: str) -> Life:
    """Give the container with this name, id or unambiguous beginning of an id.

    Raises ContainerNotFound, Conflict where several ids begin so.
    """
    rows = services.database.container(key)
    if len(rows) > 1:
        raise Conflict(f"{len(rows)} containers have an id that begins with {key!r}")
    if not rows or not key or _is_gone(life := services.life_of(rows[0])):
        raise ContainerNotFound(f"no container {key!r} in {services.root.path}")
    return life


def select(
    services: Services,
    *,
    all: bool,
    filters: Mapping[str, str | Sequence[str]] | None,
) -> list[Life]:
    """Give the containers that are running, or `all`, and that fit all filters; oldest first."""
    wanted = _checked(filters)
    everything = all or "status" in wanted or "exited" in wanted
    found = []
    for row in services.database.containers():
        life = services.life_of(row)
        if _is_gone(life):
            continue
        state = life.state()
        if not everything and state.status not in _RUNNING:
            continue
        if _fits(life, state, wanted):
            found.append(life)
    return found


def prune(services: Services, *, filters: Mapping[str, str | Sequence[str]] | None) -> list[str]:
    """Remove the containers that do not run, but for those of other living processes."""
    removed = []
    for life in select(services, all=True, filters=filters):
        owned = life.row.owner_pid not in (0, services.process)
        if owned or life.state().status in _RUNNING:
            continue
        try:
            life.remove()
        except (Conflict, ContainerNotFound):  # another process was faster
            continue
        removed.append(life.id)
    return removed


def _is_gone(life: Life) -> bool:
    """Whether a container has ended with its owner, or by itself with auto_remove; it is buried."""
    known = life.summary
    if known.get("oneshot"):
        return True  # one of run(), which is over in a moment
    if recovery.is_orphan(life.row):
        life.services.recover()
        return True
    if known["options"].get("auto_remove"):
        found = life.state()
        if not found.lives and found.finished is not None:
            recovery.bury(life.services, life.row)
            return True
    return False


def _checked(filters: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    wanted = filtering.checked(filters, _FILTERS)
    for status in wanted.get("status", ()):
        if status not in _STATES:
            raise InvalidArgument(f"filters: the status {status!r} is none of {', '.join(_STATES)}")
    return wanted


def _fits(life: Life, state: State, wanted: dict[str, list[str]]) -> bool:
    return filtering.fit(wanted, lambda key, value: _FILTERS[key](life, state, value))


def _is_ancestor(life: Life, _: State, wanted: str) -> bool:
    image: str = life.summary["image"]
    return image == wanted or image.removeprefix("sha256:").startswith(wanted)


def _is_in(life: Life, _: State, wanted: str) -> bool:
    """Whether a container is in a network, by name or id, or has that mode, as "host"."""
    if not life.options.is_bridged:
        return life.options.network[0] == wanted
    tables = life.services.networks.tables
    networks = [row for place in tables.of_container(life.id) for row in tables.find(place.network)]
    return any(row.name == wanted or row.id.startswith(wanted) for row in networks)


_FILTERS: Final[dict[str, Callable[[Life, State, str], bool]]] = {
    "id": lambda life, _, value: str(life.id).startswith(value),
    "name": lambda life, _, value: value in (life.row.name or ""),
    "label": lambda life, _, value: filtering.has_label(life.summary["labels"], value),
    "status": lambda _, state, value: state.status == value,
    "health": lambda _, state, value: (state.health or {}).get("status", "none") == value,
    "exited": lambda _, state, value: state.status == "exited" and str(state.exit_code) == value,
    "ancestor": _is_ancestor,
    "network": _is_in,
}
