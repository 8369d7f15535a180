"""COPY and ADD: files of a context or a stage into the stage that is built, by jailed workers."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import attrs

from pycontainers.build.context import Selection, Workers, feed
from pycontainers.kernel import paths
from pycontainers.lifecycle import workers
from pycontainers.runtime import modes, plan, selecting
from pycontainers.runtime.mounting import MountImage
from pycontainers.runtime.selection import read as read_matches
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pycontainers.distribution.compression import Reader
    from pycontainers.distribution.layers import Limits
    from pycontainers.lifecycle.services import Services


@attrs.frozen
class Target:
    """Where files go: `path` in a new layer, over the `lower` layers, topmost first.

    `changes` is a directory that has `upper` and `work`, as an overlay wants them.  Without
    `lower`, for `FROM scratch` and `--link`, nothing is seen but what is in `upper`.  A path that
    ends with a slash is a directory.
    """

    path: str
    changes: Path
    lower: tuple[str, ...] = ()

    def jail(self) -> dict[str, Any]:
        """Give the keys of a worker's jail."""
        if self.lower:
            return {"jail": "root", "lower": list(self.lower), "upper": str(self.changes)}
        return {"jail": "directory", "directory": str(self.changes / "upper")}


@attrs.frozen
class Wishes:
    """What is to be changed of the files; raises InvalidArgument for a mode that is none.

    `owner` is a pair of numbers, `user[:group]` as the image has them, or None to keep the owners.
    `mode` is chmod's, octal or symbolic, or None; `time` in nanoseconds, or None to keep them.
    """

    owner: tuple[int, int] | str | None = None
    mode: str | None = None
    time: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.mode is not None:
            modes.check(self.mode)


def select_in_stage(
    services: Services,
    layers: Sequence[str],
    sources: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    parents: bool = False,
) -> Selection:
    """Find what COPY --from names in a stage, its layers topmost first, and its digest.

    Raises FileMissing naming the source, InvalidArgument for a pattern that is none.
    """
    selecting.check(sources, exclude, parents=parents)
    fd = os.memfd_create("selection", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as listing, _stage(services, layers) as jail:
        work = {
            "task": "select",
            "path": "/",
            **jail,
            "sources": list(sources),
            "exclude": list(exclude),
            "parents": parents,
        }
        digest = workers.ask(Workers(services), work, [fd]).told["digest"]
        listing.seek(0)
        return Selection(tuple(read_matches(listing)), digest)


def copy(
    services: Services,
    selection: Selection,
    source: int | Sequence[str],
    target: Target,
    wishes: Wishes,
) -> int:
    """Copy a selection out of a context's `root_fd`, or a stage's layers; give how many files.

    Raises KernelError naming the file, ImageError for one that was changed since it was selected.
    """
    work = {**_work("copy", target, wishes), "mode": wishes.mode}
    with contextlib.ExitStack() as opened:
        listing = opened.enter_context(selection.listing())
        given = [listing.fileno()]
        if isinstance(source, int):
            given.append(source)
        elif source:
            work["source"] = list(source)
        else:
            empty = opened.enter_context(scratch(services.root.layers))
            given.append(opened.enter_context(paths.directory(empty)))
        entries: int = workers.ask(Workers(services), work, given).told["entries"]
    return entries


def add_archive(
    services: Services, plain: Reader, target: Target, wishes: Wishes, limits: Limits
) -> None:
    """Make the entries of a plain tar archive in a directory; its mode wish is not for them.

    Raises ImageError for an archive that leads out of it, or is beyond `limits`; KernelError.
    """
    work = {
        **_work("add_archive", target, wishes),
        "limits": {"entries": limits.entries, "bytes": limits.size},
    }
    feed(Workers(services), work, plain)


def make_way(services: Services, target: Target, wishes: Wishes) -> None:
    """Make the target a directory, with those above it, where they are missing.

    Raises KernelError, also for an owner's name that the stage has not.
    """
    workers.ask(Workers(services), _work("make_way", target, wishes))


def identify(services: Services, layers: Sequence[str], user: str) -> tuple[int, int]:
    """Look up --chown's `user[:group]` in a stage; raises KernelError for a name it has not."""
    with _stage(services, layers) as jail:
        work = {"task": "identify", "path": user, **jail}
        uid, gid = workers.ask(Workers(services), work).told["owner"]
    return uid, gid


@contextlib.contextmanager
def _stage(services: Services, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the keys of a jail that is a stage, which cannot be written to."""
    if layers:
        tree = plan.pack(MountImage(list(layers), "", "/", 0, False))
        yield {"jail": "image", "tree": tree}
        return
    with scratch(services.root.layers) as path:  # nothing is in it
        yield {"jail": "directory", "directory": str(path)}


def _work(task: str, target: Target, wishes: Wishes) -> dict[str, Any]:
    owner = list(wishes.owner) if isinstance(wishes.owner, tuple) else wishes.owner
    return {
        "task": task,
        **target.jail(),
        "path": target.path,
        "owner": owner,
        "time": wishes.time,
    }
