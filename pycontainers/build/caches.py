"""The directories of cache mounts, which are kept from build to build."""

from __future__ import annotations

import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final

from pycontainers.build import copying

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable
    from pathlib import Path

    from pycontainers.build.builder import Build
    from pycontainers.build.mounts import RunMount
    from pycontainers.build.stage import Result

_MODE: Final = 0o755
_LOOK_AGAIN: Final = 0.02  # seconds


def directories(
    build: Build, wanted: Iterable[tuple[RunMount, Result | None]], stack: contextlib.ExitStack
) -> dict[str, Path]:
    """Give the directories of cache mounts by their ids, locked until `stack` ends.

    A new one begins with what the stage given with its mount has at the mount's source path.
    """
    home = build.services.root.build_mounts
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    # In one order everywhere, so that no two commands wait for each other.
    for mount, source in sorted(wanted, key=lambda each: (each[0].id, each[0].sharing == "shared")):
        if mount.id not in found:
            path = found[mount.id] = _lock(build, home, mount, stack)
            if not path.exists():
                _make(build, path, mount, source)
    return found


def _lock(build: Build, home: Path, mount: RunMount, stack: contextlib.ExitStack) -> Path:
    """Find the directory that may be used; of private ones, the first that nobody uses."""
    name = hashlib.sha256(mount.id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    number = 0
    while True:
        path = home / (f"{name}-{number}" if number else name)
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, fd)
        while not _locked(fd, exclusive=mount.sharing != "shared"):
            if mount.sharing == "private":
                break
            build.progress.cancellation.wait(_LOOK_AGAIN)
        else:
            os.pwrite(fd, mount.id.encode("utf-8", "surrogateescape"), 0)  # also tells when
            return path
        number += 1


def _locked(fd: int, *, exclusive: bool) -> bool:
    """Lock a file, unless somebody has it; flock(2) would wait on even when the build ends."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make(build: Build, path: Path, mount: RunMount, source: Result | None) -> None:
    """Make the directory beside its place, and move it there whole."""
    with build.maker.changes() as changes:
        made = changes / "upper" / "tree"
        if source is None:
            made.mkdir()
        else:
            layers, wanted = source.paths(), [mount.source or "/"]
            selection = copying.select_in_stage(build.services, layers, wanted)
            target = copying.Target("/tree/", changes)
            copying.copy(build.services, selection, layers, target, copying.Wishes())
        made.chmod(_MODE if mount.mode is None else mount.mode)
        os.chown(made, mount.uid or 0, mount.gid or 0)
        try:
            made.rename(path)
        except OSError:  # another one who shares it was faster
            if not path.is_dir():
                raise
