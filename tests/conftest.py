"""What all tests share: an engine on its own data root, a tiny image, and the check for leaks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks

APPLETS = (
    "[ ash awk cat chmod chown cp cut date dd df dmesg echo env false find free grep head hostname "
    "id ifconfig ip kill ln ls mkdir mkfifo mknod mount mv nc nice nproc ping printenv ps pwd "
    "readlink rm rmdir sed seq setsid sh sleep sort stat stty su sync tail tar tee test timeout "
    "top touch tr true tty umount uname unshare usleep wc which whoami xargs yes"
).split()


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of busybox, with users and groups of its own."""
    root = tmp_path_factory.mktemp("busybox")
    root.chmod(0o755)
    for name in ("bin", "etc", "tmp", "root", "home/app"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
    os.chown(root / "home/app", 1000, 1000)
    return root


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pc.Engine]:
    """An engine on a data root of its own, which leaves nothing behind."""
    root = tmp_path_factory.mktemp("engine")
    with pc.Engine(root=root) as engine:
        yield engine


@pytest.fixture(scope="session")
def image(busybox: Path, engine: pc.Engine) -> pc.Image:
    """An image of the busybox root file system."""
    return pc.Image.from_rootfs(busybox, engine=engine)


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaks() -> Iterator[None]:
    before = leaks.snapshot()
    yield
    leaks.assert_none_since(before)


@pytest.fixture
def command() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list for processes that a test starts; they are killed and reaped at its end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
