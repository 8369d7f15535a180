"""What a container's cgroup can be asked, whatever the kernel's version of cgroups.

Controllers are called by their version 2 names: `cpu cpuset devices io memory pids` (`io` is v1's
`blkio`; `cpuacct` and `freezer` exist in version 1 only).  cgroups(7) and the kernel's
cgroup-v2.rst.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PARENT: Final = "pycontainers"  # the cgroup that holds those of all containers
ALWAYS: Final = ("pids", "memory")  # joined wherever present: they count peaks and kills
ACCOUNTING: Final = ("cpuacct", "io")  # joined on request: they tell what was used, at a price
CPU_PERIOD: Final = 100_000  # microseconds over which `cpus` is meant, the kernel's default
CPU_SHARES: Final = 1024  # the kernel's default
IN_USE: Final = "the processes use more than that just now"


class Limits(NamedTuple):
    """What a cgroup shall enforce; None leaves the kernel's default, or what was set before.

    `memory`, `memory_swap` (memory and swap together; None: no swap beyond `memory`) and
    `memory_reservation` (what is left to it while others can give) are bytes, `cpus` a number of
    processors, `cpu_shares` Docker's 2 to 262144, `cpuset` a list as `0-2,4`, `io_weight` 10 to
    1000.  `devices` are the rules of what is allowed, all else being denied: type `c`, `b` or `a`,
    major and minor (-1: any), and a subset of `rwm`.

    A limit is taken away by -1 for `memory`, `memory_swap`, `memory_reservation` and `pids`, by 0
    for `cpus`, `cpu_shares` and `io_weight`, and by "" for `cpuset`.  With `accounting`, the cgroup
    also joins what `sample` needs to tell of CPU and io, where this is there; on version 1 every
    start is the slower for it.

    >>> Limits(memory=64 << 20, pids=10).memory
    67108864
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    pids: int | None = None
    io_weight: int | None = None
    devices: tuple[tuple[str, int, int, str], ...] | None = None
    accounting: bool = False


class Usage(NamedTuple):
    """What the processes of a cgroup have used; None where the joined controllers don't tell.

    CPU times are in seconds, `memory_peak`, `io_read` and `io_write` in bytes.
    """

    cpu_user: float | None = None
    cpu_system: float | None = None
    memory_peak: int | None = None
    pids_peak: int | None = None
    io_read: int | None = None
    io_write: int | None = None
    oom_kills: int = 0


class Sample(NamedTuple):
    """What the processes of a cgroup use at this moment, and have used until now.

    None where the joined controllers don't tell.  CPU times are in seconds, all of memory and io
    but the operations in bytes.  `memory_current` includes `memory_cache`, pages of files that can
    be dropped at once; a limit is None where there is none.
    """

    cpu_total: float | None = None
    cpu_user: float | None = None
    cpu_system: float | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_time: float | None = None
    memory_current: int | None = None
    memory_cache: int | None = None
    memory_limit: int | None = None
    memory_peak: int | None = None
    swap: int | None = None
    oom_kills: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    io_read: int | None = None
    io_write: int | None = None
    io_read_ops: int | None = None
    io_write_ops: int | None = None


def needed(limits: Limits) -> tuple[str, ...]:
    """Name the controllers without which these limits can't be enforced.

    >>> needed(Limits(cpus=0.5, pids=10))
    ('cpu', 'pids')
    """
    wanted = {
        "cpu": (limits.cpus, limits.cpu_shares),
        "cpuset": (limits.cpuset,),
        "devices": (limits.devices,),
        "io": (limits.io_weight,),
        "memory": (limits.memory, limits.memory_swap, limits.memory_reservation),
        "pids": (limits.pids,),
    }
    return tuple(
        name for name, values in wanted.items() if any(value is not None for value in values)
    )


def joined(limits: Limits, present: Iterable[str]) -> tuple[str, ...]:
    """Name the controllers that a cgroup with these limits joins, of those that are `present`.

    >>> joined(Limits(cpus=0.5), ["cpu", "io", "memory", "pids"])
    ('pids', 'memory', 'cpu')
    """
    accounting = ACCOUNTING if limits.accounting else ()
    wanted = dict.fromkeys((*ALWAYS, *needed(limits), *accounting))
    return tuple(name for name in wanted if name in present)


class Cgroup(ABC):
    """One container's cgroup, or, as a subgroup, that of one program executed in it.

    The object is a name with verbs: making it changes nothing, and several may stand for the same
    cgroup.  Every verb raises KernelError, naming the file.
    """

    @abstractmethod
    def create(self, limits: Limits) -> None:
        """Make the cgroup with its limits; where that fails, nothing of it remains."""

    @abstractmethod
    def update(self, limits: Limits) -> None:
        """Change the limits that are not None; the others stay.

        The cgroup is to be there.  `memory` below what the processes use, after what can be
        dropped was, is EBUSY, and the limits of memory stay as they were.
        """

    @abstractmethod
    def join_fds(self) -> list[int]:
        """Open what a process of one thread writes `b"0"` to, each in turn, to join.

        The caller closes them.  Whether it may is decided by the rights of the opener, not of the
        writer.
        """

    @abstractmethod
    def clone_fd(self) -> int | None:
        """Open the directory for CLONE_INTO_CGROUP, instead of joining; the caller closes it.

        None on version 1, where no process can be born in a cgroup other than its parent's.
        """

    @abstractmethod
    def usage(self) -> Usage:
        """Read what the processes have used until now; a missing cgroup has used nothing."""

    @abstractmethod
    def sample(self) -> Sample:
        """Read what the processes use at this moment; a missing cgroup gives Nones."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Read the processes in it and its subgroups, by their numbers in this PID namespace."""

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process; when this returns, none of them runs."""

    @abstractmethod
    def thaw(self) -> None:
        """Let frozen processes go on; does nothing to others."""

    @abstractmethod
    def kill(self) -> None:
        """Kill every process of it and its subgroups; when this returns, none of them runs.

        Nothing can be started in it from then on under version 1.  A missing cgroup is fine.
        """

    @abstractmethod
    def subgroup(self, name: str) -> Cgroup:
        """Name a cgroup within, which sets no limits: what is in it counts here as well.

        Joining it is joining this one too.
        """

    @abstractmethod
    def remove(self) -> None:
        """Take it and its subgroups away; when this returns, it does not exist.

        Processes that are just ending are waited for a moment; EBUSY then tells of living ones.
        """

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """Give what another process needs to name the same cgroup, as JSON can hold it."""
