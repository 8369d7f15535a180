"""An archive of a root file system as an image of one layer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, BinaryIO

import attrs

from pycontainers.distribution.compression import CHUNK, Chunks, Compressor, decompressed, peek
from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.load import pieces
from pycontainers.distribution.record import compose, layer_descriptor
from pycontainers.oci import manifest as oci
from pycontainers.oci.config import ImageConfig, RootFS

if TYPE_CHECKING:
    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.digest import Digest
    from pycontainers.storage.images import ImageRow

_TYPES = {"": oci.OCI_LAYER, "gzip": oci.OCI_LAYER_GZIP, "zstd": oci.OCI_LAYER_ZSTD}


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
        digest, media_type = _store(services, source, reporter)
        diff_id = _known_diff_id(services, digest)
        if diff_id is None:
            diff_id = Layers(services, limits, reporter).measure(digest)
        whole = attrs.evolve(config, rootfs=RootFS(diff_ids=(diff_id,)), history=())
        size = services.content.size(digest) or 0
        return compose(services, whole, [layer_descriptor(digest, size, media_type)])


def _store(
    services: Services, source: str | os.PathLike[str] | BinaryIO, reporter: Reporter
) -> tuple[Digest, str]:
    kind, whole = peek(Chunks(pieces(source, reporter)))
    with services.content.write() as ingest:
        if kind in _TYPES:
            while data := whole.read(CHUNK):
                ingest.write(data)
        else:
            plain, compressor = decompressed(whole), Compressor()
            while data := plain.read(CHUNK):
                ingest.write(compressor.compress(data))
            ingest.write(compressor.flush())
        return ingest.commit(), _TYPES.get(kind, oci.OCI_LAYER_GZIP)


def _known_diff_id(services: Services, digest: Digest) -> str | None:
    """Give the diff ID of a blob that is already some image's unpacked layer."""
    images = services.image_store
    for row in images.having(str(digest)):
        layers: list[str] = json.loads(row.blobs)[2:]
        diff_id: str = json.loads(row.diff_ids)[layers.index(str(digest))]
        if images.layer(diff_id) is not None:
            return diff_id
    return None
