"""Run a command in a throw-away guest with version 2 cgroups, emulated, so that no KVM is needed.

The guest sees a copy of the repository; what it changes is gone afterwards.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
import tempfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Final, Literal

from .image import REPOSITORY, image

if TYPE_CHECKING:
    from collections.abc import Sequence

Mode = Literal["root", "user", "login", "bare"]
Kernel = Literal["6.1", "6.12"]

_RESULT_SIZE: Final = 64 << 20
_LEFT_OUT: Final = {".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv"}
_CONSOLE_TAIL: Final = 4000


class GuestError(Exception):
    """The guest ended without the command's outcome; the message is its console's last lines."""


def run_in_guest(
    command: Sequence[str], *, mode: Mode, kernel: Kernel = "6.12", timeout: float = 600
) -> CompletedProcess[str]:
    """Run a command in the repository's copy in a guest, and give its exit status and output.

    `root` is a systemd service with a delegated cgroup, `user` uid 1000 in a delegated scope of its
    user manager, which has all controllers, `login` the same user as after a login, with what
    Debian gives it, and `bare` root in the root cgroup of a machine without systemd.  Raises
    GuestError, or subprocess.TimeoutExpired after `timeout` seconds.

    >>> run_in_guest(["uname", "-r"], mode="root").stdout       # doctest: +SKIP
    '6.12.22+bpo-cloud-amd64\\n'
    """
    built = image()
    with tempfile.TemporaryDirectory() as scratch:
        exchange, console = Path(scratch, "exchange"), Path(scratch, "console")
        _pack(exchange, mode, f"cd /job/repository && exec {shlex.join(command)}\n")
        with exchange.open("ab") as file:
            file.truncate(file.tell() + _RESULT_SIZE)
        boot = "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 mitigations=off"
        if mode == "bare":
            boot += " init=/usr/local/sbin/guest-bare"
        subprocess.run(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"),
                *("-smp", "2", "-m", "2G", "-nodefaults", "-no-user-config", "-no-reboot"),
                *("-display", "none", "-serial", f"file:{console}"),
                *("-kernel", str(built / f"kernel-{kernel}"), "-append", boot),
                # Of two kinds: the order in which disks of one kind are found is not certain.
                *_disk("nvme,serial=root", built / "disk", "snapshot=on"),
                *_disk("virtio-blk-pci", exchange),
            ],
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=True,
        )
        try:
            with tarfile.open(exchange) as archive:
                out, err, status = (_read(archive, name) for name in ("out", "err", "status"))
        except (tarfile.TarError, KeyError):
            raise GuestError(console.read_text(errors="replace")[-_CONSOLE_TAIL:]) from None
    return CompletedProcess(list(command), int(status), out, err)


def _disk(device: str, file: Path, *options: str) -> list[str]:
    drive = ",".join(["if=none", f"id={file.name}", "format=raw", f"file={file}", *options])
    return ["-drive", drive, "-device", f"{device},drive={file.name}"]


def _pack(target: Path, mode: Mode, command: str) -> None:
    with tarfile.open(target, "w") as archive:
        for name, text in (("mode", mode), ("command", command)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        archive.add(
            REPOSITORY,
            "repository",
            filter=lambda entry: None if os.path.basename(entry.name) in _LEFT_OUT else entry,
        )


def _read(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name)
    assert file is not None
    return file.read().decode(errors="replace")
