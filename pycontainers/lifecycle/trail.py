"""Reading a file of lines that grows and is rotated: from anywhere, and on as it grows.

What is opened stays open, so that nothing is lost when it is renamed meanwhile; only who reads more
slowly than all files are written anew loses lines.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK: Final = 256 * 1024
_MISSING: Final = 2  # names in a row without a file, after which there are no more
_PATIENCE: Final = 100  # looks


class Place(NamedTuple):
    """A place in the trail: which of the open files, oldest first, and the offset in it."""

    file: int
    offset: int


class Trail:
    """The files of a rotated log, as one run of lines; reading begins at the oldest.

    `file_name` gives a file's name from its age, 0 for the one that is written.  Where the trail
    doesn't grow it ends where it did when it was opened.  Not for several threads at once.
    """

    def __init__(self, directory: str, file_name: Callable[[int], str], *, grows: bool) -> None:
        self._directory = directory
        self._file_name = file_name
        self._grows = grows
        self._fds = self._open_all()
        self._offset = 0
        self._last = os.fstat(self._fds[-1]).st_size if self._fds else 0

    def read(self) -> bytes:
        """Give the next whole lines, many at once; nothing at the end as it is now.

        An unfinished line is left until later; of one longer than a block the end alone is given.
        """
        while True:
            if (block := self._read()) or not self._advance():
                return block

    def backward(self) -> Iterator[tuple[bytes, Place]]:
        """Give the whole lines from the end on backward, many at once, each with its place.

        The lines of a block are in the order written.
        """
        for number in range(len(self._fds) - 1, -1, -1):
            fd = self._fds[number]
            end = os.fstat(fd).st_size
            if not self._grows and fd == self._fds[-1]:
                end = self._last
            rest = b""
            size = BLOCK // 8  # what is asked for mostly is in the last few lines
            finished = False
            while end > 0:
                begin = max(0, end - size)
                block = os.pread(fd, end - begin, begin) + rest
                if not finished:
                    block = block[: block.rfind(b"\n") + 1]
                    finished = bool(block)
                first = block.find(b"\n") + 1 if begin else 0
                if first < len(block):
                    yield block[first:], Place(number, begin + first)
                    rest = block[:first]
                else:
                    rest = block
                end = begin
                size = BLOCK

    def go(self, place: Place) -> None:
        """Go on reading at a place that `backward` or `end` gave."""
        for fd in self._fds[: place.file]:
            os.close(fd)
        del self._fds[: place.file]
        self._offset = place.offset

    def end(self) -> Place:
        """Give the place after the last whole line."""
        for block, place in self.backward():
            return Place(place.file, place.offset + len(block))
        return Place(max(0, len(self._fds) - 1), 0)

    def skip_before(self, moment: float) -> None:
        """Skip the files that were last written before a moment (seconds since the epoch)."""
        while len(self._fds) > 1 and os.fstat(self._fds[0]).st_mtime < moment - 1:
            self._next()

    def close(self) -> None:
        """Close the files; closed already is fine."""
        while self._fds:
            os.close(self._fds.pop())

    def _read(self) -> bytes:
        """Read whole lines of the present file; nothing at its end."""
        while self._fds:
            size = BLOCK
            if not self._grows and len(self._fds) == 1:
                size = min(size, self._last - self._offset)
            block = os.pread(self._fds[0], size, self._offset)
            whole = block.rfind(b"\n") + 1
            if whole:
                self._offset += whole
                return block[:whole]
            if len(block) < BLOCK:
                break  # an unfinished line
            self._offset += len(block)
        return b""

    def _advance(self) -> bool:
        """Go to the next file, if there is one; False at the end of all."""
        if len(self._fds) > 1:
            self._next()
            return True
        if not self._grows or (self._fds and _is(self._fds[0], self._path(0))):
            return False
        found = self._open_all()
        if self._fds:
            # Read again before it is left: lines may have come until it was renamed.
            inode = os.fstat(self._fds[0]).st_ino
            inodes = [os.fstat(fd).st_ino for fd in found]
            older = inodes.index(inode) + 1 if inode in inodes else 0
            _close(found[:older])
            del found[:older]
        self._fds += found
        return bool(found)

    def _next(self) -> None:
        os.close(self._fds.pop(0))
        self._offset = 0

    def _path(self, age: int) -> str:
        return f"{self._directory}/{self._file_name(age)}"

    def _open_all(self) -> list[int]:
        """Open all files, oldest first, at a moment when none is being renamed."""
        tries = 0
        while True:
            fds = self._open_each()
            # No rotation ended meanwhile if the youngest is still the same; if one had begun, a
            # file was at most met twice, as the oldest are renamed first (runtime/log.py).
            if _is(fds[0], self._path(0)):
                break
            tries += 1
            # Whoever rotated may have been killed before it made the next file.
            if fds[0] < 0 and (len(fds) == 1 or tries > _PATIENCE):
                break
            _close(fds)
            os.sched_yield()
        unique: dict[int, int] = {}
        for fd in fds:
            if fd >= 0 and unique.setdefault(os.fstat(fd).st_ino, fd) != fd:
                os.close(fd)
        return list(unique.values())[::-1]

    def _open_each(self) -> list[int]:
        """Open the files from the youngest on; -1 stands for one that is missing among them."""
        fds: list[int] = []
        missing = 0
        while missing < _MISSING:
            try:
                fds.append(os.open(self._path(len(fds)), os.O_RDONLY | os.O_CLOEXEC))
                missing = 0
            except FileNotFoundError:
                fds.append(-1)
                missing += 1
            except BaseException:
                _close(fds)
                raise
        del fds[max(1, len(fds) - _MISSING) :]
        return fds


def _is(fd: int, path: str) -> bool:
    """Whether a path leads to an open file."""
    try:
        return fd >= 0 and os.fstat(fd).st_ino == os.stat(path).st_ino  # noqa: PTH116
    except FileNotFoundError:
        return False


def _close(fds: list[int]) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
