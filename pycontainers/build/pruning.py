"""What builds keep for the builds to come: listed with its size, and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pycontainers.build.context import Workers
from pycontainers.kernel import paths
from pycontainers.lifecycle import workers
from pycontainers.storage.builds import BuildCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.builds import BuiltLayer

_LOCK: Final = ".lock"


class BuildRecord(NamedTuple):
    """One thing that builds keep: the layer of a step, or the directory of a cache mount.

    `title` is the step or the mount's id, `created` and `used` are seconds since the epoch, `size`
    the bytes on the disk.  What is `shared` is an image's too, and stays there when it is pruned.
    """

    id: str
    kind: Literal["layer", "mount"]
    title: str
    created: float
    used: float
    size: int
    shared: bool

    @property
    def reclaimable(self) -> int:
        """The bytes that its removal gives back."""
        return 0 if self.shared else self.size


def records(services: Services) -> list[BuildRecord]:
    """Give all that builds keep, the longest unused first; raises StoreError."""
    with services.content.in_use():
        return _records(services)


def prune(
    services: Services, *, all: bool, keep: int | None, before: float | None
) -> list[BuildRecord]:
    """Remove what builds keep, the longest unused first, and give it; waits for running builds.

    `all` also forgets the layers that images have.  With `keep`, no more is removed when so many
    bytes or less are left; with `before`, nothing that was used after that moment.
    """
    with services.content.alone(wait=True):
        found = [one for one in _records(services) if all or not one.shared]
        left = sum(one.reclaimable for one in found)
        removed = []
        for one in found:
            if keep is not None and left <= keep:
                break
            if before is None or one.used < before:
                removed.append(one)
                left -= one.reclaimable
        BuildCache(services.database, services.root.layers).forget(
            [one.id for one in removed if one.kind == "layer"]
        )
        for one in removed:
            if one.kind == "mount":
                _remove_mount(services, one.id)
    services.image_store.collect(wait=True)  # takes the directories that nobody has any more
    return removed


def _records(services: Services) -> list[BuildRecord]:
    cache = BuildCache(services.database, services.root.layers)
    shared = services.image_store.directories()
    found = [
        BuildRecord(
            one.directory, "layer", one.title, one.created, one.used,
            one.size or _measure(services, cache, one), one.directory in shared,
        )
        for one in cache.all()
    ]  # fmt: skip
    found += _mounts(services)
    # Of those used together, the later ones depend on the earlier ones, and go first.
    return sorted(found, key=lambda one: (one.used, -one.created))


def _measure(services: Services, cache: BuildCache, layer: BuiltLayer) -> int:
    """Measure a layer for the first time; it never changes."""
    path = services.root.layers / layer.directory
    if not path.is_dir():
        return 0
    size = _usage(services, path)
    cache.measured(layer, size)
    return size


def _usage(services: Services, path: Path) -> int:
    work = {"task": "usage", "path": "/", "jail": "directory", "directory": str(path)}
    told: int = workers.ask(Workers(services), work).told["bytes"]
    return told


def _mounts(services: Services) -> Iterator[BuildRecord]:
    home = services.root.build_mounts
    for lock in sorted(home.glob(f"*{_LOCK}")):
        path = lock.with_suffix("")
        if path.is_dir():
            # The lock's text is the mount's id, written whenever it is used.
            title, used = lock.read_text("utf-8", "replace"), lock.stat().st_mtime
            size = _usage(services, path)
            yield BuildRecord(path.name, "mount", title, used, used, size, shared=False)


def _remove_mount(services: Services, name: str) -> None:
    with paths.directory(services.root.build_mounts) as home_fd:
        paths.remove_tree(name, home_fd)
        paths.remove_tree(f"{name}{_LOCK}", home_fd)
