r"""The log of one container: Docker's json-file format, and the writing of it.

An entry is one line of the file:

    {"log":"text\n","stream":"stdout","time":"2026-11-25T10:45:41.123456789Z"}

It holds a line of output with its newline, a piece of at most 16384 bytes of a longer line, or what
was left without a newline at the stream's end.  Bytes that are no UTF-8 are lone surrogates, as by
`decode("utf-8", "surrogateescape")`, so that the very bytes can be read again
(lifecycle/logs.py); other readers of the format see replacement characters.

The youngest file is `container.log`; full ones are renamed to `container.log.1` and on.
"""

from __future__ import annotations

import os
import time
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Final

PIECE: Final = 16384  # bytes of output in one entry, at most
_AT_ONCE: Final = 1 << 20  # bytes of entries that are held before they are written
_NAME: Final = "container.log"


def file_name(age: int) -> str:
    """Give the name of a log file: 0 is the one being written, 1 the youngest full one.

    >>> file_name(0), file_name(2)
    ('container.log', 'container.log.2')
    """
    return f"{_NAME}.{age}" if age else _NAME


class Log:
    """Appends a container's output to its log; at most `max_files` of about `max_size` bytes each.

    What the disk doesn't take is lost and counted in `lost` (bytes of entries); nothing here raises
    because of it.  One process writes at a time.
    """

    def __init__(self, directory: str, *, max_size: int, max_files: int) -> None:
        self.lost = 0
        self._directory = directory
        self._max_size = max_size
        self._max_files = max_files
        self._rest: dict[str, bytes] = {}
        self._second = -1
        self._date = ""
        self._fd = -1
        self._size = 0
        self._torn = False  # the file ends in the middle of an entry
        self._open()

    def write(self, stream: str, data: bytes) -> None:
        """Write the entries that a chunk of a stream completes; the unfinished line is kept.

        They carry one timestamp, and are written at once unless they are more than a megabyte.
        """
        if rest := self._rest.get(stream):
            data = rest + data
        tail = self._tail(stream)
        entries: list[bytes] = []
        size = start = 0
        while len(data) - start > PIECE:
            newline = data.rfind(b"\n", start, start + PIECE)
            end = newline + 1 if newline >= 0 else _cut(data, start + PIECE)
            # Blocks of this size are encoded while they are in the processor's cache.
            entries.append(_encoded(data[start:end], tail))
            size += len(entries[-1])
            start = end
            if size >= _AT_ONCE:
                self._append(b"".join(entries))
                entries.clear()
                size = 0
        end = data.rfind(b"\n", start) + 1
        if end > start:
            entries.append(_encoded(data[start:end], tail))
            start = end
        if entries:
            self._append(b"".join(entries))
        self._rest[stream] = data[start:]

    def flush(self, stream: str) -> None:
        """Write what a stream, which has ended, left without a newline."""
        if rest := self._rest.pop(stream, b""):
            self._append(_encoded(rest, self._tail(stream)))

    def close(self) -> None:
        """Write what all streams left, and close the file; closed already is fine."""
        for stream in list(self._rest):
            self.flush(stream)
        self._close()

    def _tail(self, stream: str) -> bytes:
        """Give what follows the text in an entry made now."""
        second, fraction = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f'","stream":"{stream}","time":"{self._date}.{fraction:09}Z"}}\n'.encode()

    def _append(self, entries: bytes) -> None:
        """Append whole entries, and begin a new file where one would grow too large."""
        while self._size + len(entries) > self._max_size:
            # One entry goes into any new file, however small.
            room = max(self._max_size - self._size, 0)
            fitting = entries.rfind(b"\n", 0, room) + 1
            if not fitting and not self._size:
                fitting = entries.find(b"\n") + 1
            if fitting:
                self._put(entries[:fitting])
                entries = entries[fitting:]
            # A file that took nothing stays: the old ones must not go for it.
            if not entries or not self._size or not self._rotate():
                break
        if entries:
            self._put(entries)

    def _put(self, entries: bytes) -> None:
        if self._fd < 0 and not self._open():
            self.lost += len(entries)
            return
        # What a full disk cut short must not spoil the entry after it.
        data = b"\n" + entries if self._torn else entries
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        except OSError:
            self.lost += len(data) - done
        if done:
            self._size += done
            self._torn = data[done - 1] != 0x0A

    def _rotate(self) -> bool:
        """Make every file one older and begin a new one; False where that can't be."""
        try:
            if self._max_files > 1:
                self._age()
            else:
                # Readers go on with the old file; emptying it would confuse them.
                os.unlink(f"{self._directory}/{file_name(0)}")
        except OSError:
            return False
        self._close()
        return self._open()

    def _age(self) -> None:
        # More of them are there when fewer are wanted than before.
        surplus = self._max_files
        while True:
            try:
                os.unlink(f"{self._directory}/{file_name(surplus)}")
            except FileNotFoundError:
                break
            surplus += 1
        # The oldest first: a reader that looks from the youngest on then misses none.
        for age in range(self._max_files - 1, 0, -1):
            try:
                os.rename(
                    f"{self._directory}/{file_name(age - 1)}", f"{self._directory}/{file_name(age)}"
                )
            except FileNotFoundError:
                if age == 1:
                    raise

    def _open(self) -> bool:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(f"{self._directory}/{file_name(0)}", flags, 0o600)
            self._size = os.fstat(self._fd).st_size
            # The last writer may have been killed in the middle of an entry.
            self._torn = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"
        except OSError:
            self._close()
            return False
        return True

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        self._size = 0


def _cut(data: bytes, end: int) -> int:
    """Give where to cut a long line: at `end`, or before the character that lies across it.

    >>> _cut("aé".encode(), 2), _cut(bytes([0x80] * 9), 8)
    (1, 8)
    """
    for back in range(4):
        if data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def _encoded(block: bytes, tail: bytes) -> bytes:
    """Give the entries of whole lines, or of one piece without a newline."""
    try:
        text, encode = block.decode(), encode_basestring
    except UnicodeDecodeError:
        text, encode = block.decode("utf-8", "surrogateescape"), encode_basestring_ascii
    whole = text[-1] == "\n"
    joint = b'\\n%b{"log":"' % tail
    if b"\\" in block:
        lines = text[:-1] if whole else text
        body = joint.join([encode(line)[1:-1].encode() for line in lines.split("\n")])
    else:
        # Faster, but an encoded backslash before an "n" would be taken for a newline.
        body = encode(text)[1 : -3 if whole else -1].encode().replace(b"\\n", joint)
    return b'{"log":"%b%b%b' % (body, b"\\n" if whole else b"", tail)
