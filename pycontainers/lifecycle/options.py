"""What the user asked for: one frozen object, all of it checked when it is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, TypeVar

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.kernel import capabilities, processes
from pycontainers.lifecycle import values

if TYPE_CHECKING:
    from typing_extensions import Unpack

Size: TypeAlias = int | str
Command: TypeAlias = str | Sequence[str]
_Item = TypeVar("_Item")

_DEFAULT_PIDS: Final = 4096
_DEFAULT_SHM: Final = 64 << 20
_DEVICE_FIELDS: Final = 3


@attrs.frozen
class Mount:
    """One mount of a container; made by `bind` and `tmpfs`."""

    kind: Literal["bind", "tmpfs"]
    target: str
    source: str = ""
    read_only: bool = False
    size: int | None = None
    mode: int = 0o1777

    @classmethod
    def bind(cls, source: str | os.PathLike[str], target: str, *, read_only: bool = False) -> Mount:
        """Show the host's directory or file `source` at `target`, with all mounts below it.

        Ids are mapped: what the container's root writes belongs to root on the host.  Raises
        InvalidArgument where the source is missing.

        >>> Mount.bind("/usr/share", "/data", read_only=True).target
        '/data'
        """
        path = Path(source).absolute()
        if not path.exists():
            raise InvalidArgument(f"mounts: the source {path} does not exist")
        return cls("bind", values.inside("mounts", target, mount=True), str(path), read_only)

    @classmethod
    def tmpfs(cls, target: str, *, size: Size | None = None, mode: int = 0o1777) -> Mount:
        """Mount an empty file system in memory at `target`, of at most `size` bytes.

        >>> Mount.tmpfs("/tmp", size="16m").size
        16777216
        """
        return cls(
            "tmpfs",
            values.inside("tmpfs", target, mount=True),
            size=None if size is None else values.size("tmpfs", size),
            mode=values.whole("tmpfs mode", mode, 0, 0o7777),
        )


class RunOptions(TypedDict, total=False):
    """The options that `run`, `Container.create` and `Container.run` have in common."""

    name: str | None
    entrypoint: Command | None
    env: Mapping[str, str] | Sequence[str]
    workdir: str | None
    user: str | int | None
    hostname: str | None
    network: Literal["none", "host"]
    mounts: Sequence[Mount]
    tmpfs: Mapping[str, Size | None] | Sequence[str]
    memory: Size | None
    memory_swap: Size | None
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


def _labels(value: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((values.plain("labels", k), values.plain("labels", v)) for k, v in value.items())


def _ulimits(value: Mapping[str, int | tuple[int, int]]) -> tuple[tuple[str, int, int], ...]:
    checked = []
    for key, given in value.items():
        soft, hard = given if isinstance(given, tuple) else (given, given)
        processes.limit_number(key)
        for number in (soft, hard):
            values.whole(f"ulimits {key}", number, -1, 1 << 62)
        if hard != -1 and (soft == -1 or soft > hard):
            raise InvalidArgument(
                f"ulimits: {key}: the soft limit {soft} is above the hard, {hard}"
            )
        checked.append((key, soft, hard))
    return tuple(checked)


def _tmpfs(value: Mapping[str, Size | None] | Sequence[str]) -> tuple[Mount, ...]:
    if isinstance(value, Mapping):
        return tuple(Mount.tmpfs(target, size=size) for target, size in value.items())
    return tuple(Mount.tmpfs(target) for target in value)


def _mounts(value: Sequence[Mount]) -> tuple[Mount, ...]:
    for mount in _list("mounts", value):
        if not isinstance(mount, Mount):
            raise InvalidArgument(f"mounts: expected a Mount, not {mount!r}")
    return tuple(value)


def _capability_names(option: str, value: Sequence[str]) -> tuple[str, ...]:
    return tuple(capabilities.parse(name) for name in _list(option, value))


def _list(option: str, value: Sequence[_Item]) -> Sequence[_Item]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidArgument(f"{option}: expected a list, not {value!r}")
    return value


def _devices(value: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Take Docker's `/dev/x[:/dev/y[:rwm]]`."""
    checked = []
    for item in _list("devices", value):
        source, *rest = values.plain("devices", item).split(":")
        target = rest[0] if rest else source
        access = rest[1] if len(rest) > 1 else "rwm"
        if len(rest) >= _DEVICE_FIELDS or not access or set(access) - set("rwm"):
            raise InvalidArgument(f"devices: {item!r} is not of the form /dev/x:/dev/y:rwm")
        target = values.inside("devices", target)
        if not target.startswith("/dev/") or not Path(source).exists():
            raise InvalidArgument(
                f"devices: {item!r}: no such device, or its target is not in /dev"
            )
        checked.append((source, target, access))
    return tuple(checked)


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


def _flag(option: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{option}: expected True or False, not {value!r}")
    return value


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InvalidArgument(f"{option}: {value!r} is none of {', '.join(allowed)}")
    return value


def _cpus(value: float) -> float:
    number = values.seconds("cpus", value)
    if number < 0.01:
        raise InvalidArgument(f"cpus: {value} is less than a hundredth of a processor")
    return number


def _memory(value: Size) -> int:
    number = values.size("memory", value)
    if number < 512 << 10:
        raise InvalidArgument(f"memory: {number} bytes are too few", hint="at least 512k")
    return number


def _profile(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike | Mapping):
        raise InvalidArgument(f"seccomp: expected a name, path or mapping, not {value!r}")
    return os.fspath(value) if isinstance(value, os.PathLike) else value


_OPTIONAL: Final = frozenset(
    "name entrypoint workdir user hostname memory memory_swap cpus cpu_shares cpuset pids "
    "io_weight stop_signal timeout".split()
)
_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "name": values.name,
    "entrypoint": lambda value: values.command("entrypoint", value),
    "env": values.environment,
    "workdir": lambda value: values.inside("workdir", value),
    "user": lambda value: values.plain("user", str(value), 256),
    "hostname": values.hostname,
    "network": lambda value: _choice("network", value, ("none", "host")),
    "mounts": _mounts,
    "tmpfs": _tmpfs,
    "memory": _memory,
    "memory_swap": lambda value: values.size("memory_swap", value),
    "cpus": _cpus,
    "cpu_shares": lambda value: values.whole("cpu_shares", value, 2, 262144),
    "cpuset": values.cpuset,
    "pids": lambda value: values.whole("pids", value, 1, 1 << 22),
    "io_weight": lambda value: values.whole("io_weight", value, 10, 1000),
    "shm_size": lambda value: values.size("shm_size", value),
    "ulimits": _ulimits,
    "devices": _devices,
    "sysctls": values.sysctls,
    "labels": _labels,
    "cap_add": lambda value: _capability_names("cap_add", value),
    "cap_drop": lambda value: _capability_names("cap_drop", value),
    "seccomp": _profile,
    "no_new_privileges": lambda value: _flag("no_new_privileges", value),
    "userns": lambda value: _choice("userns", value, ("auto", "host")),
    "read_only": lambda value: _flag("read_only", value),
    "privileged": lambda value: _flag("privileged", value),
    "init": lambda value: _flag("init", value),
    "tty": lambda value: _flag("tty", value),
    "stdin": lambda value: _flag("stdin", value),
    "stop_signal": stop_signal,
    "stop_timeout": lambda value: values.seconds("stop_timeout", value),
    "ephemeral": lambda value: _flag("ephemeral", value),
    "timeout": lambda value: values.seconds("timeout", value),
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
    hostname: str | None = None
    network: str = "none"
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[Mount, ...] = ()
    memory: int | None = None
    memory_swap: int | None = None
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
        options = cls(command=values.command("command", command), **checked)
        options._check_together()
        return options

    def unnamed(self) -> Options:
        """Give the same options without what only names the container."""
        if self.name is None and not self.labels:
            return self
        return attrs.evolve(self, name=None, labels=())

    def _check_together(self) -> None:
        targets = [mount.target for mount in (*self.mounts, *self.tmpfs)]
        for target in targets:
            if targets.count(target) > 1:
                raise InvalidArgument(f"mounts: two mounts at {target}")
        if self.memory_swap is not None and (self.memory is None or self.memory_swap < self.memory):
            raise InvalidArgument(
                "memory_swap: must be at least memory, which it includes, and needs it given"
            )
