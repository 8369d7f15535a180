"""What a jailed worker does with the files of a container.

The container may be running, and change them meanwhile.  So each path is resolved once, inside the
root, into an open file or directory, and what it is is judged by that; nothing is opened that could
make the worker wait.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import sys
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import paths
from pycontainers.runtime import content, filetree, lookup
from pycontainers.runtime.filetree import Extraction, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = dict[str, Any]
    Answer = dict[str, Any]

_DEEPEST: Final = 20_000
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def task(name: str) -> Callable[[Work, list[int]], Answer]:
    """Give a task by its name; each raises KernelError, with the path that it was given."""
    perform = _TASKS[name]

    def told(work: Work, fds: list[int]) -> Answer:
        try:
            return perform(work, fds)
        except KernelError as error:
            error.hint = error.hint or ""  # so that none about the host's abilities is added
            raise
        except OSError as error:
            call = f"{name}({work['path']!r})"
            raise KernelError(error.errno or 0, call, hint="") from None

    return told


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
    _allow_depth()
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


def _fetch(work: Work, _: list[int]) -> Answer:
    """Give the facts of a path; a regular file's with its descriptor, to be read."""
    last = 0 if work["follow"] else os.O_NOFOLLOW
    fd = lookup.open_path(work["path"], os.O_PATH | last)
    answer = lookup.told(fd)
    if stat.S_ISREG(answer["facts"][0]):
        fd = lookup.open_path(work["path"], os.O_RDONLY | last | lookup.CALM)
        lookup.check_regular(fd, "open", work["path"])
        answer = lookup.told(fd) | {"descriptor": fd}
    return answer


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
    _allow_depth()
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


# Copies.


def _archive(work: Work, fds: list[int]) -> Answer:
    """Write a path with all below it as an archive to `fds[0]`; its own entry is called `name`."""
    _allow_depth()
    path = work["path"]
    if path.endswith("/") or path.endswith("/."):  # what a link leads to, then
        parent_fd, name = lookup.open_path(path, lookup.PLACE), "."
    else:
        parent_fd, name = lookup.split(path)
    shown = os.fsencode(work["name"])
    filetree.write(fds[0], parent_fd, os.fsencode(name), shown, xattrs=work["xattrs"])
    return {}


def _extract(work: Work, fds: list[int]) -> Answer:
    """Make the entries of the archive on `fds[0]` in an existing directory."""
    os.close(lookup.open_path(work["path"], lookup.PLACE))
    extraction = Extraction(lookup.ROOT, work["path"] + "/", _rules(work, follow=True))
    extraction.take(fds[0], top=False)
    return {"entries": extraction.entries, "bytes": extraction.bytes}


def _rules(work: Work, *, follow: bool) -> Rules:
    return Rules(work["owner"], follow, work["limits"]["entries"], work["limits"]["bytes"])


def _copy_tree(work: Work, fds: list[int]) -> Answer:
    """Make a directory of the archive on `fds[0]` where `docker cp` would."""
    parent_fd, name, facts = _destination(work)
    made = facts is None
    if made:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    elif not stat.S_ISDIR(facts.st_mode):  # type: ignore[union-attr]
        raise KernelError(errno.ENOTDIR, f"mkdir({work['path']!r}): no directory is there")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(name, flags, dir_fd=parent_fd)
    extraction = Extraction(folder, "", _rules(work, follow=False))
    extraction.take(fds[0], top=made or work["name"] is not None)
    return {"entries": extraction.entries, "bytes": extraction.bytes}


def _destination(work: Work) -> tuple[int, str, os.stat_result | None]:
    """Give directory and name for a copy, and the facts of what is there.

    An existing directory gets it under its own `name`; with none, its content is what is copied.
    """
    parent_fd, last = lookup.locate(work["path"])
    facts = lookup.facts(last, parent_fd)
    if facts is None and work["task"] == "copy_in" and work["path"].endswith(("/", "/.")):
        hint = "the directory does not exist"
        raise KernelError(errno.ENOENT, f"open({work['path']!r})", hint=hint)
    if facts is None or not stat.S_ISDIR(facts.st_mode) or work["name"] is None:
        return parent_fd, last, facts
    flags = lookup.PLACE | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(last, flags, dir_fd=parent_fd)
    return folder, work["name"], lookup.facts(work["name"], folder)


def _copy_in(work: Work, fds: list[int]) -> Answer:
    """Make a regular file of the open one `fds[0]`, or a link, where `docker cp` would.

    It appears when it is whole.
    """
    path = work["path"]
    parent_fd, name, facts = _destination(work)
    if facts is not None and not (stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode)):
        if stat.S_ISDIR(facts.st_mode):
            raise KernelError(errno.EISDIR, f"rename({name!r}): a directory is there")
        what = lookup.kind(facts.st_mode)
        raise KernelError(errno.EINVAL, f"open({path!r}): {what}, not a regular file")
    spare = f".{os.urandom(12).hex()}"
    try:
        _make(spare, parent_fd, fds, work)
        try:
            os.replace(spare, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        except BaseException:
            os.unlink(spare, dir_fd=parent_fd)
            raise
    except OSError as error:
        # A mount point, which can't be replaced, maybe in a directory that is read-only.
        busy = error.errno in (errno.EBUSY, errno.EXDEV, errno.EROFS)
        if not busy or "target" in work or facts is None or not stat.S_ISREG(facts.st_mode):
            raise
        _write_over(parent_fd, name, fds[0], work)
    return {}


def _make(name: str, parent_fd: int, fds: list[int], work: Work) -> None:
    if "target" in work:
        os.symlink(work["target"], name, dir_fd=parent_fd)
        os.chown(name, *work["owner"], dir_fd=parent_fd, follow_symlinks=False)
        times = (work["mtime_ns"], work["mtime_ns"])
        os.utime(name, ns=times, dir_fd=parent_fd, follow_symlinks=False)
        return
    fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
    try:
        _fill(fd, fds[0], work)
    except BaseException:
        os.unlink(name, dir_fd=parent_fd)
        raise


def _write_over(parent_fd: int, name: str, source: int, work: Work) -> None:
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | lookup.CALM
    fd = os.open(name, flags, dir_fd=parent_fd)
    lookup.check_regular(fd, "open", name)
    os.lseek(source, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    _fill(fd, source, work)


def _fill(fd: int, source: int, work: Work) -> None:
    content.copy(source, fd)
    uid, gid = work["owner"]
    os.fchown(fd, uid, gid)
    os.fchmod(fd, work["mode"])
    os.utime(fd, ns=(work["mtime_ns"], work["mtime_ns"]))
    os.close(fd)


def _allow_depth() -> None:
    """Take as many descriptors, and calls, as a deep tree may need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setrecursionlimit(_DEEPEST)


_TASKS: Final[dict[str, Callable[[Work, list[int]], Answer]]] = {
    "stat": _stat,
    "resolve": _resolved,
    "list": _list,
    "glob": _glob,
    "open": _open_file,
    "fetch": _fetch,
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
    "archive": _archive,
    "extract": _extract,
    "copy_tree": _copy_tree,
    "copy_in": _copy_in,
}
