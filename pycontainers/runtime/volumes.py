"""What a jailed worker does with a volume: fills it from an image, and tells how much is in it.

A volume's place holds `data`, which containers see.  What is copied is made whole beside it, as
`fresh`; called `ready` then, it is moved into `data`, name by name, so that those who have the
volume mounted already see it come.  Whatever is interrupted is done again or gone on with.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import paths, processes
from pycontainers.runtime import content, lookup
from pycontainers.runtime.trees import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = dict[str, Any]
    Answer = dict[str, Any]

_FRESH: Final = "fresh"
_READY: Final = "ready"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL: Final = 1 << 17
_SEVERAL: Final = 8  # directories that are worth a second process
_KEPT: Final = ("user.", "security.capability", "system.posix_acl_")
_TAKEN: Final = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def _fill(work: Work, fds: list[int]) -> Answer:
    """Copy what the jail, an image, has at `path` into the volume whose place is `fds[-1]`.

    Nothing is done where the volume holds something, or the image has no directory there.
    """
    lookup.allow_depth()
    place_fd = fds[-1]
    paths.remove_tree(_FRESH, place_fd)
    data_fd = os.open(DATA, _FOLDER, dir_fd=place_fd)
    with contextlib.suppress(FileNotFoundError):  # the last one did not come to the end
        ready_fd = os.open(_READY, _FOLDER, dir_fd=place_fd)
        _move_in(place_fd, ready_fd, data_fd)
        return {"filled": True}
    with os.scandir(data_fd) as entries:
        if next(entries, None) is not None:
            return {"filled": True}
    try:
        source_fd = lookup.open_path(work["path"], os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return {"filled": False}
    os.mkdir(_FRESH, 0o700, dir_fd=place_fd)
    fresh_fd = os.open(_FRESH, _FOLDER, dir_fd=place_fd)
    try:
        _Copy(source_fd, fresh_fd).run()
    except OSError:
        paths.remove_tree(_FRESH, place_fd)
        raise
    os.rename(_FRESH, _READY, src_dir_fd=place_fd, dst_dir_fd=place_fd)
    _move_in(place_fd, fresh_fd, data_fd)
    return {"filled": True}


def _move_in(place_fd: int, ready_fd: int, data_fd: int) -> None:
    """Move what was copied to where it is seen; what a container has made meanwhile stays."""
    facts = os.fstat(ready_fd)
    for name in os.listdir(ready_fd):
        try:
            os.rename(name, name, src_dir_fd=ready_fd, dst_dir_fd=data_fd)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
    _attributes(ready_fd, data_fd)
    _facts(data_fd, facts)
    paths.remove_tree(_READY, place_fd)


class _Copy:
    """A copy of a tree that nobody changes: owners, modes, times, attributes, holes, hard links."""

    def __init__(self, source_fd: int, target_fd: int) -> None:
        self._source = source_fd
        self._target = target_fd
        self._linked: list[bytes] = []  # files that have several names

    def run(self) -> None:
        """Copy all that is in one directory into the other, and what that one is like."""
        paths = self._make_folders()
        if len(paths) < _SEVERAL:
            self._fill(paths)
        else:
            self._share(paths)
        self._copy_linked()
        # Last, and those beneath others first: what is made in them changes their times.
        for path in reversed(paths):
            with _opened(path, self._source) as below_fd, _opened(path, self._target) as made_fd:
                _attributes(below_fd, made_fd)
                _facts(made_fd, os.fstat(below_fd))

    def _make_folders(self) -> list[bytes]:
        """Make all directories; give their paths, those above others first."""
        paths = [b"."]
        for path in paths:
            with _opened(path, self._source) as below_fd, os.scandir(below_fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below = path + b"/" + os.fsencode(entry.name)
                        # A set-group-id bit would give what is made in it another group.
                        os.mkdir(below, 0o700, dir_fd=self._target)
                        paths.append(below)
        return paths

    def _share(self, paths: list[bytes]) -> None:
        """Fill the directories together with a child: half of the work is the kernel's, in each."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            code = errno.EIO
            try:
                processes.die_with_parent()
                self._fill(paths[1::2])
                content.write_all(writing, b"\0".join(self._linked))
                code = 0
            except OSError as error:
                code = error.errno or code
            finally:
                os._exit(code)
        os.close(writing)
        try:
            self._fill(paths[::2])
            told = b"".join(iter(lambda: os.read(reading, 1 << 16), b""))
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(reading)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise KernelError(code if code > 0 else errno.EIO, "copy")
        self._linked += filter(None, told.split(b"\0"))

    def _fill(self, paths: list[bytes]) -> None:
        """Copy what is in these directories and is none itself, but for what has several names."""
        for path in paths:
            with (
                _opened(path, self._source) as source_fd,
                _opened(path, self._target) as target_fd,
                os.scandir(source_fd) as entries,
            ):
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_file(follow_symlinks=False):
                        several = _file(source_fd, target_fd, name, alone=True)
                    elif entry.is_dir(follow_symlinks=False):
                        continue
                    else:
                        several = _other(source_fd, target_fd, name, alone=True)
                    if several:
                        self._linked.append(path + b"/" + name)

    def _copy_linked(self) -> None:
        """Copy each file that has several names once, and link the other names to it."""
        known: dict[tuple[int, int], bytes] = {}
        for path in self._linked:
            facts = os.stat(path, dir_fd=self._source, follow_symlinks=False)
            first = known.setdefault((facts.st_dev, facts.st_ino), path)
            target = self._target
            if first is not path:
                os.link(first, path, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
            elif stat.S_ISREG(facts.st_mode):
                _file(self._source, target, path, alone=False)
            else:
                _other(self._source, target, path, alone=False)


@contextlib.contextmanager
def _opened(path: bytes, root_fd: int) -> Iterator[int]:
    fd = os.open(path, _FOLDER, dir_fd=root_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _file(source_fd: int, target_fd: int, name: bytes, *, alone: bool) -> bool:
    """Copy a regular file; with `alone` not one that has several names, which gives True."""
    read_fd = os.open(name, _OPENED, dir_fd=source_fd)
    try:
        facts = os.fstat(read_fd)
        if alone and facts.st_nlink > 1:
            return True
        mode = facts.st_mode & 0o777
        made_fd = os.open(name, _CREATE, mode, dir_fd=target_fd)
        try:
            if facts.st_size > _SMALL or facts.st_blocks * 512 < facts.st_size:
                content.copy(read_fd, made_fd)
            elif data := os.read(read_fd, facts.st_size):
                content.write_all(made_fd, data)
            # It was made with that mode, and as root's: each change costs as much as a write.
            if facts.st_uid or facts.st_gid:
                os.fchown(made_fd, facts.st_uid, facts.st_gid)
            if stat.S_IMODE(facts.st_mode) != mode:
                os.fchmod(made_fd, stat.S_IMODE(facts.st_mode))
            _attributes(read_fd, made_fd)
            os.utime(made_fd, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        finally:
            os.close(made_fd)
    finally:
        os.close(read_fd)
    return False


def _other(source_fd: int, target_fd: int, name: bytes, *, alone: bool) -> bool:
    """Do the same for a link, device or FIFO; a socket is nothing without its program."""
    facts = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
    mode = facts.st_mode
    if stat.S_ISSOCK(mode):
        return False
    if alone and facts.st_nlink > 1:
        return True
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
    else:
        os.mknod(name, mode, facts.st_rdev, dir_fd=target_fd)
    os.chown(name, facts.st_uid, facts.st_gid, dir_fd=target_fd, follow_symlinks=False)
    times = (facts.st_atime_ns, facts.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target_fd, follow_symlinks=False)
    return False


def _facts(fd: int, facts: os.stat_result) -> None:
    """Give a directory owner, mode and times."""
    os.fchown(fd, facts.st_uid, facts.st_gid)
    os.fchmod(fd, stat.S_IMODE(facts.st_mode))
    os.utime(fd, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _attributes(source_fd: int, target_fd: int) -> None:
    for name in os.listxattr(source_fd):
        if name.startswith(_KEPT):
            with contextlib.suppress(OSError):  # as docker: not every file system has them
                os.setxattr(target_fd, name, os.getxattr(source_fd, name))


def _usage(_: Work, __: list[int]) -> Answer:
    """Give the bytes that everything in the jail takes on its disk; hard links count once."""
    lookup.allow_depth()
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [os.open("/", _FOLDER)]
    while stack:
        fd = stack.pop()
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        facts = entry.stat(follow_symlinks=False)
                        key = (facts.st_dev, facts.st_ino)
                        if facts.st_nlink < 2 or key not in seen:
                            total += facts.st_blocks * 512
                        if stat.S_ISDIR(facts.st_mode):
                            with contextlib.suppress(OSError):
                                stack.append(os.open(entry.name, _FOLDER, dir_fd=fd))
                        elif facts.st_nlink > 1:
                            seen.add(key)
        finally:
            os.close(fd)
    return {"bytes": total}


TASKS: Final[dict[str, Callable[[Work, list[int]], Answer]]] = {"fill": _fill, "usage": _usage}
