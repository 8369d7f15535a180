"""What a supervisor stands on before it knows its container."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING, NamedTuple

from pycontainers.kernel import mounts, paths, processes
from pycontainers.runtime import birth as birthing
from pycontainers.runtime.birth import Doing
from pycontainers.runtime.ranges import IdRanges

if TYPE_CHECKING:
    from pycontainers.runtime.preparation import Newborn


class Ground(NamedTuple):
    """The host's /proc, the ids to be had, and an init that is born already, if there is one."""

    host_proc_fd: int
    ranges: IdRanges
    detached_layers: bool
    newborn: Newborn | None = None


def host_number(host_proc_fd: int) -> int:
    """Give the host's number of this process, as the host's own /proc has it."""
    return int(os.readlink("self", dir_fd=host_proc_fd))


def bear(laid: Ground, birth: str, making: str) -> Newborn:
    """Bear an init that any container of such a birth can have; raises KernelError, OSError.

    With `making`, a directory, it gets a place for its changes there, named like all that ended
    processes may leave.
    """
    changes = ""
    if making:
        me, start = host_number(laid.host_proc_fd), processes.start_time(os.getpid()) or 0
        changes = f"{making}/.making-{me}-{start}-changes"
        os.mkdir(changes, 0o700)
    try:
        layers = laid.detached_layers
        return birthing.bear(birth, None, changes, laid.ranges, Doing(), detached_layers=layers)
    except BaseException:
        _remove(changes)
        raise


def forgo(born: Newborn, ranges: IdRanges) -> None:
    """Do without an init that fits no container."""
    born.abort(ranges)
    _remove(born.changes)


def _remove(changes: str) -> None:
    if not changes:
        return
    with paths.directory(os.path.dirname(changes)) as directory_fd, contextlib.suppress(OSError):
        paths.remove_tree(os.path.basename(changes), directory_fd)


def lay(run_directory: str, *, detached_layers: bool) -> Ground:
    """Settle as process 1 of a new PID and mount namespace; raises KernelError, OSError."""
    gc.enable()
    os.setsid()
    host_proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # The host's unmounts reach this namespace, so that it keeps no disk busy; nothing leaves.
    mounts.mount(None, "/", None, mounts.MS_SLAVE | mounts.MS_REC)
    flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    mounts.mount("proc", "/proc", "proc", flags)
    return Ground(host_proc_fd, IdRanges(run_directory), detached_layers)
