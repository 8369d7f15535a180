"""publish_all: the ports that an image names are published at random ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import pycontainers as pc


@pytest.fixture
def exposing(image: pc.Image, engine: pc.Engine) -> Iterator[pc.Image]:
    """An image that names ports."""
    with pc.Container.create(image, ["true"], engine=engine) as container:
        made = container.commit("exposing:1", changes=["EXPOSE 80 53/udp 90-91"])
    yield made
    made.remove(force=True)


def test_each_port_that_the_image_names_is_published(exposing: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(exposing, ["sleep", "60"], publish_all=True, engine=engine) as container:
        assert set(container.ports) == {"80/tcp", "53/udp", "90/tcp", "91/tcp"}
        assert set(container.networks) == {"bridge"}
        assert container.attrs["ports"] == container.ports
        assert container.attrs["networks"]["bridge"]["ip"] == container.ip


def test_ports_that_are_named_stay_where_they_are(exposing: pc.Image, engine: pc.Engine) -> None:
    ports = {"80/tcp": ("127.0.0.1", None), 53: None}

    with pc.Container.run(
        exposing, ["sleep", "60"], ports=ports, publish_all=True, engine=engine
    ) as container:
        assert [host for host, _ in container.ports["80/tcp"]] == ["127.0.0.1"]
        assert {"53/tcp", "53/udp"} < set(container.ports)


def test_an_image_without_ports_publishes_none(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], publish_all=True, engine=engine) as container:
        assert container.ports == {}


def test_publish_all_is_refused_where_nothing_can_be_published(
    exposing: pc.Image, engine: pc.Engine
) -> None:
    with pytest.raises(pc.InvalidArgument, match="publish_all"):
        pc.run(["true"], image=exposing, publish_all=True, engine=engine)
    with pytest.raises(pc.InvalidArgument, match="publish_all"):
        pc.Container.create(exposing, ["true"], network="none", publish_all=True, engine=engine)
    with (
        pc.Network.create("inner", internal=True, engine=engine) as inner,
        pytest.raises(pc.InvalidArgument, match="no way in"),
    ):
        pc.Container.create(exposing, ["true"], network=inner, publish_all=True, engine=engine)
