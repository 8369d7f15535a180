"""Overlays of detached mounts, on kernels that take those as layers, and on those before."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

_STAGE: Final = "/tmp"  # any directory does: it is covered in a mount namespace of our own
_OPTIONS: Final = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")]


def overlay(
    layers: list[tuple[int, str]], upper: int | None, attributes: int, *, detached: bool
) -> int:
    """Mount an overlay of directories in detached mounts, topmost layer first.

    Each is a mount and a name in it; `upper` is a mount that holds upper and work.  Without
    `upper`, which takes two layers or more, it can't be written to.  `detached` tells whether this
    kernel takes such layers as they are.
    """
    if detached:
        return _overlay_of_detached(layers, upper, attributes)
    return _overlay_of_staged(layers, upper, attributes)


def _overlay_of_detached(layers: list[tuple[int, str]], upper: int | None, attributes: int) -> int:
    options = [("lowerdir+", f"/proc/self/fd/{fd}/{name}") for fd, name in layers]
    if upper is not None:
        options.append(("upperdir", f"/proc/self/fd/{upper}/upper"))
        options.append(("workdir", f"/proc/self/fd/{upper}/work"))
    return mounts.new_mount("overlay", options + _OPTIONS, attributes=attributes)


def _overlay_of_staged(layers: list[tuple[int, str]], upper: int | None, attributes: int) -> int:
    """Mount an overlay on kernels before 6.15, which take attached layers only: whole mounts.

    They are attached for a moment beneath one tmpfs; short relative names keep many layers within
    the one page of options that mount(2) takes.
    """
    mounts.mount("stage", _STAGE, "tmpfs", 0, "mode=0755")
    try:
        os.chdir(_STAGE)
        names = [str(index) for index in range(len(layers))]
        changes = [] if upper is None else [("changes", upper)]
        for name, fd in [*zip(names, (fd for fd, _ in layers), strict=True), *changes]:
            os.mkdir(name)
            mounts.attach(fd, name)
        os.mkdir("merged")
        layout = [f"lowerdir={':'.join(names)}"]
        if upper is not None:
            layout += ["upperdir=changes/upper", "workdir=changes/work"]
        given = [f"{key}={value}" for key, value in _OPTIONS]
        mounts.mount("overlay", "merged", "overlay", 0, ",".join(layout + given))
        root = mounts.open_tree("merged")
        mounts.set_attributes(root, add=attributes)
        return root
    finally:
        os.chdir("/")
        mounts.umount(_STAGE, detach=True)


@contextlib.contextmanager
def staged(mount_fd: int) -> Iterator[int]:
    """Have a detached mount attached for a while, in a mount namespace of our own: give its root.

    What lies below can be cloned then, as kernels before 6.15 don't clone parts of a detached one.
    """
    mounts.attach(mount_fd, _STAGE)
    try:
        root_fd = os.open(_STAGE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root_fd
        finally:
            os.close(root_fd)
    finally:
        mounts.umount(_STAGE, detach=True)


def takes_detached_layers() -> bool:
    """Whether overlay takes detached mounts as layers here; tried with two empty ones."""
    tmpfs = mounts.new_mount("tmpfs", [])
    try:
        for name in ("upper", "work", "lower"):
            os.mkdir(name, dir_fd=tmpfs)
        path = f"/proc/self/fd/{tmpfs}"
        lower, upper, work = f"{path}/lower", f"{path}/upper", f"{path}/work"
        options = [("lowerdir+", lower), ("upperdir", upper), ("workdir", work)]
        os.close(mounts.new_mount("overlay", options))
    except KernelError:
        return False
    finally:
        os.close(tmpfs)
    return True
