"""What the user asked for: one frozen object, all of it checked when it is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypedDict

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.kernel import capabilities, processes
from pycontainers.lifecycle import values

Size: TypeAlias = int | str
Command: TypeAlias = str | Sequence[str]

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
    def bind(
        cls, source: str | os.PathLike[str], target: str, *, read_only: bool = False
    ) -> Mount:
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
            raise InvalidArgument(f"ulimits: {key}: the soft limit {soft} is above the hard, {hard}")
        checked.append((key, soft, hard))
    return tuple(checked)


def _tmpfs(value: Mapping[str, Size | None] | Sequence[str]) -> tuple[Mount, ...]:
    if isinstance(value, Mapping):
        return tuple(Mount.tmpfs(target, size=size) for target, size in value.items())
    return tuple(Mount.tmpfs(target) for target in value)


def _capabilities(option: str) -> Any:
    return lambda value: tuple(capabilities.parse(name) for name in _list(option, value))


def _list(option: str, value: Sequence[str]) -> Sequence[str]:
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
            raise InvalidArgument(f"devices: {item!r}: no such device, or its target is not in /dev")
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


def _optional(convert: Any) -> Any:
    return attrs.converters.optional(convert)


def _flag(option: str) -> Any:
    def check(value: bool) -> bool:
        if not isinstance(value, bool):
            raise InvalidArgument(f"{option}: expected True or False, not {value!r}")
        return value

    return check


def _choice(option: str, *allowed: str) -> Any:
    def check(value: str) -> str:
        if value not in allowed:
            raise InvalidArgument(f"{option}: {value!r} is none of {', '.join(allowed)}")
        return value

    return check


def _user(value: str | int) -> str:
    return values.plain("user", str(value), 256)


def _number(option: str, low: int, high: int) -> Any:
    return lambda value: values.whole(option, value, low, high)


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


def _size(option: str) -> Any:
    return lambda value: values.size(option, value)


@attrs.frozen(kw_only=True)
class Options:
    """All options of one container, checked; see `RunOptions` for what can be given."""

    command: tuple[str, ...] | None = attrs.field(
        default=None, converter=lambda value: values.command("command", value)
    )
    name: str | None = attrs.field(default=None, converter=_optional(values.name))
    entrypoint: tuple[str, ...] | None = attrs.field(
        default=None, converter=lambda value: values.command("entrypoint", value)
    )
    env: tuple[str, ...] = attrs.field(default=(), converter=values.environment)
    workdir: str | None = attrs.field(
        default=None, converter=_optional(lambda value: values.inside("workdir", value))
    )
    user: str | None = attrs.field(default=None, converter=_optional(_user))
    hostname: str | None = attrs.field(default=None, converter=_optional(values.hostname))
    network: str = attrs.field(default="none", converter=_choice("network", "none", "host"))
    mounts: tuple[Mount, ...] = attrs.field(default=(), converter=tuple)
    tmpfs: tuple[Mount, ...] = attrs.field(default=(), converter=_tmpfs)
    memory: int | None = attrs.field(default=None, converter=_optional(_memory))
    memory_swap: int | None = attrs.field(default=None, converter=_optional(_size("memory_swap")))
    cpus: float | None = attrs.field(default=None, converter=_optional(_cpus))
    cpu_shares: int | None = attrs.field(
        default=None, converter=_optional(_number("cpu_shares", 2, 262144))
    )
    cpuset: str | None = attrs.field(default=None, converter=_optional(values.cpuset))
    pids: int | None = attrs.field(
        default=_DEFAULT_PIDS, converter=_optional(_number("pids", 1, 1 << 22))
    )
    io_weight: int | None = attrs.field(
        default=None, converter=_optional(_number("io_weight", 10, 1000))
    )
    shm_size: int = attrs.field(default=_DEFAULT_SHM, converter=_size("shm_size"))
    ulimits: tuple[tuple[str, int, int], ...] = attrs.field(default={}, converter=_ulimits)
    devices: tuple[tuple[str, str, str], ...] = attrs.field(default=(), converter=_devices)
    sysctls: tuple[tuple[str, str], ...] = attrs.field(default={}, converter=values.sysctls)
    labels: tuple[tuple[str, str], ...] = attrs.field(default={}, converter=_labels)
    cap_add: tuple[str, ...] = attrs.field(default=(), converter=_capabilities("cap_add"))
    cap_drop: tuple[str, ...] = attrs.field(default=(), converter=_capabilities("cap_drop"))
    seccomp: str | os.PathLike[str] | Mapping[str, Any] = "default"
    no_new_privileges: bool = attrs.field(default=True, converter=_flag("no_new_privileges"))
    userns: str = attrs.field(default="auto", converter=_choice("userns", "auto", "host"))
    read_only: bool = attrs.field(default=False, converter=_flag("read_only"))
    privileged: bool = attrs.field(default=False, converter=_flag("privileged"))
    init: bool = attrs.field(default=False, converter=_flag("init"))
    tty: bool = attrs.field(default=False, converter=_flag("tty"))
    stdin: bool = attrs.field(default=False, converter=_flag("stdin"))
    stop_signal: int | None = attrs.field(default=None, converter=_optional(stop_signal))
    stop_timeout: float = attrs.field(
        default=10.0, converter=lambda value: values.seconds("stop_timeout", value)
    )
    ephemeral: bool = attrs.field(default=False, converter=_flag("ephemeral"))
    timeout: float | None = attrs.field(
        default=None, converter=_optional(lambda value: values.seconds("timeout", value))
    )

    def __attrs_post_init__(self) -> None:
        """Check what depends on two options."""
        targets = [mount.target for mount in (*self.mounts, *self.tmpfs)]
        for target in targets:
            if targets.count(target) > 1:
                raise InvalidArgument(f"mounts: two mounts at {target}")
        if self.memory_swap is not None and (self.memory is None or self.memory_swap < self.memory):
            raise InvalidArgument(
                "memory_swap: must be at least memory, which it includes, and needs it given"
            )
