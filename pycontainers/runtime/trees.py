"""Makes the mounts that a container gets from the host: binds, volumes, images; all detached.

Each source is looked up once, into a descriptor, and everything after that is done to what this is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections import Counter
from typing import TYPE_CHECKING, Final, assert_never

from pycontainers.errors import KernelError
from pycontainers.kernel import loopdevices, mounts, namespaces, paths
from pycontainers.runtime.mounting import CloneTree, MountImage, MountSecret, MountVolume
from pycontainers.runtime.overlay import overlay, staged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.kernel.namespaces import IdMap
    from pycontainers.runtime.mounting import Tree

DATA: Final = "data"  # the directory in a volume's place that containers see
_FILE: Final = "disk"  # the file in a sized volume's place
_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_SECRET: Final = "secret"
_CHUNK: Final = 1 << 16
_NO_IDMAP: Final = "this file system can't be shown with other ids; userns='host' does without"
_CHANGED: Final = (
    "a link is in the path now, which was followed when the mount was asked for; "
    "make the container again"
)


def make(
    step: Tree,
    userns_fd: int | None,
    given_fds: Sequence[int] = (),
    *,
    detached: bool,
    owner_fd: int = -1,
    ids: tuple[Sequence[IdMap], Sequence[IdMap]] = ((), ()),
) -> int:
    """Make one mount and give its descriptor; raises KernelError.

    `userns_fd` is the user namespace whose ids it shows, where the step asks for that; `detached`
    tells whether this kernel takes detached mounts as layers.  With `owner_fd`, a pidfd, the
    sources of binds are looked up where that process would.  `ids` are the maps of users and groups
    of what belongs to the container itself.
    """
    userns_fd = userns_fd if step.idmapped else None
    match step:
        case CloneTree():
            return _clone_tree(step, userns_fd, given_fds, owner_fd)
        case MountVolume():
            return _volume(step, userns_fd)
        case MountImage():
            return _image(step, userns_fd, detached=detached)
        case MountSecret():
            return _secret(step, given_fds[step.fd], ids)
        case _:
            assert_never(step)


def clone(
    source: str | int,
    attributes: int,
    userns_fd: int | None,
    *,
    recursive: bool,
    propagation: int = 0,
) -> int:
    """Clone the mount at a path, or take one by descriptor, with other attributes and ids."""
    if isinstance(source, int):
        fd, shown = os.dup(source), "the mount given"
    else:
        fd, shown = mounts.open_tree(source, recursive=recursive), source
    return _changed(fd, shown, attributes, userns_fd, recursive=recursive, propagation=propagation)


def _changed(
    fd: int,
    shown: str,
    attributes: int,
    userns_fd: int | None,
    *,
    recursive: bool = False,
    propagation: int = 0,
) -> int:
    """Give a detached mount its attributes; it is closed where that fails."""
    try:
        mounts.set_attributes(
            fd,
            add=attributes,
            userns_fd=userns_fd,
            recursive=recursive,
            propagation=propagation,
        )
    except KernelError as error:
        os.close(fd)
        if userns_fd is not None and error.errno == errno.EINVAL:
            raise KernelError(errno.EINVAL, f"idmap {shown}", hint=_NO_IDMAP) from None
        raise
    return fd


def _clone_tree(
    step: CloneTree, userns_fd: int | None, given_fds: Sequence[int], owner_fd: int
) -> int:
    source: str | int = step.source if step.fd is None else given_fds[step.fd]
    if isinstance(source, int) or step.follow:
        return clone(
            source,
            step.attributes,
            userns_fd,
            recursive=step.recursive,
            propagation=step.propagation,
        )
    with contextlib.ExitStack() as stack:
        if owner_fd >= 0:
            # Where the host's mounts are not shared, those made since we began are only there.
            stack.enter_context(namespaces.entered(owner_fd, namespaces.CLONE_NEWNS))
        try:
            found_fd = paths.open_without_links(source, os.O_PATH)
        except KernelError as error:
            hint = _CHANGED if error.errno == errno.ELOOP else None
            raise KernelError(error.errno or 0, error.call, hint=hint) from None
        stack.callback(os.close, found_fd)
        fd = mounts.open_tree("", dir_fd=found_fd, recursive=step.recursive)
    return _changed(
        fd,
        source,
        step.attributes,
        userns_fd,
        recursive=step.recursive,
        propagation=step.propagation,
    )


def _volume(step: MountVolume, userns_fd: int | None) -> int:
    if step.sized:
        base_fd = _disk(step.place)
        try:
            with staged(base_fd) as root_fd:
                fd = _part(root_fd, step)
        finally:
            os.close(base_fd)
    else:
        with paths.directory(step.place) as place_fd:
            fd = _part(place_fd, step)
    return _changed(fd, step.name, step.attributes, userns_fd, propagation=mounts.MS_PRIVATE)


def _part(place_fd: int, step: MountVolume) -> int:
    data_fd = os.open(DATA, _PLACE | os.O_NOFOLLOW, dir_fd=place_fd)
    try:
        return _below(data_fd, step.subpath, f"the volume {step.name}")
    finally:
        os.close(data_fd)


def _below(root_fd: int, subpath: str, shown: str) -> int:
    """Clone a directory, or what is at a path in it; no link in there leads out of it."""
    if not subpath:
        return mounts.open_tree("", dir_fd=root_fd)
    try:
        fd = paths.open_in(root_fd, subpath, os.O_PATH)
    except KernelError as error:
        hint = f"there is no {subpath} in {shown}" if error.errno == errno.ENOENT else None
        raise KernelError(error.errno or 0, error.call, hint=hint) from None
    try:
        return mounts.open_tree("", dir_fd=fd)
    finally:
        os.close(fd)


def _image(step: MountImage, userns_fd: int | None, *, detached: bool) -> int:
    fd = image(step.lower, step.attributes, userns_fd, detached=detached)
    if not step.subpath:
        return fd
    try:
        with staged(fd) as root_fd:
            part_fd = _below(root_fd, step.subpath, "the image")
    finally:
        os.close(fd)
    return _changed(part_fd, "the image", step.attributes, None, propagation=mounts.MS_PRIVATE)


def image(lower: Sequence[str], attributes: int, userns_fd: int | None, *, detached: bool) -> int:
    """Mount the layers of an image, topmost first, so that nothing can be written to them."""
    with contextlib.ExitStack() as stack:
        found = layers(lower, userns_fd, stack, detached=detached)
        if len(found) == 1:
            # One layer alone may hold whiteouts, which only overlay knows, and that takes two.
            empty = mounts.new_mount("tmpfs", [("mode", "0755"), ("size", "4k")])
            stack.callback(os.close, empty)
            found.append((empty, ""))
        attributes |= mounts.MOUNT_ATTR_RDONLY
        return overlay(found, None, attributes, detached=detached)


def layers(
    lower: Sequence[str], userns_fd: int | None, stack: contextlib.ExitStack, *, detached: bool
) -> list[tuple[int, str]]:
    """Give the layers of an overlay: for each a detached mount, and the directory's name in it.

    Several that lie in one directory share its mount, where overlay takes detached ones: to let go
    of each mount costs the kernel a grace period of all processors.
    """
    homes = Counter(os.path.dirname(path) for path in lower)
    opened: dict[str, int] = {}
    found = []
    for path in lower:
        home, name = os.path.split(path)
        if not detached or homes[home] == 1:
            home, name = path, ""  # which may be a mount itself, as a directory of the user's
        if home not in opened:
            fd = clone(home, mounts.MOUNT_ATTR_RDONLY, userns_fd, recursive=False)
            stack.callback(os.close, fd)
            opened[home] = fd
        found.append((opened[home], name))
    return found


def _secret(step: MountSecret, source_fd: int, ids: tuple[Sequence[IdMap], Sequence[IdMap]]) -> int:
    """Make a file in a file system of its own, in memory, that nothing else ever shows.

    Its owner is one of the host's ids: kernels before 6.3 can't show a tmpfs with other ids.
    """
    base_fd = mounts.new_mount("tmpfs", [("mode", "0700")])
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file_fd = os.open(_SECRET, flags, 0o600, dir_fd=base_fd)
        try:
            offset = 0
            while data := os.pread(source_fd, _CHUNK, offset):
                offset += os.write(file_fd, data)
            os.fchown(file_fd, _outside(step.uid, ids[0]), _outside(step.gid, ids[1]))
            os.fchmod(file_fd, step.mode)
        finally:
            os.close(file_fd)
        with staged(base_fd) as root_fd:
            fd = _below(root_fd, _SECRET, "the secret")
    finally:
        os.close(base_fd)
    return _changed(fd, "the secret", step.attributes, None, propagation=mounts.MS_PRIVATE)


def _outside(number: int, maps: Sequence[IdMap]) -> int:
    """Give the host's id of one of the container's."""
    for inside, outside, length in maps:
        if inside <= number < inside + length:
            return outside + number - inside
    if maps:
        raise KernelError(errno.EINVAL, f"chown(secret): the container has no id {number}")
    return number


# Volumes, as workers see them: without an id map.


def open_place(place: str, *, sized: bool) -> int:
    """Open the directory that a volume's `data` is in, as a place for names."""
    return _disk(place) if sized else os.open(place, _PLACE)


def _disk(place: str) -> int:
    """Mount the file system in a sized volume's file; all mounts of it share one loop device."""
    path = f"{place}/{_FILE}"
    # Two descriptors: the device holds one, and a lock with it, as long as it is there.
    file_fd, lock_fd = (os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC) for _ in "12")
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        device = loopdevices.attach(file_fd, label(lock_fd))
        try:
            options = [("source", device.path), ("noinit_itable", None), ("discard", None)]
            return mounts.new_mount("ext4", options)
        finally:
            os.close(device.fd)
    finally:
        os.close(file_fd)
        os.close(lock_fd)


def label(file_fd: int) -> str:
    """Give the label of the loop device of a sized volume's file."""
    facts = os.fstat(file_fd)
    return f"pycontainers {facts.st_dev}:{facts.st_ino}"
