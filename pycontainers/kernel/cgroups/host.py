"""What this host's cgroups can do, and where a container's cgroup may be made.

Finding out changes nothing; version 2's `adopt` enables controllers, and a cgroup's `create` makes
the first directory.
"""

from __future__ import annotations

import os
from typing import Final

from pycontainers.errors import NotSupported
from pycontainers.kernel import mounts
from pycontainers.kernel.cgroups import base, files, layout, systemd, v2
from pycontainers.kernel.cgroups.layout import Hierarchy
from pycontainers.kernel.cgroups.place import Host, NoHost, allowed_processors
from pycontainers.kernel.cgroups.v1 import V1Cgroup

__all__ = ["Host", "NoHost", "V1Host", "V2Host", "find_host"]

_USED: Final = ("cpu", "cpuset", "io", "memory", "pids")
_CAP_NET_ADMIN, _CAP_SYS_ADMIN, _CAP_BPF = 1 << 12, 1 << 21, 1 << 39
_IN_A_CONTAINER: Final = "run as root; in a container, run that one with a writable /sys/fs/cgroup"
_MOVE_IT: Final = (
    "have a service manager start the application in a cgroup below a delegated one "
    "(systemd.resource-control(5), DelegateSubgroup=), or, in a container, move its processes "
    "into a cgroup of their own: mkdir /sys/fs/cgroup/app and write their pids to its cgroup.procs"
)


class V1Host(Host):
    """A host with version 1 hierarchies, hybrid or not: the own cgroups are where to begin."""

    def __init__(self, found: list[Hierarchy]) -> None:
        controllers: dict[str, str] = {}
        self._by_controller: dict[str, Hierarchy] = {}
        for hierarchy in found:
            directory = next(filter(layout.is_writable, layout.ancestors(hierarchy)), None)
            for name in hierarchy.controllers if hierarchy.names else ():
                self._by_controller[name] = hierarchy
                if directory is not None:
                    controllers[name] = f"{directory}/{base.PARENT}"
        hybrid = any(not hierarchy.names for hierarchy in found)
        super().__init__("hybrid" if hybrid else "v1", controllers)

    def adopt(self, pid: int, place: str = "") -> str:
        """Do nothing: a process joins version 1's cgroups from wherever it is."""
        return ""

    def cgroup(self, name: str) -> base.Cgroup:
        """Name a container's cgroup; nothing is made yet.  Raises NotSupported."""
        if not self.controllers:
            raise NotSupported(
                f"the cgroup {name} can't be made: no cgroup hierarchy is writable",
                hint=_IN_A_CONTAINER,
            )
        return V1Cgroup({key: f"{path}/{name}" for key, path in self.controllers.items()})

    def hierarchies(self, limits: base.Limits) -> tuple[str, ...]:
        """Give what a container with these limits mounts each of its hierarchies by."""
        wanted = base.joined(limits, self.controllers)
        return tuple(dict.fromkeys(self._by_controller[name].names for name in wanted))

    def _why_not(self, controller: str) -> str:
        if controller in self._by_controller:
            return f"the cgroup hierarchy of the controller {controller} is not writable"
        return f"the cgroup controller {controller} is not mounted"

    def _remedy(self, controller: str) -> str:
        if controller in self._by_controller:
            return _IN_A_CONTAINER
        name = "blkio" if controller == "io" else controller
        return f"mount it: mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}"

    def _processors(self) -> str:
        return allowed_processors(layout.ancestors(self._by_controller["cpuset"]))

    def _weighs_io(self) -> bool:
        # The files of weights are not in the root cgroup, but others of the same maker are.
        names = ("blkio.weight", "blkio.bfq.weight", "blkio.bfq.io_service_bytes")
        own = self._by_controller["io"].own
        return any(os.path.exists(f"{own}/{name}") for name in names)


class V2Host(Host):
    """A host with version 2 only: cgroups go below `parent`, or where systemd gives a place.

    A cgroup whose children have controllers can hold no processes (cgroup-v2.rst), and the
    application is never moved; so `parent` is an ancestor without processes.  Where there is none,
    systemd is asked for a scope by `adopt`, and until then `controllers` has no directories.
    """

    def __init__(self, hierarchy: Hierarchy, parent: str | None, controllers: set[str]) -> None:
        self._hierarchy = hierarchy
        self._from_systemd = parent is None
        self._parent = f"{parent}/{base.PARENT}" if parent else ""
        if _can_filter_devices():
            controllers = controllers | {"devices"}
        super().__init__("v2", dict.fromkeys(sorted(controllers), self._parent))

    @property
    def moves_helpers(self) -> bool:
        """Whether systemd has to be asked."""
        return self._from_systemd

    def adopt(self, pid: int, place: str = "") -> str:
        """Enable controllers in the place found, or have systemd give one and move `pid` there."""
        if not self._from_systemd:
            v2.prepare(self._parent)
            return ""
        name = f"pycontainers-{pid}-{os.urandom(4).hex()}"
        self._parent = place or systemd.delegate(pid, name, self._hierarchy)
        self.controllers = dict.fromkeys(self.controllers, self._parent)
        return self._parent

    def cgroup(self, name: str) -> base.Cgroup:
        """Name a container's cgroup; nothing is made yet.  Raises NotSupported."""
        if not self._parent:
            raise NotSupported(
                f"the cgroup {name} has no place yet", hint="let the host adopt a launcher first"
            )
        return v2.V2Cgroup(f"{self._parent}/{name}")

    def _why_not(self, controller: str) -> str:
        if controller == "devices":
            return "device rules need a BPF program, and this process has not CAP_BPF"
        return f"the cgroup controller {controller} is not delegated to this process"

    def _remedy(self, controller: str) -> str:
        if controller == "devices":
            return "run as root, outside of any container"
        if os.geteuid() != 0 and systemd.is_running():
            return (
                "delegate it: put Delegate=cpu cpuset io memory pids under [Service] in "
                "/etc/systemd/system/user@.service.d/delegate.conf, then log in anew"
            )
        return (
            f"enable it above: echo +{controller} >{self._hierarchy.target}/cgroup.subtree_control"
        )

    def _processors(self) -> str:
        return allowed_processors(layout.ancestors(self._hierarchy))

    def _weighs_io(self) -> bool:
        # The files of weights are not in the root cgroup, but others of the same maker are.
        names = ("io.weight", "io.bfq.weight", "io.cost.qos")
        directories = layout.ancestors(self._hierarchy)
        return any(os.path.exists(f"{path}/{name}") for path in directories for name in names)


def find_host() -> Host:
    """Find out how the cgroups of this machine are laid out, and where this process may make some.

    >>> find_host().layout in ("v1", "hybrid", "v2", "none")
    True
    """
    found = layout.hierarchies(mounts.mountinfo(), layout.own())
    if any(hierarchy.names for hierarchy in found):
        return V1Host(found)
    if not found:
        return NoHost(
            "none",
            "no file system is mounted that shows this process's own cgroup",
            "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    (hierarchy,) = found
    managed = systemd.is_running()
    for directory in layout.ancestors(hierarchy):
        usable = layout.is_writable(directory) and v2.can_hand_down(directory)
        if usable and (not managed or systemd.is_delegated(directory, hierarchy.own)):
            controllers = _available(directory, hierarchy.target)
            if controllers >= set(base.ALWAYS):
                return V2Host(hierarchy, directory, controllers)
    if managed:
        return _systemd_host(hierarchy)
    if not any(map(layout.is_writable, layout.ancestors(hierarchy))):
        return NoHost("v2", "none of this process's cgroups is writable", _IN_A_CONTAINER)
    return NoHost("v2", "every cgroup that is writable has processes in it", _MOVE_IT)


def _systemd_host(hierarchy: Hierarchy) -> Host:
    obstacle = systemd.obstacle()
    if obstacle is not None:
        return NoHost("v2", *obstacle)
    text = files.read(f"{systemd.root(hierarchy)}/cgroup.controllers") or ""
    return V2Host(hierarchy, None, set(text.split()) & set(_USED))


def _available(directory: str, top: str) -> set[str]:
    """Name the controllers that a cgroup has or that can be enabled for it further up."""
    text = files.read(f"{directory}/cgroup.controllers") or ""
    controllers = set(text.split()) & set(_USED)
    above = os.path.dirname(directory)
    if directory != top and layout.is_writable(above) and v2.can_hand_down(above):
        controllers |= _available(above, top)
    return controllers


def _can_filter_devices() -> bool:
    """Whether bpf(2) is open to this process, as it is in the first user namespace only."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        if file.read().split() != ["0", "0", "4294967295"]:
            return False
    status = files.read("/proc/self/status") or ""
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    both = _CAP_BPF | _CAP_NET_ADMIN
    return bool(effective & _CAP_SYS_ADMIN) or effective & both == both
