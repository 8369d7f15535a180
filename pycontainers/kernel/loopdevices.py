"""Loop devices: a file as a block device, which goes with its last user.

loop(4).  Devices belong to the whole machine; each is known here by a label that says whose it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import Any, Final, NamedTuple

from pycontainers.errors import KernelError

_SET_FD_AND_STATUS: Final = 0x4C0A  # LOOP_CONFIGURE
_GET_STATUS: Final = 0x4C05  # LOOP_GET_STATUS64
_GET_FREE: Final = 0x4C82  # LOOP_CTL_GET_FREE
_AUTOCLEAR: Final = 4
_INFO: Final = "=QQQQQIIII64s64s32sQQ"  # struct loop_info64
_CONFIG: Final = "=II232s64x"  # struct loop_config
_LABEL: Final = 9  # index of lo_file_name in the info
_INODE: Final = 1
_TRIES: Final = 64  # other programs may take the device that was free a moment ago


class Device(NamedTuple):
    """A loop device, held open for reading, so that it stays."""

    fd: int
    path: str


def attach(file_fd: int, label: str) -> Device:
    """Give a block device that shows a regular file, one that is there already or a new one.

    `label`, of at most 63 bytes, names the file for all time: a device with it and the file's
    inode is taken to be the file's.  The device is cleared by the kernel when nobody has it open
    or mounted any more.  Whoever attaches the same file at the same time has to be kept out by a
    lock.  Raises KernelError, ENOENT or ENXIO where the kernel has no loop devices.

    >>> device = attach(os.open("disk.img", os.O_RDWR), "disk 4711")     # doctest: +SKIP
    """
    inode = os.fstat(file_fd).st_ino
    found = find(inode, label)
    if found is not None:
        return found
    control_fd = _open("/dev/loop-control")
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control_fd, _GET_FREE)}"
            writing_fd = _open(path)
            try:
                _configure(writing_fd, file_fd, label)
                # Some kernels mount nothing that is open for writing.
                return Device(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise KernelError(error.errno or 0, f"ioctl({path!r}, CONFIGURE)") from None
            finally:
                os.close(writing_fd)
    finally:
        os.close(control_fd)
    raise KernelError(errno.EBUSY, "ioctl(loop-control, GET_FREE)")


def find(inode: int, label: str) -> Device | None:
    """Give the device that has this label and shows a file with this inode, or None."""
    for name in os.listdir("/sys/block"):
        path = f"/dev/{name}"
        if not name.startswith("loop") or not os.path.exists(f"/sys/block/{name}/loop"):
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        # While it is held open it is not cleared, and so what is found now stays true.
        if _is(fd, inode, label):
            return Device(fd, path)
        os.close(fd)
    return None


def labels() -> list[str]:
    """Give the labels of all loop devices that are in use."""
    found = []
    for name in os.listdir("/sys/block"):
        if name.startswith("loop"):
            with contextlib.suppress(OSError):
                fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    found.append(_info(fd)[_LABEL].rstrip(b"\0").decode(errors="replace"))
                finally:
                    os.close(fd)
    return found


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = "the kernel's module `loop` is missing: modprobe loop"
        raise KernelError(error.errno or 0, f"open({path!r})", hint=hint) from None


def _configure(device_fd: int, file_fd: int, label: str) -> None:
    name = label.encode()
    info = struct.pack(_INFO, 0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name[:63], b"", b"", 0, 0)
    fcntl.ioctl(device_fd, _SET_FD_AND_STATUS, struct.pack(_CONFIG, file_fd, 0, info))


def _is(device_fd: int, inode: int, label: str) -> bool:
    try:
        info = _info(device_fd)
    except OSError:
        return False
    return (info[_INODE], info[_LABEL].rstrip(b"\0")) == (inode, label.encode())


def _info(device_fd: int) -> tuple[Any, ...]:
    data = fcntl.ioctl(device_fd, _GET_STATUS, bytes(struct.calcsize(_INFO)))
    return struct.unpack(_INFO, data)
