"""Build caches of other data roots, in registries and directories; a layer comes when needed."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pycontainers.build import sharing
from pycontainers.distribution.compression import CHUNK
from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.progress import Reporter
from pycontainers.errors import ImageError, PyContainersError
from pycontainers.oci import manifest as oci
from pycontainers.oci.digest import Digest
from pycontainers.storage.builds import BuiltArchive, BuiltLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.build.progress import Progress
    from pycontainers.build.sharing import Shared
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.reference import Reference
    from pycontainers.registry.repository import Repository
    from pycontainers.storage.builds import BuildCache

_RULE = "CacheImport"


class _Origin(Protocol):
    """Where a cache lies."""

    def manifest(self) -> bytes:
        """Give the manifest."""

    def blob(self, digest: str, size: int, offset: int) -> Iterator[bytes]:
        """Give a blob from a byte on."""

    def cancel(self) -> None:
        """End what other threads are fetching."""


class Imports:
    """The caches that a build may take layers from; what can't be read is told and passed over."""

    def __init__(self, services: Services, progress: Progress) -> None:
        self._services = services
        self._progress = progress
        self._layers = Layers(services, Limits(), Reporter(None))
        self._known: dict[str, tuple[_Origin, Shared]] = {}
        self._lock = threading.Lock()

    def open(self, places: Sequence[Path | Reference], stack: contextlib.ExitStack) -> None:
        """Read what there is at these places, which stay open as long as `stack`."""
        for place in places:
            try:
                origin = _opened(self._services, place, stack)
                found = sharing.read(_config(origin))
            except PyContainersError as error:
                self._warn(f"the cache {place} can't be used: {error.args[0]}")
                continue
            for shared in found:
                for key in shared.keys:
                    self._known.setdefault(key, (origin, shared))

    def find(self, key: str, cache: BuildCache) -> BuiltLayer | None:
        """Have the layer here that a key leads to; None where no cache has it."""
        with self._lock:
            found = self._known.get(key)
        if found is None:
            return None
        origin, shared = found
        try:
            with self._progress.cancellation.ending(origin.cancel):
                return self._taken(origin, shared, cache)
        except (PyContainersError, OSError) as error:
            self._progress.cancellation.check()
            with self._lock:
                for one in shared.keys:
                    self._known.pop(one, None)
            self._warn(f"a layer of a cache can't be used: {error.args[0]}")
            return None

    def _taken(self, origin: _Origin, shared: Shared, cache: BuildCache) -> BuiltLayer:
        def pieces(offset: int) -> Iterator[bytes]:
            return origin.blob(shared.blob, shared.length, offset)

        self._layers.add(Digest.parse(shared.blob), shared.length, shared.diff_id, pieces)
        path = self._services.image_store.layer(shared.diff_id)
        if path is None:
            raise ImageError(f"the layer {shared.diff_id} was removed as soon as it was unpacked")
        now = time.time()
        built = BuiltLayer(path.name, now, now, 0, shared.title, shared.identity)
        missing = [key for key in shared.keys if cache.find(key) is None]
        cache.add(missing, built)
        cache.archived(
            BuiltArchive(path.name, shared.latest, shared.diff_id, shared.blob, shared.length)
        )
        return built

    def _warn(self, text: str) -> None:
        self._progress.warn(_RULE, text)


def _config(origin: _Origin) -> bytes:
    """Give the config of a cache, verified; raises ImageError."""
    wanted = sharing.config_of(origin.manifest())
    if wanted.size > sharing.MAX_DOCUMENT:
        raise ImageError(f"its document has {wanted.size} bytes")
    data = b"".join(origin.blob(wanted.digest, wanted.size, 0))
    if str(Digest.of(data)) != wanted.digest:
        raise ImageError("its document is damaged")
    return data


def _opened(services: Services, place: Path | Reference, stack: contextlib.ExitStack) -> _Origin:
    if isinstance(place, Path):
        return _Directory(place)
    from pycontainers.distribution import remote  # TLS and HTTP take 20 ms to load

    repository = stack.enter_context(remote.repository(services, place, None, None, None))
    return _Registry(repository, str(place.digest or place.tag))


class _Registry:
    def __init__(self, repository: Repository, asked: str) -> None:
        self._repository = repository
        self._asked = asked

    def manifest(self) -> bytes:
        return self._repository.manifest(self._asked).data

    def blob(self, digest: str, size: int, offset: int) -> Iterator[bytes]:
        return self._repository.blob(digest, size, offset)

    def cancel(self) -> None:
        self._repository.cancel()


class _Directory:
    """An OCI image layout."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def manifest(self) -> bytes:
        index = oci.parse(self._read("index.json"))
        if not isinstance(index, oci.Index) or not index.manifests:
            raise ImageError("its index.json names nothing")
        digest = Digest.parse(index.manifests[-1].digest)
        return self._read(f"blobs/{digest.algorithm}/{digest.hex}")

    def blob(self, digest: str, size: int, offset: int) -> Iterator[bytes]:
        name = Digest.parse(digest)
        try:
            with (self._path / "blobs" / name.algorithm / name.hex).open("rb") as file:
                file.seek(offset)
                while data := file.read(min(CHUNK, size + 1 - file.tell())):
                    yield data
        except OSError as error:
            raise ImageError(f"cannot read its blob {digest}: {error.strerror}") from error

    def cancel(self) -> None:
        """Leave it: reading a file takes no long time."""

    def _read(self, name: str) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                return file.read(sharing.MAX_DOCUMENT)
        except OSError as error:
            raise ImageError(f"cannot read its {name}: {error.strerror}") from error
