"""COPY and ADD into a stage: what BuildKit does, and what must never come out of it."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.build.context import Context
from pycontainers.build.context import archive as opened
from pycontainers.build.copying import (
    Target,
    Wishes,
    add_archive,
    copy,
    identify,
    select_in_stage,
)
from pycontainers.distribution.layers import Limits
from pycontainers.errors import FileMissing, ImageError, InvalidArgument
from pycontainers.lifecycle.services import Services
from tests.images.trees import archive, entry, tree

LIMITS = Limits(size=64 << 20, entries=10_000)
TIME = 10**18 + 123


@pytest.fixture(scope="module")
def services(engine: pc.Engine) -> Services:
    return engine.services()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context directory with a little of everything."""
    root = tmp_path / "context"
    (root / "dir/sub").mkdir(parents=True)
    (root / "one").write_text("one\n")
    (root / "two").write_text("two\n")
    (root / "two").chmod(0o4750)
    (root / "dir/file").write_text("file\n")
    (root / "dir/sub/deep").write_text("deep\n")
    (root / "dir/link").symlink_to("/nowhere")
    (root / "dir/sub").chmod(0o1777)
    (root / "dir").chmod(0o700)
    for path in ("one", "dir/file", "dir/sub", "dir"):
        os.utime(root / path, ns=(TIME, TIME))
    return root


class Stage:
    """A stage that is built: a lower layer, and the directories of the new one."""

    def __init__(self, services: Services, root: Path) -> None:
        self.services = services
        self.base = root / "base"
        self.changes = root / "changes"
        for path in (self.base, self.changes / "upper", self.changes / "work"):
            path.mkdir(parents=True)
            path.chmod(0o755)
        (self.base / "etc").mkdir()
        (self.base / "etc/passwd").write_text("root:x:0:0::/:\napp:x:1000:1001::/:\n")
        (self.base / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")

    @property
    def upper(self) -> Path:
        """What the new layer holds."""
        return self.changes / "upper"

    @property
    def layers(self) -> tuple[str, ...]:
        """The stage's layers, the new one too."""
        return (str(self.upper), str(self.base))

    def target(self, path: str) -> Target:
        return Target(path, self.changes, (str(self.base),))

    def copy(
        self,
        folder: Path,
        sources: str | list[str],
        path: str,
        *,
        select: Any = None,
        **wishes: Any,
    ) -> int:
        """Do `COPY sources path`."""
        sources = [sources] if isinstance(sources, str) else sources
        with Context.directory(folder, self.services) as context:
            selection = context.select(sources, **(select or {}))
            return copy(
                self.services, selection, context.root_fd, self.target(path), Wishes(**wishes)
            )

    def add(self, data: bytes, path: str, limits: Limits = LIMITS, **wishes: Any) -> None:
        """Do `ADD archive path`."""
        plain = opened(io.BytesIO(data))
        assert plain is not None
        with plain:
            add_archive(self.services, plain, self.target(path), Wishes(**wishes), limits)


@pytest.fixture
def stage(services: Services, tmp_path: Path) -> Stage:
    return Stage(services, tmp_path)


def owner(path: Path) -> tuple[int, int]:
    facts = path.lstat()
    return facts.st_uid, facts.st_gid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# Destinations.


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ("one", "/file", "file"),
        ("one", "/new/", "new/one"),
        ("one", "/new/.", "new/one"),
        ("one", "/a/b/c/file", "a/b/c/file"),
        ("one", "/etc", "etc/one"),
        ("one", "/", "one"),
        ("o*", "/etc/", "etc/one"),
        ("dir", "/new", "new/file"),
        ("dir/", "/new/", "new/file"),
        ("dir", "/etc", "etc/file"),
        ("dir", "/", "file"),
        (".", "/new", "new/dir/file"),
    ],
)
def test_files_come_where_docker_has_them(
    stage: Stage, folder: Path, source: str, path: str, expected: str
) -> None:
    stage.copy(folder, source, path)

    assert (stage.upper / expected).read_text() in ("one\n", "file\n")


def test_several_sources_come_into_one_directory(stage: Stage, folder: Path) -> None:
    stage.copy(folder, ["one", "two", "dir"], "/all/")

    assert sorted(os.listdir(stage.upper / "all")) == ["file", "link", "one", "sub", "two"]


def test_a_link_as_source_is_copied_as_what_it_leads_to(stage: Stage, folder: Path) -> None:
    (folder / "alias").symlink_to("dir/file")

    stage.copy(folder, "alias", "/x/")

    assert (stage.upper / "x/alias").read_text() == "file\n"
    assert not (stage.upper / "x/alias").is_symlink()


def test_a_linked_destination_leads_inside_the_stage(stage: Stage, folder: Path) -> None:
    (stage.base / "link").symlink_to("/../../etc")

    stage.copy(folder, "one", "/link/")
    stage.copy(folder, "dir", "/link")

    assert (stage.upper / "etc/one").read_text() == "one\n"
    assert (stage.upper / "etc/file").read_text() == "file\n"
    assert not (stage.upper / "link").exists()


def test_what_a_destination_leads_to_is_made(stage: Stage, folder: Path) -> None:
    (stage.base / "link").symlink_to("/not/yet")

    stage.copy(folder, "one", "/link")

    assert (stage.upper / "not/yet").read_text() == "one\n"


def test_a_file_replaces_a_link_in_a_directory(stage: Stage, folder: Path) -> None:
    (stage.base / "etc/one").symlink_to("passwd")

    stage.copy(folder, "one", "/etc/")

    assert (stage.upper / "etc/one").read_text() == "one\n"
    assert not (stage.upper / "etc/one").is_symlink()


def test_a_file_replaces_no_directory(stage: Stage, folder: Path) -> None:
    (stage.base / "etc/one").mkdir()

    with pytest.raises(IsADirectoryError, match=r"open\('one'\): a directory is there"):
        stage.copy(folder, "one", "/etc/")


def test_a_directory_replaces_no_file_and_no_link(stage: Stage, folder: Path) -> None:
    (stage.base / "sub").symlink_to("etc")

    with pytest.raises(NotADirectoryError, match=r"mkdir\('/sub'\)"):
        stage.copy(folder, "dir", "/")


def test_a_file_is_no_directory_on_the_way(stage: Stage, folder: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"/etc/passwd"):
        stage.copy(folder, "one", "/etc/passwd/")


# What files have.


def test_modes_times_and_links_are_kept_and_owners_root(stage: Stage, folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 7, 8, follow_symlinks=False)
    (folder / "two").chmod(0o4750)

    stage.copy(folder, ".", "/new")

    found, expected = tree(stage.upper / "new"), tree(folder)
    assert found == {path: facts._replace(owner=(0, 0)) for path, facts in expected.items()}


def test_a_new_destination_is_a_plain_directory_with_its_sources_time(
    stage: Stage, folder: Path
) -> None:
    os.chown(folder / "dir", 5, 6)

    stage.copy(folder, "dir", "/new")

    facts = (stage.upper / "new").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (0o755, TIME)
    assert owner(stage.upper / "new") == (0, 0)


def test_a_directory_that_was_there_keeps_its_mode_and_owner(stage: Stage, folder: Path) -> None:
    (stage.base / "there/sub").mkdir(parents=True)
    os.chown(stage.base / "there", 5, 6)
    os.chown(stage.base / "there/sub", 5, 6)

    stage.copy(folder, "dir", "/there")

    found = [
        (mode(path), owner(path)) for path in (stage.upper / "there", stage.upper / "there/sub")
    ]
    assert found == [(0o755, (5, 6)), (0o1777, (0, 0))]


def test_attributes_holes_and_hard_links_are_kept(stage: Stage, folder: Path) -> None:
    os.setxattr(folder / "dir/file", "user.colour", b"blue")
    os.setxattr(folder / "dir/sub", "user.colour", b"red")
    os.link(folder / "dir/file", folder / "dir/sub/same")
    with (folder / "dir/sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")

    stage.copy(folder, "dir", "/new")

    new = stage.upper / "new"
    assert os.getxattr(new / "file", "user.colour") == b"blue"
    assert os.getxattr(new / "sub", "user.colour") == b"red"
    assert (new / "file").stat().st_ino == (new / "sub/same").stat().st_ino
    assert (new / "sparse").stat().st_blocks * 512 < 1 << 20
    assert (new / "sparse").read_bytes() == (folder / "dir/sparse").read_bytes()


def test_a_fifo_is_copied_and_a_socket_is_not(stage: Stage, folder: Path) -> None:
    import socket

    os.mkfifo(folder / "dir/fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listening:
        with contextlib.chdir(folder / "dir"):
            listening.bind("socket")

        stage.copy(folder, "dir", "/new")

    assert stat.S_ISFIFO((stage.upper / "new/fifo").lstat().st_mode)
    assert mode(stage.upper / "new/fifo") == 0o640
    assert not (stage.upper / "new/socket").exists()


def test_a_device_is_copied(stage: Stage, folder: Path) -> None:
    os.mknod(folder / "null", 0o020666, os.makedev(1, 3))

    stage.copy(folder, "null", "/dev/")

    facts = (stage.upper / "dev/null").stat()
    assert (stat.S_ISCHR(facts.st_mode), facts.st_rdev) == (True, os.makedev(1, 3))


def test_a_device_that_would_hide_a_file_is_refused(stage: Stage, folder: Path) -> None:
    os.mknod(folder / "dir/etc", 0o020600, 0)
    with Context.directory(folder, stage.services) as context:
        selection = context.select(["dir"])

        for target in (stage.target("/"), Target("/", stage.changes)):
            with pytest.raises(ImageError, match=r"'etc' is a device 0:0"):
                copy(stage.services, selection, context.root_fd, target, Wishes())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("app", (1000, 1001)),
        ("app:staff", (1000, 50)),
        ("3:4", (3, 4)),
        ("3", (3, 3)),
        ("3:staff", (3, 50)),
        ((9, 10), (9, 10)),
    ],
)
def test_chown_gives_all_of_it_to_somebody(
    stage: Stage, folder: Path, given: Any, expected: tuple[int, int]
) -> None:
    stage.copy(folder, "dir", "/made/on/the/way", owner=given)

    paths = [stage.upper / "made", *(stage.upper / "made").rglob("*")]
    assert {owner(path) for path in paths} == {expected}


def test_a_name_that_nobody_has_is_told(stage: Stage, folder: Path) -> None:
    with pytest.raises(pc.KernelError, match=r"no user 'ghost'"):
        stage.copy(folder, "one", "/", owner="ghost")


def test_names_can_be_looked_up_apart(stage: Stage) -> None:
    found = identify(stage.services, [str(stage.base)], "app:staff")

    assert found == (1000, 50)


def test_octal_chmod_is_for_files_and_directories_also_on_the_way(
    stage: Stage, folder: Path
) -> None:
    stage.copy(folder, "dir", "/on/way", mode="0750")

    new = stage.upper / "on"
    paths = [path for path in [new, *new.rglob("*")] if not path.is_symlink()]
    assert {mode(path) for path in paths} == {0o750}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u=rwX,go=rX", {"one": 0o644, "two": 0o755, "dir": 0o755}),
        ("go-rwx,+t", {"one": 0o1600, "two": 0o5700, "dir": 0o1700}),
        ("g=u,o=g", {"one": 0o666, "two": 0o4777, "dir": 0o777}),
        ("a+x,u-s", {"one": 0o755, "two": 0o751, "dir": 0o711}),
    ],
)
def test_symbolic_chmod_changes_modes(
    stage: Stage, folder: Path, text: str, expected: dict[str, int]
) -> None:
    stage.copy(folder, ".", "/new", mode=text)

    found = {name: mode(stage.upper / "new" / name) for name in expected}
    assert found == expected


@pytest.mark.parametrize("text", ["", "9", "10000", "u", "u+q", "u+x,", "x=rw"])
def test_a_mode_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"no mode for files"):
        Wishes(mode=text)


def test_one_time_for_all_of_it(stage: Stage, folder: Path) -> None:
    stage.copy(folder, ["dir", "one"], "/on/way/", time=TIME - 1)
    stage.copy(folder, "two", "/etc/", time=TIME - 1)

    paths = [stage.upper, *stage.upper.rglob("*")]
    assert {path.lstat().st_mtime_ns for path in paths} == {TIME - 1}


def test_a_set_group_id_directory_gives_nobody_its_group(stage: Stage, folder: Path) -> None:
    (stage.base / "shared").mkdir()
    os.chown(stage.base / "shared", 0, 50)
    (stage.base / "shared").chmod(0o2775)

    stage.copy(folder, ["one", "dir"], "/shared/new/")

    made = list((stage.upper / "shared").rglob("*"))
    assert {owner(path) for path in made} == {(0, 0)}
    assert mode(stage.upper / "shared/new") == 0o755


def test_with_parents_their_modes_come_along(stage: Stage, folder: Path) -> None:
    stage.copy(folder, "dir/sub/deep", "/new/", select={"parents": True})

    assert (stage.upper / "new/dir/sub/deep").read_text() == "deep\n"
    assert mode(stage.upper / "new/dir/sub") == 0o1777
    assert not (stage.upper / "new/dir/file").exists()


# From a stage.


def test_a_stage_gives_files_with_their_owners(
    services: Services, stage: Stage, folder: Path, tmp_path: Path
) -> None:
    stage.copy(folder, "dir", "/opt/app", owner=(5, 6))
    other = Stage(services, tmp_path / "other")

    selection = select_in_stage(services, stage.layers, ["/opt/*", "/etc/passwd"])
    copy(services, selection, stage.layers, other.target("/got/"), Wishes())

    assert (other.upper / "got/sub/deep").read_text() == "deep\n"
    assert owner(other.upper / "got/file") == (5, 6)
    assert (other.upper / "got/passwd").read_text().startswith("root")


def test_the_digest_of_a_stage_goes_by_content(
    services: Services, stage: Stage, folder: Path, tmp_path: Path
) -> None:
    stage.copy(folder, "dir", "/opt", owner=(0, 0))
    other = Stage(services, tmp_path / "other")
    other.copy(folder, "dir", "/opt", time=TIME)
    with Context.directory(folder, services) as context:
        expected = context.select(["dir"]).digest

    found = {select_in_stage(services, made.layers, ["opt"]).digest for made in (stage, other)}

    assert found == {expected}


def test_links_in_a_stage_lead_nowhere_but_into_it(services: Services, stage: Stage) -> None:
    (stage.base / "passwd").symlink_to("/../../etc/passwd")
    (stage.base / "self").symlink_to("/proc/self/root")

    (match,) = select_in_stage(services, stage.layers, ["passwd"]).matches
    with pytest.raises(FileMissing, match=r"open\('/self/etc'\)"):
        select_in_stage(services, stage.layers, ["/self/etc"])

    assert match.path == "etc/passwd"
    assert match.facts.size == (stage.base / "etc/passwd").stat().st_size


def test_an_empty_stage_has_nothing(services: Services, stage: Stage) -> None:
    selection = select_in_stage(services, (), ["/"])

    copy(services, selection, (), stage.target("/new"), Wishes())

    assert os.listdir(stage.upper / "new") == []
    with pytest.raises(FileMissing):
        select_in_stage(services, (), ["/etc"])


def test_without_lower_layers_only_the_new_one_is_seen(stage: Stage, folder: Path) -> None:
    (stage.base / "to").symlink_to("etc")
    with Context.directory(folder, stage.services) as context:
        selection = context.select(["one"])
        target = Target("/to/", stage.changes)

        copy(stage.services, selection, context.root_fd, target, Wishes())

    assert (stage.upper / "to/one").read_text() == "one\n"


# Archives.


@pytest.mark.parametrize(
    "compress",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: subprocess.check_output(["zstd", "-q"], input=data),
    ],
)
def test_an_archive_is_unpacked(stage: Stage, compress: Callable[[bytes], bytes]) -> None:
    data = archive(
        entry("d", b"5", mode=0o710, uid=3, gid=4, mtime=7),
        (entry("d/f", mode=0o640, uid=3, gid=4, mtime=8), b"content"),
        entry("d/l", b"2", linkname="/x", mtime=9),
    )

    stage.add(compress(data), "/to/here")

    found = tree(stage.upper / "to/here")
    assert {path: (facts.mode, facts.owner, facts.mtime) for path, facts in found.items()} == {
        "d": (0o710, (3, 4), 7),
        "d/f": (0o640, (3, 4), 8),
        "d/l": (0o777, (0, 0), 9),
    }
    assert found["d/f"].content == b"content"


def test_chown_counts_for_an_archive(stage: Stage) -> None:
    stage.add(archive((entry("f", uid=3), b"x"), entry("d", b"5")), "/to", owner="app")

    paths = [stage.upper / "to", *(stage.upper / "to").rglob("*")]
    assert {owner(path) for path in paths} == {(1000, 1001)}


def test_entries_replace_what_is_there(stage: Stage) -> None:
    (stage.base / "file").mkdir()
    (stage.base / "file/in").write_text("x")
    (stage.base / "folder").write_text("x")

    stage.add(archive((entry("file"), b"new"), entry("folder", b"5")), "/")

    assert (stage.upper / "file").read_bytes() == b"new"
    assert (stage.upper / "folder").is_dir()


def test_a_directory_comes_into_what_a_link_leads_to(stage: Stage) -> None:
    (stage.base / "usr/lib").mkdir(parents=True)
    (stage.base / "lib").symlink_to("usr/lib")

    stage.add(archive(entry("lib", b"5", mode=0o700), (entry("lib/a"), b"a")), "/")

    assert (stage.upper / "usr/lib/a").read_bytes() == b"a"
    assert mode(stage.upper / "usr/lib") == 0o700
    assert not (stage.upper / "lib").exists()


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "z" * 300])
def test_an_archive_with_a_name_that_leads_out_is_refused(stage: Stage, name: str) -> None:
    with pytest.raises(ImageError, match=r"entry"):
        stage.add(archive((entry(name), b"x")), "/to")


def test_an_archives_own_links_lead_nowhere(stage: Stage, tmp_path: Path) -> None:
    data = archive(
        entry("up", b"2", linkname="../../../../../../../../.."),
        (entry(f"up{tmp_path}/escaped"), b"x"),
        entry("hard", b"1", linkname="/etc/passwd"),
    )

    with pytest.raises(pc.PyContainersError, match=r"hard"):
        stage.add(data, "/to")

    assert not (tmp_path / "escaped").exists()


def test_a_whiteout_device_is_refused(stage: Stage) -> None:
    with pytest.raises(pc.PyContainersError, match=r"device"):
        stage.add(archive(entry("device", b"3", devmajor=0, devminor=0)), "/to")


def test_a_bomb_is_stopped(stage: Stage) -> None:
    data = gzip.compress(archive((entry("big"), bytes(4 << 20))))

    with pytest.raises(ImageError, match=r"more than"):
        stage.add(data, "/to", Limits(size=1 << 20, entries=10))


@pytest.mark.parametrize("data", [b"", b"text", gzip.compress(b"text"), bytes(1024), b"\x1f\x8bno"])
def test_what_is_no_archive_is_none(data: bytes) -> None:
    assert opened(io.BytesIO(data)) is None


def test_a_selected_file_tells_whether_it_is_an_archive(folder: Path, services: Services) -> None:
    (folder / "a.tgz").write_bytes(gzip.compress(archive((entry("f"), b"x"))))
    with Context.directory(folder, services) as context:
        matches = context.select(["a.tgz", "one", "dir"]).matches

        found = [context.archive(match) for match in matches]

    assert found[0] is not None
    with found[0] as first:
        assert len(first.read()) == 512
    assert found[1:] == [None, None]


# What changes meanwhile.


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "dir/file").write_text("FILE\n"),
        lambda root: (root / "dir/file").unlink(),
        lambda root: (root / "dir").rename(root / "away"),
    ],
)
def test_what_was_changed_after_it_was_selected_is_told(
    stage: Stage, folder: Path, change: Callable[[Path], object]
) -> None:
    with Context.directory(folder, stage.services) as context:
        selection = context.select(["."])
        change(folder)

        with pytest.raises(ImageError, match=r"was changed while it was copied"):
            copy(stage.services, selection, context.root_fd, stage.target("/new"), Wishes())


def test_a_race_with_links_copies_nothing_from_outside(
    stage: Stage, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (folder / "dir").rename(folder / "aside")
            (folder / "dir").symlink_to(outside)
            (folder / "dir").unlink()
            (folder / "aside").rename(folder / "dir")

    swapping = threading.Thread(target=swap)
    with Context.directory(folder, stage.services) as context:
        selection = context.select(["dir"])
        swapping.start()
        try:
            for number in range(40):
                with contextlib.suppress(pc.PyContainersError):
                    target = stage.target(f"/new{number}")
                    copy(stage.services, selection, context.root_fd, target, Wishes())
        finally:
            done.set()
            swapping.join()

    made = [path.read_text() for path in stage.upper.rglob("file")]
    assert set(made) <= {"file\n"}


def test_a_very_long_path_is_refused_by_its_name(stage: Stage, folder: Path) -> None:
    deep = "/" + "/".join(["x" * 200] * 30)

    with pytest.raises(pc.KernelError, match=r"xxx.*name too long"):
        stage.copy(folder, "one", deep)
