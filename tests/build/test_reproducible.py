"""SOURCE_DATE_EPOCH: the same image, bit by bit, wherever and whenever it is built."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.build.conftest import Builder, Built, give_base

EPOCH = 1_600_000_000
DOCKERFILE = """
FROM bb:1 AS tools
ARG SOURCE_DATE_EPOCH
RUN mkdir -p /out/d && echo $SOURCE_DATE_EPOCH > /out/d/f && ln /out/d/f /out/hard
RUN ln -s f /out/d/l
FROM bb:1
LABEL b=2 a=1
WORKDIR /srv/app
COPY . .
COPY --from=tools --chown=app /out /out
ADD archive.tar /unpacked/
RUN date > /dev/null; rm /etc/group; chmod 700 /srv; mkfifo /fifo; touch -d @1000000000 /old
ENV X=1
CMD ["sh"]
"""


@pytest.fixture
def other(tmp_path: Path, base_archive: Path) -> Iterator[Builder]:
    """A builder with a data root of its own."""
    with pc.Engine(root=tmp_path / "other") as engine:
        give_base(engine, base_archive)
        yield Builder(engine, tmp_path / "elsewhere")


def _archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("inner")
        info.mtime = EPOCH + 1000
        tar.addfile(info)
    return file.getvalue()


def _build(build: Builder, modified: int, **options: bool) -> Built:
    files: dict[str, str | bytes] = {
        "a/one": "1",
        "a/two": "2",
        "b": "3",
        "archive.tar": _archive(),
    }
    build.context.mkdir(exist_ok=True)
    build.write(files)
    for path in build.context.rglob("*"):
        os.utime(path, (modified, modified))
    return build(DOCKERFILE, build_args={"SOURCE_DATE_EPOCH": str(EPOCH)}, **options)


def test_two_builds_in_two_places_give_the_same_image(fresh: Builder, other: Builder) -> None:
    one = _build(fresh, 1_650_000_000)
    two = _build(other, 1_500_000_000)

    assert one.image.digest == two.image.digest


def test_what_is_built_again_without_the_cache_is_the_same(build: Builder) -> None:
    one = _build(build, 1_650_000_000)
    time.sleep(1.1)
    two = _build(build, 1_640_000_000, cache=False)

    assert len(two.cached) == 0
    assert one.image.digest == two.image.digest


def test_no_time_in_the_image_is_later(build: Builder, tmp_path: Path) -> None:
    built = _build(build, 1_650_000_000)

    built.image.save(tmp_path / "image.tar")
    base = len(pc.Image.get("bb:1", engine=build.engine).layers)
    with tarfile.open(tmp_path / "image.tar") as tar:
        manifest = json.loads(_blob(tar, str(built.image.digest)))
        for layer in manifest["layers"][base:]:
            with tarfile.open(fileobj=io.BytesIO(_blob(tar, layer["digest"]))) as inner:
                assert all(entry.mtime <= EPOCH for entry in inner)
    assert built.config.created == "2020-09-13T12:26:40Z"
    assert {step.created for step in built.config.history[-8:]} == {built.config.created}


def test_times_before_it_are_kept(build: Builder, tmp_path: Path) -> None:
    built = _build(build, 1_650_000_000)
    built.image.tag("kept:1")

    with pc.Engine(root=tmp_path / "fresh") as engine:
        built.image.save(tmp_path / "image.tar")
        loaded = pc.Image.load(tmp_path / "image.tar", engine=engine)
        times = loaded.run(["stat", "-c", "%Y", "/old", "/out/d/f"]).stdout.split()

    assert times == ["1000000000", str(EPOCH)]


def test_it_may_come_from_the_environment(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")

    built = build("FROM bb:1\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /t\n")

    assert built.config.created == "1970-01-02T00:00:00Z"
    assert built.sh("cat /t") == "86400\n"


def test_archives_are_written_once_for_each_time(build: Builder) -> None:
    dockerfile = "FROM bb:1\nRUN head -c 30000000 /dev/urandom > /random\n"
    args = {"SOURCE_DATE_EPOCH": str(EPOCH)}

    first = build(dockerfile, build_args=args)
    plain = build(dockerfile)
    began = time.monotonic()
    again = build(dockerfile, build_args=args)

    assert time.monotonic() - began < 0.3
    assert again.image.digest == first.image.digest != plain.image.digest


def _blob(tar: tarfile.TarFile, digest: str) -> bytes:
    file = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
    assert file is not None
    return file.read()


def test_no_time_is_made_up_for_an_image_without_layers(build: Builder) -> None:
    built = build("FROM scratch\nLABEL a=b\n")

    assert (built.config.created, [step.created for step in built.config.history]) == ("", [""])
