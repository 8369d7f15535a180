"""What a jailed worker does with the files of a container.

The container may be running, and change them meanwhile.  So each path is resolved once, inside the
root, into an open file or directory, and what it is is judged by that; nothing is opened that could
make the worker wait.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import paths
from pycontainers.runtime import lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = dict[str, Any]
    Answer = dict[str, Any]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# Facts.


def _stat(work: Work, _: list[int]) -> Answer:
    flags = os.O_PATH if work["follow"] else os.O_PATH | os.O_NOFOLLOW
    fd = lookup.open_path(work["path"], flags)
    answer = lookup.told(fd)
    if work.get("resolve"):
        answer["resolved"] = lookup.resolve(work["path"])
    return answer


def _resolved(work: Work, _: list[int]) -> Answer:
    if work["strict"]:
        os.close(lookup.open_path(work["path"], os.O_PATH))
    return {"resolved": lookup.resolve(work["path"])}


def _list(work: Work, fds: list[int]) -> Answer:
    """Write the names in a directory to `fds[0]`, each with a NUL after it."""
    with open(fds[0], "wb", closefd=False) as out:
        for name, _ in _entries(work["path"]):
            out.write(os.fsencode(name) + b"\0")
    return {}


def _entries(path: str) -> list[tuple[str, bool]]:
    fd = lookup.open_path(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(fd)


def _glob(work: Work, fds: list[int]) -> Answer:
    """Write the paths that match to `fds[0]`, relative to `path`, each with a NUL after it.

    `parts` are (kind, text): a "name" as it is, a "pattern" as a regular expression, or "all"
    directories below, which are not entered by links.
    """
    lookup.allow_depth()
    parts = [
        (kind, re.compile(text, re.DOTALL) if kind == "pattern" else text)
        for kind, text in work["parts"]
    ]
    seen: set[str] = set()
    with open(fds[0], "wb", closefd=False) as out:
        for found in _matches(work["path"], "", parts):
            if found and found not in seen:
                seen.add(found)
                out.write(os.fsencode(found) + b"\0")
    return {}


def _matches(base: str, below: str, parts: list[tuple[str, Any]]) -> Iterator[str]:
    """Give the paths below that match; what is no directory, or goes meanwhile, has none."""
    if not parts:
        yield below
        return
    (kind, text), rest = parts[0], parts[1:]
    lead = f"{below}/" if below else ""
    try:
        if kind == "name":
            last = 0 if rest else os.O_NOFOLLOW
            os.close(lookup.open_path(f"{base}/{lead}{text}", os.O_PATH | last))
            entries = []
        else:
            entries = _entries(f"{base}/{below}")
    except OSError:
        return
    if kind == "name":
        yield from _matches(base, lead + text, rest)
        return
    if kind == "pattern":
        for name, _ in sorted(entries):
            if text.match(name):
                yield from _matches(base, lead + name, rest)
        return
    yield from _matches(base, below, rest)
    for name, is_directory in sorted(entries):
        if is_directory:
            yield from _matches(base, lead + name, parts)


# Opening.


def _open_file(work: Work, _: list[int]) -> Answer:
    """Answer with the descriptor of a regular file, and of no other that would be opened."""
    path, flags = work["path"], work["flags"]
    if not flags & os.O_EXCL:
        try:
            fd = lookup.open_path(path, os.O_PATH)
        except KernelError as error:
            if error.errno != errno.ENOENT or not flags & os.O_CREAT:
                raise
        else:
            lookup.check_regular(fd, "open", path)
            os.close(fd)
    mode = 0o644 if flags & os.O_CREAT else 0
    fd = lookup.open_path(path, flags & ~os.O_TRUNC | lookup.CALM, mode)
    lookup.check_regular(fd, "open", path)
    if flags & os.O_TRUNC:
        os.ftruncate(fd, 0)
    os.set_blocking(fd, True)
    return {"descriptor": fd}


# Changes.


def _mkdir(work: Work, _: list[int]) -> Answer:
    path = work["path"]
    if work["parents"]:
        above = path.rstrip("/").rpartition("/")[0]
        os.close(paths.make_directories(lookup.ROOT, above or "/"))
    parent_fd, name = lookup.split(path)
    try:
        os.mkdir(name, work["mode"], dir_fd=parent_fd)
    except FileExistsError:
        if not work["exist_ok"]:
            raise
        try:
            os.close(lookup.open_path(path, lookup.PLACE))
        except KernelError:
            raise KernelError(errno.EEXIST, f"mkdir({path!r})") from None
    return {}


def _touch(work: Work, _: list[int]) -> Answer:
    parent_fd, name = lookup.locate(work["path"])
    try:
        os.close(os.open(name, _CREATE, work["mode"], dir_fd=parent_fd))
    except FileExistsError:
        if not work["exist_ok"]:
            raise
        os.utime(name, dir_fd=parent_fd, follow_symlinks=False)
    return {}


def _unlink(work: Work, _: list[int]) -> Answer:
    try:
        parent_fd, name = lookup.split(work["path"])
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        if not work["missing_ok"]:
            raise
    return {}


def _rmdir(work: Work, _: list[int]) -> Answer:
    parent_fd, name = lookup.split(work["path"])
    os.rmdir(name, dir_fd=parent_fd)
    return {}


def _remove(work: Work, _: list[int]) -> Answer:
    lookup.allow_depth()
    parent_fd, name = lookup.split(work["path"])
    if name == ".":
        raise KernelError(errno.EBUSY, f"remove({work['path']!r})")
    if lookup.facts(name, parent_fd) is None:
        raise KernelError(errno.ENOENT, f"remove({work['path']!r})")
    paths.remove_tree(name, parent_fd)
    return {}


def _rename(work: Work, _: list[int]) -> Answer:
    (old_fd, old), (new_fd, new) = lookup.split(work["path"]), lookup.split(work["target"])
    os.replace(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
    return {}


def _symlink(work: Work, _: list[int]) -> Answer:
    parent_fd, name = lookup.split(work["path"])
    os.symlink(work["target"], name, dir_fd=parent_fd)
    return {}


def _link(work: Work, _: list[int]) -> Answer:
    (old_fd, old), (new_fd, new) = lookup.split(work["target"]), lookup.split(work["path"])
    os.link(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)
    return {}


def _chmod(work: Work, _: list[int]) -> Answer:
    fd = lookup.open_path(work["path"], os.O_PATH)
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISFIFO(mode)):
        # By name it might follow a link put there meanwhile, and to open a device is to use it.
        raise KernelError(errno.EOPNOTSUPP, f"chmod({work['path']!r}): {lookup.kind(mode)}")
    fd = lookup.open_path(work["path"], os.O_RDONLY | lookup.CALM)
    os.fchmod(fd, work["mode"])
    return {}


def _chown(work: Work, _: list[int]) -> Answer:
    parent_fd, name = (lookup.locate if work["follow"] else lookup.split)(work["path"])
    os.chown(name, work["uid"], work["gid"], dir_fd=parent_fd, follow_symlinks=False)
    return {}


def _utime(work: Work, _: list[int]) -> Answer:
    parent_fd, name = lookup.locate(work["path"])
    os.utime(name, ns=tuple(work["times"]), dir_fd=parent_fd, follow_symlinks=False)
    return {}


TASKS: Final[dict[str, Callable[[Work, list[int]], Answer]]] = {
    "stat": _stat,
    "resolve": _resolved,
    "list": _list,
    "glob": _glob,
    "open": _open_file,
    "mkdir": _mkdir,
    "touch": _touch,
    "unlink": _unlink,
    "rmdir": _rmdir,
    "remove": _remove,
    "rename": _rename,
    "symlink": _symlink,
    "link": _link,
    "chmod": _chmod,
    "chown": _chown,
    "utime": _utime,
}
