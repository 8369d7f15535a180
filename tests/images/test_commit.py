"""What a container changed: listed as Docker lists it, committed so that all see the same tree."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.images.build import Layout
from tests.images.conftest import Peer
from tests.images.trees import tree

WORK = """
set -e
echo new > /etc/new; chown 12:34 /etc/new; chmod 4750 /etc/new
touch -d '2001-02-03 04:05:06' /etc/new
rm /etc/release
rm -r /etc/motd.d; mkdir /etc/motd.d; echo again > /etc/motd.d/c
mv /home /home2
ln -s /nowhere /etc/link
ln /etc/new /etc/hard
mkdir -p /srv/a/b; chmod 1777 /srv/a
mkfifo /srv/pipe
echo changed >> /etc/passwd
rm -r /root; echo file > /root
"""
LIST = "cd / && find bin etc home2 root srv tmp -exec stat -c '%n %a %u %g %F %Y' {} + | sort"


@pytest.fixture
def base(layers: list[bytes], layout: Layout, engine: pc.Engine) -> Iterator[pc.Image]:
    layout.image(layers, name="base:1", Cmd=["sh"])
    image = pc.Image.load(layout.path, engine=engine)
    yield image
    for one in pc.Image.list(engine=engine):
        one.remove(force=True)


@pytest.fixture
def changed(base: pc.Image, engine: pc.Engine) -> Iterator[pc.Container]:
    """A container that has done its work."""
    command = ["sh", "-c", WORK]
    with pc.Container.run(base, command, engine=engine, cap_add=["MKNOD"]) as container:
        assert container.wait(10) == 0, container.logs().read()
        yield container


def test_diff_tells_what_was_added_changed_and_deleted(changed: pc.Container) -> None:
    found = {path: kind for kind, path in changed.diff()}

    assert found == {
        "/etc": "C",
        "/etc/new": "A",
        "/etc/hard": "A",
        "/etc/link": "A",
        "/etc/release": "D",
        "/etc/passwd": "C",
        "/etc/motd.d": "C",
        "/etc/motd.d/c": "A",
        "/home": "D",
        "/home2": "A",
        "/root": "C",
        "/srv": "A",
        "/srv/a": "A",
        "/srv/a/b": "A",
        "/srv/pipe": "A",
    }
    assert [path for _, path in changed.diff()] == sorted(found)


def test_a_container_that_did_nothing_changed_nothing(base: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(base, engine=engine) as container:
        assert container.diff() == []


def test_a_committed_image_shows_the_same_tree(changed: pc.Container, base: pc.Image) -> None:
    exported = io.BytesIO()
    changed.export(exported)

    image = changed.commit("app:2")

    seen = image.run(["sh", "-c", LIST]).stdout.splitlines()
    assert "etc/new 4750 12 34 regular file 981173106" in seen
    assert image.run(["stat", "-c", "%h", "/etc/hard"]).stdout == "2\n"
    assert image.run(["sh", "-c", "cat /root /etc/motd.d/*; ls /etc/release"]).stdout == (
        "file\nagain\n"
    )
    again = pc.Image.from_rootfs(io.BytesIO(exported.getvalue()), engine=pc.Engine(root=image.root))
    assert again.run(["sh", "-c", LIST]).stdout.splitlines() == seen
    assert image.tags == ("app:2",)
    assert image.config.rootfs.diff_ids[:-1] == base.config.rootfs.diff_ids


def test_docker_and_umoci_unpack_a_commit_to_the_same_tree(
    changed: pc.Container, docker: Peer, tmp_path: Path
) -> None:
    image = changed.commit("committed:1")
    image.save(tmp_path / "app.tar", format="docker")
    docker("load", "-i", tmp_path / "app.tar")
    container = docker("create", "committed:1").strip()
    docker("export", "-o", tmp_path / "docker.tar", container)
    docker("rm", container)
    store = Path(image.root, "content")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{store}:docker.io/library/committed:1", tmp_path / "b"],
        check=True, capture_output=True,
    )  # fmt: skip
    with pc.Container.create(image, engine=pc.Engine(root=image.root)) as fresh:
        fresh.export(tmp_path / "ours.tar")

    def unpacked(name: str) -> Path:
        target = tmp_path / name
        target.mkdir()
        subprocess.run(
            ["tar", "-C", target, "--numeric-owner", "-xpf", tmp_path / f"{name}.tar"], check=True
        )
        return target

    engines_own = {".dockerenv", "dev", "proc", "sys", "etc/hosts", "etc/hostname",
                   "etc/resolv.conf", "etc/mtab", "etc"}  # fmt: skip
    trees = [
        {name: facts for name, facts in tree(root).items()
         if name not in engines_own and name.split("/")[0] not in ("dev", "proc", "sys")}
        for root in (unpacked("ours"), unpacked("docker"), tmp_path / "b/rootfs")
    ]  # fmt: skip
    assert trees[0] == trees[1]
    assert trees[0] == trees[2]


def test_the_same_changes_give_the_same_layer(base: pc.Image, engine: pc.Engine) -> None:
    found = []
    command = ["sh", "-c", "mkdir /x; echo 1 > /x/a; touch -d '2001-01-01 00:00:00' /x/a /x / /etc"]
    for _ in range(2):
        with pc.Container.run(base, command, engine=engine) as container:
            container.wait(10)
            found.append(container.commit().config.rootfs.diff_ids[-1])

    assert found[0] == found[1]


def test_changes_of_the_config_are_kept_with_the_history(
    changed: pc.Container, base: pc.Image
) -> None:
    image = changed.commit(
        changes=['CMD ["echo", "x"]', "ENV A=1 B='2 3'", "LABEL k=v", "USER app", "WORKDIR srv",
                 "EXPOSE 80", "ENTRYPOINT exec env", "STOPSIGNAL SIGINT", "VOLUME /data"],
        message="why", author="me",
    )  # fmt: skip

    config = image.config
    assert (config.cmd, config.env[-2:]) == (("echo", "x"), ("A=1", "B=2 3"))
    assert (config.labels["k"], config.user, config.working_dir) == ("v", "app", "/srv")
    assert config.entrypoint == ("/bin/sh", "-c", "exec env")
    assert (config.exposed_ports, config.volumes) == (("80/tcp",), ("/data",))
    assert (config.stop_signal, config.author) == ("SIGINT", "me")
    assert [step.comment for step in image.history()] == ["why"]


@pytest.mark.parametrize("change", ["RUN ls", "", "CMD [1]", "CMD [", "ENV", "ENV x", "ENV 'a"])
def test_a_change_that_is_none_is_refused_before_anything_is_made(
    change: str, changed: pc.Container
) -> None:
    with pytest.raises(pc.InvalidArgument, match="changes"):
        changed.commit("never:1", changes=[change])

    with pytest.raises(pc.ImageNotFound):
        pc.Image.get("never:1", engine=pc.Engine(root=changed.root))


def test_an_ephemeral_container_has_nothing_to_commit(base: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(base, ["true"], engine=engine, ephemeral=True) as container:
        for refused in (container.diff, container.commit, lambda: container.export(io.BytesIO())):
            with pytest.raises(pc.NotSupported, match="ephemeral"):
                refused()


def test_a_running_container_is_committed_while_it_stands_still(
    base: pc.Image, engine: pc.Engine
) -> None:
    command = ["sh", "-c", "while :; do echo x >> /log; done"]
    with pc.Container.run(base, command, engine=engine) as container:
        image = container.commit()

        assert container.status == "running"
        assert image.run(["sh", "-c", "grep -cv x /log; true"]).stdout == "0\n"


def test_an_image_that_a_container_uses_is_not_removed(base: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(base, ["true"], engine=engine) as container:
        with pytest.raises(pc.Conflict, match="used by a container"):
            base.remove()
        base.remove(force=True)
        pc.Image.prune(all=True, engine=engine)
        container.start()

        assert container.wait(10) == 0
        assert base.tags == ()
    base.remove()
    assert base not in pc.Image.list(engine=engine)
    with pytest.raises(pc.ImageNotFound, match="removed"):
        base.run(["true"])


def test_an_image_pulled_again_is_not_taken_for_the_removed_one(
    base: pc.Image, layout: Layout, engine: pc.Engine
) -> None:
    base.run(["true"])  # leaves a spare container of its layers
    base.remove()

    again = pc.Image.load(layout.path, engine=engine)

    assert again.run(["cat", "/etc/release"]).stdout == "third\n"


def test_hostile_names_in_a_container_come_out_as_they_are(
    base: pc.Image, engine: pc.Engine
) -> None:
    script = f"cd /tmp; touch \"$(printf 'a\\nb')\"; mkdir -p -- -d {'d' * 250}/{'e' * 250}"
    with pc.Container.run(base, ["sh", "-c", script], engine=engine) as container:
        assert container.wait(10) == 0
        listed = json.dumps(container.diff())
        exported = io.BytesIO()
        container.export(exported)

    with tarfile.open(fileobj=io.BytesIO(exported.getvalue())) as reader:
        names = reader.getnames()
    assert "tmp/a\nb" in names
    assert {"tmp/-d", f"tmp/{'d' * 250}/{'e' * 250}"} <= set(names)
    assert "a\\nb" in listed


def test_a_container_of_a_directory_is_committed_whole(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sh", "-c", "echo x > /new"], engine=engine) as container:
        container.wait(10)
        made = container.commit("whole:1")

    assert made.run(["cat", "/new"]).stdout == "x\n"
    assert len(made.config.rootfs.diff_ids) == 1
    made.remove()
