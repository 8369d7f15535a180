"""From options and an image's config to the runtime spec: what the container shall be."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.kernel import capabilities
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.lifecycle import mounts, placing, security, values
from pycontainers.lifecycle import options as options_module
from pycontainers.oci import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pycontainers.lifecycle.options import Command, Options
    from pycontainers.oci.config import ImageConfig

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAFE: Final = ("nosuid", "noexec", "nodev")


def make_spec(
    options: Options,
    config: ImageConfig,
    *,
    container_id: str,
    trees: tuple[tuple[str, str], ...] = (),
    rootfs: str | Path = "rootfs",
) -> runtime.Spec:
    """Make the runtime spec of a container (runtime-spec/config-linux.md).

    A user namespace without mappings gets a free range when the container is born.  `trees` are
    (source, target) of the image's own read-only mounts.
    """
    mapped = options.userns == "auto" and not options.privileged
    known = frozenset(capabilities.NUMBERS)
    if not mapped and not options.cap_add:
        # A user namespace's root has all of them in there; the host's has what this process has.
        known = frozenset(capabilities.names(capabilities.current().permitted))
    granted = security.granted_capabilities(options, known)
    return runtime.Spec(
        process=_process(options, config, granted),
        root=runtime.Root(path=str(rootfs), readonly=options.read_only),
        hostname=options.hostname or container_id[:12],
        domainname=options.domainname or "",
        mounts=(
            *_kernel_mounts(options),
            *(
                placing.bind(source, target, read_only=True, mapped=mapped)
                for source, target in trees
            ),
            *_name_files(options, mapped),
            *(placing.entry(each, mapped=mapped) for each in mounts.all_of(options)),
        ),
        linux=runtime.Linux(
            namespaces=_namespaces(options, mapped),
            devices=_devices(options),
            sysctl=_sysctls(options),
            resources=_resources(options),
            masked_paths=() if options.privileged else security.masked_paths(),
            readonly_paths=() if options.privileged else security.read_only_paths(),
        ),
    )


def _process(options: Options, config: ImageConfig, granted: frozenset[str]) -> runtime.Process:
    argv = config.command(options.entrypoint, options.command)
    if not argv:
        raise InvalidArgument("command: none is given, and the image has none")
    names = tuple(sorted(granted))
    return runtime.Process(
        args=tuple(argv),
        env=environment(options, config),
        cwd=options.workdir or config.working_dir or "/",
        terminal=options.tty,
        user=runtime.User(
            0,
            0,
            tuple(group for group in options.group_add if isinstance(group, int)),
            username=options.user or config.user or "",
            group_names=tuple(group for group in options.group_add if isinstance(group, str)),
        ),
        capabilities=runtime.Capabilities(bounding=names, permitted=names, effective=names),
        oom_score_adj=options.oom_score_adj,
        no_new_privileges=options.no_new_privileges and not options.privileged,
        rlimits=tuple(
            runtime.Rlimit(
                type=f"RLIMIT_{name.upper()}", soft=_unlimited(soft), hard=_unlimited(hard)
            )
            for name, (soft, hard) in {
                "core": (0, 0),
                **{name: (soft, hard) for name, soft, hard in options.ulimits},
            }.items()
        ),
    )


def _unlimited(value: int) -> int:
    return (1 << 64) - 1 if value == -1 else value


def environment(options: Options, config: ImageConfig) -> tuple[str, ...]:
    """Give the variables of the container's program, as `NAME=value`."""
    given = [_PATH, f"HOSTNAME={options.hostname}" if options.hostname else "", *config.env]
    if options.tty:
        given.append("TERM=xterm")
    merged = dict(item.split("=", 1) for item in (*given, *options.env) if "=" in item)
    return tuple(f"{key}={value}" for key, value in merged.items())


def _namespaces(options: Options, mapped: bool) -> tuple[runtime.Namespace, ...]:
    kinds = ["mount", "pid", "uts", "ipc", "cgroup"]
    if options.has_own_network:
        kinds.append("network")
    if mapped:
        kinds.append("user")
    return tuple(runtime.Namespace(type=kind) for kind in kinds)


def _kernel_mounts(options: Options) -> tuple[runtime.Mount, ...]:
    writable = "rw" if options.privileged else "ro"
    shm = f"size={options.shm_size}"
    sysfs = (
        runtime.Mount("/sys", type="sysfs", source="sysfs", options=(*_SAFE, writable))
        if options.network[0] != "host"
        # Only the owner of a network namespace may mount its sysfs; the host's can be shown.
        else runtime.Mount("/sys", type="bind", source="/sys", options=("rbind", *_SAFE, "ro"))
    )
    return (
        runtime.Mount("/proc", type="proc", source="proc", options=_SAFE),
        sysfs,
        runtime.Mount(
            "/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "noexec", "mode=0755", "size=65536k"),
        ),
        runtime.Mount(
            "/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        runtime.Mount("/dev/shm", type="tmpfs", source="shm", options=(*_SAFE, "mode=1777", shm)),
        runtime.Mount("/dev/mqueue", type="mqueue", source="mqueue", options=_SAFE),
        runtime.Mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_SAFE, "ro")),
    )


def _name_files(options: Options, mapped: bool) -> Iterator[runtime.Mount]:
    """Give the mounts of what names are found by, unless the user brings the file.

    Those of a network of ours are relative to the container's directory.
    """
    given = {mount.target for mount in (*options.mounts, *options.volumes)}
    for name in () if options.network[0] == "none" else ("hosts", "resolv.conf"):
        target = f"/etc/{name}"
        if target in given:
            continue
        if options.network[0] != "host":
            yield placing.bind(name, target, read_only=True, mapped=mapped)
        elif Path(target).is_file():
            yield placing.bind(target, target, read_only=True, mapped=False)


def _devices(options: Options) -> tuple[runtime.Device, ...]:
    """Give the nodes beyond the default ones that every runtime makes (config-linux.md)."""
    found = []
    for source, target, _ in options.devices:
        facts = Path(source).stat()
        if not (stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)):
            raise InvalidArgument(f"devices: {source} is not a device")
        kind, major, minor = _numbers(source)
        mode = stat.S_IMODE(facts.st_mode)
        found.append(
            runtime.Device(type=kind, path=target, major=major, minor=minor, file_mode=mode)
        )
    return tuple(found)


def _sysctls(options: Options) -> dict[str, str]:
    default = dict(security.DEFAULT_SYSCTLS) if options.has_own_network else {}
    for name, _ in options.sysctls:
        if name.startswith("net.") and not options.has_own_network:
            raise InvalidArgument(f"sysctls: {name} is not the container's own network's")
    return {**default, **dict(options.sysctls)}


def _resources(options: Options) -> runtime.Resources:
    quota = None if options.cpus is None else int(options.cpus * 100_000)
    return runtime.Resources(
        memory=_memory(options),
        cpu=runtime.CPU(
            shares=options.cpu_shares,
            quota=quota,
            period=None if quota is None else 100_000,
            cpus=options.cpuset or "",
        ),
        pids=None if options.pids is None else runtime.Pids(limit=options.pids),
        block_io=None if options.io_weight is None else runtime.BlockIO(weight=options.io_weight),
    )


def _memory(options: Options) -> runtime.Memory | None:
    if options.memory is None and options.memory_reservation is None:
        return None
    return runtime.Memory(
        limit=options.memory,
        reservation=options.memory_reservation,
        swap=options.memory_swap or options.memory,
    )


def further_process(
    first: runtime.Process,
    command: Command,
    env: Mapping[str, str] | Sequence[str],
    user: str | int | None,
    workdir: str | None,
    tty: bool,
) -> runtime.Process:
    """Give a further program of a container from its first one; raises InvalidArgument."""
    argv = values.command("command", command)
    if not argv:
        raise InvalidArgument("command: none is given")
    merged = dict(item.split("=", 1) for item in (*first.env, *values.environment(env)))
    named = first.user.username if user is None else values.plain("user", str(user), 256)
    return attrs.evolve(
        first,
        args=argv,
        env=tuple(f"{key}={value}" for key, value in merged.items()),
        user=attrs.evolve(first.user, username=named),
        cwd=first.cwd if workdir is None else values.inside("workdir", workdir),
        terminal=tty,
    )


def limits(options: Options, *, accounting: bool = False) -> Limits:
    """Give what the cgroup shall enforce, and with `accounting` count for statistics.

    Where root inside is root outside, the devices controller keeps it from the host's devices; in a
    user namespace the kernel does.
    """
    rules = None
    if options.userns == "host" and not options.privileged:
        extra = [(*_numbers(source), access) for source, _, access in options.devices]
        rules = (*security.DEVICE_RULES, *extra)
    return Limits(
        memory=options.memory,
        memory_swap=options.memory_swap,
        memory_reservation=options.memory_reservation,
        cpus=options.cpus,
        cpu_shares=options.cpu_shares,
        cpuset=options.cpuset,
        pids=options.pids,
        io_weight=options.io_weight,
        devices=rules,
        accounting=accounting,
    )


def _numbers(source: str) -> tuple[str, int, int]:
    facts = Path(source).stat()
    kind = "b" if stat.S_ISBLK(facts.st_mode) else "c"
    return kind, os.major(facts.st_rdev), os.minor(facts.st_rdev)


def stop_signal(config: ImageConfig) -> int:
    """Give the signal that asks the image's program to end."""
    return options_module.stop_signal(config.stop_signal) if config.stop_signal else signal.SIGTERM


def summary(options: Options, image: str) -> dict[str, Any]:
    """Give what other processes may see of a container's options, as JSON can hold it."""
    return {
        "image": image,
        "command": list(options.command or ()),
        "labels": dict(options.labels),
        "hostname": options.hostname,
        "ephemeral": options.ephemeral,
        "images": [mount.source for mount in options.mounts if mount.kind == "image"],
    }
