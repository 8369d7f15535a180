"""Cgroups of version 1: each controller has a hierarchy of its own, and a directory in it.

Only the hierarchies that a container needs are used.  The kernel's Documentation/admin-guide/
cgroup-v1/ and cgroups(7); the hybrid layout is driven here as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError, NotSupported
from pycontainers.kernel import processes
from pycontainers.kernel.cgroups import base, files

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE: Final = 64  # pidfds held at one time
_PATIENCE: Final = 10.0  # seconds until processes that can't be stopped or killed are an error
_NANOSECONDS: Final = 1e9


class V1Cgroup(base.Cgroup):
    """A container's directory in each hierarchy; `directories` are by controller.

    `outer` are the directories of the container, for a subgroup, which is in one hierarchy only.
    """

    def __init__(self, directories: dict[str, str], outer: tuple[str, ...] = ()) -> None:
        self.directories = directories
        self._outer = outer
        self._made: list[str] | None = None  # controllers, known to the object that created it

    def create(self, limits: base.Limits) -> None:
        """Make the cgroup with its limits; where that fails, nothing of it remains."""
        self._made = []
        try:
            self._make(base.joined(limits, self.directories))
            if "pids" not in self._made and "freezer" in self.directories:
                self._make(["freezer"])  # some hierarchy has to hold the process tree together
            self._set(limits)
        except KernelError:
            self.remove()
            raise

    def update(self, limits: base.Limits) -> None:
        """Change the limits that are not None; the others stay.

        The hierarchies of limits that are new to it are joined; the cgroup is to be there.
        """
        if not os.path.isdir(self._tree()):
            raise KernelError(errno.ENOENT, f"open({self._tree()!r})")
        wanted = base.joined(limits, self.directories)
        self._make_late(wanted)
        self._set(limits)
        for name in wanted:  # also those that an update which failed has made
            self._draw_into(name)

    def join_fds(self) -> list[int]:
        """Open the file of each hierarchy that the newborn joins by; the caller closes them.

        That of single threads: a thread that moves itself needs not wait, as a whole process does,
        until no process anywhere forks or ends, which after a pause takes the kernel milliseconds.
        The newborn has one thread.
        """
        directories = dict.fromkeys(self.directories[name] for name in self._joined())
        opened: list[int] = []
        for directory in (*self._outer, *directories):
            path = f"{directory}/tasks"
            try:
                opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for fd in opened:
                    os.close(fd)
                raise KernelError(error.errno or 0, f"open({path!r})") from None
        return opened

    def clone_fd(self) -> int | None:
        """Give None: clone3 can't place a child in version 1."""
        return None

    def usage(self) -> base.Usage:
        """Read peaks and kills; CPU and io only where their controllers were joined."""
        present = [self.directories[name] for name in self._joined()]
        where = {name: path for name, path in self.directories.items() if path in present}
        cpu_user = cpu_system = io_read = io_write = memory_peak = pids_peak = None
        oom_kills = 0
        if (memory := where.get("memory")) is not None:
            memory_peak = files.number(f"{memory}/memory.max_usage_in_bytes")
            oom_kills = files.total(memory, "memory.oom_control", "oom_kill") or 0
        if (pids := where.get("pids")) is not None:
            pids_peak = files.number(f"{pids}/pids.peak")
        if (cpu := where.get("cpuacct")) is not None:  # by itself, or in the hierarchy of cpu
            cpu_user = _seconds(files.number(f"{cpu}/cpuacct.usage_user"))
            cpu_system = _seconds(files.number(f"{cpu}/cpuacct.usage_sys"))
        if (io := where.get("io")) is not None:
            # Loaded only here: few launchers ever need it, and each is to stay small.
            from pycontainers.kernel.cgroups import figures

            io_read, io_write = figures.transferred(io)
        return base.Usage(
            cpu_user, cpu_system, memory_peak, pids_peak, io_read, io_write, oom_kills
        )

    def sample(self) -> base.Sample:
        """Read what the processes use at this moment; a missing cgroup gives Nones."""
        from pycontainers.kernel.cgroups import figures

        return figures.version_1(self.directories)

    def pids(self) -> list[int]:
        """Read the processes in it and its subgroups, by their numbers in this PID namespace."""
        return sorted(files.members(self._tree()))

    def freeze(self) -> None:
        """Stop every process; when this returns, none of them runs.

        The freezer's hierarchy is joined by the first freeze: few containers ever need it.
        """
        if "freezer" not in self.directories:
            raise NotSupported(
                "the cgroup freezer is not there, so that processes can't be frozen",
                hint="mount it: mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer",
            )
        self._make_late(["freezer"])
        path = f"{self.directories['freezer']}/freezer.state"
        files.write(path, "FROZEN")
        self._draw_into("freezer")
        deadline = time.monotonic() + _PATIENCE
        while files.read(path) != "FROZEN\n":
            if time.monotonic() > deadline:
                files.write(path, "THAWED")
                raise KernelError(errno.ETIMEDOUT, f"write({path!r}, 'FROZEN')")
            time.sleep(0.001)
            files.write(path, "FROZEN")  # again: a process that was in between is met by the next

    def thaw(self) -> None:
        """Let frozen processes go on; does nothing to others."""
        path = f"{self.directories.get('freezer', '')}/freezer.state"
        if (files.read(path) or "THAWED\n") != "THAWED\n":
            files.write(path, "THAWED")

    def kill(self) -> None:
        """Kill every process of it and its subgroups; when this returns, none of them runs."""
        if "pids" in self._joined():
            # With no fork allowed, the loop below is sure to end.
            files.write_if_there(f"{self.directories['pids']}/pids.max", "0")
        pause, deadline = 0.0005, time.monotonic() + _PATIENCE
        while pids := self.pids():
            for start in range(0, len(pids), _AT_ONCE):
                self._kill_some(pids[start : start + _AT_ONCE])
            self.thaw()  # the frozen don't die
            if time.monotonic() > deadline:
                raise KernelError(
                    errno.ETIMEDOUT,
                    f"kill({pids[0]}, SIGKILL)",
                    hint="it hangs in the kernel, as on a lost network disk",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def subgroup(self, name: str) -> base.Cgroup:
        """Name a cgroup within, in one hierarchy only: that of pids, or else the freezer."""
        own = self._tree_controller()
        # Looked up anew: another process may have set a limit that needed one more hierarchy.
        outer = (self.directories[other] for other in self._existing() if other != own)
        return V1Cgroup({own: f"{self.directories[own]}/{name}"}, tuple(dict.fromkeys(outer)))

    def remove(self) -> None:
        """Take it and its subgroups away; when this returns, it does not exist.

        All hierarchies are looked at: another process may have joined one more, to freeze it.
        """
        for directory in dict.fromkeys(self.directories.values()):
            files.remove(directory)
        self._made = None

    def plain(self) -> dict[str, Any]:
        """Give what another process needs to name the same cgroup, as JSON can hold it."""
        return {"version": 1, "directories": self.directories}

    def _joined(self) -> list[str]:
        """Name the controllers in whose hierarchies the cgroup exists."""
        if self._made is not None:
            return self._made
        return self._existing()

    def _existing(self) -> list[str]:
        return [name for name, path in self.directories.items() if os.path.isdir(path)]

    def _tree_controller(self) -> str:
        for name in ("pids", "freezer", "memory"):
            if name in self.directories:
                return name
        return next(iter(self.directories))

    def _tree(self) -> str:
        """Give the directory whose members are all processes of the container."""
        return self.directories[self._tree_controller()]

    def _make(self, controllers: Iterable[str]) -> None:
        """Make the directories of some controllers, where they are not there yet."""
        existing = {self.directories[name] for name in self._joined()}
        for name in controllers:
            directory = self.directories[name]
            if directory not in existing:
                _make(directory, cpuset=name == "cpuset")
                existing.add(directory)
            if self._made is not None and name not in self._made:
                self._made.append(name)

    def _make_late(self, controllers: Iterable[str]) -> None:
        """Make the directories of some controllers for a cgroup in use, where they are not there.

        Another process may be doing the same: what exists is as good.
        """
        for name in controllers:
            directory = self.directories[name]
            try:
                if not os.path.isdir(directory):
                    _make(directory, cpuset=name == "cpuset")
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
        self._made = None

    def _draw_into(self, controller: str) -> None:
        """Move the living processes into a hierarchy that was joined late."""
        directory = self.directories[controller]
        path = f"{directory}/cgroup.procs"
        deadline = time.monotonic() + _PATIENCE
        # A process may fork while it is moved; its child is then found by the next round.
        while outside := set(self.pids()) - files.members(directory):
            for pid in outside:
                try:
                    files.write(path, str(pid))
                except KernelError as error:
                    if error.errno != errno.ESRCH:
                        raise
            if time.monotonic() > deadline:
                raise KernelError(errno.ETIMEDOUT, f"write({path!r}, …)")

    def _kill_some(self, pids: list[int]) -> None:
        """Kill those of these processes that prove to be members still."""
        held: dict[int, int] = {}
        try:
            for pid in pids:
                try:
                    held[pid] = processes.pidfd_open(pid)
                except KernelError as error:
                    if error.errno not in (errno.ESRCH, errno.EINVAL):
                        raise
            # A number may have changed its owner before it was opened, but not from then on.
            for pid in held.keys() & files.members(self._tree()):
                processes.send_signal(held[pid], signal.SIGKILL)
        finally:
            for fd in held.values():
                os.close(fd)

    def _set(self, limits: base.Limits) -> None:
        where = self.directories
        if limits.pids is not None:
            files.write(
                f"{where['pids']}/pids.max", "max" if limits.pids == -1 else str(limits.pids)
            )
        if limits.memory is not None or limits.memory_swap is not None:
            _set_memory(where["memory"], limits.memory, limits.memory_swap)
        if limits.memory_reservation is not None:
            path = f"{where['memory']}/memory.soft_limit_in_bytes"
            files.write(path, str(limits.memory_reservation))
        if limits.cpus is not None:
            quota = max(1000, round(limits.cpus * base.CPU_PERIOD)) if limits.cpus else -1
            files.write(f"{where['cpu']}/cpu.cfs_quota_us", str(quota))
        if limits.cpu_shares is not None:
            shares = limits.cpu_shares or base.CPU_SHARES
            files.write(f"{where['cpu']}/cpu.shares", str(shares))
        if limits.cpuset is not None:
            _set_cpuset(where["cpuset"], limits.cpuset)
        if limits.io_weight is not None:
            name, default = "blkio.weight", 500
            if not os.path.exists(f"{where['io']}/{name}"):
                name, default = "blkio.bfq.weight", 100
            files.write(f"{where['io']}/{name}", str(limits.io_weight or default))
        if limits.devices is not None:
            files.write(f"{where['devices']}/devices.deny", "a")
            for kind, major, minor, access in limits.devices:
                numbers = ":".join("*" if n == -1 else str(n) for n in (major, minor))
                files.write(f"{where['devices']}/devices.allow", f"{kind} {numbers} {access}")


def _make(directory: str, *, cpuset: bool) -> None:
    """Make a container's directory, and first the one that holds those of all containers."""
    files.make_for_container(directory, _make_parent)
    if cpuset:
        # A new one has no processors, and nobody can join it until it has (cpuset(7)).
        for below in (os.path.dirname(directory), directory):
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (files.read(f"{below}/{name}") or "").strip():
                    above = files.read(f"{os.path.dirname(below)}/{name}") or ""
                    files.write(f"{below}/{name}", above.strip())


def _make_parent(directory: str) -> None:
    try:
        files.make(directory)
    except KernelError as error:
        if error.errno != errno.EEXIST:  # another process was faster
            raise


def _set_cpuset(directory: str, cpuset: str) -> None:
    if not cpuset:  # as when it was new
        cpuset = (files.read(f"{os.path.dirname(directory)}/cpuset.cpus") or "").strip()
    files.write(f"{directory}/cpuset.cpus", cpuset)


def _set_memory(directory: str, memory: int | None, memory_swap: int | None) -> None:
    """Set the limit of memory, and that of memory and swap together; -1 is none.

    Where the second is refused, the first is as it was.
    """
    limit, both = f"{directory}/memory.limit_in_bytes", f"{directory}/memory.memsw.limit_in_bytes"
    if not os.path.exists(both):  # a kernel that does not account for swap
        if memory is not None:
            files.write(limit, str(memory), hint=base.IN_USE)
            files.write(f"{directory}/memory.swappiness", "0")
        return
    total = memory if memory_swap is None else memory_swap
    writes = [
        (path, value) for path, value in ((limit, memory), (both, total)) if value is not None
    ]
    # Memory may at no moment be more than both, so that the order depends on the direction.
    if total is None or total == -1 or total > (files.number(both) or 0):
        writes.reverse()
    before = [(path, files.number(path)) for path, _ in writes]
    for done, (path, value) in enumerate(writes):
        try:
            files.write(path, str(value), hint=base.IN_USE)
        except KernelError:
            with contextlib.suppress(KernelError):
                for former, number in reversed(before[:done]):
                    files.write(former, str(number))
            raise


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NANOSECONDS
