"""Events of networks and volumes held against those of a Docker daemon."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.images.conftest import Peer
from tests.images.conftest import docker as docker  # noqa: PLC0414  # a fixture

Told = tuple[str, str, dict[str, str]]  # type, action, attributes without what is different


@pytest.fixture(scope="module")
def their_image(
    docker: Peer, busybox: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An image of the daemon's; no container or network of a test that failed stays with it."""
    archive = tmp_path_factory.mktemp("image") / "root.tar"
    subprocess.run(["tar", "-C", busybox, "-cf", archive, "."], check=True)
    docker("import", archive, "told:1")
    yield "told:1"
    for name in docker("ps", "-aq").split():
        docker("rm", "-f", name)
    docker("network", "prune", "-f")


def plain(kind: str, attributes: dict[str, str]) -> dict[str, str]:
    """Give attributes by names, with the values where these are not of one engine."""
    changing = {"container"} if kind != "container" else set(attributes)
    return {key: "" if key in changing else attributes[key] for key in sorted(attributes)}


def theirs(docker: Peer, begun: float) -> list[Told]:
    lines = docker(
        "events", "--since", f"{begun:.6f}", "--until", f"{time.time():.6f}", "--format", "json"
    ).splitlines()
    found: list[Told] = []
    made = set()
    for one in map(json.loads, lines):
        kind, action = one["Type"], one["Action"]
        if (kind, action) == ("volume", "create"):
            if one["Actor"]["ID"] in made:  # Docker says it again where a container has it
                continue
            made.add(one["Actor"]["ID"])
        if kind in ("network", "volume", "container"):
            found.append((kind, action, plain(kind, one["Actor"]["Attributes"])))
    return found


def ours(engine: pc.Engine, begun: float) -> list[Told]:
    with pc.events(begun, follow=False, engine=engine) as events:
        return [(one.type, one.action, plain(one.type, one.attributes)) for one in events]


def of(told: list[Told], *kinds: str) -> list[Told]:
    return [one for one in told if one[0] in kinds]


def order(told: list[Told], *actions: str) -> list[str]:
    """Give the actions among these in their order."""
    return [action for _, action, _ in told if action in actions]


def test_a_network_and_a_container_in_it(
    docker: Peer, their_image: str, image: pc.Image, engine: pc.Engine
) -> None:
    begun = time.time()
    docker("network", "create", "told")
    docker("create", "--name", "cc", "--network", "told", their_image, "/bin/sleep", "600")
    docker("start", "cc")
    docker("stop", "-t", "0", "cc")
    docker("network", "disconnect", "told", "cc")  # which is told, but not that it is back
    docker("network", "connect", "told", "cc")
    docker("rm", "cc")
    docker("network", "rm", "told")
    expected = theirs(docker, begun)

    begun = time.time()
    with pc.Network.create("told", engine=engine) as network:
        container = pc.Container.create(
            image, ["sleep", "600"], name="cc", network=network, engine=engine
        )
        container.start()
        container.stop(timeout=0)
        network.disconnect(container)
        network.connect(container)
        container.remove()
    told = ours(engine, begun)

    assert of(told, "network") == of(expected, "network")
    around = ("create", "connect", "start", "die", "disconnect", "stop", "destroy")
    assert order(told, *around) == order(expected, *around)


def test_a_volume_and_a_container_that_has_it(
    docker: Peer, their_image: str, image: pc.Image, engine: pc.Engine
) -> None:
    begun = time.time()
    docker("volume", "create", "told")
    docker("create", "--name", "vv", "--network", "none", "-v", "told:/data:ro", "-v", "new:/new",
           their_image, "/bin/sleep", "600")  # fmt: skip
    docker("start", "vv")
    docker("restart", "-t", "0", "vv")
    docker("rm", "-f", "vv")
    docker("volume", "rm", "told")
    docker("volume", "rm", "new")
    expected = theirs(docker, begun)

    begun = time.time()
    volume = pc.Volume.create("told", engine=engine)
    container = pc.Container.create(
        image, ["sleep", "600"], name="vv", volumes=["told:/data:ro", "new:/new"], engine=engine
    )
    container.start()
    container.restart(timeout=0)
    container.remove(force=True)
    volume.remove()
    pc.Volume.get("new", engine=engine).remove()
    told = ours(engine, begun)

    # Docker mounts several volumes in any order.
    assert sorted(map(str, of(told, "volume"))) == sorted(map(str, of(expected, "volume")))
    around = ("create", "mount", "start", "die", "unmount", "destroy")
    assert order(told, *around) == order(expected, *around)
