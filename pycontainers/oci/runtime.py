"""The runtime spec's config.json for Linux, version 1.2, as frozen values.

Names are the specification's in snake_case; an absent object is an empty one, an absent number is
None, and the empty string stands for an absent text, as in Go's types.  Members that are not here
(hooks, for one) stay in `unknown`, so that a bundle made by others is written back whole.

    Spec ─┬─ Process ── User, Capabilities, Rlimit, Box
          ├─ Root, Mount
          └─ Linux ──── Namespace, IDMapping, Device, Resources ── Memory, CPU, Pids, BlockIO,
                                                                   DeviceRule
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from pycontainers.oci.fields import (
    INT64_MAX,
    UINT16_MAX,
    UINT32_MAX,
    UINT64_MAX,
    InvalidField,
    a,
    absolute,
    absolute_or_empty,
    absolutes,
    flag,
    one_of,
    optional,
    place,
    plain_map,
    several,
    shown,
    some_text,
    text,
    text_map,
    texts,
    whole,
    wholes,
    wrong,
)

VERSION: Final = "1.2.0"
NAMESPACES: Final = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")

_PROPAGATIONS: Final = ("private", "shared", "slave", "unbindable")
_uint32: Final = whole(0, UINT32_MAX)
_optional_uint16: Final = optional(whole(0, UINT16_MAX))
_optional_uint32: Final = optional(_uint32)
_uint64: Final = whole(0, UINT64_MAX)
_optional_uint64: Final = optional(_uint64)
_optional_number: Final = optional(whole(0, INT64_MAX))
# Sizes and counts where -1 says "without limit", as the cgroup files of version 1 do.
_limit: Final = whole(-1, INT64_MAX)
_optional_limit: Final = optional(_limit)


@attrs.frozen
class Box:
    """The size of a terminal in characters."""

    height: int = attrs.field(validator=_uint32)
    width: int = attrs.field(validator=_uint32)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )


@attrs.frozen
class User:
    """Who a process is: numbers inside the container.

    `username` and `group_names` are not resolved by others.
    """

    uid: int = attrs.field(default=0, validator=_uint32, metadata=place(always=True))
    gid: int = attrs.field(default=0, validator=_uint32, metadata=place(always=True))
    additional_gids: tuple[int, ...] = attrs.field(default=(), validator=wholes(0, UINT32_MAX))
    umask: int | None = attrs.field(
        default=None, validator=optional(whole(0, 0o7777)), kw_only=True
    )
    username: str = attrs.field(default="", validator=text, kw_only=True)
    group_names: tuple[str, ...] = attrs.field(default=(), validator=texts, kw_only=True)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )


@attrs.frozen(kw_only=True)
class Capabilities:
    """The capability sets of a process, each by names as CAP_CHOWN (capabilities(7))."""

    bounding: tuple[str, ...] = attrs.field(default=(), validator=texts)
    effective: tuple[str, ...] = attrs.field(default=(), validator=texts)
    inheritable: tuple[str, ...] = attrs.field(default=(), validator=texts)
    permitted: tuple[str, ...] = attrs.field(default=(), validator=texts)
    ambient: tuple[str, ...] = attrs.field(default=(), validator=texts)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)

    def __attrs_post_init__(self) -> None:
        for field in ("bounding", "effective", "inheritable", "permitted", "ambient"):
            for index, name in enumerate(getattr(self, field)):
                if name[:4] != "CAP_":
                    problem = f"{shown(name)} does not begin with CAP_"
                    raise InvalidField(f"{field}[{index}]", problem)


def _known_rlimit(_: object, field: attrs.Attribute[Any], value: str) -> None:
    text(_, field, value)
    if not value.startswith("RLIMIT_"):
        raise InvalidField(field.name, f"{shown(value)} does not begin with RLIMIT_")


@attrs.frozen
class Rlimit:
    """One limit of setrlimit(2); 2**64 - 1 is none.  `soft` is at most `hard`."""

    type: str = attrs.field(validator=_known_rlimit)
    hard: int = attrs.field(validator=_uint64)
    soft: int = attrs.field(validator=_uint64)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if self.soft > self.hard:
            raise InvalidField("soft", f"{self.soft} is more than the hard limit, {self.hard}")


def _unique_types(_: object, field: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    """Check that no namespace or rlimit is given twice (config.md, config-linux.md)."""
    if len({item.type for item in value}) != len(value):
        types = [item.type for item in value]
        twice = next(name for name in types if types.count(name) > 1)
        raise InvalidField(field.name, f"{shown(twice)} is given twice")


def _environment(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    texts(_, field, value)
    for index, item in enumerate(value):
        if item.find("=") < 1:
            raise InvalidField(f"{field.name}[{index}]", f"{shown(item)} is not NAME=value")


@attrs.frozen(kw_only=True)
class Process:
    """The container's first program.

    >>> Process(args=("sh",), cwd="/tmp").user.uid
    0
    """

    terminal: bool = attrs.field(default=False, validator=flag)
    console_size: Box | None = attrs.field(default=None, validator=optional(a(Box)))
    user: User = attrs.field(default=User(), validator=a(User), metadata=place(always=True))
    args: tuple[str, ...] = attrs.field(default=(), validator=texts)
    env: tuple[str, ...] = attrs.field(default=(), validator=_environment)
    cwd: str = attrs.field(default="/", validator=absolute, metadata=place(always=True))
    capabilities: Capabilities = attrs.field(default=Capabilities(), validator=a(Capabilities))
    rlimits: tuple[Rlimit, ...] = attrs.field(
        default=(), validator=(several(Rlimit), _unique_types)
    )
    no_new_privileges: bool = attrs.field(default=False, validator=flag)
    oom_score_adj: int | None = attrs.field(default=None, validator=optional(whole(-1000, 1000)))
    apparmor_profile: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen
class Root:
    """The container's root file system; a relative `path` begins at the bundle."""

    path: str = attrs.field(validator=some_text)
    readonly: bool = attrs.field(default=False, validator=flag)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )


@attrs.frozen
class IDMapping:
    """`size` ids from `container_id` on inside are those from `host_id` on outside."""

    container_id: int = attrs.field(validator=_uint32, metadata=place("containerID"))
    host_id: int = attrs.field(validator=_uint32, metadata=place("hostID"))
    size: int = attrs.field(validator=whole(1, UINT32_MAX))
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if max(self.container_id, self.host_id) + self.size - 1 > UINT32_MAX:
            raise InvalidField("size", f"{self.size} ids end beyond {UINT32_MAX}")


_mappings: Final = several(IDMapping)


@attrs.frozen
class Mount:
    """One mount, made in the order of the list; a bind mount has `bind` or `rbind` as an option.

    >>> Mount("/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "size=64m")).destination
    '/tmp'
    """

    destination: str = attrs.field(validator=absolute)
    type: str = attrs.field(default="", validator=text)
    source: str = attrs.field(default="", validator=text)
    options: tuple[str, ...] = attrs.field(default=(), validator=texts)
    uid_mappings: tuple[IDMapping, ...] = attrs.field(default=(), validator=_mappings)
    gid_mappings: tuple[IDMapping, ...] = attrs.field(default=(), validator=_mappings)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )


@attrs.frozen
class Namespace:
    """A namespace of the container: a new one, or with `path` one that exists."""

    type: str = attrs.field(validator=one_of(NAMESPACES))
    path: str = attrs.field(default="", validator=absolute_or_empty)
    unknown: Mapping[str, object] = attrs.field(
        factory=dict, validator=plain_map, kw_only=True, hash=False
    )


@attrs.frozen(kw_only=True)
class Device:
    """A node to make; `type` is c, b, u (as c) or p for a pipe, which alone needs no numbers."""

    type: str = attrs.field(validator=one_of("cbup"))
    path: str = attrs.field(validator=absolute)
    major: int | None = attrs.field(default=None, validator=_optional_number)
    minor: int | None = attrs.field(default=None, validator=_optional_number)
    file_mode: int | None = attrs.field(default=None, validator=optional(whole(0, 0o7777)))
    uid: int | None = attrs.field(default=None, validator=_optional_uint32)
    gid: int | None = attrs.field(default=None, validator=_optional_uint32)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.type != "p" and (self.major is None or self.minor is None):
            missing = "major" if self.major is None else "minor"
            raise InvalidField(missing, f"a device of type {self.type} needs a number")


def _access(_: object, field: attrs.Attribute[Any], value: str) -> None:
    if type(value) is not str:
        raise wrong(field, "a string", value)
    if not set(value) <= set("rwm"):
        raise InvalidField(field.name, f"{shown(value)} is not made of r, w and m")


@attrs.frozen(kw_only=True)
class DeviceRule:
    """What the devices controller allows or denies; None and "" mean all of them."""

    allow: bool = attrs.field(validator=flag)
    type: str = attrs.field(default="", validator=one_of(("", "a", "b", "c")))
    major: int | None = attrs.field(default=None, validator=optional(whole(-1, INT64_MAX)))
    minor: int | None = attrs.field(default=None, validator=optional(whole(-1, INT64_MAX)))
    access: str = attrs.field(default="", validator=_access)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Memory:
    """Limits in bytes; `swap` is memory and swap together, -1 is no limit."""

    limit: int | None = attrs.field(default=None, validator=_optional_limit)
    reservation: int | None = attrs.field(default=None, validator=_optional_limit)
    swap: int | None = attrs.field(default=None, validator=_optional_limit)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class CPU:
    """`quota` of each `period`, both in microseconds; `cpus` and `mems` are lists as "0-2,7"."""

    shares: int | None = attrs.field(default=None, validator=_optional_uint64)
    quota: int | None = attrs.field(default=None, validator=_optional_limit)
    period: int | None = attrs.field(default=None, validator=_optional_uint64)
    cpus: str = attrs.field(default="", validator=text)
    mems: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Pids:
    """The most tasks that may live at a time; -1 is no limit."""

    limit: int = attrs.field(validator=_limit)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class BlockIO:
    """The share of disk time, 10 to 1000; 0 leaves it alone."""

    weight: int | None = attrs.field(default=None, validator=_optional_uint16)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Resources:
    """What the container's cgroup enforces; None leaves a controller alone."""

    devices: tuple[DeviceRule, ...] = attrs.field(default=(), validator=several(DeviceRule))
    memory: Memory | None = attrs.field(default=None, validator=optional(a(Memory)))
    cpu: CPU | None = attrs.field(default=None, validator=optional(a(CPU)))
    pids: Pids | None = attrs.field(default=None, validator=optional(a(Pids)))
    block_io: BlockIO | None = attrs.field(
        default=None, validator=optional(a(BlockIO)), metadata=place("blockIO")
    )
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Linux:
    """What only Linux has (config-linux.md); `seccomp` is kept as it stands in the document."""

    uid_mappings: tuple[IDMapping, ...] = attrs.field(default=(), validator=_mappings)
    gid_mappings: tuple[IDMapping, ...] = attrs.field(default=(), validator=_mappings)
    sysctl: Mapping[str, str] = attrs.field(factory=dict, validator=text_map, hash=False)
    resources: Resources = attrs.field(default=Resources(), validator=a(Resources))
    cgroups_path: str = attrs.field(default="", validator=text)
    namespaces: tuple[Namespace, ...] = attrs.field(
        default=(), validator=(several(Namespace), _unique_types)
    )
    devices: tuple[Device, ...] = attrs.field(default=(), validator=several(Device))
    seccomp: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)
    rootfs_propagation: str = attrs.field(
        default="",
        validator=one_of(("", *_PROPAGATIONS, *(f"r{word}" for word in _PROPAGATIONS))),
    )
    masked_paths: tuple[str, ...] = attrs.field(default=(), validator=absolutes)
    readonly_paths: tuple[str, ...] = attrs.field(default=(), validator=absolutes)
    mount_label: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Spec:
    """What a container shall be: the document that a bundle carries as config.json.

    Raises InvalidArgument, as each part does, when a field can't be used.

    >>> Spec(root=Root("rootfs"), process=Process(args=("true",))).oci_version
    '1.2.0'
    """

    oci_version: str = attrs.field(
        default=VERSION, validator=some_text, metadata=place(always=True)
    )
    process: Process = attrs.field(default=Process(), validator=a(Process))
    root: Root = attrs.field(validator=a(Root))
    hostname: str = attrs.field(default="", validator=text)
    domainname: str = attrs.field(default="", validator=text)
    mounts: tuple[Mount, ...] = attrs.field(default=(), validator=several(Mount))
    annotations: Mapping[str, str] = attrs.field(factory=dict, validator=text_map, hash=False)
    linux: Linux = attrs.field(default=Linux(), validator=a(Linux))
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)
