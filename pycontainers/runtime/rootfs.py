"""The container's view of files, from inside: its root, its mounts, hidden and read-only paths.

After `enter` the host's files are out of reach by any path, so that a link in an image leads
nowhere but into the image; what comes from the host comes as a descriptor.
"""

from __future__ import annotations

import errno
import os
import stat

from pycontainers.errors import KernelError
from pycontainers.kernel import mounts, paths
from pycontainers.kernel.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
)

_HARDENED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_NULL_DEVICE = os.makedev(1, 3)
_CGROUP = "/sys/fs/cgroup"


def open_proc() -> int:
    """Make a /proc for this process's PID namespace; needs one in sight (procfs in a userns)."""
    return mounts.new_mount("proc", [], attributes=_HARDENED)


def open_sys() -> int:
    """Make a read-only /sys for this process's network namespace."""
    return mounts.new_mount("sysfs", [], attributes=_HARDENED | MOUNT_ATTR_RDONLY)


def enter(root_fd: int) -> int:
    """Make the detached mount `root_fd` the root, let the host's go, give an open `/`."""
    mounts.attach(root_fd, "/")
    mounts.pivot_root(root_fd)
    return open_slash()


def replace(root_fd: int) -> int:
    """Make another detached mount the root, with /proc, /sys and /dev as they are, mounts below.

    Gives an open `/`.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    kept = [(path, os.open(path, flags)) for path in ("/proc", "/sys", "/dev")]
    mounts.attach(root_fd, "/")
    for path, mount_fd in kept:
        attach_kernel_filesystem(mount_fd, root_fd, path)
    mounts.pivot_root(root_fd)
    return open_slash()


def open_slash() -> int:
    """Open the root directory as it is now, by which all later paths are resolved."""
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def attach_kernel_filesystem(mount_fd: int, slash_fd: int, target: str) -> None:
    """Attach a mount at a real directory in the root; a link there would put it elsewhere."""
    target_fd = _directory(slash_fd, target)
    try:
        mounts.attach(mount_fd, target_fd)
    finally:
        os.close(target_fd)
        os.close(mount_fd)


def _directory(slash_fd: int, target: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return paths.open_in(slash_fd, target, flags, follow=False)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    os.mkdir(target.lstrip("/"), 0o755, dir_fd=slash_fd)
    return paths.open_in(slash_fd, target, flags, follow=False)


def mount_new(slash_fd: int, fstype: str, target: str, flags: int, options: str) -> None:
    """Mount a new file system at a directory inside the root, made where it is missing."""
    os.close(paths.make_directories(slash_fd, target))
    mounts.mount(fstype, target, fstype, flags, options or None)


def attach_tree(slash_fd: int, mount_fd: int, target: str) -> None:
    """Attach a mount that the launcher made at a directory or file inside the root."""
    if target == "/dev":
        target_fd = _directory(slash_fd, target)
    elif stat.S_ISDIR(os.fstat(mount_fd).st_mode):
        target_fd = paths.make_directories(slash_fd, target)
    else:
        target_fd = paths.make_file(slash_fd, target)
    try:
        mounts.attach(mount_fd, target_fd)
    finally:
        os.close(target_fd)


def mount_cgroups(hierarchies: list[str]) -> None:
    """Show the own cgroups: version 2 as one tree, or one directory a version 1 hierarchy."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if not hierarchies:
        mounts.mount("cgroup2", _CGROUP, "cgroup2", flags | MS_RDONLY)
        return
    mounts.mount("tmpfs", _CGROUP, "tmpfs", flags, "mode=0755,size=16k")
    for names in hierarchies:
        target = f"{_CGROUP}/{names}"
        os.mkdir(target, 0o755)
        mounts.mount("cgroup", target, "cgroup", flags | MS_RDONLY, names)
    mounts.mount(None, _CGROUP, None, MS_REMOUNT | MS_RDONLY | flags, "mode=0755,size=16k")


def mask(slash_fd: int, hidden: list[str]) -> None:
    """Hide each path that exists: the null device over a file, an empty directory over a directory.

    The null device is taken by descriptor and proved to be one: a /dev/null that an image or a
    volume replaced by a link would put that link's target there instead (CVE-2025-31133).
    """
    null_fd = paths.open_in(slash_fd, "/dev/null", os.O_PATH, follow=False)
    try:
        facts = os.fstat(null_fd)
        if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != _NULL_DEVICE:
            raise KernelError(errno.EINVAL, "open('/dev/null'): not the null device")
        for path in hidden:
            _hide(null_fd, path)
    finally:
        os.close(null_fd)


def _hide(null_fd: int, path: str) -> None:
    if os.path.isdir(path):
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY
        mounts.mount("tmpfs", path, "tmpfs", flags, "mode=0555,size=4k,nr_inodes=2")
        return
    cover_fd = mounts.open_tree("", dir_fd=null_fd)
    try:
        mounts.attach(cover_fd, path)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
    finally:
        os.close(cover_fd)


def make_read_only(slash_fd: int, read_only: list[str]) -> None:
    """Make each path that exists read-only, with every mount below it."""
    for path in read_only:
        if path == "/":
            # Only the root's own mount: those above it keep what they were given.
            mounts.set_attributes(slash_fd, add=MOUNT_ATTR_RDONLY)
            continue
        try:
            tree_fd = mounts.open_tree(path, recursive=True)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        try:
            mounts.set_attributes(tree_fd, add=MOUNT_ATTR_RDONLY, recursive=True)
            mounts.attach(tree_fd, path)
        finally:
            os.close(tree_fd)
