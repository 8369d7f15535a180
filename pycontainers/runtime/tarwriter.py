"""A tar stream written entry by entry: ustar, with a pax header only where one is needed.

The same files make the same bytes: names come sorted, times are whole seconds, as Docker writes
them, and nothing else of the machine is in it.
"""

from __future__ import annotations

import os
import stat
from typing import Final

BLOCK: Final = 512
_CHUNK: Final = 1 << 18
_KINDS: Final = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_LARGEST_ID: Final = 0o7777777
_LARGEST: Final = 0o77777777777


class Writer:
    """Writes an archive to a descriptor, through a buffer; `entries` and `bytes` tell how much.

    A time later than `latest`, in seconds, is written as that.
    """

    def __init__(self, fd: int, latest: int | None = None) -> None:
        self.entries = self.bytes = 0
        self._latest = latest
        self._fd = fd
        self._parts: list[bytes] = []
        self._waiting = 0

    def add(
        self,
        name: bytes,
        facts: os.stat_result,
        *,
        target: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
        link: bool = False,
    ) -> None:
        """Add an entry; a file's content is to follow by `content`, a hard link has none."""
        kind = b"1" if link else _KINDS[stat.S_IFMT(facts.st_mode)]
        size = facts.st_size if kind == b"0" else 0
        device = facts.st_rdev if kind in (b"3", b"4") else 0
        name = name + b"/" if kind == b"5" else name
        self._entry(kind, name, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid,
                    size, int(facts.st_mtime), target, device, _named(xattrs))  # fmt: skip

    def sparse(
        self,
        name: bytes,
        facts: os.stat_result,
        fd: int,
        segments: list[tuple[int, int]],
        *,
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        """Add a file with holes: of its content only the (offset, length) of `segments`.

        GNU's format 1.0, which tar(1), Python and Go read.
        """
        numbers = [len(segments), *(number for segment in segments for number in segment)]
        table = b"".join(b"%d\n" % number for number in numbers)
        table += bytes(-len(table) % BLOCK)
        size = len(table) + sum(length for _, length in segments)
        pax = _named(xattrs) | {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": name,
            b"GNU.sparse.realsize": b"%d" % facts.st_size,
        }
        self._entry(b"0", b"GNUSparseFile.0/" + name[-80:], stat.S_IMODE(facts.st_mode),
                    facts.st_uid, facts.st_gid, size, int(facts.st_mtime), b"", 0, pax)  # fmt: skip
        self._put(table)
        for offset, length in segments:
            os.lseek(fd, offset, os.SEEK_SET)
            self._copy(fd, length)
        self._put(bytes(-size % BLOCK))

    def empty(self, name: bytes) -> None:
        """Add an empty file of root's, as whiteouts are."""
        self._entry(b"0", name, 0o600, 0, 0, 0, 0, b"", 0, {})

    def content(self, fd: int, size: int) -> None:
        """Add exactly `size` bytes of a file, zeros where it has become shorter meanwhile."""
        self._copy(fd, size)
        self._put(bytes(-size % BLOCK))

    def end(self) -> None:
        """Write the end of the archive and what is still in the buffer."""
        self._put(bytes(2 * BLOCK))
        self._flush()

    def _copy(self, fd: int, left: int) -> None:
        while left:
            data = os.read(fd, min(left, _CHUNK))
            if not data:
                data = bytes(min(left, _CHUNK))
            self._put(data)
            left -= len(data)

    def _entry(
        self,
        kind: bytes,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: int,
        target: bytes,
        device: int,
        pax: dict[bytes, bytes],
    ) -> None:
        self.entries += 1
        if self._latest is not None:
            mtime = min(mtime, self._latest)
        if len(name) > 100:
            pax[b"path"] = name
        if len(target) > 100:
            pax[b"linkpath"] = target
        for key, value, most in (
            (b"uid", uid, _LARGEST_ID),
            (b"gid", gid, _LARGEST_ID),
            (b"size", size, _LARGEST),
            (b"mtime", mtime, _LARGEST),
        ):
            if not 0 <= value <= most:
                pax[key] = b"%d" % value
        if pax:
            data = b"".join(_record(key, value) for key, value in pax.items())
            self._put(_header(b"x", b"PaxHeaders/" + name[-80:], 0o644, 0, 0, len(data), 0, b"", 0))
            self._put(data + bytes(-len(data) % BLOCK))
        uid = uid if uid <= _LARGEST_ID else 0
        gid = gid if gid <= _LARGEST_ID else 0
        size = size if size <= _LARGEST else 0
        mtime = mtime if 0 <= mtime <= _LARGEST else 0
        header = _header(kind, name[:100], mode, uid, gid, size, mtime, target[:100], device)
        self._put(header)

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        self.bytes += len(data)
        if self._waiting >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(b"".join(self._parts))
        self._parts.clear()
        self._waiting = 0
        while view:
            view = view[os.write(self._fd, view) :]


def _named(xattrs: dict[bytes, bytes] | None) -> dict[bytes, bytes]:
    return {b"SCHILY.xattr." + key: xattrs[key] for key in sorted(xattrs)} if xattrs else {}


def _header(
    kind: bytes,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes,
    device: int,
) -> bytes:
    head = b"%-100b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, mtime)  # fmt: skip
    tail = b"%b%bustar\00000%b%07o\0%07o\0" % (
        kind, target.ljust(100, b"\0"), bytes(64), os.major(device), os.minor(device))  # fmt: skip
    rest = tail.ljust(BLOCK - len(head) - 8, b"\0")
    total = sum(head) + sum(rest) + 8 * 32
    return b"%b%06o\0 %b" % (head, total, rest)


def _record(key: bytes, value: bytes) -> bytes:
    """Give a pax record, whose length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
