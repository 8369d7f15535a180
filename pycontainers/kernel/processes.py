"""Processes: pidfds, their end, parent-death signal, limits, descriptors.

A number of a process can be another process's a moment later; a pidfd can't (pidfd_open(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import signal
from typing import Final, NamedTuple

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.kernel import syscall

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_SET_NAME: Final = 15

CLOSE_RANGE_CLOEXEC: Final = 0x4
_CHUNK: Final = 1 << 16
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_P_PIDFD: Final = 3
_WEXITED: Final = 4
_CLD_EXITED: Final = 1
_LIMITS: Final = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}


class Exit(NamedTuple):
    """How a process ended: `status` 0 to 255, or `signal` that killed it, and what it used.

    CPU times are in seconds and include the children that it waited for.
    """

    status: int
    signal: int
    cpu_user: float
    cpu_system: float


class _SigInfo(ctypes.Structure):
    _fields_ = [
        ("signo", ctypes.c_int),
        ("errno", ctypes.c_int),
        ("code", ctypes.c_int),
        ("pad", ctypes.c_int),
        ("pid", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 100),
    ]


class _Rusage(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_long) for i in range(18)]


def pidfd_open(pid: int) -> int:
    """Open a descriptor for process `pid`, readable once it has ended (pidfd_open(2)).

    >>> os.close(pidfd_open(os.getpid()))
    """
    return syscall.pidfd_open(pid, 0)


def send_signal(pidfd: int, number: int) -> bool:
    """Send a signal through a pidfd; False where the process has ended (pidfd_send_signal(2))."""
    try:
        syscall.pidfd_send_signal(pidfd, number, None, 0)
    except KernelError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True


def has_ended(pidfd: int) -> bool:
    """Whether the process of a pidfd has ended (it may not have been reaped yet)."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def wait(pidfd: int) -> Exit:
    """Wait for the end of a child, reap it, and tell how it ended (waitid(2), P_PIDFD)."""
    info, usage = _SigInfo(), _Rusage()
    syscall.waitid(_P_PIDFD, pidfd, ctypes.byref(info), _WEXITED, ctypes.byref(usage))
    exited = info.code == _CLD_EXITED
    return Exit(
        info.status if exited else 128 + info.status,
        0 if exited else info.status,
        usage.field0 + usage.field1 / 1e6,
        usage.field2 + usage.field3 / 1e6,
    )


def pid_of(pidfd: int) -> int:
    """Give the process's number as /proc shows it, or -1 after it was reaped.

    >>> pid_of(pidfd_open(os.getpid())) == os.getpid()
    True
    """
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Pid:"):
                return int(line[4:])
    raise InvalidArgument(f"descriptor {pidfd} is no pidfd")


def start_time(pid: int) -> int | None:
    """Give the moment a process started, in clock ticks since boot, or None where it is gone.

    Number and start time together name one process for ever (proc_pid_stat(5), field 22).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(data.rpartition(b")")[2].split()[19])


def open_same(pid: int, started: int) -> int | None:
    """Open a pidfd for the process `pid` that started at `started`; None where it is gone."""
    try:
        pidfd = pidfd_open(pid)
    except KernelError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
    # Opened first, compared then: from here on the number can't change its owner unseen.
    if start_time(pid) == started and not has_ended(pidfd):
        return pidfd
    os.close(pidfd)
    return None


def lives(pid: int, started: int) -> bool:
    """Whether the process `pid` that started at `started` has not ended."""
    pidfd = open_same(pid, started)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def read_beginning(path: str, size: int = 1 << 18) -> bytes:
    """Read a file of /proc/<pid>, `size` bytes of it at most; empty where the process is gone.

    A process can make some of them as long as it likes.

    >>> len(read_beginning("/proc/self/stat", 3))
    3
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    data = b""
    try:
        while part := os.read(fd, min(_CHUNK, size - len(data))):
            data += part
    except OSError:
        return b""
    finally:
        os.close(fd)
    return data


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc_pid_status(5), SigCgt).

    Process 1 of a PID namespace gets no signal from outside it has no handler for, but SIGKILL and
    SIGSTOP (pid_namespaces(7)).
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("SigCgt:"):
                return bool(int(line[7:], 16) >> (number - 1) & 1)
    return False


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have this process get a signal when its parent thread ends (PR_SET_PDEATHSIG(2const))."""
    syscall.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def set_dumpable(dumpable: bool) -> None:
    """Allow or refuse ptrace(2) and /proc/<pid> access by others (PR_SET_DUMPABLE(2const))."""
    syscall.prctl(PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def set_oom_score(pid: int, score: int) -> None:
    """Set how readily a process is killed for lack of memory, from -1000, never, to 1000.

    Less than before takes CAP_SYS_RESOURCE, and so does then any process that would go below it
    (proc_pid_oom_score_adj(5)).
    """
    path = f"/proc/{pid}/oom_score_adj"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = "less than before takes CAP_SYS_RESOURCE" if error.errno == errno.EACCES else None
        raise KernelError(error.errno or 0, f"write({path!r}, '{score}')", hint=hint) from None


def set_name(name: str) -> None:
    """Name this thread, as ps(1) shows it, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    syscall.prctl(PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0)


def keep_capabilities() -> None:
    """Keep the permitted capabilities over a change of user (PR_SET_KEEPCAPS(2const))."""
    syscall.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (close_range(2))."""
    syscall.close_range(first, 0x7FFFFFFF, CLOSE_RANGE_CLOEXEC)


def close_from(first: int) -> None:
    """Close every descriptor from `first` on (close_range(2))."""
    syscall.close_range(first, 0x7FFFFFFF, 0)


def new_session_keyring() -> None:
    """Leave the caller's session keyring for a new, anonymous one (session-keyring(7))."""
    syscall.keyctl(_KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)


def limit_number(name: str) -> int:
    """Give the number of a resource limit from its name, as `nofile` (getrlimit(2)).

    >>> limit_number("nofile") == resource.RLIMIT_NOFILE
    True
    """
    if name not in _LIMITS:
        known = ", ".join(sorted(_LIMITS))
        raise InvalidArgument(f"no such resource limit: {name!r}", hint=f"known are {known}")
    number: int = _LIMITS[name]
    return number
