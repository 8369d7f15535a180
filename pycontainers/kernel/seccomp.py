"""Seccomp: load a filter, compiled before, for this thread and all it becomes or forks.

seccomp(2).  A program is the bytes of an array of struct sock_filter, eight
bytes an instruction, as libseccomp's seccomp_export_bpf(3) writes it.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.kernel import syscall

FLAG_LOG: Final = 2  # log every action but ALLOW (SECCOMP_FILTER_FLAG_LOG)
FLAG_SPEC_ALLOW: Final = 4  # leave speculative store bypass on (SECCOMP_FILTER_FLAG_SPEC_ALLOW)

_SECCOMP_SET_MODE_FILTER: Final = 1
_INSTRUCTION: Final = 8
_BPF_MAXINSNS: Final = 4096


class Prepared(ctypes.Structure):
    """A program in the form that the kernel takes (struct sock_fprog); `prepare` makes it.

    It lies in memory as a whole, so that a child only makes the call.
    """

    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def prepare(program: bytes) -> Prepared:
    """Put a program into the kernel's form.

    Raises InvalidArgument where it is no array of 1 to 4096 instructions.

    >>> prepare(bytes.fromhex("060000000000ff7f")).length   # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    1
    """
    length, rest = divmod(len(program), _INSTRUCTION)
    if rest or not 0 < length <= _BPF_MAXINSNS:
        raise InvalidArgument(
            f"a seccomp program has 1 to {_BPF_MAXINSNS} instructions of {_INSTRUCTION} bytes, "
            f"not {len(program)} bytes"
        )
    # The structure keeps the bytes alive: ctypes holds what a pointer field was set from.
    return Prepared(length, program)


def load(program: bytes | Prepared, flags: int = 0) -> None:
    """Load a filter for this thread, for good; every filter loaded before stays in force.

    `flags` are FLAG_LOG and FLAG_SPEC_ALLOW.  Needs no_new_privs or CAP_SYS_ADMIN in the thread's
    user namespace.  Raises KernelError (seccomp(2)), InvalidArgument as `prepare` does.

    >>> load(bytes.fromhex("060000000000ff7f"))        # doctest: +SKIP
    """
    prepared = prepare(program) if isinstance(program, bytes) else program
    try:
        syscall.seccomp(_SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(prepared))
    except KernelError as error:
        hint = None
        if error.errno == errno.EACCES:
            hint = "call capabilities.no_new_privs() first, or keep CAP_SYS_ADMIN until here"
        call = f"seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {prepared.length} instructions)"
        raise KernelError(error.errno or 0, call, hint=hint) from None
