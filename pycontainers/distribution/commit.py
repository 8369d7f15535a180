"""What a container changed: listed, made a layer of a new image, or exported with all the rest.

A jailed worker reads the container's upper directory; nothing here resolves a path in it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import attrs

from pycontainers.distribution import catalog
from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.progress import Reporter
from pycontainers.distribution.record import compose
from pycontainers.distribution.streaming import streamed
from pycontainers.errors import ImageError, KernelError, NotSupported, StoreError
from pycontainers.oci import manifest as oci
from pycontainers.oci.changes import apply_changes
from pycontainers.oci.config import History, RootFS
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import ImageRow


class Change(NamedTuple):
    """A path that a container (A)dded, (C)hanged or (D)eleted, as `docker diff` has it."""

    kind: Literal["A", "C", "D"]
    path: str


def diff(life: Life) -> list[Change]:
    """Give what a container changed in its image's file system, sorted by path.

    Raises NotSupported for an ephemeral container, whose changes are in its own memory.
    """
    work = {"task": "changes", "beneath": list(life.source.layers)}
    lines = b"".join(_streamed(life, work)).splitlines()
    return sorted((Change(*json.loads(line)) for line in lines), key=lambda change: change.path)


def export(life: Life, target: BinaryIO) -> None:
    """Write all that the container sees of its image, changed, as a tar archive.

    Raises NotSupported, StoreError.
    """
    work = {"task": "export", "beneath": list(life.source.layers)}
    with contextlib.closing(_streamed(life, work)) as pieces:
        for data in pieces:
            try:
                target.write(data)
            except OSError as error:
                raise StoreError(f"cannot write the archive: {error.strerror}") from error


def commit(
    life: Life,
    reference: str | None,
    changes: Sequence[str],
    *,
    message: str,
    author: str,
    pause: bool,
) -> ImageRow:
    """Make an image of the container's image and what it changed; raises NotSupported, StoreError.

    The same changes give the same layer.  While it is read the container stands still, if `pause`.
    """
    names = [] if reference is None else [str(Reference.parse(reference))]
    services, source = life.services, life.source
    _check_kept(life)
    if source.trees:
        raise NotSupported(
            "Image.host() has no layers of its own, and so nothing that an image could be made of",
            hint="start from an image in the store to commit",
        )
    config = apply_changes(source.config, changes)
    in_store = services.image_store.by_id(source.image)
    work: dict[str, Any] = {"task": "layer"}
    if not in_store:  # a directory: all of it becomes the image's only layer
        work = {"task": "export", "beneath": list(source.layers)}
    layers = Layers(services, Limits(), Reporter(None))
    with services.content.in_use(), _still(life, pause):
        with contextlib.closing(_streamed(life, work)) as pieces:
            descriptor, diff_id = layers.create(pieces)
        below = _layers_of(services, source.image) if in_store else ()
        created = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        step = History(
            created=created,
            created_by=" ".join(life.argv()),
            author=author,
            comment=message,
        )
        whole = attrs.evolve(
            config,
            created=created,
            author=author or config.author,
            rootfs=RootFS(diff_ids=(*config.rootfs.diff_ids, diff_id)),
            history=(*config.history, step),
        )
        return compose(services, whole, [*below, descriptor], names)


def _layers_of(services: Services, image_id: str) -> tuple[oci.Descriptor, ...]:
    row = catalog.row(services, image_id)
    document = oci.parse(services.content.read(Digest.parse(row.manifest), row.length))
    if not isinstance(document, oci.Manifest):  # the store was changed by others
        raise ImageError(f"the manifest {row.manifest} is none")
    return document.layers


def _check_kept(life: Life) -> None:
    if life.options.ephemeral:
        raise NotSupported(
            f"the container {life.id[:12]} is ephemeral: its changes are in its own memory",
            hint="create it with ephemeral=False",
        )


@contextlib.contextmanager
def _still(life: Life, pause: bool) -> Iterator[None]:
    """Hold a running container's processes, where this host can."""
    cgroup = life.cgroup() if pause and life.state().status == "running" else None
    if cgroup is None:
        yield
        return
    try:
        cgroup.freeze()
    except KernelError:
        if cgroup.pids():
            raise
    try:
        yield
    finally:
        cgroup.thaw()
        if not cgroup.pids():  # it ended meanwhile, and its cgroup may have been removed before
            cgroup.remove()


def _streamed(life: Life, work: dict[str, Any]) -> Generator[bytes]:
    """Give what a worker writes of the container's upper directory."""
    services = life.services
    _check_kept(life)
    services.snapshots.prepare(life.id)  # where it was never started
    upper = services.snapshots.path(life.id) / "upper"
    mounts = [mount.destination.strip("/") for mount in life.spec.mounts]
    work = {**work, "directory": str(upper), "skip": mounts}
    yield from streamed(services, work, f"cannot read what the container {life.id[:12]} changed")
