"""Placeholder until the real classes arrive."""
from __future__ import annotations
from collections.abc import Mapping
from typing import Any
import attrs
@attrs.frozen
class User:
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    username: str = ""
@attrs.frozen
class Capabilities:
    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
@attrs.frozen
class Rlimit:
    type: str
    hard: int
    soft: int
@attrs.frozen(kw_only=True)
class Process:
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    terminal: bool = False
    user: User = User()
    capabilities: Capabilities = Capabilities()
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
@attrs.frozen
class Root:
    path: str
    readonly: bool = False
@attrs.frozen
class Mount:
    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
@attrs.frozen
class IDMapping:
    container_id: int
    host_id: int
    size: int
@attrs.frozen
class Namespace:
    type: str
    path: str = ""
@attrs.frozen(kw_only=True)
class Device:
    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
@attrs.frozen(kw_only=True)
class Memory:
    limit: int | None = None
    swap: int | None = None
@attrs.frozen(kw_only=True)
class CPU:
    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str = ""
@attrs.frozen(kw_only=True)
class Pids:
    limit: int
@attrs.frozen(kw_only=True)
class BlockIO:
    weight: int | None = None
@attrs.frozen(kw_only=True)
class Resources:
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
@attrs.frozen(kw_only=True)
class Linux:
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    sysctl: Mapping[str, str] = {}
    resources: Resources = Resources()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
@attrs.frozen(kw_only=True)
class Spec:
    process: Process
    root: Root
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    linux: Linux = Linux()
