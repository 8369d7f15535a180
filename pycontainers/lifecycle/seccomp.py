"""Seccomp profiles: Docker's JSON, or the runtime spec's linux.seccomp, to a program and its cache.

https://docs.docker.com/engine/security/seccomp/, runtime-spec/config-linux.md#seccomp.  Our
default, seccomp.json, allows what Docker's does, but for one hole of it: families of sockets are
compared as the kernel takes them, by their lower 32 bits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from pycontainers.errors import InvalidArgument
from pycontainers.kernel import capabilities as kernel_capabilities
from pycontainers.kernel.syscall import MACHINE
from pycontainers.lifecycle import bpf, calls
from pycontainers.storage.scratch import appearing

if TYPE_CHECKING:
    from collections.abc import Iterator

Profile: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
_T = TypeVar("_T")

_FORMAT: Final = b"1"  # of the programs; another one makes those on disk stale
_LARGEST: Final = 1 << 20  # bytes of a profile's file
_MAX_PROGRAM: Final = 4096 * 8  # BPF_MAXINSNS
_DIGEST: Final = hashlib.sha256().digest_size

_ACTIONS: Final = {
    "SCMP_ACT_KILL": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.KILL_PROCESS,
    "SCMP_ACT_TRAP": bpf.TRAP,
    "SCMP_ACT_ERRNO": bpf.ERRNO,
    "SCMP_ACT_TRACE": bpf.TRACE,
    "SCMP_ACT_LOG": bpf.LOG,
    "SCMP_ACT_ALLOW": bpf.ALLOW,
}
_OPERATORS: Final = frozenset(
    f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
)
_ARCHITECTURES: Final = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 "
        "PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
)
_EPERM: Final = 1
_ENOSYS: Final = 38
_MAX_ERRNO: Final = 4095
_OWN: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_GO_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}  # the words of includes.arches
_SPEC_KEYS: Final = frozenset(
    {"defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls", "comment"}
)
_SPEC_RULE_KEYS: Final = frozenset({"names", "action", "errnoRet", "args", "comment"})


def compile_profile(
    profile: Profile, capabilities: frozenset[str], cache: Path | None = None
) -> bytes | None:
    """Give the BPF program of a profile for a container with these capabilities.

    `profile` is "default", "unconfined" (None is given), the path of a file in Docker's format, or
    what such a file holds.  Programs are kept in memory and, where `cache` is given, in that
    directory, which must be the caller's own.  Names of calls that are not known are left out, as
    by Docker.  Raises InvalidArgument, which names the entry, and NotSupported without libseccomp.

    >>> len(compile_profile("default", frozenset({"CAP_CHOWN"}))) % 8
    0
    """
    if profile == "unconfined":
        return None
    with _naming(profile):
        return _cached(_source(profile), capabilities, cache)


def resolved(profile: Profile, capabilities: frozenset[str]) -> dict[str, Any] | None:
    """Give a profile as the runtime spec's linux.seccomp: its includes and excludes are applied.

    None stands for "unconfined".  Raises InvalidArgument, which names the entry.

    >>> resolved("default", frozenset())["defaultAction"]
    'SCMP_ACT_ERRNO'
    """
    if profile == "unconfined":
        return None
    with _naming(profile):
        return _resolve(_source(profile), capabilities)


def compile_runtime_spec(seccomp: Mapping[str, Any]) -> bytes:
    """Give the BPF program of a runtime spec's linux.seccomp.

    Raises InvalidArgument, which names the entry, and NotSupported without libseccomp.

    >>> len(compile_runtime_spec({"defaultAction": "SCMP_ACT_ALLOW"})) % 8
    0
    """
    with _naming("linux.seccomp"):
        return _program(_parse(_source(seccomp)))


@contextlib.contextmanager
def _naming(profile: object) -> Iterator[None]:
    """Say whose entry it is that can't be used."""
    try:
        yield
    except InvalidArgument as error:
        name = "" if isinstance(profile, Mapping) else f" {profile}"
        raise InvalidArgument(f"seccomp profile{name}: {error.args[0]}", hint=error.hint) from None


# -- reading -----------------------------------------------------------------------------------


@functools.cache
def _default() -> bytes:
    return Path(__file__).with_name("seccomp.json").read_bytes()


def _source(profile: Profile) -> bytes:
    """Give a profile as JSON, so that all three forms are checked and cached in one way."""
    if isinstance(profile, Mapping):
        try:
            return json.dumps(dict(profile), sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"no JSON can be made of it: {error}") from None
    if profile == "default":
        return _default()
    if not isinstance(profile, str | os.PathLike):
        raise InvalidArgument(f"expected a name, a path or a mapping, not {profile!r}")
    try:
        # Not to wait for the other end of a named pipe.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(profile, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidArgument("not a regular file")
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidArgument):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        hint = 'it is "default", "unconfined", or the path of a JSON file in Docker\'s format'
        raise InvalidArgument(f"can't be read: {why}", hint=hint) from None
    if len(data) > _LARGEST:
        raise InvalidArgument(f"larger than {_LARGEST} bytes")
    return data


def _parse(source: bytes) -> Mapping[str, Any]:
    try:
        profile = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from None
    if not isinstance(profile, dict):
        raise InvalidArgument("not a JSON object")
    return profile


def _get(entry: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T | None:
    """Give a field of the type that it must have; None where it is absent or null."""
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
        raise InvalidArgument(f"{where}{key}: expected {words[kind]}, not {value!r:.60}")
    return value


def _one_of(
    entry: Mapping[str, Any], key: str, known: Mapping[str, int] | frozenset[str], where: str
) -> str:
    value = _get(entry, key, str, where)
    if value is None or value not in known:
        hint = f"known are {', '.join(sorted(known))}"
        raise InvalidArgument(f"{where}{key}: unknown: {value!r:.60}", hint=hint)
    return value


def _number(entry: Mapping[str, Any], key: str, most: int, where: str) -> int | None:
    value = _get(entry, key, int, where)
    if value is not None and not 0 <= value <= most:
        raise InvalidArgument(f"{where}{key}: {value} is not within 0 and {most}")
    return value


def _list(entry: Mapping[str, Any], key: str, kind: type[_T], where: str) -> list[_T]:
    given = _get(entry, key, list, where) or []
    for index, value in enumerate(given):
        if not isinstance(value, kind):
            raise InvalidArgument(f"{where}{key}[{index}]: can't be {value!r:.60}")
    return given


def _refuse_unknown(entry: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key, value in entry.items():
        if key not in known and value not in (None, "", [], {}):
            hint = f"known are {', '.join(sorted(known))}"
            raise InvalidArgument(f"{where}{key}: not supported", hint=hint)


# -- Docker's form to the runtime spec's ---------------------------------------------------------


def _resolve(source: bytes, capabilities: frozenset[str]) -> dict[str, Any]:
    profile = _parse(source)
    _refuse_unknown(profile, _SPEC_KEYS | {"archMap"}, "")
    result: dict[str, Any] = {
        key: profile[key]
        for key in ("defaultAction", "defaultErrnoRet", "flags")
        if profile.get(key) not in (None, [])
    }
    if architectures := _architectures(profile):
        result["architectures"] = architectures
    rules: list[dict[str, Any]] = []
    result["syscalls"] = rules
    for index, entry in enumerate(_list(profile, "syscalls", dict, "")):
        where = f"syscalls[{index}]."
        _refuse_unknown(entry, _SPEC_RULE_KEYS | {"name", "includes", "excludes"}, where)
        if entry.get("name") and entry.get("names"):
            raise InvalidArgument(f"{where}name: can't be given with names")
        rule = {key: entry[key] for key in ("action", "errnoRet", "args") if entry.get(key)}
        rule["names"] = [entry["name"]] if entry.get("name") else entry.get("names")
        # All are checked, so that a profile is not right or wrong by the container's capabilities.
        _rule(rule, where)
        wanted = _holds(entry, "includes", capabilities, where)
        unwanted = _holds(entry, "excludes", capabilities, where)
        if wanted is not False and not unwanted:
            rules.append(rule)
    return result


def _architectures(profile: Mapping[str, Any]) -> list[str]:
    given = _list(profile, "architectures", str, "")
    for index, entry in enumerate(_list(profile, "archMap", dict, "")):
        where = f"archMap[{index}]."
        name = _one_of(entry, "architecture", _ARCHITECTURES, where)
        further = _list(entry, "subArchitectures", str, where)
        if name == _OWN.get(MACHINE):
            given = [*given, name, *further]
    for name in given:
        if name not in _ARCHITECTURES:
            raise InvalidArgument(f"architectures: unknown: {name!r:.60}")
    return list(dict.fromkeys(given))


def _holds(
    entry: Mapping[str, Any], key: str, capabilities: frozenset[str], where: str
) -> bool | None:
    """Whether a rule's condition on the container and machine holds; None where there is none.

    All parts of `includes` must hold, any part of `excludes` does.
    """
    condition = _get(entry, key, dict, where)
    if not condition:
        return None
    where = f"{where}{key}."
    _refuse_unknown(condition, frozenset({"caps", "arches", "minKernel"}), where)
    caps = [kernel_capabilities.parse(name) for name in _list(condition, "caps", str, where)]
    arches = _list(condition, "arches", str, where)
    kernel = _get(condition, "minKernel", str, where)
    join = all if key == "includes" else any
    parts = [cap in capabilities for cap in caps]
    if arches:
        parts.append(_GO_MACHINES.get(MACHINE) in arches)
    if kernel:
        if not re.fullmatch(r"\d{1,4}\.\d{1,4}", kernel):
            raise InvalidArgument(f"{where}minKernel: {kernel!r:.60} is no version as 4.8")
        parts.append(_version(os.uname().release) >= _version(kernel))
    return join(parts)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


# -- the runtime spec's form to a program --------------------------------------------------------


def _rule(rule: Mapping[str, Any], where: str) -> tuple[list[str], bpf.Clause]:
    names = _list(rule, "names", str, where)
    if not names:
        raise InvalidArgument(f"{where}names: none are given")
    action = _action(rule, "action", "errnoRet", where)
    conditions = [
        _condition(entry, f"{where}args[{index}].", narrow=names == ["socket"])
        for index, entry in enumerate(_list(rule, "args", dict, where))
    ]
    return names, bpf.Clause(action, tuple(conditions))


def _condition(entry: Mapping[str, Any], where: str, *, narrow: bool) -> bpf.Condition:
    _refuse_unknown(entry, frozenset({"index", "value", "valueTwo", "op"}), where)
    index = _number(entry, "index", 5, where) or 0
    value = _number(entry, "value", (1 << 64) - 1, where) or 0
    second = _number(entry, "valueTwo", (1 << 64) - 1, where) or 0
    op = _one_of(entry, "op", _OPERATORS, where).removeprefix("SCMP_CMP_").lower()
    return bpf.Condition(index, op, value, second, narrow)


def _action(entry: Mapping[str, Any], key: str, errno_key: str, where: str) -> int:
    action = _ACTIONS[_one_of(entry, key, _ACTIONS, where)]
    number = _number(entry, errno_key, _MAX_ERRNO, where)
    if action in (bpf.ERRNO, bpf.TRACE):
        return action | (_EPERM if number is None else number)
    return action


def _program(profile: Mapping[str, Any]) -> bytes:
    _refuse_unknown(profile, _SPEC_KEYS, "")
    default = _action(profile, "defaultAction", "defaultErrnoRet", "")
    rules = []
    for index, entry in enumerate(_list(profile, "syscalls", dict, "")):
        where = f"syscalls[{index}]."
        _refuse_unknown(entry, _SPEC_RULE_KEYS, where)
        names, clause = _rule(entry, where)
        rules.append((names, [clause]))
    # Calls newer than all that the profile knows are missing, not forbidden: programs then take the
    # older one.
    refuses = default & 0xFFFF0000 == bpf.ERRNO
    missing = bpf.ERRNO | _ENOSYS if refuses else default
    tables = calls.tables(rules, _list(profile, "architectures", str, ""))
    program = bpf.assemble(tables, default, missing, bpf.KILL_PROCESS)
    if len(program) > _MAX_PROGRAM:
        raise InvalidArgument(f"its program has {len(program) // 8} instructions, more than 4096")
    return program


# -- the cache -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _cached(source: bytes, capabilities: frozenset[str], cache: Path | None) -> bytes:
    if cache is None:
        return _program(_resolve(source, capabilities))
    told = repr((MACHINE, os.uname().release, sorted(capabilities))).encode()
    key = hashlib.sha256(b"\0".join((_FORMAT, told, source))).hexdigest()
    path = cache / f"{key}.bpf"
    program = _read(path)
    if program is None:
        program = _program(_resolve(source, capabilities))
        _write(path, program)
    return program


def _read(path: Path) -> bytes | None:
    """Read a program that bears out its own digest; any other file is as none."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, program = data[:_DIGEST], data[_DIGEST:]
    whole = program and len(program) % 8 == 0 and len(program) <= _MAX_PROGRAM
    return program if whole and hashlib.sha256(program).digest() == digest else None


def _write(path: Path, program: bytes) -> None:
    """Keep a program for other processes; that it can't be kept is no reason not to use it."""
    with contextlib.suppress(OSError), appearing(path) as file:
        file.write(hashlib.sha256(program).digest() + program)
