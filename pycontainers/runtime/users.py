"""The container's own users: `user[:group]` looked up in its /etc/passwd and /etc/group.

The files are an image's, so they are read inside its root, bounded, and parsed here without the
name service, whose modules would be the image's too (passwd(5), group(5)).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel import paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FILE_LIMIT: Final = 1 << 20
_MAX_ID: Final = (1 << 32) - 2
_MAX_GROUPS: Final = 1024


class Identity(NamedTuple):
    """Whom a program runs as: numbers, further groups, and the home directory."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def look_up(slash_fd: int, user: str) -> Identity:
    """Resolve Docker's `user[:group]` below the root `slash_fd`.

    A number that no entry knows is taken as it is, with group 0 and home `/`; a name must exist.
    Raises KernelError (EINVAL) naming what is missing.
    """
    name, _, group = user.partition(":")
    passwd = _read(slash_fd, "/etc/passwd")
    groups = _read(slash_fd, "/etc/group")
    return resolve(name, group, passwd, groups)


def resolve(name: str, group: str, passwd: str, groups: str) -> Identity:
    r"""Resolve `name` and `group` (names or numbers, empty for the default) in two files' texts.

    >>> resolve("web", "", "web:x:33:33::/srv:/bin/sh", "web:x:33:\nlog:x:4:web")
    Identity(uid=33, gid=33, groups=[4], home='/srv')
    """
    name = name or "0"
    entry = _find(passwd, name)
    if entry is not None:
        login, uid, gid, home = entry[0], int(entry[2]), _number(entry[3]), entry[5]
    elif _is_number(name):
        login, uid, gid, home = "", int(name), 0, "/"
    else:
        raise KernelError(errno.EINVAL, f"no user {name!r} in the container's /etc/passwd")
    if group:
        gid = _group(groups, group)
        return Identity(uid, gid, [], home or "/")
    further = [
        int(fields[2])
        for fields in _entries(groups, 4)
        if login and login in fields[3].split(",") and _is_number(fields[2])
    ]
    return Identity(uid, gid, sorted(set(further) - {gid})[:_MAX_GROUPS], home or "/")


def group_numbers(slash_fd: int, groups: Sequence[int | str]) -> list[int]:
    """Give the numbers of groups, looking names up below the root `slash_fd`.

    Raises KernelError (EINVAL) naming what is missing.
    """
    numbers = [group for group in groups if isinstance(group, int)]
    names = [group for group in groups if isinstance(group, str)]
    known = _read(slash_fd, "/etc/group") if names else ""
    return [*numbers, *(_group(known, name) for name in names)]


def _group(groups: str, group: str) -> int:
    for fields in _entries(groups, 3):
        if fields[0] == group and _is_number(fields[2]):
            return int(fields[2])
    if _is_number(group):
        return int(group)
    raise KernelError(errno.EINVAL, f"no group {group!r} in the container's /etc/group")


def _find(passwd: str, name: str) -> list[str] | None:
    by_number = None
    for fields in _entries(passwd, 6):
        if not _is_number(fields[2]):
            continue
        if fields[0] == name:
            return fields
        if by_number is None and fields[2] == name:
            by_number = fields
    return by_number


def _entries(text: str, count: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) >= count:
            yield fields


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdigit() and int(field[:12]) <= _MAX_ID and len(field) < 11


def _number(field: str) -> int:
    return int(field) if _is_number(field) else 0


def _read(slash_fd: int, path: str) -> str:
    try:
        return paths.read_in(slash_fd, path, _FILE_LIMIT).decode("utf-8", "replace")
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ""
        raise
