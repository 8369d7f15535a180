"""A tar stream read entry by entry: ustar, pax and GNU, sparse files too (tar(5), pax(1)).

Nothing in it is trusted: sizes are bounded, numbers are checked, and a name is a tuple of plain
components before anybody sees it.
"""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from pycontainers.errors import ImageError

BLOCK: Final = 512
_CHUNK: Final = 1 << 18
_MAX_HEADER: Final = 1 << 20
_MAX_MAP: Final = 16 << 20
_MAX_PATH: Final = 4095
_MAX_COMPONENT: Final = 255
_NO_BLOCK: Final = bytes(BLOCK)
_UINT32: Final = (1 << 32) - 2
_INT64: Final = (1 << 63) - 1

FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
_FORMATS: Final = {CHAR: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_FILES: Final = (b"0", b"\0", b"7")
_KINDS: Final = (b"1", b"2", b"3", b"4", b"5", b"6")
_XATTR: Final = b"SCHILY.xattr."


class Entry(NamedTuple):
    """One entry; `path` are its components, `size` the bytes of content that follow.

    `segments` are (offset, length) of a sparse file's content, `length` what it is long in all.
    """

    kind: str
    path: tuple[bytes, ...]
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    target: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    segments: list[tuple[int, int]] | None
    length: int

    def name(self) -> str:
        """Give the path for a message."""
        return os.fsdecode(b"/".join(self.path))

    def node(self) -> tuple[int, int]:
        """Give format and number of a device or pipe for mknod(2); raises ImageError."""
        major, minor = self.device
        if not 0 <= major < 1 << 12 or not 0 <= minor < 1 << 20:
            raise ImageError(f"the archive has a device {self.name()!r} of {major}:{minor}")
        return _FORMATS[self.kind], os.makedev(major, minor)


class Input:
    """A descriptor as a buffer, from which large content goes on without passing through it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = memoryview(b"")
        self._splices = True

    def block(self) -> bytes | None:
        """Give the next 512 bytes; None at the end."""
        if not self._data and not self._fill():
            return None
        return self.read(BLOCK)

    def read(self, size: int) -> bytes:
        """Give exactly so many bytes; raises ImageError where the stream ends before."""
        if len(self._data) >= size:
            found, self._data = bytes(self._data[:size]), self._data[size:]
            return found
        parts = []
        while size:
            if not self._data and not self._fill():
                raise ImageError("the archive ends in the middle of an entry")
            part, self._data = self._data[:size], self._data[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def copy(self, target: int, size: int) -> None:
        """Write exactly so many bytes to a file; raises ImageError, OSError."""
        while size:
            if self._data:
                part = self._data[:size]
                written = os.write(target, part)
                self._data = self._data[written:]
            elif size >= _CHUNK and self._splices:
                written = self._splice(target, size)
            else:
                written = 0
                if not self._fill():
                    raise ImageError("the archive ends in the middle of an entry")
            size -= written

    def content(self, entry: Entry, target: int) -> None:
        """Write an entry's content to a file, a sparse one's with its holes."""
        if entry.segments is None:
            self.copy(target, entry.size)
        else:
            for offset, length in entry.segments:
                os.lseek(target, offset, os.SEEK_SET)
                self.copy(target, length)
            os.ftruncate(target, entry.length)
        self.skip(-entry.size % BLOCK)

    def pass_over(self, entry: Entry) -> None:
        """Leave out an entry's content."""
        self.skip(entry.size + -entry.size % BLOCK)

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size:
            if not self._data and not self._fill():
                raise ImageError("the archive ends in the middle of an entry")
            part = min(size, len(self._data))
            self._data = self._data[part:]
            size -= part

    def drain(self) -> None:
        """Read what follows the archive's end, so that its writer can finish."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        self._data = memoryview(os.read(self._fd, _CHUNK))
        return bool(self._data)

    def _splice(self, target: int, size: int) -> int:
        try:
            written = os.splice(self._fd, target, min(size, 1 << 20))
        except OSError:  # neither is a pipe (splice(2)), or the file system can't
            self._splices = False
            return 0
        if not written:
            raise ImageError("the archive ends in the middle of an entry")
        return written


class Archive:
    """The entries of a stream; the content of each is read before the next is asked for."""

    def __init__(self, source: Input) -> None:
        self.source = source
        self._pax: dict[bytes, bytes] = {}
        self._global: dict[bytes, bytes] = {}
        self._long_name: bytes | None = None
        self._long_target: bytes | None = None
        self._begun = False

    def next(self) -> Entry | None:
        """Give the next entry, None at the archive's end; raises ImageError."""
        while True:
            header = self.source.block()
            if header is None and not self._begun:
                raise ImageError("no tar archive: it is empty")
            if header is None or header == _NO_BLOCK:
                self.source.drain()
                return None
            self._begun = True
            _check_sum(header)
            kind = header[156:157]
            if kind in (b"x", b"g", b"L", b"K"):
                self._extend(kind, header)
            else:
                return self._entry(kind, header)

    def _extend(self, kind: bytes, header: bytes) -> None:
        size = _number(header[124:136])
        if not 0 <= size <= _MAX_HEADER:
            raise ImageError(f"the archive has a header of {size} bytes, more than {_MAX_HEADER}")
        data = self.source.read(size)
        self.source.skip(-size % BLOCK)
        if kind == b"x":
            self._pax = _records(data)
        elif kind == b"g":
            self._global |= _records(data)
        elif kind == b"L":
            self._long_name = data.rstrip(b"\0")
        else:
            self._long_target = data.rstrip(b"\0")

    def _entry(self, kind: bytes, header: bytes) -> Entry:
        pax = {**self._global, **self._pax} if self._global else self._pax
        name, target = self._names(header, pax)
        self._pax, self._long_name, self._long_target = {}, None, None
        size = _pax_number(pax, b"size", _number(header[124:136]), _INT64)
        segments, length = None, size
        if kind == b"S":
            segments, length = self._old_sparse(header)
        elif kind in _FILES and any(key.startswith(b"GNU.sparse.") for key in pax):
            segments, length, size, name = self._pax_sparse(pax, size, name)
        if kind in _FILES or kind == b"S":
            is_directory = kind != b"S" and name.endswith(b"/")
            kind = b"5" if is_directory else b"0"
        elif kind not in _KINDS:
            raise ImageError(f"the archive has an entry of the type {kind!r}, which is not known")
        if kind != b"0":
            size = length = 0  # no content follows, whatever a size says there
        if segments is not None:
            _check_segments(segments, size, length)
        return Entry(
            kind=kind.decode(),
            path=components(name),
            mode=_number(header[100:108]) & 0o7777,
            uid=_pax_number(pax, b"uid", _number(header[108:116]), _UINT32),
            gid=_pax_number(pax, b"gid", _number(header[116:124]), _UINT32),
            mtime_ns=_time(pax.get(b"mtime"), header),
            size=size,
            target=target,
            device=(_number(header[329:337]), _number(header[337:345]))
            if kind in (b"3", b"4")
            else (0, 0),
            xattrs={
                key[len(_XATTR) :]: value for key, value in pax.items() if key.startswith(_XATTR)
            }
            if pax
            else {},
            segments=segments,
            length=length,
        )

    def _names(self, header: bytes, pax: dict[bytes, bytes]) -> tuple[bytes, bytes]:
        name = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].partition(b"\0")[0] + b"/" + name
        target = header[157:257].partition(b"\0")[0]
        name = pax.get(b"path", self._long_name if self._long_name is not None else name)
        long_target = self._long_target if self._long_target is not None else target
        return name, pax.get(b"linkpath", long_target)

    def _old_sparse(self, header: bytes) -> tuple[list[tuple[int, int]], int]:
        segments = _old_segments(header[386:482])
        length, extended = _number(header[483:495]), header[482]
        while extended:
            block = self.source.read(BLOCK)
            segments += _old_segments(block[:504])
            extended = block[504]
            if len(segments) * BLOCK > _MAX_MAP:
                raise ImageError("the archive has a sparse file of too many pieces")
        return segments, length

    def _pax_sparse(
        self, pax: dict[bytes, bytes], size: int, name: bytes
    ) -> tuple[list[tuple[int, int]], int, int, bytes]:
        name = pax.get(b"GNU.sparse.name", name)
        length = _pax_number(pax, b"GNU.sparse.realsize", size, _INT64)
        length = _pax_number(pax, b"GNU.sparse.size", length, _INT64)
        if pax.get(b"GNU.sparse.major") == b"1":
            numbers, used = self._map_before_content(size)
            return _pairs(numbers), length, size - used, name
        text = pax.get(b"GNU.sparse.map", b"")
        try:
            return _pairs([int(part) for part in text.split(b",") if part]), length, size, name
        except ValueError:
            raise ImageError("the archive has a sparse file whose map can't be read") from None

    def _map_before_content(self, size: int) -> tuple[list[int], int]:
        """Read the map of GNU's sparse format 1.0: decimal lines in blocks of their own."""
        data = b""
        numbers: list[int] = []
        while not numbers or len(numbers) < 2 * numbers[0] + 1:
            if len(data) >= min(size, _MAX_MAP):
                raise ImageError("the archive has a sparse file whose map does not end")
            data += self.source.read(BLOCK)
            try:
                numbers = [int(line) for line in data.split(b"\n")[:-1] if line.strip(b"\0")]
            except ValueError:
                raise ImageError("the archive has a sparse file whose map can't be read") from None
            if not numbers or numbers[0] < 0:
                raise ImageError("the archive has a sparse file whose map can't be read")
        return numbers[1 : 2 * numbers[0] + 1], len(data)


def components(name: bytes) -> tuple[bytes, ...]:
    """Give the parts of a name below the root; raises ImageError for one that leads elsewhere.

    >>> components(b"./usr//bin/")
    (b'usr', b'bin')
    """
    parts = tuple([part for part in name.split(b"/") if part not in (b"", b".")])
    if b".." not in parts and b"\0" not in name and len(name) <= _MAX_COMPONENT:
        return parts
    shown = os.fsdecode(name[:80])
    if b".." in parts:
        raise ImageError(f"the archive has an entry {shown!r} that leads out of its directory")
    if b"\0" in name:
        raise ImageError(f"the archive has an entry {shown!r} with a NUL in its name")
    if len(name) > _MAX_PATH or any(len(part) > _MAX_COMPONENT for part in parts):
        raise ImageError(f"the archive has an entry {shown!r}… whose name is too long")
    return parts


def _check_sum(header: bytes) -> None:
    told = _number(header[148:156])
    if sum(header) - sum(header[148:156]) + 256 != told:
        signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:])
        if signed + 256 != told:
            raise ImageError("no tar archive, or a damaged one: a header's checksum is wrong")


def _number(field: bytes) -> int:
    """Read a number as tar writes it: octal, or from 8 GiB on base 256 (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise ImageError("the archive has a header with a number that is none") from None


def _pax_number(pax: dict[bytes, bytes], key: bytes, otherwise: int, most: int) -> int:
    text = pax.get(key) if pax else None
    value = otherwise
    if text is not None:
        if not text.isdigit() or len(text) > 20:
            raise ImageError(f"the archive has a header with {key.decode()}={text[:40]!r}")
        value = int(text)
    if not 0 <= value <= most:
        raise ImageError(f"the archive has an entry with the {key.decode()} {value}")
    return value


def _time(text: bytes | None, header: bytes) -> int:
    if text is None:
        seconds = _number(header[136:148])
        return seconds * 1_000_000_000 if abs(seconds) < 1 << 33 else 0
    whole, _, part = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    digits = whole.lstrip(b"-") or b"0"
    if not digits.isdigit() or not (part or b"0").isdigit() or len(digits) > 11:
        raise ImageError(f"the archive has a header with mtime={text[:40]!r}")
    return sign * (int(digits) * 1_000_000_000 + int(part[:9].ljust(9, b"0") or b"0"))


def _records(data: bytes) -> dict[bytes, bytes]:
    """Read the records of a pax header; the repeated keys of GNU's sparse 0.0 make one map."""
    found: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if end <= space or end > len(data) or data[end - 1] != 0x0A:
            raise ImageError("the archive has a pax header that can't be read")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise ImageError("the archive has a pax header that can't be read")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pieces.append(value)
        else:
            found[key] = value
        at = end
    if pieces:
        found[b"GNU.sparse.map"] = b",".join(pieces)
    return found


def _old_segments(data: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(data) - 23, 24):
        if data[at]:
            found.append((_number(data[at : at + 12]), _number(data[at + 12 : at + 24])))
    return found


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise ImageError("the archive has a sparse file whose map can't be read")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_segments(segments: list[tuple[int, int]], size: int, length: int) -> None:
    at = 0
    for offset, extent in segments:
        if offset < at or extent < 0 or offset + extent > length:
            raise ImageError("the archive has a sparse file whose map makes no sense")
        at = offset + extent
    if sum(extent for _, extent in segments) != size:
        raise ImageError("the archive has a sparse file whose map is not its content's")
