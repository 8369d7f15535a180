"""One layer into the store: downloaded, checked, decompressed and unpacked in a single pass.

    pieces ─▶ blob under its digest ─▶ decompressor ─▶ digest (the diff ID) ─▶ pipe ─▶ jailed worker

The worker fills a directory beside the layers, which gets its row only when both digests are right.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.distribution.compression import CHUNK, Chunks, GzipBlob, Reader, decompressed
from pycontainers.errors import ImageError
from pycontainers.lifecycle import values
from pycontainers.oci.digest import Digest
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.options import Size
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.manifest import Descriptor

_PIPE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031


@attrs.frozen
class Limits:
    """What an image may come to when it is unpacked: bytes and entries of each layer."""

    size: int = 64 << 30
    entries: int = 2_000_000

    @classmethod
    def of(cls, max_size: Size | None, max_entries: int | None) -> Limits:
        """Read the options; raises InvalidArgument."""
        usual = cls()
        return cls(
            usual.size if max_size is None else values.size("max_size", max_size),
            usual.entries
            if max_entries is None
            else values.whole("max_entries", max_entries, 1, 1 << 40),
        )


class Layers:
    """Brings layers into the store of an engine, several at a time from several threads."""

    def __init__(self, services: Services, limits: Limits, reporter: Reporter) -> None:
        self._services = services
        self._limits = limits
        self._reporter = reporter

    def add(
        self,
        digest: Digest,
        size: int,
        diff_id: str,
        pieces: Callable[[int], Iterator[bytes]],
    ) -> None:
        """Have the blob and its unpacked layer here; `pieces(offset)` gives the blob's bytes.

        It is asked for only where the blob is missing.  Raises ImageError where a digest or size is
        wrong or a limit is passed, StoreError, and what `pieces` raises.
        """
        content, images = self._services.content, self._services.image_store
        with content.write(digest, size) as ingest:
            if ingest.done and images.layer(diff_id) is not None:
                self._reporter.tell(str(digest), "exists", size, size)
                return
            if ingest.done:
                with content.open(digest) as file:
                    self._unpack(digest, size, diff_id, Chunks(_pieces(file)), None)
            else:
                source = Chunks(
                    _chain(ingest, pieces), lambda _: self._tell(digest, ingest.offset, size)
                )

                def commit() -> None:
                    source.drain()
                    ingest.commit()

                if images.layer(diff_id) is None:
                    self._unpack(digest, size, diff_id, source, commit)
                else:
                    commit()
        self._reporter.tell(str(digest), "done", size, size)

    def measure(self, digest: Digest) -> str:
        """Give the diff ID of a blob that is here, unpacked where its layer is missing."""
        size = self._services.content.size(digest) or 0
        with self._services.content.open(digest) as file:
            return self._unpack(digest, size, None, Chunks(_pieces(file)), None)

    def create(self, pieces: Iterator[bytes]) -> tuple[Descriptor, str]:
        """Make a layer of a plain tar stream: compressed into the store, and unpacked.

        Gives the descriptor and the diff ID.  Raises ImageError, StoreError.
        """
        content, images = self._services.content, self._services.image_store
        with content.write() as ingest, scratch(self._services.root.layers) as making:
            blob = GzipBlob(ingest)
            diff_id, answer = self._fill(making, Chunks(pieces, blob.write))
            found = blob.commit()
            path = images.new_layer()
            making.rename(path)
            images.add_layer(diff_id, path, answer["bytes"])
        return found, diff_id

    def _tell(self, digest: Digest, current: int, total: int) -> None:
        self._reporter.tell(str(digest), "download", current, total)

    def _unpack(
        self,
        digest: Digest,
        size: int,
        diff_id: str | None,
        source: Chunks,
        commit: Callable[[], None] | None,
    ) -> str:
        if commit is None:
            self._reporter.tell(str(digest), "unpack", 0, size)
        with scratch(self._services.root.layers) as making:
            found, answer = self._fill(making, decompressed(source))
            if commit is not None:
                commit()
            if diff_id is not None and found != diff_id:
                raise ImageError(
                    f"the layer {digest} unpacks to another content than its image's config says: "
                    f"{found}, not {diff_id}"
                )
            path = self._services.image_store.new_layer()
            making.rename(path)
            self._services.image_store.add_layer(found, path, answer["bytes"])
        return found

    def _fill(self, directory: Path, plain: Reader) -> tuple[str, dict[str, Any]]:
        """Give the digest of the plain stream, and the worker's answer."""
        import fcntl

        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE)
            work = {
                "task": "unpack",
                "directory": str(directory),
                "limits": {"entries": self._limits.entries, "bytes": self._limits.size},
                "overlay": True,
            }
            running = self._services.launcher().work(work, [reading])
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        try:
            try:
                found = self._feed(plain, writing)
            finally:
                running.wait()  # it ends with its input, and works on the directory until then
            if running.failure is not None:
                raise ImageError(
                    f"cannot unpack a layer: {running.why()}",
                    hint=running.failure.hint,
                )
            return found, running.answer
        finally:
            running.close()

    def _feed(self, plain: Reader, fd: int) -> str:
        """Write all to the worker, as long as it reads; its own account tells why it stopped."""
        digest = Digest.of(b"").hasher()
        total = 0
        try:
            while data := plain.read(CHUNK):
                total += len(data)
                if total > self._limits.size + (self._limits.entries << 10):
                    raise ImageError(
                        f"a layer unpacks to more than {self._limits.size} bytes",
                        hint="max_size= allows more",
                    )
                digest.update(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)
        return f"sha256:{digest.hexdigest()}"


def _chain(ingest: Any, pieces: Callable[[int], Iterator[bytes]]) -> Iterator[bytes]:
    """Give what an earlier transfer left, then what is missing, which is written as it comes."""
    yield from ingest.partial()
    for piece in pieces(ingest.offset):
        ingest.write(piece)
        yield piece


def _pieces(file: Any) -> Iterator[bytes]:
    while piece := file.read(CHUNK):
        yield piece
