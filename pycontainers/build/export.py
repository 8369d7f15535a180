"""From a stage to an image in the store: archives of its layers, config, manifest, row."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.build.making import Layer
from pycontainers.distribution.compression import CHUNK, Compressor
from pycontainers.distribution.record import all_at_once, compose, layer_descriptor
from pycontainers.errors import ImageError
from pycontainers.oci.config import RootFS
from pycontainers.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pycontainers.build.builder import Build
    from pycontainers.build.stage import Result
    from pycontainers.storage.images import ImageRow

_PIPE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031


def export(build: Build, result: Result, references: Sequence[str]) -> ImageRow:
    """Make an image of a stage, named by `references`; raises ImageError, StoreError."""
    layers: list[Layer | None] = [None] * len(result.layers)

    def archive(index: int) -> None:
        layers[index] = _archived(build, result.layers[index])

    with build.progress.step("", None) as step:
        jobs = [functools.partial(archive, index) for index in range(len(layers))]
        all_at_once(jobs, lambda: None)
        whole = [layer for layer in layers if layer is not None]
        config = attrs.evolve(
            result.config,
            created=build.created,
            rootfs=RootFS(diff_ids=tuple(layer.diff_id for layer in whole)),
            history=result.history,
        )
        descriptors = [layer.descriptor for layer in whole if layer.descriptor is not None]
        row = compose(build.services, config, descriptors, references)
        step.output(f"{row.config}\n".encode())
    return row


def _archived(build: Build, layer: Layer) -> Layer:
    """Give a layer whose archive is in the store."""
    services = build.services
    if layer.built is None:
        return layer
    built = layer.built
    epoch = build.seconds
    if built.diff_id and built.blob and built.length and epoch is None:
        digest = Digest.parse(built.blob)
        if services.content.size(digest) == built.length:
            _show(build, layer.path, built.diff_id)
            descriptor = layer_descriptor(digest, built.length)
            return attrs.evolve(layer, diff_id=built.diff_id, descriptor=descriptor)
    compressor, hasher = Compressor(), hashlib.sha256()
    with services.content.write() as ingest:
        with contextlib.closing(_stream(build, layer.path, epoch)) as pieces:
            for data in pieces:
                hasher.update(data)
                ingest.write(compressor.compress(data))
        ingest.write(compressor.flush())
        size, digest = ingest.offset, ingest.commit()
    diff_id = f"sha256:{hasher.hexdigest()}"
    if epoch is None:
        build.maker.cache.archived(built, diff_id, str(digest), size)
    _show(build, layer.path, diff_id)
    return attrs.evolve(layer, diff_id=diff_id, descriptor=layer_descriptor(digest, size))


def _show(build: Build, path: str, diff_id: str) -> None:
    """Have the store find the layer's directory by its diff ID."""
    build.services.database.change(
        "INSERT OR IGNORE INTO layers VALUES (?, ?, ?)", diff_id, path.rpartition("/")[2], 0
    )


def _stream(build: Build, path: str, latest: int | None) -> Generator[bytes]:
    """Give the archive of a layer's directory, as a jailed worker writes it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE)
        work: dict[str, Any] = {"task": "layer", "directory": path, "skip": [], "latest": latest}
        running = build.services.launcher().work(work, [writing])
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        while data := os.read(reading, CHUNK):
            yield data
        running.wait()
        if running.failure is not None:
            raise ImageError(f"cannot read a layer: {running.why()}", hint=running.failure.hint)
    finally:
        os.close(reading)
        running.close()
