"""The first use of a volume, held against what docker makes of the same image."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pycontainers as pc
from tests.images.conftest import Peer
from tests.images.conftest import docker as docker  # noqa: PLC0414  # a fixture
from tests.volumes.conftest import Sh


def told(root: Path) -> dict[str, tuple[object, ...]]:
    """Tell what both keep: kind, mode, owner, times of files, content, and what is one file.

    Docker does not keep the times of directories.
    """
    found: dict[str, tuple[object, ...]] = {}
    files: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        facts = path.lstat()
        name = str(path.relative_to(root))
        content: object = facts.st_rdev
        if stat.S_ISREG(facts.st_mode):
            content = path.read_bytes()
        elif path.is_symlink():
            content = path.readlink()
        when = 0 if path.is_dir() and not path.is_symlink() else int(facts.st_mtime)
        first = files.setdefault(facts.st_ino, name)
        found[name] = (
            facts.st_mode, facts.st_uid, facts.st_gid, when, content, first,
        )  # fmt: skip
    return found


def test_docker_makes_the_same_of_it(
    docker: Peer, stocked_root: Path, engine: pc.Engine, tmp_path: Path, sh: Sh
) -> None:
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", stocked_root, "-cf", archive, "."], check=True)
    image = pc.Image.from_rootfs(archive, engine=engine)
    docker("import", archive, "stocked:1")

    docker("run", "--rm", "--network", "none", "-v", "data:/via/data", "stocked:1", "/bin/true")
    sh("true", image=image, volumes={"data": "/via/data"})

    theirs = Path(json.loads(docker("volume", "inspect", "data"))[0]["Mountpoint"])
    assert told(pc.Volume.get("data", engine=engine).path) == told(theirs)
    image.remove()


def test_docker_too_keeps_what_is_in_a_volume_and_fills_an_empty_one(
    docker: Peer, stocked: pc.Image, stocked_root: Path, tmp_path: Path, sh: Sh
) -> None:
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", stocked_root, "-cf", archive, "."], check=True)
    docker("import", archive, "stocked:2")
    lines = ["ls /srv/data | wc -l", "ls /srv/data | wc -l; touch /srv/data/x", "ls /srv/data"]
    asked = (["rules:/srv/data:nocopy"], ["rules:/srv/data"], ["rules:/srv/data"])

    run = ("run", "--rm", "--network", "none")
    theirs = [
        docker(*run, "-v", volume, "stocked:2", "/bin/sh", "-c", line)
        for line, [volume] in zip(lines, asked, strict=True)
    ]
    ours = [
        sh(line, image=stocked, volumes=volumes) for line, volumes in zip(lines, asked, strict=True)
    ]

    assert ours == theirs
