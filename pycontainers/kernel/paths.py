"""Paths below a root that is not trusted: every look-up is held inside by the kernel.

openat2(2) with RESOLVE_IN_ROOT treats the root as `/`: absolute links and `..` stay inside, and the
kernel's magic links (as /proc/self/fd/3) are refused.  Joining strings cannot promise that.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import syscall

if TYPE_CHECKING:
    from collections.abc import Iterator

_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_IN_ROOT: Final = 0x10
_LINKS: Final = 40  # followed in one path, as the kernel does


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


def open_in(root_fd: int, path: str, flags: int, mode: int = 0, *, follow: bool = True) -> int:
    """Open `path` as if `root_fd` were the root directory; give the descriptor, close-on-exec.

    With `follow=False` no symbolic link is followed in any component.  Raises KernelError
    (ELOOP for a magic or unwanted link, EXDEV where the kernel saw a race).

    >>> fd = open_in(os.open("/usr", os.O_PATH), "/bin/sh", os.O_PATH)    # doctest: +SKIP
    """
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
    if not follow:
        resolve |= _RESOLVE_NO_SYMLINKS
    return _open(root_fd, path or ".", flags, resolve, mode)


def open_without_magic(path: str, flags: int) -> int:
    """Open `path` as open(2) does, but through none of the kernel's magic links (ELOOP).

    >>> os.close(open_without_magic("/usr", os.O_PATH))
    """
    return _open(syscall.AT_FDCWD, path, flags, _RESOLVE_NO_MAGICLINKS)


def open_without_links(path: str, flags: int) -> int:
    """Open `path` as open(2) does, but through no link in any of its components (ELOOP).

    >>> os.close(open_without_links("/usr", os.O_PATH))
    """
    return _open(syscall.AT_FDCWD, path, flags, _RESOLVE_NO_SYMLINKS)


def _open(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    try:
        return syscall.openat2(dir_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    except KernelError as error:
        raise KernelError(error.errno or 0, f"openat2({path!r}, {flags:#o})") from None


def make_directories(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Open the directory `path` below `root_fd`, made with its parents where it is missing.

    Symbolic links are followed inside the root, and what they lead to is made there as well.  The
    caller closes the descriptor.
    """
    return _make(root_fd, path, os.O_PATH | os.O_DIRECTORY, mode, _LINKS)


def make_file(root_fd: int, path: str) -> int:
    """Open the file `path` below `root_fd` as a mount point, made empty where it is missing."""
    return _make(root_fd, path, os.O_PATH, 0o644, _LINKS)


def _make(root_fd: int, path: str, flags: int, mode: int, links: int) -> int:
    try:
        return open_in(root_fd, path, flags)
    except KernelError as error:
        if error.errno != errno.ENOENT or not links:
            raise
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = _make(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY, 0o755, links)
    try:
        if flags & os.O_DIRECTORY:
            os.mkdir(name, mode, dir_fd=parent_fd)
        else:
            making = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, making, mode, dir_fd=parent_fd))
    except FileExistsError:
        with contextlib.suppress(OSError):  # no link: another process was faster
            target = os.readlink(name, dir_fd=parent_fd)
            path = target if target.startswith("/") else f"{parent}/{target}"
            links -= 1
    else:
        links = 0
    finally:
        os.close(parent_fd)
    return _make(root_fd, path, flags, mode, links)


def read_in(root_fd: int, path: str, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes below an untrusted root.

    Raises KernelError; EINVAL where it is no regular file, EFBIG where it is longer.
    """
    fd = open_in(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise KernelError(errno.EINVAL, f"read({path!r}): not a regular file")
        chunks, size = [], 0
        while chunk := os.read(fd, min(limit + 1 - size, 1 << 20)):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise KernelError(errno.EFBIG, f"read({path!r}): more than {limit} bytes")
        return b"".join(chunks)
    finally:
        os.close(fd)


@contextlib.contextmanager
def directory(path: str | os.PathLike[str]) -> Iterator[int]:
    """Hold a directory open, as a place for names, for the length of a `with` block."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def remove_tree(name: str, dir_fd: int) -> None:
    """Remove `name` in the directory `dir_fd` with all below it; missing is fine.

    Links are removed, never followed; no path is longer than one component, so depth has no limit
    but the descriptors'.  Another process may remove it at the same time.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    stack: list[tuple[int, str]] = []
    try:
        with contextlib.suppress(FileNotFoundError):
            stack.append((os.open(name, flags, dir_fd=dir_fd), name))
        while stack:
            fd, _ = stack[-1]
            below = _empty(fd)
            with contextlib.suppress(FileNotFoundError):
                if below is not None:
                    stack.append((os.open(below, flags, dir_fd=fd), below))
                    continue
                fd, done = stack.pop()
                os.close(fd)
                os.rmdir(done, dir_fd=stack[-1][0] if stack else dir_fd)
    finally:
        for fd, _ in stack:
            os.close(fd)


def _empty(fd: int) -> str | None:
    """Unlink all but the directories in `fd`; give one non-empty directory's name, or None."""
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        try:
            if is_directory:
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            if not is_directory or error.errno != errno.ENOTEMPTY:
                raise
            return name
    return None
