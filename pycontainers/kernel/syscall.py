"""Declares the system calls that the standard library lacks, one line a call.

Each is a function that takes plain values, retries on EINTR and raises `KernelError` with the call
as strace(1) prints it.  Numbers from 424 on are the same on every architecture (syscalls(2)); the
older ones are given for x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import KernelError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINE: Final = os.uname().machine
AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000

# PyDLL keeps the interpreter's lock: these calls are short, and a child made by clone3 must find
# itself holding it.
_libc = ctypes.PyDLL(None, use_errno=True)
_OLD_NUMBERS: Final = {  # name: (x86-64, arm64)
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "unshare": (272, 97),
    "keyctl": (250, 219),
    "seccomp": (317, 277),
    "capset": (126, 91),
    "capget": (125, 90),
    "waitid": (247, 95),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "mknodat": (259, 33),
    "bpf": (321, 280),
}


def number(name: str) -> int:
    """Give the number of an older system call on this machine.

    >>> number("setns") > 0
    True
    """
    column = {"x86_64": 0, "aarch64": 1}.get(MACHINE)
    if column is None:
        raise NotSupported(f"the system call numbers of {MACHINE} are not known here")
    return _OLD_NUMBERS[name][column]


def text(value: object) -> str:
    """Show one argument of a system call as strace(1) would.

    >>> text(b"proc"), text(None), text(3)
    ('"proc"', 'NULL', '3')
    """
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f'"{value.decode(errors="replace")}"'
    if isinstance(value, int):
        return str(value)
    return "…"


def _caller(
    function: Any, name: str, skip: int, types: tuple[Any, ...], restype: Any
) -> Callable[..., int]:
    function.argtypes = types
    function.restype = restype

    def call(*arguments: Any) -> int:
        result: int = function(*arguments)
        if result != -1:
            return result
        error = ctypes.get_errno()
        while error == errno.EINTR:
            result = function(*arguments)
            if result != -1:
                return result
            error = ctypes.get_errno()
        shown = ", ".join(map(text, arguments[skip:]))
        raise KernelError(error, f"{name}({shown})")

    return call


def _wrapper(name: str, *types: Any) -> Callable[..., int]:
    """Bind a function of the C library; item access gives a function object of our own."""
    return _caller(_libc[name], name, 0, types, c_int)


def _numbered(name: str, number: int, *types: Any) -> Callable[..., int]:
    """Bind a system call that the C library may not know, by its number."""
    call = _caller(_libc["syscall"], name, 1, (c_long, *types), c_long)
    return lambda *arguments: call(number, *arguments)


mount = _wrapper("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
setdomainname = _wrapper("setdomainname", c_char_p, c_size_t)
umount2 = _wrapper("umount2", c_char_p, c_int)
prctl = _wrapper("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
inotify_init1 = _wrapper("inotify_init1", c_int)
inotify_add_watch = _wrapper("inotify_add_watch", c_int, c_char_p, c_uint)

pivot_root = _numbered("pivot_root", number("pivot_root"), c_char_p, c_char_p)
setns = _numbered("setns", number("setns"), c_int, c_int)
unshare = _numbered("unshare", number("unshare"), c_int)
keyctl = _numbered("keyctl", number("keyctl"), c_int, c_ulong, c_ulong, c_ulong, c_ulong)
seccomp = _numbered("seccomp", number("seccomp"), c_uint, c_uint, c_void_p)
capset = _numbered("capset", number("capset"), c_void_p, c_void_p)
capget = _numbered("capget", number("capget"), c_void_p, c_void_p)
waitid = _numbered("waitid", number("waitid"), c_int, c_int, c_void_p, c_int, c_void_p)
setfsuid = _numbered("setfsuid", number("setfsuid"), c_uint)
setfsgid = _numbered("setfsgid", number("setfsgid"), c_uint)
bpf = _numbered("bpf", number("bpf"), c_int, c_void_p, c_uint)

pidfd_send_signal = _numbered("pidfd_send_signal", 424, c_int, c_int, c_void_p, c_uint)
open_tree = _numbered("open_tree", 428, c_int, c_char_p, c_uint)
move_mount = _numbered("move_mount", 429, c_int, c_char_p, c_int, c_char_p, c_uint)
fsopen = _numbered("fsopen", 430, c_char_p, c_uint)
fsconfig = _numbered("fsconfig", 431, c_int, c_uint, c_char_p, c_void_p, c_int)
fsmount = _numbered("fsmount", 432, c_int, c_uint, c_uint)
pidfd_open = _numbered("pidfd_open", 434, c_int, c_uint)
clone3 = _numbered("clone3", 435, c_void_p, c_size_t)
close_range = _numbered("close_range", 436, c_uint, c_uint, c_uint)
openat2 = _numbered("openat2", 437, c_int, c_char_p, c_void_p, c_size_t)
mount_setattr = _numbered("mount_setattr", 442, c_int, c_char_p, c_uint, c_void_p, c_size_t)
