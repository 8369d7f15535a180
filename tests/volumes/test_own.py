"""Volumes without a name: of the image, or of the caller; they go with the container on request."""

from __future__ import annotations

import io
import tarfile
import time

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh


def names(engine: pc.Engine) -> list[str]:
    return [volume.name for volume in pc.Volume.list(engine=engine)]


def test_an_image_gets_what_it_declares_filled(declaring: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.run(declaring, engine=engine)

    volumes = container.attrs["volumes"]
    assert sorted(volumes) == ["/own", "/srv/data"]
    assert sorted(volumes.values()) == names(engine)
    assert all(len(name) == 64 for name in volumes.values())
    assert container.exec(["cat", "/srv/data/plain"]).stdout == "plain\n"
    assert " /own " in container.exec(["cat", "/proc/mounts"]).stdout
    container.remove(force=True, volumes=True)


def test_plain_removal_keeps_them_and_volumes_takes_them(
    declaring: pc.Image, engine: pc.Engine
) -> None:
    first = pc.Container.create(declaring, engine=engine)
    first.remove()
    kept = names(engine)
    second = pc.Container.create(declaring, engine=engine)
    second.remove(volumes=True)

    assert len(kept) == 2
    assert names(engine) == kept


def test_those_with_a_name_stay(declaring: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.create(declaring, volumes={"data": "/srv/data"}, engine=engine)

    assert sorted(container.attrs["volumes"]) == ["/own", "/srv/data"]
    container.remove(volumes=True)
    assert names(engine) == ["data"]


def test_a_mount_of_the_callers_takes_the_place(declaring: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        declaring, tmpfs=["/own"], mounts=[pc.Mount.bind("/usr", "/srv/data")], engine=engine
    ) as container:
        assert container.attrs["volumes"] == {}
        assert names(engine) == []


def test_one_that_another_container_uses_stays(
    declaring: pc.Image, image: pc.Image, engine: pc.Engine
) -> None:
    first = pc.Container.create(declaring, engine=engine)
    name = first.attrs["volumes"]["/own"]
    second = pc.Container.create(image, ["true"], volumes={name: "/x"}, engine=engine)

    first.remove(volumes=True)

    assert names(engine) == [name]
    second.remove()


def test_one_that_was_made_for_another_container_stays(
    declaring: pc.Image, sh: Sh, image: pc.Image, engine: pc.Engine
) -> None:
    first = pc.Container.create(declaring, engine=engine)
    name = first.attrs["volumes"]["/own"]
    first.remove()

    sh("true", volumes={name: "/backup"})
    with pc.Container.run(image, ["true"], volumes={name: "/backup"}, engine=engine):
        pass

    assert name in names(engine)


def test_a_with_block_leaves_none(declaring: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(declaring, engine=engine):
        assert len(names(engine)) == 2

    assert names(engine) == []


def test_a_run_that_fails_leaves_none(declaring: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.CommandNotFound):
        pc.Container.run(declaring, ["/nothing"], engine=engine)

    assert names(engine) == []


def test_auto_remove_takes_them(declaring: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.run(declaring, ["true"], auto_remove=True, engine=engine)
    deadline = time.monotonic() + 20
    while container in pc.Container.list(all=True, engine=engine):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert names(engine) == []


def test_an_ephemeral_container_has_them_in_memory(
    declaring: pc.Image, engine: pc.Engine, sh: Sh
) -> None:
    assert sh("cat /srv/data/plain", image=declaring) == "plain\n"
    with pc.Container.run(declaring, ephemeral=True, engine=engine) as container:
        assert container.attrs["volumes"] == {}
        assert names(engine) == []


def test_a_run_on_disk_has_them_and_leaves_none(declaring: pc.Image, engine: pc.Engine) -> None:
    done = pc.run(["cat", "/proc/mounts"], image=declaring, ephemeral=False, engine=engine)

    assert " /own " in done.stdout
    assert names(engine) == []


def test_one_without_a_name_can_be_asked_for(sh: Sh, engine: pc.Engine) -> None:
    shown = sh("grep -c ' /a\\| /b' /proc/mounts", volumes=["/a"],
               mounts=[pc.Mount.volume(None, "/b")])  # fmt: skip

    assert shown == "2\n"
    assert names(engine) == []


def test_each_container_gets_its_own(declaring: pc.Image, engine: pc.Engine) -> None:
    one, two = (pc.Container.run(declaring, engine=engine) for _ in range(2))
    one.exec(["touch", "/own/x"])

    assert two.exec(["ls", "/own"]).stdout == ""
    for container in (one, two):
        container.remove(force=True, volumes=True)


def test_a_volume_is_not_part_of_a_commit_a_diff_or_an_export(
    declaring: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.run(declaring, engine=engine) as container:
        container.exec(["sh", "-c", "touch /srv/data/new /own/new /rest"])
        container.stop(timeout=0)

        assert [change.path for change in container.diff() if change.path != "/"] == ["/rest"]
        target = io.BytesIO()
        container.export(target)
        with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
            names_ = {name for name in archive.getnames() if name.endswith(("new", "rest"))}
        assert names_ == {"rest"}
        assert container.path("/srv/data/new").exists()
