"""The files of a cgroup directory: read, write, list members, remove the tree.

A cgroup can vanish at any moment, so that reading a missing one is no error: its files are read as
None, its members as none.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel.cgroups import base

if TYPE_CHECKING:
    from collections.abc import Callable

_GONE: Final = (errno.ENOENT, errno.ENODEV)
_REMOVAL_TIME: Final = 2.0  # seconds
_ATTEMPTS: Final = 100


def read(path: str) -> str | None:
    """Read a file whole; None where it, or its cgroup, does not exist."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = part = os.read(fd, 65536)
            while part:
                part = os.read(fd, 65536)
                data += part
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise KernelError(error.errno or 0, f"read({path!r})") from None
    return data.decode(errors="replace")


def write(path: str, text: str, *, hint: str | None = None) -> None:
    """Write a file in one call, as the kernel wants it; raises KernelError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(error.errno or 0, f"write({path!r}, {text!r})", hint=hint) from None


def write_if_there(path: str, text: str) -> None:
    """Write a file, or do nothing where it, or its cgroup, does not exist."""
    try:
        write(path, text)
    except KernelError as error:
        if error.errno not in _GONE:
            raise


def number(path: str) -> int | None:
    """Read a file that holds one number; None where it is missing or holds a word as `max`."""
    text = (read(path) or "").strip()
    return int(text) if text.isdigit() else None


def fields(path: str) -> dict[str, int]:
    """Read a file of lines `key number`; empty where it is missing."""
    pairs = (line.split() for line in (read(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def total(directory: str, name: str, key: str) -> int | None:
    """Sum a field that a cgroup's file counts without those below; None where it is missing.

    >>> total("/nowhere", "memory.oom_control", "oom_kill") is None
    True
    """
    own = fields(f"{directory}/{name}").get(key)
    if own is None:
        return None
    try:
        inner = os.stat(directory).st_nlink > 2  # spares listing what mostly has none below it
    except OSError:
        return own
    below = subgroups(directory) if inner else []
    return own + sum(total(path, name, key) or 0 for path in below)


def make(directory: str) -> None:
    """Make a cgroup; raises KernelError, also where it exists."""
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        raise KernelError(error.errno or 0, f"mkdir({directory!r})") from None


def make_for_container(directory: str, prepare: Callable[[str], object]) -> None:
    """Make a container's cgroup, and where the one of all containers is missing, `prepare` that.

    An engine that closes tidies that away while it is empty, so that it may go again in between.
    """
    parent = os.path.dirname(directory)
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                prepare(parent)
            make(directory)
            return
        except KernelError as error:
            if error.errno != errno.ENOENT or os.path.basename(parent) != base.PARENT:
                raise
            failure = error
    raise failure


def subgroups(directory: str) -> list[str]:
    """List the directories of the cgroups right below; none where it does not exist."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise KernelError(error.errno or 0, f"open({directory!r})") from None


def members(directory: str) -> set[int]:
    """Read the processes of a cgroup and of those below it."""
    found = set(map(int, (read(f"{directory}/cgroup.procs") or "").split()))
    for below in subgroups(directory):
        found |= members(below)
    return found - {0}  # 0 stands for a process outside this PID namespace


def remove(directory: str) -> None:
    """Take a cgroup and those below it away; when this returns, they don't exist.

    What is just ending is waited for, two seconds at most; then KernelError with EBUSY is raised.
    """
    pause, deadline = 0.0005, time.monotonic() + _REMOVAL_TIME
    while True:
        try:
            os.rmdir(directory)
            return
        except OSError as error:
            if error.errno in _GONE:
                return
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise KernelError(error.errno or 0, f"rmdir({directory!r})") from None
        inner = subgroups(directory)
        for below in inner:
            remove(below)
        if not inner:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
