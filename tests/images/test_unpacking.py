"""One layer unpacked: all that tar can say is kept, and nothing that it says leads out of it."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pycontainers as pc
from tests.images.trees import archive, entry, tree

DIR, LINK, SYM, CHAR, FIFO = (
    tarfile.DIRTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
)


NOISE = random.Random(0).randbytes(100_000)


def unpacked(engine: pc.Engine, data: bytes, **options: int) -> Path:
    image = pc.Image.from_rootfs(io.BytesIO(data), engine=engine, **options)  # type: ignore[arg-type]
    return Path(image.layers[0])


def is_whiteout(path: Path) -> bool:
    facts = path.lstat()
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with everything that files can be."""
    root = tmp_path_factory.mktemp("sample")
    (root / "bin").mkdir()
    (root / "bin/su").write_bytes(b"\x7fELF")
    os.chown(root / "bin/su", 0, 42)
    (root / "bin/su").chmod(0o6755)
    os.link(root / "bin/su", root / "bin/sudo")
    (root / "lib").symlink_to("usr/lib")
    (root / "n" / ("d" * 120)).mkdir(parents=True)
    (root / "n" / ("d" * 120) / ("f" * 200)).write_text("long")
    (root / "n" / "ünïcödé \n name").write_text("odd")
    (root / "far").symlink_to("x" * 300)
    os.mkfifo(root / "pipe", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (root / "capable").write_text("x")
    os.setxattr(
        root / "capable",
        "security.capability",
        bytes.fromhex("0100000200040000000000000000000000000000"),
    )
    os.setxattr(root / "capable", "user.note", b"a=b\n\0c")
    with (root / "sparse").open("wb") as file:
        for number in range(40):
            file.seek(number << 20)
            file.write(b"x" * 4096)
        file.truncate(64 << 20)
    (root / "closed").mkdir()
    (root / "closed/in").write_text("x")
    os.chown(root / "closed", 1000, 1000)
    (root / "closed").chmod(0o1500)
    big = 100_000_000
    os.chown(root / "n", big, big)
    for folder, names, files in os.walk(root, topdown=False):
        for name in [*files, *names]:
            os.utime(
                os.path.join(folder, name), (1_000_000_000, 1_000_000_000), follow_symlinks=False
            )
    return root


@pytest.mark.parametrize(
    "how",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--xattrs", "--xattrs-include=*"],
        ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=1.0"],
        ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.0"],
    ],
    ids=lambda how: "-".join(part.rpartition("=")[2].strip("-*") for part in how if part),
)
def test_every_format_of_gnu_tar_gives_the_same_tree(
    how: list[str], sample: Path, engine: pc.Engine
) -> None:
    made = subprocess.run(
        ["tar", *how, "--numeric-owner", "--sort=name", "-C", sample, "-c", "."],
        capture_output=True,
        check=True,
    ).stdout

    layer = unpacked(engine, made)

    expected, found = tree(sample), tree(layer)
    if "--xattrs" not in how:
        expected = {name: facts._replace(xattrs=()) for name, facts in expected.items()}
    assert found == expected
    blocks = (layer / "sparse").stat().st_blocks
    assert "--sparse" not in " ".join(how) or blocks < 4096


def test_a_trusted_attribute_of_an_archive_is_not_set(engine: pc.Engine) -> None:
    forged = entry("d", DIR)
    forged.pax_headers = {
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "x",
        "SCHILY.xattr.user.kept": "1",
    }

    layer = unpacked(engine, archive(forged))

    assert os.listxattr(layer / "d") == ["user.kept"]


def test_whiteouts_hide_lower_layers_and_never_their_own(engine: pc.Engine) -> None:
    layer = unpacked(
        engine,
        archive(
            entry("a", DIR),
            entry("a/.wh.gone"),
            entry("a/kept"),
            entry("a/.wh.kept"),
            entry("a/.wh.later"),
            entry("a/later"),
            entry("a/.wh.dir"),
            entry("a/dir", DIR),
            entry("b/.wh..wh..opq"),
            entry("b/.wh..wh.plnk"),
            entry("b/inner/file"),
        ),
    )

    assert is_whiteout(layer / "a/gone")
    assert stat.S_ISREG((layer / "a/kept").lstat().st_mode)
    assert stat.S_ISREG((layer / "a/later").lstat().st_mode)
    assert is_opaque(layer / "a/dir")
    assert is_opaque(layer / "b")
    assert not is_opaque(layer / "a")
    assert sorted(path.name for path in (layer / "b").iterdir()) == ["inner"]


def test_a_later_entry_takes_the_place_of_an_earlier_one(engine: pc.Engine) -> None:
    layer = unpacked(
        engine,
        archive(
            entry("file"),
            entry("file", DIR),
            entry("file/in"),
            entry("dir", DIR),
            entry("dir/deep/in"),
            (entry("dir"), b"now a file"),
            entry("link", SYM, linkname="elsewhere"),
            entry("link", DIR),
            entry("dir2", DIR),
            entry("dir2", SYM, linkname="file"),
        ),
    )

    assert (layer / "file/in").is_file()
    assert (layer / "dir").read_bytes() == b"now a file"
    assert (layer / "link").is_dir()
    assert not (layer / "link").is_symlink()
    assert (layer / "dir2").readlink() == Path("file")


def test_a_time_of_a_directory_is_set_after_its_files(engine: pc.Engine) -> None:
    layer = unpacked(
        engine, archive(entry("d", DIR, mtime=86400), entry("d/f", mtime=5.25), entry("e/f"))
    )

    assert (layer / "d").stat().st_mtime == 86400
    assert (layer / "d/f").stat().st_mtime == 5.25
    assert stat.S_IMODE((layer / "e").stat().st_mode) == 0o755


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What an archive tries to reach."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    return victim


def test_absolute_names_stay_inside(engine: pc.Engine, outside: Path) -> None:
    layer = unpacked(engine, archive((entry(str(outside)), b"pwned")))

    assert outside.read_text() == "untouched"
    assert (layer / str(outside).lstrip("/")).read_bytes() == b"pwned"


def test_a_link_to_the_host_is_followed_inside_only(engine: pc.Engine, outside: Path) -> None:
    layer = unpacked(
        engine,
        archive(
            entry(str(outside.parent).lstrip("/"), DIR),
            entry("way", SYM, linkname=str(outside.parent)),
            (entry("way/victim"), b"pwned"),
            entry("up", SYM, linkname="../../../../../../../.."),
            (entry(f"up{outside}"), b"pwned"),
            entry("self", SYM, linkname="self"),
        ),
    )

    assert outside.read_text() == "untouched"
    assert (layer / str(outside).lstrip("/")).read_bytes() == b"pwned"


def test_a_file_over_a_link_does_not_write_through_it(engine: pc.Engine, outside: Path) -> None:
    layer = unpacked(
        engine,
        archive(
            (entry("own"), b"own"),
            entry("link", SYM, linkname="own"),
            (entry("link"), b"new"),
            entry("out", SYM, linkname=str(outside)),
            (entry("out"), b"pwned"),
        ),
    )

    assert outside.read_text() == "untouched"
    assert (layer / "own").read_bytes() == b"own"
    assert (layer / "link").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (archive(entry("../up")), "leads out"),
        (archive(entry("a/../../up")), "leads out"),
        (archive(entry("a/..")), "leads out"),
        (archive(entry("h", LINK, linkname="../../etc/shadow")), "leads out"),
        (archive(entry("h", LINK, linkname="/etc/shadow")), "not in it"),
        (archive(entry("wipe", CHAR, devmajor=0, devminor=0)), "0:0"),
        (archive(entry("d/.wh.")), "whiteout"),
        (archive(entry("d/.wh...")), "whiteout"),
        (archive(entry("x" * 256)), "too long"),
        (archive(entry("/".join(["d"] * 3000))), "too long"),
        (archive(entry("odd", b"M")), "not known"),
        (b"", "empty"),
        (b"no archive at all, but text" * 100, r"number that is none|checksum"),
        (archive((entry("cut"), b"x" * 5000))[:2000], "middle of an entry"),
        (archive(entry("a"))[:300], "middle of an entry"),
        (gzip.compress(archive((entry("a"), NOISE)))[:-300], "damaged"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 100, "damaged"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "damaged"),
        (b"\xfd7zXZ\x00" + b"\xff" * 100, "damaged"),
    ],
)
def test_what_is_hostile_or_broken_is_refused_and_leaves_nothing(
    data: bytes, says: str, engine: pc.Engine
) -> None:
    layers = engine.services().root.layers
    before = sorted(os.listdir(layers))

    with pytest.raises(pc.ImageError, match=says):
        unpacked(engine, data)

    assert sorted(os.listdir(layers)) == before


def test_headers_that_lie_are_refused(engine: pc.Engine) -> None:
    def pax(records: bytes) -> bytes:
        header = entry("PaxHeader", tarfile.XHDTYPE)
        header.size = len(records)
        made = header.tobuf(tarfile.USTAR_FORMAT)
        return made + records + bytes(-len(records) % 512) + archive(entry("f"))

    huge = entry("PaxHeader", tarfile.XHDTYPE)
    huge.size = 1 << 30
    for data, says in (
        (pax(b"9 a=b\n"), "pax header"),
        (pax(b"99 path=x\n"), "pax header"),
        (pax(b"11 path=a\0b\n"[:11] + b"\n"), "pax header|NUL"),
        (pax(b"11 size=-1\n"), "size"),
        (pax(b"12 uid=1e99\n"), "uid"),
        (pax(b"20 uid=99999999999\n"[:20]), "uid|pax"),
        (pax(b"13 mtime=abc\n"), "mtime"),
        (pax(b"17 path=../../up\n"), "leads out"),
        (huge.tobuf(tarfile.USTAR_FORMAT) + bytes(1024), "header of"),
    ):
        with pytest.raises(pc.ImageError, match=says):
            unpacked(engine, data)


def test_a_sparse_map_that_makes_no_sense_is_refused(engine: pc.Engine) -> None:
    def sparse(**members: str) -> bytes:
        info = entry("f")
        info.pax_headers = {f"GNU.sparse.{key}": value for key, value in members.items()}
        return archive((info, b"x" * 512))

    for data in (
        sparse(map="0,512,100,0", realsize="600"),
        sparse(map="0,1024", realsize="2000"),
        sparse(map="0", realsize="600"),
        sparse(map="0,x", realsize="600"),
        sparse(map="0,512", realsize="100"),
        sparse(major="1", minor="0", realsize="600"),
    ):
        with pytest.raises(pc.ImageError, match="sparse"):
            unpacked(engine, data)


def test_a_decompression_bomb_is_stopped_by_size(engine: pc.Engine) -> None:
    bomb = gzip.compress(archive((entry("zeros"), bytes(8 << 20))))

    with pytest.raises(pc.ImageError, match="more than 1048576 bytes") as caught:
        unpacked(engine, bomb, max_size=1 << 20)

    assert "max_size" in (caught.value.hint or "")


def test_a_bomb_of_zeros_after_the_end_is_stopped(engine: pc.Engine) -> None:
    with pytest.raises(pc.ImageError, match="more than 1024 bytes"):
        unpacked(engine, gzip.compress(bytes(64 << 20)), max_size=1024, max_entries=10)


def test_a_huge_sparse_file_is_stopped_by_its_length(engine: pc.Engine) -> None:
    info = entry("f")
    info.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.realsize": str(1 << 50)}

    with pytest.raises(pc.ImageError, match="unpacks to more"):
        unpacked(engine, archive((info, b"x" * 512)))


def test_too_many_entries_are_stopped(engine: pc.Engine) -> None:
    with pytest.raises(pc.ImageError, match="more than 10 entries"):
        unpacked(engine, archive(*(entry(f"f{n}") for n in range(11))), max_entries=10)


NAMES = st.lists(
    st.text("ab.é\n", min_size=1, max_size=6).filter(lambda text: text not in (".", "..")),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=600), st.integers(0, 0o7777)), max_size=8),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_what_tarfile_writes_is_unpacked_as_it_was(
    engine: pc.Engine, files: list[tuple[str, bytes, int]], form: int
) -> None:
    chosen: dict[str, tuple[bytes, int]] = {}
    for name, content, mode in files:
        taken = [f"{name}/".startswith(f"{other}/") or f"{other}/".startswith(f"{name}/")
                 for other in chosen]  # fmt: skip
        if not any(taken) and ".wh." not in name:
            chosen[name] = (content, mode)
    made = archive(
        *((entry(name, mode=mode), content) for name, (content, mode) in chosen.items()), form=form
    )

    layer = unpacked(engine, made)

    found = {name: facts for name, facts in tree(layer).items() if stat.S_ISREG(facts.kind)}
    assert {name: (facts.content, facts.mode) for name, facts in found.items()} == chosen


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_unpacked_or_refused(
    engine: pc.Engine, at: int, damage: bytes
) -> None:
    whole = bytearray(
        archive(entry("d", DIR), (entry("d/f"), b"x" * 700), entry("s", SYM, linkname="d"))
    )
    whole[at : at + len(damage)] = damage

    with contextlib.suppress(pc.ImageError):
        unpacked(engine, bytes(whole))


def test_the_same_archive_and_config_are_the_same_image(engine: pc.Engine) -> None:
    data = archive((entry("f"), b"same"))

    one = pc.Image.from_rootfs(io.BytesIO(data), engine=engine)
    time.sleep(0.01)
    two = pc.Image.from_rootfs(io.BytesIO(data), engine=engine)
    three = pc.Image.from_rootfs(io.BytesIO(data), config=pc.ImageConfig(cmd=("x",)), engine=engine)

    assert (one, one.digest) == (two, two.digest)
    assert one != three
    assert one.layers == three.layers
