"""Volumes as archives, and the files of stopped containers that lie in volumes."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from pathlib import Path

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh
from tests.volumes.test_filling import facts_of


@pytest.mark.parametrize("size", [None, "32m"])
def test_what_is_exported_can_be_imported(
    sh: Sh, stocked: pc.Image, engine: pc.Engine, size: str | None, tmp_path: Path
) -> None:
    volume = pc.Volume.create("data", size=size, engine=engine)
    sh("true", image=stocked, volumes={volume: "/srv/data"})
    volume.export(tmp_path / "data.tar")
    copy = pc.Volume.create("copy", engine=engine)

    copy.import_(tmp_path / "data.tar")

    again = pc.Volume.create("again", engine=engine)
    file = io.BytesIO()
    copy.export(file)
    again.import_(file.getvalue())
    found, expected = facts_of(copy.path), facts_of(again.path)
    assert found == expected
    assert {"plain", "deep/er/file", "link", "device", "fifo", "deep/linked"} <= found.keys()
    facts = (copy.path / "plain").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (1000, 2000, 0o640)
    assert os.getxattr(copy.path / "plain", "user.colour") == b"blue"
    assert copy.path.stat().st_uid == 1000


def test_an_imported_volume_is_not_filled(sh: Sh, stocked: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", engine=engine)
    volume.import_(_archive({}))

    assert sh("ls -A /srv/data", image=stocked, volumes={volume: "/srv/data"}) == ""


def test_a_volume_in_use_can_be_imported_into(image: pc.Image, engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", engine=engine)
    with pc.Container.run(image, ["sleep", "60"], volumes={volume: "/d"}, engine=engine) as one:
        volume.import_(io.BytesIO(_archive({"x": b"come\n"})))

        assert one.exec(["cat", "/d/x"]).stdout == "come\n"


def test_a_hostile_archive_reaches_nothing_outside(engine: pc.Engine, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    volume = pc.Volume.create("data", engine=engine)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, target in (("out", str(victim)), ("up", "../../../../../.." + str(victim))):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name in ("out/a", "up/b", "../../c", "/d"):
            archive.addfile(tarfile.TarInfo(name))

    with contextlib.suppress(pc.ImageError, pc.KernelError):
        volume.import_(file.getvalue())

    assert os.listdir(victim) == []
    assert sorted(os.listdir(volume.path.parent)) == ["data"]


def test_what_is_no_archive_is_told(engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", engine=engine)

    with pytest.raises(pc.ImageError):
        volume.import_(b"nonsense" * 200)
    with pytest.raises(FileNotFoundError):
        volume.import_("/nowhere/at/all.tar")


def test_an_export_that_fails_leaves_no_file(engine: pc.Engine, tmp_path: Path) -> None:
    volume = pc.Volume.create("data", engine=engine)

    with pytest.raises(pc.StoreError):
        volume.export(tmp_path / "missing/data.tar")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [None, "8m"])
def test_copies_reach_the_volumes_of_a_stopped_container(
    image: pc.Image, engine: pc.Engine, size: str | None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("copied\n")
    volume = pc.Volume.create("data", size=size, engine=engine)
    container = pc.Container.create(
        image, ["cat", "/d/file"], volumes={volume: "/d"}, engine=engine
    )

    container.copy_to(tmp_path / "file", "/d/")
    container.start()
    container.wait()

    assert container.logs().read() == "copied\n"
    container.copy_from("/d/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "copied\n"
    container.remove()


def test_a_read_only_volume_stays_so_for_copies(
    image: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    container = pc.Container.create(image, ["true"], volumes=["data:/d:ro"], engine=engine)

    with pytest.raises(pc.KernelError, match="Read-only"):
        container.copy_to(tmp_path / "file", "/d/")
    container.remove()


def _archive(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
