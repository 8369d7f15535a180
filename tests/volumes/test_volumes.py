"""Volumes by name: made, found, told about, used by containers, removed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh


def test_files_outlive_their_container(sh: Sh) -> None:
    sh("echo kept >/data/note", volumes={"data": "/data"})

    assert sh("cat /in/note", volumes={"data": "/in"}) == "kept\n"


def test_a_volume_is_a_plain_value(engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", labels={"app": "db"}, engine=engine)

    assert (volume.name, volume.root, repr(volume)) == ("data", engine.root, "<Volume data>")
    assert volume == pc.Volume.get("data", engine=engine) == pickle.loads(pickle.dumps(volume))
    assert len({volume, pc.Volume.get("data", engine=engine)}) == 1
    assert (volume.labels, volume.size, volume.anonymous) == ({"app": "db"}, None, False)
    assert volume.created == pytest.approx(os.stat(volume.path).st_mtime, abs=5)
    assert volume.containers == ()


def test_one_that_is_there_is_given_as_it_is(engine: pc.Engine) -> None:
    pc.Volume.create("data", labels={"a": "b"}, engine=engine)

    again = pc.Volume.create("data", labels={"c": "d"}, engine=engine)

    assert again.labels == {"a": "b"}


def test_without_a_name_it_gets_64_digits(engine: pc.Engine) -> None:
    volume = pc.Volume.create(engine=engine)

    assert len(volume.name) == 64
    assert volume.anonymous


@pytest.mark.parametrize("name", ["", "x", "-x", "a/b", "../x", ".x", "a b", "a" * 256, "a\n", 7])
def test_a_name_that_docker_would_not_take_is_refused(engine: pc.Engine, name: str) -> None:
    with pytest.raises(pc.InvalidArgument, match="volumes"):
        pc.Volume.create(name, engine=engine)
    with pytest.raises(pc.InvalidArgument, match="volumes"):
        pc.Mount.volume(name, "/data")


def test_a_missing_one_is_told_so(engine: pc.Engine) -> None:
    with pytest.raises(pc.VolumeNotFound, match="nothing"):
        pc.Volume.get("nothing", engine=engine)
    gone = pc.Volume.create("gone", engine=engine)
    gone.remove()
    with pytest.raises(pc.VolumeNotFound):
        gone.labels  # noqa: B018
    with pytest.raises(pc.VolumeNotFound):
        gone.remove()
    gone.remove(missing_ok=True)


def test_they_are_listed_by_filters(engine: pc.Engine, image: pc.Image) -> None:
    for name, labels in (("one", {"a": "1"}), ("two", {"a": "2", "b": ""}), ("three", {})):
        pc.Volume.create(name, labels=labels, engine=engine)
    used = pc.Container.create(image, volumes={"two": "/x"}, command=["true"], engine=engine)

    def listed(**filters: str | bool | list[str]) -> list[str]:
        return [volume.name for volume in pc.Volume.list(filters=filters, engine=engine)]

    assert listed() == ["one", "three", "two"]
    assert listed(name="t") == ["three", "two"]
    assert listed(name=["one", "three"]) == ["one", "three"]
    assert listed(label="a") == ["one", "two"]
    assert listed(label=["a=2", "b"]) == ["two"]
    assert listed(dangling=True) == listed(dangling="true") == ["one", "three"]
    assert listed(dangling=False) == ["two"]
    with pytest.raises(pc.InvalidArgument, match="driver"):
        listed(driver="local")
    used.remove()


def test_one_in_use_is_not_removed_and_says_by_whom(engine: pc.Engine, image: pc.Image) -> None:
    volume = pc.Volume.create("data", engine=engine)
    container = pc.Container.create(
        image, ["true"], volumes={volume: "/data"}, name="user", engine=engine
    )

    assert volume.containers == (container.id,)
    with pytest.raises(pc.Conflict, match="used by user"):
        volume.remove()
    container.remove()
    assert not volume.containers
    volume.remove()
    assert not Path(engine.root, "volumes/data").exists()


def test_prune_takes_those_without_a_name_or_all_unused(engine: pc.Engine, image: pc.Image) -> None:
    nameless, named = pc.Volume.create(engine=engine), pc.Volume.create("named", engine=engine)
    labelled = pc.Volume.create("labelled", labels={"keep": "no"}, engine=engine)
    used = pc.Volume.create(engine=engine)
    container = pc.Container.create(image, ["true"], volumes={used: "/data"}, engine=engine)

    assert pc.Volume.prune(engine=engine) == [nameless.name]
    assert pc.Volume.prune(all=True, filters={"label": "keep"}, engine=engine) == [labelled.name]
    assert pc.Volume.prune(all=True, engine=engine) == [named.name]
    assert pc.Volume.list(engine=engine) == [used]
    container.remove()


def test_another_process_sees_them(engine: pc.Engine, sh: Sh) -> None:
    sh("echo shared >/data/note", volumes={"data": "/data"})
    program = (
        "import sys, pycontainers as pc; engine = pc.Engine(root=sys.argv[1]);"
        "print(pc.Volume.get('data', engine=engine).path.joinpath('note').read_text())"
    )

    said = subprocess.check_output([sys.executable, "-c", program, engine.root], text=True)

    assert said.split() == ["shared"]


def test_a_container_keeps_its_volumes_over_a_restart(engine: pc.Engine, image: pc.Image) -> None:
    script = "test -e /data/x && exit 7; touch /data/x"
    with pc.Container.run(
        image, ["sh", "-c", script], volumes={"data": "/data"}, engine=engine
    ) as container:
        container.wait()
        container.start()

        assert container.wait() == 7
        assert container.attrs["volumes"] == {"/data": "data"}


@pytest.mark.parametrize("size", [None, "4m"])
def test_a_restart_by_policy_has_them_again(
    engine: pc.Engine, image: pc.Image, size: str | None
) -> None:
    volume = pc.Volume.create("data", size=size, engine=engine)
    script = "echo x >>/data/starts; exit 1"
    with pc.Container.run(
        image, ["sh", "-c", script], volumes={volume: "/data"}, restart="on-failure:2",
        engine=engine,
    ) as container:  # fmt: skip
        while container.status != "exited":
            container.wait()

        assert container.restarts == 2
        assert container.path("/data/starts").read_text() == "x\n" * 3


def test_two_containers_share_one(engine: pc.Engine, image: pc.Image) -> None:
    volumes = {"data": "/data"}
    with (
        pc.Container.run(image, ["sleep", "60"], volumes=volumes, engine=engine) as one,
        pc.Container.run(image, ["sleep", "60"], volumes=volumes, engine=engine) as two,
    ):
        one.exec(["sh", "-c", "echo hello >/data/x; chown 5:6 /data/x"])

        assert two.exec(["stat", "-c", "%u:%g", "/data/x"]).stdout == "5:6\n"


def test_usage_is_what_the_files_take(engine: pc.Engine, sh: Sh) -> None:
    volume = pc.Volume.create("data", engine=engine)
    empty = volume.usage()

    sh("dd if=/dev/urandom of=/data/x bs=1M count=2; ln /data/x /data/y", volumes={volume: "/data"})

    assert 2 << 20 <= volume.usage() - empty < 3 << 20


def test_a_volume_of_another_data_root_is_refused(
    engine: pc.Engine, image: pc.Image, tmp_path: Path
) -> None:
    with pc.Engine(root=tmp_path / "other") as other:
        volume = pc.Volume.create("data", engine=other)

        with pytest.raises(pc.InvalidArgument, match="another data root"):
            pc.run(["true"], image=image, volumes={volume: "/data"}, engine=engine)
