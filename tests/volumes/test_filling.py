"""The first use of a volume: what the image has at that path is copied into it."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh

Facts = dict[str, tuple[object, ...]]


def facts_of(root: Path) -> Facts:
    """Tell all about each file below a directory, and itself."""
    found: Facts = {}
    links: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        facts = path.lstat()
        name = str(path.relative_to(root))
        kind = stat.S_IFMT(facts.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = (path.read_bytes(), facts.st_blocks * 512 < facts.st_size)
        elif kind == stat.S_IFLNK:
            content = path.readlink()
        first = links.setdefault(facts.st_ino, name) if facts.st_nlink > 1 else name
        attributes = () if path.is_symlink() else tuple(sorted(
            (key, os.getxattr(path, key)) for key in os.listxattr(path)
        ))  # fmt: skip
        found[name] = (
            facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_rdev,
            content, first if kind != stat.S_IFDIR else None, attributes,
        )  # fmt: skip
    return found


def test_everything_is_copied_as_it_is(
    sh: Sh, stocked: pc.Image, stocked_root: Path, engine: pc.Engine
) -> None:
    sh("true", image=stocked, volumes={"data": "/srv/data"})

    volume = pc.Volume.get("data", engine=engine)
    assert facts_of(volume.path) == facts_of(stocked_root / "srv/data")


def test_owners_are_right_inside_too(sh: Sh, stocked: pc.Image) -> None:
    shown = sh("stat -c '%n %u:%g %a' plain . deep", image=stocked, workdir="/srv/data",
               volumes={"data": "/srv/data"})  # fmt: skip

    assert shown.splitlines() == ["plain 1000:2000 640", ". 1000:1000 711", "deep 7:8 1770"]


def test_a_link_in_the_image_is_followed_inside_it(
    sh: Sh, stocked: pc.Image, engine: pc.Engine
) -> None:
    shown = sh("cat /via/data/plain", image=stocked, volumes={"data": "/via/data"})

    assert shown == "plain\n"
    assert pc.Volume.get("data", engine=engine).path.joinpath("plain").exists()


def test_the_second_use_copies_nothing(sh: Sh, stocked: pc.Image) -> None:
    volumes = {"data": "/srv/data"}
    sh("rm -r /srv/data/*", image=stocked, volumes=volumes)

    assert sh("ls /srv/data", image=stocked, volumes=volumes) == ""


def test_what_is_in_a_volume_stays(sh: Sh, stocked: pc.Image, engine: pc.Engine) -> None:
    sh("echo mine >/data/plain", volumes={"data": "/data"})

    shown = sh("ls /srv/data; cat /srv/data/plain", image=stocked, volumes={"data": "/srv/data"})

    assert shown == "plain\nmine\n"
    assert pc.Volume.get("data", engine=engine).path.stat().st_uid == 0


def test_a_volume_that_others_left_empty_is_filled(sh: Sh, stocked: pc.Image) -> None:
    sh("ls /data", volumes={"data": "/data"})

    shown = sh("cat /srv/data/plain", image=stocked, volumes={"data": "/srv/data"})

    assert shown == "plain\n"


def test_who_has_it_mounted_sees_it_come(
    sh: Sh, image: pc.Image, stocked: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.run(
        image, ["sleep", "60"], volumes={"data": "/data"}, engine=engine
    ) as watcher:
        sh("true", image=stocked, volumes={"data": "/srv/data"})

        assert watcher.exec(["cat", "/data/plain"]).stdout == "plain\n"


def test_nocopy_copies_nothing(sh: Sh, stocked: pc.Image) -> None:
    assert sh("ls -A /srv/data", image=stocked, volumes=["data:/srv/data:nocopy"]) == ""
    mounts = [pc.Mount.volume("data", "/srv/data", nocopy=True)]
    assert sh("ls -A /srv/data", image=stocked, mounts=mounts) == ""


def test_an_empty_directory_gives_its_owner_and_mode(sh: Sh, stocked: pc.Image) -> None:
    shown = sh("stat -c '%u:%g %a' /empty", image=stocked, volumes={"data": "/empty"})

    assert shown == "1000:1000 750\n"


def test_layers_are_merged_and_whiteouts_hold(
    engine: pc.Engine, image: pc.Image, stocked_root: Path, tmp_path: Path, sh: Sh
) -> None:
    archive = tmp_path / "root.tar"
    subprocess.run(f"tar -C {stocked_root} -cf {archive} .", shell=True, check=True)
    base = pc.Image.from_rootfs(archive, engine=engine)
    script = "cd /srv/data; rm -r deep fifo; mkdir deep; echo new >deep/new"
    with pc.Container.run(base, ["sh", "-c", script], engine=engine) as container:
        container.wait()
        changed = container.commit("changed:1")

    shown = sh("cd /srv/data; find . | sort", image=changed, volumes={"data": "/srv/data"})

    assert shown.split() == [".", "./deep", "./deep/new", "./device", "./link", "./plain",
                             "./sparse", "./suid"]  # fmt: skip
    changed.remove()
    base.remove()


def test_two_that_come_first_at_once_copy_once(
    stocked: pc.Image, engine: pc.Engine, stocked_root: Path
) -> None:
    seen: list[str] = []

    def use() -> None:
        done = pc.run(["cat", "/srv/data/plain"], image=stocked, volumes={"data": "/srv/data"},
                      engine=engine)  # fmt: skip
        seen.append(done.stdout)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["plain\n"] * 6
    volume = pc.Volume.get("data", engine=engine)
    assert facts_of(volume.path) == facts_of(stocked_root / "srv/data")
    assert sorted(os.listdir(volume.path.parent)) == ["data", "lock"]


def test_a_start_copies_for_a_container_that_is_copied_from_before(
    stocked: pc.Image, engine: pc.Engine
) -> None:
    container = pc.Container.create(stocked, ["true"], volumes={"data": "/srv/data"}, engine=engine)

    assert container.path("/srv/data/plain").read_text() == "plain\n"
    container.remove()


@pytest.mark.parametrize("left", ["fresh", "ready"])
def test_what_was_interrupted_is_done_again_or_gone_on_with(
    sh: Sh, stocked: pc.Image, stocked_root: Path, engine: pc.Engine, left: str
) -> None:
    volume = pc.Volume.create("data", engine=engine)
    place = volume.path.parent
    subprocess.run(f"cp -a {stocked_root}/srv/data {place / left}", shell=True, check=True)
    (place / left / "half").touch()
    if left == "ready":
        (place / left / "half").unlink()
        (place / left / "plain").rename(volume.path / "plain")

    sh("true", image=stocked, volumes={volume: "/srv/data"})

    found, expected = facts_of(volume.path), facts_of(stocked_root / "srv/data")
    assert found.keys() == expected.keys()
    assert found["plain"][:6] == expected["plain"][:6]
    assert sorted(os.listdir(place)) == ["data", "lock"]


def test_a_large_tree_is_copied_as_it_is(
    engine: pc.Engine, busybox: Path, tmp_path: Path, sh: Sh
) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", busybox, root], check=True)
    for number in range(40):
        folder = root / f"many/{number}/below"
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            (folder / name).write_text(f"{number} {name}")
            os.chown(folder / name, number, number)
        os.link(folder / "a", root / f"many/{number}/linked")
        os.link(root / "many/0/below/b", folder / "everywhere")
        (folder / "link").symlink_to("../linked")
        os.link(folder / "link", folder / "link2", follow_symlinks=False)
        folder.chmod(0o2750 if number % 2 else 0o555)
        os.utime(folder, ns=(10**18, 10**18 + number))
    image = pc.Image.from_rootfs(root, engine=engine)

    sh("true", image=image, volumes={"many": "/many"})

    found = facts_of(pc.Volume.get("many", engine=engine).path)
    assert found == facts_of(root / "many")


def test_ten_thousand_files_take_a_moment(engine: pc.Engine, busybox: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", busybox, root], check=True)
    for number in range(10_000):
        folder = root / f"many/{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(b"x" * (number % 5000))
    image = pc.Image.from_rootfs(root, engine=engine)
    count = ["sh", "-c", "find /many -type f | wc -l"]

    done = pc.run(count, image=image, volumes={"many": "/many"}, engine=engine)

    assert done.stdout == "10000\n"
