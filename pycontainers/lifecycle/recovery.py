"""After a crash: find what is left over and take it away.

A container's row is there before anything of the container is.  So what a dead owner leaves is
found by its rows: processes in the cgroup, the cgroup, the directory, and last the row itself.
What is alive is not touched; a lock keeps two processes from doing this at once.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pycontainers.kernel import paths, processes
from pycontainers.kernel.cgroups.plain import from_plain

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.host import Host
    from pycontainers.storage.database import ContainerRow, Database
    from pycontainers.storage.root import DataRoot
    from pycontainers.storage.snapshots import Snapshots


def recover(root: DataRoot, database: Database, snapshots: Snapshots, cgroups: Host) -> None:
    """Take away what containers of ended processes left behind; raises StoreError, KernelError."""
    orphans = any(_is_orphan(row) for row in database.containers())
    lost = _lost(cgroups)
    if not orphans and not lost and not _strays(database, snapshots) and not _unfinished(root):
        return
    with root.locked():
        for row in database.containers():
            if _is_orphan(row):
                bury(row, database, snapshots)
        for name in _lost(cgroups):
            cgroups.cgroup(name).remove()
        for container_id in _strays(database, snapshots):
            snapshots.remove(container_id)
        with paths.directory(root.layers) as layers_fd:
            for name in _unfinished(root):
                paths.remove_tree(name, layers_fd)


def bury(row: ContainerRow, database: Database, snapshots: Snapshots) -> None:
    """Remove one container whole: processes, cgroup, directory, row, in this order."""
    if row.cgroup:
        cgroup = from_plain(json.loads(row.cgroup))
        cgroup.kill()
        cgroup.remove()
    snapshots.remove(row.id)
    database.remove_container(row.id)


def _is_orphan(row: ContainerRow) -> bool:
    return not _lives(row.owner_pid, row.owner_start)


def _lives(pid: int, start: int) -> bool:
    pidfd = processes.open_same(pid, start)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def _lost(cgroups: Host) -> list[str]:
    """Name empty cgroups of ended processes, which have no row: those of their spare containers."""
    found = []
    for name in cgroups.listing():
        pid, start, *_ = [*name.split("-"), ""]
        if pid.isdigit() and start.isdigit() and not _lives(int(pid), int(start)):
            found.append(name)
    return [name for name in found if not cgroups.cgroup(name).pids()]


def _unfinished(root: DataRoot) -> list[str]:
    """Name layers that ended processes were making: `.making-<pid>-<start>-…`."""
    found = []
    for name in os.listdir(root.layers):  # noqa: PTH208
        kind, _, owner = name.partition("-")
        pid, start, *_ = [*owner.split("-"), "", ""]
        if kind == ".making" and not (
            pid.isdigit() and start.isdigit() and _lives(int(pid), int(start))
        ):
            found.append(name)
    return found


def _strays(database: Database, snapshots: Snapshots) -> list[str]:
    """Name directories without a row: a row goes last, so only a lost database leaves these.

    The directories are listed first: a container made meanwhile is then seen by its row.
    """
    present = snapshots.present()
    known = {row.id for row in database.containers()} if present else set()
    return [name for name in present if name not in known]
