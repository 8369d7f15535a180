"""Containers to copy from and to: running and stopped, and with the host's ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.lifecycle.workers import Jail


def jail_of(container: pc.Container) -> Jail:
    """Give what starts workers in a container's files."""
    return container._jail()


Make = Callable[..., pc.Container]


@pytest.fixture
def make(image: pc.Image, engine: pc.Engine) -> Iterator[Make]:
    """Make a running container of busybox; removed at the end."""
    made: list[pc.Container] = []

    def run(command: list[str] | None = None, **options: Any) -> pc.Container:
        container = pc.Container.run(image, command or ["sleep", "600"], engine=engine, **options)
        made.append(container)
        return container

    yield run
    for container in made:
        container.remove(force=True)


@pytest.fixture(params=["running", "stopped", "host ids"])
def container(request: pytest.FixtureRequest, make: Make) -> pc.Container:
    """A container in each state that files are worked on."""
    options = {"userns": "host"} if request.param == "host ids" else {}
    made = make(**options)
    if request.param == "stopped":
        made.stop(0)
    return made


@pytest.fixture
def jail(container: pc.Container) -> Jail:
    """The files of each of these containers."""
    return jail_of(container)
