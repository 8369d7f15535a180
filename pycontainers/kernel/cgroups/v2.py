"""Cgroups of version 2: one directory, whose parent has to have the controllers enabled.

The kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import time
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel.cgroups import base, files

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE: Final = 10.0  # seconds until processes that can't be stopped or killed are an error
_MICROSECONDS: Final = 1e6
_IO_WEIGHT: Final = 100  # the kernel's default
_FILES: Final = {"cpu", "cpuset", "io", "memory", "pids"}  # devices are ruled by a BPF program


class V2Cgroup(base.Cgroup):
    """A container's directory; the one above it is `host`'s, with no processes of its own."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def create(self, limits: base.Limits) -> None:
        """Make the cgroup with its limits; where that fails, nothing of it remains."""
        extra = set(base.needed(limits)) - set(base.ALWAYS)

        def ready(parent: str) -> None:
            prepare(parent)
            enable(parent, extra)
            if limits.accounting:
                _enable_accounting(parent)

        if extra or limits.accounting:
            ready(os.path.dirname(self.directory))
        files.make_for_container(self.directory, ready)
        try:
            self._set(limits)
        except KernelError:
            self.remove()
            raise

    def update(self, limits: base.Limits) -> None:
        """Change the limits that are not None; the others stay."""
        parent = os.path.dirname(self.directory)
        enable(parent, base.needed(limits))
        if limits.accounting:
            _enable_accounting(parent)
        if limits.memory is not None and limits.memory != -1:
            self._make_room(limits.memory)
        self._set(limits)

    def join_fds(self) -> list[int]:
        """Open cgroup.procs; the caller closes it."""
        return [self._open("cgroup.procs", os.O_WRONLY)]

    def clone_fd(self) -> int | None:
        """Open the directory for CLONE_INTO_CGROUP, instead of joining; the caller closes it."""
        return self._open("", os.O_PATH | os.O_DIRECTORY)

    def usage(self) -> base.Usage:
        """Read what the processes have used until now; a missing cgroup has used nothing."""
        cpu = files.fields(f"{self.directory}/cpu.stat")
        io_read = io_write = None
        if (io := files.read(f"{self.directory}/io.stat")) is not None:
            # Loaded only here: few launchers ever need it, and each is to stay small.
            from pycontainers.kernel.cgroups import figures

            io_read, io_write, *_ = figures.io_sums(io)
        return base.Usage(
            cpu["user_usec"] / _MICROSECONDS if "user_usec" in cpu else None,
            cpu["system_usec"] / _MICROSECONDS if "system_usec" in cpu else None,
            files.number(f"{self.directory}/memory.peak"),
            files.number(f"{self.directory}/pids.peak"),
            io_read,
            io_write,
            files.fields(f"{self.directory}/memory.events").get("oom_kill", 0),
        )

    def sample(self) -> base.Sample:
        """Read what the processes use at this moment; a missing cgroup gives Nones."""
        from pycontainers.kernel.cgroups import figures

        return figures.version_2(self.directory)

    def pids(self) -> list[int]:
        """Read the processes in it and its subgroups, by their numbers in this PID namespace."""
        return sorted(files.members(self.directory))

    def freeze(self) -> None:
        """Stop every process; when this returns, none of them runs."""
        files.write(f"{self.directory}/cgroup.freeze", "1")
        if not self._wait_for("frozen", 1):
            self.thaw()
            raise KernelError(errno.ETIMEDOUT, f"write('{self.directory}/cgroup.freeze', '1')")

    def thaw(self) -> None:
        """Let frozen processes go on; does nothing to others."""
        files.write_if_there(f"{self.directory}/cgroup.freeze", "0")

    def kill(self) -> None:
        """Kill every process of it and its subgroups; when this returns, none of them runs."""
        files.write_if_there(f"{self.directory}/cgroup.kill", "1")
        if not self._wait_for("populated", 0):
            raise KernelError(
                errno.ETIMEDOUT,
                f"write('{self.directory}/cgroup.kill', '1')",
                hint="a process hangs in the kernel, as on a lost network disk",
            )

    def subgroup(self, name: str) -> base.Cgroup:
        """Name a cgroup within, which sets no limits: what is in it counts here as well."""
        return V2Cgroup(f"{self.directory}/{name}")

    def remove(self) -> None:
        """Take it and its subgroups away; when this returns, it does not exist."""
        files.remove(self.directory)

    def plain(self) -> dict[str, Any]:
        """Give what another process needs to name the same cgroup, as JSON can hold it."""
        return {"version": 2, "directory": self.directory}

    def _make_room(self, memory: int) -> None:
        """Have the kernel take back what is beyond a new limit; raises KernelError where it can't.

        memory.max by itself would kill for it.
        """
        path, current = f"{self.directory}/memory.high", f"{self.directory}/memory.current"
        if (files.number(current) or 0) <= memory:
            return
        before = (files.read(path) or "max").strip()
        files.write(path, str(memory))
        try:
            if (files.number(current) or 0) > memory:
                raise KernelError(
                    errno.EBUSY,
                    f"write('{self.directory}/memory.max', '{memory}')",
                    hint=base.IN_USE,
                )
        finally:
            files.write(path, before)

    def _set(self, limits: base.Limits) -> None:
        where = self.directory
        if limits.pids is not None:
            files.write(f"{where}/pids.max", _word(limits.pids))
        if limits.memory is not None:
            files.write(f"{where}/memory.max", _word(limits.memory), hint=base.IN_USE)
        if limits.memory is not None or limits.memory_swap is not None:
            self._set_swap(limits)
        if limits.memory_reservation is not None:
            files.write(f"{where}/memory.low", str(max(0, limits.memory_reservation)))
        if limits.cpus is not None:
            quota = max(1000, round(limits.cpus * base.CPU_PERIOD)) if limits.cpus else "max"
            files.write(f"{where}/cpu.max", f"{quota} {base.CPU_PERIOD}")
        if limits.cpu_shares is not None:
            weight = weight_of_shares(limits.cpu_shares or base.CPU_SHARES)
            files.write(f"{where}/cpu.weight", str(weight))
        if limits.cpuset is not None:
            # None at all is refused where processes run: those of the cgroup above are the same.
            every = (files.read(f"{os.path.dirname(where)}/cpuset.cpus.effective") or "").strip()
            files.write(f"{where}/cpuset.cpus", limits.cpuset or every)
        if limits.io_weight is not None:
            if os.path.exists(f"{where}/io.bfq.weight"):
                files.write(f"{where}/io.bfq.weight", str(limits.io_weight or _IO_WEIGHT))
            else:
                weight = weight_of_io(limits.io_weight) if limits.io_weight else _IO_WEIGHT
                files.write(f"{where}/io.weight", str(weight))
        if limits.devices is not None:
            # Loaded only here: few launchers ever need it, and each is to stay small.
            from pycontainers.kernel.cgroups import device_filter

            device_filter.attach(where, limits.devices)

    def _open(self, name: str, flags: int) -> int:
        path = f"{self.directory}/{name}"
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(error.errno or 0, f"open({path!r})") from None

    def _set_swap(self, limits: base.Limits) -> None:
        """Set what may be swapped: the two together less memory's own limit, which is set before.

        Without a limit of memory there is none of swap.
        """
        path = f"{self.directory}/memory.swap.max"
        memory = files.number(f"{self.directory}/memory.max")
        if limits.memory_swap is None and not os.path.exists(path):
            return  # a kernel that does not swap
        if memory is None or limits.memory_swap == -1:
            files.write(path, "max")
        else:
            files.write(path, str(max(0, (limits.memory_swap or memory) - memory)))

    def _wait_for(self, key: str, value: int) -> bool:
        """Wait until a key of cgroup.events has a value or the cgroup has gone; False: too long."""
        path, wanted = f"{self.directory}/cgroup.events", f"{key} {value}\n".encode()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        deadline = time.monotonic() + _PATIENCE
        try:
            while wanted not in os.pread(fd, 4096, 0):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poller.poll(left * 1000)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        finally:
            os.close(fd)
        return True


def prepare(directory: str) -> None:
    """Make the cgroup that is to hold those of containers, with the controllers all of them have.

    What its parent has to hand down for that is enabled there.  Raises KernelError (EBUSY where the
    parent has processes of its own).
    """
    try:
        files.make(directory)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
    enable(directory, base.ALWAYS)


def enable(directory: str, controllers: Iterable[str]) -> None:
    """Have the cgroups right below a directory get some controllers; raises KernelError.

    Those that the directory itself has not got are enabled above it first.
    """
    path = f"{directory}/cgroup.subtree_control"
    missing = (set(controllers) & _FILES) - set((files.read(path) or "").split())
    if not missing:
        return
    absent = missing - set((files.read(f"{directory}/cgroup.controllers") or "").split())
    if absent and os.path.exists(f"{os.path.dirname(directory)}/cgroup.procs"):
        enable(os.path.dirname(directory), absent)
    for name in sorted(missing):
        files.write(path, f"+{name}")


def _enable_accounting(directory: str) -> None:
    """Enable, where they are there, the controllers that a sample's figures come from."""
    for name in ("cpu", "io"):
        with contextlib.suppress(KernelError):
            enable(directory, [name])


def can_hand_down(directory: str) -> bool:
    """Whether a cgroup can enable controllers for those below: without processes, or as the root.

    >>> can_hand_down("/sys/fs/cgroup")                     # doctest: +SKIP
    True
    """
    kind = files.read(f"{directory}/cgroup.type")  # which the root has not
    if kind is None:
        return True
    return kind == "domain\n" and not (files.read(f"{directory}/cgroup.procs") or "").strip()


def _word(limit: int) -> str:
    return "max" if limit == -1 else str(limit)


def weight_of_shares(shares: int) -> int:
    """Give the cpu.weight (1 to 10000) that stands for `cpu_shares` (2 to 262144).

    The curve that the OCI runtimes agreed on: it meets 1, 100 and 10000 at 2, 1024 and 262144.

    >>> [weight_of_shares(shares) for shares in (2, 1024, 262144)]
    [1, 100, 10000]
    """
    power = math.log2(min(max(shares, 2), 262144))
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def weight_of_io(weight: int) -> int:
    """Give the io.weight (1 to 10000) that stands for `io_weight` (10 to 1000).

    >>> [weight_of_io(weight) for weight in (10, 500, 1000)]
    [1, 4950, 10000]
    """
    return 1 + (weight - 10) * 9999 // 990
