"""What the tests of volumes share: an image with something to copy, and a look for what is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.oci.config import ImageConfig

Sh = Callable[..., str]


def stock(root: Path) -> None:
    """Make a directory of everything that a file system can hold."""
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er/file").write_text("deep\n")
    (root / "plain").write_text("plain\n")
    (root / "plain").chmod(0o640)
    os.chown(root / "plain", 1000, 2000)
    os.setxattr(root / "plain", "user.colour", b"blue")
    os.link(root / "plain", root / "deep/linked")
    (root / "suid").write_bytes(b"#!")
    (root / "suid").chmod(0o4755)
    (root / "link").symlink_to("/nowhere/at all")
    os.lchown(root / "link", 5, 6)
    os.mkfifo(root / "fifo", 0o600)
    os.mknod(root / "device", 0o666 | 0o020000, os.makedev(1, 3))
    with (root / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    os.utime(root / "plain", ns=(10**18, 10**18 + 5))
    os.chown(root / "deep", 7, 8)
    (root / "deep").chmod(0o1770)
    os.utime(root / "deep", ns=(10**18, 10**18))
    os.chown(root, 1000, 1000)
    root.chmod(0o711)


@pytest.fixture(scope="session")
def stocked_root(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with a full /srv/data, that /via leads to."""
    root = tmp_path_factory.mktemp("stocked")
    root.chmod(0o755)
    subprocess.run(["cp", "-a", f"{busybox}/.", root], check=True)
    (root / "srv/data").mkdir(parents=True)
    stock(root / "srv/data")
    (root / "via").symlink_to("srv")
    (root / "empty").mkdir(mode=0o750)
    os.chown(root / "empty", 1000, 1000)
    return root


@pytest.fixture(scope="session")
def stocked(stocked_root: Path, engine: pc.Engine) -> pc.Image:
    """An image with a full /srv/data."""
    return pc.Image.from_rootfs(stocked_root, engine=engine)


@pytest.fixture(scope="session")
def declaring(stocked_root: Path, engine: pc.Engine) -> pc.Image:
    """The same image, which declares /srv/data and /own as volumes."""
    config = ImageConfig(volumes=("/srv/data", "/own/"), cmd=("sleep", "60"))
    return pc.Image.from_rootfs(stocked_root, config=config, engine=engine)


@pytest.fixture
def sh(image: pc.Image, engine: pc.Engine) -> Sh:
    """Run a line of shell in a container of its own; gives what it prints."""

    def run(line: str, *, image: pc.Image = image, **options: Any) -> str:
        done: pc.CompletedRun[str]
        done = pc.run(["sh", "-c", line], image=image, engine=engine, **options)
        assert done.ok, done.stderr
        return done.stdout

    return run


@pytest.fixture(autouse=True)
def _none_stays(engine: pc.Engine) -> Iterator[None]:
    yield
    pc.Volume.prune(all=True, engine=engine)
    left = pc.Volume.list(engine=engine)
    places = os.listdir(Path(engine.root, "volumes"))
    assert (left, places) == ([], [])
