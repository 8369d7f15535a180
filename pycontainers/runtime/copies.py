"""What a jailed worker copies into and out of a container: trees as archives, single files as such.

The rules for what exists at the destination are those of `docker cp`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.runtime import content, filetree, lookup
from pycontainers.runtime.filetree import Extraction, Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = dict[str, Any]
    Answer = dict[str, Any]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _archive(work: Work, fds: list[int]) -> Answer:
    """Write a path with all below it as an archive to `fds[0]`; its own entry is called `name`."""
    lookup.allow_depth()
    path = work["path"]
    if path.endswith("/") or path.endswith("/."):  # what a link leads to, then
        parent_fd, name = lookup.open_path(path, lookup.PLACE), "."
    else:
        parent_fd, name = lookup.split(path)
    shown = os.fsencode(work["name"])
    filetree.write(fds[0], parent_fd, os.fsencode(name), shown, xattrs=work["xattrs"])
    return {}


def _fetch(work: Work, fds: list[int]) -> Answer:
    """Give what a copy is made of: a file's descriptor, a link's target, or to `fds[0]` a tree."""
    path, last = work["path"], 0 if work["follow"] else os.O_NOFOLLOW
    fd = lookup.open_path(path, os.O_PATH | last)
    answer = lookup.told(fd)
    if stat.S_ISDIR(answer["facts"][0]):
        return _archive({"path": path, "name": ".", "xattrs": False}, fds)
    if stat.S_ISREG(answer["facts"][0]):
        fd = lookup.open_path(path, os.O_RDONLY | last | lookup.CALM)
        lookup.check_regular(fd, "open", path)
        answer = lookup.told(fd) | {"descriptor": fd}
    return answer


def _extract(work: Work, fds: list[int]) -> Answer:
    """Make the entries of the archive on `fds[0]` in an existing directory.

    With `top` that directory gets what the archive says of it.
    """
    os.close(lookup.open_path(work["path"], lookup.PLACE))
    extraction = Extraction(lookup.ROOT, work["path"] + "/", _rules(work, follow=True))
    extraction.take(fds[0], top=work["top"])
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
    size = 0 if "target" in work else os.fstat(fds[0]).st_size
    try:
        _make(spare, parent_fd, fds, work)
        try:
            content.put(spare, name, parent_fd, size)
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


TASKS: Final[dict[str, Callable[[Work, list[int]], Answer]]] = {
    "archive": _archive,
    "fetch": _fetch,
    "extract": _extract,
    "copy_tree": _copy_tree,
    "copy_in": _copy_in,
}
