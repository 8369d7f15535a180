"""ContainerPath has pathlib's habits."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import PurePosixPath

import pytest

import pycontainers as pc
from pycontainers.errors import KernelError
from pycontainers.path import ContainerPath
from tests.files.conftest import Make


def test_a_path_is_a_plain_value(make: Make) -> None:
    container = make()
    path = ContainerPath(container, "/etc") / "a.tar.gz"

    assert (path.name, path.stem, path.suffix, path.suffixes) == (
        "a.tar.gz", "a.tar", ".gz", [".tar", ".gz"])  # fmt: skip
    assert path.parts == ("/", "etc", "a.tar.gz")
    assert path.parent == container.path("/etc")
    assert path.parents == (container.path("/etc"), container.path("/"))
    assert path.joinpath("b", "c") == container.path("/etc/a.tar.gz/b/c")
    assert path.with_name("x") == container.path("etc/x")
    assert path.with_suffix(".xz").name == "a.tar.xz"
    assert path.relative_to("/etc") == PurePosixPath("a.tar.gz")
    assert path.is_relative_to(container.path("/etc"))
    assert path.match("*.gz")
    assert path / "/abs" == container.path("/abs")
    assert str(path) == path.as_posix() == "/etc/a.tar.gz"
    assert repr(path) == f"<ContainerPath {container.id[:12]}:/etc/a.tar.gz>"
    assert pickle.loads(pickle.dumps(path)) == path
    assert len({path, container.path("/etc/a.tar.gz")}) == 1
    assert sorted([container.path("/b"), container.path("/a")])[0].name == "a"
    assert not isinstance(path, os.PathLike)


def test_it_reads_and_writes(container: pc.Container) -> None:
    path = container.path("/etc/text")

    assert path.write_text("grüße\n") == 6
    assert path.read_bytes() == "grüße\n".encode()
    assert path.read_text() == "grüße\n"
    assert path.write_bytes(b"\xff\0") == 2
    assert path.read_text(errors="replace") == "�\0"
    facts = path.stat()
    assert (facts.st_size, stat.S_IMODE(facts.st_mode), facts.st_uid) == (2, 0o644, 0)
    assert facts.st_mtime_ns // 10**9 == int(facts.st_mtime)


def test_it_opens_as_the_builtin_does(container: pc.Container) -> None:
    path = container.path("/etc/file")

    with path.open("x") as text:
        text.write("one\r\n")
    with pytest.raises(FileExistsError):
        path.open("x")
    with path.open("a") as text:
        text.write("two\n")
    with path.open("r", newline="") as text:
        assert text.readlines() == ["one\r\n", "two\n"]
    with path.open("r+b") as raw:
        raw.write(b"ONE")
        raw.seek(0, os.SEEK_END)
        raw.truncate(5)
    with path.open("a+b") as raw:
        raw.write(b"!")
        raw.seek(0)
        assert raw.read() == b"ONE\r\n!"
    with path.open("w+") as text:
        assert text.read() == ""
    with path.open("w", encoding="latin-1") as text:
        text.write("ü")
    assert path.read_bytes() == b"\xfc"
    for mode in ("", "rw", "z", "rbt", "b"):
        with pytest.raises(pc.InvalidArgument):
            path.open(mode)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (FileNotFoundError, lambda p: (p / "missing").read_text()),
        (FileNotFoundError, lambda p: (p / "missing").stat()),
        (FileNotFoundError, lambda p: (p / "missing").unlink()),
        (FileNotFoundError, lambda p: (p / "missing/x").write_text("x")),
        (FileNotFoundError, lambda p: (p / "missing/x").mkdir()),
        (FileNotFoundError, lambda p: (p / "missing").rename("/x")),
        (FileNotFoundError, lambda p: (p / "missing").resolve(strict=True)),
        (FileNotFoundError, lambda p: (p / "missing").chmod(0o600)),
        (FileNotFoundError, lambda p: (p / "missing").remove_tree()),
        (FileNotFoundError, lambda p: list((p / "missing").iterdir())),
        (FileExistsError, lambda p: p.mkdir()),
        (FileExistsError, lambda p: (p / "group").mkdir(exist_ok=True)),
        (FileExistsError, lambda p: (p / "group").symlink_to("x")),
        (FileExistsError, lambda p: (p / "group").hardlink_to("/etc/passwd")),
        (FileExistsError, lambda p: (p / "group").touch(exist_ok=False)),
        (IsADirectoryError, lambda p: p.read_text()),
        (IsADirectoryError, lambda p: p.write_text("x")),
        (IsADirectoryError, lambda p: p.unlink()),
        (NotADirectoryError, lambda p: (p / "group/x").read_text()),
        (NotADirectoryError, lambda p: (p / "group").rmdir()),
        (NotADirectoryError, lambda p: list((p / "group").iterdir())),
        (KernelError, lambda p: p.rmdir()),
        (KernelError, lambda p: (p / "group").readlink()),
        (KernelError, lambda p: (p / "..").remove_tree()),
    ],
)
def test_errors_are_the_builtin_ones_and_ours(
    make: Make, kind: type[Exception], act: object
) -> None:
    path = make().path("/etc")
    assert callable(act)

    with pytest.raises(kind) as raised:
        act(path)

    assert isinstance(raised.value, pc.PyContainersError)
    assert isinstance(raised.value, KernelError)


def test_it_asks_what_is_there(container: pc.Container) -> None:
    root = container.path("/")
    (root / "file").write_text("x")
    (root / "link").symlink_to("file")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("../../../etc/group")

    assert (root / "file").is_file() and not (root / "file").is_dir()
    assert (root / "etc").is_dir() and not (root / "etc").is_file()
    assert (root / "link").is_symlink() and (root / "link").is_file()
    assert (root / "link").readlink() == PurePosixPath("file")
    assert (root / "link").resolve() == root / "file"
    assert not (root / "dangling").exists()
    assert (root / "dangling").exists(follow_symlinks=False)
    assert (root / "dangling").resolve() == root / "nowhere"
    assert not (root / "loop").exists()
    assert (root / "up").resolve() == root / "etc/group"
    assert not (root / "file/x").exists()
    with pytest.raises(KernelError) as raised:
        (root / "loop").read_text()
    assert raised.value.errno == errno.ELOOP


def test_it_changes_what_is_there(container: pc.Container) -> None:
    root = container.path("/work")
    (root / "a/b").mkdir(parents=True)
    (root / "a/b").mkdir(exist_ok=True, parents=True)
    (root / "a/f").touch()
    (root / "a/f").touch()
    (root / "a/f").chmod(0o4711)
    (root / "a/f").chown(1, 2)
    (root / "a/f").chmod(0o4711)
    (root / "a/f").utime(atime_ns=5, mtime_ns=1_000_000_007)
    (root / "a/hard").hardlink_to(root / "a/f")

    facts = (root / "a/hard").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_nlink) == (1, 2, 2)
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (0o4711, 1_000_000_007)
    assert (root / "a/f").rename(root / "g") == root / "g"
    assert not (root / "a/f").exists()
    (root / "other").write_text("x")
    (root / "other").replace(root / "g")
    assert (root / "g").read_text() == "x"
    (root / "g").unlink()
    (root / "g").unlink(missing_ok=True)
    (root / "a/b").rmdir()
    (root / "out").symlink_to("/etc")
    root.remove_tree()
    assert not root.exists()
    assert container.path("/etc/group").exists()
    assert stat.S_IMODE(container.path("/tmp").stat().st_mode) == 0o1777


def test_it_lists_and_matches(container: pc.Container) -> None:
    root = container.path("/work")
    for name in ("a.py", "b.txt", "sub/c.py", "sub/deep/d.py", "sub/.hidden.py", "new\nline.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "sub/not-\udcff").touch()
    (root / "link").symlink_to("sub")

    def found(paths: object) -> list[str]:
        return [str(path.relative_to(root)) for path in paths]  # type: ignore[attr-defined]

    assert sorted(found(root.iterdir())) == ["a.py", "b.txt", "link", "new\nline.py", "sub"]
    assert found(root.glob("*.py")) == ["a.py", "new\nline.py"]
    assert found(root.glob("sub/*.py")) == ["sub/.hidden.py", "sub/c.py"]
    assert found(root.glob("*/[c-d].py")) == ["link/c.py", "sub/c.py"]
    assert found(root.glob("link/c.py")) == ["link/c.py"]
    assert found(root.glob("missing/*")) == []
    assert found(root.rglob("d.py")) == ["sub/deep/d.py"]
    assert sorted(found(root.rglob("*.py"))) == [
        "a.py", "new\nline.py", "sub/.hidden.py", "sub/c.py", "sub/deep/d.py"]  # fmt: skip
    assert found(root.glob("**")) == ["sub", "sub/deep"]
    assert found(root.glob("sub/n*")) == ["sub/not-\udcff"]
    for pattern in ("", "/etc/*", "../*"):
        with pytest.raises(pc.InvalidArgument):
            list(root.glob(pattern))


def test_paths_of_another_container_are_refused(container: pc.Container, make: Make) -> None:
    other = make().path("/etc/group")

    assert container.path("//etc") == container.path("/etc")
    with pytest.raises(pc.InvalidArgument, match="another container"):
        container.path("/etc/group").rename(other)
    with pytest.raises(pc.InvalidArgument, match="another container"):
        container.path("/etc").joinpath(other)


def test_a_wrong_encoding_is_told_and_leaves_no_descriptor(container: pc.Container) -> None:
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(LookupError):
        container.path("/etc/group").open("r", encoding="no-such-encoding")

    assert len(os.listdir("/proc/self/fd")) == before
