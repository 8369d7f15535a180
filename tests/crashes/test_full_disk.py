"""A data root without space: errors that say so, and nothing lost once there is space again."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks

_SIZE = 4 << 20
_FULL = (pc.StoreError, pc.LaunchError, pc.ImageError)


class Disk:
    """A small file system, and a file that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def fill(self) -> None:
        with self.ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
            for size in (1 << 16, 1):
                while True:
                    try:
                        file.write(b"x" * size)
                    except OSError:
                        if size == 1:
                            raise
                        break

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    before = leaks.snapshot()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "small", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
    leaks.assert_none_since(before)


def test_a_full_disk_loses_nothing_and_works_again_with_space(disk: Disk, busybox: Path) -> None:
    with pc.Engine(root=disk.path / "root") as engine:
        image = pc.Image.from_rootfs(busybox, engine=engine)
        script = "test -e /note && exit 7; echo kept >/note"
        kept = pc.Container.run(image, ["sh", "-c", script], engine=engine, name="kept")
        kept.wait()
        disk.fill()

        for _ in range(3):
            with pytest.raises(_FULL):
                pc.Container.run(image, ["true"], engine=engine, ephemeral=False)
            with pytest.raises(_FULL):
                pc.run(["true"], image=image, engine=engine, ephemeral=False)
        assert pc.Container.list(all=True, engine=engine) == [kept]

        disk.free()
        assert pc.run(["echo", "again"], image=image, engine=engine, ephemeral=False).ok
        kept.start()
        assert kept.wait() == 7
        kept.remove()
        assert leaks.in_root(disk.path / "root") == []


def test_removal_works_on_a_full_disk_or_can_be_repeated(disk: Disk, busybox: Path) -> None:
    with pc.Engine(root=disk.path / "root") as engine:
        image = pc.Image.from_rootfs(busybox, engine=engine)
        script = "head -c 300000 /dev/zero >/big"
        container = pc.Container.run(image, ["sh", "-c", script], engine=engine)
        container.wait()
        disk.fill()

        try:
            container.remove()
        except pc.StoreError:
            disk.free()
            container.remove()

        assert leaks.in_root(disk.path / "root") == []


def test_a_program_that_fills_the_disk_gets_the_error_itself(disk: Disk, busybox: Path) -> None:
    with pc.Engine(root=disk.path / "root") as engine:
        image = pc.Image.from_rootfs(busybox, engine=engine)

        result = pc.run(
            ["sh", "-c", "cat /dev/zero >/big"], image=image, engine=engine, ephemeral=False
        )

        assert result.exit_code == 1
        assert "No space left on device" in result.stderr
        assert leaks.in_root(disk.path / "root") == []


def test_an_engine_on_a_full_disk_says_so(disk: Disk, busybox: Path) -> None:
    disk.fill()

    with pc.Engine(root=disk.path / "root") as engine:
        with pytest.raises(pc.StoreError):
            engine.services()

        disk.free()
        image = pc.Image.from_rootfs(busybox, engine=engine)
        assert pc.run(["true"], image=image, engine=engine).ok


def test_an_archive_that_does_not_fit_leaves_no_half_layer(disk: Disk, tmp_path: Path) -> None:
    archive = tmp_path / "big.tar"
    with tarfile.open(archive, "w") as file:
        for number in range(8):
            member = tarfile.TarInfo(f"file{number}")
            member.size = _SIZE // 4
            file.addfile(member, io.BytesIO(os.urandom(member.size)))
    with pc.Engine(root=disk.path / "root") as engine:
        with pytest.raises(_FULL, match="space"):
            pc.Image.from_rootfs(archive, engine=engine)

        assert os.listdir(disk.path / "root/layers") == []
