"""Images for several platforms, their index, and base images that are asked for again."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.platform import Platform
from tests.build.conftest import Builder
from tests.images.conftest import registry as _registry

registry = pytest.fixture(scope="module")(_registry.__wrapped__)  # type: ignore[attr-defined]
BOTH = ("linux/amd64", "linux/arm64")


@pytest.fixture
def host() -> str:
    """This machine's platform."""
    return str(Platform.host())


@pytest.fixture
def foreign(build: Builder, base_archive: Path, registry: str) -> str:
    """A reference to an image for both platforms in a registry, as cross:1."""
    build.context.mkdir(exist_ok=True)
    (build.context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /base\n")
    image = pc.Image.build(build.context, platform=BOTH, progress=False, engine=build.engine)
    image.push(f"{registry}/cross:1", variants=True)
    return f"{registry}/cross:1"


def _manifest(registry: str, name: str, asked: str) -> dict[str, object]:
    request = urllib.request.Request(f"http://{registry}/v2/{name}/manifests/{asked}")
    request.add_header("Accept", "application/vnd.oci.image.index.v1+json, */*")
    with urllib.request.urlopen(request) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_an_image_for_each_platform_knows_the_others(build: Builder, host: str) -> None:
    built = build(
        "FROM --platform=$BUILDPLATFORM bb:1 AS compiler\n"
        "ARG TARGETARCH\n"
        "RUN echo for $TARGETARCH > /program\n"
        "FROM scratch\nCOPY --from=compiler /program /\nARG TARGETPLATFORM\n"
        "LABEL for=$TARGETPLATFORM\n",
        platform=BOTH,
        tag="both:1",
    )

    assert [str(one.platform) for one in built.image.variants] == list(BOTH)
    assert [one.config.labels["for"] for one in built.image.variants] == list(BOTH)
    assert str(built.image.platform) == host
    assert [one.tags for one in built.image.variants].count(("both:1",)) == 1
    names = {event.stage for event in built.events if event.name.startswith("RUN")}
    assert names == {"linux/amd64 compiler", "linux/arm64 compiler"}


def test_an_image_for_one_platform_is_its_own_only_variant(build: Builder) -> None:
    built = build("FROM scratch\nCOPY a /\n", {"a": "1"})

    assert list(built.image.variants) == [built.image]


def test_an_index_can_be_pushed(build: Builder, registry: str) -> None:
    built = build("FROM scratch\nCOPY a /\n", {"a": "1"}, platform=BOTH)

    digest = built.image.push(f"{registry}/app:1", variants=True)

    index = _manifest(registry, "app", "1")
    entries = index["manifests"]
    assert isinstance(entries, list)
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    assert _manifest(registry, "app", digest) == index


def test_an_index_stays_until_one_of_its_images_goes(build: Builder) -> None:
    built = build("FROM scratch\nCOPY a /\n", {"a": "kept"}, platform=BOTH, tag="kept:1")
    one, other = built.image.variants
    other.tag("kept:other")

    pc.Image.prune(engine=build.engine)
    assert len(one.variants) == 2
    other.remove()

    assert list(one.variants) == [one]


def test_a_base_image_for_another_platform_does_not_take_a_name_away(
    build: Builder, foreign: str, host: str
) -> None:
    built = build(f"FROM {foreign}\nENV A=1\n", platform=BOTH)

    assert {str(one.platform) for one in built.image.variants} == set(BOTH)
    assert str(pc.Image.get(foreign, engine=build.engine).platform) in BOTH
    again = build(f"FROM {foreign}\nENV A=1\n")
    assert str(again.image.platform) == host


def test_a_foreign_command_says_why_it_can_not_run(build: Builder, base_archive: Path) -> None:
    config = ImageConfig(architecture="s390x", os="linux")
    image = pc.Image.from_rootfs(base_archive, config=config, engine=build.engine)
    image.tag("foreign:1")
    elf = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\0\2\0\x16" + bytes(100)

    error = build.fails(
        'FROM foreign:1\nCOPY --chmod=755 elf /elf\nRUN ["/elf"]\n',
        {"elf": elf},
        platform="linux/s390x",
    )

    assert "a command for linux/s390x can't be executed on this machine" in str(error)
    assert error.line == 3


def test_pull_asks_the_registry_again(build: Builder, registry: str) -> None:
    name = f"{registry}/moving:1"
    old = build("FROM scratch\nCOPY a /\n", {"a": "old"}).image
    new = build("FROM scratch\nCOPY a /\n", {"a": "new"}).image
    new.push(name)
    old.tag(name)

    kept = build(f"FROM {name}\nENV A=1\n")
    pulled = build(f"FROM {name}\nENV A=1\n", pull=True)

    assert kept.config.rootfs.diff_ids == old.config.rootfs.diff_ids
    assert pulled.config.rootfs.diff_ids == new.config.rootfs.diff_ids


def test_base_images_are_fetched_at_the_same_time(build: Builder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        asked = []

        def hear() -> None:
            asked.extend([silent.accept()[0] for _ in range(3)])  # none is answered till all ask
            for peer in asked:
                peer.close()
            silent.close()

        hearing = threading.Thread(target=hear)
        hearing.start()
        with pytest.raises(pc.PyContainersError):
            build(
                f"FROM {name}/one AS a\nFROM {name}/two AS b\nFROM {name}/three\n"
                "COPY --from=a / /a\nCOPY --from=b / /b\n"
            )
        hearing.join()

    assert len(asked) == 3
