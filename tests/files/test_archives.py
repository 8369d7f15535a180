"""Archives out of a container and into it: Docker's names, and nothing outside the root."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.errors import FileMissing, IsDirectory, NoDirectory
from pycontainers.lifecycle import files
from pycontainers.lifecycle.workers import Jail
from tests.files.conftest import Make, jail_of


def made_of(*entries: tuple[str, bytes, dict[str, object]]) -> bytes:
    """Give an archive of (name, content, what else an entry has)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, more in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def names_in(jail: Jail, path: str) -> list[str]:
    """Name the entries that a path gives."""
    pieces, _ = files.get_archive(jail, path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return archive.getnames()


def test_an_archive_is_named_after_the_last_component(container: pc.Container, jail: Jail) -> None:
    container.path("/d/sub").mkdir(parents=True)
    container.path("/d/sub/file").write_text("x")
    container.path("/link").symlink_to("d/sub")

    assert names_in(jail, "/d") == ["d", "d/sub", "d/sub/file"]
    assert names_in(jail, "/d/sub/") == ["sub", "sub/file"]
    assert names_in(jail, "/d/sub/.") == [".", "./file"]
    assert names_in(jail, "/d/sub/file") == ["file"]
    assert names_in(jail, "/link") == ["link"]
    assert names_in(jail, "/link/") == ["link", "link/file"]
    everything = names_in(jail, "/")
    assert everything[0] == "." and {"./etc/group", "./proc", "./sys"} <= set(everything)
    assert not any(name.startswith(("./proc/", "./sys/")) for name in everything)


def test_the_facts_are_dockers(container: pc.Container, jail: Jail) -> None:
    container.path("/d").mkdir()
    container.path("/d/f").write_text("12345")
    container.path("/d/f").chmod(0o4755)
    container.path("/d/f").utime(atime_ns=0, mtime_ns=981_173_106_500_000_000)
    container.path("/link").symlink_to("d/f")

    assert files.get_archive(jail, "/d/f")[1] == {
        "name": "f",
        "size": 5,
        "mode": 0o755 | 1 << 23,
        "mtime": "2001-02-03T04:05:06.5Z",
        "linkTarget": "",
    }
    facts = files.get_archive(jail, "/link")[1]
    assert (facts["name"], facts["mode"], facts["linkTarget"]) == ("link", 1 << 27 | 0o777, "/d/f")
    assert files.get_archive(jail, "/d")[1]["mode"] == 1 << 31 | 0o755
    with pytest.raises(FileMissing):
        files.get_archive(jail, "/missing")


def test_an_archive_that_is_not_read_to_the_end_ends(container: pc.Container, jail: Jail) -> None:
    with container.path("/big").open("wb") as file:
        file.write(bytes(1 << 24))
        file.write(b"x")
    pieces, _ = files.get_archive(jail, "/big")

    next(pieces)
    pieces.close()

    assert container.path("/big").exists()


def test_an_archive_goes_in_with_its_owners(container: pc.Container, jail: Jail) -> None:
    data = made_of(
        ("d", b"", {"type": tarfile.DIRTYPE, "mode": 0o1770, "uid": 5, "gid": 6, "mtime": 1e9}),
        ("d/f", b"content", {"uid": 7, "gid": 8, "mode": 0o4711, "mtime": 981_173_106}),
        ("d/hard", b"", {"type": tarfile.LNKTYPE, "linkname": "d/f"}),
        ("d/soft", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/group", "uid": 9}),
        ("d/pipe", b"", {"type": tarfile.FIFOTYPE, "mode": 0o620}),
        ("made/on/the/way", b"x", {}),
    )
    files.put_archive(jail, "/tmp", data)

    facts = {name: container.path(f"/tmp/{name}").lstat()
             for name in ("d", "d/f", "d/hard", "d/soft", "d/pipe", "made")}  # fmt: skip
    assert [(f.st_uid, f.st_gid) for f in facts.values()] == [
        (5, 6), (7, 8), (7, 8), (9, 0), (0, 0), (0, 0)]  # fmt: skip
    assert stat.S_IMODE(facts["d"].st_mode) == 0o1770
    assert stat.S_IMODE(facts["d/f"].st_mode) == 0o4711
    assert (facts["d"].st_mtime, facts["d/f"].st_mtime) == (1e9, 981_173_106)
    assert facts["d/f"].st_ino == facts["d/hard"].st_ino
    assert stat.S_ISFIFO(facts["d/pipe"].st_mode)
    assert container.path("/tmp/made/on/the/way").read_text() == "x"


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_comes_in_every_form(make: Make, tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    data = compress(made_of(("f", b"content" * 100_000, {})))
    (tmp_path / "x.tar").write_bytes(data)
    container = make()
    jail = jail_of(container)

    files.put_archive(jail, "/tmp", data)
    files.put_archive(jail, "/etc", tmp_path / "x.tar")
    files.put_archive(jail, "/root", str(tmp_path / "x.tar"))
    with (tmp_path / "x.tar").open("rb") as file:
        files.put_archive(jail, "/bin", file)

    for directory in ("/tmp", "/etc", "/root", "/bin"):
        assert (container.path(directory) / "f").stat().st_size == 700_000


def test_a_whiteout_is_a_file_like_others(container: pc.Container, jail: Jail) -> None:
    files.put_archive(jail, "/etc", made_of((".wh.group", b"", {})))

    assert container.path("/etc/group").exists()
    assert container.path("/etc/.wh.group").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x"])
def test_a_name_that_leads_out_is_refused(container: pc.Container, jail: Jail, name: str) -> None:
    with pytest.raises(pc.ImageError, match="leads out"):
        files.put_archive(jail, "/tmp", made_of((name, b"x", {})))

    assert not container.path("/x").exists()


def test_no_entry_gets_out_of_the_root(container: pc.Container, jail: Jail, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("host")
    outside = str(tmp_path)
    data = made_of(
        ("abs", b"", {"type": tarfile.SYMTYPE, "linkname": outside}),
        ("abs/victim", b"guest", {}),
        ("up", b"", {"type": tarfile.SYMTYPE, "linkname": "../" * 40 + outside}),
        ("up/second", b"guest", {}),
        (f"{outside}/victim", b"guest", {}),
    )
    container.path(outside).mkdir(parents=True)

    files.put_archive(jail, "/tmp", data)

    assert (tmp_path / "victim").read_text() == "host"
    assert os.listdir(tmp_path) == ["victim"]
    assert container.path(f"{outside}/victim").read_text() == "guest"
    assert container.path(f"{outside}/second").read_text() == "guest"


def test_a_link_to_elsewhere_is_replaced_not_written_through(
    container: pc.Container, jail: Jail
) -> None:
    container.path("/etc/victim").write_text("old")
    container.path("/tmp/f").symlink_to("/etc/victim")

    files.put_archive(jail, "/tmp", made_of(("f", b"new", {})))

    assert container.path("/etc/victim").read_text() == "old"
    assert container.path("/tmp/f").read_text() == "new"


def test_directories_and_files_do_not_replace_each_other(
    container: pc.Container, jail: Jail
) -> None:
    container.path("/tmp/d/full").mkdir(parents=True)
    container.path("/tmp/f").write_text("x")

    with pytest.raises(IsDirectory):
        files.put_archive(jail, "/tmp", made_of(("d", b"x", {})))
    with pytest.raises(NoDirectory):
        files.put_archive(jail, "/tmp", made_of(("f", b"", {"type": tarfile.DIRTYPE})))

    assert container.path("/tmp/d/full").is_dir()
    assert container.path("/tmp/f").read_text() == "x"


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        ("/missing", made_of(("f", b"x", {})), FileMissing),
        ("/etc/group", made_of(("f", b"x", {})), NoDirectory),
        ("/tmp", b"", pc.ImageError),
        ("/tmp", b"no archive" * 100, pc.ImageError),
        ("/tmp", made_of(("f", b"x" * 2000, {}))[:1024], pc.ImageError),
        ("/tmp", gzip.compress(made_of(("f", os.urandom(9000), {})))[:1000], pc.ImageError),
    ],
)
def test_what_cannot_be_put_is_refused(
    make: Make, path: str, data: bytes, kind: type[Exception]
) -> None:
    container = make()

    with pytest.raises(kind):
        files.put_archive(jail_of(container), path, data)
    with pytest.raises(FileMissing):
        files.put_archive(jail_of(container), "/tmp", "/missing.tar")


def test_what_comes_out_goes_in_elsewhere(make: Make) -> None:
    one, other = make(), make()
    pieces, _ = files.get_archive(jail_of(one), "/bin/.")

    other.path("/copy").mkdir()
    files.put_archive(jail_of(other), "/copy", b"".join(pieces))

    assert other.exec(["sh", "-c", "/copy/ls /copy | wc -l"]).stdout == (
        one.exec(["sh", "-c", "ls /bin | wc -l"]).stdout
    )
