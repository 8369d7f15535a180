"""Device rules under version 2: a BPF program that the kernel asks at every access to a device.

bpf(2), linux/bpf.h, and the kernel's Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import syscall

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROG_LOAD, _PROG_ATTACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 13, 16
_TYPE_CGROUP_DEVICE: Final = 15
_ATTACH_CGROUP_DEVICE: Final = 6
_ALLOW_MULTI, _REPLACE = 2, 4
_MAXIMUM: Final = 64  # programs that one cgroup can have

_KINDS: Final = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, …CHAR
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, …READ, …WRITE
_EVERY_ACCESS: Final = 7

# Operation codes, each a class with its source and operation.
_LOAD_WORD: Final = 0x61
_MOVE_NUMBER: Final = 0xB7
_MOVE_REGISTER: Final = 0xBF
_AND_NUMBER: Final = 0x57
_SHIFT_RIGHT: Final = 0x77
_JUMP_UNLESS_EQUAL: Final = 0x55
_EXIT: Final = 0x95

_CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR, _REFUSED = 1, 2, 3, 4, 5, 6  # registers


def attach(directory: str, rules: Sequence[Sequence[str | int]]) -> None:
    """Deny a cgroup all devices but those that the rules allow, instead of what it had before.

    A rule is a type (`c`, `b`, or `a` for all), major, minor (-1: any) and a subset of `rwm`; the
    rules of the cgroups above stay in force.  Raises KernelError (EPERM without CAP_BPF and
    CAP_NET_ADMIN, or CAP_SYS_ADMIN).

    >>> attach("/sys/fs/cgroup/c1", [("c", 1, 3, "rwm")])           # doctest: +SKIP
    """
    cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    program_fd = old_fd = -1
    try:
        program_fd = _load(program(rules))
        old_fd = _attached(cgroup_fd)
        flags = _ALLOW_MULTI if old_fd < 0 else _ALLOW_MULTI | _REPLACE
        arguments = (cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, flags, max(old_fd, 0))
        _bpf(_PROG_ATTACH, "BPF_PROG_ATTACH", struct.pack("=5I", *arguments))
    finally:
        for fd in (cgroup_fd, program_fd, old_fd):
            if fd >= 0:
                os.close(fd)


def program(rules: Sequence[Sequence[str | int]]) -> bytes:
    """Compile device rules to BPF instructions: the first rule that fits allows, else denied.

    The program gets a `struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor.

    >>> len(program([])) // 8                                # every instruction has eight bytes
    8
    """
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT),
        _instruction(_MOVE_REGISTER, _WANTED, _KIND),
        _instruction(_SHIFT_RIGHT, _WANTED, number=16),
        _instruction(_AND_NUMBER, _KIND, number=0xFFFF),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for kind, major, minor, access in rules:
        allowed = sum({_ACCESS[letter] for letter in str(access)})
        tests = []
        if kind != "a":
            tests += [(_KIND, _KINDS[str(kind)])]
        if allowed != _EVERY_ACCESS:
            tests += [(_REFUSED, 0)]
        tests += [(_MAJOR, int(major))] if major != -1 else []
        tests += [(_MINOR, int(minor))] if minor != -1 else []
        if allowed != _EVERY_ACCESS:
            code += [
                _instruction(_MOVE_REGISTER, _REFUSED, _WANTED),
                _instruction(_AND_NUMBER, _REFUSED, number=_EVERY_ACCESS & ~allowed),
            ]
        # Each test that fails jumps over those behind it and the two instructions that allow.
        code += [
            _instruction(_JUMP_UNLESS_EQUAL, register, offset=len(tests) - place + 1, number=value)
            for place, (register, value) in enumerate(tests)
        ]
        code += [_instruction(_MOVE_NUMBER, 0, number=1), _instruction(_EXIT)]
        if not tests:
            return b"".join(code)  # the kernel accepts no instruction that can't be reached
    code += [_instruction(_MOVE_NUMBER, 0, number=0), _instruction(_EXIT)]
    return b"".join(code)


def _instruction(
    code: int, target: int = 0, source: int = 0, *, offset: int = 0, number: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, number)


def _load(code: bytes) -> int:
    """Have the kernel verify a program; give its descriptor, which bpf(2) makes close-on-exec."""
    instructions = ctypes.create_string_buffer(code, len(code))
    terms = ctypes.create_string_buffer(b"Apache-2.0")
    arguments = struct.pack(
        "=IIQQ",
        _TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(terms),
    )
    return _bpf(_PROG_LOAD, "BPF_PROG_LOAD", arguments)


def _attached(cgroup_fd: int) -> int:
    """Open the program that the cgroup has already; -1 where it has none."""
    ids = (ctypes.c_uint32 * _MAXIMUM)()
    query = struct.pack(
        "=IIIIQI", cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MAXIMUM
    )
    _bpf(_PROG_QUERY, "BPF_PROG_QUERY", query)
    if ids[0] == 0:
        return -1
    return _bpf(_PROG_GET_FD_BY_ID, "BPF_PROG_GET_FD_BY_ID", struct.pack("=I", ids[0]))


def _bpf(command: int, name: str, arguments: bytes) -> int:
    """Call bpf(2) with a `union bpf_attr` that begins with `arguments`."""
    union = ctypes.create_string_buffer(arguments, 128)
    try:
        return syscall.bpf(command, ctypes.addressof(union), len(union))
    except KernelError as error:
        hint = None
        if error.errno in (errno.EPERM, errno.EACCES):
            hint = "device rules need root outside of any container"
        raise KernelError(error.errno or 0, f"bpf({name})", hint=hint) from None
