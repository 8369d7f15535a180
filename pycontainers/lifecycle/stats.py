"""What a running container uses at this moment, once or again and again."""

from __future__ import annotations

import functools
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.kernel.closing import Closing
from pycontainers.kernel.processes import read_beginning

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.base import Cgroup

_COUNTERS: Final = 16  # of an interface in /proc/<pid>/net/dev
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@attrs.frozen
class NetworkStats:
    """What has gone through a network interface of a container since that was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@attrs.frozen(kw_only=True, repr=False)
class Stats:
    """What a container used at a moment; None where this host does not tell.

    Times are in seconds, memory and io in bytes.  `time` is the moment, in seconds since the epoch.

    `cpu_percent` is of one processor, so that two busy ones are 200; it is the mean since the
    figures before these, or since the container's start for the first.  `cpu_total`, `cpu_user` and
    `cpu_system` count from the start; `throttled_periods` and `throttled_time` how often and how
    long a limit of `cpus` has made it wait.

    `memory` is without `memory_cache`, pages of files that can be dropped at once.  `memory_limit`
    is what the container can have, the host's memory where it has no limit, and `memory_percent`
    the share of that in use.  `oom_kills` counts processes killed for want of memory.

    `pids` counts processes and threads, `pids_limit` is None without a limit.  `io_read` and
    `io_write` are of all disks.  `networks` has the container's interfaces, but for the loopback,
    by name; with the host's network there are none.
    """

    time: float
    cpu_percent: float | None
    cpu_total: float | None
    cpu_user: float | None
    cpu_system: float | None
    throttled_periods: int | None
    throttled_time: float | None
    memory: int | None
    memory_cache: int | None
    memory_limit: int
    memory_percent: float | None
    memory_peak: int | None
    oom_kills: int | None
    pids: int | None
    pids_limit: int | None
    io_read: int | None
    io_write: int | None
    networks: dict[str, NetworkStats] = attrs.field(hash=False)
    _clock: float = attrs.field(alias="clock", eq=False)  # `time` by a clock that nobody sets

    def __repr__(self) -> str:
        cpu = "?" if self.cpu_percent is None else f"{self.cpu_percent:.1f}%"
        memory = "?" if self.memory is None else _shown(self.memory)
        pids = "?" if self.pids is None else self.pids
        return f"<Stats cpu {cpu} memory {memory}/{_shown(self.memory_limit)} pids {pids}>"


def take(cgroup: Cgroup, pid: int, previous: Stats | None, started: float | None) -> Stats:
    """Read a container's figures; `pid` is its first process, `started` its start as time.time().

    A cgroup and process that are gone give Nones and no networks.  The caller looks, after this,
    whether the container has ended meanwhile: its process's number may have another owner then.
    """
    now, clock = time.time(), time.monotonic()
    sample = cgroup.sample()
    percent = None
    if sample.cpu_total is not None:
        percent = _percent(sample.cpu_total, now, clock, previous, started)
    cache = sample.memory_cache or 0
    used = sample.memory_current
    memory = None if used is None else used - cache if cache < used else used
    limit = min(sample.memory_limit or host_memory(), host_memory())
    io_read, io_write = sample.io_read, sample.io_write
    if io_read is None and sample.pids:
        io_read, io_write = _transferred(cgroup.pids())
    return Stats(
        time=now,
        cpu_percent=percent,
        cpu_total=sample.cpu_total,
        cpu_user=sample.cpu_user,
        cpu_system=sample.cpu_system,
        throttled_periods=sample.cpu_throttled_periods,
        throttled_time=sample.cpu_throttled_time,
        memory=memory,
        memory_cache=sample.memory_cache,
        memory_limit=limit,
        memory_percent=None if memory is None else 100 * memory / limit,
        memory_peak=sample.memory_peak,
        oom_kills=sample.oom_kills,
        pids=sample.pids,
        pids_limit=sample.pids_limit,
        io_read=io_read,
        io_write=io_write,
        networks=_networks(pid),
        clock=clock,
    )


class StatsStream(Closing, Iterator[Stats]):
    """A container's figures, the first at once and the next every `interval` seconds.

    It ends with the container, which `take` (given the figures before, None at first) tells by
    None.  `close`, from any thread, ends it at once.  Raises InvalidArgument for an interval that
    is none.
    """

    _wake_fd = -1

    def __init__(self, take: Callable[[Stats | None], Stats | None], interval: float) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int | float):
            raise InvalidArgument(f"interval: expected seconds, not {interval!r}")
        if not math.isfinite(interval) or interval <= 0:
            raise InvalidArgument(f"interval: {interval} is not above 0")
        self._take, self._interval = take, float(interval)
        self._previous: Stats | None = None
        self._due = 0.0
        self._closed = False
        self._turn, self._lock = threading.RLock(), threading.RLock()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __next__(self) -> Stats:
        with self._turn:
            if not self._closed and (self._previous is None or self._wait()):
                stats = self._take(self._previous)
                if stats is not None and not self._closed:
                    now = time.monotonic()
                    if self._previous is None:
                        self._due = now
                    # A reader that was slow gets no figures at once that it has missed.
                    self._due = max(self._due + self._interval, now)
                    self._previous = stats
                    return stats
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End the stream; a `next` that waits in another thread ends as well."""
        with self._lock:
            self._closed = True
            if self._wake_fd < 0:
                return
            os.eventfd_write(self._wake_fd, 1)
        with self._turn, self._lock:  # whoever waited has left
            if self._wake_fd >= 0:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def __del__(self) -> None:
        if self._wake_fd >= 0:
            os.close(self._wake_fd)
            self._wake_fd = -1

    def __repr__(self) -> str:
        return f"<StatsStream every {self._interval:g} s{', closed' if self._closed else ''}>"

    def _wait(self) -> bool:
        """Wait until the next figures are due; False where the stream has been closed."""
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        left = max(0.0, self._due - time.monotonic())
        return not poller.poll(math.ceil(left * 1000))


@functools.cache
def host_memory() -> int:
    """Give the bytes of memory that this machine has.

    >>> host_memory() > 1 << 20
    True
    """
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _percent(
    total: float, now: float, clock: float, previous: Stats | None, started: float | None
) -> float | None:
    if previous is not None and previous.cpu_total is not None:
        used, passed = total - previous.cpu_total, clock - previous._clock
    elif started is not None:
        used, passed = total, now - started
    else:
        return None
    return max(0.0, 100 * used / passed) if passed > 0 else 0.0


def _transferred(pids: list[int]) -> tuple[int | None, int | None]:
    """Sum what processes, and the children that they have waited for, moved from and to disks."""
    read = written = None
    for pid in pids:
        fields = dict(line.split(b": ") for line in read_beginning(f"/proc/{pid}/io").splitlines())
        if b"read_bytes" in fields and b"write_bytes" in fields:
            read = (read or 0) + int(fields[b"read_bytes"])
            written = (written or 0) + int(fields[b"write_bytes"])
    return read, written


def _networks(pid: int) -> dict[str, NetworkStats]:
    """Read the interfaces of a process's network namespace, unless that is ours."""
    try:
        if Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net"):
            return {}
    except FileNotFoundError:
        return {}
    except PermissionError:
        pass  # of another user, hence in a namespace of its own
    found = {}
    for line in read_beginning(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, rest = line.rpartition(b":")
        numbers = rest.split()
        if name.strip() != b"lo" and len(numbers) == _COUNTERS:
            counters = map(int, (*numbers[:4], *numbers[8:12]))
            # The container names its interfaces as it likes.
            shown = name.strip().decode(errors="backslashreplace")
            found[shown if shown.isprintable() else ascii(shown)[1:-1]] = NetworkStats(*counters)
    return found


def _shown(number: int) -> str:
    """Show a number of bytes in the unit that makes it short."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{number} B"
