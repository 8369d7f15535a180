"""After a crash: find what is left over and take it away.

A container's row is there before anything of the container is.  So what a dead owner leaves is found
by its rows: processes in the cgroup, the cgroup, the directory, and last the row itself.  What is
alive is not touched; a lock keeps two processes from doing this at once.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pycontainers.errors import KernelError
from pycontainers.kernel import processes
from pycontainers.kernel.cgroups.plain import from_plain

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.host import Host
    from pycontainers.storage.database import ContainerRow, Database
    from pycontainers.storage.root import DataRoot
    from pycontainers.storage.snapshots import Snapshots


def recover(root: DataRoot, database: Database, snapshots: Snapshots, cgroups: Host) -> None:
    """Take away what containers of ended processes left behind; raises StoreError, KernelError."""
    if not any(_is_orphan(row) for row in database.containers()) and not _strays(
        database, snapshots
    ):
        return
    with root.locked():
        for row in database.containers():
            if _is_orphan(row):
                bury(row, database, snapshots)
        for container_id in _strays(database, snapshots):
            snapshots.remove(container_id)


def bury(row: ContainerRow, database: Database, snapshots: Snapshots) -> None:
    """Remove one container whole: processes, cgroup, directory, row, in this order."""
    if row.cgroup:
        cgroup = from_plain(json.loads(row.cgroup))
        cgroup.kill()
        cgroup.remove()
    snapshots.remove(row.id)
    database.remove_container(row.id)


def _is_orphan(row: ContainerRow) -> bool:
    try:
        owner = processes.open_same(row.owner_pid, row.owner_start)
    except KernelError:
        return False
    if owner is None:
        return True
    os.close(owner)
    return False


def _strays(database: Database, snapshots: Snapshots) -> list[str]:
    """Name directories without a row: a row goes last, so only a lost database leaves these.

    The directories are listed first: a container made meanwhile is then seen by its row.
    """
    present = snapshots.present()
    known = {row.id for row in database.containers()} if present else set()
    return [name for name in present if name not in known]
