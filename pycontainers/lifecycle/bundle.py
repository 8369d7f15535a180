"""Bundles of the runtime spec: a config.json beside a root file system, read, written and run.

runtime-spec/bundle.md.  What is written here `runc run` accepts; what others wrote runs here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import output, placing, seccomp, volumes
from pycontainers.lifecycle.attached import new_id
from pycontainers.lifecycle.completion import completed
from pycontainers.lifecycle.streams import PIPE, Streams, run_to_end
from pycontainers.oci import codec, runtime

if TYPE_CHECKING:
    import os

    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.result import CompletedRun
    from pycontainers.lifecycle.services import Services

_CONFIG: Final = "config.json"
_FIRST_ID: Final = 0x70000000  # what a bundle, which can't lease a range, maps its root to
_RANGE: Final = 65536
_PERIOD: Final = 100_000  # microseconds, the kernel's default for cpu.cfs_period_us


def read_bundle(directory: str | os.PathLike[str]) -> runtime.Spec:
    """Read a bundle's config.json; raises InvalidArgument, which names the entry.

    >>> read_bundle("/run/bundle").process.args           # doctest: +SKIP
    ('sh',)
    """
    path = Path(directory, _CONFIG)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    return codec.from_json(runtime.Spec, data)


def write_bundle(
    life: Life, directory: str | os.PathLike[str], rootfs: str | os.PathLike[str]
) -> runtime.Spec:
    """Write a container's config.json into `directory`, for the root file system `rootfs`.

    Raises InvalidArgument where the user or a group is a name: the runtime spec has numbers only.
    """
    spec = life.spec
    user = spec.process.user
    uid, gid = _numbers(user.username)
    if user.group_names:
        raise InvalidArgument(f"group_add: a bundle needs numbers, not {user.group_names[0]!r}")
    granted = frozenset(spec.process.capabilities.bounding)
    options = life.options
    profile = "unconfined" if options.privileged else options.seccomp
    mapped = any(entry.type == "user" for entry in spec.linux.namespaces)
    mapping = (runtime.IDMapping(0, _FIRST_ID, _RANGE),) if mapped else ()
    places = volumes.places(life.services, life.volumes)
    spec = attrs.evolve(
        spec,
        mounts=placing.portable(spec.mounts, places),
        process=attrs.evolve(spec.process, user=attrs.evolve(user, username="", uid=uid, gid=gid)),
        root=attrs.evolve(spec.root, path=str(Path(rootfs).absolute())),
        linux=attrs.evolve(
            spec.linux,
            uid_mappings=mapping,
            gid_mappings=mapping,
            seccomp=seccomp.resolved(profile, granted) or {},
        ),
    )
    Path(directory).mkdir(parents=True, exist_ok=True)
    Path(directory, _CONFIG).write_bytes(codec.to_json(spec))
    return spec


def run_bundle(
    services: Services,
    directory: str | os.PathLike[str],
    *,
    feed: bytes | None = None,
    timeout: float | None = None,
    limit: int = output.DEFAULT_LIMIT,
) -> CompletedRun[str]:
    """Run a bundle's program to its end, in its own root file system.

    Raises InvalidArgument, NotSupported, LaunchError.
    """
    spec = read_bundle(directory)
    container_id = new_id()
    limits = _limits(spec.linux.resources)
    services.cgroups.check(limits)
    cgroup = services.cgroup(services.cgroup_name())
    program = seccomp.compile_runtime_spec(spec.linux.seccomp) if spec.linux.seccomp else None
    filter_fd, size = (None, 0) if program is None else services.hold(program)
    place = compiling.Place(
        directory=str(Path(directory, spec.root.path).absolute()),
        cgroup=None if cgroup is None else cgroup.plain(),
        limits=limits._asdict(),
        hierarchies=services.cgroups.hierarchies(limits),
        seccomp_fd=None if filter_fd is None else 0,
        seccomp_size=size,
    )
    todo = compiling.compile_plan(container_id, spec, place)
    streams = Streams(stdin=feed is not None, stderr=PIPE, tty=spec.process.terminal)
    late: list[bool] = []

    def expire() -> None:
        late.append(True)
        running.signal(9)

    try:
        given = [] if filter_fd is None else [filter_fd]
        running = services.start(todo, streams.theirs, given)
        streams.started()
        out, err = run_to_end(
            running, streams, feed=feed, limit=limit, timeout=timeout, late=expire
        )
        args = spec.process.args
        return completed(args, running, out, err, text=True, timed_out=bool(late))
    finally:
        streams.close()


def _limits(resources: runtime.Resources) -> Limits:
    memory, cpu = resources.memory, resources.cpu
    pids = None if resources.pids is None else resources.pids.limit
    quota = None if cpu is None else cpu.quota
    bound = None if memory is None else memory.limit
    return Limits(
        memory=bound if bound is None or bound > 0 else None,
        memory_swap=None if memory is None or bound is None else memory.swap,
        memory_reservation=None if memory is None else memory.reservation,
        cpus=None
        if cpu is None or quota is None or quota <= 0
        else quota / (cpu.period or _PERIOD),
        cpu_shares=None if cpu is None else cpu.shares,
        cpuset=None if cpu is None else cpu.cpus or None,
        pids=pids if pids is None or pids > 0 else None,
        io_weight=None if resources.block_io is None else resources.block_io.weight,
        devices=tuple(
            (rule.type or "a", _any(rule.major), _any(rule.minor), rule.access or "rwm")
            for rule in resources.devices
            if rule.allow
        )
        or None,
    )


def _any(number: int | None) -> int:
    return -1 if number is None else number


def _numbers(user: str) -> tuple[int, int]:
    uid, _, gid = user.partition(":")
    try:
        return int(uid or 0), int(gid or 0)
    except ValueError:
        raise InvalidArgument(
            f"user: a bundle needs numbers, not {user!r}", hint="write it as 1000:1000"
        ) from None
