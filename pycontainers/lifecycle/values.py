"""The texts that people write options in, and what they mean: sizes, ids, paths, commands.

Each function takes what a caller gave and gives the checked value, or raises InvalidArgument that
names the option.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pycontainers.errors import InvalidArgument
from pycontainers.kernel import capabilities, processes

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
_POWER: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_HOSTNAME: Final = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9_])?")
_CPUSET: Final = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")
_SYSCTL: Final = re.compile(r"[a-z0-9_]+([./][a-zA-Z0-9_-]+)+")
_IPC_SYSCTLS: Final = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
                       "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
                       "kernel.shm_rmid_forced")  # fmt: skip
_DEVICE_FIELDS: Final = 3
_MAX_ID: Final = (1 << 32) - 2
_MOST_GROUPS: Final = 1024
_RESERVED: Final = ("/", "/proc", "/sys", "/dev")
_Item = TypeVar("_Item")


def size(option: str, value: int | str) -> int:
    """Give a number of bytes from an int or a text as "512m", "1.5 GiB"; units are powers of 1024.

    >>> size("memory", "1g")
    1073741824
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidArgument(f"{option}: expected a size, not {value!r}")
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise InvalidArgument(
                f"{option}: {value!r} is no size", hint='write bytes, or a text as "512m" or "1g"'
            )
        value = int(float(match[1]) * 1024 ** _POWER[match[2].lower()])
    if not 0 <= value < 1 << 62:
        raise InvalidArgument(f"{option}: {value} is out of range")
    return value


def whole(option: str, value: int, low: int, high: int) -> int:
    """Give an int between two bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{option}: expected a whole number, not {value!r}")
    if not low <= value <= high:
        raise InvalidArgument(f"{option}: {value} is not between {low} and {high}")
    return value


def seconds(option: str, value: float) -> float:
    """Give a duration in seconds, positive or 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"{option}: expected seconds, not {value!r}")
    if not math.isfinite(value) or value < 0:
        raise InvalidArgument(f"{option}: {value} is no duration")
    return float(value)


def plain(option: str, value: str, limit: int = 4096) -> str:
    """Give a text without NUL and control characters."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{option}: expected a text, not {value!r}")
    if len(value) > limit or any(
        ord(character) < 32 or ord(character) == 127 for character in value
    ):
        raise InvalidArgument(f"{option}: {value[:80]!r} is too long or has control characters")
    return value


def text(option: str, value: str, limit: int = 1 << 17) -> str:
    """Give a text without NUL, as an argument of a program is."""
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgument(f"{option}: {value!r:.80} is no text without NUL")
    if len(value) > limit:
        raise InvalidArgument(f"{option}: a text of {len(value)} characters is too long")
    return value


def name(value: str) -> str:
    """Give a container's name, as Docker allows it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidArgument(
            f"name: {value!r} is no name",
            hint="letters, digits, '_', '.' and '-', the first a letter or digit, at most 128",
        )
    return value


def hostname(value: str) -> str:
    """Give a host name of at most 64 characters."""
    if not isinstance(value, str) or not _HOSTNAME.fullmatch(value):
        raise InvalidArgument(f"hostname: {value!r} is no host name")
    return value


def domainname(value: str) -> str:
    """Give a domain name of at most 64 characters, as the kernel takes."""
    if not isinstance(value, str) or not _HOSTNAME.fullmatch(value):
        raise InvalidArgument(f"domainname: {value!r} is no domain name")
    return value


def groups(value: Sequence[str | int]) -> tuple[str | int, ...]:
    """Give groups by number or name.

    >>> groups(["audio", "44", 100])
    ('audio', 44, 100)
    """
    found: list[str | int] = []
    for group in listed("group_add", value):
        if isinstance(group, str) and not (group.isascii() and group.isdigit()):
            if not plain("group_add", group, 256) or ":" in group:
                raise InvalidArgument(f"group_add: {group!r} is no name of a group")
            found.append(group)
        else:
            number = int(group) if isinstance(group, str) else group
            found.append(whole("group_add", number, 0, _MAX_ID))
    if len(found) > _MOST_GROUPS:
        raise InvalidArgument(f"group_add: {len(found)} groups are more than {_MOST_GROUPS}")
    return tuple(found)


def cpuset(value: str) -> str:
    """Give a list of processors as "0-2,5"."""
    if not isinstance(value, str) or not _CPUSET.fullmatch(value):
        raise InvalidArgument(f"cpuset: {value!r} is no list of processors as '0-2,5'")
    return value


def command(option: str, value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Give an argument list; a text is split as by a shell, but runs in none.

    >>> command("command", "echo 'a b'")
    ('echo', 'a b')
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise InvalidArgument(f"{option}: {value!r} can't be split: {error}") from None
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in value]
    else:
        raise InvalidArgument(f"{option}: expected a list of texts, not {value!r}")
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise InvalidArgument(f"{option}: {word!r} is no text without NUL")
    return tuple(words)


def environment(value: Mapping[str, str] | Sequence[str]) -> tuple[str, ...]:
    """Give `NAME=value` texts from a mapping or a list of such texts."""
    if isinstance(value, Mapping):
        items = [(key, text) for key, text in value.items()]
    else:
        items = []
        for item in value:
            if not isinstance(item, str) or "=" not in item:
                raise InvalidArgument(f"env: {item!r} is not of the form NAME=value")
            key, _, text = item.partition("=")
            items.append((key, text))
    for key, text in items:
        if not isinstance(key, str) or not isinstance(text, str):
            raise InvalidArgument(f"env: {key!r}: {text!r} are not both texts")
        if not key or "=" in key or "\0" in key or "\0" in text:
            raise InvalidArgument(f"env: {key!r} is empty or holds '=' or NUL, or its value NUL")
    return tuple(f"{key}={text}" for key, text in items)


def inside(option: str, value: str, *, mount: bool = False) -> str:
    """Give an absolute path inside the container; a mount's not over what the engine mounts."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    plain(option, value)
    if not value.startswith("/"):
        raise InvalidArgument(f"{option}: {value!r} is not an absolute path in the container")
    path = os.path.normpath(value).replace("//", "/")
    if mount and (path in _RESERVED or path.startswith(("/proc/", "/sys/"))):
        raise InvalidArgument(f"{option}: nothing can be mounted at {path}")
    return path


def sysctls(value: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give kernel parameters, only such as belong to the container's own namespaces."""
    checked = []
    for key, text in value.items():
        dotted = key.replace("/", ".") if isinstance(key, str) else ""
        if not _SYSCTL.fullmatch(dotted) or "\0" in str(text):
            raise InvalidArgument(f"sysctls: {key!r} is no kernel parameter")
        own = dotted in _IPC_SYSCTLS or dotted.startswith(("net.", "fs.mqueue."))
        if not own:
            raise InvalidArgument(
                f"sysctls: {dotted} is the whole host's, not the container's own",
                hint="net.*, fs.mqueue.* and the kernel's IPC parameters can be set",
            )
        checked.append((dotted, plain("sysctls", str(text))))
    return tuple(checked)


def labels(value: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give a container's labels as pairs."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"labels: expected a mapping, not {value!r}")
    return tuple((plain("labels", k), plain("labels", v)) for k, v in value.items())


def ulimits(value: Mapping[str, int | tuple[int, int]]) -> tuple[tuple[str, int, int], ...]:
    """Give resource limits as (name, soft, hard); one number is both."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"ulimits: expected a mapping, not {value!r}")
    checked = []
    for key, given in value.items():
        soft, hard = given if isinstance(given, tuple) else (given, given)
        processes.limit_number(key)
        for number in (soft, hard):
            whole(f"ulimits {key}", number, -1, 1 << 62)
        if hard != -1 and (soft == -1 or soft > hard):
            raise InvalidArgument(
                f"ulimits: {key}: the soft limit {soft} is above the hard, {hard}"
            )
        checked.append((key, soft, hard))
    return tuple(checked)


def capability_names(option: str, value: Sequence[str]) -> tuple[str, ...]:
    """Give capabilities by the kernel's names."""
    return tuple(capabilities.parse(name) for name in listed(option, value))


def listed(option: str, value: Sequence[_Item]) -> Sequence[_Item]:
    """Give a list, or another sequence that is no text."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidArgument(f"{option}: expected a list, not {value!r}")
    return value


def devices(value: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Take Docker's `/dev/x[:/dev/y[:rwm]]`."""
    checked = []
    for item in listed("devices", value):
        source, *rest = plain("devices", item).split(":")
        target = rest[0] if rest else source
        access = rest[1] if len(rest) > 1 else "rwm"
        if len(rest) >= _DEVICE_FIELDS or not access or set(access) - set("rwm"):
            raise InvalidArgument(f"devices: {item!r} is not of the form /dev/x:/dev/y:rwm")
        target = inside("devices", target)
        if not target.startswith("/dev/") or not Path(source).exists():
            raise InvalidArgument(
                f"devices: {item!r}: no such device, or its target is not in /dev"
            )
        checked.append((source, target, access))
    return tuple(checked)


def flag(option: str, value: bool) -> bool:
    """Give True or False."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{option}: expected True or False, not {value!r}")
    return value


def choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Give one of some words."""
    if value not in allowed:
        raise InvalidArgument(f"{option}: {value!r} is none of {', '.join(allowed)}")
    return value


def cpus(value: float) -> float:
    """Give a number of processors."""
    number = seconds("cpus", value)
    if number < 0.01:
        raise InvalidArgument(f"cpus: {value} is less than a hundredth of a processor")
    return number


def memory_swap(value: int | str) -> int:
    """Give the bytes of a limit of memory and swap together; -1 is none."""
    return -1 if value in (-1, "-1") else size("memory_swap", value)


def memory(option: str, value: int | str) -> int:
    """Give the bytes of a limit of memory."""
    number = size(option, value)
    if number < 512 << 10:
        raise InvalidArgument(f"{option}: {number} bytes are too few", hint="at least 512k")
    return number


def profile(value: Any) -> Any:
    """Give a seccomp profile's name, path or mapping."""
    if not isinstance(value, str | os.PathLike | Mapping):
        raise InvalidArgument(f"seccomp: expected a name, path or mapping, not {value!r}")
    return os.fspath(value) if isinstance(value, os.PathLike) else value
