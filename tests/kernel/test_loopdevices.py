"""Loop devices: one a file, gone with its last user."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pycontainers.kernel import loopdevices


def test_a_file_has_one_device_that_goes_with_its_last_user(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"content of the disk".ljust(1 << 20, b"\0"))
    label = f"test {os.urandom(8).hex()}"
    file_fd = os.open(tmp_path / "disk", os.O_RDWR)
    first = loopdevices.attach(file_fd, label)
    second = loopdevices.attach(file_fd, label)
    os.close(file_fd)

    assert first.path == second.path
    assert os.read(second.fd, 19) == b"content of the disk"
    assert loopdevices.labels().count(label) == 1
    os.close(first.fd)
    assert label in loopdevices.labels()
    os.close(second.fd)
    deadline = time.monotonic() + 5
    while label in loopdevices.labels() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert label not in loopdevices.labels()


def test_another_file_is_not_taken_for_it(tmp_path: Path) -> None:
    label = f"test {os.urandom(8).hex()}"
    devices = []
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
        fd = os.open(tmp_path / name, os.O_RDWR)
        devices.append(loopdevices.attach(fd, label))
        os.close(fd)

    assert devices[0].path != devices[1].path
    for device in devices:
        os.close(device.fd)
