"""Changes of files, told by the kernel as they happen (inotify(7)).

A process may have few of these (/proc/sys/fs/inotify/max_user_instances is 128 by default), so who
waits by one should be able to do without.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from pycontainers.kernel import syscall
from pycontainers.kernel.closing import Closing

IN_MODIFY: Final = 0x00000002
IN_ATTRIB: Final = 0x00000004
IN_CLOSE_WRITE: Final = 0x00000008
IN_MOVED_FROM: Final = 0x00000040
IN_MOVED_TO: Final = 0x00000080
IN_CREATE: Final = 0x00000100
IN_DELETE: Final = 0x00000200
IN_DELETE_SELF: Final = 0x00000400
IN_ONLYDIR: Final = 0x01000000

_NONBLOCK: Final = 0x800
_CLOEXEC: Final = 0x80000
_ROOM: Final = 64 * 1024  # many events at once; the longest takes 272 bytes


class Watch(Closing):
    """A queue of changes, whose descriptor is readable while there are any (inotify_init1(2)).

    What changed is for the owner to look up: the queue may overflow, and then events are lost, but
    never the fact that there were some.  A context manager that closes it.

    >>> with Watch() as watch:
    ...     watch.add("/tmp", IN_CREATE)
    ...     watch.drain()
    False
    """

    def __init__(self) -> None:
        self._fd = syscall.inotify_init1(_NONBLOCK | _CLOEXEC)

    def add(self, path: str, mask: int) -> None:
        """Watch a file, or a directory and what lies in it, from now on (inotify_add_watch(2)).

        Raises KernelError: ENOENT where there is none, ENOSPC beyond the user's limit.
        """
        syscall.inotify_add_watch(self._fd, os.fsencode(path), mask)

    def fileno(self) -> int:
        """Give the descriptor, for poll(2)."""
        return self._fd

    def drain(self) -> bool:
        """Empty the queue without blocking, and tell whether anything was in it."""
        found = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _ROOM):
                found = True
        return found

    def close(self) -> None:
        """Stop watching; closed already is fine."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
