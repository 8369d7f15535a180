"""A build's cache into a registry or a directory: all layers of its steps, and the keys to them."""

from __future__ import annotations

import functools
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.build import export, sharing
from pycontainers.distribution.record import all_at_once
from pycontainers.errors import StoreError
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.digest import Digest
from pycontainers.storage.scratch import appearing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycontainers.build.builder import Build
    from pycontainers.build.sharing import Shared
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.reference import Reference


def shared(build: Build) -> list[Shared]:
    """Give the layers that a build has made or used, each with its archive in the store."""
    cache = build.maker.cache
    found = []
    layers = list(build.maker.used.values())
    for layer in export.archived(build, layers):
        built = layer.built
        assert built is not None and layer.descriptor is not None
        found.append(
            sharing.Shared(
                cache.keys(built),
                built.identity,
                built.title,
                export.latest(build),
                layer.diff_id,
                layer.descriptor.digest,
                layer.descriptor.size,
            )
        )
    return found


def save(services: Services, place: Path | Reference, layers: Sequence[Shared]) -> None:
    """Write a cache to a directory or a registry, in the place of the one that is there.

    Raises StoreError, RegistryError.
    """
    manifest, config = sharing.document(layers)

    def opened(digest: str) -> BinaryIO:
        return services.content.open(Digest.parse(digest))

    blobs: dict[str, tuple[int, Callable[[], BinaryIO]]] = {
        layer.blob: (layer.length, functools.partial(opened, layer.blob)) for layer in layers
    }
    blobs[str(Digest.of(config))] = len(config), functools.partial(io.BytesIO, config)
    if isinstance(place, Path):
        try:
            _write(place, blobs, manifest)
        except OSError as error:
            raise StoreError(f"cannot write the cache {place}: {error.strerror}") from error
        return
    from pycontainers.distribution import remote  # TLS and HTTP take 20 ms to load

    with remote.repository(services, place, None, None, None) as repository:

        def send(digest: str, size: int, stream: Callable[[], BinaryIO]) -> None:
            if not repository.has_blob(digest):
                repository.upload_blob(digest, size, stream)

        jobs = [functools.partial(send, digest, *blob) for digest, blob in blobs.items()]
        all_at_once(jobs, repository.cancel)
        repository.put_manifest(str(place.tag), manifest, oci.OCI_MANIFEST)


def _write(
    place: Path, blobs: dict[str, tuple[int, Callable[[], BinaryIO]]], manifest: bytes
) -> None:
    """Write an OCI image layout, whose index comes last."""
    home = place / "blobs" / "sha256"
    home.mkdir(parents=True, exist_ok=True)
    whole = {**blobs, str(Digest.of(manifest)): (len(manifest), lambda: io.BytesIO(manifest))}
    for digest, (size, stream) in whole.items():
        target = home / Digest.parse(digest).hex
        if not target.is_file() or target.stat().st_size != size:
            with stream() as file, appearing(target) as written:
                shutil.copyfileobj(file, written, 1 << 20)
    _put(place / "oci-layout", oci.LAYOUT)
    descriptor = oci.Descriptor.of(manifest, oci.OCI_MANIFEST, artifact_type=sharing.CONFIG)
    index = to_json(oci.Index(media_type=oci.OCI_INDEX, manifests=(descriptor,)))
    _put(place / "index.json", index)


def _put(target: Path, data: bytes) -> None:
    with appearing(target) as file:
        file.write(data)
