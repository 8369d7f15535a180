"""The processes of a container, as /proc shows them.

What is read there comes from programs that are not trusted: it is bounded, its control characters
are shown escaped, and a process may be gone, or be another's program, at the next read.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from pycontainers.kernel.processes import read_beginning

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.base import Cgroup

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_COMMAND: Final = 4096  # characters shown
_OVERFLOW: Final = 65534  # what the kernel shows for an id that is not mapped


@attrs.frozen(kw_only=True)
class ProcessInfo:
    """A process of a container; numbers are as the container sees them.

    `pid` and `parent` (0: outside of the container) are inside, `host_pid` is this host's number.
    `user` is the id it acts with.  `state` is the kernel's letter, as R for running, S for
    sleeping, D for waiting for a disk, T for stopped, Z for ended but not waited for.  `cpu` is in
    seconds, `memory` what is in memory just now, in bytes, and `started` in seconds since the
    epoch.  `command` is its command line, or its name in brackets where it has none.
    """

    pid: int
    host_pid: int
    parent: int
    user: int
    state: str
    cpu: float
    memory: int
    started: float
    command: str


class _Seen(NamedTuple):
    """What was read of one process, by the host's numbers; `numbers` go from there inwards."""

    pid: int
    numbers: list[int]
    parent: int
    uid: int
    memory: int
    fields: list[bytes]  # those of /proc/<pid>/stat after the name, from the state on
    command: str


def top(cgroup: Cgroup) -> list[ProcessInfo]:
    """List the processes of a container by number; those that end meanwhile are left out.

    >>> top(container_cgroup)[0].command                # doctest: +SKIP
    'sleep 60'
    """
    seen = [found for pid in cgroup.pids() if (found := _look(pid)) is not None]
    # The container's first process is number 1 in its namespace; programs in it may have made more
    # namespaces below that one, and what is about to be executed there is still above.
    firsts = [found for found in seen if found.numbers[-1] == 1]
    first = min(firsts or seen, key=lambda found: len(found.numbers), default=None)
    if first is None:
        return []
    level = len(first.numbers) - 1
    inside = {found.pid: found.numbers[level] for found in seen if len(found.numbers) > level}
    ids = _id_map(first.pid)
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    listed = [
        ProcessInfo(
            pid=inside[found.pid],
            host_pid=found.pid,
            parent=inside.get(found.parent, 0),
            user=_inner(found.uid, ids),
            state=found.fields[0].decode("ascii", "replace"),
            cpu=(int(found.fields[11]) + int(found.fields[12])) / _TICKS,
            memory=found.memory,
            started=booted + int(found.fields[19]) / _TICKS,
            command=found.command,
        )
        for found in seen
        if found.pid in inside
    ]
    return sorted(listed, key=lambda info: info.pid)


def _look(pid: int) -> _Seen | None:
    """Read one process; None where it is gone, or as good as that."""
    stat, status = read_beginning(f"/proc/{pid}/stat"), read_beginning(f"/proc/{pid}/status")
    lines = dict(line.partition(b":")[::2] for line in status.splitlines())
    name, closing, rest = stat.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if not closing or len(fields) < 20 or b"Uid" not in lines:
        return None
    numbers = [int(number) for number in lines.get(b"NSpid", b"").split()]
    if not all(numbers):  # it has been waited for just now, and has lost them
        return None
    command = read_beginning(f"/proc/{pid}/cmdline", _COMMAND).rstrip(b"\0").replace(b"\0", b" ")
    return _Seen(
        pid,
        numbers or [pid],
        int(fields[1]),
        int(lines[b"Uid"].split()[1]),
        int((lines.get(b"VmRSS", b"").split() or [b"0"])[0]) * 1024,
        fields,
        _shown(command) if command else f"[{_shown(name)}]",
    )


def _id_map(pid: int) -> list[tuple[int, int, int]]:
    """Read what ids outside are inside the user namespace of a process: inside, outside, length."""
    everything = [(0, 0, 1 << 32)]
    try:
        if Path(f"/proc/{pid}/ns/user").samefile("/proc/self/ns/user"):
            return everything  # the file would tell of the namespace above, user_namespaces(7)
    except PermissionError:
        pass  # of another user, hence in a namespace of its own
    except OSError:
        return everything
    lines = (line.split() for line in read_beginning(f"/proc/{pid}/uid_map").splitlines())
    return [(int(line[0]), int(line[1]), int(line[2])) for line in lines if len(line) == 3]


def _inner(uid: int, ids: list[tuple[int, int, int]]) -> int:
    for inside, outside, length in ids:
        if outside <= uid < outside + length:
            return inside + uid - outside
    return _OVERFLOW


def _shown(text: bytes) -> str:
    """Show a text of a program's: nothing in it moves a terminal's cursor, or is too long."""
    shown = text.decode(errors="backslashreplace")
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    return shown[:_COMMAND]
