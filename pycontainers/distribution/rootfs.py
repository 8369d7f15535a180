"""An archive of a root file system as an image of one layer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, BinaryIO

import attrs

from pycontainers.distribution.compression import (
    CHUNK,
    LAYER_TYPES,
    Chunks,
    GzipBlob,
    decompressed,
    peek,
)
from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.load import pieces
from pycontainers.distribution.record import compose, layer_descriptor
from pycontainers.oci import manifest as oci
from pycontainers.oci.config import ImageConfig, RootFS
from pycontainers.oci.digest import Digest

if TYPE_CHECKING:
    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import ImageRow


def from_tar(
    services: Services,
    source: str | os.PathLike[str] | BinaryIO,
    config: ImageConfig,
    limits: Limits,
    reporter: Reporter,
) -> ImageRow:
    """Make an image of a tar archive (plain, gzip, zstd; bzip2 and xz become gzip).

    The same archive and config give the same image.  Raises ImageError, StoreError.
    """
    with services.content.in_use(), reporter:
        layer = _store(services, source, reporter)
        diff_id = _known_diff_id(services, layer.digest)
        if diff_id is None:
            diff_id = Layers(services, limits, reporter).measure(Digest.parse(layer.digest))
        whole = attrs.evolve(config, rootfs=RootFS(diff_ids=(diff_id,)), history=())
        return compose(services, whole, [layer])


def _store(
    services: Services, source: str | os.PathLike[str] | BinaryIO, reporter: Reporter
) -> oci.Descriptor:
    kind, whole = peek(Chunks(pieces(source, reporter)))
    with services.content.write() as ingest:
        if kind not in LAYER_TYPES:
            plain, blob = decompressed(whole), GzipBlob(ingest)
            while data := plain.read(CHUNK):
                blob.write(data)
            return blob.commit()
        while data := whole.read(CHUNK):
            ingest.write(data)
        return layer_descriptor(ingest.commit(), ingest.offset, LAYER_TYPES[kind])


def _known_diff_id(services: Services, digest: str) -> str | None:
    """Give the diff ID of a blob that is already some image's unpacked layer."""
    images = services.image_store
    for row in images.having(digest):
        layers: list[str] = json.loads(row.blobs)[2:]
        diff_id: str = json.loads(row.diff_ids)[layers.index(digest)]
        if images.layer(diff_id) is not None:
            return diff_id
    return None
