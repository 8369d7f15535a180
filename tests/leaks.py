"""What could be left over: on the host, in this process and in a data root, before and after.

Only what can be ours counts, as other programs may work on the same machine: processes that descend
from this one, cgroups of containers without a process, and descriptors of this process.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pycontainers as pc
from pycontainers import engine as engines
from pycontainers.errors import KernelError
from pycontainers.kernel import links, loopdevices, nftables, processes, syscall
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from pycontainers.runtime import firewall

_PR_SET_CHILD_SUBREAPER = 36
_OURS = ("anon_inode:[pidfd]", "anon_inode:[fscontext]",
         "/memfd:", "net:[", "user:[", "mnt:[", "pid:[", "cgroup:[")  # fmt: skip

_SETS = {
    firewall.ROUTED: (
        *firewall.PUBLISHED.values(),
        *firewall.PUBLISHED_ANY.values(),
        *firewall.PRIORITIES.values(),
        *("networks", "within", "internal", "host_access", "subnets4", "subnets6"),
    ),
    firewall.BRIDGED: tuple(firewall.BOUND.values()),
}

Stock = dict[str, set[str]]


def snapshot() -> Stock:
    """Take stock of everything that a container engine can leave behind on a host.

    From the first look on this process adopts what its descendants orphan, as a subreaper does,
    so that nothing a crashed one had started gets out of sight.
    """
    syscall.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    family = _descendants()
    return {
        "mounts": _mounts(),
        "cgroups": _cgroups(),
        "processes": {name for pid in family if (name := _helper(pid))},
        "links": _links(),
        "network namespaces": _network_namespaces(family),
        "firewall": firewall_entries(),
        "loop devices": {label for label in loopdevices.labels() if "pycontainers" in label},
        "descriptors": _descriptors(),
    }


def assert_none_since(before: Stock, *kinds: str, patience: float = 10.0) -> None:
    """Fail with a list of what is there now and was not before, of these kinds or of all.

    What goes within `patience` seconds is fine: the kernel needs a moment for some of it.
    """
    deadline = time.monotonic() + patience
    left = {kind: names - before[kind] for kind, names in snapshot().items()}
    left = {kind: names for kind, names in left.items() if not kinds or kind in kinds}
    while any(left.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
        now = snapshot()
        left = {kind: names & now[kind] for kind, names in left.items()}
    found = {kind: sorted(names) for kind, names in left.items() if names}
    assert not found, f"left behind: {found}"


def in_root(root: Path) -> list[str]:
    """Name the rows and directories of containers, and the half-made layers, in a data root.

    What a spare supervisor keeps there is its own, as long as that lives.
    """
    if not (root / "state.db").exists():
        return []
    with sqlite3.connect(root / "state.db") as database:
        rows = [f"row {row[0]}" for row in database.execute("SELECT id FROM containers")]
    database.close()
    directories = [f"directory {name}" for name in os.listdir(root / "containers")]
    making = [
        name for where in ("layers", "volumes") for name in os.listdir(root / where)
        if name.startswith(".") and not _is_kept(name)
    ]  # fmt: skip
    return sorted([*rows, *directories, *making])


def _is_kept(name: str) -> bool:
    _, pid, start, what, *_ = [*name.split("-"), "", "", "", ""]
    return what == "changes" and processes.start_time(int(pid)) == int(start)


def assert_recovered(root: Path, before: Stock) -> None:
    """Open an engine on the data root and close it; then nothing may be left anywhere."""
    with pc.Engine(root=root) as engine:
        engine.services()
        deadline = time.monotonic() + 5
        while (found := in_root(root)) and time.monotonic() < deadline:
            time.sleep(0.02)  # a spare supervisor is just going

    assert not found, f"left in {root}: {found}"
    assert_none_since(before)


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split(" ")[4] for line in lines}


def _cgroups() -> set[str]:
    """Name the containers' cgroups that hold no process: each other one's processes tell of it."""
    found: set[str] = set()
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(directory) == "pycontainers":
            found |= {path for name in names if not _populated(path := f"{directory}/{name}")}
            names.clear()
    return found


def _populated(cgroup: str) -> bool:
    for directory, _, _ in os.walk(cgroup):
        try:
            if Path(directory, "cgroup.procs").read_text():
                return True
        except OSError:
            continue
    return False


def _descendants() -> set[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":  # what this process adopted is not for it to reap
                parents[int(entry)] = int(fields[1])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {os.getpid()}


def _helper(pid: int) -> str | None:
    """Name a process that is a helper of ours, or in a PID namespace of ours; not a dead one."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        inside = os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    return f"{pid} {line[:80]!r}" if inside or b"pycontainers.runtime" in line else None


def _network_namespaces(family: set[int]) -> set[str]:
    found = set()
    for pid in family:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found - {os.readlink("/proc/self/ns/net")}


def _links() -> set[str]:
    with Netlink(NETLINK_ROUTE) as netlink:
        return {link.name for link in links.links(netlink)}


def firewall_entries() -> set[str]:
    """Name our tables, and every element of their sets."""
    found = set()
    with Netlink(NETLINK_NETFILTER) as netlink:
        for table, names in _SETS.items():
            with contextlib.suppress(KernelError):  # it is not there, or goes now
                for name in names:
                    for key, target in nftables.elements(netlink, table, name):
                        found.add(f"{name} of {table}: {key!r} {target!r}")
                found.add(str(table))
    return found


def _descriptors() -> set[str]:
    """Name what this process holds open, but for what pytest and its plugins open by themselves."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        if target.startswith(_OURS) or "state.db" in target:
            found.add(f"{entry} -> {target}")
    return found


def cgroups_of_containers() -> list[str]:
    """Name the cgroups that containers have left, as no process is in them."""
    opened = list(engines._opened.values())
    spares = [services.launcher().report()["spare"] for services in opened]
    found = {name for services in opened for name in services.cgroups.listing()
             if not services.cgroups.cgroup(name).pids()}  # fmt: skip
    return sorted(name for name in found if f"/{name}'" not in str(spares))
