"""Events of networks and volumes: that they are there, are used by containers, and go."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

import pycontainers as pc

Told = tuple[str, str, str]  # type, action, id
SLEEP = ["sleep", "600"]
KINDS = {"type": ["network", "volume"]}


class Watch:
    """What has been written down since it was made."""

    def __init__(self, engine: pc.Engine) -> None:
        self._engine = engine
        self._begun = time.time()

    def events(self, **filters: Any) -> list[pc.Event]:
        with pc.events(
            self._begun, follow=False, filters=filters or KINDS, engine=self._engine
        ) as found:
            return list(found)

    def told(self, **filters: Any) -> list[Told]:
        return [(one.type, one.action, one.id) for one in self.events(**filters)]


@pytest.fixture
def watch(engine: pc.Engine) -> Watch:
    return Watch(engine)


@pytest.fixture
def network(engine: pc.Engine) -> Iterator[pc.Network]:
    with pc.Network.create("told", engine=engine) as network:
        yield network


@pytest.fixture
def volume(engine: pc.Engine) -> Iterator[pc.Volume]:
    made = pc.Volume.create("told", engine=engine)
    yield made
    made.remove(missing_ok=True)


def test_networks_come_and_go(engine: pc.Engine, watch: Watch) -> None:
    with pc.Network.create("told", engine=engine) as network:
        pass

    assert watch.told() == [("network", "create", network.id), ("network", "destroy", network.id)]
    for event in watch.events():
        assert event.attributes == {"name": "told", "type": "bridge"}


def test_a_network_that_can_not_be_made_is_not_told_of(engine: pc.Engine, watch: Watch) -> None:
    with pc.Network.create("told", engine=engine) as network:
        with pytest.raises(pc.Conflict):
            pc.Network.create("told", engine=engine)

        assert watch.told() == [("network", "create", network.id)]


def test_volumes_come_and_go(image: pc.Image, engine: pc.Engine, watch: Watch) -> None:
    pc.Volume.create("told", engine=engine)
    pc.Volume.create("told", engine=engine)  # it is there already
    anonymous = pc.Volume.create(engine=engine)
    container = pc.Container.create(
        image, SLEEP, volumes=["made:/a", "told:/b", "/c"], engine=engine
    )
    own = container.attrs["volumes"]["/c"]
    container.remove(volumes=True)
    pc.Volume.prune(engine=engine)
    for name in ("told", "made"):
        pc.Volume.get(name, engine=engine).remove()

    assert watch.told() == [
        ("volume", "create", "told"),
        ("volume", "create", anonymous.name),
        ("volume", "create", "made"),
        ("volume", "create", own),
        ("volume", "destroy", own),
        ("volume", "destroy", anonymous.name),
        ("volume", "destroy", "told"),
        ("volume", "destroy", "made"),
    ]
    assert all(event.attributes == {"driver": "local"} for event in watch.events())


def test_a_container_that_can_not_be_made_makes_no_volume(
    image: pc.Image, engine: pc.Engine, network: pc.Network, watch: Watch
) -> None:
    with pytest.raises(pc.InvalidArgument, match="ip"):
        pc.Container.create(image, SLEEP, volumes={"made": "/a"}, network=network,
                            ip="203.0.113.9", engine=engine)  # fmt: skip

    assert watch.told() == []


def test_a_container_uses_them_while_its_program_runs(
    image: pc.Image, engine: pc.Engine, network: pc.Network, volume: pc.Volume, watch: Watch
) -> None:
    with pc.Container.run(
        image, SLEEP, network=network, volumes={volume: {"bind": "/data", "mode": "ro"}},
        engine=engine,
    ) as container:  # fmt: skip
        container.restart(timeout=0)

    begin = [("network", "connect", network.id), ("volume", "mount", "told")]
    end = [("network", "disconnect", network.id), ("volume", "unmount", "told")]
    assert watch.told() == [*begin, *end, *begin, *end]
    connect, mount, disconnect, unmount = watch.events()[:4]
    at = {"container": container.id}
    assert connect.attributes == disconnect.attributes == {**at, "name": "told", "type": "bridge"}
    assert unmount.attributes == {**at, "driver": "local"}
    assert mount.attributes == {
        **at, "driver": "local", "destination": "/data", "propagation": "", "read/write": "false",
    }  # fmt: skip
    assert watch.told(network="told") == [one for one in watch.told() if one[0] == "network"]
    assert watch.told(volume="told") == [one for one in watch.told() if one[0] == "volume"]


def test_a_restart_by_policy_is_told_too(
    image: pc.Image, engine: pc.Engine, volume: pc.Volume, watch: Watch
) -> None:
    with pc.Container.run(
        image, ["false"], volumes={volume: "/data"}, restart="on-failure:1", engine=engine
    ) as container:
        deadline = time.monotonic() + 20
        while container.status != "exited":
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert [action for _, action, _ in watch.told()] == ["mount", "unmount"] * 2


def test_a_start_that_fails_uses_nothing(
    image: pc.Image, engine: pc.Engine, network: pc.Network, watch: Watch
) -> None:
    with pytest.raises(pc.CommandNotFound):
        pc.Container.run(image, ["/nowhere"], network=network, engine=engine)

    assert watch.told() == []


def test_networks_that_are_joined_and_left_meanwhile(
    image: pc.Image, engine: pc.Engine, network: pc.Network, watch: Watch
) -> None:
    with (
        pc.Network.create("other", engine=engine) as other,
        pc.Container.run(image, SLEEP, network=network, engine=engine) as container,
    ):
        other.connect(container)
        network.disconnect(container)
        container.stop(timeout=0)
        network.connect(container)
        container.start()
        container.stop(timeout=0)
        network.disconnect(container)

    ours = [(action, key) for _, action, key in watch.told(event=["connect", "disconnect"])]
    running = [("connect", network.id), ("connect", other.id), ("disconnect", network.id),
               ("disconnect", other.id)]  # fmt: skip
    assert ours[:4] == running
    assert sorted(ours[4:6]) == sorted([("connect", network.id), ("connect", other.id)])
    assert sorted(ours[6:8]) == sorted([("disconnect", network.id), ("disconnect", other.id)])
    assert ours[8:] == [("disconnect", network.id)]  # as Docker, though it did not run


def test_what_a_killed_supervisor_could_not_tell_is_told(
    image: pc.Image, engine: pc.Engine, network: pc.Network, volume: pc.Volume, watch: Watch
) -> None:
    with pc.Container.run(
        image, SLEEP, network=network, volumes={volume: "/data"}, engine=engine
    ) as container:
        os.kill(container.attrs["supervisor"][0], signal.SIGKILL)
        container.wait()

        actions = [action for _, action, _ in watch.told()]

    assert actions == ["connect", "mount", "disconnect", "unmount"]
    assert [action for _, action, _ in watch.told()] == actions


def test_a_run_tells_of_what_it_makes_only(
    image: pc.Image, engine: pc.Engine, network: pc.Network, watch: Watch
) -> None:
    pc.run(["true"], image=image, network=network, volumes=["made:/a", "/b"], engine=engine)
    pc.Volume.get("made", engine=engine).remove()

    own = watch.told()[1][2]
    assert watch.told() == [
        ("volume", "create", "made"),
        ("volume", "create", own),
        ("volume", "destroy", own),
        ("volume", "destroy", "made"),
    ]
    assert watch.told(type="container") == []
