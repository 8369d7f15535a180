"""Which container has which ids: ranges of 65536, leased by locks on files.

A lease is a flock(2) on `<run>/ids/<n>`: it holds against all engines of the host, and ends with
the launcher that holds it, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

from pycontainers.errors import KernelError

RANGE: Final = 65536
# Neither systemd nor useradd gives ids from here on away (systemd's UIDS-GIDS, useradd(8)).
POOL_START: Final = 0x70000000
_POOL_RANGES: Final = 4095


class IdRanges:
    """A pool of id ranges, leased to containers one by one.

    >>> first_id = IdRanges("/run/pycontainers").lease()      # doctest: +SKIP
    """

    def __init__(self, run_directory: str) -> None:
        self._directory = f"{run_directory}/ids"
        self._held: set[int] = set()
        self._free: list[int] = []

    def lease(self) -> int:
        """Give the first id of a range that no container of this host has."""
        if self._free:
            return self._free.pop()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        # From anywhere on, so that many who lease one range each don't all try the same ones.
        first = int.from_bytes(os.urandom(2))
        for number in range(_POOL_RANGES):
            index = (first + number) % _POOL_RANGES
            if index not in self._held and self._lock(index):
                self._held.add(index)
                return POOL_START + index * RANGE
        raise KernelError(
            errno.ENOSPC,
            f"lease one of {_POOL_RANGES} id ranges",
            hint="all are in use: end some containers, or use userns='host'",
        )

    def release(self, first_id: int) -> None:
        """Take a range back; it stays with this launcher, for its next container."""
        self._free.append(first_id)

    def _lock(self, index: int) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(f"{self._directory}/{index}", flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        return True
