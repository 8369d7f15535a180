"""The content store: blobs by digest, in an OCI image layout that other tools read as it is.

    <root>/content/oci-layout   index.json   blobs/<algorithm>/<hex>
    <root>/ingest/<algorithm>-<hex>          what has come of a blob so far

A blob is written under `ingest`, checked while it comes, and made visible by a rename.  What an
interrupted transfer leaves there is where the next one goes on.  Whoever adds content holds the
store open meanwhile (`in_use`), which keeps its content from being collected.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from pycontainers.errors import ImageError, StoreError
from pycontainers.oci.digest import Digest
from pycontainers.oci.manifest import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_IMAGES: Final = b'{"schemaVersion":2,"manifests":[]}'
_CHUNK: Final = 1 << 20


class ContentStore:
    """The blobs of one data root; any number of threads and processes may use it at once."""

    def __init__(self, directory: Path, ingest: Path) -> None:
        self.directory = directory
        self.ingest = ingest
        with _errors(f"make {directory}"):
            for path in (directory, directory / "blobs", directory / "blobs/sha256", ingest):
                path.mkdir(mode=0o700, exist_ok=True)
            for name, data in (("oci-layout", LAYOUT), ("index.json", _NO_IMAGES)):
                if not (directory / name).exists():
                    self._replace(name, data, only_missing=True)

    def path(self, digest: Digest) -> Path:
        """Give where the blob is, or will be."""
        return self.directory / "blobs" / digest.algorithm / digest.hex

    def size(self, digest: Digest) -> int | None:
        """Give the blob's size in bytes; None where it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; raises StoreError."""
        with _errors(f"open the blob {digest}"):
            return self.path(digest).open("rb")

    def read(self, digest: Digest, limit: int) -> bytes:
        """Give a blob of at most `limit` bytes; raises StoreError, and ImageError for a longer."""
        with self.open(digest) as file, _errors(f"read the blob {digest}"):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ImageError(f"the blob {digest} has more than {limit} bytes")
        return data

    def put(self, data: bytes) -> Digest:
        """Add these bytes; give their digest."""
        digest = Digest.of(data)
        with self.write(digest, len(data)) as ingest:
            if not ingest.done:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return digest

    def write(self, digest: Digest | None = None, size: int | None = None) -> Ingest:
        """Begin to write a blob: of a known digest and size, or to see what its digest will be."""
        return Ingest(self, digest, size)

    def remove(self, digest: Digest) -> int:
        """Remove a blob; give its size.  One that is not here is fine."""
        size = self.size(digest)
        with _errors(f"remove the blob {digest}"):
            self.path(digest).unlink(missing_ok=True)
        return size or 0

    def digests(self) -> list[Digest]:
        """Give the digests of all blobs."""
        return [
            Digest(algorithm.name, blob.name)
            for algorithm in (self.directory / "blobs").iterdir()
            for blob in algorithm.iterdir()
        ]

    def write_index(self, data: bytes) -> None:
        """Put another index.json in the place of the present one."""
        with _errors(f"write {self.directory}/index.json"):
            self._replace("index.json", data)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep all content from being collected; any number of processes may do so at once."""
        with self._locked("content.lock", fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self, *, wait: bool) -> Iterator[bool]:
        """Hold the store with nobody adding to it; gives False where somebody is, if not `wait`."""
        with contextlib.ExitStack() as held:
            try:
                how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
                held.enter_context(self._locked("content.lock", how))
                free = True
            except BlockingIOError:
                free = False
            yield free

    @contextmanager
    def index_lock(self) -> Iterator[None]:
        """Hold what orders the writers of index.json."""
        with self._locked("index.lock", fcntl.LOCK_EX):
            yield

    def clear_ingest(self) -> None:
        """Remove what interrupted transfers left; only when alone."""
        with _errors(f"clear {self.ingest}"):
            for path in self.ingest.iterdir():
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        path = self.directory.parent / name
        with _errors(f"open {path}"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def _replace(self, name: str, data: bytes, *, only_missing: bool = False) -> None:
        making = self.ingest / f".{name}-{os.urandom(8).hex()}"
        try:
            making.write_bytes(data)
            if only_missing:
                with contextlib.suppress(FileExistsError):
                    os.link(making, self.directory / name)
            else:
                making.rename(self.directory / name)
        finally:
            making.unlink(missing_ok=True)


class Ingest:
    """A blob being written: a context manager that only one process has at a time.

    `done` tells that the blob is there already; `offset` how many bytes an earlier transfer left,
    which `partial` gives and checks.  Without `commit` nothing becomes visible.
    """

    def __init__(self, store: ContentStore, digest: Digest | None, size: int | None) -> None:
        self.digest = digest
        self.size = size
        self.done = False
        self.offset = 0
        self._store = store
        self._name = f"{digest.algorithm}-{digest.hex}" if digest else f".new-{os.urandom(8).hex()}"
        self._hash = (digest or Digest.of(b"")).hasher()
        self._fd = -1

    def __enter__(self) -> Self:
        with _errors(f"write the blob {self.digest or ''}"):
            self._open()
        return self

    def _open(self) -> None:
        path = self._store.ingest / self._name
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                facts = os.fstat(fd)
                if self.digest and self._store.size(self.digest) is not None:
                    self.done = True
                elif facts.st_nlink == 0:  # another process finished or gave up meanwhile
                    continue
                self._fd, fd = fd, -1
                break
            finally:
                if fd >= 0:
                    os.close(fd)
        if self.done:
            path.unlink(missing_ok=True)
        elif self.size is not None and facts.st_size > self.size:
            os.ftruncate(self._fd, 0)
        else:
            self.offset = facts.st_size

    def partial(self) -> Iterator[bytes]:
        """Give the bytes that are there, which count as written once they have been given."""
        read = 0
        while read < self.offset:
            data = os.pread(self._fd, _CHUNK, read)
            if not data:
                raise StoreError(f"{self._store.ingest / self._name} has been cut")
            self._hash.update(data)
            read += len(data)
            yield data
        os.lseek(self._fd, self.offset, os.SEEK_SET)

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.offset = 0
        self._hash = (self.digest or Digest.of(b"")).hasher()

    def write(self, data: bytes) -> None:
        """Add bytes; raises ImageError when they are more than there should be, and StoreError."""
        if self.size is not None and self.offset + len(data) > self.size:
            self.restart()
            raise ImageError(f"the blob {self.digest} has more than its {self.size} bytes")
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                view = view[written:]
        except OSError as error:
            self.restart()  # gives a full disk its space back
            raise _store_error(f"write the blob {self.digest or ''}", error) from error
        self.offset += len(data)

    def commit(self) -> Digest:
        """Make the blob visible; raises ImageError where its size or digest is another."""
        found = Digest(self.digest.algorithm if self.digest else "sha256", self._hash.hexdigest())
        if self.size is not None and self.offset != self.size:
            raise ImageError(
                f"the blob {self.digest} ended after {self.offset} of its {self.size} bytes"
            )
        if self.digest is not None and found != self.digest:
            self.restart()
            raise ImageError(
                f"the content of the blob {self.digest} is another: it has the digest {found}",
                hint="it was changed on its way, or where it comes from is damaged",
            )
        target = self._store.path(found)
        with _errors(f"write the blob {found}"):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            os.fchmod(self._fd, 0o644)
            (self._store.ingest / self._name).rename(target)
        self.done = True
        return found

    def __exit__(self, *_: object) -> None:
        if not self.done and (self.digest is None or os.fstat(self._fd).st_size == 0):
            (self._store.ingest / self._name).unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _store_error(doing, error) from error


def _store_error(doing: str, error: OSError) -> StoreError:
    hint = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Image.prune() removes images that nothing uses; Engine(root=…) uses another disk"
    return StoreError(f"cannot {doing.strip()}: {error.strerror or error}", hint=hint)
