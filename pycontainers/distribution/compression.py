"""Compressed streams as readers that give no more at a time than they are asked for.

What a stream is, its first bytes tell: media types and file names are often wrong.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from pycontainers.errors import ImageError
from pycontainers.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycontainers.storage.content import Ingest

CHUNK: Final = 1 << 18
LAYER_TYPES: Final = {"": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}  # by `kind_of`
_WINDOW: Final = 1 << 27  # what `zstd --long` needs at most, and no image should
_LEVEL: Final = 1
_LIBRARIES: Final = ("isal", "igzip_lib", "isal_zlib", "zstandard", "_lzma", "lzma")


class Reader(Protocol):
    """What `read(size)` gives at most `size` bytes of; b"" at the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Give some bytes."""


class Chunks:
    """A reader over pieces as they come; `before` sees each of them first."""

    def __init__(
        self, pieces: Iterator[bytes], before: Callable[[bytes], object] | None = None
    ) -> None:
        self._pieces = pieces
        self._before = before
        self._left = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Give at most `size` bytes of the next piece."""
        if not self._left:
            piece = next(self._pieces, b"")
            if piece and self._before is not None:
                self._before(piece)
            self._left = memoryview(piece)
        size = len(self._left) if size < 0 else size
        found, self._left = bytes(self._left[:size]), self._left[size:]
        return found

    def drain(self) -> None:
        """Read what is left, for those who see each piece."""
        while self.read():
            pass


class _Peeked:
    """A reader whose first bytes have been looked at."""

    def __init__(self, first: bytes, rest: Reader) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if self._first:
            size = len(self._first) if size < 0 else size
            found, self._first = self._first[:size], self._first[size:]
            return found
        return self._rest.read(CHUNK if size < 0 else size)


def kind_of(first: bytes) -> str:
    """Name the compression of a stream by its first 6 bytes; "" for none that is known.

    >>> kind_of(bytes.fromhex("1f8b08"))
    'gzip'
    """
    for name, magic in (
        ("gzip", b"\x1f\x8b"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("xz", b"\xfd7zXZ\x00"),
        ("bzip2", b"BZh"),
    ):
        if first.startswith(magic):
            return name
    return ""


def peek(source: Reader) -> tuple[str, Reader]:
    """Give the compression of a stream, and a reader that begins where `source` did."""
    first = b""
    while len(first) < 6 and (more := source.read(6 - len(first))):
        first += more
    return kind_of(first), _Peeked(first, source)


def decompressed(source: Reader) -> Reader:
    """Give a reader of the plain bytes; raises ImageError, at `read`, for a damaged stream."""
    kind, whole = peek(source)
    return _Checked(_DECOMPRESSORS[kind](whole), kind) if kind else whole


class _Checked:
    """A decompressor whose errors are ours."""

    def __init__(self, inner: Reader, kind: str) -> None:
        self._inner = inner
        self._kind = kind

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._inner.read(CHUNK if size < 0 else size)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ImageError(f"the {self._kind} stream is damaged: {error}") from error
        except Exception as error:  # each library has errors of its own
            if type(error).__module__.split(".")[0] not in _LIBRARIES:
                raise
            raise ImageError(f"the {self._kind} stream is damaged: {error}") from error


def _gzip(source: Reader) -> Reader:
    from isal import igzip

    make: Any = igzip.IGzipFile  # it has no types
    return _Whole(make(fileobj=_File(source), mode="rb"))


def _zstd(source: Reader) -> Reader:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    opened: Any = decompressor.stream_reader(cast(BinaryIO, _File(source)), read_across_frames=True)
    return _Whole(opened)


def _xz(source: Reader) -> Reader:
    import lzma

    return _Raw(lzma.LZMAFile(cast(BinaryIO, _File(source))))


def _bzip2(source: Reader) -> Reader:
    import bz2

    return _Raw(bz2.BZ2File(cast(BinaryIO, _File(source))))


_DECOMPRESSORS: Final = {"gzip": _gzip, "zstd": _zstd, "xz": _xz, "bzip2": _bzip2}


class _File(io.RawIOBase):
    """A reader as a file that can't seek, which libraries ask for."""

    def __init__(self, source: Reader) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Raw:
    """Asks a decompressor for what it has at hand, not for all that it was asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, size: int = -1, /) -> bytes:
        found: bytes = self._inner.read1(CHUNK if size < 0 else size)
        return found


class _Whole:
    """Asks a decompressor for as much as is wanted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, size: int = -1, /) -> bytes:
        found: bytes = self._inner.read(CHUNK if size < 0 else size)
        return found


class GzipBlob:
    """A layer's blob that is being written: what is given is plain, what is kept compressed."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._compressor = Compressor()

    def write(self, data: bytes) -> None:
        """Add plain bytes; raises StoreError."""
        self._ingest.write(self._compressor.compress(data))

    def commit(self) -> Descriptor:
        """Make the blob visible, and give its descriptor."""
        self._ingest.write(self._compressor.flush())
        digest = self._ingest.commit()
        return Descriptor(media_type=OCI_LAYER_GZIP, digest=str(digest), size=self._ingest.offset)


class Compressor:
    """gzip as layers are written with: the same bytes for the same content, without a time.

    What the library makes of the content depends on the pieces that it is given; these are always
    of one size here.
    """

    def __init__(self) -> None:
        from isal import isal_zlib

        self._inner = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
        self._waiting = bytearray()

    def compress(self, data: bytes) -> bytes:
        """Give what is finished of the compressed stream."""
        view = memoryview(data)
        found = []
        if self._waiting:
            missing = CHUNK - len(self._waiting)
            self._waiting += view[:missing]
            view = view[missing:]
            if len(self._waiting) < CHUNK:
                return b""
            found.append(self._inner.compress(self._waiting))
            self._waiting = bytearray()
        whole = len(view) // CHUNK * CHUNK
        found += [self._inner.compress(view[at : at + CHUNK]) for at in range(0, whole, CHUNK)]
        self._waiting += view[whole:]
        return b"".join(found)

    def flush(self) -> bytes:
        """Give the rest."""
        return bytes(self._inner.compress(bytes(self._waiting)) + self._inner.flush())
