"""What is left of a container's connections when it goes: nothing, however they were left."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

import pycontainers as pc


@pytest.fixture
def talking(
    image: pc.Image, network: pc.Network, engine: pc.Engine
) -> Iterator[tuple[pc.Container, pc.Container]]:
    """A server and its client, with a connection on which nothing comes."""
    server = ["sh", "-c", "nc -l -p 80 -e sleep 60"]
    client = ["sh", "-c", "until nc server 80; do sleep 0.05; done"]
    with (
        pc.Container.run(image, server, name="server", network=network, engine=engine) as one,
        pc.Container.run(image, client, network=network, stdin=True, engine=engine) as other,
    ):
        deadline = time.monotonic() + 10
        while "ESTABLISHED" not in one.exec(["busybox", "netstat", "-tn"]).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield one, other


def _cable(container: pc.Container) -> int:
    """Give the number of the host's end of a container's cable."""
    shown = container.exec(["ip", "link", "show", "eth0"], check=True).stdout
    match = re.search(r"eth0@if(\d+)", shown)
    assert match is not None, shown
    return int(match[1])


def _is_there(index: int) -> bool:
    for name in os.listdir("/sys/class/net"):
        try:
            with open(f"/sys/class/net/{name}/ifindex") as file:
                if int(file.read()) == index:
                    return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("end", ["removed", "supervisor killed"])
def test_a_cable_goes_though_a_connection_was_not_ended(
    end: str, talking: tuple[pc.Container, pc.Container]
) -> None:
    server, client = talking
    cable = _cable(server)

    client.remove(force=True)  # its side of the connection does not answer any more
    if end == "supervisor killed":
        os.kill(server.attrs["supervisor"][0], signal.SIGKILL)
        assert server.wait(timeout=10) == 137
    server.remove(force=True)

    deadline = time.monotonic() + 10
    while _is_there(cable) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_there(cable)
