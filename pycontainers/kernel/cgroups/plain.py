"""A cgroup from its plain form, for the process that is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.base import Cgroup


def from_plain(plain: dict[str, Any]) -> Cgroup:
    """Give the cgroup that `plain()` described, in whichever process.

    >>> from_plain({"version": 2, "directory": "/sys/fs/cgroup/c1"}).plain()["directory"]
    '/sys/fs/cgroup/c1'
    """
    # A launcher needs one of the two drivers only, and shall not hold the other in memory.
    if plain["version"] == 1:
        from pycontainers.kernel.cgroups.v1 import V1Cgroup

        return V1Cgroup(plain["directories"])
    from pycontainers.kernel.cgroups.v2 import V2Cgroup

    return V2Cgroup(plain["directory"])
