"""Copies the content of regular files, as fast as the kernel can, and holes as holes."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_SEGMENTS: Final = 100_000
_PIECE: Final = 64 << 20
_CHUNK: Final = 1 << 20
_BIG: Final = 16 << 20


def segments(fd: int, facts: os.stat_result) -> list[tuple[int, int]] | None:
    """Give (offset, length) of a file's content where it has holes; None where it has none."""
    size = facts.st_size
    if facts.st_blocks * 512 >= size:
        return None
    found: list[tuple[int, int]] = []
    at = 0
    while at < size and len(found) < _MOST_SEGMENTS:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # that is the end: a hole up to there
                os.lseek(fd, 0, os.SEEK_SET)
                return None
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < at:
            found.append((start, at - start))
    if len(found) == _MOST_SEGMENTS or found == [(0, size)]:
        os.lseek(fd, 0, os.SEEK_SET)
        return None
    if not found or sum(found[-1]) < size:
        found.append((size, 0))
    return found


def copy(source: int, target: int) -> None:
    """Copy a regular file's content into another, which is empty; holes stay holes."""
    facts = os.fstat(source)
    pieces = segments(source, facts)
    if pieces is None:
        # What grows meanwhile, as it may without end, is copied as it was; a file of the kernel's
        # has content and no size.
        os.ftruncate(target, _copy_piece(source, target, facts.st_size or _PIECE))
        return
    for offset, length in pieces:
        os.lseek(source, offset, os.SEEK_SET)
        os.lseek(target, offset, os.SEEK_SET)
        _copy_piece(source, target, length)
    os.ftruncate(target, facts.st_size)


def _copy_piece(source: int, target: int, length: int) -> int:
    """Copy from and to where the descriptors stand, to the end or as far as `length`."""
    ways: list[Callable[[int], int]] = [
        lambda size: os.copy_file_range(source, target, size),
        lambda size: os.sendfile(target, source, None, size),
        lambda size: write_all(target, os.read(source, min(size, _CHUNK))),
    ]
    done = 0
    while done < length:
        size = min(_PIECE, length - done)
        try:
            copied = ways[0](size)
        except OSError as error:
            if len(ways) == 1 or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            ways.pop(0)  # not between these file systems
            continue
        if not copied:
            if len(ways) == 1:
                break
            ways = ways[-1:]  # a file of the kernel's has content and no size
        done += copied
    return done


def write_all(target: int, data: bytes) -> int:
    """Write all of it, and give its length."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)


def put(spare: str, name: str, parent_fd: int, size: int) -> None:
    """Give a finished file of that size its name, in place of a file there.

    A big one comes a moment after the old one has gone: where one replaces another, ext4 begins to
    write it out, and the caller waits (ext4(5), auto_da_alloc).
    """
    if size >= _BIG:
        with contextlib.suppress(OSError):  # whatever keeps it there, replacing it tells
            os.unlink(name, dir_fd=parent_fd)
    os.replace(spare, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
