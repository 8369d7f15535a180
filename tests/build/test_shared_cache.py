"""Build caches that are taken to other data roots: by a directory, and by a registry."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from tests.build.conftest import Builder, Built, give_base
from tests.images.conftest import registry as _registry

registry = pytest.fixture(scope="module")(_registry.__wrapped__)  # type: ignore[attr-defined]
DOCKERFILE = """
FROM bb:1 AS made
WORKDIR /work
RUN echo one > one; rm /etc/group; mkdir -m 0700 /home/new && chown app /home/new
RUN head -c 8 /dev/urandom > random
FROM bb:1
COPY file /file
COPY --from=made /work /work
RUN cat /work/random > /copy
"""
STEPS = ["WORKDIR /work", "RUN head -c 8 /dev/urandom > random", "COPY file /file",
         "COPY --from=made /work /work", "RUN cat /work/random > /copy"]  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path: Path, base_archive: Path) -> Iterator[Callable[[str], Builder]]:
    """Makes builders, each with a data root of its own."""
    with ExitStack() as stack:

        def make(name: str) -> Builder:
            engine = stack.enter_context(pc.Engine(root=tmp_path / f"root-{name}"))
            give_base(engine, base_archive)
            return Builder(engine, tmp_path / f"context-{name}")

        yield make


Elsewhere = Callable[[str], Builder]


def _build(build: Builder, **options: Any) -> Built:
    return build(DOCKERFILE, {"file": "content"}, **options)


def _same(one: Built, other: Built) -> bool:
    return one.sh("cat /work/random | wc -c; cat /copy") == other.sh(
        "cat /work/random | wc -c; cat /copy"
    )


@pytest.fixture(params=["directory", "registry"])
def place(request: pytest.FixtureRequest, tmp_path: Path, registry: str) -> str:
    """Where a cache is kept."""
    if request.param == "directory":
        return str(tmp_path / "cache")
    return f"{registry}/{tmp_path.name.strip('_').lower()}:cache"


def test_a_cache_serves_another_data_root(elsewhere: Elsewhere, place: str) -> None:
    first = _build(elsewhere("a"), cache_to=place)

    second = _build(elsewhere("b"), cache_from=[place])

    assert set(STEPS) <= set(second.cached)
    assert second.made == []
    assert first.config.rootfs.diff_ids == second.config.rootfs.diff_ids
    assert second.stat("/work/random") == ["644 0:0"]


def test_what_was_taken_from_a_cache_is_the_own_one_from_then_on(
    elsewhere: Elsewhere, place: str
) -> None:
    first = _build(elsewhere("a"), cache_to=place)
    other = elsewhere("b")

    _build(other, cache_from=[place])
    again = _build(other)

    assert again.made == []
    assert again.config.rootfs.diff_ids == first.config.rootfs.diff_ids


def test_a_cache_can_be_passed_on(elsewhere: Elsewhere, tmp_path: Path) -> None:
    first = _build(elsewhere("a"), cache_to=tmp_path / "one")
    _build(elsewhere("b"), cache_from=[tmp_path / "one"], cache_to=tmp_path / "two")

    third = _build(elsewhere("c"), cache_from=[tmp_path / "two"])

    assert third.made == []
    assert first.config.rootfs.diff_ids == third.config.rootfs.diff_ids


def test_only_what_is_needed_is_taken(elsewhere: Elsewhere, tmp_path: Path) -> None:
    _build(elsewhere("a"), cache_to=tmp_path / "cache")
    other = elsewhere("b")

    other("FROM bb:1\nCOPY file /file\n", {"file": "content"}, cache_from=[tmp_path / "cache"])

    kept = [path for path in (tmp_path / "root-b/layers").iterdir() if path.name[0] != "."]
    assert len(kept) == 2  # the base image's, and this one


def test_a_change_makes_only_what_depends_on_it_again(elsewhere: Elsewhere, tmp_path: Path) -> None:
    _build(elsewhere("a"), cache_to=tmp_path / "cache")

    changed = elsewhere("b")(DOCKERFILE, {"file": "other"}, cache_from=[tmp_path / "cache"])

    assert changed.made == STEPS[2:]


def test_own_layers_come_before_those_of_a_cache(elsewhere: Elsewhere, tmp_path: Path) -> None:
    first = _build(elsewhere("a"), cache_to=tmp_path / "cache")
    other = elsewhere("b")
    own = _build(other)

    again = _build(other, cache_from=[tmp_path / "cache"])

    assert again.made == []
    assert again.config.rootfs.diff_ids == own.config.rootfs.diff_ids
    assert first.config.rootfs.diff_ids != own.config.rootfs.diff_ids


def test_a_cache_that_is_not_there_is_a_warning(build: Builder, registry: str) -> None:
    built = build(
        "FROM bb:1\nRUN true\n", cache_from=["/no/such/cache", f"{registry}/no/such:1", "./none"]
    )

    warnings = [event.output for event in built.events if event.action == "warning"]
    assert len(warnings) == 3
    assert all("can't be used" in text for text in warnings)


def _truncated(cache: Path) -> None:
    for blob in (cache / "blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(blob.read_bytes()[:-8])


def _swapped(cache: Path) -> None:
    first, *others = [
        blob
        for blob in sorted((cache / "blobs/sha256").iterdir())
        if blob.read_bytes()[:2] == b"\x1f\x8b"
    ]
    for blob in others:
        blob.write_bytes(first.read_bytes())


def _emptied(cache: Path) -> None:
    (cache / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')


def _garbled(cache: Path) -> None:
    (cache / "index.json").write_bytes(b"\xff{")


def _image(cache: Path) -> None:
    index = json.loads((cache / "index.json").read_text())
    digest = index["manifests"][0]["digest"].partition(":")[2]
    path = cache / "blobs/sha256" / digest
    text = path.read_text().replace("pycontainers.build-cache", "other")
    path.write_text(text)


@pytest.mark.parametrize("breaking", [_truncated, _swapped, _emptied, _garbled, _image])
def test_a_broken_cache_is_a_warning(
    elsewhere: Elsewhere, tmp_path: Path, breaking: Callable[[Path], None]
) -> None:
    _build(elsewhere("a"), cache_to=tmp_path / "cache")
    breaking(tmp_path / "cache")

    built = _build(elsewhere("b"), cache_from=[tmp_path / "cache"])

    assert built.sh("cat /file; cat /work/one") == "contentone\n"
    assert any(event.action == "warning" for event in built.events)


def test_a_cache_that_can_not_be_written_is_an_error(build: Builder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(pc.StoreError, match="cannot write the cache"):
        build("FROM bb:1\nRUN true\n", cache_to=tmp_path / "file", tag="written:1")

    assert pc.Image.get("written:1", engine=build.engine)


def test_secrets_are_not_in_a_cache(build: Builder, tmp_path: Path) -> None:
    build(
        "FROM bb:1\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null\n",
        secrets={"s": "very secret"},
        cache_to=tmp_path / "cache",
    )

    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"very secret" not in path.read_bytes()


def test_two_builds_may_write_one_cache(elsewhere: Elsewhere, tmp_path: Path) -> None:
    builders = [elsewhere("a"), elsewhere("b")]
    threads = [
        threading.Thread(target=_build, args=(one,), kwargs={"cache_to": tmp_path / "cache"})
        for one in builders
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _build(elsewhere("c"), cache_from=[tmp_path / "cache"]).made == []
