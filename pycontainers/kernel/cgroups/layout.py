"""Where this process stands: the cgroup hierarchies that are mounted, and its own place in each.

cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.kernel import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTROLLERS: Final = {  # version 1's name: ours, which is version 2's
    "cpu": "cpu",
    "cpuacct": "cpuacct",  # version 2 has it in every cgroup
    "cpuset": "cpuset",
    "blkio": "io",
    "memory": "memory",
    "pids": "pids",
    "devices": "devices",
    "freezer": "freezer",
}


class Hierarchy(NamedTuple):
    """A mounted hierarchy: its mount point, this process's own directory, and its controllers.

    `names` is what version 1 mounts it by, as `cpu,cpuacct`; empty is version 2.
    """

    target: str
    own: str
    controllers: tuple[str, ...]
    names: str


def hierarchies(mounted: Iterable[mounts.Mount], own_cgroups: str) -> list[Hierarchy]:
    """Match the mounts of the cgroup file systems with the text of /proc/self/cgroup.

    A hierarchy that is mounted twice is given once, and one whose mount does not reach down to the
    own cgroup not at all; version 1 hierarchies without a controller of use are left out.

    >>> [h.controllers for h in hierarchies(mounts.mountinfo(), own())]     # doctest: +SKIP
    [('cpu',), ('memory',), ('pids',)]
    """
    paths = _own_paths(own_cgroups)
    found: dict[str, Hierarchy] = {}
    for mount in mounted:
        if mount.fstype == "cgroup2":
            names = ""
            controllers: tuple[str, ...] = ()
        elif mount.fstype == "cgroup":
            options = mount.super_options.split(",")
            controllers = tuple(_CONTROLLERS[name] for name in options if name in _CONTROLLERS)
            # Beside the controllers stand the file system's own options, as rw and xattr.
            names = ",".join(name for name in options if name in paths)
            if not controllers or not names:
                continue
        else:
            continue
        path = paths.get(names.partition(",")[0])
        below = None if path is None else _below(mount.root, path)
        if below is not None:
            found[names] = Hierarchy(mount.target, mount.target + below, controllers, names)
    return list(found.values())


def own() -> str:
    """Read /proc/self/cgroup."""
    with open(
        "/proc/self/cgroup", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as file:
        return file.read()


def path_of(pid: int) -> str | None:
    """Give a process's cgroup in the version 2 hierarchy, None where the process is gone.

    >>> path_of(os.getpid()).startswith("/")            # doctest: +SKIP
    True
    """
    try:
        with open(
            f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            return _own_paths(file.read()).get("")
    except (FileNotFoundError, ProcessLookupError):
        return None


def ancestors(hierarchy: Hierarchy) -> list[str]:
    """List the own directory and those above it, up to the mount point.

    >>> ancestors(Hierarchy("/sys/fs/cgroup", "/sys/fs/cgroup/a/b", (), ""))
    ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/a', '/sys/fs/cgroup']
    """
    inner = hierarchy.own[len(hierarchy.target) :].strip("/")
    parts = inner.split("/") if inner else []
    return ["/".join([hierarchy.target, *parts[:n]]) for n in range(len(parts), -1, -1)]


def is_writable(directory: str) -> bool:
    """Whether this process can make cgroups in a directory, and move its own into them."""
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True) and os.access(
        f"{directory}/cgroup.procs", os.W_OK, effective_ids=True
    )


def _own_paths(text: str) -> dict[str, str]:
    """Give the paths of /proc/<pid>/cgroup by controller; version 2's has the name ""."""
    paths: dict[str, str] = {}
    for line in text.split("\n"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if path.startswith("/"):
            paths |= dict.fromkeys(names.split(","), path)
    return paths


def _below(root: str, path: str) -> str | None:
    """Give a cgroup's path seen from a mount whose root is `root`; None where it is outside."""
    if ".." in path.split("/"):  # the own cgroup lies outside of the cgroup namespace
        return None
    if root == "/":
        return "" if path == "/" else path
    if path == root or path.startswith(root + "/"):
        return path[len(root) :]
    return None
