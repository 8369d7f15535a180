"""The container that waits ready for the next start: never another's, never out of date."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pycontainers as pc


def _rootfs(busybox: Path, path: Path, word: str) -> None:
    shutil.copytree(busybox, path, symlinks=True)
    (path / "word").write_text(word)


def test_a_directory_that_was_made_anew_is_shown_as_it_is(
    engine: pc.Engine, busybox: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    said = []

    for word in ("first", "second", "third"):
        _rootfs(busybox, root, word)
        image = pc.Image.from_rootfs(root, engine=engine)
        said.append(pc.run(["cat", "/word"], image=image, engine=engine).stdout)
        shutil.rmtree(root)

    assert said == ["first", "second", "third"]


def test_a_bind_mount_shows_what_its_source_is_now(
    engine: pc.Engine, image: pc.Image, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    said = []

    for word in ("first", "second"):
        source.mkdir()
        (source / "word").write_text(word)
        mounts = [pc.Mount.bind(source, "/data", read_only=True)]
        result = pc.run(["cat", "/data/word"], image=image, engine=engine, mounts=mounts)
        said.append(result.stdout)
        shutil.rmtree(source)

    assert said == ["first", "second"]


def test_a_container_finds_nothing_of_the_one_before(engine: pc.Engine, image: pc.Image) -> None:
    touch = "ls /tmp /dev/shm /; touch /tmp/mark /dev/shm/mark /mark"

    said = {pc.run(["sh", "-c", touch], image=image, engine=engine).stdout for _ in range(5)}

    assert len(said) == 1
    assert "mark" not in said.pop()


def test_a_start_that_failed_does_not_spoil_the_next(
    engine: pc.Engine, busybox: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    _rootfs(busybox, root, "good")
    (root / "proc").symlink_to("/tmp")
    image = pc.Image.from_rootfs(root, engine=engine)
    with pytest.raises(pc.LaunchError):
        pc.run(["true"], image=image, engine=engine)
    (root / "proc").unlink()

    result = pc.run(["cat", "/word"], image=image, engine=engine)

    assert result.stdout == "good"


def test_starts_of_many_kinds_in_turn_get_what_they_asked(
    engine: pc.Engine, image: pc.Image
) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"hostname": "one"},
        {"read_only": True},
        {"userns": "host"},
        {},
    ] * 3
    said = []

    for options in asked:
        command = ["sh", "-c", "touch /x 2>/dev/null && echo writes; cat /proc/self/uid_map"]
        result = pc.run(command, image=image, engine=engine, **options)  # type: ignore[call-overload]
        said.append(("writes" in result.stdout, " 4294967295" in result.stdout))

    assert said == [(not o.get("read_only"), o.get("userns") == "host") for o in asked]
