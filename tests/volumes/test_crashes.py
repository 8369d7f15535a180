"""Volumes and sudden ends: of the application, of the disk's space, and several at once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.kernel import loopdevices
from tests import leaks
from tests.crashes.application import Application
from tests.volumes.test_filling import facts_of

_ROUNDS = 6
_FILES = 1500  # take about 0.2 s
_SIZE = 12 << 20


@pytest.fixture(scope="module")
def full_root(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with some megabytes to copy in /many."""
    root = tmp_path_factory.mktemp("full") / "rootfs"
    subprocess.run(["cp", "-a", busybox, root], check=True)
    for number in range(_FILES):
        folder = root / f"many/{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(bytes([number % 256]) * (number % 3000))
    return root


def left_in(root: Path) -> list[str]:
    """Name the places of volumes that have no row, and rows without a place."""
    with sqlite3.connect(root / "state.db") as database:
        rows = {row[0] for row in database.execute("SELECT name FROM volumes")}
    database.close()
    return sorted(rows ^ set(os.listdir(root / "volumes")))


def test_a_copy_that_was_killed_is_made_again_whole(full_root: Path, tmp_path: Path) -> None:
    before = leaks.snapshot()
    root = tmp_path / "root"
    program = """
        say("go")
        pc.run(["true"], image=image, volumes={"many": "/many"}, engine=engine)
    """
    expected = facts_of(full_root / "many")
    for _ in range(_ROUNDS):
        with Application(program, root, full_root) as application:
            application.line()
            time.sleep(random.uniform(0.03, 0.2))
            application.kill()

        with pc.Engine(root=root) as engine:
            image = pc.Image.from_rootfs(full_root, engine=engine)
            pc.run(["true"], image=image, volumes={"many": "/many"}, engine=engine)
            volume = pc.Volume.get("many", engine=engine)
            assert facts_of(volume.path) == expected
            assert sorted(os.listdir(volume.path.parent)) == ["data", "lock"]
            volume.remove()
    assert left_in(root) == []
    leaks.assert_recovered(root, before)


def test_a_copy_whose_launcher_is_killed_is_made_again(full_root: Path, tmp_path: Path) -> None:
    with pc.Engine(root=tmp_path / "root") as engine:
        image = pc.Image.from_rootfs(full_root, engine=engine)
        launcher = engine.services().launcher()
        timer = threading.Timer(0.04, os.kill, (launcher.pid, signal.SIGKILL))
        timer.start()

        done = pc.run(["true"], image=image, volumes={"many": "/many"}, engine=engine)

        timer.join()
        assert done.ok
        volume = pc.Volume.get("many", engine=engine)
        assert facts_of(volume.path) == facts_of(full_root / "many")


def test_a_killed_creator_leaves_no_half_volume(busybox: Path, tmp_path: Path) -> None:
    before = leaks.snapshot()
    root = tmp_path / "root"
    program = """
        say("go")
        n = 0
        while True:
            n += 1
            pc.Volume.create(f"v{n}", size="1m" if n % 3 else None, engine=engine)
            pc.Container.create(image, ["true"], volumes=["/own", f"w{n}:/w"], engine=engine)
            if n % 2:
                pc.Volume.get(f"v{n}", engine=engine).remove()
    """
    for _ in range(_ROUNDS):
        with Application(program, root, busybox) as application:
            application.line()
            time.sleep(random.uniform(0.02, 0.4))
            application.kill()

        with pc.Engine(root=root) as engine:
            engine.services()
            assert left_in(root) == []
            assert all(not volume.anonymous for volume in pc.Volume.list(engine=engine))
    leaks.assert_recovered(root, before)


def test_volumes_without_a_name_go_with_a_killed_owner(busybox: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = """
        pc.Container.run(image, ["sleep", "60"], volumes=["/own", "kept:/kept"], engine=engine)
        say("go")
        pc.run(["sleep", "60"], image=image, volumes=["/other"], engine=engine)
    """
    with Application(program, root, busybox) as application:
        application.line()
        time.sleep(0.3)
        application.kill()

    with pc.Engine(root=root) as engine:
        assert [volume.name for volume in pc.Volume.list(engine=engine)] == ["kept"]
        assert pc.Volume.prune(all=True, engine=engine) == ["kept"]


def test_two_processes_that_make_the_same_volume_get_one(busybox: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = """
        say("ready")
        while not os.path.exists(os.path.dirname(sys.argv[1]) + "/go"):
            time.sleep(0.001)
        for n in range(40):
            pc.Volume.create(f"v{n}", size="1m" if n % 4 == 0 else None, engine=engine)
        say(sorted(v.name for v in pc.Volume.list(engine=engine)) and "done")
    """
    with Application(program, root, busybox) as one, Application(program, root, busybox) as two:
        assert (one.line(), two.line()) == ("ready", "ready")
        (tmp_path / "go").touch()
        assert (one.lines(), two.lines()) == (["done"], ["done"])

    with pc.Engine(root=root) as engine:
        volumes = pc.Volume.list(engine=engine)
        assert len(volumes) == 40
        assert left_in(root) == []
        assert len(pc.Volume.prune(all=True, engine=engine)) == 40


def test_two_processes_that_use_a_new_volume_first_fill_it_once(
    full_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    program = """
        say("ready")
        while not os.path.exists(os.path.dirname(sys.argv[1]) + "/go"):
            time.sleep(0.001)
        done = pc.run(["sh", "-c", "find /many -type f | wc -l"], image=image,
                      volumes={"many": "/many"}, engine=engine)
        say(done.stdout.strip())
    """
    with Application(program, root, full_root) as one, Application(program, root, full_root) as two:
        assert (one.line(), two.line()) == ("ready", "ready")
        (tmp_path / "go").touch()
        assert (one.lines(), two.lines()) == ([f"{_FILES}"], [f"{_FILES}"])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    before = leaks.snapshot()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "small", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
    leaks.assert_none_since(before)


def test_a_full_disk_leaves_a_volume_unfilled_and_fills_it_with_space(
    disk: Path, busybox: Path, tmp_path: Path
) -> None:
    rootfs = tmp_path / "rootfs"
    subprocess.run(["cp", "-a", busybox, rootfs], check=True)
    for number in range(12):
        (rootfs / f"data/{number}").mkdir(parents=True)
        (rootfs / f"data/{number}/file").write_bytes(os.urandom(1 << 19))
    with pc.Engine(root=disk / "root") as engine:
        image = pc.Image.from_rootfs(rootfs, engine=engine)
        volume = pc.Volume.create("data", engine=engine)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(8 << 20))

        with pytest.raises(pc.LaunchError, match=r"[Nn]o space"):
            pc.run(["true"], image=image, volumes={volume: "/data"}, engine=engine)
        assert os.listdir(volume.path) == []
        assert volume.containers == ()

        ballast.unlink()
        pc.run(["true"], image=image, volumes={volume: "/data"}, engine=engine)
        assert facts_of(volume.path) == facts_of(rootfs / "data")


def test_a_volume_can_be_removed_on_a_full_disk(disk: Path, busybox: Path) -> None:
    with pc.Engine(root=disk / "root") as engine:
        volume = pc.Volume.create("data", engine=engine)
        (volume.path / "file").write_bytes(bytes(1 << 20))
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
            while True:
                file.write(bytes(4096))

        try:
            volume.remove()
        except pc.StoreError:
            ballast.unlink()
            volume.remove()

        assert left_in(disk / "root") == []


def test_a_killed_application_leaves_no_loop_device(busybox: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = """
        volume = pc.Volume.create("sized", size="4m", engine=engine)
        container = pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine)
        say("go")
        pc.run(["sleep", "60"], image=image, volumes={volume: "/d"}, engine=engine)
    """
    with Application(program, root, busybox) as application:
        application.line()
        facts = os.stat(root / "volumes/sized/disk")
        label = f"pycontainers {facts.st_dev}:{facts.st_ino}"
        assert label in loopdevices.labels()
        application.kill()

    with pc.Engine(root=root) as engine:
        deadline = time.monotonic() + 10
        while label in loopdevices.labels():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pc.Volume.get("sized", engine=engine).remove()


def test_a_container_of_an_older_version_is_without_volumes(busybox: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pc.Engine(root=root) as engine:
        image = pc.Image.from_rootfs(busybox, engine=engine)
        container = pc.Container.create(image, ["echo", "old"], detach=True, engine=engine)
    with sqlite3.connect(root / "state.db") as database:
        (text,) = database.execute("SELECT options FROM containers").fetchone()
        known = json.loads(text)
        for name in ("volumes", "own_volumes", "images"):
            del known[name]
        del known["options"]["volumes"]
        database.execute("UPDATE containers SET options = ?", (json.dumps(known),))
    database.close()

    with pc.Engine(root=root):
        container.start()
        assert container.wait() == 0
        assert container.logs().read() == "old\n"
        container.remove(volumes=True)
