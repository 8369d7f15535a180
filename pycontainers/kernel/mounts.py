"""Mounts: the classic call, the mount API by descriptor, pivot_root, mountinfo.

A mount made by descriptor is detached: nobody sees it, and it is gone when its descriptor is
closed, until `attach` gives it a place.  mount(2), mount_setattr(2), pivot_root(2), and the
kernel's Documentation/filesystems/mount_api.rst and overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel import syscall
from pycontainers.kernel.syscall import AT_EMPTY_PATH, AT_FDCWD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000
MNT_DETACH: Final = 0x2

MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_IDMAP: Final = 0x100000

AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 0x1
_FSOPEN_CLOEXEC: Final = 0x1
_FSMOUNT_CLOEXEC: Final = 0x1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
_MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class Mount(NamedTuple):
    """One line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5))."""

    id: int
    parent: int
    root: str
    target: str
    options: str
    fstype: str
    source: str
    super_options: str


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Mount by path (mount(2)).

    >>> mount("proc", "/mnt", "proc", MS_NOSUID)      # doctest: +SKIP
    """
    syscall.mount(
        source.encode() if source is not None else None,
        os.fsencode(target),
        fstype.encode() if fstype is not None else None,
        flags,
        data.encode() if data is not None else None,
    )


def umount(target: str, *, detach: bool = False) -> None:
    """Unmount `target`; `detach` hides it at once and lets it go when unused (umount2(2))."""
    syscall.umount2(os.fsencode(target), MNT_DETACH if detach else 0)


def open_tree(path: str, *, recursive: bool = False, dir_fd: int = AT_FDCWD) -> int:
    """Clone the mount at `path`, with those below it if `recursive`; give its descriptor.

    An empty path means `dir_fd` itself.  The copy is detached (open_tree(2)).
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    if not path:
        flags |= AT_EMPTY_PATH
    if recursive:
        flags |= AT_RECURSIVE
    return syscall.open_tree(dir_fd, os.fsencode(path), flags)


def attach(mount_fd: int, target: str | int) -> None:
    """Attach a detached mount at `target`, a path or an open directory or file (move_mount(2))."""
    if isinstance(target, int):
        flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
        syscall.move_mount(mount_fd, b"", target, b"", flags)
    else:
        syscall.move_mount(mount_fd, b"", AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def set_attributes(
    mount_fd: int,
    *,
    add: int = 0,
    clear: int = 0,
    userns_fd: int | None = None,
    recursive: bool = False,
    propagation: int = 0,
) -> None:
    """Change a mount's MOUNT_ATTR_… attributes; `userns_fd` makes it idmapped (mount_setattr(2)).

    A mount can be given an id map once, while it is detached, and on file systems that know it.
    `propagation` is MS_PRIVATE or MS_SLAVE, 0 leaves it as it is (mount_namespaces(7)).
    """
    attributes = _MountAttr(attr_set=add, attr_clr=clear, propagation=propagation)
    if userns_fd is not None:
        attributes.attr_set |= MOUNT_ATTR_IDMAP
        attributes.userns_fd = userns_fd
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    try:
        syscall.mount_setattr(
            mount_fd, b"", flags, ctypes.byref(attributes), ctypes.sizeof(attributes)
        )
    except KernelError as error:
        call = f"mount_setattr({mount_fd}, set={attributes.attr_set:#x}, clear={clear:#x})"
        raise KernelError(error.errno or 0, call) from None


def new_mount(
    fstype: str,
    options: Sequence[tuple[str, str | None]],
    *,
    attributes: int = 0,
) -> int:
    """Make a file system and give its detached mount's descriptor (fsopen(2), fsmount(2)).

    An option with the value None is a flag.

    >>> fd = new_mount("tmpfs", [("size", "1m"), ("mode", "0755")])     # doctest: +SKIP
    """
    context = syscall.fsopen(fstype.encode(), _FSOPEN_CLOEXEC)
    try:
        for key, value in options:
            if value is None:
                syscall.fsconfig(context, _FSCONFIG_SET_FLAG, key.encode(), None, 0)
            else:
                syscall.fsconfig(context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
        syscall.fsconfig(context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall.fsmount(context, _FSMOUNT_CLOEXEC, attributes)
    except KernelError as error:
        reason = _messages(context)
        raise KernelError(error.errno or 0, f"{fstype}: {error.call}", hint=reason) from None
    finally:
        os.close(context)


def _messages(context: int) -> str | None:
    """Read what the file system has to say of a failure (fsopen(2), "Message retrieval")."""
    lines: list[str] = []
    try:
        while len(lines) < 8:
            lines.append(os.read(context, 1024).decode(errors="replace").strip())
    except OSError:
        pass
    return "; ".join(line.removeprefix("e ") for line in lines) or None


def pivot_root(new_root_fd: int) -> None:
    """Make the attached mount that `new_root_fd` refers to the root, and let the old one go.

    The working directory becomes the new root.  The old root is stacked upon the new one and
    detached at once, so that nothing can be resolved in it (pivot_root(2), "pivot_root(".", ".")").
    """
    os.fchdir(new_root_fd)
    syscall.pivot_root(b".", b".")
    syscall.umount2(b".", MNT_DETACH)
    os.chdir("/")


def mountinfo(pid: int | str = "self") -> Iterator[Mount]:
    """Read the mounts of a process's mount namespace, in the kernel's order.

    >>> next(mount.target for mount in mountinfo() if mount.fstype == "proc")
    '/proc'
    """
    with open(
        f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as lines:
        for line in lines:
            head, _, tail = line.rstrip("\n").partition(" - ")
            number, parent, _device, root, target, options, *_ = head.split(" ")
            fstype, source, super_options = tail.split(" ", 2)
            yield Mount(
                int(number),
                int(parent),
                unescape(root),
                unescape(target),
                options,
                fstype,
                unescape(source),
                super_options,
            )


def unescape(field: str) -> str:
    r"""Undo the octal escapes of mountinfo (proc_pid_mountinfo(5)).

    >>> unescape("/a\\040b")
    '/a b'
    """
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    parts = [head]
    for part in rest:
        code = part[:3]
        if len(code) == 3 and all(digit in "01234567" for digit in code):
            parts.append(chr(int(code, 8)) + part[3:])
        else:
            parts.append("\\" + part)
    return "".join(parts)
