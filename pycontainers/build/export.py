"""From a stage to an image in the store: archives of its layers, config, manifest, row."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import config as configs
from pycontainers.build.making import Layer
from pycontainers.distribution.compression import GzipBlob
from pycontainers.distribution.record import all_at_once, compose, layer_descriptor
from pycontainers.distribution.streaming import streamed
from pycontainers.errors import BuildError
from pycontainers.oci.config import RootFS
from pycontainers.oci.digest import Digest
from pycontainers.storage.builds import BuiltArchive

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pycontainers.build.builder import Build
    from pycontainers.build.stage import Result
    from pycontainers.storage.images import ImageRow

_AS_THEY_ARE: Final = -1
_NOTHING: Final = bytes(1024)  # the end of a tar archive, which is all of an empty layer's


def export(build: Build, result: Result, references: Sequence[str]) -> ImageRow:
    """Make an image of a stage, named by `references`; raises ImageError, StoreError."""
    with build.progress.exporting() as step:
        whole = archived(build, result.layers)
        history = configs.dated(result.history)
        last = history[-1].created if history and build.seconds is None else build.created
        config = attrs.evolve(
            result.config,
            created=last,
            rootfs=RootFS(diff_ids=tuple(layer.diff_id for layer in whole)),
            history=history,
        )
        descriptors = [layer.descriptor for layer in whole if layer.descriptor is not None]
        row = compose(build.services, config, descriptors, references)
        step.output(f"{row.config}\n".encode())
    return row


def archived(build: Build, layers: Sequence[Layer]) -> list[Layer]:
    """Give layers whose archives are in the store, written several at a time."""
    found: list[Layer | None] = [None] * len(layers)
    stopped = threading.Event()

    def archive(index: int) -> None:
        found[index] = _archived(build, layers[index], stopped)

    all_at_once([functools.partial(archive, index) for index in range(len(layers))], stopped.set)
    return [layer for layer in found if layer is not None]


def latest(build: Build) -> int:
    """Give the latest time that a build's archives may have, -1 for any."""
    return _AS_THEY_ARE if build.seconds is None else build.seconds


def _archived(build: Build, layer: Layer, stopped: threading.Event) -> Layer:
    """Give a layer whose archive is in the store."""
    services = build.services
    if layer.built is None:
        return layer
    cache = build.maker.cache
    known = cache.archive(layer.built, latest(build))
    is_empty = known is None and not os.listdir(layer.path)  # noqa: PTH208
    if is_empty and build.maker.empty is not None:
        known = build.maker.empty._replace(directory=layer.built.directory)
        cache.archived(known)
    if known is not None:
        digest = Digest.parse(known.blob)
        if services.content.size(digest) == known.length:
            _show(build, layer.path, known.diff_id)
            descriptor = layer_descriptor(digest, known.length)
            return attrs.evolve(layer, diff_id=known.diff_id, descriptor=descriptor)
    hasher = hashlib.sha256()
    with services.content.write() as ingest:
        blob = GzipBlob(ingest)
        with contextlib.closing(_stream(build, layer.path)) as pieces:
            for data in pieces:
                if stopped.is_set():
                    raise BuildError("cancelled, as another layer can't be written")
                hasher.update(data)
                blob.write(data)
        descriptor = blob.commit()
    diff_id = f"sha256:{hasher.hexdigest()}"
    made = BuiltArchive(
        layer.built.directory, latest(build), diff_id, descriptor.digest, descriptor.size
    )
    cache.archived(made)
    if is_empty:
        build.maker.empty = made
    _show(build, layer.path, diff_id)
    return attrs.evolve(layer, diff_id=diff_id, descriptor=descriptor)


def _show(build: Build, path: str, diff_id: str) -> None:
    """Have the store find the layer's directory by its diff ID."""
    build.services.database.change(
        "INSERT OR IGNORE INTO layers VALUES (?, ?, ?)", diff_id, path.rpartition("/")[2], 0
    )


def _stream(build: Build, path: str) -> Generator[bytes]:
    """Give the archive of a layer's directory, as a jailed worker writes it."""
    if not os.listdir(path):  # noqa: PTH208
        yield _NOTHING
        return
    work = {"task": "layer", "directory": path, "latest": build.seconds}
    yield from streamed(build.services, work, "cannot read a layer")
