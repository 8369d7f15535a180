"""After a crash: find what is left over and take it away.

A container's row is there before anything of the container is.  So what a dead owner leaves is
found by its rows: processes in the cgroup, the cgroup, the directory, and last the row itself.
What is alive is not touched; a lock keeps two processes from doing this at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict, ContainerNotFound, StoreError
from pycontainers.kernel import paths, processes
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.lifecycle import names, wires
from pycontainers.storage.scratch import is_left

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.host import Host
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.database import ContainerRow
    from pycontainers.storage.root import DataRoot

_PATIENCE: Final = 5.0  # seconds
_PAUSE: Final = 0.01
_BUSY: Final = (errno.ENOTEMPTY, errno.ENOENT)  # something was just made or moved in it


def recover(services: Services) -> None:
    """Take away what containers of ended processes left behind; raises StoreError, KernelError."""
    root, database = services.root, services.database
    rows = database.containers()
    orphans = any(map(is_orphan, rows)) or _lost(services.cgroups)
    strays = _strays(services) or services.volumes.strays()
    if not orphans and not strays and not _unfinished(root):
        return
    with root.locked():
        for row in database.containers():
            if is_orphan(row):
                bury(services, row)
        for name in _lost(services.cgroups):
            cgroup = services.cgroups.cgroup(name)
            cgroup.kill()
            cgroup.remove()
        for container_id in _strays(services):
            services.snapshots.remove(container_id)
        services.volumes.sweep()
        with paths.directory(root.layers) as layers_fd:
            for name in _unfinished(root):
                _clear(name, layers_fd)


def _clear(name: str, layers_fd: int) -> None:
    """Remove what was being made; a worker of its maker may need a moment to end as well."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            paths.remove_tree(name, layers_fd)
            return
        except OSError as error:
            if error.errno not in _BUSY or time.monotonic() > deadline:
                raise StoreError(f"cannot remove {name}: {error.strerror}") from error
        time.sleep(_PAUSE)


def bury(services: Services, row: ContainerRow) -> None:
    """Remove one container whole, whose owner has ended: processes, files, row, in this order."""
    if not json.loads(row.options).get("oneshot"):
        # Its supervisor is just ending it.
        with contextlib.suppress(ContainerNotFound, Conflict):
            services.life_of(row).remove(force=True, volumes=True)
        return
    if row.cgroup:
        cgroup = from_plain(json.loads(row.cgroup))
        cgroup.kill()
        cgroup.remove()
    wires.release(services, row.id)
    services.snapshots.remove(row.id)
    left = wires.networks_of(services, row.id)
    services.volumes.remove_container(row.id, volumes=True)
    if left:
        names.announce(services, left)


def is_orphan(row: ContainerRow) -> bool:
    """Whether a container belongs to a process that has ended."""
    return row.owner_pid != 0 and not processes.lives(row.owner_pid, row.owner_start)


def _lost(cgroups: Host) -> list[str]:
    """Name cgroups of ended processes: of spare containers, and of those started again at home."""
    found = []
    for name in cgroups.listing():
        pid, start, *_ = [*name.split("-"), ""]
        if pid.isdigit() and start.isdigit() and not processes.lives(int(pid), int(start)):
            found.append(name)
    return found


def _unfinished(root: DataRoot) -> list[str]:
    """Name layers that ended processes were making."""
    return [name for name in os.listdir(root.layers) if is_left(name)]  # noqa: PTH208


def _strays(services: Services) -> list[str]:
    """Name directories without a row: a row goes last, so only a lost database leaves these.

    The directories are listed first: a container made meanwhile is then seen by its row.
    """
    present = services.snapshots.present()
    known = {row.id for row in services.database.containers()} if present else set()
    return [name for name in present if name not in known]
