"""A whole image into the store: its manifest and config beside its layers, then its row."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from pycontainers.errors import ImageError, InvalidArgument
from pycontainers.oci.codec import from_json, to_json
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.digest import Digest
from pycontainers.oci.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    check_image,
)
from pycontainers.oci.platform import Platform
from pycontainers.storage.images import ImageRow, blob_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pycontainers.lifecycle.services import Services

MAX_DOCUMENT: Final = 8 << 20  # bytes of a config; registries allow 4 MiB for a manifest
_AT_ONCE: Final = 4  # layers


def read_config(data: bytes, manifest: Manifest) -> ImageConfig:
    """Read the config that belongs to a manifest; raises ImageError."""
    try:
        config = from_json(ImageConfig, data, limit=MAX_DOCUMENT)
    except InvalidArgument as error:
        raise ImageError(f"the config of an image can't be read: {error}") from error
    layers, diff_ids = len(manifest.layers), len(config.rootfs.diff_ids)
    if layers != diff_ids:
        raise ImageError(f"an image has {layers} layers, but its config names {diff_ids}")
    return config


def record(
    services: Services, data: bytes, manifest: Manifest, config: bytes, references: Iterable[str]
) -> ImageRow:
    """Add an image whose layers are all here, `data` being its manifest as it came."""
    check_image(manifest)
    known = read_config(config, manifest)
    digest = services.content.put(data)
    services.content.put(config)
    row = ImageRow(
        manifest=str(digest),
        config=manifest.config.digest,
        media_type=manifest.media_type or OCI_MANIFEST,
        length=len(data),
        size=manifest.config.size + sum(layer.size for layer in manifest.layers),
        added=time.time(),
        platform=str(platform_of(known)),
        blobs=blob_list(
            [str(digest), manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        ),
        diff_ids=blob_list(known.rootfs.diff_ids),
    )
    services.image_store.add(row, list(references))
    return row


def compose(
    services: Services,
    config: ImageConfig,
    layers: Sequence[Descriptor],
    references: Iterable[str] = (),
) -> ImageRow:
    """Make an image of layers that are here and a config that names their diff IDs."""
    document = to_json(config)
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor.of(document, OCI_CONFIG),
        layers=tuple(layers),
    )
    return record(services, to_json(manifest), manifest, document, references)


def compose_index(services: Services, rows: Sequence[ImageRow]) -> Descriptor:
    """Put an index of images for several platforms into the store; give its descriptor."""
    index = Index(
        media_type=OCI_INDEX,
        manifests=tuple(
            Descriptor(
                media_type=row.media_type,
                digest=row.manifest,
                size=row.length,
                platform=Platform.parse(row.platform),
            )
            for row in rows
        ),
    )
    data = to_json(index)
    services.content.put(data)
    found = Descriptor.of(data, OCI_INDEX)
    services.image_store.add_index(found.digest, [row.manifest for row in rows])
    return found


def layer_descriptor(digest: Digest, size: int, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    """Give the descriptor of a layer's blob."""
    return Descriptor(media_type=media_type, digest=str(digest), size=size)


def platform_of(config: ImageConfig) -> Platform:
    """Give what an image's programs were made for."""
    return Platform(
        os=config.os, architecture=config.architecture, variant=config.variant
    ).normalized()


def all_at_once(jobs: Sequence[Callable[[], object]], cancel: Callable[[], object]) -> None:
    """Do jobs in a few threads; the first error, or an interrupt, ends the others and is raised."""
    if len(jobs) < 2:
        for job in jobs:
            job()
        return
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(jobs)), thread_name_prefix="pycontainers-layer")
    futures = [pool.submit(job) for job in jobs]
    try:
        done, _ = wait(futures, return_when="FIRST_EXCEPTION")
        failed = [future for future in done if future.exception() is not None]
        if failed:
            failed[0].result()
    except BaseException:
        cancel()
        raise
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            pool.shutdown(wait=True, cancel_futures=True)
