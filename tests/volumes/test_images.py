"""Images as mounts: their files, read-only, as long as a container refers to them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.volumes.conftest import Sh


@pytest.fixture
def stored(engine: pc.Engine, stocked_root: Path, tmp_path: Path) -> Iterator[pc.Image]:
    """An image of two layers in the store, the upper with whiteouts."""
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", stocked_root, "-cf", archive, "."], check=True)
    base = pc.Image.from_rootfs(archive, engine=engine)
    script = "rm /srv/data/fifo; echo two >/srv/data/two; mkdir /srv/sub; echo s >/srv/sub/s"
    with pc.Container.run(base, ["sh", "-c", script], engine=engine) as container:
        container.wait()
        image = container.commit("mounted:1")
    yield image
    pc.Image.prune(all=True, engine=engine)


def test_an_images_files_are_shown_read_only(sh: Sh, stored: pc.Image) -> None:
    script = "cd /m/srv/data; ls; cat two; stat -c %u:%g plain; touch x 2>&1 || true"
    shown = sh(script, mounts=[pc.Mount.image(stored, "/m")])

    assert shown.split()[:8] == "deep device link plain sparse suid two two".split()
    assert "1000:2000\n" in shown
    assert "Read-only file system\n" in shown


def test_a_part_of_an_image_is_shown(sh: Sh, stored: pc.Image) -> None:
    mounts = [pc.Mount.image("mounted:1", "/m", subpath="srv/sub")]

    assert sh("ls /m", mounts=mounts) == "s\n"


def test_an_image_of_one_layer_is_shown(sh: Sh, stocked: pc.Image) -> None:
    mounts = [pc.Mount.image(stocked, "/m", subpath="srv/data/plain")]

    assert sh("cat /m; grep ' /m ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1", mounts=mounts) == (
        "plain\nro\n"
    )


def test_it_is_not_removed_while_a_container_refers_to_it(
    stored: pc.Image, image: pc.Image, engine: pc.Engine
) -> None:
    container = pc.Container.create(
        image, ["cat", "/m/srv/data/two"], mounts=[pc.Mount.image(stored, "/m")], engine=engine
    )

    with pytest.raises(pc.Conflict, match="used by a container"):
        stored.remove()
    pc.Image.prune(all=True, engine=engine)
    container.start()
    container.wait()
    assert container.logs().read() == "two\n"
    container.remove()
    stored.remove()


def test_a_missing_image_is_told_before_anything_is_made(
    stored: pc.Image, image: pc.Image, engine: pc.Engine
) -> None:
    mount = pc.Mount.image(stored, "/m")
    pc.Image.prune(all=True, engine=engine)

    with pytest.raises(pc.ImageNotFound):
        pc.run(["true"], image=image, mounts=[mount], engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


def test_the_hosts_own_is_no_mount(engine: pc.Engine) -> None:
    with pytest.raises(pc.InvalidArgument, match=r"Mount.bind"):
        pc.Mount.image(pc.Image.host(engine=engine), "/m")


def test_a_stopped_containers_files_include_it(
    stored: pc.Image, image: pc.Image, engine: pc.Engine
) -> None:
    container = pc.Container.create(
        image, ["true"], mounts=[pc.Mount.image(stored, "/m")], engine=engine
    )

    assert container.path("/m/srv/data/two").read_text() == "two\n"
    container.remove()
