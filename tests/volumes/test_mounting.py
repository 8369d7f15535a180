"""What mounts are like inside: owners, read-only, parts of volumes, order, propagation, races."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.kernel import mounts
from tests.volumes.conftest import Sh


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that shares its mounts with its copies, with another one in it, at `below`."""
    root = tmp_path / "disk"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "disk", root], check=True)
    subprocess.run(["mount", "--make-shared", root], check=True)
    (root / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", root / "below"], check=True)
    (root / "below/file").write_text("below\n")
    try:
        yield root
    finally:
        for entry in reversed([*mounts.mountinfo()]):
            if f"{entry.target}/".startswith(f"{root}/"):
                subprocess.run(["umount", entry.target], check=True)


# Owners.


def test_files_belong_to_the_right_users_on_both_sides(
    sh: Sh, engine: pc.Engine, image: pc.Image
) -> None:
    sh("touch /data/root; chown 1000:2000 /data", volumes={"data": "/data"})
    sh("touch /data/app", volumes={"data": "/data"}, user="app")

    path = pc.Volume.get("data", engine=engine).path
    assert [(path / name).stat().st_uid for name in ("root", "app")] == [0, 1000]
    assert sh("stat -c %u /data/app", volumes={"data": "/data"}, userns="host") == "1000\n"


def test_a_sized_one_is_shown_with_right_owners_too(sh: Sh, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", size="4m", engine=engine)
    sh("touch /data/x; chown 5:6 /data/x", volumes={volume: "/data"})

    assert sh("stat -c %u:%g /data/x", volumes={volume: "/data"}) == "5:6\n"


# Read-only.


def test_read_only_holds_for_all_mounts_below(
    disk: Path, image: pc.Image, engine: pc.Engine
) -> None:
    mount = pc.Mount.bind(disk, "/in", read_only=True)
    with pc.Container.run(image, ["sleep", "60"], mounts=[mount], engine=engine) as container:
        shown = container.exec(["touch", "/in/x", "/in/below/x"]).stderr

        assert shown.count("Read-only file system") == 2
        assert container.exec(["cat", "/in/below/file"]).stdout == "below\n"


def test_a_read_only_volume_can_not_be_written_to(sh: Sh, engine: pc.Engine) -> None:
    for size in (None, "4m"):
        volume = pc.Volume.create(f"data{size}", size=size, engine=engine)
        shown = sh("touch /data/x 2>&1 || true", volumes={volume: {"bind": "/data", "mode": "ro"}})

        assert "Read-only file system" in shown


def test_a_volume_of_a_read_only_container_can_be_written_to(
    sh: Sh, image: pc.Image, engine: pc.Engine
) -> None:
    script = "echo x >/new/deep/x; cat /new/deep/x; touch /y 2>/dev/null || echo refused"

    assert sh(script, read_only=True, volumes={"data": "/new/deep"}) == "x\nrefused\n"
    with pc.Container.run(image, ["sh", "-c", script], read_only=True,
                          volumes={"data": "/new/deep"}, engine=engine) as container:  # fmt: skip
        container.wait()
        assert container.logs().read() == "x\nrefused\n"


# Parts.


@pytest.mark.parametrize("size", [None, "4m"])
def test_a_part_of_a_volume_is_shown(sh: Sh, engine: pc.Engine, size: str | None) -> None:
    volume = pc.Volume.create("data", size=size, engine=engine)
    sh(
        "mkdir -p /data/a/b; echo in >/data/a/b/file; echo one >/data/one",
        volumes={volume: "/data"},
    )

    part = pc.Mount.volume(volume, "/part", subpath="a/b")
    file = pc.Mount.volume(volume, "/etc/one", subpath="one")
    assert sh("ls /part; cat /part/file /etc/one", mounts=[part, file]) == "file\nin\none\n"


def test_a_missing_part_is_told_by_name(sh: Sh, image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.LaunchError, match="no gone in the volume data"):
        pc.run(["true"], image=image, engine=engine,
               mounts=[pc.Mount.volume("data", "/x", subpath="gone")])  # fmt: skip


def test_no_link_in_a_volume_leads_out_of_it(sh: Sh, image: pc.Image, engine: pc.Engine) -> None:
    script = "ln -s / /data/root; ln -s ../../../../../../etc /data/up; ln -s /etc /data/abs"
    sh(script, volumes={"data": "/data"})

    for name in ("root/etc", "up", "abs"):
        with pytest.raises(pc.LaunchError, match="no "):
            pc.run(["true"], image=image, engine=engine,
                   mounts=[pc.Mount.volume("data", "/x", subpath=name)])  # fmt: skip
    part = pc.Mount.volume("data", "/x", subpath="root")
    assert "up" in sh("ls /x", mounts=[part])


# Where they are put.


def test_those_upon_others_are_mounted_after_them(sh: Sh) -> None:
    shown = sh(
        "echo a >/x/y/file; ls /x; ls /x/y",
        volumes={"inner": "/x/y", "outer": "/x"},
        tmpfs=["/x/z"],
    )

    assert shown == "y\nz\nfile\n"


def test_a_link_in_the_image_is_no_way_out(
    sh: Sh, engine: pc.Engine, busybox: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", busybox, root], check=True)
    victim = tmp_path / "victim"
    victim.mkdir()
    (root / "out").symlink_to(victim)
    (root / "up").symlink_to("../../../../../.." + str(victim))
    image = pc.Image.from_rootfs(root, engine=engine)

    shown = sh("grep -c volumes/ /proc/self/mountinfo; touch /out/a /up/b", image=image,
               volumes=["data:/out", "more:/up/deeper"])  # fmt: skip

    assert shown == "2\n"
    assert os.listdir(victim) == []


def test_a_file_and_a_socket_can_be_shown(sh: Sh, tmp_path: Path, image: pc.Image,
                                          engine: pc.Engine) -> None:  # fmt: skip
    (tmp_path / "file").write_text("single\n")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))

        shown = sh(
            "cat /etc/single; stat -c %F /run/it.sock",
            volumes={tmp_path / "file": "/etc/single", tmp_path / "socket": "/run/it.sock"},
        )

    assert shown == "single\nsocket\n"


def test_memory_has_its_size_and_mode(sh: Sh) -> None:
    shown = sh("stat -c %a /m; df -k /m | tail -1; grep ' /m ' /proc/mounts",
               mounts=[pc.Mount.tmpfs("/m", size="2m", mode=0o750)])  # fmt: skip

    assert shown.startswith("750\n")
    assert " 2048 " in shown
    assert "nosuid,nodev" in shown


# Sources.


def test_a_missing_source_is_made_where_that_is_asked(
    sh: Sh, tmp_path: Path, image: pc.Image, engine: pc.Engine
) -> None:
    source = tmp_path / "new/er"
    mount = pc.Mount.bind(source, "/in", create_source=True)

    assert not source.exists()
    sh("echo here >/in/file", mounts=[mount])
    assert (source / "file").read_text() == "here\n"


def test_a_source_that_became_a_link_is_refused(
    tmp_path: Path, image: pc.Image, engine: pc.Engine
) -> None:
    source, secret = tmp_path / "shared/source", tmp_path / "secret"
    source.mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_text("secret\n")
    container = pc.Container.create(
        image, ["cat", "/in/key"], mounts=[pc.Mount.bind(source, "/in")], engine=engine
    )
    source.rmdir()
    source.symlink_to(secret)

    with pytest.raises(pc.LaunchError, match="a link is in the path now"):
        container.start()

    source.unlink()
    source.mkdir()
    (source / "key").write_text("public\n")
    container.start()
    container.wait()
    assert container.logs().read() == "public\n"
    container.remove()


def test_a_link_that_was_there_before_is_followed_once(sh: Sh, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("real\n")
    (tmp_path / "link").symlink_to("real")

    mount = pc.Mount.bind(tmp_path / "link", "/in")

    assert mount.source == str(tmp_path / "real")
    assert sh("cat /in/file", mounts=[mount]) == "real\n"


# What the host mounts later.


def test_a_later_mount_of_the_hosts_appears_only_where_asked(
    disk: Path, image: pc.Image, engine: pc.Engine
) -> None:
    (disk / "later").mkdir()
    mounts_ = [
        pc.Mount.bind(disk, "/private"),
        pc.Mount.bind(disk, "/slave", propagation="slave"),
    ]
    with pc.Container.run(image, ["sleep", "60"], mounts=mounts_, engine=engine) as container:
        subprocess.run(["mount", "-t", "tmpfs", "later", disk / "later"], check=True)
        (disk / "later/file").touch()

        assert container.exec(["ls", "/private/later"]).stdout == ""
        assert container.exec(["ls", "/slave/later"]).stdout == "file\n"
        subprocess.run(["umount", disk / "later"], check=True)
        assert container.exec(["ls", "/slave/later"]).stdout == ""


def test_nothing_that_is_mounted_inside_gets_out(
    disk: Path, image: pc.Image, engine: pc.Engine
) -> None:
    mounts_ = [pc.Mount.bind(disk, "/in", propagation="slave")]
    before = {entry.id for entry in mounts.mountinfo()}

    done = pc.run(["sh", "-c", "mount -t tmpfs x /in/below && touch /in/below/x"], image=image,
                  mounts=mounts_, cap_add=["SYS_ADMIN"], seccomp="unconfined",
                  engine=engine)  # fmt: skip

    assert done.ok, done.stderr
    assert {entry.id for entry in mounts.mountinfo()} == before
    assert os.listdir(disk / "below") == ["file"]


def test_what_the_host_mounted_since_the_first_run_is_there(sh: Sh, tmp_path: Path) -> None:
    sh("true")
    source = tmp_path / "late"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "late", source], check=True)
    try:
        (source / "file").touch()

        assert sh("ls /in", mounts=[pc.Mount.bind(source, "/in")]) == "file\n"
    finally:
        subprocess.run(["umount", source], check=True)


# How it is told.


def test_explain_shows_volumes(image: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.create(image, ["true"], volumes=["data:/data", "/own"], engine=engine)

    text = str(container.explain())

    assert "take the volume data for /data" in text
    container.remove(volumes=True)
