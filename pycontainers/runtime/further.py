"""A further program in a running container, as its launcher or supervisor starts it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pycontainers.kernel import processes, sockets
from pycontainers.kernel.cgroups import base
from pycontainers.runtime import preparation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pycontainers.kernel.cgroups.base import Cgroup


def start(
    cgroup: Cgroup | None,
    request: dict[str, Any],
    fds: list[int],
    born: Callable[[socket.socket], tuple[int, int]],
) -> tuple[int, int, Cgroup | None]:
    """Have a process born and tell it its steps; give its pid, pidfd and process tree.

    `fds` are the status socket, the program's streams, and what its steps name.  With a name in
    `request["tree"]` all that it starts gets a cgroup of its own, within the container's.  Its
    `oom_score` is the container's, where that has one.
    """
    cgroup_fds = [] if cgroup is None else cgroup.join_fds()
    ours, theirs = sockets.pair()
    tree: Cgroup | None = None
    with ours, theirs:
        try:
            if cgroup is not None and request["tree"] is not None:
                tree = cgroup.subgroup(request["tree"])
                tree.create(base.Limits())
                cgroup_fds += tree.join_fds()
            pid, pidfd = born(theirs)
            if request["oom_score"] is not None:
                processes.set_oom_score(pid, request["oom_score"])
            preparation.order(ours, request["steps"], request["stdio"], cgroup_fds, fds)
        finally:
            for fd in cgroup_fds:
                os.close(fd)
    return pid, pidfd, tree
