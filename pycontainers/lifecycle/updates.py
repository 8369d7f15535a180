"""From options that have changed to what the cgroup is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pycontainers.kernel.cgroups.base import Limits

if TYPE_CHECKING:
    from pycontainers.lifecycle.options import Options

_TAKEN_AWAY: Final = {"memory_reservation": -1, "cpus": 0.0, "cpu_shares": 0, "cpuset": "",
                      "pids": -1, "io_weight": 0}  # fmt: skip


def changed_limits(before: Options, after: Options) -> Limits:
    """Give the limits that differ, for `Cgroup.update`; `Limits()` where none does.

    >>> from pycontainers.lifecycle.options import Options
    >>> before = Options.of(["true"], cpus=0.5)
    >>> changed_limits(before, before.updated(cpus=None, pids=10))._asdict()["cpus"]
    0.0
    """
    changed: dict[str, Any] = {}
    for name, nothing in _TAKEN_AWAY.items():
        value = getattr(after, name)
        if value != getattr(before, name):
            changed[name] = nothing if value is None else value
    if (before.memory, before.memory_swap) != (after.memory, after.memory_swap):
        # Always both: what is not said of swap means that there is none beyond memory.
        changed["memory"] = -1 if after.memory is None else after.memory
        changed["memory_swap"] = after.memory_swap
    return Limits(**changed)
