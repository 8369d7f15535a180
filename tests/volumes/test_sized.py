"""Volumes with a size: a file system of their own in a file, by a loop device that goes again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.kernel import loopdevices
from tests.volumes.conftest import Sh


def ours() -> list[str]:
    return [label for label in loopdevices.labels() if label.startswith("pycontainers ")]


@pytest.fixture(autouse=True)
def _no_device_stays() -> object:
    before = ours()
    yield
    deadline = time.monotonic() + 10
    while (left := sorted(set(ours()) - set(before))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def test_what_does_not_fit_is_refused_by_the_kernel(sh: Sh, engine: pc.Engine) -> None:
    volume = pc.Volume.create("small", size="8m", engine=engine)

    shown = sh("dd if=/dev/zero of=/d/x bs=1M count=20 2>&1; stat -c %s /d/x; df -k /d | tail -1",
               volumes={volume: "/d"})  # fmt: skip

    assert "No space left on device" in shown
    assert 5 << 20 < int(shown.splitlines()[-2]) < 8 << 20
    assert volume.size == 8 << 20
    assert sh("ls -A /d", volumes={volume: "/d"}) == "x\n"


def test_it_takes_space_as_it_is_filled(sh: Sh, engine: pc.Engine) -> None:
    volume = pc.Volume.create("large", size="100g", engine=engine)
    disk = Path(engine.root, "volumes/large/disk")

    assert disk.stat().st_size == 100 << 30
    assert disk.stat().st_blocks * 512 < 300 << 20
    sh("echo x >/d/x", volumes={volume: "/d"})


def test_what_is_removed_in_it_is_free_on_the_disk_again(sh: Sh, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="64m", engine=engine)
    disk = Path(engine.root, "volumes/data/disk")
    sh("dd if=/dev/urandom of=/d/x bs=1M count=40; sync", volumes={volume: "/d"})
    full = disk.stat().st_blocks

    sh("rm /d/x; sync; sleep 1", volumes={volume: "/d"})

    assert disk.stat().st_blocks <= full // 2


def test_two_containers_share_its_file_system(image: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("shared", size="8m", engine=engine)
    with (
        pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine) as one,
        pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine) as two,
    ):
        one.exec(["sh", "-c", "echo hello >/d/x"])

        assert two.exec(["cat", "/d/x"]).stdout == "hello\n"
        assert pc.run(["cat", "/d/x"], image=image, volumes={volume: "/d"},
                      engine=engine).stdout == "hello\n"  # fmt: skip
        assert len(ours()) == 1


def test_nothing_of_it_is_in_the_hosts_mount_table(image: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("hidden", size="8m", engine=engine)
    before = Path("/proc/self/mountinfo").read_text()
    with pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine):
        assert Path("/proc/self/mountinfo").read_text() == before


def test_the_first_use_fills_it_too(sh: Sh, stocked: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="16m", engine=engine)

    shown = sh("ls; stat -c '%u:%g %a' . plain", image=stocked, workdir="/srv/data",
               volumes={volume: "/srv/data"})  # fmt: skip

    assert shown.split() == ["deep", "device", "fifo", "link", "plain", "sparse", "suid",
                             "1000:1000", "711", "1000:2000", "640"]  # fmt: skip


def test_what_does_not_fit_at_the_first_use_is_told(
    stocked_root: Path, engine: pc.Engine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data/big").write_bytes(os.urandom(4 << 20))
    image = pc.Image.from_rootfs(root, engine=engine)
    volume = pc.Volume.create("data", size="2m", engine=engine)

    with pytest.raises(pc.LaunchError, match=r"fill the volume data.*[Nn]o space"):
        pc.run(["/true"], image=image, volumes={volume: "/data"}, engine=engine)

    assert volume.usage() < 1 << 20


def test_the_same_size_again_is_fine_and_another_is_not(engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="4m", engine=engine)

    assert pc.Volume.create("data", size=4 << 20, engine=engine) == volume
    assert pc.Volume.create("data", engine=engine) == volume
    with pytest.raises(pc.Conflict, match="4194304 bytes"):
        pc.Volume.create("data", size="5m", engine=engine)
    plain = pc.Volume.create("plain", engine=engine)
    with pytest.raises(pc.Conflict, match="no size"):
        pc.Volume.create(plain.name, size="4m", engine=engine)


@pytest.mark.parametrize("size", [0, "1k", -1, "much"])
def test_a_size_that_can_not_be_is_refused(engine: pc.Engine, size: object) -> None:
    with pytest.raises(pc.InvalidArgument, match="size"):
        pc.Volume.create("data", size=size, engine=engine)  # type: ignore[arg-type]


def test_it_has_no_path_on_the_host(engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="4m", engine=engine)

    with pytest.raises(pc.NotSupported, match="export"):
        volume.path  # noqa: B018


def test_without_mkfs_it_is_refused_with_the_remedy(
    engine: pc.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pycontainers.lifecycle.volumes._SYSTEM_PROGRAMS", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(pc.NotSupported, match="e2fsprogs"):
        pc.Volume.create("data", size="4m", engine=engine)


def test_a_killed_supervisor_leaves_no_device(image: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="4m", engine=engine)
    container = pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine)
    assert len(ours()) == 1

    os.kill(container.attrs["supervisor"][0], 9)
    container.remove(force=True)
