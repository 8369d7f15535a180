"""Capabilities: their names, this process's sets, the bounding and ambient sets, no_new_privs.

capabilities(7), capset(2), prctl(2).  A set is an int, bit n of it the capability of number n.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.kernel import syscall

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS: Final = {  # in the kernel's order, linux/capability.h
    name: number
    for number, name in enumerate(
        (
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SETPCAP",
            "CAP_LINUX_IMMUTABLE",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_BROADCAST",
            "CAP_NET_ADMIN",
            "CAP_NET_RAW",
            "CAP_IPC_LOCK",
            "CAP_IPC_OWNER",
            "CAP_SYS_MODULE",
            "CAP_SYS_RAWIO",
            "CAP_SYS_CHROOT",
            "CAP_SYS_PTRACE",
            "CAP_SYS_PACCT",
            "CAP_SYS_ADMIN",
            "CAP_SYS_BOOT",
            "CAP_SYS_NICE",
            "CAP_SYS_RESOURCE",
            "CAP_SYS_TIME",
            "CAP_SYS_TTY_CONFIG",
            "CAP_MKNOD",
            "CAP_LEASE",
            "CAP_AUDIT_WRITE",
            "CAP_AUDIT_CONTROL",
            "CAP_SETFCAP",
            "CAP_MAC_OVERRIDE",
            "CAP_MAC_ADMIN",
            "CAP_SYSLOG",
            "CAP_WAKE_ALARM",
            "CAP_BLOCK_SUSPEND",
            "CAP_AUDIT_READ",
            "CAP_PERFMON",
            "CAP_BPF",
            "CAP_CHECKPOINT_RESTORE",
        )
    )
}

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
# _LINUX_CAPABILITY_VERSION_3, of the process that calls
_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)
_LOW: Final = 0xFFFFFFFF


class Sets(NamedTuple):
    """The three sets of a process that capget(2) tells, each as a mask."""

    permitted: int
    effective: int
    inheritable: int


def mask(names: Iterable[str]) -> int:
    """Give the set that holds the named capabilities.  Raises InvalidArgument for an unknown one.

    >>> hex(mask(["CAP_CHOWN", "CAP_KILL"]))
    '0x21'
    """
    result = 0
    for name in names:
        result |= 1 << NUMBERS[name if name in NUMBERS else parse(name)]
    return result


def names(mask: int) -> list[str]:
    """Name the capabilities of a set in the kernel's order; those it does not know are left out.

    >>> names(0x21)
    ['CAP_CHOWN', 'CAP_KILL']
    """
    return [name for name, number in NUMBERS.items() if mask >> number & 1]


def parse(name: str) -> str:
    """Give a capability's full name from what a user wrote; `ALL` stays as it is.

    Raises InvalidArgument for an unknown name; its hint tells what was probably meant.

    >>> parse("net_admin"), parse("Cap_Chown"), parse("all")
    ('CAP_NET_ADMIN', 'CAP_CHOWN', 'ALL')
    """
    upper = name.upper() if isinstance(name, str) else ""
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full in NUMBERS:
        return full
    if upper == "ALL":
        return upper
    import difflib  # slow to load, and of use for a mistyped name only

    near = difflib.get_close_matches(full, NUMBERS, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else "capabilities(7) lists them"
    raise InvalidArgument(f"no such capability: {name!r}", hint=hint)


def last_cap() -> int:
    """Give the number of the last capability that this kernel knows (proc_sys_kernel(5)).

    >>> last_cap() >= NUMBERS["CAP_AUDIT_READ"]
    True
    """
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def _end_of_list() -> int:
    try:
        return last_cap()
    except OSError:
        return 63  # no /proc: the kernel's EINVAL ends the list


# Read now, as a child may have no /proc, and an exception costs a fresh fork 0.2 ms.  The kernel's
# number, not the length of the list: a newer kernel's capabilities are dropped without a name.
_LAST: Final = _end_of_list()


def current() -> Sets:
    """Give this thread's own sets (capget(2)).

    >>> current().effective & ~current().permitted
    0
    """
    data = ctypes.create_string_buffer(24)
    syscall.capget(_HEADER, data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data)
    return Sets(low_p | high_p << 32, low_e | high_e << 32, low_i | high_i << 32)


def set_effective(mask: int) -> None:
    """Make the capabilities of `mask`, all of them permitted ones, those in effect (capset(2))."""
    sets = current()
    _capset(sets.permitted, mask, sets.inheritable)


def drop_bounding(bounding: int) -> None:
    """Take from the bounding set what is not in `bounding` (PR_CAPBSET_DROP(2const)).

    The bounding set limits what any later execve(2) can grant, to a set-user-ID program too.
    Needs CAP_SETPCAP, so call it before `apply` gives that away.
    """
    for number in range(_LAST + 1):
        if bounding >> number & 1:
            continue
        try:
            syscall.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        except KernelError as error:
            if error.errno == errno.EINVAL:
                return
            hint = "dropping from the bounding set needs CAP_SETPCAP"
            call = f"prctl(PR_CAPBSET_DROP, {number})"
            raise KernelError(error.errno or 0, call, hint=hint) from None


def apply(permitted: int, effective: int, inheritable: int, ambient: int) -> None:
    """Make these masks this thread's own sets; it can only give up, never gain (capabilities(7)).

    Drop from the bounding set first, with `drop_bounding`: it takes CAP_SETPCAP, which usually goes
    here.  Raises KernelError; EPERM's hint names the capabilities that this process does not have.

    >>> sets = current()
    >>> apply(sets.permitted, sets.effective, sets.inheritable, 0)
    """
    # Before capset: it would leave those ambient ones that stay permitted and inheritable.
    _ambient(_PR_CAP_AMBIENT_CLEAR_ALL, 0)
    _capset(permitted, effective, inheritable)
    number = 0
    while ambient >> number:
        # After capset: only what is permitted and inheritable can be ambient.
        if ambient >> number & 1:
            _ambient(_PR_CAP_AMBIENT_RAISE, number)
        number += 1


def no_new_privs() -> None:
    """Let no execve(2) from here on grant a privilege (PR_SET_NO_NEW_PRIVS(2const))."""
    syscall.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _ambient(operation: int, number: int) -> None:
    try:
        syscall.prctl(_PR_CAP_AMBIENT, operation, number, 0, 0)
    except KernelError as error:
        what = "CLEAR_ALL" if operation == _PR_CAP_AMBIENT_CLEAR_ALL else f"RAISE, {number}"
        hint = (
            "an ambient capability must be permitted and inheritable"
            if error.errno == errno.EPERM
            else None
        )
        call = f"prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_{what})"
        raise KernelError(error.errno or 0, call, hint=hint) from None


def _capset(permitted: int, effective: int, inheritable: int) -> None:
    data = struct.pack(
        "=6I",
        effective & _LOW,
        permitted & _LOW,
        inheritable & _LOW,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
    try:
        syscall.capset(_HEADER, data)
    except KernelError as error:
        call = f"capset({effective=:#x}, {permitted=:#x}, {inheritable=:#x})"
        missing = ", ".join(names(permitted & ~current().permitted))
        hint = f"this process does not have {missing}" if missing else None
        raise KernelError(error.errno or 0, call, hint=hint) from None
