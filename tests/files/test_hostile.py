"""Containers that change their files while we work on them, and files that are none."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.errors import KernelError
from pycontainers.lifecycle import files
from tests.files.conftest import Make, jail_of
from tests.files.test_archives import made_of

SECRET = "the host's own\n"
SECONDS = 2.0
# Two names are swapped by rename: a directory, and a link to somewhere else.
SWAP = "cd {0}; while :; do mv -T d real; mv -T link d; mv -T d link; mv -T real d; done"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's that must stay as it is."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text(SECRET)
    facts = os.stat(victim / "file")
    yield victim
    assert os.listdir(victim) == ["file"]
    assert (victim / "file").read_text() == SECRET
    now = os.stat(victim / "file")
    assert (now.st_mode, now.st_mtime, now.st_uid, now.st_ino) == (
        facts.st_mode, facts.st_mtime, facts.st_uid, facts.st_ino)  # fmt: skip


def until(seconds: float) -> Iterator[int]:
    """Count for so long."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        yield number
        number += 1


@pytest.mark.parametrize("prefix", ["", "../../../../../../.."])
@pytest.mark.parametrize("userns", ["auto", "host"])
def test_a_swapped_directory_never_leads_to_the_host(
    make: Make, victim: Path, tmp_path: Path, prefix: str, userns: str
) -> None:
    script = f"mkdir -p /r/d; echo guest >/r/d/file; ln -s {prefix}{victim} /r/link; "
    container = make(["sh", "-c", script + SWAP.format("/r")], userns=userns)
    jail = jail_of(container)
    (tmp_path / "new").write_text("guest\n")
    done = set()

    for number in until(SECONDS):
        act = number % 6
        with contextlib.suppress(KernelError, pc.ImageError):
            if act == 0:
                files.copy_to(jail, tmp_path / "new", "/r/d/file")
            elif act == 1:
                files.copy_from(jail, "/r/d/file", tmp_path / "out")
                assert (tmp_path / "out").read_text() == "guest\n"
            elif act == 2:
                files.copy_from(jail, "/r", tmp_path / "tree")
            elif act == 3:
                files.put_archive(jail, "/r", made_of(("d/file", b"guest\n", {})))
            elif act == 4:
                assert container.path("/r/d/file").read_text() == "guest\n"
            else:
                container.path("/r/d/file").chmod(0o600)
            done.add(act)

    assert done >= {1, 4, 5}
    found = subprocess.run(["grep", "-rl", SECRET.strip(), tmp_path / "tree"], check=False)
    assert found.returncode != 0


def test_a_swapped_directory_on_a_shared_mount_never_leads_out_of_the_destination(
    make: Make, victim: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    (shared / "to/d").mkdir(parents=True)
    (shared / "to/link").symlink_to(victim)
    (shared / "to/d/file").write_text("guest\n")
    mount = pc.Mount.bind(shared, "/shared", read_only=False)
    container = make(["sh", "-c", SWAP.format("/shared/to")], mounts=[mount], userns="host")
    jail = jail_of(container)
    container.path("/from/d").mkdir(parents=True)
    for name in ("file", "more"):
        container.path(f"/from/d/{name}").write_text("guest\n")
    copied = 0

    for number in until(SECONDS):
        with contextlib.suppress(KernelError, pc.ImageError):
            if number % 2:
                files.copy_from(jail, "/from/.", shared / "to")
            else:
                files.copy_to(jail, shared / "to", f"/in{number % 16}")
            copied += 1

    assert copied
    container.kill()
    container.wait(10)
    for number in range(0, 16, 2):
        path = container.path(f"/in{number}/d/file")
        if path.exists():
            assert path.read_text() == "guest\n"


def test_links_lead_nowhere_but_into_the_container(
    container: pc.Container, victim: Path, tmp_path: Path
) -> None:
    container.path("/abs").symlink_to(str(victim))
    container.path("/up").symlink_to("../" * 30 + str(victim)[1:])
    container.path("/etc/up").symlink_to("../../../etc")

    for name in ("/abs/file", "/up/file"):
        with pytest.raises(FileNotFoundError):
            container.path(name).read_text()
        with pytest.raises(FileNotFoundError):
            container.copy_to(victim / "file", name)
    assert container.path("/etc/up/group").exists()

    container.path(str(victim)).mkdir(parents=True)
    container.path("/abs/file").write_text("guest")
    assert container.path(f"{victim}/file").read_text() == "guest"
    assert container.path("/up/file").read_text() == "guest"


def test_what_is_no_file_is_refused_at_once(container: pc.Container, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fifo = made_of(("pipe", b"", {"type": b"6"}))
    container.put_archive("/etc", fifo)
    paths = (
        ["/etc/pipe"] if container.status != "running" else ["/etc/pipe", "/dev/null", "/dev/tty"]
    )

    for path in paths:
        began = time.monotonic()
        for refused in (
            lambda path=path: container.copy_to(tmp_path / "file", path),
            lambda path=path: container.copy_from(path, tmp_path / "out"),
            lambda path=path: container.path(path).read_bytes(),
            lambda path=path: container.path(path).write_bytes(b"x"),
            lambda path=path: container.path(path).open("a"),
        ):
            with pytest.raises(KernelError) as raised:
                refused()
            assert raised.value.errno == errno.EINVAL, path
            assert "regular file" in str(raised.value) or "not a file" in str(raised.value)
        assert time.monotonic() - began < 2
    assert os.listdir(tmp_path) == ["file"]


def test_a_destination_that_is_no_file_is_refused_at_once(make: Make, tmp_path: Path) -> None:
    container = make()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))

    for name in ("pipe", "socket"):
        with pytest.raises(KernelError) as raised:
            container.copy_from("/etc/group", tmp_path / name)
        assert raised.value.errno == errno.EINVAL
    assert sorted(os.listdir(tmp_path)) == ["pipe", "socket"]


def test_a_looping_link_is_an_error(container: pc.Container, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    container.path("/one").symlink_to("/two")
    container.path("/two").symlink_to("/one")

    for refused in (
        lambda: container.copy_to(tmp_path / "file", "/one"),
        lambda: container.copy_to(tmp_path / "file", "/one/file"),
        lambda: container.copy_to(tmp_path, "/one"),
        lambda: container.copy_from("/one/file", tmp_path / "out"),
        lambda: container.copy_from("/one/", tmp_path / "out"),
        lambda: container.put_archive("/one", made_of(("f", b"x", {}))),
        lambda: container.get_archive("/one/file"),
        lambda: container.path("/one").write_text("x"),
        lambda: container.path("/one").resolve(),
    ):
        with pytest.raises(KernelError) as raised:
            refused()
        assert raised.value.errno == errno.ELOOP


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_the_kernels_magic_links_are_not_followed(make: Make, userns: str, tmp_path: Path) -> None:
    container = make(userns=userns)
    container.path("/root-of-1").symlink_to("/proc/1/root/etc/group")

    for path in ("/proc/1/root/etc/group", "/proc/1/cwd/etc/group", "/root-of-1", "/proc/1/exe"):
        with pytest.raises(KernelError) as raised:
            container.path(path).read_bytes()
        assert raised.value.errno in (errno.ELOOP, errno.EACCES, errno.EPERM), path
    for path in ("/proc/self/root", "/proc/thread-self"):
        assert not container.path(path).exists()


def test_the_container_does_not_see_the_worker(make: Make) -> None:
    watch = "while :; do cat /proc/[0-9]*/comm 2>/dev/null; done >/seen"
    container = make(["sh", "-c", watch])

    for _ in until(SECONDS / 2):
        container.path("/bin").stat()

    seen = container.path("/seen").read_text().split()
    assert "sh" in seen
    assert set(seen) <= {"sh", "cat", "init"}


def test_a_tree_that_changes_is_copied_as_far_as_it_is_there(make: Make, tmp_path: Path) -> None:
    script = (
        "mkdir -p /t/s; while :; do for i in 1 2 3 4 5 6 7 8; do echo $i >/t/s/$i; done; "
        "rm -r /t/s; mkfifo /t/s; rm /t/s; ln -s / /t/s; rm /t/s; mkdir /t/s; done"
    )
    container = make(["sh", "-c", script])
    copied = 0

    for _ in until(SECONDS):
        with contextlib.suppress(FileNotFoundError):
            container.copy_from("/t", tmp_path / f"out{copied}")
            copied += 1

    assert copied
    assert not (tmp_path / "out0/s/etc").exists()


def test_a_deep_tree_is_copied_or_refused_but_does_no_harm(make: Make, tmp_path: Path) -> None:
    dig = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d && i=$((i+1)); done"
    script = f"{dig}; touch /ready; sleep 600"
    container = make(["sh", "-c", script])
    while not container.path("/ready").exists():
        time.sleep(0.05)

    container.copy_from("/d", tmp_path / "d")
    assert len(list(container.path("/").glob("**/d"))) == 1500
    container.path("/d").remove_tree()

    assert not container.path("/d").exists()
    deepest = subprocess.run(
        ["find", tmp_path / "d", "-type", "d"], capture_output=True, check=True
    )
    assert deepest.stdout.count(b"\n") == 1500
    # pytest's own removal is recursive.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_a_container_that_ends_meanwhile_is_told(make: Make, tmp_path: Path) -> None:
    container = make(ephemeral=True)
    container.stop(0)

    with pytest.raises(pc.NotSupported, match="memory"):
        container.copy_from("/etc", tmp_path / "out")
