"""From a runtime spec to a plan: pure, printable, testable without root.

The order of the steps is written down here, once; where it matters, the reason stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.errors import NotSupported
from pycontainers.kernel import capabilities, mounts
from pycontainers.lifecycle import placing
from pycontainers.lifecycle.security import DEFAULT_DEVICES
from pycontainers.runtime import plan, wiring
from pycontainers.runtime.framing import MountFrame, ReplaceRoot
from pycontainers.runtime.mounting import CloneTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.oci import runtime
    from pycontainers.runtime.mounting import Tree

_NAMESPACES: Final = {
    "mount": "mnt",
    "network": "net",
    "pid": "pid",
    "user": "user",
    "uts": "uts",
    "ipc": "ipc",
}
# What needs nothing of the image, and the mounts that a frame of /proc, /sys and /dev can have.
_FRAMED: Final = (
    plan.JoinCgroup, plan.NewCgroupNamespace, plan.TakeMounts, plan.EnterRoot,
    plan.MountKernelFilesystems, plan.WriteSysctls, plan.MountCgroups, plan.Mask,
    plan.MakeReadOnly, plan.DropBounding,
)  # fmt: skip
_IN_FRAME: Final = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
_RLIM_INFINITY: Final = (1 << 64) - 1


@attrs.frozen(kw_only=True)
class Place:
    """Where a container is put: its root file system, cgroup and descriptors.

    `lower` are overlay layers, topmost first, and `upper` the directory of upper and work (None: in
    memory, `size` bytes at most); with `directory` that directory itself is the root.  `cgroup` and
    `limits` are in their plain form.  `trees` are the host's directories that the image shows: they
    are as lasting as its layers.  `seccomp_fd` is the filter's position among the given
    descriptors.
    """

    lower: tuple[str, ...] = ()
    upper: str | None = None
    size: int | None = None
    directory: str | None = None
    trees: tuple[str, ...] = ()
    cgroup: dict[str, Any] | None = None
    limits: dict[str, Any] = attrs.field(factory=dict)
    hierarchies: tuple[str, ...] | None = None
    seccomp_fd: int | None = None
    seccomp_size: int = 0
    init: bool = False
    terminal_size: tuple[int, int] = (24, 80)


def compile_plan(container_id: str, spec: runtime.Spec, place: Place) -> plan.Plan:
    """Decide what is done to start the container, step by step.

    Raises NotSupported for what the spec asks and this engine can't do.

    >>> print(compile_plan("c1", spec, place))          # doctest: +SKIP
    """
    for entry in spec.linux.namespaces:
        if entry.path:
            raise NotSupported(f"joining the namespace {entry.path} is not supported")
    birth = _birth(spec)
    trees, own_trees = _Trees(first=int(_has_dev(spec))), _Trees(first=0)
    ready = _can_be_ready(spec, place)
    own = _own_mounts(spec, place) if ready else []
    shared = [mount for mount in spec.mounts if mount not in own]
    root, mount_steps = _root(spec, place), _mount_steps(spec, place, shared, trees)
    cgroup = [] if place.cgroup is None else [plan.MakeCgroup(place.limits)]
    join = _cgroup_steps(spec, place)
    enter = [*_enter_steps(spec), *mount_steps, *_hiding_steps(spec), _bound(spec.process)]
    if ready:
        late = _mount_steps(spec, place, own, own_trees)
        if own_trees.steps:
            late.insert(0, plan.TakeTrees())
        beside: list[plan.Beside] = [*_limit_steps(spec), *own_trees.steps]
        launcher = [*birth.launcher, root, *trees.steps]
        if _has_own_cgroup_early(place):
            launcher, enter = [*cgroup, *launcher], [*join, *enter]
        else:
            beside, late = [*cgroup, *beside], [*join, *late]
        birth = plan.Birth(birth.namespaces, launcher, [*birth.init, *enter])
        steps = [*_naming_steps(spec), *late, *_process_steps(spec, place)]
    else:
        beside = [*cgroup, *_limit_steps(spec), root, *trees.steps]
        steps = [*_naming_steps(spec), *join, *enter, *_process_steps(spec, place)]
    return plan.Plan(container_id, place.cgroup, birth, beside, steps, birth.packed())


def _can_be_ready(spec: runtime.Spec, place: Place) -> bool:
    """Whether the root file system is the same for every container alike, so that a spare has it.

    What a container writes to on disk may be its own by a new name.  What is mounted for it alone
    comes later, but can't where its target may have to be made in a root that is read-only by then.
    """
    if place.directory is not None or place.upper not in (None, plan.OWN):
        return False
    return not (spec.root.readonly and any(map(placing.is_tree, _own_mounts(spec, place))))


def _has_own_cgroup_early(place: Place) -> bool:
    """Whether a spare is in the cgroup of the container that it will be: one run's is known."""
    return place.upper is None


def _own_mounts(spec: runtime.Spec, place: Place) -> list[runtime.Mount]:
    """Give the mounts of files that are not the image's, with those upon them.

    Others are mounted on a host's /sys.  Cgroups are shown when the own one has been joined.
    """
    lasting = {*place.trees, "/sys"}
    own = [m for m in spec.mounts if placing.is_tree(m) and m.source not in lasting]
    if not _has_own_cgroup_early(place):
        own += [mount for mount in spec.mounts if mount.type == "cgroup"]
    below = tuple(f"{mount.destination}/" for mount in own)
    return [m for m in spec.mounts if m in own or m.destination.startswith(below)]


def personal(
    template: plan.Plan,
    container_id: str,
    cgroup: dict[str, Any] | None,
    upper: str | None,
    hostname: str,
    terminal: tuple[int, int] | None = None,
    *,
    files: str = "",
    wires: Sequence[plan.Wire] | None = None,
) -> plan.Plan:
    """Give the plan of one container from that of another which differs in these only.

    `files` is the directory of what is mounted from the container's own; `wires` connect one that
    can be in networks, of which there may be none.
    """
    beside: list[plan.Beside] = []
    for own in template.beside:
        if isinstance(own, plan.MountRoot):
            beside.append(own._replace(upper=upper))
        elif isinstance(own, CloneTree) and not own.source.startswith("/"):
            beside.append(own._replace(source=f"{files}/{own.source}"))
        else:
            beside.append(own)
    steps: list[plan.Step] = []
    connected = wires is None
    for step in template.steps:
        if not connected and isinstance(step, plan.LoadSeccomp | plan.Reap | plan.Execute):
            # As late as can be, as that takes long, but not where a filter might be in its way.
            steps.append(wiring.AwaitNetwork())
            connected = True
        if isinstance(step, plan.SetHostname):
            steps.append(plan.SetHostname(hostname))
        elif isinstance(step, plan.OpenTerminal) and terminal is not None:
            steps.append(plan.OpenTerminal(*terminal))
        else:
            steps.append(step)
    beside += wires or ()
    return template._replace(id=container_id, cgroup=cgroup, beside=beside, steps=steps)


def with_program(
    template: plan.Plan, lower: Sequence[str], args: Sequence[str], env: Sequence[str]
) -> plan.Plan:
    """Give the plan of another program over other layers, topmost first, all else alike.

    For a container that keeps its changes: the root of others is a part of their birth.
    """
    beside = [
        step._replace(lower=list(lower)) if isinstance(step, plan.MountRoot) else step
        for step in template.beside
    ]
    steps = [*template.steps[:-1], plan.Execute(list(args), list(env))]
    return template._replace(beside=beside, steps=steps)


def at_home(template: plan.Plan, home: str) -> plan.Plan:
    """Give the plan of a container that has the ids and the network of a home.

    Its root comes last, as it is what the one before it there leaves: all that can be done without
    that is a part of its birth.
    """
    birth = template.birth
    settled = (plan.BecomeRoot, plan.RaiseLoopback)
    init: list[plan.Step] = [step for step in birth.init if not isinstance(step, settled)]
    steps: list[plan.Step] = []
    for step in template.steps:
        if isinstance(step, _FRAMED) or (
            isinstance(step, plan.AttachTree | plan.MountNew) and step.target in _IN_FRAME
        ):
            init.append(step)
        else:
            steps.append(step)
    named = sum(isinstance(step, plan.SetHostname | plan.SetDomainname) for step in steps)
    steps[named:named] = [plan.TakeTrees(), ReplaceRoot()]
    cgroup = [step for step in template.beside if isinstance(step, plan.MakeCgroup)]
    dev = [step for step in birth.launcher if isinstance(step, plan.MakeDev)]
    names = [name for name in birth.namespaces if name not in ("user", "net")]
    birth = plan.Birth(names, [*cgroup, *dev, MountFrame()], init, home)
    return template._replace(
        birth=birth,
        beside=[step for step in template.beside if step not in cgroup],
        steps=steps,
        packed_birth=birth.packed(),
    )


def _has_dev(spec: runtime.Spec) -> bool:
    return any(m.destination == "/dev" and m.type == "tmpfs" for m in spec.mounts)


def _birth(spec: runtime.Spec) -> plan.Birth:
    """Give what does not depend on the program, the image and the limits."""
    linux = spec.linux
    kinds = [entry.type for entry in linux.namespaces]
    launcher: list[plan.BirthStep] = []
    init: list[plan.Step] = []
    if "user" in kinds:
        uids, gids = (
            [[entry.container_id, entry.host_id, entry.size] for entry in mapping]
            for mapping in (linux.uid_mappings, linux.gid_mappings)
        )
        launcher.append(plan.MapIds(uids, gids))
        init.append(plan.BecomeRoot())
    if _has_dev(spec):
        launcher.append(plan.MakeDev(_nodes(linux.devices)))
    if "network" in kinds:
        init.append(plan.RaiseLoopback())
    init.append(plan.NewSession())
    # Before the root changes: the kernel allows a new /proc only where an unhidden one is in sight.
    init.append(plan.OpenKernelFilesystems(_has_own_sysfs(spec)))
    names = [_NAMESPACES[kind] for kind in kinds if kind in _NAMESPACES]
    return plan.Birth(names, launcher, init)


def _has_own_sysfs(spec: runtime.Spec) -> bool:
    owned = any(entry.type == "network" for entry in spec.linux.namespaces)
    return owned and any(mount.type == "sysfs" for mount in spec.mounts)


def _limit_steps(spec: runtime.Spec) -> list[plan.Beside]:
    steps: list[plan.Beside] = []
    if spec.process.oom_score_adj is not None:
        # First, so that it is there before init has its orders.
        steps.append(plan.SetOomScore(spec.process.oom_score_adj))
    for limit in spec.process.rlimits:
        soft, hard = (-1 if n == _RLIM_INFINITY else n for n in (limit.soft, limit.hard))
        steps.append(plan.SetLimit(limit.type.removeprefix("RLIMIT_").lower(), soft, hard))
    return steps


def _root(spec: runtime.Spec, place: Place) -> plan.Root:
    idmapped = _idmapped(spec)
    attributes = mounts.MOUNT_ATTR_NODEV
    if spec.process.no_new_privileges:
        attributes |= mounts.MOUNT_ATTR_NOSUID
    if place.directory is not None:
        return plan.MountDirectory(place.directory, idmapped, attributes)
    return plan.MountRoot(list(place.lower), place.upper, place.size, idmapped, attributes)


def _idmapped(spec: runtime.Spec) -> bool:
    return any(entry.type == "user" for entry in spec.linux.namespaces)


def _naming_steps(spec: runtime.Spec) -> list[plan.Step]:
    steps: list[plan.Step] = []
    if any(entry.type == "uts" for entry in spec.linux.namespaces):
        steps += [plan.SetHostname(spec.hostname)] if spec.hostname else []
        steps += [plan.SetDomainname(spec.domainname)] if spec.domainname else []
    return steps


def _cgroup_steps(spec: runtime.Spec, place: Place) -> list[plan.Step]:
    steps: list[plan.Step] = []
    if place.cgroup is not None:
        # Joined first: the cgroup namespace takes the cgroup it is made in as its root.
        steps.append(plan.JoinCgroup())
    if any(entry.type == "cgroup" for entry in spec.linux.namespaces):
        steps.append(plan.NewCgroupNamespace())
    return steps


def _enter_steps(spec: runtime.Spec) -> list[plan.Step]:
    steps: list[plan.Step] = [plan.TakeMounts(), plan.EnterRoot(), plan.MountKernelFilesystems()]
    if spec.linux.sysctl:
        # Before /proc/sys becomes read-only.
        steps.append(plan.WriteSysctls(list(spec.linux.sysctl.items())))
    return steps


def _hiding_steps(spec: runtime.Spec) -> list[plan.Step]:
    steps: list[plan.Step] = []
    if spec.linux.masked_paths:
        steps.append(plan.Mask(list(spec.linux.masked_paths)))
    read_only = [*spec.linux.readonly_paths, *(["/"] if spec.root.readonly else [])]
    if read_only:
        steps.append(plan.MakeReadOnly(read_only))
    return steps


class _Trees:
    """The mounts that the launcher makes, numbered as init will receive them."""

    def __init__(self, *, first: int) -> None:
        self.steps: list[Tree | wiring.MountSysfs] = []
        self._first = first

    def add(self, step: Tree | wiring.MountSysfs) -> int:
        self.steps.append(step)
        return self._first + len(self.steps) - 1


def _mount_steps(
    spec: runtime.Spec, place: Place, wanted: Sequence[runtime.Mount], trees: _Trees
) -> list[plan.Step]:
    steps: list[plan.Step] = []
    for mount in wanted:
        if mount.type == "sysfs" and not _has_own_sysfs(spec):
            steps.append(plan.AttachTree(trees.add(wiring.MountSysfs()), mount.destination))
            continue
        if mount.type in ("proc", "sysfs"):
            continue
        if mount.type == "cgroup":
            if place.hierarchies is not None:
                steps.append(plan.MountCgroups(list(place.hierarchies)))
        elif placing.is_tree(mount):
            index = trees.add(placing.tree(mount))
            steps.append(plan.AttachTree(index, mount.destination))
        elif mount.destination == "/dev" and mount.type == "tmpfs":
            steps.append(plan.AttachTree(0, "/dev"))
        else:
            flags, _, data = placing.parsed(mount.options)
            steps.append(plan.MountNew(mount.type, mount.destination, flags, ",".join(data)))
    return steps


def _nodes(devices: Sequence[runtime.Device]) -> list[tuple[str, str, int, int, int]]:
    extra = [
        (
            device.path.removeprefix("/dev/"),
            "b" if device.type == "b" else "c",
            device.major or 0,
            device.minor or 0,
            0o666 if device.file_mode is None else device.file_mode & 0o777,
        )
        for device in devices
        if device.path.removeprefix("/dev/") not in {node[0] for node in DEFAULT_DEVICES}
    ]
    return [*DEFAULT_DEVICES, *extra]


def _process_steps(spec: runtime.Spec, place: Place) -> list[plan.Step]:
    process = spec.process
    steps: list[plan.Step] = []
    if process.terminal:
        rows, columns = place.terminal_size
        steps.append(plan.OpenTerminal(rows, columns))
    return [
        *steps,
        *program_steps(
            process,
            seccomp=None
            if place.seccomp_fd is None
            else plan.LoadSeccomp(place.seccomp_fd, place.seccomp_size),
            reap=place.init,
        ),
    ]


def exec_steps(
    kinds: Sequence[str], process: runtime.Process, *, seccomp: plan.LoadSeccomp | None
) -> list[plan.Step]:
    """Give the steps of a further program in a running container with these namespaces."""
    # The PID namespace is that of the birth already.
    names = [_NAMESPACES.get(kind, kind) for kind in kinds if kind != "pid"]
    steps: list[plan.Step] = [
        plan.JoinCgroup(),
        plan.JoinNamespaces(names),
        plan.BecomeRoot(),
        plan.NewSession(),
        _bound(process),
    ]
    if process.terminal:
        steps.append(plan.OpenTerminal(24, 80))
    return [*steps, *program_steps(process, seccomp=seccomp)]


def _bound(process: runtime.Process) -> plan.DropBounding:
    """Give the step that has to come while CAP_SETPCAP is there: it is among what may go."""
    return plan.DropBounding(capabilities.mask(process.capabilities.bounding))


def program_steps(
    process: runtime.Process, *, seccomp: plan.LoadSeccomp | None, reap: bool = False
) -> list[plan.Step]:
    """Give the steps from a root process to the program: directory, user, rights, filter, exec."""
    sets = process.capabilities
    user = process.user
    named = user.username or f"{user.uid}:{user.gid}"
    steps: list[plan.Step] = [
        # As root: the user may not be allowed to make the directory, or to walk to it.
        plan.EnterDirectory(process.cwd),
    ]
    if seccomp is not None and not process.no_new_privileges:
        # Without no_new_privs a filter takes CAP_SYS_ADMIN, which the next steps give up.
        steps.append(seccomp)
    steps.append(plan.BecomeUser(named, [*user.additional_gids, *user.group_names]))
    steps.append(
        plan.SetCapabilities(
            capabilities.mask(sets.permitted),
            capabilities.mask(sets.effective),
            # The kernel wants what is ambient inheritable too; bundles often leave that out.
            capabilities.mask(sets.inheritable) | capabilities.mask(sets.ambient),
            capabilities.mask(sets.ambient),
        )
    )
    if process.no_new_privileges:
        steps.append(plan.ForbidNewPrivileges())
    if reap:
        steps.append(plan.Reap())
    if seccomp is not None and process.no_new_privileges:
        # Last: the program's filter need not allow what the steps above call.
        steps.append(seccomp)
    steps.append(plan.Execute(list(process.args), list(process.env)))
    return steps
