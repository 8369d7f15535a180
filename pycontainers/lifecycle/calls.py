"""System calls by name: their numbers in each numbering that a machine's kernel accepts.

The numbers come from libseccomp, which knows them for every architecture (seccomp_syscall_resolve_
name(3)), and for calls that an older libseccomp lacks from the kernel's own tables.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import NotSupported
from pycontainers.kernel.syscall import MACHINE
from pycontainers.lifecycle.bpf import Abi, Clause, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Numbering(NamedTuple):
    """One of a kernel's numberings: libseccomp's name of it, AUDIT_ARCH_… and first number."""

    token: int
    audit: int
    base: int = 0


NUMBERINGS: Final[Mapping[str, Mapping[str, Numbering]]] = {
    "x86_64": {
        "SCMP_ARCH_X86_64": Numbering(0xC000003E, 0xC000003E),
        "SCMP_ARCH_X32": Numbering(0x4000003E, 0xC000003E, 0x40000000),
        "SCMP_ARCH_X86": Numbering(0x40000003, 0x40000003),
    },
    "aarch64": {
        "SCMP_ARCH_AARCH64": Numbering(0xC00000B7, 0xC00000B7),
        "SCMP_ARCH_ARM": Numbering(0x40000028, 0x40000028),
    },
}
_X86: Final = 0x40000003
_X86_64: Final = 0xC000003E

# Debian 12's libseccomp knows the calls of Linux 5.17; these have one number everywhere
# (scripts/syscall.tbl in the kernel's source).
_NEWER: Final = {
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}

# 32-bit x86 reaches these through one call each too, whose first argument tells which
# (socketcall(2), ipc(2)); their own arguments then lie in memory, where no filter can look.
_SOCKETCALLS: Final = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
]
_IPC_CALLS: Final = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}
_THROUGH: Final = {
    name: ("socketcall", Condition(0, "eq", number))
    for number, name in enumerate(_SOCKETCALLS, start=1)
} | {
    # Its upper half is a version.
    name: ("ipc", Condition(0, "masked_eq", 0xFFFF, number))
    for name, number in _IPC_CALLS.items()
}


@functools.cache
def _libseccomp() -> Callable[[int, bytes], int]:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise NotSupported(
            f"a seccomp profile can't be compiled: {error}",
            hint="install libseccomp (Debian: apt-get install libseccomp2)",
        ) from None
    resolve = library["seccomp_syscall_resolve_name_arch"]
    resolve.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    resolve.restype = ctypes.c_int
    function: Callable[[int, bytes], int] = resolve
    return function


def number(name: str, numbering: Numbering) -> int | None:
    """Give a call's number, or None where the numbering has no such call.

    Raises NotSupported where libseccomp is missing.

    >>> number("fchmodat2", NUMBERINGS["x86_64"]["SCMP_ARCH_X86_64"])
    452
    """
    if name in _NEWER:
        return numbering.base + _NEWER[name]
    if name == "uretprobe":
        return 335 if numbering.token == _X86_64 else None
    found = _libseccomp()(numbering.token, name.encode("utf-8", "replace"))
    return found if found >= 0 else None  # below: no such call, or libseccomp's number for none


def tables(
    rules: Iterable[tuple[Sequence[str], Sequence[Clause]]],
    architectures: Iterable[str],
    machine: str = MACHINE,
) -> dict[int, list[Abi]]:
    """Give what `bpf.assemble` takes from (names, clauses) rules: the tables of each numbering.

    The machine's own numbering is always among them; architectures of other machines are left out,
    as no call of theirs can arrive, and so are names that are not known.
    """
    numberings = NUMBERINGS.get(machine)
    if numberings is None:
        raise NotSupported(f"seccomp filters for {machine} are not known here")
    wanted = {next(iter(numberings)), *architectures}
    collected: dict[str, dict[int, list[Clause]]] = {name: {} for name in numberings}
    for names, clauses in rules:
        for name in names:
            for architecture, numbering in numberings.items():
                if architecture in wanted:
                    _add(collected[architecture], numbering, name, clauses)
    result: dict[int, list[Abi]] = {}
    for architecture, numbering in numberings.items():
        # A numbering that shares its machine's AUDIT_ARCH_… stays as an empty table, whose calls
        # are missing; one that has its own is then foreign.
        if architecture in wanted or numbering.base:
            abi = Abi(numbering.base, collected[architecture])
            result.setdefault(numbering.audit, []).append(abi)
    return result


def _add(
    table: dict[int, list[Clause]], numbering: Numbering, name: str, clauses: Sequence[Clause]
) -> None:
    own = number(name, numbering)
    if own is not None:
        table.setdefault(own, []).extend(clauses)
    if numbering.token == _X86 and name in _THROUGH:
        through, which = _THROUGH[name]
        shared = number(through, numbering)
        if shared is not None:
            table.setdefault(shared, []).extend(
                Clause(clause.action, (which,)) for clause in clauses if not clause.conditions
            )
