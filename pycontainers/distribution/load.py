"""Archives into the store."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.distribution import archive
from pycontainers.distribution.compression import CHUNK, LAYER_TYPES, kind_of
from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.record import all_at_once, read_config, record
from pycontainers.errors import ImageError
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import ImageRow


def load(
    services: Services,
    source: str | os.PathLike[str] | BinaryIO,
    limits: Limits,
    reporter: Reporter,
) -> list[ImageRow]:
    """Load all images of an archive or layout; raises ImageError, StoreError.

    An image appears when all of it is there; those before one that is bad stay.
    """
    with services.content.in_use(), reporter:
        if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
            members: archive.Members = archive.Folder(services.content, Path(source))
        else:
            members = archive.opened(services.content, pieces(source, reporter), limits)
        loaded = [_add(services, found, limits, reporter) for found in archive.images(members)]
    if not loaded:
        raise ImageError("the archive has no image")
    return loaded


def pieces(source: str | os.PathLike[str] | BinaryIO, reporter: Reporter) -> Iterator[bytes]:
    """Give the bytes of a file or stream as they come, and tell of it; raises ImageError."""
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "archive"
    current = total = 0
    try:
        with contextlib.ExitStack() as opened:
            if isinstance(source, (str, os.PathLike)):
                file: BinaryIO = opened.enter_context(Path(source).open("rb", buffering=0))
                total = os.fstat(file.fileno()).st_size
            else:
                file = source
            while data := file.read(CHUNK):
                current += len(data)
                reporter.tell(name, "read", current, total)
                yield data
            reporter.tell(name, "done", current, current)
    except OSError as error:
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error


def _add(services: Services, found: archive.Found, limits: Limits, reporter: Reporter) -> ImageRow:
    if found.manifest is None:
        manifest = _made_manifest(services, found)
        data = to_json(manifest)
    else:
        data = found.manifest
        parsed = oci.parse(data)
        assert isinstance(parsed, oci.Manifest)  # archive.images looked
        manifest = parsed
    config = read_config(found.config, manifest)
    layers = Layers(services, limits, reporter)
    wanted = {
        diff_id: (Digest.parse(layer.digest), layer.size)
        for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
    }
    jobs = [
        functools.partial(layers.add, digest, size, diff_id, _nothing)
        for diff_id, (digest, size) in wanted.items()
    ]
    all_at_once(jobs, _nobody_waits)
    return record(services, data, manifest, found.config, found.references)


def _made_manifest(services: Services, found: archive.Found) -> oci.Manifest:
    """Make the manifest that a docker-archive does not have."""
    layers = []
    for digest in found.layers:
        with services.content.open(digest) as file:
            kind = kind_of(file.read(6))
        if kind not in LAYER_TYPES:
            raise ImageError(f"a layer of the archive is compressed with {kind}")
        size = services.content.size(digest) or 0
        layers.append(oci.Descriptor(media_type=LAYER_TYPES[kind], digest=str(digest), size=size))
    return oci.Manifest(
        media_type=oci.OCI_MANIFEST,
        config=oci.Descriptor.of(found.config, oci.OCI_CONFIG),
        layers=tuple(layers),
    )


def _nobody_waits() -> None:
    """Cancel nothing: what reads local files ends soon by itself."""


def _nothing(_: int) -> Iterator[bytes]:
    """Stand for a blob's bytes where the blob is in the store."""
    raise ImageError("a blob of the archive was removed while it was loaded")
