"""What the user asked for: one frozen object, all of it checked when it is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import mounts, netoptions, values, volumesfrom
from pycontainers.lifecycle.mounts import Mount
from pycontainers.lifecycle.policies import NO_RESTART, Healthcheck, RestartPolicy
from pycontainers.net import ports
from pycontainers.net.ports import Port

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pycontainers.lifecycle.mounts import Volumes
    from pycontainers.lifecycle.netoptions import NetworkOption
    from pycontainers.lifecycle.volumesfrom import VolumesFrom
    from pycontainers.net.ports import Ports

Size: TypeAlias = int | str
Command: TypeAlias = str | Sequence[str]

_DEFAULT_PIDS: Final = 4096
_DEFAULT_SHM: Final = 64 << 20
_DEFAULT_LOG: Final = 128 << 20
_KEPT_LOGS: Final = 3
_LEAST_LOG: Final = 4096


class RunOptions(TypedDict, total=False):
    """The options that `run`, `Container.create` and `Container.run` have in common."""

    name: str | None
    entrypoint: Command | None
    env: Mapping[str, str] | Sequence[str]
    workdir: str | None
    user: str | int | None
    group_add: Sequence[str | int]
    hostname: str | None
    domainname: str | None
    network: NetworkOption | None
    ports: Ports
    publish_all: bool
    ip: str | None
    ip6: str | None
    mac: str | None
    aliases: Sequence[str]
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    extra_hosts: Mapping[str, str] | Sequence[str]
    network_rate: int | str | None
    network_priority: int | None
    mounts: Sequence[Mount]
    volumes: Volumes
    volumes_from: VolumesFrom
    tmpfs: Mapping[str, Size | None] | Sequence[str]
    memory: Size | None
    memory_swap: Size | None
    memory_reservation: Size | None
    oom_score_adj: int | None
    cpus: float | None
    cpu_shares: int | None
    cpuset: str | None
    pids: int | None
    io_weight: int | None
    shm_size: Size
    ulimits: Mapping[str, int | tuple[int, int]]
    devices: Sequence[str]
    sysctls: Mapping[str, str]
    labels: Mapping[str, str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    seccomp: str | os.PathLike[str] | Mapping[str, Any]
    no_new_privileges: bool
    userns: Literal["auto", "host"]
    read_only: bool
    privileged: bool
    init: bool
    tty: bool
    stdin: bool
    stop_signal: str | int | None
    stop_timeout: float
    ephemeral: bool
    timeout: float | None
    detach: bool
    auto_remove: bool
    restart: str | Mapping[str, Any] | RestartPolicy | None
    healthcheck: str | Sequence[str] | Mapping[str, Any] | Healthcheck | None
    log_max_size: Size
    log_max_files: int


class UpdateOptions(TypedDict, total=False):
    """The options that can be changed on a container that is there; None takes a limit away."""

    memory: Size | None
    memory_swap: Size | None
    memory_reservation: Size | None
    cpus: float | None
    cpu_shares: int | None
    cpuset: str | None
    pids: int | None
    io_weight: int | None
    restart: str | Mapping[str, Any] | RestartPolicy | None


def _log_size(value: Size) -> int:
    number = values.size("log_max_size", value)
    if number < _LEAST_LOG:
        raise InvalidArgument(f"log_max_size: {number} bytes are too few", hint="at least 4k")
    return number


def stop_signal(value: str | int) -> int:
    """Give a signal's number from a number or a name with or without SIG.

    >>> stop_signal("TERM")
    15
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return values.whole("signal", value, 1, 64)
    if isinstance(value, str):
        if value.isdigit():
            return values.whole("signal", int(value), 1, 64)
        found = getattr(signal, "SIG" + value.upper().removeprefix("SIG"), None)
        if isinstance(found, signal.Signals):
            return int(found)
    raise InvalidArgument(f"no such signal: {value!r}")


_OPTIONAL: Final = frozenset(
    "name entrypoint workdir user hostname domainname memory memory_swap memory_reservation "
    "oom_score_adj cpus cpu_shares cpuset pids io_weight stop_signal timeout healthcheck network "
    "ip ip6 mac network_rate network_priority".split()
)
_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "name": values.name,
    "entrypoint": lambda value: values.command("entrypoint", value),
    "env": values.environment,
    "workdir": lambda value: values.inside("workdir", value),
    "user": lambda value: values.plain("user", str(value), 256),
    "group_add": values.groups,
    "hostname": values.hostname,
    "domainname": values.domainname,
    "network": netoptions.network,
    "ports": ports.parse,
    "publish_all": lambda value: values.flag("publish_all", value),
    "ip": lambda value: netoptions.address("ip", value, 4),
    "ip6": lambda value: netoptions.address("ip6", value, 6),
    "mac": netoptions.mac,
    "aliases": netoptions.aliases,
    "dns": netoptions.dns,
    "dns_search": netoptions.dns_search,
    "dns_options": netoptions.dns_options,
    "extra_hosts": netoptions.extra_hosts,
    "network_rate": netoptions.rate,
    "network_priority": netoptions.priority,
    "mounts": mounts.listed,
    "volumes": mounts.volumes,
    "volumes_from": volumesfrom.listed,
    "tmpfs": mounts.in_memory,
    "memory": lambda value: values.memory("memory", value),
    "memory_swap": values.memory_swap,
    "memory_reservation": lambda value: values.memory("memory_reservation", value),
    "oom_score_adj": lambda value: values.whole("oom_score_adj", value, -1000, 1000),
    "cpus": values.cpus,
    "cpu_shares": lambda value: values.whole("cpu_shares", value, 2, 262144),
    "cpuset": values.cpuset,
    "pids": lambda value: values.whole("pids", value, 1, 1 << 22),
    "io_weight": lambda value: values.whole("io_weight", value, 10, 1000),
    "shm_size": lambda value: values.size("shm_size", value),
    "ulimits": values.ulimits,
    "devices": values.devices,
    "sysctls": values.sysctls,
    "labels": values.labels,
    "cap_add": lambda value: values.capability_names("cap_add", value),
    "cap_drop": lambda value: values.capability_names("cap_drop", value),
    "seccomp": values.profile,
    "no_new_privileges": lambda value: values.flag("no_new_privileges", value),
    "userns": lambda value: values.choice("userns", value, ("auto", "host")),
    "read_only": lambda value: values.flag("read_only", value),
    "privileged": lambda value: values.flag("privileged", value),
    "init": lambda value: values.flag("init", value),
    "tty": lambda value: values.flag("tty", value),
    "stdin": lambda value: values.flag("stdin", value),
    "stop_signal": stop_signal,
    "stop_timeout": lambda value: values.seconds("stop_timeout", value),
    "ephemeral": lambda value: values.flag("ephemeral", value),
    "timeout": lambda value: values.seconds("timeout", value),
    "detach": lambda value: values.flag("detach", value),
    "auto_remove": lambda value: values.flag("auto_remove", value),
    "restart": RestartPolicy.of,
    "healthcheck": Healthcheck.of,
    "log_max_size": _log_size,
    "log_max_files": lambda value: values.whole("log_max_files", value, 1, 100),
}
_UNLIMITED: Final = {  # Docker's ways to say that there shall be no such limit
    "memory": (-1, "-1"),
    "memory_reservation": (-1, "-1", 0, "0"),
    "cpus": (0,),
    "cpu_shares": (0,),
    "cpuset": ("",),
    "pids": (-1, 0),
    "io_weight": (0,),
}


@attrs.frozen(kw_only=True)
class Options:
    """All options of one container, checked by `of`; see `RunOptions` for what can be given."""

    command: tuple[str, ...] | None = None
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    group_add: tuple[str | int, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    network: tuple[str, ...] = ("none",)
    ports: tuple[Port, ...] = ()
    publish_all: bool = False
    ip: str | None = None
    ip6: str | None = None
    mac: str | None = None
    aliases: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    network_rate: int | None = None
    network_priority: int | None = None
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    tmpfs: tuple[Mount, ...] = ()
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    oom_score_adj: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    pids: int | None = _DEFAULT_PIDS
    io_weight: int | None = None
    shm_size: int = _DEFAULT_SHM
    ulimits: tuple[tuple[str, int, int], ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str | Mapping[str, Any] = "default"
    no_new_privileges: bool = True
    userns: str = "auto"
    read_only: bool = False
    privileged: bool = False
    init: bool = False
    tty: bool = False
    stdin: bool = False
    stop_signal: int | None = None
    stop_timeout: float = 10.0
    ephemeral: bool = False
    timeout: float | None = None
    detach: bool = False
    auto_remove: bool = False
    restart: RestartPolicy = NO_RESTART
    healthcheck: Healthcheck | None = None
    log_max_size: int = _DEFAULT_LOG
    log_max_files: int = _KEPT_LOGS

    @classmethod
    def of(cls, command: Command | None = None, **given: Unpack[RunOptions]) -> Options:
        """Check what a caller gave; raises InvalidArgument, TypeError for an unknown option.

        >>> Options.of(["true"], memory="64m").memory
        67108864
        """
        checked: dict[str, Any] = {}
        for name, value in given.items():
            if name not in _CHECKS:
                raise TypeError(f"there is no option {name!r}")
            unset = value is None and name in _OPTIONAL
            checked[name] = None if unset else _CHECKS[name](value)
        if checked.get("network") is None:  # none is asked for: what is published needs one
            published = checked.get("ports") or checked.get("publish_all")
            checked["network"] = ("bridge",) if published else ("none",)
        options = cls(command=values.command("command", command), **checked)
        options._check_together()
        return options

    @property
    def has_own_network(self) -> bool:
        """Whether it gets a network namespace of its own."""
        return self.network[0] != "host" and not self.network[0].startswith(netoptions.CONTAINER)

    @property
    def is_bridged(self) -> bool:
        """Whether it has places in networks."""
        return self.has_own_network and self.network[0] != "none"

    def unnamed(self) -> Options:
        """Give the same options without what only names the container."""
        if self.name is None and not self.labels:
            return self
        return attrs.evolve(self, name=None, labels=())

    def updated(self, **given: Unpack[UpdateOptions]) -> Options:
        """Give the same options with some changed; raises InvalidArgument, TypeError.

        None takes a limit away, and so do Docker's ways to say that: -1 for `memory` and `pids`, 0
        for the other numbers, "" for `cpuset`.  Without `memory` there is no `memory_swap`.

        >>> Options.of(["true"], memory="64m").updated(memory="128m", pids=None).memory
        134217728
        """
        checked: dict[str, Any] = {}
        for name, value in given.items():
            if name not in UpdateOptions.__annotations__:
                raise TypeError(f"there is no option {name!r} that can be changed")
            unlimited = not isinstance(value, bool) and value in _UNLIMITED.get(name, ())
            unset = unlimited or (value is None and name in _OPTIONAL)
            checked[name] = None if unset else _CHECKS[name](value)
        if checked.get("memory", self.memory) is None:
            checked.setdefault("memory_swap", None)
        changed = attrs.evolve(self, **checked)
        changed._check_together()
        return changed

    def packed(self) -> dict[str, Any]:
        """Give all of it as JSON can hold it; raises InvalidArgument where the profile can't be."""
        return {field.name: _plain(getattr(self, field.name)) for field in attrs.fields(Options)}

    @classmethod
    def unpacked(cls, plain: Mapping[str, Any]) -> Options:
        """Make the options again that were `packed`, by this version or by another one.

        What this version does not know is ignored; what the other one did not is as by default.

        >>> Options.unpacked(Options.of(["true"], pids=10).packed()).pids
        10
        """
        known = {field.name for field in attrs.fields(cls)}
        return cls(**{name: _revived(name, plain[name]) for name in known & plain.keys()})

    def _check_together(self) -> None:
        netoptions.check_together(self)
        targets = [mount.target for mount in (*self.mounts, *self.volumes, *self.tmpfs)]
        for target in targets:
            if targets.count(target) > 1:
                raise InvalidArgument(f"mounts: two mounts at {target}")
        both = self.memory_swap
        if both is not None and (self.memory is None or -1 < both < self.memory):
            raise InvalidArgument(
                "memory_swap: must be at least memory, which it includes, and needs it given"
            )
        least = self.memory_reservation
        if least is not None and self.memory is not None and least > self.memory:
            raise InvalidArgument(
                f"memory_reservation: {least} bytes are more than memory allows, {self.memory}"
            )
        if self.auto_remove and self.restart.name != "no":
            raise InvalidArgument(
                "auto_remove: a container that starts again can't be removed when it ends",
                hint='leave auto_remove out, or use restart="no"',
            )


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return {
            field.name: _plain(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    if isinstance(value, Mapping):
        return {values.text("seccomp", key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise InvalidArgument(f"seccomp: {value!r} is nothing that JSON can hold")


def _revived(name: str, value: Any) -> Any:
    if name in ("mounts", "volumes", "tmpfs"):
        return tuple(_made(Mount, item) for item in value)
    if name == "ports":
        return tuple(_made(Port, item) for item in value)
    if name == "network":
        return (value,) if isinstance(value, str) else tuple(value)
    if name == "restart":
        return _made(RestartPolicy, value)
    if name == "healthcheck":
        return None if value is None else _made(Healthcheck, value)
    return value if name == "seccomp" else _tuples(value)


def _made(kind: type[Any], plain: Mapping[str, Any]) -> Any:
    known = {field.name for field in attrs.fields(kind)}
    return kind(**{name: _tuples(plain[name]) for name in known & plain.keys()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
