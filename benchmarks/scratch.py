"""The place a benchmark works in: a directory and a cgroup name, both gone when it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainers.kernel import mounts, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSYBOX: Final = Path("/bin/busybox")
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)
_APPLETS: Final = ("cat", "echo", "ls", "sh", "sleep", "true")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = ("pids", "memory")  # those that the engine always joins
_STATE: Final = ("/run", "/var/lib")  # where the peers keep state that no option moves


class BenchmarkError(Exception):
    """A measurement that cannot be made, with the reason."""


class Scratch:
    """A directory of one run, with the root file system that every contestant runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rootfs = directory / "rootfs"
        self.tar = directory / "rootfs.tar"
        self.log = directory / "stderr.log"
        self.cgroup_name = f"pycontainers-benchmark-{os.getpid()}"
        self._cgroups: list[Path] = []

    def new_directory(self, name: str) -> Path:
        """Make a directory of a contestant's own."""
        path = self.directory / name
        path.mkdir()
        return path

    def make_cgroups(self) -> list[str]:
        """Make the floor's cgroup: one directory on version 2, else those of pids and memory."""
        own = _own_cgroups()
        if "memory" in own:
            for name in _CONTROLLERS:
                self._make_cgroup(_CGROUPS / name, own[name])
        else:
            made = self._make_cgroup(_CGROUPS, own[""])
            (made / "cgroup.subtree_control").write_text("+pids +memory")
        return [str(path) for path in self._cgroups]

    def _make_cgroup(self, hierarchy: Path, own: str) -> Path:
        start = hierarchy / own.lstrip("/")
        for parent in (start, *start.parents):
            if not parent.is_relative_to(hierarchy):
                break
            control = parent / "cgroup.subtree_control"
            if control.exists() and not set(_CONTROLLERS) <= set(control.read_text().split()):
                continue
            with contextlib.suppress(OSError):
                made = parent / self.cgroup_name
                made.mkdir()
                self._cgroups.append(made)
                return made
        raise BenchmarkError(f"no cgroup can be made below {hierarchy}")

    def remove(self) -> None:
        """Take away the cgroups and mounts with this run's name, and the directory."""
        peers = [*_CGROUPS.glob(f"*/{self.cgroup_name}"), _CGROUPS / self.cgroup_name]
        for top in {*self._cgroups, *peers}:
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
        for target in reversed(_mounts_below(self.directory)):
            mounts.umount(target, detach=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def new_scratch() -> Iterator[Scratch]:
    """Give a scratch directory with a busybox root file system in it.

    This process leaves the host's mount namespace for one in which what the peers write about
    themselves goes to memory.  Raises BenchmarkError where busybox is missing, KernelError where
    the caller is not root.
    """
    if not _BUSYBOX.exists():
        raise BenchmarkError(f"{_BUSYBOX} is missing: install busybox-static")
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    for path in _STATE:
        mounts.mount("tmpfs", path, "tmpfs", data="mode=0755")
    scratch = Scratch(Path(tempfile.mkdtemp(prefix="pcbench-")))
    try:
        # Users that a namespace maps must be able to walk to the root file system.
        scratch.directory.chmod(0o755)
        _make_rootfs(scratch.rootfs)
        with tarfile.open(scratch.tar, "w") as archive:
            archive.add(scratch.rootfs, arcname=".")
        yield scratch
    finally:
        with uninterrupted():
            scratch.remove()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Take no heed of Ctrl-C: a second one would leave behind what is just being removed."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _make_rootfs(root: Path) -> None:
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(_BUSYBOX, root / "bin/busybox")
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def _own_cgroups() -> dict[str, str]:
    """Give this process's cgroup by controller; that of version 2 has an empty name."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts_below(directory: Path) -> list[str]:
    targets = (mount.target for mount in mounts.mountinfo())
    return [target for target in targets if Path(target).is_relative_to(directory)]
