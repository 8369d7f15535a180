"""What the launcher does beside a newborn container: id maps, limits, and mounts made for it.

The container's init holds no privilege on the host, so the mounts that need one are made here, as
detached mounts, and handed over by descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import stat
from typing import TYPE_CHECKING, Any, Final, assert_never

from pycontainers.errors import KernelError
from pycontainers.kernel import capabilities, mounts, namespaces, processes, sockets, syscall
from pycontainers.kernel.cgroups import base
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.kernel.namespaces import IdMap
from pycontainers.runtime import trees
from pycontainers.runtime.framing import MountFrame
from pycontainers.runtime.mounting import CloneTree, MountImage, MountSecret, MountVolume
from pycontainers.runtime.network import Wires
from pycontainers.runtime.overlay import overlay
from pycontainers.runtime.plan import (
    OWN,
    MakeCgroup,
    MakeDev,
    MapIds,
    MountDirectory,
    MountRoot,
    SetLimit,
    SetOomScore,
)
from pycontainers.runtime.ranges import RANGE, IdRanges
from pycontainers.runtime.wiring import ConnectBridge, MountSysfs, Publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.runtime.mounting import Tree
    from pycontainers.runtime.plan import Beside, BirthStep

_SYSFS: Final = (
    mounts.MOUNT_ATTR_NOSUID
    | mounts.MOUNT_ATTR_NODEV
    | mounts.MOUNT_ATTR_NOEXEC
    | mounts.MOUNT_ATTR_RDONLY
)
_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


class Newborn:
    """A container from its birth on, as the launcher sees it."""

    def __init__(
        self,
        pid: int,
        pidfd: int,
        ready: socket.socket,
        birth: str,
        place: dict[str, Any] | None,
        *,
        detached_layers: bool,
        changes: str = "",
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.birth = birth
        self.place = place
        self.changes = changes
        self.detached_layers = detached_layers
        self.cgroup: Cgroup | None = None
        self.passed_over = 0
        self._joined = False
        self.given_fds: list[int] = []
        self.owner_fd = -1
        self.userns_fd = -1
        self.first_uid = 0
        self.first_gid = 0
        self._ids: tuple[list[IdMap], list[IdMap]] = [], []
        self._ready = ready
        self._leased: int | None = None
        self._rooted = False
        self._dev_fd = -1
        self._root_fd = -1
        self._tree_fds: list[int] = []
        self._shown: dict[str, tuple[int, int]] = {}
        self.wires = Wires(pid, pidfd)

    def map_ids(self, step: MapIds, ranges: IdRanges) -> None:
        """Give the user namespace its ids."""
        if not step.uids:
            self._leased = ranges.lease()
            step = MapIds([[0, self._leased, RANGE]], [[0, self._leased, RANGE]])
        uids = [IdMap(*entry) for entry in step.uids]
        gids = [IdMap(*entry) for entry in step.gids]
        namespaces.write_id_maps(self.pid, uids, gids)
        self.userns_fd = namespaces.open_namespace(self.pid, "user")
        self.first_uid, self.first_gid = uids[0].outside, gids[0].outside
        self._ids = uids, gids

    def live_in(self, home: Newborn) -> None:
        """Have the ids of a home, in whose user namespace this one was born."""
        self.userns_fd = os.dup(home.userns_fd)
        self.first_uid, self.first_gid, self._ids = home.first_uid, home.first_gid, home._ids

    def announce(self) -> None:
        """Tell init that its ids are mapped, and which cgroup to join if that is made already."""
        cgroup_fds = self._join_fds()
        try:
            sockets.send(self._ready, {}, tuple(cgroup_fds))
        finally:
            for fd in cgroup_fds:
                os.close(fd)

    def order(self, steps: list[Any], fds: list[int], stdio: int) -> None:
        """Tell init what it will be."""
        cgroup_fds = self._join_fds()
        try:
            order(self._ready, steps, stdio, cgroup_fds, fds)
        finally:
            for fd in cgroup_fds:
                os.close(fd)

    def _join_fds(self) -> list[int]:
        """Open what init joins the cgroup by; nothing before that is made, or a second time."""
        if self.cgroup is None or self._joined:
            return []
        self._joined = True
        return self.cgroup.join_fds()

    def make_cgroup(self, step: MakeCgroup) -> None:
        """Make the cgroup with its limits."""
        assert self.place is not None
        cgroup, limits = from_plain(self.place), base.Limits(**step.limits)
        try:
            cgroup.create(limits)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            cgroup.remove()  # of a spare container whose launcher was killed
            cgroup = from_plain(self.place)
            cgroup.create(limits)
        self.cgroup = cgroup

    def hand_over_mounts(self) -> None:
        """Give init the root file system with the mounts made for it, later those made since."""
        self._rooted = self._rooted or self._root_fd >= 0
        made = [fd for fd in (self._root_fd, self._dev_fd, *self._tree_fds) if fd >= 0]
        if self._rooted and made:
            sockets.send(self._ready, {}, tuple(made))
            self._close_mounts()

    def connected(self) -> None:
        """Tell init that its network is there."""
        sockets.send(self._ready, {})

    def serves(self, birth: str, place: dict[str, Any] | None) -> bool:
        """Whether this spare is what a birth for that cgroup would make now.

        A path may have come to name another file since it was mounted here.
        """
        if self.birth != birth or processes.has_ended(self.pidfd):
            return False
        if self.cgroup is not None and self.place != place:
            return False
        with contextlib.suppress(BlockingIOError):
            self._ready.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
            return False  # it failed
        return all(_identity(path) == identity for path, identity in self._shown.items())

    def settle(self, directory: str) -> None:
        """Have its changes in a container's directory, which has none; raises OSError."""
        if self.changes:
            for name in ("upper", "work"):
                os.rename(f"{self.changes}/{name}", f"{directory}/{name}")
            os.rmdir(self.changes)
        self.changes = directory

    def dismiss(self) -> None:
        """Kill a newborn that will not be used."""
        processes.send_signal(self.pidfd, signal.SIGKILL)

    def abort(self, ranges: IdRanges) -> None:
        """Kill a newborn that will not be used, and undo its birth."""
        self.dismiss()
        processes.wait(self.pidfd)
        if self.cgroup is not None:
            with contextlib.suppress(KernelError):  # recovery will find it
                self.cgroup.remove()
        self.close(ranges)

    def close(self, ranges: IdRanges) -> None:
        """Give back what an ended container had."""
        with contextlib.suppress(KernelError):  # whoever uses the container next does it then
            self.wires.close()
        self._close_mounts()
        if self.userns_fd >= 0:
            os.close(self.userns_fd)
        self._ready.close()
        os.close(self.pidfd)
        if self._leased is not None:
            ranges.release(self._leased)

    def _close_mounts(self) -> None:
        for fd in (self._root_fd, self._dev_fd, *self._tree_fds):
            if fd >= 0:
                os.close(fd)
        self._root_fd = self._dev_fd = -1
        self._tree_fds = []

    def mount_root(self, step: MountRoot | MountDirectory) -> None:
        """Make the root file system's mount."""
        if isinstance(step, MountDirectory):
            userns_fd = self._userns(step.idmapped)
            self._root_fd = trees.clone(step.path, step.attributes, userns_fd, recursive=True)
        else:
            self._shown |= {path: _identity(path) for path in step.lower}
            if step.upper == OWN:
                step = step._replace(upper=self.changes)
                _make_layout(self.changes)
            with _owner(self):
                self._root_fd = _mount_root(step, self)

    def make_frame(self) -> None:
        """Make what is init's root until the real one is there."""
        with _owner(self):
            self._root_fd = mounts.new_mount("tmpfs", [("mode", "0755"), ("size", "4k")])
            for name in ("proc", "sys", "dev"):
                os.mkdir(name, 0o755, dir_fd=self._root_fd)

    def add_tree(self, step: Tree) -> None:
        """Make a mount that init will attach."""
        if isinstance(step, CloneTree) and step.fd is None:
            self._shown[step.source] = _identity(step.source)
        detached = self.detached_layers
        userns_fd = self._userns(step.idmapped)
        fd = trees.make(
            step,
            userns_fd,
            self.given_fds,
            detached=detached,
            owner_fd=self.owner_fd,
            ids=self._ids,
        )
        self._tree_fds.append(fd)

    def _userns(self, idmapped: bool) -> int | None:
        return self.userns_fd if idmapped else None

    def mount_sysfs(self) -> None:
        """Make a /sys of the network namespace that the newborn shares with others."""
        with namespaces.entered(self.pidfd, namespaces.CLONE_NEWNET):
            fd = mounts.new_mount("sysfs", [], attributes=_SYSFS)
        self._tree_fds.append(fd)

    def make_dev(self, step: MakeDev) -> None:
        """Make /dev; it is the first of the mounts that init will attach."""
        with _owner(self):
            self._dev_fd = _make_dev(step)


def order(
    ready: socket.socket, steps: list[Any], stdio: int, cgroup_fds: list[int], fds: list[int]
) -> None:
    """Tell a newborn its steps; `fds` are status, `stdio` streams, and what the steps name."""
    message = {"steps": steps, "stdio": stdio, "cgroups": len(cgroup_fds)}
    sockets.send(ready, message, (*cgroup_fds, *fds))


def bring_up(step: BirthStep, born: Newborn, ranges: IdRanges) -> None:
    """Carry out one step of a birth; raises KernelError."""
    match step:
        case MapIds():
            born.map_ids(step, ranges)
        case MakeDev():
            born.make_dev(step)
        case MountFrame():
            born.make_frame()
        case MakeCgroup() | MountRoot() | MountDirectory() | MountSysfs():
            perform(step, born)
        case CloneTree() | MountVolume() | MountImage() | MountSecret():
            perform(step, born)
        case _:
            assert_never(step)


def perform(step: Beside, born: Newborn) -> None:
    """Carry out one step beside init; raises KernelError."""
    match step:
        case MakeCgroup():
            born.make_cgroup(step)
        case SetLimit():
            _set_limit(step, born.pid)
        case SetOomScore():
            processes.set_oom_score(born.pid, step.score)
        case MountRoot() | MountDirectory():
            born.mount_root(step)
        case CloneTree() | MountVolume() | MountImage() | MountSecret():
            born.add_tree(step)
        case MountSysfs():
            born.mount_sysfs()
        case ConnectBridge():
            born.wires.connect(step)
        case Publish():
            born.wires.publish(step)
        case _:
            assert_never(step)


def _identity(path: str) -> tuple[int, int]:
    """Tell a file from another of the same name; (-1, -1) is a missing one."""
    try:
        facts = os.stat(path)
    except OSError:
        return -1, -1
    return facts.st_dev, facts.st_ino


def _set_limit(step: SetLimit, pid: int) -> None:
    """Set from outside: raising a hard limit takes CAP_SYS_RESOURCE on the host."""
    try:
        resource.prlimit(pid, processes.limit_number(step.name), (step.soft, step.hard))
    except (OSError, ValueError) as error:
        code = (error.errno if isinstance(error, OSError) else None) or errno.EPERM
        call = f"prlimit({step.name}, {step.soft}:{step.hard})"
        hint = "a hard limit can't be raised without CAP_SYS_RESOURCE"
        raise KernelError(code, call, hint=hint if code == errno.EPERM else None) from None


@contextlib.contextmanager
def _owner(born: Newborn) -> Iterator[None]:
    """Make files as the container's root: overlay must find its owner inside the id map."""
    if born.userns_fd < 0:
        yield
        return
    syscall.setfsgid(born.first_gid)
    syscall.setfsuid(born.first_uid)
    try:
        # Leaving fsuid 0 took the rights over files away (capabilities(7)), which the mounter of an
        # overlay lends to every later access of its layers.
        capabilities.set_effective(capabilities.current().permitted)
        yield
    finally:
        syscall.setfsuid(0)
        syscall.setfsgid(0)
        # A change of ids sets this back to what fs.suid_dumpable says.
        processes.set_dumpable(False)


def _make_layout(changes: str) -> None:
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{changes}/{name}", mode)


def _mount_root(step: MountRoot, born: Newborn) -> int:
    userns_fd = born.userns_fd if step.idmapped else None
    with contextlib.ExitStack() as stack:
        layers = trees.layers(step.lower, userns_fd, stack, detached=born.detached_layers)
        if step.upper is None:
            options = [] if step.size is None else [("size", str(step.size))]
            upper = mounts.new_mount("tmpfs", [("mode", "0755"), *options])
            for name in ("upper", "work"):
                os.mkdir(name, 0o755, dir_fd=upper)
        else:
            upper = trees.clone(step.upper, 0, userns_fd, recursive=False)
        stack.callback(os.close, upper)
        return overlay(layers, upper, step.attributes, detached=born.detached_layers)


def _make_dev(step: MakeDev) -> int:
    """Make /dev with its nodes while we may; the container can't make any itself."""
    fd = mounts.new_mount(
        "tmpfs",
        [("mode", "0755"), ("size", "65536k")],
        attributes=mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC,
    )
    try:
        for directory in ("pts", "shm", "mqueue"):
            os.mkdir(directory, 0o755, dir_fd=fd)
        for name, target in _LINKS:
            os.symlink(target, name, dir_fd=fd)
        for name, kind, major, minor, mode in step.nodes:
            parent = name.rpartition("/")[0]
            if parent:
                os.makedirs(f"/proc/self/fd/{fd}/{parent}", exist_ok=True)
            file_type = stat.S_IFBLK if kind == "b" else stat.S_IFCHR
            os.mknod(name, mode | file_type, os.makedev(major, minor), dir_fd=fd)
    except OSError as error:
        os.close(fd)
        raise KernelError(error.errno or 0, "mknod in /dev") from None
    return fd
