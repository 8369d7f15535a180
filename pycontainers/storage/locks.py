"""Locks on files, which end with their last holder.

They belong to the open file, not to the process: it can hand them to another one (flock(2),
fcntl_locking(2), open file description locks).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAYOUT: Final = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_WHOLE: Final = (os.SEEK_SET, 0, 0, 0)


@contextlib.contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing, as soon as it is free."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(path: str) -> int | None:
    """Lock a file, made where it is missing; give its descriptor, None where another holds it.

    Whoever has the descriptor holds the lock; it is free when all have closed it.  Raises
    FileNotFoundError where the directory is gone, also when it went meanwhile.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_LAYOUT, fcntl.F_WRLCK, *_WHOLE))
        if os.stat(path).st_ino != os.fstat(fd).st_ino:  # noqa: PTH116
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def wait_lock(path: str) -> int:
    """Lock a file, made where it is missing, as soon as nobody else holds it; give its descriptor.

    Raises FileNotFoundError where the directory is gone.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, struct.pack(_LAYOUT, fcntl.F_WRLCK, *_WHOLE))
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_held(path: str) -> bool:
    """Whether somebody holds the lock; asking does not take it.

    >>> is_held("/nowhere")
    False
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        asked = struct.pack(_LAYOUT, fcntl.F_WRLCK, *_WHOLE)
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        kind: int = struct.unpack(_LAYOUT, found)[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(fd)
