"""Looks paths up inside a jail's root, while the container may be changing them.

Each path is resolved once into an open file or directory, and what it is is judged by that.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from typing import Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import paths
from pycontainers.kernel.syscall import AT_FDCWD

ROOT: Final = AT_FDCWD  # a jail's working directory is its root
PLACE: Final = os.O_PATH | os.O_DIRECTORY
# To open what might turn out to be a FIFO or a terminal.
CALM: Final = os.O_NONBLOCK | os.O_NOCTTY
_RACES: Final = 256  # look-ups of one path that others' renames disturb, before it is given up
_DEEPEST: Final = 20_000
_LINKS: Final = 40  # followed in one path, as the kernel does


def open_path(
    path: str, flags: int, mode: int = 0, *, root_fd: int = ROOT, follow: bool = True
) -> int:
    """Open a path inside the root; a look-up that a rename has disturbed is made again."""
    for _ in range(_RACES):
        try:
            return paths.open_in(root_fd, path or "/", flags, mode, follow=follow)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
    return paths.open_in(root_fd, path or "/", flags, mode, follow=follow)


def split(path: str) -> tuple[int, str]:
    """Open the directory of a path; give it with the name in it, `.` for the directory itself."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return open_path(path, PLACE), "."
    return open_path(parent or "/", PLACE), name


def locate(path: str) -> tuple[int, str]:
    """Do the same for what the path leads to in the end, which need not exist."""
    try:
        os.close(open_path(path, os.O_PATH))
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    for _ in range(_LINKS):
        parent_fd, name = split(path)
        try:
            target = os.readlink(name, dir_fd=parent_fd)
        except OSError:  # no link, or nothing
            return parent_fd, name
        os.close(parent_fd)
        parent = path.rstrip("/").rpartition("/")[0]
        path = target if target.startswith("/") else f"{parent}/{target}"
    raise KernelError(errno.ELOOP, f"open({path!r})")


def facts(name: str, parent_fd: int) -> os.stat_result | None:
    """Give the facts of a name itself, None where it does not exist."""
    try:
        return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def resolve(path: str) -> str:
    """Give a path without links and dots; what does not exist stays as it is."""
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = "/" + "/".join([*done, part])
        try:
            fd = open_path(here, os.O_PATH | os.O_NOFOLLOW)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            done.append(part)
            continue
        try:
            is_link = stat.S_ISLNK(os.fstat(fd).st_mode)
            target = os.readlink("", dir_fd=fd) if is_link else ""
        finally:
            os.close(fd)
        if not is_link:
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise KernelError(errno.ELOOP, f"open({path!r})")
        done = [] if target.startswith("/") else done
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return "/" + "/".join(done)


def told(fd: int) -> dict[str, Any]:
    """Give the facts of an open file, and a link's target."""
    facts = os.fstat(fd)
    told = [facts.st_mode, facts.st_ino, facts.st_dev, facts.st_nlink, facts.st_uid, facts.st_gid,
            facts.st_size, facts.st_atime_ns, facts.st_mtime_ns, facts.st_ctime_ns,
            facts.st_blksize, facts.st_blocks, facts.st_rdev]  # fmt: skip
    is_link = stat.S_ISLNK(facts.st_mode)
    return {"facts": told, "target": os.readlink("", dir_fd=fd) if is_link else None}


def check_regular(fd: int, call: str, path: str) -> None:
    """Raise KernelError for an open file that is none."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise KernelError(errno.EISDIR, f"{call}({path!r})")
    if not stat.S_ISREG(mode):
        raise KernelError(errno.EINVAL, f"{call}({path!r}): {kind(mode)}, not a regular file")


def kind(mode: int) -> str:
    """Say what a file that is no regular one is."""
    kinds = {
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def allow_depth() -> None:
    """Take as many descriptors, and calls, as a deep tree may need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setrecursionlimit(_DEEPEST)
