"""Namespaces: make them (clone3, unshare), join them (setns), map user ids into them.

namespaces(7), user_namespaces(7), clone(2), setns(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.kernel import syscall

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWTIME: Final = 0x00000080
CLONE_PIDFD: Final = 0x00001000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_INTO_CGROUP: Final = 0x200000000

NAMESPACES: Final = {  # the names under /proc/<pid>/ns
    "user": CLONE_NEWUSER,
    "mnt": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}

_CLONE_PARENT: Final = 0x8000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP_RUNNING: Final = 0x1 | 0x40


class IdMap(NamedTuple):
    """`length` ids from `inside` on in a user namespace are those from `outside` on in its parent.

    >>> str(IdMap(0, 100000, 65536))
    '0 100000 65536'
    """

    inside: int
    outside: int
    length: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.length}"


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


def clone3(flags: int, *, cgroup_fd: int | None = None, sibling: bool = False) -> tuple[int, int]:
    """Fork into new namespaces; give `(pid, pidfd)` in the parent and `(0, -1)` in the child.

    `flags` are CLONE_NEW… flags; `cgroup_fd`, a cgroup v2 directory, is where the child is born.
    With `sibling` the caller's parent is the new process's parent too.
    The process must be single-threaded: no fork handlers run.  Raises KernelError (clone(2)).

    >>> pid, pidfd = clone3(CLONE_NEWUTS)       # doctest: +SKIP
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArgs(
        flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=signal.SIGCHLD
    )
    if sibling:
        arguments.flags |= _CLONE_PARENT
        arguments.exit_signal = 0  # the kernel takes the caller's own
    if cgroup_fd is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup_fd
    try:
        pid = syscall.clone3(ctypes.byref(arguments), ctypes.sizeof(arguments))
    except KernelError as error:
        raise KernelError(error.errno or 0, f"clone3(flags={flags:#x})") from None
    return pid, pidfd.value


def unshare(flags: int) -> None:
    """Leave the namespaces named by the CLONE_NEW… `flags` for new ones (unshare(2))."""
    syscall.unshare(flags)


def setns(fd: int, flags: int) -> None:
    """Join the namespace that `fd` refers to, or, for a pidfd, those of `flags` (setns(2)).

    All of a pidfd's namespaces are joined in one step or not at all.
    """
    syscall.setns(fd, flags)


@contextlib.contextmanager
def entered(fd: int, flags: int) -> Iterator[None]:
    """Be in the namespace that `fd` refers to for a while, or in those of a pidfd's process.

    Then in the own ones again.  The process must be single-threaded, and `flags` may name network,
    mount and PID namespaces only; none changes nothing.  With the mount namespace the working
    directory becomes its root, there and afterwards.

    >>> with entered(pidfd, CLONE_NEWNET):              # doctest: +SKIP
    ...     socket.socket()
    """
    own_fds = [
        (open_namespace(os.getpid(), name), flag)
        for name, flag in NAMESPACES.items()
        if flag & flags
    ]
    try:
        if flags:
            setns(fd, flags)
        try:
            yield
        finally:
            for own_fd, flag in own_fds:
                setns(own_fd, flag)
    finally:
        for own_fd, _ in own_fds:
            os.close(own_fd)


def write_id_maps(pid: int, uid_map: list[IdMap], gid_map: list[IdMap]) -> None:
    """Give the new user namespace of process `pid` its id maps, once (user_namespaces(7)).

    The caller needs CAP_SETUID and CAP_SETGID in the parent namespace for more than its own ids.

    >>> write_id_maps(4711, [IdMap(0, 100000, 65536)], [IdMap(0, 100000, 65536)])  # doctest: +SKIP
    """
    for name, id_map in (("uid_map", uid_map), ("gid_map", gid_map)):
        path = f"/proc/{pid}/{name}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, "\n".join(map(str, id_map)).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError(error.errno or 0, f"write({path!r}, {id_map})") from None


def open_namespace(pid: int, name: str) -> int:
    """Open the namespace `name` (as `net`) of process `pid`; the caller closes the descriptor.

    >>> os.close(open_namespace(os.getpid(), "net"))
    """
    if name not in NAMESPACES:
        raise InvalidArgument(f"no such kind of namespace: {name!r}")
    path = f"/proc/{pid}/ns/{name}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, f"open({path!r})") from None


def set_domainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace (uts_namespaces(7), setdomainname(2))."""
    text = name.encode()
    syscall.setdomainname(text, len(text))


def bring_loopback_up() -> None:
    """Set the interface `lo` of this network namespace up (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING)
        try:
            fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, request)
        except OSError as error:
            raise KernelError(error.errno or 0, "ioctl(SIOCSIFFLAGS, 'lo')") from None
