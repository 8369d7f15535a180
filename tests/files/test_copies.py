"""Copies in and out go where `docker cp` puts them, with its owners, modes and times."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.errors import (
    FileMissing,
    InvalidArgument,
    IsDirectory,
    KernelError,
    NoDirectory,
    PyContainersError,
)
from pycontainers.lifecycle import files
from pycontainers.lifecycle.workers import Jail
from tests.files.conftest import Make, jail_of

OLD = 981_173_106


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of everything that a copy keeps."""
    root = tmp_path / "tree"
    (root / "sub/deep").mkdir(parents=True)
    (root / "file").write_text("content\n")
    (root / "file").chmod(0o640)
    os.chown(root / "file", 12, 34)
    (root / "sub/program").write_bytes(b"#!/bin/sh\n")
    (root / "sub/program").chmod(0o4755)
    (root / "sub/link").symlink_to("../file")
    (root / "sub/abroad").symlink_to("/etc/passwd")
    os.link(root / "file", root / "sub/deep/again")
    (root / "empty").mkdir(mode=0o755)
    os.mkfifo(root / "pipe")
    (root / "new\nline").write_text("n")
    os.close(os.open(os.fsencode(root) + b"/not-\xff-utf8", os.O_CREAT | os.O_WRONLY))
    (root / "sub").chmod(0o1777)
    (root / "closed").mkdir()
    (root / "closed/inside").write_text("in")
    (root / "closed").chmod(0o500)
    for path in [*root.rglob("*"), root]:
        os.utime(path, (OLD, OLD), follow_symlinks=False)
    return root


def facts_of(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Give what lies in a directory of the host's."""
    found: dict[bytes, tuple[object, ...]] = {}
    for directory, names, others in os.walk(os.fsencode(root)):
        for name in (*names, *others):
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            content = (
                Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(facts.st_mode)
                else os.readlink(path) if stat.S_ISLNK(facts.st_mode) else b""
            )  # fmt: skip
            relative = os.path.relpath(path, os.fsencode(root))
            found[relative] = (oct(facts.st_mode), int(facts.st_mtime), content)
    return found


def test_a_tree_goes_in_and_comes_back(jail: Jail, tree: Path, tmp_path: Path) -> None:
    files.copy_to(jail, tree, "/tmp")
    files.copy_from(jail, "/tmp/tree", tmp_path / "back")

    was, now = facts_of(tree), facts_of(tmp_path / "back")
    mode, *rest = was[b"sub/program"]
    assert mode == "0o104755"
    assert now.pop(b"sub/program") == ("0o100755", *rest)
    del was[b"sub/program"]
    assert now == was
    back = tmp_path / "back"
    assert (back / "file").stat().st_ino == (back / "sub/deep/again").stat().st_ino
    assert back.stat().st_mtime == OLD


def test_what_is_copied_in_is_roots_and_keeps_mode_and_time(
    container: pc.Container, tree: Path
) -> None:
    container.copy_to(tree, "/srv")
    container.copy_to(tree / "file", "/one")
    container.copy_to(tree / "sub/program", "/program")

    modes = {
        "/srv/file": 0o640,
        "/one": 0o640,
        "/srv/sub/program": 0o4755,
        "/program": 0o4755,
        "/srv/sub": 0o1777,
        "/srv/pipe": 0o644,
    }
    for path, mode in modes.items():
        facts = container.path(path).stat()
        assert (facts.st_uid, facts.st_gid, int(facts.st_mtime)) == (0, 0, OLD), path
        assert stat.S_IMODE(facts.st_mode) == mode, path


def test_archive_keeps_the_ids(container: pc.Container, tree: Path) -> None:
    container.copy_to(tree, "/srv", archive=True)
    container.copy_to(tree / "file", "/one", archive=True)

    for path in ("/srv/file", "/one"):
        facts = container.path(path).stat()
        assert (facts.st_uid, facts.st_gid) == (12, 34)


def test_what_is_copied_out_is_the_callers(make: Make, tmp_path: Path) -> None:
    made = make(["sh", "-c", "mkdir /d; echo x >/d/f; chown 5:6 /d/f; chmod 6751 /d/f; sleep 600"])
    while not made.path("/d/f").exists() or made.path("/d/f").stat().st_mode & 0o6000 != 0o6000:
        pass

    made.copy_from("/d", tmp_path / "d")
    made.copy_from("/d/f", tmp_path / "f")

    for path in (tmp_path / "d/f", tmp_path / "f"):
        facts = path.stat()
        assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (os.getuid(), 0o751)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("tree/file", "/etc/new", "/etc/new"),
        ("tree/file", "/etc", "/etc/file"),
        ("tree/file", "/etc/", "/etc/file"),
        ("tree/file", "/etc/group", "/etc/group"),
        ("tree/file", "etc/relative", "/etc/relative"),
        ("tree", "/etc", "/etc/tree/file"),
        ("tree", "/new", "/new/file"),
        ("tree", "/new/", "/new/file"),
        ("tree/", "/etc", "/etc/tree/file"),
        ("tree/.", "/etc", "/etc/file"),
        ("tree/.", "/new", "/new/file"),
    ],
)
def test_a_copy_in_goes_where_docker_puts_it(
    make: Make, tree: Path, source: str, target: str, expected: str
) -> None:
    container = make()

    container.copy_to(f"{tree.parent}/{source}", target)

    assert container.path(expected).read_text() == "content\n"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/d/file", "new", "new"),
        ("/d/file", "here", "here/file"),
        ("/d/file", "here/", "here/file"),
        ("/d/file", "there", "there"),
        ("/d", "here", "here/d/file"),
        ("/d", "new", "new/file"),
        ("/d/.", "here", "here/file"),
        ("/d/.", "new", "new/file"),
        ("d", "new", "new/file"),
        ("/link/", "new", "new/file"),
    ],
)
def test_a_copy_out_goes_where_docker_puts_it(
    make: Make, tmp_path: Path, source: str, target: str, expected: str
) -> None:
    container = make()
    container.path("/d").mkdir()
    container.path("/d/file").write_text("content\n")
    container.path("/link").symlink_to("d")
    (tmp_path / "here").mkdir()
    (tmp_path / "there").write_text("old")

    container.copy_from(source, f"{tmp_path}/{target}")

    assert (tmp_path / expected).read_text() == "content\n"


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("tree/file", "/missing/new", FileMissing),
        ("tree/file", "/missing/", FileMissing),
        ("tree/file", "/etc/group/", NoDirectory),
        ("tree/file", "/full", IsDirectory),
        ("tree", "/missing/new", FileMissing),
        ("tree", "/etc/group", NoDirectory),
        ("tree/file", "/etc/group/x", NoDirectory),
        ("missing", "/etc", FileMissing),
        ("tree/file/", "/etc", NoDirectory),
        ("tree/pipe", "/etc", KernelError),
    ],
)
def test_a_copy_in_that_cannot_be_is_refused(
    make: Make, tree: Path, source: str, target: str, kind: type[Exception]
) -> None:
    container = make()
    container.path("/full/file").mkdir(parents=True)

    with pytest.raises(kind) as raised:
        container.copy_to(f"{tree.parent}/{source}", target)

    assert isinstance(raised.value, PyContainersError)
    assert os.listdir(tree.parent) == ["tree"]


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("/missing", "new", FileMissing),
        ("/etc/group", "missing/new", FileMissing),
        ("/etc/group", "missing/", FileMissing),
        ("/etc", "missing/new", FileMissing),
        ("/etc", "there", NoDirectory),
        ("/etc/group/", "new", NoDirectory),
        ("/etc/group", "full", IsDirectory),
    ],
)
def test_a_copy_out_that_cannot_be_is_refused(
    make: Make, tmp_path: Path, source: str, target: str, kind: type[Exception]
) -> None:
    container = make()
    (tmp_path / "there").write_text("old")
    (tmp_path / "full/group").mkdir(parents=True)

    with pytest.raises(kind) as raised:
        container.copy_from(source, f"{tmp_path}/{target}")

    assert isinstance(raised.value, PyContainersError)
    assert sorted(os.listdir(tmp_path)) == ["full", "there"]


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800b"])
def test_a_path_that_is_none_is_refused(make: Make, path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        make().copy_from(path, tmp_path / "x")


def test_a_link_is_copied_as_a_link(container: pc.Container, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("./../nowhere//")
    container.copy_to(tmp_path / "link", "/etc/link")
    container.copy_from("/etc/link", tmp_path / "back")

    assert container.path("/etc/link").is_symlink()
    assert os.readlink(tmp_path / "back") == "./../nowhere//"


def test_a_link_at_the_destination_is_followed(container: pc.Container, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    container.path("/to-dir").symlink_to("/etc")
    container.path("/to-new").symlink_to("etc/made")
    container.path("/to-loop").symlink_to("/to-loop")

    container.copy_to(tmp_path / "file", "/to-dir")
    container.copy_to(tmp_path / "file", "/to-new")

    assert container.path("/etc/file").exists()
    assert container.path("/to-new").is_symlink()
    assert container.path("/etc/made").read_text() == "x"
    with pytest.raises(KernelError) as raised:
        container.copy_to(tmp_path / "file", "/to-loop")
    assert raised.value.errno == errno.ELOOP


def test_holes_stay_holes(container: pc.Container, tmp_path: Path) -> None:
    size = 40 << 30
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(20 << 30)
        file.write(b"middle")
        file.truncate(size)

    container.copy_to(tmp_path / "in", "/in")
    container.copy_to(tmp_path / "in/sparse", "/sparse")
    container.copy_from("/in", tmp_path / "out")
    container.copy_from("/sparse", tmp_path / "one")

    for path in (tmp_path / "out/sparse", tmp_path / "one"):
        assert path.stat().st_size == size
        assert path.stat().st_blocks < 1000
        with path.open("rb") as file:
            assert file.read(5) == b"begin"
            file.seek(20 << 30)
            assert file.read(7) == b"middle\0"


def test_a_big_file_and_many_small_ones_come_back_as_they_were(
    container: pc.Container, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(1000):
        (source / f"{number}").write_bytes(os.urandom(number))
    (source / "big").write_bytes(os.urandom(1 << 20) * 64 + b"end")

    container.copy_to(source, "/in")
    container.copy_to(source / "big", "/big")
    container.copy_from("/in", tmp_path / "out")
    container.copy_from("/big", tmp_path / "big")

    subprocess.run(["diff", "-r", source, tmp_path / "out"], check=True)
    subprocess.run(["cmp", source / "big", tmp_path / "big"], check=True)


def test_a_read_only_container_stays_as_it_is(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    container = make(read_only=True)

    for stopped in (False, True):
        if stopped:
            container.stop(0)
        for source in (tmp_path / "file", tmp_path):
            with pytest.raises(KernelError) as raised:
                container.copy_to(source, "/etc")
            assert raised.value.errno == errno.EROFS
        with pytest.raises(KernelError) as raised:
            container.path("/etc/group").write_text("x")
        assert raised.value.errno == errno.EROFS


def test_a_file_that_is_a_mount_is_written_in_place(make: Make, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "mounted").write_text("old")
    mount = pc.Mount.bind(tmp_path / "mounted", "/etc/mounted", read_only=False)
    container = make(mounts=[mount], userns="host")

    container.copy_to(tmp_path / "new", "/etc/mounted")

    assert (tmp_path / "mounted").read_text() == "new"


def test_mounts_are_there_while_it_is_stopped(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("x")
    container = make(mounts=[pc.Mount.bind(tmp_path / "data", "/data", read_only=True)])
    container.stop(0)

    assert container.path("/data/file").read_text() == "x"
    with pytest.raises(KernelError) as raised:
        container.path("/data/file").write_text("y")
    assert raised.value.errno == errno.EROFS


def test_devices_are_named_and_all_else_is_copied(make: Make, tmp_path: Path) -> None:
    container = make(userns="host")

    with pytest.raises(pc.NotSupported, match="devices"):
        container.copy_from("/dev", tmp_path / "dev")

    assert (tmp_path / "dev/stdin").is_symlink()
    assert not (tmp_path / "dev/null").exists()


def test_a_stopped_container_starts_with_what_was_copied(
    image: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    (tmp_path / "script").write_text("echo from outside; id -u; stat -c %u /script\n")
    with pc.Container.create(image, ["sh", "/script"], engine=engine) as container:
        container.copy_to(tmp_path / "script", "/script")
        container.start()
        assert container.wait(10) == 0

        container.copy_from("/script", tmp_path / "back")

    assert (tmp_path / "back").read_text().startswith("echo")


def test_nothing_is_left_open(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "file").write_text("x")
    container = make()
    jail = jail_of(container)
    files.copy_to(jail, source, "/")
    pieces, _ = files.get_archive(jail, "/in")
    next(pieces)
    pieces.close()
    files.get_archive(jail, "/in")
    before = len(os.listdir("/proc/self/fd"))

    for number in range(25):
        files.copy_to(jail, source, "/")
        files.copy_from(jail, "/in", tmp_path / f"out{number % 2}")
        container.path("/in/file").read_text()
        with pytest.raises(FileNotFoundError):
            files.copy_to(jail, source / "file", "/missing/x")

    assert len(os.listdir("/proc/self/fd")) == before
