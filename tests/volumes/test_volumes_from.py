"""The option `volumes_from`: volumes and binds of another container, at the same places."""

from __future__ import annotations

from pathlib import Path

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh

SLEEP = ["sleep", "600"]


def names(engine: pc.Engine) -> list[str]:
    return [volume.name for volume in pc.Volume.list(engine=engine)]


def test_volumes_and_binds_are_shared(
    image: pc.Image, engine: pc.Engine, tmp_path: Path, sh: Sh
) -> None:
    (tmp_path / "file").write_text("bound")
    with pc.Container.run(
        image, ["sh", "-c", "echo a >/a/x; echo b >/b/x; echo t >/t/x; sleep 600"], name="lender",
        volumes=["data:/a", "/b", f"{tmp_path}:/c:ro"], tmpfs=["/t"], engine=engine,
    ) as lender:  # fmt: skip
        lender.exec(["sh", "-c", "until [ -s /t/x ]; do usleep 1000; done"], check=True)
        read = "cat /a/x /b/x /c/file; ls -d /t 2>/dev/null; touch /c/new || echo read-only"
        assert sh(read, volumes_from=[lender]) == "a\nb\nboundread-only\n"
        assert sh("touch /a/y; echo done", volumes_from=["lender"]) == "done\n"
        assert lender.exec(["ls", "/a"]).stdout.split() == ["x", "y"]
        write = "touch /a/z || touch /b/z || echo none"
        assert sh(write, volumes_from=[f"{lender.id[:12]}:ro"]) == "none\n"


def test_own_mounts_win_and_of_others_the_later(image: pc.Image, engine: pc.Engine, sh: Sh) -> None:
    sh("echo one >/a/x", volumes={"one": "/a"})
    sh("echo two >/a/x", volumes={"two": "/a"})
    first = pc.Container.create(image, SLEEP, volumes=["one:/a", "one:/b"], engine=engine)
    second = pc.Container.create(image, SLEEP, volumes=["two:/a"], engine=engine)

    both = [first, second]
    assert sh("cat /a/x /b/x", volumes_from=both) == "two\none\n"
    assert sh("cat /a/x /b/x", volumes_from=both[::-1]) == "one\none\n"
    assert sh("ls /a", volumes_from=both, tmpfs=["/a"]) == ""
    for container in both:
        container.remove()


def test_they_come_before_those_that_an_image_declares(
    declaring: pc.Image, image: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.create(image, SLEEP, volumes={"data": "/own"}, engine=engine) as lender:
        container = pc.Container.create(declaring, volumes_from=[lender], engine=engine)
        found = container.attrs["volumes"]
        assert found["/own"] == "data"
        assert len(found["/srv/data"]) == 64
        container.remove(volumes=True)
    assert names(engine) == ["data"]


def test_nothing_is_copied_to_a_lent_volume(
    stocked: pc.Image, image: pc.Image, engine: pc.Engine, sh: Sh
) -> None:
    with pc.Container.create(image, SLEEP, volumes=["/srv/data"], engine=engine) as lender:
        assert sh("ls /srv/data", image=stocked, volumes_from=[lender]) == ""


def test_they_are_used_by_both_and_go_with_the_last(image: pc.Image, engine: pc.Engine) -> None:
    lender = pc.Container.create(image, SLEEP, volumes=["/own", "data:/data"], engine=engine)
    borrower = pc.Container.create(image, SLEEP, volumes_from=[lender], engine=engine)
    third = pc.Container.create(image, SLEEP, volumes_from=[borrower], engine=engine)
    own = lender.attrs["volumes"]["/own"]
    assert third.attrs["volumes"] == {"/own": own, "/data": "data"}
    assert third.attrs["options"]["volumes_from"] == [f"{borrower.id}:rw"]

    lender.remove(volumes=True)
    with pytest.raises(pc.Conflict, match="used by"):
        pc.Volume.get("data", engine=engine).remove()
    borrower.remove(volumes=True)
    assert sorted(names(engine)) == sorted([own, "data"])
    third.remove(volumes=True)

    assert names(engine) == ["data"]


def test_a_run_leaves_the_lenders_volumes(image: pc.Image, engine: pc.Engine, sh: Sh) -> None:
    with pc.Container.create(image, SLEEP, volumes=["/own"], engine=engine) as lender:
        sh("touch /own/x", volumes_from=[lender])

        assert names(engine) == [lender.attrs["volumes"]["/own"]]


def test_a_container_that_is_not_there(image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.ContainerNotFound, match="nobody"):
        pc.Container.create(
            image, SLEEP, volumes={"data": "/data"}, volumes_from=["nobody"], engine=engine
        )

    assert names(engine) == []
    assert pc.Container.list(all=True, engine=engine) == []


def test_the_mounts_are_explained(image: pc.Image, engine: pc.Engine) -> None:
    with (
        pc.Container.create(image, SLEEP, volumes=["data:/data"], engine=engine) as lender,
        pc.Container.create(image, SLEEP, volumes_from=[lender], engine=engine) as borrower,
    ):
        assert "attach a mount at /data" in str(borrower.explain())
